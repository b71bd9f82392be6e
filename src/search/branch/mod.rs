//! Branch and bound: cases until every unsafe cell is excluded in all of them, or a point reaches one.

pub mod descent;
pub mod neurons;
pub mod root;
pub mod tree;
pub mod variables;

use crate::emit::Builder;
use crate::graph::{Graph, Op};
use crate::relax::batch::{Config as Slopes, Engine, Matrix, Targets};
use descent::Point;
use root::Root;
use scalecheck::certificate::ProofText;
use scalecheck::problem::Problem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// How a search ended.
pub enum End {
    Proven(Box<ProofText>),
    /// A point that reaches a cell in floating point.
    Reached(Point),
    Unknown,
}

/// Searches for a proof or for a point. `confirm` says whether a point exactly reaches a cell. `None` if the problem is
/// of a kind that the search does not know.
pub fn search(
    problem: &Problem,
    graph: &Graph,
    stop: &Stop<'_>,
    confirm: &(dyn Fn(&[Vec<f64>]) -> bool + Sync),
) -> Option<End> {
    let engine = Engine::new(graph)?;
    let boxes = graph.blocks.iter().all(|b| b.groups.is_empty());
    let all_cells: Vec<usize> = (0..problem.cells.len()).collect();
    let debug = std::env::var("SCALECERT_DEBUG").is_ok();
    let begin = Instant::now();
    let say = |what: &str| {
        if debug {
            eprintln!("{:8.3} {what}", begin.elapsed().as_secs_f64());
        }
    };
    let attack = |cells: &[usize], from: &[Point], starts: usize, steps: usize, seed: u64| -> Option<Point> {
        if !boxes {
            return None;
        }
        let found = descent::ascend(graph, cells, from, &descent::Config { starts, steps, seed })?;
        (found.slack >= 0.0 && confirm(&found.point)).then_some(found.point)
    };
    if let Some(point) = attack(&all_cells, &[], 4, 20, 1) {
        return Some(End::Reached(point));
    }
    say("first attack");
    let mut root = Root::new(&engine);
    say("root");
    if debug {
        let unstable: Vec<usize> = root.case.ranges.iter().map(|r| r.unstable.len()).collect();
        eprintln!("unstable {unstable:?}");
    }
    let mut first = Tree::new();
    let mut open = plain(&engine, &root, &all_cells, &mut first);
    say(&format!("open cells {open:?}"));
    let mut builder = Builder::new(problem);
    let few = graph.blocks.iter().map(|b| b.lower.len()).sum::<usize>() <= FEW_VARIABLES;
    let mut trees = Vec::new();
    if open.is_empty() {
        trees.push(first);
        return Some(finish(&engine, problem, &root, trees, builder));
    }
    if let Some(point) = attack(&open, &[], 32, 60, 2) {
        return Some(End::Reached(point));
    }
    say("second attack");
    if few && boxes {
        let tensors: Vec<usize> = (0..graph.blocks.len())
            .map(|b| graph.tensors.iter().position(|t| matches!(t.op, Op::Variables(v) if v == b)).unwrap_or_default())
            .collect();
        let search = variables::Search { engine: &engine, problem, root: &root.case, tensors };
        let reached = Mutex::new(None);
        let harms = |point: &[Vec<f64>]| {
            let at: Vec<Matrix> = point.iter().map(|p| Matrix::from_column_slice(p.len(), 1, p)).collect();
            let output = graph.evaluate(&at).swap_remove(graph.output);
            let reaches = all_cells.iter().any(|&cell| {
                graph
                    .halfspaces
                    .iter()
                    .filter(|h| h.cell == cell)
                    .all(|h| h.bound + h.objective.iter().map(|&(i, a)| a * output[(i, 0)]).sum::<f64>() >= 0.0)
            });
            let found = reaches && confirm(point);
            if found {
                *reached.lock().unwrap_or_else(|e| e.into_inner()) = Some(point.to_vec());
            }
            found
        };
        let end = search.run(open, stop, &harms);
        say("searched");
        return Some(match (end, reached.into_inner().unwrap_or_else(|e| e.into_inner())) {
            (_, Some(point)) => End::Reached(point),
            (variables::End::Proven(tree), None) => {
                if debug {
                    eprintln!("nodes {}", tree.nodes.len());
                }
                if !first.nodes[0].close.is_empty() {
                    trees.push(first);
                }
                trees.push(tree);
                finish(&engine, problem, &root, trees, builder)
            }
            (variables::End::Open, None) => End::Unknown,
        });
    }
    let slopes = Slopes { iterations: 20, slope_step: 0.1, multiplier_step: 0.1, decay: 0.96 };
    root.optimise(&engine, &slopes, || !stop.now());
    say("optimised root");
    if debug {
        let unstable: Vec<usize> = root.case.ranges.iter().map(|r| r.unstable.len()).collect();
        eprintln!("unstable {unstable:?}");
    }
    first = Tree::new();
    open = plain(&engine, &root, &all_cells, &mut first);
    say(&format!("open cells {open:?}"));
    if !first.nodes[0].close.is_empty() {
        trees.push(first);
    }
    for (position, &cell) in open.iter().enumerate() {
        let rows: Vec<usize> = (0..graph.halfspaces.len()).filter(|&h| graph.halfspaces[h].cell == cell).collect();
        // One row at a time: the search for the first that can be excluded.
        let search = neurons::Search { engine: &engine, root: &root.case, halfspace: rows[0], config: slopes };
        let _ = position;
        match search.run(stop) {
            neurons::End::Proven(tree) => {
                say(&format!("cell {cell} proven, nodes {}", tree.nodes.len()));
                trees.push(tree);
            }
            neurons::End::Open => {
                say(&format!("cell {cell} open"));
                return Some(End::Unknown);
            }
        }
    }
    let _ = &mut builder;
    Some(finish(&engine, problem, &root, trees, builder))
}

/// Closes the cells that default slopes exclude at the root; the others.
fn plain(engine: &Engine<'_>, root: &Root, cells: &[usize], tree: &mut Tree) -> Vec<usize> {
    let graph = engine.graph;
    let mut coefficients = Matrix::zeros(graph.len(graph.output), graph.halfspaces.len());
    for (k, h) in graph.halfspaces.iter().enumerate() {
        h.objective.iter().for_each(|&(i, a)| coefficients[(i, k)] += a);
    }
    let cases = [&root.case];
    let of = vec![0; graph.halfspaces.len()];
    let targets = Targets { tensor: graph.output, coefficients, cases: &cases, of };
    let (bound, _) = engine.bound(&targets, None, &[]);
    let excluded = |cell: &usize| {
        graph.halfspaces.iter().enumerate().position(|(k, h)| h.cell == *cell && bound[k] + h.bound < -margin(h.bound))
    };
    let mut open = Vec::new();
    for cell in cells {
        match excluded(cell) {
            Some(halfspace) => tree.nodes[0].close.push(Closing { halfspace, slopes: None, betas: vec![] }),
            None => open.push(*cell),
        }
    }
    open
}

fn finish(engine: &Engine<'_>, problem: &Problem, root: &Root, trees: Vec<Tree>, mut builder: Builder<'_>) -> End {
    let refine = root.refinements.iter().map(|r| refinement(r, engine, &mut builder)).collect();
    let nodes = trees.iter().flat_map(|tree| tree.text(engine, problem, &mut builder)).collect();
    let mut proof = builder.finish(nodes);
    proof.refine = refine;
    End::Proven(Box::new(proof))
}
