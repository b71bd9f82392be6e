//! A whole check: any claim and any certificate, a line of dashes between them, about the model of the worked example. The
//! certificate's digests are put right, so that what is behind them is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scalecheck::verify::{Config, RowVerdict, Statement, verify};
use serde_json::Value;
use std::path::Path;

const MODEL: &[u8] = include_bytes!("../../specs/worked-example/model.onnx");
const LIMITS: Config = Config { max_work: 1 << 24, max_memory: 1 << 24 };

fuzz_target!(|text: &str| {
    let Some((claim, certificate)) = text.split_once("\n---\n") else { return };
    let path = Path::new("nowhere/claim.toml");
    let Ok(statement) = Statement::about(path, claim.as_bytes(), (Path::new("model.onnx"), MODEL)) else { return };
    let Ok(Value::Object(mut certificate)) = serde_json::from_str(certificate) else { return };
    let Ok(Value::Object(header)) = serde_json::to_value(statement.header("fuzz")) else { return };
    for (key, value) in header.into_iter().filter(|(key, _)| ["format", "claim", "model", "data"].contains(&&key[..])) {
        certificate.insert(key, value);
    }
    let Ok(report) = verify(&statement, Value::from(certificate).to_string().as_bytes(), &LIMITS) else { return };
    // The worked example's claim, whatever else it says, is about an output that moves by one at most and does reach one.
    if claim.trim_end() == include_str!("../../specs/worked-example/claim-split.toml").trim_end() {
        for (_, verdict) in report.settings.iter().flat_map(|setting| &setting.rows) {
            assert!(!matches!(verdict, RowVerdict::Refuted { .. }), "a true claim is refuted");
        }
    }
    if claim.trim_end() == include_str!("../../specs/worked-example/claim-refuted.toml").trim_end() {
        for (_, verdict) in report.settings.iter().flat_map(|setting| &setting.rows) {
            assert!(!matches!(verdict, RowVerdict::Verified { .. }), "a false claim is verified");
        }
    }
});
