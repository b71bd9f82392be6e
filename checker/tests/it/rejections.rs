//! Whatever is wrong with a certificate, it is named: one test a mistake, each with the code of its error. All of them
//! start from the worked example, whose certificates verify.

use crate::support::{self, Files, onnx, worked_model};
use flate2::Compression;
use flate2::write::GzEncoder;
use scalecheck::error::{Class, Code, Error};
use scalecheck::rules::witness;
use scalecheck::verify::{Config, RowVerdict, Verdict, verify};
use serde_json::{Value, json};
use std::io::Write;

const CLAIM: &str = r#"model = "model.onnx"
[inputs]
point = ["0", "0"]
valid = ["-2", "2"]
[[perturb]]
site = "input"
scale = { family = "block-mean", shape = [2], cutoff = 2 }
amplitude = "1"
[output]
tolerance = "2"
"#;

/// What became of a certificate: the whole verdict and each row's, or an error in place of a verdict.
type Outcome = Result<(Verdict, Vec<(usize, RowVerdict)>), Error>;

fn check_bytes(files: &Files, bytes: &[u8], config: &Config) -> Outcome {
    verify(&files.statement()?, bytes, config).map(|report| (report.verdict(), report.settings[0].rows.clone()))
}

fn certificate(files: &Files, answers: &[Value]) -> Value {
    let header = files.statement().unwrap().header("test");
    let mut certificate = serde_json::to_value(header).unwrap();
    certificate["answers"] = json!(answers);
    certificate
}

fn check_answers(files: &Files, answers: &[Value]) -> Outcome {
    check_bytes(files, certificate(files, answers).to_string().as_bytes(), &Config::default())
}

/// A proof that the worked example's tolerance 2 holds.
fn proof() -> Value {
    json!({
        "slope_bits": 2, "tensors": ["h.pre"], "slopes": [],
        "nodes": [{ "refine": [{ "tensor": 0 }], "close": [{}, {}] }],
    })
}

/// The same with a split on the first neuron.
fn split_proof() -> Value {
    json!({
        "slope_bits": 2, "tensors": ["h.pre"],
        "nodes": [
            { "refine": [{ "tensor": 0 }], "split": { "tensor": 0, "element": 0, "at": "0" } },
            { "close": [{}, {}] },
            { "close": [{}, {}] },
        ],
    })
}

fn check_proof_of(claim: &str, proof: Value) -> Outcome {
    check_answers(&Files::new(claim), &[json!({ "row": 0, "proof": proof })])
}

fn check_proof(proof: Value) -> Outcome {
    check_proof_of(CLAIM, proof)
}

fn check_witness_of(claim: &str, perturbation: Value) -> Outcome {
    check_answers(&Files::new(claim), &[json!({ "row": 0, "witness": { "perturbation": perturbation } })])
}

#[track_caller]
fn assert_verified(outcome: Outcome) {
    let (verdict, rows) = outcome.unwrap();
    assert_eq!(verdict, Verdict::Verified, "{rows:?}");
}

/// The verdict is REJECTED because of one row's error.
#[track_caller]
fn assert_rejected(outcome: Outcome, code: Code) -> Error {
    assert_eq!(code.class(), Class::Rejected);
    let (verdict, rows) = outcome.unwrap();
    assert_eq!(verdict, Verdict::Rejected);
    match &rows[..] {
        [(_, RowVerdict::Rejected(error))] => {
            assert_eq!(error.code, code, "{error}");
            error.clone()
        }
        rows => panic!("{rows:?}"),
    }
}

/// There is no verdict.
#[track_caller]
fn assert_error(outcome: Outcome, code: Code) -> Error {
    let error = outcome.err().unwrap_or_else(|| panic!("a verdict was reached"));
    assert_eq!(error.code, code, "{error}");
    error
}

/// `proof()` with one change.
fn changed(mut value: Value, pointer: &str, new: Value) -> Value {
    *value.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = new;
    value
}

#[test]
fn accepts_the_proofs_that_the_other_tests_damage() {
    assert_verified(check_proof(proof()));
    assert_verified(check_proof(split_proof()));
}

// ---- slopes

fn with_slopes(set: Value) -> Value {
    let with_set = changed(proof(), "/slopes", json!([set]));
    changed(with_set, "/nodes/0/close", json!([{ "slopes": 0 }, { "slopes": 0 }]))
}

#[test]
fn accepts_any_slope_from_zero_to_one() {
    for slope in 0..=4 {
        let outcome = check_proof_of(
            &CLAIM.replace("tolerance = \"2\"", "tolerance = \"9\""),
            with_slopes(json!([{ "tensor": 0, "lower": [slope, slope], "upper": [4 - slope, -1] }])),
        );
        assert_verified(outcome);
    }
}

#[test]
fn rejects_slope_above_one() {
    for side in ["lower", "upper"] {
        let set = json!([{ "tensor": 0, side: [5, 0] }]);
        assert_rejected(check_proof(with_slopes(set)), Code::SlopeRange);
    }
}

#[test]
fn rejects_slope_below_the_mark_of_the_default() {
    assert_rejected(check_proof(with_slopes(json!([{ "tensor": 0, "lower": [-2, 0] }]))), Code::SlopeRange);
}

#[test]
fn rejects_slope_list_of_the_wrong_length() {
    for list in [json!([0]), json!([0, 0, 0]), json!([])] {
        assert_rejected(check_proof(with_slopes(json!([{ "tensor": 0, "upper": list }]))), Code::SlopeRange);
    }
}

#[test]
fn rejects_slope_bits_above_sixteen() {
    for bits in [17, 63, 64, 4_294_967_295_u32] {
        assert_rejected(check_proof(changed(proof(), "/slope_bits", json!(bits))), Code::SlopeRange);
    }
}

#[test]
fn rejects_slopes_of_a_tensor_named_twice_in_one_set() {
    let set = json!([{ "tensor": 0, "lower": [0, 0] }, { "tensor": 0, "upper": [0, 0] }]);
    assert_rejected(check_proof(with_slopes(set)), Code::ProofReference);
}

#[test]
fn rejects_slope_set_that_does_not_exist() {
    for slopes in [1, 1_000_000] {
        let close = json!([{ "slopes": slopes }, {}]);
        assert_rejected(check_proof(changed(proof(), "/nodes/0/close", close)), Code::ProofReference);
        let refine = json!([{ "tensor": 0, "slopes": slopes }]);
        assert_rejected(check_proof(changed(proof(), "/nodes/0/refine", refine)), Code::ProofReference);
    }
}

// ---- references

#[test]
fn rejects_tensor_that_the_problem_does_not_have() {
    for name in ["h.post", "", "perturb[1]", "w1"] {
        assert_rejected(check_proof(changed(proof(), "/tensors", json!([name]))), Code::ProofReference);
    }
}

#[test]
fn rejects_position_outside_the_list_of_tensors() {
    assert_rejected(check_proof(changed(proof(), "/nodes/0/refine/0/tensor", json!(1))), Code::ProofReference);
    let set = json!([{ "tensor": 7, "lower": [0, 0] }]);
    assert_rejected(check_proof(with_slopes(set)), Code::ProofReference);
}

#[test]
fn rejects_refinement_of_an_element_that_does_not_exist() {
    let refine = json!([{ "tensor": 0, "rows": [2] }]);
    assert_rejected(check_proof(changed(proof(), "/nodes/0/refine", refine)), Code::ProofReference);
}

fn with_multiplier(multiplier: Value) -> Value {
    changed(proof(), "/nodes/0/close/0", json!({ "multipliers": [multiplier] }))
}

#[test]
fn rejects_multiplier_at_a_tensor_or_element_that_does_not_exist() {
    assert_rejected(check_proof(with_multiplier(json!([1, 0, 1, 0]))), Code::ProofReference);
    assert_rejected(check_proof(with_multiplier(json!([0, 2, 1, 0]))), Code::ProofReference);
}

#[test]
fn rejects_multiplier_too_wide_for_the_arithmetic() {
    for multiplier in
        [json!([0, 0, 1_i64 << 48, 0]), json!([0, 0, i64::MIN, 0]), json!([0, 0, 1, 257]), json!([0, 0, 1, -257])]
    {
        assert_rejected(check_proof(with_multiplier(multiplier)), Code::ProofReference);
    }
}

#[test]
fn multiplier_that_is_no_help_loosens_the_bound_and_is_rejected_for_it() {
    for multiplier in [json!([0, 0, -1, 0]), json!([0, 1, 1, 0]), json!([0, 0, (1_i64 << 48) - 1, -100])] {
        assert_rejected(check_proof(with_multiplier(multiplier)), Code::CellOpen);
    }
}

#[test]
fn ignores_multiplier_at_a_tensor_that_its_target_does_not_depend_on() {
    // `y` comes after `h.pre`, so a refinement of `h.pre` never meets it and the multiplier has no effect.
    let mut proof = changed(proof(), "/tensors", json!(["h.pre", "y"]));
    proof["nodes"][0]["refine"][0]["multipliers"] = json!([[1, 0, 3, 0]]);
    assert_verified(check_proof(proof));
}

// ---- splits and the tree

#[test]
fn rejects_split_at_a_tensor_element_or_number_that_does_not_exist() {
    for split in [
        json!({ "tensor": 1, "element": 0, "at": "0" }),
        json!({ "tensor": 0, "element": 2, "at": "0" }),
        json!({ "tensor": 0, "element": 0, "at": "zero" }),
        json!({ "tensor": 0, "element": 0, "at": "1/0" }),
        json!({ "tensor": 0, "element": 0, "at": "" }),
    ] {
        assert_rejected(check_proof(changed(split_proof(), "/nodes/0/split", split)), Code::ProofReference);
    }
}

#[test]
fn accepts_split_at_any_number() {
    // A threshold that is no short binary fraction is rounded outward, which costs the last bit of a tight bound.
    let claim = CLAIM.replace("tolerance = \"2\"", "tolerance = \"2.0000001\"");
    for at in ["0", "-5/7", "1e-300", "1e300"] {
        assert_verified(check_proof_of(&claim, changed(split_proof(), "/nodes/0/split/at", json!(at))));
    }
}

