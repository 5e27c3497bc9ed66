//! What is written to what it means: raw tables to [`HostConfig`].

use std::collections::BTreeMap;

use toml::Spanned;

use super::kinds::Kind;
use super::peers::Peers;
use super::raw::{
    Raw, RawAllow, RawBlock, RawDefaults, RawFailsafe, RawOption, RawProduct, RawSet, Values,
};
use super::schema::{
    Allow, Block, Conntrack, Defaults, Failsafe, HostConfig, Product, SCHEMA, Stage,
};
use super::settings::{baseline, daemon, events, metrics};
use super::sources::Span;
use super::values::Reader;
use crate::diagnose::{Keyed, Source};
use crate::policy::OptionValue;

/// Texts of the files that sets name, or why one could not be read.
pub type SetFiles = BTreeMap<String, Result<String, String>>;

/// All of it. Faults go into the reader's findings; what could be understood comes back.
pub(super) fn config(raw: Raw, set_files: &SetFiles, reader: &mut Reader, top: Span) -> HostConfig {
    schema(raw.schema.as_ref(), reader, &top);
    sets(&raw.sets, set_files, reader);
    let interfaces = interfaces(raw.interfaces.as_ref(), reader, &top);
    let products = raw
        .product
        .into_entries()
        .filter_map(|(name, raw)| product(name, raw, reader))
        .collect();
    let allows = raw
        .allow
        .into_entries()
        .filter_map(|(name, raw)| allow(name, raw, reader))
        .collect();
    let blocks = raw
        .block
        .into_entries()
        .filter_map(|(name, raw)| block(name, raw, reader))
        .collect();
    let defaults = Conntrack::default();
    let conntrack = Conntrack {
        established: reader.number(
            raw.conntrack.established.as_ref(),
            1_024,
            1 << 24,
            defaults.established,
        ),
        new: reader.number(raw.conntrack.new.as_ref(), 1_024, 1 << 24, defaults.new),
    };
    HostConfig {
        interfaces,
        hook: raw.hook.map(Into::into).unwrap_or_default(),
        default: host_defaults(&raw.defaults, reader),
        products,
        allows,
        blocks,
        failsafes: failsafes(raw.failsafe, reader),
        baseline: baseline(raw.baseline, reader),
        forward: raw
            .forward
            .action
            .map(|word| Spanned::new(word.span(), word.into_inner().into())),
        conntrack,
        events: events(&raw.events, reader),
        metrics: metrics(&raw.metrics, reader),
        daemon: daemon(raw.daemon, reader),
        sets: reader.sets.clone(),
        sources: reader.sources.clone(),
    }
}

fn schema(written: Option<&Spanned<i64>>, reader: &mut Reader, top: &Span) {
    let (message, span) = match written {
        Some(number) if *number.get_ref() == SCHEMA => return,
        Some(number) => (
            format!("schema {} is not known here", number.get_ref()),
            number.span(),
        ),
        None if reader.written.at_top("", "schema") => return,
        None => (
            "the number of the schema is missing".to_owned(),
            top.clone(),
        ),
    };
    let finding = Kind::Schema
        .finding(message)
        .help(format!("write `schema = {SCHEMA}` as the first line"));
    reader.push(finding, span);
}

fn sets(raw: &Keyed<RawSet>, files: &SetFiles, reader: &mut Reader) {
    for (name, set) in raw.spanned() {
        table_name(name, reader);
        let entries = match set {
            RawSet::List(list) => reader.set_list(name.get_ref(), list),
            RawSet::File(file) => {
                let text = match files.get(file.get_ref()) {
                    Some(Ok(text)) => text,
                    Some(Err(why)) => {
                        let finding = Kind::SetFile
                            .finding(format!("`{}` can't be read: {why}", file.get_ref()))
                            .help("one address, prefix, range or name a line; an empty file is an empty set");
                        reader.push(finding, file.span());
                        ""
                    }
                    None => "",
                };
                let base = reader
                    .sources
                    .add(Source::new(file.get_ref().as_str(), text));
                reader.set_lines(name.get_ref(), text, base)
            }
        };
        reader.sets.insert(name.get_ref().clone(), entries);
    }
}

/// The name of a set, product, allow, block or failsafe: part of ids, which `/` and `#` divide.
fn table_name(name: &Spanned<String>, reader: &mut Reader) -> bool {
    let holds = !name.get_ref().is_empty()
        && name
            .get_ref()
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if !holds {
        let finding = Kind::Name
            .finding(format!("`{}` can't be part of an id", name.get_ref()))
            .help("use letters, digits, `-`, `_` and `.`");
        reader.push(finding, name.span());
    }
    holds
}

