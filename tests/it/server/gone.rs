//! The database is gone, slow or refuses: pages say which and keep what they read last, do not wait for each other, and
//! recover by themselves.

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::Connection as _;
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::api;
use crate::database::role::{Role, USES_TABLES};
use crate::support::port::Port;
use crate::support::proxy::Proxy;
use crate::support::story;
use crate::support::story::PAGES;
use crate::support::{TestDatabase, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn p12_without_the_database_pages_say_so_and_keep_what_they_read_last() {
    let database = TestDatabase::create().await;
    story::trouble(&database.pool(), "the token was refused").await;
    let proxy = Proxy::before(database.url()).await;
    let pool = PgPoolOptions::new().max_connections(3).connect_lazy(&proxy.url(database.url())).unwrap();
    let port = Port::open(pool.clone()).await;
    for page in PAGES.into_iter().step_by(2) {
        assert_eq!(port.fetch(page, "").await.status, 200, "{page}");
    }
    proxy.set_up(false);
    // What was read a moment ago is still shown.
    let last = PAGES[PAGES.len() - 2];
    eventually(Duration::from_secs(20), async || (port.fetch(last, "").await.status == 503).then_some(())).await;
    let gone = port.fetch("/", "").await;
    assert_eq!(gone.status, 503);
    assert!(gone.body.contains("Postgres has not responded since"), "{}", gone.body);
    assert!(gone.body.contains("the token was refused") && gone.body.contains("<time"), "{}", gone.body);
    assert_eq!(gone.header("etag"), "");
    let as_of = gone.body.split("id=\"as-of\"").nth(1).and_then(|rest| rest.split("</p>").next()).unwrap();
    assert!(as_of.contains(" ago</span>"), "ages count up to now: {as_of}");
    for (number, page) in PAGES.into_iter().enumerate() {
        let reply = port.fetch(page, "").await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, "5"), "{page}");
        assert!(reply.body.contains("Postgres has not responded since") && reply.body.contains("<nav"), "{page}");
        assert!(!reply.body.contains("s3cret"), "{page}");
        // A page that was read is shown with its age.
        let (old, none) = ("This page is old: it was read", "This page was not read before");
        let (has, lacks) = if number % 2 == 0 { (old, none) } else { (none, old) };
        assert!(reply.body.contains(has) && !reply.body.contains(lacks), "{page}: {}", reply.body);
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

#[tokio::test(flavor = "multi_thread")]
async fn p12_what_was_read_before_the_database_was_gone_does_not_look_well() {
    let database = TestDatabase::create().await;
    story::calm(&database.pool()).await;
    let proxy = Proxy::before(database.url()).await;
    let pool = PgPoolOptions::new().max_connections(3).connect_lazy(&proxy.url(database.url())).unwrap();
    let port = Port::open(pool.clone()).await;
    let well = port.fetch("/", "").await.body;
    assert!(well.contains("<h1>Nothing needs you</h1>") && well.contains("<title>Overview"), "{well}");
    let icon = |page: &str| page.split("rel=\"icon\" href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    // From now on, the configuration on disk is wrong.
    port.health.reload_refused("tidegate.yaml:3: wrong");
    let refused = port.fetch("/", "").await;
    let head = "The configuration on disk was refused; the previous one is in force";
    assert_eq!(refused.status, 200);
    assert!(
        refused.body.contains(&format!("<h1>{head}</h1>")) && refused.body.contains("id=\"refused\""),
        "{refused:?}"
    );
    assert!(refused.body.contains("<title>(!) Overview") && !refused.body.contains(">Nothing.<"), "{refused:?}");
    let document = port.fetch("/api/v1/overview", "").await.json();
    assert_eq!((&document["headline"], &document["config_refused"]), (&head.into(), &true.into()));

    proxy.set_up(false);
    let gone = async |is_refused: bool| {
        eventually(Duration::from_secs(20), async || {
            let reply = port.fetch("/", "").await;
            (reply.status == 503 && reply.body.contains("id=\"refused\"") == is_refused).then_some(reply.body)
        })
        .await
    };
    let old = gone(true).await;
    // It is corrected; this is known without the database.
    port.health.config_loaded();
    for page in [old, gone(false).await] {
        assert!(page.contains("<h1>Postgres has not responded since") && page.contains("class=\"old\""), "{page}");
        assert!(!page.contains("Nothing needs you") && !page.contains(">Nothing.<") && !page.contains(head), "{page}");
        assert!(page.contains("<title>(!) Overview"), "{page}");
        assert_ne!(icon(&page), icon(&well), "the icon has a mark");
    }
    port.close().await;
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_where_the_database_refuses_connections_pages_api_and_metrics_respond_at_once() {
    let database = TestDatabase::create().await;
    story::trouble(&database.pool(), "the token was refused").await;
    let proxy = Proxy::before(database.url()).await;
    let url = proxy.url(database.url());
    let pool = PgPoolOptions::new().max_connections(3).connect_lazy(&url).unwrap();
    let port = Port::open(pool.clone()).await;
    port.started();
    assert_eq!(port.fetch("/", "").await.status, 200);
    // All connections end, and nothing listens at the address any more.
    proxy.set_up(false);
    drop(proxy);
    let address: url::Url = url.parse().unwrap();
    let address = (address.host_str().unwrap().to_owned(), address.port().unwrap());
    eventually(Duration::from_secs(20), async || TcpStream::connect(address.clone()).await.err()).await;
    let old = eventually(Duration::from_secs(20), async || {
        let reply = port.fetch("/", "").await;
        (reply.status == 503).then_some(reply)
    })
    .await;
    assert!(old.body.contains("Postgres has not responded since"), "{}", old.body);
    assert!(old.body.contains("the token was refused"), "what it read last: {}", old.body);
    let began = Instant::now();
    for page in PAGES {
        assert_eq!(port.fetch(page, "").await.status, 503, "{page}");
    }
    assert!(port.fetch("/metrics", "").await.body.contains("tidegate_database_up 0"));
    assert_eq!(port.fetch("/status.json", "").await.status, 503);
    let ready = port.fetch("/readyz", "").await;
    assert!(ready.status == 503 && ready.body.contains("not ready: the database did not respond"), "{ready:?}");
    // Each reads the database, for 3 s if it waited for its time limit.
    let each = began.elapsed() / u32::try_from(PAGES.len() + 3).unwrap();
    assert!(each < Duration::from_secs(1), "{each:?} each");
    port.close().await;
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_slow_page_delays_no_page_of_another_kind_and_shows_the_reason() {
    let database = TestDatabase::create().await;
    story::calm(&database.pool()).await;
    let port = Port::open(database.pool()).await;
    assert_eq!(port.fetch("/schema", "").await.status, 200);
    let mut locker = sqlx::PgConnection::connect(database.url()).await.unwrap();
    let mut lock = locker.begin().await.unwrap();
    sqlx::raw_sql("lock table tidegate.schema_change in access exclusive mode").execute(&mut *lock).await.unwrap();
    let slow = async {
        let new = port.fetch("/schema?table=lynn.survey_result", "").await;
        (new, Instant::now())
    };
    let others = async {
        for page in ["/runs", "/api/v1/pushes"] {
            assert_eq!(port.fetch(page, "").await.status, 200, "{page}");
        }
        let ended = Instant::now();
        for page in ["/quotas", "/events", "/problems", "/streams", "/jobs", "/connections"] {
            assert_eq!(port.fetch(page, "").await.status, 200, "{page}");
        }
        ended
    };
    let ((new, slow_ended), ended) = tokio::join!(slow, others);
    assert!(ended < slow_ended, "other pages wait for the slow one");
    assert!(new.status == 503 && new.body.contains("The database responds, but this took too long"), "{new:?}");
    assert!(!new.body.contains("Postgres has not responded"), "{}", new.body);
    // It was kept for a while; afterwards it is shown with its age.
    let old = eventually(Duration::from_secs(20), async || {
        let reply = port.fetch("/schema", "").await;
        (reply.status == 503).then_some(reply)
    })
    .await;
    assert!(old.body.contains("This page is old: it was read") && old.body.contains("add_column"), "{}", old.body);
    let document = port.fetch("/api/v1/schema", "").await;
    assert_eq!(document.status, 503);
    assert!(document.json()["detail"].as_str().unwrap().contains("pg_stat_activity"), "{}", document.body);
    lock.rollback().await.unwrap();
    eventually(Duration::from_secs(20), async || (port.fetch("/schema", "").await.status == 200).then_some(())).await;
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_without_the_database_every_client_sees_the_same_cause() {
    let nowhere = PgPoolOptions::new().max_connections(3).connect_lazy("postgres://u:s3cret@127.0.0.1:1/x").unwrap();
    let port = Port::open(nowhere).await;
    let pages = ["/", "/", "/", "/runs", "/runs?state=failed", "/problems", "/streams", "/events"];
    let documents = pages.map(api);
    // At first it is not known that the database is gone.
    for round in 0..2 {
        let pages = join_all(pages.iter().map(|page| port.fetch(page, "")));
        let documents = join_all(documents.iter().map(|document| port.fetch(document, "")));
        let (pages, documents) = tokio::join!(pages, documents);
        for page in pages {
            assert_eq!(page.status, 503);
            assert!(page.body.contains("Postgres has not responded since"), "{round}: {}", page.body);
        }
        for document in documents {
            assert_eq!(document.status, 503);
            let detail = document.json()["detail"].as_str().unwrap().to_owned();
            assert_eq!(detail, "the database did not respond; see the log of the daemon", "{round}");
        }
    }
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_refusal_is_not_called_silence_and_the_process_is_not_ready_without_its_tables() {
    const SOON: Duration = Duration::from_secs(20);
    let (database, role) = (TestDatabase::create().await, Role::create("").await);
    role.change(&database, USES_TABLES).await;
    let pool = PgPoolOptions::new().max_connections(3).connect(&role.url(&database)).await.unwrap();
    let port = Port::open(pool.clone()).await;
    port.started();
    assert_eq!(port.fetch("/readyz", "").await.status, 200);
    let not_ready = async |obstacle: &str| {
        let begin = format!("not ready: {obstacle}\n");
        eventually(SOON, async || port.fetch("/readyz", "").await.body.starts_with(&begin).then_some(())).await;
    };

    role.change(&database, "revoke all on tidegate.run, tidegate.event from ROLE").await;
    not_ready("the database refused a statement: the role lacks a right to tidegate.event, tidegate.run").await;
    let refused = "the database refused a statement; see /readyz and the log of the daemon";
    let status = port.fetch("/status.json", "").await;
    assert!(status.status == 503 && status.body.starts_with(refused), "{status:?}");
    let document = port.fetch("/api/v1/runs", "").await;
    assert!(document.status == 503 && document.body.contains(refused), "{document:?}");
    let page = port.fetch("/runs", "").await;
    assert!(page.status == 503 && page.body.contains("The database refused a statement"), "{page:?}");
    assert!(!page.body.contains("has not responded"), "{}", page.body);

    // A right to read is not enough.
    role.change(&database, "grant select on tidegate.run to ROLE; grant all on tidegate.event to ROLE").await;
    not_ready("the database refused a statement: the role lacks a right to tidegate.run").await;

    role.change(&database, "grant all on tidegate.run to ROLE; alter table tidegate.problem rename to other").await;
    not_ready("the database responds, but tables of Tidegate are missing: tidegate.problem").await;
    let page = port.fetch("/problems", "").await;
    assert!(page.status == 503 && page.body.contains("tables of Tidegate are missing"), "{page:?}");

    // Calls to vendors and notifications need these.
    role.change(
        &database,
        "alter table tidegate.other rename to problem; alter table tidegate.quota_waiter rename to other",
    )
    .await;
    not_ready("the database responds, but tables of Tidegate are missing: tidegate.quota_waiter").await;
    role.change(
        &database,
        "alter table tidegate.other rename to quota_waiter; revoke delete on tidegate.quota_use from ROLE",
    )
    .await;
    not_ready("the database refused a statement: the role lacks a right to tidegate.quota_use").await;
    role.change(
        &database,
        "grant delete on tidegate.quota_use to ROLE; alter table tidegate.notification rename to other",
    )
    .await;
    not_ready("the database responds, but tables of Tidegate are missing: tidegate.notification").await;

    role.change(&database, "alter table tidegate.other rename to notification").await;
    eventually(SOON, async || (port.fetch("/readyz", "").await.status == 200).then_some(())).await;
    port.close().await;
    pool.close().await;
    drop(database);
    role.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_while_the_database_only_reads_pages_and_metrics_show_that_nothing_is_loaded() {
    const SOON: Duration = Duration::from_secs(20);
    const BAR: &str = "The database only reads: it is a standby, or was made read-only; nothing is loaded;";
    let database = TestDatabase::create().await;
    story::calm(&database.pool()).await;
    let name = database.name();
    let mut admin = TestDatabase::superuser().await;
    let mut set = async |sql: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    };
    set(format!("alter database {name} set default_transaction_read_only = on")).await;
    // Sessions that begin from now on only read.
    let pool = PgPoolOptions::new().max_connections(3).connect(database.url()).await.unwrap();
    let port = Port::open(pool.clone()).await;
    port.started();
    for page in PAGES {
        let reply = port.fetch(page, "").await;
        assert!(reply.status == 200 && reply.body.contains(BAR), "{page}: {}", reply.body);
        assert!(!reply.body.contains("class=\"old\""), "what it shows is current: {page}");
        assert!(reply.body.contains("<title>(!) "), "{page}: {}", reply.body);
    }
    let head = "The database only reads, so nothing is loaded";
    let overview = port.fetch("/", "").await.body;
    assert!(overview.contains(&format!("<h1>{head}</h1>")), "{overview}");
    assert!(!overview.contains(">Nothing.<") && !overview.contains("Nothing needs you"), "{overview}");
    let document = port.fetch("/api/v1/overview", "").await.json();
    assert_eq!((&document["headline"], &document["only_reads"]), (&head.into(), &true.into()));
    let metrics = port.fetch("/metrics", "").await.body;
    assert!(metrics.contains("tidegate_database_up 0") && metrics.contains("tidegate_streams{"), "{metrics}");
    let ready = port.fetch("/readyz", "").await;
    assert!(ready.status == 503 && ready.body.contains("not ready: the database only reads"), "{ready:?}");

    set(format!("alter database {name} reset default_transaction_read_only")).await;
    let ended = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
    set(ended).await;
    eventually(SOON, async || {
        let reply = port.fetch("/", "").await;
        (reply.status == 200 && !reply.body.contains(BAR)).then_some(())
    })
    .await;
    eventually(SOON, async || port.fetch("/metrics", "").await.body.contains("tidegate_database_up 1").then_some(()))
        .await;
    port.close().await;
    pool.close().await;
}

/// A lock of a table is no reason to be not ready: it ends.
#[tokio::test]
async fn p12_a_locked_table_does_not_make_the_process_not_ready() {
    let database = TestDatabase::create().await;
    let port = Port::open(database.pool()).await;
    port.started();
    let mut locker = database.connect().await;
    let mut lock = locker.begin().await.unwrap();
    sqlx::raw_sql("lock table tidegate.run, tidegate.setting in access exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let ready = port.fetch("/readyz", "").await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    lock.rollback().await.unwrap();
    port.close().await;
}
