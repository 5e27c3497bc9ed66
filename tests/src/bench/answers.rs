//! Questions of one octet and their answers over plain TCP sockets, and connections that are opened for one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use super::hosts::{GUARDED, Pair, QUESTIONS, pin_to, segments};
use super::report::median;
use crate::netns::Namespace;

const LIMIT: Duration = Duration::from_secs(15);

/// A percentile of the microseconds until an octet comes back.
///
/// # Errors
/// Where the server can't be reached, or the host's own count of segments says something else.
pub fn answer(pair: &Pair, slice: Duration, part: usize) -> Result<f64> {
    let before = segments(&pair.guarded)?;
    let mut times = pair.peer.enter(|| {
        pin_to(0)?;
        let mut stream = connect()?;
        let (mut times, mut octet) = (Vec::new(), [0]);
        let began = Instant::now();
        while times.is_empty() || began.elapsed() < slice {
            let moment = Instant::now();
            stream.write_all(b"?")?;
            stream.read_exact(&mut octet)?;
            times.push(moment.elapsed().as_nanos() as f64 / 1e3);
        }
        anyhow::Ok(times)
    })??;
    let arrived = segments(&pair.guarded)? - before;
    ensure!(
        arrived >= times.len() as u64,
        "{arrived} segments of {} questions",
        times.len()
    );
    times.sort_by(f64::total_cmp);
    let at = (times.len() * part / 100).min(times.len() - 1);
    times.get(at).copied().context("no answers")
}

/// Microseconds of a connection, with a question and its answer.
///
/// # Errors
/// Where the server can't be reached.
pub fn connection(pair: &Pair, slice: Duration) -> Result<f64> {
    pair.peer.enter(|| {
        pin_to(0)?;
        let began = Instant::now();
        let mut times = Vec::new();
        while times.is_empty() || began.elapsed() < slice {
            let moment = Instant::now();
            let mut stream = connect()?;
            stream.write_all(b"?")?;
            stream.read_exact(&mut [0])?;
            // Reset: else ports would run out, each waiting for a minute.
            let reset = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(&stream, sockopt::Linger, &reset)?;
            drop(stream);
            times.push(moment.elapsed().as_nanos() as f64 / 1e3);
        }
        Ok(median(&times))
    })?
}

fn connect() -> Result<TcpStream> {
    let to = SocketAddr::from((GUARDED, QUESTIONS));
    let stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// A server that sends each octet back; it ends when this value goes.
#[derive(Debug)]
pub struct Answers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answers {
    /// Starts it on a guarded host.
    ///
    /// # Errors
    /// Where the port is taken.
    pub fn start(host: &Namespace) -> Result<Self> {
        let listener = host.enter(|| TcpListener::bind((GUARDED, QUESTIONS)))??;
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        listener.set_nonblocking(true)?;
        let thread = thread::spawn(move || serve(&listener, &ended));
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A server that panicked has answered nothing, which the rows say.
            let _ = thread.join();
        }
    }
}

/// One client after the other.
fn serve(listener: &TcpListener, ended: &AtomicBool) {
    // Where there is no such processor the client says so.
    let _ = pin_to(0);
    while !ended.load(Ordering::Relaxed) {
        if !crate::service::readable(listener) {
            continue;
        }
        match listener.accept() {
            Ok((client, _)) => echo(client),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Until the client goes, which it does by a reset.
fn echo(mut client: TcpStream) {
    let (mut octet, limit) = ([0], Some(LIMIT));
    let ready = client.set_nonblocking(false).is_ok() && client.set_nodelay(true).is_ok();
    if !ready || client.set_read_timeout(limit).is_err() {
        return;
    }
    while client.read_exact(&mut octet).is_ok() && client.write_all(&octet).is_ok() {}
}
