//! Asks the daemons' status ports during the storm, as an operator and a monitoring system would.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use simulator::Control;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use super::aim::Subject;
use super::fault::Place;
use super::journal::{Journal, REJECTED, UNAUTHORIZED};

/// How often each daemon is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How often lists are read that keep what happened.
const LISTS_EVERY: u32 = 3;
/// A status port that takes longer does not respond. Pages and metrics give up reading the database after 3 s.
const RESPONSE_MAX: Duration = Duration::from_secs(5);
/// The same for the probe, which asks Postgres for a second at most.
const PROBE_MAX: Duration = Duration::from_millis(2_500);
/// How long the metrics of a daemon may take before it is killed.
const LAST_MAX: Duration = Duration::from_millis(500);
/// A difference of clocks that a busy machine does not explain.
const SKEW_SECS: f64 = 1.0;

/// What was seen before, so that everything is recorded once.
#[derive(Debug, Default)]
struct Known {
    /// Entries of lists, by place.
    listed: BTreeSet<(&'static str, String)>,
    /// Conditions that hold, by daemon and place, with their numbers in the journal.
    holding: BTreeMap<(usize, &'static str, String), usize>,
    /// The counters of each daemon, and the start of the process that has them.
    counters: BTreeMap<usize, (String, BTreeMap<String, f64>)>,
    /// The configurations of processes.
    configs: BTreeMap<String, String>,
    /// Calls that met an action of the simulator.
    met: BTreeMap<String, u64>,
}

#[derive(Clone)]
pub struct Watch {
    client: Client,
    journal: Journal,
    known: Arc<Mutex<Known>>,
    addresses: Vec<SocketAddr>,
}

impl Watch {
    /// The daemons at these addresses may come and go.
    pub fn new(journal: Journal, addresses: Vec<SocketAddr>) -> anyhow::Result<Self> {
        Ok(Self { client: tidegate::http::client()?, journal, known: Arc::default(), addresses })
    }

    /// Watches until the tasks are dropped.
    pub fn start(&self, control: Control) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for number in 0..self.addresses.len() {
            let watch = self.clone();
            tasks.spawn(async move {
                let mut ticks = ticks(EVERY);
                loop {
                    ticks.tick().await;
                    watch.probe(number).await;
                }
            });
            let watch = self.clone();
            tasks.spawn(async move {
                let mut ticks = ticks(EVERY);
                for round in 0_u32.. {
                    ticks.tick().await;
                    watch.ask(number, round.is_multiple_of(LISTS_EVERY)).await;
                }
            });
        }
        let watch = self.clone();
        tasks.spawn(async move {
            let mut ticks = ticks(EVERY / 4);
            loop {
                ticks.tick().await;
                watch.calls(&control);
            }
        });
        tasks
    }

    /// A document of a daemon's API.
    pub async fn document(&self, number: usize, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.get(number, &format!("/api/v1{path}")).await?;
        anyhow::ensure!(status == 200, "{path} has status {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// The status and the body of a page.
    pub async fn get(&self, number: usize, path: &str) -> anyhow::Result<(u16, String)> {
        self.get_within(number, path, RESPONSE_MAX).await
    }

    async fn get_within(&self, number: usize, path: &str, limit: Duration) -> anyhow::Result<(u16, String)> {
        let url = format!("http://{}{path}", self.addresses[number]);
        let response = self.client.get(url).timeout(limit).send().await?;
        let status = response.status().as_u16();
        Ok((status, response.text().await?))
    }

    /// Reads the counters of a daemon that will be killed.
    pub async fn last_look(&self, number: usize) {
        // The metrics of a daemon that does not respond are lost.
        let _ = tokio::time::timeout(LAST_MAX, self.metrics(number)).await;
    }

    /// Whether a daemon says that it is ready.
    async fn probe(&self, number: usize) {
        let said = match self.get_within(number, "/readyz", PROBE_MAX).await {
            Ok((503, body)) => Some(body.lines().next().unwrap_or_default().to_owned()),
            Ok(_) => None,
            Err(error) => {
                let is_silent = error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout);
                Some(if is_silent { "no response" } else { "no connection" }.to_owned())
            }
        };
        self.during(Place::Probe, number, said.map(|said| (Subject::daemon(number), said)).into_iter().collect());
    }

    async fn ask(&self, number: usize, with_lists: bool) {
        // Metrics that cannot be read now are read later.
        let (_, overview) = tokio::join!(self.metrics(number), self.get(number, "/api/v1/overview"));
        if let Ok((200, body)) = overview
            && let Ok(overview) = serde_json::from_str::<Value>(&body)
        {
            let concerned = self.concerned(number, &overview).await;
            self.overview(number, &overview, &concerned);
            if with_lists {
                // The same applies to lists.
                let _ = self.lists(number).await;
            }
        }
    }

    /// The streams behind the numbers of the overview that concern a person. A connection shows its worst state only.
    async fn concerned(&self, number: usize, overview: &Value) -> Vec<Value> {
        let mut concerned = Vec::new();
        for state in ["failed", "held"] {
            let is_any = |count: &Value| text(&count["state"]) == state && count["streams"].as_u64() > Some(0);
            if each(&overview["streams"]).any(is_any)
                // A list that cannot be read now is read later.
                && let Ok(document) = self.document(number, &format!("/streams?state={state}")).await
            {
                concerned.extend(each(&document["streams"]).cloned());
            }
        }
        concerned
    }

    fn overview(&self, number: usize, overview: &Value, streams: &[Value]) {
        let connections = each(&overview["connections"])
            .map(|one| (Subject::of(one), format!("{} {}", text(&one["state"]), text(&one["connection"]))));
        let streams = streams.iter().map(|one| {
            let words = format!("{} {}/{}", text(&one["state"]), text(&one["connection"]), text(&one["stream"]));
            (Subject::of(one), words)
        });
        let states = connections.chain(streams);
        self.during(Place::State, number, states.collect());
        let waiting = each(&overview["waiting"]).map(|run| {
            let words = format!("{} {} (run {})", text(&run["waiting_for"]), text(&run["job"]), run["run_id"]);
            (Subject::of(run), words)
        });
        self.during(Place::Waiting, number, waiting.collect());
        let problems = each(&overview["problems"]).map(|problem| {
            let (kind, scope, since) = (text(&problem["kind"]), text(&problem["scope"]), text(&problem["opened_at"]));
            (Subject::of(problem), format!("{kind} {scope} since {since}"))
        });
        self.during(Place::Problem, number, problems.collect());
    }

    /// What happened, and what exists.
    async fn lists(&self, number: usize) -> anyhow::Result<()> {
        let events = self.document(number, "/events").await?;
        for event in each(&events["events"]) {
            self.once(
                Place::Event,
                Subject::of(event),
                format!("{} {} at {}", text(&event["kind"]), text(&event["summary"]), text(&event["at"])),
            );
        }
        for (state, place) in [("failed", Place::FailedRun), ("held", Place::HeldRun)] {
            let runs = self.document(number, &format!("/runs?state={state}")).await?;
            for run in each(&runs["runs"]) {
                let (at, job, error) = (text(&run["finished_at"]), text(&run["job"]), text(&run["error"]));
                self.once(place, Subject::of(run), format!("{job}: {error} (run {} at {at})", run["run_id"]));
            }
        }
        let changes = self.document(number, "/schema").await?;
        for change in each(&changes["changes"]) {
            if text(&change["change"]) != "add_table" {
                let (what, table, column) = (text(&change["change"]), text(&change["table"]), text(&change["column"]));
                let words = format!("{what} {table}.{column} at {}", text(&change["changed_at"]));
                self.once(Place::Schema, Subject::of(change), words);
            }
        }
        let system = self.document(number, "/system").await?;
        for process in each(&system["processes"]) {
            let (owner, config) = (text(&process["owner"]), text(&process["config_hash"]));
            if config.is_empty() {
                continue;
            }
            self.once(Place::Process, Subject::owner(owner), owner.to_owned());
            let before = self.known().configs.insert(owner.to_owned(), config.to_owned());
            if before.is_some_and(|before| before != config) {
                self.journal.saw(Place::Config, Subject::owner(owner), owner);
            }
        }
        Ok(())
    }

    async fn metrics(&self, number: usize) -> anyhow::Result<()> {
        let (status, body) = self.get(number, "/metrics").await?;
        anyhow::ensure!(status == 200, "the metrics have status {status}");
        let mut counters = BTreeMap::new();
        let mut start = String::new();
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let number_of = || value.parse::<f64>().unwrap_or_default();
            if name == "tidegate_start_time_seconds" {
                value.clone_into(&mut start);
            } else if name == "tidegate_clock_skew_seconds" {
                let is_wrong = number_of().abs() > SKEW_SECS;
                let differs = is_wrong.then(|| (Subject::daemon(number), "differs".to_owned()));
                self.during(Place::Clock, number, differs.into_iter().collect());
            } else if name.starts_with("tidegate_vendor_calls_total{")
                || name.starts_with("tidegate_rejected_records_total{")
            {
                counters.insert(name.to_owned(), number_of());
            }
        }
        let (start_before, before) =
            self.known().counters.insert(number, (start.clone(), counters.clone())).unwrap_or_default();
        for (name, value) in counters {
            let before = before.get(&name).filter(|_| start == start_before).copied().unwrap_or_default();
            if value > before && !name.contains("outcome=\"ok\"") {
                let place = if name.starts_with("tidegate_vendor") { Place::Calls } else { Place::Rejected };
                let subject = Subject { daemon: Some(number), ..Subject::of_labels(&name) };
                if place == Place::Rejected {
                    self.journal.met(REJECTED, Some(&subject), 1);
                }
                self.journal.saw(place, subject, name);
            }
        }
        Ok(())
    }

    /// Records calls that met an action of the simulator.
    fn calls(&self, control: &Control) {
        let mut met = control.met();
        met.insert(UNAUTHORIZED.to_owned(), control.unauthorized());
        let mut known = self.known();
        for (action, calls) in met {
            let before = known.met.insert(action.clone(), calls).unwrap_or_default();
            self.journal.met(&action, None, calls - before);
        }
    }

    /// Records conditions that began to hold at a daemon, or no longer hold.
    fn during(&self, place: Place, number: usize, conditions: Vec<(Subject, String)>) {
        let mut known = self.known();
        let over = known.holding.extract_if(.., |(daemon, of, text), _| {
            (*daemon, *of) == (number, place.name()) && !conditions.iter().any(|(_, holds)| holds == text)
        });
        for (_, sighting) in over {
            self.journal.is_over(sighting);
        }
        for (subject, text) in conditions {
            let key = (number, place.name(), text.clone());
            known.holding.entry(key).or_insert_with(|| self.journal.holds(place, subject, text));
        }
    }

    /// Records something that happened, once.
    fn once(&self, place: Place, subject: Subject, text: String) {
        if self.known().listed.insert((place.name(), text.clone())) {
            self.journal.saw(place, subject, text);
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

pub fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
