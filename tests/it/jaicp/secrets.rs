//! Promise 7: whatever JAICP does, its token, the links to its files and the content of rows appear only in the tables.

use serde_json::json;
use simulator::jaicp::TaskEnd;
use simulator::{Action, Change, Match, Rows};

use super::site::{Site, ago};
use super::*;
use crate::support::Process;
use crate::support::secrets::{assert_silent, texts};

/// A text in every row that is read.
const MARKER: &str = "Juana-Perez-marker";
const STREAMS: &str = "[sessions, messages, clients, session_labels, stats_series, report_messages, report_clients]";

fn misbehave(site: &Site, token: &str) {
    let quoted =
        json!({ "error": "no.such", "message": format!("no /p/{token}/x and {} {MARKER}", token.replace(':', "%3A")) });
    let control = site.control();
    for (report, action) in [
        ("sessions", Action::Redirect { status: 302, location: format!("http://10.0.0.1/p/{token}?s=signature-5f") }),
        ("messages", Action::Cut),
        ("messages", Action::Json { status: 500, body: quoted.to_string() }),
        ("clients", Action::Json { status: 200, body: format!("{{\"paging\":\"{token} {MARKER}\"}}") }),
        ("session_labels", Action::Json { status: 422, body: quoted.to_string().replace(MARKER, "") }),
        ("stats_series", Action::HtmlWith200),
        ("messages", Action::Forbidden),
    ] {
        control.next(Match::report(report), action);
    }
    let all = || Rows::between("messages", ago(3), ago(0));
    let data = site.jaicp().data();
    data.change(all(), Change::Set { field: "question".into(), json: format!("\"{MARKER} {token}\"") }).unwrap();
    data.change(all().every(9), Change::Set { field: "timestamp".into(), json: format!("\"{MARKER}\"") }).unwrap();
    data.change(all().every(20), Change::Remove { field: "sessionId".into() }).unwrap();
}

async fn nothing_comes_out(connection: &str, token: &str) {
    let site = Site::new(connection, STREAMS, "lookback: 5d").await;
    let encoded = token.replace(':', "%3A");
    let lower = token.replace(':', "%3a");
    let secrets = [token, &encoded, &lower, "X-Amz-Signature", "signature-5f", MARKER];
    misbehave(&site, token);
    let env = [("TIDEGATE__LOG__LEVEL", "trace"), ("RUST_LOG", "trace"), ("RUST_BACKTRACE", "1")];
    for end in [TaskEnd::StoredFile, TaskEnd::Failed, TaskEnd::OwnFile] {
        site.jaicp().shape(|shape| shape.task_end = end);
        let mut process = Process::start(&site.config_path(), &["sync"], &env);
        process.wait(Duration::from_mins(2)).await;
        let said = process.said();
        assert!(said.contains("TRACE") || said.contains("DEBUG"), "the level is in force");
        assert_silent("sync", &said, &secrets);
        site.control().quiet();
    }
    for args in [&["check"][..], &["runs", "--tasks"], &["status"], &["cursors"], &["rejects"], &["plan"]] {
        let mut process = Process::start(&site.config_path(), args, &env);
        process.wait(Duration::from_mins(1)).await;
        // Refused records are shown by `rejects` on purpose, but never with the token.
        let secrets = if args == ["rejects"] { &secrets[..5] } else { &secrets };
        assert_silent(&args.join(" "), &process.said(), secrets);
    }
    let (control, rows) = (texts(&site, "tidegate").await, texts(&site, "jaicp").await);
    assert_silent("a control table", &control, &secrets);
    assert_silent("a row", &rows, &secrets[..3]);
    let rejected: String =
        site.scalar("select coalesce(string_agg(record, e'\\n'), '') from tidegate.rejected_record").await;
    assert_silent("a refused record", &rejected, &secrets[..3]);
    assert!(rows.contains(MARKER), "the rows themselves are where they belong");
    assert!(site.control().stats().unexpected.is_empty(), "{:?}", site.control().stats().unexpected);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_nothing_secret_comes_out_though_the_token_is_part_of_every_path() {
    nothing_comes_out("", &Account::default().token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_nothing_secret_comes_out_of_v1() {
    let Account { unified_token, project, .. } = Account::default();
    let connection = format!("api: v1\nproject: {project}\ntoken: {unified_token}");
    let token = unified_token.as_str();
    let site = Site::new(&connection, "[messages, report_messages]", "lookback: 5d").await;
    misbehave(&site, token);
    let env = [("TIDEGATE__LOG__LEVEL", "trace"), ("RUST_LOG", "trace")];
    for _ in 0..2 {
        let mut process = Process::start(&site.config_path(), &["sync"], &env);
        process.wait(Duration::from_mins(2)).await;
        assert_silent("sync", &process.said(), &[token, MARKER]);
    }
    let (control, rows) = (texts(&site, "tidegate").await, texts(&site, "jaicp").await);
    assert_silent("a control table", &control, &[token, MARKER]);
    assert_silent("a row", &rows, &[token]);
}
