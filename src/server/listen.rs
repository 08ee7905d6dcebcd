//! Accepts connections on the status port, within limits that a hostile client cannot exceed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::map_request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::guard::Peer;
use crate::store::trouble::Repeats;

/// Enough for probes, a scraper and a few people.
const CONNECTIONS_MAX: usize = 64;
/// A client that has not sent its request line and headers within this time is disconnected.
const HEADER_READ_MAX: Duration = Duration::from_secs(5);
/// From accept to the last byte, so that a client that reads slowly is dropped too.
const CONNECTION_MAX: Duration = Duration::from_secs(20);
/// Maximum number of headers in a request.
const HEADERS_MAX: usize = 64;
/// Maximum bytes of a request's line and headers; also the size of the write buffer.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// How long requests in progress may continue when the process stops.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// Pause after a failed accept, which fails while the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why the status port cannot be opened.
#[derive(Debug, Error)]
#[error(
    "server.listen {address} cannot be opened; write a free address and port, such as 127.0.0.1:{}",
    if .address.port() == 8080 { 8081 } else { 8080 }
)]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Opens the status port.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { address, source })
}

/// Serves requests until `token` is cancelled, then gives those in progress one second to end.
pub async fn serve(listener: TcpListener, router: Router, token: CancellationToken) {
    let mut connections = JoinSet::new();
    let (mut places, trouble) = (Places::default(), Repeats::default());
    loop {
        let accepted = tokio::select! {
            () = token.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while let Some(ended) = connections.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a status request ended unexpectedly; this is a bug");
            }
        }
        match accepted {
            Ok((stream, peer)) if places.make_room() => {
                let asked = Arc::<AtomicBool>::default();
                let connection =
                    connections.spawn(serve_connection(stream, Peer(peer), router.clone(), Arc::clone(&asked)));
                places.0.push_back(Place { connection, asked });
            }
            Ok(_) => tracing::debug!("a status client was refused: all connections are in use"),
            Err(error) => {
                trouble.warn("a status connection could not be accepted", &error);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = timeout(DRAIN_MAX, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        connections.shutdown().await;
    }
}

/// The open connections, oldest first.
#[derive(Default)]
struct Places(VecDeque<Place>);

struct Place {
    connection: AbortHandle,
    /// Whether its request has arrived.
    asked: Arc<AtomicBool>,
}

impl Places {
    /// Frees a connection: closes the oldest one that has not sent a request, so that clients that only connect cannot
    /// block probes. Returns `false` if all have sent one.
    fn make_room(&mut self) -> bool {
        self.0.retain(|place| !place.connection.is_finished());
        if self.0.len() < CONNECTIONS_MAX {
            return true;
        }
        let idle = self.0.iter().position(|place| !place.asked.load(Ordering::Relaxed));
        let Some(place) = idle.and_then(|at| self.0.remove(at)) else { return false };
        place.connection.abort();
        true
    }
}

/// Serves the single request of a connection and sets `asked` when it has arrived.
async fn serve_connection(stream: TcpStream, peer: Peer, router: Router, asked: Arc<AtomicBool>) {
    let router = router.layer(map_request(move |mut request: Request| {
        asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer);
        std::future::ready(request)
    }));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        // Idle connections would use up the limit.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(CONNECTION_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a status client disconnected"),
        Err(_) => tracing::debug!("a status client was too slow"),
    }
}
