//! The HTTP client of one connection.

use std::time::Duration;

use super::HttpError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two calls of a slow limit a connection may idle this long and still be used again.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// Chooses the TLS implementation of the process.
fn install_tls() {
    // An error means that it was chosen before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client that follows no redirect, keeps no cookie and names itself.
pub fn client() -> Result<reqwest::Client, HttpError> {
    install_tls();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(2)
        .referer(false)
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(HttpError::transport)
}
