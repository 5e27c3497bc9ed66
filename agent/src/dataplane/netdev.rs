//! What a driver says of its XDP: the generic netlink family `netdev` (Linux 6.3 and later).
//!
//! Layouts: include/uapi/linux/{genetlink,netdev}.h. Host byte order.

use std::io;

use nix::sys::socket::SockProtocol;

use super::netlink::{ask, attributes, half};

/// `struct genlmsghdr`.
const GENERIC: usize = 4;

/// What a driver's XDP can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XdpFeatures {
    /// XDP_DROP and XDP_PASS: all that a firewall needs (NETDEV_XDP_ACT_BASIC).
    pub basic: bool,
    /// Frames in several buffers, as a large MTU makes them (NETDEV_XDP_ACT_RX_SG).
    pub several_buffers: bool,
}

impl XdpFeatures {
    const fn of(bits: u64) -> Self {
        Self {
            basic: bits & 1 == 1,
            several_buffers: bits >> 5 & 1 == 1,
        }
    }
}

/// Asks for the XDP of an interface; `None` where the kernel is too old to say.
pub(super) fn xdp_features(interface: u32) -> io::Result<Option<XdpFeatures>> {
    const DEV_GET: u8 = 1;
    const IFINDEX: u16 = 1;
    const XDP_FEATURES: u16 = 3;
    let Some(family) = family("netdev")? else {
        return Ok(None);
    };
    let body = request(DEV_GET, IFINDEX, &interface.to_ne_bytes());
    for reply in ask(SockProtocol::NetlinkGeneric, family, 0, &body)? {
        let said = attributes(reply.body.get(GENERIC..).unwrap_or(&[]))
            .find(|&(kind, _)| kind == XDP_FEATURES)
            .and_then(|(_, value)| value.first_chunk::<8>());
        if let Some(bits) = said {
            return Ok(Some(XdpFeatures::of(u64::from_ne_bytes(*bits))));
        }
    }
    Ok(None)
}

/// The number of a family; `None` where the kernel has none of this name.
fn family(name: &str) -> io::Result<Option<u16>> {
    const CONTROLLER: u16 = 0x10;
    const GETFAMILY: u8 = 3;
    const FAMILY_ID: u16 = 1;
    const FAMILY_NAME: u16 = 2;
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    let body = request(GETFAMILY, FAMILY_NAME, &text);
    match ask(SockProtocol::NetlinkGeneric, CONTROLLER, 0, &body) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
        Ok(replies) => Ok(replies.iter().find_map(|reply| {
            attributes(reply.body.get(GENERIC..)?)
                .find(|&(kind, _)| kind == FAMILY_ID)
                .and_then(|(_, value)| half(value, 0))
        })),
    }
}

/// A command with one attribute.
fn request(command: u8, kind: u16, value: &[u8]) -> Vec<u8> {
    const VERSION: u8 = 1;
    let length = (4 + value.len()) as u16;
    let mut body = vec![command, VERSION, 0, 0];
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
    body
}

#[cfg(test)]
mod tests {
    use super::super::netlink::word;
    use super::*;

    #[test]
    fn the_controller_knows_itself_and_no_other_name() {
        assert_eq!(family("nlctrl").unwrap(), Some(0x10));
        assert_eq!(family("no-such-family").unwrap(), None);
    }

    #[test]
    fn features_are_bits() {
        for (bits, basic, several_buffers) in [
            (0, false, false),
            (0x01, true, false),
            (0x20, false, true),
            (0x7f, true, true),
        ] {
            let expected = XdpFeatures {
                basic,
                several_buffers,
            };
            assert_eq!(XdpFeatures::of(bits), expected, "{bits:#x}");
        }
    }

    #[test]
    fn loopback_has_no_xdp_of_its_own() {
        let Some(features) = xdp_features(1).unwrap() else {
            return assert!(family("netdev").unwrap().is_none());
        };
        assert!(!features.basic && !features.several_buffers);
        // no such interface
        assert!(xdp_features(0x7fff_fff0).is_err());
    }

    #[test]
    fn a_request_ends_at_a_word() {
        let body = request(3, 2, b"netdev\0");
        assert_eq!(body.len(), 16);
        assert_eq!((half(&body, 4), half(&body, 6)), (Some(11), Some(2)));
        assert_eq!(word(&body, 12), word(b"ev\0\0", 0));
    }
}
