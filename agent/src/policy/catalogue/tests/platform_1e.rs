//! The 1E platform and Tachyon: two pages about one product, the second with cells lost.

use std::collections::BTreeSet;

use super::*;
use crate::policy::schema::{PrintedDirection, Scope};
use crate::policy::values::RowRef;

/// The lines of every table of each page, in the order of the page.
const TABLES: &[(&str, [usize; 2])] = &[
    ("servers", [13, 13]),
    ("clients", [5, 5]),
    ("remote-catalog", [6, 6]),
    ("remote-response-stack", [5, 6]),
    ("dmz-server", [12, 12]),
    ("internal", [7, 7]),
];

const PRODUCTS: [&str; 2] = ["1e-platform", "tachyon"];

/// Printed facts of every line: id, device, port, protocol, direction; `-` for an empty cell. Cut
/// from the pages' text by another way than the policies were written, so that a slip shows.
const PRINTED: [&str; 2] = [
    include_str!("1e-platform-printed.tsv"),
    include_str!("tachyon-printed.tsv"),
];

#[test]
fn every_printed_line_is_a_row() {
    let (catalogue, _) = Catalogue::load([]);
    for (side, product) in PRODUCTS.into_iter().enumerate() {
        let policy = catalogue.get(product).unwrap();
        for (table, lines) in TABLES {
            let rows = policy.rows.iter();
            let rows = rows.filter(|row| row.id.get_ref().table == *table).count();
            assert_eq!(rows, lines[side], "{product}/{table}");
            let said = *policy.tables.get(table).unwrap().rows.get_ref();
            assert_eq!(usize::try_from(said).unwrap(), rows, "{product}/{table}");
        }
    }
}

/// The role that a device cell means.
fn role_of(device: &str) -> &'static str {
    match device {
        "Clients" => "client",
        "Internet-facing clients" => "internet-client",
        "Browsers" => "browser",
        "Catalog Server" => "catalog-server",
        "DMZ Server" => "dmz-server",
        server if server.ends_with("(Master Stack)") => "master-stack",
        server if server.ends_with("(Response Stack)") => "response-stack",
        sql if sql.contains("(TachyonMaster") => "sql-master",
        sql if sql.contains("(TachyonResponses") => "sql-responses",
        sql if sql.contains("(1E Catalog") => "sql-catalog",
        other => panic!("an unknown device: {other}"),
    }
}

#[test]
fn rows_say_what_is_printed() {
    let (catalogue, _) = Catalogue::load([]);
    for (product, printed) in PRODUCTS.into_iter().zip(PRINTED) {
        let policy = catalogue.get(product).unwrap();
        let mut lines = 0;
        for line in printed.lines() {
            let cells: Vec<&str> = line.split('\t').collect();
            let [id, device, port, protocol, direction] = cells[..] else {
                panic!("five cells: {line}");
            };
            let at = format!("{product}/{id}");
            let row = policy.row(id).unwrap_or_else(|| panic!("no row {at}"));
            lines += 1;
            assert_eq!(row.application.as_deref(), Some(protocol), "{at}");
            let said: Vec<PrintedDirection> = direction
                .split(' ')
                .filter_map(|word| match word {
                    "Incoming" => Some(PrintedDirection::In),
                    "Outgoing" => Some(PrintedDirection::Out),
                    _ => None,
                })
                .collect();
            let mut stated = row.direction.clone();
            if stated.len() == 2 {
                stated.sort_by_key(|it| format!("{it:?}"));
            }
            let mut said = said;
            said.sort_by_key(|it| format!("{it:?}"));
            assert_eq!(stated, said, "{at}");
            let stated = row.device.as_ref().map(|role| role.get_ref().as_str());
            let lost = row.lost.iter().any(|cell| cell == "device");
            match (device, id.starts_with("internal/")) {
                ("-", true) => assert!(stated.is_none() && !lost, "{at}"),
                ("-", false) => assert!(stated.is_some() && lost, "{at}"),
                (device, _) => {
                    assert_eq!(stated, Some(role_of(device)), "{at}");
                    assert!(!lost, "{at}");
                }
            }
            if let Some(cell) = &row.printed {
                assert!(cell.starts_with(port), "{at}: {cell}");
                continue;
            }
            let parts = row.parts().filter(|part| part.flow.when.is_empty());
            for part in parts {
                let ports: Vec<String> = part
                    .ports()
                    .map(|it| format!("TCP {}", policy.documented_port(it)))
                    .collect();
                assert_eq!(part.transport.to_string(), "tcp", "{at}");
                assert_eq!(ports, [port], "{at}");
            }
        }
        assert_eq!(lines, policy.rows.len(), "{product}");
    }
}

