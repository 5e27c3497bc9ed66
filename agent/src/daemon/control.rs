//! The control socket's server: a thread of its own, so that no client can keep the main loop waiting.
//!
//! A client has a few seconds to say its line and to take its answer. Of clients that have said nothing the oldest goes when there are too
//! many, so that a crowd of silent ones is in nobody's way. Requests reach the main loop one at a time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{AbortHandle, LocalSet};
use tokio::time::timeout;

use super::files::Directories;
use super::{Daemon, Event};
use crate::commands::status;
use crate::control::{self, Answer, Became, Command, MOST_REQUEST};
use crate::events::watch::{Missed, Watch, Watching};

/// How long a client may take to say its line, and to take its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients that have not said their line yet.
const WAITING: usize = 32;
/// Clients that may watch at a time.
const WATCHERS: usize = 16;
/// A client that watches, and has taken nothing for so long, is gone.
const IDLE: Duration = Duration::from_secs(600);
/// How long accepting pauses when the process is out of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// A request for the main loop, and where its answer goes.
pub(super) struct Asked {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The socket; it goes with this value.
pub(super) struct Control {
    path: PathBuf,
}

impl Drop for Control {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.path);
    }
}

/// Clients that have not said their line, the oldest first.
type Waiting = Rc<RefCell<VecDeque<(u64, AbortHandle)>>>;

impl Control {
    /// Listens from now on. The daemon's lock is held, so that a socket that is there is a dead one's.
    pub(super) fn listen<E: Send + 'static>(
        directories: &Directories,
        events: UnboundedSender<E>,
        event: fn(Asked) -> E,
        watch: Watch,
    ) -> Result<Self> {
        let path = control::path(&directories.runtime);
        let cannot = || format!("cannot listen on the control socket {}", path.display());
        let listener = bind(&path).with_context(cannot)?;
        let server = Server {
            directories: directories.clone(),
            events,
            event,
            one: Semaphore::new(1),
            watch,
            watchers: Semaphore::new(WATCHERS),
        };
        // Whatever takes a descriptor is there, or known to be missing, when this returns.
        let (ready, served) = std::sync::mpsc::channel();
        thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || match prepared(listener) {
                Ok((runtime, listener)) => {
                    // Who waits for it is there.
                    let _ = ready.send(Ok(()));
                    LocalSet::new().block_on(&runtime, Rc::new(server).serve(listener));
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })
            .with_context(cannot)?;
        served.recv().with_context(cannot)?.with_context(cannot)?;
        Ok(Self { path })
    }
}

impl Daemon {
    /// Serves the control socket, where it is not served yet: what was in the way may be gone. Enforcement does not hang on it, and signals
    /// still come.
    pub(super) fn listen(&mut self) {
        if self.control.is_some() {
            return;
        }
        match Control::listen(
            &self.directories,
            self.answers.clone(),
            Event::Asked,
            self.reporter.watch().clone(),
        ) {
            Ok(control) => {
                self.control = Some(control);
                if let Some(deaf) = self.deaf.take() {
                    log::info!("the control socket is served now");
                    self.problems.retain(|it| *it != deaf);
                    self.note_problems();
                    self.say();
                }
            }
            Err(error) => {
                let problem = format!("{error:#}");
                if !self.problems.contains(&problem) {
                    log::error!("{problem}");
                    let told = self.deaf.replace(problem.clone());
                    self.problems.retain(|it| Some(it) != told.as_ref());
                    self.problems.push(problem);
                    self.note_problems();
                    self.say();
                }
            }
        }
    }
}

fn bind(path: &PathBuf) -> io::Result<std::os::unix::net::UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    // Who connects before is looked at all the same.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The thread's event loop, with the listener in it. Made in the thread: a loop may not be dropped by another one.
fn prepared(listener: std::os::unix::net::UnixListener) -> io::Result<(Runtime, UnixListener)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let entered = runtime.enter();
    let listener = UnixListener::from_std(listener)?;
    drop(entered);
    Ok((runtime, listener))
}

struct Server<E> {
    directories: Directories,
    events: UnboundedSender<E>,
    event: fn(Asked) -> E,
    /// One request at a time, so that the main loop has its turns between them.
    one: Semaphore,
    watch: Watch,
    watchers: Semaphore,
}

