//! Changes of files: of bytes, of text, of JSON by its structure, and of ONNX by the fields of its messages.

use crate::bases::{Base, CERTIFICATE};
use flate2::Compression;
use flate2::write::GzEncoder;
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use scalecheck::verify::{Statement, digest};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

type Files = BTreeMap<String, Vec<u8>>;

/// The files of a case after one to three mutations, and whether the question is the same: all but certificates. Digests are
/// mostly brought up to date, so that what is behind them is reached; `folder` is where this may lay files out for it.
pub fn mutate(base: &Base, bases: &[Base], random: &mut SmallRng, folder: &Path) -> (Files, bool) {
    let mut files = base.files.clone();
    let certificates: Vec<&str> = base.pairs.iter().map(|[_, certificate]| *certificate).collect();
    if random.random_ratio(1, 4000) {
        files.insert(CERTIFICATE.into(), hostile(random));
        return (files, true);
    }
    for _ in 0..*[1, 1, 1, 2, 3].choose(random).expect("not empty") {
        let name = if random.random_bool(0.6) {
            (*certificates.choose(random).expect("a certificate")).to_owned()
        } else {
            let names: Vec<&String> = files.keys().collect();
            (*names.choose(random).expect("a file")).clone()
        };
        let other = bases.choose(random).expect("a case");
        let like = other.files.iter().find(|(n, _)| ending(n) == ending(&name)).map_or(&[][..], |(_, bytes)| bytes);
        let changed = change(&files[&name], ending(&name), like, random);
        files.insert(name, changed);
    }
    if random.random_bool(0.95) {
        bind(base, &mut files, folder);
    }
    let question = files.iter().all(|(name, bytes)| certificates.contains(&&name[..]) || base.files[name] == *bytes);
    if random.random_ratio(1, 16) {
        let packed = gzip(&files[CERTIFICATE]);
        files.insert(CERTIFICATE.into(), if random.random_bool(0.5) { raw(&packed, &[], random) } else { packed });
    }
    (files, question)
}

fn ending(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

fn change(bytes: &[u8], kind: &str, like: &[u8], random: &mut SmallRng) -> Vec<u8> {
    if random.random_ratio(1, 12) {
        return raw(bytes, like, random);
    }
    match kind {
        "onnx" => message(bytes, 0, random),
        "json" if random.random_bool(0.85) => match serde_json::from_slice::<Value>(bytes) {
            Ok(mut value) => {
                let other = serde_json::from_slice(like).unwrap_or(Value::Null);
                json_change(&mut value, &other, random);
                serde_json::to_vec(&value).expect("JSON can be written")
            }
            Err(_) => raw(bytes, like, random),
        },
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text_change(text, random).into_bytes(),
            Err(_) => raw(bytes, like, random),
        },
    }
}

/// Brings the digests in certificates up to date, as far as the claims can be read.
fn bind(base: &Base, files: &mut Files, folder: &Path) {
    let set = |files: &mut Files, name: &str, change: &dyn Fn(&mut Map<String, Value>, &Files)| {
        if let Ok(Value::Object(mut object)) = serde_json::from_slice(&files[name]) {
            change(&mut object, files);
            files.insert(name.to_owned(), serde_json::to_vec(&object).expect("JSON can be written"));
        }
    };
    for [claim, certificate] in &base.pairs {
        if base.pairs.len() > 1 {
            set(files, certificate, &|object, files| {
                let links = object.get_mut("links").and_then(Value::as_array_mut);
                for file in links.into_iter().flatten().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
                    if let Some(bytes) = file["file"].as_str().and_then(|name| files.get(name)) {
                        file["sha256"] = digest(bytes).into();
                    }
                }
            });
        }
        for (name, bytes) in files.iter() {
            std::fs::write(folder.join(name), bytes).expect("a writable folder");
        }
        let Ok(statement) = Statement::load(&folder.join(claim), None) else { continue };
        let header = serde_json::to_value(statement.header("mutations")).expect("a certificate can be written");
        set(files, certificate, &|object, _| {
            for key in ["claim", "model", "data"] {
                object.insert(key.into(), header[key].clone());
            }
        });
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory can be written")
}

