//! Branch and bound: cases until every unsafe cell is excluded in all of them, or a point reaches one.

mod anew;
pub mod descent;
pub mod neurons;
pub mod root;
pub mod tree;
pub mod variables;

use crate::emit::Builder;
use crate::graph::{Graph, Op};
use crate::relax::batch::{Config as Slopes, Engine, Matrix};
use descent::Point;
use rayon::prelude::*;
use root::{Effort, Root};
use scalecheck::certificate::{Proof, ProofText};
use scalecheck::error::Error;
use scalecheck::number::Rational;
use scalecheck::problem::Problem;
use scalecheck::rules::tree as tree_rules;
use scalecheck::verify::Config as CheckConfig;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tree::{Closing, Tree, refinement};

/// Most variables for which cases split variables rather than neurons.
const FEW_VARIABLES: usize = 12;

/// How far below zero a slack must be in floating point, so that the exact rules will find it below zero too.
pub fn margin(bound: f64) -> f64 {
    1e-7 * (1.0 + bound.abs())
}

/// When to stop, and whom to tell how far the search is.
pub struct Stop<'a> {
    pub deadline: Option<Instant>,
    pub interrupted: &'a AtomicBool,
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

/// How far a search is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub open: usize,
    pub cases: usize,
    pub worst: f64,
}

impl Stop<'_> {
    pub fn now(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) || self.deadline.is_some_and(|d| Instant::now() >= d)
    }

    fn report(&self, open: usize, cases: usize, worst: f64) {
        (self.progress)(Progress { open, cases, worst });
    }
}