fn interfaces(written: Option<&Values>, reader: &mut Reader, top: &Span) -> Vec<Spanned<String>> {
    const HELP: &str =
        "write `interfaces = [\"eth0\"]` above the first [table]; globs such as \"ens*\" are fine";
    let span = match written {
        Some(values) if !values.list.is_empty() => {
            let names = reader.words(values);
            for name in &names {
                if name.get_ref() == "lo" {
                    let finding = Kind::Loopback
                        .finding("`lo` is never guarded: what stays inside the host is its own")
                        .help("take it out of the list");
                    reader.push(finding, name.span());
                }
            }
            return names;
        }
        Some(values) => values.span.clone(),
        None if reader.written.at_top("", "interfaces") => return Vec::new(),
        None => top.clone(),
    };
    let finding = Kind::NoInterfaces
        .finding("no interface is named, so nothing would be guarded")
        .help(HELP);
    reader.push(finding, span);
    Vec::new()
}

fn host_defaults(raw: &RawDefaults, reader: &mut Reader) -> Defaults {
    let word = |word: &Spanned<super::raw::DefaultWord>| {
        Spanned::new(word.span(), (*word.get_ref()).into())
    };
    let defaults = Defaults {
        ingress: raw.ingress.as_ref().map(word),
        egress: raw.egress.as_ref().map(word),
        audit_until: reader.moment(raw.audit_until.as_ref()),
    };
    for said in defaults.ingress.iter().chain(&defaults.egress) {
        let audit = *said.get_ref() == crate::rule::DefaultAction::Audit;
        if audit && !reader.written.at_top("default", "audit-until") {
            audit_until(said.span(), reader);
        }
    }
    defaults
}

fn audit_until(span: Span, reader: &mut Reader) {
    let finding = Kind::AuditUntil
        .finding("an audit needs a day on which it shall be over")
        .help("add `audit-until = 2027-01-31` (your day) below; afterwards status says so, nothing changes by itself");
    reader.push(finding, span);
}

fn product(name: Spanned<String>, raw: RawProduct, reader: &mut Reader) -> Option<Product> {
    let named = table_name(&name, reader);
    let span = name.span();
    let roles = match &raw.roles {
        Some(values) if !values.list.is_empty() => reader.words(values),
        other => {
            let help = format!(
                "write `roles = [\"…\"]`; `portcullis policy show {}` lists them",
                raw.policy.as_ref().unwrap_or(&name).get_ref()
            );
            match other {
                Some(empty) => {
                    let finding = Kind::EmptyList.finding("no role is named").help(help);
                    reader.push(finding, empty.span.clone());
                }
                None => reader.missing("roles", &help, span.clone()),
            }
            Vec::new()
        }
    };
    let (stage, stage_span) = match raw.stage {
        Some(word) => (Stage::from(*word.get_ref()), Some(word.span())),
        None => (Stage::default(), None),
    };
    if let (Stage::Audit, Some(stage)) = (stage, &stage_span)
        && !reader.written.has(span.start, "audit-until")
    {
        audit_until(stage.clone(), reader);
    }
    let mut peers = Keyed::default();
    for (role, values) in raw.peers.into_entries() {
        let value = reader.peers(&values);
        peers.push(role, value);
    }
    let mut groups = Keyed::default();
    for (group, values) in raw.groups.into_entries() {
        let value = reader.peers(&values);
        groups.push(group, value);
    }
    let mut ports = Keyed::default();
    for (port, values) in raw.ports.into_entries() {
        let value = reader.ports(&values);
        ports.push(port, value);
    }
    let mut versions = Keyed::default();
    for (line, version) in raw.versions.into_entries() {
        if let Some(version) = reader.version(&version) {
            versions.push(line, version);
        }
    }
    let mut options = Keyed::default();
    for (option, value) in raw.options.into_entries() {
        let span = value.span();
        let value = match value.into_inner() {
            RawOption::Switch(on) => OptionValue::Switch(on),
            RawOption::Choice(choice) => OptionValue::Choice(choice),
        };
        options.push(option, Spanned::new(span, value));
    }
    for reason in raw.skip.values() {
        reader.reason(reason);
    }
    let topologies = raw.topologies.as_ref().map(|values| reader.words(values));
    named.then(|| Product {
        policy: raw.policy.unwrap_or_else(|| name.clone()),
        name: name.into_inner(),
        span,
        roles,
        topologies,
        stage,
        stage_span,
        audit_until: reader.moment(raw.audit_until.as_ref()),
        options,
        versions,
        peers,
        groups,
        ports,
        skip: raw.skip,
    })
}

