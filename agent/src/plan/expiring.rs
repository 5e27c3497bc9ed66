//! What ends soon: `allow`s, and the days after which an audit should be over.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Plan;
use crate::host::schema::{Moment, Stage};

/// Something that ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ending {
    /// `allow/NAME`, `audit/PRODUCT` or `audit/default`.
    pub id: String,
    /// The first instant at which it is over.
    pub at: Timestamp,
    /// As the operator wrote it.
    pub written: String,
    /// Why it is there.
    pub reason: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Whether the end changes what passes; that of an audit is only said.
    pub acts: bool,
}

/// Everything that ends before `horizon` from the facts' time on, what is over among it, the
/// first first.
#[must_use]
pub fn expiring(plan: &Plan<'_>, horizon: Timestamp) -> Vec<Ending> {
    let config = plan.config;
    let ending = |id: String, moment: &Moment, acts: bool| Ending {
        id,
        at: moment.at,
        written: moment.written.clone(),
        reason: None,
        owner: None,
        acts,
    };
    let allows = config.allows.iter().filter_map(|allow| {
        let moment = allow.expires.as_ref()?.get_ref();
        Some(Ending {
            reason: Some(allow.reason.clone()),
            owner: allow.owner.clone(),
            ..ending(format!("allow/{}", allow.name), moment, true)
        })
    });
    let audits = config.products.iter().filter_map(|product| {
        let moment = product.audit_until.as_ref()?.get_ref();
        (product.stage == Stage::Audit)
            .then(|| ending(format!("audit/{}", product.name), moment, false))
    });
    let default = config
        .default
        .audit_until
        .iter()
        .map(|moment| ending("audit/default".to_owned(), moment.get_ref(), false));
    let mut list: Vec<Ending> = allows.chain(audits).chain(default).collect();
    list.retain(|it| it.at <= horizon);
    list.sort_by(|left, right| (left.at, &left.id).cmp(&(right.at, &right.id)));
    list
}

/// As JSON.
#[must_use]
pub fn json(list: &[Ending], now: Timestamp) -> Value {
    let list: Vec<Value> = list
        .iter()
        .map(|it| {
            json!({
                "id": it.id,
                "at": it.at.to_string(),
                "over": it.at <= now,
                "reason": it.reason,
                "owner": it.owner,
                "acts": it.acts,
            })
        })
        .collect();
    json!({ "schema": super::SCHEMA, "expiring": list })
}

/// As lines, one for each.
#[must_use]
pub fn text(list: &[Ending], now: Timestamp) -> String {
    if list.is_empty() {
        return "nothing ends in this time\n".to_owned();
    }
    let width = list.iter().map(|it| it.id.len()).max().unwrap_or(0);
    let line = |it: &Ending| {
        let word = if it.at <= now { "ended" } else { "ends" };
        let what = match (it.acts, it.at <= now) {
            (true, true) => "it admits nobody",
            (true, false) => "then it admits nobody",
            (false, _) => "nothing changes by itself: enforce, or name another day",
        };
        let mut words = vec![format!("{word} {}", it.written), what.to_owned()];
        words.extend(it.reason.clone());
        words.extend(it.owner.as_ref().map(|owner| format!("owner {owner}")));
        format!("{:<width$}  {}\n", it.id, words.join("; "))
    };
    list.iter().map(line).collect()
}
