mod random;

use serde_json::Value;

use super::Plan;
use crate::compile::resolve::tests as sample;
use crate::compile::resolve::{Resolved, resolve};
use crate::compile::{Settings, compile};
use crate::host::HostConfig;

/// A SEAL node in a cluster, as far as these tests look.
fn config() -> HostConfig {
    let mut config = sample::config();
    config.products.push(
        sample::product("seal-output-engine", &["node"], &["cluster"])
            .option("monitoring", true)
            .skip("cluster/37", "no client uses it")
            .peers("node", &["10.0.0.11", "10.0.0.12"])
            .peers("print-client", &["10.0.0.0/16", "2001:db8:10::/48"])
            .peers("api-client", &["none"])
            .peers("admin-browser", &["10.0.200.0/24"])
            .peers("monitoring-server", &["any"]),
    );
    config
}

fn with_plan<T>(config: &HostConfig, look: impl FnOnce(&Plan<'_>, &Resolved) -> T) -> T {
    let (catalogue, facts) = (sample::catalogue(), sample::facts());
    let resolved = resolve(config, &catalogue, &facts);
    let tables = compile(&resolved.rule_set, &facts, &Settings::default())
        .unwrap_or_else(|errors| panic!("{errors:?}"));
    let plan = Plan {
        config,
        catalogue: &catalogue,
        facts: &facts,
        resolved: &resolved,
        findings: &resolved.findings,
        sizes: Some(&tables.sizes),
    };
    look(&plan, &resolved)
}

fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().unwrap();
    object.keys().map(String::as_str).collect()
}

