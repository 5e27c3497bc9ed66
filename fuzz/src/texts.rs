//! What people write: policies and configurations.

use std::cell::OnceCell;

use portcullis::diagnose::{Findings, Source};
use portcullis::facts::Facts;
use portcullis::host::{Input, load};
use portcullis::meaning::meaning;
use portcullis::plan::Plan;
use portcullis::policy::catalogue::{Catalogue, embedded};
use portcullis::policy::show;
use portcullis_tests::rows::facts;

thread_local! {
    static SHIPPED: OnceCell<(Catalogue, Facts)> = const { OnceCell::new() };
}

/// The shipped catalogue, and the host of the tests.
pub(crate) fn with_shipped<T>(use_it: impl FnOnce(&Catalogue, &Facts) -> T) -> T {
    SHIPPED.with(|shipped| {
        let (catalogue, facts) = shipped.get_or_init(|| {
            let (catalogue, findings) = Catalogue::from_sources(embedded(), Vec::new());
            assert!(!findings.has_errors(), "{}", findings.render(false));
            (catalogue, facts(false, 250))
        });
        use_it(catalogue, facts)
    })
}

/// Findings can be shown, in both ways, and each is at a place of the text that there is.
fn shown(findings: &Findings, text: &str) {
    let rendered = findings.render(false);
    assert_eq!(findings.is_empty(), rendered.is_empty(), "{rendered}");
    let listed = findings.to_json();
    assert_eq!(listed.as_array().map(Vec::len), Some(findings.len()));
    let lines = text.split('\n').count();
    for finding in findings.iter() {
        let line = finding.line().unwrap_or(1);
        assert!((1..=lines).contains(&line), "line {line}: {rendered}");
    }
}

/// Any text as a policy: what is wrong with it is said; what is right can be shown, and started from.
pub fn policy(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    let source = Source::new("policy.toml", text);
    let (catalogue, findings) = Catalogue::from_sources(vec![source], Vec::new());
    shown(&findings, text);
    for (_, policy) in catalogue.iter() {
        assert!(!findings.has_errors(), "{}", findings.render(false));
        let everything = show::Filter::default();
        let json = show::json(&catalogue, policy, &everything);
        let rows = json["rows"].as_array().map_or(0, Vec::len);
        assert_eq!(rows, policy.rows_in_order().len(), "{json}");
        for text in [
            show::text(&catalogue, policy, &everything),
            show::dot(policy, &everything),
            show::mermaid(policy, &everything),
        ] {
            assert!(!text.is_empty());
        }
        for role in policy.roles.keys() {
            let started = portcullis::init::text(policy, &[role], &[]);
            let (config, findings) = load(&Input::single("portcullis.toml", &started));
            assert!(config.is_some(), "{started}\n{}", findings.render(false));
        }
    }
}

/// Any text as a configuration: what is wrong with it is said; what is right compiles and can be planned.
pub fn configuration(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    let (config, findings) = load(&Input::single("portcullis.toml", text));
    shown(&findings, text);
    let Some(config) = config else {
        assert!(findings.has_errors(), "no configuration, and no error");
        return;
    };
    with_shipped(|catalogue, facts| {
        let meaning = meaning(&config, catalogue, facts, &findings);
        shown(&meaning.findings, text);
        assert!(meaning.tables.is_some() || meaning.findings.has_errors());
        let plan = Plan {
            config: &config,
            catalogue,
            facts,
            resolved: &meaning.resolved,
            findings: &meaning.findings,
            sizes: meaning.tables.as_ref().map(|tables| &tables.sizes),
        };
        assert!(!plan.text().is_empty());
        assert!(plan.json().is_object());
    });
}