#[test]
fn rejects_truncated_tree() {
    for keep in 0..3 {
        let mut proof = split_proof();
        proof["nodes"].as_array_mut().unwrap().truncate(keep);
        assert_rejected(check_proof(proof), Code::TreeTruncated);
    }
}

#[test]
fn rejects_trailing_nodes() {
    let with = |extra: Value| {
        let mut proof = split_proof();
        proof["nodes"].as_array_mut().unwrap().push(extra);
        check_proof(proof)
    };
    assert_rejected(with(json!({ "close": [{}, {}] })), Code::TreeTrailing);
    // A tree begins.
    assert_rejected(with(json!({ "split": { "tensor": 0, "element": 0, "at": "0" } })), Code::TreeTruncated);
}

#[test]
fn rejects_node_that_does_not_end_exactly_once() {
    let (close, split) = (json!([{}, {}]), json!({ "tensor": 0, "element": 0, "at": "0" }));
    let void = json!({ "tensor": 0, "element": 0 });
    for node in [
        json!({ "split": split, "void": void }),
        json!({ "close": close, "void": void }),
        json!({ "split": split, "close": close, "void": void }),
        json!({}),
        json!({ "refine": [{ "tensor": 0 }] }),
    ] {
        assert_rejected(check_proof(changed(proof(), "/nodes/0", node)), Code::TreeNode);
    }
}

#[test]
fn rejects_void_case_that_has_points() {
    let void = json!({ "void": { "tensor": 0, "element": 0 } });
    assert_rejected(check_proof(changed(proof(), "/nodes/0", void.clone())), Code::NotVoid);
    // Each side of a split at the clean value holds the clean point.
    for child in [1, 2] {
        let pointer = format!("/nodes/{child}");
        assert_rejected(check_proof(changed(split_proof(), &pointer, void.clone())), Code::NotVoid);
    }
}

#[test]
fn rejects_void_of_an_element_that_does_not_exist() {
    for void in [json!({ "tensor": 1, "element": 0 }), json!({ "tensor": 0, "element": 2 })] {
        assert_rejected(check_proof(changed(proof(), "/nodes/0", json!({ "void": void }))), Code::ProofReference);
    }
}

#[test]
fn accepts_void_where_the_threshold_is_beyond_the_bounds() {
    // The first pre-activation is from −1 to 1.
    for (at, void, closed) in [("-9/8", 1, 2), ("9/8", 2, 1)] {
        let mut proof = changed(split_proof(), "/nodes/0/split/at", json!(at));
        proof["nodes"][void] = json!({ "void": { "tensor": 0, "element": 0 } });
        assert_verified(check_proof(proof.clone()));
        proof["nodes"].as_array_mut().unwrap().swap(void, closed);
        assert_rejected(check_proof(proof), Code::NotVoid);
    }
}

#[test]
fn rejects_void_where_the_threshold_touches_the_bounds() {
    for (at, void) in [("-1", 1), ("1", 2)] {
        let mut proof = changed(split_proof(), "/nodes/0/split/at", json!(at));
        proof["nodes"][void] = json!({ "void": { "tensor": 0, "element": 0 } });
        assert_rejected(check_proof(proof), Code::NotVoid);
    }
}

#[test]
fn rejects_proof_that_closes_only_one_of_two_cases() {
    let mut proof = split_proof();
    proof["nodes"][2] = json!({ "close": [{}, { "multipliers": [[0, 0, 100, 0]] }] });
    let error = assert_rejected(check_proof(proof), Code::CellOpen);
    assert!(error.place.contains("case 2"), "{error}");
}

// ---- several trees, and cells that are closed by name

/// A proof of these nodes whose trees all start with the refinement of `proof()`.
fn forest(nodes: Value) -> Value {
    json!({ "slope_bits": 2, "tensors": ["h.pre"], "refine": [{ "tensor": 0 }], "nodes": nodes })
}

fn split_at(at: &str) -> Value {
    json!({ "tensor": 0, "element": 0, "at": at })
}

/// The tolerance that a proof of the tolerance 9 establishes.
#[track_caller]
fn established(proof: Value) -> String {
    let (verdict, rows) = check_proof_of(&CLAIM.replace("tolerance = \"2\"", "tolerance = \"9\""), proof).unwrap();
    assert_eq!(verdict, Verdict::Verified, "{rows:?}");
    rows[0].1.established().unwrap().to_string()
}

#[test]
fn accepts_a_tree_for_each_cell_and_entries_in_any_order() {
    assert_verified(check_proof(forest(json!([{ "close": [{}, {}] }]))));
    assert_verified(check_proof(forest(json!([{ "close": [{ "cell": 1 }, { "cell": 0 }] }]))));
    assert_verified(check_proof(forest(json!([{ "close": [{ "cell": 0 }] }, { "close": [{ "cell": 1 }] }]))));
    let second = json!([
        { "close": [{ "cell": 1 }] },
        { "split": split_at("0") }, { "close": [{ "cell": 0 }] }, { "close": [{ "cell": 0 }] },
    ]);
    assert_verified(check_proof(forest(second)));
}

#[test]
fn accepts_cells_that_are_closed_above_a_split() {
    let both = json!([
        { "split": split_at("0"), "close": [{ "cell": 0 }] },
        { "close": [{ "cell": 1 }] },
        { "split": split_at("1/2"), "close": [{ "cell": 1 }] },
        { "close": [{ "cell": 0, "multipliers": [[0, 0, 100, 0]] }] },
        { "close": [{ "cell": 1, "multipliers": [[0, 0, 100, 0]] }] },
    ]);
    assert_verified(check_proof(forest(both)));
}

#[test]
fn rejects_cell_that_is_closed_in_one_of_two_cases() {
    for (kept, at_fault) in [(1, 2), (2, 1)] {
        let mut nodes = json!([{ "split": split_at("0") }, { "close": [{}, {}] }, { "close": [{}, {}] }]);
        nodes[at_fault] = json!({ "close": [{ "cell": 0 }] });
        let error = assert_rejected(check_proof(forest(nodes.clone())), Code::CellOpen);
        assert!(error.place.contains(&format!("case {at_fault}")) && error.message.contains("falls"), "{error}");
        // Two trees do not add up to one: each leaves the cell open in another case.
        let mut other = nodes.clone();
        other.as_array_mut().unwrap().swap(kept, at_fault);
        let all = [nodes.as_array().unwrap().clone(), other.as_array().unwrap().clone()].concat();
        assert_rejected(check_proof(forest(json!(all))), Code::TreeTrailing);
        let last = json!({ "close": [{ "cell": 1 }] });
        assert_verified(check_proof(forest(json!([nodes.as_array().unwrap().clone(), vec![last]].concat()))));
    }
}

#[test]
fn rejects_cell_that_is_closed_in_no_tree() {
    for (cell, verb) in [(1, "rises"), (0, "falls")] {
        let error = assert_rejected(check_proof(forest(json!([{ "close": [{ "cell": cell }] }]))), Code::CellOpen);
        assert!(error.message.contains(verb) && error.message.contains("nothing is said"), "{error}");
    }
}

#[test]
fn rejects_tree_that_excludes_nothing_new() {
    let (first, second) = (json!({ "close": [{ "cell": 0 }] }), json!({ "close": [{ "cell": 1 }] }));
    let weak = json!({ "close": [{ "cell": 1, "multipliers": [[0, 0, 100, 0]] }] });
    for nodes in [
        json!([first, first]),
        json!([first, weak, second]),
        json!([first, second, first]),
        json!([first, second, { "close": [{}, {}] }]),
        json!([{ "close": [{}, {}] }, second]),
    ] {
        assert_rejected(check_proof(forest(nodes)), Code::TreeTrailing);
    }
    // The first tree is compared with nothing.
    assert_verified(check_proof(forest(json!([weak, { "close": [{}, {}] }]))));
}

#[test]
fn rejects_truncated_second_tree() {
    let nodes = json!([
        { "close": [{ "cell": 0 }] },
        { "split": split_at("0") }, { "close": [{ "cell": 1 }] }, { "close": [{ "cell": 1 }] },
    ]);
    assert_verified(check_proof(forest(nodes.clone())));
    for keep in 2..4 {
        let nodes = &nodes.as_array().unwrap()[..keep];
        assert_rejected(check_proof(forest(json!(nodes))), Code::TreeTruncated);
    }
    // Without it the other cell is open.
    assert_rejected(check_proof(forest(json!(nodes.as_array().unwrap()[..1]))), Code::CellOpen);
}

#[test]
fn rejects_cells_that_do_not_exist_are_named_twice_or_not_at_all() {
    for close in [
        json!([{ "cell": 2 }]),
        json!([{ "cell": usize::MAX }]),
        json!([{ "cell": 0 }, { "cell": 0 }]),
        json!([{ "cell": 0 }, { "cell": 1 }, { "cell": 1 }]),
        json!([{ "cell": 0 }, {}]),
        json!([{}, { "cell": 1 }]),
        json!([{}]),
        json!([]),
    ] {
        assert_rejected(check_proof(forest(json!([{ "close": close }]))), Code::ProofReference);
        let inner = json!([{ "split": split_at("0"), "close": close }, { "close": [{}, {}] }, { "close": [{}, {}] }]);
        assert_rejected(check_proof(forest(inner)), Code::ProofReference);
    }
    for cell in [json!(-1), json!("0"), json!(0.0), json!([0])] {
        assert_error(check_proof(forest(json!([{ "close": [{ "cell": cell }] }]))), Code::CertificateFormat);
    }
}

