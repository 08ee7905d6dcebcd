//! Sessions computed from their turns, so that a turn that comes late, changes or vanishes changes its session too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::super::World;
use super::super::truth::{Span, Truth};
use super::rows::{MESSAGES, session_labels_of};
use super::{Shape, filters};

/// Maximum distance between turns of a session.
const DAY: i64 = 864_000_000_000;

/// Which sessions are requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Those with a turn in the span.
    MessageTime,
    /// Those that started in the span.
    Start,
}

/// Changes of sessions by tests, by session id.
#[derive(Debug, Default)]
pub(super) struct Edits {
    pub fields: BTreeMap<String, Map<String, Value>>,
    pub hidden: BTreeSet<String>,
}

/// `SessionInfo` of every session, ordered by start (`facts/jaicp.md §4`).
pub(super) fn sessions(world: &World, shape: &Shape, edits: &Edits, span: Span, by: By) -> Vec<Map<String, Value>> {
    let jaicp = &world.jaicp;
    let wide = jaicp.data.visible(Span { from: span.from - DAY, until: span.until + DAY });
    let (turns, here) = jaicp.data.with_truth(|truth| (turns(truth, wide), turns(truth, jaicp.data.visible(span))));
    let wanted = |id: &String, turns: &Vec<Map<String, Value>>| match by {
        By::MessageTime => here.contains_key(id),
        By::Start => started(turns).is_some_and(|at| span.holds(at)),
    };
    let mut sessions: Vec<Map<String, Value>> = turns
        .iter()
        .filter(|(id, turns)| wanted(id, turns) && !edits.hidden.contains(*id))
        .map(|(id, all)| {
            let counted = if shape.counts_in_window { here.get(id).unwrap_or(all) } else { all };
            let mut session = info(id, all, counted.len());
            session.insert("labels".to_owned(), session_labels_of(world.options.seed, id));
            session.extend(edits.fields.get(id).cloned().unwrap_or_default());
            session
        })
        .collect();
    sessions.sort_by_key(|session| (session["startTime"].to_string(), session["sessionId"].to_string()));
    sessions
}

/// Turns by session.
fn turns(truth: &Truth, span: Span) -> BTreeMap<String, Vec<Map<String, Value>>> {
    let mut turns = BTreeMap::<String, Vec<_>>::new();
    truth.walk(MESSAGES, span, None, &mut |_, text| {
        if let Ok(turn) = serde_json::from_str::<Map<String, Value>>(text)
            && let Some(session) = turn.get("sessionId").and_then(Value::as_str)
        {
            turns.entry(session.to_owned()).or_default().push(turn);
        }
        true
    });
    turns
}

fn started(turns: &[Map<String, Value>]) -> Option<i64> {
    turns[0].get("sessionStartTime")?.as_str().and_then(filters::moment).map(super::super::truth::ticks)
}

fn info(id: &str, turns: &[Map<String, Value>], count: usize) -> Map<String, Value> {
    let mut session = Map::new();
    let (first, last) = (&turns[0], &turns[turns.len() - 1]);
    session.insert("sessionId".to_owned(), json!(id));
    for (field, of) in [
        ("projectShortName", "projectShortName"),
        ("channelType", "channelType"),
        ("botId", "botId"),
        ("client", "client"),
        ("startTime", "sessionStartTime"),
        ("firstQuestion", "question"),
        ("callTaskId", "callTaskId"),
        ("isCallIncoming", "isCallIncoming"),
    ] {
        if let Some(value) = first.get(of) {
            session.insert(field.to_owned(), value.clone());
        }
    }
    let with_agent = turns.iter().any(|turn| turn.get("isLivechat") == Some(&Value::Bool(true)));
    session.insert("isLivechat".to_owned(), json!(with_agent));
    let at = |turn: &Map<String, Value>| turn.get("timestamp")?.as_str().and_then(filters::moment);
    let duration = at(last).zip(at(first)).map(|(last, first)| (last - first).num_milliseconds());
    session.insert("lastQuestion".to_owned(), last.get("question").cloned().unwrap_or_default());
    session.insert("questionCount".to_owned(), json!(count));
    session.insert("duration".to_owned(), json!(duration));
    session.insert("sessionData".to_owned(), json!({ "a.b": "1", "C d": "zwei" }));
    session
}
