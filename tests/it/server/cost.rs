//! What a page costs: statements, and nothing at all if the client has it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::api;
use crate::support::TestDatabase;
use crate::support::port::Port;
use crate::support::story;
use crate::support::story::PAGES;

/// Statements of the overview, and of any other page, with that of what surrounds every page.
const OVERVIEW_STATEMENTS_MAX: usize = 6;
const STATEMENTS_MAX: usize = 5;
/// Statements of what covers every job and stream.
const WHOLE_STATEMENTS_MAX: usize = 12;
/// A response that says that nothing has changed.
const NOT_MODIFIED_BYTES_MAX: usize = 400;

/// What pages read in addition if it is there: a released slice, and totals that differ.
const MORE: &str = "
    update tidegate.slice
    set held_since = now(), held_reason = 'it has no rows', held_rows_there = 100, held_rows_reported = 0,
        released = true, released_at = now(), released_by = 'ops'
    where stream = 'survey_result' and window_start > now() - interval '3 days';
    insert into tidegate.reconciliation (connection, checked_at, check_after, compared, differences)
    values ('acme-lynn', now(), now(), 12, 1);
    insert into tidegate.reconciliation_difference (connection, metric, bucket_start, bucket_end, vendor_total, our_count)
    values ('acme-lynn', 'messages', '2026-01-05', '2026-01-06', 12.5, 11);
";

/// Stands between a pool and the server, and counts the statements that pass: the messages `Execute` and `Query`.
struct Counter {
    address: SocketAddr,
    statements: Arc<AtomicUsize>,
}

impl Counter {
    async fn before(url: &Url) -> Self {
        let target = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, statements) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&statements);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target.clone(), Arc::clone(&counted)));
            }
        });
        Self { address, statements }
    }

    fn url(&self, of: &Url) -> String {
        let mut url = of.clone();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url.query_pairs_mut().append_pair("sslmode", "disable");
        url.to_string()
    }

    fn take(&self) -> usize {
        self.statements.swap(0, Ordering::SeqCst)
    }
}

/// Passes messages until one end closes. The first message has no type.
async fn pass(client: TcpStream, target: (String, u16), statements: Arc<AtomicUsize>) {
    let server = TcpStream::connect(target).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    let mut is_first = true;
    loop {
        let kind = if is_first { None } else { from_client.read_u8().await.ok() };
        if kind.is_none() && !is_first {
            return;
        }
        let Ok(length) = from_client.read_u32().await else { return };
        let mut message = kind.map(|kind| vec![kind]).unwrap_or_default();
        message.extend(length.to_be_bytes());
        let start = message.len();
        message.resize(start + length as usize - 4, 0);
        if from_client.read_exact(&mut message[start..]).await.is_err() {
            return;
        }
        // `begin` and `rollback` are sent as `Query`.
        let is_counted = kind == Some(b'E') || kind == Some(b'Q') && !is_of_a_transaction(&message[start..]);
        statements.fetch_add(usize::from(is_counted), Ordering::SeqCst);
        is_first = false;
        if to_server.write_all(&message).await.is_err() {
            return;
        }
    }
}

fn is_of_a_transaction(query: &[u8]) -> bool {
    let query = query.to_ascii_lowercase();
    query.starts_with(b"begin") || query.starts_with(b"rollback") || query == b"\0"
}

/// A port over a database in which much is wrong, and the counter of its statements.
struct Counted {
    port: Port,
    pool: PgPool,
    counter: Counter,
    _database: TestDatabase,
}

