//! `check` logs in everywhere and sends no report call.

use std::time::Duration;

use chrono::NaiveTime;
use simulator::{Action, Match, Options};
use tokio::net::TcpListener;

use super::shell::{CONFIG, SECRET, Shell, TOKEN, timeless};
use crate::support::TestDatabase;

/// In addition to `acme-lynn`: the same credential with the other connector, and a vendor without such a call.
const OTHERS: &str = "
  acme-outbound:
    vendor: lynn_outbound
    base_url: ${LYNN_URL}
    tenant: 4411
    access_token: ${LYNN_ACCESS_TOKEN}
    access_token_secret: ${LYNN_ACCESS_TOKEN_SECRET}
  acme-lexer: { vendor: lexer_activity, api_token: hunter2-hunter2, base_url: \"http://127.0.0.1:9\" }
";

#[tokio::test]
async fn a_valid_configuration_is_shown_completely_and_costs_one_login() {
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
async fn suspicious_settings_cause_a_warning_in_text_and_json() {
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
    let begin = "\nwarning: job `lexer-hourly`: its days are those of Australia/Sydney, the connection `acme-lexer` uses \
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
async fn p7_a_host_from_the_environment_and_plain_http_in_a_private_network_cause_warnings() {
    let warnings = async |shell: &Shell| {
        shell.run(&["check", "--offline", "--json"]).await.expect(0).json()["warnings"].as_array().unwrap().clone()
    };
    let shell = Shell::at("postgres:///warehouse").with("LYNN_URL", "http://10.0.0.5");
    let plain = warnings(&shell).await;
    assert_eq!(plain.len(), 1, "{plain:?}");
    assert!(
        plain[0].as_str().unwrap().starts_with("connection `acme-lynn`: `base_url` is `http://10.0.0.5/`"),
        "{plain:?}"
    );
    let shell = shell.with("PGHOST", "db.example.com").with("LYNN_URL", "http://127.0.0.1:9");
    let database = warnings(&shell).await;
    let expected = "database: the server `db.example.com` is on another host and `sslmode` is `prefer`";
    assert!(database.len() == 1 && database[0].as_str().unwrap().starts_with(expected), "{database:?}");
    assert_eq!(warnings(&shell.with("PGSSLMODE", "verify-full")).await, Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn p2_asking_the_vendor_for_its_quota_counts_as_one_call_and_shows_no_token() {
    let database = TestDatabase::create().await;
    let simulator = simulator::start(Options::default()).await.unwrap();
    let shell = Shell::on(&database).with("LYNN_URL", &simulator.base_url());
    shell.write_config(&CONFIG.replace("\njobs:", &format!("{OTHERS}jobs:")));
    let asked = shell.run(&["quota", "--ask", "--json"]).await.expect(0).json();
    let of = |name: &str| {
        let found = asked["asked"].as_array().unwrap().iter().find(|asked| asked["connection"] == name);
        found.cloned().unwrap()
    };
    // What the simulated vendor counts, including this call, next to what the ledger counts.
    for name in ["acme-lynn", "acme-outbound"] {
        assert_eq!(of(name)["state"], "responded", "{asked}");
        assert_eq!(of(name)["response"]["quota"]["create_token"]["amount"], 3, "{asked}");
    }
    let lexer = of("acme-lexer");
    assert_eq!((&lexer["state"], &lexer["vendor"]), (&"no_call".into(), &"lexer_activity".into()), "{asked}");
    // One credential and one ledger: both calls count for both.
    let used = |name: &str, limit: &str| {
        let quotas = asked["quotas"].as_array().unwrap();
        let found = quotas.iter().find(|quota| quota["connection"] == name && quota["limit"] == limit);
        found.unwrap()["used"].clone()
    };
    for name in ["acme-lynn", "acme-outbound"] {
        assert_eq!((used(name, "create_token"), used(name, "period_calls")), (2.into(), 2.into()), "{asked}");
    }
    let stats = simulator.control().stats();
    assert_eq!(stats.calls.into_iter().collect::<Vec<_>>(), [("token_info".to_owned(), 2)]);
    assert_eq!((stats.tokens_minted, stats.unexpected, stats.violation_count), (0, vec![], 0));

    let one = shell.run(&["quota", "--ask", "--connection", "acme-lynn"]).await.expect(0);
    assert!(one.stdout.contains("THE VENDOR SAYS") && one.stdout.contains("quota.create_token.amount"), "{one:?}");
    assert!(!one.stdout.contains("acme-outbound") && !one.said().contains(SECRET), "{one:?}");
    let none = shell.run(&["quota", "--ask", "--connection", "acme-lexer"]).await.expect(0);
    assert!(none.stdout.contains("lexer_activity has no call for the remaining quota"), "{none:?}");
    let unknown = shell.run(&["quota", "--connection", "acme-lexr"]).await.expect(2);
    assert!(unknown.stderr.contains("unknown connection `acme-lexr`; did you mean `acme-lexer`?"), "{unknown:?}");
    // Three a minute: the fourth would wait too long and is not sent, and the ledger's numbers are still shown.
    assert_eq!(simulator.control().stats().calls["token_info"], 3);
    simulator.stop().await;
}

#[tokio::test]
async fn a_vendor_without_a_usable_response_fails_only_its_own_query() {
    let database = TestDatabase::create().await;
    let simulator = simulator::start(Options::default()).await.unwrap();
    let shell = Shell::on(&database).with("LYNN_URL", &simulator.base_url());
    simulator.control().next(Match::endpoint("token_info"), Action::HtmlWith200);
    let asked = shell.run(&["quota", "--ask"]).await.expect(1);
    assert!(asked.stderr.contains("error: acme-lynn: the response cannot be read"), "{asked:?}");
    assert!(asked.stdout.contains("period_bandwidth") && asked.stdout.contains("nothing: the response"), "{asked:?}");
    simulator.control().next(Match::endpoint("token_info"), Action::Unauthorized);
    let document = shell.run(&["quota", "--ask", "--json"]).await.expect(1).json();
    let hint = document["asked"][0]["hint"].as_str().unwrap();
    assert!(hint.starts_with("check the credentials; they are issued per environment. "), "{hint}");
    assert_eq!(simulator.control().stats().calls["token_info"], 2, "no second attempt");
    simulator.stop().await;
}

#[tokio::test]
async fn p7_a_wrong_secret_is_reported_with_the_remedy_and_not_shown() {
    let database = TestDatabase::create().await;
    let simulator = simulator::start(Options::default()).await.unwrap();
    let shell = Shell::on(&database)
        .with("LYNN_URL", &simulator.base_url())
        .with("LYNN_ACCESS_TOKEN_SECRET", "mistyped-hunter2")
        .with("TIDEGATE__LOG__LEVEL", "trace");
    let checked = shell.run(&["check"]).await.expect(1);
    let said = "error: connection `acme-lynn`: the vendor refused the credentials\nhint: check the credentials; they are \
                issued per environment. A running daemon loads a corrected file as soon as it is saved\n";
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
    assert!(checked.stderr.contains("error: connection `acme-lynn`: no complete response"), "{checked:?}");
    assert!(checked.stderr.contains("hint: check that base_url is right"), "{checked:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "only runs retry");
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
    // A database that accepts connections and never responds.
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
async fn the_error_of_postgres_for_a_login_is_printed_once() {
    let database = TestDatabase::create().await;
    let mut url: url::Url = database.url().parse().unwrap();
    url.set_path("/no_such_database");
    let shell = Shell::at(url.as_str());
    for args in [&["status"][..], &["check"]] {
        let failed = shell.run(args).await.expect(1);
        let said = r#"database "no_such_database" does not exist (SQLSTATE 3D000)"#;
        assert!(failed.stderr.contains(said), "{failed:?}");
        assert_eq!(failed.stderr.matches("does not exist").count(), 1, "{failed:?}");
        assert!(!failed.stderr.contains("at line"), "{failed:?}");
    }
}

/// It has no status port meanwhile, so only the log can say it.
#[tokio::test]
async fn a_daemon_whose_database_is_gone_says_at_once_that_it_waits_and_until_when() {
    let begun = std::time::Instant::now();
    let failed = Shell::without_database().run(&["run"]).await.expect(1).stderr;
    let waits = failed.lines().find(|line| line.contains("the database 127.0.0.1:9/nowhere has not responded yet"));
    let line = waits.unwrap_or_else(|| panic!("{failed}"));
    let until =
        line.split("Tidegate waits for it until ").nth(1).and_then(|rest| rest.split(" UTC, then it exits").next());
    assert!(until.is_some_and(|until| NaiveTime::parse_from_str(until, "%H:%M:%S").is_ok()), "{line}");
    let reason = failed.find("cannot reach the database").unwrap_or_else(|| panic!("{failed}"));
    assert!(failed.find(line).unwrap() < reason && !failed.contains("pg-hunter2"), "{failed}");
    assert!(begun.elapsed() > Duration::from_secs(2), "it waited");
}

#[tokio::test]
async fn an_unreachable_database_is_reported_at_once_with_the_reason() {
    let shell = Shell::without_database();
    let begun = std::time::Instant::now();
    let failed = shell.run(&["status"]).await.expect(1);
    assert!(failed.stderr.starts_with("error: cannot reach the database 127.0.0.1:9/nowhere"), "{failed:?}");
    assert!(failed.stderr.to_lowercase().contains("connection refused"), "{failed:?}");
    let checked = shell.run(&["check"]).await.expect(1);
    assert!(checked.stderr.starts_with("error: database: cannot reach the database"), "{checked:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}
