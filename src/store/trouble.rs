//! How errors are logged: with their causes, without vendor data, and not once a second.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;

use super::session::READ_ONLY;

/// The same warning is logged again after this, with the number of times.
const PERIOD: Duration = Duration::from_mins(1);
/// Maximum number of lines about one kind of trouble within a [`PERIOD`], with any texts.
const LINES_MAX: usize = 3;
/// Trouble is over if it has not occurred for this long: a database that comes and goes is one trouble.
const OVER_AFTER: Duration = Duration::from_secs(10);

/// An error and its causes on one line, as [`causes`] has them.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).join(": ")
}

/// The messages of an error and of its causes, without repetitions and without vendor data. Details of Postgres are
/// left out: they may quote a value that it refused.
pub fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let database = of_server(error);
        let text = database.map_or_else(|| without_pool(error.to_string()), message_of);
        // Some libraries repeat the cause in their own message.
        if causes.last().is_none_or(|last| !last.ends_with(&text)) {
            causes.push(text);
        }
        next = if database.is_some() { None } else { error.source() };
    }
    causes
}

/// Whether one of the causes of `error` is that Postgres only reads.
pub fn is_read_only(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(database) = of_server(error) {
            return database.code().as_deref() == Some(READ_ONLY);
        }
        next = error.source();
    }
    false
}

/// The error of Postgres, if `error` is one, or only wraps one.
fn of_server<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e dyn DatabaseError> {
    if let Some(sqlx::Error::Database(database)) = error.downcast_ref() {
        return Some(&**database);
    }
    // Only the driver's error, or a transparent wrapper of it, has such a source.
    error.source()?.downcast_ref::<Box<dyn DatabaseError>>().map(|database| &**database)
}

fn message_of(database: &dyn DatabaseError) -> String {
    let code = database.code().unwrap_or_default();
    let quotes_data = code.starts_with("22") || code.starts_with("23");
    let message = if quotes_data { "a value was refused" } else { database.message() };
    format!("{message} (SQLSTATE {code})")
}

/// An error of the pool contains nothing about the server, so it gets a text of its own.
fn without_pool(text: String) -> String {
    if text == sqlx::Error::PoolTimedOut.to_string() {
        return "no connection to the database could be made, or became free, in time".to_owned();
    }
    text
}

/// Warnings that may come again and again. Each kind of trouble is known by its message, and the errors of one kind may
/// differ: a server that goes away refuses connections, breaks them or is silent.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<HashMap<&'static str, Kind>>);

#[derive(Debug)]
struct Kind {
    /// Lines of the last [`PERIOD`].
    lines: Vec<Line>,
    /// How often it occurred since it was last over.
    count: u64,
    /// How often it occurred since it was last logged.
    unlogged: u64,
    came: Instant,
}

#[derive(Debug)]
struct Line {
    /// `None` after the trouble was over: then the same text is logged again.
    text: Option<String>,
    at: Instant,
}

impl Kind {
    const fn new(now: Instant) -> Self {
        Self { lines: Vec::new(), count: 0, unlogged: 0, came: now }
    }
}

impl Repeats {
    /// Counts a warning. Returns how often its kind occurred since it was last logged, if it must be logged now.
    fn take(&self, what: &'static str, text: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(what).or_insert_with(|| Kind::new(now));
        kind.came = now;
        kind.count += 1;
        kind.lines.retain(|line| now.saturating_duration_since(line.at) < PERIOD);
        if kind.lines.len() >= LINES_MAX || kind.lines.iter().any(|line| line.text.as_deref() == Some(text)) {
            kind.unlogged += 1;
            return None;
        }
        kind.lines.push(Line { text: Some(text.to_owned()), at: now });
        Some(std::mem::take(&mut kind.unlogged))
    }

    /// Counts a success. Returns how often the trouble occurred, if that was more than once and it is over now.
    fn end(&self, what: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.get_mut(what)?;
        if kind.count == 0 || now.saturating_duration_since(kind.came) < OVER_AFTER {
            return None;
        }
        kind.lines.iter_mut().for_each(|line| line.text = None);
        kind.unlogged = 0;
        let count = std::mem::take(&mut kind.count);
        (count > 1).then_some(count)
    }

