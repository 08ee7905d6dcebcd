//! Sends a call that only reads, repeats it after errors that pass, and builds URLs below a base URL.

use url::Url;

use super::StepError;
use crate::decode::DecodeError;
use crate::http::{Call, HttpError, RetryState, Session};
use crate::quota::CallKind;

/// The attempts of one idempotent call: it is repeated after a transient HTTP error, and once after a response that
/// cannot be read.
///
/// Status 204 means that there are no rows. A 200 without a body may be a transient fault of the vendor, so it means
/// the same only if it comes twice in a row.
#[derive(Debug)]
pub(super) struct Attempts {
    retry: RetryState,
    repeats_incomplete: bool,
    repeated: bool,
    was_empty: bool,
}

impl Attempts {
    pub(super) fn new(session: &Session<'_>) -> Self {
        let retry = session.retry(CallKind::Data);
        Self { retry, repeats_incomplete: false, repeated: false, was_empty: false }
    }

    /// Treats a response that lacks a member, or has another shape than documented, as one that cannot be read.
    pub(super) fn repeating_incomplete(self) -> Self {
        Self { repeats_incomplete: true, ..self }
    }

    /// Whether to send the call again after `error`. Waits before that for as long as the error requires.
    pub(super) async fn again(&mut self, error: &StepError) -> bool {
        match error {
            StepError::Http(error) => return self.retry.again(error).await,
            StepError::Unreadable(_) => {}
            StepError::Missing(_) | StepError::Shape(_) if self.repeats_incomplete => {}
            _ => return false,
        }
        self.was_empty = is_empty(error);
        !std::mem::replace(&mut self.repeated, true)
    }

    /// Whether a response without a body means that there are no rows. `no_content`: its status is 204.
    pub(super) const fn accept_empty(&self, no_content: bool) -> bool {
        no_content || self.was_empty
    }
}

/// Whether a response could not be read because it has no body.
pub(super) const fn is_empty(error: &StepError) -> bool {
    matches!(error, StepError::Unreadable(DecodeError::Empty))
}

/// Sends a call whose response is small, and reads the response. Returns the body too. `none` is the result of a
/// response without a body, if the call may have one.
pub(super) async fn small<T>(
    session: &Session<'_>,
    mut attempts: Attempts,
    call: impl Fn() -> Result<Call, StepError>,
    read: impl Fn(&[u8]) -> Result<T, StepError>,
    none: Option<fn() -> T>,
) -> Result<(T, Vec<u8>), StepError> {
    loop {
        match attempt_small(session, &attempts, call()?, &read, none).await {
            Err(error) if attempts.again(&error).await => {}
            outcome => return outcome,
        }
    }
}

async fn attempt_small<T>(
    session: &Session<'_>,
    attempts: &Attempts,
    call: Call,
    read: impl Fn(&[u8]) -> Result<T, StepError>,
    none: Option<fn() -> T>,
) -> Result<(T, Vec<u8>), StepError> {
    let body = session.send(call).await?;
    let none = none.filter(|_| attempts.accept_empty(body.is_no_content()));
    let body = body.small().await?;
    match (read(&body), none) {
        (Err(error), Some(none)) if is_empty(&error) => Ok((none(), body)),
        (outcome, _) => Ok((outcome?, body)),
    }
}

/// Sends a call once, and returns the body of its response, which is small.
pub(super) async fn whole(session: &Session<'_>, call: Call) -> Result<Vec<u8>, HttpError> {
    session.send(call).await?.small().await
}

/// A URL below `base_url`. `path` and `query` are encoded already.
pub(super) fn below(base_url: &Url, path: &str, query: Option<&str>) -> Result<Url, HttpError> {
    let mut url = base_url.clone();
    let path = format!("{}/{}", base_url.path().trim_end_matches('/'), path.trim_start_matches('/'));
    url.set_path(&path);
    url.set_query(query);
    // `.` and `..` are removed from a URL, and may lead outside the base.
    if url.path().split('/').count() == path.split('/').count() && !path.ends_with("/.") {
        Ok(url)
    } else {
        Err(HttpError::Request("the path contains `.` or `..`".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_parts_of_a_url_are_unchanged_and_stay_below_the_base() {
        let base = Url::parse("https://host/api/public").unwrap();
        let of = |path: &str, query| below(&base, path, query);
        let url = of("reports/report/a/2%2Bb%2Fc%3D/status", Some("analyticsAccessToken=q%3D%3D")).unwrap();
        let expected = "https://host/api/public/reports/report/a/2%2Bb%2Fc%3D/status?analyticsAccessToken=q%3D%3D";
        assert_eq!(url.as_str(), expected);
        assert_eq!(of("/v1/users", None).unwrap().as_str(), "https://host/api/public/v1/users");
        for path in ["reports/report/../x/status", "reports/report/%2e%2E/x/status", "a/./b", "a/.", "a/..", "../x"] {
            assert!(of(path, None).is_err(), "{path}");
        }
    }
}
