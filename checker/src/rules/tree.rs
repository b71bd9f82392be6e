//! The proof trees: cases in preorder, each refined, then split, closed or void.
//!
//! Coverage is structural: a split is followed by both of its children, and a tree ends only when no case is open. A
//! cell that is closed in a case is closed in all cases that it splits into. A tree excludes a cell if the cell is closed
//! in every case that does not split; since the cases of a tree cover the domain, no point reaches the cell. Trees may
//! exclude different cells; the claim needs that each cell is excluded by some tree.

use crate::certificate::{Close, End, Node, Proof, Refine, Side, SlopeSet};
use crate::error::{Code, Error, Result, exponent};
use crate::number::Rational;
use crate::problem::Problem;
use crate::rules::back_substitution::Relaxation;
use crate::rules::case::{Case, GUARD};
use crate::rules::{close, split};
use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What walking all trees has established.
pub struct Established {
    /// For each cell the largest slack over the cases of the first tree that excludes it, or else of the first tree:
    /// negative, or zero for a strict cell, if it is excluded. `None` if every case is void, or if some case says nothing
    /// of the cell.
    pub slack: Vec<Option<Rational>>,
    /// The first cell that no tree excludes.
    pub open: Option<Error>,
    /// The first tree that excludes nothing which earlier trees do not.
    pub trailing: Option<Error>,
    /// (node, cell) of all leaves and the cells that are not closed there, for a prover that goes on from them.
    pub open_leaves: Vec<(usize, usize)>,
    /// Multiply–accumulates that it took.
    pub work: u64,
}

/// What is known of a cell in a case: its slack there, if it is closed or at least bounded.
type Slack = Option<Arc<Rational>>;

/// What a tree says of one cell so far.
#[derive(Clone, Default)]
struct Reach {
    /// The largest slack so far.
    worst: Slack,
    /// The first case in which it is not closed, and the slack there.
    open: Option<(usize, Slack)>,
    /// True if some case has no slack for it.
    unbounded: bool,
}

/// Walks the trees of `proof`. A cell left open, and a tree that is not needed, are no errors here, so that a prover can
/// ask how far a proof reaches; [`check`] makes them errors.
pub fn walk(problem: &Problem, proof: &Proof, max_work: u64) -> Result<Established> {
    follow(problem, proof, max_work, true)
}

/// Walks the trees; `explore` if what they leave open is of interest, and not only whether they suffice.
fn follow(problem: &Problem, proof: &Proof, max_work: u64, explore: bool) -> Result<Established> {
    let sizes = sizes(&proof.nodes)?;
    let mut root = Open { case: Case::root(problem)?, closed: Arc::new(vec![None; problem.cells.len()]) };
    let work = AtomicU64::new(0);
    let walk = Walk::new(problem, proof, max_work, &work, explore);
    walk.refine(&mut root.case, &proof.refine, threads()).map_err(|e| e.within("root"))?;
    let (mut found, mut open_leaves, mut trailing) = (vec![None; problem.cells.len()], Vec::new(), None);
    let mut first = 0;
    while first < proof.nodes.len() {
        let tree = walk_tree(&walk, &sizes, first, root.clone())?;
        let end = first + sizes[first];
        if !settle(&mut found, &tree.reached) && trailing.is_none() {
            let message = "the tree that ends here excludes nothing that earlier trees do not";
            trailing = Some(Error::new(Code::TreeTrailing, place(end - 1), message));
        }
        if let (false, Some(error)) = (explore, &trailing) {
            return Err(error.clone());
        }
        open_leaves.extend(tree.open_leaves);
        first = end;
    }
    let found: Vec<Reach> = found.into_iter().map(Option::unwrap_or_default).collect();
    Ok(Established {
        open: found.iter().zip(&problem.cells).find_map(|(reach, cell)| {
            let (i, slack) = reach.open.as_ref()?;
            let misses = slack.as_ref().map_or_else(
                || "nothing is said of it".to_owned(),
                |slack| format!("the bound misses by {}", crate::number::approximate(slack)),
            );
            Some(Error::new(Code::CellOpen, place(*i), format!("not excluded: {}; {misses}", cell.meaning)))
        }),
        slack: found.into_iter().map(|r| r.worst.filter(|_| !r.unbounded).map(|w| Rational::clone(&w))).collect(),
        trailing,
        open_leaves,
        work: work.load(Ordering::Relaxed),
    })
}

