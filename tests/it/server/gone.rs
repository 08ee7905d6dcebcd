//! The database is gone: pages say so and keep the last overview, and recover by themselves.

use std::time::Duration;

use sqlx::postgres::PgPoolOptions;

use super::api;
use crate::support::port::Port;
use crate::support::proxy::Proxy;
use crate::support::story;
use crate::support::story::PAGES;
use crate::support::{TestDatabase, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn p12_without_the_database_pages_say_so_and_the_last_overview_stays() {
    let database = TestDatabase::create().await;
    story::trouble(&database.pool(), "the token was refused").await;
    let proxy = Proxy::before(database.url()).await;
    let pool = PgPoolOptions::new().max_connections(3).connect_lazy(&proxy.url(database.url())).unwrap();
    let port = Port::open(pool.clone()).await;
    assert_eq!(port.fetch("/", "").await.status, 200);
    proxy.set_up(false);
    // What was read a moment ago is still shown.
    let gone = eventually(Duration::from_secs(20), async || {
        let reply = port.fetch("/", "").await;
        (reply.status == 503).then_some(reply)
    })
    .await;
    assert!(gone.body.contains("Postgres has not responded since"), "{}", gone.body);
    assert!(gone.body.contains("the token was refused") && gone.body.contains("<time"), "{}", gone.body);
    assert_eq!(gone.header("etag"), "");
    for page in PAGES.into_iter().skip(1) {
        let reply = port.fetch(page, "").await;
        assert_eq!(reply.status, 503, "{page}");
        assert!(reply.body.contains("Postgres has not responded since") && reply.body.contains("<nav"), "{page}");
        assert!(!reply.body.contains("s3cret"), "{page}");
        let document = port.fetch(&api(page), "").await;
        assert_eq!((document.status, document.header("content-type")), (503, "application/problem+json"), "{page}");
    }
    proxy.set_up(true);
    let back = eventually(Duration::from_secs(20), async || {
        let reply = port.fetch("/", "").await;
        (reply.status == 200).then_some(reply)
    })
    .await;
    assert!(!back.body.contains("has not responded"), "{}", back.body);
    port.close().await;
    pool.close().await;
}
