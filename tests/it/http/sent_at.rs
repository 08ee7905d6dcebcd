//! Promise 2 for calls without a body, whose time of sending cannot be observed.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::future::join_all;
use tokio::net::TcpSocket;

use super::*;

/// Shorter than the delay of the vendor or the network for the first call.
const PER: Duration = Duration::from_millis(600);

/// Responds to every request; to the first after `delay`. Records when each was accepted.
async fn respond(listener: TcpListener, delay: Duration, arrivals: Arc<Mutex<Vec<Instant>>>) {
    let mut delay = Some(delay);
    while let Ok((mut stream, _)) = listener.accept().await {
        let (delay, arrivals) = (delay.take(), Arc::clone(&arrivals));
        tokio::spawn(async move {
            tokio::time::sleep(delay.unwrap_or_default()).await;
            if read_head(&mut stream).await.is_empty() {
                return;
            }
            arrivals.lock().unwrap().push(Instant::now());
            let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        });
    }
}

/// Two processes send one call each, the second while the first is in progress. Returns the time between their
/// arrivals.
async fn apart(connection: &Connection, call: fn(Url) -> Call, arrivals: &Mutex<Vec<Instant>>) -> Duration {
    let (one, other) = (connection.gate().await, connection.gate().await);
    let send = async |gate: &Gate| {
        session(gate).send(call(connection.base_url.clone())).await.unwrap().small().await.unwrap();
    };
    tokio::join!(send(&one), async {
        tokio::time::sleep(SECOND / 4).await;
        send(&other).await;
    });
    let arrivals = arrivals.lock().unwrap();
    assert_eq!(arrivals.len(), 2);
    arrivals[1] - arrivals[0]
}

#[tokio::test]
async fn p2_a_call_without_a_body_counts_until_its_response_arrives() {
    for call in [Call::get, |url| Call::post(url, Payload::None)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connection =
            Connection { per: PER, ..Connection::to(&format!("http://{}", listener.local_addr().unwrap())).await };
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let server = tokio::spawn(respond(listener, PER * 3 / 2, Arc::clone(&arrivals)));
        let apart = Box::pin(apart(&connection, call, &arrivals)).await;
        assert!(apart >= PER, "{apart:?}");
        server.abort();
    }
}

#[tokio::test]
async fn p2_a_call_without_a_body_counts_from_a_connection_that_is_slow_to_open() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // If the listener's queue is full, a connection opens only when the system retries, a second later.
    let fillers = join_all((0..4).map(|_| tokio::time::timeout(SECOND / 4, TcpStream::connect(address)))).await;
    let connection = Connection { per: PER, ..Connection::to(&format!("http://{address}")).await };
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let server = tokio::spawn({
        let arrivals = Arc::clone(&arrivals);
        async move {
            tokio::time::sleep(SECOND / 2).await;
            drop(fillers);
            respond(listener, Duration::ZERO, arrivals).await;
        }
    });
    let apart = Box::pin(apart(&connection, Call::get, &arrivals)).await;
    assert!(apart >= PER, "{apart:?}");
    server.abort();
}
