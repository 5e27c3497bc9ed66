//! Small servers on throw-away hosts: threads that answer until their guard goes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::netns::Namespace;

/// How soon a server sees that its guard is gone.
const LOOK: Duration = Duration::from_millis(50);
/// How long a client may keep a server's thread.
const CLIENT: Duration = Duration::from_secs(5);

/// Servers; they end when this value goes.
#[derive(Debug, Default)]
pub struct Services {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    served: Arc<AtomicU64>,
}

impl Services {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Clients that were served, all servers together: connections, datagrams.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Listens on a TCP port in both families. Whoever says something gets an HTTP answer with `text`, whatever it said.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn tcp(&mut self, host: &Namespace, port: u16, text: &str) -> Result<()> {
        let bound = host.enter(|| TcpListener::bind(("::", port)))?;
        let listener = bound.with_context(|| format!("tcp port {port} of {}", host.name()))?;
        listener.set_nonblocking(true)?;
        let length = text.len() + 1;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}\n"
        );
        let (stop, served) = (Arc::clone(&self.stop), Arc::clone(&self.served));
        self.threads.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if !readable(&listener) {
                    continue;
                }
                if let Ok((client, _)) = listener.accept() {
                    served.fetch_add(1, Ordering::Relaxed);
                    let answer = answer.clone();
                    // A client that stays must not keep others waiting; its thread ends by its time-out.
                    thread::spawn(move || greet(client, &answer));
                }
            }
        }));
        Ok(())
    }

    /// Answers each datagram to a UDP port with what `reply` makes of it.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn udp(
        &mut self,
        host: &Namespace,
        port: u16,
        reply: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) -> Result<()> {
        let bound = host.enter(|| UdpSocket::bind(("::", port)))?;
        let socket = bound.with_context(|| format!("udp port {port} of {}", host.name()))?;
        socket.set_read_timeout(Some(LOOK))?;
        let (stop, served) = (Arc::clone(&self.stop), Arc::clone(&self.served));
        self.threads.push(thread::spawn(move || {
            let mut datagram = vec![0; 65_536];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut datagram) else {
                    continue;
                };
                served.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = datagram.get(..length).and_then(&reply) {
                    // A client that is gone needs none.
                    let _ = socket.send_to(&answer, from);
                }
            }
        }));
        Ok(())
    }

    /// Answers each datagram with itself.
    ///
    /// # Errors
    /// As [`Self::udp`].
    pub fn udp_echo(&mut self, host: &Namespace, port: u16) -> Result<()> {
        self.udp(host, port, |datagram| Some(datagram.to_vec()))
    }

    /// A resolver that gives every name one IPv4 address.
    ///
    /// # Errors
    /// As [`Self::udp`].
    pub fn dns(&mut self, host: &Namespace, address: Ipv4Addr) -> Result<()> {
        self.dns_by(host, move || address)
    }

    /// A resolver that gives every name the IPv4 address that `address` says at that moment.
    ///
    /// # Errors
    /// As [`Self::udp`].
    pub fn dns_by(
        &mut self,
        host: &Namespace,
        address: impl Fn() -> Ipv4Addr + Send + 'static,
    ) -> Result<()> {
        self.udp(host, 53, move |question| dns_answer(question, address()))
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A server that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Whether a client has come, in a moment's wait.
pub(crate) fn readable(listener: &TcpListener) -> bool {
    let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::ZERO);
    poll(&mut waiting, limit).is_ok_and(|ready| ready > 0)
}

/// Reads what comes until the client falls silent or has said a line, answers, closes.
fn greet(mut client: TcpStream, answer: &str) {
    let mut said = [0; 2048];
    let usable = client.set_nonblocking(false).is_ok()
        && client.set_read_timeout(Some(CLIENT)).is_ok()
        && client.set_write_timeout(Some(CLIENT)).is_ok();
    if usable && client.read(&mut said).is_ok() {
        let _ = client.write_all(answer.as_bytes());
    }
}

/// The answer to a DNS question (RFC 1035 §4.1): one A record; no record of another type.
fn dns_answer(question: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    const A: [u8; 4] = [0, 1, 0, 1]; // type A, class IN
    let (header, rest) = question.split_at_checked(12)?;
    // Labels up to the empty one; a question has no compression.
    let mut at = 0;
    while *rest.get(at)? != 0 {
        at += 1 + usize::from(*rest.get(at)?);
    }
    let end = at + 5;
    let asked = rest.get(..end)?;
    let is_a = asked.ends_with(&A);
    let mut answer = header.get(..2)?.to_vec();
    // response, recursion desired and available, no error; one question, one answer or none
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(asked);
    if is_a {
        // the name of the question, type and class, 60 s, four octets
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// Connects from a host, says a line and reads the answer; `None` where nobody answers within `limit`.
///
/// # Errors
/// When the host can't be entered.
pub fn ask_tcp(host: &Namespace, to: SocketAddr, limit: Duration) -> Result<Option<String>> {
    host.enter(|| {
        let mut client = TcpStream::connect_timeout(&to, limit).ok()?;
        client.set_read_timeout(Some(limit)).ok()?;
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).ok()?;
        Some(answer)
    })
}

/// Sends a datagram from a host (from `from_port`, or any) and waits for an answer; `None` where none comes within `limit`.
///
/// # Errors
/// When the host can't be entered, or the port is taken.
pub fn ask_udp(
    host: &Namespace,
    from_port: u16,
    to: SocketAddr,
    limit: Duration,
) -> Result<Option<Vec<u8>>> {
    let asked = host.enter(|| {
        let unspecified = if to.is_ipv4() { "0.0.0.0" } else { "::" };
        let socket = UdpSocket::bind((unspecified, from_port))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(limit))?;
        socket.send(b"question")?;
        let mut answer = [0; 2048];
        match socket.recv(&mut answer) {
            Ok(length) => Ok(answer.get(..length).map(<[u8]>::to_vec)),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    })?;
    asked.with_context(|| format!("a question from {} to {to}", host.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_for_an_address_is_answered() {
        let mut question = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        question.extend(b"\x07printer\x07example\0");
        question.extend([0, 1, 0, 1]);
        let answer = dns_answer(&question, Ipv4Addr::new(10, 0, 0, 7)).unwrap();
        assert_eq!(answer[..2], [0xab, 0xcd]);
        assert_eq!(answer[7], 1, "one answer");
        assert!(answer.ends_with(&[0, 4, 10, 0, 0, 7]));

        *question.last_chunk_mut::<4>().unwrap() = [0, 28, 0, 1]; // AAAA
        let answer = dns_answer(&question, Ipv4Addr::new(10, 0, 0, 7)).unwrap();
        assert_eq!(answer[7], 0, "no answer of another type");
        assert_eq!(dns_answer(&question[..20], Ipv4Addr::LOCALHOST), None);
    }
}
