//! Random claims about random networks, points of their domains, and random proofs.

pub use super::families::{Family, Perturb};
use super::families::{amplitude, list, random_perturb};
use super::reference::{Net, Size, random_net};
use super::tape::Tape;
use super::{ancestors, parse_claim, pre_activations, ratio, read_model, tensor_names};
use num::{One, Signed, Zero};
use scalecheck::certificate::{
    CloseText, DualText, MultiplierText, NodeText, Proof, ProofText, RefineText, Side, SlopesText, SplitText,
};
use scalecheck::claim::Claim;
use scalecheck::error::Code;
use scalecheck::network::Network;
use scalecheck::number::Rational;
use scalecheck::problem::Problem;
use scalecheck::rules::tree;

type Vector = Vec<Rational>;

/// A network, a claim about it, and the problem that the checker derives.
pub struct Study {
    pub net: Net,
    pub network: Network,
    pub x: Vector,
    pub perturbs: Vec<Perturb>,
    pub valid: Option<(Rational, Rational)>,
    pub claim: Claim,
    pub text: String,
    pub problem: Problem,
}

/// A point of the domain: the variables, what is added to each tensor of the network, and what follows from it.
pub struct Point {
    pub z: Vec<Vector>,
    pub delta: Vec<Vector>,
    /// Deviation of every tensor of the network.
    pub moved: Vec<Vector>,
}

/// What to study.
#[derive(Clone, Copy)]
pub struct Plan {
    pub net: Size,
    pub perturbs: usize,
    /// Perturb the input only.
    pub input_only: bool,
    /// Perturb by the families `none`, `block-mean` and `haar` only.
    pub only_blocks: bool,
}

pub fn random_study(tape: &mut Tape, plan: Plan) -> Study {
    let net = random_net(tape, plan.net);
    let network = read_model(&net.model.bytes());
    let thirds = if plan.net.wild { 3 } else { 1 };
    let x: Vector = (0..net.len(0)).map(|_| ratio(tape.around(8), 4 * (1 + tape.below(thirds) as i64))).collect();
    let mut text = format!("model = \"model.onnx\"\n[inputs]\npoint = [{}]\n", list(&x));
    let valid = tape.one_in(3).then(|| {
        let margin = |tape: &mut Tape| ratio(tape.below(4) as i64, 4 * (1 + tape.below(thirds) as i64));
        let low = x.iter().min().map_or_else(Rational::zero, |v| v - margin(tape));
        let high = x.iter().max().map_or_else(Rational::zero, |v| v + margin(tape));
        (low, high)
    });
    if let Some((low, high)) = &valid {
        text += &format!("valid = [\"{low}\", \"{high}\"]\n");
    }
    let mut perturbs = Vec::new();
    for _ in 0..1 + tape.below(plan.perturbs) {
        let site = if plan.input_only || tape.one_in(2) { 0 } else { tape.below(net.names.len()) };
        let (perturb, part) = random_perturb(tape, &net, site, plan.only_blocks);
        perturbs.push(perturb);
        text += &part;
    }
    text += "[output]\n";
    let len = net.len(net.output());
    text += &match tape.below(4) {
        0 => format!("coarse = {{ groups = [[0], {:?}], reduce = \"mean\" }}\n", (0..len).collect::<Vec<_>>()),
        1 => format!("coarse = {{ groups = [{:?}], reduce = \"sum\" }}\n", (0..len).rev().collect::<Vec<_>>()),
        2 => {
            let row = |tape: &mut Tape| (0..len).map(|_| ratio(tape.around(6), 6)).collect::<Vector>();
            format!("coarse = {{ matrix = [[{}], [{}]] }}\n", list(&row(tape)), list(&row(tape)))
        }
        _ => String::new(),
    };
    let tolerance = format!("tolerance = \"{}\"\n", amplitude(tape));
    let winner = format!("{text}decision = \"winner\"\n");
    let with_tolerance = format!("{text}{tolerance}");
    if tape.one_in(3) && !plan.input_only {
        let claim = parse_claim(&winner);
        match super::problem(&network, &claim, &x) {
            Ok(problem) => return Study { net, network, x, perturbs, valid, claim, text: winner, problem },
            // The largest outputs tie.
            Err(e) => assert_eq!(e.code, Code::ClaimClean),
        }
    }
    let claim = parse_claim(&with_tolerance);
    let problem = super::problem(&network, &claim, &x).unwrap_or_else(|e| panic!("{e}\n{with_tolerance}"));
    Study { net, network, x, perturbs, valid, claim, text: with_tolerance, problem }
}

