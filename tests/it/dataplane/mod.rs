//! The data plane on real interfaces, by the agent's library and by `portcullis detach`.

mod bare;
mod life;
mod others;
mod prove;
mod run;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use portcullis::dataplane::{DEFAULT_ROOT, Dataplane, Options};
use portcullis_tests::life as life_of;
use portcullis_tests::life::policy;
use portcullis_tests::link::cable;
use portcullis_tests::netns::Namespace;

/// Two hosts on a cable; the first is guarded.
struct Pair {
    guarded: Namespace,
    client: Namespace,
    _listeners: Vec<TcpListener>,
}

const OPEN: u16 = 8080;
const CLOSED: u16 = 8081;

impl Pair {
    #[track_caller]
    fn new() -> Self {
        let mut pair = Self {
            guarded: Namespace::new("guarded").unwrap(),
            client: Namespace::new("client").unwrap(),
            _listeners: Vec::new(),
        };
        pair.plug();
        pair._listeners = [OPEN, CLOSED].map(|port| pair.listen(port)).into();
        pair
    }

    /// Lays the cable between both.
    #[track_caller]
    fn plug(&self) {
        cable(
            (&self.guarded, "eth0", &["10.79.0.1/24", "fd79::1/64"]),
            (&self.client, "eth0", &["10.79.0.2/24", "fd79::2/64"]),
        )
        .unwrap();
    }

    /// On any address: it outlives an interface that is made again.
    #[track_caller]
    fn listen(&self, port: u16) -> TcpListener {
        let at = SocketAddr::from(([0, 0, 0, 0], port));
        self.guarded
            .enter(|| TcpListener::bind(at))
            .unwrap()
            .unwrap()
    }

    /// Runs on the guarded host, where its own pins are.
    #[track_caller]
    fn on<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.guarded.enter(work).unwrap()
    }

    fn reaches(&self, port: u16) -> bool {
        let to = SocketAddr::from(([10, 79, 0, 1], port));
        let connected = self
            .client
            .enter(|| TcpStream::connect_timeout(&to, Duration::from_millis(400)));
        connected.unwrap().is_ok()
    }

    #[track_caller]
    fn check(&self, open: bool, closed: bool) {
        assert_eq!(
            (self.reaches(OPEN), self.reaches(CLOSED)),
            (open, closed),
            "ports {OPEN} and {CLOSED}"
        );
    }
}

#[track_caller]
fn load(options: &Options) -> Dataplane {
    life_of::load(options).unwrap_or_else(|error| panic!("{error:#}"))
}

#[track_caller]
fn enforcing(options: &Options, ports: &[u16]) -> Dataplane {
    life_of::enforcing(options, ports).unwrap_or_else(|error| panic!("{error:#}"))
}

#[track_caller]
fn nothing_left() {
    assert!(!Path::new(DEFAULT_ROOT).exists(), "pins are left");
    assert_eq!(programs_on("eth0"), "", "programs are left on eth0");
}

/// What `ip` and `tc` show on an interface of this thread's network.
fn programs_on(interface: &str) -> String {
    let mut shown = String::new();
    for line in [
        format!("ip -d link show dev {interface}"),
        format!("tc qdisc show dev {interface} clsact"),
        format!("bpftool -j net show dev {interface}"),
    ] {
        let mut words = line.split(' ');
        let output = std::process::Command::new(words.next().unwrap())
            .args(words)
            .output()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        let text = String::from_utf8_lossy(&output.stdout);
        let telling = |line: &&str| {
            line.contains("prog/xdp") || line.contains("clsact") || line.contains("\"id\"")
        };
        shown.extend(text.lines().filter(telling));
    }
    shown
}
