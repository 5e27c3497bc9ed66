//! Whether an interface has its address by DHCP: the files in which clients keep their leases.
//!
//! A lease counts where its address is on the interface, and where the interface has no IPv4 address at all: after a boot the client must
//! be able to ask for it again.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::facts::Interface;

/// Directories of dhclient and NetworkManager, whose files name the interface inside or in their name.
const DIRECTORIES: [&str; 4] = [
    "/var/lib/dhcp",
    "/var/lib/dhclient",
    "/var/lib/NetworkManager",
    "/run/NetworkManager/internal",
];

/// Whether a lease of this interface is known. It is true already where one of its IPv4 addresses ends by itself.
pub(super) fn known(interface: &Interface) -> bool {
    let addresses: Vec<Ipv4Addr> = interface
        .addresses
        .iter()
        .filter_map(|address| match address.address.addr() {
            std::net::IpAddr::V4(address) => Some(address),
            std::net::IpAddr::V6(_) => None,
        })
        .collect();
    let counts = |leased: Vec<Ipv4Addr>| {
        !leased.is_empty()
            && (addresses.is_empty() || leased.iter().any(|lease| addresses.contains(lease)))
    };
    // systemd-networkd numbers its files by interface index.
    let networkd = format!("/run/systemd/netif/leases/{}", interface.index);
    if super::text(networkd).is_some_and(|text| counts(assigned(&text))) {
        return true;
    }
    files().into_iter().any(|path| {
        let named = belongs(&path, &interface.name);
        super::text(&path).is_some_and(|text| {
            counts(declared(&text, &interface.name)) || (named && counts(assigned(&text)))
        })
    })
}

fn files() -> Vec<PathBuf> {
    let in_directory = |directory| fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = DIRECTORIES
        .into_iter()
        .flat_map(in_directory)
        .map(|entry| entry.path())
        .filter(|path| is_lease_file(path))
        .collect();
    found.sort();
    found
}

fn is_lease_file(path: &Path) -> bool {
    let name = path.extension().and_then(|name| name.to_str());
    matches!(name, Some("lease" | "leases"))
}

/// NetworkManager's `internal-<uuid>-<interface>.lease`.
fn belongs(path: &Path, interface: &str) -> bool {
    let name = path.file_stem().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_suffix(interface))
        .is_some_and(|rest| rest.ends_with('-'))
}

/// `ADDRESS=10.0.0.5`: systemd-networkd and NetworkManager's own client.
fn assigned(text: &str) -> Vec<Ipv4Addr> {
    let values = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ADDRESS="));
    values.filter_map(|value| value.parse().ok()).collect()
}

/// `lease { interface "eth0"; fixed-address 10.0.0.5; … }`, dhclient.leases(5).
fn declared(text: &str, interface: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    for block in text.split("lease {").skip(1) {
        let block = block.split('}').next().unwrap_or("");
        let value = |key: &str| {
            block
                .split(';')
                .find_map(|statement| statement.trim().strip_prefix(key))
                .map(|value| value.trim().trim_matches('"'))
        };
        if value("interface ") == Some(interface) {
            found.extend(
                value("fixed-address ").and_then(|address| address.parse::<Ipv4Addr>().ok()),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const DHCLIENT: &str = r#"
lease {
  interface "eth0";
  fixed-address 10.0.0.5;
  option subnet-mask 255.255.255.0;
}
lease {
  interface "eth1";
  fixed-address 10.1.0.5;
}
"#;

    #[test]
    fn dhclient_names_the_interface_inside() {
        let address = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        assert_eq!(declared(DHCLIENT, "eth0"), [address("10.0.0.5")]);
        assert_eq!(declared(DHCLIENT, "eth1"), [address("10.1.0.5")]);
        assert!(declared(DHCLIENT, "eth").is_empty());
        assert!(declared("lease {", "eth0").is_empty());
        assert_eq!(assigned("# x\nADDRESS=10.0.0.7\nROUTER=1.1.1.1\n").len(), 1);
    }

    #[test]
    fn network_manager_names_it_in_the_file_name() {
        for (path, interface, expected) in [
            ("internal-0e-eth0.lease", "eth0", true),
            ("internal-0e-eth0.lease", "th0", false),
            ("internal-0e-eth10.lease", "eth0", false),
            ("dhclient.leases", "eth0", false),
        ] {
            assert_eq!(belongs(Path::new(path), interface), expected, "{path}");
        }
    }
}
