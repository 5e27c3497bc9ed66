//! Refusals about rows and their flows.

use super::check;

#[test]
fn what_is_not_required_hangs_on_something() {
    check(
        "when = [\"place=here\", \"!legacy\"]\n",
        "",
        &[
            ("unused", "option `legacy`"),
            ("unused", "option `place`"),
            ("unconditional", "main/3 is not `required`"),
        ],
    );
    // A condition on each flow does as well as one on the row,
    check(
        "when = [\"place=here\", \"!legacy\"]\nflows = [{",
        "flows = [{ when = [\"place=here\", \"!legacy\"],",
        &[],
    );
    // one on some flows does not.
    check(
        "when = [\"place=here\", \"!legacy\"]\nflows = [{",
        "flows = [{ from = [\"server\"], to = [\"client\"], tcp = [1] }, { when = [\"place=here\", \"!legacy\"],",
        &[("unconditional", "main/3 is not `required`")],
    );
    // The table's condition counts for its rows.
    check(
        "service = \"inside\"",
        "service = \"inside\"\nrequirement = \"off-by-default\"",
        &[],
    );
}

#[test]
fn a_row_has_flows_or_says_why_not() {
    check(
        "undecidable = \"no port\"\n",
        "",
        &[("no-flow", "main/6 has no flow")],
    );
    check(
        "undecidable = \"no port\"\n",
        "undecidable = \"no port\"\nflows = [{ from = [\"server\"], to = [\"client\"], tcp = [1] }]",
        &[("flow-undecidable", "has flows and is undecidable")],
    );
}

#[test]
fn inferred_flows_open_what_is_printed_or_hang_on_an_option() {
    let concluded = "inferred = \"the cell is empty; main/4 states it\"\n\
                     flows = [{ from = [\"server\"], to = [\"client\"], tcp = [\"dynamic\"] }]";
    let with = |flow: &str| format!("inferred = \"guessed\"\nflows = [{{ {flow} }}]");
    let refused: &[(&str, &str)] = &[
        // Another peer, port, transport or direction than main/4 prints.
        (
            "from = [\"device\"], to = [\"client\"], tcp = [\"dynamic\"]",
            "from `device` to `client`",
        ),
        (
            "from = [\"server\"], to = [\"device\"], tcp = [\"dynamic\"]",
            "to `device`",
        ),
        (
            "from = [\"client\"], to = [\"server\"], tcp = [\"dynamic\"]",
            "from `client` to `server`",
        ),
        (
            "from = [\"server\"], to = [\"client\"], tcp = [\"dynamic\", 99]",
            "tcp 99",
        ),
        (
            "from = [\"server\"], to = [\"client\"], udp = [\"dynamic\"]",
            "udp dynamic",
        ),
        (
            "from = [\"server\"], to = [\"client\"], protocol = [\"gre\"]",
            "gre from",
        ),
        // An option that is on by default is no switch to turn it on; a choice is none either.
        (
            "from = [\"server\"], to = [\"client\"], tcp = [99], when = [\"legacy\"]",
            "tcp 99",
        ),
        (
            "from = [\"server\"], to = [\"client\"], tcp = [99], when = [\"!extra\"]",
            "tcp 99",
        ),
        (
            "from = [\"server\"], to = [\"client\"], tcp = [99], when = [\"place=here\"]",
            "tcp 99",
        ),
        // Printed, but only under more conditions, in newer versions, or inside a host.
        (
            "from = [\"server\"], to-group = \"cloud\", tcp = [443]",
            "to `cloud`",
        ),
        (
            "from = [\"server\"], to = [\"device\"], via = \"discovery\", udp = [1900]",
            "udp 1900",
        ),
        (
            "from = [\"server\"], to = [\"server\"], tcp = [6002]",
            "tcp 6002",
        ),
    ];
    for (flow, words) in refused {
        check(concluded, &with(flow), &[("inferred", words)]);
    }
    let allowed = [
        "from = [\"server\"], to = [\"client\"], tcp = [99], when = [\"extra\"]",
        "from = [\"server\"], to = [\"client\"], tcp = [99], when = [\"!legacy\"]",
        "from = [\"server\"], to-group = \"cloud\", tcp = [443], when = [\"place=here\", \"!legacy\"]",
    ];
    for flow in allowed {
        check(concluded, &with(flow), &[]);
    }
    // Printed in one topology only, concluded in all.
    check(
        "lost = [\"usage\"]",
        "topologies = [\"wide\"]\nlost = [\"usage\"]",
        &[("inferred", "main/5 concludes")],
    );
    check(
        "service = \"printed twice\"",
        "service = \"printed twice\"\ntopologies = [\"wide\"]",
        &[],
    );
}

#[test]
fn flows_are_complete() {
    let flow = "{ from = [\"server\"], to = [\"client\"], tcp = [\"dynamic\"] }]\n\n[[rows]]\nid = \"main/5\"";
    let with = |own: &str| format!("{own}]\n\n[[rows]]\nid = \"main/5\"\nwhen = [\"extra\"]");
    let rows: &[(&str, &[(&str, &str)])] = &[
        (
            "{ from = [\"server\"], to = [\"client\"], tcp = [\"dynamic\"] }",
            &[],
        ),
        (
            "{ from = [], to = [\"client\"], tcp = [1] }",
            &[("flow-from", "comes from nobody")],
        ),
        (
            "{ from = [\"server\"], tcp = [1] }",
            &[("flow-to", "needs `to` or `to-group`")],
        ),
        (
            "{ from = [\"server\"], to = [\"client\"], to-group = \"cloud\", tcp = [1] }",
            &[("flow-to", "one of them only")],
        ),
        (
            "{ from = [\"server\"], to = [\"client\"] }",
            &[("flow-port", "has no port")],
        ),
        (
            "{ from = [\"server\"], to = [\"client\"], tcp = [1, 1] }",
            &[("port-twice", "stands twice")],
        ),
        (
            "{ from = [\"server\"], to = [\"client\"], via = \"discovery\", tcp = [1] }",
            &[("via-transport", "something else than UDP")],
        ),
        (
            "{ from = [\"server\"], to = [\"client\"], via = \"cloud\", udp = [1] }",
            &[("via-kind", "`via` needs a multicast or broadcast group")],
        ),
        (
            "{ from = [\"server\"], to-group = \"discovery\", udp = [1] }",
            &[("to-group-kind", "`to-group` needs a group of hosts")],
        ),
        (
            "{ to = [\"client\"], tcp = [1] }",
            &[("missing-key", "`from` is missing")],
        ),
        (
            "{ from = [\"server\"], to = [\"client\"], protocol = [\"tcp\"] }",
            &[("value", "protocol tcp has its own place")],
        ),
    ];
    for (own, expected) in rows {
        check(flow, &with(own), expected);
    }
}
