//! The LP relaxation (triangle relaxation, Ehlers 2017) through `good_lp`; its dual values become slopes and multipliers.
//!
//! Variables are the domain's variables and one deviation e for every unstable neuron; stable neurons are substituted.
//! For an unstable neuron with pre-activation deviation d (an affine function of the variables) there are
//! `e ≥ −max(c, 0)` [λ₀], `e ≥ d + c − max(c, 0)` [λ₁], `e ≤ chord(d)`, `d ≥ p` [β⁺] and `d ≤ q` [β⁻]. A dual solution
//! is a back-substitution: the lower slope is λ₁/(λ₀+λ₁), the multiplier β⁺ − β⁻.

use super::State;
use crate::graph::{Graph, Op, sum};
use good_lp::{
    DualValues, Expression, ProblemVariables, Solution, SolutionWithDual, SolverModel, Variable, constraint, variable,
};
use nalgebra::{DMatrix, RowDVector};
use scalecheck::rules::relu::Phase;
use std::collections::BTreeMap;

/// Most coefficients of an LP that is attempted: a row for every unstable neuron, dense in the variables before it. At
/// this size one solve takes seconds.
const MAX_COEFFICIENTS: usize = 200_000;

/// The dual solution of one target.
#[derive(Default)]
pub struct Dual {
    /// Optimal value of the relaxation, as the solver reports it.
    pub value: f64,
    /// (pre-activation tensor, element, lower slope).
    pub slopes: Vec<(usize, usize, f64)>,
    /// (pre-activation tensor, element, multiplier).
    pub multipliers: Vec<(usize, usize, f64)>,
}

/// The relaxation of a graph, ready for any target over the output.
pub struct Relaxation<'g> {
    graph: &'g Graph,
    /// First column of each block's variables.
    blocks: Vec<usize>,
    neurons: Vec<Neuron>,
    columns: usize,
    /// Output deviations as affine functions: one row an element, the last column is the constant.
    output: DMatrix<f64>,
}

/// An unstable neuron: its pre-activation as an affine function of the variables before it.
struct Neuron {
    tensor: usize,
    element: usize,
    column: usize,
    affine: Vec<f64>,
    centre: f64,
    range: (f64, f64),
    bounds: (f64, f64),
}

impl<'g> Relaxation<'g> {
    /// `None` if the LP would be too large to solve in reasonable time, or has what is not stated here: subspaces, known
    /// ranges of what variables generate, changed weights, and inputs that vary.
    pub fn new(graph: &'g Graph, state: &State) -> Option<Self> {
        let unknown = graph.tensors.iter().any(|t| matches!(t.op, Op::Weights(_) | Op::ReluPair { .. }));
        if unknown || graph.ranged.is_some() || graph.blocks.iter().any(|block| block.subspace.is_some()) {
            return None;
        }
        let unstable = |t: usize| match graph.tensors[t].op {
            Op::Relu(from) => state.unstable(graph, from).len(),
            _ => 0,
        };
        let inputs: usize = graph.blocks.iter().map(|b| b.lower.len()).sum();
        let columns = inputs + (0..graph.tensors.len()).map(unstable).sum::<usize>();
        if (columns - inputs) * columns > MAX_COEFFICIENTS {
            return None;
        }
        let mut blocks = Vec::new();
        let mut next = 0;
        for block in &graph.blocks {
            blocks.push(next);
            next += block.lower.len();
        }
        let mut neurons = Vec::new();
        let mut affine: Vec<DMatrix<f64>> = Vec::with_capacity(graph.tensors.len());
        for t in 0..=graph.output {
            let value = match &graph.tensors[t].op {
                Op::Variables(block) => {
                    DMatrix::from_fn(graph.len(t), columns + 1, |i, j| if j == blocks[*block] + i { 1.0 } else { 0.0 })
                }
                Op::Affine(terms) => sum(terms.iter().map(|(p, map)| map.apply(&affine[*p]))),
                Op::Weights(_) | Op::ReluPair { .. } => return None,
                Op::Relu(from) => {
                    let mut e = affine[*from].clone();
                    for i in 0..e.nrows() {
                        let centre = graph.tensors[*from].centre[i];
                        let clean = centre.max(0.0);
                        match state.phase(graph, *from, i) {
                            Phase::Active => e[(i, columns)] += centre - clean,
                            Phase::Inactive => {
                                e.row_mut(i).fill(0.0);
                                e[(i, columns)] = -clean;
                            }
                            Phase::Unstable => {
                                neurons.push(Neuron {
                                    tensor: *from,
                                    element: i,
                                    column: next,
                                    affine: e.row(i).iter().copied().collect(),
                                    centre,
                                    range: state.range(graph, *from, i),
                                    bounds: (state.bounds[*from].lower[i], state.bounds[*from].upper[i]),
                                });
                                e.row_mut(i).fill(0.0);
                                e[(i, next)] = 1.0;
                                next += 1;
                            }
                        }
                    }
                    e
                }
            };
            affine.push(value);
        }
        let output = affine.swap_remove(graph.output);
        Some(Relaxation { graph, blocks, neurons, columns, output })
    }

