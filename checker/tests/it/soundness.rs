//! What the rules establish is true: for random networks, claims and proofs, points of the domain are evaluated by an
//! interpreter of its own (`support/reference.rs`) and must keep to every bound.

use crate::support::case_study::{Plan, Point, Study, random_proof, random_study, without_idle_trees};
use crate::support::onnx::Model;
use crate::support::reference::Size;
use crate::support::tape::{Tape, tape};
use crate::support::{self, default_proof, int, parse_claim, read_model};
use num::{Signed, Zero};
use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::certificate::{End, Proof, Refine, Side};
use scalecheck::claim::Property;
use scalecheck::error::Code;
use scalecheck::exact::Exact;
use scalecheck::number::{Rational, scale_by_power_of_two};
use scalecheck::problem::{Cell, Problem};
use scalecheck::rules::back_substitution::Relaxation;
use scalecheck::rules::case::{Case, GUARD};
use scalecheck::rules::{close, split, tree, witness};

type Vector = Vec<Rational>;

const WILD: Plan = Plan {
    net: Size { inputs: 4, steps: 7, relus: 8, wild: true },
    perturbs: 2,
    input_only: false,
    only_blocks: false,
};
const POINTS: usize = 6;

fn cases(cases: u32) -> Runner {
    Runner { cases, max_shrink_iters: 300, failure_persistence: None, ..Runner::default() }
}

/// `b − A d` of a cell with one row: negative where the cell is not reached.
fn excess(cell: &Cell, output: &[Rational]) -> Rational {
    let row = &cell.rows[0];
    &row.bound - row.terms.iter().map(|&(i, a)| &output[i] * int(a)).sum::<Rational>()
}

/// Deviations of all tensors of the problem at a point, by the checker's exact evaluation, compared with the
/// reference wherever that has a name for the tensor.
fn deviations(study: &Study, point: &Point) -> Vec<Vector> {
    let own: Vec<Vector> =
        witness::deviations(&study.problem, &study.by_block(&point.z)).iter().map(Exact::to_rationals).collect();
    for (t, expected) in study.deviations(point).into_iter().enumerate() {
        if let Some(expected) = expected {
            assert_eq!(own[t], expected, "deviation of `{}`", study.problem.tensors[t].name);
        }
    }
    own
}

fn points(tape: &mut Tape, study: &Study) -> Vec<Vec<Vector>> {
    (0..POINTS).map(|_| study.point(tape)).map(|point| deviations(study, &point)).collect()
}

/// Every bound that the case knows contains the deviation of every point of the case.
fn assert_contained(case: &Case<'_>, points: &[Vec<Vector>]) {
    for t in 0..case.problem().tensors.len() {
        let Ok(bounds) = case.bounds(t) else { continue };
        let value = |m: i64| scale_by_power_of_two(&int(m), -i64::from(bounds.exp()));
        for (i, (&low, &high)) in bounds.lower().iter().zip(bounds.upper()).enumerate() {
            let (low, high) = (value(low), value(high));
            for point in points {
                let (d, name) = (&point[t][i], &case.problem().tensors[t].name);
                assert!(low <= *d && *d <= high, "element {i} of `{name}` is {d}, outside [{low}, {high}]");
            }
        }
    }
}

/// What a case that does not split says of each cell: the slack that is known of it, and whether it is closed.
type Leaf = Vec<Option<(Rational, bool)>>;

