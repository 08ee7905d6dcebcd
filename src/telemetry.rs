//! Logging to standard error, as text or JSON, filtered by `log.level`, and never with a secret (promise 7).
//!
//! Two filters apply, and an event must pass both:
//!
//! 1. the filter in `log.level` (`info`, `trace`, `warn,tidegate::quota=debug`, …);
//! 2. a fixed cap that no setting lifts: below `warn`, only Tidegate's own events are printed, and never those of the
//!    connection pool, which would fill the log while the database is unavailable.
//!
//! The cap lists what may log rather than what must not, because crates that handle secrets print them at detailed
//! levels, and a new version may do so under a new name: `h2` prints header frames, `Authorization` included, at
//! `debug` and `trace`; `hyper` and `reqwest` print URLs with their query at `trace`; `rustls` prints handshakes;
//! `sqlx` prints statements, which for generated SQL name vendor fields. At `warn` they print nothing secret: slow
//! statements appear without their values. So `level: trace` shows everything that Tidegate does and nothing of the
//! content of vendor requests and responses. Tidegate's own events contain no secret because
//! [`Secret`](crate::secret::Secret) does not print itself.

use std::io;

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Registry, fmt};

use crate::config::{Log, LogFormat};
use crate::text::{plain, steers};

/// The targets that may print below `warn`.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// The connection pool, which logs every broken connection. [`session`](crate::store::session) logs them in a few
/// lines.
const NEVER: &str = "sqlx_core::pool";

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    #[error(
        "log.level {level:?} is not a filter; write error, warn, info, debug or trace, or \"info,tidegate::quota=debug\""
    )]
    Level { level: String, source: tracing_subscriber::filter::ParseError },
    #[error("logging was already set up in this process")]
    Twice(#[from] TryInitError),
}

/// Sets up logging for the whole process. Call it once, early.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    subscriber(log, io::stderr)?.try_init()?;
    Ok(())
}

fn asked_for(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .with_default_directive(LevelFilter::ERROR.into())
        .parse(level)
        .map_err(|source| TelemetryError::Level { level: level.to_owned(), source })
}

fn cap() -> FilterFn {
    filter_fn(|metadata: &Metadata<'_>| {
        let target = metadata.target();
        ours(target) || *metadata.level() <= Level::WARN && !target.starts_with(NEVER)
    })
}

fn ours(target: &str) -> bool {
    target.strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn subscriber<W>(log: &Log, writer: W) -> Result<impl Subscriber + Send + Sync + use<W>, TelemetryError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    // No colours: files and collectors do not need them, and terminals work without.
    let printed = fmt::layer().with_writer(Lines(writer)).with_ansi(false);
    let printed = match log.format {
        LogFormat::Pretty => printed.boxed(),
        LogFormat::Json => printed.json().flatten_event(true).with_current_span(false).boxed(),
    };
    // Both filters apply to all layers below, so a refused event is not even formatted.
    Ok(Registry::default().with(printed).with(asked_for(&log.level)?).with(cap()))
}

/// Creates writers that print an event on one line, whatever text it contains: errors of databases and files quote
/// external text.
struct Lines<W>(W);

impl<'writer, W: MakeWriter<'writer>> MakeWriter<'writer> for Lines<W> {
    type Writer = Line<W::Writer>;

    fn make_writer(&'writer self) -> Self::Writer {
        Line(self.0.make_writer())
    }

    fn make_writer_for(&'writer self, metadata: &Metadata<'_>) -> Self::Writer {
        Line(self.0.make_writer_for(metadata))
    }
}

/// Receives a whole event at a time.
struct Line<W>(W);

impl<W: io::Write> io::Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        if line.chars().any(steers) {
            let line = plain(line);
            self.0.write_all(format!("{line}{end}").as_bytes())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printed(format: LogFormat, level: &str, events: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let log = Log { format, level: level.to_owned() };
        let subscriber = subscriber(&log, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, events);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn chatter() {
        tracing::trace!(target: "h2::codec::framed_read", "authorization: bearer s3cret");
        tracing::debug!(target: "hyper_util::client", "s3cret");
        tracing::debug!(target: "sqlx::query", "s3cret");
        tracing::info!(target: "a_crate_of_next_year", "s3cret");
        tracing::info!(target: "tidegated", "s3cret");
        let _span = tracing::trace_span!(target: "h2::proto", "frame", header = "s3cret").entered();
        tracing::trace!("within a span of another crate");
        tracing::trace!(target: "tidegate::worker", page = 7, "page committed");
        tracing::warn!(target: "sqlx::query", "slow statement");
        tracing::error!(target: "sqlx_core::pool::inner", "error returned from after_connect");
    }

    #[test]
    fn p7_no_level_lets_other_crates_log() {
        for level in ["trace", "h2=trace,hyper_util=trace,trace", "trace,[frame]=trace", "a_crate_of_next_year=trace"] {
            for format in [LogFormat::Pretty, LogFormat::Json] {
                let text = printed(format, level, chatter);
                assert!(!text.contains("s3cret"), "{level}: {text}");
            }
        }
        let text = printed(LogFormat::Pretty, "trace", chatter);
        assert!(text.contains("page committed") && text.contains("slow statement"), "{text}");
        assert!(!text.contains("after_connect"), "p12: {text}");
    }

    #[test]
    fn the_level_selects_what_tidegate_prints() {
        let events = || {
            tracing::info!("told");
            tracing::debug!(target: "tidegate::quota", "detail");
            tracing::debug!(target: "tidegate::worker", "other detail");
        };
        let text = printed(LogFormat::Pretty, "info,tidegate::quota=debug", events);
        assert!(text.contains("told") && text.contains(" detail") && !text.contains("other detail"), "{text}");
    }

    #[test]
    fn json_is_one_object_per_line() {
        let text = printed(LogFormat::Json, "info", || tracing::info!(rows = 3, "page \"committed\"\n"));
        let event: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!((&event["rows"], &event["level"]), (&3.into(), &"INFO".into()));
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn p7_no_external_text_starts_a_line_or_controls_a_terminal() {
        let hostile = "x\n2026-03-01T00:00:00Z ERROR forged\r\u{1b}[2J\u{9b}31m\u{7}";
        let error = io::Error::other(hostile);
        for format in [LogFormat::Pretty, LogFormat::Json] {
            let text = printed(format, "info", || {
                tracing::warn!(error = hostile, "a field");
                tracing::warn!(error = %error, "a field by its display");
                tracing::warn!("a message: {hostile}");
            });
            assert_eq!(text.lines().count(), 3, "{text}");
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        }
    }

    #[test]
    fn p9_a_wrong_level_causes_an_error_that_says_what_to_write() {
        let error = asked_for("tidegate=loud").unwrap_err();
        assert!(error.to_string().starts_with("log.level \"tidegate=loud\" is not a filter; write error,"), "{error}");
        assert!(asked_for("info,tidegate::quota=debug").is_ok());
    }
}