    /// Maximises `Σ coefficient · d_element` over the output; `None` if the solver gives up.
    pub fn solve(&self, objective: &[(usize, f64)]) -> Option<Dual> {
        let mut problem = ProblemVariables::new();
        let mut x: Vec<Variable> = Vec::with_capacity(self.columns);
        for block in &self.graph.blocks {
            let ranges = block.lower.iter().zip(&block.upper);
            x.extend(ranges.map(|(&low, &high)| problem.add(variable().min(low).max(high))));
        }
        x.extend(self.neurons.iter().map(|_| problem.add(variable())));
        let affine = |row: &mut dyn Iterator<Item = f64>| {
            let mut expression = Expression::with_capacity(self.columns);
            for (j, a) in row.enumerate().filter(|(_, a)| *a != 0.0) {
                match x.get(j) {
                    Some(&variable) => expression.add_mul(a, variable),
                    None => expression += a,
                }
            }
            expression
        };
        let mut row = RowDVector::zeros(self.columns + 1);
        objective.iter().for_each(|&(i, a)| row += a * self.output.row(i));
        let goal = affine(&mut row.iter().copied());
        #[cfg(feature = "highs")]
        let mut model = problem.maximise(goal).using(good_lp::solvers::highs::highs);
        #[cfg(not(feature = "highs"))]
        let mut model = problem.maximise(goal).using(good_lp::solvers::clarabel::clarabel);
        for (block, first) in self.graph.blocks.iter().zip(&self.blocks) {
            for group in &block.groups {
                let total: Expression = group.iter().map(|j| x[first + j]).sum();
                model.add_constraint(constraint!(total == 0.0));
            }
        }
        let mut rows = Vec::with_capacity(self.neurons.len());
        for n in &self.neurons {
            let (d, e, clean) = (affine(&mut n.affine.iter().copied()), x[n.column], n.centre.max(0.0));
            let (low, high) = n.range;
            let slope = high / (high - low);
            let chord = slope * d.clone() + (slope * (n.centre - low) - clean);
            model.add_constraint(constraint!(e <= chord));
            rows.push([
                model.add_constraint(constraint!(e >= -clean)),
                model.add_constraint(constraint!(e >= d.clone() + (n.centre - clean))),
                model.add_constraint(constraint!(d.clone() >= n.bounds.0)),
                model.add_constraint(constraint!(d <= n.bounds.1)),
            ]);
        }
        let mut solution = model.solve().ok()?;
        let value = row.iter().enumerate().map(|(j, a)| a * x.get(j).map_or(1.0, |&v| solution.value(v))).sum();
        let prices = solution.compute_dual();
        let mut dual = Dual { value, ..Dual::default() };
        for (n, row) in self.neurons.iter().zip(rows) {
            let [zero, one, above, below] = row.map(|r| prices.dual(r).abs());
            if zero + one > 1e-7 {
                dual.slopes.push((n.tensor, n.element, one / (zero + one)));
            }
            if (above - below).abs() > 1e-7 {
                dual.multipliers.push((n.tensor, n.element, above - below));
            }
        }
        Some(dual)
    }
}

impl Dual {
    /// The slopes by tensor, with holes where the default serves.
    pub fn by_tensor(&self) -> BTreeMap<usize, Vec<(usize, f64)>> {
        let mut map: BTreeMap<usize, Vec<(usize, f64)>> = BTreeMap::new();
        for &(tensor, element, slope) in &self.slopes {
            map.entry(tensor).or_default().push((element, slope));
        }
        map
    }
}
