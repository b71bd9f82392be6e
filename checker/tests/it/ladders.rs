//! Ladders: what nests and what does not, what a rung sees and hides, and which perturbations include others. Coarse
//! maps are written here as rows of numbers, from the meaning of the families.

use crate::support::families::{WAVELETS, analysed, null_space};
use crate::support::onnx::Model;
use crate::support::tape::{Tape, tape};
use crate::support::{self, int, parse_claim, ratio, read_model};
use num::{One, Zero};
use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::claim::{self, Claim, Setting, Site};
use scalecheck::error::{Code, Error};
use scalecheck::exact::Exact;
use scalecheck::ladder::{Generator, Ladder};
use scalecheck::number::Rational;
use scalecheck::problem::{Clean, Problem};
use scalecheck::rules::witness;
use std::sync::Arc;

type Vector = Vec<Rational>;

fn cases(cases: u32) -> Runner {
    Runner { cases, max_shrink_iters: 300, failure_persistence: None, ..Runner::default() }
}

/// A claim whose input is perturbed on this scale.
fn claim_text(scale: &str) -> String {
    let zeros = ["0"; LEN].join(", ");
    format!(
        "model = \"m\"\n[inputs]\npoint = [{zeros}]\n[[perturb]]\nsite = \"input\"\nscale = {{ {scale} }}\n\
         amplitude = 1\n[output]\ntolerance = 1\n"
    )
}

fn parse(scale: &str) -> Result<Claim, Error> {
    claim::parse("claim.toml", &claim_text(scale), &mut Default::default())
}

fn scale_of(setting: &Setting) -> &claim::Scale {
    match &setting.perturb[0].site {
        Site::Tensor { scale, .. } => scale,
        site => panic!("{site:?}"),
    }
}

fn ladder(scale: &str) -> Arc<Ladder> {
    Arc::clone(&scale_of(&parse(scale).unwrap_or_else(|e| panic!("{e}\n{scale}")).settings[0]).ladder)
}

#[track_caller]
fn assert_error(scale: &str, code: Code) -> Error {
    let error = parse(scale).err().unwrap_or_else(|| panic!("the claim was read: {scale}"));
    assert_eq!(error.code, code, "{error}\n{scale}");
    assert!(error.place.starts_with("claim.toml:"), "{error}");
    error
}

// ---- nesting

#[test]
fn groups_that_are_no_unions_of_finer_ones_are_errors() {
    for levels in [
        // A group cuts finer ones.
        "[[[0, 1], [2, 3]], [[1, 2], [0, 3]]]",
        "[[[0, 1], [2, 3]], [[0, 1, 2], [3]]]",
        // A part of a group goes unseen.
        "[[[0, 1], [2, 3]], [[0], [2, 3]]]",
        "[[[0, 1, 2]], [[1, 2]]]",
        // The third level against the second.
        "[[[0], [1], [2], [3]], [[0, 1], [2, 3]], [[0, 2], [1, 3]]]",
        "[[[0, 1], [2, 3]], [[0, 1, 2, 3]], [[0, 1], [2, 3]]]",
    ] {
        let error = assert_error(&format!("family = \"groups\", levels = {levels}, cutoff = 1"), Code::LadderNesting);
        assert!(error.message.contains("not a union"), "{error}");
        let dictionary =
            format!("family = \"dictionary\", atoms = [[1, 1, 1, 1]], levels = {levels}, residual = 0, cutoff = 1");
        assert_error(&dictionary, Code::LadderNesting);
    }
}

#[test]
fn an_item_that_no_finer_level_sees_cannot_be_in_a_group() {
    for levels in ["[[[0, 1]], [[0, 1], [2]]]", "[[[0, 1]], [[0, 1, 2]]]", "[[[1]], [[0, 1]]]"] {
        let error = assert_error(&format!("family = \"groups\", levels = {levels}, cutoff = 2"), Code::LadderNesting);
        assert!(error.message.contains("level 2"), "{error}");
    }
}

#[test]
fn an_item_in_two_groups_of_one_level_is_an_error() {
    let error = assert_error("family = \"groups\", levels = [[[0, 1], [1, 2]]], cutoff = 1", Code::LadderNesting);
    assert!(error.message.contains("item 1 in two groups"), "{error}");
}

#[test]
fn levels_may_merge_groups_and_drop_whole_ones() {
    for levels in [
        "[[[0, 1], [2, 3]], [[2, 3]]]",
        "[[[0, 1], [2, 3], [4]], [[0, 1, 4]]]",
        "[[[3], [1]], [[1, 3]], [[3, 1]]]",
        "[[[7, 2, 5]]]",
    ] {
        let groups = ladder(&format!("family = \"groups\", levels = {levels}, cutoff = 1"));
        assert!(groups.is_finer(0, 1) && !groups.is_finer(1, 0), "{levels}");
    }
}

