//! The page for whoever signs off the host, in a browser of others: whole, without an error, and on paper.

use std::time::Duration;

use portcullis_tests::daemon::{Agent, portcullis_text};
use portcullis_tests::journald::Journald;
use portcullis_tests::process::{output, wait_for};

use crate::site::{CLIENT, IPPS, SERVER, SILENCE, Site, configuration, reaches};
use portcullis_tests::service::Services;

const LIMIT: Duration = Duration::from_secs(60);
const BROWSER: &str = "chromium-headless-shell";

#[test]
fn a_browser_shows_the_page_and_prints_it() {
    let site = Site::new();
    let server = &site.server;
    let journal = Journald::start(server).unwrap();
    let mut services = Services::new();
    services.tcp(server, 443, "printed").unwrap();
    let more = "[allow.backup]\ndirection = \"ingress\"\ntcp = [10000]\npeers = [\"10.88.1.9\"]\nreason = \"restore <b>tests</b>\"\nowner = \"storage\"\nexpires = 2199-12-31\n";
    let mut agent = Agent::start(server, &configuration("tc", "deny", more), "journal").unwrap();
    assert!(reaches(&site.client, SERVER[0], 443, LIMIT));
    assert!(!reaches(&site.client, SERVER[0], 9000, SILENCE));
    journal
        .wait_entry(&["PORTCULLIS_DIFFERENCE=peer"], LIMIT, |_| true)
        .unwrap();
    wait_for("the counters", LIMIT, || {
        let status = portcullis_text(server, &["status", "--json"])?;
        Ok(status.contains(IPPS).then_some(()))
    })
    .unwrap();
    // The browser gets the file by a directory that both see.
    let place = std::env::temp_dir().join(format!("portcullis-report-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let file = place.join("report.html");
    portcullis_text(server, &["report", "--html", file.to_str().unwrap()]).unwrap();

    let browse = |more: &[&str]| {
        let mut command = server.command(BROWSER);
        let profile = format!("--user-data-dir={}", place.join("profile").display());
        command.args([
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--v=0",
            &profile,
        ]);
        command.args(more).arg(format!("file://{}", file.display()));
        let done = output(&mut command, LIMIT).unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        assert!(!said.contains("CONSOLE"), "the page complains: {said}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let page = browse(&["--dump-dom"]);
    for part in [
        "<svg class=\"diagram\"",
        "print-client",
        "class=\"rows\"",
        "proved (",
        "Proved: ",
        "In force: enforcing",
        "restore &lt;b&gt;tests&lt;/b&gt;",
        "storage",
        "2199-12-31",
        "FNV-1a",
        "allow/backup",
        "failsafe/ssh",
        "baseline/icmp-echo",
        "everything else",
        "60 rows: 3 in force, 57 inactive.",
        "print-client → node: tcp 443",
    ] {
        assert!(
            page.contains(part),
            "{part} is not in the page as the browser has it"
        );
    }
    assert_eq!(page.matches("<td class=\"state\">").count(), 60);
    let row = page
        .split("<tr")
        .find(|it| it.contains(">single-server/1</td>"))
        .unwrap();
    assert!(
        row.contains("in force") && row.contains("10.88.1.0/24") && row.contains("proved ("),
        "{row}"
    );
    assert!(
        row.contains("<td>20") && !row.contains("never"),
        "it was used by {}: {row}",
        CLIENT[0]
    );

    let paper = place.join("report.pdf");
    browse(&[
        "--no-pdf-header-footer",
        &format!("--print-to-pdf={}", paper.display()),
    ]);
    let octets = std::fs::read(&paper).unwrap();
    let text = String::from_utf8_lossy(&octets);
    let boxes: Vec<&str> = text
        .split("/MediaBox [")
        .skip(1)
        .filter_map(|it| it.split(']').next())
        .collect();
    assert!(boxes.len() >= 2, "pages: {boxes:?}");
    for page in boxes {
        let sides: Vec<f64> = page
            .split_whitespace()
            .map(|it| it.parse().unwrap())
            .collect();
        // 210 × 297 mm in points of 1/72 inch
        assert!(
            (sides[2] - 595.28).abs() < 1.0 && (sides[3] - 841.89).abs() < 1.0,
            "{page}"
        );
    }
    let picture = place.join("report.png");
    browse(&[
        "--window-size=1200,3000",
        &format!("--screenshot={}", picture.display()),
    ]);
    assert!(std::fs::metadata(&picture).unwrap().len() > 50_000);
    if std::env::var_os("PORTCULLIS_KEEP_PICTURES").is_none() {
        std::fs::remove_dir_all(&place).unwrap();
    }
    agent.stop().unwrap();
    journal.stop().unwrap();
}
