//! `check` logs in to everything and sends no report call.

use std::time::Duration;

use tidegate::simulator::{self, Options};
use tokio::net::TcpListener;

use super::shell::{SECRET, Shell, TOKEN, timeless};
use crate::support::TestDatabase;

#[tokio::test]
async fn a_right_configuration_is_told_in_full_and_costs_one_login() {
    let database = TestDatabase::create().await;
    let simulator = simulator::start(Options::default()).await.unwrap();
    let shell = Shell::on(&database).with("LYNN_URL", &simulator.base_url());
    let checked = shell.run(&["check"]).await.expect(0);
    let url: url::Url = database.url().parse().unwrap();
    let place = format!("{}:{}/{}", url.host_str().unwrap(), url.port().unwrap_or(5432), database.name());
    let text = checked.stdout.replace(&place, "PLACE").replace(&simulator.base_url(), "http://SIMULATOR");
    let (first, rest) = timeless(&text).split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(first.starts_with("database PLACE: ok, PostgreSQL "), "{first}");
    insta::assert_snapshot!(rest);
    let stats = simulator.control().stats();
    assert_eq!((stats.tokens_minted, stats.reports.len(), stats.violation_count), (1, 0, 0));

    let used = shell.run(&["quota", "--json"]).await.expect(0).json();
    assert_eq!((&used["quotas"][0]["limit"], &used["quotas"][0]["used"]), (&"create_token".into(), &1.into()));
    simulator.stop().await;
}

#[tokio::test]
async fn what_deserves_a_second_look_is_a_warning_in_the_text_and_in_the_document() {
    let shell = Shell::without_database();
    let config = |offset: &str| {
        shell.write_config(&format!(
            "connections:
  acme-lexer:
    vendor: lexer_activity
    api_token: 0b7f3a52-hunter2
    utc_offset: \"{offset}\"
jobs:
  lexer-hourly:
    connection: acme-lexer
    streams: [states_volume]
    timezone: Australia/Sydney
    start: 2026-01-01
"
        ));
    };
    config("+11:00");
    let checked = shell.run(&["check", "--offline"]).await.expect(0);
    let begin = "\nwarning: job `lexer-hourly`: its days are those of Australia/Sydney, the connection `acme-lexer` asks with \
                 `utc_offset: +11:00`, which differs on 2026-04-";
    assert!(checked.stdout.contains(begin), "{checked:?}");
    assert!(checked.stdout.contains("write `utc_offset: Australia/Sydney` in the connection"), "{checked:?}");
    let document = shell.run(&["check", "--offline", "--json"]).await.expect(0).json();
    assert_eq!(document["ok"], true, "a warning refuses nothing");
    assert!(document["warnings"][0].as_str().unwrap().starts_with("job `lexer-hourly`"), "{document}");
    config("Australia/Sydney");
    let document = shell.run(&["check", "--offline", "--json"]).await.expect(0).json();
    assert_eq!(document["warnings"], serde_json::json!([]));
}

#[tokio::test]
async fn p7_a_wrong_secret_is_named_with_its_remedy_and_not_shown() {
    let database = TestDatabase::create().await;
    let simulator = simulator::start(Options::default()).await.unwrap();
    let shell = Shell::on(&database)
        .with("LYNN_URL", &simulator.base_url())
        .with("LYNN_ACCESS_TOKEN_SECRET", "mistyped-hunter2")
        .with("TIDEGATE__LOG__LEVEL", "trace");
    let checked = shell.run(&["check"]).await.expect(1);
    let said = "error: connection `acme-lynn`: the vendor refused the credentials\nhint: check the credentials; they are \
                issued per environment\n";
    assert!(checked.stderr.ends_with(said), "{checked:?}");
    assert!(checked.stdout.contains("failed"), "{checked:?}");
    for secret in [TOKEN, SECRET, "mistyped-hunter2"] {
        assert!(!checked.said().contains(secret), "{checked:?}");
    }
    let document = shell.run(&["check", "--json"]).await.expect(1).json();
    assert_eq!((&document["ok"], &document["connections"][0]["state"]), (&false.into(), &"failed".into()));
    assert_eq!((&document["database"]["state"]), &"ok");
    simulator.stop().await;
}

#[tokio::test]
async fn a_vendor_that_cannot_be_reached_fails_the_check_at_once() {
    let database = TestDatabase::create().await;
    let begun = std::time::Instant::now();
    let checked = Shell::on(&database).run(&["check"]).await.expect(1);
    assert!(checked.stderr.contains("error: connection `acme-lynn`: no complete answer"), "{checked:?}");
    assert!(checked.stderr.contains("hint: check that base_url is right"), "{checked:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "retries are for runs");
}

#[tokio::test]
async fn p2_nothing_is_sent_while_the_ledger_cannot_count_it() {
    let database = TestDatabase::create_empty().await;
    let simulator = simulator::start(Options::default()).await.unwrap();
    let shell = Shell::on(&database).with("LYNN_URL", &simulator.base_url());
    let checked = shell.run(&["check"]).await.expect(1);
    assert!(checked.stdout.contains("not checked"), "{checked:?}");
    assert!(simulator.control().stats().calls.is_empty());
    simulator.stop().await;
}

#[tokio::test]
async fn a_signal_ends_a_command_that_waits() {
    // A database that accepts, and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://tidegate@{}/x?sslmode=disable", mute.local_addr().unwrap());
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let shell = Shell::at(&url);
        let child = shell.command(&["status"]).spawn().unwrap();
        let (_connection, _) = mute.accept().await.unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
        let output = tokio::time::timeout(Duration::from_secs(5), child.wait_with_output()).await;
        let output = output.expect("it ends promptly").unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "error: interrupted\n");
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_named_at_once_with_the_reason() {
    let shell = Shell::without_database();
    let begun = std::time::Instant::now();
    let failed = shell.run(&["status"]).await.expect(1);
    assert!(failed.stderr.starts_with("error: cannot reach the database 127.0.0.1:9/nowhere"), "{failed:?}");
    assert!(failed.stderr.to_lowercase().contains("connection refused"), "{failed:?}");
    let checked = shell.run(&["check"]).await.expect(1);
    assert!(checked.stderr.starts_with("error: database: cannot reach the database"), "{checked:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}