/// A row's flows on one line each, as `from > to transport ports`, with what conditions it.
fn stated(policy: &Policy, row: &Row) -> Vec<String> {
    let words = |list: &[toml::Spanned<String>]| {
        let words: Vec<&str> = list.iter().map(|it| it.get_ref().as_str()).collect();
        words.join(" ")
    };
    row.parts()
        .map(|part| {
            let group = part.flow.to_group.as_ref();
            let to = group.map_or_else(|| words(&part.flow.to), |it| format!("@{}", it.get_ref()));
            let names: Vec<String> = part.ports().map(ToString::to_string).collect();
            let mut line = format!(
                "{} > {to} {} {}",
                words(&part.flow.from),
                part.transport,
                names.join(" ")
            );
            for condition in policy.flow_conditions(row, part.flow) {
                line.push_str(&format!(" if {condition}"));
            }
            if part.flow.inferred.is_some() {
                line.push_str(" inferred");
            }
            line
        })
        .collect()
}

/// The flows of a row, in both products unless the id names one.
#[track_caller]
fn check(id: &str, expected: &[&str]) {
    let (catalogue, _) = Catalogue::load([]);
    let one = PRODUCTS
        .iter()
        .find_map(|product| Some((*product, id.strip_prefix(product)?.strip_prefix('/')?)));
    for product in PRODUCTS {
        let short = match one {
            Some((named, short)) if named == product => short,
            Some(_) => continue,
            None => id,
        };
        let policy = catalogue.get(product).unwrap();
        let row = policy.row(short).unwrap();
        assert_eq!(stated(policy, row), expected, "{product}/{short}");
    }
}

#[test]
fn the_hard_rows() {
    check("servers/2", &["browser consumer > master-stack tcp http"]);
    check("servers/4", &["master-stack > @cloud-services tcp 443"]);
    check(
        "servers/8",
        &[
            "master-stack > sql-master tcp sql-master",
            "master-stack > sql-master udp 1434 if sql-named-instance",
        ],
    );
    check(
        "servers/9",
        &["master-stack > inventory-source tcp sql-inventory"],
    );
    check(
        "servers/10",
        &[
            "master-stack > configuration-manager tcp 135 445 if configuration-manager",
            "master-stack > configuration-manager tcp dcom-dynamic if configuration-manager inferred",
        ],
    );
    check(
        "servers/11",
        &[
            "response-stack > sql-responses tcp sql-responses",
            "response-stack > sql-responses udp 1434 if sql-named-instance",
        ],
    );
    check(
        "servers/12",
        &[
            "master-stack response-stack > sql-master tcp sql-master",
            "master-stack response-stack > sql-master udp 1434 if sql-named-instance",
        ],
    );
    check("clients/5", &["browser > master-stack tcp http"]);
    check(
        "remote-catalog/2",
        &["browser consumer master-stack > catalog-server tcp catalog-http"],
    );
    check(
        "remote-catalog/3",
        &["catalog-server > @cloud-services tcp 443"],
    );
    check(
        "remote-catalog/5",
        &["catalog-server > sql-catalog tcp sql-catalog"],
    );
    // The master's end has a line of its own on one of the pages only.
    let https = &["master-stack > response-stack tcp https"];
    check("1e-platform/remote-response-stack/1", https);
    check("tachyon/remote-response-stack/1", https);
    check("tachyon/remote-response-stack/2", https);
    let instrumentation = &["response-stack > master-stack tcp instrumentation"];
    check("1e-platform/remote-response-stack/2", instrumentation);
    check("tachyon/remote-response-stack/3", instrumentation);
    let master_database = &[
        "response-stack > sql-master tcp sql-master",
        "response-stack > sql-master udp 1434 if sql-named-instance",
    ];
    check("1e-platform/remote-response-stack/5", master_database);
    check("tachyon/remote-response-stack/6", master_database);
    check(
        "dmz-server/1",
        &["internet-client master-stack > dmz-server tcp https"],
    );
    check(
        "dmz-server/4",
        &["response-stack > dmz-server tcp switch-poke"],
    );
    check("dmz-server/6", &["dmz-server > crl-host tcp crl"]);
    check(
        "dmz-server/9",
        &["response-stack > dmz-server tcp switch-poke inferred"],
    );
    check("internal/3", &[]);
}

