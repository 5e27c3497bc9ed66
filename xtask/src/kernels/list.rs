//! The kernels that the programs must load on: the one list of them.

/// A kernel that is claimed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// Its line of versions.
    pub(crate) name: &'static str,
    /// Where a server meets it.
    pub(crate) of: &'static str,
    /// Where it comes from.
    pub(crate) from: From,
    /// Whether each change must pass everything on it, not the loading alone: the oldest, and the one with most servers.
    pub(crate) on_each_change: bool,
}

/// Where a kernel comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// The highest version in these archives of Debian, as lines of apt's sources without the keyring.
    Debian(&'static [&'static str]),
    /// The one that this command runs on.
    Here,
}

/// The package that always depends on the archive's present kernel: names with versions move.
pub(crate) const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// From the oldest to the newest, and the one that is running.
pub(crate) const KERNELS: [Kernel; 5] = [
    Kernel {
        name: "5.10",
        of: "Debian 11",
        from: From::Debian(&[
            "http://deb.debian.org/debian bullseye main",
            "http://deb.debian.org/debian-security bullseye-security main",
        ]),
        on_each_change: true,
    },
    Kernel {
        name: "6.1",
        of: "Debian 12",
        from: From::Debian(&[
            "http://deb.debian.org/debian bookworm main",
            "http://deb.debian.org/debian-security bookworm-security main",
        ]),
        on_each_change: true,
    },
    Kernel {
        name: "6.12",
        of: "Debian 12, backports",
        from: From::Debian(&["http://deb.debian.org/debian bookworm-backports main"]),
        on_each_change: false,
    },
    Kernel {
        name: "newest",
        of: "Debian unstable or backports of 13, whichever is newer",
        from: From::Debian(&[
            "http://deb.debian.org/debian sid main",
            "http://deb.debian.org/debian trixie-backports main",
        ]),
        on_each_change: false,
    },
    Kernel {
        name: "running",
        of: "the machine that this runs on",
        from: From::Here,
        on_each_change: false,
    },
];

/// What is built as a module there and needed by what attaches, by the table that stands in for the programs, and by the devices and the
/// IPsec that a server has.
pub(crate) const MODULES: [&str; 13] = [
    "veth",
    "sch_ingress",
    "cls_bpf",
    "nf_tables",
    "nft_ct",
    "bonding",
    "8021q",
    "bridge",
    "esp4",
    "esp6",
    "xfrm_user",
    "authenc",
    "echainiv",
];

/// What a state of IPsec draws its first number from: loaded where it is there, before all others. Newer kernels have it by other names
/// or built in.
pub(crate) const WHERE_THERE: [&str; 5] = [
    "sha3_generic",
    "sha3",
    "jitterentropy_rng",
    "sha512_generic",
    "drbg",
];
