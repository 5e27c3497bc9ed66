//! Metrics: what `status` says, over HTTP and a socket, and to a real Prometheus.

use std::net::TcpStream;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use portcullis_tests::daemon::{Agent, CONFIGURATION, portcullis, portcullis_json, repository};
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::{Running, wait_for};
use portcullis_tests::service::Services;
use serde_json::Value;

use crate::site::{LIMIT, SERVER, SILENCE, Site, configuration, reaches};

const ADDRESS: &str = "127.0.0.1:9469";
const SOCKET: &str = "/run/portcullis/metrics.sock";

fn listening(listen: &str) -> String {
    configuration("tc", "deny", &format!("[metrics]\nlisten = \"{listen}\"\n"))
}

/// A scrape by curl: the page, or what went wrong.
fn scrape(host: &Namespace, source: &str) -> Result<String, String> {
    let line = match source.strip_prefix("unix:") {
        Some(path) => {
            format!("curl -sS --fail --max-time 5 --unix-socket {path} http://agent/metrics")
        }
        None => format!("curl -sS --fail --max-time 5 http://{source}/metrics"),
    };
    let output = host.output(&line, LIMIT * 2).unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The value of one line.
#[track_caller]
fn value(page: &str, name: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{page}"));
    line.parse().unwrap()
}

/// The page once `condition` holds for it: what only the process knows is two seconds old at most, the page one.
#[track_caller]
fn page_when(host: &Namespace, what: &str, condition: impl Fn(&str) -> bool) -> String {
    wait_for(what, LIMIT * 2, || {
        Ok(scrape(host, ADDRESS).ok().filter(|page| condition(page)))
    })
    .unwrap()
}

#[test]
fn a_scrape_says_what_status_says() {
    let site = Site::new();
    let server = &site.server;
    let mut services = Services::new();
    services.tcp(server, 443, "printed").unwrap();
    let mut agent = Agent::start(server, &listening(ADDRESS), "json").unwrap();

    assert!(reaches(&site.client, SERVER[0], 443, LIMIT));
    assert!(!reaches(&site.stranger, SERVER[0], 443, SILENCE));
    agent
        .wait_event("the stranger", LIMIT, |event| event["verdict"] == "deny")
        .unwrap();
    // Refused, and counted.
    server.write(CONFIGURATION, "schema = 1\nbroken\n").unwrap();
    let refused = portcullis(server, &["reload"]).unwrap();
    assert!(!refused.status.success());

    let refusals = "portcullis_changes_total{outcome=\"refused\"}";
    let sink = "portcullis_sink_packets_total{sink=\"json\",outcome=\"delivered\"}";
    let page = page_when(server, "a page with refusal and denial", |page| {
        value(page, refusals) == 1.0 && value(page, sink) >= 1.0
    });
    // The stranger may have tried once more between the two: what is counted never falls.
    let status = portcullis_json(server, &["status", "--json"]).unwrap();
    let denied = value(&page, "portcullis_packets_total{verdict=\"denied\"}");
    assert!(denied >= 1.0 && denied <= status["counters"]["denied"].as_f64().unwrap());
    let near =
        "portcullis_row_packets_total{row=\"seal-output-engine/single-server/1\",verdict=\"near\"}";
    assert!(value(&page, near) >= 1.0);
    assert_eq!(value(&page, "portcullis_state{state=\"degraded\"}"), 1.0);
    assert_eq!(value(&page, "portcullis_generation"), 1.0);
    assert_eq!(
        value(&page, "portcullis_interfaces{hook=\"tc\",guarded=\"true\"}"),
        1.0
    );
    assert!(value(&page, "portcullis_ring_peak_bytes") >= 64.0);

    for (what, line, code) in [
        ("another path", format!("http://{ADDRESS}/"), "404"),
        ("a page", format!("http://{ADDRESS}/metrics"), "200"),
        (
            "another method",
            format!("-d x http://{ADDRESS}/metrics"),
            "405",
        ),
    ] {
        let line = format!("curl -sS -o /dev/null -w %{{http_code}} --max-time 5 {line}");
        assert_eq!(server.text(&line).unwrap().trim(), code, "{what}");
    }
}

#[test]
fn the_place_follows_the_configuration() {
    let site = Site::new();
    let server = &site.server;
    let agent = Agent::start(server, &configuration("tc", "deny", ""), "json").unwrap();
    assert!(
        scrape(server, ADDRESS).is_err(),
        "off unless it is asked for"
    );

    let socket = format!("unix:{SOCKET}");
    for (listen, there, gone) in [
        (ADDRESS, ADDRESS, socket.as_str()),
        (&socket, &socket, ADDRESS),
    ] {
        server.write(CONFIGURATION, &listening(listen)).unwrap();
        let applied = portcullis(server, &["apply"]).unwrap();
        assert!(applied.status.success(), "{applied:?}");
        wait_for(there, LIMIT, || Ok(scrape(server, there).ok())).unwrap();
        assert!(scrape(server, gone).is_err(), "{gone} is still served");
    }
    // A process that was killed leaves its socket; the next one takes its place.
    agent.kill().unwrap();
    let is_there = |server: &Namespace| {
        let found = || {
            Path::new(SOCKET)
                .symlink_metadata()
                .is_ok_and(|it| it.file_type().is_socket())
        };
        server.enter(found).unwrap()
    };
    assert!(is_there(server));
    let mut agent = Agent::start_as_it_stands(server, "json").unwrap();
    wait_for("the socket", LIMIT, || Ok(scrape(server, &socket).ok())).unwrap();
    assert!(agent.stop().unwrap().success());
    assert!(!is_there(server), "a stop leaves no socket");
}

#[test]
fn a_place_that_is_taken_is_told_and_tried_again() {
    let site = Site::new();
    let server = &site.server;
    let taken = server
        .enter(|| std::net::TcpListener::bind(ADDRESS).unwrap())
        .unwrap();
    let mut agent = Agent::start(server, &listening(ADDRESS), "json").unwrap();
    wait_for("the trouble in the log", LIMIT, || {
        let told = agent
            .log()
            .contains("cannot serve metrics on 127.0.0.1:9469");
        Ok(told.then_some(()))
    })
    .unwrap();
    // Enforcement does not hang on it.
    assert!(!reaches(&site.stranger, SERVER[0], 443, SILENCE));
    drop(taken);
    page_when(server, "a page at last", |_| true);
}

/// Silent clients, garbage and a client that goes away are in nobody's way.
#[test]
fn clients_are_in_nobody_s_way() {
    use std::io::Write as _;
    let site = Site::new();
    let server = &site.server;
    let _agent = Agent::start(server, &listening(ADDRESS), "json").unwrap();
    page_when(server, "a page", |_| true);
    let mut crowd: Vec<TcpStream> = server
        .enter(|| {
            (0..40)
                .map(|_| TcpStream::connect(ADDRESS).unwrap())
                .collect()
        })
        .unwrap();
    scrape(server, ADDRESS).unwrap();
    for (number, client) in crowd.iter_mut().enumerate() {
        // Those that were turned away get an error, which is theirs.
        let _ = match number % 2 {
            0 => client.write_all(&[0xff; 4096]),
            _ => client.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n"),
        };
    }
    drop(crowd);
    scrape(server, ADDRESS).unwrap();
    assert!(!reaches(&site.stranger, SERVER[0], 443, SILENCE));
}

/// Prometheus as Debian ships it scrapes the agent, knows our metrics, and takes our alert rules.
#[test]
fn prometheus_reads_it() {
    const PROMETHEUS: &str = "127.0.0.1:9090";
    let site = Site::new();
    let server = &site.server;
    let _agent = Agent::start(server, &listening(ADDRESS), "json").unwrap();
    let rules = repository("agent/dist/prometheus/portcullis.rules.yml");
    let own = std::fs::read_to_string(rules).unwrap();
    server
        .write("/etc/prometheus/portcullis.rules.yml", &own)
        .unwrap();
    server
        .write(
            "/etc/prometheus/prometheus.yml",
            &format!(
                "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
                 rule_files: [portcullis.rules.yml]\n\
                 scrape_configs:\n  - job_name: portcullis\n    static_configs: [{{ targets: [\"{ADDRESS}\"] }}]\n"
            ),
        )
        .unwrap();
    let mut command = server.words(&format!(
        "prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/run/prometheus --web.listen-address={PROMETHEUS}"
    ));
    let mut prometheus = Running::start(&mut command).unwrap();
    let mut log = prometheus.error_lines();
    let query = |query: &str| -> Option<Value> {
        let line = format!(
            "curl -sS --max-time 5 --get --data-urlencode query={query} http://{PROMETHEUS}/api/v1/query"
        );
        let answer = server.text(&line).ok()?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        let found = answer["data"]["result"][0]["value"][1].as_str()?;
        found.parse::<f64>().ok().map(Value::from)
    };
    let scraped = wait_for("a scrape by Prometheus", LIMIT * 4, || {
        Ok(query("portcullis_generation"))
    });
    if scraped.is_err() {
        log.drain();
        panic!("{scraped:?}: {}", log.seen().join("\n"));
    }
    assert_eq!(scraped.unwrap(), 1.0);
    // Counters and their labels arrived as such.
    for name in ["portcullis_packets_total{verdict=\"denied\"}", "up"] {
        assert!(query(name).is_some(), "{name}");
    }
    // The rules were loaded, and the one on a host that is guarded is silent.
    let rules = server
        .text(&format!(
            "curl -sS --max-time 5 http://{PROMETHEUS}/api/v1/rules"
        ))
        .unwrap();
    let rules: Value = serde_json::from_str(&rules).unwrap();
    let alerts = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    assert!(alerts.len() >= 6, "{rules}");
    for alert in alerts {
        assert_eq!(alert["state"], "inactive", "{alert}");
    }
    prometheus.stop(LIMIT).unwrap();
}

/// Every alert fires when it should and at no other time, by Prometheus' own reckoning.
#[test]
fn alerts_fire_when_they_should() {
    let output = std::process::Command::new("promtool")
        .args(["test", "rules", "portcullis.test.yml"])
        .current_dir(repository("agent/dist/prometheus"))
        .output()
        .expect("promtool is missing; `cargo xtask setup test` installs it");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}
