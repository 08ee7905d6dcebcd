//! Promise 7: no credential, token, signed URL or row content is in logs, messages or control tables.

use simulator::khoros::Fate;
use simulator::{Action, Change, Match, Rows};

use super::*;
use crate::support::Process;
use crate::support::secrets::{assert_silent, texts};

/// A text in every row that is read.
const MARKER: &str = "Juana-Perez-marker";

fn misbehave(world: &World) {
    let control = world.control();
    let account = Account::default();
    let quoted = format!(
        r#"{{"status":"FAIL","result":"no {} {} https://x/?companyKey={}&a=1"}}"#,
        account.company_key, account.password, account.company_key
    );
    let text = |body: String| Action::Text { status: 200, content_type: "text/plain".to_owned(), body };
    let on = |endpoint: &str, report: &str| Match { endpoint: Some(endpoint.to_owned()), ..Match::report(report) };
    control.next(on("khoros_create", "author"), text(quoted.clone()));
    control.next(on("khoros_status", "response"), text(quoted.clone()));
    control.next(on("khoros_download", "combined"), text(quoted));
    control.next(
        on("khoros_download", "raw_expert_help"),
        Action::Redirect { status: 307, location: "http://10.0.0.1/f?X-Amz-Signature=0".into() },
    );
    control.next(on("khoros_download", "team_performance"), Action::Forbidden);
    control.next(Match::endpoint("files_get"), Action::XmlErrorWith200);
    control.next(Match::endpoint("files_get"), Action::Cut);
    control.khoros().next_job("incoming_post", Fate::Closed(Some(format!("odd {}", account.company_key))));
    control.khoros().shape(|shape| shape.links_expired = 1);
    let data = control.khoros().data();
    for (export, field) in [("incoming_post", "MESSAGE_TEXT"), ("conversation", "STATUS"), ("combined", "TYPE")] {
        let all = || Rows::since(export, DateTime::UNIX_EPOCH);
        data.change(all(), Change::Set { field: field.to_owned(), json: format!("\"{MARKER}\"") }).unwrap();
        data.change(all().every(9), Change::Whole { json: format!("[\"{MARKER}\"]") }).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_nothing_secret_comes_out() {
    let khoros = Account { job_time: Duration::from_millis(100), ..Account::default() };
    let world =
        Recipe { options: Options { khoros, ..free() }, start: ago(1).date_naive(), ..Recipe::default() }.world().await;
    misbehave(&world);
    let env = [("TIDEGATE__LOG__LEVEL", "trace"), ("RUST_LOG", "trace"), ("RUST_BACKTRACE", "1")];
    let mut said = String::new();
    for args in [&["sync"][..], &["sync", "--json"], &["check"], &["runs", "--tasks"], &["status"]] {
        let mut process = Process::start(&world.config_path(), args, &env);
        process.wait(Duration::from_mins(1)).await;
        said += &process.said();
        said += &texts(&world, "tidegate").await;
    }
    assert!(
        (said.contains("TRACE") || said.contains("DEBUG")) && said.contains("the vendor refused"),
        "the level is in force"
    );
    let account = Account::default();
    let basic = tidegate::http::basic(&account.username, &account.password.as_str().into());
    let mut secrets = vec![account.company_key, account.password, basic.expose().to_owned(), MARKER.to_owned()];
    secrets.extend(world.control().khoros().secrets().iter().map(|token| token[..8].to_owned()));
    secrets.push("X-Amz-Signature".to_owned());
    secrets.push("analyticsAccessToken".to_owned());
    assert_silent("the output or a control table", &said, &secrets);
    let kept: i64 =
        world.scalar(&format!("select count(*) from khoros.incoming_post where message_text = '{MARKER}'")).await;
    assert!(kept > 0);
}
