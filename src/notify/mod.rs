//! Notifications: what the tables contain opens and closes problems, and an outbox has the messages to the targets.
//!
//! `problems` checks everything and writes, in one transaction, the problems that opened or are over, events, and the
//! messages that are due. One process at a time does this, for the targets of all processes. `outbox` sends what is
//! due, in any process that has the target: a message is claimed, sent and recorded, so that one that was sent by a
//! process that was killed is sent again under the same id. `slack` and `cloudevents` write the documents.

mod cloudevents;
mod deliver;
mod outbox;
mod outgoing;
mod problems;
mod sentence;
mod slack;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::http::{self, HttpError};
use crate::metrics::Metrics;
use crate::pulse::Loop;
use crate::store::problem::Patience;
use crate::store::topic::Topic;

pub use deliver::Outcome;
pub use outgoing::Outgoing;

/// Periods and limits of notifications. Tests use shorter ones.
#[derive(Debug, Clone)]
pub struct Timing {
    /// The time between two checks, by any process. A problem ends at the second check that does not find it.
    pub check_every: Duration,
    pub patience: Vec<Patience>,
    /// So many streams of a connection with the same kind of problem are one problem.
    pub group_from: i64,
    /// How long a digest collects problems, or runs and actions, before it is sent.
    pub first: Duration,
    /// The pause between two digests of one kind to a target.
    pub pause: Duration,
    /// The pause between the end of one attempt to send to a target and the begin of the next, by all processes
    /// together.
    pub spacing: Duration,
    /// Runs and actions are reported so long after they happened, when their transactions are committed.
    pub lag: Duration,
    /// Time limit of one attempt to send.
    pub timeout: Duration,
    /// How long a message belongs to the process that sends it. Longer than an attempt takes.
    pub lease: Duration,
    /// After a failure, nothing is sent to the target for this long at most, unless it asks for more.
    pub target_pause: Duration,
    /// The pauses between attempts. After the last one, a message is given up.
    pub backoff: Vec<Duration>,
}

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

impl Default for Timing {
    fn default() -> Self {
        let patience = Topic::PROBLEMS.into_iter().map(|topic| {
            let delay = match topic {
                Topic::Late => 10 * MINUTE,
                Topic::Gap => HOUR,
                Topic::ConfigRefused | Topic::Stalled => 2 * MINUTE,
                Topic::NotifyStuck => 15 * MINUTE,
                _ => Duration::ZERO,
            };
            // A condition that is found only when it occurs is over when it has not occurred for a while.
            let quiet = match topic {
                Topic::Rejects | Topic::Schema => 24 * HOUR,
                _ => Duration::ZERO,
            };
            Patience { topic, delay, quiet }
        });
        Self {
            check_every: Duration::from_secs(30),
            patience: patience.collect(),
            group_from: 5,
            first: Duration::from_secs(30),
            pause: 5 * MINUTE,
            spacing: Duration::from_secs(1),
            lag: MINUTE,
            timeout: Duration::from_secs(10),
            lease: Duration::from_secs(30),
            target_pause: 2 * MINUTE,
            backoff: vec![Duration::from_secs(30), 2 * MINUTE, 10 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR],
        }
    }
}

/// Checks for problems and sends messages.
#[derive(Debug)]
pub struct Notifier {
    timing: Timing,
    client: reqwest::Client,
    metrics: Arc<Metrics>,
    /// This process, as in `tidegate.instance`.
    owner: String,
    /// The targets that another process states differently. They were logged.
    differing: Mutex<BTreeSet<String>>,
    outgoing: Arc<Outgoing>,
    under_way: tokio::sync::Mutex<outbox::UnderWay>,
}

impl Timing {
    /// How long an attempt to send and the pause after it take at most. Then another process may send, because the one
    /// that sent has ended.
    fn turn(&self) -> Duration {
        self.timeout + deliver::RESPONSE_MAX + self.spacing
    }

    /// How long the condition must hold before a problem of this kind opens.
    fn delay(&self, topic: Topic) -> Duration {
        self.patience.iter().find(|patience| patience.topic == topic).map_or(Duration::ZERO, |patience| patience.delay)
    }
}

/// The loops of a process, and for how long each may be without success.
fn loops() -> [(&'static str, Duration); Loop::ALL.len()] {
    Loop::ALL.map(|of| (of.name(), of.failing_after()))
}

impl Notifier {
    /// `owner`: this process. An error if no HTTP client can be made.
    pub fn new(timing: Timing, metrics: Arc<Metrics>, owner: String) -> Result<Self, HttpError> {
        Ok(Self {
            timing,
            client: http::client()?,
            metrics,
            owner,
            differing: Mutex::default(),
            outgoing: Arc::default(),
            under_way: tokio::sync::Mutex::default(),
        })
    }

    /// What the status port of the process shares with the outbox.
    pub fn outgoing(&self) -> Arc<Outgoing> {
        Arc::clone(&self.outgoing)
    }
}