/// Deepest tree: every case above one that is being checked is in memory, or the other child of it.
const MAX_DEPTH: usize = 1024;

/// Number of nodes of the subtree that begins at each node. An error if a split has not both of its children.
fn sizes(nodes: &[Node]) -> Result<Vec<usize>> {
    let truncated = |open: usize| {
        let message = format!("the proof ends with at least {open} cases open");
        Error::new(Code::TreeTruncated, "proof", message)
    };
    if nodes.is_empty() {
        return Err(truncated(1));
    }
    let (mut sizes, mut depths) = (vec![1; nodes.len()], vec![0; nodes.len()]);
    for at in (0..nodes.len()).rev() {
        if let End::Split { .. } = nodes[at].end {
            let low = *sizes.get(at + 1).ok_or_else(|| truncated(2))?;
            let high = *sizes.get(at + 1 + low).ok_or_else(|| truncated(1))?;
            sizes[at] = 1 + low + high;
            depths[at] = 1 + depths[at + 1].max(depths[at + 1 + low]);
            if depths[at] > MAX_DEPTH {
                let message = format!("a tree is deeper than {MAX_DEPTH} splits");
                return Err(Error::new(Code::LimitSize, place(at), message));
            }
        }
    }
    Ok(sizes)
}

/// Rows of a refinement that one thread works on at a time.
const ROWS: usize = 64;

/// Parts of refinements whose bounds are held at a time.
const BATCH: usize = 1024;

/// Bounds derived of a row, below and above.
type Derived = (usize, Option<i128>, Option<i128>);

/// Subtrees that a tree is cut into, for several threads. Cases do not depend on each other but on those above them, and
/// the cut does not depend on the machine, so neither does what is found.
const SUBTREES: usize = 64;
/// Smallest tree that is cut.
const CUT_FROM: usize = 32;

