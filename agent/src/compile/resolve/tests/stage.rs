//! What a product on trial lets pass.

use super::{catalogue_of, product, resolve_product};
use crate::compile::resolve::resolve;
use crate::host::schema::Stage;

fn audit_lines(resolved: &super::Resolved) -> Vec<String> {
    let mut lines = super::lines(resolved);
    lines.retain(|line| line.contains(" audit "));
    lines
}

#[test]
fn every_port_that_a_row_names_for_a_role_of_this_host() {
    let catalogue = catalogue_of(&[include_str!("hard.toml")]);
    let mut database = product("hard", &["database"], &["base"]);
    database.stage = Stage::Audit;
    // whatever option, topology or peers a row asks for; ports of other roles are not named
    assert_eq!(
        audit_lines(&resolve_product(&catalogue, database)),
        [
            "ingress tcp 1433,4652,7000 any audit audit/hard",
            "ingress udp 1434 any audit audit/hard",
            "egress tcp 4652,7000 any audit audit/hard",
        ]
    );
    let mut server = product("hard", &["server"], &["base"]).port("switch", &["4443"]);
    server.stage = Stage::Audit;
    assert_eq!(
        audit_lines(&resolve_product(&catalogue, server)),
        [
            "ingress tcp 80,443,4443,4444,4646,4651,7000,8301 any audit audit/hard",
            "ingress udp 8301 any audit audit/hard",
            "ingress esp  any audit audit/hard",
            "ingress vrrp  any audit audit/hard",
            "egress tcp 443,1433,4651,7000,8301 any audit audit/hard",
            "egress udp 1434,3289,8301,49501 any audit audit/hard",
            "egress esp  any audit audit/hard",
            "egress vrrp  any audit audit/hard",
        ]
    );
    let enforced = product("hard", &["server"], &["base"]);
    assert_eq!(
        audit_lines(&resolve_product(&catalogue, enforced)),
        Vec::<String>::new()
    );
}

#[test]
fn an_enforced_product_keeps_its_ports() {
    let catalogue = catalogue_of(&[include_str!("hard.toml")]);
    let mut config = super::config();
    let mut trial = product("hard", &["database"], &["base"]);
    trial.stage = Stage::Audit;
    config.products.push(trial);
    let mut enforced = product("hard", &["server"], &["base"]);
    enforced.name = "second".to_owned();
    config.products.push(enforced);
    let resolved = resolve(&config, &catalogue, &super::facts());
    assert_eq!(
        audit_lines(&resolved),
        [
            "ingress tcp 1433,4652 any audit audit/hard",
            "ingress udp 1434 any audit audit/hard",
            "egress tcp 4652 any audit audit/hard",
        ]
    );
}
