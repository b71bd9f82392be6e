//! Matrices from `.npy` and `.safetensors` files: every number exactly, every mistake by its code; and claims that name
//! such files are bound to their bytes.

use crate::support::{self, Files, int, q, ratio};
use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::array::{Array, read};
use scalecheck::claim::Site;
use scalecheck::error::{Class, Code, Error};
use scalecheck::exact::Exact;
use scalecheck::number::Rational;
use scalecheck::verify::{Config, RowVerdict, Verdict, verify};
use serde_json::json;
use sha2::{Digest, Sha256};

// ---- files

/// A .npy file of this version, with the header as it is given.
fn npy_of(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    let length = header.len() as u32;
    bytes.extend(&length.to_le_bytes()[..if version == 1 { 2 } else { 4 }]);
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// A header as NumPy writes it.
fn header(kind: &str, shape: &str) -> String {
    format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}          \n")
}

fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    npy_of(1, &header(kind, shape), data)
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn values(array: &Array) -> Vec<Rational> {
    (0..array.values.len()).map(|i| array.values.get(i)).collect()
}

#[track_caller]
fn assert_error(bytes: &[u8], tensor: Option<&str>, code: Code) -> Error {
    let error = read(bytes, tensor).err().unwrap_or_else(|| panic!("an array was read"));
    assert_eq!(error.code, code, "{error}");
    error
}

/// The kinds of numbers as both formats name them, with bytes and the exact numbers that they encode.
fn kinds() -> Vec<(&'static str, &'static str, Vec<u8>, [Rational; 2])> {
    let two = |a: &[u8], b: &[u8]| [a, b].concat();
    let tiny = Rational::new(1.into(), num::pow(num::BigInt::from(2), 1074));
    vec![
        ("<f2", "F16", two(&0xb800_u16.to_le_bytes(), &1_u16.to_le_bytes()), [ratio(-1, 2), ratio(1, 1 << 24)]),
        ("<f4", "F32", two(&0.1_f32.to_le_bytes(), &(-3_f32).to_le_bytes()), [ratio(13_421_773, 1 << 27), int(-3)]),
        ("<f8", "F64", two(&(-0.0_f64).to_le_bytes(), &f64::from_bits(1).to_le_bytes()), [int(0), tiny]),
        ("<i8", "I64", two(&i64::MIN.to_le_bytes(), &i64::MAX.to_le_bytes()), [int(i64::MIN), int(i64::MAX)]),
        ("<i4", "I32", two(&i32::MIN.to_le_bytes(), &7_i32.to_le_bytes()), [int(i32::MIN.into()), int(7)]),
        ("<i2", "I16", two(&(-2_i16).to_le_bytes(), &i16::MAX.to_le_bytes()), [int(-2), int(i16::MAX.into())]),
        ("|i1", "I8", two(&[0x80], &[0x7f]), [int(-128), int(127)]),
    ]
}

#[test]
fn numbers_of_every_kind_are_read_exactly() {
    for (npy_kind, kind, data, expected) in kinds() {
        for version in [1, 2, 3] {
            let array = read(&npy_of(version, &header(npy_kind, "(2, 1)"), &data), None).unwrap();
            assert_eq!((&array.shape[..], values(&array)), (&[2, 1][..], expected.to_vec()), "{npy_kind}");
        }
        let text = format!("{{\"w\":{{\"dtype\":\"{kind}\",\"shape\":[1,2],\"data_offsets\":[0,{}]}}}}", data.len());
        let array = read(&safetensors(&text, &data), None).unwrap();
        assert_eq!((&array.shape[..], values(&array)), (&[1, 2][..], expected.to_vec()), "{kind}");
    }
}

#[test]
fn shapes_have_any_number_of_axes_and_rows_come_first() {
    for (text, shape) in [("()", &[][..]), ("(1,)", &[1]), ("(1, 1, 1)", &[1, 1, 1])] {
        assert_eq!(read(&npy("|i1", text, &[5]), None).unwrap().shape, shape);
    }
    let array = read(&npy("|i1", "(2, 3)", &[1, 2, 3, 4, 5, 6]), None).unwrap();
    assert_eq!(array.shape, [2, 3]);
    assert_eq!(values(&array), [1, 2, 3, 4, 5, 6].map(int));
}