impl<E: Send + 'static> Server<E> {
    async fn serve(self: Rc<Self>, listener: UnixListener) {
        let waiting = Waiting::default();
        let mut number = 0;
        loop {
            let client = match listener.accept().await {
                Ok((client, _)) => client,
                Err(error) => {
                    log::warn!("the control socket: {error}");
                    tokio::time::sleep(BREATH).await;
                    continue;
                }
            };
            number += 1;
            let (server, queue) = (Rc::clone(&self), Rc::clone(&waiting));
            let task = tokio::task::spawn_local(async move {
                // A client that goes away or falls silent has itself to thank.
                let _ = server.attend(client, number, &queue).await;
            });
            let mut queue = waiting.borrow_mut();
            queue.push_back((number, task.abort_handle()));
            if queue.len() > WAITING
                && let Some((_, oldest)) = queue.pop_front()
            {
                oldest.abort();
            }
        }
    }

    async fn attend(
        &self,
        mut client: UnixStream,
        number: u64,
        waiting: &Waiting,
    ) -> io::Result<()> {
        let line = timeout(PATIENCE, line(&mut client)).await;
        waiting.borrow_mut().retain(|(held, _)| *held != number);
        let line = line??;
        let answer = if may_ask(&client) {
            if matches!(control::parse(&line), Ok(Command::Events)) {
                return self.stream(client).await;
            }
            self.answer(&line).await
        } else {
            let mut refused = Answer::refused("permission denied; run as root");
            refused.code = crate::commands::Status::NoPermission as u8;
            refused
        };
        say(&mut client, &answer).await?;
        client.shutdown().await
    }

    /// Entries as they come. A client that does not read loses entries and is told how many; nobody waits for it.
    async fn stream(&self, mut client: UnixStream) -> io::Result<()> {
        let Ok(_place) = self.watchers.try_acquire() else {
            let text = format!("{WATCHERS} clients watch already");
            return say(&mut client, &Answer::refused(&text)).await;
        };
        // From before the answer: who has it misses nothing.
        let mut lines = self.watch.watch();
        let answer = Answer::new(Became::Done, 0, String::new(), String::new());
        say(&mut client, &answer).await?;
        let (mut from, mut to) = client.split();
        let mut nothing = [0; 64];
        loop {
            let line = tokio::select! {
                line = next(&mut lines) => line,
                // It says no more; its end is the end.
                read = from.read(&mut nothing) => match read? {
                    0 => return Ok(()),
                    _ => continue,
                },
            };
            let Some(mut line) = line else { return Ok(()) };
            line.push('\n');
            timeout(IDLE, to.write_all(line.as_bytes())).await??;
        }
    }

    async fn answer(&self, line: &[u8]) -> Answer {
        let command = match control::parse(line) {
            Ok(command) => command,
            Err(refusal) => return *refusal,
        };
        // Never closed.
        let _turn = self.one.acquire().await;
        if let Command::Status { json } = command {
            // What is in force is pinned; the main loop need not be asked.
            let directories = self.directories.clone();
            let told =
                tokio::task::spawn_blocking(move || status::answer(&directories, json)).await;
            return match told {
                Ok(told) => Answer::new(Became::Done, told.status as u8, told.stdout, told.stderr),
                Err(error) => Answer::refused(&error.to_string()),
            };
        }
        let (answer, answered) = oneshot::channel();
        let asked = Asked { command, answer };
        if self.events.send((self.event)(asked)).is_err() {
            return Answer::refused("the daemon is stopping");
        }
        match answered.await {
            Ok(answer) => answer,
            Err(_) => Answer::refused("the daemon is stopping"),
        }
    }
}

/// The next line, or how many were missed; none where the daemon is stopping.
async fn next(lines: &mut Watching) -> Option<String> {
    match lines.recv().await {
        Ok(line) => Some(line.to_string()),
        Err(RecvError::Lagged(entries)) => Some(
            Missed {
                entries,
                ..Missed::default()
            }
            .line(),
        ),
        Err(RecvError::Closed) => None,
    }
}

async fn say(client: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut octets = serde_json::to_vec(answer)?;
    octets.push(b'\n');
    timeout(PATIENCE, client.write_all(&octets)).await?
}

/// Root, or who the daemon is: what the socket's mode says as well.
fn may_ask(client: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    client
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

/// One line without its end, of a length that is bounded.
async fn line(client: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(client.take(MOST_REQUEST))
        .read_until(b'\n', &mut line)
        .await?;
    Ok(line)
}

#[cfg(test)]
mod tests;