#[test]
fn a_cell_that_a_split_case_does_not_close_is_open_in_its_children() {
    let weak = json!({ "cell": 0, "multipliers": [[0, 0, 100, 0]] });
    let mut nodes = json!([
        { "split": split_at("0"), "close": [weak] }, { "close": [{ "cell": 1 }] }, { "close": [{ "cell": 1 }] },
    ]);
    let error = assert_rejected(check_proof(forest(nodes.clone())), Code::CellOpen);
    assert!(error.message.contains("rises") && error.place.contains("case 1"), "{error}");
    nodes[1] = json!({ "close": [{}, {}] });
    assert_rejected(check_proof(forest(nodes.clone())), Code::CellOpen);
    nodes[2] = json!({ "close": [{}, {}] });
    assert_verified(check_proof(forest(nodes)));
    // What one child closes is not closed in the other.
    let nodes = json!([
        { "split": split_at("0") },
        { "split": split_at("-1/2"), "close": [{}, {}] }, { "close": [{ "cell": 0 }] }, { "close": [{ "cell": 0 }] },
        { "close": [{ "cell": 0 }] },
    ]);
    let error = assert_rejected(check_proof(forest(nodes)), Code::CellOpen);
    assert!(error.place.contains("case 4"), "{error}");
}

#[test]
fn void_cases_close_every_cell_of_their_tree_alone() {
    let void = json!({ "void": { "tensor": 0, "element": 0 } });
    let nodes = json!([
        { "split": split_at("-9/8") }, void, { "close": [{ "cell": 0 }] },
        { "split": split_at("9/8") }, { "close": [{ "cell": 1 }] }, void,
    ]);
    assert_verified(check_proof(forest(nodes.clone())));
    // Its sibling has points, and says nothing of the other cell.
    assert_rejected(check_proof(forest(json!(nodes.as_array().unwrap()[..3]))), Code::CellOpen);
    // A case that is void in one tree is not in another.
    let mut other = nodes;
    other[5] = json!({ "close": [{ "cell": 1 }] });
    other[4] = void;
    assert_rejected(check_proof(forest(other)), Code::NotVoid);
}

#[test]
fn rejects_wrong_refinements_of_the_root() {
    for (refine, code) in [
        (json!([{ "tensor": 1 }]), Code::ProofReference),
        (json!([{ "tensor": 0, "rows": [2] }]), Code::ProofReference),
        (json!([{ "tensor": 0, "slopes": 0 }]), Code::ProofReference),
    ] {
        assert_rejected(check_proof(changed(forest(json!([{ "close": [{}, {}] }])), "/refine", refine)), code);
    }
    // Without them the bounds are too weak.
    assert_rejected(check_proof(changed(forest(json!([{ "close": [{}, {}] }])), "/refine", json!([]))), Code::CellOpen);
}

#[test]
fn the_tolerance_established_is_the_worst_over_all_cases_with_what_they_inherit() {
    let refine = json!([{ "tensor": 0 }]);
    let without = |nodes: Value| changed(forest(nodes), "/refine", json!([]));
    let (loose, tight) = (established(without(json!([{ "close": [{}, {}] }]))), "2");
    assert_ne!(loose, tight);
    assert_eq!(established(forest(json!([{ "close": [{}, {}] }]))), tight);
    // One cell is closed loosely above the split, the other one tightly below.
    let falls = established(without(json!([
        { "close": [{ "cell": 0 }] }, { "refine": refine, "close": [{ "cell": 1 }] },
    ])));
    let inherited = |again: Value| {
        without(json!([
            { "split": split_at("0"), "close": [{ "cell": 0 }] },
            { "refine": refine, "close": again },
            { "refine": refine, "close": [{}, {}] },
        ]))
    };
    assert_eq!(established(inherited(json!([{ "cell": 1 }]))), falls);
    assert_ne!(falls, tight);
    // The best of what is found on the way to a case counts.
    assert_eq!(established(inherited(json!([{}, {}]))), tight);
    // A later tree says nothing of a cell that an earlier one has excluded.
    let later = json!([{ "close": [{ "cell": 0 }] }, { "refine": refine, "close": [{}, {}] }]);
    assert_eq!(established(without(later)), falls);
    // A void case says nothing of a cell.
    let void = json!({ "void": { "tensor": 0, "element": 0 } });
    assert_eq!(established(forest(json!([{ "split": split_at("-9/8") }, void, { "close": [{}, {}] }]))), tight);
}

// ---- cells

#[test]
fn rejects_bound_too_weak() {
    assert_rejected(check_proof(changed(proof(), "/nodes/0/refine", json!([]))), Code::CellOpen);
    let tighter = CLAIM.replace("tolerance = \"2\"", "tolerance = \"1.9999999999999999\"");
    let error = assert_rejected(check_proof_of(&tighter, proof()), Code::CellOpen);
    assert!(error.message.contains("rises by more than"), "{error}");
}

#[test]
fn rejects_tie_of_the_winner_and_accepts_a_strict_one() {
    // Coarse outputs y and 0: y is −1 at the clean input, and rises to 0 exactly where both neurons are inactive.
    let winner = CLAIM.replace("tolerance = \"2\"", "coarse = { matrix = [[\"1\"], [\"0\"]] }\ndecision = \"winner\"");
    let mut proof = split_proof();
    proof["slopes"] = json!([[{ "tensor": 0, "lower": [-1, 0] }]]);
    for node in [1, 2] {
        proof["nodes"][node] = json!({ "close": [if node == 1 { json!({ "slopes": 0 }) } else { json!({}) }] });
    }
    let error = assert_rejected(check_proof_of(&winner, proof.clone()), Code::CellOpen);
    assert!(error.message.contains("reaches the winner"), "{error}");
    let smaller = winner.replace("amplitude = \"1\"", "amplitude = \"3/8\"");
    assert_verified(check_proof_of(&smaller, proof));
}

#[test]
fn rejects_wrong_number_of_cells() {
    for close in [json!([]), json!([{}]), json!([{}, {}, {}])] {
        assert_rejected(check_proof(changed(proof(), "/nodes/0/close", close)), Code::ProofReference);
    }
}

#[test]
fn rejects_cell_weights_that_are_negative_too_large_or_of_the_wrong_number() {
    for weights in [json!([-1]), json!([65536]), json!([i64::MIN]), json!([1, 1]), json!([])] {
        let close = json!([{ "weights": weights }, {}]);
        assert_rejected(check_proof(changed(proof(), "/nodes/0/close", close)), Code::CellWeights);
    }
}

#[test]
fn rejects_cell_weights_that_are_all_zero() {
    let close = json!([{ "weights": [0] }, {}]);
    assert_rejected(check_proof(changed(proof(), "/nodes/0/close", close)), Code::CellOpen);
}

#[test]
fn accepts_any_positive_cell_weight() {
    let close = json!([{ "weights": [65535] }, { "weights": [3] }]);
    assert_verified(check_proof(changed(proof(), "/nodes/0/close", close)));
}

// ---- digests

#[test]
fn rejects_changed_model() {
    let files = Files::new(CLAIM);
    let certificate = certificate(&files, &[json!({ "row": 0, "proof": proof() })]).to_string();
    files.write("model.onnx", &worked_model().node("Identity", &["y"], "z").bytes());
    assert_error(check_bytes(&files, certificate.as_bytes(), &Config::default()), Code::ModelMismatch);
}

#[test]
fn rejects_changed_claim_even_if_only_a_comment_changed() {
    let files = Files::new(CLAIM);
    let certificate = certificate(&files, &[json!({ "row": 0, "proof": proof() })]).to_string();
    files.write("claim.toml", format!("# more\n{CLAIM}").as_bytes());
    assert_error(check_bytes(&files, certificate.as_bytes(), &Config::default()), Code::ClaimMismatch);
}

#[test]
fn rejects_changed_data() {
    let files = with_data("[1]");
    let certificate = certificate(&files, &[]).to_string();
    files.write("data.csv", b"0,0\n0,0\n1/2,0\n");
    assert_error(check_bytes(&files, certificate.as_bytes(), &Config::default()), Code::DataMismatch);
}

#[test]
fn rejects_digest_list_of_another_length_or_spelling() {
    let files = with_data("[1]");
    let original = certificate(&files, &[]);
    let digest = original["data"][0].clone();
    let check = |data: Value| {
        let bytes = changed(original.clone(), "/data", data).to_string();
        check_bytes(&files, bytes.as_bytes(), &Config::default())
    };
    for data in [json!([]), json!([digest, digest]), json!(["0".repeat(64)])] {
        assert_error(check(data), Code::DataMismatch);
    }
    let upper = digest.as_str().unwrap().to_uppercase();
    for wrong in [upper.as_str(), "", "0", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
        assert_error(check(json!([wrong])), Code::CertificateFormat);
    }
}

#[test]
fn the_form_is_checked_before_the_digests() {
    let original: Value = serde_json::from_str(&text()).unwrap();
    let other = changed(original.clone(), "/model", json!("0".repeat(64)));
    assert_error(check_text(&other.to_string()), Code::ModelMismatch);
    for (pointer, wrong) in [("/answers/0", json!({ "row": 0 })), ("/claim", json!("")), ("/answers/0/row", json!(-1))]
    {
        assert_error(check_text(&changed(other.clone(), pointer, wrong).to_string()), Code::CertificateFormat);
    }
}

#[test]
fn rejects_null_in_place_of_a_key_that_is_left_out() {
    let certificate: Value = serde_json::from_str(&text()).unwrap();
    for (parent, key) in [
        ("", "links"),
        ("/answers/0", "setting"),
        ("/answers/0", "witness"),
        ("/answers/0", "served_by"),
        ("/answers/0", "chain"),
        ("/answers/0/proof", "slopes"),
        ("/answers/0/proof", "refine"),
        ("/answers/0/proof/nodes/0", "split"),
        ("/answers/0/proof/nodes/0", "close"),
        ("/answers/0/proof/nodes/0", "void"),
        ("/answers/0/proof/nodes/0/refine/0", "rows"),
        ("/answers/0/proof/nodes/0/refine/0", "side"),
        ("/answers/0/proof/nodes/0/refine/0", "slopes"),
        ("/answers/0/proof/nodes/0/refine/0", "duals"),
        ("/answers/0/proof/nodes/0/close/0", "cell"),
        ("/answers/0/proof/nodes/0/close/0", "weights"),
    ] {
        let mut damaged = certificate.clone();
        damaged.pointer_mut(parent).unwrap()[key] = Value::Null;
        assert_error(check_text(&damaged.to_string()), Code::CertificateFormat);
    }
}

