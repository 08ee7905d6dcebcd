//! A proxy to a server that can be slow, break, and fall silent.
//!
//! Only responses are delayed: a call reaches the vendor when it is sent, so both sides count it at the same time.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long until the server closes a session whose other end does not respond, as configured with the keepalive
/// settings of the daemon's sessions. The proxy does it, because keepalives on one machine are always acknowledged.
const SERVER_CLOSES_AFTER: Duration = Duration::from_secs(40);

/// What happens to the existing connections.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Both ends are notified.
    Reset,
    /// Neither end is notified.
    Silence,
}

pub struct Line {
    address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
    ends: watch::Sender<End>,
}

impl Line {
    /// Listens on `listen` (port 0 selects a free one) and forwards to a server, which may be unavailable.
    pub async fn lay(listen: SocketAddr, server: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        // The initial value is not a change, so nobody reads it.
        let (ends, _) = watch::channel(End::Reset);
        let delay_ms = Arc::<AtomicU64>::default();
        let (sender, delay) = (ends.clone(), Arc::clone(&delay_ms));
        tokio::spawn(async move {
            loop {
                if let Ok((near, _)) = listener.accept().await {
                    tokio::spawn(carry(near, server, Arc::clone(&delay), sender.subscribe()));
                } else {
                    // Probably out of file descriptors; others will be closed.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
        Ok(Self { address, delay_ms, ends })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Delays every response by this much from now on.
    pub fn slow(&self, delay: Duration) {
        self.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Resets every existing connection at once, even in the middle of a transfer.
    pub fn cut(&self) {
        self.ends.send_replace(End::Reset);
    }

    /// Number of existing connections that are not silent.
    pub fn connections(&self) -> usize {
        self.ends.receiver_count()
    }

    /// From now on nothing passes through the existing connections, and neither end is notified, as when a firewall
    /// drops its state. New connections work. Returns how many fell silent.
    pub fn forget(&self) -> usize {
        let connections = self.connections();
        self.ends.send_replace(End::Silence);
        connections
    }
}

async fn carry(mut near: TcpStream, server: SocketAddr, delay: Arc<AtomicU64>, mut ends: watch::Receiver<End>) {
    let Ok(far) = TcpStream::connect(server).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let mut far = Slow { stream: far, delay, pause: None };
    let end = tokio::select! {
        carried = copy_bidirectional(&mut near, &mut far) => carried.err().map(|_| End::Reset),
        _ = ends.changed() => Some(*ends.borrow()),
    };
    // A silent connection is not affected by later faults.
    drop(ends);
    match end {
        None => {}
        Some(End::Reset) => {
            // Closing then sends RST, not FIN, to both ends.
            let _ = (near.set_zero_linger(), far.stream.set_zero_linger());
        }
        Some(End::Silence) => fall_silent(near, far.stream).await,
    }
}

/// Drops what both ends send, and does not tell one end that the other has closed.
async fn fall_silent(mut near: TcpStream, far: TcpStream) {
    let server = async move {
        tokio::time::sleep(SERVER_CLOSES_AFTER).await;
        let _ = far.set_zero_linger();
    };
    // Ends when the client's end closes.
    let mut nowhere = sink();
    let _ = tokio::join!(server, copy(&mut near, &mut nowhere));
}

/// Reads, and pauses before it continues.
struct Slow {
    stream: TcpStream,
    delay: Arc<AtomicU64>,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        if this.pause.is_none() {
            let delay = this.delay.load(Ordering::Relaxed);
            if delay > 0 {
                ready!(this.stream.poll_read_ready(cx))?;
                this.pause = Some(Box::pin(tokio::time::sleep(Duration::from_millis(delay))));
            }
        }
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(cx));
        }
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buffer));
        this.pause = None;
        Poll::Ready(read)
    }
}

impl AsyncWrite for Slow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