/// Walks the tree whose root is node `first`.
fn walk_tree<'p>(of: &Walk<'p>, sizes: &[usize], first: usize, root: Open<'p>) -> Result<Walk<'p>> {
    let mut top = of.fresh();
    let (mut subtrees, mut failed): (Vec<(usize, Open<'p>)>, _) = (vec![(first, root)], None);
    while sizes[first] >= CUT_FROM && subtrees.len() < SUBTREES {
        let largest = (0..subtrees.len()).max_by_key(|&k| sizes[subtrees[k].0]).unwrap_or_default();
        if sizes[subtrees[largest].0] == 1 {
            break;
        }
        let (at, open) = subtrees.swap_remove(largest);
        match top.step(at, open) {
            Ok(None) => {}
            Ok(Some((low, high))) => subtrees.extend([(at + 1, low), (at + 1 + sizes[at + 1], high)]),
            Err(error) => {
                // The first error of the tree is reported: what comes before this case may have another.
                subtrees.retain(|(start, _)| *start < at);
                failed = Some(error);
                break;
            }
        }
    }
    subtrees.sort_unstable_by_key(|(at, _)| *at);
    let one = |(at, open): (usize, Open<'p>)| of.fresh().subtree(at, open);
    let walked = of.in_parallel(subtrees, threads(), "proof", one)?;
    failed.map_or(Ok(()), Err)?;
    Ok(walked.into_iter().fold(top, |mut all, part| {
        all.reached.iter_mut().zip(part.reached).for_each(|(all, part)| all.take(part));
        all.open_leaves.extend(part.open_leaves);
        all
    }))
}

/// As many threads as the machine runs at a time.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What `f` makes of every item, in their order, by at most so many threads.
fn in_parallel<T: Send, R: Send>(items: Vec<T>, threads: usize, f: impl Fn(T) -> R + Sync) -> Vec<R> {
    if threads.min(items.len()) < 2 {
        return items.into_iter().map(f).collect();
    }
    let count = items.len();
    let (queue, f) = (Mutex::new(items.into_iter().enumerate()), &f);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || std::iter::from_fn(next).map(|(i, item)| (i, f(item))).collect::<Vec<_>>();
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        // A thread that the system refuses is one fewer.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let workers: Vec<_> = (1..threads.min(count)).filter_map(spawn).collect();
        let mine = work();
        // A fault of a worker is one of this thread.
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| worker.join().unwrap_or_else(|e| resume_unwind(e));
        workers.into_iter().map(join).fold(mine, |all, part| [all, part].into_iter().flatten().collect())
    });
    results.sort_unstable_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

fn limit(max_work: u64, place: &str) -> Error {
    let message = format!("needs more than {max_work} multiply–accumulates; raise --max-work");
    Error::new(Code::LimitWork, place, message)
}

fn place(node: usize) -> String {
    format!("case {node}")
}

/// Takes from a complete tree what earlier ones left open. False if that is nothing.
fn settle(found: &mut [Option<Reach>], tree: &[Reach]) -> bool {
    let mut news = false;
    for (found, reach) in found.iter_mut().zip(tree) {
        let first = found.is_none();
        if first || (found.as_ref().is_some_and(|f| f.open.is_some()) && reach.open.is_none()) {
            *found = Some(reach.clone());
            news = true;
        }
    }
    news
}

/// Verifies that every cell is excluded, and that every tree but the first is needed for it.
pub fn check(problem: &Problem, proof: &Proof, max_work: u64) -> Result<Established> {
    let mut established = follow(problem, proof, max_work, false)?;
    established.open.take().map_or(Ok(established), Err)
}

impl Reach {
    /// Adds what another part of the same tree says.
    fn take(&mut self, other: Reach) {
        self.worst = self.worst.take().max(other.worst);
        self.open = self.open.take().or(other.open);
        self.unbounded |= other.unbounded;
    }
}

/// A case that is to be worked on, and the slacks of the cells that are closed in it.
#[derive(Clone)]
struct Open<'p> {
    case: Case<'p>,
    closed: Arc<Vec<Slack>>,
}

struct Walk<'p> {
    problem: &'p Problem,
    proof: &'p Proof,
    max_work: u64,
    /// Work of all threads so far.
    work: &'p AtomicU64,
    /// By cell, what the tree at hand says so far.
    reached: Vec<Reach>,
    /// Whether to keep the following, which may be one for each leaf and cell.
    explore: bool,
    open_leaves: Vec<(usize, usize)>,
}

impl<'p> Walk<'p> {
    fn new(problem: &'p Problem, proof: &'p Proof, max_work: u64, work: &'p AtomicU64, explore: bool) -> Self {
        let reached = vec![Reach::default(); problem.cells.len()];
        Walk { problem, proof, max_work, work, reached, explore, open_leaves: vec![] }
    }

    /// A walk of the same proof that has seen nothing yet.
    fn fresh(&self) -> Self {
        Walk::new(self.problem, self.proof, self.max_work, self.work, self.explore)
    }

    /// What `f` makes of every item, or the first error. Every item is worked on to its end or its error, so whether all of
    /// them together pass the limit of work does not depend on the threads; only the item in which that happens does, and
    /// is not reported.
    fn in_parallel<T: Send, R: Send>(
        &self,
        items: Vec<T>,
        threads: usize,
        place: &str,
        f: impl Fn(T) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let results = in_parallel(items, threads, f);
        if results.iter().any(|result| result.as_ref().is_err_and(|error| error.code == Code::LimitWork)) {
            return Err(limit(self.max_work, place));
        }
        results.into_iter().collect()
    }