/// Refines as the rules say, and confirms every bound with the points of the case.
fn refine<'p>(proof: &Proof, steps: &[Refine], case: &mut Case<'p>, points: &[Vec<Vector>]) {
    for refine in steps {
        let t = refine.tensor;
        case.ensure(t).unwrap();
        case.ensure_ranges(&refine.hints.multipliers).unwrap();
        let mut found = Vec::new();
        let relaxation = Relaxation::new(case, t, refine.hints.slopes.map(|s| &proof.slopes[s]));
        for row in refine.rows.clone().unwrap_or_else(|| (0..case.problem().tensors[t].centre.len()).collect()) {
            for (side, sign) in [(Side::Lower, -1), (Side::Upper, 1)] {
                if refine.side.is_none_or(|s| s == side) {
                    let bound = relaxation.upper_bound(t, &[(row, sign)], &refine.hints.multipliers).unwrap();
                    for point in points {
                        let d = &point[t][row] * int(sign);
                        assert!(d <= bound, "refined {side:?} bound {bound} of element {row} at {d}");
                    }
                    let exp = case.bounds(t).unwrap().exp() + GUARD as i32;
                    let m = relaxation.rounded_bound(t, &[(row, sign)], &refine.hints.multipliers, exp).unwrap();
                    let rounded = scale_by_power_of_two(&Rational::from_integer(m.into()), -i64::from(exp));
                    assert!(bound <= rounded || m == 1 << 126, "{rounded} is below {bound}");
                    // Where nothing is cut a few units at the most are lost.
                    let lost = scale_by_power_of_two(&(&rounded - &bound), exp.into());
                    assert!(lost < int(16) || m == -1 << 126, "{rounded} is {lost} units above {bound}");
                    found.push((row, side, m));
                }
            }
        }
        for (row, side, m) in found {
            match side {
                Side::Lower => case.learn_rounded(t, row, Some(-m), None).unwrap(),
                Side::Upper => case.learn_rounded(t, row, None, Some(m)).unwrap(),
            }
        }
        case.renormalise(t).unwrap();
        assert_contained(case, points);
    }
}

/// Walks a tree as the rules say, with the points of each case, and confirms every bound with them. `said` is what
/// the cases above say of the cells. Returns the cases that do not split, without void ones.
fn follow<'p>(
    proof: &Proof,
    at: &mut usize,
    mut case: Case<'p>,
    points: Vec<Vec<Vector>>,
    mut said: Leaf,
) -> Vec<Leaf> {
    let (problem, node) = (case.problem(), &proof.nodes[*at]);
    *at += 1;
    refine(proof, &node.refine, &mut case, &points);
    if !node.close.is_empty() {
        case.ensure(problem.output).unwrap();
        node.close.iter().for_each(|entry| case.ensure_ranges(&entry.hints.multipliers).unwrap());
    }
    for entry in &node.close {
        let slopes = entry.hints.slopes.map(|s| &proof.slopes[s]);
        let relaxation = Relaxation::new(&case, problem.output, slopes);
        let cell = &problem.cells[entry.cell];
        let slack = close::slack(problem, cell, entry, &relaxation).unwrap();
        let closed = close::closes(cell, entry, &slack);
        for point in &points {
            let excess = excess(cell, &point[problem.output]);
            assert!(excess <= slack, "cell {}: a point has {excess}, the case {slack}", entry.cell);
            assert!(!closed || excess.is_negative() || (cell.rows[0].strict && excess.is_zero()));
        }
        // What a case above has closed stays closed, by the best of all slacks; what it has not closed is as if it had
        // said nothing.
        let goes_on = matches!(node.end, End::Split { .. });
        said[entry.cell] = match said[entry.cell].take() {
            Some((earlier, true)) if closed => Some((earlier.min(slack), true)),
            None if closed || !goes_on => Some((slack, closed)),
            earlier => earlier,
        };
    }
    match &node.end {
        End::Split { tensor, element, at: threshold } => {
            case.ensure(*tensor).unwrap();
            let centre = problem.tensors[*tensor].centre.get(*element);
            let value = |point: &Vec<Vector>| &centre + &point[*tensor][*element];
            let low_points: Vec<_> = points.iter().filter(|p| value(p) <= *threshold).cloned().collect();
            let high_points: Vec<_> = points.iter().filter(|p| value(p) >= *threshold).cloned().collect();
            assert!(low_points.len() + high_points.len() >= points.len());
            let (low, high) = split::split(case, *tensor, *element, threshold);
            assert_contained(&low, &low_points);
            assert_contained(&high, &high_points);
            let mut leaves = follow(proof, at, low, low_points, said.clone());
            leaves.extend(follow(proof, at, high, high_points, said));
            leaves
        }
        End::Leaf => {
            assert_contained(&case, &points);
            vec![said]
        }
        End::Void { tensor, element } => {
            let void = case.is_void(*tensor, *element);
            assert!(void && points.is_empty(), "a void case has points, or a value");
            vec![]
        }
    }
}

