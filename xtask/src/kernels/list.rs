//! The kernels that the programs must load on: the one list of them.

/// A kernel as Debian distributes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// Its line of versions.
    pub(crate) name: &'static str,
    /// Where a server meets it.
    pub(crate) of: &'static str,
    /// The archives to look in, as lines of apt's sources without the keyring.
    pub(crate) sources: &'static [&'static str],
}

/// The package that always depends on the archive's present kernel: names with versions move.
pub(crate) const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// From the oldest to the newest.
pub(crate) const KERNELS: [Kernel; 3] = [
    Kernel {
        name: "5.10",
        of: "Debian 11",
        sources: &[
            "http://deb.debian.org/debian bullseye main",
            "http://deb.debian.org/debian-security bullseye-security main",
        ],
    },
    Kernel {
        name: "6.1",
        of: "Debian 12",
        sources: &[
            "http://deb.debian.org/debian bookworm main",
            "http://deb.debian.org/debian-security bookworm-security main",
        ],
    },
    Kernel {
        name: "6.12",
        of: "Debian 12, backports",
        sources: &["http://deb.debian.org/debian bookworm-backports main"],
    },
];

/// What is built as a module there and needed by what attaches, by the table that stands in for the programs, and by the devices and the
/// IPsec that a server has.
pub(crate) const MODULES: [&str; 17] = [
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
    // What a state's first number is drawn from.
    "sha3_generic",
    "jitterentropy_rng",
    "sha512_generic",
    "drbg",
    "echainiv",
];
