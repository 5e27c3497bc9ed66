//! A terminal of others: tmux, whose screen is read and whose keyboard is pressed.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::netns::Namespace;
use crate::process::{output, shown, wait_for};

const LIMIT: Duration = Duration::from_secs(10);

/// A shell in a terminal of tmux on a throw-away host; it ends with this value.
pub struct Terminal<'host> {
    host: &'host Namespace,
    directory: PathBuf,
}

impl<'host> Terminal<'host> {
    /// Opens one of this size, with a shell whose prompt is `$`.
    ///
    /// # Errors
    /// When tmux can't be started.
    pub fn open(host: &'host Namespace, (width, height): (u16, u16)) -> Result<Self> {
        let name = format!("portcullis-terminal-{}-{}", std::process::id(), host.name());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory)?;
        let terminal = Self { host, directory };
        let (width, height) = (width.to_string(), height.to_string());
        // No configuration of whoever runs the tests.
        let new = ["-f", "/dev/null", "-u", "new-session", "-d"];
        let size = ["-x", &width, "-y", &height];
        let shell = [
            "env",
            "PS1=$ ",
            "TERM=screen-256color",
            "LC_ALL=C.UTF-8",
            "sh",
        ];
        terminal.tmux(&[&new[..], &size, &shell].concat())?;
        terminal.wait("the prompt", LIMIT, |screen| screen.trim_end() == "$")?;
        Ok(terminal)
    }

    /// Asks tmux.
    fn tmux(&self, words: &[&str]) -> Result<String> {
        let mut command = self.host.command("tmux");
        command
            .env_remove("TMUX")
            .arg("-S")
            .arg(self.directory.join("socket"));
        command.args(words);
        let done = output(&mut command, LIMIT)?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            bail!("`{}`: {}", shown(&command), said.trim_end());
        }
        String::from_utf8(done.stdout).context("what tmux prints")
    }

    /// What is on the screen.
    ///
    /// # Errors
    /// When tmux does not answer.
    pub fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// A property of the terminal, in tmux's words: `alternate_on`, `cursor_flag`.
    ///
    /// # Errors
    /// When tmux does not answer.
    pub fn property(&self, name: &str) -> Result<String> {
        let asked = format!("#{{{name}}}");
        let said = self.tmux(&["display-message", "-p", &asked])?;
        Ok(said.trim_end().to_owned())
    }

    /// Presses keys, in tmux's words: `Enter`, `Tab`, `Up`, `q`.
    ///
    /// # Errors
    /// When tmux does not answer.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"][..], keys].concat()).map(drop)
    }

    /// Types a line.
    ///
    /// # Errors
    /// When tmux does not answer.
    pub fn line(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text])?;
        self.press(&["Enter"])
    }

    /// Waits for a screen, and returns it.
    ///
    /// # Errors
    /// When it does not come, with what is there in its place.
    pub fn wait(&self, what: &str, limit: Duration, is: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let found = wait_for(what, limit, || {
            last = self.screen()?;
            Ok(is(&last).then_some(()))
        });
        found.with_context(|| format!("on the screen:\n{last}"))?;
        Ok(last)
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        // A server that has ended already is as good.
        let _ = self.tmux(&["kill-server"]);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
