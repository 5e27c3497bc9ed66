//! The model on a screen of any size.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Sparkline, Table, TableState, Tabs};

use super::count::By;
use super::explain;
use super::model::{Level, Model, place_of};
use crate::events::shown::Shown;
use crate::policy::Catalogue;

/// Columns of an explanation's names.
const NAMES: u16 = 12;

/// What does not come from the model.
pub struct Scene<'a> {
    /// The host's name.
    pub host: &'a str,
    /// The time.
    pub now: Timestamp,
    /// What vendors document.
    pub catalogue: &'a Catalogue,
}

const TITLE: Style = Style::new().add_modifier(Modifier::BOLD);
const HEAD: Style = Style::new().add_modifier(Modifier::UNDERLINED);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
const ALARM: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const AUDIT: Style = Style::new().fg(Color::Cyan);

/// Draws it. Returns how many lines of an explanation have no place, and can be scrolled past.
pub fn draw(frame: &mut Frame<'_>, model: &Model, scene: &Scene<'_>) -> usize {
    let [title, counts, missed, bars, tabs, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_title(frame, title, model, scene);
    let rate = model.recent.rate(model.since, scene.now.as_second());
    frame.render_widget(
        Paragraph::new(format!(
            "denied {} packets, audited {}; {} a second in the last minute",
            model.denied,
            model.audited,
            number(rate)
        )),
        counts,
    );
    frame.render_widget(Paragraph::new(unseen(model)).style(ALARM), missed);
    let seconds = model.recent.bars(scene.now.as_second());
    // The newest at the right edge of as many as there is room for.
    let room = usize::from(bars.width).min(seconds.len());
    let shown = seconds.get(seconds.len() - room..).unwrap_or_default();
    frame.render_widget(
        Sparkline::default()
            .data(shown.iter().copied())
            .style(AUDIT),
        bars,
    );
    let names = By::ALL
        .iter()
        .zip(1..)
        .map(|(by, at)| format!("{at} {}", by.name()));
    let names = Tabs::new(names)
        .select(model.by as usize)
        .highlight_style(CHOSEN)
        .divider(" ");
    frame.render_widget(names, tabs);
    frame.render_widget(
        Paragraph::new(format!("by {}", model.sort.name()))
            .alignment(Alignment::Right)
            .style(QUIET),
        tabs,
    );
    let (beyond, help) = match &model.level {
        Level::Table => {
            draw_table(frame, body, model, scene);
            (
                0,
                "q quit  tab 1-4 table  ↑↓ line  enter its denials  s order  c count anew",
            )
        }
        Level::Entries { key, selected } => {
            draw_entries(frame, body, model, (key, *selected));
            (0, "q quit  esc back  ↑↓ line  enter explanation")
        }
        Level::Entry {
            entry, scrolled, ..
        } => (
            draw_entry(frame, body, entry, *scrolled, scene.catalogue),
            "q quit  esc back  ↑↓ scroll",
        ),
    };
    frame.render_widget(Paragraph::new(help).style(QUIET), keys);
    beyond
}

/// What is in no count, in one line.
fn unseen(model: &Model) -> String {
    let missed = &model.missed;
    let mut words: Vec<String> = [
        (missed.suppressed, "over their budget"),
        (missed.lost, "lost in a full ring"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} packets {what}"))
    .collect();
    if missed.entries > 0 {
        words.push(format!("{} entries not read in time", missed.entries));
    }
    if !missed.away.is_zero() {
        words.push(format!(
            "{:.1} s without a daemon",
            missed.away.as_secs_f64()
        ));
    }
    match words.is_empty() {
        true => String::new(),
        false => format!("not counted here: {}", words.join(", ")),
    }
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, model: &Model, scene: &Scene<'_>) {
    let since = Timestamp::from_second(model.since).unwrap_or(scene.now);
    let left = Line::from(vec![
        Span::styled(format!("portcullis top, {}", scene.host), TITLE),
        Span::styled(format!("  since {}", clock(since)), QUIET),
    ]);
    let right = match model.gone {
        Some(gone) => Span::styled(
            format!(
                "the daemon has gone {} s ago, asking again",
                scene.now.as_second().saturating_sub(gone).max(0)
            ),
            ALARM,
        ),
        None => Span::styled("watching", QUIET),
    };
    frame.render_widget(Paragraph::new(left), area);
    frame.render_widget(Paragraph::new(right).alignment(Alignment::Right), area);
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, model: &Model, scene: &Scene<'_>) {
    let sorted = model
        .table()
        .sorted(model.sort, model.since, scene.now.as_second());
    if sorted.is_empty() {
        let text = "nothing was denied yet";
        frame.render_widget(Paragraph::new(text).style(QUIET), area);
        return;
    }
    let keys: Vec<&str> = sorted.iter().map(|it| it.0).collect();
    let rows = sorted.iter().map(|(key, line, rate)| {
        let entry = &line.newest;
        Row::new([
            Cell::new((*key).to_owned()),
            Cell::new(right(number(*rate))),
            Cell::new(right(line.packets.to_string())),
            Cell::new(clock(line.last)),
            Cell::new(short(entry, model.by)).style(colour(entry)),
        ])
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(9),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Fill(3),
    ];
    let heads = [
        Cell::new(singular(model.by)),
        Cell::new(right("packets/s".to_owned())),
        Cell::new(right("packets".to_owned())),
        Cell::new("last"),
        Cell::new("the last of them"),
    ];
    let mut state = TableState::default().with_selected(Some(model.chosen(&keys)));
    let table = Table::new(rows, widths)
        .header(Row::new(heads).style(HEAD))
        .column_spacing(2)
        .row_highlight_style(CHOSEN);
    let forgotten = model.table().forgotten;
    let [area, rest] = Layout::vertical([
        Constraint::Min(0),
        Constraint::Length(u16::from(forgotten > 0)),
    ])
    .areas(area);
    frame.render_stateful_widget(table, area, &mut state);
    frame.render_widget(
        Paragraph::new(format!(
            "and {forgotten} packets of others, silent for longer"
        ))
        .style(QUIET),
        rest,
    );
}

fn draw_entries(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    (key, selected): (&str, Option<u64>),
) {
    let entries = model.entries(key);
    let [head, area] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(
        Paragraph::new(format!("{} {key}, the newest first", singular(model.by))).style(TITLE),
        head,
    );
    let rows = entries.iter().map(|(_, entry)| {
        Row::new([
            Cell::new(entry.time.map_or(String::new(), clock)),
            Cell::new(entry.verdict.clone().unwrap_or_default()).style(colour(entry)),
            Cell::new(format!("{} {}", entry.way(), entry.service())),
            Cell::new(entry.peer().map_or(String::new(), |it| it.to_string())),
            Cell::new(entry.kind.clone().unwrap_or_default()),
            Cell::new(right(entry.count.to_string())),
            Cell::new(row_of(entry).to_owned()),
        ])
    });
    let widths = [
        Constraint::Length(8),
        Constraint::Length(5),
        Constraint::Length(14),
        Constraint::Fill(2),
        Constraint::Length(14),
        Constraint::Length(7),
        Constraint::Fill(3),
    ];
    let heads = ["when", "", "service", "peer", "kind", "packets", "row"].map(Cell::new);
    let table = Table::new(rows, widths)
        .header(Row::new(heads).style(HEAD))
        .column_spacing(1)
        .row_highlight_style(CHOSEN);
    let mut state = TableState::default().with_selected(Some(place_of(&entries, selected)));
    frame.render_stateful_widget(table, area, &mut state);
}

fn draw_entry(
    frame: &mut Frame<'_>,
    area: Rect,
    entry: &Shown,
    scrolled: usize,
    catalogue: &Catalogue,
) -> usize {
    let width = usize::from(area.width.saturating_sub(NAMES)).max(8);
    let mut lines = Vec::new();
    for (name, text) in explain::lines(entry, catalogue) {
        for (at, part) in wrapped(&text, width).into_iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            lines.push(Line::from(vec![
                Span::styled(format!("{name:<width$}", width = usize::from(NAMES)), TITLE),
                Span::raw(part),
            ]));
        }
    }
    let beyond = lines.len().saturating_sub(usize::from(area.height));
    let from = scrolled.min(beyond);
    let shown: Vec<Line<'_>> = lines.into_iter().skip(from).collect();
    frame.render_widget(Paragraph::new(Text::from(shown)), area);
    beyond
}

/// Lines of at most so many characters, broken between words; a longer word is broken anywhere.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + rest.len() > width {
            lines.push(String::new());
            used = 0;
        }
        while !rest.is_empty() {
            let lead = usize::from(used > 0);
            let part: String = rest.drain(..rest.len().min(width)).collect();
            used += lead + part.chars().count();
            if let Some(line) = lines.last_mut() {
                line.push_str(if lead > 0 { " " } else { "" });
                line.push_str(&part);
            }
            if !rest.is_empty() {
                lines.push(String::new());
                used = 0;
            }
        }
    }
    lines
}

