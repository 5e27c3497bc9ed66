//! Who watches: entries as they come, filtered, with what was missed; a reader that never reads; and packets that tshark opens.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use portcullis_tests::daemon::{Agent, binary, portcullis_json, portcullis_text};
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::{Lines, Running, wait_for};
use serde_json::{Value, json};

use crate::site::{CLIENT, IPPS, SERVER, SILENCE, Site, configuration, reaches};

const LIMIT: Duration = Duration::from_secs(30);

/// One datagram to each of these ports.
#[track_caller]
fn knock(from: &Namespace, to: &str, ports: impl Iterator<Item = u16> + Send) {
    let to: IpAddr = to.parse().unwrap();
    from.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for port in ports {
            // An answer that the port is closed would end the socket's patience, not ours.
            let _ = socket.send_to(b"?", SocketAddr::new(to, port));
        }
    })
    .unwrap();
}

/// `portcullis events --follow` with these words.
#[track_caller]
fn follow(host: &Namespace, words: &[&str]) -> (Running, Lines, Lines) {
    let mut command = host.command(binary().unwrap());
    command.args(["events", "--follow"]).args(words);
    let mut running = Running::start(&mut command).unwrap();
    let (lines, errors) = (running.lines(), running.error_lines());
    (running, lines, errors)
}

#[track_caller]
fn next(lines: &mut Lines) -> Value {
    let line = lines.next(LIMIT).unwrap().expect("the stream ended");
    serde_json::from_str(&line).unwrap()
}