#[test]
fn headers_may_have_their_keys_in_any_order() {
    for header in [
        "{'shape': (2,), 'fortran_order': False, 'descr': '|i1'}",
        "{'fortran_order':False,'shape':(2,),'descr':'|i1',}\n",
        "{ 'descr' : '|i1' , 'shape' : ( 2 , ) , 'fortran_order' : False , }",
    ] {
        assert_eq!(values(&read(&npy_of(1, header, &[3, 0xff]), None).unwrap()), [int(3), int(-1)], "{header}");
    }
}

// ---- .npy

#[test]
fn column_major_order_is_an_error_that_says_what_to_do() {
    let header = "{'descr': '|i1', 'fortran_order': True, 'shape': (2,), }\n";
    let error = assert_error(&npy_of(1, header, &[1, 2]), None, Code::Data);
    assert!(error.message.contains("ascontiguousarray"), "{error}");
}

#[test]
fn npy_that_is_cut_off_or_too_long_is_an_error() {
    let whole = npy("<f4", "(2, 2)", &[0; 16]);
    read(&whole, None).unwrap();
    for length in 0..whole.len() {
        assert_error(&whole[..length], None, Code::Data);
    }
    assert_error(&[&whole[..], &[0]].concat(), None, Code::Data);
}

#[test]
fn shapes_that_do_not_fit_the_data_are_errors() {
    for (shape, code) in [
        ("(3,)", Code::Data),
        ("(1,)", Code::Data),
        ("(0,)", Code::Data),
        ("(2, 0)", Code::Data),
        ("(-2,)", Code::Data),
        ("(2.0,)", Code::Data),
        ("(99999999999999999999,)", Code::Data),
        ("(16777217,)", Code::LimitSize),
        ("(4294967296, 4294967296)", Code::LimitSize),
    ] {
        assert_error(&npy("|i1", shape, &[1, 2]), None, code);
    }
}

#[test]
fn numbers_that_are_not_finite_are_errors() {
    for (kind, bytes) in [
        ("<f8", f64::NAN.to_le_bytes().to_vec()),
        ("<f8", f64::NEG_INFINITY.to_le_bytes().to_vec()),
        ("<f4", f32::INFINITY.to_le_bytes().to_vec()),
        ("<f2", 0x7e00_u16.to_le_bytes().to_vec()),
        ("<f2", 0xfc00_u16.to_le_bytes().to_vec()),
    ] {
        let error = assert_error(&npy(kind, "(1,)", &bytes), None, Code::Data);
        assert!(error.message.contains("NaN or an infinity"), "{error}");
    }
}

#[test]
fn kinds_that_are_not_known_are_errors_that_name_them() {
    for kind in [">f4", ">i2", "<u4", "|u1", "|b1", "<c8", "<f16", "|O", "<U3", "f4", "=f4", ""] {
        let error = assert_error(&npy(kind, "(1,)", &[0; 4]), None, Code::Data);
        assert!(error.message.contains(kind), "{error}");
    }
    let fields = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }";
    assert_error(&npy_of(1, fields, &[0; 4]), None, Code::Data);
}

#[test]
fn headers_with_repeated_missing_or_unknown_keys_are_errors() {
    for header in [
        "{'descr': '|i1', 'descr': '|i1', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|i1', 'fortran_order': False, 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|i1', 'fortran_order': False, 'shape': (1,), 'shape': (1,), }",
        "{'descr': '|i1', 'fortran_order': False, 'shape': (1,), 'more': 1, }",
        "{'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|i1', 'shape': (1,), }",
        "{'descr': '|i1', 'fortran_order': False, }",
        "'descr': '|i1', 'fortran_order': False, 'shape': (1,), ",
        "{'descr': '|i1', 'fortran_order': 0, 'shape': (1,), }",
        "{'descr', 'fortran_order': False, 'shape': (1,), }",
        "{}",
        "",
    ] {
        assert_error(&npy_of(1, header, &[1]), None, Code::Data);
    }
}

