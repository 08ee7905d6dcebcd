//! HTTP responses and the ways in which they can go wrong on the wire. Independent of the vendor.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::body::{After, Content, compressed, in_parts};
use super::limits::{Refusal, Refused, Unit};
use super::mischief::{Action, HoldAt, Point, Quota, Wording, bounded};
use super::wire::Wire;

pub(super) const JSON: &str = "application/json; charset=utf-8";
const XML: &str = "application/xml";

/// What is sent, and how.
pub(super) struct PlannedResponse {
    pub status: StatusCode,
    pub content_type: String,
    pub headers: Vec<(HeaderName, String)>,
    pub body: Content,
    pub delivery: Delivery,
}

#[derive(Debug, Default)]
pub(super) enum Delivery {
    #[default]
    Whole,
    Reset,
    Cut,
    CutAfter {
        bytes: usize,
    },
    Drip {
        bytes: usize,
        every: Duration,
    },
    Hold(HoldAt),
}

impl PlannedResponse {
    pub fn new(status: StatusCode, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::of(status, content_type, Content::Whole(Bytes::from(body.into())))
    }

    pub fn of(status: StatusCode, content_type: &str, body: Content) -> Self {
        Self { status, content_type: content_type.to_owned(), headers: Vec::new(), body, delivery: Delivery::Whole }
    }

    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::new(StatusCode::OK, JSON, body)
    }

    /// An error in the format of object storages.
    pub fn xml_error(status: StatusCode, code: &str, message: &str) -> Self {
        let head = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
        Self::new(status, XML, format!("{head}\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"))
    }

    pub fn empty(status: StatusCode) -> Self {
        Self::new(status, "", "")
    }

    /// An error in the gateway's format.
    pub fn error(status: StatusCode, message: &str) -> Self {
        let body = serde_json::json!({ "statusCode": status.as_u16(), "message": message });
        Self::new(status, JSON, body.to_string())
    }

    /// The gateway's response when a limit is reached.
    pub fn refusal(refusal: &Refusal) -> Self {
        let seconds = refusal.wait.as_secs() + u64::from(refusal.wait.subsec_nanos() > 0);
        match (refusal.refused, refusal.unit) {
            (Refused::Rate, _) => too_many(seconds, Wording::Json, true),
            (Refused::Quota, Unit::Calls) => out_of_quota(Quota::Calls, &clock(seconds), Some(seconds)),
            (Refused::Quota, Unit::Bytes) => out_of_quota(Quota::Bandwidth, &clock(seconds), Some(seconds)),
        }
    }

    pub fn header(mut self, name: HeaderName, value: &impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Applies an action to the response. Actions on a vendor's page have been applied before.
    pub fn meet(mut self, action: Action) -> Self {
        match action {
            Action::Status { status } => {
                return Self::error(status_of(status), "The simulator was asked to respond like this.");
            }
            Action::Json { status, body } => return Self::new(status_of(status), JSON, body),
            Action::Text { status, content_type, body } => return Self::new(status_of(status), &content_type, body),
            Action::Redirect { status, location } => {
                return Self::empty(status_of(status)).header(LOCATION, &location);
            }
            Action::XmlErrorWith200 => {
                return Self::xml_error(StatusCode::OK, "InternalError", "We encountered an internal error.");
            }
            Action::GzipBomb { bytes } => {
                self.body = Content::bomb(bytes);
                self = self.header(CONTENT_ENCODING, &"gzip");
            }
            Action::GzipMembers { members, named } => {
                self.body = self.body.in_members(members);
                if named {
                    self = self.header(CONTENT_ENCODING, &"gzip");
                }
            }
            Action::EndlessBody => self.body = self.body.endless(),
            Action::OneField { bytes } => self.body = self.body.one_field(&self.content_type, bytes),
            Action::TooMany { seconds, wording, header } => return too_many(seconds, wording, header),
            Action::OutOfQuota { quota, replenished_in, retry_after } => {
                return out_of_quota(quota, &replenished_in, retry_after);
            }
            Action::Forbidden => {
                return Self::error(StatusCode::FORBIDDEN, "The credential has no permission for this resource.");
            }
            Action::TokenExpired | Action::Unauthorized => return Self::empty(StatusCode::UNAUTHORIZED),
            Action::SubscriptionKey => return subscription_key("invalid"),
            Action::HtmlWith200 => {
                let page = "<!DOCTYPE html><html><body><h1>Down for maintenance</h1></body></html>";
                return Self::new(StatusCode::OK, "text/html", page);
            }
            Action::ContentType { value } => self.content_type = value,
            Action::NoContent => return Self::empty(StatusCode::NO_CONTENT),
            Action::EmptyBody => self.body = Content::Whole(Bytes::new()),
            Action::Reset => self.delivery = Delivery::Reset,
            Action::Cut => self.delivery = Delivery::Cut,
            Action::CutAfter { bytes } => self.delivery = Delivery::CutAfter { bytes },
            Action::Drip { bytes, every_ms } => {
                self.delivery = Delivery::Drip { bytes: bytes.max(1), every: bounded(every_ms) };
            }
            Action::Hold(hold) if hold.point == Point::MidBody => self.delivery = Delivery::Hold(hold),
            // These are handled earlier: waited for, or applied to the page.
            Action::Hold(_)
            | Action::Delay { .. }
            | Action::Invalid { .. }
            | Action::Errors { .. }
            | Action::ResultNull
            | Action::ResultMissing
            | Action::MalformedResult
            | Action::StuckCursor
            | Action::Endless
            | Action::HiddenPage
            | Action::NoLastDocument
            | Action::OddRow
            | Action::Overlap { .. } => {}
        }
        self
    }

    /// Sends the response. A generated body is not compressed.
    pub fn send(mut self, wire: &Wire, gzip: bool, stopping: CancellationToken) -> Response<Body> {
        let (mut begun, rest) = self.body.begin();
        if gzip && rest.is_none() && !begun.is_empty() && !self.headers.iter().any(|(name, _)| name == CONTENT_ENCODING)
        {
            begun = compressed(&begun);
            self.headers.push((CONTENT_ENCODING, "gzip".to_owned()));
        }
        // 204 has neither a body nor a length (RFC 9110, §8.6).
        let length = (rest.is_none() && self.status != StatusCode::NO_CONTENT).then_some(begun.len());
        let (half, whole) = (begun.len() / 2, usize::MAX);
        let body = match self.delivery {
            Delivery::Whole if rest.is_none() => Body::from(begun),
            Delivery::Whole => in_parts(begun, rest, whole, After::Nothing, stopping),
            Delivery::Reset => {
                wire.reset();
                Body::empty()
            }
            Delivery::Cut => in_parts(begun, rest, half, After::Reset(wire.clone()), stopping),
            Delivery::CutAfter { bytes } => in_parts(begun, rest, bytes, After::Reset(wire.clone()), stopping),
            Delivery::Drip { bytes, every } => in_parts(begun, rest, bytes, After::Wait(every), stopping),
            Delivery::Hold(hold) => in_parts(begun, rest, half, After::Gate(hold), stopping),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if !self.content_type.is_empty() {
            headers.insert(CONTENT_TYPE, header_value(&self.content_type));
        }
        for (name, value) in &self.headers {
            headers.insert(name, header_value(value));
        }
        response
    }
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn header_value(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("unprintable"))
}

pub(super) fn subscription_key(what: &str) -> PlannedResponse {
    let remedy = match what {
        "missing" => "Make sure to include subscription key when making requests to an API.",
        _ => "Make sure to provide a valid key for an active subscription.",
    };
    PlannedResponse::error(StatusCode::UNAUTHORIZED, &format!("Access denied due to {what} subscription key. {remedy}"))
}

fn too_many(seconds: u64, wording: Wording, header: bool) -> PlannedResponse {
    let status = StatusCode::TOO_MANY_REQUESTS;
    let message = format!("Rate limit is exceeded. Try again in {seconds} seconds.");
    let response = match wording {
        Wording::Json => PlannedResponse::new(
            status,
            "application/json",
            format!(r#"{{ "statusCode": 429, "message": "{message}" }}"#),
        ),
        Wording::Text => PlannedResponse::new(
            status,
            "text/plain",
            format!("rate limit is Exceeded. Try again in {seconds} seconds"),
        ),
        Wording::Html => {
            PlannedResponse::new(status, "text/html", format!("<html><body><p>{message}</p></body></html>"))
        }
        Wording::Empty => PlannedResponse::empty(status),
    };
    if header { response.header(RETRY_AFTER, &seconds) } else { response }
}

fn out_of_quota(quota: Quota, replenished_in: &str, retry_after: Option<u64>) -> PlannedResponse {
    let what = if quota == Quota::Calls { "call volume" } else { "bandwidth" };
    let message = format!("Out of {what} quota. Quota will be replenished in {replenished_in}.");
    let body = format!(r#"{{ "statusCode": 403, "message": "{message}" }}"#);
    let response = PlannedResponse::new(StatusCode::FORBIDDEN, "application/json", body);
    match retry_after {
        Some(seconds) => response.header(RETRY_AFTER, &seconds),
        None => response,
    }
}

/// `HH:MM:SS`, or `D.HH:MM:SS` from a day on.
fn clock(seconds: u64) -> String {
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    if seconds < 86_400 { time } else { format!("{}.{time}", seconds / 86_400) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_format_of_the_gateway() {
        let refusal = |refused, unit, wait| {
            let response = PlannedResponse::refusal(&Refusal { limit: "any", unit, refused, wait });
            (
                response.status.as_u16(),
                String::from_utf8(response.body.begin().0.to_vec()).unwrap(),
                response.headers[0].1.clone(),
            )
        };
        let rate = refusal(Refused::Rate, Unit::Calls, Duration::from_millis(2500));
        let message = r#"{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in 3 seconds." }"#;
        assert_eq!(rate, (429, message.into(), "3".into()));
        let bandwidth = refusal(Refused::Quota, Unit::Bytes, Duration::from_secs(12_656));
        assert_eq!(bandwidth.0, 403);
        assert!(bandwidth.1.contains("Out of bandwidth quota. Quota will be replenished in 03:30:56."));
        assert!(refusal(Refused::Quota, Unit::Calls, Duration::from_secs(90_061)).1.contains("in 1.01:01:01."));
    }
}