fn allow(name: Spanned<String>, raw: RawAllow, reader: &mut Reader) -> Option<Allow> {
    let named = table_name(&name, reader);
    let span = name.span();
    if raw.direction.is_none() {
        let help = "write \"ingress\" for flows that come in, \"egress\" for flows of this host";
        reader.missing("direction", help, span.clone());
    }
    let peers = match &raw.peers {
        Some(values) => Some(reader.peers(values)),
        None => {
            reader.missing("peers", "\"any\" must be said if it is meant", span.clone());
            None
        }
    };
    let reason = match &raw.reason {
        Some(reason) => Some(reader.reason(reason)),
        None => {
            reader.missing(
                "reason",
                "say in a few words why it is allowed",
                span.clone(),
            );
            None
        }
    };
    if !["tcp", "udp", "protocol"]
        .iter()
        .any(|key| reader.written.has(span.start, key))
    {
        let finding = Kind::NoService
            .finding(format!("`allow.{}` names no port", name.get_ref()))
            .help("write tcp = [ports], udp = [ports] or protocol = [\"esp\"]");
        reader.push(finding, span.clone());
    }
    let tcp = raw.tcp.as_ref().map(|values| reader.ports(values));
    let udp = raw.udp.as_ref().map(|values| reader.ports(values));
    let protocol = raw.protocol.as_ref().map(|values| reader.protocols(values));
    let expires = reader.moment(raw.expires.as_ref());
    named.then_some(())?;
    Some(Allow {
        name: name.into_inner(),
        span,
        direction: raw.direction?.into_inner(),
        tcp: tcp.unwrap_or_default(),
        udp: udp.unwrap_or_default(),
        protocol: protocol.unwrap_or_default(),
        peers: peers?,
        reason: reason?,
        owner: raw.owner,
        expires,
        cites: raw.cites,
    })
}

fn block(name: Spanned<String>, raw: RawBlock, reader: &mut Reader) -> Option<Block> {
    let named = table_name(&name, reader);
    let span = name.span();
    let peers = match &raw.peers {
        Some(values) => Some(reader.peers(values)),
        None => {
            reader.missing("peers", "\"any\" must be said if it is meant", span.clone());
            None
        }
    };
    let tcp = raw.tcp.as_ref().map(|values| reader.ports(values));
    let udp = raw.udp.as_ref().map(|values| reader.ports(values));
    let reason = raw.reason.as_ref().map(|reason| reader.reason(reason));
    named.then_some(())?;
    Some(Block {
        name: name.into_inner(),
        span,
        tcp: tcp.unwrap_or_default(),
        udp: udp.unwrap_or_default(),
        peers: peers?,
        reason,
        force: raw.force,
    })
}

fn failsafes(raw: Keyed<RawFailsafe>, reader: &mut Reader) -> Vec<Failsafe> {
    let mut list = Vec::new();
    if !raw.contains(Failsafe::SSH) {
        list.push(Failsafe {
            name: Failsafe::SSH.to_owned(),
            span: None,
            tcp: None,
            peers: Peers::any(0..0),
        });
    }
    for (name, raw) in raw.into_entries() {
        let named = table_name(&name, reader);
        let span = name.span();
        let is_ssh = name.get_ref() == Failsafe::SSH;
        if raw.tcp.is_none() && !is_ssh {
            reader.missing(
                "tcp",
                "only the failsafe `ssh` knows its ports",
                span.clone(),
            );
        }
        if raw.peers.is_none() && !is_ssh {
            reader.missing("peers", "\"any\" must be said if it is meant", span.clone());
        }
        let tcp = raw.tcp.as_ref().map(|values| reader.ports(values));
        let peers = match &raw.peers {
            Some(values) => reader.peers(values),
            None => Peers::any(span.clone()),
        };
        if named && (is_ssh || (tcp.is_some() && raw.peers.is_some())) {
            list.push(Failsafe {
                name: name.into_inner(),
                span: Some(span),
                tcp,
                peers,
            });
        }
    }
    list
}
