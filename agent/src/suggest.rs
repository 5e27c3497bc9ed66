//! From what was seen to the smallest configuration that the documents cover: hosts to bind to a documented role, options to turn on,
//! ports that were moved. Pure.
//!
//! What no document covers is never proposed: it comes back as a question. What is proposed is proved: the files as they would be are read
//! again, with every product enforced, and asked for each documented flow that was seen.

mod choose;
pub mod edit;
mod find;
pub mod output;
pub mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use agent_common::verdict::Action;
use jiff::Timestamp;

use self::edit::{Edit, EditError};
use self::find::Finder;
use self::seen::{Flow, Seen, Sight};
use crate::compile::memory::Memory;
use crate::diagnose::{Findings, Source};
use crate::events::{Kind, Knowledge};
use crate::facts::Facts;
use crate::host::schema::Stage;
use crate::inputs::{Said, Texts};
use crate::meaning::meaning;
use crate::rule::RowId;

/// A configuration understood on a host: what judges, and what explains.
pub struct Understood {
    /// The tables.
    pub host: Memory,
    /// The rules and the documented flows.
    pub knowledge: Knowledge,
    /// What is wrong or doubtful; no errors.
    pub findings: Findings,
}

/// Understands a configuration.
///
/// # Errors
///
/// The findings, where it can't be enforced.
pub fn understand(said: &Said, facts: &Facts) -> Result<Understood, Findings> {
    let Some(config) = &said.config else {
        return Err(said.findings.clone());
    };
    let meaning = meaning(config, &said.catalogue, facts, &said.findings);
    match meaning.tables {
        Some(tables) if !meaning.findings.has_errors() => Ok(Understood {
            host: Memory::new(Rc::new(tables)),
            knowledge: Knowledge::gather(config, &said.catalogue, facts, &meaning.resolved),
            findings: meaning.findings,
        }),
        _ => Err(meaning.findings),
    }
}

/// Hosts to bind to a role or a group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bind {
    /// Who.
    pub peers: BTreeSet<IpAddr>,
    /// The rows that they were seen to use.
    pub rows: BTreeSet<RowId>,
}

/// A value to say, and the rows that it is for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Say {
    /// The value as it is written.
    pub value: String,
    /// The rows that were seen to be used.
    pub rows: BTreeSet<RowId>,
    /// Who used them.
    pub peers: BTreeSet<IpAddr>,
}

/// A flow that is not proposed, and what is to be answered first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Who asked whom for what.
    pub flow: Flow,
    /// What was seen of it.
    pub sight: Sight,
    /// In what it differs from what is documented.
    pub kind: Kind,
    /// What there is to say of it.
    pub text: String,
    /// What is to be answered.
    pub question: String,
    /// The line for one of the answers.
    pub remedy: String,
    /// The rows that come nearest.
    pub near: Vec<RowId>,
    /// The program that listens there, where it is known.
    pub program: Option<String>,
}

/// A host that knocks at many ports that nothing documents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scanner {
    /// Who.
    pub peer: IpAddr,
    /// Undocumented ports that it asked for.
    pub ports: usize,
    /// Packets, those to documented ports too.
    pub packets: u64,
}

/// A documented row that nobody was seen to use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Never {
    /// The row.
    pub row: RowId,
    /// The service in the vendor's word.
    pub service: String,
    /// Transports and ports.
    pub what: Vec<String>,
    /// Who would use it, or be asked.
    pub others: Vec<String>,
}

/// What became of the documented flows under the proposal, with every product enforced.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proof {
    /// Documented flows that were seen.
    pub flows: usize,
    /// Those that would be denied.
    pub denied: Vec<Flow>,
    /// What is wrong with the files as they would be.
    pub errors: Vec<String>,
}

/// What is proposed, and everything else that was seen.
#[derive(Clone, Debug, Default)]
pub struct Proposal {
    /// Hosts to bind, by product and role.
    pub bind: BTreeMap<(String, String), Bind>,
    /// Options to say, by product and option.
    pub options: BTreeMap<(String, String), Say>,
    /// Ports that were moved, by product and the port's name.
    pub ports: BTreeMap<(String, String), Say>,
    /// Roles that an option asks for, and that nobody was seen to play.
    pub nobody: BTreeSet<(String, String)>,
    /// What is not proposed, and why.
    pub asked: Vec<Asked>,
    /// Hosts of which nothing is proposed.
    pub scanners: Vec<Scanner>,
    /// Documented rows that nobody used.
    pub never: Vec<Never>,
    /// Flows that the present configuration admits.
    pub admitted: usize,
    /// The files as they are.
    pub before: Vec<Source>,
    /// The files as they would be.
    pub after: Vec<Source>,
    /// What becomes of what was seen.
    pub proof: Proof,
}

