//! Who is at the other end of the control socket, by what the kernel says of the process when it connected.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::UnixStream;

/// Groups that a process is asked for at most; one in more of them is judged by these and its own.
const MOST_GROUPS: usize = 1024;
const GROUPS: &str = "/etc/group";

/// What a client may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peer {
    /// Root, or who the daemon is: everything.
    Owner,
    /// A member of the group that the configuration names: what changes nothing.
    Reader,
    /// Anybody else: nothing.
    Stranger,
}

/// The group whose members are readers; shared with the thread that serves.
#[derive(Debug)]
pub(super) struct Readers(AtomicU64);

/// No group's number: those have 32 bits.
const NOBODY: u64 = u64::MAX;

impl Default for Readers {
    fn default() -> Self {
        Self(AtomicU64::new(NOBODY))
    }
}

impl Readers {
    /// From now on, for who connects from now on.
    pub(super) fn set(&self, group: Option<u32>) {
        let group = group.map_or(NOBODY, u64::from);
        self.0.store(group, Ordering::Relaxed);
    }

    fn holds(&self, group: u32) -> bool {
        self.0.load(Ordering::Relaxed) == u64::from(group)
    }

    /// Who this client is.
    pub(super) fn judge(&self, client: &UnixStream) -> Peer {
        let Ok(peer) = client.peer_cred() else {
            return Peer::Stranger;
        };
        let own = nix::unistd::geteuid().as_raw();
        if peer.uid() == 0 || peer.uid() == own {
            Peer::Owner
        } else if self.holds(peer.gid()) || groups(client).iter().any(|it| self.holds(*it)) {
            Peer::Reader
        } else {
            Peer::Stranger
        }
    }
}

/// The further groups of a client's process (`SO_PEERGROUPS`, Linux 4.13); none where the kernel does not say.
fn groups(client: &UnixStream) -> Vec<libc::gid_t> {
    let mut groups: Vec<libc::gid_t> = vec![0; MOST_GROUPS];
    let size = size_of_val(groups.as_slice());
    let Ok(mut length) = libc::socklen_t::try_from(size) else {
        return Vec::new();
    };
    // SAFETY: the kernel writes at most `length` octets, which are there, and then how many they were.
    let done = unsafe {
        libc::getsockopt(
            client.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let count = if done == 0 { length as usize } else { 0 };
    groups.truncate(count / size_of::<libc::gid_t>());
    groups
}

/// The number of a group of this host, by its name or itself a number. Only the file is asked: a directory service may not be reachable
/// before the network is, and nobody waits for it.
///
/// # Errors
///
/// In words, where there is none of this name.
pub(super) fn group(name: &str) -> Result<u32, String> {
    let text = fs::read_to_string(GROUPS).map_err(|error| format!("{GROUPS}: {error}"))?;
    numbered(name, &text).ok_or_else(|| format!("no group `{name}` in {GROUPS}"))
}

fn numbered(name: &str, text: &str) -> Option<u32> {
    let named = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1))?
    });
    named.unwrap_or(name).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_numbers() {
        let text = "root:x:0:\nadm:x:4:syslog,me\nodd\nbad:x:many:\n1:x:77:\n";
        for (name, expected) in [
            ("adm", Some(4)),
            ("root", Some(0)),
            ("4", Some(4)),
            // A name goes before a number.
            ("1", Some(77)),
            ("ad", None),
            ("odd", None),
            ("bad", None),
            ("", None),
            ("-1", None),
        ] {
            assert_eq!(numbered(name, text), expected, "{name}");
        }
    }

    #[test]
    fn nobody_reads_unless_said() {
        let readers = Readers::default();
        assert!(!readers.holds(u32::MAX));
        readers.set(Some(4));
        assert!(readers.holds(4) && !readers.holds(5));
        readers.set(None);
        assert!(!readers.holds(4));
    }
}