#[test]
fn the_numbers_of_atoms_that_are_kept_fall() {
    let scale = |nested: &str| {
        format!("family = \"dictionary\", atoms = [[1, 2, 3]], nested = {nested}, residual = 0, cutoff = 1")
    };
    for rising in ["[1, 2]", "[2, 2]", "[3, 1, 2]"] {
        assert_error(&scale(rising), Code::LadderNesting);
    }
    assert_eq!(ladder(&scale("[3, 1, 0]")).rungs(), [0, 1, 2, 3]);
    // There are three atoms.
    assert_error(&scale("[4, 1]"), Code::ClaimShape);
    // A vector has nothing to transpose.
    let bounds = "bounds = { file = \"b.npy\", transpose = false }, nested = [1]";
    assert_error(&scale("[1]").replace("nested = [1]", bounds), Code::ClaimUnknownKey);
}

#[test]
fn filters_that_are_not_biorthogonal_are_errors() {
    let scale = |low: &str, dual: &str, start: &str| {
        let filters = format!("{{ low = {low}, dual = {dual}, start = {start} }}");
        format!("family = \"wavelet\", shape = [12], filters = {filters}, cutoff = 2")
    };
    for (low, dual, start) in [
        ("[1, 1]", "[1, 1]", "[0, 0]"),
        ("[1, 1]", "[\"1/2\", \"1/2\"]", "[0, 1]"),
        ("[1, 1]", "[\"1/2\", \"1/2\"]", "[0, 2]"),
        ("[1, 1, 1, 1]", "[\"1/4\", \"1/4\", \"1/4\", \"1/4\"]", "[0, 0]"),
        ("[\"1/2\", 1, \"1/2\"]", "[\"-1/8\", \"1/4\", \"3/4\", \"1/4\", \"-1/8\"]", "[-1, -1]"),
        ("[0]", "[0]", "[0, 0]"),
    ] {
        let error = assert_error(&scale(low, dual, start), Code::LadderNesting);
        assert!(error.message.contains("biorthogonal"), "{error}");
    }
    for (low, dual, start) in [
        ("[1, 1]", "[\"1/2\", \"1/2\"]", "[0, 0]"),
        ("[\"1/2\", 1, \"1/2\"]", "[\"-1/8\", \"1/4\", \"3/4\", \"1/4\", \"-1/8\"]", "[-1, -2]"),
        ("[1]", "[1]", "[0, 0]"),
        ("[1]", "[1]", "[2, 2]"),
    ] {
        ladder(&scale(low, dual, start));
    }
    for start in ["[0]", "[0, 0, 0]", "[\"1/2\", 0]", "[\"1e30\", 0]"] {
        assert_error(&scale("[1]", "[1]", start), Code::ClaimValue);
    }
    assert_error(&scale("[1]", "[1]", "[100, 100]"), Code::LadderNesting);
    assert_error("family = \"wavelet\", shape = [12], filters = \"db4\", cutoff = 2", Code::ClaimValue);
}

// ---- what wavelets hide

/// What every variable adds, one column a variable.
fn columns(generator: &Generator) -> Vec<Vector> {
    let part = &generator.parts[0];
    let count = part.variables.lower.len();
    let unit = |k: usize| -> Vector { (0..count).map(|i| int((i == k).into())).collect() };
    let apply = |k| {
        let z = Exact::from_rationals(&unit(k));
        let parts = part.maps.iter().map(|map| z.apply(map)).reduce(|a, b| a.plus(&b));
        parts.expect("a map").to_rationals()
    };
    (0..count).map(apply).collect()
}

/// What is left of every channel after `steps` of an analysis along the last axis, or the last two.
fn coarse(v: &[Rational], plane: (usize, usize), spatial: usize, steps: u32, step: &Step) -> Vector {
    let (height, width) = plane;
    let one = |channel: &[Rational]| -> Vector {
        let mut rows: Vec<Vector> = channel.chunks(width).map(<[Rational]>::to_vec).collect();
        for _ in 0..steps {
            rows = rows.iter().map(|row| step(row)).collect();
            if spatial == 2 {
                let column = |x: usize| step(&rows.iter().map(|row| row[x].clone()).collect::<Vector>());
                let columns: Vec<Vector> = (0..rows[0].len()).map(column).collect();
                rows = (0..columns[0].len()).map(|y| columns.iter().map(|c| c[y].clone()).collect()).collect();
            }
        }
        rows.concat()
    };
    v.chunks(height * width).flat_map(one).collect()
}

/// Shapes and how many of their axes are spatial.
const GRIDS: [(&[usize], usize); 8] =
    [(&[2], 1), (&[4], 1), (&[8], 1), (&[12], 1), (&[3, 8], 1), (&[2, 2], 2), (&[4, 8], 2), (&[2, 4, 4], 2)];

/// One step of an analysis along one axis.
type Step = dyn Fn(&[Rational]) -> Vector;

/// Families of details, and one step of the analysis of each.
fn details() -> Vec<(String, Box<Step>)> {
    let mut found: Vec<(String, Box<Step>)> =
        vec![("family = \"haar\"".into(), Box::new(|v| v.chunks(2).map(|pair| &pair[0] + &pair[1]).collect()))];
    for (name, _, dual) in WAVELETS {
        found.push((format!("family = \"wavelet\", filters = \"{name}\""), Box::new(move |v| analysed(v, &dual))));
    }
    found
}

fn planes(shape: &[usize], spatial: usize) -> (usize, usize) {
    (if spatial == 2 { shape[shape.len() - 2] } else { 1 }, shape[shape.len() - 1])
}

