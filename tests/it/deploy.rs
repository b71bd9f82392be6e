//! What is ready-made for deployments: the GitHub Action, the pre-commit hook, the container and the Kubernetes example. Each
//! is run as far as one machine can, from the very files that a deployment uses.
use crate::support::{folder, root, scalecheck};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use yaml_rust2::{Yaml, YamlLoader};

/// A folder as the pods of the Kubernetes example see their root: `policy` and `models`.
fn volumes() -> tempfile::TempDir {
    let folder = folder();
    let copy = |from: &str, to: &str| {
        let to = folder.path().join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(root().join(from), to).expect("a copy");
    };
    copy("deploy/kubernetes/policy.toml", "policy/policy.toml");
    copy("models/pendulum.onnx", "models/pendulum.onnx");
    copy("specs/claims/pendulum-noise.toml", "models/pendulum-noise.toml");
    copy("certificates/pendulum-noise.cert.json.gz", "models/pendulum-noise.cert.json.gz");
    folder
}

/// Changes the last byte of the model: a bit of a weight, or of a name.
fn change(folder: &Path) {
    let path = folder.join("models/pendulum.onnx");
    let mut bytes = fs::read(&path).expect("the model");
    *bytes.last_mut().expect("bytes") ^= 1;
    fs::write(path, bytes).expect("the model is written");
}

fn yaml(path: &str) -> Yaml {
    let text = fs::read_to_string(root().join(path)).expect("the file");
    let mut documents = YamlLoader::load_from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert_eq!(documents.len(), 1, "{path}");
    documents.remove(0)
}

fn strings(list: &Yaml) -> Vec<&str> {
    list.as_vec().expect("a list").iter().map(|item| item.as_str().expect("a string")).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the Action's script as the Action would, on the policy in the folder; what it put out, and its outputs.
fn action(folder: &Path, more: &[(&str, &str)]) -> (Output, String) {
    let outputs = folder.join("outputs");
    fs::write(&outputs, "").expect("a file");
    let mut command = Command::new(root().join("deploy/gate.sh"));
    command.current_dir(folder).env("CHECKER", scalecheck()).env("GITHUB_OUTPUT", &outputs);
    command.envs([("POLICY", "policy/policy.toml"), ("REPORT", "report.sarif"), ("FORMAT", "sarif")]);
    let output = command.envs(more.iter().copied()).output().expect("bash runs");
    (output, fs::read_to_string(outputs).expect("the outputs"))
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("report.sarif")).expect("a report")).expect("JSON")
}

