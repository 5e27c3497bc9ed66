//! Puts the BPF object where `dataplane::object` embeds it from.
//!
//! The object is built by `cargo xtask build`, never here: a build script that starts a second
//! cargo with a second compiler hides what it does and what it lacks. Here it is only looked at:
//! whether it is there, and whether it was built from the sources as they are now.

use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "../xtask/src/sources.rs"]
mod sources;

/// Names the object to embed, in place of `TARGET/bpf/portcullis.bpf.o`.
const OBJECT: &str = "PORTCULLIS_BPF_OBJECT";
/// `warn`: an object older than its sources is embedded all the same, outside release builds. For
/// work on the parts that never load it.
const STALE: &str = "PORTCULLIS_BPF_STALE";

fn main() {
    // Cargo ends the build at this line, and without a dump of all the others.
    if let Err(message) = embed() {
        println!("cargo::error={message}");
    }
}

fn embed() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    println!("cargo::rerun-if-env-changed={STALE}");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let member = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = member.parent().ok_or("the agent lies in no workspace")?;
    for source in sources::BPF_SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    println!(
        "cargo::rerun-if-changed={}",
        root.join("xtask/src/sources.rs").display()
    );

    let object = match env::var_os(OBJECT) {
        Some(said) => PathBuf::from(said),
        None => target(&out)?.join("bpf").join("portcullis.bpf.o"),
    };
    let stamp = object.with_extension("stamp");
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rerun-if-changed={}", stamp.display());

    let bytes = fs::read(&object).map_err(|error| {
        format!(
            "no BPF object at {} ({error}); run `cargo xtask build`",
            object.display()
        )
    })?;
    if let Err(why) = is_current(root, &stamp) {
        let message = format!(
            "the BPF object {} {why}; run `cargo xtask build`",
            object.display()
        );
        let tolerated = env::var_os(STALE).is_some_and(|value| value == "warn")
            && variable("PROFILE")? != "release";
        if !tolerated {
            return Err(message);
        }
        println!("cargo::warning={message}");
    }
    let copy = out.join("portcullis.bpf.o");
    fs::write(&copy, bytes).map_err(|error| format!("{}: {error}", copy.display()))
}

/// Compares the hash that was written beside the object with that of the sources.
fn is_current(root: &Path, stamp: &Path) -> Result<(), String> {
    let built_from = fs::read_to_string(stamp)
        .map_err(|error| format!("has no stamp ({}: {error})", stamp.display()))?;
    let now = sources::hash(root).map_err(|error| format!("can't be compared: {error}"))?;
    if built_from.trim() == now {
        Ok(())
    } else {
        Err("is older than its sources".to_owned())
    }
}

/// The target directory, of which `OUT_DIR` is `PROFILE/build/PACKAGE/out`, below the target
/// triple's directory where one was asked for.
fn target(out: &Path) -> Result<PathBuf, String> {
    let profile = out
        .ancestors()
        .nth(4)
        .ok_or("OUT_DIR lies in no target directory")?;
    let triple = variable("TARGET")?;
    let target = if profile.ends_with(&triple) {
        profile.parent()
    } else {
        Some(profile)
    };
    target
        .map(Path::to_path_buf)
        .ok_or_else(|| "OUT_DIR lies in no target directory".to_owned())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