impl Counted {
    async fn open() -> Self {
        let database = TestDatabase::create().await;
        story::trouble(&database.pool(), "refused").await;
        sqlx::raw_sql(MORE).execute(&database.pool()).await.unwrap();
        let url: Url = database.url().parse().unwrap();
        let counter = Counter::before(&url).await;
        let pool = PgPoolOptions::new().max_connections(1).connect(&counter.url(&url)).await.unwrap();
        let port = Port::open(pool.clone()).await;
        Self { port, pool, counter, _database: database }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_costs_few_statements_and_none_if_the_client_has_it() {
    let Counted { port, pool, counter, _database } = Counted::open().await;
    let mut counts = String::new();
    for page in PAGES {
        counter.take();
        let first = port.fetch(page, "").await;
        let statements = counter.take();
        let _ = writeln!(counts, "{statements} {page}");
        let most = if page == "/" { OVERVIEW_STATEMENTS_MAX } else { STATEMENTS_MAX };
        assert!((2..=most).contains(&statements), "{page}: {statements}");
        // The API, another client and a client that has the page cost nothing.
        let tag = first.header("etag").to_owned();
        let known = port.fetch(page, &format!("if-none-match: {tag}")).await;
        assert_eq!((known.status, known.body.as_str()), (304, ""), "{page}");
        assert!(known.head.len() + 4 <= NOT_MODIFIED_BYTES_MAX, "{page}: {} bytes", known.head.len());
        let document = port.fetch(&api(page), "").await;
        let known = port.fetch(&api(page), &format!("if-none-match: {}", document.header("etag"))).await;
        assert_eq!(known.status, 304, "{page}");
        let other_zone = port.fetch(page, &format!("cookie: tidegate_zone=Asia/Tokyo\r\nif-none-match: {tag}")).await;
        assert_eq!(other_zone.status, 200, "{page}: times read otherwise");
        assert_eq!(counter.take(), 0, "{page}");
    }
    insta::assert_snapshot!("statements", counts);
    // Many clients at once cost as much as one.
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    counter.take();
    let pages = (0..20).map(|_| port.fetch("/", ""));
    let replies = futures_util::future::join_all(pages).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    let at_once = counter.take();
    assert!(at_once <= OVERVIEW_STATEMENTS_MAX, "{at_once}");
    port.close().await;
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_and_the_state_of_everything_cost_few_statements() {
    let Counted { port, pool, counter, _database } = Counted::open().await;
    for path in ["/status.json", "/metrics"] {
        counter.take();
        assert_eq!(port.fetch(path, "").await.status, 200, "{path}");
        let statements = counter.take();
        assert!((2..=WHOLE_STATEMENTS_MAX).contains(&statements), "{path}: {statements}");
    }
    port.close().await;
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_planned_for_its_values_however_often_a_session_reads_pages() {
    let database = TestDatabase::create().await;
    story::calm(&database.pool()).await;
    let pool = PgPoolOptions::new().max_connections(1).connect(database.url()).await.unwrap();
    let port = Port::open(pool.clone()).await;
    // From the sixth time on, Postgres may choose a plan for any values.
    for part in 0..8 {
        assert_eq!(port.fetch(&format!("/streams?q={part}"), "").await.status, 200);
    }
    let plans: Vec<(String, i64, i64)> = sqlx::query_as(
        "select statement, generic_plans, custom_plans from pg_prepared_statements where cardinality(parameter_types) > 0",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(plans.iter().any(|(_, _, custom)| *custom >= 8), "{plans:?}");
    assert!(plans.iter().all(|(_, generic, _)| *generic == 0), "{plans:?}");
    port.close().await;
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_changes_with_the_content_only() {
    let database = TestDatabase::create().await;
    story::calm(&database.pool()).await;
    let mut tags = Vec::new();
    for change in
        ["", "update tidegate.stream set expected_by = now() - interval '1 minute' where stream = 'menu_detail'"]
    {
        for _ in 0..2 {
            sqlx::raw_sql(change).execute(&database.pool()).await.unwrap();
            // A process that has read nothing yet.
            let port = Port::open(database.pool()).await;
            tags.push(port.fetch("/runs", "").await.header("etag").to_owned());
            tags.push(port.fetch("/streams/acme-lynn/menu_detail", "").await.header("etag").to_owned());
            port.close().await;
        }
    }
    assert_eq!(tags[0], tags[2]);
    assert_eq!(tags[0], tags[4], "another page has not changed");
    assert_ne!(tags[1], tags[5]);
}
