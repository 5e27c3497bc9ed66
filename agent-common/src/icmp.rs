//! The decision over ICMP and ICMPv6: echo, errors by the packet they quote, neighbour discovery, multicast listeners.

use crate::conntrack::{enter, lives, reply, sent};
use crate::decide::{INTERNAL, answer, cell_for, is_own, verdict_of, was_asked};
use crate::flow::{FlowKey, FlowState};
use crate::lookup::Lookup;
use crate::net::{Address, IpProto, icmp};
use crate::packet::{Network, Quoted};
use crate::parse::{Family, IcmpHead};
use crate::tables::{CellAction, Head, Plane, other};
use crate::trie::Classified;
use crate::verdict::{Reason, Verdict};

/// An address of either family, with all that an ICMP decision needs.
pub trait Host: Classified + Family + 'static {}
impl<A: Classified + Family + 'static> Host for A {}

/// What an ICMP message is, in words common to both families.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Echo,
    EchoReply,
    Error,
    Redirect,
    /// Only from the link itself: hop limit 255 (RFC 4861 §6.1, §7.1).
    Neighbour,
    RouterAdvertisement,
    /// Multicast listener discovery: hop limit 1, router alert (RFC 2710 §3).
    Listener,
    Other,
}

#[inline(always)]
fn kind<A: Address>(kind: u8) -> Kind {
    if A::FAMILY == 4 {
        return match kind {
            icmp::ECHO => Kind::Echo,
            icmp::ECHO_REPLY => Kind::EchoReply,
            icmp::UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER => Kind::Error,
            icmp::REDIRECT => Kind::Redirect,
            _ => Kind::Other,
        };
    }
    match kind {
        icmp::V6_ECHO => Kind::Echo,
        icmp::V6_ECHO_REPLY => Kind::EchoReply,
        1..=4 => Kind::Error,
        icmp::V6_REDIRECT => Kind::Redirect,
        icmp::ROUTER_SOLICITATION
        | icmp::NEIGHBOUR_SOLICITATION
        | icmp::NEIGHBOUR_ADVERTISEMENT => Kind::Neighbour,
        icmp::ROUTER_ADVERTISEMENT => Kind::RouterAdvertisement,
        icmp::MLD_QUERY | icmp::MLD_REPORT | icmp::MLD_DONE | icmp::MLD2_REPORT => Kind::Listener,
        _ => Kind::Other,
    }
}

/// Index of an ICMP type in the planes without ports.
#[inline(always)]
pub(crate) fn index<A: Address>(kind: u8) -> u16 {
    if A::FAMILY == 4 {
        other::icmp(kind)
    } else {
        other::icmpv6(kind)
    }
}

#[inline(always)]
fn echo_key<A: Address>(local: A, peer: A, identifier: u16) -> FlowKey {
    FlowKey::new(A::ICMP, local, identifier, peer, 0)
}

/// Whether a message of this type quotes the packet that it is about.
#[inline(always)]
pub(crate) fn is_error<A: Address>(of: u8) -> bool {
    kind::<A>(of) == Kind::Error
}

/// A message to this host. `quoted` is the packet that an error quotes, as far as it can be read.
#[inline(always)]
pub(crate) fn ingress<A: Host, W: Lookup>(
    world: &W,
    network: &Network<A>,
    head: IcmpHead,
    quoted: Option<&Quoted<A>>,
) -> Verdict {
    let kind = kind::<A>(head.kind);
    match kind {
        Kind::Redirect => return Verdict::deny(Reason::Redirect),
        // RFC 6980 §5
        Kind::Neighbour | Kind::RouterAdvertisement | Kind::Listener
            if !network.fragment.is_whole() =>
        {
            return Verdict::deny(Reason::Fragment);
        }
        Kind::Neighbour | Kind::RouterAdvertisement if network.hop_limit != 255 => {
            return Verdict::deny(Reason::OffLink);
        }
        Kind::RouterAdvertisement if !network.source.is_link_local() => {
            return Verdict::deny(Reason::OffLink);
        }
        Kind::Listener if !listener(network) => return Verdict::deny(Reason::OffLink),
        Kind::Echo | Kind::EchoReply if network.to_group => return Verdict::deny(Reason::Group),
        _ => {}
    }
    let Some(cell) = cell_for(
        world,
        Plane::IngressOther,
        index::<A>(head.kind),
        network.source,
    ) else {
        return INTERNAL;
    };
    let stands = verdict_of(cell);
    if matches!(cell.action(), CellAction::Allow | CellAction::Block) {
        return stands;
    }
    match kind {
        Kind::EchoReply => {
            let key = echo_key(network.destination, network.source, head.identifier);
            reply(world, &key, 0).unwrap_or(stands)
        }
        Kind::Error => match quoted {
            Some(quoted) if quoted.source == network.destination && would_send(world, quoted) => {
                Verdict::pass(Reason::Related)
            }
            _ if stands.passes() => stands,
            _ => Verdict::deny(Reason::Unrelated),
        },
        _ => stands,
    }
}

