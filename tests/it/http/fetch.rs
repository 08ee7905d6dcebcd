//! Files from other hosts: fetched without credential, and bounded.

use std::io::Write as _;
use std::net::ToSocketAddrs as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tidegate::http::{Body, CallOutcome, HttpError, Reply};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;

/// An address without a server, which a fetch must not use either.
const VENDOR: &str = "http://127.0.0.1:1/api";

/// A connection that may fetch from `storage`.
async fn beside(storage: &str) -> Connection {
    let mut connection = Connection::to(VENDOR).await;
    connection.allowed = vec![host_of(storage)];
    connection
}

async fn storage(response: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(response).mount(&server).await;
    server
}

async fn fetch<'s>(session: &'s Session<'_>, target: &str, bytes_max: u64) -> Result<Reply<'s>, HttpError> {
    session.fetch(&session.hosts().foreign(target)?, bytes_max).await
}

async fn body<'s>(session: &'s Session<'_>, target: &str, bytes_max: u64) -> Result<Body<'s>, HttpError> {
    match fetch(session, target, bytes_max).await? {
        Reply::Body(body) => Ok(body),
        Reply::Redirect(_) => panic!("led elsewhere"),
    }
}

fn outcomes(session: &Session<'_>) -> Vec<CallOutcome> {
    session.take_records().into_iter().map(|call| call.outcome).collect()
}

#[tokio::test]
async fn p7_a_fetch_sends_nothing_of_the_connection() {
    let storage = storage(ResponseTemplate::new(200).insert_header("set-cookie", "s=1").set_body_string("x")).await;
    let connection = beside(&storage.uri()).await;
    let gate = connection.gate().await;
    let session = session(&gate);
    for _ in 0..2 {
        let file = body(&session, &format!("{}/f?sig=a%2Bb#part", storage.uri()), 9).await.unwrap();
        assert_eq!(file.small().await.unwrap(), b"x");
    }
    for request in storage.received_requests().await.unwrap() {
        let mut names: Vec<_> = request.headers.keys().map(ToString::to_string).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent"]);
        assert_eq!(request.url.query(), Some("sig=a%2Bb"));
    }
}

#[tokio::test]
async fn a_fetch_waits_for_no_quota_and_is_counted_as_traffic() {
    let storage = storage(ResponseTemplate::new(200).set_body_bytes(vec![b'x'; 5_000])).await;
    let mut connection = beside(&storage.uri()).await;
    connection.per = Duration::from_hours(1);
    let gate = connection.gate().await;
    let session = session(&gate);
    for _ in 0..3 {
        body(&session, &storage.uri(), 9_000).await.unwrap().small().await.unwrap();
    }
    let (calls, bytes) = session.take_traffic();
    assert!(calls == 3 && (15_000..25_000).contains(&bytes), "{calls} {bytes}");
    assert_eq!(outcomes(&session), [CallOutcome::Ok; 3]);
    assert_eq!(gate.ledger().usage().await.unwrap()[0].used, 0);
}

#[tokio::test]
async fn p7_each_hop_of_a_redirect_is_checked_again() {
    for (location, leads_on) in [
        ("https://bucket.example/f?sig=1", true),
        ("/f", true),
        ("http://169.254.169.254/latest/meta-data", false),
        ("http://[::ffff:127.0.0.1]:1/", false),
        ("http://localhost/", false),
        ("ftp://bucket.example/f", false),
        ("http://user@bucket.example/f", false),
        ("https://[/", false),
    ] {
        let storage = storage(ResponseTemplate::new(302).insert_header("location", location)).await;
        let connection = beside(&storage.uri()).await;
        let gate = connection.gate().await;
        let session = session(&gate);
        let Reply::Redirect(next) = fetch(&session, &storage.uri(), 9).await.unwrap() else { panic!() };
        assert_eq!(session.hosts().foreign(&next).is_ok(), leads_on, "{location}");
        assert_eq!(storage.received_requests().await.unwrap().len(), 1, "no redirect is followed automatically");
    }
}

