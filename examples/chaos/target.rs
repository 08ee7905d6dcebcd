//! A target of notifications, which checks what it receives.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use ring::hmac;
use serde_json::Value;
use tokio::net::TcpListener;

use super::aim::Subject;
use super::fault::Place;
use super::journal::Journal;
use super::verify::Finding;
use super::watch::text;

const KEY: &[u8] = b"the key of the storm's target   ";
/// By how much the time of a message may differ, as docs/notifications.md describes for receivers.
const TOLERANCE_SECS: i64 = 300;

/// How many messages about a problem were received.
#[derive(Debug, Default, Clone)]
pub struct Messages {
    pub opened: u32,
    pub recovered: u32,
    /// Kind and place of the problem.
    pub about: String,
}

#[derive(Debug, Default)]
struct Received {
    messages: u32,
    /// By id: the bytes.
    bodies: BTreeMap<String, Bytes>,
    /// By number of the problem.
    problems: BTreeMap<i64, Messages>,
    /// Both as they were when the database was copied.
    copied: (BTreeMap<String, Bytes>, BTreeMap<i64, Messages>),
    /// What was wrong with messages.
    faults: Vec<String>,
}

#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    journal: Journal,
    requests: Arc<AtomicUsize>,
    received: Arc<Mutex<Received>>,
}

impl Target {
    pub async fn open(journal: Journal) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let target =
            Self { address: listener.local_addr()?, journal, requests: Arc::default(), received: Arc::default() };
        let router = Router::new().route("/", post(receive)).with_state(target.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(target)
    }

    /// The entry of a configuration. It asks for all kinds of problems that the storm can cause.
    pub fn configuration(&self) -> String {
        format!(
            "notify:\n  - name: storm\n    url: http://{}/\n    format: cloudevents\n    secret: whsec_{}\n    \
             on: [failed, held, late, gap, quota_refused, rejects, schema, config_refused, push_unknown, notify_stuck, \
             stalled, recovered]\n",
            self.address,
            STANDARD.encode(KEY)
        )
    }

    /// The database is copied.
    pub fn copied(&self) {
        let mut received = self.received();
        received.copied = (received.bodies.clone(), received.problems.clone());
    }

    /// The copy replaces the database. It may tell of other problems under the numbers that were used since, and writes
    /// what was not sent when it was taken by what it knows.
    pub fn replaced(&self) {
        let mut received = self.received();
        (received.bodies, received.problems) = std::mem::take(&mut received.copied);
    }

    /// The problems that messages were about, by number.
    pub fn problems(&self) -> BTreeMap<i64, Messages> {
        self.received().problems.clone()
    }

    /// Whether the target received that the problem `about` (the beginning of its kind and place) began.
    pub fn knows_of(&self, about: &str) -> bool {
        self.received().problems.values().any(|problem| problem.about.starts_with(about) && problem.opened > 0)
    }

    /// Whether it was received once that the problem `about` began, and once that it ended. Whether each has one id is
    /// checked as messages arrive.
    pub fn round_trip(&self, about: &str) -> Finding {
        let received = self.received();
        let found: Vec<&Messages> =
            received.problems.values().filter(|problem| problem.about.starts_with(about)).collect();
        let is_complete = found.iter().any(|problem| (problem.opened, problem.recovered) == (1, 1));
        let fault = (!is_complete).then(|| match found.first() {
            None => "it received neither".to_owned(),
            Some(first) => format!("{}: {} beginnings, {} ends", first.about, first.opened, first.recovered),
        });
        Finding::new(format!("the target received the beginning and the end of the problem `{about}`"), fault)
    }

    /// No message was wrong.
    pub fn finding(&self) -> Finding {
        let received = self.received();
        let fault = received.faults.first().map(|first| format!("{}, {first}", received.faults.len()));
        Finding::new(
            format!("{} notifications were signed, current, and the same under the same id", received.messages),
            fault,
        )
    }

    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, headers: &HeaderMap, body: &Bytes) {
        let mut received = self.received();
        received.messages += 1;
        if let Err(fault) = check(headers, body, Utc::now()) {
            received.faults.push(format!("{fault}: {}", String::from_utf8_lossy(body)));
            return;
        }
        let event: Value = serde_json::from_slice(body).unwrap_or_default();
        let id = text(&event["id"]).to_owned();
        match received.bodies.get(&id) {
            Some(before) if before == body => return,
            Some(before) => {
                let fault = format!(
                    "the id {id} has two documents: {} and {}",
                    String::from_utf8_lossy(before),
                    String::from_utf8_lossy(body)
                );
                received.faults.push(fault);
                return;
            }
            None => {}
        }
        received.bodies.insert(id, body.clone());
        let word = text(&event["type"]).rsplit('.').next().unwrap_or_default().to_owned();
        let about = format!("{} {}", text(&event["data"]["kind"]), text(&event["subject"]));
        let problem = event["data"]["problem"].as_i64().unwrap_or_default();
        let messages = received.problems.entry(problem).or_default();
        messages.about.clone_from(&about);
        match &*word {
            "opened" => messages.opened += 1,
            "recovered" => messages.recovered += 1,
            _ => {}
        }
        let fault = match (&*word, messages.opened, messages.recovered) {
            ("recovered", 0, _) => Some("an end without a beginning"),
            ("recovered", _, 2..) => Some("a second end"),
            ("opened", 2.., _) => Some("a second beginning"),
            ("opened", _, 1..) => Some("a beginning after the end"),
            _ => None,
        };
        if let Some(fault) = fault {
            received.faults.push(format!("{fault}: {}", String::from_utf8_lossy(body)));
        }
        drop(received);
        self.journal.saw(Place::Notification, Subject::of(&event["data"]), format!("{word} {about}"));
    }
}

