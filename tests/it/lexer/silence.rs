//! Promise 7: the API token, the tokens of jobs, the URLs of files and the content of rows appear only in the
//! warehouse.

use simulator::{Action, Change, Fault, Match, Rows};

use super::*;
use crate::support::Process;
use crate::support::secrets::{assert_silent, texts};

const MARKER: &str = "Juana-Perez-marker";

#[tokio::test(flavor = "multi_thread")]
async fn p7_nothing_secret_comes_out_while_everything_goes_wrong() {
    let world = plain("\"*\"", 1).await;
    let marker = |field: &str| Change::Set { field: field.to_owned(), json: format!("\"{MARKER} {field}\"") };
    for field in ["Customer Message", "Account Name", "Customer Publish Date (UTC)"] {
        lexer(&world).data().change(Rows::since(SLA, ago(3)), marker(field)).unwrap();
    }
    let token = Account::default().api_token;
    let quoted = format!("cannot do it for {token}, see https://x.example/?t={token}");
    for (on, action) in [
        (Match::report("summary"), Action::Json { status: 400, body: format!("{{\"error\":\"{quoted}\"}}") }),
        (Match::report("users"), Action::HtmlWith200),
        (Match::report("groups"), Action::Json { status: 200, body: format!("{{\"{MARKER}\":\"{token}\"}}") }),
        (Match::report("classifications"), Action::Json { status: 401, body: quoted.clone() }),
        (
            Match::endpoint("lexer_status"),
            Action::Json { status: 200, body: format!("{{\"status\":\"{token} failed\",\"token\":null}}") },
        ),
        (Match::endpoint("files_get"), Action::XmlErrorWith200),
        (Match::endpoint("files_get"), Action::Cut),
        (
            Match::report("case_summary"),
            Action::Redirect { status: 302, location: format!("https://evil.example/?{token}") },
        ),
    ] {
        world.control().mischief(Fault::new(on, action).times(2));
    }
    let env = [("TIDEGATE__LOG__LEVEL", "trace"), ("RUST_LOG", "trace"), ("RUST_BACKTRACE", "1")];
    let mut said = String::new();
    for args in
        [&["sync"][..], &["sync", "--json"], &["status"], &["runs", "--tasks"], &["cursors"], &["check"], &["rejects"]]
    {
        let mut process = Process::start(&world.config_path(), args, &env);
        process.wait(LONG).await;
        said.push_str(&process.said());
    }
    assert!(said.contains("TRACE") || said.contains("DEBUG"));
    let tables = texts(&world, "tidegate").await;
    let tokens = lexer(&world).job_tokens();
    assert!(tokens.len() > 4);
    let secrets = tokens.iter().chain([&token]).map(String::as_str).chain(["X-Amz-Signature", MARKER, "hyperlink("]);
    let secrets: Vec<&str> = secrets.collect();
    assert_silent("the output", &said, &secrets);
    assert_silent("a control table", &tables, &secrets);
    let kept: i64 = world
        .scalar(&format!("select count(*) from lexer.mention_sla_export where account_name like '{MARKER}%'"))
        .await;
    assert!(kept > 0, "where it belongs");
    assert_well_behaved(&world);
}