/// Proposes. `used` are rows whose counters say when they were last used, where counters are known; `enforce` proposes to end the audits,
/// too.
///
/// # Errors
///
/// Where a file is written in a way that can't be changed.
pub fn propose(
    said: &Said,
    understood: &Understood,
    facts: &Facts,
    seen: &Seen,
    used: Option<&BTreeMap<RowId, Timestamp>>,
    enforce: bool,
) -> Result<Proposal, EditError> {
    let finder = Finder::new(said, understood, facts, seen, used);
    let (mut proposal, documented) = finder.find();
    let edits = proposal.edits(said);
    let ends = ends_of_audits(said);
    let files = &said.texts.input.files;
    proposal.before.clone_from(files);
    let with_ends: Vec<Edit> = edits.iter().chain(&ends).cloned().collect();
    let enforced = edit::apply(files, &with_ends)?;
    proposal.proof = prove(said, facts, seen, &documented, enforced.clone());
    proposal.after = match enforce {
        true => enforced,
        false => edit::apply(files, &edits)?,
    };
    Ok(proposal)
}

impl Proposal {
    /// Whether nothing is to be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let pairs = self.before.iter().zip(&self.after);
        pairs.into_iter().all(|(old, new)| old.text() == new.text())
    }

    /// The changes as a unified diff.
    #[must_use]
    pub fn diff(&self) -> String {
        edit::diff(&self.before, &self.after)
    }

    fn edits(&self, said: &Said) -> Vec<Edit> {
        let table = |product: &str, role: &str| {
            let config = said.config.as_ref();
            let found = config.and_then(|it| it.products.iter().find(|it| it.name == product));
            let policy = found.and_then(|it| said.catalogue.get(it.policy.get_ref()));
            match policy.is_some_and(|policy| policy.groups.get(role).is_some()) {
                true => "groups",
                false => "peers",
            }
        };
        let set = |table, ((product, key), say): (&(String, String), &Say)| Edit::Set {
            product: product.clone(),
            table: Some(table),
            key: key.clone(),
            value: say.value.clone(),
        };
        let options = self.options.iter().map(|it| set("options", it));
        let ports = self.ports.iter().map(|it| set("ports", it));
        let bound = self.bind.iter().map(|((product, role), bind)| Edit::Peers {
            product: product.clone(),
            table: table(product, role),
            key: role.clone(),
            peers: bind.peers.iter().map(ToString::to_string).collect(),
        });
        let nobody = self.nobody.iter().map(|(product, role)| Edit::Peers {
            product: product.clone(),
            table: table(product, role),
            key: role.clone(),
            peers: Vec::new(),
        });
        options.chain(bound).chain(nobody).chain(ports).collect()
    }
}

/// What ends the audits of products.
fn ends_of_audits(said: &Said) -> Vec<Edit> {
    let products = said.config.iter().flat_map(|config| &config.products);
    let audited = products.filter(|product| product.stage == Stage::Audit);
    let ends = audited.flat_map(|product| {
        [
            Edit::Set {
                product: product.name.clone(),
                table: None,
                key: "stage".to_owned(),
                value: "\"enforce\"".to_owned(),
            },
            Edit::Remove {
                product: product.name.clone(),
                key: "audit-until",
            },
        ]
    });
    ends.collect()
}

fn prove(
    said: &Said,
    facts: &Facts,
    seen: &Seen,
    documented: &BTreeSet<Flow>,
    files: Vec<Source>,
) -> Proof {
    let mut input = said.texts.input.clone();
    input.files = files;
    let then = Said::of(Texts {
        input,
        shipped: said.texts.shipped.clone(),
        own: said.texts.own.clone(),
    });
    let mut proof = Proof {
        flows: documented.len(),
        ..Proof::default()
    };
    let understood = match understand(&then, facts) {
        Ok(understood) => understood,
        Err(findings) => {
            let errors = findings.iter().filter(|it| it.severity.name() == "error");
            proof.errors = errors.map(|it| it.message.clone()).collect();
            return proof;
        }
    };
    let denied = documented.iter().filter(|flow| {
        let sight = seen.flows.get(flow);
        sight.is_some_and(|it| it.probe.judge(&understood.host).action() != Action::Allow)
    });
    proof.denied = denied.copied().collect();
    proof
}

#[cfg(test)]
mod tests;
