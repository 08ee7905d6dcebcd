//! Resolves names from vendors' URLs to public addresses only.
//!
//! The connection uses the same addresses that were checked, so a name that resolves differently the second time has no
//! effect.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address;

type Lookup = dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync;

/// The system's resolver, with addresses that are not public removed.
pub(super) struct PublicOnly {
    lookup: Arc<Lookup>,
}

/// A name has addresses, but none is public.
#[derive(Debug, thiserror::Error)]
#[error("no public address")]
pub(super) struct NoPublicAddress;

impl PublicOnly {
    pub(super) fn of_this_machine() -> Self {
        Self::of(|name| {
            Box::pin(async move {
                // The client sets the port.
                Ok(tokio::net::lookup_host((name, 0)).await?.collect())
            })
        })
    }

    pub(super) fn of(
        lookup: impl Fn(String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync + 'static,
    ) -> Self {
        Self { lookup: Arc::new(lookup) }
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.lookup)(name.as_str().to_owned());
        Box::pin(async move {
            let mut addresses = found.await?;
            let any = !addresses.is_empty();
            addresses.retain(|found| address::is_public(found.ip()));
            if any && addresses.is_empty() {
                return Err(NoPublicAddress.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolved(addresses: &'static str) -> Result<Vec<String>, String> {
        let lookup = move |_| -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
            let all = addresses.split_whitespace().map(|address| SocketAddr::new(address.parse().unwrap(), 0));
            Box::pin(std::future::ready(Ok(all.collect())))
        };
        let response = PublicOnly::of(lookup).resolve("files.example".parse().unwrap()).await;
        response.map(|found| found.map(|found| found.ip().to_string()).collect()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn p7_a_name_resolves_to_its_public_addresses_only() {
        assert_eq!(resolved("8.8.8.8 10.0.0.1 ::1").await.unwrap(), ["8.8.8.8"]);
        assert_eq!(resolved("127.0.0.1 ::1 fd00::1").await.unwrap_err(), "no public address");
        assert_eq!(resolved("").await.unwrap(), Vec::<String>::new(), "the client reports this");
    }
}
