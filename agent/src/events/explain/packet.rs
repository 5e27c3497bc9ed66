//! Packets that no rule could admit: what was wrong with them, in plain words.

use agent_common::event::Direction;
use agent_common::verdict::Reason;

use super::{Explanation, Question, words};
use crate::events::decode::Transport;
use crate::events::kinds::Kind;

/// The explanation, where the reason lies in the packet.
pub(super) fn explain(question: &Question) -> Option<Explanation> {
    let peer = words::peer_word(question.peer);
    let service = words::service(question.transport, question.asked.port);
    let (expected, text, remedy) = match question.reason {
        Reason::NonIp => (
            "IPv4, IPv6, ARP, LLDP, EAPOL, slow protocols or PTP",
            match question.transport {
                Transport::Link(ether_type) => {
                    format!(
                        "neither IP nor a link protocol that passes: EtherType {ether_type:#06x}"
                    )
                }
                _ => "neither IP nor a link protocol that passes".to_owned(),
            },
            "nothing, no rule can name it; a protocol that the host needs on its link belongs to the list of link protocols",
        ),
        Reason::Unreadable => (
            "a packet that holds the header it announces",
            format!("the packet of {peer} ends before its header does"),
            "nothing, if it is one; many of them: look for a fault of the driver or the path",
        ),
        Reason::Header => (
            "a header with a possible version and length",
            format!("the packet of {peer} has an impossible header"),
            "nothing, no stack sends such packets",
        ),
        Reason::Fragment => (
            "a first fragment that holds its transport's whole header, and no neighbour discovery in fragments",
            format!("a fragment of {peer} that no stack sends"),
            "nothing, such fragments serve to pass filters",
        ),
        Reason::FragmentEarly => (
            "fragments after their first one, within 30 s",
            format!("a later fragment of {peer} whose first one has not passed here"),
            "nothing, if its first one was denied: see the event before; many of them from a peer that is admitted: fragments overtake each other, so look why path MTU discovery fails",
        ),
        Reason::Vlan => (
            "frames with at most two VLAN tags",
            "a frame with a third VLAN tag".to_owned(),
            "nothing, this host has no device for it; correct the switch port that sends it",
        ),
        Reason::Extension => (
            "at most eight IPv6 extension headers in their order, no routing header of type 0",
            format!("a chain of IPv6 extension headers of {peer} that no stack sends"),
            "nothing, such chains serve to pass filters",
        ),
        Reason::TcpFlags => (
            "TCP flags that a stack sends",
            format!("TCP flags of {peer} that no stack sends: a scan"),
            "nothing, it is no connection",
        ),
        Reason::Redirect => (
            "routes by configuration",
            format!("an ICMP redirect of {peer}, which would change a route of this host"),
            "nothing, redirects are never needed with correct routes; correct the route if the sender is the own router",
        ),
        Reason::Unrelated => (
            "an ICMP error about a packet that this host sent or let in",
            format!("an ICMP message of {peer} about no packet of this host"),
            "nothing, it comes too late, or is forged",
        ),
        Reason::OffLink => (
            "neighbour discovery with hop limit 255, router advertisements from a link-local address",
            format!("neighbour discovery of {peer} that was routed: it can't be from the own link"),
            "nothing, it is forged, or a router forwards what it must not (RFC 4861 section 6.1)",
        ),
        Reason::NotForwarded => (
            "packets to or from an address of this host: [forward] lets no other pass",
            match question.direction {
                Direction::Ingress => {
                    format!("{service} of {peer} to another host, on its way through this one")
                }
                Direction::Egress => {
                    format!("{service} of another host to {peer}, on its way through this one")
                }
            },
            "nothing, unless this host is to take it further: default = \"same-rules\", or \"pass\" # under [forward]",
        ),
        Reason::Internal => (
            "tables that can be read",
            "a table of the policy could not be read, so the packet was denied".to_owned(),
            "report it with the output of `portcullis doctor`: this should never happen",
        ),
        _ => return None,
    };
    Some(at_fault(question, expected, text, remedy))
}

/// A packet to a group that no rule and no row names.
pub(super) fn to_a_group(question: &Question) -> Explanation {
    let text = format!(
        "{} of {} to a multicast or broadcast address that no rule names",
        words::service(question.transport, question.asked.port),
        words::peer_word(question.peer)
    );
    at_fault(
        question,
        "a group or broadcast address that a rule names",
        text,
        "nothing, unless a product here is found this way; then its row names the group",
    )
}

fn at_fault(question: &Question, expected: &str, text: String, remedy: &str) -> Explanation {
    Explanation {
        kind: Kind::None,
        packet: true,
        expected: Some(expected.to_owned()),
        seen: words::seen(question),
        text,
        condition: None,
        remedy: remedy.to_owned(),
        step: remedy
            .split([':', ';', ','])
            .next()
            .unwrap_or(remedy)
            .to_owned(),
        rows: Vec::new(),
        near_rows: Vec::new(),
    }
}