    /// Works through the subtree that begins at node `at`.
    fn subtree(mut self, mut at: usize, open: Open<'p>) -> Result<Self> {
        let mut open_cases = vec![open];
        while let Some(open) = open_cases.pop() {
            if let Some((low, high)) = self.step(at, open)? {
                open_cases.push(high);
                open_cases.push(low);
            }
            at += 1;
        }
        Ok(self)
    }

    /// Works through one node, with errors that say which.
    fn step(&mut self, at: usize, open: Open<'p>) -> Result<Option<(Open<'p>, Open<'p>)>> {
        self.node(open, &self.proof.nodes[at], at).map_err(|e| e.within(&place(at)))
    }

    /// Works through one node; the children if it splits.
    fn node(&mut self, open: Open<'p>, node: &Node, i: usize) -> Result<Option<(Open<'p>, Open<'p>)>> {
        let Open { mut case, mut closed } = open;
        self.refine(&mut case, &node.refine, 1)?;
        let mut missed: HashMap<usize, Arc<Rational>> = HashMap::new();
        let slacks = if node.close.is_empty() { vec![] } else { self.close(&mut case, &node.close)? };
        for (entry, slack) in node.close.iter().zip(slacks) {
            if close::closes(&self.problem.cells[entry.cell], entry, &slack) {
                // What a case above has found is true here as well.
                let best = &mut Arc::make_mut(&mut closed)[entry.cell];
                *best = Some(best.take().into_iter().fold(Arc::new(slack), Arc::min));
            } else {
                missed.entry(entry.cell).or_insert_with(|| Arc::new(slack));
            }
        }
        match &node.end {
            End::Split { tensor, element, at } => {
                case.ensure(*tensor)?;
                self.spend(*tensor, 0, 0)?;
                let (low, high) = split::split(case, *tensor, *element, at);
                return Ok(Some((Open { case: low, closed: closed.clone() }, Open { case: high, closed })));
            }
            End::Leaf => {
                self.charge(closed.len() as u64)?;
                for (cell, (closed, reach)) in closed.iter().zip(&mut self.reached).enumerate() {
                    let slack = closed.clone().or_else(|| missed.get(&cell).cloned());
                    if closed.is_none() && self.explore {
                        self.open_leaves.push((i, cell));
                    }
                    if closed.is_none() && reach.open.is_none() {
                        reach.open = Some((i, slack.clone()));
                    }
                    reach.unbounded |= slack.is_none();
                    reach.worst = reach.worst.take().max(slack);
                }
            }
            End::Void { tensor, element } => {
                if !case.is_void(*tensor, *element) {
                    let name = &self.problem.tensors[*tensor].name;
                    let message = format!("element {element} of `{name}` still has values: the case is not void");
                    return Err(Error::new(Code::NotVoid, "", message));
                }
            }
        }
        Ok(None)
    }