#[test]
fn details_are_exactly_what_the_analysis_does_not_see() {
    for (family, step) in details() {
        for (shape, spatial) in GRIDS {
            let plane = planes(shape, spatial);
            let len: usize = shape.iter().product();
            for steps in 1..=4 {
                let cutoff = 1_usize << steps;
                if !(plane.1.is_multiple_of(cutoff) && (spatial == 1 || plane.0.is_multiple_of(cutoff))) {
                    continue;
                }
                let scale = format!("{family}, shape = {shape:?}, spatial = {spatial}, cutoff = {cutoff}");
                let columns = columns(&ladder(&scale).generator(cutoff, &[int(1)], len).unwrap());
                for column in &columns {
                    let seen = coarse(column, plane, spatial, steps, &*step);
                    assert!(seen.iter().all(Zero::is_zero), "{scale}: {column:?} is seen as {seen:?}");
                }
                // They are as many as the analysis loses, and independent: so they span all that it does not see.
                let lost = len - len / (if spatial == 2 { cutoff * cutoff } else { cutoff });
                assert_eq!((columns.len(), len - null_space(&columns, len).len()), (lost, lost), "{scale}");
            }
        }
    }
}

#[test]
fn a_wavelet_by_its_filters_is_the_one_of_that_name() {
    let columns = |scale: &str| columns(&ladder(scale).generator(4, &[int(1)], 12).unwrap());
    for (name, low, dual) in WAVELETS {
        let taps = |(_, denominator, taps): (i64, i64, &[i64])| {
            taps.iter().map(|t| format!("\"{t}/{denominator}\"")).collect::<Vec<_>>().join(", ")
        };
        let written = format!("{{ low = [{}], dual = [{}], start = [{}, {}] }}", taps(low), taps(dual), low.0, dual.0);
        let scale = |filters: &str| format!("family = \"wavelet\", shape = [12], filters = {filters}, cutoff = 4");
        assert_eq!(columns(&scale(&format!("\"{name}\""))), columns(&scale(&written)), "{name}");
    }
}

proptest! {
    #![proptest_config(cases(64))]

    /// A band holds coefficients of those details only that the finer rung does see.
    #[test]
    fn a_band_of_details_has_none_that_the_finer_rung_hides(mut tape in tape(300)) {
        let (family, step) = &details()[tape.below(4)];
        let (shape, spatial) = *tape.pick(&GRIDS);
        let (plane, len) = (planes(shape, spatial), shape.iter().product::<usize>());
        let fits = |&steps: &u32| {
            let side = 1_usize << steps;
            plane.1.is_multiple_of(side) && (spatial == 1 || plane.0.is_multiple_of(side))
        };
        let steps: Vec<u32> = (0..5).filter(fits).collect();
        let (seen, cutoff) = (tape.below(steps.len() - 1), steps.len() - 1);
        let scale = format!("{family}, shape = {shape:?}, spatial = {spatial}, cutoff = {}", 1 << cutoff);
        let ladder = ladder(&scale);
        let columns = columns(&ladder.generator(1 << cutoff, &[int(1)], len).unwrap());
        let hidden = |column: &Vector| coarse(column, plane, spatial, seen as u32, &**step).iter().all(Zero::is_zero);
        let hidden: Vec<bool> = columns.iter().map(hidden).collect();
        for _ in 0..4 {
            // Mostly zero where it must be.
            let rate = *tape.pick(&[1, 1, 20]);
            let value = |&hidden: &bool| if hidden && !(rate > 1 && tape.one_in(rate)) { int(0) } else { tape.unit() };
            let z: Vector = hidden.iter().map(value).collect();
            let expected = hidden.iter().zip(&z).all(|(hidden, z)| !hidden || z.is_zero());
            prop_assert_eq!(ladder.sees_all(1 << seen, &[z]), expected);
        }
    }
}

// ---- kernels

const LEN: usize = 12;

/// A ladder of elements: its text without the rung, and for each rung the rows of its coarse map.
struct Kernel {
    scale: String,
    rungs: Vec<(usize, Vec<Vector>)>,
}

fn indicator(group: &[usize]) -> Vector {
    (0..LEN).map(|i| int(group.contains(&i).into())).collect()
}