// ---- rows

fn with_data(rows: &str) -> Files {
    let files = Files::new(&CLAIM.replace("point = [\"0\", \"0\"]", &format!("file = \"data.csv\"\nrows = {rows}")));
    files.write("data.csv", b"0,0\n0,0\n1/4,0\n");
    files
}

#[test]
fn verifies_only_if_every_row_is_answered() {
    let files = with_data("[0, 1]");
    let answer = |row: usize| json!({ "row": row, "proof": proof() });
    assert_verified(check_answers(&files, &[answer(0), answer(1)]));
    assert_verified(check_answers(&files, &[answer(1), answer(0)]));
    let (verdict, rows) = check_answers(&files, &[answer(1)]).unwrap();
    assert_eq!(verdict, Verdict::Rejected);
    assert!(matches!(rows[..], [(0, RowVerdict::Unanswered), (1, RowVerdict::Verified { .. })]), "{rows:?}");
    let (verdict, rows) = check_answers(&files, &[]).unwrap();
    assert_eq!(verdict, Verdict::Rejected);
    assert!(rows.iter().all(|(_, v)| matches!(v, RowVerdict::Unanswered)), "{rows:?}");
}

#[test]
fn rejects_answer_to_a_row_that_is_not_asked() {
    let files = with_data("[0, 1]");
    let answers = [0, 1, 2].map(|row| json!({ "row": row, "proof": proof() }));
    assert_error(check_answers(&files, &answers), Code::CertificateRow);
}

#[test]
fn rejects_row_answered_twice() {
    let files = with_data("[0, 1]");
    let answers = [0, 1, 1].map(|row| json!({ "row": row, "proof": proof() }));
    assert_error(check_answers(&files, &answers), Code::CertificateRow);
}

#[test]
fn rejects_answer_that_is_not_exactly_one_of_proof_and_witness() {
    let witness = json!({ "perturbation": [["1", "-1"]] });
    for answer in [json!({ "row": 0 }), json!({ "row": 0, "proof": proof(), "witness": witness })] {
        assert_error(check_answers(&Files::new(CLAIM), &[answer]), Code::CertificateFormat);
    }
}

#[test]
fn one_bad_answer_rejects_even_beside_a_confirmed_witness() {
    let files = with_data("[0, 1]");
    let smaller =
        std::fs::read_to_string(files.folder.path().join("claim.toml")).unwrap().replace("\"2\"\n", "\"7/8\"\n");
    files.write("claim.toml", smaller.as_bytes());
    let witness = json!({ "row": 0, "witness": { "perturbation": [["1", "-1"]] } });
    let (verdict, _) = check_answers(&files, std::slice::from_ref(&witness)).unwrap();
    assert_eq!(verdict, Verdict::Refuted);
    let (verdict, rows) = check_answers(&files, &[witness, json!({ "row": 1, "proof": proof() })]).unwrap();
    assert_eq!(verdict, Verdict::Rejected);
    assert!(matches!(&rows[1].1, RowVerdict::Rejected(e) if e.code == Code::CellOpen), "{rows:?}");
}

// ---- witnesses

fn false_claim() -> String {
    CLAIM.replace("tolerance = \"2\"", "tolerance = \"7/8\"")
}

#[test]
fn refutes_with_a_witness_of_the_domain() {
    for perturbation in [json!([["1", "-1"]]), json!([["-1", "1"]]), json!([["15/16", "-0.9375"]])] {
        let (verdict, rows) = check_witness_of(&false_claim(), perturbation).unwrap();
        assert_eq!(verdict, Verdict::Refuted);
        assert!(matches!(&rows[..], [(0, RowVerdict::Refuted { .. })]), "{rows:?}");
    }
}

#[test]
fn rejects_witness_outside_the_box() {
    for perturbation in [json!([["9/8", "-9/8"]]), json!([["1.0000000000000000000001", "-1"]])] {
        assert_rejected(check_witness_of(&false_claim(), perturbation), Code::WitnessOutside);
    }
}

#[test]
fn rejects_witness_whose_group_does_not_sum_to_zero() {
    for perturbation in [json!([["1", "-0.9999999999999999999"]]), json!([["1", "1"]])] {
        let error = assert_rejected(check_witness_of(&false_claim(), perturbation), Code::WitnessOutside);
        assert!(error.message.contains("sums to"), "{error}");
    }
}

#[test]
fn rejects_witness_that_leaves_the_valid_range() {
    let narrow = false_claim().replace("valid = [\"-2\", \"2\"]", "valid = [\"-1\", \"1/2\"]");
    assert_rejected(check_witness_of(&narrow, json!([["1", "-1"]])), Code::WitnessOutside);
    // With details as variables the box does not know the range, the input does.
    let haar = narrow.replace("block-mean", "haar");
    let error = assert_rejected(check_witness_of(&haar, json!([["1"]])), Code::WitnessOutside);
    assert!(error.message.contains("`x` leaves the range"), "{error}");
    let wide = haar.replace("\"1/2\"]", "\"1\"]");
    assert_eq!(check_witness_of(&wide, json!([["1"]])).unwrap().0, Verdict::Refuted);
}

#[test]
fn rejects_harmless_witness() {
    for perturbation in [json!([["0", "0"]]), json!([["1/2", "-1/2"]])] {
        // At t = 1/2 the output moves by 1/2 − 1 = −1/2.
        assert_rejected(check_witness_of(&false_claim(), perturbation), Code::WitnessHarmless);
    }
    // A change of exactly the tolerance does not break it.
    let exact = CLAIM.replace("tolerance = \"2\"", "tolerance = \"1\"");
    assert_rejected(check_witness_of(&exact, json!([["1", "-1"]])), Code::WitnessHarmless);
}

#[test]
fn rejects_witness_of_the_wrong_size_or_that_is_no_number() {
    for perturbation in [
        json!([]),
        json!([["1"]]),
        json!([["1", "-1", "0"]]),
        json!([["1", "-1"], []]),
        json!([["1", "minus one"]]),
        json!([["1", "1/0"]]),
    ] {
        assert_rejected(check_witness_of(&false_claim(), perturbation), Code::WitnessOutside);
    }
}

// ---- the certificate as text

fn text() -> String {
    certificate(&Files::new(CLAIM), &[json!({ "row": 0, "proof": proof() })]).to_string()
}

fn check_text(text: &str) -> Outcome {
    check_bytes(&Files::new(CLAIM), text.as_bytes(), &Config::default())
}

#[track_caller]
fn replaced(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old} in {text}");
    text.replacen(old, new, 1)
}

#[test]
fn accepts_plain_and_gzipped_text() {
    assert_verified(check_text(&text()));
    assert_verified(check_bytes(&Files::new(CLAIM), &gzipped(), &Config::default()));
}

fn gzipped() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text().as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn refuses_small_text_that_takes_much_memory() {
    let files = Files::new(CLAIM);
    let certificate = certificate(&files, &[json!({ "row": 0, "proof": proof() })]).to_string();
    // 4 MB of empty nodes would be hundreds of megabytes of cases.
    let nodes = format!("\"nodes\":[{}", "{},".repeat(1 << 20) + "{},".repeat(1 << 19).as_str());
    let text = certificate.replacen("\"nodes\":[", &nodes, 1);
    assert_ne!(text, certificate);
    assert_error(check_bytes(&files, text.as_bytes(), &Config::default()), Code::LimitSize);
    let little = Config { max_memory: 1000, ..Config::default() };
    assert_error(check_bytes(&files, certificate.as_bytes(), &little), Code::LimitSize);
    assert_verified(check_bytes(&files, certificate.as_bytes(), &Config { max_memory: 20_000, ..little }));
}

#[test]
fn an_error_repeats_only_the_beginning_of_what_a_file_says() {
    let files = Files::new(CLAIM);
    let certificate = changed(
        certificate(&files, &[json!({ "row": 0, "proof": proof() })]),
        "/format",
        json!("\u{7f}".repeat(1 << 20)),
    );
    let error = assert_error(
        check_bytes(&files, certificate.to_string().as_bytes(), &Config::default()),
        Code::CertificateFormat,
    );
    assert!(error.to_string().len() < 20_000);
}

#[test]
fn a_place_repeats_only_the_beginning_of_what_a_file_says() {
    let files = Files::new(CLAIM);
    let certificate = certificate(&files, &[json!({ "row": 0, "proof": proof() })]);
    let file = |name: &str| json!({ "file": name, "sha256": "0".repeat(64) });
    let link = |name: String| {
        let mut certificate = certificate.clone();
        certificate["links"] = json!([{ "claim": file(&name), "certificate": file("c") }]);
        certificate
    };
    let check = |name: String| check_bytes(&files, link(name).to_string().as_bytes(), &Config::default());
    assert_error(check("n".repeat(4097)), Code::LimitSize);
    let error = assert_error(check("\u{7f}".repeat(4096)), Code::Io);
    assert!(error.to_string().len() < 15_000, "{} bytes", error.to_string().len());
}

/// A text may ask for the same bounds any number of times; the best ones count, and only they are kept.
#[test]
#[cfg(target_os = "linux")]
fn bounds_that_are_asked_for_again_and_again_take_no_memory() {
    let files = Files::new(CLAIM);
    let mut again = proof();
    again["nodes"][0]["refine"] = json!([{ "tensor": 0 }, { "tensor": 0, "rows": [7] }]);
    let certificate = certificate(&files, &[json!({ "row": 0, "proof": again })]).to_string();
    let (head, tail) = certificate.split_once("[7]").expect("the rows");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(format!("{head}[0{}]{tail}", ",0".repeat(13_000_000)).as_bytes()).unwrap();
    files.write("c.json.gz", &encoder.finish().unwrap());
    // All that is derived would be more than a gibibyte.
    let script = "ulimit -v 800000; \"$0\" verify claim.toml c.json.gz";
    let mut command = std::process::Command::new("bash");
    let command = command.args(["-c", script, env!("CARGO_BIN_EXE_scalecheck")]).current_dir(files.folder.path());
    let said = String::from_utf8(command.output().expect("bash runs").stdout).expect("text");
    assert!(said.starts_with("VERIFIED"), "{said}");
}

