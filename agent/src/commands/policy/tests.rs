use clap::Parser;
use serde_json::Value;

use super::*;
use crate::cli::Cli;

/// Runs a command line as `main` does.
fn run_line(line: &str) -> Outcome {
    let words = std::iter::once("portcullis").chain(line.split_whitespace());
    crate::commands::run(Cli::try_parse_from(words).unwrap()).unwrap()
}

/// A directory of the test's own, gone when dropped.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portcullis-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn shipped() -> String {
    include_str!("../../../../policies/seal-output-engine.toml").to_owned()
}

#[test]
fn exit_codes() {
    let none = "--policies /nonexistent";
    let rows = [
        (format!("policy list {none}"), Status::Done),
        (format!("policy list --json {none}"), Status::Done),
        (
            format!("policy show seal-output-engine {none}"),
            Status::Done,
        ),
        (
            format!("policy show seal-output-engin {none}"),
            Status::Usage,
        ),
        (
            format!("policy show seal-output-engine --role x {none}"),
            Status::Usage,
        ),
        (
            format!("policy show seal-output-engine --topology x {none}"),
            Status::Usage,
        ),
    ];
    for (line, status) in rows {
        let outcome = run_line(&line);
        assert_eq!(outcome.status, status, "{line}: {}", outcome.stderr);
        assert_eq!(
            outcome.stdout.is_empty(),
            status != Status::Done,
            "data is on stdout: {line}"
        );
        assert_eq!(
            outcome.stderr.is_empty(),
            status == Status::Done,
            "talk is on stderr: {line}"
        );
    }
}

#[test]
fn json_is_format_json() {
    let short = run_line("policy show seal-output-engine --json --policies /nonexistent");
    let long = run_line("policy show seal-output-engine --format json --policies /nonexistent");
    assert_eq!(short.stdout, long.stdout);
    let value: Value = serde_json::from_str(&short.stdout).unwrap();
    assert_eq!(value["rows"].as_array().unwrap().len(), 60);
}

#[test]
fn check_says_what_is_wrong_and_exits_78() {
    let scratch = Scratch::new("check");
    let whole = scratch.write("whole.toml", &shipped());
    let broken = scratch.write("broken.toml", &shipped().replace("rows = 48", "rows = 49"));
    let outcome = run_line(&format!("policy check {whole}"));
    assert_eq!(outcome.status, Status::Done, "{}", outcome.stdout);
    assert_eq!(outcome.stdout, "1 file checked: 0 errors, 0 warnings\n");
    let outcome = run_line(&format!("policy check {broken}"));
    assert_eq!(outcome.status, Status::Findings);
    assert!(
        outcome.stdout.contains("not here: 49"),
        "{}",
        outcome.stdout
    );
    let outcome = run_line(&format!("policy check --json {broken}"));
    assert_eq!(outcome.status, Status::Findings);
    let value: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(value["findings"][0]["severity"], "error");
    assert_eq!(value["findings"][0]["file"], broken.as_str());
    // Two files of one product: the second says where the first is.
    let outcome = run_line(&format!("policy check {whole} {broken}"));
    assert_eq!(outcome.status, Status::Findings);
    assert!(outcome.stdout.contains("belongs to"), "{}", outcome.stdout);
}

#[test]
fn a_directory_adds_and_replaces() {
    let scratch = Scratch::new("directory");
    let other = shipped().replace("id = \"seal-output-engine\"", "id = \"another\"");
    scratch.write("another.toml", &other);
    scratch.write("notes.txt", "not a policy");
    let directory = scratch.0.display();
    let outcome = run_line(&format!("policy list --policies {directory}"));
    assert_eq!(outcome.status, Status::Done, "{}", outcome.stderr);
    let listed = outcome.stdout.lines().any(|it| it.starts_with("another "));
    assert!(listed, "{}", outcome.stdout);
    // A shipped product's id is taken,
    scratch.write("seal.toml", &shipped());
    let outcome = run_line(&format!("policy list --policies {directory}"));
    assert_eq!(outcome.status, Status::Findings);
    assert!(
        outcome.stderr.contains("replaces = true"),
        "{}",
        outcome.stderr
    );
    // unless the file says that it takes its place.
    let replacing = shipped()
        .replace("schema = 1\n", "schema = 1\nreplaces = true\n")
        .replace("name = \"SEAL Output Engine\"", "name = \"Ours\"");
    scratch.write("seal.toml", &replacing);
    let outcome = run_line(&format!("policy list --policies {directory}"));
    assert_eq!(outcome.status, Status::Done, "{}", outcome.stderr);
    assert!(
        outcome.stdout.contains("Ours by SEAL"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn diff_takes_products_and_files() {
    let scratch = Scratch::new("diff");
    let moved = shipped().replace("default = 8080", "default = 8443");
    let moved = scratch.write("moved.toml", &moved);
    let none = "--policies /nonexistent";
    let outcome = run_line(&format!("policy diff seal-output-engine {moved} {none}"));
    assert_eq!(outcome.status, Status::Done, "{}", outcome.stderr);
    for line in [
        "seal-output-engine => seal-output-engine",
        "  - ingress tcp 8080 from api-client: in single-server and rest-from-outside (single-server/8); in cluster and rest-from-outside (cluster/36)",
        "  + ingress tcp 8443 from api-client: in single-server and rest-from-outside (single-server/8); in cluster and rest-from-outside (cluster/36)",
        "  ~ ports rest default: \"8080\" => \"8443\"",
    ] {
        assert!(
            outcome.stdout.lines().any(|it| it == line),
            "{}",
            outcome.stdout
        );
    }
    let all = run_line(&format!(
        "policy diff seal-output-engine {moved} --all {none}"
    ));
    assert!(all.stdout.contains("  ~ rows single-server/8 flows: "));
    assert!(!outcome.stdout.contains("  ~ rows "));
    let same = "policy diff seal-output-engine seal-output-engine";
    assert_eq!(
        run_line(&format!("{same} {none}")).stdout,
        "no difference\n"
    );
    let json = run_line(&format!(
        "policy diff {moved} seal-output-engine --json {none}"
    ));
    let value: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(value["differences"][0]["old"], "8443");
    assert_eq!(value["flows"][0]["change"], "opens");
    assert_eq!(value["flows"][0]["ports"][0], "8080");
    let broken = scratch.write("broken.toml", "schema = 1");
    let outcome = run_line(&format!("policy diff {broken} seal-output-engine {none}"));
    assert_eq!(outcome.status, Status::Findings);
    let outcome = run_line(&format!("policy diff seal seal-output-engine {none}"));
    assert_eq!(outcome.status, Status::Usage);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let words = ["portcullis", "policy", "check", "/nonexistent/x.toml"];
    let error = crate::commands::run(Cli::try_parse_from(words).unwrap()).unwrap_err();
    assert!(format!("{error:#}").starts_with("cannot read /nonexistent/x.toml: "));
}

#[test]
fn the_command_line_is_coherent() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}