/// What a search that was interrupted leaves, so that another one can go on with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    root: root::Saved,
    parts: Vec<SavedPart>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedPart {
    tree: Tree,
    cells: Vec<usize>,
    kind: SavedKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum SavedKind {
    Root,
    Variables,
    /// The halfspace that is to be excluded.
    Neurons(usize),
}

impl Saved {
    /// What a search with these parts leaves.
    fn of(root: &Root, parts: Vec<Part<'_, '_>>) -> Self {
        let kind = |search: &Kind<'_, '_>| match search {
            Kind::Root => SavedKind::Root,
            Kind::Variables(_) => SavedKind::Variables,
            Kind::Neurons(search) => SavedKind::Neurons(search.halfspace),
        };
        let save = |part: Part<'_, '_>| SavedPart { kind: kind(&part.search), tree: part.tree, cells: part.cells };
        Saved { root: root.saved(), parts: parts.into_iter().map(save).collect() }
    }

    /// The part about a cell.
    fn about(&self, cell: usize) -> Option<&SavedPart> {
        self.parts.iter().find(|part| part.cells.contains(&cell))
    }

    /// Number of cases in all trees.
    pub fn cases(&self) -> usize {
        self.parts.iter().map(|part| part.tree.nodes.len()).sum()
    }
}

/// How a search ended.
pub enum End {
    /// A proof that the exact rules accept, and the slack of every cell that they find.
    Proven(Box<ProofText>, Vec<Option<Rational>>),
    /// A point that exactly reaches a cell.
    Reached(Point),
    Unknown,
    /// Unknown as well; what was found is worth going on with.
    Interrupted(Box<Saved>),
}

/// A tree, the cells that it is to exclude, and what works on it.
struct Part<'s, 'g> {
    tree: Tree,
    cells: Vec<usize>,
    search: Kind<'s, 'g>,
}

enum Kind<'s, 'g> {
    /// Nothing: the root alone, with default slopes.
    Root,
    Variables(variables::Search<'s, 'g>),
    Neurons(neurons::Search<'s, 'g>),
}

/// Most times that leaves which the exact rules leave open are worked on again.
const REPAIRS: usize = 6;

/// For the slopes and multipliers of a case of neurons, and of the root.
const SLOPES: Slopes = Slopes { iterations: 20, slope_step: 0.1, multiplier_step: 0.1, decay: 0.96 };
/// For the slopes of a case of variables, which is soon halved again.
const FEW_SLOPES: Slopes = Slopes { iterations: 4, slope_step: 0.25, multiplier_step: 0.1, decay: 0.85 };

/// Most multiply–accumulates of the evaluations of an attack before the search.
const ATTACK_WORK: u64 = 1 << 32;

/// Starts of one of eight parts of an attack within a search, for all cells together.
const CLIMBS: usize = 128;

/// Searches for a proof or for a point, from where an earlier search was interrupted if `saved` is given. `confirm` says
/// whether a point exactly reaches a cell. `None` if the problem is of a kind that the search does not know. An error is a
/// defect: the checker does not understand the proof.
pub fn search(
    problem: &Problem,
    graph: &Graph,
    saved: Option<&Saved>,
    stop: &Stop<'_>,
    confirm: &(dyn Fn(&[Vec<f64>]) -> bool + Sync),
) -> Result<Option<End>, Error> {
    let Some(engine) = Engine::new(graph) else { return Ok(None) };
    let boxes = graph.blocks.iter().all(|b| b.groups.is_empty());
    let all_cells: Vec<usize> = (0..problem.cells.len()).collect();
    let reached = Mutex::new(None);
    // True if a point reaches a cell: first in floating point, then exactly.
    let harms = |point: &[Vec<f64>]| {
        let at: Vec<Matrix> = point.iter().map(|p| Matrix::from_column_slice(p.len(), 1, p)).collect();
        let output = graph.evaluate(&at).swap_remove(graph.output);
        let rows = |cell: usize| graph.halfspaces.iter().filter(move |h| h.cell == cell);
        let found = all_cells.iter().any(|&cell| rows(cell).all(|h| h.slack(&output, 0) >= 0.0)) && confirm(point);
        if found {
            *reached.lock().unwrap_or_else(PoisonError::into_inner) = Some(point.to_vec());
        }
        found
    };
    let attack = |cells: &[usize], from: &[Point], config: descent::Config| {
        let found = boxes.then(|| descent::ascend(graph, cells, from, &config));
        found.flatten().filter(|found| found.slack >= 0.0 && confirm(&found.point)).map(|found| found.point)
    };
    let quick = descent::Config { starts: 4, steps: 20, size: 0.25, seed: 1 };
    if saved.is_none()
        && let Some(point) = attack(&all_cells, &[], quick)
    {
        return Ok(Some(End::Reached(point)));
    }
    let mut root = saved.map_or_else(|| Root::new(&engine, None), |saved| Root::restored(&engine, &saved.root));
    let (mut plain, mut open) = by_default(&engine, &root, &all_cells);
    let few = boxes && graph.blocks.iter().map(|b| b.lower.len()).sum::<usize>() <= FEW_VARIABLES;
    if engine.has_changes() && !few {
        // Phases of a neuron in two copies are not what a case can assume.
        return Ok(None);
    }
    if !open.is_empty() && saved.is_none() {
        let starts =
            (ATTACK_WORK / (60 * open.len() as u64 * problem.entries(problem.output).max(1))).clamp(2, 32) as usize;
        let of_cell = |&cell: &usize| {
            let longer = descent::Config { starts, steps: 60, size: 0.25, seed: 2 + cell as u64 };
            attack(&[cell], &[], longer)
        };
        if let Some(point) = open.par_iter().find_map_first(of_cell) {
            return Ok(Some(End::Reached(point)));
        }
        if few {
            let near = descent::sample(graph, &open, 20_000, 24, 3);
            for size in [0.05, 0.01] {
                let local = descent::Config { starts: near.len(), steps: 60, size, seed: 4 };
                if let Some(point) = attack(&open, &near, local) {
                    return Ok(Some(End::Reached(point)));
                }
            }
        }
        if !few {
            // At most a third of the time; the rest is for the cases.
            let now = Instant::now();
            let until = stop.deadline.map(|deadline| now + deadline.saturating_duration_since(now) / 3);
            let go_on = || !stop.now() && until.is_none_or(|until| Instant::now() < until);
            root = Root::new(&engine, Some(&Effort { config: &SLOPES, go_on: &go_on }));
            (plain, open) = by_default(&engine, &root, &all_cells);
        }
    }
    let mut parts: Vec<Part<'_, '_>> = Vec::new();
    if let Some(saved) = saved.and_then(|saved| saved.parts.iter().find(|part| part.kind == SavedKind::Root)) {
        // Which cells the root closes may hang on the last digit of a bound.
        plain = saved.tree.clone();
        open = all_cells.iter().copied().filter(|cell| !saved.cells.contains(cell)).collect();
    } else if saved.is_some() {
        open.clone_from(&all_cells);
    }
    let earlier = |cell: usize| saved.and_then(|saved| saved.about(cell));
    // A tree that an earlier search left, and its leaves that are to be opened again.
    let left = |part: &SavedPart, cells: &[usize]| {
        let leaves = part.tree.open_leaves(cells, |halfspace| graph.halfspaces[halfspace].cell);
        (part.tree.clone(), leaves)
    };
    let closed = all_cells.iter().copied().filter(|cell| !open.contains(cell)).collect::<Vec<_>>();
    if !closed.is_empty() {
        parts.push(Part { tree: plain, cells: closed, search: Kind::Root });
    }
    let proven = if open.is_empty() {
        true
    } else if few {
        let of_block = |b: usize| graph.tensors.iter().position(|t| matches!(t.op, Op::Variables(v) if v == b));
        let tensors = (0..graph.blocks.len()).map(|b| of_block(b).unwrap_or_default()).collect();
        let search = variables::Search { engine: &engine, problem, root: &root.case, config: FEW_SLOPES, tensors };
        let (mut tree, stack) = match earlier(open[0]) {
            Some(part) => {
                let (mut tree, leaves) = left(part, &open);
                let stack = search.reopen(&mut tree, &leaves, &open);
                (tree, stack)
            }
            None => search.start(&open),
        };
        // Many starts in small steps: some unsafe sets are tiny.
        let starts = (CLIMBS / open.len()).max(16);
        let climb = |from: &[Point], round: u64| {
            let one = |part: u64| {
                let config = descent::Config { starts, steps: 100, size: 0.02, seed: 16 * round + part };
                attack(&open, if part == 0 { from } else { &[] }, config)
            };
            let found = (0..8).into_par_iter().find_map_first(one);
            found.is_some_and(|point| harms(&point))
        };
        let proven = search.run(&mut tree, stack, stop, &harms, &climb);
        parts.push(Part { tree, cells: open, search: Kind::Variables(search) });
        proven
    } else {
        let start = |&cell: &usize| {
            let earlier = earlier(cell);
            let halfspace = match earlier.map(|part| part.kind) {
                Some(SavedKind::Neurons(halfspace)) => halfspace,
                _ => easiest(&engine, &root, cell),
            };
            let search = neurons::Search { engine: &engine, root: &root.case, halfspace, config: SLOPES };
            let (tree, heap) = match earlier {
                Some(part) => {
                    let (mut tree, leaves) = left(part, &[cell]);
                    let heap = search.reopen(&mut tree, &leaves);
                    (tree, heap)
                }
                None => search.start(),
            };
            (cell, search, tree, heap)
        };
        let started: Vec<_> = open.par_iter().map(start).collect();
        started.into_iter().all(|(cell, search, mut tree, heap)| {
            let proven = search.run(&mut tree, heap, stop, &harms);
            parts.push(Part { tree, cells: vec![cell], search: Kind::Neurons(search) });
            proven
        })
    };
    // How a search ends that has no proof.
    let unproven = |parts: Vec<Part<'_, '_>>| match reached.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(point) => End::Reached(point),
        None if stop.interrupted.load(Ordering::Relaxed) => End::Interrupted(Box::new(Saved::of(&root, parts))),
        None => End::Unknown,
    };
    if !proven {
        return Ok(Some(unproven(parts)));
    }
    for _ in 0..REPAIRS {
        let proof = text(&engine, problem, &root, &parts);
        // What is checked is what will be written.
        let written = serde_json::to_vec(&proof).and_then(|bytes| serde_json::from_slice::<ProofText>(&bytes));
        if written.ok().as_ref() != Some(&proof) {
            return Ok(Some(End::Unknown));
        }
        let established = tree_rules::walk(problem, &Proof::new(&proof, problem)?, CheckConfig::default().max_work)?;
        if established.open.is_none() && established.trailing.is_none() {
            return Ok(Some(End::Proven(Box::new(proof), established.slack)));
        }
        // Where rounding made the difference, the search goes on.
        let mut first = 0;
        let mend = |part: &mut Part<'_, '_>| {
            let order = part.tree.preorder();
            let mut leaves: Vec<usize> = established
                .open_leaves
                .iter()
                .filter(|(at, cell)| (first..first + order.len()).contains(at) && part.cells.contains(cell))
                .map(|(at, _)| order[at - first])
                .collect();
            first += order.len();
            leaves.dedup();
            leaves.is_empty()
                || match &part.search {
                    Kind::Root => false,
                    Kind::Variables(search) => {
                        let stack = search.reopen(&mut part.tree, &leaves, &part.cells);
                        search.run(&mut part.tree, stack, stop, &harms, &|_, _| false)
                    }
                    Kind::Neurons(search) => {
                        let heap = search.reopen(&mut part.tree, &leaves);
                        search.run(&mut part.tree, heap, stop, &harms)
                    }
                }
        };
        if !parts.iter_mut().all(mend) {
            return Ok(Some(unproven(parts)));
        }
    }
    Ok(Some(End::Unknown))
}

