//! Misbehaviour on request: which call meets which action, and calls that are held until released. Independent of the
//! vendor.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::locked;

/// Which calls a fault applies to; an absent condition matches every call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// The endpoint as in the statistics. Lynn's are `create_token`, `token_info` and `execute_report`, the storage's
    /// is `files_get`, and the others begin with the vendor's name: `khoros_teams`.
    pub endpoint: Option<String>,
    /// The report's name, or its id in any case; for the storage, the file's name.
    pub report: Option<String>,
    /// Starts at 1.
    pub page: Option<u32>,
}

impl Match {
    pub fn endpoint(endpoint: &str) -> Self {
        Self { endpoint: Some(endpoint.to_owned()), ..Self::default() }
    }

    pub fn report(report: &str) -> Self {
        Self { report: Some(report.to_owned()), ..Self::default() }
    }

    #[must_use]
    pub fn page(self, page: u32) -> Self {
        Self { page: Some(page), ..self }
    }

    fn meets(&self, call: &Call<'_>) -> bool {
        let report_meets = |wanted: &String| call.report.iter().any(|name| name.eq_ignore_ascii_case(wanted));
        self.endpoint.as_ref().is_none_or(|wanted| wanted == call.endpoint)
            && self.report.as_ref().is_none_or(report_meets)
            && self.page.is_none_or(|wanted| call.page == Some(wanted))
    }
}

/// A call as matched against faults.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub endpoint: &'a str,
    /// All names of the report.
    pub report: &'a [&'a str],
    pub page: Option<u32>,
}

/// After the first `after` matching calls, the next `times` matching ones meet the action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    #[serde(default)]
    pub on: Match,
    #[serde(default)]
    pub after: u32,
    #[serde(default = "once")]
    pub times: u32,
    #[serde(rename = "do")]
    pub action: Action,
}

fn once() -> u32 {
    1
}

const fn yes() -> bool {
    true
}

impl Fault {
    pub fn new(on: Match, action: Action) -> Self {
        Self { on, after: 0, times: 1, action }
    }

    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    #[must_use]
    pub fn after(self, after: u32) -> Self {
        Self { after, ..self }
    }
}

/// The wording of a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wording {
    Json,
    Text,
    Html,
    Empty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    Calls,
    Bandwidth,
}

/// Where a call is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// After the work, before the response.
    BeforeResponse,
    /// Half of the body was sent.
    MidBody,
}

/// What happens to a call. `json` fields are raw text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    // Other responses.
    Status {
        status: u16,
    },
    TooMany {
        seconds: u64,
        wording: Wording,
        /// Whether to send `Retry-After` as well.
        header: bool,
    },
    /// `replenished_in`: `HH:MM:SS` or `D.HH:MM:SS`.
    OutOfQuota {
        quota: Quota,
        replenished_in: String,
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// 403 without mention of quotas.
    Forbidden,
    /// Invalidates the token that was sent, and responds with 401 and an empty body.
    TokenExpired,
    /// 401 with an empty body.
    Unauthorized,
    /// 401 about the subscription key.
    SubscriptionKey,
    HtmlWith200,
    /// Exactly this, as JSON.
    Json {
        status: u16,
        body: String,
    },
    /// Exactly this.
    Text {
        status: u16,
        content_type: String,
        body: String,
    },
    Redirect {
        status: u16,
        location: String,
    },
    /// An object storage's error page, but with 200.
    XmlErrorWith200,

    // Other pages.
    Invalid {
        errors_json: String,
    },
    /// `isValid` is still true.
    Errors {
        errors_json: String,
    },
    ResultNull,
    ResultMissing,
    MalformedResult,
    /// Returns the request's `lastDocument` again, with rows.
    StuckCursor,
    /// There are always more pages: after the last row comes the first.
    Endless,
    /// `pageCount` is one too low.
    HiddenPage,
    /// `lastDocument` is always null.
    NoLastDocument,
    /// One of the rows is a number.
    OddRow,
    /// The page begins with the last rows of the previous page.
    Overlap {
        rows: u32,
    },

    // Other bodies.
    /// Repeats its beginning endlessly.
    EndlessBody,
    /// Small, but this many bytes once decompressed.
    GzipBomb {
        bytes: u64,
    },
    /// The same body as gzip of this many members, or one for each part of a generated body.
    GzipMembers {
        members: usize,
        /// Whether `Content-Encoding` says gzip; otherwise the file itself is gzip.
        #[serde(default = "yes")]
        named: bool,
    },
    /// One field of this many bytes, as JSON or CSV.
    OneField {
        bytes: u64,
    },

    // Other ways of sending.
    ContentType {
        value: String,
    },
    /// 200 with an empty body.
    EmptyBody,
    /// 204.
    NoContent,
    /// The connection is reset without a response.
    Reset,
    /// Half of the body, or of its part generated in advance, then the connection is reset.
    Cut,
    /// This many bytes of the body, then the connection is reset.
    CutAfter {
        bytes: usize,
    },
    /// Waits before the response.
    Delay {
        ms: u64,
    },
    /// This many bytes, then a wait, and so on.
    Drip {
        bytes: usize,
        every_ms: u64,
    },
    /// See `Control::hold`.
    #[serde(skip)]
    Hold(HoldAt),
}

