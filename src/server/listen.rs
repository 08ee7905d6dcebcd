//! Accepts connections on the status port, within limits that a hostile client cannot exceed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::map_request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_socket_send_buffer_size;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::guard::Peer;
use super::places::{Place, Places, Watched};
use crate::actions;
use crate::store::trouble::Repeats;

/// A client that has not sent its request line and headers within this time is disconnected.
pub(super) const HEADER_READ_MAX: Duration = Duration::from_secs(5);
/// Maximum number of headers in a request.
const HEADERS_MAX: usize = 64;
/// Maximum bytes of a request's line and headers; also the size of the write buffer.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a response that the system keeps for a client that does not receive them; Linux doubles it for its own use.
/// Otherwise it would keep megabytes for each. A response to a probe is much smaller.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// How long requests in progress may continue when the process stops. Actions may end, and have this time for the
/// response.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// How long [`serve`] takes to end.
pub const STOP_MAX: Duration = actions::STOP_MAX.saturating_add(DRAIN_MAX);
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
    let error = |source| ListenError { address, source };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    // Accepted connections inherit it.
    set_socket_send_buffer_size(&listener, SEND_BUFFER_BYTES).map_err(|errno| error(errno.into()))?;
    Ok(listener)
}

/// Serves requests until `token` is cancelled, then gives those in progress one second to end, and actions
/// [`STOP_MAX`]. No action begins after the process was asked to stop ([`super::Health::stopping`]).
pub async fn serve(listener: TcpListener, router: Router, token: CancellationToken) {
    let mut connections = JoinSet::new();
    let (places, trouble) = (Arc::<Places>::default(), Repeats::default());
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
            Ok((stream, peer)) => {
                let place = tokio::select! {
                    () = token.cancelled() => break,
                    place = places.take(peer.ip()) => place,
                };
                connections.spawn(serve_connection(stream, Peer(peer), router.clone(), place, token.clone()));
            }
            Err(error) => {
                trouble.warn("a status connection could not be accepted", &error);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = timeout(STOP_MAX, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        connections.shutdown().await;
    }
}

/// Serves the single request of a connection, which may take a seat.
async fn serve_connection(stream: TcpStream, peer: Peer, router: Router, place: Arc<Place>, token: CancellationToken) {
    let asking = Arc::clone(&place);
    let router = router.layer(map_request(move |mut request: Request| {
        asking.asked();
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(Arc::clone(&asking));
        std::future::ready(request)
    }));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        // Idle connections would use up the places.
        .keep_alive(false)
        .serve_connection(TokioIo::new(Watched::new(stream, Arc::clone(&place))), TowerToHyperService::new(router));
    let stopped = async {
        token.cancelled().await;
        sleep(DRAIN_MAX).await;
        place.answered(DRAIN_MAX).await;
    };
    tokio::select! {
        // First: a request that has arrived is read before it counts as not sent.
        biased;
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a status client disconnected");
            }
        }
        () = stopped => tracing::debug!("a status client was disconnected: the process stops"),
        reason = place.overdue() => tracing::debug!(reason, "a status client was disconnected"),
    }
}