/// The row of a cell that is closest to being excluded at the root.
fn easiest(engine: &Engine<'_>, root: &Root, cell: usize) -> usize {
    let slack = root_slack(engine, root);
    let rows = (0..slack.len()).filter(|&h| engine.graph.halfspaces[h].cell == cell);
    rows.min_by(|&a, &b| slack[a].total_cmp(&slack[b])).unwrap_or_default()
}

/// A root alone that closes the cells which default slopes exclude, and the other cells.
fn by_default(engine: &Engine<'_>, root: &Root, cells: &[usize]) -> (Tree, Vec<usize>) {
    let (halfspaces, slack) = (&engine.graph.halfspaces, root_slack(engine, root));
    let (mut tree, mut open) = (Tree::new(), Vec::new());
    for &cell in cells {
        let excluded = |&h: &usize| halfspaces[h].cell == cell && slack[h] < -10.0 * margin(halfspaces[h].bound);
        match (0..slack.len()).find(excluded) {
            Some(halfspace) => tree.nodes[0].close.push(Closing { halfspace, slopes: None, betas: vec![] }),
            None => open.push(cell),
        }
    }
    (tree, open)
}

/// The slack of every halfspace at the root, with default slopes.
fn root_slack(engine: &Engine<'_>, root: &Root) -> Vec<f64> {
    let halfspaces = &engine.graph.halfspaces;
    let columns: Vec<(usize, usize)> = (0..halfspaces.len()).map(|h| (0, h)).collect();
    let cases = [&root.case];
    let targets = engine.halfspaces(&columns, &cases);
    let (bound, _) = engine.bound(&targets, None, &[]);
    halfspaces.iter().zip(bound).map(|(h, bound)| bound + h.bound).collect()
}

fn text(engine: &Engine<'_>, problem: &Problem, root: &Root, parts: &[Part<'_, '_>]) -> ProofText {
    let mut builder = Builder::new(problem);
    let refine = root.refinements.iter().map(|r| refinement(r, engine, &mut builder)).collect();
    let nodes = parts.iter().flat_map(|part| part.tree.text(engine, problem, &mut builder)).collect();
    ProofText { refine, ..builder.finish(nodes) }
}