fn singular(by: By) -> &'static str {
    match by {
        By::Peer => "peer",
        By::Port => "port",
        By::Row => "row",
        By::Kind => "kind",
    }
}

/// Whatever the table does not name already.
fn short(entry: &Shown, by: By) -> String {
    let service = || format!("{} {}", entry.way(), entry.service());
    let peer = || entry.peer().map_or(String::new(), |it| it.to_string());
    let kind = || entry.kind.clone().unwrap_or_default();
    let row = || row_of(entry).to_owned();
    let words = match by {
        By::Peer => [service(), kind(), row()],
        By::Port => [peer(), kind(), row()],
        By::Row => [peer(), service(), kind()],
        By::Kind => [peer(), service(), row()],
    };
    let verdict = entry.verdict.as_deref().unwrap_or_default();
    let words: Vec<String> = words.into_iter().filter(|it| !it.is_empty()).collect();
    format!("{verdict} {}", words.join(", "))
}

fn row_of(entry: &Shown) -> &str {
    let row = entry.rows.first().or(entry.near_rows.first());
    row.map_or("", String::as_str)
}

fn colour(entry: &Shown) -> Style {
    match entry.verdict.as_deref() {
        Some("audit") => AUDIT,
        _ => Style::new().fg(Color::Red),
    }
}

fn right(text: String) -> Text<'static> {
    Text::from(text).alignment(Alignment::Right)
}

/// A rate with as many places as say something.
fn number(rate: f64) -> String {
    if rate >= 100.0 || rate == 0.0 {
        format!("{rate:.0}")
    } else if rate >= 1.0 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.2}")
    }
}

fn clock(time: Timestamp) -> String {
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests;