impl Study {
    /// What values of the variables add to each tensor.
    pub fn delta(&self, z: &[Vector]) -> Vec<Vector> {
        self.effect(z).0
    }

    /// What values of the variables add to each tensor, and to the constants of each.
    fn effect(&self, z: &[Vector]) -> (Vec<Vector>, Vec<Vec<Vector>>) {
        let net = &self.net;
        let mut delta: Vec<Vector> = (0..net.names.len()).map(|t| vec![Rational::zero(); net.len(t)]).collect();
        let mut changes = net.unchanged();
        self.perturbs.iter().zip(z).for_each(|(p, z)| p.add(z, &mut delta, &mut changes));
        (delta, changes)
    }

    /// A point of the domain, often on its boundary.
    pub fn point(&self, tape: &mut Tape) -> Point {
        let mut z: Vec<Vector> = self.perturbs.iter().map(|p| p.sample(tape)).collect();
        if let Some((low, high)) = &self.valid {
            // The domain is convex and contains zero: shrink what enters at the input until it fits.
            let delta = &self.delta(&z)[0];
            let mut shrink = Rational::one();
            for (x, d) in self.x.iter().zip(delta) {
                if d.is_positive() {
                    shrink = shrink.min((high - x) / d);
                } else if d.is_negative() {
                    shrink = shrink.min((low - x) / d);
                }
            }
            for (p, z) in self.perturbs.iter().zip(&mut z) {
                if p.site == Some(0) {
                    z.iter_mut().for_each(|z| *z *= &shrink);
                }
            }
        }
        self.point_at(z)
    }

    /// The variables of a point, one list for each block of the problem's domain.
    pub fn by_block(&self, z: &[Vector]) -> Vec<Vector> {
        self.perturbs.iter().zip(z).flat_map(|(p, z)| p.blocks(z)).map(<[Rational]>::to_vec).collect()
    }

    pub fn point_at(&self, z: Vec<Vector>) -> Point {
        let (delta, changes) = self.effect(&z);
        let clean = self.clean();
        let values = self.net.evaluate(&self.x, &delta, &changes, None);
        let moved = values.iter().zip(&clean).map(|(v, c)| v.iter().zip(c).map(|(v, c)| v - c).collect()).collect();
        Point { z, delta, moved }
    }

    pub fn clean(&self) -> Vec<Vector> {
        let none: Vec<Vector> = (0..self.net.names.len()).map(|_| vec![]).collect();
        self.net.evaluate(&self.x, &none, &self.net.unchanged(), None)
    }

    /// Deviation of every tensor of the problem, by the reference interpreter; `None` for one without a name of its
    /// own, which the inner step of an ONNX node has.
    pub fn deviations(&self, point: &Point) -> Vec<Option<Vector>> {
        let mut found = vec![None; self.problem.tensors.len()];
        for (t, name) in self.net.names.iter().enumerate() {
            if let Some(position) = self.problem.find(name) {
                found[position] = Some(point.moved[t].clone());
            }
        }
        for (i, (p, z)) in self.perturbs.iter().zip(&point.z).enumerate() {
            // A variable that is the site itself already has the site's deviation.
            for (block, suffix) in p.blocks(z).into_iter().zip(["", ".residual"]) {
                if let Some(position) = self.problem.find(&format!("perturb[{i}]{suffix}")) {
                    found[position] = Some(block.to_vec());
                }
            }
            if let Some(position) = self.problem.find(&format!("perturb[{i}].seen")) {
                found[position] = Some(vec![Rational::zero(); self.problem.tensors[position].centre.len()]);
            }
        }
        found
    }
}

