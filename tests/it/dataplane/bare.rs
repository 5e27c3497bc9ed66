//! A device whose frames begin with IP.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use agent_common::net::tcp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use portcullis::dataplane::{DEFAULT_ROOT, Error, Options, detach_all};
use portcullis::host::schema::Hook as Wanted;
use portcullis_tests::life::syn;
use portcullis_tests::netns::Namespace;

use super::{CLOSED, OPEN, enforcing};

/// The other end of a tunnel: what is written here the host receives.
pub(super) fn tunnel(name: &str) -> File {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    const IFF_TUN: i16 = 0x0001;
    const IFF_NO_PI: i16 = 0x1000;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .unwrap();
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, &octet) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *place = octet as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = IFF_TUN | IFF_NO_PI;
    // SAFETY: the request lives through the call and is what this command takes.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    file
}

/// The flags of the next TCP segment that the host sends from this port; `None` where it sends none for a while.
fn answer(tunnel: &mut File, port: u16) -> Option<u8> {
    loop {
        let mut wait = [PollFd::new(
            std::os::fd::AsFd::as_fd(tunnel),
            PollFlags::POLLIN,
        )];
        if poll(&mut wait, PollTimeout::from(600_u16)).unwrap() == 0 {
            return None;
        }
        let mut packet = [0; 2048];
        let length = tunnel.read(&mut packet).unwrap();
        if length >= 40
            && packet[0] == 0x45
            && packet[9] == 6
            && packet[20..22] == port.to_be_bytes()
        {
            return Some(packet[33]);
        }
    }
}

#[test]
fn a_device_without_ethernet() {
    let host = Namespace::new("host").unwrap();
    let mut tunnel = host.enter(|| tunnel("tun0")).unwrap();
    host.ip("address add 10.79.0.1/24 dev tun0").unwrap();
    host.ip("link set tun0 up").unwrap();
    host.enter(|| {
        let _listeners = [OPEN, CLOSED]
            .map(|port| TcpListener::bind(SocketAddr::from(([10, 79, 0, 1], port))).unwrap());
        for tcx in [true, false] {
            let options = Options {
                tcx,
                ..Options::default()
            };
            let mut plane = enforcing(&options, &[OPEN]);
            for hook in [Wanted::Xdp, Wanted::XdpGeneric] {
                let refused = plane.attach("tun0", hook).unwrap_err();
                assert!(matches!(refused, Error::WithoutEthernet(_)), "{refused}");
            }
            let attached = plane.attach("tun0", Wanted::Auto).unwrap();
            assert!(attached.why.contains("no Ethernet header"), "{attached:?}");
            for (port, expected) in [(OPEN, Some(tcp::SYN | tcp::ACK)), (CLOSED, None)] {
                let packet = &syn(port)[14..];
                tunnel.write_all(packet).unwrap();
                assert_eq!(
                    answer(&mut tunnel, port),
                    expected,
                    "port {port}, tcx {tcx}"
                );
            }
            let counters = plane.counters().unwrap();
            let denied = counters.balance.reported + counters.balance.suppressed;
            assert_eq!((denied, counters.balance.lost), (1, 0), "{counters:?}");
            let links = plane.attached().unwrap();
            assert!(
                links.len() == 2 && links.iter().all(|link| link.load == Some(plane.number())),
                "{links:?}"
            );
            detach_all(Path::new(DEFAULT_ROOT)).unwrap();
        }
    })
    .unwrap();
}
