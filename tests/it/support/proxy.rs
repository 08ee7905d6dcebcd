//! A TCP proxy between a daemon and its Postgres, which can drop connection state, as a firewall does, and fail.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

/// Listens until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    /// Number of times the state was dropped.
    forgotten: Arc<watch::Sender<u64>>,
    is_up: Arc<watch::Sender<bool>>,
    listener: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Proxy {
    /// Starts a proxy in front of the server of this URL.
    pub async fn before(url: &str) -> Self {
        let url: Url = url.parse().unwrap();
        let target = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let forgotten = Arc::new(watch::Sender::new(0));
        let is_up = Arc::new(watch::Sender::new(true));
        let (generations, up) = (Arc::clone(&forgotten), Arc::clone(&is_up));
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, target.clone(), generations.subscribe(), up.subscribe()));
            }
        });
        Self { address, forgotten, is_up, listener }
    }

    /// The URL with the proxy in place of the server.
    pub fn url(&self, of: &str) -> String {
        let mut url: Url = of.parse().unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url.to_string()
    }

    /// From now on nothing passes through the existing connections, and neither end is notified. New ones work.
    pub fn forget(&self) {
        self.forgotten.send_modify(|count| *count += 1);
    }

    /// Until it works again, all connections end, and new ones end at once.
    pub fn set_up(&self, is_up: bool) {
        self.is_up.send_replace(is_up);
    }
}

async fn forward(
    mut client: TcpStream,
    target: (String, u16),
    mut forgotten: watch::Receiver<u64>,
    mut is_up: watch::Receiver<bool>,
) {
    if !*is_up.borrow() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    forgotten.mark_unchanged();
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        _ = is_up.wait_for(|is_up| !is_up) => return,
        _ = forgotten.changed() => {}
    }
    // Stays open and silent until the proxy is dropped.
    while forgotten.changed().await.is_ok() {}
    drop((client, server));
}
