//! A call of the vendor's API that redirects to a file elsewhere (`facts/khoros_care.md §3.3, §12`).

use tidegate::http::{CallOutcome, HttpError, Reply};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;

/// A vendor whose download returns `status` and `location`.
async fn vendor(status: u16, location: Option<&str>) -> MockServer {
    let server = MockServer::start().await;
    let response = ResponseTemplate::new(status).set_body_string("moved");
    let response = match location {
        Some(location) => response.insert_header("location", location).insert_header("set-cookie", "session=1"),
        None => response,
    };
    Mock::given(path("/download")).respond_with(response).mount(&server).await;
    server
}

#[tokio::test]
async fn p7_a_redirect_is_returned_and_the_credential_is_not_sent_on() {
    let storage = MockServer::start().await;
    let file = ResponseTemplate::new(200).set_body_string("a,b\n");
    Mock::given(path("/bucket/file.csv")).respond_with(file).mount(&storage).await;
    let signed = format!("{}/bucket/file.csv?X-Sig=a%2Fb%3D", storage.uri());
    for status in [301, 302, 303, 307, 308] {
        let server = vendor(status, Some(&signed)).await;
        let mut connection = Connection::to(&server.uri()).await;
        connection.allowed = vec![host_of(&storage.uri())];
        let gate = connection.gate().await;
        let session = session(&gate);
        let response = session.send_or_redirect(authorised(&format!("{}/download", server.uri()))).await.unwrap();
        assert_eq!(format!("{response:?}"), "Redirect", "a signed URL does not print");
        let Reply::Redirect(location) = response else { panic!("{status}") };
        assert_eq!(location, signed);
        assert!(session.hosts().own(&location).is_err(), "the credential is not sent there");
        let target = session.hosts().foreign(&location).unwrap();
        let Reply::Body(body) = session.fetch(&target, 1_000).await.unwrap() else { panic!("{status}") };
        assert_eq!(body.small().await.unwrap(), b"a,b\n");
        let records = session.take_records();
        assert_eq!(records.iter().map(|call| call.outcome).collect::<Vec<_>>(), [CallOutcome::Ok; 2]);
        assert_eq!(session.take_traffic(), (2, records.iter().map(|call| call.bytes).sum()));
        let asked = server.received_requests().await.unwrap();
        assert_eq!(asked[0].headers["authorization"], "Basic dTpw");
    }
    let fetched = storage.received_requests().await.unwrap();
    assert_eq!(fetched.len(), 5);
    for request in fetched {
        assert_eq!(request.url.query(), Some("X-Sig=a%2Fb%3D"));
        for absent in ["authorization", "cookie", "referer"] {
            assert!(!request.headers.contains_key(absent), "{absent}");
        }
    }
}

#[tokio::test]
async fn a_relative_redirect_is_resolved_against_the_request_url() {
    let server = vendor(302, Some("../files/a.csv?s=1")).await;
    let connection = Connection::to(&server.uri()).await;
    let gate = connection.gate().await;
    let session = session(&gate);
    let call = Call::get(url(&format!("{}/download", server.uri())));
    let Reply::Redirect(location) = session.send_or_redirect(call).await.unwrap() else { panic!() };
    assert_eq!(location, format!("{}/files/a.csv?s=1", server.uri()));
}

#[tokio::test]
async fn other_responses_are_not_redirects() {
    for (status, location) in [(307, None), (304, Some("/a")), (300, Some("/a")), (404, Some("/a"))] {
        let server = vendor(status, location).await;
        let connection = Connection::to(&server.uri()).await;
        let gate = connection.gate().await;
        let session = session(&gate);
        let call = Call::get(url(&format!("{}/download", server.uri())));
        let error = session.send_or_redirect(call).await.unwrap_err();
        assert!(matches!(error, HttpError::Status { status: said, .. } if said == status), "{error:?}");
    }
    let server = vendor(200, None).await;
    let connection = Connection::to(&server.uri()).await;
    let gate = connection.gate().await;
    let session = session(&gate);
    let call = Call::get(url(&format!("{}/download", server.uri())));
    let Reply::Body(body) = session.send_or_redirect(call).await.unwrap() else { panic!() };
    assert_eq!(body.small().await.unwrap(), b"moved");
}

#[tokio::test]
async fn p7_no_other_call_follows_a_redirect() {
    let server = vendor(307, Some("/elsewhere")).await;
    let connection = Connection::to(&server.uri()).await;
    let gate = connection.gate().await;
    let error = session(&gate).send(authorised(&format!("{}/download", server.uri()))).await.unwrap_err();
    assert!(matches!(error, HttpError::Status { status: 307, .. }), "{error:?}");
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn p2_a_refused_download_blocks_the_exceeded_limit() {
    let server = vendor(429, None).await;
    let connection = Connection::to(&server.uri()).await;
    let gate = connection.gate().await;
    let session = session(&gate);
    let call = Call::get(url(&format!("{}/download", server.uri())));
    let error = session.send_or_redirect(call).await.unwrap_err();
    assert!(matches!(error, HttpError::RefusedForQuota { status: 429, .. }), "{error:?}");
    assert!(blocked(&gate).await.is_some());
    let kinds: Vec<_> = session.take_records().into_iter().map(|call| (call.kind, call.outcome)).collect();
    assert_eq!(kinds, [(CallKind::Data, CallOutcome::Quota)]);
}

#[tokio::test]
async fn p6_a_redirect_with_an_endless_body_is_still_returned() {
    let head = b"HTTP/1.1 302 Found\r\nlocation: /a\r\ncontent-length: 1000000000\r\n\r\n".to_vec();
    let address = saying([vec![head], vec![vec![b'x'; 1 << 20]; 64]].concat(), Duration::ZERO).await;
    let connection = Connection::to(&format!("http://{address}")).await;
    let gate = connection.gate().await;
    let session = session(&gate);
    let response = session.send_or_redirect(Call::get(url(&format!("http://{address}/")))).await.unwrap();
    assert!(matches!(response, Reply::Redirect(location) if location == format!("http://{address}/a")));
}
