//! The HTTP client with real connections and a real ledger: what is sent where, what a response may do, and when a call
//! counts.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tidegate::http::{Call, Gate, Hosts, Payload, Retry, Session};
use tidegate::quota::{CallKind, Calls, Unit};
use tidegate::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::support::TestDatabase;
use crate::support::bench::{self, limit};

mod calls;
mod fetch;
mod redirect;
mod sent_at;

const SECOND: Duration = Duration::from_secs(1);

/// A connection: its vendor's address, and its limits.
struct Connection {
    database: TestDatabase,
    base_url: Url,
    allowed: Vec<String>,
    per: Duration,
    timeout: Duration,
}

impl Connection {
    async fn to(base_url: &str) -> Self {
        Self {
            database: TestDatabase::create().await,
            base_url: url(base_url),
            allowed: Vec::new(),
            per: SECOND / 100,
            timeout: 20 * SECOND,
        }
    }

    /// The connection as seen by one process. One call per `per` is allowed.
    async fn gate(&self) -> Gate {
        let limits = vec![limit("requests", Calls::Every, Unit::Calls, 1, self.per)];
        let retry = Retry { attempts_max: 1, initial: SECOND, max: SECOND };
        let (pool, hosts) = (self.database.another_pool(4), Hosts::new(&self.base_url, &[], &self.allowed));
        bench::gate(pool, (&self.base_url, &["secret"]), limits, hosts, self.timeout, retry).await
    }
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn host_of(server: &str) -> String {
    server.strip_prefix("http://").unwrap().to_owned()
}

fn session(gate: &Gate) -> Session<'_> {
    gate.session(0, Utc::now())
}

/// A GET with the connection's credential.
fn authorised(text: &str) -> Call {
    Call { authorization: Some(("Basic".to_owned(), "dTpw".into())), ..Call::get(url(text)) }
}

async fn blocked(gate: &Gate) -> Option<DateTime<Utc>> {
    gate.ledger().usage().await.unwrap()[0].blocked_until
}

/// A server that sends the same to every connection, piece by piece with a pause before each but the first, and closes
/// it.
async fn saying(pieces: Vec<Vec<u8>>, pause: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let pieces = pieces.clone();
            tokio::spawn(async move {
                read_head(&mut stream).await;
                for (number, piece) in pieces.iter().enumerate() {
                    if number > 0 {
                        tokio::time::sleep(pause).await;
                    }
                    if stream.write_all(piece).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Reads a request without a body; returns what arrived before the other side closed the connection.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