/// A random proof: any slopes, multipliers, refinements, splits, closes and trees that can be written down. A later
/// tree may exclude nothing that earlier ones do not.
pub fn random_proof(tape: &mut Tape, study: &Study) -> ProofText {
    let problem = &study.problem;
    let names = tensor_names(&study.network, problem);
    let slope_bits = *tape.pick(&[16, 3, 0]);
    let mut proof = ProofText { slope_bits, tensors: names, slopes: vec![], ..ProofText::default() };
    for _ in 0..tape.below(3) {
        let mut set = Vec::new();
        for (tensor, name) in proof.tensors.iter().enumerate() {
            let t = problem.find(name).unwrap_or_default();
            if pre_activations(problem).contains(&t) && !tape.one_in(4) {
                let len = problem.tensors[t].centre.len();
                let mut side = || {
                    let slope = |tape: &mut Tape| tape.below((1 << slope_bits) + 2) as i64 - 1;
                    (!tape.one_in(4)).then(|| (0..len).map(|_| slope(tape)).collect())
                };
                set.push(SlopesText { tensor, lower: side(), upper: side() });
            }
        }
        proof.slopes.push(set);
    }
    let mut known = vec![false; problem.tensors.len()];
    if tape.one_in(2) {
        proof.refine = refinements(tape, study, &proof, &mut known);
    }
    for _ in 0..1 + tape.below(3) {
        let depth = tape.below(4);
        node(tape, study, &mut proof, &known, depth);
    }
    proof
}

/// A random proof without the trees that exclude nothing new, which the checker rejects.
pub fn without_idle_trees(problem: &Problem, mut text: ProofText) -> ProofText {
    while let Err(e) = tree::walk(problem, &Proof::new(&text, problem).unwrap(), u64::MAX) {
        assert_eq!(e.code, Code::TreeTrailing, "{e}");
        let last: usize = e.place.strip_prefix("case ").and_then(|i| i.parse().ok()).unwrap();
        let (mut start, mut open) = (0, 0);
        for (i, node) in text.nodes[..last].iter().enumerate() {
            open = (if open == 0 { 1 } else { open }) + if node.split.is_some() { 1 } else { -1 };
            start = if open == 0 { i + 1 } else { start };
        }
        text.nodes.drain(start..=last);
    }
    text
}

/// Refinements of some tensors; afterwards the case knows bounds of more of them.
fn refinements(tape: &mut Tape, study: &Study, proof: &ProofText, known: &mut [bool]) -> Vec<RefineText> {
    let problem = &study.problem;
    let mut refine = Vec::new();
    for tensor in 0..proof.tensors.len() {
        if !tape.one_in(3) {
            let t = problem.find(&proof.tensors[tensor]).unwrap_or_default();
            let own = ancestors(problem, t);
            known.iter_mut().zip(&own).for_each(|(k, o)| *k |= o);
            let len = problem.tensors[t].centre.len();
            let rows = tape.one_in(3).then(|| (0..1 + tape.below(len)).map(|_| tape.below(len)).collect());
            let side = *tape.pick(&[None, None, Some(Side::Lower), Some(Side::Upper)]);
            let (slopes, multipliers) = (slope_set(tape, proof), multipliers(tape, study, proof, known));
            let duals = duals(tape, study, proof, known);
            refine.push(RefineText { tensor, rows, side, slopes, multipliers, duals });
        }
    }
    refine
}

