//! `portcullis top`: denied packets at the moment, on a terminal.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use nix::sys::signal::{SigSet, Signal};
use ratatui::crossterm::event::{self, Event};

use super::{Outcome, Status};
use crate::cli::TopArgs;
use crate::control::stream::{Came, Ended, Stream};
use crate::events::shown::Shown;
use crate::events::watch::Missed;
use crate::policy::Catalogue;
use crate::top::draw::{Scene, draw};
use crate::top::model::Model;
use crate::top::terminal::{Key, Screen, key, panicked};

/// Between two drawings; keys are answered at once.
const REFRESH: Duration = Duration::from_millis(250);
/// News that wait to be counted; whoever brings more waits, and the daemon says what that costs.
const WAITING: usize = 4_096;

/// What happens to the view.
enum News {
    Came(Came),
    Ended(Ended),
    Terminal(io::Result<Event>),
    Signal,
}

/// Shows denials until somebody has seen enough.
///
/// # Errors
///
/// A terminal that can't be used.
pub fn run(args: &TopArgs) -> Result<Outcome> {
    if !io::stdout().is_terminal() {
        return Ok(Outcome::refused(
            Status::Usage,
            "`portcullis top` needs a terminal, and standard output is none; `portcullis events --follow` is for pipes and files",
        ));
    }
    // A daemon that goes is waited for until somebody has seen enough.
    let stream = match Stream::open(&args.control.runtime, Duration::MAX) {
        Ok(stream) => stream,
        Err(ended) => return Ok(super::control::ended(ended)),
    };
    let catalogue = catalogue(&args.catalogue.policies);
    let (news, all_news) = sync_channel(WAITING);
    // Before there are threads, so that none of them is ended by one and leaves the terminal as it is.
    let signals: SigSet = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ]
    .into_iter()
    .collect();
    signals.thread_block().context("cannot wait for signals")?;
    spawn("signals", news.clone(), move |news| {
        // Whatever came, and whether it did: it is over.
        let _ = signals.wait();
        let _ = news.send(News::Signal);
    })?;
    spawn("stream", news.clone(), |news| follow(stream, news))?;
    let mut screen = Screen::take().context("the terminal")?;
    spawn("keys", news, |news| {
        while news.send(News::Terminal(event::read())).is_ok() {}
    })?;
    let ended = shown(&mut screen, &all_news, &catalogue);
    drop(screen);
    ended
}

/// A thread that brings news.
fn spawn(
    name: &str,
    news: SyncSender<News>,
    work: impl FnOnce(&SyncSender<News>) + Send + 'static,
) -> Result<()> {
    let thread = thread::Builder::new().name(name.to_owned());
    let started = thread.spawn(move || work(&news));
    started.map(drop).context("cannot start a thread")
}

fn follow(mut stream: Stream, news: &SyncSender<News>) {
    loop {
        let (what, last) = match stream.wait() {
            Ok(came) => (News::Came(came), false),
            Err(ended) => (News::Ended(ended), true),
        };
        if news.send(what).is_err() || last {
            return;
        }
    }
}

/// The vendors' rows; those of a directory that can't be read are named by their ids alone.
fn catalogue(directory: &Path) -> Catalogue {
    let (catalogue, _) = super::policy::load(directory).unwrap_or_else(|_| Catalogue::load([]));
    catalogue
}

/// Draws and counts until the end.
fn shown(screen: &mut Screen, news: &Receiver<News>, catalogue: &Catalogue) -> Result<Outcome> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut model = Model::new(Timestamp::now().as_second());
    loop {
        let scene = Scene {
            host: host.trim_end(),
            now: Timestamp::now(),
            catalogue,
        };
        let mut beyond = 0;
        let drawn = screen
            .terminal
            .draw(|frame| beyond = draw(frame, &model, &scene));
        drawn.context("the terminal")?;
        model.scroll_within(beyond);
        if panicked() {
            return Ok(Outcome::refused(Status::Failed, "a thread has ended"));
        }
        let until = Instant::now() + REFRESH;
        // However fast they come: what is drawn is never older.
        while Instant::now() < until {
            let what = match news.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(what) => what,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(Outcome::done(String::new())),
            };
            let now = Timestamp::now();
            match what {
                News::Came(came) => count(&mut model, came, now),
                News::Ended(ended) => return Ok(super::control::ended(ended)),
                News::Signal => return Ok(Outcome::done(String::new())),
                News::Terminal(Ok(Event::Key(event))) => match key(event) {
                    Some(Key::End) => return Ok(Outcome::done(String::new())),
                    Some(Key::Do(what)) => {
                        model.act(what, now.as_second());
                        break;
                    }
                    None => {}
                },
                News::Terminal(Ok(Event::Resize(..))) => break,
                News::Terminal(Ok(_)) => {}
                News::Terminal(Err(error)) => return Err(error).context("the terminal"),
            }
        }
    }
}

fn count(model: &mut Model, came: Came, now: Timestamp) {
    match came {
        Came::Line(value) => match Missed::read(&value) {
            Some(missed) => model.miss(missed),
            None => {
                if let Some(entry) = Shown::read(&value) {
                    model.take(entry, now);
                }
            }
        },
        Came::Gone => model.gone = Some(now.as_second()),
        Came::Back { away } => {
            model.gone = None;
            model.miss(Missed {
                away,
                ..Missed::default()
            });
        }
    }
}
