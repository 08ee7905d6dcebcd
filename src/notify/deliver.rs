//! One attempt to send a message.

use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use crate::config::Target;
use crate::http::{TlsFault, tls_fault};
use crate::metrics::NotificationOutcome;

/// Bytes of a response that are read, so that the connection can be used again. They are not kept.
const RESPONSE_BYTES_MAX: usize = 1 << 10;
/// For how long they are waited for. The target's next message waits meanwhile.
pub(super) const RESPONSE_MAX: Duration = Duration::from_millis(200);
/// A target that asks for a longer pause gets this one.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The target responded with a status of success.
    Accepted(u16),
    /// It asked to wait.
    RateLimited(Duration),
    /// It does not exist any more: status 410.
    Gone,
    /// It responded with any other status.
    Refused(u16),
    Timeout,
    /// No connection was made.
    Unreachable,
    /// The certificate of the target is not accepted.
    Certificate,
    /// The target was reached, but it does not speak TLS as expected.
    Handshake,
    /// What the target sent is not an HTTP response, or is none to its end.
    NoResponse,
    /// The message cannot be sent, because its URL or a header is wrong. The configuration was checked for that.
    Unsendable,
}

impl Outcome {
    /// What metrics count.
    pub(super) const fn counted(self) -> NotificationOutcome {
        match self {
            Self::Accepted(_) => NotificationOutcome::Accepted,
            Self::RateLimited(_) => NotificationOutcome::RateLimited,
            Self::Gone | Self::Refused(400..=499) => NotificationOutcome::Refused,
            Self::Refused(_) => NotificationOutcome::ServerError,
            Self::Timeout => NotificationOutcome::Timeout,
            Self::Unreachable | Self::Certificate | Self::Handshake | Self::NoResponse | Self::Unsendable => {
                NotificationOutcome::Unreachable
            }
        }
    }

    /// What is stored and shown: nothing that the target wrote.
    pub fn text(self) -> String {
        match self {
            Self::Accepted(status) | Self::Refused(status) => format!("HTTP {status}"),
            Self::RateLimited(_) => "HTTP 429".to_owned(),
            Self::Gone => "HTTP 410".to_owned(),
            Self::Timeout => "timeout".to_owned(),
            Self::Unreachable => "no connection".to_owned(),
            Self::Certificate => "TLS: certificate not accepted".to_owned(),
            Self::Handshake => "TLS: the handshake failed".to_owned(),
            Self::NoResponse => "no HTTP response".to_owned(),
            Self::Unsendable => "the URL or a header cannot be sent".to_owned(),
        }
    }
}

/// A document, and the headers that belong to it.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// Sends a document once, within `timeout`. Follows no redirect.
pub(super) async fn deliver(
    client: &reqwest::Client,
    target: &Target,
    document: Document,
    timeout: Duration,
) -> Outcome {
    let Some(headers) = headers(target, &document) else { return Outcome::Unsendable };
    let request = client.post(target.url.expose()).headers(headers).timeout(timeout).body(document.body);
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return failure(&error),
    };
    let outcome = judge(response.status().as_u16(), response.headers());
    // Otherwise the connection is closed.
    let _ = tokio::time::timeout(RESPONSE_MAX, drain(response)).await;
    outcome
}

/// Reads the beginning of a response.
async fn drain(mut response: reqwest::Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > RESPONSE_BYTES_MAX {
            break;
        }
    }
}

/// Why there was no response. The error itself contains the URL.
fn failure(error: &reqwest::Error) -> Outcome {
    match tls_fault(error) {
        _ if error.is_timeout() => Outcome::Timeout,
        _ if error.is_builder() => Outcome::Unsendable,
        Some(TlsFault::Certificate) => Outcome::Certificate,
        Some(TlsFault::Handshake) => Outcome::Handshake,
        None if error.is_connect() => Outcome::Unreachable,
        None => Outcome::NoResponse,
    }
}

fn headers(target: &Target, document: &Document) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(document.content_type));
    for (name, value) in &document.headers {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).ok()?);
    }
    for (name, value) in &target.headers {
        let mut value = HeaderValue::from_str(value.expose()).ok()?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
    }
    Some(headers)
}

fn judge(status: u16, headers: &HeaderMap) -> Outcome {
    match status {
        200..=299 => Outcome::Accepted(status),
        410 => Outcome::Gone,
        429 => Outcome::RateLimited(pause(headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()))),
        status => Outcome::Refused(status),
    }
}

/// The pause that a target asks for: seconds or a date.
fn pause(text: Option<&str>) -> Duration {
    let asked = text.map(str::trim).and_then(|text| {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // More digits than a number has are a long time.
            return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
        }
        let at: SystemTime = chrono::DateTime::parse_from_rfc2822(text).ok()?.into();
        Some(at.duration_since(SystemTime::now()).unwrap_or_default())
    });
    asked.unwrap_or(Duration::from_secs(30)).clamp(Duration::from_secs(1), RETRY_AFTER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_judged_by_its_status_alone() {
        let headers = HeaderMap::new();
        assert_eq!(judge(204, &headers), Outcome::Accepted(204));
        assert_eq!(judge(302, &headers).counted(), NotificationOutcome::ServerError);
        assert_eq!(judge(404, &headers).counted(), NotificationOutcome::Refused);
        assert_eq!(judge(410, &headers), Outcome::Gone);
        assert_eq!(judge(503, &headers).text(), "HTTP 503");
    }

    #[test]
    fn a_pause_that_a_target_asks_for_is_bounded() {
        for (asked, secs) in [
            (None, 30),
            (Some("7"), 7),
            (Some("0"), 1),
            (Some("86400"), 3_600),
            (Some("99999999999999999999999"), 3_600),
            (Some("soon"), 30),
            (Some("-3"), 30),
            (Some(""), 30),
        ] {
            assert_eq!(pause(asked).as_secs(), secs, "{asked:?}");
        }
        assert_eq!(pause(Some("Sun, 06 Nov 1994 08:49:37 GMT")).as_secs(), 1);
        assert_eq!(pause(Some("Sat, 06 Nov 2094 08:49:37 GMT")).as_secs(), 3_600);
    }
}
