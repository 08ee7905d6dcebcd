//! Responses that the simulator never sends, from a server whose responses the test sets.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use simulator::{Action, Fault, Match};
use tidegate::connector::StepError;
use tidegate::http::{Call, HttpError, Payload};
use wiremock::matchers::{body_string_contains, method, path_regex};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::*;

const LOGIN: &str = "/CreateToken$";
const REPORT: &str = "/ExecuteReport/";

async fn server(token: &str) -> (MockServer, Bench, Client) {
    let server = MockServer::start().await;
    let response = ResponseTemplate::new(200).set_body_string(token);
    Mock::given(method("POST")).and(path_regex(LOGIN)).respond_with(response).mount(&server).await;
    let bench = bench_at(&server.uri()).await;
    let client = bench.client().await;
    (server, bench, client)
}

/// The responses to queries, in order; the last one is repeated.
async fn says(server: &MockServer, responses: &[&str]) {
    let responses: Vec<String> = responses.iter().map(ToString::to_string).collect();
    let asked = AtomicU32::new(0);
    let response = move |_: &Request| {
        let number = asked.fetch_add(1, Ordering::Relaxed) as usize;
        ResponseTemplate::new(200).set_body_string(responses[number.min(responses.len() - 1)].clone())
    };
    Mock::given(path_regex(REPORT)).respond_with(response).mount(server).await;
}

async fn queries(server: &MockServer) -> Vec<Request> {
    let all = server.received_requests().await.unwrap();
    all.into_iter().filter(|request| request.url.path().contains("ExecuteReport")).collect()
}

