//! What the load tests share: a stream with its table, and a reader that drives a slice page by page.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tidegate::catalogue::{ColumnType, Key, Stream};
use tidegate::connector::lynn;
use tidegate::decode::Sink;
use tidegate::load::loader::{Loader, SliceReading};
use tidegate::load::table::{Cause, Table};
use tidegate::load::transaction::{PageEnd, PageLoad};
use tidegate::load::{LoadError, key};
use tidegate::rows::layout::Layout;
use tidegate::rows::page::{Chunk, PageWriter, RowKey, RowWindow};
use tidegate::store::cursor::{self, Slice};
use tidegate::store::distribution::Distribution;
use tidegate::store::run::{self, Claim};
use tidegate::store::task::Progress;

use crate::support::{TestDatabase, bench};

pub const CONNECTION: &str = "acme";
const SYSTEM: [&str; 5] = ["_connection", "_window_start", "_row_key", "_run_id", "_loaded_at"];
pub const LEASE: Duration = Duration::from_mins(10);

/// A database with one stream to load.
pub struct Plant {
    pub database: TestDatabase,
    pub pool: PgPool,
    pub stream: Stream,
    pub may_add: bool,
    /// Types that the job states.
    pub types: BTreeMap<String, ColumnType>,
    /// Which form of statements loads the tables. They are never distributed.
    pub form: Distribution,
}

/// Midnight, `day` days into March 2024.
pub fn day(day: i64) -> DateTime<Utc> {
    "2024-03-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(day)
}

/// One whole day.
pub fn whole(number: i64) -> RowWindow {
    RowWindow { start: day(number), end: day(number + 1) }
}

pub fn stream(name: &str) -> Stream {
    bench::stream(lynn::VENDOR, name)
}

impl Plant {
    /// A plant with a stream without documented columns.
    pub async fn new() -> Self {
        Self::of(stream("survey_result"), true).await
    }

    /// A plant with a stream whose columns the vendor documents.
    pub async fn documented() -> Self {
        Self::of(stream("navigation_marks"), false).await
    }

    pub async fn of(stream: Stream, may_add: bool) -> Self {
        let database = TestDatabase::create().await;
        let pool = database.pool();
        Self { database, pool, stream, may_add, types: BTreeMap::new(), form: Distribution::None }
    }

    /// Loads with this form of statements.
    pub fn in_form(mut self, form: Distribution) -> Self {
        self.form = form;
        self
    }

    /// Makes these fields the records' key.
    pub fn keyed(mut self, fields: &[&str]) -> Self {
        self.stream.key = Key::Fields(fields.iter().map(|&field| field.to_owned().into()).collect());
        self
    }

    /// A run of `connection` that holds the stream.
    pub async fn claim_as(&self, connection: &str) -> Claim {
        let run: i64 = sqlx::query_scalar(
            "insert into tidegate.run (job, connection, kind) values ('job', $1, 'manual') returning id",
        )
        .bind(connection)
        .fetch_one(&self.pool)
        .await
        .unwrap();
        sqlx::query("insert into tidegate.task (run_id, stream) values ($1, $2)")
            .bind(run)
            .bind(&*self.stream.name)
            .execute(&self.pool)
            .await
            .unwrap();
        let claim = self.take(run).await;
        let mut session = self.pool.acquire().await.unwrap();
        let table = (self.stream.schema, &*self.stream.name);
        let grid = (NaiveDate::from_ymd_opt(2024, 1, 1).unwrap(), "UTC", "1d");
        cursor::ensure_stream(&mut session, connection, &self.stream.name, table, grid).await.unwrap();
        sqlx::query("update tidegate.stream set holder_run = null where connection = $1")
            .bind(connection)
            .execute(&mut *session)
            .await
            .unwrap();
        assert!(run::hold_stream(&mut *session, &claim, &self.stream.name).await.unwrap());
        claim
    }

    pub async fn claim(&self) -> Claim {
        self.claim_as(CONNECTION).await
    }

    /// Claims a queued run, or one whose lease has expired.
    pub async fn take(&self, run: i64) -> Claim {
        let mut conn = self.pool.acquire().await.unwrap();
        run::claim(&mut conn, "worker", LEASE, |job| job == "job", Some(&[run])).await.unwrap().unwrap()
    }

