//! Each rule by itself, against exact rational arithmetic at the points where it is tight: a last bit that is rounded
//! the wrong way shows here, where whole networks would hide it.

use crate::support::onnx::{Data, Model};
use crate::support::tape::{Tape, tape};
use crate::support::{self, int, ratio};
use num::bigint::BigInt;
use num::{One, Signed, Zero};
use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::bounds::Bounds;
use scalecheck::certificate::Multipliers;
use scalecheck::exact::Exact;
use scalecheck::ladder::Variables;
use scalecheck::linear::Linear;
use scalecheck::number::{DyadicSum, Rational, approximate, ceil_shift, floor_scaled, scale_by_power_of_two};
use scalecheck::problem::{Op, Problem, Source, Tensor};
use scalecheck::rules::back_substitution::Relaxation;
use scalecheck::rules::case::{Case, GUARD};
use scalecheck::rules::relu::{Lines, Relu};
use scalecheck::rules::round::{Coefficients, round};
use scalecheck::rules::weights::{self, Magnitudes};
use scalecheck::rules::{interval, split};
use scalecheck::weights::{Dyadic, Values, Weights};
use std::sync::Arc;

type Vector = Vec<Rational>;

fn cases(cases: u32) -> Runner {
    Runner { cases, max_shrink_iters: 2000, failure_persistence: None, ..Runner::default() }
}

fn dyadic(mantissa: impl Into<BigInt>, exp: impl Into<i64>) -> Rational {
    scale_by_power_of_two(&Rational::from_integer(mantissa.into()), -exp.into())
}

/// A number of any size and kind: dyadic with many or few bits, or not dyadic.
fn number(tape: &mut Tape) -> Rational {
    let shift = tape.around(40);
    let value = match tape.below(4) {
        0 => int(tape.around(3)),
        1 => int(tape.around(1 << 30)) * int(1 << 31) + int(tape.around(1 << 30)),
        2 => ratio(tape.around(1 << 30), 1 + 2 * tape.below(1 << 20) as i64),
        _ => return ratio(tape.around(16), 8),
    };
    scale_by_power_of_two(&value, shift)
}

/// Ends in order.
fn ends(tape: &mut Tape, len: usize) -> (Vector, Vector) {
    let pair = |_| {
        let (a, b) = (number(tape), number(tape));
        if a <= b { (a, b) } else { (b, a) }
    };
    (0..len).map(pair).unzip()
}

fn stored(bounds: &Bounds) -> (Vector, Vector) {
    let value = |&m: &i64| dyadic(m, bounds.exp());
    (bounds.lower().iter().map(value).collect(), bounds.upper().iter().map(value).collect())
}

fn shifted_relu(c: &Rational, d: &Rational) -> Rational {
    (c + d).max(Rational::zero()) - c.clone().max(Rational::zero())
}

/// Also of the least integer, beyond its own width.
#[test]
fn shifts_by_any_number_of_bits_round_up() {
    for (m, by, ceiling) in [(5, 1, 3), (-5, 1, -2), (i128::MIN, 127, -1), (i128::MIN, 128, 0), (i128::MAX, 1000, 1)] {
        assert_eq!(ceil_shift(m, by), ceiling);
    }
}