#[test]
fn the_action_passes_when_the_gate_opens() {
    let folder = volumes();
    let (output, outputs) = action(folder.path(), &[("ATTEST", "statement.json")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(outputs, "verdict=OPEN\nreport=report.sarif\nattestation=statement.json\n");
    assert_eq!(report(folder.path())["runs"][0]["results"], serde_json::json!([]));
    let statement = fs::read(folder.path().join("statement.json")).expect("the statement");
    let statement: Value = serde_json::from_slice(&statement).expect("JSON");
    assert_eq!(statement["subject"][0]["name"], "../models/pendulum.onnx");
}

#[test]
fn the_action_fails_when_the_gate_is_shut_and_leaves_the_report() {
    let folder = volumes();
    assert!(action(folder.path(), &[("ATTEST", "statement.json")]).0.status.success());
    change(folder.path());
    let (output, outputs) = action(folder.path(), &[("ATTEST", "statement.json")]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(outputs, "verdict=CLOSED\nreport=report.sarif\nattestation=\n");
    assert_eq!(report(folder.path())["runs"][0]["results"][0]["ruleId"], "model-stale");
    // The statement of the run before is gone, so that nothing signs it.
    assert!(!folder.path().join("statement.json").exists());
}

#[test]
fn the_action_fails_with_a_report_if_the_policy_cannot_be_used() {
    let folder = volumes();
    let (output, outputs) = action(folder.path(), &[("SIGNER", "RWQ")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(outputs.starts_with("verdict=CLOSED\n"), "{outputs}");
    assert_eq!(report(folder.path())["runs"][0]["results"][0]["ruleId"], "policy-signature");
    fs::write(folder.path().join("policy/policy.toml"), "[[model]]").expect("a policy");
    let (output, outputs) = action(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(outputs.starts_with("verdict=ERROR\n"), "{outputs}");
    assert_eq!(report(folder.path())["runs"][0]["results"][0]["ruleId"], "claim-missing-key");
    let (output, _) = action(folder.path(), &[("POLICY", "")]);
    assert!(!output.status.success() && text(&output.stderr).contains("a policy is needed"));
}

/// What a file says does not become a command to the runner.
#[test]
fn the_action_shows_the_report_between_marks() {
    let folder = volumes();
    change(folder.path());
    let policy = fs::read_to_string(folder.path().join("policy/policy.toml")).expect("the policy");
    let policy = policy.replace("../models/pendulum-noise.toml", "::warning::");
    fs::write(folder.path().join("policy/policy.toml"), policy).expect("the policy is written");
    let (output, _) = action(folder.path(), &[("FORMAT", "table")]);
    let shown = text(&output.stdout);
    let first = shown.lines().next().expect("a line");
    let token = first.strip_prefix("::stop-commands::").expect("the runner stops listening");
    assert_eq!(token.len(), 32);
    let resumes = shown.find(&format!("\n::{token}::\n")).expect("it listens again");
    assert!(shown.find("::warning::").is_some_and(|position| position < resumes), "{shown}");
    assert!(shown.ends_with("::error::scalecheck gate: CLOSED, exit code 1\n"), "{shown}");
}

#[test]
fn the_action_gives_its_inputs_to_the_script() {
    let action = yaml("action.yml");
    let steps = action["runs"]["steps"].as_vec().expect("steps");
    let [step] = &steps[..] else { panic!("{} steps", steps.len()) };
    assert_eq!(step["run"].as_str(), Some("\"$GITHUB_ACTION_PATH/deploy/gate.sh\""));
    let script = fs::read_to_string(root().join("deploy/gate.sh")).expect("the script");
    let inputs = action["inputs"].as_hash().expect("inputs");
    let given = step["env"].as_hash().expect("an environment");
    assert_eq!(inputs.len(), given.len());
    for (name, value) in given {
        let input = value.as_str().and_then(|v| v.strip_prefix("${{ inputs.")?.strip_suffix(" }}")).expect("an input");
        assert!(inputs.contains_key(&Yaml::String(input.to_owned())), "{input}");
        let name = name.as_str().expect("a name");
        assert!(script.contains(&format!("${{{name}:")), "the script does not use {name}");
    }
    for (name, output) in action["outputs"].as_hash().expect("outputs") {
        let name = name.as_str().expect("a name");
        assert_eq!(output["value"].as_str(), Some(&format!("${{{{ steps.gate.outputs.{name} }}}}")[..]));
        assert!(script.contains(&format!("\"{name}=$")), "the script does not put out {name}");
    }
}

#[test]
fn the_hook_refuses_what_the_gate_refuses() {
    let hooks = yaml(".pre-commit-hooks.yaml");
    assert_eq!(hooks[0]["language"].as_str(), Some("script"));
    let entry = root().join(hooks[0]["entry"].as_str().expect("an entry"));
    let folder = volumes();
    let run = |policies: &[&str]| {
        let mut command = Command::new(&entry);
        command.current_dir(folder.path()).env("SCALECHECK", scalecheck()).args(policies);
        command.output().expect("bash runs").status.code()
    };
    let good = "policy/policy.toml";
    assert_eq!(run(&[good]), Some(0));
    assert_eq!(run(&[]), Some(2));
    let text = fs::read_to_string(folder.path().join(good)).expect("the policy");
    fs::write(folder.path().join("policy/strict.toml"), text.replace("noise.cert", "none.cert")).expect("a policy");
    // One of several is enough, whichever comes first.
    assert_eq!(run(&["policy/strict.toml", good]), Some(1));
    assert_eq!(run(&[good, "policy/strict.toml"]), Some(1));
    change(folder.path());
    assert_eq!(run(&[good]), Some(1));
}

#[test]
fn the_container_is_built_by_the_documented_command_and_holds_the_checker_alone() {
    let file = fs::read_to_string(root().join("Containerfile")).expect("the file");
    let documented = fs::read_to_string(root().join("specs/deployment.md")).expect("the page");
    let command =
        documented.lines().find(|line| line.contains("cargo build --locked --profile dist")).expect("a command");
    assert!(file.contains(command), "the page says: {command}");
    let last = file.split("\nFROM ").last().expect("a stage");
    let lines: Vec<&str> = last.lines().filter(|line| !line.is_empty()).collect();
    let expected =
        ["scratch", "COPY --from=build /scalecheck /scalecheck", "USER 65532:65532", "ENTRYPOINT [\"/scalecheck\"]"];
    assert_eq!(lines, expected);
}

/// A command that runs a program in this folder as its root, where that is permitted.
fn rooted(folder: &Path) -> Option<Command> {
    let ways = [&["unshare", "--map-root-user", "chroot"][..], &["chroot"]];
    ways.into_iter().find_map(|way| {
        let make = |root: &Path| {
            let mut command = Command::new(way[0]);
            command.args(&way[1..]).arg(root);
            command
        };
        let tried = make(Path::new("/")).arg("true").output();
        tried.is_ok_and(|output| output.status.success()).then(|| make(folder))
    })
}

/// What the container runs needs nothing but itself. `.ci/run` builds it and names it.
#[test]
fn the_static_checker_runs_in_an_empty_root() {
    let Some(checker) = std::env::var_os("SCALECHECK_STATIC") else {
        return eprintln!("not tried: SCALECHECK_STATIC names no static checker; deploy/build.sh makes one");
    };
    let folder = volumes();
    fs::copy(checker, folder.path().join("scalecheck")).expect("a copy");
    let run = || {
        let command = rooted(folder.path())?;
        Some({ command }.args(["/scalecheck", "gate", "/policy/policy.toml"]).output().expect("it runs"))
    };
    let Some(output) = run() else {
        return eprintln!("not tried: neither `unshare --map-root-user` nor `chroot` is permitted here");
    };
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).ends_with("OPEN: 1 of 1 requirements hold, of 1 models\n"));
    change(folder.path());
    assert_eq!(run().expect("as before").status.code(), Some(1));
}

#[test]
fn the_kubernetes_pod_starts_only_with_the_model_that_is_certified() {
    let deployment = yaml("deploy/kubernetes/deployment.yaml");
    let pod = &deployment["spec"]["template"]["spec"];
    let init = pod["initContainers"].as_vec().expect("init containers");
    let [gate] = &init[..] else { panic!("{} init containers", init.len()) };
    // The container's ENTRYPOINT is the checker.
    assert!(gate["command"].is_badvalue());
    let folder = volumes();
    let within = |argument: &str| match argument.strip_prefix('/') {
        Some(path) => folder.path().join(path).display().to_string(),
        None => argument.to_owned(),
    };
    let arguments: Vec<String> = strings(&gate["args"]).into_iter().map(within).collect();
    let run = || Command::new(scalecheck()).args(&arguments).output().expect("it runs");
    let opened = run();
    assert_eq!(opened.status.code(), Some(0), "{}", text(&opened.stdout));
    change(folder.path());
    let shut = run();
    assert_eq!(shut.status.code(), Some(1));
    assert!(text(&shut.stdout).contains("model-stale"));
}

#[test]
fn the_kubernetes_pod_has_no_rights_and_serves_what_was_checked() {
    let deployment = yaml("deploy/kubernetes/deployment.yaml");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    assert!(pod["securityContext"]["runAsUser"].as_i64().is_some_and(|user| user > 0));
    assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(false));
    let containers = ["initContainers", "containers"].map(|key| pod[key].as_vec().expect("containers"));
    for container in containers.into_iter().flatten() {
        let rights = &container["securityContext"];
        assert_eq!(rights["readOnlyRootFilesystem"].as_bool(), Some(true));
        assert_eq!(rights["allowPrivilegeEscalation"].as_bool(), Some(false));
        assert_eq!(rights["privileged"].as_bool(), Some(false));
        assert_eq!(strings(&rights["capabilities"]["drop"]), ["ALL"]);
        let mounts = container["volumeMounts"].as_vec().expect("mounts");
        let mounted: Vec<_> = mounts.iter().map(|m| (m["name"].as_str(), m["mountPath"].as_str())).collect();
        assert_eq!(mounted, [(Some("models"), Some("/models")), (Some("policy"), Some("/policy"))]);
        assert!(mounts.iter().all(|mount| mount["readOnly"].as_bool() == Some(true)));
    }
    let volumes = pod["volumes"].as_vec().expect("volumes");
    assert_eq!(volumes[0]["persistentVolumeClaim"]["readOnly"].as_bool(), Some(true));
    // The policy's ConfigMap is the one that is generated from the file beside it.
    let made = &yaml("deploy/kubernetes/kustomization.yaml")["configMapGenerator"][0];
    assert_eq!(volumes[1]["configMap"]["name"], made["name"]);
    assert_eq!(strings(&made["files"]), ["policy.toml"]);
}