#[test]
fn rejects_threshold_of_more_bits_than_computing_with_it_is_worth() {
    for (at, fits) in [
        ("1e300".to_owned(), true),
        (format!("1/{}1", "0".repeat(305)), true),
        ("1e310".to_owned(), false),
        ("1e-310".to_owned(), false),
    ] {
        let outcome = check_proof(changed(split_proof(), "/nodes/0/split/at", json!(at)));
        let code = match &outcome.expect("a report").1[0].1 {
            RowVerdict::Rejected(e) => Some(e.code),
            _ => None,
        };
        assert_eq!(code == Some(Code::ProofReference), !fits, "{at}: {code:?}");
    }
}

#[test]
fn refuses_trees_that_are_too_deep() {
    let deep = |splits: usize| {
        let mut proof = split_proof();
        let split = json!({ "split": proof["nodes"][0]["split"].clone() });
        let leaf = proof["nodes"][1].clone();
        let nodes = vec![split; splits].into_iter().chain(vec![leaf; splits + 1]).collect::<Vec<_>>();
        proof["nodes"] = json!(nodes);
        check_proof(proof)
    };
    assert_error(deep(1025), Code::LimitSize);
    assert!(deep(1024).is_ok());
}

#[test]
fn rejects_truncated_gzip_at_every_length() {
    let (files, bytes) = (Files::new(CLAIM), gzipped());
    for length in 0..bytes.len() {
        assert_error(check_bytes(&files, &bytes[..length], &Config::default()), Code::CertificateFormat);
    }
}

#[test]
fn rejects_damaged_gzip() {
    let (files, bytes) = (Files::new(CLAIM), gzipped());
    // From the end of the header on, a changed bit breaks the stream or its checksum.
    for position in 10..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x10;
        assert_error(check_bytes(&files, &damaged, &Config::default()), Code::CertificateFormat);
    }
}

#[test]
fn rejects_unknown_field_at_every_level() {
    for (old, new) in [
        ("\"format\":", "\"comment\":1,\"format\":"),
        ("\"row\":", "\"rows\":1,\"row\":"),
        ("\"slope_bits\":", "\"note\":1,\"slope_bits\":"),
        ("\"refine\":", "\"bound\":1,\"refine\":"),
        ("\"refine\":[{", "\"refine\":[{\"rule\":\"4.2\","),
        ("\"close\":[{", "\"close\":[{\"bound\":\"0\""),
    ] {
        assert_error(check_text(&replaced(&text(), old, new)), Code::CertificateFormat);
    }
}

#[test]
fn rejects_duplicate_key_at_every_level() {
    for (old, new) in [
        ("\"answers\":", "\"answers\":[],\"answers\":"),
        ("\"row\":0", "\"row\":0,\"row\":0"),
        ("\"slope_bits\":2", "\"slope_bits\":2,\"slope_bits\":2"),
        ("\"close\":", "\"close\":[{},{}],\"close\":"),
        ("\"tensor\":0", "\"tensor\":0,\"tensor\":0"),
    ] {
        let error = assert_error(check_text(&replaced(&text(), old, new)), Code::CertificateFormat);
        assert!(error.message.contains("duplicate"), "{error}");
    }
}

#[test]
fn rejects_floats_and_other_wrong_types() {
    for (old, new) in [
        ("\"row\":0", "\"row\":0.0"),
        ("\"row\":0", "\"row\":-1"),
        ("\"row\":0", "\"row\":\"0\""),
        ("\"slope_bits\":2", "\"slope_bits\":2.0"),
        ("\"slope_bits\":2", "\"slope_bits\":2e0"),
        ("\"slope_bits\":2", "\"slope_bits\":null"),
        ("\"tensor\":0", "\"tensor\":18446744073709551616"),
        ("\"close\":[{}", "\"close\":[{\"weights\":[1.5]}"),
        ("\"close\":[{}", "\"close\":[{\"multipliers\":[[0,0,1]]}"),
        ("\"close\":[{}", "\"close\":[{\"multipliers\":[[0,0,1,0,0]]}"),
        ("\"close\":[{}", "\"close\":[{\"multipliers\":[[0,0,1,4294967296]]}"),
        ("\"refine\":[{", "\"refine\":[{\"side\":\"both\","),
    ] {
        assert_error(check_text(&replaced(&text(), old, new)), Code::CertificateFormat);
    }
}

#[test]
fn rejects_missing_fields() {
    let certificate: Value = serde_json::from_str(&text()).unwrap();
    for (parent, key) in [
        ("", "format"),
        ("", "generator"),
        ("", "claim"),
        ("", "model"),
        ("", "data"),
        ("", "answers"),
        ("/answers/0", "row"),
        ("/answers/0/proof", "slope_bits"),
        ("/answers/0/proof", "tensors"),
        ("/answers/0/proof", "nodes"),
        ("/answers/0/proof/nodes/0/refine/0", "tensor"),
    ] {
        let mut damaged = certificate.clone();
        damaged.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
        assert_error(check_text(&damaged.to_string()), Code::CertificateFormat);
    }
}

#[test]
fn rejects_other_formats() {
    for format in ["scale-certificate/2", "scale-certificate/1 ", "", "SCALE-CERTIFICATE/1"] {
        let text = replaced(&text(), "scale-certificate/1", format);
        assert_error(check_text(&text), Code::CertificateFormat);
    }
}

#[test]
fn rejects_text_that_is_not_one_json_object() {
    let text = text();
    for damaged in [
        String::new(),
        "null".into(),
        "[]".into(),
        format!("{text}{text}"),
        format!("{text} x"),
        format!("\u{feff}{text}"),
        text[..text.len() - 1].into(),
        "[".repeat(100_000),
        text.replace("\"slopes\":[]", &format!("\"slopes\":{}", "[".repeat(100_000))),
    ] {
        assert_error(check_text(&damaged), Code::CertificateFormat);
    }
    let mut bytes = text.into_bytes();
    bytes[20] = 0xff;
    assert_error(check_bytes(&Files::new(CLAIM), &bytes, &Config::default()), Code::CertificateFormat);
}

#[test]
fn truncated_text_is_rejected_at_every_length() {
    let (files, text) = (Files::new(CLAIM), text());
    for length in 0..text.len() {
        let outcome = check_bytes(&files, &text.as_bytes()[..length], &Config::default());
        assert_error(outcome, Code::CertificateFormat);
    }
}

// ---- limits

/// Leaves of one tree are checked by several threads: which of two errors is reported must not depend on them.
#[test]
fn reports_the_work_limit_of_a_large_tree_before_what_else_is_wrong_with_it() {
    fn nodes(depth: usize, list: &mut Vec<Value>) {
        if depth == 0 {
            return list.push(json!({ "close": [{}, {}] }));
        }
        list.push(json!({ "split": split_at("0") }));
        (0..2).for_each(|_| nodes(depth - 1, list));
    }
    let mut list = Vec::new();
    nodes(8, &mut list);
    let last = list.iter().rposition(|node| node.get("close").is_some()).unwrap();
    list[last] = json!({ "void": { "tensor": 0, "element": 0 } });
    let answers = [json!({ "row": 0, "proof": forest(json!(list)) })];
    let files = Files::new(CLAIM);
    let text = certificate(&files, &answers).to_string();
    let checked = |max_work| check_bytes(&files, text.as_bytes(), &Config { max_work, ..Config::default() });
    assert_rejected(checked(u64::MAX), Code::NotVoid);
    for _ in 0..20 {
        assert_error(checked(5000), Code::LimitWork);
    }
}

#[test]
fn stops_at_the_work_limit() {
    let (files, text) = (Files::new(CLAIM), text());
    let checked = |max_work| check_bytes(&files, text.as_bytes(), &Config { max_work, ..Config::default() });
    assert_error(checked(0), Code::LimitWork);
    // The tensors are x, the product before the bias of `h.pre`, `h.pre`, h and y. Five passes from `h.pre` (two sides
    // of two elements, and the preparation) cost 5·(2 + 4 + 4), three from y (two cells, and the preparation)
    // 3·(2 + 4 + 4 + 2 + 2), the leaf one for each cell.
    assert_error(checked(93), Code::LimitWork);
    assert_verified(checked(94));
}

#[test]
fn split_tree_of_great_depth_is_checked_without_recursion() {
    let split = |k: usize| json!({ "split": { "tensor": 0, "element": 0, "at": format!("{}/10000", k + 2) } });
    let close = json!({ "close": [{}, {}] });
    let mut nodes =
        vec![json!({ "refine": [{ "tensor": 0 }], "split": { "tensor": 0, "element": 0, "at": "1/10000" } })];
    for k in 0..1020 {
        nodes.extend([close.clone(), split(k)]);
    }
    nodes.extend([close.clone(), close]);
    assert_verified(check_proof(changed(proof(), "/nodes", json!(nodes))));
}

#[test]
fn a_model_given_in_place_of_another_is_bound_by_its_digest() {
    let files = Files::new(CLAIM);
    let text = certificate(&files, &[json!({ "row": 0, "proof": proof() })]).to_string();
    let other = onnx::Model::new(&[1, 2]).node("Relu", &["x"], "y").output("y").bytes();
    files.write("other.onnx", &other);
    let folder = files.folder.path();
    let statement = scalecheck::verify::Statement::load(&folder.join("claim.toml"), Some(&folder.join("other.onnx")));
    let outcome = verify(&statement.unwrap(), text.as_bytes(), &Config::default())
        .map(|r| (r.verdict(), r.settings[0].rows.clone()));
    assert_error(outcome, Code::ModelMismatch);
}

