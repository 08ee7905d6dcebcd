//! Reads pages for all clients: a page is read once for all clients that ask within a few seconds, some pages at the
//! same time, and what was read last stays for when the database does not respond.
//!
//! One request at a time reads a page of each path pattern, such as `/streams/{connection}/{stream}`; others of that
//! pattern wait for it, at most [`WAIT_MAX`]. Pages of different patterns do not wait for each other, up to
//! [`reads_max`]: this bounds the connections of the pool that they use. Those that wait learn from each read whether
//! the database responds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Uri;
use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::super::routes::AppState;
use super::{Content, Page, zones};
use crate::clock;
use crate::report::{self, Overview, Query, QueryError, ReadError, Reading, Surroundings};
use crate::store::failure::Failure;
use crate::store::pause::Pause;

/// A page younger than this is shown again instead of being read.
const FRESH: Duration = Duration::from_secs(5);
/// A page that could not be read is not read again for this long.
const FAILED_FOR: Duration = Duration::from_secs(2);
/// How long a request waits for those that read. A read has ended by then, so that its cause is known.
const WAIT_MAX: Duration = Duration::from_secs(4);
/// Pages kept, and their size as JSON together.
const KEPT_MAX: usize = 64;
const KEPT_BYTES_MAX: usize = 4 << 20;
/// A longer path or query is refused.
const ADDRESS_MAX: usize = 2_000;

/// Pages that are read at the same time: a quarter of the pool's connections, so that workers keep the others, but two,
/// so that a slow page does not delay the others.
pub(in super::super) fn reads_max(pool: &sqlx::PgPool) -> usize {
    usize::try_from(pool.options().get_max_connections() / 4).unwrap_or(usize::MAX).clamp(2, 4)
}

/// A page as it was read.
#[derive(Clone)]
pub(super) struct Shown {
    /// `None` if it does not exist.
    pub(super) content: Option<Arc<dyn Content>>,
    pub(super) at: DateTime<Utc>,
    pub(super) problems: i64,
    /// The pause of every job.
    pub(super) pause: Option<Pause>,
    /// Whether the database can only be read.
    pub(super) only_reads: bool,
    /// Why the configuration on disk was refused when this was read.
    pub(super) refusal: Option<Arc<str>>,
    /// Hash of everything but the time.
    pub(super) hash: u64,
}