fn kernels() -> Vec<Kernel> {
    let blocks = |side: usize| (0..LEN / side).map(move |b| indicator(&(b * side..(b + 1) * side).collect::<Vec<_>>()));
    // Two channels of two rows and three columns; only squares of side 1 fit. Two rows of six: sides 1 and 2.
    let squares = (0..3).map(|b| indicator(&[2 * b, 2 * b + 1, 2 * b + 6, 2 * b + 7])).collect();
    let singles: Vec<Vector> = (0..LEN).map(|i| indicator(&[i])).collect();
    let levels: [&[&[usize]]; 2] = [&[&[0, 1], &[2, 3], &[4, 5], &[6, 7, 8], &[10]], &[&[0, 1, 4, 5], &[6, 7, 8]]];
    let of_items: [&[&[usize]]; 2] = [&[&[0, 1], &[2]], &[&[0, 1, 2]]];
    let spread = |group: &&[usize]| -> Vec<Vector> {
        (0..3).map(|p| indicator(&group.iter().map(|i| 3 * i + p).collect::<Vec<_>>())).collect()
    };
    let modes: Vec<Vector> =
        (0..4).map(|m| (0..LEN).map(|i| ratio((i * i + m * m * i) as i64 % 7 - 3, 2)).collect()).collect();
    let text = |rows: &[Vector]| {
        let row = |row: &Vector| format!("[{}]", support::families::list(row));
        format!("[{}]", rows.iter().map(row).collect::<Vec<_>>().join(", "))
    };
    let (vertical, horizontal) = ([[1, 1], [1, -1]], [[1, 1, 1], [1, 0, -1], [1, -2, 1]]);
    let product = |channel: usize, u: usize, v: usize| -> Vector {
        let entry = |i: usize| {
            let inside = i / 6 == channel;
            int(if inside { vertical[u][i % 6 / 3] * horizontal[v][i % 3] } else { 0 })
        };
        (0..LEN).map(entry).collect()
    };
    let planes = |f: usize| -> Vec<Vector> {
        let pairs = (0..f.min(2)).flat_map(|u| (0..f.min(3)).map(move |v| (u, v)));
        pairs.flat_map(|(u, v)| [product(0, u, v), product(1, u, v)]).collect()
    };
    vec![
        Kernel {
            scale: "family = \"block-mean\", shape = [12]".into(),
            rungs: [1, 2, 3, 4, 6, 12].map(|side| (side, blocks(side).collect())).to_vec(),
        },
        Kernel {
            scale: "family = \"block-mean\", shape = [2, 6], spatial = 2".into(),
            rungs: vec![(1, singles.clone()), (2, squares)],
        },
        Kernel {
            scale: format!("family = \"groups\", levels = {levels:?}"),
            rungs: [
                vec![(0, singles.clone())],
                (1..).zip(levels.map(|l| l.iter().map(|g| indicator(g)).collect())).collect(),
            ]
            .concat(),
        },
        Kernel {
            scale: format!("family = \"groups\", levels = {of_items:?}, shape = [4, 3]"),
            rungs: [vec![(0, singles)], (1..).zip(of_items.map(|l| l.iter().flat_map(spread).collect())).collect()]
                .concat(),
        },
        Kernel {
            scale: format!("family = \"pca\", modes = {}", text(&modes)),
            rungs: (0..=4).map(|m| (m, modes[..m].to_vec())).collect(),
        },
        Kernel {
            scale: "family = \"dct\", shape = [2, 2, 3], spatial = 2, matrix = { vertical = [[1, 1], [1, -1]], \
                    horizontal = [[1, 1, 1], [1, 0, -1], [1, -2, 1]] }"
                .into(),
            rungs: (0..=3).map(|f| (f, planes(f))).collect(),
        },
    ]
}