/// Entries for every cell in order, or for some of them by name in any order; none if `may_be_absent`.
fn closes(
    tape: &mut Tape,
    study: &Study,
    proof: &ProofText,
    known: &mut [bool],
    may_be_absent: bool,
) -> Option<Vec<CloseText>> {
    let count = study.problem.cells.len();
    let mut cells: Vec<Option<usize>> = match tape.below(if may_be_absent { 6 } else { 3 }) {
        0 => vec![None; count],
        1 => (0..count).rev().map(Some).collect(),
        2 => (0..count).filter(|_| tape.one_in(2)).map(Some).collect(),
        _ => return None,
    };
    if cells.is_empty() {
        cells.push(Some(tape.below(count)));
    }
    known.iter_mut().zip(ancestors(&study.problem, study.problem.output)).for_each(|(k, o)| *k |= o);
    let close = cells.into_iter().map(|cell| CloseText {
        cell,
        weights: tape.one_in(3).then(|| vec![1 + tape.below(9) as i64]),
        slopes: slope_set(tape, proof),
        multipliers: multipliers(tape, study, proof, known),
        duals: duals(tape, study, proof, known),
    });
    Some(close.collect())
}

/// A case and all that it splits into. `known` says of which tensors its parent knows bounds.
fn node(tape: &mut Tape, study: &Study, proof: &mut ProofText, known: &[bool], depth: usize) {
    let problem = &study.problem;
    let mut known = known.to_vec();
    let refine = if tape.one_in(4) { vec![] } else { refinements(tape, study, proof, &mut known) };
    if depth > 0 && tape.one_in(2) {
        let close = closes(tape, study, proof, &mut known, true);
        let tensor = tape.below(proof.tensors.len());
        let t = problem.find(&proof.tensors[tensor]).unwrap_or_default();
        known.iter_mut().zip(ancestors(problem, t)).for_each(|(k, o)| *k |= o);
        let element = tape.below(problem.tensors[t].centre.len());
        // Near the clean value, or at the kink.
        let centre = problem.tensors[t].centre.get(element);
        let at = if tape.one_in(2) { Rational::zero() } else { centre + tape.unit() };
        // Thresholds have at most 1024 bits; wild networks have centres of more.
        let wide = at.numer().bits().max(at.denom().bits()) > 1024;
        let at = if wide { at.round() } else { at };
        let split = Some(SplitText { tensor, element, at: at.to_string() });
        proof.nodes.push(NodeText { refine, split, close, void: None });
        node(tape, study, proof, &known, depth - 1);
        node(tape, study, proof, &known, depth - 1);
        return;
    }
    let close = closes(tape, study, proof, &mut known, false);
    proof.nodes.push(NodeText { refine, close, ..NodeText::default() });
}

fn slope_set(tape: &mut Tape, proof: &ProofText) -> Option<usize> {
    if proof.slopes.is_empty() || tape.one_in(3) { None } else { Some(tape.below(proof.slopes.len())) }
}

fn multipliers(tape: &mut Tape, study: &Study, proof: &ProofText, known: &[bool]) -> Vec<MultiplierText> {
    let mut found = Vec::new();
    for _ in 0..[0, 0, 1, 3][tape.below(4)] {
        let tensor = tape.below(proof.tensors.len());
        let t = study.problem.find(&proof.tensors[tensor]).unwrap_or_default();
        if known[t] {
            let mantissa = match tape.below(3) {
                0 => tape.around(4),
                1 => tape.around(1 << 16),
                _ => tape.around((1 << 30) - 1) << 17,
            };
            let exponent = tape.around(70) as i32;
            found.push((tensor, tape.below(study.problem.tensors[t].centre.len()), mantissa, exponent));
        }
    }
    found
}

/// Multipliers of a whole tensor that is known, or that has a known range, such as what a cutoff sees.
fn duals(tape: &mut Tape, study: &Study, proof: &ProofText, known: &[bool]) -> Vec<DualText> {
    let tensor = tape.below(proof.tensors.len());
    let t = study.problem.find(&proof.tensors[tensor]).unwrap_or_default();
    if tape.one_in(2) || !(known[t] || study.problem.tensors[t].clip.is_some()) {
        return vec![];
    }
    let mantissas = (0..study.problem.tensors[t].centre.len()).map(|_| tape.around(1 << 12)).collect();
    vec![DualText { tensor, exponent: 4 + tape.around(12) as i32, mantissas }]
}
