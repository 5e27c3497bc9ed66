//! `portcullis verify`: what is right is proved, and what was damaged on purpose is found and named.

use std::process::Output;
use std::time::Duration;

use agent_common::tables::{Cell, CellAction, Plane};
use portcullis::compile::tables::Tables;
use portcullis::dataplane::object::BPF_OBJECT;
use portcullis::dataplane::{BankSizes, Dataplane, Options};
use portcullis::facts::Facts;
use portcullis::host::{Input, load};
use portcullis::meaning::meaning;
use portcullis::policy::Catalogue;
use portcullis::policy::catalogue::embedded;
use portcullis::rule::RuleSet;
use portcullis::verify::{Ports, Verified, prove};
use portcullis_tests::daemon::{Agent, CONFIGURATION, binary, portcullis_json, repository};
use portcullis_tests::link::cable;
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::output;
use portcullis_tests::rows::facts;

const SEAL: &str = r#"
schema = 1
interfaces = ["eth0"]
[default]
egress = "deny"
[product.seal-output-engine]
roles = ["node"]
topologies = ["single-server"]
[product.seal-output-engine.peers]
print-client = ["10.79.1.0/24", "fd79:1::/64"]
api-client = "none"
admin-browser = ["10.79.2.0/24", "10.79.3.7"]
[block.incident]
peers = ["10.79.1.128/25"]
[baseline]
dns = ["10.79.0.53"]
"#;

fn catalogue() -> Catalogue {
    Catalogue::from_sources(embedded(), Vec::new()).0
}

/// What a configuration comes to on the host of the rows; none where it has errors.
fn compiled(text: &str, facts: &Facts) -> Option<(RuleSet, Tables)> {
    let (config, findings) = load(&Input::single("portcullis.toml", text));
    let meaning = meaning(&config?, &catalogue(), facts, &findings);
    if meaning.findings.has_errors() {
        return None;
    }
    Some((meaning.resolved.rule_set, meaning.tables?))
}

fn programs() -> Dataplane {
    Dataplane::load(
        BPF_OBJECT,
        BankSizes::default().with_room(),
        &Options::default(),
    )
    .unwrap()
}

#[track_caller]
fn seal() -> (RuleSet, Tables, Facts) {
    let facts = facts(false, 250);
    let (rules, tables) = compiled(SEAL, &facts).expect("the configuration is right");
    (rules, tables, facts)
}

#[test]
fn a_configuration_is_proved() {
    let host = Namespace::new("verify").unwrap();
    let (rules, tables, facts) = seal();
    let proved = host
        .enter(|| prove(&mut programs(), &tables, &rules, &facts, Ports::All).unwrap())
        .unwrap();
    assert!(proved.holds(), "{}", proved.text());
    // Each rule with peers decides packets of its own.
    for proof in &proved.proofs {
        let has_rule = proof.action.is_some();
        assert!(
            proof.own > 0 || !has_rule,
            "{}\n{}",
            proof.rule,
            proved.text()
        );
    }
    assert!(proved.packets() > 500_000, "{}", proved.text());
}

