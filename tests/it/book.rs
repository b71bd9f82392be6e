//! Every command of the README and of the book in `docs/`, run in order, a page in a folder of its own; and what the README
//! says that they print.

use crate::support::{folder, root, scalecheck};
use std::path::Path;
use std::process::Command;

/// A code block of a page: its language and its lines.
struct Block {
    language: String,
    text: String,
}

/// The code blocks of a page, in lists as well.
fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut inside) = (Vec::new(), None);
    for line in page.lines() {
        let bare = line.trim_start();
        match (inside, bare.strip_prefix("```")) {
            (None, Some(language)) => {
                inside = Some(line.len() - bare.len());
                blocks.push(Block { language: language.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => inside = None,
            (Some(indent), None) => {
                let block = blocks.last_mut().expect("a block that was opened");
                block.text += &format!("{}\n", line.get(indent..).unwrap_or_default());
            }
            (None, None) => {}
        }
    }
    assert!(inside.is_none(), "a block is not closed");
    blocks
}

/// The shell commands of a page: the blocks that are marked `sh`.
fn commands(page: &str) -> String {
    blocks(page).into_iter().filter(|block| block.language == "sh").map(|block| block.text).collect()
}

/// Copies what the page's commands read; they may change it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a writable folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("a file that can be copied");
        }
    }
}

/// A folder with all that commands of the project's texts read.
fn prepared() -> tempfile::TempDir {
    let folder = folder();
    for part in ["models", "specs/claims", "specs/ladders", "specs/policies", "specs/worked-example", "certificates"] {
        copy(&root().join(part), &folder.path().join(part));
    }
    folder
}

/// Runs a script in the folder; what it printed.
fn bash(name: &str, script: &str, folder: &Path) -> String {
    let checker = scalecheck();
    let programs = checker.parent().expect("a folder");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .env("PATH", path)
        .current_dir(folder)
        .output()
        .expect("bash runs");
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{name}: {said}");
    said
}

fn run(page: &str) {
    let text = std::fs::read_to_string(root().join("docs").join(page)).expect("the page is there");
    let script = commands(&text);
    assert!(!script.is_empty(), "{page} has no commands");
    bash(page, &script, prepared().path());
}

/// Lines that build programs, which CI runs by themselves; here the programs are built.
const BUILDS: [&str; 3] = [
    "cargo test --release --workspace",
    "cargo install --locked --path . && cargo install --locked --path checker",
    "cargo build --release --workspace",
];

/// The README's commands, with what they print where a block of text follows, and its claim.
#[test]
fn readme() {
    let page = std::fs::read_to_string(root().join("README.md")).expect("the README is there");
    let folder = prepared();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a writable folder");
    // What a reader has besides: a model, inputs, and a benchmark.
    copy_file("models/digits-mlp.onnx", &folder.path().join("model.onnx"));
    copy_file("models/digits-test.csv", &folder.path().join("inputs.csv"));
    std::fs::create_dir(folder.path().join("benchmark")).expect("a writable folder");
    copy_file("models/digits-mlp.onnx", &folder.path().join("benchmark/model.onnx"));
    copy_file("specs/claims/digits-property.vnnlib", &folder.path().join("benchmark/property.vnnlib"));
    put("benchmark/instances.csv", "model.onnx,property.vnnlib,10\n");
    let (mut said, mut built, mut claims, mut shown) = (String::new(), Vec::new(), 0, 0);
    for Block { language, text } in blocks(&page) {
        match language.as_str() {
            "sh" => {
                let is_build = |line: &&str| BUILDS.contains(line);
                built.extend(text.lines().filter(is_build).map(str::to_owned));
                let rest: Vec<&str> = text.lines().filter(|line| !is_build(line)).collect();
                let script = rest.join("\n").replace("cargo run --release -p scalecheck --", "scalecheck");
                let script = script.replace("cargo run --release --", "scalecert").replace("target/release/", "");
                let script = script.replace("FOLDER…", "benchmark").replace(" DIR", " kept");
                // What is found about a model of one's own may be a refutation.
                let command = |line: &str| line.split(" #").next().unwrap_or_default().trim_end().to_owned();
                let ends = |line: &str| if line.contains(" model.toml") { " || [ $? -eq 10 ]\n" } else { "\n" };
                let script: String = script.lines().map(|line| command(line) + ends(line)).collect();
                said = bash("README.md", &script, folder.path());
            }
            "text" => {
                let mut printed = said.lines().map(str::trim_end);
                for line in text.lines().map(str::trim_end).filter(|line| line.trim() != "…") {
                    assert!(
                        printed.any(|other| alike(line, other)),
                        "not printed, or not in this order: {line}\n{said}"
                    );
                    shown += 1;
                }
            }
            "toml" => {
                put("own.toml", &text);
                // Whatever is found about these rows, the claim is understood.
                bash("README.md", "scalecert prove own.toml || [ $? -ne 2 ]", folder.path());
                claims += 1;
            }
            other => panic!("a block of `{other}`, which no test knows"),
        }
    }
    assert_eq!(built, BUILDS);
    assert!(claims > 0 && shown > 20, "{claims} claims, {shown} lines");
}

/// True for the same words; numbers that a search found may differ a little between machines, which fuse or reorder sums.
fn alike(a: &str, b: &str) -> bool {
    let number = |word: &str| {
        let decimal = word.trim_start_matches('≈').split_once('.').map(|_| word.trim_start_matches('≈'));
        decimal.and_then(|text| text.parse::<f64>().ok())
    };
    let same = |(a, b): (&str, &str)| match (number(a), number(b)) {
        (Some(x), Some(y)) => (x - y).abs() <= 0.05 * x.abs().max(0.1),
        _ => a == b,
    };
    let words = |line: &str| line.split_whitespace().count();
    words(a) == words(b) && a.split_whitespace().zip(b.split_whitespace()).all(same)
}

fn copy_file(from: &str, to: &Path) {
    std::fs::copy(root().join(from), to).expect("a file that can be copied");
}

#[test]
fn tutorial() {
    run("tutorial.md");
}

#[test]
fn ladders() {
    run("ladders.md");
}

#[test]
fn verdicts() {
    run("verdicts.md");
}

#[test]
fn gating() {
    run("gating.md");
}

#[test]
fn emitters() {
    run("emitters.md");
}

/// Links between pages and to the repository lead somewhere.
#[test]
fn links_lead_to_files() {
    let mut links = 0;
    for entry in std::fs::read_dir(root().join("docs")).expect("the book").map(|entry| entry.expect("a page")) {
        let text = std::fs::read_to_string(entry.path()).expect("a page is text");
        for (_, rest) in text.match_indices("](").map(|(at, _)| text.split_at(at + 2)) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            assert!(root().join("docs").join(target).exists(), "{}: {target}", entry.path().display());
            links += 1;
        }
    }
    assert!(links > 20, "only {links} links");
}