/// A message from this host.
#[inline(always)]
pub(crate) fn egress<A: Host, W: Lookup>(
    world: &W,
    network: &Network<A>,
    head: IcmpHead,
    quoted: Option<&Quoted<A>>,
) -> Verdict {
    let kind = kind::<A>(head.kind);
    if kind == Kind::Redirect {
        return Verdict::deny(Reason::Redirect);
    }
    let Some(rules) = cell_for(
        world,
        Plane::EgressOther,
        index::<A>(head.kind),
        network.destination,
    ) else {
        return INTERNAL;
    };
    let stands = verdict_of(rules);
    if rules.action() == CellAction::Block {
        return stands;
    }
    match kind {
        Kind::Echo => {
            let key = echo_key(network.source, network.destination, head.identifier);
            if let Some(verdict) = sent(world, &key, rules, 0) {
                return verdict;
            }
            if stands.passes() {
                enter(world, &key, FlowState::Echo, stands);
            }
            stands
        }
        Kind::EchoReply => {
            let Some(back) = cell_for(
                world,
                Plane::IngressOther,
                index::<A>(A::ECHO),
                network.destination,
            ) else {
                return INTERNAL;
            };
            if back.action() == CellAction::Block {
                return verdict_of(back);
            }
            if back.passes() { answer(back) } else { stands }
        }
        Kind::Error if rules.action() != CellAction::Allow => match quoted {
            Some(quoted) if quoted.source == network.destination && let_in(world, quoted) => {
                Verdict::pass(Reason::Related)
            }
            _ if stands.passes() => stands,
            _ => Verdict::deny(Reason::Unrelated),
        },
        _ => stands,
    }
}

/// Whether a multicast listener message comes from the link: hop limit 1, a router alert, a link-local or no source.
#[inline(always)]
fn listener<A: Address>(network: &Network<A>) -> bool {
    network.hop_limit == 1
        && network.router_alert
        && (network.source.is_link_local() || network.source.is_unspecified())
}

/// Whether the host would have sent the quoted packet: in a flow that it began, or as an answer. Nothing is refreshed.
#[inline(always)]
fn would_send<A: Host, W: Lookup>(world: &W, quoted: &Quoted<A>) -> bool {
    let (local, peer) = (quoted.source, quoted.destination);
    if quoted.protocol == A::ICMP {
        if quoted.source_port == u16::from(A::ECHO) {
            return lives(world, &echo_key(local, peer, quoted.destination_port));
        }
        return quoted.source_port == u16::from(A::ECHO_REPLY)
            && cell_for(world, Plane::IngressOther, index::<A>(A::ECHO), peer)
                .is_some_and(|cell| cell.passes());
    }
    let plane = match quoted.protocol {
        IpProto::TCP => Plane::IngressTcp,
        IpProto::UDP => Plane::IngressUdp,
        _ => return false,
    };
    let key = FlowKey::new(
        quoted.protocol,
        local,
        quoted.source_port,
        peer,
        quoted.destination_port,
    );
    lives(world, &key)
        || (cell_for(world, plane, quoted.source_port, peer)
            .is_some_and(|cell| cell.passes() || cell.is_asked_by_group())
            && (quoted.protocol == IpProto::TCP
                || was_asked(world, peer, quoted.destination_port, quoted.source_port)))
}

/// Whether the quoted packet was one that the ingress decision lets in, or one that this host takes further.
#[inline(always)]
fn let_in<A: Host, W: Lookup>(world: &W, quoted: &Quoted<A>) -> bool {
    let (peer, local) = (quoted.source, quoted.destination);
    let flags = world.head().flags;
    // A router answers for what it does not take further: too big, too far.
    if flags & (Head::FORWARDS | Head::FORWARD_SAME) == Head::FORWARDS {
        match is_own(world, local) {
            Some(true) => {}
            Some(false) => return flags & Head::FORWARD_PASS != 0,
            None => return false,
        }
    }
    if quoted.protocol == A::ICMP {
        return quoted.source_port == u16::from(A::ECHO)
            && cell_for(world, Plane::IngressOther, index::<A>(A::ECHO), peer)
                .is_some_and(|cell| cell.passes());
    }
    let plane = match quoted.protocol {
        IpProto::TCP => Plane::IngressTcp,
        IpProto::UDP => Plane::IngressUdp,
        _ => return false,
    };
    let key = FlowKey::new(
        quoted.protocol,
        local,
        quoted.destination_port,
        peer,
        quoted.source_port,
    );
    cell_for(world, plane, quoted.destination_port, peer).is_some_and(|cell| cell.passes())
        || lives(world, &key)
}
