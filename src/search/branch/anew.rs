//! Bounding neurons of a case anew, layer by layer.

use super::tree::Refinement;
use super::variables::Search;
use crate::relax::batch::{Case, Matrix, Targets, Trace};
use std::collections::BTreeSet;

/// A neuron to be bounded anew, and what its relaxation costs the open cells.
pub struct Row {
    neuron: usize,
    score: f64,
}

/// A neuron whose bounds are stated, and of which side: both, or the upper (`true`) or lower one.
type Stated = (usize, Option<bool>);

impl Search<'_, '_> {
    /// The unstable neurons of every case and layer that have a part in the bound of an open cell.
    pub fn unstable(&self, cases: &[&Case], best: &[(usize, usize, usize)], trace: &Trace) -> Vec<Vec<Vec<Row>>> {
        let layer = |case: usize, l: usize| {
            let mut scores = vec![0.0; self.engine.layers[l].centre.len()];
            // The lines of a change depend on what it is a change of.
            for l in [l].iter().chain(&self.engine.layers[l].changes) {
                let (Some(v), range) = (trace.coefficients(self.engine, *l), &cases[case].ranges[*l]) else { continue };
                for i in range.unstable.iter().map(|&i| i as usize) {
                    let of_case = best.iter().filter(|b| b.0 == case);
                    let weight: f64 = of_case.map(|b| v[(i, b.2)].abs()).sum();
                    scores[i] += weight * range.gap(i);
                }
            }
            let rows = scores.into_iter().enumerate().map(|(neuron, score)| Row { neuron, score });
            rows.filter(|row| row.score > 0.0).collect()
        };
        let layers = |case| (0..self.engine.layers.len()).map(|l| layer(case, l)).collect();
        (0..cases.len()).map(layers).collect()
    }

    /// Bounds the chosen neurons of all cases anew: the refinements of each case, and how much of what relaxations cost
    /// moves with each variable.
    pub fn anew(&self, cases: &mut [Case], chosen: &[Vec<Vec<Row>>]) -> (Vec<Vec<Refinement>>, Vec<Vec<Vec<f64>>>) {
        let engine = self.engine;
        let zeros: Vec<Vec<f64>> = engine.graph.blocks.iter().map(|b| vec![0.0; b.lower.len()]).collect();
        let mut influence = vec![zeros; cases.len()];
        // By case and layer.
        let mut stated: Vec<Vec<Vec<Stated>>> = vec![vec![vec![]; engine.layers.len()]; cases.len()];
        let inherited = cases.to_vec();
        for (l, layer) in engine.layers.iter().enumerate() {
            let rows =
                || chosen.iter().enumerate().flat_map(|(case, layers)| layers[l].iter().map(move |row| (case, row)));
            let columns = 2 * rows().count();
            if columns == 0 {
                continue;
            }
            let mut coefficients = Matrix::zeros(layer.centre.len(), columns);
            for (k, (_, row)) in rows().enumerate() {
                coefficients[(row.neuron, 2 * k)] = 1.0;
                coefficients[(row.neuron, 2 * k + 1)] = -1.0;
            }
            let refs: Vec<&Case> = cases.iter().collect();
            let of = rows().flat_map(|(case, _)| [case, case]).collect();
            let targets = Targets { tensor: layer.tensor, coefficients, cases: &refs, of };
            let (bound, trace) = engine.bound(&targets, None, &[]);
            for (k, (case, row)) in rows().enumerate() {
                let range = &cases[case].ranges[l];
                let share = row.score / (range.high[row.neuron] - range.low[row.neuron]).max(f64::MIN_POSITIVE);
                for (influence, v) in influence[case].iter_mut().zip(&trace.variables) {
                    let Some(v) = v else { continue };
                    for (j, influence) in influence.iter_mut().enumerate() {
                        *influence += share * (v[(j, 2 * k)].abs() + v[(j, 2 * k + 1)].abs()) / 2.0;
                    }
                }
            }
            let mut k = 0;
            for (case, layers) in chosen.iter().enumerate() {
                let range = &cases[case].ranges[l];
                let (mut low, mut high) = (range.low.clone(), range.high.clone());
                for &Row { neuron, .. } in &layers[l] {
                    let found_low = low[neuron].max(layer.centre[neuron] - bound[k + 1]);
                    let found_high = high[neuron].min(layer.centre[neuron] + bound[k]);
                    k += 2;
                    // Of a neuron that turns out to be stable, one side says so, unless it has a part in a change.
                    let alone = layer.base.is_none() && layer.changes.is_empty();
                    if alone && found_low >= 0.0 {
                        low[neuron] = found_low;
                        stated[case][l].push((neuron, Some(false)));
                    } else if alone && found_high <= 0.0 {
                        high[neuron] = found_high;
                        stated[case][l].push((neuron, Some(true)));
                    } else if (found_low, found_high) != (low[neuron], high[neuron]) {
                        (low[neuron], high[neuron]) = (found_low, found_high);
                        stated[case][l].push((neuron, None));
                    }
                }
                cases[case].set(&engine.layers, l, low, high);
                if let Some(base) = layer.base {
                    self.one_side(&inherited[case], &mut cases[case], (base, l), &mut stated[case]);
                }
            }
        }
        let refinements = |stated: Vec<Vec<Stated>>| {
            let of_layer = |(l, stated): (usize, Vec<Stated>)| {
                let of_side = move |side: Option<bool>| {
                    let rows: Vec<usize> = stated.iter().filter(|s| s.1 == side).map(|s| s.0).collect();
                    let tensor = engine.layers[l].tensor;
                    (!rows.is_empty()).then_some(Refinement { tensor, rows, side, slopes: None })
                };
                [Some(false), Some(true), None].into_iter().filter_map(of_side)
            };
            stated.into_iter().enumerate().flat_map(of_layer).collect()
        };
        (stated.into_iter().map(refinements).collect(), influence)
    }

