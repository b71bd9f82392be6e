//! Reading claims: every mistake is reported at its line, with its code.

use crate::support;
use num::Zero;
use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::claim::{self, Claim, Coarse, Inputs, Property, Site};
use scalecheck::data::Table;
use scalecheck::describe::describe;
use scalecheck::error::{Code, Error};
use scalecheck::ladder::Ladder;
use scalecheck::number::{Rational, approximate, parse_rational};
use scalecheck::problem::{Clean, Problem};

use crate::support::onnx::Model;
use crate::support::{Files, parse_claim, problem, q, read_model};

/// A claim that is in order; the tests below replace one line of it.
const GOOD: &str = r#"model = "model.onnx"
[inputs]
point = ["0", "1/4", "0.5", 1]
valid = ["0", "1"]
[[perturb]]
site = "input"
scale = { family = "haar", shape = [1, 4], spatial = 1, cutoff = 4 }
amplitude = ["1/32", "1e-2"]
[output]
coarse = { groups = [[0, 1], [2, 3]], reduce = "mean" }
tolerance = "3/4"
"#;

fn parse(name: &str, text: &str) -> scalecheck::error::Result<Claim> {
    claim::parse(name, text, &mut Default::default())
}

#[track_caller]
fn replaced(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    GOOD.replacen(old, new, 1)
}

/// The claim with a change is an error of this code at this line.
#[track_caller]
fn assert_error(old: &str, new: &str, code: Code, line: usize) -> Error {
    let text = replaced(old, new);
    let error = parse("claim.toml", &text).err().unwrap_or_else(|| panic!("the claim was read\n{text}"));
    assert_eq!((error.code, &error.place), (code, &format!("claim.toml:{line}")), "{error}\n{text}");
    error
}

fn network() -> scalecheck::network::Network {
    let model = Model::new(&[1, 4])
        .node("Relu", &["x"], "h")
        .f32("w", &[4, 4], &[1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 1.])
        .node("MatMul", &["h", "w"], "y")
        .node("Neg", &["x"], "aside")
        .output("y");
    read_model(&model.bytes())
}

/// The claim with a change is readable, but does not fit the model.
#[track_caller]
fn assert_problem_error(old: &str, new: &str, code: Code) -> Error {
    let claim = parse_claim(&replaced(old, new));
    let Inputs::Point(x) = &claim.inputs else { panic!("a point") };
    let error = problem(&network(), &claim, x).err().unwrap_or_else(|| panic!("the problem was built"));
    assert_eq!(error.code, code, "{error}");
    error
}

#[test]
fn reads_the_claim_exactly() {
    let claim = parse_claim(GOOD);
    assert_eq!(claim.model.to_str(), Some("model.onnx"));
    assert!(matches!(&claim.inputs, Inputs::Point(x) if *x == [q("0"), q("1/4"), q("1/2"), q("1")]));
    assert_eq!(claim.valid, Some((q("0"), q("1"))));
    assert_eq!(claim.settings[0].perturb[0].amplitude, [q("1/32"), q("1/100")]);
    assert!(matches!(&claim.settings[0].perturb[0].site, Site::Tensor { scale, .. } if scale.cutoff == 4
            && matches!(&*scale.ladder, Ladder::Haar(g) if (g.spatial, &g.shape[..]) == (1, &[1, 4]))));
    assert!(
        matches!(&claim.settings[0].coarse, Coarse::Groups { groups, mean: true } if *groups == [vec![0, 1], vec![2, 3]])
    );
    assert_eq!(claim.settings[0].property, Property::Tolerance(q("3/4")));
    let Inputs::Point(x) = &claim.inputs else { panic!("a point") };
    problem(&network(), &claim, x).unwrap();
}

