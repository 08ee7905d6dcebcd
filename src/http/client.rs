//! The HTTP clients. The process has one for hosts of the configuration and one for hosts that vendors named: each
//! holds a TLS configuration with all root certificates, so one per connection would need much memory. They hold no
//! credential: every request brings its own.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap};

use super::HttpError;
use super::coding::OFFERED;
use super::resolver::PublicOnly;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may idle and still be reused. Calls of usual limits are up to 20 s apart.
const POOL_IDLE: Duration = Duration::from_secs(30);
/// Idle connections to a host that are kept: as many as runs read at a time by default.
const POOL_IDLE_PER_HOST_MAX: usize = 4;
/// All accounts of a vendor may share one socket of HTTP/2. A silent one must not fail their calls for long.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_MAX: Duration = Duration::from_secs(10);

static OWN: OnceLock<reqwest::Client> = OnceLock::new();
static FOREIGN: OnceLock<reqwest::Client> = OnceLock::new();

/// Installs the TLS implementation of the process.
fn install_tls() {
    // An error means that one is already installed, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The client of this process for vendors' hosts that the operator configured.
pub(super) fn own() -> Result<&'static reqwest::Client, HttpError> {
    built_once(&OWN, client)
}

/// The client of this process for hosts that a vendor named.
pub(super) fn foreign() -> Result<&'static reqwest::Client, HttpError> {
    built_once(&FOREIGN, || foreign_client(PublicOnly::of_this_machine()))
}

/// An error is not kept: the next call builds the client again.
fn built_once(
    once: &'static OnceLock<reqwest::Client>,
    build: impl FnOnce() -> Result<reqwest::Client, HttpError>,
) -> Result<&'static reqwest::Client, HttpError> {
    if let Some(client) = once.get() {
        return Ok(client);
    }
    let client = build()?;
    Ok(once.get_or_init(|| client))
}

/// A client for hosts that the operator configured, with sockets of its own. It follows no redirects, keeps no cookies
/// and sends a User-Agent. Calls over TLS go through `HTTPS_PROXY`, if set; the proxy sees only the host.
pub fn client() -> Result<reqwest::Client, HttpError> {
    let proxy = ["HTTPS_PROXY", "https_proxy"].iter().find_map(|name| std::env::var(name).ok());
    through(builder(), proxy.filter(|proxy| !proxy.is_empty()).as_deref())?.build().map_err(HttpError::transport)
}

fn through(builder: reqwest::ClientBuilder, proxy: Option<&str>) -> Result<reqwest::ClientBuilder, HttpError> {
    let Some(proxy) = proxy else { return Ok(builder) };
    // The address of a proxy may contain a password.
    let proxy = reqwest::Proxy::https(proxy)
        .map_err(|_| HttpError::Request("HTTPS_PROXY is not the address of a proxy".to_owned()))?;
    Ok(builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_env())))
}

/// The same for hosts that a vendor named: it connects to public addresses only.
fn foreign_client(resolver: PublicOnly) -> Result<reqwest::Client, HttpError> {
    builder().dns_resolver(resolver).build().map_err(HttpError::transport)
}

