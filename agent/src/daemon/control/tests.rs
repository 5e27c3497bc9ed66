use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream as Client;
use std::time::Instant;

use tokio::sync::mpsc::unbounded_channel;

use super::*;

struct Place(Directories);

impl Place {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("portcullis-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        Self(Directories {
            state: root.join("state"),
            runtime: root.clone(),
            pins: root.join("pins"),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0.runtime);
    }
}

/// A socket whose main loop answers everything with its name.
fn served(place: &Place) -> Control {
    let (sender, mut receiver) = unbounded_channel();
    let control = Control::listen(&place.0, sender, |asked| asked, Watch::default()).unwrap();
    thread::spawn(move || {
        while let Some(Asked { command, answer }) = receiver.blocking_recv() {
            let text = format!("{command:?}");
            let _ = answer.send(Answer::new(Became::Done, 0, text, String::new()));
        }
    });
    control
}

fn asks(place: &Place) -> Answer {
    control::ask(&place.0.runtime, Command::Confirm).unwrap()
}

fn connect(place: &Place) -> Client {
    Client::connect(control::path(&place.0.runtime)).unwrap()
}

#[test]
fn commands_are_answered_and_the_socket_is_roots() {
    let place = Place::new("control-answer");
    // A dead daemon's socket is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(control::path(&place.0.runtime)).unwrap());
    let control = served(&place);
    assert_eq!(asks(&place).stdout, "Confirm");
    let mode = fs::metadata(control::path(&place.0.runtime)).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    drop(control);
    assert!(!control::path(&place.0.runtime).exists());
    assert!(matches!(
        control::ask(&place.0.runtime, Command::Confirm),
        Err(control::NotAsked::NotRunning(_))
    ));
}

#[test]
fn garbage_is_answered_and_harms_nobody() {
    let place = Place::new("control-garbage");
    let _control = served(&place);
    let long = vec![b'x'; 3 * MOST_REQUEST as usize];
    for garbage in [&b"\n"[..], b"{}\n", b"\xff\xfe\n", b"[[[[[[[[\n", &long] {
        let mut client = connect(&place);
        // The server may have heard enough before everything is said.
        let _ = client.write_all(garbage);
        let _ = client.shutdown(std::net::Shutdown::Write);
        let mut said = String::new();
        let _ = client.read_to_string(&mut said);
        assert!(
            said.is_empty() || said.contains("no request"),
            "{garbage:?}: {said}"
        );
        assert_eq!(asks(&place).stdout, "Confirm");
    }
}

#[test]
fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let place = Place::new("control-crowd");
    let _control = served(&place);
    let begin = Instant::now();
    let mut crowd = Vec::new();
    for _ in 0..4 * WAITING {
        crowd.push(connect(&place));
        if crowd.len() % WAITING == 0 {
            assert_eq!(asks(&place).stdout, "Confirm");
        }
    }
    assert!(
        begin.elapsed() < PATIENCE,
        "served at once, not when they gave up"
    );
    // Those in front were sent away.
    let mut first = crowd.swap_remove(0);
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_client_that_never_reads_keeps_nobody_waiting() {
    let place = Place::new("control-deaf");
    let (sender, mut receiver) = unbounded_channel();
    let _control = Control::listen(&place.0, sender, |asked| asked, Watch::default()).unwrap();
    thread::spawn(move || {
        while let Some(Asked { command, answer }) = receiver.blocking_recv() {
            // More than any socket's buffer takes for the first, who never reads.
            let large = if command == Command::Revert {
                1 << 20
            } else {
                0
            };
            let text = "x".repeat(large);
            let _ = answer.send(Answer::new(Became::Done, 0, text, String::new()));
        }
    });
    let deaf: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = connect(&place);
            client
                .write_all(b"{\"version\":1,\"command\":\"revert\"}\n")
                .unwrap();
            client
        })
        .collect();
    let begin = Instant::now();
    assert_eq!(asks(&place).code, 0);
    assert!(
        begin.elapsed() < PATIENCE * 2,
        "answered before all three had been given up, one after the other"
    );
    drop(deaf);
}
