//! What `hook = "auto"` knows of drivers. A list that is data: one line a driver, with the reason.
//!
//! XDP is taken where attaching neither resets the link nor turns an offload off; wherever it would, the operator says `hook = "xdp"`.

use std::io;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// What to do with a driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Advice {
    /// Native XDP costs nothing but the program.
    Xdp,
    /// TC, because XDP costs more than it saves or disturbs the link.
    Tc,
}

/// Drivers by name as ETHTOOL_GDRVINFO gives it.
const DRIVERS: &[(&str, Advice, &str)] = &[
    // physical cards that take a program without a reset
    (
        "mlx5_core",
        Advice::Xdp,
        "takes a program by exchanging channels, the physical link stays up",
    ),
    (
        "sfc",
        Advice::Xdp,
        "takes a program by exchanging a pointer",
    ),
    // physical cards that don't (`ndo_bpf` of each in drivers/net/ethernet)
    (
        "ice",
        Advice::Tc,
        "attaching XDP takes the interface down and up",
    ),
    (
        "nfp",
        Advice::Tc,
        "attaching XDP takes the carrier away while rings are exchanged",
    ),
    ("i40e", Advice::Tc, "attaching XDP resets the card"),
    ("ixgbe", Advice::Tc, "attaching XDP takes the link down"),
    ("ixgbevf", Advice::Tc, "attaching XDP takes the link down"),
    ("igb", Advice::Tc, "attaching XDP takes the link down"),
    ("igc", Advice::Tc, "attaching XDP takes the link down"),
    ("mlx4_en", Advice::Tc, "attaching XDP restarts the port"),
    ("qede", Advice::Tc, "attaching XDP reloads the port"),
    ("stmmac", Advice::Tc, "attaching XDP restarts the port"),
    ("mvneta", Advice::Tc, "attaching XDP restarts the port"),
    ("bnxt_en", Advice::Tc, "XDP turns receive aggregation off"),
    // virtual ones
    (
        "veth",
        Advice::Tc,
        "native XDP gives up segmentation offload",
    ),
    (
        "virtio_net",
        Advice::Tc,
        "native XDP gives up receive offloads",
    ),
    (
        "vmxnet3",
        Advice::Tc,
        "native XDP gives up receive offloads",
    ),
    (
        "hv_netvsc",
        Advice::Tc,
        "native XDP gives up receive offloads",
    ),
    (
        "vif",
        Advice::Tc,
        "native XDP gives up segmentation offload",
    ),
    ("ena", Advice::Tc, "native XDP needs half of the queues"),
];

/// The advice for a driver, and why.
pub(super) fn advice(driver: Option<&str>) -> (Advice, String) {
    let Some(driver) = driver else {
        return (Advice::Tc, "its driver says no name".to_owned());
    };
    match DRIVERS.iter().find(|(name, _, _)| *name == driver) {
        Some((_, advice, why)) => (*advice, format!("driver {driver}: {why}")),
        None => (
            Advice::Tc,
            format!("driver {driver} is not known to take XDP without a cost"),
        ),
    }
}

/// The driver of an interface of this network namespace; `None` where it says none.
pub(super) fn driver(interface: &str) -> io::Result<Option<String>> {
    const ETHTOOL_GDRVINFO: u32 = 3;
    /// `struct ethtool_drvinfo` of include/uapi/linux/ethtool.h.
    #[repr(C)]
    struct DriverInfo {
        command: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }
    let mut info = DriverInfo {
        command: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        rest: [0; 160],
    };
    // SAFETY: DriverInfo is laid out as this command's structure.
    match unsafe { ethtool(interface, &mut info) } {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(None),
        Err(error) => return Err(error),
    }
    let name: Vec<u8> = info
        .driver
        .into_iter()
        .take_while(|&byte| byte != 0)
        .collect();
    Ok(String::from_utf8(name).ok().filter(|name| !name.is_empty()))
}

/// The answer to a command that takes and gives one number (`struct ethtool_value`).
pub(super) fn ethtool_value(interface: &str, command: u32) -> io::Result<u32> {
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let mut value = Value { command, data: 0 };
    // SAFETY: Value is laid out as the structure of such commands.
    unsafe { ethtool(interface, &mut value)? };
    Ok(value.data)
}

/// Asks the driver of an interface of this network namespace.
///
/// # Safety
/// `T` is laid out as the structure of the command in its first word (include/uapi/linux/ethtool.h).
unsafe fn ethtool<T>(interface: &str, data: &mut T) -> io::Result<()> {
    #[repr(C)]
    struct Request<T> {
        name: [u8; libc::IFNAMSIZ],
        data: *mut T,
        padding: [u64; 2],
    }
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        data: std::ptr::from_mut(data),
        padding: [0; 2],
    };
    let bytes = interface.as_bytes();
    request
        .name
        .get_mut(..bytes.len())
        .filter(|room| room.len() < libc::IFNAMSIZ)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?
        .copy_from_slice(bytes);
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: the request has the size of `struct ifreq` or more, its pointer leads to the command's structure, and both live through the
    // call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn physical_cards_take_xdp_and_virtual_ones_do_not() {
        for (driver, expected) in [
            (Some("mlx5_core"), Advice::Xdp),
            (Some("ixgbe"), Advice::Tc),
            (Some("veth"), Advice::Tc),
            (Some("virtio_net"), Advice::Tc),
            (Some("unheard-of"), Advice::Tc),
            (None, Advice::Tc),
        ] {
            let (advice, why) = advice(driver);
            assert_eq!(advice, expected, "{driver:?}: {why}");
            assert!(!why.is_empty());
        }
    }

    #[test]
    fn no_driver_is_listed_twice() {
        for (n, (name, _, _)) in DRIVERS.iter().enumerate() {
            assert!(
                DRIVERS[n + 1..].iter().all(|(other, _, _)| other != name),
                "{name}"
            );
        }
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert!(driver("no-such-if0").is_err());
        assert!(driver("a-name-longer-than-any").is_err());
    }
}
