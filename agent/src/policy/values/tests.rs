use std::fmt::Display;
use std::str::FromStr;

use super::*;

/// What is read prints as expected; what is refused says so with these words.
#[track_caller]
fn check<T: FromStr<Err = String> + Display>(rows: &[(&str, Result<&str, &str>)]) {
    for (text, expected) in rows {
        match (text.parse::<T>(), expected) {
            (Ok(value), Ok(printed)) => assert_eq!(&value.to_string(), printed, "{text}"),
            (Err(message), Err(words)) => assert!(message.contains(words), "{text}: {message}"),
            (Ok(value), Err(_)) => panic!("`{text}` was read as {value}"),
            (Err(message), Ok(_)) => panic!("`{text}` was refused: {message}"),
        }
    }
}

#[test]
fn conditions() {
    check::<Condition>(&[
        ("monitoring", Ok("monitoring")),
        ("!monitoring", Ok("!monitoring")),
        ("hosting=cloud", Ok("hosting=cloud")),
        ("hosting = on-premise", Ok("hosting=on-premise")),
        ("", Err("no condition")),
        ("!!x", Err("no condition")),
        ("!x=y", Err("no condition")),
        ("x=", Err("no condition")),
        ("X", Err("no condition")),
        ("a--b", Err("no condition")),
    ]);
}

#[test]
fn ports() {
    check::<PortRef>(&[
        ("443", Ok("443")),
        ("8300-8302", Ok("8300-8302")),
        ("65535", Ok("65535")),
        ("rest", Ok("rest")),
        ("0", Err("no port")),
        ("65536", Err("no port")),
        ("8302-8300", Err("upside down")),
        ("1-2-3", Err("no port number")),
        ("switch + 1", Err("no port")),
    ]);
    check::<PortDefault>(&[
        ("switch + 1", Ok("switch + 1")),
        ("switch+1", Ok("switch + 1")),
        ("49152-65535", Ok("49152-65535")),
        ("switch", Err("no port number")),
        ("switch + 0", Err("no port")),
        ("4000 + 1", Ok("4000 + 1")),
        ("+1", Err("no port")),
    ]);
}

#[test]
fn versions_compare_by_number() {
    check::<Version>(&[
        ("4.7.1", Ok("4.7.1")),
        ("2018", Ok("2018")),
        ("4..1", Err("no version")),
        ("+4", Err("no version")),
        ("", Err("no version")),
        ("4.7-rc1", Err("no version")),
    ]);
    let version = |text: &str| text.parse::<Version>().unwrap();
    assert!(version("4.10") > version("4.9.9"));
    assert!(version("4.7") < version("4.7.1"));
    assert_eq!(version("4.7"), version("4.7.0"));
}

#[test]
fn row_ids() {
    check::<RowRef>(&[
        ("cluster/27", Ok("cluster/27")),
        ("1e-platform/servers/12", Ok("1e-platform/servers/12")),
        ("cluster/0", Err("no row id")),
        ("cluster/027", Err("no row id")),
        ("cluster", Err("no row id")),
        ("a/b/c/1", Err("no row id")),
        ("/cluster/1", Err("no row id")),
    ]);
}

#[test]
fn protocols() {
    let read = |text: &str| text.parse::<Protocol>().map(|protocol| protocol.0);
    assert_eq!(read("esp"), Ok(50));
    assert_eq!(Transport::Protocol(112).to_string(), "vrrp");
    assert_eq!(Transport::Protocol(200).to_string(), "200");
    for refused in ["tcp", "udp", "icmp", "ESP", ""] {
        assert!(read(refused).is_err(), "{refused}");
    }
}