#[test]
fn other_versions_and_other_files_are_errors() {
    let good = npy("|i1", "(1,)", &[1]);
    for (position, byte) in [(0, 0x92), (1, b'n'), (6, 0), (6, 4), (7, 1)] {
        let mut bytes = good.clone();
        bytes[position] = byte;
        assert_error(&bytes, None, Code::Data);
    }
    for bytes in [&b""[..], b"PK\x03\x04", b"1,2\n3,4\n"] {
        assert_error(bytes, None, Code::Data);
    }
}

#[test]
fn a_npy_file_has_no_tensors_to_choose_from() {
    let error = assert_error(&npy("|i1", "(1,)", &[1]), Some("w"), Code::Data);
    assert!(error.message.contains("tensor"), "{error}");
}

// ---- .safetensors

const TWO: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},
    "b":{"dtype":"I16","shape":[1,1],"data_offsets":[2,4]}}  "#;

#[test]
fn a_tensor_is_chosen_by_name_if_there_are_several() {
    let bytes = safetensors(TWO, &[1, 2, 3, 0]);
    assert_eq!(values(&read(&bytes, Some("a")).unwrap()), [int(1), int(2)]);
    assert_eq!(values(&read(&bytes, Some("b")).unwrap()), [int(3)]);
    for name in [None, Some("c"), Some("__metadata__"), Some("")] {
        let error = assert_error(&bytes, name, Code::Data);
        assert!(error.message.contains("a, b"), "{error}");
    }
    let one = safetensors(r#"{"__metadata__":{},"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, &[9]);
    assert_eq!(values(&read(&one, None).unwrap()), [int(9)]);
    assert_eq!(values(&read(&one, Some("a")).unwrap()), [int(9)]);
    assert_error(&safetensors("{}", &[]), None, Code::Data);
}

#[test]
fn names_and_keys_given_twice_are_errors() {
    let entry = r#"{"dtype":"I8","shape":[1],"data_offsets":[0,1]}"#;
    let twice = safetensors(&format!(r#"{{"a":{entry},"a":{entry}}}"#), &[1]);
    assert_error(&twice, Some("a"), Code::Data);
    assert_error(&twice, None, Code::Data);
    for entry in [
        r#"{"dtype":"I8","dtype":"I8","shape":[1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"I8","shape":[1],"data_offsets":[0,1],"stride":[1]}"#,
        r#"{"dtype":"I8","shape":[1]}"#,
        r#"{"dtype":"I8","shape":[1.0],"data_offsets":[0,1]}"#,
        r#"{"dtype":"I8","shape":[-1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"I8","shape":[1],"data_offsets":[0,1,1]}"#,
    ] {
        assert_error(&safetensors(&format!(r#"{{"a":{entry}}}"#), &[1]), None, Code::Data);
    }
}

#[test]
fn tensors_outside_of_the_file_or_of_another_size_are_errors() {
    let tensor = |kind: &str, shape: &str, offsets: &str| {
        let entry = format!(r#"{{"dtype":"{kind}","shape":{shape},"data_offsets":{offsets}}}"#);
        safetensors(&format!(r#"{{"a":{entry}}}"#), &[1, 2, 3, 4])
    };
    read(&tensor("I8", "[2]", "[1,3]"), None).unwrap();
    for offsets in
        ["[3,5]", "[5,7]", "[3,1]", "[0,18446744073709551615]", "[18446744073709551614,18446744073709551615]"]
    {
        assert_error(&tensor("I8", "[2]", offsets), None, Code::Data);
    }
    for (kind, shape) in
        [("I8", "[3]"), ("I16", "[2]"), ("I8", "[0]"), ("BF16", "[1]"), ("U8", "[2]"), ("F8_E4M3", "[2]")]
    {
        assert_error(&tensor(kind, shape, "[1,3]"), None, Code::Data);
    }
    assert_error(&tensor("I8", "[4294967296,4294967296]", "[1,3]"), None, Code::LimitSize);
}

#[test]
fn safetensors_that_are_cut_off_are_errors() {
    let whole = safetensors(TWO, &[1, 2, 3, 0]);
    for length in 0..whole.len() {
        assert_error(&whole[..length], Some("b"), Code::Data);
    }
    for length in [u64::MAX, u64::MAX - 7, 1 << 63] {
        assert_error(&[&length.to_le_bytes()[..], b"{}"].concat(), None, Code::Data);
    }
    for header in ["[]", "null", "{\"a\":1}", "{"] {
        assert_error(&safetensors(header, &[1]), None, Code::Data);
    }
}

// ---- any bytes

proptest! {
    #![proptest_config(Runner { cases: 512, failure_persistence: None, ..Runner::default() })]

    #[test]
    fn mutated_files_never_panic(which in 0..3_usize, changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, any::<u8>()), 1..5)) {
        let mut bytes = match which {
            0 => npy("<f4", "(2, 2)", &[1; 16]),
            1 => npy_of(2, &header("<i2", "(3,)"), &[7; 6]),
            _ => safetensors(TWO, &[1, 2, 3, 0]),
        };
        for (index, kind, value) in changes {
            let position = index.index(bytes.len());
            match kind {
                0 => bytes[position] = value,
                1 => bytes[position] ^= 1 << (value % 8),
                2 => bytes.insert(position, value),
                _ => drop(bytes.remove(position)),
            }
        }
        for tensor in [None, Some("a")] {
            match read(&bytes, tensor) {
                Ok(array) => prop_assert_eq!(array.shape.iter().product::<usize>(), array.values.len()),
                Err(e) => prop_assert!(e.code == Code::Data || e.code == Code::LimitSize, "{}", e),
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), magic in any::<bool>()) {
        let bytes = if magic { [&b"\x93NUMPY\x01\0"[..], &bytes].concat() } else { bytes };
        prop_assert_eq!(support::code(read(&bytes, None)), Code::Data);
    }
}

// ---- from disk

const CLAIM: &str = r#"model = "model.onnx"
[inputs]
file = "data.csv"
rows = [0]
[[perturb]]
site = "input"
scale = { ladder = "ladders/modes.toml", cutoff = 1 }
amplitude = "1"
[output]
tolerance = "2"
"#;
const LADDER: &str = "family = \"pca\"\nmodes = \"modes.npy\"\nmade = \"by hand\"\n";

/// A claim whose ladder is a file that names an array file.
fn files() -> Files {
    let files = Files::new(CLAIM);
    std::fs::create_dir(files.folder.path().join("ladders")).unwrap();
    files.write("data.csv", b"0,0\n");
    files.write("ladders/modes.toml", LADDER.as_bytes());
    files.write("ladders/modes.npy", &npy("<f4", "(1, 2)", &[1.0_f32.to_le_bytes(), 1.0_f32.to_le_bytes()].concat()));
    files
}

/// A certificate whose proof holds.
fn certificate(files: &Files) -> Vec<u8> {
    let mut certificate = serde_json::to_value(files.statement().unwrap().header("test")).unwrap();
    let seen = json!({ "tensor": 1, "exponent": 0, "mantissas": [0] });
    certificate["answers"] = json!([{ "row": 0, "proof": {
        "slope_bits": 2, "tensors": ["h.pre", "perturb[0].seen"],
        "nodes": [{ "refine": [
            // Over x₁ + x₂ = 0, 2x₁ + x₂ is x₁.
            { "tensor": 0, "rows": [0], "side": "upper", "duals": [{ "tensor": 1, "exponent": 0, "mantissas": [-1] }] },
            { "tensor": 0, "rows": [0], "side": "lower", "duals": [{ "tensor": 1, "exponent": 0, "mantissas": [1] }] },
            { "tensor": 0, "rows": [1], "duals": [seen] },
        ], "close": [{}, {}] }],
    } }]);
    certificate.to_string().into_bytes()
}

fn check(files: &Files, bytes: &[u8]) -> Result<Verdict, Error> {
    let report = verify(&files.statement()?, bytes, &Config::default())?;
    for (row, verdict) in report.settings.iter().flat_map(|s| &s.rows) {
        if let RowVerdict::Rejected(e) = verdict {
            println!("row {row}: {e}");
        }
    }
    Ok(report.verdict())
}

#[test]
fn a_ladder_from_files_is_the_ladder_that_they_state() {
    let files = files();
    assert_eq!(check(&files, &certificate(&files)).unwrap(), Verdict::Verified);
    // The data file, the ladder file and the array file.
    assert_eq!(files.statement().unwrap().header("").data.len(), 3);
}

#[test]
fn files_changed_by_one_bit_are_not_what_the_certificate_is_about() {
    let files = files();
    let certificate = certificate(&files);
    for name in ["ladders/modes.npy", "ladders/modes.toml"] {
        let original = std::fs::read(files.folder.path().join(name)).unwrap();
        let mut mismatches = 0;
        for bit in 0..original.len() * 8 {
            let mut bytes = original.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            files.write(name, &bytes);
            match check(&files, &certificate) {
                Err(e) if e.code == Code::DataMismatch => {
                    assert_eq!(e.code.class(), Class::Mismatch);
                    mismatches += 1;
                }
                // What cannot be read any more is no statement at all.
                Err(e) => assert!(matches!(e.code.class(), Class::Malformed | Class::Limit), "{name}, bit {bit}: {e}"),
                Ok(verdict) => panic!("{name}, bit {bit}: {verdict:?}"),
            }
        }
        // Every bit of the numbers, and every letter of how the ladder was made.
        assert!(mismatches > 30, "{name}: {mismatches}");
        files.write(name, &original);
    }
    assert_eq!(check(&files, &certificate).unwrap(), Verdict::Verified);
}

#[test]
fn digests_come_in_the_order_of_the_claim_and_each_file_once() {
    let files = files();
    files.write("b.npy", &npy("|i1", "(1, 2)", &[1, 2]));
    let second = "[[perturb]]\nsite = \"input\"\nscale = { family = \"matrix\", modes = \"b.npy\", cutoff = 1 }\n\
                  amplitude = 1\n[[perturb]]\nsite = \"input\"\nscale = { ladder = \"ladders/modes.toml\", cutoff = 0 }\n\
                  amplitude = 1\n[output]";
    files.write("claim.toml", CLAIM.replace("[output]", second).as_bytes());
    let digest = |name: &str| -> String {
        let bytes = std::fs::read(files.folder.path().join(name)).unwrap();
        Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect()
    };
    let expected = ["data.csv", "ladders/modes.toml", "ladders/modes.npy", "b.npy"].map(digest);
    assert_eq!(files.statement().unwrap().header("").data, expected);
}

#[test]
fn a_matrix_is_the_same_inline_in_a_file_and_transposed() {
    let seen = |modes: &str| {
        let files = files();
        files.write("rows.npy", &npy("<i4", "(1, 2)", &[2, 0, 0, 0, 0xfd, 0xff, 0xff, 0xff]));
        files.write("columns.npy", &npy("|i1", "(2, 1)", &[2, 0xfd]));
        files.write(
            "two.safetensors",
            &safetensors(
                r#"{"w":{"dtype":"I8","shape":[2,1],"data_offsets":[0,2]},"v":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}"#,
                &[2, 0xfd],
            ),
        );
        let scale = format!("family = \"matrix\", modes = {modes}");
        files.write("claim.toml", CLAIM.replace("ladder = \"ladders/modes.toml\"", &scale).as_bytes());
        let statement = files.statement()?;
        let Site::Tensor { scale, .. } = &statement.claim().settings[0].perturb[0].site else { panic!("a tensor") };
        let seen = scale.ladder.generator(1, &[int(1)], 2).unwrap().seen.unwrap();
        Ok::<_, Error>([[1, 0], [0, 1]].map(|x| Exact::from_rationals(&x.map(int)).apply(&seen).get(0)))
    };
    for modes in [
        "[[2, -3]]",
        "\"rows.npy\"",
        "{ file = \"rows.npy\" }",
        "{ file = \"rows.npy\", transpose = false }",
        "{ file = \"columns.npy\", transpose = true }",
        "{ file = \"two.safetensors\", tensor = \"w\", transpose = true }",
    ] {
        assert_eq!(seen(modes).unwrap(), [q("2"), q("-3")], "{modes}");
    }
    for (modes, code) in [
        ("\"missing.npy\"", Code::Io),
        ("\"data.csv\"", Code::Data),
        ("\"two.safetensors\"", Code::Data),
        ("{ file = \"two.safetensors\", tensor = \"v\" }", Code::ClaimShape),
        ("{ file = \"two.safetensors\", tensor = \"v\", transpose = true }", Code::ClaimShape),
        ("{ file = \"rows.npy\", tensor = \"w\" }", Code::Data),
        ("{ file = \"rows.npy\", transpose = 1 }", Code::ClaimValue),
        ("{ file = \"rows.npy\", order = \"C\" }", Code::ClaimUnknownKey),
        ("{ tensor = \"w\" }", Code::ClaimMissingKey),
        ("3", Code::ClaimValue),
    ] {
        let error = seen(modes).err().unwrap_or_else(|| panic!("{modes} was read"));
        assert_eq!(error.code, code, "{modes}: {error}");
        assert!(error.place.contains("claim.toml:7") || error.code == Code::Data, "{modes}: {error}");
    }
}

#[test]
fn mistakes_in_a_ladder_file_are_reported_at_its_own_lines() {
    for (ladder, code, place) in [
        ("family = \"pca\"\n", Code::ClaimMissingKey, "modes.toml:1"),
        ("family = \"pca\"\nmodes = \"modes.npy\"\ncutoff = 1\n", Code::ClaimUnknownKey, "modes.toml:3"),
        ("family = \"pca\"\nmodes = \"modes.npy\"\nmade = 3\n", Code::ClaimValue, "modes.toml:3"),
        ("family = \"pca\"\nmodes = \"none.npy\"\n", Code::Io, "modes.toml:2"),
        ("family = \"groups\"\nlevels = [[[0, 1]], [[0]]]\n", Code::LadderNesting, "modes.toml:2"),
        ("family = \"pca\nmodes = \"modes.npy\"\n", Code::ClaimSyntax, "modes.toml:1"),
        ("ladder = \"modes.toml\"\n", Code::ClaimMissingKey, "modes.toml:1"),
        ("family = \"pca\"\nmodes = \"../data.csv\"\n", Code::Data, "data.csv"),
    ] {
        let files = files();
        files.write("ladders/modes.toml", ladder.as_bytes());
        let error = files.statement().err().unwrap_or_else(|| panic!("read: {ladder}"));
        assert_eq!(error.code, code, "{error}");
        assert!(error.place.ends_with(place), "{error}");
    }
    let files = files();
    files.write("ladders/modes.toml", &[0xff]);
    assert_eq!(support::code(files.statement()), Code::Io);
    // A rung that the ladder of the file does not have is a mistake of the claim.
    let files = self::files();
    files.write("claim.toml", CLAIM.replace("cutoff = 1", "cutoff = 2").as_bytes());
    let error = files.statement().err().unwrap();
    assert_eq!(error.code, Code::ClaimShape);
    assert!(error.place.ends_with("claim.toml:7"), "{error}");
    let files = self::files();
    files.write("claim.toml", CLAIM.replace("cutoff = 1", "cutoff = 1, family = \"pca\"").as_bytes());
    assert_eq!(support::code(files.statement()), Code::ClaimUnknownKey);
}

/// Every sum of the rules is proved to fit for at most so many terms.
#[test]
fn a_ladder_of_more_variables_than_the_sums_allow_is_too_large() {
    const CLAIM: &str = "model = \"model.onnx\"\n[inputs]\npoint = [0, 0]\n[[perturb]]\nsite = \"input\"\n\
        scale = { family = \"matrix\", generator = \"u.npy\", cutoff = 0 }\namplitude = 1\n[output]\ntolerance = 1\n";
    let files = Files::new(CLAIM);
    for (count, code) in [(1 << 20, None), ((1 << 20) + 1, Some(Code::LimitSize))] {
        files.write("u.npy", &npy("|i1", &format!("(2, {count})"), &vec![1; 2 * count]));
        let statement = files.statement().unwrap();
        let clean = statement.clean(&[0]).next().unwrap().unwrap();
        assert_eq!(statement.problem(0, 0, &clean).err().map(|e| e.code), code, "{count}");
    }
}
