//! How close the rules come to the truth: on tiny networks the exact worst case is known by enumeration of all phases
//! (`support/optimum.rs`). No proof goes below it, and a full case split with the right multipliers reaches it.

use crate::support::case_study::{Plan, Study, random_proof, random_study, without_idle_trees};
use crate::support::optimum::{Constraint, Kind, contradiction, maximum};
use crate::support::reference::Size;
use crate::support::tape::tape;
use crate::support::{default_proof, int, ratio, tensor_names};
use num::bigint::BigInt;
use num::{Signed, ToPrimitive, Zero};
use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::certificate::{CloseText, MultiplierText, NodeText, Proof, ProofText, SplitText};
use scalecheck::number::{Rational, scale_by_power_of_two};
use scalecheck::problem::Problem;
use scalecheck::rules::tree;

/// The linear programs of the tests know boxes, groups and details only.
const TINY: Plan =
    Plan { net: Size { inputs: 3, steps: 4, relus: 4, wild: false }, perturbs: 1, input_only: true, only_blocks: true };
const HIDDEN: Plan = Plan { input_only: false, ..TINY };

fn cases(cases: u32) -> Runner {
    Runner {
        cases,
        max_global_rejects: 20 * cases,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Runner::default()
    }
}

fn slacks(problem: &Problem, text: &ProofText) -> Vec<Option<Rational>> {
    tree::walk(problem, &Proof::new(text, problem).unwrap(), u64::MAX).unwrap().slack
}

/// The multiplier of a certificate nearest to `y`.
fn multiplier(tensor: usize, element: usize, y: &Rational) -> MultiplierText {
    let bits = y.numer().bits() as i64 - y.denom().bits() as i64 + 1;
    let exponent = (46 - bits).min(256);
    let mantissa = scale_by_power_of_two(y, exponent).round().to_integer();
    (tensor, element, mantissa.to_i64().unwrap(), exponent as i32)
}

/// True if the largest or the smallest value of a neuron's pre-activation under the constraints is exactly its kink.
fn touches_kink(phase: &Constraint, constraints: &[Constraint]) -> bool {
    let negated: Vec<Rational> = phase.normal.iter().map(|c| -c).collect();
    let extreme = |c: &[Rational]| maximum(c, constraints).expect("the case is possible").0;
    extreme(&phase.normal) == phase.bound || extreme(&negated) == -&phase.bound
}

/// A proof that splits on every neuron that a perturbation reaches, and closes each leaf with the multipliers of the
/// linear program of its phases, or with a contradiction if the phases are impossible.
struct FullSplit<'a> {
    study: &'a Study,
    domain: Vec<Constraint>,
    /// Neurons that a perturbation reaches.
    reached: Vec<usize>,
    text: ProofText,
    /// Some neuron only touches its kink in some case, where both of its phases are right and the checker takes the
    /// active one: the linear program of the other phase then is not the checker's.
    degenerate: bool,
}

impl<'a> FullSplit<'a> {
    fn new(study: &'a Study) -> Self {
        let reaches = |t: usize| study.problem.find(&study.net.names[t]).is_some();
        let reached = (0..study.neurons().len()).filter(|&k| reaches(study.neurons()[k].tensor)).collect();
        let tensors = tensor_names(&study.network, &study.problem);
        let text = ProofText { slope_bits: 16, tensors, slopes: vec![], ..ProofText::default() };
        let mut tree = FullSplit { study, domain: study.domain(), reached, text, degenerate: false };
        let clean = study.clean();
        let phases = study.neurons().iter().map(|n| clean[n.tensor][n.element].is_positive()).collect();
        tree.grow(phases, 0);
        tree
    }

    fn position(&self, t: usize) -> usize {
        let wanted = self.study.problem.find(&self.study.net.names[t]);
        self.text.tensors.iter().position(|n| self.study.problem.find(n) == wanted).unwrap()
    }

    fn multipliers(&self, constraints: &[Constraint], y: &[Rational]) -> Vec<MultiplierText> {
        let neurons = self.study.neurons();
        let mut found = Vec::new();
        for (c, y) in constraints.iter().zip(y).filter(|(_, y)| !y.is_zero()) {
            let (tensor, element, y) = match c.kind {
                Kind::Variables => continue,
                Kind::ValidHigh(i) => (0, i, -y),
                Kind::ValidLow(i) => (0, i, y.clone()),
                Kind::Active(k) => (neurons[k].tensor, neurons[k].element, y.clone()),
                Kind::Inactive(k) => (neurons[k].tensor, neurons[k].element, -y),
            };
            found.push(multiplier(self.position(tensor), element, &y));
        }
        found
    }

