//! The report and the pictures: exact numbers, safe rounding, pairs by digest, untrusted names.

use crate::support::{self, blocks, digits_claim, folder, root};
use num::Zero;
use scalecheck::number::{Rational, parse_rational};
use scalecheck::verify::digest;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn scalecert(arguments: &[&str]) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_scalecert")).args(arguments).current_dir(root()).output();
    command.expect("scalecert runs")
}

/// What the checker's own program prints as JSON.
fn scalecheck(claim: &str, certificate: &str) -> Value {
    let output =
        Command::new(support::scalecheck()).args(["verify", claim, certificate, "--json"]).current_dir(root()).output();
    serde_json::from_slice(&output.expect("scalecheck runs").stdout).expect("JSON")
}

/// The page that is made of some files.
fn report(files: &[&str], more: &[&str]) -> String {
    let folder = folder();
    let page = folder.path().join("report.html");
    let output = scalecert(&[&["report"], files, more, &["--starts", "2", "-o", text(&page)]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(page).expect("the page")
}

/// The message of a run that refuses its input, and that writes nothing.
fn refused(files: &[&str]) -> String {
    let folder = folder();
    let page = folder.path().join("report.html");
    let output = scalecert(&[&["report"], files, &["-o", text(&page)]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(!page.exists());
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The JSON that the page holds of every pair.
fn data(page: &str) -> Vec<Value> {
    let parts = page.split("<script class=\"data\" type=\"application/json\">").skip(1);
    parts.map(|part| serde_json::from_str(part.split("</script>").next().expect("an end")).expect("JSON")).collect()
}

/// The page as it is without its scripts.
fn without_scripts(page: &str) -> String {
    let mut parts = page.split("<script");
    let first = parts.next().expect("a page").to_owned();
    first + &parts.map(|part| part.split_once("</script>").expect("an end").1).collect::<String>()
}

fn exact(value: &Value) -> Option<Rational> {
    value.as_str().map(|text| text.parse().expect("a rational"))
}

fn pair(name: &str, ending: &str) -> [String; 2] {
    [format!("specs/claims/{name}.toml"), format!("certificates/{name}.{ending}")]
}

/// A claim of two rows and its certificate, in a folder of its own.
fn small(folder: &Path, name: &str) -> [PathBuf; 2] {
    let [claim, certificate] = [folder.join(name), folder.join("certificate.json")];
    let claimed = digits_claim("\"0..2\"", &blocks(2), "1/64", "tolerance = \"2\"");
    std::fs::write(&claim, claimed).expect("a writable folder");
    assert_eq!(scalecert(&["prove", text(&claim), "-o", text(&certificate)]).status.code(), Some(0));
    [claim, certificate]
}

#[test]
fn the_numbers_are_those_of_scalecheck() {
    for (name, ending) in [
        ("digits-tolerance.dial", "cert.json.gz"),
        ("digits-winner-32", "cert.json"),
        ("digits-separation", "cert.json.gz"),
        ("digits-chain", "cert.json"),
    ] {
        let [claim, certificate] = pair(name, ending);
        let (checked, page) = (scalecheck(&claim, &certificate), report(&[&certificate, &claim], &[]));
        let [shown] = &data(&page)[..] else { panic!("one pair") };
        assert_eq!(shown["verdict"], checked["verdict"]);
        assert_eq!(shown["separations"], checked["separations"]);
        let settings = |value: &Value| value["settings"].as_array().expect("settings").clone();
        assert_eq!(settings(shown).len(), settings(&checked).len());
        for (shown, checked) in settings(shown).iter().zip(&settings(&checked)) {
            assert_eq!(shown["verdict"], checked["verdict"]);
            let rows = |value: &Value| value["rows"].as_array().expect("rows").clone();
            assert_eq!(rows(shown).len(), rows(checked).len());
            for (shown, checked) in rows(shown).iter().zip(&rows(checked)) {
                for key in ["row", "verdict", "proven_tolerance", "served_by", "change", "what", "clean", "perturbed"] {
                    assert_eq!(shown.get(key), checked.get(key), "{name}: {key}");
                }
            }
        }
    }
}

#[test]
fn the_dial_shows_what_is_proven_and_attacked_at_every_cell() {
    let [claim, certificate] = pair("digits-tolerance.dial", "cert.json.gz");
    let checked = scalecheck(&claim, &certificate);
    let page = report(&[&claim, &certificate], &["--tolerance", "3/2"]);
    let dial = &data(&page)[0]["dial"];
    assert_eq!((&dial["amplitudes"][0], &dial["tolerance"]), (&"1/128".into(), &"3/2".into()));
    let labels: Vec<&Value> = dial["levels"].as_array().expect("levels").iter().map(|level| &level["label"]).collect();
    assert_eq!(labels, ["1×1", "2×2", "4×4", "8×8", "no scale"]);
    let mut from_certificate = 0;
    for level in dial["cells"].as_array().expect("levels") {
        assert_eq!(level.as_array().expect("amplitudes").len(), 3);
        for cells in level.as_array().expect("amplitudes") {
            for (r, cell) in cells.as_array().expect("every cell is claimed").iter().enumerate() {
                let (attacked, certified) = (exact(&cell["attacked"]), exact(&cell["certified"]));
                assert!(attacked <= certified && attacked.is_some(), "{cell}");
                // The bound is that of the setting that the cell names, to the last digit.
                let by = &checked["settings"][cell["by"].as_u64().expect("a setting") as usize]["rows"][r];
                assert_eq!(by["proven_tolerance"], cell["certified"]);
                if cell["from"] == "certificate" {
                    let reached =
                        checked["settings"].as_array().expect("settings").iter().map(|s| &s["rows"][r]["change"]);
                    assert!(reached.into_iter().any(|change| *change == cell["attacked"]), "{cell}");
                    from_certificate += 1;
                }
            }
        }
    }
    // One witness a setting that reaches something: at 4 scales and 3 amplitudes, where detail is hidden.
    assert!(from_certificate >= 12, "{from_certificate}");
}

#[test]
fn without_scripts_the_page_holds_all_numbers_rounded_to_the_safe_side() {
    let [claim, certificate] = pair("digits-tolerance.dial", "cert.json.gz");
    let page = report(&[&claim, &certificate], &[]);
    let (dial, plain) = (data(&page)[0]["dial"].clone(), without_scripts(&page));
    assert!(!plain.contains("<script"));
    let mut checked = 0;
    for cell in dial["cells"]
        .as_array()
        .expect("cells")
        .iter()
        .flat_map(|level| level.as_array().expect("level"))
        .flat_map(|cells| cells.as_array().expect("cells"))
    {
        for (key, sign) in [("attacked", "≥ "), ("certified", "≤ ")] {
            let number = cell[key].as_str().expect("a number");
            let start = format!("{sign}<data value=\"{number}\">");
            let shown =
                plain.split_once(&start).unwrap_or_else(|| panic!("{start}")).1.split('<').next().expect("an end");
            let (shown, number) = (parse_rational(shown).expect("a decimal"), exact(&cell[key]).expect("a number"));
            assert!(if key == "certified" { shown >= number } else { shown <= number }, "{shown} for {number}");
            let off = (&shown - &number) * Rational::from_integer(100_000.into());
            assert!(off.is_zero() || off <= number && -off <= number.clone(), "{shown} for {number}");
            checked += 1;
        }
    }
    assert_eq!(checked, 5 * 3 * 20 * 2);
    let [clean] = [dial["rows"][0]["clean"]["n"].as_array().expect("outputs")];
    assert_eq!(clean.len(), 10);
    for digest in data(&page)[0]["sha256"].as_array().expect("digests") {
        assert!(plain.contains(digest.as_str().expect("text")));
    }
}

#[test]
fn a_claim_with_one_rung_has_the_other_rungs_attacked_and_covered_ones_proven() {
    let folder = folder();
    let [claim, certificate] = small(folder.path(), "claim.toml");
    let dial = &data(&report(&[text(&claim), text(&certificate)], &[]))[0]["dial"];
    let cells = |level: usize| dial["cells"][level][0].as_array().expect("rows").clone();
    assert_eq!((dial["levels"].as_array().expect("levels").len(), &dial["tolerance"]), (3, &"2".into()));
    for (row, cell) in cells(0).iter().enumerate() {
        assert!(exact(&cell["attacked"]) <= exact(&cell["certified"]));
        // What is coarser is attacked, and reaches as much at least; the claim proves nothing of it.
        assert!(exact(&cells(1)[row]["attacked"]) >= exact(&cell["attacked"]));
        assert!(cells(1)[row]["certified"].is_null() && cells(2)[row]["by"].is_null());
    }
}

#[test]
fn files_are_paired_by_digest_in_any_order() {
    let [first, second] = [pair("digits-box", "cert.json"), pair("digits-groups", "cert.json")];
    let shown = data(&report(&[&first[1], &second[0], &second[1], &first[0]], &[]));
    assert_eq!(shown.iter().map(|pair| &pair["claim"]).collect::<Vec<_>>(), ["digits-box.toml", "digits-groups.toml"]);
    assert_eq!(report(&[&first[0], &first[1]], &[]), report(&[&first[1], &first[0]], &[]));
}

#[test]
fn what_is_missing_is_said_with_its_digest() {
    let [claim, certificate] = pair("digits-box", "cert.json");
    let sha = digest(&std::fs::read(root().join(&claim)).expect("the claim"));
    let message = refused(&[&claim]);
    assert!(message.contains("add a certificate") && message.contains(&claim) && message.contains(&sha), "{message}");
    let message = refused(&[&certificate]);
    assert!(message.contains("add the claim") && message.contains(&certificate) && message.contains(&sha), "{message}");
    let message = refused(&["README.md"]);
    assert!(message.contains("README.md"), "{message}");
    let message = refused(&[&claim, &certificate, "--tolerance=-1/2"]);
    assert!(message.contains("tolerance"), "{message}");
    assert!(refused(&[&claim, &certificate, "--shape", "8,1"]).contains("--shape"));
}

#[test]
fn a_certificate_that_does_not_hold_is_shown_as_rejected() {
    let folder = folder();
    let [claim, certificate] = small(folder.path(), "claim.toml");
    let stated = std::fs::read_to_string(&certificate).expect("the certificate");
    let mut changed: Value = serde_json::from_str(&stated).expect("JSON");
    changed["answers"].as_array_mut().expect("answers").pop();
    std::fs::write(&certificate, changed.to_string()).expect("writable");
    let page = report(&[text(&claim), text(&certificate)], &[]);
    assert_eq!(data(&page)[0]["verdict"], "REJECTED");
    assert!(without_scripts(&page).contains("REJECTED") && !without_scripts(&page).contains("VERIFIED"));
    let cell = &data(&page)[0]["dial"]["cells"][0][0][1];
    assert!(cell["certified"].is_null() && cell["attacked"].is_string(), "{cell}");
}

#[test]
fn names_and_texts_of_strangers_are_escaped_and_nothing_is_loaded() {
    let folder = folder();
    let [claim, certificate] = small(folder.path(), "<script>alert(1)<!--&\"'.toml");
    let mut changed: Value = serde_json::from_slice(&std::fs::read(&certificate).expect("it")).expect("JSON");
    changed["generator"] = "</script><script>alert(2)</script>".into();
    let renamed = folder.path().join("<img src=x onerror=alert(3)>.json");
    std::fs::write(&renamed, changed.to_string()).expect("writable");
    let page = report(&[text(&claim), text(&renamed)], &[]);
    // The page's own script, and one of data.
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains("<img") && page.contains("&lt;img src=x") && page.contains("&lt;script&gt;alert(1)&lt;!--"));
    assert_eq!(data(&page)[0]["claim"], "<script>alert(1)<!--&\"'.toml");
    let policy = "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\"";
    assert!(page.contains(policy));
    let loads = ["src=\"", "@import", "url(", "fetch(", "XMLHttpRequest"];
    assert_eq!(loads.map(|word| page.contains(word)), [false; 5]);
}

#[test]
fn a_flow_becomes_a_heat_map_with_the_numbers_of_its_claim() {
    let [claim, certificate] = pair("digits-groups.flow", "cert.json.gz");
    let plain = without_scripts(&report(&[&claim, &certificate], &[]));
    for word in ["hidden1.pre", "hidden2", "between 32 and 64", "coarse: seen at 6", "0.358488", "0.356186"] {
        assert!(plain.contains(word), "{word}");
    }
    assert_eq!(plain.matches("style=\"--part:").count(), 20);
}

#[test]
fn plot_writes_the_pictures_as_svg_files() {
    let folder = folder();
    let (dial, flow) = (pair("digits-tolerance.dial", "cert.json.gz"), pair("digits-groups.flow", "cert.json.gz"));
    let output =
        scalecert(&["plot", &dial[0], &dial[1], &flow[0], &flow[1], "--starts", "2", "-o", text(folder.path())]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a picture");
    let curves = read("digits-tolerance.dial.curves.svg");
    assert!(curves.starts_with("<svg") && curves.contains("2×2") && curves.contains("proven: at most"));
    let brackets = read("digits-tolerance.dial.brackets.1-32.svg");
    assert!(brackets.contains("1.74666 ≤ truth ≤ 1.83236"), "the numbers of the dial");
    let heat = read("digits-groups.flow.flow.svg");
    assert!(heat.contains("hidden2") && heat.contains("0.356186 to 0.358488"));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 5);
    let single = folder.path().join("one.svg");
    assert_eq!(scalecert(&["plot", &flow[0], &flow[1], "-o", text(&single)]).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(single).expect("a picture"), heat);
}