    /// A task that reads the slice of `window` from its first page.
    pub async fn reader<'a>(&'a self, claim: &'a Claim, window: RowWindow) -> Reader<'a> {
        let mut reader = self.resumed(claim, window).await;
        reader.loader.begin_reading(&mut reader.reading).await.unwrap();
        reader
    }

    /// A task that resumes the slice at its cursor.
    pub async fn resumed<'a>(&'a self, claim: &'a Claim, window: RowWindow) -> Reader<'a> {
        let mut session = self.pool.acquire().await.unwrap();
        let cause = Cause { run: claim.id, connection: &claim.connection };
        let stream = self.settled(&mut session, cause).await.unwrap();
        let mut table = Table::open(&mut session, stream, &self.types, Distribution::None, cause).await.unwrap();
        table.distribution = self.form;
        let layout = Layout::new(&stream.columns, self.may_add).with_children(&stream.children);
        let mut layout = layout.with_types(&self.types);
        table.teach(&mut layout, stream);
        let writer = PageWriter::of(stream, layout);
        let bounds = (window.start, window.end);
        let slice = cursor::open_slice(&mut session, &claim.connection, &self.stream.name, bounds).await.unwrap();
        let length = window.end - window.start;
        let reading = SliceReading {
            until: window.end,
            neighbours: [window.start - length, window.end],
            fresh: slice.position.fresh,
            slice,
        };
        let latest_wins = RowKey::of(stream).latest_wins();
        let mut loader = Loader::new(&self.pool, claim, stream, LEASE, latest_wins, table);
        // Most tests delete many rows at once. `held.rs` tests when that is not allowed.
        loader.hold_below = 0;
        Reader { loader, writer, reading, part: window }
    }

    /// The stream with the key of its table. Tests are few and short, so it is not freed.
    pub async fn settled(&self, session: &mut PgConnection, cause: Cause<'_>) -> Result<&'static Stream, LoadError> {
        let keyed = key::of_table(session, &self.stream, &self.types, Distribution::None, cause).await?;
        Ok(Box::leak(Box::new(keyed)))
    }

    /// Reads a slice from its first page to its last.
    pub async fn read(&self, window: RowWindow, pages: &[Vec<String>]) -> Progress {
        let claim = self.claim().await;
        let mut reader = self.reader(&claim, window).await;
        reader.pages(pages).await
    }

    /// Like `cursors reset`: the next reading may be on another grid.
    pub async fn reset(&self) {
        let mut session = self.pool.acquire().await.unwrap();
        cursor::reset(&mut session, CONNECTION, &self.stream.name, None).await.unwrap();
    }

    /// The table's name, quoted.
    pub fn table(&self) -> String {
        format!("{}.\"{}\"", self.stream.schema, self.stream.name)
    }

    /// Every row of a slice as the vendor's fields with their text, sorted; nulls are left out, `_extra` stays.
    pub async fn rows(&self, window: RowWindow) -> Vec<BTreeMap<String, String>> {
        let rows: Vec<Value> = sqlx::query_scalar(AssertSqlSafe(format!(
            "select to_jsonb(t) from {} as t where _window_start >= $1 and _window_start < $2",
            self.table()
        )))
        .bind(window.start)
        .bind(window.end)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let mut rows: Vec<_> = rows.into_iter().map(|row| fields(row.as_object().unwrap())).collect();
        rows.sort();
        rows
    }

    /// For every row of a slice, by key, the values that change when it is written.
    pub async fn traces(&self, window: RowWindow) -> BTreeMap<String, Trace> {
        let rows: Vec<(String, String, String, DateTime<Utc>, i64)> = sqlx::query_as(AssertSqlSafe(format!(
            "select
                coalesce(to_jsonb(t) ->> '_row_key', to_jsonb(t) ->> 'id', to_jsonb(t) ->> 'post_id'),
                xmin::text, ctid::text, _loaded_at, _run_id
            from {} as t where _window_start >= $1 and _window_start < $2",
            self.table()
        )))
        .bind(window.start)
        .bind(window.end)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        rows.into_iter().map(|(key, xmin, ctid, at, run)| (key, Trace { xmin, ctid, at, run })).collect()
    }

    pub async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&self.pool).await.unwrap()
    }

    /// The type of a column. `None` if there is no such column.
    pub async fn column(&self, name: &str) -> Option<String> {
        sqlx::query_scalar(
            "select format_type(atttypid, atttypmod) from pg_attribute
            where attrelid = to_regclass($1) and attname = $2 and attnum > 0",
        )
        .bind(self.table())
        .bind(name)
        .fetch_optional(&self.pool)
        .await
        .unwrap()
    }

    /// The slice as stored in the database.
    pub async fn slice(&self, window: RowWindow) -> Slice {
        let mut slices =
            cursor::slices(&self.pool, CONNECTION, &self.stream.name, window.start).await.unwrap().into_iter();
        slices.find(|slice| slice.window_start == window.start).unwrap()
    }
}

