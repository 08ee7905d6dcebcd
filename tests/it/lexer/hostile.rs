//! Promise 7: malicious URLs and files. Each is refused with a message that says what to do, nothing is lost, and no
//! credential is sent to another host.

use serde_json::json;
use simulator::{Action, Fault, Match};

use super::*;

fn complete(url: &str) -> Action {
    let body = json!({ "status": "complete", "url": url, "token": "0b7f3a52-1111-4222-8333-944445555666" });
    Action::Json { status: 200, body: body.to_string() }
}

/// A run whose file fails that often, then a run without a failure.
async fn goes_wrong(on: Match, action: Action, times: u32) -> (String, String) {
    let world = plain("[mention_sla_export]", 0).await;
    world.control().mischief(Fault::new(on, action).times(times));
    let said = fails(&world).await;
    assert!(rows(&world, SLA).await.is_empty());
    world.control().quiet();
    world.sync_ok().await;
    assert_file(&world, SLA).await;
    assert_well_behaved(&world);
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_url_to_a_private_address_or_without_tls_is_not_fetched() {
    // The simulator uses plain HTTP, so HTTP is allowed here; only the host is checked.
    for (url, why) in [
        ("http://10.0.0.7/file.csv?secret=1", "10.0.0.7"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254"),
        ("http://localhost:1/file.csv", "localhost:1"),
        ("http://[::1]/file.csv", "[::1]"),
        ("ftp://files.example.com/x", "not https"),
        ("file:///etc/passwd", "names no host"),
        ("http://user:word@files.example.com/x", "user or password"),
    ] {
        let (error, hint) = goes_wrong(Match::endpoint("lexer_status"), complete(url), 1).await;
        assert!(error.contains(why) && !error.contains("secret"), "{url}: {error}");
        assert!(hint.contains("allowed_hosts"), "{hint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_each_redirect_of_a_file_is_checked_and_their_number_is_limited() {
    let to = |location: &str| Action::Redirect { status: 302, location: location.to_owned() };
    let files = || Match::endpoint("files_get");
    let (error, _) = goes_wrong(files(), to("http://127.0.0.1:1/x"), 1).await;
    assert!(error.contains("127.0.0.1:1"), "{error}");

    let world = plain("[mention_sla_export]", 0).await;
    let elsewhere = world.control().put_file("elsewhere.csv", "text/csv", "Account Name\nx\n", LONG);
    world.control().next(files(), to(&elsewhere));
    world.sync_ok().await;
    assert_eq!(rows(&world, SLA).await.len(), 1, "one that is allowed is followed");

    let world = plain("[mention_sla_export]", 0).await;
    let round = world.control().put_file("round.csv", "text/csv", "Account Name\n", LONG);
    world.control().mischief(Fault::new(files(), to(&round)).times(100));
    let (error, _) = fails(&world).await;
    assert!(error.contains("more than 5 redirects"), "{error}");
    assert_eq!(world.control().stats().calls["files_get"], 6);
    assert_well_behaved(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_the_token_follows_no_redirect_of_the_vendors_own_hosts() {
    for endpoint in ["lexer_reports", "lexer_status"] {
        let world = plain("[mention_sla_export]", 0).await;
        let location = world.simulator.files_url() + "/exports/x";
        world.control().next(Match::endpoint(endpoint), Action::Redirect { status: 307, location });
        let (error, _) = fails(&world).await;
        assert!(error.contains("the token is not sent to another URL (status 307)"), "{error}");
        assert_eq!(world.control().stats().calls.get("files_get"), None);
        assert_well_behaved(&world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_csv_is_refused_and_the_next_run_creates_a_new_job() {
    let files = || Match::endpoint("files_get");
    for (action, said) in [
        (Action::XmlErrorWith200, "its file cannot be read: the body is HTML or XML where CSV was expected"),
        (Action::HtmlWith200, "HTML or XML"),
        (
            Action::Text { status: 200, content_type: "text/csv".to_owned(), body: "{\"a\":1}".to_owned() },
            "JSON where CSV",
        ),
        (Action::Status { status: 403 }, "its file is gone (status 403)"),
        (Action::OneField { bytes: 64 << 20 }, "larger than"),
    ] {
        let (error, hint) = goes_wrong(files(), action, 2).await;
        assert!(error.contains(said), "{error}");
        assert!(hint.contains("a new export is requested"), "{hint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_gzip_bomb_is_not_unpacked() {
    let (error, _) = goes_wrong(Match::endpoint("files_get"), Action::GzipBomb { bytes: 64 << 20 }, 2).await;
    assert!(error.contains("cannot be read"), "{error}");
    // Reports are small, so a larger response is not a report.
    let world = plain("[summary]", 0).await;
    world.control().next(Match::report("summary"), Action::GzipBomb { bytes: 64 << 20 });
    let (error, _) = fails(&world).await;
    assert!(error.contains("larger than"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_is_no_rows_with_or_without_a_header() {
    for body in ["", "Account Name,Source Type\n", "\u{feff}Account Name\n"] {
        let world = plain("[mention_sla_export]", 0).await;
        world.control().next(
            Match::endpoint("files_get"),
            Action::Text { status: 200, content_type: "text/csv".to_owned(), body: body.to_owned() },
        );
        world.sync_ok().await;
        assert!(rows(&world, SLA).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_spellings_of_a_header_fill_one_column() {
    let world = plain("[mention_sla_export]", 0).await;
    let body = "\u{feff}account name;Agent Response Date (UTC);Score\nx;2025-03-01 00:00:00;5\n".to_owned();
    let file = Action::Text { status: 200, content_type: "text/csv".to_owned(), body };
    world.control().next(Match::endpoint("files_get"), file);
    world.sync_ok().await;
    let row = rows(&world, SLA).await.remove(0);
    assert_eq!(
        (&row["account_name"], &row["agent_reponse_date_utc"], &row["score"]),
        (&json!("x"), &json!("2025-03-01T00:00:00+00:00"), &json!("5"))
    );
}
