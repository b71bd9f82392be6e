//! The claim in plain words, so that a reader sees what was verified and not only that something was.

use crate::claim::{Claim, Coarse, End, Inputs, Perturb, Property, Scale, Setting, Site, Truncate};
use crate::ladder::Ladder;
use crate::ladder::grid::Grid;
use crate::number::Rational;
use crate::vnnlib::Query;

/// Most elements of a clean input, or rows of a coarse matrix, that are listed.
const MAX_LISTED: usize = 64;

/// A paragraph that says what the claim says, with its numbers exact.
pub fn describe(claim: &Claim) -> String {
    if let Inputs::Regions(query) = &claim.inputs {
        return format!("{}\n{}", regions(query), UNSAFE);
    }
    let exists = matches!(&claim.settings[..], [only] if matches!(only.property, Property::Reaches(_)));
    let (each, every) = if exists { ("some", "some") } else { ("each", "every") };
    let clean = match &claim.inputs {
        Inputs::Point(x) if x.len() <= MAX_LISTED => format!("the clean input ({})", list(x)),
        Inputs::Point(x) => format!("the clean input of {} elements that the claim states", x.len()),
        Inputs::Rows { file, rows } => match &rows[..] {
            [row] => format!("row {row} of `{}`", file.display()),
            [first, .., last] if last - first == rows.len() - 1 => {
                format!("{each} of the {} rows from {first} to {last} of `{}`", rows.len(), file.display())
            }
            [_, ..] => format!("{each} of the rows {rows:?} of `{}`", file.display()),
            [] => "no row".to_owned(),
        },
        Inputs::Box(None) => format!("{every} input in the valid range"),
        Inputs::Box(Some((low, high))) if [low, high].iter().all(|end| is_short(end)) => {
            format!("{every} input from {} to {}", end(low), end(high))
        }
        Inputs::Box(Some(_)) => format!("{every} input of the box that the claim states"),
        Inputs::Regions(_) => "each region".to_owned(),
    };
    let clean = match (&claim.radius, &claim.valid) {
        (None, _) => clean,
        (Some(radius), None) => format!("{every} input that differs by at most {radius} in every element from {clean}"),
        (Some(radius), Some((low, high))) => format!(
            "{every} input within [{low}, {high}] that differs by at most {radius} in every element from {clean}"
        ),
    };
    match &claim.settings[..] {
        [only] => format!("For {clean}, and {}", setting(claim, only, true)),
        all => {
            let each = all.iter().enumerate().map(|(i, s)| format!("setting {i}: {}", setting(claim, s, false)));
            let lines = each.collect::<Vec<_>>().join("\n");
            format!("For {clean} (one of them is enough where it says «some row»):\n{lines}")
        }
    }
}

fn is_short(end: &End) -> bool {
    matches!(end, End::All(_)) || matches!(end, End::Each(x) if x.len() <= MAX_LISTED)
}

fn end(end: &End) -> String {
    match end {
        End::All(x) => format!("{x} in every element"),
        End::Each(x) => format!("({})", list(x)),
    }
}

/// What a property says of its regions.
const UNSAFE: &str = "For every input in a region, the model's output is in none of that region's unsafe sets.";

/// How much a VNN-LIB file states.
fn regions(query: &Query) -> String {
    let count = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    let cells = query.regions.iter().map(|region| region.cells.len()).sum();
    let (regions, cells) = (count(query.regions.len(), "region"), count(cells, "unsafe set"));
    format!(
        "`{}` states {regions} of inputs with {cells} in all; a region is a box, and a row of this claim.",
        query.name
    )
}

/// What one setting says about a row; that it is about some row is said here unless it is said elsewhere.
pub fn setting(claim: &Claim, setting: &Setting, row_is_said: bool) -> String {
    if setting.property == Property::Unsafe {
        return UNSAFE.to_owned();
    }
    let replaced = claim.replace.iter().map(|other| format!("  the model is replaced by `{}`", other.name));
    let truncated = claim.truncate.iter().map(truncation);
    let added: Vec<String> = replaced.chain(truncated).chain(setting.perturb.iter().map(perturbation)).collect();
    let valid = claim.valid.as_ref().filter(|_| !setting.perturb.is_empty()).map_or(String::new(), |(low, high)| {
        format!("\n  and the perturbed input stays within [{low}, {high}] in every element")
    });
    let what = match (setting.perturb.is_empty(), &setting.property, row_is_said) {
        (true, Property::Reaches(_), false) => "for some row and input and the change",
        (true, ..) => "for the change",
        (false, Property::Reaches(_), false) if claim.is_regional() => "for some row and input and some perturbation",
        (false, Property::Reaches(_), false) => "for some row and some perturbation",
        (false, Property::Reaches(_), true) => "for some perturbation",
        _ => "for every perturbation",
    };
    let before = if claim.is_regional() { "what the model makes of the same input" } else { "its clean value" };
    format!("{what} in which\n{}{valid},\n{}.", added.join(",\n"), property(setting, before))
}