#[tokio::test]
async fn a_refusal_by_the_storage_is_classified_and_blocks_no_limit() {
    for (status, passes, outcome) in [
        (403, false, CallOutcome::Refused),
        (404, false, CallOutcome::Refused),
        (206, false, CallOutcome::Refused),
        (429, true, CallOutcome::Refused),
        (500, true, CallOutcome::ServerError),
        (503, true, CallOutcome::ServerError),
    ] {
        let response = ResponseTemplate::new(status).set_body_string("<Code>SlowDown, quota of calls</Code>");
        let storage = storage(response.insert_header("retry-after", "3600")).await;
        let connection = beside(&storage.uri()).await;
        let gate = connection.gate().await;
        let session = session(&gate);
        let error = fetch(&session, &storage.uri(), 9).await.unwrap_err();
        assert_eq!(error.is_transient(), passes, "{status}");
        let HttpError::Status { status: said, excerpt } = error else { panic!("{error:?}") };
        assert!(said == status && excerpt.mentions("slowdown"));
        assert_eq!((blocked(&gate).await, outcomes(&session)), (None, vec![outcome]));
    }
}

/// If names can be injected, next to the client, this is tested for any name.
#[tokio::test]
async fn p7_a_name_of_this_machine_is_refused_when_it_is_resolved() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let leads_home = |name: &&str| {
        let addresses = (*name, port).to_socket_addrs().map(|found| found.map(|found| found.ip()).collect::<Vec<_>>());
        addresses.is_ok_and(|found| !found.is_empty() && found.iter().all(std::net::IpAddr::is_loopback))
    };
    let names = [own.as_str(), "ip6-localhost", "ip6-loopback"];
    let Some(name) = names.into_iter().filter(|name| *name != "localhost").find(leads_home) else { return };
    let mut connection = Connection::to(VENDOR).await;
    let target = format!("http://{name}:{port}/secret?secret");
    let gate = connection.gate().await;
    let session = session(&gate);
    let error = fetch(&session, &target, 9).await.unwrap_err();
    let told = format!("the vendor handed out a URL to “{name}:{port}”: its address is private, local or reserved");
    assert_eq!(error.to_string(), told);
    assert!(!format!("{error:?}").contains("secret"));
    assert_eq!(outcomes(&session), [CallOutcome::Transport]);
    assert!(tokio::time::timeout(SECOND / 10, listener.accept()).await.is_err(), "no connection was made");
    // A host that the operator named is connected to, even if the connection fails.
    connection.allowed = vec![format!("{name}:{port}")];
    connection.timeout = SECOND / 2;
    let error = fetch(&self::session(&connection.gate().await), &target, 9).await.unwrap_err();
    assert!(matches!(error, HttpError::Transport { .. }), "{error:?}");
}

fn gzip(filling: u8, megabytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let block = vec![filling; 1 << 20];
    for _ in 0..megabytes {
        encoder.write_all(&block).unwrap();
    }
    encoder.finish().unwrap()
}

#[tokio::test]
async fn p6_a_compressed_file_is_decompressed_and_a_bomb_is_bounded() {
    for (megabytes, fits) in [(1, true), (256, false)] {
        let packed = ResponseTemplate::new(200).insert_header("content-encoding", "gzip");
        let storage = storage(packed.set_body_bytes(gzip(b'x', megabytes))).await;
        let connection = beside(&storage.uri()).await;
        let gate = connection.gate().await;
        let session = session(&gate);
        let outcome = body(&session, &storage.uri(), 2 << 20).await.unwrap().small().await;
        if fits {
            assert_eq!(outcome.unwrap(), vec![b'x'; 1 << 20]);
        } else {
            let error = outcome.unwrap_err();
            assert!(matches!(error, HttpError::TooLarge { max: 2_097_152 }), "{error:?}");
            assert_eq!(outcomes(&session), [CallOutcome::Unreadable]);
            let (_, bytes) = session.take_traffic();
            assert!(bytes < 4 << 20, "{bytes}");
        }
    }
}

