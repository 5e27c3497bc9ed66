//! SOTI Connect: every printed line is there with its printed numbers, and the rows that are
//! easily read wrongly say what was decided.

use super::*;
use crate::policy::schema::Encrypted;
use crate::policy::show;
use crate::policy::values::Transport;

/// Runs a check over the policy.
fn with_soti<T>(look: impl FnOnce(&Policy) -> T) -> T {
    let (catalogue, _) = Catalogue::load([]);
    look(catalogue.get("soti-connect").expect("shipped"))
}

#[test]
fn every_printed_line_is_a_row() {
    const PRINTED: &[(&str, usize)] = &[
        ("system-component", 6),
        ("third-party", 7),
        ("optional", 6),
        ("simulators", 5),
        ("registry", 2),
        ("rest-adapter", 3),
        ("mqtt-adapter", 2),
        ("hcc", 8),
        ("brother", 5),
        ("epson-pic", 6),
    ];
    with_soti(|soti| {
        for (table, lines) in PRINTED {
            let rows = soti
                .rows
                .iter()
                .filter(|row| row.id.get_ref().table == *table);
            assert_eq!(rows.count(), *lines, "{table}");
        }
        assert_eq!(soti.rows.len(), 50);
    });
}

/// Id, transport by the protocol cell (`-`: no such cell), and ports as printed. Cut from the
/// page's text by another way than the policy was written, so that a slip in it shows.
const LINES: &str = include_str!("soti-connect-printed.tsv");

#[test]
fn rows_say_what_is_printed() {
    let mut lines = 0;
    with_soti(|soti| {
        for line in LINES.lines() {
            let cells: Vec<&str> = line.split('\t').collect();
            let [id, transport, printed] = cells[..] else {
                panic!("three cells: {line}");
            };
            let row = soti.row(id).unwrap_or_else(|| panic!("no row {id}"));
            lines += 1;
            if transport == "-" {
                assert!(row.flows.is_empty() && row.undecidable.is_some(), "{id}");
                assert_eq!(row.printed.as_deref(), Some(printed), "{id}");
                continue;
            }
            let mut ports: Vec<String> = Vec::new();
            for part in row.parts() {
                assert_eq!(part.transport.to_string(), transport, "{id}");
                ports.extend(part.ports().map(|it| soti.documented_port(it)));
            }
            ports.dedup();
            assert_eq!(ports.join(","), printed, "{id}");
        }
        let without_port = soti
            .rows
            .iter()
            .filter(|row| row.id.get_ref().table == "optional");
        for row in without_port {
            assert!(row.flows.is_empty() && row.undecidable.is_some());
            lines += 1;
        }
        assert_eq!(lines, soti.rows.len());
    });
}

/// A row's flows, one line each: `from > to transport port [via group] [if conditions]`.
#[track_caller]
fn states(id: &str, expected: &[&str]) {
    let seen: Vec<String> = with_soti(|soti| {
        let row = soti.row(id).unwrap_or_else(|| panic!("no row {id}"));
        row.parts()
            .map(|part| {
                let flow = part.flow;
                let join = |words: &[toml::Spanned<String>]| {
                    let words: Vec<&str> = words.iter().map(|it| it.get_ref().as_str()).collect();
                    words.join("+")
                };
                let to = match &flow.to_group {
                    Some(group) => format!("group:{}", group.get_ref()),
                    None => join(&flow.to),
                };
                let ports: Vec<String> = part.ports().map(|it| soti.documented_port(it)).collect();
                let mut line = format!(
                    "{} > {to} {} {}",
                    join(&flow.from),
                    part.transport,
                    ports.join(",")
                );
                if let Some(via) = &flow.via {
                    line += &format!(" via {}", via.get_ref());
                }
                let conditions: Vec<String> = soti
                    .flow_conditions(row, flow)
                    .map(ToString::to_string)
                    .collect();
                if !conditions.is_empty() {
                    line += &format!(" if {}", conditions.join(" "));
                }
                line
            })
            .collect()
    });
    assert_eq!(seen, expected, "{id}");
}

#[test]
fn rows_that_are_easily_read_wrongly() {
    states(
        "system-component/1",
        &["connect-server+file-store+protocol-adapter+registry > connect-server tcp 1234"],
    );
    states(
        "system-component/3",
        &["third-party-server+printer > protocol-adapter tcp 5551"],
    );
    states(
        "system-component/4",
        &["third-party-server+printer+protocol-adapter+connect-server > file-store tcp 4646"],
    );
    states("system-component/5", &["printer > file-store tcp 4650"]);
    states(
        "third-party/1",
        &["connect-server > group:soti-services tcp 443"],
    );
    states(
        "third-party/3",
        &[
            "protocol-adapter+printer > mqtt-broker tcp 1883 if mqtt-plain",
            "protocol-adapter+printer > mqtt-broker tcp 8883 if mqtt-tls",
        ],
    );
    states(
        "third-party/4",
        &["protocol-adapter+printer > mqtt-broker tcp 443 if mqtt-websocket"],
    );
    states("third-party/5", &["rest-adapter > hcc tcp 21219 if hcc"]);
    states(
        "third-party/6",
        &["conductor-agent > conductor tcp 49500 if brother"],
    );
    states("third-party/7", &["browser > printer tcp 443 if epson-pic"]);
    states("rest-adapter/3", &["rest-gateway > rest-adapter tcp 5551"]);
    states("hcc/1", &["hcc > connect-server tcp 443 if hcc"]);
    states("hcc/2", &["printer > hcc tcp 8883 if hcc"]);
    states(
        "hcc/7",
        &["hcc > sentience-platform tcp 21215 if hcc hcc-operational-intelligence"],
    );
    states(
        "brother/3",
        &[
            "conductor-agent > printer udp 49501 if brother",
            "conductor-agent > printer udp 49501 via brother-discovery if brother",
        ],
    );
    states(
        "brother/4",
        &["printer > connect-server tcp 4646 if brother hosting=cloud"],
    );
    states(
        "epson-pic/1",
        &[
            "browser > printer tcp 80 if epson-pic",
            "browser > printer tcp 443 if epson-pic",
        ],
    );
    states(
        "epson-pic/2",
        &[
            "epson-pic > printer udp 3289 if epson-pic",
            "epson-pic > printer udp 3289 via subnet-broadcast if epson-pic",
        ],
    );
    states(
        "epson-pic/3",
        &["epson-pic > printer tcp 9100 if epson-pic"],
    );
    states(
        "epson-pic/5",
        &["printer > connect-server tcp 443 if epson-pic hosting=cloud"],
    );
}