fn page(count: &str, rows: usize, last: &str) -> String {
    let rows = vec![r#"{"a":1}"#; rows].join(",");
    format!(r#"{{"ISVALID":true,"pagecount":{count},"Result":[{rows}],"ERRORS":null,"LastDocument":{last}}}"#)
}

#[tokio::test]
async fn keys_are_read_in_any_case_and_unknown_ones_ignored_and_a_token_may_be_bare() {
    let (server, _bench, client) = server(r#""bare-token""#).await;
    says(&server, &[&page("\"1\"", 20, "[1]").replacen('{', r#"{"more":{"deep":[1]},"#, 1), &page("0", 2, "[2]")])
        .await;
    let reading = client.read(MARKS, day(1)).await.unwrap();
    assert_eq!(reading.pages, [20, 2], "a count may come as a string");
    let sent = queries(&server).await;
    assert_eq!(sent[0].headers["authorization"], "bearer bare-token");
    assert_eq!(sent[0].headers["content-type"], "application/json");
    assert!(!sent[0].headers.contains_key("ocp-apim-subscription-key"), "omitted, not empty");
    let body = |request: &Request| String::from_utf8(request.body.clone()).unwrap();
    let query = r#""startDate":"2024-03-01 00:00:00","endDate":"2024-03-02 00:00:00","size":20"#;
    assert_eq!(body(&sent[0]), format!("{{{query}}}"));
    assert_eq!(body(&sent[1]), format!("{{{query},\"lastDocument\":[1]}}"));
}

#[tokio::test]
async fn tenant_method_scheme_path_and_report_id_are_sent_as_configured() {
    let (server, mut bench, _) = server(r#"{"token":"t-1"}"#).await;
    says(&server, &[&page("0", 1, "null")]).await;
    bench.settings.execute_report_method = HttpMethod::Put;
    bench.settings.account.authorization_scheme = "Bearer".to_owned();
    bench.settings.execute_report_path = "/v2/ExecuteReport/{report_id}/{tenant}?x=1".to_owned();
    bench.base_url = format!("{}/base/", server.uri()).parse().unwrap();
    let client = bench.client().await;
    let mut page = Page::default();
    let report = connector::lynn::extra_report("Mine", "a45ec705-6a38-426a-8d1f-9cae4d311497");
    client.step_expecting(&report, day(1), None, Expected::default(), &mut page).await.unwrap();
    let sent = queries(&server).await.remove(0);
    let target = "/base/v2/ExecuteReport/a45ec705-6a38-426a-8d1f-9cae4d311497/4411?x=1";
    assert_eq!(&sent.url[url::Position::BeforePath..], target);
    assert_eq!((sent.method.as_str(), &sent.headers["authorization"].as_bytes()[..7]), ("PUT", &b"Bearer "[..]));
    let logins = server.received_requests().await.unwrap();
    let body: serde_json::Value = logins[0].body_json().unwrap();
    assert_eq!(body["tenant"], serde_json::json!(4411), "a number");
    assert_eq!(body.as_object().unwrap().len(), 3);
    assert_eq!(logins[0].url.path(), "/base/api/LynnReporting/CreateToken");
    assert!(!logins[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn without_a_page_count_reading_continues_until_a_page_is_not_full() {
    for count in ["null", "\"many\"", "{}"] {
        let (server, _bench, client) = server(r#"{"token":"t-1"}"#).await;
        says(&server, &[&page(count, 20, "\"a\""), &page(count, 20, "\"b\""), &page(count, 3, "\"c\"")]).await;
        assert_eq!(client.read(MARKS, day(1)).await.unwrap().pages, [20, 20, 3], "{count}");
    }
}

#[tokio::test]
async fn more_pages_than_a_window_can_have_are_refused_at_once() {
    for count in ["10001", "\"99999999999999999999\"", "1e300"] {
        let (server, _bench, client) = server(r#"{"token":"t-1"}"#).await;
        says(&server, &[&page(count, 20, "1")]).await;
        let error = client.read(MARKS, day(1)).await.unwrap_err();
        assert!(matches!(error, StepError::Endless(10_000)), "{count}: {error:?}");
    }
}

#[tokio::test]
async fn unreadable_rows_are_an_error_and_not_an_empty_window() {
    for body in [
        r#"{"isValid":true,"pageCount":0,"result":{"a":1}}"#,
        r#"{"isValid":true,"pageCount":0,"result":"[]"}"#,
        r#"{"isValid":true,"pageCount":0}"#,
        r#"{"isValid":true,"pageCount":0,"result":[{"a":1}]"#,
        r#"[{"a":1}]"#,
        r#"{"result":[{"a":1}]}"#,
        r#""text""#,
        "7",
    ] {
        let (server, _bench, client) = server(r#"{"token":"t-1"}"#).await;
        says(&server, &[body]).await;
        let error = first_page(&client).await.unwrap_err();
        assert!(
            matches!(error, StepError::Missing(_) | StepError::Shape(_) | StepError::Unreadable(_)),
            "{body}: {error:?}"
        );
        assert_eq!(queries(&server).await.len(), 2, "{body}");
    }
}

#[tokio::test]
async fn false_as_text_is_false() {
    let (server, _bench, client) = server(r#"{"token":"t-1"}"#).await;
    says(&server, &[r#"{"isValid":"False","errors":{"m":"no division"},"result":[]}"#]).await;
    let error = first_page(&client).await.unwrap_err();
    assert!(matches!(&error, StepError::Failed(text) if text.contains("no division")), "{error:?}");
}

fn bomb(before: &str, filling: u8, megabytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(before.as_bytes()).unwrap();
    let block = vec![filling; 1 << 20];
    for _ in 0..megabytes {
        encoder.write_all(&block).unwrap();
    }
    encoder.finish().unwrap()
}

fn packed(status: u16, body: Vec<u8>) -> ResponseTemplate {
    ResponseTemplate::new(status).insert_header("content-encoding", "gzip").set_body_bytes(body)
}

#[tokio::test]
async fn p6_a_gzip_bomb_is_bounded_wherever_it_stands() {
    let (server, _bench, client) = server(r#"{"token":"t-1"}"#).await;
    let record = packed(200, bomb(r#"{"isValid":true,"result":[{"a":""#, b'x', 256));
    let error_body = packed(400, bomb("no such report", b' ', 256));
    Mock::given(path_regex(REPORT)).and(body_string_contains("2024-03-01")).respond_with(record).mount(&server).await;
    Mock::given(path_regex(REPORT)).respond_with(error_body).mount(&server).await;
    let session = client.gate.session(0, Utc::now());
    let error = first_page(&client).await.unwrap_err();
    assert!(matches!(error, StepError::Unreadable(DecodeError::RecordTooLarge { .. })), "{error:?}");
    let error = client.step(&marks(), day(9), None, &mut Page::default()).await.unwrap_err();
    assert!(matches!(error, StepError::NotServed(400)), "{error:?}");
    // Blanks between values are not part of a record, so the limit of the whole response applies.
    let blanks = packed(200, bomb("{", b' ', 64));
    Mock::given(path_regex("/blanks")).respond_with(blanks).mount(&server).await;
    let url = format!("{}/blanks", server.uri()).parse().unwrap();
    let call = Call { bytes_max: 1 << 20, ..Call::post(url, Payload::Json(b"{}".to_vec())) };
    let error = session.send(call).await.unwrap().small().await.unwrap_err();
    assert!(matches!(error, HttpError::TooLarge { max: 1_048_576 }), "{error:?}");
    let (_, bytes) = session.take_traffic();
    assert!(bytes > 1 << 20 && bytes < 2 << 20, "{bytes}");
}

#[tokio::test]
async fn an_endless_token_response_is_bounded() {
    let server = MockServer::start().await;
    Mock::given(path_regex(LOGIN)).respond_with(packed(200, bomb("\"", b'x', 64))).mount(&server).await;
    let bench = bench_at(&server.uri()).await;
    let error = first_page(&bench.client().await).await.unwrap_err();
    assert!(matches!(error, StepError::Http(HttpError::TooLarge { .. })), "{error:?}");
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn p10_a_response_without_a_body_is_an_empty_page() {
    let (_bench, control, client) = start().await;
    for (action, times) in [(Action::NoContent, 1), (Action::EmptyBody, 2)] {
        control.mischief(Fault::new(Match::report(MARKS), action.clone()).times(times));
        let before = control.stats().reports.len();
        let (rows, outcome) = first_page(&client).await.unwrap();
        assert!(rows.is_empty(), "{action:?}");
        assert!(matches!(outcome, Outcome::Page { next: None, .. }), "{action:?}: {outcome:?}");
        assert_eq!(control.stats().reports.len() - before, times as usize, "{action:?}: 204 is believed at once");
    }
    // Where a token is expected, an empty response is an error.
    for action in [Action::NoContent, Action::EmptyBody] {
        control.expire_tokens();
        control.next(Match::report(MARKS), Action::TokenExpired);
        control.mischief(Fault::new(Match::endpoint("create_token"), action).times(9));
        let error = first_page(&client).await.unwrap_err();
        assert!(matches!(error, StepError::Missing("token")), "{error:?}");
        control.quiet();
    }
}

#[tokio::test]
async fn p5_a_response_of_several_gzip_members_has_all_rows() {
    let (_bench, control, client) = start().await;
    for members in [1, 2, 3, 500] {
        control.next(Match::report(MARKS), Action::GzipMembers { members, named: true });
        assert_eq!(first_page(&client).await.unwrap().0.len(), 20, "{members} members");
    }
    assert_eq!(client.read(MARKS, day(1)).await.unwrap().rows, truth(&control, day(1)));
}