proptest! {
    #![proptest_config(cases(400))]

    /// Bounds are rounded outward, by at most a 2^44th of the largest end.
    #[test]
    fn bounds_contain_what_they_are_made_of(mut tape in tape(60)) {
        let (low, high) = ends(&mut tape, 3);
        let bounds = Bounds::from_rationals(&low, &high).unwrap();
        let (l, u) = stored(&bounds);
        let largest = low.iter().chain(&high).map(Signed::abs).max().unwrap();
        let ulp = scale_by_power_of_two(&largest, -44);
        for i in 0..3 {
            prop_assert!(l[i] <= low[i] && high[i] <= u[i]);
            prop_assert!(&low[i] - &l[i] <= ulp && &u[i] - &high[i] <= ulp);
        }
        let again = bounds.renormalised().unwrap();
        let (l2, u2) = stored(&again);
        prop_assert!(l2.iter().zip(&l).all(|(a, b)| a <= b) && u2.iter().zip(&u).all(|(a, b)| a >= b));
    }

    /// What is learned never removes a value that the old bounds and the new fact allow.
    #[test]
    fn learning_keeps_every_value_that_is_allowed(mut tape in tape(60)) {
        let (low, high) = ends(&mut tape, 1);
        let mut bounds = Bounds::from_rationals(&low, &high).unwrap();
        let value = number(&mut tape);
        let mut learned_low = bounds.clone();
        learned_low.raise_lower(0, &value);
        bounds.drop_upper(0, &value);
        for point in [&low[0], &high[0], &value] {
            if low[0] <= *point && *point <= high[0] {
                if *point >= value {
                    let (l, u) = stored(&learned_low);
                    prop_assert!(l[0] <= *point && *point <= u[0]);
                }
                if *point <= value {
                    let (l, u) = stored(&bounds);
                    prop_assert!(l[0] <= *point && *point <= u[0]);
                }
            }
        }
        prop_assert_eq!(learned_low.is_void(0), stored(&learned_low).0[0] > stored(&learned_low).1[0]);
    }

    #[test]
    fn brackets_of_exact_numbers_are_floor_and_ceiling(mut tape in tape(30), exp in -200..200_i32) {
        let value = number(&mut tape);
        let scaled = scale_by_power_of_two(&value, exp.into());
        let limit = 1_i64 << 60;
        let (a, b) = Exact::from_rationals(&[int(1), value.clone()]).bracket(1, exp, limit);
        let clamp = |r: Rational| r.max(int(-limit)).min(int(limit));
        prop_assert_eq!((int(a), int(b)), (clamp(scaled.floor()), clamp(scaled.ceil())));
    }

    /// `mantissa ≤ weight · 2^exp < mantissa + 1`, with equality unless exact values are kept.
    #[test]
    fn weights_lie_in_their_tails(mut tape in tape(60), kind in 0..3_u8) {
        let values: Vector = (0..4).map(|_| number(&mut tape)).collect();
        let values = match kind {
            0 => Values::Rational(values),
            1 => Values::Rational((0..4).map(|_| ratio(tape.around(100), 8)).collect()),
            _ => Values::Dyadic((0..4).map(|_| Dyadic::new(tape.around(1 << 30) << tape.below(30), tape.around(90) as i32)).collect()),
        };
        let weights = Weights::new(values.clone()).unwrap();
        for k in 0..4 {
            let scaled = scale_by_power_of_two(&values.get(k), weights.exp().into());
            let m = int(weights.mantissas()[k]);
            prop_assert!(m <= scaled && scaled < &m + Rational::one());
            prop_assert!(weights.exact().is_some() || m == scaled);
        }
    }

    #[test]
    fn interval_sums_contain_both_extremes(mut tape in tape(120), terms in 1..3_usize) {
        let (rows, cols) = (2, 3);
        let mut maps = Vec::new();
        for _ in 0..terms {
            let w: Vector = (0..rows * cols).map(|_| number(&mut tape)).collect();
            let linear = Linear::dense(1, rows, cols, 1, Weights::new(Values::Rational(w.clone())).unwrap()).unwrap();
            let (low, high) = ends(&mut tape, cols);
            maps.push((w, linear, low.clone(), high.clone(), Bounds::from_rationals(&low, &high).unwrap()));
        }
        let bounds = interval::affine(maps.iter().map(|(_, linear, .., b)| Ok((linear, b)))).unwrap();
        let (l, u) = stored(&bounds);
        for r in 0..rows {
            let extreme = |up: bool| -> Rational {
                let term = |w: &Rational, a: &Rational, b: &Rational| {
                    let (x, y) = (w * a, w * b);
                    if (x > y) == up { x } else { y }
                };
                maps.iter().flat_map(|(w, _, a, b, _)| (0..cols).map(move |c| term(&w[r * cols + c], &a[c], &b[c]))).sum()
            };
            prop_assert!(l[r] <= extreme(false) && extreme(true) <= u[r]);
        }
    }

    /// At the ends and the kink, where the lines are tight, and with slopes that need not be good ones.
    #[test]
    fn lines_enclose_the_relu_at_the_ends_and_the_kink(mut tape in tape(80), given in any::<bool>()) {
        let (low, high) = ends(&mut tape, 2);
        let bounds = Bounds::from_rationals(&low, &high).unwrap();
        // A centre of any size, or one that puts the kink inside or on an end of the range.
        let centre: Vector = (0..2)
            .map(|i| match tape.below(4) {
                0 => number(&mut tape),
                1 => -stored(&bounds).0[i].clone(),
                2 => -stored(&bounds).1[i].clone(),
                _ => -(&low[i] + (&high[i] - &low[i]) * ratio(tape.below(1000) as i64, 999)),
            })
            .collect();
        let relu = Relu::new(&bounds, &Exact::from_rationals(&centre));
        let slopes: Vec<Option<i64>> = (0..2).map(|_| (!tape.one_in(4)).then(|| tape.below((1 << 16) + 1) as i64)).collect();
        let slopes = given.then_some(&slopes[..]);
        let (above, below) = (relu.upper_lines(slopes), relu.lower_lines(slopes));
        let (e_low, e_high) = relu.output_bounds();
        let (p, q) = stored(&bounds);
        for i in 0..2 {
            let at = |line: &Lines, d: &Rational| dyadic(line.slope[i], 16) * d + dyadic(line.offset[i], bounds.exp());
            let kink = Some(-&centre[i]).filter(|k| p[i] <= *k && *k <= q[i]);
            let middle = (&p[i] + &q[i]) / int(2);
            for d in [p[i].clone(), q[i].clone(), middle].into_iter().chain(kink) {
                let e = shifted_relu(&centre[i], &d);
                prop_assert!(at(&below, &d) <= e && e <= at(&above, &d), "element {i} at {d}: {e}");
                prop_assert!(dyadic(e_low[i], bounds.exp()) <= e && e <= dyadic(e_high[i], bounds.exp()));
            }
        }
    }

    /// The sum of the kernel is the exact sum, however far apart its terms are.
    #[test]
    fn dyadic_sums_are_exact(mut tape in tape(120), spread in 1..400_i64) {
        let (mut sum, mut expected) = (DyadicSum::default(), Rational::zero());
        for _ in 0..tape.below(20) {
            let m = match tape.below(6) {
                0 => i128::MAX >> tape.below(120),
                1 => i128::MIN >> tape.below(120),
                2 => 0,
                // What came before, undone.
                3 => {
                    let undone = -expected.clone();
                    let zeros = undone.denom().trailing_zeros().unwrap() as i64;
                    sum.add_big(undone.numer().clone(), zeros);
                    expected = Rational::zero();
                    continue;
                }
                _ => i128::from(tape.around(1 << 30)) << tape.below(97),
            };
            let exp = tape.around(spread);
            if tape.one_in(4) { sum.add_big(m.into(), exp) } else { sum.add(m, exp) }
            expected += dyadic(m, exp);
        }
        let mut other = DyadicSum::default();
        let (a, e) = (i128::from(tape.around(1 << 30)), tape.around(spread));
        other.add(a, e);
        let odd = BigInt::from(1 + 2 * tape.below(3) as i64);
        expected += dyadic(a, e) / Rational::from_integer(odd.clone());
        prop_assert_eq!(sum.plus_quotient(other, &odd), expected);
    }

    /// A rounded sum is no smaller than the exact one, and larger by less than a multiple of the grid a term; what it is
    /// rounded up to afterwards is the same by either way.
    #[test]
    fn rounded_sums_are_rounded_up(mut tape in tape(120), spread in 1..300_i64, exp in -100..100_i64) {
        let grid = tape.around(100);
        let (mut sum, mut expected, mut terms) = (DyadicSum::rounded_up(grid), Rational::zero(), 0);
        for _ in 0..tape.below(20) {
            let m = match tape.below(4) {
                0 => i128::MAX >> tape.below(120),
                1 => i128::MIN >> tape.below(120),
                _ => i128::from(tape.around(1 << 30)) << tape.below(97),
            };
            let at = tape.around(spread);
            sum.add(m, at);
            expected += dyadic(m, at);
            terms += 1;
        }
        let found = sum.clone().plus_quotient(DyadicSum::default(), &BigInt::one());
        prop_assert!(expected <= found && found <= expected + dyadic(terms, grid));
        let odd = BigInt::from(1 + 2 * tape.below(1000) as i64);
        let ceiling = (scale_by_power_of_two(&found, exp) / Rational::from_integer(odd.clone())).ceil().to_integer();
        prop_assert!(sum.small_ceil(&odd, exp).is_none_or(|m| BigInt::from(m) == ceiling));
        prop_assert_eq!(sum.ceil(&odd, exp), ceiling);
    }

    /// Wherever the premise d ≤ u holds, also if the lower end is above, all ends are zero, or numbers are extreme.
    #[test]
    fn rounding_needs_the_upper_ends_alone(mut tape in tape(80), bits in 1..62_u32, exp in prop::sample::select(vec![0, 7, -900, 900, i32::MAX - 200, 200 - i32::MAX])) {
        let limit = (1_i64 << 48) - 1;
        let (mut low, mut high) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let end = |tape: &mut Tape| match tape.below(4) {
                0 => 0,
                1 => limit,
                2 => -limit,
                _ => tape.around(1 << 30) << tape.below(17),
            };
            let (a, b) = (end(&mut tape), end(&mut tape));
            low.push(a);
            high.push(b);
        }
        let wide = |v: &[i64]| v.iter().map(|&m| i128::from(m)).collect::<Vec<_>>();
        let bounds = Bounds::new(exp / 2, &wide(&low), &wide(&high)).unwrap();
        let mantissa = |tape: &mut Tape| match tape.below(5) {
            0 => 0,
            1 => (1 << 126) - 1,
            2 => -(1 << 126),
            _ => (i128::from(tape.around(1 << 30)) << 90 | i128::from(tape.around(1 << 30)) << 45) >> tape.below(120),
        };
        let v = Coefficients { mantissas: (0..3).map(|_| mantissa(&mut tape)).collect(), exp };
        let mut charge = DyadicSum::default();
        let Ok(short) = round(&v, bits, &bounds, &mut charge) else { return Ok(()) };
        prop_assert!(short.mantissas.iter().all(|m| m.unsigned_abs() < 1 << bits));
        // Over one exponent: v' ≤ v, the charge covers what is cut off, and zero ends cost nothing.
        let shift = v.exp - short.exp;
        let mut needed = BigInt::zero();
        for ((&m, &rounded), &u) in v.mantissas.iter().zip(&short.mantissas).zip(bounds.upper()) {
            let rest = BigInt::from(m) - (BigInt::from(rounded) << shift);
            prop_assert!(!rest.is_negative() && rest.bits() <= shift as u64);
            needed += rest * u.max(0);
        }
        let free = bounds.upper().iter().all(|&u| u <= 0);
        let place = i64::from(v.exp) + i64::from(bounds.exp());
        // The charge less what is needed, in units of the bound's and the coefficient's last places.
        if place.abs() < 10_000 {
            charge.add_big(-needed, place);
            let left = charge.plus_quotient(DyadicSum::default(), &1.into());
            prop_assert!(!left.is_negative() && (!free || left.is_zero()));
        }
    }

    /// At the corner of the box where the charge is needed in full.
    #[test]
    fn rounding_is_paid_for_at_every_corner(mut tape in tape(80), bits in 20..62_u32) {
        let (low, high) = ends(&mut tape, 3);
        let bounds = Bounds::from_rationals(&low, &high).unwrap();
        let mut mantissa = || -> i128 {
            let wide = i128::from(tape.around(1 << 30)) << 60 | i128::from(tape.around(1 << 30)) << 30 | i128::from(tape.around(1 << 30));
            wide << tape.below(30) >> tape.below(100)
        };
        let v = Coefficients { mantissas: (0..3).map(|_| mantissa()).collect(), exp: 7 };
        let mut charge = DyadicSum::default();
        let short = round(&v, bits, &bounds, &mut charge).unwrap();
        prop_assert!(short.mantissas.iter().all(|m| m.unsigned_abs() < 1 << bits));
        let (l, u) = stored(&bounds);
        for corner in 0..8 {
            let d: Vector = (0..3).map(|i| if corner >> i & 1 == 1 { u[i].clone() } else { l[i].clone() }).collect();
            let before: Rational = v.mantissas.iter().zip(&d).map(|(&m, d)| dyadic(m, v.exp) * d).sum();
            let after: Rational = short.mantissas.iter().zip(&d).map(|(&m, d)| dyadic(m, short.exp) * d).sum();
            prop_assert!(before <= after + charge.clone().plus_quotient(DyadicSum::default(), &1.into()));
        }
    }

    /// The support function against the best of all extreme points: within a zero-sum group all variables but one are
    /// at an end of their range. The valid range makes the box lopsided.
    #[test]
    fn support_is_the_maximum_over_box_and_groups(mut tape in tape(80), wide in any::<bool>()) {
        let n = 4;
        let x: Vector = (0..n).map(|_| ratio(tape.below(13) as i64, 12)).collect();
        let (block, family) = *tape.pick(&[
            (1, "family = \"none\""),
            (4, "family = \"block-mean\", shape = [4], cutoff = 4"),
            (2, "family = \"block-mean\", shape = [4], cutoff = 2"),
        ]);
        let list: Vec<String> = x.iter().map(|x| format!("\"{x}\"")).collect();
        let claim = format!(
            "model = \"m\"\n[inputs]\npoint = [{}]\nvalid = [0, 1]\n[[perturb]]\nsite = \"input\"\nscale = {{ {family} }}\n\
             amplitude = \"{}\"\n[output]\ntolerance = 1\n",
            list.join(", "), ratio(1 + tape.below(7) as i64, 8),
        );
        let network = support::read_model(&Model::new(&[4]).node("Relu", &["x"], "y").output("y").bytes());
        let problem = support::problem(&network, &support::parse_claim(&claim), &x).unwrap();
        let site = problem.find("x").unwrap();
        let (lower, upper) = (problem.domain[0].lower.clone(), problem.domain[0].upper.clone());
        let mut case = Case::root(&problem).unwrap();
        case.ensure(site).unwrap();
        let coefficient = |tape: &mut Tape| if wide { tape.around(1 << 30) << tape.below(32) } else { tape.around(9) };
        let v: Vec<(usize, i64)> = (0..n).map(|i| (i, coefficient(&mut tape))).collect();
        // Multipliers at the variables only loosen the bound, and make the coefficients too wide for one chunk.
        let multiplier = |tape: &mut Tape| Multipliers { tensor: site, elements: vec![(tape.below(n), tape.around(1 << 30))], exp: tape.around(50) as i32 };
        let multipliers: Vec<Multipliers> = if wide { vec![multiplier(&mut tape), multiplier(&mut tape)] } else { vec![] };
        let found = Relaxation::new(&case, site, None).upper_bound(site, &v, &multipliers).unwrap();
        let best_of_block = |first: usize| -> Rational {
            let members = first..first + block;
            let value = |z: &[Rational]| -> Rational { members.clone().map(|i| int(v[i].1) * &z[i - first]).sum() };
            let mut best: Option<Rational> = None;
            for (free, corner) in (0..block).flat_map(|free| (0..1 << block).map(move |c| (free, c))) {
                let end = |k: usize| if corner >> k & 1 == 1 { &upper[first + k] } else { &lower[first + k] };
                let mut z: Vector = (0..block).map(|k| end(k).clone()).collect();
                if block > 1 {
                    z[free] = -(0..block).filter(|&k| k != free).map(|k| &z[k]).sum::<Rational>();
                }
                if lower[first + free] <= z[free] && z[free] <= upper[first + free] {
                    best = best.max(Some(value(&z)));
                }
            }
            best.unwrap()
        };
        let best: Rational = (0..n).step_by(block).map(best_of_block).sum();
        prop_assert!(found >= best);
        if !wide {
            prop_assert_eq!(found, best);
        }
    }

    /// The lines above |a| are above it at both ends and at the kink, the range holds it, and the sums of columns are at
    /// least the exact ones.
    #[test]
    fn changed_weights_add_at_most_what_the_rule_says(mut tape in tape(60)) {
        let model = Model::new(&[1, 3])
            .constant("w", &[3, 2], Data::RawF64((0..6).map(|_| tape.around(1 << 30) as f64 / 1e9).collect()))
            .node("MatMul", &["x", "w"], "y")
            .output("y");
        let x: Vector = (0..3).map(|_| number(&mut tape)).collect();
        let amplitude = |tape: &mut Tape| number(tape).abs();
        let text = format!(
            "model = \"m\"\n[inputs]\npoint = [{}]\n[[perturb]]\nsite = \"input\"\nscale = {{ family = \"none\" }}\n\
             amplitude = \"{}\"\n[[perturb]]\nweights = \"all\"\nerror = \"relative\"\namplitude = \"{}\"\n\
             [output]\ntolerance = 1\n",
            support::families::list(&x),
            amplitude(&mut tape),
            amplitude(&mut tape),
        );
        let problem = support::problem(&support::read_model(&model.bytes()), &support::parse_claim(&text), &x).unwrap();
        let mut case = Case::root(&problem).unwrap();
        case.ensure(problem.output).unwrap();
        let found = problem.tensors.iter().find_map(|t| if let Op::Weights(parts) = &t.op { parts.first() } else { None });
        let part = found.expect("weights change");
        let Source::Tensor(from) = part.source else { panic!("the input moves") };
        let (lower, upper) = stored(case.bounds(from).unwrap());
        let lines = Magnitudes::new(&part.source, &case).unwrap();
        let range = stored(&weights::range(&part.source, &case).unwrap());
        for j in 0..3 {
            let (slope, offset) = (dyadic(lines.slope[j], 16), dyadic(lines.offset[j], lines.exp));
            for d in [lower[j].clone(), upper[j].clone(), -x[j].clone()] {
                if lower[j] <= d && d <= upper[j] {
                    let a = (&x[j] + &d).abs();
                    prop_assert!(&slope * &d + &offset >= a, "element {}: {} at {}", j, a, d);
                    prop_assert!(range.1[j] >= a && range.0[j] <= -a);
                }
            }
        }
        let v = [tape.around(1 << 53), tape.around(9)];
        let (sums, exp) = weights::column_sums(part, &v, 5).unwrap();
        let mut exact = vec![Rational::zero(); 3];
        part.spread.for_each_entry(|o, i, k| exact[i] += part.spread.weights().value(k) * dyadic(v[o].abs(), 5));
        for (sum, exact) in sums.iter().zip(exact) {
            prop_assert!(dyadic(*sum, exp) >= exact && *sum < 1 << 54);
        }
    }

    #[test]
    fn shifts_are_exact_and_in_lowest_terms(top in any::<i64>(), bottom in 1..i64::MAX, shift in -100..100_i64) {
        let r = ratio(top, bottom);
        let power = BigInt::one() << shift.unsigned_abs();
        let expected = if shift >= 0 { &r * power } else { &r / power };
        let found = scale_by_power_of_two(&r, shift);
        prop_assert_eq!((found.numer(), found.denom()), (expected.numer(), expected.denom()));
        prop_assert_eq!(floor_scaled(&r, shift as i32), expected.floor().to_integer());
    }

    /// Six digits, rounded to nearest, and marked if they are not exact.
    #[test]
    fn approximations_are_near(top in -1_000_000..1_000_000_i64, bottom in 1..100_000_i64) {
        let r = ratio(top, bottom);
        let text = approximate(&r);
        let shown = support::q(text.trim_start_matches('≈'));
        prop_assert_eq!(text.starts_with('≈'), shown != r);
        prop_assert!((&shown - &r).abs() <= ratio(1, 2_000_000));
    }
}