#[test]
fn entries_come_as_they_happen_and_what_is_missed_is_said() {
    let site = Site::new();
    let budgets =
        "[events]\nstrangers = { peer = 1, all = 1 }\nacquaintances = { peer = 500, all = 500 }\n";
    let mut agent =
        Agent::start(&site.server, &configuration("tc", "deny", budgets), "json").unwrap();
    let (mut running, mut lines, mut errors) = follow(
        &site.server,
        &[
            "--peer",
            CLIENT[0],
            "--direction",
            "ingress",
            "--wait",
            "1s",
        ],
    );
    // It watches from some moment on.
    let mut port = 7000;
    wait_for("the first entry", LIMIT, || {
        port += 1;
        knock(&site.client, SERVER[0], std::iter::once(port));
        Ok(lines.next(SILENCE).ok().flatten())
    })
    .unwrap();
    knock(&site.stranger, SERVER[0], std::iter::once(6000));
    assert!(!reaches(&site.client, SERVER[0], 9000, SILENCE));
    let mut seen = Vec::new();
    let entry = loop {
        let entry = next(&mut lines);
        if entry["dst_port"] == 9000 {
            break entry;
        }
        seen.push(entry);
    };
    assert_eq!(entry["difference"]["kind"], "peer", "{entry}");
    assert_eq!(
        (&entry["src"], &entry["direction"]),
        (&json!(CLIENT[0]), &json!("ingress"))
    );
    let strange = seen
        .iter()
        .find(|it| it["missed"].is_null() && it["src"] != CLIENT[0]);
    assert_eq!(strange, None, "filtered");
    // Packets without an entry are told among the entries, whatever the filter.
    knock(&site.stranger, SERVER[0], 6001..6200);
    let missed = loop {
        let entry = next(&mut lines);
        if !entry["missed"].is_null() {
            break entry;
        }
    };
    let counted = missed["missed"]["suppressed"].as_u64().unwrap();
    assert!((1..=200).contains(&counted), "{missed}");
    // The sink has what the watcher saw.
    agent
        .wait_event("the same entry", LIMIT, |it| it["dst_port"] == 9000)
        .unwrap();
    let kept: String = agent
        .events()
        .unwrap()
        .iter()
        .map(|it| format!("{it}\n"))
        .collect();

    // The daemon ends and does not come back, and so the stream ends, too, with a word.
    agent.stop().unwrap();
    let ended = running.wait(LIMIT).unwrap().expect("still there");
    assert_eq!(ended.code(), Some(3));
    let last = "the daemon has gone and was not back within 1 s";
    wait_for("the stream's last word", LIMIT, || {
        errors.drain();
        Ok(errors.seen().join("\n").contains(last).then_some(()))
    })
    .unwrap();

    // Kept entries: filters, columns, colours on a terminal alone.
    let server = &site.server;
    server.write("/etc/portcullis/kept.json", &kept).unwrap();
    let ask = |words: &str| {
        let words = format!("events --events /etc/portcullis/kept.json {words}");
        portcullis_text(server, &words.split_whitespace().collect::<Vec<_>>()).unwrap()
    };
    assert!(ask("").starts_with('{'), "JSON in a pipe");
    assert_eq!(ask("--kind peer").lines().count(), 1);
    assert_eq!(
        ask("--row seal-output-engine/single-server --kind peer")
            .lines()
            .count(),
        1
    );
    assert_eq!(
        ask("--row seal-output-engine/single-server/1")
            .lines()
            .count(),
        0,
        "{IPPS}"
    );
    assert_eq!(ask("--unit cups").lines().count(), 0);
    assert!(ask("--reason no-rule").lines().count() > 1);
    let text = ask("--kind peer --format text");
    for part in [
        "deny",
        "in ",
        "tcp/9000",
        CLIENT[0],
        "peer",
        "×1",
        "seal-output-engine/single-server/11",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
    let on_terminal = |environment: &str| {
        let agent = binary().unwrap();
        let line = format!(
            "{environment} {} events --events /etc/portcullis/kept.json --kind peer",
            agent.display()
        );
        let mut command = server.command("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        let output = portcullis_tests::process::output(&mut command, LIMIT).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let coloured = on_terminal("env -u NO_COLOR TERM=xterm");
    assert!(
        coloured.contains("\u{1b}[31mdeny") && coloured.contains("tcp/9000"),
        "{coloured:?}"
    );
    let plain = on_terminal("env NO_COLOR=1 TERM=xterm");
    assert!(
        !plain.contains('\u{1b}') && plain.contains("tcp/9000"),
        "{plain:?}"
    );
}

/// A client that asks for entries and reads none holds nobody, and is told what it missed when it reads at last.
#[test]
fn a_daemon_that_is_killed_and_started_again_is_followed_on() {
    let site = Site::new();
    let agent = Agent::start(&site.server, &configuration("tc", "deny", ""), "json").unwrap();
    let (mut running, mut lines, mut errors) = follow(&site.server, &[]);
    let mut port = 7000;
    let mut until_seen = |lines: &mut Lines| {
        wait_for("an entry", LIMIT, || {
            port += 1;
            knock(&site.client, SERVER[0], std::iter::once(port));
            // Nothing within a moment: asked again.
            let line = lines.next(SILENCE).ok().flatten();
            Ok(line.filter(|it| it.contains("dst_port")))
        })
        .unwrap()
    };
    until_seen(&mut lines);
    agent.kill().unwrap();
    let _agent = Agent::start_as_it_stands(&site.server, "json").unwrap();
    let seconds = |line: &Value| line["missed"]["seconds"].as_f64().unwrap_or(0.0);
    let away = loop {
        let line = next(&mut lines);
        if seconds(&line) > 0.0 {
            break line;
        }
    };
    assert_eq!(away["missed"]["entries"], 0, "{away}");
    until_seen(&mut lines);
    lines.drain();
    let told = lines.seen().iter().filter(|line| {
        let line = serde_json::from_str(line).unwrap();
        seconds(&line) > 0.0
    });
    assert_eq!(told.count(), 1, "in one line: {:?}", lines.seen());
    errors.drain();
    assert_eq!(errors.seen(), [""; 0]);
    running.signal(Signal::SIGTERM).unwrap();
    assert!(running.wait(LIMIT).unwrap().is_some());
}

#[test]
fn a_reader_that_never_reads_holds_nobody() {
    const CHUNK: u16 = 500;
    const CHUNKS: u16 = 12;
    let site = Site::new();
    let budgets = "[events]\nstrangers = { peer = 1000000, all = 1000000 }\n";
    let mut agent =
        Agent::start(&site.server, &configuration("tc", "deny", budgets), "json").unwrap();
    let mut asleep = site
        .server
        .enter(|| UnixStream::connect("/run/portcullis/control.sock"))
        .unwrap()
        .unwrap();
    asleep
        .write_all(b"{\"version\":1,\"command\":\"events\"}\n")
        .unwrap();
    let mut reader = BufReader::new(asleep.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.contains("\"done\""), "{line}");
    for chunk in 0..CHUNKS {
        let first = 1024 + chunk * CHUNK;
        knock(&site.stranger, SERVER[0], first..first + CHUNK);
        let last = first + CHUNK - 1;
        agent
            .wait_event("the last of a chunk", LIMIT, |it| it["dst_port"] == last)
            .unwrap();
    }
    let status = portcullis_json(&site.server, &["status", "--json"]).unwrap();
    let counters = &status["counters"];
    let reported = counters["reported"].as_u64().unwrap();
    assert!(reported >= u64::from(CHUNK * CHUNKS), "{counters}");
    assert_eq!(
        (&counters["lost"], &counters["suppressed"]),
        (&json!(0), &json!(0))
    );
    // Awake: what is left, and how much was not kept.
    asleep.set_read_timeout(Some(LIMIT)).unwrap();
    let (mut packets, mut missed) = (0, 0);
    while packets + missed < reported {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let value: Value = serde_json::from_str(&line).unwrap();
        missed += value["missed"]["entries"].as_u64().unwrap_or(0);
        packets += value["count"].as_u64().unwrap_or(0);
    }
    assert!(missed > 0, "everything fitted into the socket");
    assert_eq!(packets + missed, reported);
    agent.stop().unwrap();
}

/// Every kind of packet as pcap-ng: tshark, another author's reader, finds the fields, right checksums, and the reason.
#[test]
fn tshark_opens_what_was_denied() {
    let host = Namespace::new("capture").unwrap();
    let entry = |more: Value| {
        let mut entry = json!({
            "schema": 1, "time": "2026-11-21T09:00:00.25Z", "verdict": "deny", "reason": "no-rule", "direction": "ingress",
            "interface": "eth0", "src": "10.9.9.9", "dst": "10.0.0.11", "count": 1, "message": "nothing documents it",
            "difference": { "kind": "none", "remedy": "nothing" }, "rows": [], "near_rows": [],
        });
        for (key, value) in more.as_object().unwrap() {
            entry[key] = value.clone();
        }
        entry
    };
    let six = json!({ "src": "fd00::9", "dst": "fd00::1", "transport": "tcp", "src_port": 50001, "dst_port": 631, "tcp_flags": "SYN,ACK" });
    let entries = [
        entry(
            json!({ "transport": "tcp", "src_port": 50000, "dst_port": 443, "tcp_flags": "SYN", "count": 7 }),
        ),
        entry(six),
        entry(
            json!({ "transport": "udp", "src_port": 5353, "dst_port": 53, "direction": "egress", "interface": "eth1" }),
        ),
        entry(json!({ "transport": "icmp", "icmp_type": 8, "icmp_code": 0 })),
        entry(
            json!({ "transport": "icmpv6", "icmp_type": 128, "icmp_code": 0, "src": "fd00::9", "dst": "fd00::1" }),
        ),
        entry(json!({ "transport": "gre" })),
        entry(json!({ "transport": "tcp", "reason": "fragment" })),
        entry(
            json!({ "transport": "ethertype 0x88cc", "src": null, "dst": null, "reason": "non-ip" }),
        ),
    ];
    let lines: String = entries.iter().map(|it| format!("{it}\n")).collect();
    host.write("/etc/events.json", &lines).unwrap();
    let capture = [
        "events",
        "--events",
        "/etc/events.json",
        "--pcap",
        "/etc/denied.pcapng",
    ];
    portcullis_text(&host, &capture).unwrap();
    let read = |words: &str| {
        host.text(&format!("tshark -n -r /etc/denied.pcapng {words}"))
            .unwrap()
    };
    let fields = "-T fields -E separator=; -e frame.interface_name -e frame.time_epoch -e ip.src -e ipv6.dst -e ip.proto -e tcp.dstport \
        -e tcp.flags.syn -e tcp.flags.ack -e udp.dstport -e icmp.type -e icmpv6.type -e eth.type";
    let epoch = "1795251600.250000000";
    let expected = [
        format!("eth0;{epoch};10.9.9.9;;6;443;1;0;;;;"),
        format!("eth0;{epoch};;fd00::1;;631;1;1;;;;"),
        format!("eth1;{epoch};10.9.9.9;;17;;;;53;;;"),
        format!("eth0;{epoch};10.9.9.9;;1;;;;;8;;"),
        format!("eth0;{epoch};;fd00::1;;;;;;;128;"),
        format!("eth0;{epoch};10.9.9.9;;47;;;;;;;"),
        format!("eth0;{epoch};10.9.9.9;;6;;;;;;;"),
        format!("eth0;{epoch};;;;;;;;;;0x88cc"),
    ];
    let read_fields = read(fields);
    let found: Vec<String> = read_fields
        .lines()
        .map(|it| it.replace("True", "1").replace("False", "0"))
        .collect();
    assert_eq!(found, expected);
    let comments = read("-T fields -e frame.comment");
    let comments: Vec<&str> = comments.lines().collect();
    assert_eq!(
        comments[0],
        "deny no-rule, none, 7 packets: nothing documents it"
    );
    assert_eq!(comments[7], "deny non-ip, none: nothing documents it");
    let strict = "-o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE";
    let bad = format!(
        "{strict} -Y ip.checksum.status==0||tcp.checksum.status==0||udp.checksum.status==0||icmp.checksum.status==0||icmpv6.checksum.status==0"
    );
    assert_eq!(read(&bad), "", "wrong checksums");
    let right = format!(
        "{strict} -Y tcp.checksum.status==1||udp.checksum.status==1||icmp.checksum.status==1||icmpv6.checksum.status==1"
    );
    assert_eq!(
        read(&right).lines().count(),
        5,
        "checksums that were looked at"
    );
    assert!(
        host.text("capinfos /etc/denied.pcapng")
            .unwrap()
            .contains("Headers were made again")
    );
}
