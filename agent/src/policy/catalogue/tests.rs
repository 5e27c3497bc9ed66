mod mutated;

use super::*;

mod platform_1e;
mod soti_connect;
mod spinetix;

#[test]
fn shipped_policies_have_no_findings() {
    let (catalogue, findings) = Catalogue::load([]);
    assert!(findings.is_empty(), "{}", findings.render(false));
    assert_eq!(catalogue.iter().count(), EMBEDDED.len());
}

#[test]
fn seal_has_every_printed_line() {
    let (catalogue, _) = Catalogue::load([]);
    let seal = catalogue.get("seal-output-engine").unwrap();
    let count = |table: &str| {
        seal.rows
            .iter()
            .filter(|row| row.id.get_ref().table == table)
            .count()
    };
    assert_eq!((count("single-server"), count("cluster")), (12, 48));
}

/// Printed facts of every line: id, service, transports, port, application protocol. Cut from
/// the page's text by another way than the policy was written, so that a slip in it shows.
const SEAL: &str = include_str!("tests/seal-printed.tsv");

#[test]
fn seal_rows_say_what_is_printed() {
    let (catalogue, _) = Catalogue::load([]);
    let seal = catalogue.get("seal-output-engine").unwrap();
    let mut lines = 0;
    for line in SEAL.lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let [id, service, transports, port, application] = cells[..] else {
            panic!("five cells: {line}");
        };
        let row = seal.row(id).unwrap_or_else(|| panic!("no row {id}"));
        assert_eq!(row.service, service, "{id}");
        assert_eq!(row.application.as_deref(), Some(application), "{id}");
        for flow in &row.flows {
            let seen: Vec<String> = flow.transports().map(|it| it.to_string()).collect();
            assert_eq!(seen.join("/"), transports, "{id}");
        }
        for part in row.parts() {
            let ports: Vec<String> = part.ports().map(|it| seal.documented_port(it)).collect();
            assert_eq!(ports, [port], "{id}");
        }
        assert!(row.parts().next().is_some(), "{id} opens nothing");
        lines += 1;
    }
    assert_eq!(lines, seal.rows.len());
}

/// Who reaches a port in a topology with every option on.
#[track_caller]
fn reached_by(topology: &str, port: &str, expected: &[&str]) {
    let (catalogue, _) = Catalogue::load([]);
    let seal = catalogue.get("seal-output-engine").unwrap();
    let implied = seal.implied_topologies([topology]);
    let mut from: Vec<&str> = seal
        .rows
        .iter()
        .filter(|row| seal.row_in(row, &implied))
        .flat_map(Row::parts)
        .filter(|part| part.ports().any(|it| seal.documented_port(it) == port))
        .flat_map(|part| part.flow.from.iter().map(|role| role.get_ref().as_str()))
        .collect();
    from.sort_unstable();
    from.dedup();
    assert_eq!(from, expected, "{topology} {port}");
}

#[test]
fn seal_tells_clients_from_peers() {
    reached_by("single-server", "443", &["print-client"]);
    reached_by("cluster", "443", &["node", "print-client"]);
    for inner in [
        "27017", "9200", "9300", "4222", "6222", "8300", "53", "2118", "2128",
    ] {
        reached_by("single-server", inner, &[]);
        reached_by("cluster", inner, &["node"]);
    }
    for topology in ["single-server", "cluster"] {
        reached_by(topology, "2119", &["island-checkout"]);
        reached_by(topology, "2129", &["dpf-server"]);
    }
    reached_by("cluster", "8500", &["admin-browser", "node"]);
    reached_by("cluster", "32769", &["node", "oidc-user"]);
}