/// Walks all trees as the rules say, and compares with what the checker has found. Returns the number of cells that
/// are excluded, and how many of those not by the first tree.
fn follow_all(problem: &Problem, proof: &Proof, points: &[Vec<Vector>]) -> (usize, usize) {
    let mut root = Case::root(problem).unwrap();
    refine(proof, &proof.refine, &mut root, points);
    let (mut at, mut trees, mut found) = (0, 0, vec![None; problem.cells.len()]);
    let mut later = 0;
    while at < proof.nodes.len() {
        let leaves = follow(proof, &mut at, root.clone(), points.to_vec(), vec![None; problem.cells.len()]);
        for (cell, found) in found.iter_mut().enumerate() {
            let said: Vec<Option<&(Rational, bool)>> = leaves.iter().map(|leaf| leaf[cell].as_ref()).collect();
            let closed = said.iter().all(|said| said.is_some_and(|(_, closed)| *closed));
            let slack = said.iter().map(|said| said.map(|(slack, _)| slack)).collect::<Option<Vec<_>>>();
            let slack = slack.and_then(|all| all.into_iter().max().cloned());
            if found.as_ref().is_none_or(|(_, before)| closed && !before) {
                later += usize::from(trees > 0);
                *found = Some((slack, closed));
            }
        }
        trees += 1;
    }
    let established = tree::walk(problem, proof, u64::MAX).unwrap();
    let found: Vec<(Option<Rational>, bool)> = found.into_iter().flatten().collect();
    assert_eq!(established.open.is_none(), found.iter().all(|(_, closed)| *closed));
    assert_eq!(established.slack, found.iter().map(|(slack, _)| slack.clone()).collect::<Vec<_>>());
    (found.iter().filter(|(_, closed)| *closed).count(), later)
}

/// Every slack that a whole proof establishes is at least the excess of every point.
fn assert_slacks_hold(problem: &Problem, proof: &Proof, points: &[Vec<Vector>]) {
    let established = tree::walk(problem, proof, u64::MAX).unwrap();
    for (k, (cell, slack)) in problem.cells.iter().zip(&established.slack).enumerate() {
        assert!(slack.is_some() || established.open.is_some(), "the domain is not empty, so some case is not void");
        for point in points {
            let excess = excess(cell, &point[problem.output]);
            let holds = slack.as_ref().is_none_or(|slack| excess <= *slack);
            assert!(holds, "cell {k}: a point has {excess}, the proof established {slack:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn random_proofs_never_exclude_a_point_of_the_domain(mut tape in tape(900)) {
        let study = random_study(&mut tape, WILD);
        let points = points(&mut tape, &study);
        for _ in 0..2 {
            let text = without_idle_trees(&study.problem, random_proof(&mut tape, &study));
            let proof = Proof::new(&text, &study.problem).unwrap();
            assert_slacks_hold(&study.problem, &proof, &points);
            follow_all(&study.problem, &proof, &points);
        }
    }

    #[test]
    fn default_proofs_never_exclude_a_point_of_the_domain(mut tape in tape(700)) {
        let study = random_study(&mut tape, WILD);
        let points = points(&mut tape, &study);
        let proof = Proof::new(&default_proof(&study.network, &study.problem), &study.problem).unwrap();
        assert_slacks_hold(&study.problem, &proof, &points);
        follow_all(&study.problem, &proof, &points);
    }

    /// `witness::check` says that a point breaks the claim if and only if the reference says so.
    #[test]
    fn a_witness_breaks_the_claim_exactly_if_the_reference_output_does(mut tape in tape(700)) {
        let study = random_study(&mut tape, WILD);
        let output = study.net.output();
        let clean = &study.clean()[output];
        let coarse = |y: &[Rational]| -> Vector {
            study.problem.coarse.iter().map(|row| row.iter().map(|(i, g)| g * &y[*i]).sum()).collect()
        };
        let before = coarse(clean);
        prop_assert_eq!(&before, &study.problem.clean);
        for _ in 0..POINTS {
            let point = study.point(&mut tape);
            let after = coarse(&clean.iter().zip(&point.moved[output]).map(|(c, d)| c + d).collect::<Vector>());
            let broken = match &study.claim.settings[0].property {
                Property::Tolerance(t) => before.iter().zip(&after).any(|(b, a)| (a - b).abs() > *t),
                Property::Reaches(t) => before.iter().zip(&after).any(|(b, a)| (a - b).abs() >= *t),
                Property::Winner => {
                    let winner = (0..before.len()).max_by_key(|&k| &before[k]).unwrap();
                    (0..after.len()).any(|k| k != winner && after[k] >= after[winner])
                }
                Property::Unsafe => unreachable!("these claims state perturbations"),
            };
            match witness::check(&study.problem, &study.by_block(&point.z)) {
                Ok(found) => {
                    prop_assert!(broken);
                    prop_assert_eq!(found.coarse, after);
                }
                Err(e) => {
                    prop_assert_eq!(e.code, Code::WitnessHarmless);
                    prop_assert!(!broken);
                }
            }
        }
    }
}

/// The sum of a perturbed tensor and one that is not has the deviation of the first and a centre of its own; a ReLU
/// after it bends elsewhere.
#[test]
fn a_sum_with_an_unperturbed_tensor_keeps_its_own_centre() {
    let model = Model::new(&[1])
        .node("Neg", &["x"], "site")
        .node("Add", &["site", "x"], "sum")
        .node("Relu", &["sum"], "y")
        .output("y");
    let claim = parse_claim(
        "model = \"m\"\n[inputs]\npoint = [5]\n[[perturb]]\nsite = \"site\"\nscale = { family = \"none\" }\n\
         amplitude = 1\n[output]\ntolerance = 1\n",
    );
    let network = read_model(&model.bytes());
    let problem = support::problem(&network, &claim, &[int(5)]).unwrap();
    // y = max(δ, 0): the kink is at 0, although `site` is −5 and `x` is 5.
    assert!(problem.tensors[problem.find("sum").unwrap()].centre.get(0).is_zero());
    for (delta, expected) in [(-1, 0), (1, 1)] {
        assert_eq!(witness::deviations(&problem, &[vec![int(delta)]])[problem.output].get(0), int(expected));
    }
    let proof = Proof::new(&default_proof(&network, &problem), &problem).unwrap();
    assert_eq!(tree::check(&problem, &proof, u64::MAX).unwrap().slack, [Some(int(0)), Some(int(-1))]);
}

/// Random proofs have what a certificate may have, and it matters.
#[test]
fn the_random_proofs_are_not_trivial() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut excluded, mut later, mut refined, mut named, mut inner, mut void) = (0, 0, 0, 0, 0, 0);
    for _ in 0..200 {
        let mut tape = tape(900).new_tree(&mut runner).unwrap().current();
        let study = random_study(&mut tape, WILD);
        let text = without_idle_trees(&study.problem, random_proof(&mut tape, &study));
        let proof = Proof::new(&text, &study.problem).unwrap();
        let (cells, of_later) = follow_all(&study.problem, &proof, &[]);
        excluded += cells;
        later += of_later;
        refined += usize::from(!text.refine.is_empty());
        named += text.nodes.iter().flat_map(|n| &n.close).flatten().filter(|entry| entry.cell.is_some()).count();
        inner += text.nodes.iter().filter(|n| n.split.is_some() && n.close.is_some()).count();
        void += text.nodes.iter().filter(|n| n.void.is_some()).count();
    }
    assert!(
        excluded > 100 && later >= 10 && refined > 50 && named > 50 && inner > 30,
        "{excluded} {later} {refined} {named} {inner} {void}"
    );
}

