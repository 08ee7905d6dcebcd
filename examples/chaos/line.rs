//! A line to a server that can be slow, break, and fall silent.
//!
//! Only what comes back is late: a call is at the vendor's when it left, so both count it at the same moment.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// After this time the server closes a session whose other end does not answer: what the keepalive settings of the daemon's
/// sessions add up to. The line does it, because keepalives on one machine are always answered.
const SERVER_CLOSES_AFTER: Duration = Duration::from_secs(40);

/// What the connections that exist at some moment meet then.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Both ends are told.
    Reset,
    /// Neither end is told.
    Silence,
}

pub struct Line {
    address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
    ends: watch::Sender<End>,
}

impl Line {
    /// From `listen` (port 0 picks a free one) to a server, which may be away.
    pub async fn lay(listen: SocketAddr, server: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        // The first value is not a change, so nobody reads it.
        let (ends, _) = watch::channel(End::Reset);
        let delay_ms = Arc::<AtomicU64>::default();
        let (sender, delay) = (ends.clone(), Arc::clone(&delay_ms));
        tokio::spawn(async move {
            loop {
                if let Ok((near, _)) = listener.accept().await {
                    tokio::spawn(carry(near, server, Arc::clone(&delay), sender.subscribe()));
                } else {
                    // Out of file descriptors, most likely: others will be closed.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
        Ok(Self { address, delay_ms, ends })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every burst that comes back takes so much longer.
    pub fn slow(&self, delay: Duration) {
        self.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Every connection that is there is reset at once, in the middle of whatever it carries.
    pub fn cut(&self) {
        self.ends.send_replace(End::Reset);
    }

    /// Connections that exist and are not silent.
    pub fn connections(&self) -> usize {
        self.ends.receiver_count()
    }

    /// From now on nothing passes through the connections that exist, and neither end is told, as when a firewall forgets
    /// them. New ones work. Returns how many fell silent.
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
    // A silent connection is none of those that a later fault meets.
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

/// Loses what both ends send, and does not tell one that the other has closed.
async fn fall_silent(mut near: TcpStream, far: TcpStream) {
    let server = async move {
        tokio::time::sleep(SERVER_CLOSES_AFTER).await;
        let _ = far.set_zero_linger();
    };
    // Ends when the near end closes.
    let mut nowhere = sink();
    let _ = tokio::join!(server, copy(&mut near, &mut nowhere));
}

/// Reads, and pauses before it reads on.
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
