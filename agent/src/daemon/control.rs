//! The control socket's server: a thread of its own, so that no client can keep the main loop waiting.
//!
//! A client has a few seconds to say its line and to take its answer. Of clients that have said nothing the oldest goes when there are too
//! many, so that a crowd of silent ones is in nobody's way. Requests reach the main loop one at a time, and only root's: a member of the
//! group that the configuration names may ask for what changes nothing, and is in no way of root's. Who is neither is told so and not heard.

mod peer;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
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

use self::peer::{Peer, Readers};
use super::files::Directories;
use super::{Daemon, Event};
use crate::commands::{Status, status};
use crate::control::{self, Answer, Became, Command, MOST_REQUEST};
use crate::events::watch::{Missed, Watch, Watching};

/// How long a client may take to say its line, and to take its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients that have not said their line yet: of root, and as many of the group.
const WAITING: usize = 32;
/// Clients that may watch at a time.
const WATCHERS: usize = 16;
/// A client that watches, and has taken nothing for so long, is gone.
const IDLE: Duration = Duration::from_secs(600);
/// Clients of the group that are being answered; more are sent away.
const READING: usize = 16;
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
    readers: Arc<Readers>,
    /// The group that the socket was opened for last.
    group: Option<u32>,
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
        let readers = Arc::<Readers>::default();
        let server = Server {
            directories: directories.clone(),
            readers: Arc::clone(&readers),
            events,
            event,
            one: Semaphore::new(1),
            watch,
            watchers: Semaphore::new(WATCHERS),
            look: Semaphore::new(1),
            reading: Cell::new(0),
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
        Ok(Self {
            path,
            readers,
            group: None,
        })
    }

    /// Lets this group read, and no other. The socket takes anybody's connection then: giving it to a group would take a capability more,
    /// and who is at the other end is looked at in any case.
    fn let_read(&mut self, group: Option<u32>) -> io::Result<()> {
        self.readers.set(group);
        if self.group != group {
            let mode = if group.is_some() { 0o666 } else { 0o600 };
            fs::set_permissions(&self.path, Permissions::from_mode(mode))?;
            self.group = group;
        }
        Ok(())
    }
}

impl Daemon {
    /// Lets the group read that the configuration in force names; a group that is not there yet is looked for again.
    pub(super) fn let_read(&mut self) {
        let Some(control) = &mut self.control else {
            return;
        };
        let config = self.enforced.as_ref().map(|it| &it.ready.config);
        let name = config.and_then(|config| config.daemon.socket_group.as_deref());
        let found = name.map(peer::group).transpose();
        let group = *found.as_ref().unwrap_or(&None);
        let set = control.let_read(group).map_err(|error| error.to_string());
        let trouble = found.err().or(set.err());
        if let Some(trouble) = &trouble
            && self.unread.as_ref() != Some(trouble)
        {
            log::error!(
                "[daemon] socket-group: {trouble}; until it is there, root alone may ask for the status"
            );
        }
        self.unread = trouble;
    }

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
    readers: Arc<Readers>,
    events: UnboundedSender<E>,
    event: fn(Asked) -> E,
    /// One request at a time, so that the main loop has its turns between them.
    one: Semaphore,
    watch: Watch,
    watchers: Semaphore,
    /// One look at the pins at a time; who changes something does not wait for those who look.
    look: Semaphore,
    /// Clients of the group that are being answered.
    reading: Cell<usize>,
}

/// One of the clients that are being answered.
struct Turn<'a>(&'a Cell<usize>);

