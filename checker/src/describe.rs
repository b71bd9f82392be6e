//! The claim in plain words, so that a reader sees what was verified and not only that something was.

use crate::claim::{Claim, Coarse, Family, Grid, Inputs, Perturb, Property};
use crate::number::Rational;

/// Most elements of a clean input that are listed.
const MAX_LISTED: usize = 64;

/// A paragraph that says what the claim says, with its numbers exact.
pub fn describe(claim: &Claim) -> String {
    let clean = match &claim.inputs {
        Inputs::Point(x) if x.len() <= MAX_LISTED => format!("the clean input ({})", list(x)),
        Inputs::Point(x) => format!("the clean input of {} elements that the claim states", x.len()),
        Inputs::Rows { file, rows } => match &rows[..] {
            [row] => format!("row {row} of {}", file.display()),
            [first, .., last] if last - first == rows.len() - 1 => {
                format!("each of the {} rows from {first} to {last} of {}", rows.len(), file.display())
            }
            [_, ..] => format!("each of the rows {rows:?} of {}", file.display()),
            [] => "no row".to_owned(),
        },
    };
    let added: Vec<String> = claim.perturb.iter().map(perturbation).collect();
    let valid = claim.valid.as_ref().map_or(String::new(), |(low, high)| {
        format!("\n  and the perturbed input stays within [{low}, {high}] in every element")
    });
    let property = property(claim);
    format!("For {clean}, and for every perturbation in which\n{}{valid},\n{property}.", added.join(",\n"))
}

fn perturbation(perturb: &Perturb) -> String {
    let list = list(&perturb.amplitude);
    let delta = match &perturb.family {
        Family::None => format!("any δ with |δ_i| ≤ {list}"),
        Family::BlockMean(grid) => format!("any δ with |δ_i| ≤ {list} whose mean over each {} is zero", block(grid)),
        Family::Haar(grid) => {
            let bands = if perturb.amplitude.len() > 1 { " by band, finest first" } else { "" };
            format!(
                "any sum of Haar details finer than each {}, with coefficients of at most {list}{bands}",
                block(grid)
            )
        }
    };
    match &perturb.site[..] {
        "input" => format!("  to the input is added {delta}"),
        site => format!("  to tensor `{site}` is added {delta}"),
    }
}

/// Exact numbers, separated by commas.
fn list(values: &[Rational]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn block(grid: &Grid) -> String {
    let times = |sides: &[usize]| sides.iter().map(ToString::to_string).collect::<Vec<_>>().join("×");
    format!("{} block of the shape {}", times(&vec![grid.cutoff; grid.spatial]), times(&grid.shape))
}

fn property(claim: &Claim) -> String {
    let output = claim.output.as_ref().map_or("the model's output".to_owned(), |name| format!("tensor `{name}`"));
    let coarse = match &claim.coarse {
        Coarse::Identity => format!("element of {output}"),
        Coarse::Groups { groups, mean } => {
            let reduce = if *mean { "mean" } else { "sum" };
            format!("{reduce} over a group of elements of {output} (groups {groups:?})")
        }
        Coarse::Matrix(rows) => {
            let rows: Vec<String> = rows.iter().map(|row| format!("[{}]", list(row))).collect();
            format!("combination of the elements of {output} with the coefficients {}", rows.join(" or "))
        }
    };
    match &claim.property {
        Property::Tolerance(t) => format!("every {coarse} differs from its clean value by at most {t}"),
        Property::Winner => {
            format!("the one that is largest on the clean input stays strictly the largest, of: every {coarse}")
        }
    }
}
