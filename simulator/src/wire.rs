//! Connections that can be reset on request, which a handler cannot do to its client.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// A handle on one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Wire {
    broken: Arc<AtomicBool>,
}

impl Wire {
    /// Breaks the connection from the next write on; closing it then sends a reset.
    pub fn reset(&self) {
        self.broken.store(true, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, Wires>> for Wire {
    fn connect_info(stream: IncomingStream<'_, Wires>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A listener whose connections can be reset.
#[derive(Debug)]
pub(super) struct Wires(pub TcpListener);

impl Listener for Wires {
    type Io = Stream;
    type Addr = Wire;

    async fn accept(&mut self) -> (Stream, Wire) {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => {
                    let broken = Arc::new(AtomicBool::new(false));
                    // Without this option, small responses would wait for the client's acknowledgement.
                    let _ = stream.set_nodelay(true);
                    return (Stream { stream, broken: Arc::clone(&broken) }, Wire { broken });
                }
                // Probably out of file descriptors; others will be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Wire> {
        Ok(Wire { broken: Arc::default() })
    }
}

/// A connection that fails every write once it is broken.
#[derive(Debug)]
pub(super) struct Stream {
    stream: TcpStream,
    broken: Arc<AtomicBool>,
}

impl Stream {
    fn check(&self) -> io::Result<()> {
        if self.broken.load(Ordering::Acquire) {
            // Closing then sends RST, not FIN. If the option has no effect, the client still sees no response.
            let _ = self.stream.set_zero_linger();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