fn dot(a: &[Rational], b: &[Rational]) -> Rational {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn is_in_kernel(rows: &[Vector], v: &[Rational]) -> bool {
    rows.iter().all(|row| dot(row, v).is_zero())
}

#[test]
fn a_rung_is_finer_exactly_if_it_hides_less() {
    for kernel in kernels() {
        let ladder = ladder(&format!("{}, cutoff = {}", kernel.scale, kernel.rungs[0].0));
        for (fine, fine_rows) in &kernel.rungs {
            let hidden = null_space(fine_rows, LEN);
            for (coarse, coarse_rows) in &kernel.rungs {
                let included = hidden.iter().all(|v| is_in_kernel(coarse_rows, v));
                assert_eq!(ladder.is_finer(*fine, *coarse), included, "{}: {fine} and {coarse}", kernel.scale);
            }
        }
    }
}

#[test]
fn rungs_that_a_ladder_does_not_have_are_errors() {
    for kernel in kernels() {
        let beyond = kernel.rungs.iter().map(|(rung, _)| rung).max().unwrap() + 1;
        assert_error(&format!("{}, cutoff = {beyond}", kernel.scale), Code::ClaimShape);
        let (first, last) = (kernel.rungs[0].0, kernel.rungs[kernel.rungs.len() - 1].0);
        for same in [first, last] {
            assert_error(&format!("{}, cutoff = {same}, seen = {same}", kernel.scale), Code::ClaimShape);
        }
        let (fine, coarse) =
            if kernel.scale.contains("pca") || kernel.scale.contains("dct") { (last, first) } else { (first, last) };
        assert_error(&format!("{}, cutoff = {fine}, seen = {coarse}", kernel.scale), Code::ClaimShape);
        parse(&format!("{}, cutoff = {coarse}, seen = {fine}", kernel.scale)).unwrap();
    }
}

#[test]
fn a_listed_chain_of_rungs_goes_from_fine_to_coarse() {
    for kernel in kernels() {
        let ladder = ladder(&format!("{}, cutoff = {}", kernel.scale, kernel.rungs[0].0));
        let rungs = ladder.rungs();
        assert!(rungs.len() > 1, "{}", kernel.scale);
        for pair in rungs.windows(2) {
            assert!(
                ladder.is_finer(pair[0], pair[1]) && !ladder.is_finer(pair[1], pair[0]),
                "{}: {rungs:?}",
                kernel.scale
            );
        }
    }
}

fn identity_network() -> scalecheck::network::Network {
    read_model(&Model::new(&[1, LEN as i64]).node("Identity", &["x"], "y").output("y").bytes())
}

/// The problem of one setting.
fn problem(claim: &Claim, setting: &Setting) -> Problem {
    let network = identity_network();
    let clean = Clean::new(&network, claim, &vec![Rational::zero(); LEN]).unwrap();
    Problem::new(&network, claim, setting, &clean).unwrap()
}

/// True if these values of the variables are a perturbation of the setting.
fn admits(problem: &Problem, z: &[Vector]) -> bool {
    match witness::check(problem, z) {
        Err(e) if e.code == Code::WitnessOutside => false,
        Err(e) if e.code != Code::WitnessHarmless => panic!("{e}"),
        _ => true,
    }
}

/// A vector of the span, scaled so that its largest element is at most `amplitude`, often exactly that.
fn within(tape: &mut Tape, basis: &[Vector], amplitude: &Rational) -> Vector {
    let mut z = vec![Rational::zero(); LEN];
    for v in basis {
        let factor = int(tape.around(3));
        z.iter_mut().zip(v).for_each(|(z, v)| *z += &factor * v);
    }
    let largest = z.iter().map(num::Signed::abs).max().unwrap_or_else(Rational::zero);
    if !largest.is_zero() {
        let factor = amplitude * tape.unit() / largest;
        z.iter_mut().for_each(|z| *z *= &factor);
    }
    z
}

proptest! {
    #![proptest_config(cases(48))]

    /// A rung sees all of a vector that is orthogonal to everything the rung hides, and of no other.
    #[test]
    fn a_rung_sees_all_of_what_is_orthogonal_to_what_it_hides(mut tape in tape(300)) {
        let kernels = kernels();
        let kernel = tape.pick(&kernels);
        let (rung, rows) = tape.pick(&kernel.rungs);
        let ladder = ladder(&format!("{}, cutoff = {rung}", kernel.scale));
        let hidden = null_space(rows, LEN);
        for _ in 0..3 {
            let mut z = within(&mut tape, rows, &int(1));
            if tape.one_in(2) {
                z[tape.below(LEN)] += tape.unit();
            }
            prop_assert_eq!(ladder.sees_all(*rung, std::slice::from_ref(&z)), is_in_kernel(&hidden, &z));
        }
    }

    /// A perturbation is one of a setting exactly if it is in the box, its cutoff sees nothing of it, and the finer rung,
    /// if one is named, sees all of it. And if a setting covers another, it has all of the other's perturbations.
    #[test]
    fn a_setting_that_covers_another_has_all_of_its_perturbations(mut tape in tape(600)) {
        let kernels = kernels();
        let kernel = tape.pick(&kernels);
        let modes = kernel.scale.contains("pca") || kernel.scale.contains("dct");
        let mut text = claim_text(&format!("{}, cutoff = {}", kernel.scale, kernel.rungs[0].0));
        text = text.replace("tolerance = 1\n", "");
        let mut chosen = Vec::new();
        for _ in 0..4 {
            let amplitude = tape.pick(&[ratio(1, 2), int(1), ratio(1, 3)]).clone();
            text += &format!("[[setting]]\ntolerance = 1\namplitude = \"{amplitude}\"\n");
            if tape.one_in(5) {
                text += "scale = { family = \"none\" }\n";
                chosen.push((amplitude, vec![], vec![]));
                continue;
            }
            let (cutoff, mut rows) = tape.pick(&kernel.rungs).clone();
            text += &format!("cutoff = {cutoff}\n");
            let mut finer = vec![];
            let (seen, seen_rows) = tape.pick(&kernel.rungs).clone();
            let is_finer = if modes { seen > cutoff } else { seen < cutoff && (cutoff.is_multiple_of(seen.max(1))) };
            if is_finer && tape.one_in(2) {
                text += &format!("seen = {seen}\n");
                finer = null_space(&seen_rows, LEN);
            }
            rows.extend(finer.clone());
            chosen.push((amplitude, rows, finer));
        }
        let claim = parse_claim(&text);
        let problems: Vec<Problem> = claim.settings.iter().map(|s| problem(&claim, s)).collect();
        for (j, (amplitude, rows, _)) in chosen.iter().enumerate() {
            for _ in 0..3 {
                let z = within(&mut tape, &null_space(rows, LEN), amplitude);
                let point = std::slice::from_ref(&z);
                prop_assert!(admits(&problems[j], point), "setting {} admits {:?}\n{}", j, z, text);
                for (i, (other, rows, _)) in chosen.iter().enumerate() {
                    let inside = z.iter().all(|z| num::Signed::abs(z) <= *other) && is_in_kernel(rows, &z);
                    prop_assert_eq!(admits(&problems[i], point), inside, "setting {} and {:?}\n{}", i, z, text);
                    let covers = claim.settings[i].covers(&claim.settings[j]);
                    prop_assert!(!covers || inside, "setting {} covers {}\n{}", i, j, text);
                }
            }
            prop_assert!(claim.settings[j].covers(&claim.settings[j]));
        }
        // Without a band, a setting with a cutoff as coarse and an amplitude as large covers.
        for (i, (all, rows, finer)) in chosen.iter().enumerate() {
            for (j, (some, other_rows, _)) in chosen.iter().enumerate() {
                let wider = null_space(other_rows, LEN).iter().all(|v| is_in_kernel(rows, v));
                let plain = finer.is_empty() && !text.split("[[setting]]").nth(i + 1).unwrap().contains("seen");
                if plain && wider && all >= some && !rows.is_empty() && !other_rows.is_empty() {
                    let banded = text.split("[[setting]]").nth(j + 1).unwrap().contains("seen");
                    prop_assert!(banded || claim.settings[i].covers(&claim.settings[j]), "{} and {}\n{}", i, j, text);
                }
            }
        }
    }
}

#[test]
fn details_and_atoms_with_a_coarser_cutoff_cover_those_with_a_finer_one() {
    for (scale, rungs) in [
        ("family = \"haar\", shape = [12]", [1, 2, 4]),
        ("family = \"wavelet\", shape = [12], filters = \"cdf-5-3\"", [1, 2, 4]),
        ("family = \"matrix\", generator = [[1, 2], [3, 4]]", [0, 1, 2]),
        (
            "family = \"dictionary\", atoms = [[1, 2, 0], [3, 4, 0]], levels = [[[0, 1], [2]], [[0, 1]]], residual = 1",
            [0, 1, 2],
        ),
    ] {
        let mut text = claim_text(&format!("{scale}, cutoff = {}", rungs[0])).replace("tolerance = 1\n", "");
        for rung in rungs {
            text += &format!("[[setting]]\ntolerance = 1\ncutoff = {rung}\n");
            text += &format!("[[setting]]\ntolerance = 1\ncutoff = {rung}\namplitude = 2\n");
        }
        text += "[[setting]]\ntolerance = 1\nscale = { family = \"none\" }\namplitude = 2\n";
        let claim = parse_claim(&text);
        let covers = |i: usize, j: usize| claim.settings[i].covers(&claim.settings[j]);
        for (i, j) in (0..6).flat_map(|i| (0..6).map(move |j| (i, j))) {
            // Settings 2k and 2k + 1 have rung k, with amplitudes 1 and 2.
            assert_eq!(covers(i, j), i / 2 >= j / 2 && i % 2 >= j % 2, "{scale}: {i} and {j}");
        }
        // A coefficient is no element: the plain box of the same number includes none of these.
        assert!((0..6).all(|j| !covers(6, j) && !covers(j, 6)), "{scale}");
    }
}

#[test]
fn settings_about_other_outputs_sites_or_kinds_of_error_do_not_cover() {
    let base = "model = \"m\"\n[inputs]\npoint = [0]\n";
    let setting = |perturb: &str, output: &str| {
        let text = format!("{base}{perturb}[output]\n{output}tolerance = 1\n");
        parse_claim(&text).settings[0].clone()
    };
    let site = |name: &str| format!("[[perturb]]\nsite = \"{name}\"\nscale = {{ family = \"none\" }}\namplitude = 1\n");
    let weights = |names: &str, error: &str, amplitude: &str| {
        format!("[[perturb]]\nweights = {names}\nerror = \"{error}\"\namplitude = {amplitude}\n")
    };
    let input = setting(&site("input"), "");
    assert!(input.covers(&setting(&site("input"), "")));
    for other in [
        setting(&site("h"), ""),
        setting(&site("input"), "tensor = \"h\"\n"),
        setting(&site("input"), "coarse = { groups = [[0]], reduce = \"sum\" }\n"),
        setting(&format!("{}{}", site("input"), site("input")), ""),
        setting(&weights("\"all\"", "absolute", "1"), ""),
    ] {
        assert!(!input.covers(&other) && !other.covers(&input), "{other:?}");
    }
    let all = setting(&weights("\"all\"", "absolute", "1"), "");
    assert!(all.covers(&setting(&weights("\"all\"", "absolute", "\"1/2\""), "")));
    for other in [
        setting(&weights("\"all\"", "relative", "1"), ""),
        setting(&weights("\"all\"", "absolute", "2"), ""),
        setting(&weights("[\"w\"]", "relative", "1"), ""),
    ] {
        assert!(!all.covers(&other), "{other:?}");
    }
}

// ---- modes

#[test]
fn modes_are_kept_in_order_and_as_many_as_the_cutoff_says() {
    let outputs = |scale: &str, cutoff: usize| {
        let seen = ladder(&format!("{scale}, cutoff = {cutoff}")).generator(cutoff, &[int(1)], LEN).unwrap().seen;
        seen.map_or(0, |seen| seen.outputs())
    };
    for kernel in kernels().iter().filter(|k| k.scale.contains("pca") || k.scale.contains("dct")) {
        for (cutoff, rows) in &kernel.rungs {
            assert_eq!(outputs(&kernel.scale, *cutoff), rows.len(), "{} at {cutoff}", kernel.scale);
        }
    }
}

#[test]
fn transforms_that_do_not_fit_their_plane_are_errors() {
    let square = "[[1, 1], [1, -1]]";
    for scale in [
        format!("family = \"dct\", shape = [2, 3], matrix = {square}, cutoff = 1"),
        format!("family = \"dct\", shape = [3], matrix = {square}, cutoff = 1"),
        "family = \"dct\", shape = [2], matrix = [[1, 1]], cutoff = 1".to_owned(),
        format!("family = \"dct\", shape = [2], matrix = {{ vertical = {square}, horizontal = {square} }}, cutoff = 1"),
        "family = \"dct\", shape = [2], matrix = [[1, 1], [1]], cutoff = 1".to_owned(),
    ] {
        assert_error(&scale, Code::ClaimShape);
    }
    let missing = format!("family = \"dct\", shape = [2, 2], matrix = {{ vertical = {square} }}, cutoff = 1");
    assert_error(&missing, Code::ClaimMissingKey);
}

#[test]
fn ladders_of_other_sizes_do_not_fit_the_site() {
    for scale in [
        "family = \"pca\", modes = [[1, 2]], cutoff = 1",
        "family = \"matrix\", modes = [[1, 2]], cutoff = 0",
        "family = \"matrix\", generator = [[1], [2]], cutoff = 1",
        "family = \"dictionary\", atoms = [[1], [2]], nested = [0], residual = 0, cutoff = 1",
        "family = \"wavelet\", shape = [4], filters = \"cdf-5-3\", cutoff = 2",
        "family = \"groups\", levels = [[[12]]], cutoff = 1",
        "family = \"groups\", levels = [[[0]]], shape = [5, 2], cutoff = 1",
        "family = \"groups\", levels = [[[4]]], shape = [4, 3], cutoff = 1",
        "family = \"dct\", shape = [2], matrix = [[1, 1], [1, -1]], cutoff = 1",
    ] {
        let claim = parse(scale).unwrap();
        let network = identity_network();
        let clean = Clean::new(&network, &claim, &vec![Rational::zero(); LEN]).unwrap();
        let error = Problem::new(&network, &claim, &claim.settings[0], &clean).unwrap_err();
        assert_eq!(error.code, Code::ClaimShape, "{error}");
        assert!(error.place.starts_with("claim.toml:") && error.message.contains("`input`"), "{error}");
    }
}

#[test]
fn huge_shapes_and_items_are_errors_and_not_faults() {
    let huge = "shape = [4294967296, 4294967296, 4]";
    for scale in [
        format!("family = \"block-mean\", {huge}, cutoff = 2"),
        format!("family = \"haar\", {huge}, cutoff = 2"),
        format!("family = \"wavelet\", filters = \"cdf-5-3\", {huge}, cutoff = 2"),
        format!("family = \"groups\", levels = [[[0, 1]]], {huge}, cutoff = 1"),
        "family = \"groups\", levels = [[[0, 1]]], shape = [4, 4294967296, 4294967296], cutoff = 1".to_owned(),
        format!("family = \"dct\", {huge}, matrix = [[1]], cutoff = 1"),
        "family = \"groups\", levels = [[[4294967296]]], cutoff = 1".to_owned(),
    ] {
        let shape = parse(&scale).map(|claim| {
            let network = identity_network();
            let clean = Clean::new(&network, &claim, &vec![Rational::zero(); LEN]).unwrap();
            Problem::new(&network, &claim, &claim.settings[0], &clean).map(drop)
        });
        assert_eq!(support::code(shape.and_then(|problem| problem)), Code::ClaimShape, "{scale}");
    }
}

// ---- dictionaries

#[test]
fn a_dictionary_states_its_residual_and_one_kind_of_levels() {
    let scale = |rest: &str| format!("family = \"dictionary\", atoms = [[1, 2]], {rest}, cutoff = 1");
    for missing in ["levels = [[[0]]]", "nested = [1]"] {
        let error = assert_error(&scale(missing), Code::ClaimMissingKey);
        assert!(error.message.contains("residual"), "{error}");
    }
    assert_error(&scale("residual = 0"), Code::ClaimMissingKey);
    assert_error(&scale("residual = 0, levels = [[[0]]], nested = [1]"), Code::ClaimMissingKey);
    assert_error(&scale("residual = -1, nested = [1]"), Code::ClaimValue);
    assert_error(&scale("residual = 0, nested = [1], bounds = [1, -1]"), Code::ClaimValue);
    for bounds in ["[1]", "[1, 1, 1]"] {
        assert_error(&scale(&format!("residual = 0, nested = [1], bounds = {bounds}")), Code::ClaimShape);
    }
    assert_error("family = \"matrix\", generator = [[1]], modes = [[1]], cutoff = 1", Code::ClaimMissingKey);
    assert_error("family = \"matrix\", cutoff = 1", Code::ClaimMissingKey);
}

#[test]
fn a_zero_residual_still_has_variables() {
    let atoms = format!("[{}]", ["[1, 2]"; LEN].join(", "));
    let scale = format!("family = \"dictionary\", atoms = {atoms}, nested = [1], residual = 0, cutoff = 1");
    let claim = parse(&scale).unwrap();
    let problem = problem(&claim, &claim.settings[0]);
    let names: Vec<&str> = problem.domain.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["perturb[0]", "perturb[0].residual"]);
    // Atom 0 is seen; atom 1 is free; the residual is zero.
    let (zeros, mut one) = (vec![Rational::zero(); LEN], vec![Rational::zero(); LEN]);
    one[3] = Rational::one();
    assert!(admits(&problem, &[vec![int(0), int(-1)], zeros.clone()]));
    assert!(!admits(&problem, &[vec![ratio(1, 100), int(0)], zeros]));
    assert!(!admits(&problem, &[vec![int(0), int(0)], one]));
}

