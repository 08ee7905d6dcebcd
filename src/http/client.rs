//! The HTTP clients of one connection.

use std::time::Duration;

use super::HttpError;
use super::resolver::PublicOnly;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two calls of a slow limit a connection may idle this long and still be used again.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// Chooses the TLS implementation of the process.
fn install_tls() {
    // An error means that it was chosen before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client for hosts that the operator named. It follows no redirect, keeps no cookie, asks no proxy and names itself.
pub fn client() -> Result<reqwest::Client, HttpError> {
    builder().build().map_err(HttpError::transport)
}

/// The same for hosts that a vendor named: it connects to public addresses only.
pub(super) fn foreign_client(resolver: PublicOnly) -> Result<reqwest::Client, HttpError> {
    builder().dns_resolver(resolver).build().map_err(HttpError::transport)
}

fn builder() -> reqwest::ClientBuilder {
    install_tls();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(2)
        .referer(false)
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[tokio::test]
    async fn p7_no_byte_is_sent_to_a_name_that_leads_home() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let home = listener.local_addr().unwrap();
        let resolver = PublicOnly::of(move |_| Box::pin(std::future::ready(Ok(vec![SocketAddr::new(home.ip(), 0)]))));
        let client = foreign_client(resolver).unwrap();
        let error = client.get(format!("http://files.example:{}/", home.port())).send().await.unwrap_err();
        let error = HttpError::foreign(error, "files.example".to_owned());
        assert!(matches!(&error, HttpError::Host { host, .. } if host == "files.example"), "{error:?}");
        let none = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
        assert!(none.is_err(), "nobody has knocked");
    }
}
