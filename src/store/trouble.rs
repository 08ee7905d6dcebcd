//! How errors are told in the log: with their causes, without vendor data, and not once a second.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;

/// The same warning is told again after this, with the number of times.
const TOLD_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// An error and its causes on one line, as [`causes`] has them.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).join(": ")
}

/// What an error and each of its causes say, without repetitions and without vendor data: what Postgres says about a value that it
/// refuses quotes it, and what else it says is of no use to an operator, such as the line of its own source.
pub fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let database = of_server(error);
        let said = database.map_or_else(|| error.to_string(), said);
        // Some libraries repeat the cause in their own message.
        if causes.last().is_none_or(|last| !last.ends_with(&said)) {
            causes.push(said);
        }
        next = if database.is_some() { None } else { error.source() };
    }
    causes
}

/// What Postgres says, if `error` is that, or shows nothing but that.
fn of_server<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e dyn DatabaseError> {
    if let Some(sqlx::Error::Database(database)) = error.downcast_ref() {
        return Some(&**database);
    }
    // The driver's error is the only one with such a source, and so is one that is transparent to it.
    error.source()?.downcast_ref::<Box<dyn DatabaseError>>().map(|database| &**database)
}

fn said(database: &dyn DatabaseError) -> String {
    let code = database.code().unwrap_or_default();
    let quotes_data = code.starts_with("22") || code.starts_with("23");
    let message = if quotes_data { "a value was refused" } else { database.message() };
    format!("{message} (SQLSTATE {code})")
}

/// A warning that may come again and again.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<Option<Told>>);

#[derive(Debug)]
struct Told {
    text: String,
    at: Instant,
    /// How often it has come since.
    untold: u64,
}

impl Repeats {
    /// Returns how often it came since it was last told, if it is to be told now.
    fn take(&self, text: &str, now: Instant) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = last.as_mut()
            && told.text == text
            && now.saturating_duration_since(told.at) < TOLD_AGAIN_AFTER
        {
            told.untold += 1;
            return None;
        }
        let untold = last.take().filter(|told| told.text == text).map_or(0, |told| told.untold);
        *last = Some(Told { text: text.to_owned(), at: now, untold: 0 });
        Some(untold)
    }

    /// Warns of `error` unless the same was told within the last minute.
    pub fn warn(&self, what: &'static str, error: &(dyn Error + 'static)) {
        let text = chain(error);
        if let Some(repeated) = self.take(&text, Instant::now()) {
            if repeated == 0 {
                tracing::warn!(error = text, "{what}");
            } else {
                tracing::warn!(error = text, repeated, "{what}");
            }
        }
    }

    /// What was warned of is over; says so if it came more than once.
    pub fn over(&self, what: &'static str) {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(told) = last.filter(|told| told.untold > 0) {
            tracing::info!(repeated = told.untold, "over: {what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fmt;

    use sqlx::error::ErrorKind;

    use super::*;

    /// What Postgres says, with the value that it refuses.
    #[derive(Debug)]
    struct Said(&'static str);

    impl fmt::Display for Said {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            // As the driver does.
            write!(formatter, "{} at line 768", self.message())
        }
    }

    impl Error for Said {}

    impl DatabaseError for Said {
        fn message(&self) -> &'static str {
            "invalid input syntax for type bigint: \"Juana\""
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(Cow::Borrowed(self.0))
        }

        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the rows could not be stored")]
    struct Outer(#[source] sqlx::Error);

    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Glass(#[from] sqlx::Error);

    #[test]
    fn p7_what_postgres_says_about_a_value_is_not_repeated() {
        for code in ["22P02", "22003", "23514", "23505"] {
            let bare = sqlx::Error::Database(Box::new(Said(code)));
            assert_eq!(chain(&bare), format!("a value was refused (SQLSTATE {code})"));
            let told = chain(&Outer(sqlx::Error::Database(Box::new(Said(code)))));
            assert_eq!(told, format!("the rows could not be stored: a value was refused (SQLSTATE {code})"));
            let told = chain(&Glass(sqlx::Error::Database(Box::new(Said(code)))));
            assert_eq!(told, format!("a value was refused (SQLSTATE {code})"));
        }
        let io = Outer(sqlx::Error::Io(std::io::Error::other("reset")));
        assert!(
            chain(&io).contains("the rows could not be stored: ") && chain(&io).ends_with("reset"),
            "{}",
            chain(&io)
        );
    }

    #[test]
    fn what_postgres_says_is_said_once_and_without_a_line_of_its_source() {
        let error = || sqlx::Error::Database(Box::new(Said("28P01")));
        let said = r#"invalid input syntax for type bigint: "Juana" (SQLSTATE 28P01)"#;
        assert_eq!(causes(&Outer(error())), ["the rows could not be stored", said]);
        let told = anyhow::Error::from(Glass(error())).context("cannot log in");
        assert_eq!(chain(told.as_ref()), format!("cannot log in: {said}"));
    }

    #[test]
    fn p12_the_same_warning_is_told_once_a_minute_with_how_often_it_came() {
        let (repeats, begun) = (Repeats::default(), Instant::now());
        let at = |secs| begun + Duration::from_secs(secs);
        let told: Vec<_> = [(0, "a"), (1, "a"), (30, "a"), (61, "a"), (62, "b"), (63, "a"), (64, "a")]
            .into_iter()
            .map(|(secs, text)| repeats.take(text, at(secs)))
            .collect();
        assert_eq!(told, [Some(0), None, None, Some(2), Some(0), Some(0), None]);
    }
}