// ---- known bugs: none of them lets a false claim pass

#[test]
fn lists_of_a_witness_are_in_the_order_of_the_claim() {
    let second =
        "[[perturb]]\nsite = \"h\"\nscale = { family = \"none\" }\namplitude = \"1\"\n[[perturb]]\nsite = \"input\"";
    let claim = false_claim()
        .replace("[[perturb]]\nsite = \"input\"", second)
        .replace("amplitude = \"1\"\n[output]", "amplitude = \"0\"\n[output]");
    // perturb[0] moves h by (1, 0) and so y by 1; perturb[1] moves nothing.
    let (verdict, rows) = check_witness_of(&claim, json!([["1", "0"], ["0", "0"]])).unwrap();
    assert_eq!(verdict, Verdict::Refuted, "{rows:?}");
}

#[test]
fn rejects_multiplier_at_a_tensor_without_bounds() {
    // `h.pre` has a bias, so its deviation is defined without the product before it, which then has no bounds.
    let inner = Files::new(CLAIM).statement().unwrap().network().nodes()[1].name.clone();
    let mut proof = changed(proof(), "/tensors", json!(["h.pre", inner]));
    proof["nodes"][0]["refine"][0]["multipliers"] = json!([[1, 0, 1, 0]]);
    assert_rejected(check_proof(proof), Code::ProofReference);
}

/// Also where a tree is large enough to be cut into parts that are checked at the same time.
#[test]
fn reports_the_first_error_of_a_tree_in_preorder() {
    let inner = Files::new(CLAIM).statement().unwrap().network().nodes()[1].name.clone();
    let split = json!({ "split": { "tensor": 0, "element": 0, "at": "0" } });
    let (close, void) = (json!({ "close": [{}, {}] }), json!({ "void": { "tensor": 0, "element": 0 } }));
    let unknown = json!([{ "tensor": 0, "multipliers": [[1, 0, 1, 0]] }]);
    for count in [1, 40] {
        let mut right = vec![split.clone()];
        (1..count).for_each(|_| right.extend([close.clone(), split.clone()]));
        right.extend([close.clone(), close.clone()]);
        right[0]["refine"] = unknown.clone();
        for (left, code) in [(&close, Code::ProofReference), (&void, Code::NotVoid)] {
            let nodes = [&[split.clone(), left.clone()], &right[..]].concat();
            let proof = changed(changed(proof(), "/nodes", json!(nodes)), "/tensors", json!(["h.pre", inner]));
            assert_rejected(check_proof(proof), code);
        }
    }
}

#[test]
fn rejects_arrays_in_place_of_objects() {
    for (old, new) in [("{\"tensor\":0}", "[0]"), ("\"close\":[{},{}]", "\"close\":[[],[]]")] {
        assert_error(check_text(&replaced(&text(), old, new)), Code::CertificateFormat);
    }
}

// ---- multipliers of whole tensors

fn with_dual(dual: Value) -> Value {
    changed(proof(), "/nodes/0/close/0", json!({ "duals": [dual] }))
}

#[test]
fn rejects_duals_of_the_wrong_length_or_at_a_tensor_that_does_not_exist() {
    for mantissas in [json!([]), json!([0]), json!([0, 0, 0])] {
        let dual = json!({ "tensor": 0, "exponent": 0, "mantissas": mantissas });
        assert_rejected(check_proof(with_dual(dual.clone())), Code::ProofReference);
        let refine = json!([{ "tensor": 0, "duals": [dual] }]);
        assert_rejected(check_proof(changed(proof(), "/nodes/0/refine", refine)), Code::ProofReference);
    }
    let dual = json!({ "tensor": 1, "exponent": 0, "mantissas": [0, 0] });
    assert_rejected(check_proof(with_dual(dual)), Code::ProofReference);
}

#[test]
fn rejects_duals_too_wide_for_the_arithmetic() {
    for (exponent, mantissa) in
        [(0, 1_i64 << 48), (0, -(1_i64 << 48)), (0, i64::MIN), (257, 1), (-257, 1), (i32::MIN, 1)]
    {
        let dual = json!({ "tensor": 0, "exponent": exponent, "mantissas": [0, mantissa] });
        assert_rejected(check_proof(with_dual(dual)), Code::ProofReference);
    }
}

#[test]
fn duals_that_are_no_help_loosen_the_bound_and_are_rejected_for_it() {
    assert_verified(check_proof(with_dual(json!({ "tensor": 0, "exponent": 3, "mantissas": [0, 0] }))));
    for mantissas in [json!([-1, 0]), json!([0, 1]), json!([(1_i64 << 48) - 1, 0])] {
        let dual = json!({ "tensor": 0, "exponent": 0, "mantissas": mantissas });
        assert_rejected(check_proof(with_dual(dual)), Code::CellOpen);
    }
}

#[test]
fn rejects_duals_of_the_wrong_form() {
    for dual in [
        json!({ "tensor": 0, "mantissas": [0, 0] }),
        json!({ "tensor": 0, "exponent": 0 }),
        json!({ "tensor": 0, "exponent": 0, "mantissas": [0.5, 0] }),
        json!({ "tensor": 0, "exponent": 0, "mantissas": [0, 0], "element": 0 }),
        json!([0, 0, [0, 0]]),
    ] {
        assert_error(check_proof(with_dual(dual)), Code::CertificateFormat);
    }
}

// ---- witnesses of every kind of perturbation

/// A claim that is false, with another scale.
fn scaled(scale: &str) -> String {
    false_claim().replace("family = \"block-mean\", shape = [2], cutoff = 2", scale)
}

#[test]
fn rejects_witness_that_the_cutoff_of_a_kernel_sees() {
    for modes in
        ["family = \"matrix\", modes = [[1, 1], [1, -1]], cutoff = 1", "family = \"pca\", modes = [[3, 3]], cutoff = 1"]
    {
        let claim = scaled(modes);
        assert_eq!(check_witness_of(&claim, json!([["1", "-1"]])).unwrap().0, Verdict::Refuted);
        for perturbation in [json!([["1", "-0.9999999999999999999"]]), json!([["1", "1"]])] {
            let error = assert_rejected(check_witness_of(&claim, perturbation), Code::WitnessOutside);
            assert!(error.message.contains("perturb[0].seen"), "{error}");
        }
    }
    // Cutoff 0 keeps nothing, and cutoff 2 everything.
    let free = scaled("family = \"matrix\", modes = [[1, 1], [1, -1]], cutoff = 0");
    assert_eq!(check_witness_of(&free, json!([["1", "1"]])).unwrap().0, Verdict::Refuted);
    let none = scaled("family = \"matrix\", modes = [[1, 1], [1, -1]], cutoff = 2");
    assert_rejected(check_witness_of(&none, json!([["1", "-1"]])), Code::WitnessOutside);
    assert_rejected(check_witness_of(&none, json!([["0", "0"]])), Code::WitnessHarmless);
}

#[test]
fn rejects_witness_that_a_group_sees() {
    let claim = scaled("family = \"groups\", levels = [[[0, 1]]], cutoff = 1");
    assert_eq!(check_witness_of(&claim, json!([["1", "-1"]])).unwrap().0, Verdict::Refuted);
    let error = assert_rejected(check_witness_of(&claim, json!([["1", "-1/2"]])), Code::WitnessOutside);
    assert!(error.message.contains("sums to"), "{error}");
    // Nothing is seen of an item that is in no group.
    let one = scaled("family = \"groups\", levels = [[[0]]], cutoff = 1");
    assert_rejected(check_witness_of(&one, json!([["1/2", "1"]])), Code::WitnessOutside);
    assert_eq!(check_witness_of(&one, json!([["0", "1/2"]])).unwrap().0, Verdict::Refuted);
}

#[test]
fn rejects_witness_that_is_not_in_the_band() {
    for (band, outside) in [
        // What is constant on blocks of 1 is everything; on the block of 2, nothing that it does not see.
        ("family = \"groups\", levels = [[[0, 1]]], cutoff = 1, seen = 0", None),
        ("family = \"matrix\", modes = [[1, 1], [1, -1]], cutoff = 0, seen = 1", Some(json!([["1", "-1"]]))),
        ("family = \"matrix\", modes = [[1, -1], [1, 1]], cutoff = 0, seen = 1", Some(json!([["1", "-15/16"]]))),
        ("family = \"groups\", levels = [[[0, 1]], [[0, 1]]], cutoff = 2, seen = 1", Some(json!([["1", "-1"]]))),
        ("family = \"groups\", levels = [[[0]]], cutoff = 1, seen = 0", Some(json!([["1", "-1"]]))),
    ] {
        let claim = scaled(band);
        match outside {
            Some(point) => {
                let error = assert_rejected(check_witness_of(&claim, point), Code::WitnessOutside);
                let seen = error.message.contains("does not see all of it") || error.message.contains("outside");
                assert!(seen, "{error}");
            }
            None => assert_eq!(check_witness_of(&claim, json!([["1", "-1"]])).unwrap().0, Verdict::Refuted),
        }
    }
    let inside = scaled("family = \"matrix\", modes = [[1, -1], [1, 1]], cutoff = 0, seen = 1");
    assert_eq!(check_witness_of(&inside, json!([["1", "-1"]])).unwrap().0, Verdict::Refuted);
}

