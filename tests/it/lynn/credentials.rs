//! Promise 7: credentials are sent only to the configured host, and are in no message.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use simulator::{Action, Match, Options};
use tidegate::connector::StepError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use wiremock::matchers::path_regex;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;

#[tokio::test]
async fn the_subscription_key_is_sent_for_premium_and_only_then() {
    let key = "the-premium-key";
    let account = Account {
        product: simulator::lynn::Product::Premium,
        subscription_key: Some(key.into()),
        ..Account::default()
    };
    let (mut bench, control, client) = start_with(Options { lynn: account, ..free() }).await;
    let error = first_page(&client).await.unwrap_err();
    assert!(is_of_subscription_key(&error), "without it: {error:?}");
    (bench.settings.account.product, bench.settings.account.subscription_key) = (Product::Premium, Some(key.into()));
    assert_eq!(first_page(&bench.client().await).await.unwrap().0.len(), 20);
    assert!(control.stats().unexpected.is_empty());

    // An account that is basic, and one whose key is empty.
    let (mut bench, control, _) = start().await;
    bench.settings.account.subscription_key = Some(key.into());
    first_page(&bench.client().await).await.unwrap();
    (bench.settings.account.product, bench.settings.account.subscription_key) = (Product::Premium, Some("".into()));
    first_page(&bench.client().await).await.unwrap();
    assert!(control.stats().unexpected.is_empty(), "{:?}", control.stats().unexpected);
}

#[tokio::test]
async fn p7_a_redirect_is_refused_and_the_other_host_sees_nothing() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = format!("http://{}/api", other.local_addr().unwrap());
    let touched = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&touched);
    tokio::spawn(async move {
        while other.accept().await.is_ok() {
            seen.store(true, Ordering::SeqCst);
        }
    });
    for (status, login) in [(301, true), (302, false), (303, false), (307, true), (307, false), (308, false)] {
        let server = MockServer::start().await;
        let redirect = ResponseTemplate::new(status).insert_header("location", elsewhere.as_str());
        let path = if login { "/CreateToken$" } else { "/ExecuteReport/" };
        Mock::given(path_regex(path)).respond_with(redirect).mount(&server).await;
        let token = ResponseTemplate::new(200).set_body_string(r#"{"token":"t-1"}"#);
        Mock::given(path_regex("/CreateToken$")).respond_with(token).mount(&server).await;
        let error = first_page(&bench_at(&server.uri()).await.client().await).await.unwrap_err();
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(server.received_requests().await.unwrap().len(), if login { 1 } else { 2 });
    }
    assert!(!touched.load(Ordering::SeqCst));
}

/// Everything that could be printed of an error.
fn printed(error: &StepError) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, " {error} {error:?}");
        cause = error.source();
    }
    text
}

fn assert_kept(bench: &Bench, text: &str) {
    let text = text.to_ascii_lowercase();
    let settings = &bench.settings.account;
    for secret in [settings.access_token.expose(), settings.access_token_secret.expose(), "eyjhb"] {
        assert!(!text.contains(&secret.to_ascii_lowercase()), "{secret} in {text}");
        let bytes = format!("{:?}", secret.as_bytes());
        assert!(!text.contains(bytes.trim_matches(['[', ']'])), "{secret} as bytes in {text}");
    }
}

#[tokio::test]
async fn p7_no_error_shows_a_secret_whatever_the_vendor_says_and_wherever_it_breaks() {
    let (mut bench, control, _) = start().await;
    bench.attempts_max = 1;
    bench.timeout = 2 * SECOND;
    let client = bench.client().await;
    let secret = bench.settings.account.access_token_secret.expose().to_owned();
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJ0ZW5hbnQiOjQ0MTF9.c2lnbmF0dXJlLW9mLXNvbWUtbGVuZ3Ro";
    let escaped = secret.chars().fold(String::new(), |escaped, c| escaped + &format!("\\u{:04x}", u32::from(c)));
    let echoes = [
        format!(r#""bad credential {secret}""#),
        format!(r#"["{}"]"#, secret.to_uppercase()),
        format!(r#"{{"header":"bearer {token}","secret":"{escaped}"}}"#),
        format!(r#"{{"url":"https://x/y?token={token}&s={secret}"}}"#),
    ];
    let mut actions: Vec<Action> = echoes.into_iter().map(|errors_json| Action::Invalid { errors_json }).collect();
    actions.extend([400, 401, 403, 500].map(|status| Action::Status { status }));
    actions.extend([Action::Reset, Action::Cut, Action::HtmlWith200, Action::EmptyBody, Action::Unauthorized]);
    for action in actions {
        for on in [Match::report(MARKS), Match::endpoint("create_token")] {
            control.expire_tokens();
            control.next(on, action.clone());
            control.next(Match::report(MARKS), action.clone());
            if let Err(error) = first_page(&client).await {
                assert_kept(&bench, &printed(&error));
            }
            control.quiet();
        }
    }
    assert_kept(&bench, &format!("{:?} {:?} {:?}", client.source, client.gate, bench.settings));
}

#[tokio::test]
async fn p7_a_token_that_the_vendor_echoes_is_not_shown() {
    let server = MockServer::start().await;
    // It does not look like a signed token, so the redactor must know it.
    let token = "opaque-4711";
    let login = ResponseTemplate::new(200).set_body_string(format!(r#"{{"token":"{token}"}}"#));
    Mock::given(path_regex("/CreateToken$")).respond_with(login).mount(&server).await;
    let failed = format!(r#"{{"isValid":false,"errors":"token OPAQUE-4711 / {token} has no division"}}"#);
    let response = ResponseTemplate::new(200).set_body_string(failed);
    Mock::given(path_regex("/ExecuteReport/")).respond_with(response).mount(&server).await;
    let error = first_page(&bench_at(&server.uri()).await.client().await).await.unwrap_err();
    assert_eq!(error.to_string(), "the report failed at the vendor: “token *** / *** has no division”");
}

#[tokio::test]
async fn p7_a_response_that_is_not_http_shows_nothing_either() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut bench = bench_at(&format!("http://user:pa55word@{}", listener.local_addr().unwrap())).await;
    bench.attempts_max = 1;
    // Returns the request that it received as an error.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 10_000];
            let read = stream.read(&mut bytes).await.unwrap_or_default();
            let _gone = stream.write_all(&bytes[..read]).await;
        }
    });
    let error = first_page(&bench.client().await).await.unwrap_err();
    let text = printed(&error);
    assert_kept(&bench, &text);
    assert!(!text.contains("pa55word"), "{text}");
}