/// Files that are small on disk or simple in form, and large in memory.
fn hostile(random: &mut SmallRng) -> Vec<u8> {
    let size = 1 << random.random_range(20..29);
    let many = |head: &str, part: &str, tail: &str| {
        let mut text = head.to_owned();
        text.push_str(&part.repeat(size / part.len()));
        text.push_str(tail);
        text.into_bytes()
    };
    let digest = "0".repeat(64);
    let head = format!(
        "{{\"format\":\"scale-certificate/1\",\"generator\":\"\",\"claim\":\"{digest}\",\"model\":\"{digest}\",\"data\":[],\"answers\":["
    );
    let proof = format!("{head}{{\"row\":0,\"proof\":{{\"slope_bits\":16,\"tensors\":[],\"nodes\":[");
    let witness = |key: &str| format!("{head}{{\"row\":0,\"witness\":{{\"{key}\":[");
    let bomb = match random.random_range(0..10) {
        0 => vec![0; size],
        1 => many("", "[", ""),
        2 => many("", "{\"a\":", ""),
        3 => many(&head, "{\"row\":0},", "{\"row\":0}]}"),
        4 => many(&proof, "{},", "{}]}}]}"),
        5 => many(&proof, "{\"close\":[{},{}]},", "{}]}}]}"),
        6 => many(&witness("input"), "\"\",", "\"\"]}}]}"),
        7 => many(&witness("perturbation"), "[],", "[]]}}]}"),
        8 => many("{\"format\":\"", "a", "\"}"),
        _ => many(&format!("{}\"1e", witness("input")), "9", "\"]}}]}"),
    };
    if random.random() { gzip(&bomb) } else { bomb }
}

/// Bytes flipped, left out, repeated, cut off, or put in from a file of the same kind.
fn raw(bytes: &[u8], like: &[u8], random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.is_empty() {
        return like.to_vec();
    }
    let at = random.random_range(0..bytes.len());
    let end = (at + random.random_range(1..32)).min(bytes.len());
    match random.random_range(0..7) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes[at] = random.random(),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        4 => bytes.truncate(at),
        5 if !like.is_empty() => {
            let from = random.random_range(0..like.len());
            let part = &like[from..(from + random.random_range(1..64)).min(like.len())];
            bytes.splice(at..end, part.iter().copied());
        }
        _ => {
            let fill = *[0, 0xff, b'0', b'"'].choose(random).expect("not empty");
            bytes[at..end].fill(fill);
        }
    }
    bytes
}

