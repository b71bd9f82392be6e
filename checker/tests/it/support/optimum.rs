//! The exact worst case of a tiny study: within one choice of ReLU phases the network is affine, so the worst excess of
//! a cell is a linear program in the few variables of the domain, solved here by trying every basis.

use super::case_study::{Family, Study};
use super::reference::Step;
use num::{One, Signed, Zero};
use scalecheck::number::Rational;
use scalecheck::problem::Cell;

type Vector = Vec<Rational>;

/// `normal · z ≤ bound`.
#[derive(Clone, Debug)]
pub struct Constraint {
    pub normal: Vector,
    pub bound: Rational,
    pub kind: Kind,
}

/// What a constraint stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A side of the box, or a group that sums to zero.
    Variables,
    /// Element of the input is at most, or at least, the end of the valid range.
    ValidHigh(usize),
    ValidLow(usize),
    /// ReLU neuron is active, or inactive.
    Active(usize),
    Inactive(usize),
}

/// `c · z + constant`.
pub struct Affine {
    pub c: Vector,
    pub constant: Rational,
}

/// A ReLU neuron: its pre-activation tensor in the network, and element.
#[derive(Clone, Copy, Debug)]
pub struct Neuron {
    pub tensor: usize,
    pub element: usize,
}

fn dot(a: &[Rational], b: &[Rational]) -> Rational {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The solution of a square system, or `None` if it is singular.
fn solve(mut rows: Vec<Vector>) -> Option<Vector> {
    let n = rows.len();
    for k in 0..n {
        let pivot = (k..n).find(|&r| !rows[r][k].is_zero())?;
        rows.swap(k, pivot);
        let inverse = rows[k][k].recip();
        rows[k].iter_mut().for_each(|v| *v *= &inverse);
        let row = rows[k].clone();
        for (_, other) in rows.iter_mut().enumerate().filter(|(r, _)| *r != k) {
            let factor = other[k].clone();
            if !factor.is_zero() {
                other.iter_mut().zip(&row).for_each(|(v, p)| *v -= &factor * p);
            }
        }
    }
    Some(rows.into_iter().map(|row| row[n].clone()).collect())
}

/// Calls `f` with every choice of `k` of the numbers below `n`, until it answers true.
fn choices(n: usize, k: usize, f: &mut dyn FnMut(&[usize]) -> bool) -> bool {
    fn go(n: usize, k: usize, chosen: &mut Vec<usize>, f: &mut dyn FnMut(&[usize]) -> bool) -> bool {
        if chosen.len() == k {
            return f(chosen);
        }
        for i in chosen.last().map_or(0, |l| l + 1)..n {
            chosen.push(i);
            if go(n, k, chosen, f) {
                return true;
            }
            chosen.pop();
        }
        false
    }
    go(n, k, &mut Vec::new(), f)
}

/// The vertices of a bounded polyhedron.
pub fn vertices(constraints: &[Constraint], n: usize) -> Vec<Vector> {
    let mut found: Vec<Vector> = Vec::new();
    choices(constraints.len(), n, &mut |basis| {
        let row = |&j: &usize| {
            let c = &constraints[j];
            c.normal.iter().chain([&c.bound]).cloned().collect()
        };
        if let Some(z) = solve(basis.iter().map(row).collect())
            && !found.contains(&z)
            && constraints.iter().all(|c| dot(&c.normal, &z) <= c.bound)
        {
            found.push(z);
        }
        false
    });
    found
}

/// The maximum of `c · z` and optimal multipliers y ≥ 0 of the constraints, `c = Σ y_j normal_j`; `None` if the
/// constraints contradict each other. The maximum must be attained at a vertex.
pub fn maximum(c: &[Rational], constraints: &[Constraint]) -> Option<(Rational, Vector)> {
    let n = c.len();
    let mut best = None;
    choices(constraints.len(), n, &mut |basis| {
        let primal = |&j: &usize| {
            let c = &constraints[j];
            c.normal.iter().chain([&c.bound]).cloned().collect()
        };
        let dual = |i: usize| basis.iter().map(|&j| &constraints[j].normal[i]).chain([&c[i]]).cloned().collect();
        let Some(y) = solve((0..n).map(dual).collect()).filter(|y| y.iter().all(|y| !y.is_negative())) else {
            return false;
        };
        let Some(z) = solve(basis.iter().map(primal).collect()) else {
            return false;
        };
        if constraints.iter().any(|c| dot(&c.normal, &z) > c.bound) {
            return false;
        }
        let mut duals = vec![Rational::zero(); constraints.len()];
        basis.iter().zip(y).for_each(|(&j, y)| duals[j] = y);
        best = Some((dot(c, &z), duals));
        true
    });
    best
}

/// For contradictory constraints: multipliers y ≥ 0 with `Σ y_j normal_j = 0` and `Σ y_j bound_j = −gap < 0`.
pub fn contradiction(constraints: &[Constraint], n: usize) -> Option<(Rational, Vector)> {
    // The least t with normal_j · z ≤ bound_j + t.
    let relaxed: Vec<Constraint> = constraints
        .iter()
        .map(|c| Constraint { normal: c.normal.iter().cloned().chain([-Rational::one()]).collect(), ..c.clone() })
        .collect();
    let objective: Vector = (0..n).map(|_| Rational::zero()).chain([-Rational::one()]).collect();
    let (negative_gap, y) = maximum(&objective, &relaxed)?;
    negative_gap.is_negative().then(|| (-negative_gap, y))
}

impl Study {
    /// Number of variables of the domain.
    pub fn dimensions(&self) -> usize {
        self.perturbs.iter().map(|p| p.amplitude.len()).sum()
    }

    pub fn neurons(&self) -> Vec<Neuron> {
        let mut found = Vec::new();
        for step in &self.net.steps {
            if let Step::Relu(tensor) = *step {
                found.extend((0..self.net.len(tensor)).map(|element| Neuron { tensor, element }));
            }
        }
        found
    }

    /// The variables of all perturbations, from one list.
    fn split(&self, flat: &[Rational]) -> Vec<Vector> {
        let mut rest = flat;
        let take = |p: &super::case_study::Perturb| {
            let (head, tail) = rest.split_at(p.amplitude.len());
            rest = tail;
            head.to_vec()
        };
        self.perturbs.iter().map(take).collect()
    }

    /// Affine functions of the variables, given by their values at z.
    fn affine(&self, f: &dyn Fn(&[Vector]) -> Vector) -> Vec<Affine> {
        let n = self.dimensions();
        let unit = |k: Option<usize>| -> Vector {
            (0..n).map(|i| if Some(i) == k { Rational::one() } else { Rational::zero() }).collect()
        };
        let at = |k| f(&self.split(&unit(k)));
        let constant = at(None);
        let slopes: Vec<Vector> = (0..n).map(|k| at(Some(k))).collect();
        let each = constant.into_iter().enumerate();
        each.map(|(i, constant)| Affine { c: slopes.iter().map(|s| &s[i] - &constant).collect(), constant }).collect()
    }

    /// The domain: box, groups and valid range.
    pub fn domain(&self) -> Vec<Constraint> {
        let (n, mut found, mut first) = (self.dimensions(), Vec::new(), 0);
        let normal = |members: &[usize], sign: i64| -> Vector {
            (0..n).map(|i| if members.contains(&i) { super::int(sign) } else { Rational::zero() }).collect()
        };
        for p in &self.perturbs {
            for (i, a) in p.amplitude.iter().enumerate() {
                for sign in [1, -1] {
                    found.push(Constraint {
                        normal: normal(&[first + i], sign),
                        bound: a.clone(),
                        kind: Kind::Variables,
                    });
                }
            }
            if let Family::ZeroSum(blocks) = &p.family {
                for block in blocks {
                    let members: Vec<usize> = block.iter().map(|i| first + i).collect();
                    for sign in [1, -1] {
                        let bound = Rational::zero();
                        found.push(Constraint { normal: normal(&members, sign), bound, kind: Kind::Variables });
                    }
                }
            }
            first += p.amplitude.len();
        }
        if let Some((low, high)) = self.valid.as_ref().filter(|_| self.perturbs.iter().any(|p| p.site == Some(0))) {
            for (i, d) in self.affine(&|z| self.delta(z)[0].clone()).into_iter().enumerate() {
                let negated = d.c.iter().map(|c| -c).collect();
                found.push(Constraint { normal: d.c, bound: high - &self.x[i], kind: Kind::ValidHigh(i) });
                found.push(Constraint { normal: negated, bound: &self.x[i] - low, kind: Kind::ValidLow(i) });
            }
        }
        found
    }

    fn values(&self, z: &[Vector], phases: &[bool]) -> Vec<Vector> {
        self.net.evaluate(&self.x, &self.delta(z), &self.net.unchanged(), Some(phases))
    }

    /// That the first `known` neurons, those of `which`, have these phases.
    pub fn phase_constraints(&self, phases: &[bool], which: &[usize]) -> Vec<Constraint> {
        let neurons = self.neurons();
        let pre = self.affine(&|z| {
            let values = self.values(z, phases);
            neurons.iter().map(|n| values[n.tensor][n.element].clone()).collect()
        });
        let constraint = |&k: &usize| {
            let Affine { c, constant } = &pre[k];
            match phases[k] {
                true => Constraint {
                    normal: c.iter().map(|c| -c).collect(),
                    bound: constant.clone(),
                    kind: Kind::Active(k),
                },
                false => Constraint { normal: c.clone(), bound: -constant, kind: Kind::Inactive(k) },
            }
        };
        which.iter().map(constraint).collect()
    }

    /// `b − A d` of every cell, an affine function within these phases.
    pub fn excesses(&self, phases: &[bool]) -> Vec<Affine> {
        let output = self.net.output();
        let clean = &self.clean()[output];
        let excess = |cell: &Cell, y: &[Rational]| {
            let row = &cell.rows[0];
            let moved = row.terms.iter().map(|&(i, a)| (&y[i] - &clean[i]) * super::int(a));
            &row.bound - moved.sum::<Rational>()
        };
        self.affine(&|z| {
            let y = &self.values(z, phases)[output];
            self.problem.cells.iter().map(|cell| excess(cell, y)).collect()
        })
    }

    /// The largest excess of every cell over the whole domain, by enumeration of all phases.
    pub fn optimum(&self) -> Vec<Rational> {
        let (neurons, domain, n) = (self.neurons().len(), self.domain(), self.dimensions());
        let which: Vec<usize> = (0..neurons).collect();
        let mut best: Vec<Option<Rational>> = vec![None; self.problem.cells.len()];
        for pattern in 0..1_u32 << neurons {
            let phases: Vec<bool> = (0..neurons).map(|k| pattern >> k & 1 == 1).collect();
            let constraints: Vec<_> = domain.iter().cloned().chain(self.phase_constraints(&phases, &which)).collect();
            let vertices = vertices(&constraints, n);
            for (best, f) in best.iter_mut().zip(self.excesses(&phases)) {
                let values = vertices.iter().map(|z| dot(&f.c, z) + &f.constant);
                *best = values.chain(best.take()).max();
            }
        }
        best.into_iter().map(|b| b.expect("some phases are possible")).collect()
    }
}
