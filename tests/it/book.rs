//! Every command of the book in `docs/`, run in order, a page in a folder of its own.

use crate::support::{folder, root};
use std::path::Path;
use std::process::Command;

/// The shell commands of a page: the blocks that are marked `sh`, in lists as well.
fn commands(text: &str) -> String {
    let (mut script, mut inside) = (String::new(), None);
    for line in text.lines() {
        let bare = line.trim_start();
        match inside {
            None if bare == "```sh" => inside = Some(line.len() - bare.len()),
            Some(_) if bare == "```" => inside = None,
            Some(indent) => script += &format!("{}\n", line.get(indent..).unwrap_or_default()),
            None => {}
        }
    }
    assert!(inside.is_none(), "a block is not closed");
    script
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

fn run(page: &str) {
    let text = std::fs::read_to_string(root().join("docs").join(page)).expect("the page is there");
    let script = commands(&text);
    assert!(!script.is_empty(), "{page} has no commands");
    let folder = folder();
    for part in ["models", "specs/claims", "specs/ladders", "specs/worked-example", "certificates"] {
        copy(&root().join(part), &folder.path().join(part));
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_scalecert")).parent().expect("a folder");
    let checker = programs.join("scalecheck");
    assert!(checker.exists(), "{} is missing: test the whole workspace", checker.display());
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .env("PATH", path)
        .current_dir(folder.path())
        .output()
        .expect("bash runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{page}: {}", String::from_utf8_lossy(&said));
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
