//! Reading claims: every mistake is reported at its line, with its code.

mod support;

use num::Zero;
use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::claim::{self, Claim, Coarse, Inputs, Property, Site};
use scalecheck::data::Table;
use scalecheck::describe::describe;
use scalecheck::error::{Code, Error};
use scalecheck::ladder::Ladder;
use scalecheck::number::{Rational, approximate, parse_rational};

use support::onnx::Model;
use support::{Files, parse_claim, problem, q, read_model};

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
