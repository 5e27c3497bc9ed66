//! What a package carries beside the binary and knows from the command line alone: manual pages of the commands, completions of three
//! shells. `cargo run -p portcullis --example generate -- DIRECTORY`; `cargo xtask package` does so.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use portcullis::cli::Cli;

/// System administration commands, man-pages(7).
const SECTION: &str = "8";

/// What follows in the page of the program itself.
const MORE: &str = r#".SH "EXIT STATUS"
.TP
0
done
.TP
1
failed, or the answer is no
.TP
2
the command line names something that is not there
.TP
3
no daemon is running
.TP
77
the user may not
.TP
78
findings of error severity
.SH FILES
.TP
\fI/etc/portcullis/portcullis.toml\fR, \fI/etc/portcullis/conf.d/*.toml\fR
the host's configuration, \fBportcullis.toml\fR(5)
.TP
\fI/etc/portcullis/policies.d/*.toml\fR
policies of your own, \fBportcullis\-policy\fR(5)
.TP
\fI/var/lib/portcullis\fR
what survives a restart
.TP
\fI/run/portcullis\fR
the plan in force
.TP
\fI/sys/fs/bpf/portcullis\fR
pinned programs and tables: what is enforced, with or without a daemon
"#;

fn main() -> Result<()> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.context("say a directory to write to")?;
    fs::create_dir_all(&directory).with_context(|| format!("{}", directory.display()))?;
    let mut command = Cli::command().disable_help_subcommand(true);
    for (shell, name) in [
        (Shell::Bash, "portcullis.bash"),
        (Shell::Zsh, "_portcullis"),
        (Shell::Fish, "portcullis.fish"),
    ] {
        let path = directory.join(name);
        let mut file = File::create(&path).with_context(|| format!("{}", path.display()))?;
        clap_complete::generate(shell, &mut command.clone(), "portcullis", &mut file);
    }
    command.build();
    pages(&command, &directory, true)
}

/// The page of a command and those of its subcommands.
fn pages(command: &Command, directory: &Path, program: bool) -> Result<()> {
    let visible = || {
        let all = command.get_subcommands();
        all.filter(|subcommand| !subcommand.is_hide_set())
    };
    for subcommand in visible() {
        pages(subcommand, directory, false)?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let man = Man::new(command.clone())
        .section(SECTION)
        // Without a date the same sources give the same page.
        .date(" ")
        .source(format!("portcullis {version}"))
        .manual("Portcullis");
    let path = directory.join(man.get_filename());
    let mut page = Vec::new();
    man.render(&mut page)?;
    if program {
        page.extend_from_slice(MORE.as_bytes());
    }
    let related = [
        r"\fBportcullis\fR(8)",
        r"\fBportcullis.toml\fR(5)",
        r"\fBportcullis\-policy\fR(5)",
    ];
    let related = related.get(usize::from(program)..).unwrap_or(&[]);
    let related = format!(".SH \"SEE ALSO\"\n{}\n", related.join(", "));
    page.extend_from_slice(related.as_bytes());
    let mut file = File::create(&path).with_context(|| format!("{}", path.display()))?;
    file.write_all(&page)
        .with_context(|| format!("{}", path.display()))
}
