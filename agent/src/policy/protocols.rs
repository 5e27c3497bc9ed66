//! IP protocol numbers and their keywords in lower case, as IANA's registry
//! "Assigned Internet Protocol Numbers" has them; those that a server may meet.

const KEYWORDS: &[(u8, &str)] = &[
    (0, "hopopt"),
    (1, "icmp"),
    (2, "igmp"),
    (3, "ggp"),
    (4, "ipv4"),
    (5, "st"),
    (6, "tcp"),
    (8, "egp"),
    (9, "igp"),
    (17, "udp"),
    (27, "rdp"),
    (29, "iso-tp4"),
    (33, "dccp"),
    (36, "xtp"),
    (41, "ipv6"),
    (46, "rsvp"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "ipv6-icmp"),
    (80, "iso-ip"),
    (88, "eigrp"),
    (89, "ospfigp"),
    (94, "ipip"),
    (97, "etherip"),
    (98, "encap"),
    (103, "pim"),
    (108, "ipcomp"),
    (112, "vrrp"),
    (113, "pgm"),
    (115, "l2tp"),
    (124, "isis-over-ipv4"),
    (132, "sctp"),
    (133, "fc"),
    (135, "mobility-header"),
    (136, "udplite"),
    (137, "mpls-in-ip"),
    (138, "manet"),
    (139, "hip"),
    (140, "shim6"),
    (141, "wesp"),
    (142, "rohc"),
    (143, "ethernet"),
];

/// The keyword of a protocol number, where it has one here.
pub(super) fn name(number: u8) -> Option<&'static str> {
    KEYWORDS
        .iter()
        .find(|(known, _)| *known == number)
        .map(|(_, keyword)| *keyword)
}

/// The number of a keyword in lower case.
pub(super) fn number(name: &str) -> Option<u8> {
    KEYWORDS
        .iter()
        .find(|(_, keyword)| *keyword == name)
        .map(|(number, _)| *number)
}