    /// Of a ReLU that turns out to be stable before and after a change, one side of both says so; what is inherited stands
    /// for the other sides. Only if the layer has no other change.
    fn one_side(&self, inherited: &Case, case: &mut Case, (base, change): (usize, usize), stated: &mut [Vec<Stated>]) {
        let layers = &self.engine.layers;
        if layers[base].changes.len() > 1 {
            return;
        }
        let mut ranges = [base, change].map(|l| (case.ranges[l].low.clone(), case.ranges[l].high.clone()));
        for ((low, high), l) in ranges.iter_mut().zip([base, change]) {
            for (neuron, side) in &mut stated[l] {
                let i = *neuron;
                if case.ranges[change].is_unstable(i) {
                    continue;
                }
                if case.ranges[base].low[i] >= 0.0 {
                    high[i] = inherited.ranges[l].high[i];
                    *side = Some(false);
                } else {
                    low[i] = inherited.ranges[l].low[i];
                    *side = Some(true);
                }
            }
        }
        let [(base_low, base_high), (low, high)] = ranges;
        case.set(layers, base, base_low, base_high);
        case.set(layers, change, low, high);
    }

    /// Leaves out refinements of the last layer that closed cases do without: nothing but the cells' own bounds depends on
    /// them, so which of them are needed is found by halving. `closed` has the columns that close a case with default
    /// slopes, and none for other cases.
    pub fn trim(
        &self,
        inherited: &[&Case],
        cases: &[Case],
        columns: &[(usize, usize)],
        closed: &[Vec<usize>],
        trace: &Trace,
        refine: &mut [Vec<Refinement>],
    ) {
        let engine = self.engine;
        let Some(last) = engine.layers.len().checked_sub(1) else { return };
        // With a change goes what it is a change of, if that is all.
        let base = engine.layers[last].base.filter(|&base| engine.layers[base].changes.len() == 1);
        let group: Vec<usize> = base.into_iter().chain([last]).collect();
        let tensors: Vec<usize> = group.iter().map(|&l| engine.layers[l].tensor).collect();
        let mut trials: Vec<Trial> = Vec::new();
        for (case, columns) in closed.iter().enumerate().filter(|(_, columns)| !columns.is_empty()) {
            let gain = |i: usize| {
                let of_layer = |&l: &usize| {
                    let (old, new) = (&inherited[case].ranges[l], &cases[case].ranges[l]);
                    let of_column = |v: f64| match v >= 0.0 {
                        true => v * (old.gap(i) - new.gap(i)),
                        // A line below changes only with the side that its slope is chosen by.
                        false if engine.layers[l].base.is_some() => -v * (old.gap(i) - new.gap(i)),
                        false if old.default[i] == new.default[i] => 0.0,
                        false => -v * old.high[i].min(-old.low[i]),
                    };
                    let v = trace.coefficients(engine, l);
                    v.map_or(0.0, |v| columns.iter().map(|&k| of_column(v[(i, k)])).sum::<f64>())
                };
                group.iter().map(of_layer).sum::<f64>()
            };
            let rows = refine[case].iter().filter(|r| tensors.contains(&r.tensor)).flat_map(|r| &r.rows);
            let rows: BTreeSet<usize> = rows.copied().collect();
            let mut rows: Vec<(f64, usize)> = rows.into_iter().map(|i| (gain(i), i)).collect();
            rows.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
            let enough = rows.len();
            trials.push(Trial { case, rows, least: 0, enough });
        }
        for _ in 0..HALVINGS {
            let with_some = |trial: &Trial| {
                let mut case = cases[trial.case].clone();
                for &l in &group {
                    let (old, new) = (&inherited[trial.case].ranges[l], &cases[trial.case].ranges[l]);
                    let (mut low, mut high) = (old.low.clone(), old.high.clone());
                    for &(_, i) in &trial.rows[..trial.middle()] {
                        (low[i], high[i]) = (new.low[i], new.high[i]);
                    }
                    case.set(&engine.layers, l, low, high);
                }
                case
            };
            let tried: Vec<Case> = trials.iter().map(with_some).collect();
            let refs: Vec<&Case> = tried.iter().collect();
            let of_trial = |(t, trial): (usize, &Trial)| {
                closed[trial.case].iter().map(move |&k| (t, columns[k].1)).collect::<Vec<_>>()
            };
            let targets: Vec<(usize, usize)> = trials.iter().enumerate().flat_map(of_trial).collect();
            let (bound, trace) = engine.bound(&engine.halfspaces(&targets, &refs), None, &[]);
            let bound = self.cautious(&targets, &refs, &bound, &trace);
            let mut closes = vec![true; trials.len()];
            targets.iter().zip(bound).for_each(|(&(t, h), bound)| closes[t] &= self.closes(h, bound));
            for (trial, closes) in trials.iter_mut().zip(closes) {
                let middle = trial.middle();
                if closes {
                    trial.enough = middle;
                } else {
                    trial.least = (middle + 1).min(trial.enough);
                }
            }
        }
        for Trial { case, rows, enough, .. } in trials {
            let needed: Vec<usize> = rows[..enough].iter().map(|(_, i)| *i).collect();
            let of_layer = refine[case].iter_mut().filter(|r| tensors.contains(&r.tensor));
            of_layer.for_each(|r| r.rows.retain(|i| needed.contains(i)));
            refine[case].retain(|r| !r.rows.is_empty());
        }
    }
}

/// How often the rows of a trial are halved.
const HALVINGS: usize = 5;

/// Rows of the last layer in a closed case, those that gain most first: at least `least` of them, and no more than
/// `enough`, are needed.
struct Trial {
    case: usize,
    rows: Vec<(f64, usize)>,
    least: usize,
    enough: usize,
}

impl Trial {
    fn middle(&self) -> usize {
        usize::midpoint(self.least, self.enough)
    }
}