#[test]
fn describes_the_claim_with_exact_numbers() {
    let text = describe(&parse_claim(GOOD));
    for part in ["1/32, 1/100", "[0, 1]", "at most 3/4", "mean over a group", "[[0, 1], [2, 3]]", "details finer than"]
    {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
}

// ---- form

#[test]
fn text_that_is_not_toml_is_an_error_at_its_line() {
    assert_error("[output]", "[output", Code::ClaimSyntax, 9);
    assert_error("point = [", "point = = [", Code::ClaimSyntax, 3);
    assert_error("tolerance = \"3/4\"", "tolerance = \"3/4", Code::ClaimSyntax, 11);
}

#[test]
fn a_key_given_twice_is_an_error_at_its_line() {
    assert_error("valid =", "point = [1]\nvalid =", Code::ClaimSyntax, 4);
}

#[test]
fn an_unknown_key_is_an_error_at_its_line() {
    assert_error("[inputs]", "models = 1\n[inputs]", Code::ClaimUnknownKey, 2);
    assert_error("valid =", "range =", Code::ClaimUnknownKey, 4);
    assert_error("site =", "tensor = \"h\"\nsite =", Code::ClaimUnknownKey, 6);
    assert_error("spatial = 1", "axes = 1", Code::ClaimUnknownKey, 7);
    assert_error("tolerance =", "tolerances = 1\ntolerance =", Code::ClaimUnknownKey, 11);
    assert_error("reduce = \"mean\"", "reduce = \"mean\", scale = 2", Code::ClaimUnknownKey, 10);
    let error = assert_error("valid =", "vaild =", Code::ClaimUnknownKey, 4);
    assert!(error.message.contains("`vaild`") && error.message.contains("valid"), "{error}");
}

#[test]
fn a_missing_key_is_an_error() {
    assert_error("model = \"model.onnx\"", "", Code::ClaimMissingKey, 1);
    assert_error("amplitude = [\"1/32\", \"1e-2\"]\n", "", Code::ClaimMissingKey, 5);
    assert_error("site = \"input\"\n", "", Code::ClaimMissingKey, 5);
    assert_error("shape = [1, 4], ", "", Code::ClaimMissingKey, 7);
    assert_error(", cutoff = 4", "", Code::ClaimMissingKey, 7);
    assert_error("family = \"haar\", ", "", Code::ClaimMissingKey, 7);
    assert_error(", reduce = \"mean\"", "", Code::ClaimMissingKey, 10);
    assert_error("tolerance = \"3/4\"\n", "", Code::ClaimMissingKey, 9);
    assert_error("point = [\"0\", \"1/4\", \"0.5\", 1]\n", "", Code::ClaimMissingKey, 2);
    for section in ["inputs", "perturb", "output"] {
        let text: Vec<&str> =
            GOOD.split("\n[").filter(|part| !part.trim_start_matches('[').starts_with(section)).collect();
        assert_eq!(support::code(parse("claim.toml", &text.join("\n["))), Code::ClaimMissingKey, "{section}");
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_an_error_at_its_line() {
    assert_error("model = \"model.onnx\"", "model = 1", Code::ClaimValue, 1);
    assert_error("point = [", "point = [[1], ", Code::ClaimValue, 3);
    assert_error("site = \"input\"", "site = 3", Code::ClaimValue, 6);
    assert_error("scale = {", "scale = \"haar\" #", Code::ClaimValue, 7);
    assert_error("cutoff = 4", "cutoff = \"4\"", Code::ClaimValue, 7);
    assert_error("cutoff = 4", "cutoff = -4", Code::ClaimValue, 7);
    assert_error("cutoff = 4", "cutoff = 99999999999", Code::ClaimValue, 7);
    assert_error("[[perturb]]", "[perturb]", Code::ClaimValue, 5);
    assert_error("tolerance = \"3/4\"", "tolerance = true", Code::ClaimValue, 11);
    assert_error("shape = [1, 4]", "shape = []", Code::ClaimValue, 7);
}

// ---- numbers

#[test]
fn an_unquoted_float_is_an_error_that_says_to_quote_it() {
    for (old, new, line) in [
        ("tolerance = \"3/4\"", "tolerance = 0.75", 11),
        ("\"0.5\"", "0.5", 3),
        ("\"1e-2\"", "1e-2", 8),
        ("valid = [\"0\", \"1\"]", "valid = [0.0, 1.0]", 4),
        ("valid = [\"0\", \"1\"]", "valid = [0, inf]", 4),
    ] {
        let error = assert_error(old, new, Code::ClaimValue, line);
        assert!(error.message.contains("quotes"), "{error}");
    }
}

#[test]
fn text_that_is_no_number_is_an_error() {
    for bad in
        ["", "one", "1/0", "1/-2", "1/2/3", "0x10", "1_000", "1.", "--1", "1e", "1e5000", "nan", "1,5", "½", " 1", "1 "]
    {
        assert_error("\"3/4\"", &format!("\"{bad}\""), Code::ClaimValue, 11);
        assert_eq!(parse_rational(bad), None, "{bad}");
    }
}

#[test]
fn numbers_are_read_exactly() {
    for (text, exact) in [
        ("3", "3"),
        ("-1/32", "-1/32"),
        ("+2/4", "1/2"),
        ("0.125", "1/8"),
        ("-0.1", "-1/10"),
        (".5", "1/2"),
        ("1e-3", "1/1000"),
        ("1.5E2", "150"),
        ("0007", "7"),
        ("0/5", "0"),
        ("1e+2", "100"),
    ] {
        assert_eq!(parse_rational(text).unwrap().to_string(), exact, "{text}");
    }
}

#[test]
fn approximate_numbers_are_marked() {
    for (exact, text) in
        [("3", "3"), ("1/8", "0.125"), ("-1/8", "-0.125"), ("1/3", "≈0.333333"), ("-2/3", "≈-0.666667")]
    {
        assert_eq!(approximate(&q(exact)), text);
    }
    // Rounded to nearest, so the digits of a bound may be below it: the mark is there for that.
    assert_eq!(approximate(&q("1e-9")), "0.000000001");
}

#[test]
fn negative_amplitudes_and_tolerances_are_errors() {
    assert_error("\"1e-2\"", "\"-1/100\"", Code::ClaimValue, 8);
    assert_error("\"3/4\"", "\"-3/4\"", Code::ClaimValue, 11);
    parse_claim(&replaced("\"3/4\"", "0"));
    parse_claim(&replaced("[\"1/32\", \"1e-2\"]", "0"));
}

#[test]
fn a_reversed_or_incomplete_valid_range_is_an_error() {
    for bad in ["[\"1\", \"0\"]", "[\"0\"]", "[0, 1, 2]", "\"0..1\"", "[]"] {
        assert_error("[\"0\", \"1\"]", bad, Code::ClaimValue, 4);
    }
    parse_claim(&replaced("[\"0\", \"1\"]", "[1, 1]"));
}

// ---- inputs

const POINT: &str = "point = [\"0\", \"1/4\", \"0.5\", 1]";

#[test]
fn rows_are_a_list_or_a_range() {
    let rows = |text: &str| parse_claim(&replaced(POINT, &format!("file = \"d.csv\"\nrows = {text}"))).rows();
    assert_eq!(rows("[5, 2, 9]"), [2, 5, 9]);
    assert_eq!(rows("\"3..6\""), [3, 4, 5]);
    for bad in [
        "[1, 1]",
        "\"6..3\"",
        "\"3..3\"",
        "\"3-6\"",
        "\"..\"",
        "\"0..1000000000\"",
        "\"+0..1\"",
        "\"4294967296..4294967297\"",
        "[0x1]",
        "[]",
        "[-1]",
        "3",
        "[1.0]",
        "[\"1\"]",
    ] {
        assert_error(POINT, &format!("file = \"d.csv\"\nrows = {bad}"), Code::ClaimValue, 4);
    }
}

#[test]
fn a_point_and_rows_at_once_or_halves_of_either_are_errors() {
    for bad in [
        "file = \"d.csv\"".to_owned(),
        "rows = [1]".into(),
        format!("{POINT}\nrows = [1]"),
        format!("{POINT}\nfile = \"d.csv\"\nrows = [1]"),
    ] {
        assert_error(POINT, &bad, Code::ClaimMissingKey, 2);
    }
}

#[test]
fn a_clean_input_outside_the_valid_range_is_an_error() {
    let error = assert_problem_error("\"1/4\"", "\"-1/1000000\"", Code::ClaimClean);
    assert!(error.message.contains("element 1"), "{error}");
    assert_problem_error("\"0.5\", 1]", "\"0.5\", \"1.0000000000000000000000000001\"]", Code::ClaimClean);
}

#[test]
fn a_clean_input_of_the_wrong_length_is_an_error() {
    assert_problem_error("\"0.5\", 1]", "\"0.5\"]", Code::ClaimShape);
    assert_problem_error("\"0.5\", 1]", "\"0.5\", 1, 1]", Code::ClaimShape);
}

#[test]
fn data_files_are_read_exactly_and_their_mistakes_named() {
    let claim = |row: usize| {
        format!(
            "model = \"model.onnx\"\n[inputs]\nfile = \"data.csv\"\nrows = [{row}]\n[[perturb]]\nsite = \"input\"\n\
             scale = {{ family = \"none\" }}\namplitude = 1\n[output]\ntolerance = 1\n"
        )
    };
    let clean = |data: &str, row: usize| -> Result<Vec<Rational>, Error> {
        let files = Files::new(&claim(row));
        files.write("data.csv", data.as_bytes());
        let statement = files.statement()?;
        let problem = statement.problem(0, row, &statement.clean(&[row]).next().unwrap()?)?;
        Ok(problem.tensors[problem.find("x").unwrap()].centre.to_rationals())
    };
    assert_eq!(clean("0.1,1/3\n", 0).unwrap(), [q("1/10"), q("1/3")]);
    assert_eq!(clean("a,label,b\n1,9,2\n\n3,9,4\r\n", 1).unwrap(), [q("3"), q("4")]);
    assert_eq!(clean(" 1 , 2 ", 0).unwrap(), [q("1"), q("2")]);
    for (data, row, place) in [
        ("1,2\n", 1, "data.csv"),
        ("1,2,3\n", 0, "data.csv:1"),
        ("a,b\n1,2\n1,x\n", 1, "data.csv:3"),
        ("1\n", 0, "data.csv:1"),
        ("1,\n", 0, "data.csv:1"),
        ("", 0, "data.csv"),
        ("1,nan\n", 0, "data.csv:1"),
    ] {
        let error = clean(data, row).unwrap_err();
        assert_eq!(error.code, Code::Data, "{error}");
        assert!(error.place.ends_with(place), "{error}");
    }
}

#[test]
fn files_that_are_missing_or_no_text_are_errors() {
    let files = Files::new(GOOD);
    files.statement().unwrap();
    std::fs::remove_file(files.folder.path().join("model.onnx")).unwrap();
    assert_eq!(support::code(files.statement()), Code::Io);
    let no_text = Files::new("");
    no_text.write("claim.toml", &[0xff, 0xfe]);
    assert_eq!(support::code(no_text.statement()), Code::Io);
    let no_data = Files::new(&GOOD.replace(POINT, "file = \"d.csv\"\nrows = [0]"));
    assert_eq!(support::code(no_data.statement()), Code::Io);
}

// ---- perturbations

#[test]
fn a_block_size_that_does_not_divide_is_an_error_that_lists_those_that_do() {
    let error = assert_error("cutoff = 4", "cutoff = 3", Code::ClaimShape, 7);
    assert!(error.message.contains("1, 2, 4"), "{error}");
    assert_error("cutoff = 4", "cutoff = 0", Code::ClaimShape, 7);
    assert_error("cutoff = 4", "cutoff = 8", Code::ClaimShape, 7);
    assert_error("[1, 4], spatial = 1", "[6, 4], spatial = 2", Code::ClaimShape, 7);
    assert_error("[1, 4], spatial = 1", "[1, 4], spatial = 2", Code::ClaimShape, 7);
}

#[test]
fn spatial_axes_are_one_or_two_and_at_most_all() {
    for bad in ["0", "3"] {
        assert_error("spatial = 1", &format!("spatial = {bad}"), Code::ClaimShape, 7);
    }
    assert_error("shape = [1, 4], spatial = 1", "shape = [4], spatial = 2", Code::ClaimShape, 7);
    assert_error("shape = [1, 4], spatial = 1", "shape = [0, 4], spatial = 1", Code::ClaimValue, 7);
    parse_claim(&replaced("shape = [1, 4], spatial = 1", "shape = [4]"));
}

#[test]
fn a_haar_cutoff_is_a_power_of_two() {
    let error = assert_error("[1, 4], spatial = 1, cutoff = 4", "[1, 6], spatial = 1, cutoff = 6", Code::ClaimShape, 7);
    assert!(error.message.contains("power of two"), "{error}");
    parse_claim(
        &replaced("haar\", shape = [1, 4], spatial = 1, cutoff = 4", "block-mean\", shape = [6], cutoff = 6")
            .replace("[\"1/32\", \"1e-2\"]", "1"),
    );
}

#[test]
fn amplitudes_are_one_or_one_a_band() {
    assert_error("[\"1/32\", \"1e-2\"]", "[1, 1, 1]", Code::ClaimValue, 8);
    assert_error("[\"1/32\", \"1e-2\"]", "[]", Code::ClaimValue, 8);
    assert_error("\"haar\"", "\"block-mean\"", Code::ClaimValue, 8);
    parse_claim(&replaced("[\"1/32\", \"1e-2\"]", "[\"1/32\"]"));
}

#[test]
fn an_unknown_family_and_keys_that_a_family_has_not_are_errors() {
    assert_error("\"haar\"", "\"curvelet\"", Code::ClaimValue, 7);
    assert_error(
        "family = \"haar\", shape = [1, 4], spatial = 1, cutoff = 4",
        "family = \"none\", cutoff = 2",
        Code::ClaimUnknownKey,
        7,
    );
}

#[test]
fn an_unknown_site_is_an_error_at_the_line_of_its_perturbation() {
    let error = assert_problem_error("site = \"input\"", "site = \"nowhere\"", Code::ClaimTensor);
    assert!(error.place.starts_with("claim.toml:"), "{error}");
    let error = assert_problem_error("site = \"input\"", "site = \"aside\"", Code::ClaimTensor);
    assert!(error.message.contains("does not depend"), "{error}");
}

#[test]
fn a_shape_that_does_not_fit_the_site_is_an_error() {
    let error = assert_problem_error("shape = [1, 4]", "shape = [2, 4]", Code::ClaimShape);
    assert!(error.place.starts_with("claim.toml:") && error.message.contains("4 elements"), "{error}");
    let overflow = "shape = [4294967296, 4294967296, 4]";
    assert_problem_error("shape = [1, 4]", overflow, Code::ClaimShape);
}

// ---- outputs

#[test]
fn exactly_one_of_tolerance_and_decision_is_needed() {
    assert_error("tolerance = \"3/4\"", "tolerance = \"3/4\"\ndecision = \"winner\"", Code::ClaimMissingKey, 11);
    assert_error("tolerance = \"3/4\"", "decision = \"loser\"", Code::ClaimValue, 11);
    assert_eq!(
        parse_claim(&replaced("tolerance = \"3/4\"", "decision = \"winner\"")).settings[0].property,
        Property::Winner
    );
}

#[test]
fn coarse_maps_of_the_wrong_form_are_errors() {
    const COARSE: &str = "{ groups = [[0, 1], [2, 3]], reduce = \"mean\" }";
    for (bad, code) in [
        ("\"all\"", Code::ClaimValue),
        ("{ groups = [[0, 0]], reduce = \"mean\" }", Code::ClaimValue),
        ("{ groups = [[]], reduce = \"mean\" }", Code::ClaimValue),
        ("{ groups = [], reduce = \"mean\" }", Code::ClaimValue),
        ("{ groups = [[0]], reduce = \"max\" }", Code::ClaimValue),
        ("{ matrix = [[1]], groups = [[0]], reduce = \"sum\" }", Code::ClaimMissingKey),
        ("{ matrix = [[1]], reduce = \"sum\" }", Code::ClaimMissingKey),
        ("{}", Code::ClaimMissingKey),
        ("{ matrix = [[0.5]] }", Code::ClaimValue),
    ] {
        assert_error(COARSE, bad, code, 10);
    }
    let identity = parse_claim(&replaced(COARSE, "\"identity\""));
    assert!(matches!(identity.settings[0].coarse, Coarse::Identity));
}

#[test]
fn coarse_maps_that_do_not_fit_the_output_are_errors() {
    const COARSE: &str = "{ groups = [[0, 1], [2, 3]], reduce = \"mean\" }";
    let error = assert_problem_error("[2, 3]]", "[2, 4]]", Code::ClaimShape);
    assert!(error.message.contains("[2, 4]") && error.message.contains("0 to 3"), "{error}");
    assert_problem_error(COARSE, "{ matrix = [[1, 2, 3]] }", Code::ClaimShape);
    assert_problem_error(COARSE, "{ matrix = [[1, 2, 3, 4, 5]] }", Code::ClaimShape);
    assert_problem_error(COARSE, "{ matrix = [[1, \"1/562949953421312\", 0, 0]] }", Code::LimitSize);
}

#[test]
fn a_tie_of_the_winner_is_an_error() {
    let tie = "decision = \"winner\"";
    // Group means 1/8 and 3/4 do not tie; made equal they do.
    parse_claim(&replaced("tolerance = \"3/4\"", tie));
    let text = replaced("tolerance = \"3/4\"", tie).replace("\"0\", \"1/4\", \"0.5\", 1", "1, \"1/2\", \"0.5\", 1");
    let claim = parse_claim(&text);
    let Inputs::Point(x) = &claim.inputs else { panic!("a point") };
    let error = problem(&network(), &claim, x).unwrap_err();
    assert_eq!(error.code, Code::ClaimClean);
    assert!(error.message.contains("tie"), "{error}");
}

#[test]
fn an_unknown_or_ambiguous_output_is_an_error() {
    assert_problem_error("[output]", "[output]\ntensor = \"z\"", Code::ClaimTensor);
    let two = Model::new(&[1, 4]).node("Relu", &["x"], "y").node("Neg", &["x"], "z").output("y").output("z");
    let claim = parse_claim(GOOD);
    let x = vec![Rational::zero(); 4];
    let problem = |text: &str| support::problem(&read_model(&two.bytes()), &parse_claim(text), &x);
    assert_eq!(support::code(support::problem(&read_model(&two.bytes()), &claim, &x)), Code::ClaimTensor);
    problem(&replaced("[output]", "[output]\ntensor = \"z\"")).unwrap();
}

#[test]
fn a_block_size_that_does_not_divide_a_huge_axis_is_reported_at_once() {
    assert_error("shape = [1, 4], spatial = 1, cutoff = 4", "shape = [4294967296], cutoff = 3", Code::ClaimShape, 7);
}

#[test]
fn a_byte_order_mark_does_not_hide_the_first_row() {
    let text = "\u{feff}1,2\n3,4\n";
    match Table::new("data.csv", text).row(0, 2) {
        Ok(row) => assert_eq!(row, [q("1"), q("2")]),
        Err(e) => assert_eq!(e.code, Code::Data),
    }
}

#[test]
fn a_winner_among_one_output_is_an_error() {
    let text = replaced("tolerance = \"3/4\"", "decision = \"winner\"");
    let claim = parse_claim(&text.replace("groups = [[0, 1], [2, 3]]", "groups = [[0, 1]]"));
    let Inputs::Point(x) = &claim.inputs else { panic!("a point") };
    assert_eq!(support::code(problem(&network(), &claim, x)), Code::ClaimClean);
}

#[test]
fn only_a_line_of_names_is_a_header() {
    let first = |text: &str| Table::new("d.csv", text).row(0, 2);
    for header in ["a,b\n1,2\n", "label,p0,p1\n7,1,2\n", "_x,y_1\n1,2\n"] {
        assert_eq!(first(header).unwrap(), [q("1"), q("2")], "{header}");
    }
    // What another reader takes for numbers must not vanish as a header.
    for numbers in
        ["5.,7.\n1,2\n", "\"5\",\"7\"\n1,2\n", "5e9999,7\n1,2\n", "5_0,7_0\n1,2\n", "inf,nan\n1,2\n", ",\n1,2\n"]
    {
        assert_eq!(support::code(first(numbers)), Code::Data, "{numbers}");
    }
    for one in ["\u{feff}5\n1\n", "5\r1\n1\n"] {
        assert_eq!(support::code(Table::new("d.csv", one).row(0, 1)), Code::Data, "{one:?}");
    }
}

#[test]
fn texts_that_would_not_print_as_they_are_are_errors() {
    for name in ["z\\nVERIFIED", "z\\u001b[2J", "z`", "z\\u202E"] {
        let text = replaced("[output]", &format!("[output]\ntensor = \"{name}\""));
        assert_eq!(support::code(parse("claim.toml", &text)), Code::ClaimValue, "{name}");
    }
    let shown = Error::new(Code::Data, "a\nb", "c\u{1b}[8m").to_string();
    assert!(!shown.contains(['\n', '\u{1b}']), "{shown:?}");
}

#[test]
fn the_words_state_the_point_and_the_matrix() {
    let claim = parse_claim(&replaced(
        "{ groups = [[0, 1], [2, 3]], reduce = \"mean\" }",
        "{ matrix = [[1, 0, 0, \"1/1000\"]] }",
    ));
    let words = describe(&claim);
    assert!(words.contains("[1, 0, 0, 1/1000]"), "{words}");
    assert!(words.contains("(0, 1/4, 1/2, 1)"), "{words}");
}

// ---- settings

/// The claim with settings in place of its property.
fn with_settings(settings: &str) -> String {
    format!("{}{settings}", replaced("tolerance = \"3/4\"\n", ""))
}

/// This text is an error of this code, in this line.
#[track_caller]
fn assert_text_error(text: &str, code: Code, line: usize) -> Error {
    let error = parse("claim.toml", text).err().unwrap_or_else(|| panic!("the claim was read\n{text}"));
    assert_eq!((error.code, &error.place), (code, &format!("claim.toml:{line}")), "{error}\n{text}");
    error
}

#[test]
fn a_setting_differs_from_the_base_in_what_it_names() {
    let claim = parse_claim(&with_settings(
        "[[setting]]\ntolerance = 1\n[[setting]]\ncutoff = 2\namplitude = \"1/3\"\ndecision = \"winner\"\n\
         [[setting]]\nseen = 2\ntensor = \"h\"\ncoarse = \"identity\"\nreaches = \"1/5\"\n\
         [[setting]]\nscale = { family = \"none\" }\namplitude = 2\ntolerance = 4\n",
    ));
    let scale = |i: usize| match &claim.settings[i].perturb[0].site {
        Site::Tensor { name, scale } if name == "input" => scale.clone(),
        site => panic!("{site:?}"),
    };
    let [a, b, c, d] = &claim.settings[..] else { panic!("{:?}", claim.settings) };
    assert_eq!((scale(0).cutoff, scale(1).cutoff, scale(2).cutoff), (4, 2, 4));
    assert_eq!((scale(0).seen, scale(1).seen, scale(2).seen), (None, None, Some(2)));
    assert_eq!(*scale(3).ladder, Ladder::None);
    assert_eq!(
        (&a.perturb[0].amplitude[..], &b.perturb[0].amplitude[..]),
        (&[q("1/32"), q("1/100")][..], &[q("1/3")][..])
    );
    assert_eq!((&c.output, &a.output), (&Some("h".to_owned()), &None));
    assert!(matches!((&a.coarse, &c.coarse), (Coarse::Groups { .. }, Coarse::Identity)));
    assert_eq!(
        [a, b, c, d].map(|s| s.property.clone()),
        [Property::Tolerance(q("1")), Property::Winner, Property::Reaches(q("1/5")), Property::Tolerance(q("4"))]
    );
    // A cutoff of its own ends the band of the base; the base's rung may be seen again.
    let banded =
        with_settings("[[setting]]\ncutoff = 2\ntolerance = 1\n").replace("cutoff = 4 }", "cutoff = 4, seen = 2 }");
    let banded = banded.replace("[\"1/32\", \"1e-2\"]", "1");
    let Site::Tensor { scale, .. } = &parse_claim(&banded).settings[0].perturb[0].site else { panic!("a tensor") };
    assert_eq!((scale.cutoff, scale.seen), (2, None));
}

#[test]
fn a_property_stands_in_the_output_or_in_every_setting() {
    let both = format!("{GOOD}[[setting]]\ntolerance = 1\n");
    let error = assert_text_error(&both, Code::ClaimMissingKey, 9);
    assert!(error.message.contains("not both"), "{error}");
    let error =
        assert_text_error(&with_settings("[[setting]]\ncutoff = 2\namplitude = 1\n"), Code::ClaimMissingKey, 11);
    assert!(error.message.contains("setting needs one of"), "{error}");
    assert_text_error(&with_settings("[[setting]]\ntolerance = 1\n[[setting]]\n"), Code::ClaimMissingKey, 13);
    for (stated, line) in [
        ("tolerance = 1\nreaches = 1\n", 12),
        ("tolerance = 1\ndecision = \"winner\"\n", 12),
        ("reaches = 1\ndecision = \"winner\"\n", 13),
    ] {
        assert_text_error(&with_settings(&format!("[[setting]]\n{stated}")), Code::ClaimMissingKey, line);
    }
    assert_error("tolerance = \"3/4\"", "tolerance = 1\nreaches = 1", Code::ClaimMissingKey, 11);
    assert_text_error(&with_settings("[setting]\ntolerance = 1\n"), Code::ClaimValue, 11);
    assert_text_error(&format!("setting = []\n{}", with_settings("")), Code::ClaimValue, 1);
}

#[test]
fn properties_out_of_range_are_errors() {
    for (bad, code) in [
        ("reaches = -1", Code::ClaimValue),
        ("reaches = 0.5", Code::ClaimValue),
        ("reaches = \"far\"", Code::ClaimValue),
        ("tolerance = \"-1/2\"", Code::ClaimValue),
        ("decision = \"loser\"", Code::ClaimValue),
    ] {
        assert_text_error(&with_settings(&format!("[[setting]]\n{bad}\n")), code, 12);
        assert_error("tolerance = \"3/4\"", bad, code, 11);
    }
    assert_eq!(
        parse_claim(&replaced("tolerance = \"3/4\"", "reaches = 0")).settings[0].property,
        Property::Reaches(q("0"))
    );
}

#[test]
fn a_setting_has_no_other_keys() {
    for key in
        ["site = \"input\"", "error = \"relative\"", "weights = \"all\"", "valid = [0, 1]", "cutof = 2", "residual = 1"]
    {
        assert_text_error(&with_settings(&format!("[[setting]]\ntolerance = 1\n{key}\n")), Code::ClaimUnknownKey, 13);
    }
}

#[test]
fn rungs_and_amplitudes_of_a_setting_must_fit_its_scale() {
    for (setting, code, line) in [
        ("cutoff = 3\n", Code::ClaimShape, 13),
        ("cutoff = 8\n", Code::ClaimShape, 13),
        ("cutoff = 0\n", Code::ClaimShape, 13),
        ("cutoff = \"2\"\n", Code::ClaimValue, 13),
        ("seen = 4\n", Code::ClaimShape, 13),
        ("seen = 3\n", Code::ClaimShape, 13),
        ("cutoff = 2\namplitude = 1\nseen = 4\n", Code::ClaimShape, 13),
        ("amplitude = [1, 2, 3]\n", Code::ClaimValue, 13),
        ("amplitude = -1\n", Code::ClaimValue, 13),
        // The base has two amplitudes, which are too many for one band.
        ("cutoff = 2\n", Code::ClaimValue, 11),
        ("scale = { family = \"none\" }\n", Code::ClaimValue, 11),
        ("scale = { family = \"none\", cutoff = 2 }\namplitude = 1\n", Code::ClaimUnknownKey, 13),
        ("scale = { family = \"none\", seen = 1 }\namplitude = 1\n", Code::ClaimUnknownKey, 13),
        ("scale = { family = \"haar\", shape = [4] }\n", Code::ClaimMissingKey, 13),
    ] {
        assert_text_error(&with_settings(&format!("[[setting]]\ntolerance = 1\n{setting}")), code, line);
    }
}

#[test]
fn a_mistake_of_a_later_setting_is_found_too() {
    let claim = parse_claim(&with_settings("[[setting]]\ntolerance = 1\n[[setting]]\ntensor = \"z\"\ntolerance = 1\n"));
    let clean = Clean::new(&network(), &claim, &[q("0"), q("1/4"), q("1/2"), q("1")]).unwrap();
    let problem = |i: usize| Problem::new(&network(), &claim, &claim.settings[i], &clean);
    assert_eq!(problem(0).unwrap().cells.len(), 4);
    assert_eq!(support::code(problem(1)), Code::ClaimTensor);
}

// ---- bands

#[test]
fn the_seen_rung_must_be_finer_than_the_cutoff() {
    let with_seen = |seen: &str| replaced("cutoff = 4 }", &format!("cutoff = 4, seen = {seen} }}"));
    for seen in ["1", "2"] {
        parse_claim(&with_seen(seen));
    }
    let error = assert_text_error(&with_seen("4"), Code::ClaimShape, 7);
    assert!(error.message.contains("finer"), "{error}");
    for (seen, code) in
        [("8", Code::ClaimShape), ("3", Code::ClaimShape), ("0", Code::ClaimShape), ("\"2\"", Code::ClaimValue)]
    {
        assert_text_error(&with_seen(seen), code, 7);
    }
    // Of block means, only sides that divide are comparable.
    let means = "block-mean\", shape = [12], cutoff = 6, seen = ";
    let text = |seen: usize| {
        let text = replaced("haar\", shape = [1, 4], spatial = 1, cutoff = 4", &format!("{means}{seen}"));
        text.replace("[\"1/32\", \"1e-2\"]", "1")
    };
    parse_claim(&text(3));
    assert_text_error(&text(4), Code::ClaimShape, 7);
}

#[test]
fn a_coarse_map_by_scale_names_rungs_in_order() {
    const COARSE: &str = "{ groups = [[0, 1], [2, 3]], reduce = \"mean\" }";
    let scale = "scale = { family = \"block-mean\", shape = [4] }";
    for good in ["seen = 2", "hidden = 2", "seen = 1, hidden = 4", "seen = 2, hidden = 4"] {
        let claim = parse_claim(&replaced(COARSE, &format!("{{ {scale}, {good} }}")));
        assert!(matches!(claim.settings[0].coarse, Coarse::Band { .. }));
        let Inputs::Point(x) = &claim.inputs else { panic!("a point") };
        problem(&network(), &claim, x).unwrap();
    }
    for (bad, code) in [
        (scale.to_owned(), Code::ClaimMissingKey),
        // Details have no coordinates as outputs, and without a scale there is nothing between two rungs.
        ("scale = { family = \"haar\", shape = [4] }, seen = 2".into(), Code::ClaimValue),
        ("scale = { family = \"none\" }, seen = 1".into(), Code::ClaimValue),
        (format!("{scale}, seen = 2, hidden = 2"), Code::ClaimShape),
        (format!("{scale}, seen = 4, hidden = 2"), Code::ClaimShape),
        (format!("{scale}, seen = 3"), Code::ClaimShape),
        (format!("{scale}, hidden = 8"), Code::ClaimShape),
        (format!("{scale}, seen = \"2\""), Code::ClaimValue),
        (format!("{scale}, seen = 2, reduce = \"mean\""), Code::ClaimUnknownKey),
        (format!("{scale}, cutoff = 2"), Code::ClaimUnknownKey),
        ("seen = 2, hidden = 4".into(), Code::ClaimUnknownKey),
        ("scale = { family = \"block-mean\", shape = [4], cutoff = 2 }, seen = 2".into(), Code::ClaimUnknownKey),
        ("scale = { family = \"block-mean\" }, seen = 2".into(), Code::ClaimMissingKey),
        ("scale = \"haar\", seen = 2".into(), Code::ClaimValue),
    ] {
        assert_error(COARSE, &format!("{{ {bad} }}"), code, 10);
    }
}

#[test]
fn bands_that_do_not_fit_the_output_or_hold_nothing_are_errors() {
    const COARSE: &str = "{ groups = [[0, 1], [2, 3]], reduce = \"mean\" }";
    for bad in [
        // Another size; what is finer than one element; modes that do not span.
        "scale = { family = \"block-mean\", shape = [8] }, seen = 2",
        "scale = { family = \"groups\", levels = [[[0, 4]]] }, seen = 1",
        "scale = { family = \"pca\", modes = [[1, 1]] }, seen = 1",
        "scale = { family = \"block-mean\", shape = [4] }, hidden = 1",
        "scale = { family = \"pca\", modes = [[1, 1, 1, 1]] }, hidden = 1",
        "scale = { family = \"pca\", modes = [[1, 1, 1, 1]] }, seen = 0",
    ] {
        let error = assert_problem_error(COARSE, &format!("{{ {bad} }}"), Code::ClaimShape);
        assert!(error.place.contains("[output] coarse"), "{error}");
    }
}

// ---- weights

/// The claim with changes of weights.
fn weighted(lines: &str) -> String {
    let text = replaced(
        "site = \"input\"\nscale = { family = \"haar\", shape = [1, 4], spatial = 1, cutoff = 4 }\n",
        &format!("{lines}\n"),
    );
    text.replace("[\"1/32\", \"1e-2\"]", "\"1/32\"")
}

#[test]
fn changes_of_weights_are_read() {
    for (lines, names, relative) in [
        ("weights = \"all\"\nerror = \"absolute\"", None, false),
        ("weights = [\"w\"]\nerror = \"relative\"", Some(vec!["w".to_owned()]), true),
    ] {
        let claim = parse_claim(&weighted(lines));
        assert_eq!(claim.settings[0].perturb[0].site, Site::Weights { names, relative });
        let Inputs::Point(x) = &claim.inputs else { panic!("a point") };
        assert_eq!(problem(&network(), &claim, x).unwrap().domain[0].lower.len(), 16);
    }
}

#[test]
fn changes_of_weights_have_a_kind_of_error_and_no_scale() {
    for (lines, code, line) in [
        ("weights = \"all\"", Code::ClaimMissingKey, 5),
        ("weights = \"all\"\nerror = \"float\"", Code::ClaimValue, 7),
        ("weights = \"some\"\nerror = \"absolute\"", Code::ClaimValue, 6),
        ("weights = []\nerror = \"absolute\"", Code::ClaimValue, 6),
        ("weights = [1]\nerror = \"absolute\"", Code::ClaimValue, 6),
        ("weights = [\"w\", \"b\", \"w\"]\nerror = \"absolute\"", Code::ClaimValue, 6),
        ("error = \"absolute\"", Code::ClaimMissingKey, 5),
        ("weights = \"all\"\nerror = \"absolute\"\nscale = { family = \"none\" }", Code::ClaimMissingKey, 5),
        ("weights = \"all\"\nerror = \"absolute\"\nsite = \"input\"", Code::ClaimMissingKey, 5),
        ("site = \"input\"\nscale = { family = \"none\" }\nerror = \"absolute\"", Code::ClaimMissingKey, 5),
        ("weights = \"all\"\nerror = \"absolute\"\ncutoff = 2", Code::ClaimUnknownKey, 8),
    ] {
        assert_text_error(&weighted(lines), code, line);
    }
    let two = weighted("weights = \"all\"\nerror = \"absolute\"").replace("\"1/32\"", "[1, 2]");
    assert_text_error(&two, Code::ClaimValue, 8);
    // A setting has no scale to set if only weights change.
    let base = weighted("weights = \"all\"\nerror = \"absolute\"").replace("tolerance = \"3/4\"\n", "");
    for setting in ["cutoff = 2", "seen = 2", "scale = { family = \"none\" }"] {
        let text = format!("{base}[[setting]]\ntolerance = 1\n{setting}\n");
        assert_text_error(&text, Code::ClaimValue, 11);
    }
    parse_claim(&format!("{base}[[setting]]\ntolerance = 1\namplitude = 2\n"));
}

#[test]
fn parameters_that_the_output_does_not_depend_on_are_errors() {
    for (name, quoted) in [("v", "`v`"), ("x", "`x`"), ("", "``")] {
        let claim = parse_claim(&weighted(&format!("weights = [\"w\", \"{name}\"]\nerror = \"absolute\"")));
        let Inputs::Point(x) = &claim.inputs else { panic!("a point") };
        let error = problem(&network(), &claim, x).unwrap_err();
        assert_eq!(error.code, Code::ClaimTensor, "{error}");
        assert!(error.message.contains(quoted) && error.place == "claim.toml:8", "{error}");
    }
    let claim = parse_claim(&weighted("weights = \"all\"\nerror = \"absolute\""));
    let plain = read_model(&Model::new(&[1, 4]).node("Relu", &["x"], "y").output("y").bytes());
    let Inputs::Point(x) = &claim.inputs else { panic!("a point") };
    assert_eq!(support::code(problem(&plain, &claim, x)), Code::ClaimTensor);
}

// ---- parameters that are used more than once

/// A network of a square matrix `w` that is used by two products, the second time as `second`.
fn shared(second: &str, with: impl Fn(Model) -> Model) -> scalecheck::network::Network {
    let model = Model::new(&[1, 4]).f32("w", &[4, 4], &[1.0; 16]).node("MatMul", &["x", "w"], "h");
    read_model(&with(model).node("MatMul", &["h", second], "y").output("y").bytes())
}

#[test]
fn a_parameter_that_is_used_twice_cannot_be_perturbed() {
    for which in ["\"all\"", "[\"w\"]"] {
        let claim = parse_claim(&weighted(&format!("weights = {which}\nerror = \"absolute\"")));
        let Inputs::Point(x) = &claim.inputs else { panic!("a point") };
        let error = problem(&shared("w", |model| model), &claim, x).unwrap_err();
        assert_eq!(error.code, Code::ClaimTensor, "{error}");
        assert!(error.message.contains("used twice"), "{error}");
    }
}

/// What changes is the stored value, so another name for it must not hide that it is used twice, nor a use that is no
/// parameter.
#[test]
fn a_parameter_that_is_used_again_by_another_way_cannot_be_perturbed() {
    for which in ["\"all\"", "[\"w\"]"] {
        let claim = parse_claim(&weighted(&format!("weights = {which}\nerror = \"absolute\"")));
        let Inputs::Point(x) = &claim.inputs else { panic!("a point") };
        for op in ["Transpose", "Identity"] {
            let again = shared("again", |model| model.node(op, &["w"], "again"));
            assert_eq!(support::code(problem(&again, &claim, x)), Code::ClaimTensor, "{op}, {which}");
        }
        let factor = Model::new(&[4, 4]).f32("w", &[4, 4], &[1.0; 16]).node("MatMul", &["x", "w"], "h");
        let factor = read_model(&factor.node("Mul", &["h", "w"], "y").output("y").bytes());
        let x = vec![Rational::zero(); 16];
        let text = weighted(&format!("weights = {which}\nerror = \"absolute\""));
        let claim = parse_claim(&text.replace(POINT, &format!("point = {:?}", [0; 16])));
        assert_eq!(support::code(problem(&factor, &claim, &x)), Code::ClaimTensor, "Mul, {which}");
    }
}

/// "All" weights must not mean less than it says.
#[test]
fn all_weights_are_an_error_if_one_is_broadcast_or_a_factor() {
    let model =
        Model::new(&[1, 4]).f32("w", &[4, 4], &[1.0; 16]).f32("s", &[1], &[2.0]).node("MatMul", &["x", "w"], "h");
    for op in ["Add", "Mul", "Div"] {
        let network = read_model(&model.clone().node(op, &["h", "s"], "y").output("y").bytes());
        let found = |which: &str| {
            let claim = parse_claim(&weighted(&format!("weights = {which}\nerror = \"absolute\"")));
            let Inputs::Point(x) = &claim.inputs else { panic!("a point") };
            problem(&network, &claim, x).map(|problem| problem.domain[0].lower.len())
        };
        let error = found("\"all\"").unwrap_err();
        assert_eq!(error.code, Code::ClaimTensor, "{error}");
        assert!(error.message.contains("`s` is broadcast or a factor"), "{error}");
        assert_eq!(found("[\"w\"]").unwrap(), 16, "{op}");
    }
}

#[test]
fn what_modes_that_do_not_span_leave_out_is_no_coarse_map() {
    let plain = "{ groups = [[0, 1], [2, 3]], reduce = \"mean\" }";
    for modes in ["[[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]", "[[1, 0, 0, 0]]"] {
        let coarse = format!("{{ scale = {{ family = \"matrix\", modes = {modes} }}, hidden = 1 }}");
        assert_problem_error(plain, &coarse, Code::ClaimShape);
    }
    let identity = "[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]";
    let coarse = format!("{{ scale = {{ family = \"matrix\", modes = {identity} }}, hidden = 1 }}");
    let claim = parse_claim(&replaced(plain, &coarse));
    let Inputs::Point(x) = &claim.inputs else { panic!("a point") };
    assert_eq!(problem(&network(), &claim, x).unwrap().coarse.len(), 3);
}

#[test]
fn a_setting_cannot_set_the_cutoff_of_a_plain_box() {
    let text = replaced("family = \"haar\", shape = [1, 4], spatial = 1, cutoff = 4", "family = \"none\"");
    let text = text.replace("[\"1/32\", \"1e-2\"]", "1").replace("tolerance = \"3/4\"\n", "");
    for (key, good) in [("cutoff = 2\n", false), ("seen = 2\n", false), ("", true)] {
        let found = parse("claim.toml", &format!("{text}[[setting]]\n{key}tolerance = 1\n"));
        match good {
            true => assert_eq!(found.map(|claim| claim.settings.len()), Ok(1)),
            false => assert_eq!(support::code(found), Code::ClaimValue),
        }
    }
}

// ---- words

#[test]
fn the_words_name_every_kind_of_perturbation_with_its_numbers() {
    let words = |scale: &str, amplitude: &str| {
        let text = replaced("family = \"haar\", shape = [1, 4], spatial = 1, cutoff = 4", scale);
        describe(&parse_claim(&text.replace("[\"1/32\", \"1e-2\"]", amplitude)))
    };
    for (scale, amplitude, parts) in [
        ("family = \"none\"", "\"2/7\"", &["|δ_i| ≤ 2/7"][..]),
        ("family = \"block-mean\", shape = [4], cutoff = 2", "\"2/7\"", &["≤ 2/7", "mean over each 2 block", "zero"]),
        (
            "family = \"haar\", shape = [4], cutoff = 4, seen = 2",
            "[\"2/7\", 5]",
            &["2/7, 5 by band", "4 block", "rung 2"],
        ),
        (
            "family = \"wavelet\", shape = [2, 4], spatial = 1, filters = \"cdf-5-3\", cutoff = 2",
            "\"2/7\"",
            &["wavelet", "at most 2/7", "2 block of the shape 2×4"],
        ),
        (
            "family = \"groups\", levels = [[[0, 1]], [[0, 1]]], cutoff = 2, seen = 1",
            "3",
            &["≤ 3", "level 2", "rung 1"],
        ),
        ("family = \"pca\", modes = [[1, 1, 1, 1]], cutoff = 1", "\"2/7\"", &["≤ 2/7", "pca modes", "cutoff 1"]),
        ("family = \"matrix\", modes = [[1, 1, 1, 1]], cutoff = 1", "\"2/7\"", &["≤ 2/7", "matrix modes", "cutoff 1"]),
        (
            "family = \"dct\", shape = [4, 1], matrix = { vertical = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], horizontal = [[1]] }, cutoff = 3",
            "1",
            &["dct modes", "cutoff 3"],
        ),
        (
            "family = \"dictionary\", atoms = [[1], [1], [1], [1]], levels = [[[0]], [[0]]], bounds = [3], residual = \"1/9\", cutoff = 2",
            "\"2/7\"",
            &["1 atoms", "2/7", "level 2", "residual of at most 1/9"],
        ),
    ] {
        let words = words(scale, amplitude);
        for part in parts {
            assert!(words.contains(part), "{part} in:\n{words}");
        }
    }
}

#[test]
fn the_words_name_the_weights_and_how_they_change() {
    let words = |lines: &str| describe(&parse_claim(&weighted(lines)));
    let all = words("weights = \"all\"\nerror = \"absolute\"");
    assert!(all.contains("every stored matrix and every added constant changes by at most 1/32"), "{all}");
    let named = words("weights = [\"w\", \"b\"]\nerror = \"relative\"");
    assert!(named.contains("`w` and `b`") && named.contains("1/32 times its stored size"), "{named}");
}

#[test]
fn the_words_state_every_setting() {
    let claim = parse_claim(&with_settings(
        "[[setting]]\ntolerance = \"5/7\"\n[[setting]]\ntensor = \"h\"\nseen = 2\nreaches = \"3/11\"\n\
         [[setting]]\ncoarse = { scale = { family = \"block-mean\", shape = [4] }, seen = 2, hidden = 4 }\ndecision = \"winner\"\n",
    ));
    let words = describe(&claim);
    for part in [
        "setting 0: ",
        "at most 5/7",
        "setting 1: ",
        "tensor `h`",
        "at least 3/11",
        "rung 2 sees completely",
        "setting 2: ",
        "rung 2 sees and rung 4 does not",
        "stays strictly the largest",
    ] {
        assert!(words.contains(part), "{part} in:\n{words}");
    }
    let reaches = describe(&parse_claim(&replaced("tolerance = \"3/4\"", "reaches = \"3/11\"")));
    assert!(reaches.contains("some") && reaches.contains("at least 3/11"), "{reaches}");
}

#[test]
fn the_words_tell_dictionaries_with_and_without_a_residual_apart() {
    let words = |scale: &str| {
        let text = replaced("family = \"haar\", shape = [1, 4], spatial = 1, cutoff = 4", scale);
        describe(&parse_claim(&text.replace("[\"1/32\", \"1e-2\"]", "1")))
    };
    let generator = words("family = \"matrix\", generator = [[1], [1], [1], [1]], cutoff = 1");
    assert!(!generator.contains("residual") && generator.contains("1 atoms"), "{generator}");
}

// ---- any bytes

proptest! {
    #![proptest_config(Runner { cases: 256, failure_persistence: None, ..Runner::default() })]

    #[test]
    fn mutated_claims_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3_usize, 32..127_u8), 1..5)) {
        let mut text = GOOD.as_bytes().to_vec();
        for (index, kind, value) in changes {
            let position = index.index(text.len());
            match kind {
                0 => text[position] = value,
                1 => text.insert(position, value),
                _ => drop(text.remove(position)),
            }
        }
        if let Ok(claim) = parse("claim.toml", std::str::from_utf8(&text).unwrap()) {
            describe(&claim);
            if let Inputs::Point(x) = &claim.inputs {
                let _ = problem(&network(), &claim, x);
            }
        }
    }

    #[test]
    fn random_text_never_panics(text in any::<String>()) {
        let _ = parse("claim.toml", &text);
    }

    #[test]
    fn every_rational_is_read_back_from_its_text(top in any::<i64>(), bottom in 1..i64::MAX) {
        let r = Rational::new(top.into(), bottom.into());
        prop_assert_eq!(parse_rational(&r.to_string()), Some(r));
    }
}