    /// Adds the case in which the first `depth` reached neurons have these phases.
    fn grow(&mut self, phases: Vec<bool>, depth: usize) {
        let study = self.study;
        let n = study.dimensions();
        let mut constraints = self.domain.clone();
        constraints.extend(study.phase_constraints(&phases, &self.reached[..depth]));
        // A contradiction of one neuron with the domain comes first: a threshold far outside the bounds of an element is
        // kept just outside of them only, which is enough for that contradiction but not for every other.
        let mut last = self.domain.clone();
        last.extend(constraints.iter().skip(last.len()).last().cloned());
        let contradictory = match contradiction(&last, n) {
            Some((gap, y)) => Some((last, gap, y)),
            None => contradiction(&constraints, n).map(|(gap, y)| (constraints.clone(), gap, y)),
        };
        let multipliers: Vec<Vec<MultiplierText>> = match contradictory {
            Some((constraints, gap, y)) => {
                let factor = int(1 << 30) / gap;
                let y: Vec<Rational> = y.iter().map(|y| y * &factor).collect();
                vec![self.multipliers(&constraints, &y); study.problem.cells.len()]
            }
            None if depth < self.reached.len() => {
                let k = self.reached[depth];
                let neuron = study.neurons()[k];
                let (tensor, element) = (self.position(neuron.tensor), neuron.element);
                self.degenerate |= touches_kink(&study.phase_constraints(&phases, &[k])[0], &constraints);
                let split = Some(SplitText { tensor, element, at: "0".into() });
                self.text.nodes.push(NodeText { split, ..NodeText::default() });
                for active in [false, true] {
                    let mut phases = phases.clone();
                    phases[k] = active;
                    self.grow(phases, depth + 1);
                }
                return;
            }
            None => study
                .excesses(&phases)
                .iter()
                .map(|f| {
                    let (_, y) = maximum(&f.c, &constraints).expect("these phases are possible");
                    self.multipliers(&constraints, &y)
                })
                .collect(),
        };
        let close = multipliers.into_iter().map(|multipliers| CloseText { multipliers, ..CloseText::default() });
        self.text.nodes.push(NodeText { close: Some(close.collect()), ..NodeText::default() });
    }
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn no_proof_establishes_more_than_the_exact_optimum(mut tape in tape(300)) {
        let study = random_study(&mut tape, HIDDEN);
        prop_assume!(study.dimensions() <= 3 && study.net.relus() > 0);
        let optimum = study.optimum();
        let random = without_idle_trees(&study.problem, random_proof(&mut tape, &study));
        for text in [default_proof(&study.network, &study.problem), random] {
            // A cell of which some case says nothing has no slack.
            for (optimum, slack) in optimum.iter().zip(slacks(&study.problem, &text)) {
                prop_assert!(slack.is_none_or(|slack| slack >= *optimum));
            }
        }
    }

    /// The optimum itself is an upper bound of what points reach.
    #[test]
    fn no_point_exceeds_the_exact_optimum(mut tape in tape(300)) {
        let study = random_study(&mut tape, HIDDEN);
        prop_assume!(study.dimensions() <= 3);
        let optimum = study.optimum();
        for _ in 0..8 {
            let moved = &study.point(&mut tape).moved[study.net.output()];
            for (cell, optimum) in study.problem.cells.iter().zip(&optimum) {
                let row = &cell.rows[0];
                let sum: Rational = row.terms.iter().map(|&(i, a)| &moved[i] * int(a)).sum();
                prop_assert!(&row.bound - sum <= *optimum);
            }
        }
    }

    /// Numbers here are short dyadic ones, so all that separates the bound from the optimum is that multipliers have
    /// 47 bits.
    #[test]
    fn a_full_split_with_dual_multipliers_reaches_the_exact_optimum(mut tape in tape(300)) {
        let study = random_study(&mut tape, HIDDEN);
        prop_assume!(study.dimensions() <= 2 && study.net.relus() > 0);
        let optimum = study.optimum();
        let FullSplit { text, degenerate, .. } = FullSplit::new(&study);
        prop_assume!(!degenerate);
        let near = Rational::new(1.into(), BigInt::from(1_u64 << 30));
        for (optimum, slack) in optimum.iter().zip(slacks(&study.problem, &text)) {
            let gap = slack.unwrap() - optimum;
            prop_assert!(!gap.is_negative() && gap <= near, "gap {}", gap);
        }
    }
}

#[test]
fn the_linear_program_of_the_tests_is_right() {
    // max z1 + 2 z2 over z1 + z2 ≤ 1, z ≥ 0 is 2, at (0, 1), with multiplier 2 of the first constraint.
    let constraint = |normal: [i64; 2], bound| Constraint {
        normal: normal.into_iter().map(int).collect(),
        bound: int(bound),
        kind: Kind::Variables,
    };
    let mut constraints = vec![constraint([1, 1], 1), constraint([-1, 0], 0), constraint([0, -1], 0)];
    let (value, y) = maximum(&[int(1), int(2)], &constraints).unwrap();
    assert_eq!((value, y), (int(2), vec![int(2), int(1), int(0)]));
    assert!(contradiction(&constraints, 2).is_none());
    constraints.push(constraint([-1, -1], -2));
    let (gap, y) = contradiction(&constraints, 2).unwrap();
    assert_eq!((gap, &y[0], &y[3]), (ratio(1, 2), &ratio(1, 2), &ratio(1, 2)));
}
