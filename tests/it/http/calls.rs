//! Requests in the formats that vendors document.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate::http::{CallOutcome, HttpError, basic};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::*;

/// The request as the vendor receives it.
async fn seen(call: impl FnOnce(Url) -> Call) -> Request {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let connection = Connection::to(&server.uri()).await;
    let gate = connection.gate().await;
    session(&gate).send(call(url(&server.uri()))).await.unwrap().small().await.unwrap();
    server.received_requests().await.unwrap().remove(0)
}

#[tokio::test]
async fn p6_two_connections_to_one_host_use_the_same_socket_and_each_its_own_credential() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let (heads, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let counted = Arc::clone(&accepted);
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let heads = heads.clone();
            tokio::spawn(async move {
                loop {
                    let head = read_head(&mut stream).await;
                    if head.is_empty() {
                        return;
                    }
                    heads.send(head).unwrap();
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                }
            });
        }
    });
    for credential in ["b25l", "dHdv", ""] {
        let connection = Connection::to(&base).await;
        let gate = connection.gate().await;
        let authorization = (!credential.is_empty()).then(|| ("Basic".to_owned(), credential.into()));
        let call = Call { authorization, ..Call::get(url(&base)) };
        session(&gate).send(call).await.unwrap().small().await.unwrap();
        let head = seen.recv().await.unwrap().to_lowercase();
        let sent = head.lines().find_map(|line| line.strip_prefix("authorization: basic "));
        assert_eq!(sent.unwrap_or_default(), credential.to_lowercase(), "{head}");
        // The connection becomes idle a moment after the response.
        tokio::time::sleep(SECOND / 10).await;
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    server.abort();
}

#[tokio::test]
async fn a_form_is_posted_with_its_type_length_and_headers() {
    let request = seen(|url| Call {
        headers: vec![("Auth-Api-Token", "t-1".into())],
        authorization: Some(("Basic".to_owned(), basic("user", &Secret::new("pass")))),
        ..Call::post(url, Payload::Form(b"startTime=1&reportMetrics=a%20b".to_vec()))
    })
    .await;
    assert_eq!(request.method.as_str(), "POST");
    assert_eq!(request.body, b"startTime=1&reportMetrics=a%20b");
    assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(request.headers["content-length"], "31");
    assert_eq!(request.headers["auth-api-token"], "t-1");
    assert_eq!(request.headers["authorization"], "Basic dXNlcjpwYXNz");
}

#[tokio::test]
async fn a_content_type_required_by_the_vendor_replaces_the_default() {
    let request = seen(|url| Call {
        headers: vec![("Content-Type", "application/json;charset=UTF-8".into())],
        ..Call::post(url, Payload::Json(b"{}".to_vec()))
    })
    .await;
    let types: Vec<_> = request.headers.get_all("content-type").iter().collect();
    assert_eq!(types, ["application/json;charset=UTF-8"]);
}

#[tokio::test]
async fn an_empty_post_has_a_content_length_and_a_get_has_none() {
    let request = seen(|url| Call::post(url, Payload::None)).await;
    assert_eq!(request.headers["content-length"], "0");
    assert!(!request.headers.contains_key("content-type") && !request.headers.contains_key("transfer-encoding"));
    let request = seen(Call::get).await;
    assert_eq!(request.method.as_str(), "GET");
    for absent in ["content-length", "content-type", "transfer-encoding", "authorization", "cookie", "referer"] {
        assert!(!request.headers.contains_key(absent), "{absent}");
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_named_and_not_shown() {
    let connection = Connection::to("http://127.0.0.1:1").await;
    let gate = connection.gate().await;
    let call = Call { headers: vec![("X-Token", "sec\nret".into())], ..Call::get(url("http://127.0.0.1:1")) };
    let error = session(&gate).send(call).await.unwrap_err();
    assert!(matches!(&error, HttpError::Request(what) if what.contains("X-Token")), "{error:?}");
    assert!(!format!("{error:?}").contains("ret\""), "{error:?}");
}

#[tokio::test]
async fn a_call_for_which_no_connection_could_be_made_is_not_counted_as_sent() {
    let connection = Connection::to("http://127.0.0.1:1").await;
    let gate = connection.gate().await;
    let session = session(&gate);
    let error = session.send(Call::get(url("http://127.0.0.1:1"))).await.unwrap_err();
    assert!(matches!(error, HttpError::Transport { .. }), "{error:?}");
    assert_eq!(session.take_traffic(), (0, 0));
    let records: Vec<_> =
        session.take_records().into_iter().map(|call| (call.outcome, call.bytes, call.was_sent)).collect();
    assert_eq!(records, [(CallOutcome::Transport, 0, false)]);
}

#[tokio::test]
async fn the_time_that_calls_wait_for_a_limit_is_counted_once_under_it() {
    let mut connection = Connection::to("http://127.0.0.1:1").await;
    connection.per = 2 * SECOND;
    let gate = connection.gate().await;
    let session = session(&gate);
    for _ in 0..2 {
        assert!(session.send(Call::get(url("http://127.0.0.1:1"))).await.is_err());
    }
    let waits = session.take_waits();
    assert_eq!(waits.keys().collect::<Vec<_>>(), ["requests"]);
    assert!(!waits["requests"].is_zero() && waits["requests"] < 4 * SECOND, "{waits:?}");
    assert!(session.take_waits().is_empty(), "counted once");
}

#[tokio::test]
async fn p6_empty_gzip_members_count_against_the_size_limit() {
    // An empty member is twenty bytes and decompresses to nothing.
    const EMPTY: &[u8] = &[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n".to_vec();
    for (members, fits) in [(100, true), (1_000, false)] {
        let server = format!("http://{}", saying(vec![head.clone(), EMPTY.repeat(members)], Duration::ZERO).await);
        let connection = Connection::to(&server).await;
        let gate = connection.gate().await;
        let call = Call { bytes_max: 10_000, ..Call::get(url(&server)) };
        let read = session(&gate).send(call).await.unwrap().small().await;
        match read {
            Ok(body) => assert!(fits && body.is_empty(), "{members}: {body:?}"),
            Err(error) => {
                assert!(!fits && matches!(error, HttpError::TooLarge { max: 10_000 }), "{members}: {error:?}");
            }
        }
    }
}