#[test]
fn rejects_witness_of_a_dictionary_without_or_beyond_its_residual() {
    let claim =
        scaled("family = \"dictionary\", atoms = [[1, 0], [-1, 1]], nested = [1, 0], residual = \"1/8\", cutoff = 2");
    assert_eq!(check_witness_of(&claim, json!([["1", "0"], ["0", "0"]])).unwrap().0, Verdict::Refuted);
    for perturbation in [
        json!([["1", "0"]]),
        json!([["1", "0", "0", "0"]]),
        json!([["1", "0"], ["0"]]),
        json!([["1", "0"], []]),
        json!([["1", "0"], ["0", "0"], []]),
        json!([["0", "0"], ["1", "0"]]),
        json!([["1", "0"], ["3/16", "0"]]),
        json!([["9/8", "0"], ["0", "0"]]),
    ] {
        assert_rejected(check_witness_of(&claim, perturbation), Code::WitnessOutside);
    }
    // At cutoff 1 the first atom is seen.
    let seen = claim.replace("cutoff = 2", "cutoff = 1");
    assert_rejected(check_witness_of(&seen, json!([["1", "0"], ["0", "0"]])), Code::WitnessOutside);
    assert_rejected(check_witness_of(&seen, json!([["0", "1/8"], ["0", "0"]])), Code::WitnessHarmless);
    let bounded = claim.replace("residual", "bounds = [\"7/8\", 1], residual");
    assert_rejected(check_witness_of(&bounded, json!([["1", "0"], ["0", "0"]])), Code::WitnessOutside);
}

/// The claim with changes of these weights in place of the perturbation of the input.
fn weighted(weights: &str) -> String {
    let start = CLAIM.find("site").unwrap();
    let end = CLAIM.find("amplitude").unwrap();
    format!("{}{weights}\n{}", &CLAIM[..start], &CLAIM[end..]).replace("tolerance = \"2\"", "tolerance = \"7/8\"")
}

#[test]
fn rejects_witness_of_weights_outside_of_plus_and_minus_one() {
    // y is −1 at (0, 0): h = (0, 1), and the second weight of w2 is −1.
    let claim = weighted("weights = [\"w2\"]\nerror = \"relative\"");
    assert_eq!(check_witness_of(&claim, json!([["0", "-1"]])).unwrap().0, Verdict::Refuted);
    assert_eq!(check_witness_of(&claim, json!([["1/3", "15/16"]])).unwrap().0, Verdict::Refuted);
    for perturbation in [
        json!([["0", "-1.0000000001"]]),
        json!([["2", "0"]]),
        json!([["0"]]),
        json!([["0", "1", "0"]]),
        json!([]),
        json!([["0", "one"]]),
    ] {
        assert_rejected(check_witness_of(&claim, perturbation), Code::WitnessOutside);
    }
    assert_rejected(check_witness_of(&claim, json!([["1", "7/8"]])), Code::WitnessHarmless);
    // Variables are in units of the amplitude.
    let small = claim.replace("amplitude = \"1\"", "amplitude = \"1/2\"");
    assert_rejected(check_witness_of(&small, json!([["0", "-1"]])), Code::WitnessHarmless);
    // A stored zero has no size: the first bias of b1 cannot change relatively, but does absolutely.
    let bias = weighted("weights = [\"b1\"]\nerror = \"relative\"");
    assert_rejected(check_witness_of(&bias, json!([["1", "0"]])), Code::WitnessHarmless);
    assert_eq!(
        check_witness_of(&bias.replace("relative", "absolute"), json!([["1", "0"]])).unwrap().0,
        Verdict::Refuted
    );
}

// ---- several settings

/// The worked example's claim with settings in place of its property.
fn with_settings(settings: &[&str]) -> String {
    let settings: String = settings.iter().map(|s| format!("[[setting]]\n{s}\n")).collect();
    format!("{}{settings}", CLAIM.replace("tolerance = \"2\"\n", ""))
}

fn check_settings(claim: &str, answers: &[Value]) -> Result<scalecheck::verify::Report, Error> {
    let files = Files::new(claim);
    verify(&files.statement()?, certificate(&files, answers).to_string().as_bytes(), &Config::default())
}

/// The verdict of every setting, and of the only row of each.
fn rows(report: &scalecheck::verify::Report) -> Vec<(Verdict, RowVerdict)> {
    report.settings.iter().map(|s| (s.verdict, s.rows[0].1.clone())).collect()
}

fn proven(setting: usize) -> Value {
    json!({ "setting": setting, "row": 0, "proof": proof() })
}

fn witnessed(setting: usize, z: [&str; 2]) -> Value {
    json!({ "setting": setting, "row": 0, "witness": { "perturbation": [z] } })
}

fn served(setting: usize, by: usize) -> Value {
    json!({ "setting": setting, "row": 0, "served_by": by })
}

/// The verdict is REJECTED because of what is wrong with the answer to this setting.
#[track_caller]
fn assert_setting_rejected(claim: &str, answers: &[Value], setting: usize, code: Code) -> Error {
    let report = check_settings(claim, answers).unwrap();
    assert_eq!((report.verdict(), report.settings[setting].verdict), (Verdict::Rejected, Verdict::Rejected));
    match &report.settings[setting].rows[0].1 {
        RowVerdict::Rejected(error) => {
            assert_eq!(error.code, code, "{error}");
            error.clone()
        }
        verdict => panic!("{verdict:?}"),
    }
}

const REACHES: &str = "reaches = \"15/16\"";
const TOLERANCE: &str = "tolerance = \"2\"";

#[test]
fn a_setting_that_reaches_needs_a_witness_and_no_proof() {
    let claim = with_settings(&[REACHES]);
    for answer in [proven(0), json!({ "row": 0 }), json!({ "row": 0, "served_by": 0, "proof": proof() })] {
        assert_eq!(check_settings(&claim, &[answer]).err().map(|e| e.code), Some(Code::CertificateFormat));
    }
    let report = check_settings(&claim, &[witnessed(0, ["1", "-1"])]).unwrap();
    assert_eq!(report.verdict(), Verdict::Verified);
    assert!(matches!(&rows(&report)[..], [(_, RowVerdict::Reached { change })] if *change == support::int(1)));
}

#[test]
fn rejects_witness_that_does_not_reach() {
    let claim = with_settings(&[REACHES]);
    for z in [["0", "0"], ["1/2", "-1/2"], ["7/8", "-7/8"]] {
        assert_setting_rejected(&claim, &[witnessed(0, z)], 0, Code::WitnessHarmless);
    }
    // To reach is to move by at least that much, so exactly that much is enough.
    let exactly = with_settings(&["reaches = 1"]);
    assert_eq!(check_settings(&exactly, &[witnessed(0, ["1", "-1"])]).unwrap().verdict(), Verdict::Verified);
    assert_setting_rejected(
        &with_settings(&["reaches = \"1.001\""]),
        &[witnessed(0, ["1", "-1"])],
        0,
        Code::WitnessHarmless,
    );
    assert_setting_rejected(&claim, &[witnessed(0, ["9/8", "-9/8"])], 0, Code::WitnessOutside);
}

#[test]
fn some_row_that_reaches_is_enough_and_none_is_not() {
    let claim =
        CLAIM.replace("point = [\"0\", \"0\"]", "file = \"data.csv\"\nrows = [0, 1, 2]").replace(TOLERANCE, REACHES);
    let check = |answers: &[Value]| {
        let files = Files::new(&claim);
        files.write("data.csv", b"0,0\n0,0\n1/4,0\n");
        check_answers(&files, answers).unwrap()
    };
    let witness = |row: usize| json!({ "row": row, "witness": { "perturbation": [["1", "-1"]] } });
    let (verdict, rows) = check(&[witness(1)]);
    assert_eq!(verdict, Verdict::Verified);
    assert!(matches!(
        rows[..],
        [(0, RowVerdict::Unanswered), (1, RowVerdict::Reached { .. }), (2, RowVerdict::Unanswered)]
    ));
    assert_eq!(check(&[]).0, Verdict::Rejected);
    // A bad answer beside it rejects all the same.
    let harmless = json!({ "row": 0, "witness": { "perturbation": [["0", "0"]] } });
    assert_eq!(check(&[witness(1), harmless]).0, Verdict::Rejected);
}

#[test]
fn rejects_answers_to_settings_that_do_not_exist_or_are_answered_twice() {
    let claim = with_settings(&[TOLERANCE, TOLERANCE]);
    for answers in [
        vec![proven(0), proven(1), proven(2)],
        vec![proven(usize::MAX)],
        vec![proven(0), proven(1), proven(1)],
        vec![proven(0), served(0, 1), proven(1)],
    ] {
        assert_eq!(check_settings(&claim, &answers).err().map(|e| e.code), Some(Code::CertificateRow), "{answers:?}");
    }
    let plain = [json!({ "setting": 1, "row": 0, "proof": proof() })];
    assert_error(check_answers(&Files::new(CLAIM), &plain), Code::CertificateRow);
}

#[test]
fn a_claim_whose_settings_are_partly_unanswered_is_rejected() {
    let claim = with_settings(&[TOLERANCE, "tolerance = \"3\"", REACHES]);
    let all = [proven(0), proven(1), witnessed(2, ["1", "-1"])];
    assert_eq!(check_settings(&claim, &all).unwrap().verdict(), Verdict::Verified);
    for missing in 0..3 {
        let answers: Vec<Value> = (0..3).filter(|&i| i != missing).map(|i| all[i].clone()).collect();
        let report = check_settings(&claim, &answers).unwrap();
        assert_eq!(report.verdict(), Verdict::Rejected);
        for (i, (verdict, row)) in rows(&report).into_iter().enumerate() {
            let expected = if i == missing { Verdict::Rejected } else { Verdict::Verified };
            assert_eq!((verdict, matches!(row, RowVerdict::Unanswered)), (expected, i == missing), "{i}");
        }
    }
    // A refuted setting refutes the claim, whatever is unanswered.
    let false_one = with_settings(&["tolerance = \"7/8\"", TOLERANCE]);
    let report = check_settings(&false_one, &[witnessed(0, ["1", "-1"])]).unwrap();
    assert_eq!(report.verdict(), Verdict::Refuted);
}

#[test]
fn a_setting_is_served_by_the_proof_of_one_that_covers_it() {
    let claim =
        with_settings(&[TOLERANCE, "tolerance = 3", "amplitude = \"1/2\"\ntolerance = 2", "cutoff = 1\ntolerance = 2"]);
    let report = check_settings(&claim, &[served(3, 0), served(1, 0), served(2, 0), proven(0)]).unwrap();
    assert_eq!(report.verdict(), Verdict::Verified);
    for (_, row) in &rows(&report)[1..] {
        assert!(matches!(row, RowVerdict::Served { by: 0, established: Some(e) } if *e == support::int(2)), "{row:?}");
    }
}

