//! A line to a server that can be slow, and break.
//!
//! Only what comes back is late: a call is at the vendor's when it left, so both count it at the same moment.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Line {
    address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
    breaks: watch::Sender<u64>,
}

impl Line {
    /// From `listen` (port 0 picks a free one) to a server, which may be away.
    pub async fn lay(listen: SocketAddr, server: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let (breaks, _) = watch::channel(0);
        let delay_ms = Arc::<AtomicU64>::default();
        let (sender, delay) = (breaks.clone(), Arc::clone(&delay_ms));
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
        Ok(Self { address, delay_ms, breaks })
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
        self.breaks.send_modify(|count| *count += 1);
    }
}

async fn carry(mut near: TcpStream, server: SocketAddr, delay: Arc<AtomicU64>, mut broken: watch::Receiver<u64>) {
    let Ok(far) = TcpStream::connect(server).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let mut far = Slow { stream: far, delay, pause: None };
    let whole = tokio::select! {
        carried = copy_bidirectional(&mut near, &mut far) => carried.is_ok(),
        _ = broken.changed() => false,
    };
    if !whole {
        // Closing then sends RST, not FIN, to both ends.
        let _ = (near.set_zero_linger(), far.stream.set_zero_linger());
    }
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
