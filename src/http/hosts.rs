//! Where a connection may send: to its own hosts with the credential, to any public host without it.
//!
//! A URL from a vendor is untrusted (promise 7). [`Hosts::own`] checks it for a call with the credential,
//! [`Hosts::foreign`] for a fetch without. Names are checked here as far as possible; their addresses are checked when
//! connecting ([`super::resolver`]).

use std::net::IpAddr;

use url::{Host, Url};

use super::HttpError;
use super::address::{NOT_PUBLIC, is_public};

/// A pre-signed storage URL has about 2,000.
const URL_BYTES_MAX: usize = 16 << 10;
/// The limit of DNS.
const HOST_BYTES_MAX: usize = 255;

/// The hosts of one connection.
#[derive(Debug, Clone)]
pub struct Hosts {
    base_url: Url,
    further: Vec<Url>,
    allowed: Vec<String>,
}

/// A URL from the vendor that may be fetched without credential. Only [`Hosts::foreign`] creates it.
#[derive(Clone)]
pub struct Vetted {
    url: Url,
    trusted: bool,
}

impl Hosts {
    /// `further`: base URLs other than `base_url` that receive the credential too. `allowed`: `host` (any port) or
    /// `host:port`, in lower case.
    pub fn new(base_url: &Url, further: &[&Url], allowed: &[String]) -> Self {
        Self {
            base_url: base_url.clone(),
            further: further.iter().copied().cloned().collect(),
            allowed: allowed.to_vec(),
        }
    }

    /// Checks a URL for a call with the credential: scheme, host and port must be those of an own base URL. A relative
    /// URL is resolved against `base_url`.
    pub fn own(&self, url: &str) -> Result<Url, HttpError> {
        let url = self.read(url)?;
        if self.bases().any(|base| base.scheme() == url.scheme() && same_place(base, &url)) {
            return Ok(url);
        }
        Err(refused(&url, "the credential is sent to the connection's own hosts only"))
    }

    /// Checks a URL for a fetch without credential: https (or http if an own base URL uses it), to a public, own or
    /// allowed host.
    pub fn foreign(&self, url: &str) -> Result<Vetted, HttpError> {
        let url = self.read(url)?;
        match url.scheme() {
            "https" => {}
            "http" if self.bases().any(|base| base.scheme() == "http") => {}
            _ => return Err(refused(&url, "it is not https")),
        }
        let trusted = self.trusts(&url);
        if !trusted {
            let why = match url.host() {
                None => Some("it names no host"),
                Some(Host::Ipv4(address)) => (!is_public(IpAddr::V4(address))).then_some(NOT_PUBLIC),
                Some(Host::Ipv6(address)) => (!is_public(IpAddr::V6(address))).then_some(NOT_PUBLIC),
                Some(Host::Domain(name)) => is_this_machine(name).then_some("it is this machine"),
            };
            if let Some(why) = why {
                return Err(refused(&url, why));
            }
        }
        Ok(Vetted { url, trusted })
    }

    fn bases(&self) -> impl Iterator<Item = &Url> {
        std::iter::once(&self.base_url).chain(&self.further)
    }

    /// The checks that both kinds share.
    fn read(&self, text: &str) -> Result<Url, HttpError> {
        let unreadable = |why| HttpError::Host { host: String::new(), why };
        match text.trim().len() {
            0 => return Err(unreadable("it is empty")),
            1..=URL_BYTES_MAX => {}
            _ => return Err(unreadable("it is too long")),
        }
        let mut url = self.base_url.join(text).map_err(|_| unreadable("it cannot be parsed"))?;
        if url.host_str().is_none_or(|host| host.is_empty() || host.len() > HOST_BYTES_MAX) {
            return Err(unreadable("it names no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(&url, "it contains a user or password"));
        }
        url.set_fragment(None);
        Ok(url)
    }

    /// Whether the operator configured this host: then it may be private.
    fn trusts(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let with_port = url.port_or_known_default().map(|port| format!("{host}:{port}"));
        self.bases().any(|base| same_place(base, url))
            || self.allowed.iter().any(|allowed| allowed == host || Some(allowed) == with_port.as_ref())
    }
}

impl Vetted {
    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the operator configured its host. Addresses of other hosts are checked when connecting.
    pub(super) const fn is_trusted(&self) -> bool {
        self.trusted
    }

    pub(super) fn place(&self) -> String {
        place(&self.url)
    }
}

/// Its path and query may be enough to fetch a file, so they do not print.
impl std::fmt::Debug for Vetted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Vetted({})", self.place())
    }
}

fn same_place(one: &Url, other: &Url) -> bool {
    one.host() == other.host() && one.port_or_known_default() == other.port_or_known_default()
}

fn refused(url: &Url, why: &'static str) -> HttpError {
    HttpError::Host { host: place(url), why }
}

/// `host` or `host:port`.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// `localhost` and every name below it, regardless of what the resolver returns (RFC 6761).
fn is_this_machine(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;
