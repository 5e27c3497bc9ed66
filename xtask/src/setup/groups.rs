//! What each command needs beside the BPF toolchain: Debian's package and the file that proves it.

use std::path::Path;

use clap::ValueEnum;

use crate::process::find;

/// A set of things that one command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// The BPF toolchain and a C linker.
    Build,
    /// The throw-away hosts of the demonstration.
    Demo,
    /// The tests that need root.
    Test,
    /// A browser, for the tests of pages: some 100 MB.
    Browser,
    /// The rivals of the benchmarks.
    Bench,
    /// Other kernels under qemu.
    Kernels,
    /// What judges dependencies, and the BPF compiler's own clippy where that compiler is Debian's.
    Lint,
    /// Packages of the agent.
    Package,
    /// A bare system to try them in.
    Trial,
    /// Building for 64-bit Arm on another machine.
    Cross,
}

/// What shows that a package is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Proof {
    /// A program in PATH or in a directory of system programs.
    Program(&'static str),
    /// A file.
    File(&'static str),
}

/// One thing that is needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// Debian's package.
    pub(crate) package: &'static str,
    /// What shows that it is there, whoever installed it.
    pub(crate) proof: Proof,
}

impl Need {
    /// Whether it is there.
    pub(crate) fn is_met(&self) -> bool {
        match self.proof {
            Proof::Program(name) => find(name).is_some(),
            Proof::File(path) => Path::new(path).exists(),
        }
    }
}

const fn program(package: &'static str, name: &'static str) -> Need {
    Need {
        package,
        proof: Proof::Program(name),
    }
}

/// What Debian's packages are signed by.
const ARCHIVE: Need = Need {
    package: "debian-archive-keyring",
    proof: Proof::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
};

const BUILD: &[Need] = &[
    program("gcc", "cc"),
    // bpf-linker links with LLVM, which is C++.
    program("g++", "c++"),
    Need {
        package: "libc6-dev",
        proof: Proof::File("/usr/include/stdio.h"),
    },
];

/// Hosts in namespaces, a journal of their own, clients and servers.
const HOSTS: &[Need] = &[
    program("iproute2", "ip"),
    program("systemd", "journalctl"),
    program("curl", "curl"),
    program("socat", "socat"),
    program("iputils-ping", "ping"),
];

const TEST: &[Need] = &[
    program("nftables", "nft"),
    program("bpftool", "bpftool"),
    program("nmap", "nmap"),
    program("hping3", "hping3"),
    program("dnsmasq-base", "dnsmasq"),
    program("bind9-dnsutils", "dig"),
    program("faketime", "faketime"),
    program("keepalived", "keepalived"),
    program("traceroute", "traceroute"),
    program("prometheus", "prometheus"),
    program("patch", "patch"),
    program("tshark", "tshark"),
    // capinfos
    program("wireshark-common", "capinfos"),
    program("bsdutils", "script"),
    program("tmux", "tmux"),
];

const BROWSER: &[Need] = &[program(
    "chromium-headless-shell",
    "chromium-headless-shell",
)];

const BENCH: &[Need] = &[
    program("iproute2", "ip"),
    program("xdp-tools", "xdp-filter"),
    program("bpftool", "bpftool"),
    program("nftables", "nft"),
    program("iperf3", "iperf3"),
    program("ethtool", "ethtool"),
];

const KERNELS: &[Need] = &[
    program("qemu-system-x86", "qemu-system-x86_64"),
    program("dpkg", "dpkg-deb"),
    program("kmod", "depmod"),
    // Goes into the machines.
    program("iproute2", "ip"),
    // On the kernel that is running: namespaces instead of a machine.
    program("util-linux", "unshare"),
    // Newer kernels compress their modules.
    program("xz-utils", "xz"),
    program("apt", "apt-get"),
    ARCHIVE,
];

const LINT: &[Need] = &[Need {
    package: "rust-web-clippy",
    proof: Proof::File("/usr/bin/cargo-clippy"),
}];

const PACKAGE: &[Need] = &[
    program("dpkg", "dpkg-deb"),
    program("binutils", "objdump"),
    program("gzip", "gzip"),
    program("tar", "tar"),
    program("git", "git"),
];

const TRIAL: &[Need] = &[
    program("mmdebstrap", "mmdebstrap"),
    ARCHIVE,
    program("lintian", "lintian"),
    program("iproute2", "ip"),
    program("util-linux", "nsenter"),
];

const CROSS: &[Need] = &[
    program("gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc"),
    Need {
        package: "libc6-dev-arm64-cross",
        proof: Proof::File("/usr/aarch64-linux-gnu/lib/crt1.o"),
    },
];

impl Group {
    /// What the group holds; the groups that build hold the build group's needs, too.
    pub(crate) fn needs(self) -> Vec<Need> {
        let own: &[&[Need]] = match self {
            Self::Build => &[],
            Self::Demo => &[HOSTS],
            Self::Test => &[HOSTS, TEST],
            Self::Browser => &[BROWSER],
            Self::Bench => &[BENCH],
            Self::Kernels => &[KERNELS],
            Self::Lint => &[LINT],
            Self::Package => &[PACKAGE],
            Self::Trial => &[PACKAGE, TRIAL],
            Self::Cross => &[CROSS],
        };
        BUILD
            .iter()
            .chain(own.iter().copied().flatten())
            .copied()
            .collect()
    }
}