#[test]
fn ports_are_those_of_the_pages() {
    let (catalogue, _) = Catalogue::load([]);
    for product in PRODUCTS {
        let policy = catalogue.get(product).unwrap();
        for (row, expected) in [
            ("servers/6", "4000"),
            ("dmz-server/4", "switch + 1"),
            ("dmz-server/9", "switch + 1"),
            ("clients/3", "7766"),
            ("internal/1", "3900"),
            ("internal/6", "8081"),
        ] {
            let row = policy.row(row).unwrap();
            let ports: BTreeSet<String> = row
                .parts()
                .flat_map(|part| part.ports())
                .map(|port| policy.documented_port(port))
                .collect();
            assert_eq!(ports, BTreeSet::from([expected.to_owned()]), "{product}");
        }
        let dynamic = policy.row("servers/10").unwrap().parts().last().unwrap();
        let dynamic = policy.documented_port(dynamic.ports().next().unwrap());
        assert_eq!(dynamic, "<dcom-dynamic>");
    }
}

#[test]
fn what_stays_inside_a_host_opens_nothing() {
    let (catalogue, _) = Catalogue::load([]);
    for product in PRODUCTS {
        let policy = catalogue.get(product).unwrap();
        let inside: Vec<String> = policy
            .rows_in_order()
            .into_iter()
            .filter(|row| policy.scope_of(row) == Some(Scope::Host))
            .map(|row| row.id.get_ref().to_string())
            .collect();
        let mut expected = vec!["servers/5".to_owned(), "clients/3".to_owned()];
        expected.extend((1..=7).map(|n| format!("internal/{n}")));
        let inside: BTreeSet<String> = inside.into_iter().collect();
        assert_eq!(inside, expected.into_iter().collect(), "{product}");
    }
}

/// The line of the 1E platform's page that supplied a line's lost cells: the same number, one
/// less where Tachyon's page prints a line more.
fn supplier(row: &RowRef) -> String {
    let number = match (row.table.as_str(), row.number) {
        ("remote-response-stack", 2..) => row.number - 1,
        (_, number) => number,
    };
    format!("1e-platform/{}/{number}", row.table)
}

#[test]
fn tachyon_says_what_was_restored_and_whence() {
    let (catalogue, _) = Catalogue::load([]);
    let (newer, tachyon) = (
        catalogue.get("1e-platform").unwrap(),
        catalogue.get("tachyon").unwrap(),
    );
    for row in &tachyon.rows {
        let id = row.id.get_ref();
        assert!(row.lost.iter().any(|cell| cell == "usage"), "{id}");
        let source = row.restored_from.as_ref().unwrap().get_ref();
        assert_eq!(source.to_string(), supplier(id), "{id}");
        let short = source.to_string();
        let short = short.strip_prefix("1e-platform/").unwrap();
        let source = newer.row(short).unwrap();
        // What was restored must be what the other line says, and stay so when one is edited.
        assert_eq!(stated(tachyon, row), stated(newer, source), "{id}");
        assert_eq!(row.when, source.when, "{id}");
        assert_eq!(row.encrypted, source.encrypted, "{id}");
        if id.to_string() != "remote-response-stack/1" {
            let device = |row: &Row| row.device.as_ref().map(|it| it.get_ref().clone());
            assert_eq!(device(row), device(source), "{id}");
            assert_eq!(row.application, source.application, "{id}");
        }
    }
    assert!(newer.rows.iter().all(|row| row.restored_from.is_none()));
}