/// With the widest weights, bounds and coefficients, and as many terms as there may be, no sum wraps: a build
/// checks most of them for overflow, and one that is not checked would miss by far.
#[test]
fn the_widest_sums_fit() {
    for negative in [[true, true], [false, true]] {
        let n = 1 << 20;
        // Just below 2^58: the mantissa is rounded to −2^58 if the number is negative.
        let wide = Rational::new((BigInt::one() << 127) - 1, (BigInt::one() << 69) + 1);
        let weights = |negative: bool| {
            let w = if negative { -wide.clone() } else { wide.clone() };
            let weights = Weights::new(Values::Rational(vec![w; n])).unwrap();
            assert!(!negative || weights.mantissas()[0] == -(1 << 58));
            weights
        };
        let spread = Linear::gather(1, vec![0; n], weights(negative[0])).unwrap();
        let sum = Linear::dense(1, 1, n, 1, weights(negative[1])).unwrap();
        // Every ReLU is active, so its line is the function itself.
        let active = Exact::from_rationals(&vec![Rational::from_integer(BigInt::one() << 90); n]);
        let tensor = |name: &str, op, centre| Tensor { name: name.into(), op, centre, clip: None };
        let tensors = vec![
            tensor("z", Op::Variables(0), Exact::zeros(1)),
            tensor("a", Op::Affine(vec![(0, Arc::new(spread))]), active.clone()),
            tensor("b", Op::Relu(1), active),
            tensor("y", Op::Affine(vec![(2, Arc::new(sum))]), Exact::zeros(1)),
        ];
        let one = vec![int(1)];
        let domain = vec![Variables { name: "z".into(), lower: vec![int(-1)], upper: one, groups: vec![] }];
        let mut problem = Problem::default();
        (problem.tensors, problem.domain, problem.output) = (tensors, domain, 3);
        let mut case = Case::root(&problem).unwrap();
        case.ensure(3).unwrap();
        let exact = &wide * &wide * int(1 << 20);
        let bounds = case.bounds(3).unwrap();
        let near = |found: &Rational| *found >= exact && *found <= &exact * ratio((1 << 20) + 1, 1 << 20);
        assert!(near(&dyadic(bounds.upper()[0], bounds.exp())) && near(&dyadic(-bounds.lower()[0], bounds.exp())));
        let relaxation = Relaxation::new(&case, 3, None);
        for sign in [-1, 1] {
            assert!(near(&relaxation.upper_bound(3, &[(0, sign)], &[]).unwrap()));
        }
    }
}

