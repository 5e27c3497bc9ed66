use std::fs;
use std::io::{BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::json;

use super::super::{Became, path};
use super::*;

/// A directory with a socket in it; gone with this value.
struct Runtime(PathBuf);

impl Runtime {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("portcullis-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    /// A daemon begins to listen.
    fn listen(&self) -> UnixListener {
        let path = path(&self.0);
        let _ = fs::remove_file(&path);
        UnixListener::bind(path).unwrap()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Takes a request for entries, and answers with this code.
fn served(listener: &UnixListener, code: u8) -> UnixStream {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream);
    reader.read_until(b'\n', &mut Vec::new()).unwrap();
    let mut stream = reader.into_inner();
    let answer = Answer::new(
        Became::Done,
        code,
        String::new(),
        "error: full\n".to_owned(),
    );
    writeln!(stream, "{}", serde_json::to_string(&answer).unwrap()).unwrap();
    stream
}

#[test]
fn a_daemon_that_goes_is_asked_again() {
    let runtime = Runtime::new("again");
    let listener = &runtime.listen();
    let (tell, told) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut first = served(listener, 0);
            // A whole line, and half of one: it was killed.
            write!(first, "{{\"n\":1}}\n{{\"n\":").unwrap();
            drop(first);
            // Refused once, as by a daemon that has only just begun.
            drop(served(listener, 77));
            let mut second = served(listener, 0);
            writeln!(second, "{{\"n\":2}}").unwrap();
            // Until everything was read.
            told.recv().unwrap();
        });
        let mut stream = Stream::open(&runtime.0, Duration::from_secs(60)).unwrap();
        assert_eq!(stream.wait().unwrap(), Came::Line(json!({ "n": 1 })));
        assert_eq!(stream.wait().unwrap(), Came::Gone);
        let back = stream.wait().unwrap();
        assert!(
            matches!(back, Came::Back { away } if away >= AGAIN),
            "{back:?}"
        );
        assert_eq!(stream.wait().unwrap(), Came::Line(json!({ "n": 2 })));
        tell.send(()).unwrap();
    });
}

#[test]
fn nobody_is_waited_for_without_end() {
    let runtime = Runtime::new("away");
    let none = Stream::open(&runtime.0, Duration::ZERO).unwrap_err();
    assert!(matches!(none, Ended::NotAsked(NotAsked::NotRunning(_))));
    let listener = runtime.listen();
    thread::scope(|scope| {
        scope.spawn(|| drop(served(&listener, 1)));
        let full = Stream::open(&runtime.0, Duration::ZERO).unwrap_err();
        assert_eq!(full.to_string(), "error: full");
    });
    thread::scope(|scope| {
        scope.spawn(|| drop(served(&listener, 0)));
        let mut stream = Stream::open(&runtime.0, Duration::ZERO).unwrap();
        assert_eq!(stream.wait().unwrap(), Came::Gone);
        fs::remove_file(path(&runtime.0)).unwrap();
        let away = stream.wait().unwrap_err();
        assert!(
            away.to_string()
                .contains("gone and was not back within 0 s"),
            "{away}"
        );
    });
    // What is no line of JSON is no entry.
    let listener = runtime.listen();
    thread::scope(|scope| {
        scope.spawn(|| writeln!(served(&listener, 0), "?").unwrap());
        let mut stream = Stream::open(&runtime.0, Duration::ZERO).unwrap();
        assert!(matches!(stream.wait(), Err(Ended::Garbled(_))));
    });
}