/// What `init` writes, with every line that is to be filled in as it stands.
pub(crate) fn filled_in(text: &str) -> String {
    let fill = |line: &str| match line.split_once("# FILL IN") {
        Some((key, _)) if line.starts_with("# ") => key[2..].trim_end().to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(fill).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_product_role_and_topology_is_proved() {
    let catalogue = catalogue();
    let host = Namespace::new("verify-products").unwrap();
    host.enter(|| {
        let mut programs = programs();
        let facts = facts(false, 250);
        let mut wrong = Vec::new();
        let mut proved = 0;
        for (id, policy) in catalogue.iter() {
            let before = proved;
            for role in policy.roles.keys() {
                let topologies = policy.topologies.keys().map(Some).chain([None]);
                for topology in topologies {
                    let text = portcullis::init::text(policy, &[role], topology.as_slice());
                    let Some((rules, tables)) = compiled(&filled_in(&text), &facts) else {
                        continue;
                    };
                    let verified =
                        prove(&mut programs, &tables, &rules, &facts, Ports::Edges).unwrap();
                    proved += 1;
                    if !verified.holds() {
                        wrong.push(format!("{id} {role} {topology:?}:\n{}", verified.text()));
                    }
                }
            }
            assert!(proved > before, "no configuration of {id} is right");
        }
        println!("{proved} configurations");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    })
    .unwrap();
}

/// The two hosts that the reference page is written around, as they stand.
#[test]
fn the_example_hosts_are_proved() {
    let host = Namespace::new("verify-examples").unwrap();
    for name in ["host-seal-node.toml", "host-mqtt-broker.toml"] {
        let path = repository("agent/tests/data").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let facts = facts(false, 250);
        let (rules, tables) = compiled(&text, &facts).unwrap_or_else(|| panic!("{name}"));
        let verified = host
            .enter(|| prove(&mut programs(), &tables, &rules, &facts, Ports::Edges).unwrap())
            .unwrap();
        assert!(verified.holds(), "{name}:\n{}", verified.text());
        let decides = |it: &portcullis::verify::Proof| it.own > 0 || it.action.is_none();
        assert!(
            verified.proofs.iter().all(decides),
            "{name}:\n{}",
            verified.text()
        );
        assert!(verified.packets() > 400, "{name}:\n{}", verified.text());
    }
}

/// Proves after the tables were changed.
fn damaged(damage: impl FnOnce(&mut Tables)) -> Verified {
    let host = Namespace::new("verify-damaged").unwrap();
    let (rules, mut tables, facts) = seal();
    damage(&mut tables);
    host.enter(|| prove(&mut programs(), &tables, &rules, &facts, Ports::Edges).unwrap())
        .unwrap()
}

fn classes(tables: &mut Tables, wanted: Plane) -> &mut [u16] {
    let planes = tables.planes.iter_mut();
    let mut found = planes.filter(|(plane, _)| *plane == wanted);
    &mut found.next().expect("a plane").1
}

#[test]
fn a_port_that_was_opened_is_found() {
    let verified = damaged(|tables| {
        let classes = classes(tables, Plane::IngressTcp);
        classes[444] = classes[443];
    });
    let text = verified.text();
    assert!(!verified.holds(), "{text}");
    let failed = "ingress tcp/444 SYN from 10.79.1.0 (port 32768) to 10.0.0.1 at xdp, one port beside the rule";
    assert!(text.contains(failed), "{text}");
    assert!(text.contains("expected deny (no-rule"), "{text}");
    let json = verified.json();
    let named = json["failures"].as_array().unwrap().iter();
    let rows: Vec<_> = named.map(|it| it["rows"].to_string()).collect();
    assert!(
        rows.iter()
            .any(|rows| rows.contains("seal-output-engine/single-server/1\"")),
        "{json:#}"
    );
    // Rules that are whole are proved all the same.
    assert!(text.contains("proved  baseline/dns"), "{text}");
}

/// Changes cells of the first port class that admits peers at this port.
fn change_cells(tables: &mut Tables, port: u16, change: impl Fn(Cell) -> Cell) {
    let class = usize::from(classes(tables, Plane::IngressTcp)[usize::from(port)]);
    let columns = tables.head.peer_classes as usize;
    for cell in &mut tables.cells[class * columns..(class + 1) * columns] {
        if cell.action() == CellAction::Allow {
            *cell = change(*cell);
        }
    }
}

#[test]
fn a_port_that_was_closed_is_found() {
    let verified = damaged(|tables| {
        change_cells(tables, 443, |cell| {
            Cell::new(CellAction::Deny, cell.rule(), 0)
        });
    });
    let text = verified.text();
    assert!(
        text.contains("FAILED  seal-output-engine/single-server/1 "),
        "{text}"
    );
    assert!(
        text.contains("expected allow (rule: seal-output-engine/single-server/1#"),
        "{text}"
    );
}

#[test]
fn an_audit_in_place_of_a_pass_is_found() {
    let verified = damaged(|tables| {
        change_cells(tables, 443, |cell| {
            Cell::new(CellAction::Audit, cell.rule(), 0)
        });
    });
    let text = verified.text();
    assert!(
        !verified.holds() && text.contains("audited packets, not"),
        "{text}"
    );
}

/// `portcullis verify ARGUMENTS`: half a million packets take their time on a machine that does other things, too.
#[track_caller]
fn verify(host: &Namespace, arguments: &[&str]) -> Output {
    let mut command = host.command(binary().unwrap());
    command.arg("verify").args(arguments);
    output(&mut command, Duration::from_secs(120)).unwrap()
}

#[test]
fn the_command_touches_nothing_that_is_live() {
    let (server, client) = (
        Namespace::new("server").unwrap(),
        Namespace::new("client").unwrap(),
    );
    cable(
        (&server, "eth0", &["10.79.0.1/16", "fd79::1/32"]),
        (&client, "eth0", &["10.79.0.2/16", "fd79::2/32"]),
    )
    .unwrap();
    let mut agent = Agent::start(&server, SEAL, "json").unwrap();
    let pins = || {
        let list = server.enter(|| {
            let output = std::process::Command::new("find")
                .args(["/sys/fs/bpf", "-printf", "%p %i\n"])
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        });
        list.unwrap()
    };
    let before = (
        pins(),
        portcullis_json(&server, &["status", "--json"]).unwrap(),
    );
    let output = verify(&server, &["--json"]);
    let proof: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(proof["proved"], true, "{proof:#}");
    assert_eq!(proof["schema"], 1);
    let after = (
        pins(),
        portcullis_json(&server, &["status", "--json"]).unwrap(),
    );
    assert_eq!(before.0, after.0);
    for key in ["generation", "conntrack"] {
        assert_eq!(before.1[key], after.1[key], "{key}");
    }
    // The two hosts look for neighbours and routers now and then; the proof has half a million packets.
    assert!(proof["packets"].as_u64().unwrap() > 500_000, "{proof:#}");
    for key in ["passed", "denied"] {
        let count = |status: &serde_json::Value| status["counters"][key].as_u64().unwrap();
        assert!(count(&after.1) < count(&before.1) + 100, "{key}");
    }
    agent.stop().unwrap();
}

#[test]
fn exit_codes() {
    let host = Namespace::new("verify-codes").unwrap();
    let code = |arguments: &[&str]| verify(&host, arguments).status.code();
    host.write(CONFIGURATION, SEAL).unwrap();
    cable(
        (&host, "eth0", &["10.79.0.1/16"]),
        (&Namespace::new("other").unwrap(), "eth0", &["10.79.0.2/16"]),
    )
    .unwrap();
    assert_eq!(code(&[]), Some(0));
    let binary = binary().unwrap();
    let mut without = host.command("setpriv");
    without
        .args(["--bounding-set", "-sys_admin"])
        .arg(&binary)
        .arg("verify");
    let without = without.output().unwrap();
    assert_eq!(
        without.status.code(),
        Some(77),
        "{}",
        String::from_utf8_lossy(&without.stderr)
    );
    host.write(
        CONFIGURATION,
        "schema = 1\ninterfaces = [\"eth0\"]\nfoo = 1\n",
    )
    .unwrap();
    assert_eq!(code(&[]), Some(78));
}