/// With two blocks of variables, both void, a bound in units of 2^-54 comes to exactly −2^127, the least 128-bit integer.
#[test]
fn bounds_beyond_128_bits_are_cut() {
    let variables =
        |name: &str| Variables { name: name.into(), lower: vec![int(-1)], upper: vec![int(1)], groups: vec![] };
    let tensor = |name: &str, block| {
        let centre = Exact::zeros(1);
        Tensor { name: name.into(), op: Op::Variables(block), centre, clip: None }
    };
    let mut problem = Problem::default();
    (problem.tensors, problem.domain, problem.output) =
        (vec![tensor("a", 0), tensor("b", 1)], vec![variables("a"), variables("b")], 1);
    let mut case = Case::root(&problem).unwrap();
    for t in 0..2 {
        case.ensure(t).unwrap();
        case = split::split(case, t, 0, &ratio(-3, 4)).0;
        case = split::split(case, t, 0, &ratio(1, 4)).1;
        assert!(case.is_void(t, 0));
    }
    let multipliers: Vec<_> = (0..2).map(|tensor| Multipliers { tensor, exp: -72, elements: vec![(0, 1)] }).collect();
    let exp = case.bounds(1).unwrap().exp() + GUARD as i32;
    assert_eq!(exp, 54);
    for sign in [-1, 1] {
        let relaxation = Relaxation::new(&case, 1, None);
        let exact = relaxation.upper_bound(1, &[(0, sign)], &multipliers).unwrap();
        assert!(exact < dyadic(-1, -72));
        let bound = relaxation.rounded_bound(1, &[(0, sign)], &multipliers, exp).unwrap();
        assert_eq!(bound, -1 << 126);
        let mut learned = case.clone();
        learned.learn_rounded(1, 0, Some(-bound), Some(bound)).unwrap();
        assert!(learned.is_void(1, 0));
    }
}