    /// Warns of `error`, unless the same text, or many of this kind, were logged within the last minute.
    pub fn warn(&self, what: &'static str, error: &(dyn Error + 'static)) {
        let text = chain(error);
        if let Some(repeated) = self.take(what, &text, Instant::now()) {
            if repeated == 0 {
                tracing::warn!(error = text, "{what}");
            } else {
                tracing::warn!(error = text, repeated, "{what}");
            }
        }
    }

    /// Records a success. After a while of success, logs how often it failed, if that was more than once.
    pub fn over(&self, what: &'static str) {
        if let Some(times) = self.end(what, Instant::now()) {
            tracing::info!(times, "no longer occurs: {what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_kit::PostgresError;

    #[derive(Debug, thiserror::Error)]
    #[error("the rows could not be stored")]
    struct Outer(#[source] sqlx::Error);

    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Glass(#[from] sqlx::Error);

    #[test]
    fn p7_a_message_of_postgres_about_a_value_is_not_repeated() {
        for code in ["22P02", "22003", "23514", "23505"] {
            let bare = sqlx::Error::from(PostgresError(code));
            assert_eq!(chain(&bare), format!("a value was refused (SQLSTATE {code})"));
            let text = chain(&Outer(sqlx::Error::from(PostgresError(code))));
            assert_eq!(text, format!("the rows could not be stored: a value was refused (SQLSTATE {code})"));
            let text = chain(&Glass(sqlx::Error::from(PostgresError(code))));
            assert_eq!(text, format!("a value was refused (SQLSTATE {code})"));
        }
        let io = Outer(sqlx::Error::Io(std::io::Error::other("reset")));
        assert!(
            chain(&io).contains("the rows could not be stored: ") && chain(&io).ends_with("reset"),
            "{}",
            chain(&io)
        );
    }

    #[test]
    fn a_message_of_postgres_is_shown_once_and_without_its_source_line() {
        let error = || sqlx::Error::from(PostgresError("28P01"));
        let message = r#"invalid input syntax for type bigint: "Juana" (SQLSTATE 28P01)"#;
        assert_eq!(causes(&Outer(error())), ["the rows could not be stored", message]);
        let text = anyhow::Error::from(Glass(error())).context("cannot log in");
        assert_eq!(chain(text.as_ref()), format!("cannot log in: {message}"));
    }

    #[test]
    fn p12_the_same_warning_is_logged_once_a_minute_with_its_number() {
        let (repeats, begun) = (Repeats::default(), Instant::now());
        let at = |secs| begun + Duration::from_secs(secs);
        let logged: Vec<_> = [(0, "a"), (1, "a"), (30, "a"), (61, "a"), (62, "b"), (63, "a"), (64, "b")]
            .into_iter()
            .map(|(secs, text)| repeats.take("trouble", text, at(secs)))
            .collect();
        assert_eq!(logged, [Some(0), None, None, Some(2), Some(0), None, None]);
        assert_eq!(repeats.take("another trouble", "a", at(64)), Some(0));
        assert_eq!(repeats.end("trouble", at(70)), None, "it may come again");
        assert_eq!(repeats.end("trouble", at(75)), Some(7));
        assert_eq!(repeats.end("trouble", at(76)), None);
        assert_eq!(repeats.take("trouble", "a", at(77)), Some(0), "it was over");
    }

    #[test]
    fn p12_intermittent_trouble_with_many_errors_is_a_few_lines_a_minute() {
        const TEXTS: [&str; 5] = ["refused", "reset", "closed", "timed out", "shutting down"];
        for period in [1, 3, 5, 12, 20] {
            let (repeats, begun) = (Repeats::default(), Instant::now());
            let (mut warnings, mut ends, mut counted) = (0, 0_u64, 0);
            for (second, text) in (0..600).zip(TEXTS.into_iter().cycle()) {
                let now = begun + Duration::from_secs(second);
                if second / period % 2 == 1 {
                    ends += u64::from(repeats.end("trouble", now).is_some());
                } else if let Some(repeated) = repeats.take("trouble", text, now) {
                    warnings += 1;
                    counted += 1 + repeated;
                }
            }
            assert!((10..=33).contains(&warnings) && ends <= 30, "every {period} s: {warnings} warnings, {ends} ends");
            assert!(ends > 0 || counted > 250, "{counted} of 300");
        }
    }
}