// ---- bands of outputs

/// The parts of a vector that the rows of a band give: a row is the mean over a group less that over a larger one, so the
/// group is where its coefficients are positive.
fn band_part(rows: &[Vec<(usize, Rational)>], x: &[Rational]) -> Vector {
    let mut part = vec![Rational::zero(); x.len()];
    for row in rows {
        let value: Rational = row.iter().map(|(i, g)| g * &x[*i]).sum();
        for (i, _) in row.iter().filter(|(_, g)| num::Signed::is_positive(g)) {
            assert!(part[*i].is_zero(), "two rows of one band are about the element {i}");
            part[*i] = value.clone();
        }
    }
    part
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn the_bands_of_a_vector_add_up_to_it(mut tape in tape(100)) {
        let x: Vector = (0..LEN).map(|_| ratio(tape.around(1000), 7)).collect();
        for kernel in kernels().iter().filter(|k| k.scale.contains("mean") || k.scale.contains("groups")) {
            let ladder = ladder(&format!("{}, cutoff = {}", kernel.scale, kernel.rungs[0].0));
            let chain: Vec<usize> = ladder.rungs().into_iter().filter(|_| !tape.one_in(3)).collect();
            let ends: Vec<Option<usize>> = [None].into_iter().chain(chain.into_iter().map(Some)).chain([None]).collect();
            let mut sum = vec![Rational::zero(); LEN];
            for pair in ends.windows(2) {
                let part = match ladder.band(pair[0], pair[1], LEN) {
                    Ok(rows) => band_part(&rows, &x),
                    // The finest rung sees everything.
                    Err(message) => {
                        prop_assert!(message.contains("nothing between"), "{}", message);
                        vec![Rational::zero(); LEN]
                    }
                };
                sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
            }
            prop_assert_eq!(&sum, &x, "{}: {:?}", kernel.scale, ends);
        }
    }
}