/// What changes when a row is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub xmin: String,
    pub ctid: String,
    pub at: DateTime<Utc>,
    pub run: i64,
}

fn fields(row: &Map<String, Value>) -> BTreeMap<String, String> {
    row.iter()
        .filter(|(name, value)| !SYSTEM.contains(&name.as_str()) && !value.is_null())
        .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)))
        .collect()
}

/// One task of one stream.
pub struct Reader<'a> {
    pub loader: Loader<'a>,
    pub writer: PageWriter,
    pub reading: SliceReading,
    /// The requested part of the slice.
    pub part: RowWindow,
}

impl Reader<'_> {
    /// Encodes a page of these records.
    pub fn write(&mut self, records: &[impl AsRef<[u8]>]) -> Vec<Chunk> {
        self.writer.begin(Some(self.part));
        let mut chunks = Vec::new();
        for record in records {
            self.writer.record(record.as_ref()).unwrap();
            chunks.extend(self.writer.take_ready());
        }
        chunks.extend(self.writer.finish().unwrap());
        chunks
    }

    /// Loads a page that is complete.
    pub async fn page(&mut self, records: &[impl AsRef<[u8]>], next: Option<&str>) -> Result<Progress, LoadError> {
        let chunks = self.write(records);
        self.load(chunks, next).await
    }

    pub async fn load(&mut self, chunks: Vec<Chunk>, next: Option<&str>) -> Result<Progress, LoadError> {
        let mut connection = self.loader.pool.acquire().await?;
        let mut page =
            PageLoad::begin(&mut self.loader, &mut connection, &chunks.last().unwrap().layout, usize::MAX).await?;
        for chunk in chunks {
            page.copy(chunk, &self.reading).await?;
        }
        page.checkpoint(PageEnd { next: next.map(ToOwned::to_owned), bytes: 100 }, &mut self.reading).await
    }

    /// Loads a page while it arrives: the layout of its last rows is not known when it begins.
    pub async fn spill(&mut self, records: &[impl AsRef<[u8]>], next: Option<&str>) -> Result<Progress, LoadError> {
        let chunks = self.write(records);
        let mut connection = self.loader.pool.acquire().await?;
        let mut page = PageLoad::begin(&mut self.loader, &mut connection, &chunks[0].layout, usize::MAX).await?;
        for chunk in chunks {
            page.copy(chunk, &self.reading).await?;
        }
        page.checkpoint(PageEnd { next: next.map(ToOwned::to_owned), bytes: 100 }, &mut self.reading).await
    }

    /// Loads all pages of the slice; the last one ends it.
    pub async fn pages(&mut self, pages: &[Vec<String>]) -> Progress {
        let mut sum = Progress::default();
        for (number, records) in pages.iter().enumerate() {
            let next = (number + 1 < pages.len()).then(|| format!("page {}", number + 1));
            let progress = self.page(records, next.as_deref()).await.unwrap();
            add(&mut sum, &progress);
        }
        sum
    }
}

pub fn add(sum: &mut Progress, more: &Progress) {
    sum.slices_done += more.slices_done;
    sum.pages += more.pages;
    sum.rows_read += more.rows_read;
    sum.rows_inserted += more.rows_inserted;
    sum.rows_updated += more.rows_updated;
    sum.rows_deleted += more.rows_deleted;
    sum.rows_unchanged += more.rows_unchanged;
    sum.rows_outside += more.rows_outside;
    sum.values_extra += more.values_extra;
    sum.records_rejected += more.records_rejected;
}

/// Records `{"n":…}`.
pub fn numbered(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!(r#"{{"n":{number}}}"#)).collect()
}