fn builder() -> reqwest::ClientBuilder {
    install_tls();
    reqwest::Client::builder()
        // `Body` decompresses instead: all members of a gzip body, with bounds.
        .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, OFFERED)]))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_IDLE_PER_HOST_MAX)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_MAX)
        .referer(false)
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use base64::Engine as _;

    use super::super::{TlsFault, tls_fault};
    use super::*;

    #[test]
    fn p6_all_connections_share_one_client() {
        assert!(std::ptr::eq(own().unwrap(), own().unwrap()));
        assert!(std::ptr::eq(foreign().unwrap(), foreign().unwrap()));
        assert!(!std::ptr::eq(own().unwrap(), foreign().unwrap()));
    }

    #[tokio::test]
    async fn calls_over_tls_go_through_the_proxy_and_plain_ones_do_not() {
        let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", proxy.local_addr().unwrap());
        let client = through(builder(), Some(&address)).unwrap().build().unwrap();
        let call = tokio::spawn(client.get("https://vendor.example/").send());
        let (mut stream, _) = proxy.accept().await.unwrap();
        let mut head = [0; 27];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut head).await.unwrap();
        assert_eq!(&head, b"CONNECT vendor.example:443 ");
        drop(stream);
        assert!(call.await.unwrap().is_err());
        let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let call = tokio::spawn(client.get(format!("http://{}/", plain.local_addr().unwrap())).send());
        plain.accept().await.unwrap();
        call.abort();
        assert!(through(builder(), Some("http://[")).is_err());
    }

    /// Made for this test, self-signed, valid for a hundred years.
    const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgYh0KCFekr5sAMu7ziAGyNzw5sRlCbOJnFXNxDAHF//ihRANCAAQJEzR5xGIo8s\
        Slp6aClJEgQ/32B6cTB4gowSf+Z38AsB991g9JpD4IImv4nA/PmeA3Lnh7/fTmmOa3jMB99HUa";
    const CERTIFICATE: &str = "MIIBkzCCATigAwIBAgIULxBBMhf4K27m3qzOEx+9Ivx/L1swCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTA5MT\
        gxNFoYDzIxMjYxMDI4MDkxODE0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQJEzR5xGIo8sSlp6aC\
        lJEgQ/32B6cTB4gowSf+Z38AsB991g9JpD4IImv4nA/PmeA3Lnh7/fTmmOa3jMB99HUao2YwZDAdBgNVHQ4EFgQUJxmBRZE7ER+j60EVORqRj7\
        ll2dowHwYDVR0jBBgwFoAUJxmBRZE7ER+j60EVORqRj7ll2dowFAYDVR0RBA0wC4IJbG9jYWxob3N0MAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0E\
        AwIDSQAwRgIhAL0d6/I4POlFpBSgNYG9Nk4N/wX4CP+43OAHhkGIA+sLAiEAwUh2Dasl8D1kHGbBb/nJUqSX82pykqs5CXL73oWLDJg=";

    /// Accepts TLS with this certificate from the first client. Returns what it received.
    fn impostor(listener: &std::net::TcpListener) -> Vec<u8> {
        use std::io::Read as _;

        let bytes = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(bytes(KEY)).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![bytes(CERTIFICATE).into()], key)
            .unwrap();
        let mut connection = rustls::ServerConnection::new(std::sync::Arc::new(config)).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut told = Vec::new();
        // Ends with the client's alert.
        let _refused = rustls::Stream::new(&mut connection, &mut stream).read_to_end(&mut told);
        told
    }

    #[tokio::test]
    async fn p7_a_man_in_the_middle_receives_nothing() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}/report?key=s3cret", listener.local_addr().unwrap().port());
        let client = builder().build().unwrap();
        let impostor = std::thread::spawn(move || impostor(&listener));
        let error = client.post(url).bearer_auth("s3cret").body("s3cret").send().await.unwrap_err();
        assert!(error.is_connect() && format!("{error:?}").contains("InvalidCertificate"), "{error:?}");
        assert_eq!(tls_fault(&error), Some(TlsFault::Certificate));
        let shown = HttpError::transport(error).to_string();
        assert_eq!(shown, "no complete response: the certificate was not accepted (TLS)");
        assert!(impostor.join().unwrap().is_empty());
    }

    #[tokio::test]
    async fn p7_no_byte_is_sent_to_a_name_that_resolves_to_this_machine() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let home = listener.local_addr().unwrap();
        let resolver = PublicOnly::of(move |_| Box::pin(std::future::ready(Ok(vec![SocketAddr::new(home.ip(), 0)]))));
        let client = foreign_client(resolver).unwrap();
        let error = client.get(format!("http://files.example:{}/", home.port())).send().await.unwrap_err();
        let error = HttpError::foreign(error, "files.example".to_owned());
        assert!(matches!(&error, HttpError::Host { host, .. } if host == "files.example"), "{error:?}");
        let none = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
        assert!(none.is_err(), "no connection was made");
    }
}