    fn slopes(&self, set: Option<usize>) -> Option<&'p SlopeSet> {
        set.and_then(|i| self.proof.slopes.get(i))
    }

    /// Rule 4.3, refine. Refinements of one tensor that follow each other are derived from what is known before the first
    /// of them, so several threads may work on them.
    fn refine(&self, case: &mut Case<'p>, refines: &[Refine], threads: usize) -> Result<()> {
        for run in refines.chunk_by(|a, b| a.tensor == b.tensor) {
            let t = run[0].tensor;
            case.ensure(t)?;
            let every: Vec<usize> = (0..self.problem.tensors[t].centre.len()).collect();
            for refine in run {
                case.ensure_ranges(&refine.hints.multipliers)?;
                let sides = if refine.side.is_some() { 1 } else { 2 };
                let rows = refine.rows.as_ref().unwrap_or(&every).len() as u64;
                self.spend(t, sides * rows, refine.hints.multipliers.len())?;
            }
            let exp = exponent(case.bounds(t)?.exp().checked_add_unsigned(GUARD))?;
            let parts = run.iter().flat_map(|refine| {
                let rows = refine.rows.as_ref().unwrap_or(&every);
                rows.chunks(ROWS).map(move |rows| (refine, rows))
            });
            // A text may ask for one row any number of times; of each only the best bounds are kept.
            let (mut best, mut position): (Vec<Derived>, HashMap<usize, usize>) = Default::default();
            let mut parts = parts.peekable();
            while parts.peek().is_some() {
                let batch = parts.by_ref().take(BATCH).collect();
                let found =
                    self.in_parallel(batch, threads, "", |(refine, rows)| self.derive(case, refine, rows, exp))?;
                for (row, lower, upper) in found.into_iter().flatten() {
                    let at = *position.entry(row).or_insert(best.len());
                    match best.get_mut(at) {
                        Some((_, low, high)) => {
                            *low = (*low).max(lower);
                            *high = [*high, upper].into_iter().flatten().min();
                        }
                        None => best.push((row, lower, upper)),
                    }
                }
            }
            for (row, lower, upper) in best {
                case.learn_rounded(t, row, lower, upper)?;
            }
            case.renormalise(t)?;
        }
        Ok(())
    }

    /// Rule 4.2 for rows of a refinement: (row, lower bound, upper bound) in units of `2^-exp`. Lower bounds are upper
    /// bounds of the negated element.
    fn derive(&self, case: &Case<'p>, refine: &Refine, rows: &[usize], exp: i32) -> Result<Vec<Derived>> {
        let (t, multipliers) = (refine.tensor, &refine.hints.multipliers);
        let relaxation = Relaxation::new(case, t, self.slopes(refine.hints.slopes));
        let bound = |row, sign| relaxation.rounded_bound(t, &[(row, sign)], multipliers, exp);
        let both = |&row: &usize| {
            let lower = if refine.side != Some(Side::Upper) { Some(-bound(row, -1)?) } else { None };
            let upper = if refine.side != Some(Side::Lower) { Some(bound(row, 1)?) } else { None };
            Ok((row, lower, upper))
        };
        rows.iter().map(both).collect()
    }

    /// The slacks of these entries.
    fn close(&mut self, case: &mut Case<'p>, entries: &[Close]) -> Result<Vec<Rational>> {
        let problem = self.problem;
        case.ensure(problem.output)?;
        entries.iter().try_for_each(|entry| case.ensure_ranges(&entry.hints.multipliers))?;
        let multipliers = entries.iter().map(|entry| entry.hints.multipliers.len()).max().unwrap_or(0);
        self.spend(problem.output, entries.len() as u64, multipliers)?;
        let mut shared: Option<(Option<usize>, Relaxation<'_, '_>)> = None;
        let mut slacks = Vec::with_capacity(entries.len());
        for entry in entries {
            if shared.as_ref().is_none_or(|(set, _)| *set != entry.hints.slopes) {
                shared =
                    Some((entry.hints.slopes, Relaxation::new(case, problem.output, self.slopes(entry.hints.slopes))));
            }
            let Some((_, relaxation)) = &shared else { continue };
            slacks.push(close::slack(problem, &problem.cells[entry.cell], entry, relaxation)?);
        }
        Ok(slacks)
    }

    /// Accounts for preparing and doing `targets` eliminations from tensor `t` down, each with so many multipliers.
    fn spend(&self, t: usize, targets: u64, multipliers: usize) -> Result<()> {
        let one = self.problem.entries(t);
        let work = one.saturating_mul(targets.saturating_add(1)).saturating_mul(multipliers as u64 + 1);
        self.charge(work)
    }

    fn charge(&self, work: u64) -> Result<()> {
        let before = self.work.fetch_add(work, Ordering::Relaxed);
        if before.saturating_add(work) <= self.max_work { Ok(()) } else { Err(limit(self.max_work, "")) }
    }
}
