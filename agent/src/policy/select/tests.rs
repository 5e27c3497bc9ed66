use super::*;
use crate::diagnose::Source;
use crate::policy::Catalogue;

const SAMPLE: &str = include_str!("../check/sample.toml");

fn sample() -> Policy {
    let source = Source::new("sample.toml", SAMPLE);
    let (catalogue, findings) = Catalogue::from_sources(vec![source], vec![]);
    assert!(findings.is_empty(), "{}", findings.render(false));
    catalogue.get("sample").unwrap().clone()
}

fn options(policy: &Policy, said: &[(&str, OptionValue)]) -> OptionValues {
    policy.option_values(
        said.iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone())),
    )
}

#[test]
fn conditions_ask_options() {
    #[track_caller]
    fn check(said: &[(&str, OptionValue)], condition: &str, expected: Truth) {
        let values = options(&sample(), said);
        assert_eq!(values.holds(&condition.parse().unwrap()), expected);
    }
    use OptionValue::{Choice, Switch};
    check(&[], "extra", Truth::Fails);
    check(&[], "!extra", Truth::Holds);
    check(&[], "legacy", Truth::Holds);
    check(&[("legacy", Switch(false))], "legacy", Truth::Fails);
    check(&[("extra", Switch(true))], "extra", Truth::Holds);
    check(&[], "place=here", Truth::Unsaid);
    check(
        &[("place", Choice("here".into()))],
        "place=here",
        Truth::Holds,
    );
    check(
        &[("place", Choice("there".into()))],
        "place=here",
        Truth::Fails,
    );
    check(&[("place", Choice("here".into()))], "place", Truth::Fails);
}

#[test]
fn ports_have_a_value_or_a_reason() {
    #[track_caller]
    fn check(
        port: &str,
        said: &[(&str, &[&str])],
        extra: bool,
        expected: Result<&[&str], PortProblem>,
    ) {
        let policy = sample();
        let said = said
            .iter()
            .map(|(name, list)| {
                let list = list.iter().map(|it| it.parse().unwrap()).collect();
                ((*name).to_owned(), list)
            })
            .collect();
        let values = options(&policy, &[("extra", OptionValue::Switch(extra))]);
        let port: PortRef = port.parse().unwrap();
        let seen = policy.ports_in_force(&port, &said, &values);
        let seen = seen.map(|list| list.iter().map(PortRange::to_string).collect::<Vec<_>>());
        let expected = expected.map(|list| list.iter().map(|it| (*it).to_owned()).collect());
        assert_eq!(seen, expected);
    }
    let base = || "web".to_owned();
    check("443", &[], false, Ok(&["443"]));
    check("8300-8302", &[], false, Ok(&["8300-8302"]));
    check("web", &[], false, Ok(&["8080"]));
    check("web", &[("web", &["1", "2"])], false, Ok(&["1", "2"]));
    // An option takes the default away.
    let unsaid = |because: Option<&str>| PortProblem::Unsaid {
        because: because.map(str::to_owned),
    };
    check("web", &[], true, Err(unsaid(Some("extra"))));
    check("web", &[("web", &["81"])], true, Ok(&["81"]));
    // `other + n` follows each value of the other,
    check("web-next", &[], false, Ok(&["8081"]));
    check(
        "web-next",
        &[("web", &["4000", "5000-5001"])],
        false,
        Ok(&["4001", "5001-5002"]),
    );
    // is replaced by a list of the same length,
    check("web-next", &[("web-next", &["9"])], false, Ok(&["9"]));
    check(
        "web-next",
        &[("web", &["1", "2"]), ("web-next", &["9"])],
        false,
        Err(PortProblem::Length {
            base: base(),
            expected: 2,
            said: 1,
        }),
    );
    // and has none where the other has none, or beyond the last port.
    check(
        "web-next",
        &[],
        true,
        Err(PortProblem::Base {
            base: base(),
            problem: Box::new(unsaid(Some("extra"))),
        }),
    );
    check(
        "web-next",
        &[("web", &["65535"])],
        false,
        Err(PortProblem::Overflow { base: base() }),
    );
    check("dynamic", &[], false, Err(unsaid(None)));
    check(
        "dynamic",
        &[("dynamic", &["50000-50010"])],
        false,
        Ok(&["50000-50010"]),
    );
    check(
        "dynamic",
        &[("dynamic", &["1", "2"])],
        false,
        Err(PortProblem::NotMany { said: 2 }),
    );
    check("nowhere", &[], false, Err(PortProblem::Unknown));
}

#[test]
fn topologies_imply_their_base() {
    let policy = sample();
    let wide = policy.implied_topologies(["wide"]);
    assert_eq!(wide.iter().copied().collect::<Vec<_>>(), ["base", "wide"]);
    let base = policy.implied_topologies(["base"]);
    assert!(policy.several("server", &wide) && !policy.several("server", &base));
    let inner = policy.row("inner/1").unwrap();
    assert!(policy.row_in(inner, &wide) && policy.row_in(inner, &base));
    assert!(!policy.row_in(inner, &BTreeSet::new()));
    assert!(policy.row_in(policy.row("main/1").unwrap(), &BTreeSet::new()));
}

#[test]
fn versions_unmet_are_named() {
    let policy = sample();
    let row = policy.row("sample/main/2").unwrap();
    let unmet = |version: Option<&str>| -> Vec<Truth> {
        let said = version
            .map(|version| ("firmware".to_owned(), version.parse().unwrap()))
            .into_iter()
            .collect();
        policy.since_unmet(row, &said).map(|it| it.2).collect()
    };
    assert_eq!(unmet(None), [Truth::Unsaid]);
    assert_eq!(unmet(Some("4.0.9")), [Truth::Fails]);
    assert_eq!(unmet(Some("4.1")), []);
    assert_eq!(unmet(Some("4.10")), []);
}

#[test]
fn parts_are_counted_per_transport() {
    let policy = sample();
    let parts: Vec<(u32, String)> = policy
        .row("main/3")
        .unwrap()
        .parts()
        .map(|part| (part.number, part.transport.to_string()))
        .collect();
    assert_eq!(parts, [(1, "tcp".to_owned()), (2, "esp".to_owned())]);
}