fn truncation(truncate: &Truncate) -> String {
    let site = if truncate.site == "input" { "the input".to_owned() } else { format!("tensor `{}`", truncate.site) };
    let kept = match &*truncate.ladder {
        Ladder::BlockMean(grid) | Ladder::Haar(grid) => {
            format!("the mean over each {}", block(grid, truncate.cutoff))
        }
        Ladder::Modes(modes) => {
            format!("what the {} modes C that cutoff {} keeps see of it, Cᵀ C", modes.family, truncate.cutoff)
        }
        _ => format!("the mean over each group of level {} of the ladder, and 0 elsewhere", truncate.cutoff),
    };
    format!("  {site} is replaced by {kept}")
}

fn perturbation(perturb: &Perturb) -> String {
    let list = list(&perturb.amplitude);
    match &perturb.site {
        Site::Tensor { name, scale } => {
            let delta = delta(scale, &list, perturb.amplitude.len() > 1);
            let band = scale.seen.map_or(String::new(), |seen| format!(", and that the rung {seen} sees completely"));
            match &name[..] {
                "input" => format!("  to the input is added {delta}{band}"),
                site => format!("  to tensor `{site}` is added {delta}{band}"),
            }
        }
        Site::Weights { names, relative } => {
            let which = names.as_ref().map_or("every stored matrix and every added constant".to_owned(), |names| {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                names.join(" and ")
            });
            let of = if *relative { " times its stored size" } else { "" };
            format!("  every value of {which} changes by at most {list}{of}")
        }
    }
}

fn delta(scale: &Scale, list: &str, by_band: bool) -> String {
    let (cutoff, within) = (scale.cutoff, format!("any δ with |δ_i| ≤ {list}"));
    let bands = if by_band { " by band, finest first" } else { "" };
    match &*scale.ladder {
        Ladder::None => within,
        Ladder::BlockMean(grid) => format!("{within} whose mean over each {} is zero", block(grid, cutoff)),
        Ladder::Haar(grid) => format!(
            "any sum of Haar details finer than each {}, with coefficients of at most {list}{bands}",
            block(grid, cutoff)
        ),
        Ladder::Wavelet(grid, _) => format!(
            "any sum of the claim's wavelet details finer than each {}, with coefficients of at most {list}{bands}",
            block(grid, cutoff)
        ),
        Ladder::Groups(_) => format!("{within} whose mean over each group of level {cutoff} of the ladder is zero"),
        Ladder::Modes(modes) => {
            format!("{within} that is orthogonal to the {} modes that cutoff {cutoff} keeps", modes.family)
        }
        Ladder::Dictionary(dictionary) => {
            let count = dictionary.atoms();
            let each = "with each coefficient at most its bound in the ladder";
            let groups = format!("{each} times {list}, and mean zero over each group of level {cutoff}");
            let residual = dictionary.residual.as_ref();
            let rest =
                residual.map_or(String::new(), |r| format!(", plus any residual of at most {r} in each element"));
            format!("any combination of the {count} atoms of the ladder, {groups}{rest}")
        }
    }
}

/// Exact numbers, separated by commas.
fn list(values: &[Rational]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn block(grid: &Grid, cutoff: usize) -> String {
    let times = |sides: &[usize]| sides.iter().map(ToString::to_string).collect::<Vec<_>>().join("×");
    format!("{} block of the shape {}", times(&vec![cutoff; grid.spatial]), times(&grid.shape))
}

/// `before` is what a change is a change of.
fn property(setting: &Setting, before: &str) -> String {
    let output = setting.output.as_ref().map_or("the model's output".to_owned(), |name| format!("tensor `{name}`"));
    let coarse = match &setting.coarse {
        Coarse::Identity => format!("element of {output}"),
        Coarse::Groups { groups, mean } => {
            let reduce = if *mean { "mean" } else { "sum" };
            format!("{reduce} over a group of elements of {output} (groups {groups:?})")
        }
        Coarse::Matrix(rows) if rows.len() > MAX_LISTED => {
            format!("of {} combinations of the elements of {output} that the claim states", rows.len())
        }
        Coarse::Matrix(rows) => {
            let rows: Vec<String> = rows.iter().map(|row| format!("[{}]", list(row))).collect();
            format!("combination of the elements of {output} with the coefficients {}", rows.join(" or "))
        }
        Coarse::Band { ladder, seen, hidden } => {
            let part = match (seen, hidden) {
                (Some(seen), Some(hidden)) => format!("rung {seen} sees and rung {hidden} does not"),
                (Some(seen), None) => format!("rung {seen} sees"),
                (None, hidden) => format!("rung {} does not see", hidden.unwrap_or_default()),
            };
            format!("part of {output} that {part} ({})", picture(ladder))
        }
    };
    match &setting.property {
        Property::Tolerance(t) => format!("every {coarse} differs from {before} by at most {t}"),
        Property::Reaches(t) => format!("some {coarse} differs from {before} by at least {t}"),
        Property::Winner => {
            format!("the one that is largest on the clean input stays strictly the largest, of: every {coarse}")
        }
        Property::Unsafe => UNSAFE.to_owned(),
    }
}

/// What the rungs of a ladder see.
fn picture(ladder: &Ladder) -> String {
    match ladder {
        Ladder::BlockMean(grid) => format!("block means of the shape {:?}", grid.shape),
        Ladder::Groups(_) => "means over groups".into(),
        Ladder::Modes(modes) => format!("inner products with {} modes", modes.family),
        _ => "details".into(),
    }
}
