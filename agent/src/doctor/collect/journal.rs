//! journald: whether it answers, and its limits.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ini;
use crate::doctor::machine::{Journal, RateLimit};

const SOCKET: &str = "/run/systemd/journal/socket";
const KEPT: &str = "/var/log/journal";

/// journald's own defaults, journald.conf(5).
const DEFAULT: RateLimit = RateLimit {
    interval: Duration::from_secs(30),
    burst: 10_000,
};

pub(super) fn look() -> Journal {
    let texts = texts("journald.conf");
    let settings = ini(&texts);
    let unit = unit();
    let unit_settings = ini(&unit);
    let unit_limit = limit(
        unit_settings.get("LogRateLimitIntervalSec"),
        unit_settings.get("LogRateLimitBurst"),
    );
    Journal {
        answers: UnixDatagram::unbound().is_ok_and(|socket| socket.connect(SOCKET).is_ok()),
        storage: settings.get("Storage").unwrap_or(&"auto").to_lowercase(),
        directory: Path::new(KEPT).is_dir(),
        limit: limit(
            settings
                .get("RateLimitIntervalSec")
                .or(settings.get("RateLimitInterval")),
            settings.get("RateLimitBurst"),
        )
        .unwrap_or(DEFAULT),
        unit_limit,
        free: free(),
    }
}

/// The texts of a configuration of systemd in the order in which they hold: the file, then the drop-ins by name.
fn texts(name: &str) -> Vec<String> {
    const DIRECTORIES: [&str; 3] = ["/usr/lib/systemd", "/run/systemd", "/etc/systemd"];
    let main = ["/etc/systemd", "/run/systemd", "/usr/lib/systemd"]
        .into_iter()
        .find_map(|directory| fs::read_to_string(Path::new(directory).join(name)).ok());
    let directories = DIRECTORIES.map(|directory| Path::new(directory).join(format!("{name}.d")));
    main.into_iter().chain(drop_ins(&directories)).collect()
}

/// The unit and its drop-ins; nothing where it is not installed.
fn unit() -> Vec<String> {
    const DIRECTORIES: [&str; 3] = [
        "/etc/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ];
    let main = DIRECTORIES.iter().find_map(|directory| {
        fs::read_to_string(Path::new(directory).join("portcullis.service")).ok()
    });
    let directories = [
        "/usr/lib/systemd/system",
        "/run/systemd/system",
        "/etc/systemd/system",
    ]
    .map(|directory| Path::new(directory).join("portcullis.service.d"));
    main.into_iter().chain(drop_ins(&directories)).collect()
}

/// `*.conf` of these directories by name; the same name in a later directory stands in for the earlier one.
fn drop_ins(directories: &[PathBuf]) -> Vec<String> {
    let mut found = std::collections::BTreeMap::new();
    for directory in directories {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "conf")
            {
                found.insert(entry.file_name(), path);
            }
        }
    }
    found
        .into_values()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect()
}

fn limit(interval: Option<&&str>, burst: Option<&&str>) -> Option<RateLimit> {
    if interval.is_none() && burst.is_none() {
        return None;
    }
    let interval = match interval {
        Some(text) => time_span(text)?,
        None => DEFAULT.interval,
    };
    let burst = match burst {
        Some(text) => text.parse().ok()?,
        None => DEFAULT.burst,
    };
    Some(RateLimit { interval, burst })
}

/// systemd.time(7), as far as such limits go: `30s`, `30`, `1min 30s`, `500ms`, `0`.
fn time_span(text: &str) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for word in text.split_whitespace() {
        let end = word
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(word.len());
        let (number, unit) = word.split_at_checked(end)?;
        let number: u64 = number.parse().ok()?;
        sum += match unit {
            "" | "s" | "sec" | "second" | "seconds" => Duration::from_secs(number),
            "ms" | "msec" => Duration::from_millis(number),
            "m" | "min" | "minute" | "minutes" => Duration::from_secs(number.checked_mul(60)?),
            "h" | "hr" | "hour" | "hours" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
    }
    Some(sum)
}

fn free() -> Option<u64> {
    let place = [KEPT, "/var/log"]
        .into_iter()
        .find(|path| Path::new(path).is_dir())?;
    let found = nix::sys::statvfs::statvfs(place).ok()?;
    found.blocks_available().checked_mul(found.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans() {
        for (text, expected) in [
            ("30s", Some(30_000)),
            ("30", Some(30_000)),
            ("1min 30s", Some(90_000)),
            ("500ms", Some(500)),
            ("0", Some(0)),
            ("1 fortnight", None),
            ("s", None),
        ] {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(time_span(text), expected, "{text}");
        }
    }

    #[test]
    fn limits_are_said_or_not() {
        let of = |interval, burst| {
            limit(interval, burst).map(|limit| (limit.interval.as_secs(), limit.burst))
        };
        assert_eq!(of(None, None), None);
        assert_eq!(of(Some(&"10s"), None), Some((10, 10_000)));
        assert_eq!(of(None, Some(&"5")), Some((30, 5)));
        assert_eq!(of(Some(&"0"), Some(&"0")), Some((0, 0)));
        assert_eq!(of(Some(&"junk"), None), None);
    }
}
