//! The status as text, for somebody who was woken by it: what holds first, numbers after it.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{Counts, Interface, State, Table, View};

/// Rows that are shown; JSON has them all.
const ROWS: usize = 20;

pub(super) fn text(view: &View) -> String {
    let mut out = String::new();
    head(view, &mut out);
    for problem in &view.problems {
        line(&mut out, &format!("  ! {problem}"));
    }
    for name in &view.unresolved {
        line(
            &mut out,
            &format!("  ! {name} never resolved and admits nobody"),
        );
    }
    if let Some(forward) = view.forward {
        line(
            &mut out,
            &format!("  this host forwards; [forward] default = \"{forward}\" is in force"),
        );
    }
    if !view.interfaces.is_empty() {
        line(&mut out, "\ninterfaces");
        for interface in &view.interfaces {
            line(&mut out, &format!("  {}", described(interface)));
        }
    }
    if !view.products.is_empty() {
        line(&mut out, "\nproducts");
        for product in &view.products {
            let until = trial_until(product.audit_until);
            line(
                &mut out,
                &format!("  {} ({}{until})", product.name, product.stage),
            );
        }
    }
    for audit in &view.audits {
        let until = trial_until(audit.audit_until);
        let direction = &audit.direction;
        line(
            &mut out,
            &format!(
                "\n[default] {direction} = \"audit\"{until}: what no rule allows passes and is reported"
            ),
        );
    }
    if !view.cut.is_empty() {
        line(
            &mut out,
            "\nopen before enforcement began, and ended by the policy",
        );
        for flow in view.cut.iter().take(ROWS) {
            line(&mut out, &format!("  {flow}"));
        }
        let more = view.cut.len().saturating_sub(ROWS);
        if more > 0 {
            line(&mut out, &format!("  and {more} more"));
        }
    }
    if let Some(counters) = &view.counters {
        counted(counters, &mut out);
    }
    if let Some(conntrack) = &view.conntrack {
        line(&mut out, "\nflows");
        line(
            &mut out,
            &format!("  established {}", usage(&conntrack.established)),
        );
        line(
            &mut out,
            &format!("  new         {}", usage(&conntrack.new)),
        );
        if conntrack.found_full > 0 {
            line(
                &mut out,
                &format!(
                    "  ! {} flows found the first full and may be forgotten while idle; raise `[conntrack] established`",
                    conntrack.found_full
                ),
            );
        }
        if conntrack.evicted > 0 {
            line(
                &mut out,
                &format!(
                    "  ! {} flows of the second made room for others; raise `[conntrack] new`",
                    conntrack.evicted
                ),
            );
        }
    }
    out
}

fn trial_until(until: Option<Timestamp>) -> String {
    match until {
        Some(until) if until < Timestamp::now() => format!(", OVERDUE since {until}"),
        Some(until) => format!(" until {until}"),
        None => String::new(),
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn head(view: &View, out: &mut String) {
    let generation = view.generation.unwrap_or(0);
    let deadline = view.deadline.map(|at| at.to_string()).unwrap_or_default();
    let said = match view.state {
        State::Detached => "DETACHED: nothing is filtered on this host".to_owned(),
        State::Degraded if view.generation.is_none() => {
            "DEGRADED: what is in force is not of this version".to_owned()
        }
        State::Degraded => {
            format!("DEGRADED: not guarded as configured; generation {generation} is in force")
        }
        State::PendingConfirm => format!(
            "PENDING: generation {generation} is in force and falls back at {deadline} unless confirmed"
        ),
        State::Paused => {
            format!("PAUSED: what generation {generation} would deny passes until {deadline}")
        }
        State::Reverted if generation == 0 => {
            "REVERTED: a policy was not confirmed in time; EVERYTHING PASSES".to_owned()
        }
        State::Reverted => format!(
            "REVERTED: a policy was not confirmed in time; generation {generation} is in force again"
        ),
        State::Audit => format!(
            "AUDIT: generation {generation} is in force; denials on trial pass and are reported"
        ),
        State::Enforcing => format!("ENFORCING generation {generation}"),
    };
    let since = view
        .since
        .map(|since| format!(", since {}", at(since)))
        .unwrap_or_default();
    line(out, &format!("{said}{since}"));
    let daemon = match view.pid {
        Some(pid) => format!("daemon running (process {pid})"),
        None if view.state == State::Detached => "daemon not running".to_owned(),
        None => "daemon NOT running: the kernel goes on filtering, nobody reads what is denied"
            .to_owned(),
    };
    line(out, &daemon);
}

fn at(time: Timestamp) -> String {
    let time = time.to_string();
    // seconds are enough
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time,
    }
}

fn described(interface: &Interface) -> String {
    let name = &interface.name;
    let why = interface.why.as_deref().unwrap_or("no reason is noted");
    match (interface.guarded, &interface.ingress, &interface.egress) {
        (true, Some(ingress), Some(egress)) => format!(
            "{name}: ingress {} (program {}), egress {} (program {}); {why}",
            ingress.mechanism, ingress.program, egress.mechanism, egress.program
        ),
        _ => format!("{name}: NOT GUARDED; {why}"),
    }
}

fn counted(counters: &Counts, out: &mut String) {
    line(out, "\npackets");
    line(out, &format!("  passed  {}", counters.passed));
    for (what, sum, parts) in [
        (
            "audited",
            counters.audited,
            [
                counters.audit_reported,
                counters.audit_suppressed,
                counters.audit_lost,
            ],
        ),
        (
            "denied ",
            counters.denied,
            [counters.reported, counters.suppressed, counters.lost],
        ),
    ] {
        let [reported, suppressed, lost] = parts;
        line(
            out,
            &format!("  {what} {sum} ({reported} reported, {suppressed} over budget, {lost} lost)"),
        );
    }
    let forwarded = &counters.forwarded;
    if forwarded.passed + forwarded.audited + forwarded.denied > 0 {
        line(
            out,
            &format!(
                "  of them on their way through: {} passed, {} audited, {} denied",
                forwarded.passed, forwarded.audited, forwarded.denied
            ),
        );
    }
    for (direction, reasons) in &counters.by_reason {
        let mut reasons: Vec<_> = reasons.iter().collect();
        reasons.sort_by_key(|(_, packets)| std::cmp::Reverse(**packets));
        let words: Vec<String> = reasons
            .iter()
            .map(|(reason, packets)| format!("{reason} {packets}"))
            .collect();
        if !words.is_empty() {
            line(
                out,
                &format!("  {direction} by reason: {}", words.join(", ")),
            );
        }
    }
    let mut rows: Vec<_> = counters
        .by_row
        .iter()
        .filter(|(_, row)| row.passed + row.audited + row.near > 0)
        .collect();
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.last));
    if rows.is_empty() {
        return;
    }
    line(
        out,
        "\nrows, the latest first (passed, audited, denied near it)",
    );
    let width = rows.iter().take(ROWS).map(|(id, _)| id.len()).max();
    let width = width.unwrap_or(0);
    for (id, row) in rows.iter().take(ROWS) {
        let last = row.last.map(at).unwrap_or_default();
        let _ = writeln!(
            out,
            "  {id:width$}  {:>10} {:>8} {:>8}  last {last}",
            row.passed, row.audited, row.near
        );
    }
    if rows.len() > ROWS {
        line(
            out,
            &format!("  … and {} more, with --json", rows.len() - ROWS),
        );
    }
}

fn usage(table: &Table) -> String {
    let full = if table.entries >= table.capacity as usize {
        " FULL"
    } else {
        ""
    };
    format!(
        "{} of {}{full} ({} expired)",
        table.entries, table.capacity, table.expired
    )
}