impl<'a> Turn<'a> {
    fn take(reading: &'a Cell<usize>) -> Option<Self> {
        if reading.get() >= READING {
            return None;
        }
        reading.set(reading.get() + 1);
        Some(Self(reading))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl<E: Send + 'static> Server<E> {
    async fn serve(self: Rc<Self>, listener: UnixListener) {
        let (owners, readers) = (Waiting::default(), Waiting::default());
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
            let peer = self.readers.judge(&client);
            let waiting = match peer {
                Peer::Owner => &owners,
                Peer::Reader => &readers,
                Peer::Stranger => {
                    let told = octets(&not_permitted("permission denied; run as root"));
                    // A fresh socket takes so little at once, and who does not read has itself to thank.
                    let _ = client.try_write(&told.unwrap_or_default());
                    continue;
                }
            };
            number += 1;
            let (server, queue) = (Rc::clone(&self), Rc::clone(waiting));
            let task = tokio::task::spawn_local(async move {
                // A client that goes away or falls silent has itself to thank.
                let _ = server.attend(client, peer, number, &queue).await;
            });
            make_room(waiting, number, task.abort_handle());
            // Whoever has said something is heard before the next is let in.
            tokio::task::yield_now().await;
        }
    }

    async fn attend(
        &self,
        mut client: UnixStream,
        peer: Peer,
        number: u64,
        waiting: &Waiting,
    ) -> io::Result<()> {
        let line = timeout(PATIENCE, line(&mut client)).await;
        waiting.borrow_mut().retain(|(held, _)| *held != number);
        let line = line??;
        let turn = (peer == Peer::Reader).then(|| Turn::take(&self.reading));
        let answer = if matches!(turn, Some(None)) {
            Answer::refused("too many are asking at once; ask again in a moment")
        } else if matches!(control::parse(&line), Ok(Command::Events)) {
            // Who watches asks for nothing more.
            drop(turn);
            return self.stream(client, peer).await;
        } else {
            self.answer(&line, peer).await
        };
        say(&mut client, &answer).await?;
        client.shutdown().await
    }

    /// Entries as they come. A client that does not read loses entries and is told how many; nobody waits for it.
    async fn stream(&self, mut client: UnixStream, peer: Peer) -> io::Result<()> {
        // Half of the places are root's.
        let left = self.watchers.available_permits();
        let place =
            (peer == Peer::Owner || left > WATCHERS / 2).then(|| self.watchers.try_acquire());
        let Some(Ok(_place)) = place else {
            let text = format!("{} clients watch already", WATCHERS - left);
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

    async fn answer(&self, line: &[u8], peer: Peer) -> Answer {
        let command = match control::parse(line) {
            Ok(command) => command,
            Err(refusal) => return *refusal,
        };
        if peer != Peer::Owner && !command.reads() {
            return not_permitted(
                "permission denied: the group of [daemon] socket-group may ask for the status and watch events, and change nothing; run as root",
            );
        }
        if let Command::Status { json } = command {
            // Never closed.
            let _turn = self.look.acquire().await;
            // What is in force is pinned; the main loop need not be asked.
            let directories = self.directories.clone();
            let told =
                tokio::task::spawn_blocking(move || status::answer(&directories, json)).await;
            return match told {
                Ok(told) => Answer::new(Became::Done, told.status as u8, told.stdout, told.stderr),
                Err(error) => Answer::refused(&error.to_string()),
            };
        }
        // Never closed.
        let _turn = self.one.acquire().await;
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
    timeout(PATIENCE, client.write_all(&octets(answer)?)).await?
}

/// One more that has said nothing; the oldest goes where there are too many.
fn make_room(waiting: &Waiting, number: u64, task: AbortHandle) {
    let mut queue = waiting.borrow_mut();
    queue.push_back((number, task));
    if queue.len() > WAITING
        && let Some((_, oldest)) = queue.pop_front()
    {
        oldest.abort();
    }
}

/// Exit code 77.
fn not_permitted(message: &str) -> Answer {
    let mut refused = Answer::refused(message);
    refused.code = Status::NoPermission as u8;
    refused
}

/// An answer as it is sent.
fn octets(answer: &Answer) -> io::Result<Vec<u8>> {
    let mut octets = serde_json::to_vec(answer)?;
    octets.push(b'\n');
    Ok(octets)
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
