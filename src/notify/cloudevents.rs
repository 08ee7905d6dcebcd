//! CloudEvents 1.0, signed as Standard Webhooks specifies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use ring::hmac;
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;

use super::deliver::Document;
use super::sentence;
use crate::config::{Config, Target};
use crate::store::activity::{Action, Activity, FinishedRun, Range};
use crate::store::notification::Kind;
use crate::store::problem::Problem;

/// The event of a message about one problem.
pub(super) fn event(config: &Config, id: Uuid, kind: Kind, at: DateTime<Utc>, problem: &Problem) -> Value {
    let word = match kind {
        Kind::Recovered => "recovered",
        Kind::Merged => "merged",
        Kind::Reminder => "reminder",
        Kind::Opened | Kind::Digest | Kind::Activity | Kind::Test => "opened",
    };
    let data = json!({
        "problem": problem.id,
        "kind": problem.kind,
        "connection": problem.connection,
        "stream": problem.stream,
        "streams": problem.streams,
        "table": problem.table,
        "job": problem.job,
        "run": problem.run_id,
        "opened_at": time(problem.since),
        "closed_at": problem.closed_at.map(time),
        "merged_into": problem.merged_into,
        "complete_until": problem.complete_until.map(time),
        "summary": problem.summary,
        "hint": problem.hint,
        "url": sentence::link(config.server.url.as_ref(), problem),
    });
    envelope(config, id, &format!("tidegate.problem.{word}"), Some(&problem.scope), at, &data)
}

/// The event of a message about runs that finished and about actions.
pub(super) fn activity(config: &Config, id: Uuid, at: DateTime<Utc>, range: Range, activity: &Activity) -> Value {
    let base = config.server.url.as_ref();
    let run = |run: &FinishedRun| {
        json!({
            "run": run.id,
            "job": run.job,
            "connection": run.connection,
            "kind": run.kind,
            "state": run.state,
            "started_at": run.started_at.map(time),
            "finished_at": time(run.finished_at),
            "error": run.error,
            "hint": run.hint,
            "url": sentence::link_to_run(base, run.id),
        })
    };
    let action = |action: &Action| {
        json!({
            "at": time(action.at),
            "actor": action.actor,
            "connection": action.connection,
            "stream": action.stream,
            "job": action.job,
            "run": action.run_id,
            "summary": action.summary,
        })
    };
    let states: Map<String, Value> = activity.states.iter().map(|(state, runs)| (state.clone(), json!(runs))).collect();
    let data = json!({
        "from": time(range.from),
        "until": time(range.until),
        "runs_total": activity.runs_total(),
        "runs_by_state": states,
        "runs": activity.runs.iter().map(run).collect::<Vec<_>>(),
        "actions_total": activity.actions_total,
        "actions": activity.actions.iter().map(action).collect::<Vec<_>>(),
    });
    envelope(config, id, "tidegate.activity", None, at, &data)
}

/// An event that tests a target.
pub(super) fn test(config: &Config, id: Uuid, at: DateTime<Utc>) -> Value {
    let data =
        json!({ "summary": "this is a test of notifications", "url": config.server.url.as_ref().map(Url::as_str) });
    envelope(config, id, "tidegate.test", None, at, &data)
}

fn envelope(config: &Config, id: Uuid, kind: &str, subject: Option<&str>, at: DateTime<Utc>, data: &Value) -> Value {
    let mut event = json!({
        "specversion": "1.0",
        "id": id,
        "source": source(config),
        "type": kind,
        "time": time(at),
        "datacontenttype": "application/json",
        "data": data,
    });
    if let (Some(subject), Some(event)) = (subject, event.as_object_mut()) {
        event.insert("subject".to_owned(), json!(subject));
    }
    event
}

/// Which installation it is: its URL, or else its title.
fn source(config: &Config) -> String {
    if let Some(url) = &config.server.url {
        return url.as_str().to_owned();
    }
    let mut urn = "urn:tidegate:".to_owned();
    urn.extend(url::form_urlencoded::byte_serialize(config.server.title.as_bytes()));
    urn
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The request of an event: its bytes, and the signature if the target has a secret.
pub(super) fn document(target: &Target, id: Uuid, event: &Value, now: DateTime<Utc>) -> Document {
    let body = event.to_string();
    let (id, timestamp) = (id.to_string(), now.timestamp().to_string());
    let mut headers = Vec::new();
    if let Some(key) = target.signing_key() {
        headers.push(("webhook-signature", signature(&key, &id, &timestamp, &body)));
    }
    headers.extend([("webhook-id", id), ("webhook-timestamp", timestamp)]);
    Document { content_type: "application/cloudevents+json", headers, body }
}

fn signature(key: &[u8], id: &str, timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        // The example of its specification.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