#[test]
fn the_random_studies_are_not_trivial() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut studies, mut relus, mut moved, mut valid) = (0, 0, 0, 0);
    let kinds = [
        "family = \"none\"",
        "\"block-mean\"",
        "\"haar\"",
        "\"cdf-5-3\"",
        "\"cdf-1-3\"",
        "\"orthogonal-4\"",
        "\"groups\"",
        "modes = ",
        "generator = ",
        "\"dct\"",
        "nested = ",
        "bounds = ",
        "residual = ",
        "weights = \"all\"",
        "weights = [",
        "error = \"relative\"",
        "error = \"absolute\"",
    ];
    let mut moving = [0; 17];
    for _ in 0..400 {
        let mut tape = tape(700).new_tree(&mut runner).unwrap().current();
        let study = random_study(&mut tape, WILD);
        studies += 1;
        relus += usize::from(study.net.relus() > 0);
        valid += usize::from(study.valid.is_some());
        let moves = study.point(&mut tape).moved[study.net.output()].iter().any(|d| !d.is_zero());
        moved += usize::from(moves);
        for (kind, count) in kinds.iter().zip(&mut moving) {
            *count += usize::from(moves && study.text.contains(kind));
        }
    }
    assert!(relus > studies / 2 && moved > studies / 3 && valid > studies / 8, "{relus} {moved} {valid} of {studies}");
    for (kind, count) in kinds.iter().zip(moving) {
        assert!(count >= 4, "{kind}: {count} of {studies} studies move the output");
    }
}