#[test]
fn a_served_tolerance_may_be_smaller_than_the_servers_if_its_proof_establishes_it() {
    // The proof establishes 2 although its own setting asks for 3 only.
    let claim = with_settings(&["tolerance = 3", "tolerance = 2"]);
    assert_eq!(check_settings(&claim, &[proven(0), served(1, 0)]).unwrap().verdict(), Verdict::Verified);
    let tighter = with_settings(&["tolerance = 3", "tolerance = \"1.999\""]);
    let error = assert_setting_rejected(&tighter, &[proven(0), served(1, 0)], 1, Code::ServedBy);
    assert!(error.message.contains("establishes"), "{error}");
}

#[test]
fn rejects_settings_served_by_one_that_does_not_exist_or_has_no_proof_of_its_own() {
    let claim = with_settings(&[TOLERANCE, TOLERANCE, TOLERANCE]);
    for (answers, setting) in [
        (vec![proven(0), proven(1), served(2, 3)], 2),
        (vec![proven(0), proven(1), served(2, usize::MAX)], 2),
        // Itself; one that is not answered; one that is served itself, before or after it.
        (vec![proven(0), proven(1), served(2, 2)], 2),
        (vec![proven(0), served(2, 1)], 2),
        (vec![proven(0), served(1, 0), served(2, 1)], 2),
        (vec![served(0, 1), served(1, 2), proven(2)], 0),
        (vec![served(0, 1), served(1, 0), proven(2)], 0),
    ] {
        let error = assert_setting_rejected(&claim, &answers, setting, Code::ServedBy);
        assert!(error.message.contains("there is no setting") || error.message.contains("of its own"), "{error}");
    }
    // One that is refuted, and one whose proof is rejected.
    let claim = with_settings(&["tolerance = \"7/8\"", "tolerance = \"7/8\""]);
    assert_setting_rejected(&claim, &[witnessed(0, ["1", "-1"]), served(1, 0)], 1, Code::ServedBy);
    assert_setting_rejected(&claim, &[proven(0), served(1, 0)], 1, Code::ServedBy);
}

#[test]
fn rejects_settings_served_by_one_that_does_not_cover_them() {
    let other_scale = "scale = { family = \"none\" }\ntolerance = 9";
    for (server, with) in [
        (TOLERANCE, "amplitude = 2\ntolerance = 9"),
        ("amplitude = \"1/2\"\ntolerance = 2", TOLERANCE),
        (TOLERANCE, "tensor = \"h\"\ntolerance = 9"),
        (TOLERANCE, "coarse = { matrix = [[\"1/2\"]] }\ntolerance = 9"),
        (TOLERANCE, other_scale),
        (TOLERANCE, "scale = { family = \"groups\", levels = [[[0, 1]]], cutoff = 1 }\ntolerance = 9"),
    ] {
        let claim = with_settings(&[server, with]);
        let error = assert_setting_rejected(&claim, &[proven(0), served(1, 0)], 1, Code::ServedBy);
        assert!(error.message.contains("do not include"), "{error}");
    }
    // The server is the finer cutoff, of which nothing moves at all.
    let finer = with_settings(&["cutoff = 1\ntolerance = 2", TOLERANCE]);
    assert_setting_rejected(&finer, &[proven(0), served(1, 0)], 1, Code::ServedBy);
    // A band is no server for the whole of what the cutoff hides, but is served by it.
    let band = with_settings(&["seen = 1\ntolerance = 2", TOLERANCE]);
    assert_setting_rejected(&band, &[proven(0), served(1, 0)], 1, Code::ServedBy);
    assert_eq!(check_settings(&band, &[proven(1), served(0, 1)]).unwrap().verdict(), Verdict::Verified);
}

#[test]
fn rejects_settings_served_by_another_kind_of_property() {
    let matrix = "coarse = { matrix = [[\"1\"], [\"0\"]] }";
    let winner = format!("{matrix}\ndecision = \"winner\"");
    let tolerance = format!("{matrix}\ntolerance = 9");
    let four = json!({ "setting": 0, "row": 0, "proof": changed(proof(), "/nodes/0/close", json!([{}, {}, {}, {}])) });
    let claim = with_settings(&[&tolerance, &winner]);
    let error = assert_setting_rejected(&claim, &[four, served(1, 0)], 1, Code::ServedBy);
    assert!(error.message.contains("claims"), "{error}");
    let claim = with_settings(&[TOLERANCE, REACHES]);
    assert_setting_rejected(&claim, &[proven(0), served(1, 0)], 1, Code::ServedBy);
    assert_setting_rejected(&claim, &[served(0, 1), witnessed(1, ["1", "-1"])], 0, Code::ServedBy);
}

// ---- separated scales

/// Modes (1, 1) and (1, −1): the band that sees the sum and hides nothing, and all that is finer.
fn separated(below: &str, band: &str) -> String {
    let modes = "family = \"matrix\", modes = [[1, 1], [1, -1]]";
    let claim = CLAIM.replace("family = \"block-mean\", shape = [2], cutoff = 2", &format!("{modes}, cutoff = 1"));
    let claim = claim.replace("tolerance = \"2\"\n", "");
    format!("{claim}[[setting]]\ncutoff = 1\n{below}\n[[setting]]\ncutoff = 0\nseen = 1\n{band}\n")
}

/// A proof for the kernel: `h.pre` over x₁ + x₂ = 0.
fn kernel_proof() -> Value {
    let refine = |row: usize, side: &str, mantissa: i64| {
        let dual = json!({ "tensor": 1, "exponent": 1, "mantissas": [mantissa] });
        json!({ "tensor": 0, "rows": [row], "side": side, "duals": [dual] })
    };
    // The first neuron is 2x₁ + x₂, the second x₁ − x₂: subtract 3/2, and 0, times the sum.
    let refine = json!([refine(0, "upper", -3), refine(0, "lower", 3), refine(1, "upper", 0), refine(1, "lower", 0)]);
    let nodes = json!([{ "refine": refine, "close": [{}, {}] }]);
    json!({ "setting": 0, "row": 0, "proof":
        { "slope_bits": 2, "tensors": ["h.pre", "perturb[0].seen"], "nodes": nodes } })
}

#[test]
fn separated_scales_are_reported_with_their_gap() {
    // At (1, 1) the neurons are 3 and 1, so y rises from −1 to 2.
    let claim = separated(TOLERANCE, "reaches = \"5/2\"");
    let report = check_settings(&claim, &[kernel_proof(), witnessed(1, ["1", "1"])]).unwrap();
    assert_eq!(report.verdict(), Verdict::Verified, "{:?}", rows(&report));
    let Some(established) = report.settings[0].rows[0].1.established().cloned() else { panic!("a tolerance") };
    let [found] = &report.separations[..] else { panic!("{:?}", report.separations) };
    assert_eq!((found.below, found.band), (0, 1));
    assert_eq!(found.gap, Some(support::int(3) / established));
}

#[test]
fn nothing_over_nothing_is_no_gap() {
    let claim = separated("amplitude = 0\ntolerance = 0", "amplitude = 0\nreaches = 0");
    let report = check_settings(&claim, &[kernel_proof(), witnessed(1, ["0", "0"])]).unwrap();
    assert_eq!(report.verdict(), Verdict::Verified, "{:?}", rows(&report));
    assert_eq!(report.separations, []);
}

#[test]
fn settings_that_do_not_fit_together_separate_nothing() {
    for (below, band) in [
        // Another amplitude, another output, another property, a band of another rung.
        (TOLERANCE, "amplitude = \"3/4\"\nreaches = 1"),
        (TOLERANCE, "coarse = { matrix = [[2]] }\nreaches = 1"),
    ] {
        let report = check_settings(&separated(below, band), &[kernel_proof(), witnessed(1, ["3/4", "3/4"])]).unwrap();
        assert_eq!((report.verdict(), report.separations.len()), (Verdict::Verified, 0), "{:?}", rows(&report));
    }
    // Nothing is separated by what is not verified.
    let claim = separated(TOLERANCE, REACHES);
    for answers in
        [vec![kernel_proof()], vec![witnessed(1, ["1", "1"])], vec![kernel_proof(), witnessed(1, ["0", "0"])]]
    {
        let report = check_settings(&claim, &answers).unwrap();
        assert_eq!((report.verdict(), report.separations.len()), (Verdict::Rejected, 0));
    }
}

#[test]
fn rejects_witness_outside_of_the_band_of_a_setting() {
    let claim = separated(TOLERANCE, REACHES);
    let error = assert_setting_rejected(&claim, &[kernel_proof(), witnessed(1, ["1", "-1"])], 1, Code::WitnessOutside);
    assert!(error.message.contains("rung 1"), "{error}");
}

/// A witness that would be exact only over a denominator of gigabytes ends with a limit, not with the memory.
#[test]
fn a_witness_without_a_reasonable_common_denominator_is_a_limit() {
    let model = onnx::Model::new(&[400]).node("Relu", &["x"], "y").output("y");
    let text = format!(
        "model = \"m\"\n[inputs]\npoint = {:?}\n[[perturb]]\nsite = \"input\"\nscale = {{ family = \"none\" }}\n\
         amplitude = 1\n[output]\ntolerance = 0\n",
        [1; 400]
    );
    let (network, claim) = (support::read_model(&model.bytes()), support::parse_claim(&text));
    let problem = support::problem(&network, &claim, &vec![support::int(1); 400]).unwrap();
    let value = |i: usize, digits: usize| format!("1/1{:0>digits$}", 2 * i + 1);
    let found = |digits: usize| {
        let block = (0..400).map(|i| value(i, digits)).collect();
        witness::parse(&[block], &problem).map(|point| point[0].len())
    };
    assert_eq!(found(6), Ok(400));
    assert_eq!(support::code(found(4000)), Code::LimitWork);
}