/// Path and parameters of a page.
type Key = (&'static str, Query);

struct Kept {
    /// When the reading began.
    since: Instant,
    bytes: usize,
    shown: Shown,
}

/// The turn to read a page, with the last failure and what was asked for.
type Turn = Arc<Mutex<Option<(Instant, Query, Failure)>>>;

/// Pages that were read.
pub(in super::super) struct Shelf {
    kept: std::sync::Mutex<BTreeMap<Key, Kept>>,
    /// What was read before this moment is no longer current.
    changed: std::sync::Mutex<Option<Instant>>,
    turns: std::sync::Mutex<BTreeMap<&'static str, Turn>>,
    reads: Semaphore,
    gone: std::sync::Mutex<Option<Gone>>,
}

/// The database does not respond.
#[derive(Debug, Clone, Copy)]
struct Gone {
    since: DateTime<Utc>,
    /// When a read last found this.
    found: Instant,
}

/// Why a page cannot be shown.
pub(super) enum Fault {
    Query(QueryError),
    TooLong,
    Unread(Failure),
}

impl Shelf {
    /// A shelf that reads so many pages at the same time.
    pub(in super::super) fn new(reads_max: usize) -> Self {
        Self {
            kept: std::sync::Mutex::default(),
            changed: std::sync::Mutex::default(),
            turns: std::sync::Mutex::default(),
            reads: Semaphore::new(reads_max),
            gone: std::sync::Mutex::default(),
        }
    }

    /// The permission to read, which few requests have at the same time.
    pub(super) async fn permit(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.wait(WAIT_MAX, self.reads.acquire()).await?.map_err(|_| Failure::Busy)
    }

    /// Waits for others, at most for `limit`. Fails if the turn does not come, or if the database did not respond to
    /// one of the others meanwhile.
    pub(super) async fn wait<T>(&self, limit: Duration, turn: impl Future<Output = T>) -> Result<T, Failure> {
        let began = Instant::now();
        let turn = timeout(limit, turn).await;
        let gone = *lock(&self.gone);
        match turn {
            Ok(turn) if gone.is_none_or(|gone| gone.found < began) => Ok(turn),
            Err(_) if gone.is_none() => Err(Failure::Busy),
            Ok(_) | Err(_) => Err(Failure::Gone),
        }
    }

    /// Keeps what a request that began at `asked_at` found: whether the database responds.
    pub(in super::super) fn record(&self, failure: Option<Failure>, asked_at: DateTime<Utc>) {
        let mut gone = lock(&self.gone);
        *gone = (failure == Some(Failure::Gone))
            .then(|| Gone { since: gone.map_or(asked_at, |gone| gone.since), found: Instant::now() });
    }

    /// Everything is read again, because something was changed.
    pub(super) fn clear(&self) {
        *lock(&self.changed) = Some(Instant::now());
    }

    /// Since when the database has not responded.
    pub(super) fn gone_since(&self) -> Option<DateTime<Utc>> {
        lock(&self.gone).map(|gone| gone.since)
    }

    /// The page as it was read last.
    pub(super) fn last(&self, key: &Key) -> Option<Shown> {
        lock(&self.kept).get(key).map(|kept| kept.shown.clone())
    }

    /// The page, unless it is old or was read while another configuration was refused, or none.
    fn fresh(&self, key: &Key, refusal: Option<&str>) -> Option<Shown> {
        let changed = *lock(&self.changed);
        let is_fresh = |kept: &&Kept| {
            kept.since.elapsed() < FRESH
                && changed.is_none_or(|changed| changed < kept.since)
                && kept.shown.refusal.as_deref() == refusal
        };
        lock(&self.kept).get(key).filter(is_fresh).map(|kept| kept.shown.clone())
    }

    fn turn(&self, path: &'static str) -> Turn {
        Arc::clone(lock(&self.turns).entry(path).or_default())
    }

    fn keep(&self, key: Key, new: Kept) {
        let mut kept = lock(&self.kept);
        kept.insert(key, new);
        let is_too_much = |kept: &BTreeMap<Key, Kept>| {
            kept.len() > KEPT_MAX || kept.values().map(|one| one.bytes).sum::<usize>() > KEPT_BYTES_MAX
        };
        while is_too_much(&kept) {
            // The overview stays. What does not exist goes first, then what was read first.
            let others = kept.iter().filter(|((path, _), _)| *path != <Overview as report::Document>::PATH);
            let oldest = others.min_by_key(|(_, one)| (one.shown.content.is_some(), one.since));
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { return };
            kept.remove(&key);
        }
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(super) fn hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

impl AppState {
    /// The page, read now or a moment ago.
    pub(super) async fn shown<P: Page>(&self, query: &Query, uri: &Uri) -> Result<Shown, Fault> {
        if uri.path_and_query().is_some_and(|address| address.as_str().len() > ADDRESS_MAX) {
            return Err(Fault::TooLong);
        }
        if query.has_nul() {
            let problem = "the address has the character NUL (%00), which no name and no value has".to_owned();
            return Err(Fault::Query(QueryError { name: "address".to_owned(), problem, allowed: Vec::new() }));
        }
        let config = Arc::clone(&self.sources.config.borrow());
        report::check(P::PARAMETERS, query, &config).map_err(Fault::Query)?;
        let key = (P::PATH, query.clone());
        if let Some(shown) = self.shelf.fresh(&key, self.sources.health.refusal().as_deref()) {
            return Ok(shown);
        }
        // One request reads, the others wait for it.
        let turn = self.shelf.turn(P::PATH);
        let mut failed = self.shelf.wait(WAIT_MAX, turn.lock()).await.map_err(Fault::Unread)?;
        if let Some(shown) = self.shelf.fresh(&key, self.sources.health.refusal().as_deref()) {
            return Ok(shown);
        }
        let is_recent = |(at, of, _): &&(Instant, Query, Failure)| at.elapsed() < FAILED_FOR && of == query;
        if let Some((_, _, failure)) = failed.as_ref().filter(is_recent) {
            return Err(Fault::Unread(*failure));
        }
        let _permit = self.shelf.permit().await.map_err(Fault::Unread)?;
        let since = Instant::now();
        match self.read_page::<P>(query, &config).await {
            Ok((shown, bytes)) => {
                *failed = None;
                self.shelf.keep(key, Kept { since, bytes, shown: shown.clone() });
                Ok(shown)
            }
            Err(fault) => {
                if let Fault::Unread(failure) = fault {
                    *failed = Some((Instant::now(), query.clone(), failure));
                }
                Err(fault)
            }
        }
    }

    async fn read_page<P: Page>(
        &self,
        query: &Query,
        config: &Arc<crate::config::Config>,
    ) -> Result<(Shown, usize), Fault> {
        let refusal = self.sources.health.refusal();
        let now = clock::now();
        let read = self
            .read(async |conn| {
                let surroundings = Surroundings::read(conn).await?;
                let mut reading = Reading {
                    conn,
                    config,
                    surroundings: &surroundings,
                    config_refused: refusal.is_some(),
                    in_daemon: true,
                    now,
                };
                let document = match report::check_names(P::PARAMETERS, query, &mut reading).await {
                    Ok(()) => P::read(&mut reading, query).await,
                    Err(error) => Err(error),
                };
                let document = match document {
                    Ok(document) => Ok(document),
                    Err(ReadError::Query(error)) => Err(error),
                    Err(ReadError::Database(error)) => return Err(error),
                };
                Ok((surroundings, document))
            })
            .await;
        let (surroundings, document) = read.map_err(Fault::Unread)?;
        let document = document.map_err(Fault::Query)?;
        let (problems, pause) = (surroundings.problems, surroundings.pause_of_everything().cloned());
        let only_reads = surroundings.only_reads;
        let zones = zones::hash(config);
        let mut hashed = format!("{problems} {pause:?} {only_reads} {refusal:?} {zones:x} ");
        if let Some(mut value) = document.as_ref().and_then(|document| serde_json::to_value(document).ok()) {
            if let Some(fields) = value.as_object_mut() {
                fields.remove("at");
            }
            hashed.push_str(&value.to_string());
        }
        let content = document.map(|document| Arc::new(document) as Arc<dyn Content>);
        let shown = Shown { content, at: now, problems, pause, only_reads, refusal, hash: hash(&hashed) };
        Ok((shown, hashed.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::routes::READ_MAX;
    use super::*;

    fn shown(exists: bool) -> Shown {
        struct Nothing;
        impl Content for Nothing {
            fn html(&self, _: &super::super::Chrome) -> askama::Result<String> {
                Ok(String::new())
            }

            fn json(&self) -> serde_json::Result<String> {
                Ok(String::new())
            }
        }
        let content = exists.then(|| Arc::new(Nothing) as Arc<dyn Content>);
        Shown { content, at: DateTime::UNIX_EPOCH, problems: 0, pause: None, only_reads: false, refusal: None, hash: 0 }
    }

    fn key(path: &'static str, number: usize) -> Key {
        (path, Query::new([], &format!("after={number}")))
    }

    #[tokio::test]
    async fn p12_those_that_wait_learn_that_the_database_does_not_respond() {
        let (shelf, at) = (Shelf::new(2), DateTime::UNIX_EPOCH);
        let short = Duration::from_millis(1);
        let in_vain = async || shelf.wait(short, std::future::pending::<()>()).await;
        assert_eq!(in_vain().await, Err(Failure::Busy));
        let meanwhile = async { shelf.record(Some(Failure::Gone), at) };
        assert_eq!(shelf.wait(READ_MAX, meanwhile).await, Err(Failure::Gone), "the turn came, but to no use");
        assert_eq!((in_vain().await, shelf.gone_since()), (Err(Failure::Gone), Some(at)));
        tokio::time::sleep(short).await;
        assert_eq!(shelf.wait(READ_MAX, async {}).await, Ok(()), "a new request asks the database itself");
        shelf.record(Some(Failure::Refused), at);
        assert_eq!((in_vain().await, shelf.gone_since()), (Err(Failure::Busy), None), "a refusal is a response");
        assert!(WAIT_MAX > READ_MAX, "a read ends first");
    }

    #[test]
    fn kept_pages_are_bounded_and_the_overview_stays() {
        let shelf = Shelf::new(2);
        let keep = |path, number, bytes, exists| {
            shelf.keep(key(path, number), Kept { since: Instant::now(), bytes, shown: shown(exists) });
        };
        keep("/", 0, 1, true);
        keep("/runs", 0, 1, true);
        for number in 0..200 {
            keep("/runs/{run}", number, 1, false);
        }
        assert_eq!(lock(&shelf.kept).len(), KEPT_MAX);
        assert!(shelf.last(&key("/", 0)).is_some() && shelf.last(&key("/runs", 0)).is_some());
        for number in 1..100 {
            keep("/streams", number, KEPT_BYTES_MAX / 8, true);
        }
        assert!(lock(&shelf.kept).values().map(|one| one.bytes).sum::<usize>() <= KEPT_BYTES_MAX);
        assert!(shelf.last(&key("/", 0)).is_some() && shelf.last(&key("/runs", 0)).is_none());
        assert!(shelf.fresh(&key("/", 0), None).is_some());
        assert!(shelf.fresh(&key("/", 0), Some("tidegate.yaml:3: wrong")).is_none(), "read before the refusal");
        shelf.clear();
        assert!(
            shelf.fresh(&key("/", 0), None).is_none() && shelf.last(&key("/", 0)).is_some(),
            "only to be read again"
        );
    }
}
