//! The terminal: taken, and given back as it was, however the command ends.

use std::io::{self, Stdout, stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::count::By;
use super::model::Do;

/// Lines of a page.
const PAGE: isize = 10;

/// The terminal; it is given back with this value.
pub struct Screen {
    /// To draw on.
    pub terminal: Terminal<CrosstermBackend<Stdout>>,
}

/// Whether some thread has panicked since the terminal was taken.
static PANICKED: AtomicBool = AtomicBool::new(false);

impl Screen {
    /// Takes the terminal. A panic anywhere gives it back before it is told.
    ///
    /// # Errors
    ///
    /// Where it can't be had.
    pub fn take() -> io::Result<Self> {
        told_after(give_back);
        enable_raw_mode()?;
        let screen = execute!(stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match screen {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Whether there is nothing to draw on any more.
#[must_use]
pub fn panicked() -> bool {
    PANICKED.load(Ordering::SeqCst)
}

/// Has this done before any panic is told.
fn told_after(give_back: impl Fn() + Send + Sync + 'static) {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        PANICKED.store(true, Ordering::SeqCst);
        give_back();
        tell(panic);
    }));
}

/// Gives the terminal back; as often as one likes.
fn give_back() {
    // A terminal that has gone needs nothing back.
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
}

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// To end.
    End,
    /// To do something.
    Do(Do),
}

/// What this key is for.
#[must_use]
pub fn key(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    let what = match event.code {
        KeyCode::Char('c' | 'd') if control => return Some(Key::End),
        KeyCode::Char('q') => return Some(Key::End),
        KeyCode::Char(digit @ '1'..='4') => {
            let place = usize::try_from(digit.to_digit(10)?).ok()?;
            Do::Table(*By::ALL.get(place.checked_sub(1)?)?)
        }
        KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => Do::Next,
        KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => Do::Previous,
        KeyCode::Down | KeyCode::Char('j') => Do::Move(1),
        KeyCode::Up | KeyCode::Char('k') => Do::Move(-1),
        KeyCode::PageDown => Do::Move(PAGE),
        KeyCode::PageUp => Do::Move(-PAGE),
        KeyCode::Home | KeyCode::Char('g') => Do::Move(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => Do::Move(isize::MAX),
        KeyCode::Enter => Do::Enter,
        KeyCode::Esc | KeyCode::Backspace => Do::Back,
        KeyCode::Char('s') => Do::Sort,
        KeyCode::Char('c') => Do::Clear,
        _ => return None,
    };
    Some(Key::Do(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_what_the_last_line_says() {
        let plain = |code| key(KeyEvent::new(code, KeyModifiers::NONE));
        for (code, expected) in [
            (KeyCode::Char('q'), Some(Key::End)),
            (KeyCode::Char('3'), Some(Key::Do(Do::Table(By::Row)))),
            (KeyCode::Char('5'), None),
            (KeyCode::Char('0'), None),
            (KeyCode::Tab, Some(Key::Do(Do::Next))),
            (KeyCode::Down, Some(Key::Do(Do::Move(1)))),
            (KeyCode::Enter, Some(Key::Do(Do::Enter))),
            (KeyCode::Esc, Some(Key::Do(Do::Back))),
            (KeyCode::Char('c'), Some(Key::Do(Do::Clear))),
            (KeyCode::F(1), None),
        ] {
            assert_eq!(plain(code), expected, "{code:?}");
        }
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(key(interrupt), Some(Key::End));
    }

    #[test]
    fn a_panic_is_told_after_the_terminal_was_given_back() {
        use std::sync::{Arc, Mutex};
        let said = Arc::new(Mutex::new(Vec::new()));
        let before = panic::take_hook();
        let (tell, give) = (Arc::clone(&said), Arc::clone(&said));
        panic::set_hook(Box::new(move |_| tell.lock().unwrap().push("told")));
        told_after(move || give.lock().unwrap().push("given back"));
        let ended = std::thread::spawn(|| panic!("on purpose")).join();
        panic::set_hook(before);
        assert!(ended.is_err() && panicked());
        assert_eq!(*said.lock().unwrap(), ["given back", "told"]);
    }
}
