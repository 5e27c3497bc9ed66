//! The name servers that this host asks.

use std::net::IpAddr;

/// The C library's configuration, resolv.conf(5).
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where a local stub says whom it asks: systemd-resolved.service(8), NetworkManager.conf(5) under `dns`.
const UPSTREAM: [&str; 2] = [
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
];

/// The resolvers in force; a stub on this host together with those that it asks.
pub(super) fn in_force(notes: &mut Vec<String>) -> Vec<IpAddr> {
    let Some(text) = super::text(RESOLV_CONF) else {
        notes.push(format!(
            "{RESOLV_CONF} can't be read; no resolver is known, say `[baseline] dns` as a list"
        ));
        return Vec::new();
    };
    let mut found = servers(&text);
    if found.iter().any(IpAddr::is_loopback) {
        let before = found.len();
        for path in UPSTREAM {
            let upstream = super::text(path).map(|text| servers(&text));
            for address in upstream.unwrap_or_default() {
                if !found.contains(&address) {
                    found.push(address);
                }
            }
        }
        if found.len() == before && found.iter().all(IpAddr::is_loopback) {
            notes.push(format!(
                "{RESOLV_CONF} names a resolver on this host that does not say whom it asks; say `[baseline] dns` as a list"
            ));
        }
    }
    found
}

fn servers(text: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // fe80::1%eth0: the zone is the kernel's business
        let address = words.next().and_then(|word| word.split('%').next());
        if let Some(Ok(address)) = address.map(str::parse)
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read() {
        for (text, expected) in [
            ("", vec![]),
            ("# nameserver 1.2.3.4\nsearch example.org\n", vec![]),
            (
                "nameserver 10.0.0.53 # first\n nameserver\t2001:db8::53\n",
                vec!["10.0.0.53", "2001:db8::53"],
            ),
            ("nameserver fe80::1%eth0\n", vec!["fe80::1"]),
            (
                "nameserver 10.0.0.53\nnameserver 10.0.0.53\nnameserver no",
                vec!["10.0.0.53"],
            ),
        ] {
            let found: Vec<String> = servers(text).iter().map(IpAddr::to_string).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