impl Action {
    /// The name for logs and counts.
    pub fn name(&self) -> String {
        if let Self::Hold(hold) = self {
            return format!("hold {:?}", hold.point);
        }
        let json = serde_json::to_value(self).unwrap_or_default();
        json.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default().to_owned()
    }
}

/// Where a call is held, and the channels between it and the test.
#[derive(Debug, Clone)]
pub struct HoldAt {
    pub(super) point: Point,
    pub(super) gate: Arc<Gate>,
}

impl PartialEq for HoldAt {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.gate, &other.gate)
    }
}

#[derive(Debug, Default)]
pub(super) struct Gate {
    reached: watch::Sender<bool>,
    released: watch::Sender<bool>,
}

impl Gate {
    /// Reports that a call arrived, and waits for the release.
    pub async fn pass(&self) {
        self.reached.send_replace(true);
        let mut released = self.released.subscribe();
        // Fails only if the gate is gone, and then nobody can release it.
        let _ = released.wait_for(|released| *released).await;
    }
}

/// One call that is or will be held. It stays held even if the client disconnects.
#[derive(Debug, Clone)]
pub struct Hold {
    pub(super) gate: Arc<Gate>,
}

impl Hold {
    /// Waits until a call is held.
    pub async fn reached(&self) {
        let mut reached = self.gate.reached.subscribe();
        // Cannot fail: `self` keeps the gate alive.
        let _ = reached.wait_for(|reached| *reached).await;
    }

    pub fn is_reached(&self) -> bool {
        *self.gate.reached.borrow()
    }

    pub fn release(&self) {
        self.gate.released.send_replace(true);
    }
}

/// The queue of faults, and all holds.
#[derive(Debug, Default)]
pub(super) struct Mischief {
    faults: Mutex<Vec<Fault>>,
    holds: Mutex<Vec<Hold>>,
    /// Number of calls that met an action, by its name.
    met: Mutex<BTreeMap<String, u64>>,
}

impl Mischief {
    pub fn add(&self, fault: Fault) {
        locked(&self.faults).push(fault);
    }

    /// Creates a hold and returns it with its number.
    pub fn hold(&self, on: Match, after: u32, point: Point) -> (usize, Hold) {
        let hold = Hold { gate: Arc::default() };
        self.add(Fault { on, after, times: 1, action: Action::Hold(HoldAt { point, gate: Arc::clone(&hold.gate) }) });
        let mut holds = locked(&self.holds);
        holds.push(hold.clone());
        (holds.len() - 1, hold)
    }

    pub fn find_hold(&self, number: usize) -> Option<Hold> {
        locked(&self.holds).get(number).cloned()
    }

    /// The action for this call: that of the first fault that matches and is due. Each matching fault counts its own
    /// calls.
    pub fn meet(&self, call: &Call<'_>) -> Option<Action> {
        let mut faults = locked(&self.faults);
        let mut met = None;
        for (index, fault) in faults.iter_mut().enumerate().filter(|(_, fault)| fault.on.meets(call)) {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                met = Some(index);
                break;
            }
        }
        let action = met.map(|index| faults[index].action.clone());
        faults.retain(|fault| fault.times > 0);
        if let Some(action) = &action {
            *locked(&self.met).entry(action.name()).or_default() += 1;
        }
        action
    }

    /// Number of calls that met an action, by its name.
    pub fn met(&self) -> BTreeMap<String, u64> {
        locked(&self.met).clone()
    }

    /// Removes queued faults and releases held calls.
    pub fn quiet(&self) {
        locked(&self.faults).clear();
        for hold in locked(&self.holds).iter() {
            hold.release();
        }
    }

    pub fn pending(&self) -> usize {
        locked(&self.faults).len()
    }
}

/// Maximum wait that a script can cause, so that a mistake in a script cannot hang a test run.
pub(super) fn bounded(ms: u64) -> Duration {
    Duration::from_millis(ms.min(3_600_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(page: u32) -> Call<'static> {
        Call { endpoint: "execute_report", report: &["menu_detail", "542B"], page: Some(page) }
    }

    #[test]
    fn faults_apply_to_their_call_and_are_used_up() {
        let mischief = Mischief::default();
        let status = |status| Action::Status { status };
        mischief.add(Fault::new(Match::report("542b").page(2), status(500)).times(2));
        mischief.add(Fault::new(Match::default(), status(503)).after(1));
        mischief.add(Fault::new(Match::endpoint("create_token"), status(408)));
        assert_eq!(mischief.meet(&call(1)), None, "the second fault lets one call go");
        assert_eq!(mischief.meet(&call(2)), Some(status(500)));
        assert_eq!(mischief.meet(&call(2)), Some(status(500)));
        assert_eq!(mischief.meet(&call(2)), Some(status(503)));
        assert_eq!(mischief.meet(&call(2)), None);
        assert_eq!(mischief.pending(), 1);
        mischief.quiet();
        assert_eq!(mischief.pending(), 0);
    }

    #[tokio::test]
    async fn a_hold_is_reached_and_released() {
        let mischief = Mischief::default();
        let (_, hold) = mischief.hold(Match::default(), 0, Point::BeforeResponse);
        let Some(Action::Hold(at)) = mischief.meet(&call(1)) else { panic!("not held") };
        assert!(!hold.is_reached());
        let held = tokio::spawn(async move { at.gate.pass().await });
        hold.reached().await;
        assert!(!held.is_finished());
        hold.release();
        held.await.unwrap();
    }
}