#[test]
fn json_has_every_key_always() {
    let json = with_plan(&config(), |plan, _| plan.json());
    assert_eq!(
        keys(&json),
        [
            "schema",
            "ingress",
            "egress",
            "forward",
            "host_only",
            "undecided",
            "inactive",
            "skipped",
            "other_roles",
            "unguarded",
            "findings",
            "sizes"
        ]
    );
    assert_eq!(json["schema"], 1);
    assert_eq!(json["ingress"]["default"], "deny");
    assert_eq!(json["egress"]["default"], "open");
    for direction in ["ingress", "egress"] {
        for rule in json[direction]["rules"].as_array().unwrap() {
            assert_eq!(
                keys(rule),
                [
                    "id",
                    "rows",
                    "transport",
                    "ports",
                    "peers",
                    "groups",
                    "action",
                    "stated",
                    "product",
                    "until"
                ]
            );
        }
    }
    let rule = &json["ingress"]["rules"][3];
    assert_eq!(
        rule.to_string(),
        r#"{"id":"seal-output-engine/cluster/2#1","rows":["seal-output-engine/cluster/2"],"transport":"tcp","#
            .to_owned()
            + r#""ports":["443"],"peers":["10.0.0.12/32"],"groups":[],"action":"allow","stated":true,"#
            + r#""product":"seal-output-engine","until":null}"#
    );
    assert_eq!(
        json["skipped"].to_string(),
        r#"[{"row":"seal-output-engine/cluster/37","reason":"no client uses it"}]"#
    );
    assert_eq!(
        json["inactive"][0].to_string(),
        r#"{"row":"seal-output-engine/single-server/1","flow":1,"why":"it holds in topology `single-server`","#
            .to_owned()
            + r#""needs":"topologies = [\"single-server\"]"}"#
    );
    assert_eq!(json["unguarded"].to_string(), r#"["eth1"]"#);
    assert!(json["sizes"]["bytes"].as_u64().unwrap() > 0);
}

/// Lines of the text that must be there, in this order.
#[track_caller]
fn check(config: &HostConfig, expected: &[&str]) {
    let text = with_plan(config, |plan, _| plan.text());
    let mut rest = text.as_str();
    for line in expected {
        let at = rest.find(&format!("{line}\n"));
        let at = at.unwrap_or_else(|| panic!("{line:?} is not in (the rest of)\n{text}"));
        rest = &rest[at..];
    }
}

#[test]
fn text_answers_what_a_stranger_asks() {
    check(
        &config(),
        &[
            "  UNGUARDED: eth1 (192.168.7.1/24). Nothing that comes or goes there is filtered.",
            "  SEAL Output Engine (seal-output-engine) as node, topology cluster.",
            "What this host accepts (everything else: deny)",
            "  from anyone: tcp 22",
            "      failsafe/ssh  the administrator's way in, whatever the rest says",
            "  from 10.0.0.12 (node):",
            "      tcp 53     seal-output-engine/cluster/1  Consul: finding services by DNS",
            "  from 10.0.0.0/16, 2001:db8:10::/48 (print-client):",
            "      tcp 515    seal-output-engine/cluster/3  seal-checkin: print jobs by LPR",
            "What this host may reach (everything else: open)",
            "  to 10.0.0.12 (node):",
            "    (the document does not print this end; these follow from what it states at the other)",
            "      tcp 27017  seal-output-engine/cluster/47  MongoDB: the database",
            "      baseline/dns  asking resolvers",
            "Plain text on the wire",
            "  tcp 515    seal-output-engine/cluster/3  seal-checkin: print jobs by LPR",
            "  Encrypted or not, as the product is set up:",
            "  tcp 4222   seal-output-engine/cluster/33  SEAL NATS: clients of NATS",
            "Inactive, and what would activate it",
            "  dpf = true under [product.seal-output-engine.options]: option `dpf` is off",
            "  api-client = … under [product.seal-output-engine.peers]: the peers of `api-client` are none",
            "      seal-output-engine/cluster/38  seal-job-notifier: API of the PLOSSYS Infoclient, tcp 8082",
            "Documented, and left out by the configuration",
            "  seal-output-engine/cluster/37  seal-job-notifier: no client uses it",
            "Size",
        ],
    );
}

#[test]
fn text_says_what_silence_about_egress_means() {
    let text = |default| {
        let mut config = config();
        config.default.egress = Some(sample::nowhere(default));
        with_plan(&config, |plan, _| {
            plan.text().split_whitespace().collect::<Vec<_>>().join(" ")
        })
    };
    for (default, expected) in [
        (
            crate::rule::DefaultAction::Open,
            "lists no outbound connections, so outbound is open",
        ),
        (
            crate::rule::DefaultAction::Audit,
            "reaches besides the rules below passes and is reported",
        ),
        (
            crate::rule::DefaultAction::Deny,
            "Each thing that the document leaves out needs an [allow]",
        ),
    ] {
        let text = text(default);
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
}

fn listener(transport: &str, address: &str, port: u16) -> crate::facts::Listener {
    crate::facts::Listener {
        transport: transport.to_owned(),
        address: address.parse().unwrap(),
        port,
        program: Some("server".to_owned()),
    }
}

#[test]
fn what_listens_is_held_against_the_plan() {
    let mut config = config();
    config.products[0].options = crate::diagnose::Keyed::default();
    let mut facts = sample::facts();
    let catalogue = sample::catalogue();
    let resolved = resolve(&config, &catalogue, &facts);
    facts.listeners = Some(vec![
        listener("tcp", "0.0.0.0", 443),
        listener("tcp", "::", 22),
        listener("tcp", "10.0.0.11", 3306),
        listener("udp", "0.0.0.0", 443),
        listener("tcp", "127.0.0.1", 8300),
    ]);
    let findings = crate::diagnose::Findings::new();
    let plan = Plan {
        config: &config,
        catalogue: &catalogue,
        facts: &facts,
        resolved: &resolved,
        findings: &findings,
        sizes: None,
    };
    let listening = super::listening::listening(&plan).unwrap();
    let text = listening.text();
    for line in [
        "  tcp 0.0.0.0:443            server           reached by 10.0.0.12/32 (seal-output-engine/cluster/2); \
         10.0.0.0/16, 2001:db8:10::/48 (seal-output-engine/cluster/2)",
        "  tcp [::]:22                server           reached by anyone (failsafe/ssh)",
        "  tcp 10.0.0.11:3306         server           reached by nobody: no rule names the port",
        // another transport is another service
        "  udp 0.0.0.0:443            server           reached by nobody: no rule names the port",
        "  tcp 515                  seal-output-engine/cluster/3",
    ] {
        assert!(
            text.contains(&format!("{line}\n")),
            "{line:?} is not in\n{text}"
        );
    }
    assert!(!text.contains("127.0.0.1"), "{text}");
    // a socket that only this host reaches serves the port all the same
    let json = listening.json();
    let unheard = json["unheard"].as_array().unwrap();
    assert!(
        unheard
            .iter()
            .all(|it| it["ports"][0] != "8300" && it["ports"][0] != "443")
    );
    assert_eq!(
        json["heard"][0].to_string(),
        r#"{"transport":"tcp","address":"0.0.0.0","port":443,"program":"server","rules":["seal-output-engine/cluster/2#1","seal-output-engine/cluster/2#2"]}"#
    );
    let facts = sample::facts();
    let plan = Plan {
        facts: &facts,
        ..plan
    };
    assert!(super::listening::listening(&plan).is_none());
}

#[test]
fn what_ends_soon() {
    let text = include_str!("../../tests/data/host-seal-node.toml");
    let input = crate::host::Input::single("portcullis.toml", text);
    let config = crate::host::load(&input).0.unwrap();
    // the facts are of 2026-11-21; the audit goes to 2026-12-24, the allow to 2027-01-31
    for (days, now, expected) in [
        (30, "2026-11-21T12:00:00Z", vec![]),
        (34, "2026-11-21T12:00:00Z", vec!["audit/seal-output-engine"]),
        (
            80,
            "2026-11-21T12:00:00Z",
            vec!["audit/seal-output-engine", "allow/node-exporter"],
        ),
        (
            1,
            "2027-02-01T00:00:00Z",
            vec!["audit/seal-output-engine", "allow/node-exporter"],
        ),
    ] {
        let now: jiff::Timestamp = now.parse().unwrap();
        let horizon = now + jiff::SignedDuration::from_hours(days * 24);
        with_plan(&config, |plan, _| {
            let list = super::expiring::expiring(plan, horizon);
            let ids: Vec<&str> = list.iter().map(|it| it.id.as_str()).collect();
            assert_eq!(ids, expected, "{days} days from {now}");
            let text = super::expiring::text(&list, now);
            assert_eq!(text.contains("ended"), now > plan.facts.time, "{text}");
        });
    }
}

#[test]
fn a_plan_differs_by_what_it_enforces() {
    let (old, new) = (config(), {
        let mut new = config();
        new.default.egress = Some(sample::nowhere(crate::rule::DefaultAction::Deny));
        new.failsafes[0].peers = sample::peers(&["10.0.200.0/24"]);
        new
    });
    let json = |config: &HostConfig| with_plan(config, |plan, _| plan.json());
    assert_eq!(
        super::running::differences(&json(&old), &json(&old)),
        Vec::<String>::new()
    );
    assert_eq!(
        super::running::differences(&json(&new), &json(&old)),
        [
            "ingress: - allow tcp 22 any  failsafe/ssh",
            "ingress: + allow tcp 22 10.0.200.0/24  failsafe/ssh",
            "egress: default is open, and deny is planned",
        ]
    );
    let mut forwarding = json(&old);
    forwarding["forward"]["forwards"] = true.into();
    assert_eq!(
        super::running::differences(&forwarding, &json(&old)),
        ["forward: no packet is forwarded, and deny is planned"]
    );
}
