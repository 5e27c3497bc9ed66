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
            "  options.dpf = true under [product.seal-output-engine]: option `dpf` is off",
            "  peers.api-client under [product.seal-output-engine]: the peers of `api-client` are none",
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
