//! The host's own settings: baseline, events, metrics, daemon.

use toml::Spanned;

use super::kinds::Kind;
use super::peers::{PeerSpec, Peers};
use super::raw::{
    EachEcho, RawBaseline, RawBudgets, RawDaemon, RawEcho, RawEvents, RawMetrics, Scalar, Values,
};
use super::schema::{Baseline, BaselineItem, Budgets, Daemon, Events, Listen, Metrics, Sink};
use super::units;
use super::values::Reader;

/// What an item of the baseline takes besides `false` and peers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Auto,
    Peers,
    True,
}

pub(super) fn baseline(raw: RawBaseline, reader: &mut Reader) -> Baseline {
    let defaults = Baseline::default();
    let mut item = |written: Option<&Values>, takes, fallback| match written {
        Some(values) => baseline_item(values, takes, reader),
        None => fallback,
    };
    let (incoming, outgoing) = match raw.icmp_echo {
        Some(RawEcho::Both(both)) => (Some(both.clone()), Some(both)),
        Some(RawEcho::Each(EachEcho { incoming, outgoing })) => (incoming, outgoing),
        None => (None, None),
    };
    Baseline {
        dns: item(raw.dns.as_ref(), Takes::Auto, defaults.dns),
        dhcp_client: item(raw.dhcp_client.as_ref(), Takes::Auto, defaults.dhcp_client),
        ntp: item(raw.ntp.as_ref(), Takes::Peers, defaults.ntp),
        icmp_echo_in: item(incoming.as_ref(), Takes::Peers, defaults.icmp_echo_in),
        icmp_echo_out: item(outgoing.as_ref(), Takes::Peers, defaults.icmp_echo_out),
        neighbour_discovery: item(
            raw.neighbour_discovery.as_ref(),
            Takes::True,
            defaults.neighbour_discovery,
        ),
        router_advertisements: item(
            raw.router_advertisements.as_ref(),
            Takes::True,
            defaults.router_advertisements,
        ),
        mld_igmp: item(raw.mld_igmp.as_ref(), Takes::True, defaults.mld_igmp),
    }
}

fn baseline_item(values: &Values, takes: Takes, reader: &mut Reader) -> BaselineItem {
    let help = match takes {
        Takes::Auto => "write \"auto\", false, \"any\" or peers",
        Takes::Peers => "write false, \"any\" or peers",
        Takes::True => "write true, false, \"any\" or peers",
    };
    let lone = match values.list.as_slice() {
        [only] => Some(only.get_ref()),
        _ => None,
    };
    match lone {
        Some(Scalar::Bool(false)) => return BaselineItem::Off,
        Some(Scalar::Bool(true)) if takes == Takes::True => {
            return BaselineItem::Peers(Peers::any(values.span.clone()));
        }
        Some(Scalar::Text(word)) if word == "auto" && takes == Takes::Auto => {
            return BaselineItem::Auto;
        }
        _ => {}
    }
    for value in &values.list {
        let wrong = match value.get_ref() {
            Scalar::Bool(_) | Scalar::Number(_) => true,
            Scalar::Text(word) => word == "auto",
        };
        if wrong {
            let finding = Kind::Baseline
                .finding(format!("this item can't be `{}`", value.get_ref()))
                .help(help);
            reader.push(finding, value.span());
            return BaselineItem::Off;
        }
    }
    let peers = reader.peers(values);
    match peers.spec {
        PeerSpec::None => BaselineItem::Off,
        _ => BaselineItem::Peers(peers),
    }
}

pub(super) fn events(raw: &RawEvents, reader: &mut Reader) -> Events {
    const LONGEST: u64 = 86_400;
    let defaults = Events::default();
    let window = raw.window.as_ref().and_then(|written| {
        let window = units::duration(written.get_ref()).and_then(|window| {
            if (1..=LONGEST).contains(&window.as_secs()) {
                Ok(window)
            } else {
                Err("the window lies between 1s and 1d".to_owned())
            }
        });
        window
            .map_err(|why| reader.push(Kind::OutOfRange.finding(why), written.span()))
            .ok()
    });
    let sinks = raw.sinks.as_ref().map(|values| {
        let words = reader.words(values);
        words
            .iter()
            .filter_map(|word| sink(word, reader))
            .collect::<Vec<_>>()
    });
    Events {
        window: window.unwrap_or(defaults.window),
        acquaintances: budgets(&raw.acquaintances, defaults.acquaintances, reader),
        strangers: budgets(&raw.strangers, defaults.strangers, reader),
        sinks: sinks.unwrap_or(defaults.sinks),
    }
}