#[test]
fn a_band_sees_nothing_of_what_its_rungs_hide_or_see() {
    for kernel in kernels() {
        let ladder = ladder(&format!("{}, cutoff = {}", kernel.scale, kernel.rungs[0].0));
        for (seen, seen_rows) in &kernel.rungs {
            for (hidden, hidden_rows) in kernel.rungs.iter().filter(|(k, _)| k != seen && ladder.is_finer(*seen, *k)) {
                let Ok(rows) = ladder.band(Some(*seen), Some(*hidden), LEN) else { continue };
                for row in &rows {
                    let mut dense = vec![Rational::zero(); LEN];
                    row.iter().for_each(|(i, g)| dense[*i] = g.clone());
                    // It is a function of what the finer rung sees.
                    assert!(is_in_kernel(&null_space(seen_rows, LEN), &dense), "{}", kernel.scale);
                    // Means and orthogonal modes have nothing of what the coarser rung sees.
                    if !kernel.scale.contains("pca") {
                        assert!(is_in_kernel(hidden_rows, &dense), "{}: {seen} to {hidden}", kernel.scale);
                    }
                }
            }
        }
    }
}

#[test]
fn a_band_of_modes_has_their_coordinates() {
    let kernels = kernels();
    let pca = kernels.iter().find(|k| k.scale.contains("pca")).unwrap();
    let ladder = ladder(&format!("{}, cutoff = 0", pca.scale));
    let dense = |rows: Vec<Vec<(usize, Rational)>>| -> Vec<Vector> {
        let dense = |row: Vec<(usize, Rational)>| {
            let mut dense = vec![Rational::zero(); LEN];
            row.into_iter().for_each(|(i, g)| dense[i] = g);
            dense
        };
        rows.into_iter().map(dense).collect()
    };
    let modes = &pca.rungs[4].1;
    assert_eq!(dense(ladder.band(Some(3), Some(1), LEN).unwrap()), modes[1..3]);
    assert_eq!(dense(ladder.band(Some(2), None, LEN).unwrap()), modes[..2]);
    // Four modes do not say what else there is in twelve elements.
    assert!(ladder.band(None, Some(2), LEN).unwrap_err().contains("`seen`"));
    assert!(ladder.band(Some(2), None, 11).is_err());
}

#[test]
fn a_huge_band_of_an_output_is_an_error_and_not_a_fault() {
    let ladder = ladder("family = \"block-mean\", shape = [4294967296, 4294967296, 4], cutoff = 2");
    assert!(ladder.band(Some(2), None, LEN).unwrap_err().contains("does not fit"));
}

#[test]
fn more_atoms_than_there_can_be_are_an_error_at_once() {
    let scale = "family = \"dictionary\", atoms = [[1]], nested = [4294967295], residual = 0, cutoff = 1";
    assert_error(scale, Code::ClaimShape);
}
