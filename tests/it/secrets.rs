//! Promise 7: whatever a vendor does, credentials, tokens and row content appear nowhere but in the warehouse.

use std::collections::BTreeSet;

use simulator::lynn::{Account, Product};
use simulator::{Action, Change, Fault, Match, Options, Quota, Rows, Wording};
use tidegate::schedule::ByHand;

use crate::support::daemon::{Daemon, SOON, command};
use crate::support::secrets::{self, texts};
use crate::support::world::Recipe;
use crate::support::{World, ago, eventually};

/// Part of every row that is read.
const MARKER: &str = "Juana-Perez-marker";
const KEY: &str = "subscription-key-5f1c77";

fn account() -> Account {
    Account {
        access_token: "access-token-aa11bb22".to_owned(),
        access_token_secret: "access-secret-cc33dd44".to_owned(),
        product: Product::Premium,
        subscription_key: Some(KEY.to_owned()),
        ..Account::default()
    }
}

async fn world() -> World {
    let account = account();
    World::with(Recipe {
        options: Options { lynn: account, ..Recipe::default().options },
        connection: vec![
            "product: premium".to_owned(),
            format!("subscription_key: {KEY}"),
            "request_timeout: 2s".to_owned(),
        ],
        streams: "\"*\"",
        start: ago(1).date_naive(),
        ..Recipe::default()
    })
    .await
}

/// One misbehaviour per report, and more; each quotes secrets and rows where it can.
fn misbehave(world: &World) {
    let control = world.control();
    let errors = || {
        let account = account();
        let quoted = format!("{} {} {KEY}", account.access_token, account.access_token_secret);
        format!(
            r#"["cannot run for {quoted}", {{"token": "{KEY}", "Authorization": "Bearer {}"}}]"#,
            account.access_token
        )
    };
    let faults = [
        ("show_dialogs", Action::Invalid { errors_json: errors() }),
        ("menu_detail", Action::MalformedResult),
        ("show_error", Action::HtmlWith200),
        ("detail_performance", Action::Errors { errors_json: errors() }),
        ("productivity_detail", Action::Cut),
        ("survey_result", Action::TooMany { seconds: 1, wording: Wording::Html, header: false }),
        ("current_interactions", Action::Reset),
        ("navigation_marks", Action::TokenExpired),
        ("navigation_marks", Action::SubscriptionKey),
        ("survey_result", Action::ContentType { value: "text/html".to_owned() }),
        ("show_error", Action::Forbidden),
        ("current_interactions", Action::Delay { ms: 3_000 }),
        ("detail_performance", Action::Status { status: 418 }),
    ];
    for (report, action) in faults {
        control.next(Match::report(report), action);
    }
    let out = Action::OutOfQuota { quota: Quota::Bandwidth, replenished_in: "00:00:01".to_owned(), retry_after: None };
    control.mischief(Fault::new(Match::report("show_dialogs"), out).after(1));
    let marker = |field: &str| Change::Set { field: field.to_owned(), json: format!("\"{MARKER} {field}\"") };
    for report in ["navigation_marks", "survey_result", "menu_detail", "show_dialogs", "current_interactions"] {
        let all = || Rows::since(report, chrono::DateTime::UNIX_EPOCH);
        for field in ["markValue", "comment", "timestamp", "newField", "SessionId"] {
            control.lynn().change(all(), marker(field)).unwrap();
        }
        control.lynn().change(all().every(9), Change::Nul { field: "comment".to_owned() }).unwrap();
        control.lynn().change(all().every(25), Change::Whole { json: format!("[\"{MARKER}\"]") }).unwrap();
    }
    let no_json = Change::Whole { json: format!("{{\"{MARKER}\": }}") };
    control.lynn().change(Rows::since("menu_detail", chrono::DateTime::UNIX_EPOCH).every(31), no_json).unwrap();
}

/// What must not be found, by what to call it.
fn secrets(world: &World) -> Vec<(&'static str, String)> {
    let account = account();
    let url: url::Url = world.database.url().parse().unwrap();
    let password = url.password().map(str::to_owned);
    let mut secrets = vec![
        ("access token", account.access_token),
        ("access token secret", account.access_token_secret),
        ("subscription key", KEY.to_owned()),
        // Every token of the simulator begins with the same header.
        ("minted token", "eyJhbGciOiJIUzI1NiIs".to_owned()),
        ("row content", MARKER.to_owned()),
    ];
    secrets.extend(password.map(|password| ("database password", password)));
    secrets
}

#[track_caller]
fn assert_silent(place: &str, text: &str, secrets: &[(&str, String)]) {
    for (name, secret) in secrets {
        secrets::assert_silent(&format!("{place} ({name})"), text, &[secret]);
    }
}

async fn nothing_comes_out(format: &str) {
    let world = world().await;
    let secrets = secrets(&world);
    let env = [
        ("TIDEGATE__LOG__LEVEL", "trace"),
        ("TIDEGATE__LOG__FORMAT", format),
        ("RUST_LOG", "trace"),
        ("RUST_BACKTRACE", "1"),
    ];
    misbehave(&world);
    let daemon = Daemon::start_with(&world, &env).await;
    world.enqueue(ByHand::Manual).await;
    let calm = "select count(*) = 0 from tidegate.run where state in ('queued', 'running')";
    eventually(SOON * 3, async || world.scalar::<bool>(calm).await.then_some(())).await;
    let states: Vec<String> = sqlx::query_scalar("select distinct state from tidegate.task order by 1")
        .fetch_all(&world.database.pool())
        .await
        .unwrap();
    assert!(states.contains(&"failed".to_owned()), "{states:?}");
    for path in [
        "/",
        "/runs",
        "/events",
        "/rejects",
        "/connections",
        "/system",
        "/api/v1/overview",
        "/status.json",
        "/metrics",
        "/readyz",
        "/healthz",
    ] {
        assert_silent(path, &daemon.get(path).await.1, &secrets);
    }
    let (_, _, said) = daemon.terminate().await;
    assert!(said.contains("TRACE") || said.contains("DEBUG"), "the level is in force");
    assert_silent("the daemon's output", &said, &secrets);

    world.control().quiet();
    for report in ["menu_detail", "survey_result"] {
        let fixed = Change::Set { field: "newField".to_owned(), json: "1".to_owned() };
        world.control().lynn().change(Rows::since(report, chrono::DateTime::UNIX_EPOCH), fixed).unwrap();
    }
    misbehave(&world);
    for args in [
        &["sync"][..],
        &["sync", "--json"],
        &["status"],
        &["runs", "--tasks"],
        &["quota"],
        &["cursors"],
        &["plan"],
        &["check"],
        &["rejects"],
    ] {
        let output = command(&world, &env, args).await;
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).join("\n");
        assert_silent(&args.join(" "), &said, &secrets);
    }
    assert_silent("a control table", &texts(&world, "tidegate").await, &secrets);
    // The rows themselves are where they belong.
    let kept: i64 = world
        .scalar(&format!("select count(*) from lynn.navigation_marks t where to_jsonb(t)::text like '%{MARKER}%'"))
        .await;
    let rejected: BTreeSet<String> = sqlx::query_scalar::<_, String>("select record from tidegate.rejected_record")
        .fetch_all(&world.database.pool())
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert!(kept > 0 || rejected.iter().any(|record| record.contains(MARKER)));
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_nothing_secret_appears_in_pretty_logs_pages_or_tables() {
    nothing_comes_out("pretty").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_nothing_secret_appears_in_json_logs_pages_or_tables() {
    nothing_comes_out("json").await;
}