fn member(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The outcome for a body with this encoding, the same for fetched and sent calls.
async fn unpacked(encoding: &str, packed: Vec<u8>) -> Result<Vec<u8>, String> {
    let response = ResponseTemplate::new(200).insert_header("content-encoding", encoding).set_body_bytes(packed);
    let storage = storage(response).await;
    let connection = Connection { base_url: url(&storage.uri()), ..beside(&storage.uri()).await };
    let gate = connection.gate().await;
    let session = session(&gate);
    let fetched = body(&session, &storage.uri(), 9_000).await.unwrap().small().await;
    let sent = session.send(authorised(&storage.uri())).await.unwrap().small().await;
    let outcome = sent.map_err(|error| error.to_string());
    assert_eq!(fetched.map_err(|error| error.to_string()), outcome);
    let expected = match &outcome {
        Ok(body) if body.is_empty() => CallOutcome::Unreadable,
        Ok(_) => CallOutcome::Ok,
        Err(said) if said.contains("not offered") => CallOutcome::Unreadable,
        Err(_) => CallOutcome::Transport,
    };
    assert_eq!(outcomes(&session), [expected; 2]);
    outcome
}

#[tokio::test]
async fn p5_all_members_of_a_compressed_body_are_read() {
    for members in [&["one"][..], &["one", "two"], &["one", "", "two", "three"], &[""]] {
        let packed: Vec<u8> = members.iter().flat_map(|text| member(text)).collect();
        let whole = members.concat().into_bytes();
        for encoding in ["gzip", "x-gzip", "GZIP", "identity, gzip"] {
            assert_eq!(unpacked(encoding, packed.clone()).await, Ok(whole.clone()), "{encoding} {members:?}");
        }
        assert_eq!(unpacked("gzip", [packed, vec![0; 100]].concat()).await, Ok(whole), "zeros may follow");
    }
    assert_eq!(unpacked("gzip", Vec::new()).await, Ok(Vec::new()), "an empty body stays empty, compressed or not");
    assert_eq!(unpacked("identity", b"plain".to_vec()).await, Ok(b"plain".to_vec()));
}

#[tokio::test]
async fn p10_a_compressed_body_with_any_defect_is_an_error() {
    let two = [member("one"), member("two")].concat();
    let mut damaged = two.clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    for (packed, said) in [
        ([&two[..], b"trailing"].concat(), "bytes that are not gzip follow its last gzip member"),
        ([&two[..], b"\x1f\x8b"].concat(), "its gzip data is corrupt or truncated"),
        (two[..two.len() - 1].to_vec(), "its gzip data is corrupt or truncated"),
        (two[..member("one").len() + 5].to_vec(), "its gzip data is corrupt or truncated"),
        (damaged, "its gzip data is corrupt or truncated"),
        (b"plain text".to_vec(), "its gzip data is corrupt or truncated"),
    ] {
        assert_eq!(unpacked("gzip", packed).await, Err(format!("no complete response: {said}")));
    }
    for (encoding, name) in [
        ("br", "br"),
        ("zstd", "zstd"),
        ("deflate", "deflate"),
        ("gzip, gzip", "several, one within another"),
        ("s3cret-value", "with an unknown name"),
    ] {
        let said = format!("the response has a Content-Encoding that was not offered: {name}");
        assert_eq!(unpacked(encoding, b"whatever".to_vec()).await, Err(said));
    }
}

#[tokio::test]
async fn p6_a_bomb_of_several_members_is_bounded_too() {
    let packed = ResponseTemplate::new(200).insert_header("content-encoding", "gzip");
    let storage = storage(packed.set_body_bytes(gzip(b'x', 1).repeat(200))).await;
    let connection = beside(&storage.uri()).await;
    let gate = connection.gate().await;
    let session = session(&gate);
    let mut file = body(&session, &storage.uri(), 3 << 20).await.unwrap();
    let mut read = 0;
    let error = loop {
        match file.chunk().await {
            Ok(Some(piece)) => {
                assert!(piece.len() <= 64 << 10, "{} bytes at a time", piece.len());
                read += piece.len();
            }
            Ok(None) => panic!("read to its end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, HttpError::TooLarge { max: 3_145_728 }), "{error:?}");
    assert!((2 << 20..=3 << 20).contains(&read), "{read}: beyond the first member, and no further than the bound");
}

#[tokio::test]
async fn no_content_is_a_response_without_a_body() {
    let storage = storage(ResponseTemplate::new(204)).await;
    let connection = Connection { base_url: url(&storage.uri()), ..beside(&storage.uri()).await };
    let gate = connection.gate().await;
    let session = session(&gate);
    let file = body(&session, &storage.uri(), 9).await.unwrap();
    assert!(file.is_no_content() && file.small().await.unwrap().is_empty());
    let response = session.send(authorised(&storage.uri())).await.unwrap();
    assert!(response.is_no_content() && response.small().await.unwrap().is_empty());
    assert_eq!(outcomes(&session), [CallOutcome::Ok; 2]);
}

#[tokio::test]
async fn a_small_body_that_cannot_be_a_document_is_counted_as_unreadable() {
    for (body, outcome) in [
        ("", CallOutcome::Unreadable),
        (" \r\n", CallOutcome::Unreadable),
        ("<html><body>Service temporarily unavailable</body></html>", CallOutcome::Unreadable),
        ("\u{feff} <?xml version=\"1.0\"?><Error/>", CallOutcome::Unreadable),
        (r#"{"status": "pend"#, CallOutcome::Unreadable),
        (r#"[{"id": 1}, {"#, CallOutcome::Unreadable),
        (r#"{"status": "pending"}"#, CallOutcome::Ok),
        ("\u{feff}[]", CallOutcome::Ok),
        ("\"a token\"", CallOutcome::Ok),
        ("7d0c2d9e", CallOutcome::Ok),
    ] {
        let storage = storage(ResponseTemplate::new(200).set_body_string(body)).await;
        let connection = Connection { base_url: url(&storage.uri()), ..beside(&storage.uri()).await };
        let gate = connection.gate().await;
        let session = session(&gate);
        let read = session.send(authorised(&storage.uri())).await.unwrap().small().await.unwrap();
        assert_eq!((read, outcomes(&session)), (body.as_bytes().to_vec(), vec![outcome]), "{body}");
    }
}

#[tokio::test]
async fn a_truncated_file_is_an_error() {
    let whole = gzip(b'x', 1);
    let cut = &whole[..whole.len() / 2];
    let length = |bytes: usize| {
        format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {bytes}\r\n\r\n").into_bytes()
    };
    let chunked = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for pieces in [
        vec![b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegin".to_vec()],
        vec![b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegin\r\n".to_vec()],
        vec![length(cut.len()), cut.to_vec()],
        // The first member is complete, and more was announced.
        vec![length(2 * whole.len()), whole.clone()],
        vec![chunked, format!("{:x}\r\n", whole.len()).into_bytes(), whole.clone(), b"\r\n".to_vec()],
    ] {
        let address = saying(pieces, Duration::ZERO).await;
        let connection = beside(&format!("http://{address}")).await;
        let gate = connection.gate().await;
        let session = session(&gate);
        let error = body(&session, &format!("http://{address}/"), 9 << 20).await.unwrap().small().await.unwrap_err();
        assert!(matches!(error, HttpError::Transport { .. }) && error.is_transient(), "{error:?}");
        assert_eq!(outcomes(&session), [CallOutcome::Transport]);
    }
}

#[tokio::test]
async fn a_fetch_that_trickles_or_stalls_is_aborted() {
    let head = || b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec();
    let trickle = [vec![head()], vec![b"x".to_vec(); 1_000]].concat();
    for (pieces, pause) in [(trickle, SECOND / 20), (vec![head(), vec![b'x'; 1_000]], 60 * SECOND)] {
        let address = saying(pieces, pause).await;
        let mut connection = beside(&format!("http://{address}")).await;
        connection.timeout = SECOND;
        let gate = connection.gate().await;
        let session = session(&gate);
        let error = body(&session, &format!("http://{address}/"), 9_000).await.unwrap().small().await.unwrap_err();
        assert!(matches!(error, HttpError::Transport { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_fetch_from_a_silent_storage_is_aborted() {
    let address = saying(vec![Vec::new(), Vec::new()], 60 * SECOND).await;
    let mut connection = beside(&format!("http://{address}")).await;
    connection.timeout = SECOND / 2;
    let gate = connection.gate().await;
    let session = session(&gate);
    let error = fetch(&session, &format!("http://{address}/"), 9).await.unwrap_err();
    assert!(matches!(error, HttpError::Transport { what: "it timed out", .. }), "{error:?}");
    assert_eq!(outcomes(&session), [CallOutcome::Timeout]);
}
