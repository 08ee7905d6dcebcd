//! Bodies of requests that are too large, broken, or do not arrive.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::{BASIC, BEARER, SAME_ORIGIN, request, world};

#[tokio::test]
async fn p7_a_large_body_is_refused() {
    let (world, port) = world().await;
    let large = format!("{}&stream={}", request(1), "x".repeat(9_000));
    let response = port.post("/jobs/lynn/runs", &large).await;
    assert_eq!(response.status, 413, "{}", response.body);
    let response = port.api("/jobs/lynn/runs", &json!({ "stream": "x".repeat(9_000) })).await;
    assert_eq!(response.status, 413, "{}", response.body);
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, 0);
}

#[tokio::test]
async fn p7_a_broken_body_is_not_called_large_and_one_that_does_not_arrive_is_given_up() {
    let (world, port) = world().await;
    let form =
        format!("/jobs/lynn/runs HTTP/1.1\r\n{BASIC}{SAME_ORIGIN}content-type: application/x-www-form-urlencoded");
    let json = format!("/api/v1/jobs/lynn/runs HTTP/1.1\r\n{BEARER}content-type: application/json");
    let bodies = [
        ("transfer-encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n", 400),
        ("transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{", 408),
        ("content-length: 100\r\n\r\n{", 408),
    ];
    let all = [&form, &json].into_iter().flat_map(|head| bodies.map(|(body, status)| (head, body, status)));
    let begun = Instant::now();
    let port = &port;
    let replies = futures_util::future::join_all(all.map(|(head, body, status)| async move {
        let request = format!("POST {head}\r\nhost: localhost\r\n{body}");
        (port.raw(request.as_bytes()).await, request, status)
    }));
    for (response, request, status) in replies.await {
        assert_eq!(response.status, status, "{request}: {}", response.body);
        assert!(!response.body.contains("larger"), "{}", response.body);
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, 0);
}

#[tokio::test]
async fn p7_a_stated_length_that_is_too_large_is_refused_at_once() {
    let (world, port) = world().await;
    for length in [8 * 1024 + 1, 10_000_000_000_u64] {
        let request = format!(
            "POST /jobs/lynn/runs HTTP/1.1\r\nhost: localhost\r\n{BASIC}{SAME_ORIGIN}content-type: \
             application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\nreq"
        );
        let begun = Instant::now();
        let response = port.raw(request.as_bytes()).await;
        assert_eq!(response.status, 413, "{length}: {}", response.body);
        // A body that is waited for is given up after 5 s.
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_clients_that_do_not_send_their_body_keep_out_no_other() {
    let (_world, port) = world().await;
    let head = format!(
        "POST /jobs/lynn/runs HTTP/1.1\r\nhost: localhost\r\n{BASIC}{SAME_ORIGIN}content-type: \
         application/x-www-form-urlencoded\r\ncontent-length: 500\r\n\r\nreq"
    );
    // More than are served at the same time, from several addresses.
    let mut clients = Vec::new();
    for number in 0_u8..64 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 2 + number % 4], 0))).unwrap();
        let mut client = socket.connect(port.address).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        clients.push(client);
    }
    for _ in 0..10 {
        for path in ["/", "/metrics", "/healthz"] {
            let reply = port.get(path).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        }
    }
    let mut begin = [0; 12];
    clients[0].read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 408", "it had its place until then");
}