/// Every fourth request is refused and every fourth is taken although the response is an error, so that messages are
/// sent again.
async fn receive(State(target): State<Target>, headers: HeaderMap, body: Bytes) -> Response {
    let turn = target.requests.fetch_add(1, Ordering::Relaxed);
    if turn % 4 == 1 {
        return (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response();
    }
    target.take(&headers, &body);
    if turn % 4 == 3 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }.into_response()
}

/// Checks a message as docs/notifications.md describes for receivers.
fn check(headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> Result<(), String> {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or_else(|| format!("the header {name} is missing"))
    };
    let (id, timestamp, signatures) =
        (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    let at: i64 = timestamp.parse().map_err(|_| format!("{timestamp} is not a time"))?;
    if (now.timestamp() - at).abs() > TOLERANCE_SECS {
        return Err(format!("the time of the message is wrong by {} s", at - now.timestamp()));
    }
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(body);
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
    let is_ours = |signature: &str| {
        let tag = signature.strip_prefix("v1,").and_then(|encoded| STANDARD.decode(encoded).ok());
        tag.is_some_and(|tag| hmac::verify(&key, &signed, &tag).is_ok())
    };
    if !signatures.split(' ').any(is_ours) {
        return Err("the signature is wrong".to_owned());
    }
    let event: Value = serde_json::from_slice(body).map_err(|_| "it is not JSON".to_owned())?;
    if text(&event["id"]) != id || text(&event["specversion"]) != "1.0" {
        return Err("it is not an event with the id of the header".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(word: &str, id: &str) -> (HeaderMap, Bytes) {
        let body = format!(
            r#"{{"specversion":"1.0","id":"{id}","type":"tidegate.problem.{word}","subject":"acme/users","data":{{"problem":7,"kind":"held"}}}}"#
        );
        let timestamp = Utc::now().timestamp().to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
        let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", timestamp.parse().unwrap());
        headers.insert("webhook-signature", format!("v1,{}", STANDARD.encode(tag)).parse().unwrap());
        (headers, body.into())
    }

    async fn fault_after(messages: &[(HeaderMap, Bytes)]) -> Option<String> {
        let target = Target::open(Journal::default()).await.unwrap();
        for (headers, body) in messages {
            target.take(headers, body);
        }
        target.finding().fault
    }

    #[tokio::test]
    async fn messages_may_arrive_twice_and_in_order() {
        let (opened, recovered) = (message("opened", "a"), message("recovered", "b"));
        assert_eq!(fault_after(&[opened.clone(), opened, recovered.clone(), recovered]).await, None);
    }

    #[tokio::test]
    async fn a_problem_is_demanded_with_its_beginning_and_its_end() {
        let target = Target::open(Journal::default()).await.unwrap();
        let take = |(headers, body): (HeaderMap, Bytes)| target.take(&headers, &body);
        assert!(target.round_trip("held acme").fault.is_some() && !target.knows_of("held acme"));
        let opened = message("opened", "a");
        take(opened.clone());
        take(opened);
        assert!(target.knows_of("held acme") && !target.knows_of("failed acme"));
        assert!(target.round_trip("held acme").fault.is_some(), "it did not end");
        take(message("recovered", "b"));
        assert_eq!(target.round_trip("held acme").fault, None);
        assert!(target.round_trip("failed acme").fault.is_some(), "that is another problem");
    }

    #[tokio::test]
    async fn a_message_that_is_not_authentic_or_contradicts_others_is_a_fault() {
        let opened = message("opened", "a");
        let mut old = opened.clone();
        old.0.insert("webhook-timestamp", "1700000000".parse().unwrap());
        let forged = (opened.0.clone(), Bytes::from_static(b"{}"));
        for (messages, expected) in [
            (vec![forged], "the signature is wrong"),
            (vec![old], "the time of the message is wrong"),
            (vec![opened.clone(), message("recovered", "a")], "the id a has two documents"),
            (vec![message("recovered", "b")], "an end without a beginning"),
            (vec![opened, message("opened", "c")], "a second beginning"),
        ] {
            let fault = fault_after(&messages).await.unwrap_or_default();
            assert!(fault.contains(expected), "{fault}");
        }
    }
}