/// Numbers at which something may happen.
const INTEGERS: &[i64] = &[
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    7,
    8,
    15,
    16,
    17,
    64,
    127,
    128,
    255,
    256,
    257,
    65535,
    65536,
    (1 << 31) - 1,
    1 << 31,
    1 << 47,
    (1 << 48) - 1,
    1 << 48,
    -(1 << 48),
    1 << 53,
    i64::MAX,
    i64::MIN,
];
const TEXTS: &[&str] = &[
    "0",
    "1",
    "-1",
    "1/3",
    "-7/2",
    "0.5",
    "1e-2",
    "1e5000",
    "1e-5000",
    "x",
    "",
    "1/0",
    "+2",
    ".5",
    "5.",
    " 1",
    "1_0",
    "NaN",
    "Infinity",
    "0x10",
    "340282366920938463463374607431768211455",
    "1/340282366920938463463374607431768211456",
    "input",
    "y",
    "h0.pre",
    "h0",
    "perturb[0]",
    "perturb[0].seen",
    "y#change",
    "lower",
    "upper",
    "both",
];
/// Parts of a certificate, to be put where they do not belong.
const PARTS: &[(&str, &str)] = &[
    ("void", r#"{"tensor":0,"element":0}"#),
    ("split", r#"{"tensor":0,"element":1,"at":"0"}"#),
    ("split", r#"{"tensor":1,"element":0,"at":"1/2"}"#),
    ("refine", r#"[{"tensor":1}]"#),
    ("close", r#"[{"cell":1},{"cell":0}]"#),
    ("close", "[]"),
    ("slopes", "0"),
    ("slopes", "[[]]"),
    ("rows", "[0,0]"),
    ("side", r#""lower""#),
    ("multipliers", "[[0,0,-5,1]]"),
    ("multipliers", "[[1,1,281474976710656,-3]]"),
    ("weights", "[65536]"),
    ("weights", "[0]"),
    ("cell", "1"),
    ("setting", "1"),
    ("row", "1"),
    ("duals", r#"[{"tensor":1,"exponent":2,"mantissas":[1,-1,0,2]}]"#),
    ("served_by", "0"),
    ("chain", "[]"),
    ("chain", r#"[{"link":0}]"#),
    ("witness", r#"{"input":["0","0"]}"#),
    ("proof", r#"{"slope_bits":16,"tensors":[],"nodes":[{}]}"#),
    ("unknown", "1"),
];

/// One change somewhere in a JSON value; `other` is one to take parts from.
fn json_change(value: &mut Value, other: &Value, random: &mut SmallRng) {
    // Down to a random place; leaves are the most likely to be hit.
    let stop = random.random_bool(0.15);
    let down = match value {
        Value::Object(map) if !map.is_empty() && !stop => {
            let k = random.random_range(0..map.len());
            map.iter_mut().nth(k).map(|(_, inner)| inner)
        }
        Value::Array(list) if !list.is_empty() && !stop => {
            let k = random.random_range(0..list.len());
            list.get_mut(k)
        }
        _ => None,
    };
    if let Some(inner) = down {
        return json_change(inner, other, random);
    }
    match value {
        Value::Number(number) => {
            let n = number.as_i64().unwrap_or(0);
            let any = *INTEGERS.choose(random).expect("not empty");
            let near = random.random_range(-3..12);
            *value = match random.random_range(0..9) {
                0 => json!(n.wrapping_add(1)),
                1 => json!(n.wrapping_sub(1)),
                2 => json!(n.wrapping_neg()),
                3 => json!(n.wrapping_mul(2)),
                4 => json!(n ^ (1 << random.random_range(0..20))),
                5 => json!(any),
                6 if random.random_bool(0.2) => {
                    [json!(1.5), Value::Null, json!(true), json!("1"), json!([n]), json!(u64::MAX)]
                        [random.random_range(0..6)]
                    .clone()
                }
                _ => json!(near),
            };
        }
        Value::String(text) => {
            let mut new = (*TEXTS.choose(random).expect("not empty")).to_owned();
            match random.random_range(0..5) {
                0 => new = format!("-{text}"),
                1 => new = format!("{text}0"),
                2 => new = format!("{text}/3"),
                3 => new = text_change(text, random),
                _ => {}
            }
            *value = new.into();
        }
        Value::Array(list) => match random.random_range(0..5) {
            0 if !list.is_empty() => drop(list.remove(random.random_range(0..list.len()))),
            1 if list.len() > 1 => {
                let (i, j) = (random.random_range(0..list.len()), random.random_range(0..list.len()));
                list.swap(i, j);
            }
            2 if !list.is_empty() => {
                let (from, to) = (random.random_range(0..list.len()), random.random_range(0..=list.len()));
                let again = list[from].clone();
                list.insert(to, again);
            }
            3 => list.clear(),
            _ => list.reverse(),
        },
        Value::Object(map) => match random.random_range(0..4) {
            0 if !map.is_empty() => {
                let key = map.keys().nth(random.random_range(0..map.len())).cloned();
                key.map(|key| map.remove(&key));
            }
            1 => {
                // The part of the same name of another certificate.
                let key = map.keys().nth(random.random_range(0..map.len().max(1))).cloned();
                if let Some((key, part)) = key.and_then(|key| find(other, &key).map(|part| (key, part.clone()))) {
                    map.insert(key, part);
                }
            }
            _ => {
                let (key, part) = PARTS.choose(random).expect("not empty");
                map.insert((*key).to_owned(), serde_json::from_str(part).expect("parts are JSON"));
            }
        },
        Value::Null | Value::Bool(_) => *value = json!(0),
    }
}

/// The first value of this name anywhere in a JSON value.
fn find<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    match value {
        Value::Object(map) => map.get(key).or_else(|| map.values().find_map(|inner| find(inner, key))),
        Value::Array(list) => list.iter().find_map(|inner| find(inner, key)),
        _ => None,
    }
}

/// Words that claims and properties know.
const WORDS: &[&str] = &[
    "block-mean",
    "haar",
    "wavelet",
    "dct",
    "groups",
    "pca",
    "none",
    "matrix",
    "dictionary",
    "input",
    "h0",
    "h0.pre",
    "y",
    "cutoff",
    "seen",
    "hidden",
    "tolerance",
    "reaches",
    "decision",
    "winner",
    "mean",
    "sum",
    "absolute",
    "relative",
    "shape",
    "identity",
    "amplitude",
    "all",
    "w0",
    "scale",
    "site",
    "weights",
    "valid",
    "radius",
    "box",
    "lower",
    "upper",
    "truncate",
    "perturb",
    "replace",
    "property",
    "<=",
    ">=",
    "<",
    ">",
    "=",
    "and",
    "or",
    "not",
    "assert",
    "X_0",
    "X_1",
    "Y_0",
    "Y_1",
    "nan",
    "inf",
    "true",
];

/// One change of a text: a number, a line, a word, or a character.
fn text_change(text: &str, random: &mut SmallRng) -> String {
    let spans = |wanted: fn(char) -> bool| {
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for (at, c) in text.char_indices().filter(|&(_, c)| wanted(c)) {
            let end = at + c.len_utf8();
            match spans.last_mut() {
                Some(last) if last.1 == at => last.1 = end,
                _ => spans.push((at, end)),
            }
        }
        spans
    };
    let put = |(from, to): (usize, usize), new: &str| format!("{}{new}{}", &text[..from], &text[to..]);
    let mut lines: Vec<&str> = text.split('\n').collect();
    match random.random_range(0..20) {
        0..=8 => {
            let Some(&span) = spans(|c| c.is_ascii_digit() || "./-".contains(c)).choose(random) else {
                return text.to_owned();
            };
            let old = &text[span.0..span.1];
            let next = random.random_range(0..20).to_string();
            let new = match random.random_range(0..8) {
                0 => format!("{old}1"),
                1 => format!("-{old}"),
                2 => format!("{old}e9"),
                3 => "9".repeat(random.random_range(1..400)),
                4 => next,
                5 => INTEGERS.choose(random).expect("not empty").to_string(),
                _ => (*["0", "1", "2", "4", "-1", "1/2", "0.5", "1/3", "100"].choose(random).expect("not empty"))
                    .to_owned(),
            };
            put(span, &new)
        }
        9 => {
            lines.remove(random.random_range(0..lines.len()));
            lines.join("\n")
        }
        10 => {
            let (from, to) = (random.random_range(0..lines.len()), random.random_range(0..=lines.len()));
            lines.insert(to, lines[from]);
            lines.join("\n")
        }
        11 => {
            let (i, j) = (random.random_range(0..lines.len()), random.random_range(0..lines.len()));
            lines.swap(i, j);
            lines.join("\n")
        }
        12..=15 => {
            let word = |c: char| c.is_alphanumeric() || "_-#<>=".contains(c);
            spans(word)
                .choose(random)
                .map_or_else(|| text.to_owned(), |&s| put(s, WORDS.choose(random).expect("not empty")))
        }
        16 => {
            // A key or a form twice over.
            let line = lines.choose(random).copied().unwrap_or_default();
            format!("{text}\n{line}")
        }
        17 => {
            let deep = *["[", "(", "{a=", "(and ", "(or ", "\""].choose(random).expect("not empty");
            put((0, 0), &deep.repeat(random.random_range(1..3000)))
        }
        _ => {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let at = places.choose(random).copied().unwrap_or(0);
            let new =
                *["\"", "[", "]", "0", ",", "\n", "`", "\u{200b}", "é", "}", "=", "#", "(", ")", "\r", ";", "\0", "\\"]
                    .choose(random)
                    .expect("not empty");
            let end = if random.random() { at } else { text[at..].chars().next().map_or(at, |c| at + c.len_utf8()) };
            put((at, end), new)
        }
    }
}

/// A field of a protobuf message.
#[derive(Clone)]
enum Field {
    Varint(u64),
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for k in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(7 * k)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The fields of a message with their numbers; `None` if these bytes are none.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Field)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let mut take = |count: usize| {
            let (part, rest) = bytes.split_at_checked(count)?;
            bytes = rest;
            Some(part.to_vec())
        };
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut bytes)?),
            1 => Field::Fixed(take(8)?),
            5 => Field::Fixed(take(4)?),
            2 => {
                let count = usize::try_from(varint(&mut bytes)?).ok()?;
                let (part, rest) = bytes.split_at_checked(count)?;
                bytes = rest;
                Field::Bytes(part.to_vec())
            }
            _ => return None,
        };
        found.push((key >> 3, field));
    }
    Some(found)
}

/// One change somewhere in a protobuf message: a field left out, doubled, swapped or changed, with lengths that stay right.
fn message(bytes: &[u8], depth: usize, random: &mut SmallRng) -> Vec<u8> {
    let Some(mut all) = fields(bytes).filter(|all| !all.is_empty()) else { return payload(bytes, random) };
    let k = random.random_range(0..all.len());
    match random.random_range(0..16) {
        0 => drop(all.remove(k)),
        1 => {
            let again = all[k].clone();
            all.insert(random.random_range(0..=all.len()), again);
        }
        2 => {
            let other = random.random_range(0..all.len());
            all.swap(k, other);
        }
        3 => all[k].0 = random.random_range(1..22),
        _ => match &mut all[k].1 {
            Field::Varint(value) => {
                *value = match random.random_range(0..4) {
                    0 => value.wrapping_add(1),
                    1 => value.wrapping_sub(1),
                    2 => *INTEGERS.choose(random).expect("not empty") as u64,
                    _ => random.random_range(0..20),
                }
            }
            Field::Fixed(inner) => {
                let at = random.random_range(0..inner.len());
                inner[at] ^= 1 << random.random_range(0..8);
            }
            // Text and numbers may happen to look like a message; some depth is enough for every field of ONNX.
            Field::Bytes(inner) if depth < 6 => *inner = message(inner, depth + 1, random),
            Field::Bytes(inner) => *inner = payload(inner, random),
        },
    }
    let mut out = Vec::new();
    for (number, field) in all {
        let (wire, body) = match field {
            Field::Varint(value) => {
                put_varint(&mut out, number << 3);
                put_varint(&mut out, value);
                continue;
            }
            Field::Fixed(body) => (if body.len() == 8 { 1 } else { 5 }, body),
            Field::Bytes(body) => (2, body),
        };
        put_varint(&mut out, number << 3 | wire);
        if wire == 2 {
            put_varint(&mut out, body.len() as u64);
        }
        out.extend(body);
    }
    out
}

/// One change of a name or of numbers: NaN, infinity, the smallest and the largest numbers among the weights.
fn payload(bytes: &[u8], random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 4 && random.random_bool(0.5) {
        let at = 4 * random.random_range(0..bytes.len() / 4);
        let numbers = [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-45, 0.0, -0.0, -1.0, 1.0, 0.1, 1e9];
        let number = *numbers.choose(random).expect("not empty");
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        return bytes;
    }
    raw(&bytes, b"Relu", random)
}
