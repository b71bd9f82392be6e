//! The numbers of a report as JSON, exact: what the page's script reads, and anyone else.

use super::dial::{Cell, Dial};
use super::number::vector;
use super::pair::{Pair, name};
use super::shape::Shape;
use scalecheck::number::Rational;
use scalecheck::verify::{RowVerdict, SettingReport};
use serde_json::{Value, json};

/// A pair's verdict with its numbers, and its dial.
pub fn data(pair: &Pair, dial: Option<&Dial>) -> Value {
    json!({
        "claim": name(&pair.claim_file),
        "certificate": name(&pair.certificate_file),
        "verdict": pair.report.verdict().word(),
        "sha256": pair.report.digests,
        "settings": pair.report.settings.iter().map(setting).collect::<Vec<_>>(),
        "separations": pair.report.separations.iter().map(|s| json!({
            "below": s.below, "band": s.band, "gap": exact(s.gap.as_ref()),
        })).collect::<Vec<_>>(),
        "dial": dial.map(as_json),
    })
}

/// JSON that may stand in a `script` element: nothing in it ends the element or begins a comment.
pub fn embedded(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

fn exact(x: Option<&Rational>) -> Value {
    x.map_or(Value::Null, |x| x.to_string().into())
}

fn setting(setting: &SettingReport) -> Value {
    let rows = setting.rows.iter().map(|(row, verdict)| {
        let list = |values: &[Rational]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut object = match verdict {
            RowVerdict::Verified { established, .. } => {
                json!({ "verdict": "VERIFIED", "proven_tolerance": exact(established.as_ref()) })
            }
            RowVerdict::Served { by, established } => {
                json!({ "verdict": "VERIFIED", "served_by": by, "proven_tolerance": exact(established.as_ref()) })
            }
            RowVerdict::Reached { change } => json!({ "verdict": "REACHED", "change": exact(Some(change)) }),
            RowVerdict::Refuted { what, clean, perturbed } => {
                json!({ "verdict": "REFUTED", "what": what, "clean": list(clean), "perturbed": list(perturbed) })
            }
            RowVerdict::Rejected(error) => json!({ "verdict": "REJECTED", "message": error.to_string() }),
            RowVerdict::Unanswered => json!({ "verdict": "UNANSWERED" }),
        };
        object["row"] = (*row).into();
        object
    });
    json!({ "verdict": setting.verdict.word(), "rows": rows.collect::<Vec<_>>() })
}

fn as_json(dial: &Dial) -> Value {
    let list = |values: &[Rational]| if values.is_empty() { Value::Null } else { vector(values) };
    let rows = dial.rows.iter().map(|row| {
        json!({
            "row": row.row,
            "tensor": list(&row.tensor),
            "seen": row.seen.iter().map(|seen| list(seen)).collect::<Vec<_>>(),
            "clean": list(&row.clean),
        })
    });
    let one = |cell: &Cell| {
        let mut object = json!({
            "certified": exact(cell.found.certified.as_ref()),
            "by": cell.found.by,
            "delta": list(&cell.delta),
        });
        if let Some(witness) = &cell.found.witness {
            object["attacked"] = exact(Some(&witness.reach));
            object["perturbed"] = list(&witness.perturbed);
            object["from"] = if witness.certificate { "certificate" } else { "attack" }.into();
            // Elsewhere the row has these.
            if !cell.tensor.is_empty() || dial.rows.iter().all(|row| row.clean.is_empty()) {
                object["tensor"] = list(&cell.tensor);
                object["seen"] = list(&cell.seen);
                object["clean"] = list(&witness.clean);
            }
        }
        object
    };
    let cells = dial.cells.iter().map(|level| {
        let cells = level.iter().map(|cells| cells.as_ref().map(|cells| cells.iter().map(one).collect::<Vec<_>>()));
        cells.collect::<Vec<_>>()
    });
    json!({
        "winner": dial.winner,
        "shape": dial.site.as_ref().map(|(_, shape)| match shape {
            Shape::Image { channels, height, width } => {
                json!({ "kind": "image", "channels": channels, "height": height, "width": width })
            }
            Shape::Series(n) => json!({ "kind": "series", "count": n }),
            Shape::Bars(n) => json!({ "kind": "bars", "count": n }),
        }),
        "levels": dial.levels.iter().map(|l| json!({ "label": l.label, "hidden": l.hidden })).collect::<Vec<_>>(),
        "amplitudes": dial.amplitudes,
        "tolerance": exact(dial.tolerance.as_ref()),
        "largest": dial.largest().to_string(),
        "start": dial.start,
        "rows": rows.collect::<Vec<_>>(),
        "cells": cells.collect::<Vec<_>>(),
    })
}
