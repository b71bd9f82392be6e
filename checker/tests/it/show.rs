//! What `show` says of a certificate.

use scalecheck::certificate::{Answer, NodeText, ProofText, SlopesText, SplitText, StepText, WitnessText};
use scalecheck::show::Kind;

fn leaf() -> NodeText {
    NodeText { close: Some(vec![Default::default(); 2]), ..NodeText::default() }
}

fn split(tensor: usize) -> NodeText {
    NodeText { split: Some(SplitText { tensor, element: 0, at: "0".into() }), ..NodeText::default() }
}

#[test]
fn counts_what_is_in_a_proof() {
    let slopes = vec![vec![SlopesText { tensor: 0, lower: Some(vec![1, 2, 3]), upper: None }]];
    // A tree whose second case is split once more, and a tree of one case.
    let nodes = vec![split(0), leaf(), split(1), leaf(), leaf(), leaf()];
    let refine = vec![Default::default()];
    let proof = ProofText { slope_bits: 16, tensors: vec!["h".into(), "x".into()], slopes, refine, nodes };
    let Kind::Proof(shape) = Kind::of(&Answer { proof: Some(proof), ..Answer::default() }) else {
        panic!("a proof was expected")
    };
    assert_eq!((shape.trees, shape.cases, shape.depth), (2, 4, 2));
    assert_eq!((shape.refinements, shape.closes, shape.slopes, shape.multipliers), (1, 8, 3, 0));
    assert_eq!(shape.splits, [("h".to_owned(), 1), ("x".to_owned(), 1)].into());
}

#[test]
fn tells_the_kinds_of_answers_apart() {
    let witness = Some(WitnessText { perturbation: Some(vec![vec!["0".into(); 3]; 2]), input: None });
    let chain = Some(vec![StepText::default()]);
    let of = |answer: Answer| Kind::of(&answer);
    assert_eq!(of(Answer { witness, ..Answer::default() }), Kind::Witness(6));
    assert_eq!(of(Answer { served_by: Some(2), ..Answer::default() }), Kind::Served(2));
    assert_eq!(of(Answer { chain, ..Answer::default() }), Kind::Chain(1));
}
