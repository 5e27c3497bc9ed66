//! What can be read on the wire.

use super::count;
use super::page::Page;
use super::rules::{look_up, purpose, service};
use crate::compile::resolve::FlowId;
use crate::plan::Plan;
use crate::policy::schema::Encrypted;

/// What is readable on the wire.
pub(super) fn plain_text(plan: &Plan<'_>, out: &mut Page) {
    let (mut plain, mut either): (Vec<String>, Vec<String>) = Default::default();
    let mut unknown = 0usize;
    let mut seen: Vec<&FlowId> = Vec::new();
    for (rule, flows) in plan
        .resolved
        .rule_set
        .rules
        .iter()
        .zip(&plan.resolved.flows)
    {
        for flow in flows {
            // A flow may make a rule in each direction.
            if seen.contains(&flow) {
                continue;
            }
            seen.push(flow);
            let Some((policy, row, part)) = look_up(plan, flow) else {
                continue;
            };
            let line = format!("{:<9}  {}  {}", service(rule), flow.row, purpose(row));
            let list = match policy.encrypted(row, part.flow) {
                Some(Encrypted::No) => &mut plain,
                Some(Encrypted::Both) => &mut either,
                Some(Encrypted::Unknown) | None => {
                    unknown += 1;
                    continue;
                }
                Some(Encrypted::Yes) => continue,
            };
            if !list.contains(&line) {
                list.push(line);
            }
        }
    }
    if plain.is_empty() && either.is_empty() && unknown == 0 {
        return;
    }
    out.section("Plain text on the wire");
    for line in plain {
        out.add(2, &line);
    }
    if !either.is_empty() {
        out.add(2, "Encrypted or not, as the product is set up:");
    }
    for line in either {
        out.add(2, &line);
    }
    if unknown > 0 {
        out.add(
            2,
            &format!("Of {} the document does not say.", count(unknown, "flow")),
        );
    }
}
