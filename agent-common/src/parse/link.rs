//! What lies before the IP header: Ethernet, VLAN tags, or nothing.

use super::{ETHERNET, Ethernet, Ipv4, Tag};
use crate::event::Summary;
use crate::frame::Frame;
use crate::net::EtherType;
use crate::verdict::Reason;

/// VLAN tags that a frame may carry: a customer's and a provider's (IEEE 802.1Q, 802.1ad).
const MOST_TAGS: u32 = 2;

/// Octets of a tag.
const TAG: u32 = size_of::<Tag>() as u32;

/// What the link layer says of a frame. Words, because LLVM copies octets by unaligned accesses to the BPF stack, which the verifier refuses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// The EtherType after all tags; made from the IP version where there is no link header.
    ether_type: u32,
    /// Where the network header begins, in octets.
    pub(crate) network: u32,
    /// 1 where the frame was sent to a link-layer group, else 0.
    to_group: u32,
}

impl Link {
    /// The EtherType after all tags.
    #[inline(always)]
    pub(crate) fn ether_type(&self) -> EtherType {
        EtherType(self.ether_type as u16)
    }

    /// Whether the frame was sent to a link-layer group.
    #[inline(always)]
    pub(crate) fn is_to_group(&self) -> bool {
        self.to_group != 0
    }
}

/// Reads the link header. A tag that the network card took off counts as one of two; frames of devices without a link header begin with IP.
#[inline(always)]
pub(crate) fn link<F: Frame + ?Sized>(frame: &F, summary: &mut Summary) -> Result<Link, Reason> {
    if !frame.has_ethernet() {
        return bare(frame, summary);
    }
    let ethernet = frame.fixed::<Ethernet, 0>().ok_or(Reason::Unreadable)?;
    let mut ether_type = ethernet.ether_type();
    let mut network = ETHERNET;
    let mut tags = u32::from(frame.has_stripped_tag());
    summary.ether_type = ether_type.0;
    while ether_type.is_tag() {
        if tags == MOST_TAGS {
            return Err(Reason::Vlan);
        }
        let tag = frame.load::<Tag>(network).ok_or(Reason::Unreadable)?;
        ether_type = EtherType(u16::from_be(tag.ether_type));
        summary.ether_type = ether_type.0;
        network += TAG;
        tags += 1;
    }
    Ok(Link {
        ether_type: u32::from(ether_type.0),
        network,
        to_group: u32::from(ethernet.to_group()),
    })
}

/// IP from the first octet on.
#[inline(always)]
fn bare<F: Frame + ?Sized>(frame: &F, summary: &mut Summary) -> Result<Link, Reason> {
    // The shortest header of both. A single octet would be compared by its pointer's lower half, which the verifier refuses.
    let first = frame.fixed::<Ipv4, 0>().ok_or(Reason::Unreadable)?;
    let ether_type = match first.version_length >> 4 {
        4 => EtherType::IPV4,
        6 => EtherType::IPV6,
        _ => return Err(Reason::NonIp),
    };
    summary.ether_type = ether_type.0;
    Ok(Link {
        ether_type: u32::from(ether_type.0),
        network: 0,
        to_group: 0,
    })
}