/// 4651 is a cluster's alone, and the secondary, which plays both roles, does not listen: the
/// role that calls is not one that several hosts play.
#[test]
fn the_primary_alone_listens_for_the_cluster() {
    states(
        "system-component/6",
        &["secondary-server > connect-server tcp 4651"],
    );
    with_soti(|soti| {
        let row = soti.row("system-component/6").expect("a row");
        let single = soti.implied_topologies(["primary"]);
        let cluster = soti.implied_topologies(["primary-secondary"]);
        assert!(!soti.row_in(row, &single));
        assert!(soti.row_in(row, &cluster));
        assert!(soti.several("connect-server", &cluster));
        assert!(!soti.several("connect-server", &single));
        assert!(!soti.several("secondary-server", &cluster));
    });
}

#[test]
fn what_is_on_one_port_of_the_page_stays_several_rows() {
    with_soti(|soti| {
        let on = |port: &str| -> Vec<String> {
            let rows = soti.rows.iter().filter(|row| {
                row.parts().any(|part| {
                    part.transport == Transport::Tcp
                        && part.ports().any(|it| soti.documented_port(it) == port)
                })
            });
            rows.map(|row| row.id.get_ref().to_string()).collect()
        };
        assert_eq!(on("1433"), ["third-party/2", "registry/2"]);
        assert_eq!(on("8883"), ["third-party/3", "hcc/2"]);
        assert_eq!(on("49500"), ["third-party/6", "brother/2"]);
        assert_eq!(
            on("5551"),
            [
                "system-component/3",
                "rest-adapter/3",
                "hcc/8",
                "brother/5",
                "epson-pic/6"
            ]
        );
        // By the heading they would be TCP.
        assert_eq!(on("49501"), [] as [&str; 0]);
        assert_eq!(on("3289"), [] as [&str; 0]);
        // No gap of the page is filled.
        assert_eq!(on("21214"), [] as [&str; 0]);
    });
}

/// Rows that contradict each other, whichever of them says so.
#[track_caller]
fn contradict(one: &str, others: &[&str]) {
    let (catalogue, _) = Catalogue::load([]);
    let soti = catalogue.get("soti-connect").expect("shipped");
    let row = soti.row(one).unwrap_or_else(|| panic!("no row {one}"));
    let mut seen = show::contradictions(&catalogue, soti, row);
    seen.sort();
    let mut expected: Vec<String> = others
        .iter()
        .map(|id| format!("soti-connect/{id}"))
        .collect();
    expected.sort();
    assert_eq!(seen, expected, "{one}");
}

#[test]
fn what_the_page_says_twice_and_differently_is_linked() {
    contradict(
        "system-component/3",
        &["rest-adapter/3", "hcc/8", "brother/5", "epson-pic/6"],
    );
    contradict(
        "rest-adapter/3",
        &["system-component/3", "hcc/8", "brother/5", "epson-pic/6"],
    );
    contradict("system-component/4", &["hcc/1", "epson-pic/5"]);
    contradict("brother/4", &["hcc/1", "epson-pic/5"]);
    contradict("third-party/7", &["epson-pic/1"]);
    contradict("optional/2", &["registry/1"]);
    contradict("system-component/1", &[]);
}

#[test]
fn plain_text_is_told_from_tls() {
    #[track_caller]
    fn check(id: &str, expected: &[Encrypted]) {
        with_soti(|soti| {
            let row = soti.row(id).unwrap_or_else(|| panic!("no row {id}"));
            let seen: Vec<Option<Encrypted>> = row
                .flows
                .iter()
                .map(|flow| soti.encrypted(row, flow))
                .collect();
            let expected: Vec<Option<Encrypted>> = expected.iter().copied().map(Some).collect();
            assert_eq!(seen, expected, "{id}");
        });
    }
    check("system-component/3", &[Encrypted::No]);
    check("rest-adapter/3", &[Encrypted::Yes]);
    check("system-component/5", &[Encrypted::No]);
    check("third-party/2", &[Encrypted::Unknown]);
    check("third-party/3", &[Encrypted::No, Encrypted::Yes]);
    check("brother/1", &[Encrypted::No, Encrypted::Yes]);
    check("third-party/7", &[Encrypted::Both]);
}