fn sink(word: &Spanned<String>, reader: &mut Reader) -> Option<Sink> {
    let known = Sink::ALL
        .into_iter()
        .find(|sink| sink.name() == word.get_ref());
    if known.is_none() {
        let finding = Kind::Value
            .finding(format!("`{}` is none of the known words", word.get_ref()))
            .help(format!(
                "known here: {}",
                Sink::ALL.map(Sink::name).join(", ")
            ));
        reader.push(finding, word.span());
    }
    known
}

fn budgets(raw: &RawBudgets, defaults: Budgets, reader: &mut Reader) -> Budgets {
    /// More events in a second than a reader of one ring buffer takes.
    const MOST: u32 = 1_000_000;
    Budgets {
        peer: reader.number(raw.peer.as_ref(), 1, MOST, defaults.peer),
        all: reader.number(raw.all.as_ref(), 1, MOST, defaults.all),
    }
}

pub(super) fn metrics(raw: &RawMetrics, reader: &mut Reader) -> Metrics {
    let listen = raw.listen.as_ref().and_then(|written| {
        let found = listen(written.get_ref());
        if found.is_none() {
            let finding = Kind::Value
                .finding(format!(
                    "`{}` is no address with port, and no path of a socket",
                    written.get_ref()
                ))
                .help(
                    "write \"127.0.0.1:9469\", \"[::1]:9469\" or \"unix:/run/portcullis/metrics.sock\"",
                );
            reader.push(finding, written.span());
        }
        found
    });
    Metrics { listen }
}

/// An address with port, or `unix:` and an absolute path that fits a socket's name (108 octets with their end, unix(7)).
fn listen(written: &str) -> Option<Listen> {
    match written.strip_prefix("unix:") {
        Some(path) => (path.starts_with('/') && path.len() < 108 && !path.contains('\0'))
            .then(|| Listen::Unix(path.to_owned())),
        None => {
            let address: std::net::SocketAddr = written.parse().ok()?;
            (address.port() != 0).then_some(Listen::Address(address))
        }
    }
}

pub(super) fn daemon(raw: RawDaemon, reader: &mut Reader) -> Daemon {
    /// Less holds no policy, more no server has for a bank.
    const BANK: std::ops::RangeInclusive<u64> = 8 << 20..=16 << 30;
    let defaults = Daemon::default();
    let bank_memory = raw.bank_memory.as_ref().and_then(|written| {
        let size = units::size(written.get_ref()).and_then(|size| {
            if BANK.contains(&size) {
                Ok(size)
            } else {
                Err("a bank has between 8MiB and 16GiB".to_owned())
            }
        });
        size.map_err(|why| reader.push(Kind::OutOfRange.finding(why), written.span()))
            .ok()
    });
    let mut directory = |written: Option<Spanned<String>>, fallback: String| match written {
        Some(path) if path.get_ref().starts_with('/') => path.into_inner(),
        Some(path) => {
            let finding = Kind::Value
                .finding(format!("`{}` is no absolute path", path.get_ref()))
                .help(format!(
                    "write a path from the root, such as \"{fallback}\""
                ));
            reader.push(finding, path.span());
            fallback
        }
        None => fallback,
    };
    Daemon {
        bank_memory: bank_memory.unwrap_or(defaults.bank_memory),
        on_failure: raw.on_failure.map(Into::into).unwrap_or_default(),
        socket_group: raw.socket_group.map(Spanned::into_inner),
        policies: directory(raw.policies, defaults.policies),
        state: directory(raw.state, defaults.state),
        runtime: directory(raw.runtime, defaults.runtime),
        pins: directory(raw.pins, defaults.pins),
    }
}
