//! The reports with an immediate response, counted from the rows of the files (`facts/lexer.md §5`).

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::company::people::Agent;
use super::super::export::fields;
use super::super::truth::{Reports, Span, TICKS_PER_SECOND};
use super::request::Asked;
use super::rows::{CASE_SECS_MAX, CASES, CLASSIFICATIONS, MENTIONS, SEPARATOR, SUBMISSIONS, agents, names};

/// States of messages that need no more work.
const CLOSED: &[&str] = &["redirected", "irrelevant", "duplicate", "closed", "no_response_required"];
const STATES: &[&str] = &[
    "new",
    "assigned",
    "in_progress",
    "responded",
    "awaiting_approval",
    "redirected",
    "irrelevant",
    "duplicate",
    "closed",
    "no_response_required",
];

/// One row of a file by its columns.
struct Fact(BTreeMap<String, String>);

impl Fact {
    fn get(&self, column: &str) -> &str {
        self.0.get(column).map_or("", String::as_str)
    }

    fn number(&self, column: &str) -> Option<f64> {
        self.get(column).parse().ok()
    }

    fn moment(&self, column: &str) -> Option<DateTime<Utc>> {
        NaiveDateTime::parse_from_str(self.get(column), "%Y-%m-%d %H:%M:%S").ok().map(|at| at.and_utc())
    }

    /// A column in seconds, as minutes.
    fn seconds(&self, column: &str) -> Option<f64> {
        self.number(column).map(|minutes| (minutes * 60.0).round())
    }

    fn classifications(&self) -> Vec<(i64, &'static str)> {
        let named = |name: &str| CLASSIFICATIONS.iter().copied().find(|(_, known)| *known == name);
        self.get("Classifications").split(SEPARATOR).filter_map(named).collect()
    }

    /// The agent's id.
    fn agent(&self) -> Option<i64> {
        let (first, last) = (self.get("Agent First Name"), self.get("Agent Last Name"));
        agents().find(|(_, agent)| agent.first == first && agent.last == last).map(|(id, _)| id)
    }
}

fn facts(data: &Reports, file: usize, span: Span) -> Vec<Fact> {
    let mut facts = Vec::new();
    // Every file has a name.
    let _ = data.walk(&names()[file][0], span, &mut |text| facts.push(Fact(fields(text).into_iter().collect())));
    facts
}

/// The response; `None` if the type needs a job.
pub(super) fn compute(data: &Reports, asked: &Asked) -> Option<Value> {
    let mentions = || facts(data, MENTIONS, asked.span());
    Some(match asked.kind {
        "summary" => summary(&mentions()),
        "states_volume" => states_volume(&mentions(), asked),
        "workflow_volume" => workflow(&mentions()),
        "classifications" => classifications(&mentions()),
        "response_volume" => response_volume(&mentions(), asked),
        "user_summary" => user_summary(&mentions()),
        "user_volume" => user_volume(&mentions()),
        "case_summary" => case_summary(&closed(data, asked)),
        "case_volume" => case_volume(&cases(data, asked), asked),
        "case_classifications" => case_classifications(&closed(data, asked)),
        "nps_summary" => nps(&submissions(data, asked)),
        "nps_volume" => nps_volume(&submissions(data, asked), asked),
        _ => return None,
    })
}

/// Average, minimum, maximum and median; empty without numbers.
fn spread(mut numbers: Vec<f64>) -> [Value; 4] {
    numbers.sort_by(f64::total_cmp);
    let Some((least, most)) = numbers.first().zip(numbers.last()) else { return [(); 4].map(|()| Value::Null) };
    #[expect(clippy::cast_precision_loss, reason = "as many as a window has messages")]
    let average = numbers.iter().sum::<f64>() / numbers.len() as f64;
    [json!(average), json!(least), json!(most), json!(numbers[numbers.len() / 2])]
}

fn in_minutes(seconds: &Value) -> Value {
    seconds.as_f64().map_or(Value::Null, |seconds| json!(seconds / 60.0))
}

fn count(facts: &[&Fact], holds: impl Fn(&Fact) -> bool) -> u64 {
    facts.iter().filter(|fact| holds(fact)).count() as u64
}

fn times(facts: &[&Fact], column: &str) -> [Value; 4] {
    spread(facts.iter().filter_map(|fact| fact.seconds(column)).collect())
}

fn responded(fact: &Fact) -> bool {
    !fact.get("Agent Response").is_empty()
}

fn summary(facts: &[Fact]) -> Value {
    let facts: Vec<&Fact> = facts.iter().collect();
    let broke = |column| count(&facts, |fact| responded(fact) && fact.get(column) == "false");
    let [average, least, most, median] = times(&facts, "Customer Wait Time (min)");
    let [agent_average, agent_least, agent_most, agent_median] = times(&facts, "Agent Response Time (min)");
    json!({
        "total_volume": facts.len(), "total_responded_to": count(&facts, responded),
        "broke_sla": broke("Within Customer SLA"),
        "broke_action_sla": broke("Within Agent SLA"),
        "min_response_time": least, "median_response_time": median, "max_response_time": most,
        "avg_response_time": average, "min_action_response_time": agent_least,
        "median_action_response_time": agent_median, "max_action_response_time": agent_most,
        "avg_action_response_time": agent_average, "avg_response_time_min": in_minutes(&average),
        "median_response_time_min": in_minutes(&median),
        "avg_action_response_time_min": in_minutes(&agent_average),
        "median_action_response_time_min": in_minutes(&agent_median),
    })
}

/// The label of the interval that contains a time, local to the requested offset.
fn label(at: DateTime<Utc>, asked: &Asked) -> String {
    let local = at.with_timezone(asked.from.offset());
    local.format(if asked.hourly() { "%Y-%m-%d %H:00" } else { "%Y-%m-%d 00:00" }).to_string()
}

fn states_volume(facts: &[Fact], asked: &Asked) -> Value {
    let mut counts: BTreeMap<(&str, String), u64> = BTreeMap::new();
    for fact in facts {
        if let Some(at) = fact.moment("Customer Publish Date (UTC)") {
            *counts.entry((fact.get("State"), label(at, asked))).or_default() += 1;
        }
    }
    let mut response: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for ((state, label), value) in counts {
        let element = json!({ "state": state, "value": value, "date_range": { "date_from": label } });
        response.entry(state).or_default().push(element);
    }
    json!(response)
}

fn response_volume(facts: &[Fact], asked: &Asked) -> Value {
    let mut waits: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for fact in facts {
        let wait = fact.seconds("Customer Wait Time (min)");
        if let Some((at, wait)) = fact.moment("Customer Publish Date (UTC)").zip(wait) {
            waits.entry(label(at, asked)).or_default().push(wait);
        }
    }
    let element = |(label, waits)| json!({ "value": spread(waits)[0], "date_range": { "date_from": label } });
    json!({ "avg_response_time": waits.into_iter().map(element).collect::<Vec<_>>() })
}

fn by_state(facts: &[Fact]) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::new();
    for fact in facts {
        *counts.entry(fact.get("State")).or_default() += 1;
    }
    counts
}

fn workflow(facts: &[Fact]) -> Value {
    let counts = by_state(facts).into_iter();
    counts.map(|(state, volume)| json!({ "state": state, "volume": volume })).collect()
}

fn classifications(facts: &[Fact]) -> Value {
    let mut counts: BTreeMap<(i64, &str, &str), u64> = BTreeMap::new();
    for fact in facts {
        for (id, name) in fact.classifications() {
            *counts.entry((id, name, fact.get("State"))).or_default() += 1;
            *counts.entry((id, name, "all_states")).or_default() += 1;
        }
    }
    let row = |((id, name, state), volume)| json!({ "classification_id": id, "classification": name, "state": state, "volume": volume });
    counts.into_iter().map(row).collect()
}

fn user_summary(facts: &[Fact]) -> Value {
    let of_agent = |(id, agent): (i64, &Agent)| {
        let own: Vec<&Fact> = facts.iter().filter(|fact| fact.agent() == Some(id)).collect();
        let (assigned, responded_to) = (own.len() as u64, count(&own, responded));
        let private = count(&own, |fact| responded(fact) && fact.get("Source Type") == "email");
        let broke = |column| count(&own, |fact| responded(fact) && fact.get(column) == "false");
        let (broke_sla, broke_action) = (broke("Within Customer SLA"), broke("Within Agent SLA"));
        let [average, least, most, _] = times(&own, "Customer Wait Time (min)");
        let [agent_average, agent_least, agent_most, _] = times(&own, "Agent Response Time (min)");
        #[expect(clippy::cast_precision_loss, reason = "as many as a window has messages")]
        let fraction = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        (assigned > 0).then(|| {
            json!({
                "user_id": id.to_string(), "first_name": agent.first, "last_name": agent.last, "mentions_assigned": assigned,
                "responded_to": responded_to, "responded_to_in_private": private, "total_responded_to": responded_to,
                "broke_sla": broke_sla, "broke_action_sla": broke_action, "avg_response_time": average,
                "min_response_time": least, "max_response_time": most, "avg_action_response_time": agent_average,
                "min_action_response_time": agent_least, "max_action_response_time": agent_most,
                "avg_response_time_min": in_minutes(&average),
                "avg_action_response_time_min": in_minutes(&agent_average),
                "fraction_responded_to": fraction(responded_to, assigned),
                "fraction_responded_to_in_private": fraction(private, responded_to),
                "fraction_broke_sla": fraction(broke_sla, responded_to),
                "fraction_broke_action_sla": fraction(broke_action, responded_to),
            })
        })
    };
    agents().filter_map(of_agent).collect()
}

fn user_volume(facts: &[Fact]) -> Value {
    let of_agent = |(id, agent): (i64, &Agent)| {
        let mut counts: BTreeMap<&str, u64> = STATES.iter().map(|&state| (state, 0)).collect();
        for fact in facts.iter().filter(|fact| fact.agent() == Some(id)) {
            *counts.entry(fact.get("State")).or_default() += 1;
        }
        let all = counts.values().sum();
        let closed = counts.iter().filter(|(state, _)| CLOSED.contains(state)).map(|(_, count)| count).sum();
        counts.extend([("all_states", all), ("all_closed_states", closed)]);
        json!({ "user_id": id, "first_name": agent.first, "last_name": agent.last, "states": counts })
    };
    agents().map(of_agent).collect()
}

/// Cases that were open at some time in the range.
fn cases(data: &Reports, asked: &Asked) -> Vec<Fact> {
    let span = asked.span();
    let from = span.from - i64::try_from(CASE_SECS_MAX).unwrap_or_default() * TICKS_PER_SECOND;
    let cases = facts(data, CASES, Span { from, ..span });
    cases.into_iter().filter(|case| case.moment("Closed (UTC)").is_none_or(|end| end >= asked.from)).collect()
}

/// Cases that were closed in the range.
fn closed(data: &Reports, asked: &Asked) -> Vec<Fact> {
    let in_range = |case: &Fact| case.moment("Closed (UTC)").is_some_and(|end| end <= asked.to);
    cases(data, asked).into_iter().filter(in_range).collect()
}

fn case_summary(cases: &[Fact]) -> Value {
    let of = |column: &str| spread(cases.iter().filter_map(|case| case.number(column)).collect());
    let [reply, _, _, median_reply] = of("First Reply Time (sec)");
    let [resolution, _, _, median_resolution] = of("Resolution Time (sec)");
    json!({
        "total_cases": cases.len(), "first_reply_time": reply, "resolution_time": resolution,
        "median_first_reply_time": median_reply, "median_resolution_time": median_resolution,
        "agent_interactions": of("Interactions")[0], "agents_involved": of("Agents")[0],
    })
}

/// A level: a case that spans several intervals counts in each.
fn case_volume(cases: &[Fact], asked: &Asked) -> Value {
    let step = if asked.hourly() { TimeDelta::hours(1) } else { TimeDelta::days(1) };
    let mut open = Vec::new();
    let mut start = floor(asked.from, step);
    while start <= asked.to {
        let active = |case: &&Fact| {
            case.moment("Opened (UTC)").is_some_and(|opened| opened < start + step)
                && case.moment("Closed (UTC)").is_none_or(|closed| closed >= start)
        };
        let label = label(start.with_timezone(&Utc), asked);
        open.push(json!({ "value": cases.iter().filter(active).count(), "date_range": { "date_from": label } }));
        start += step;
    }
    json!({ "open": open })
}

/// The start of the local day or hour that contains a time.
fn floor(at: DateTime<FixedOffset>, step: TimeDelta) -> DateTime<FixedOffset> {
    let into = at.naive_local().and_utc().timestamp().rem_euclid(step.num_seconds());
    at - TimeDelta::seconds(into)
}

fn case_classifications(cases: &[Fact]) -> Value {
    let mut counts: BTreeMap<(i64, &str), u64> = BTreeMap::new();
    for case in cases {
        for classification in case.classifications() {
            *counts.entry(classification).or_default() += 1;
        }
    }
    let row = |((id, name), volume)| json!({ "classification_id": id, "classification": name, "volume": volume });
    counts.into_iter().map(row).collect()
}

/// Whether a submission belongs to the form and category.
pub(super) fn submitted(form: Option<i64>, category: &str, form_id: &str, score: &str) -> bool {
    let score: u64 = score.parse().unwrap_or(0);
    let category_of = match score {
        9.. => "promoters",
        7..=8 => "passives",
        _ => "detractors",
    };
    form_id.parse().ok() == form && (category == "all" || category == category_of)
}

fn submissions(data: &Reports, asked: &Asked) -> Vec<Fact> {
    let own = |fact: &Fact| submitted(asked.form, &asked.category, fact.get("Form ID"), fact.get("Score"));
    facts(data, SUBMISSIONS, asked.span()).into_iter().filter(own).collect()
}

fn nps(submissions: &[Fact]) -> Value {
    let scores = || submissions.iter().filter_map(|fact| fact.number("Score"));
    let (received, promoters) = (scores().count(), scores().filter(|score| *score >= 9.0).count());
    let detractors = scores().filter(|score| *score < 7.0).count();
    #[expect(clippy::cast_precision_loss, reason = "at most as many as a window has responses")]
    let score = if received == 0 { 0.0 } else { (promoters as f64 - detractors as f64) / received as f64 * 100.0 };
    json!({
        "total_sent": received * 3, "total_received": received, "total_promoters": promoters,
        "total_passives": received - promoters - detractors, "total_detractors": detractors, "nps_score": score,
    })
}

/// Buckets at local midnight of the offset. The first one is a day later than requested (`§5.12`); days without
/// responses are included.
fn nps_volume(submissions: &[Fact], asked: &Asked) -> Value {
    let day = TimeDelta::days(1);
    let mut buckets: BTreeMap<i64, Vec<Fact>> = BTreeMap::new();
    let mut start = floor(asked.from, day) + day;
    while start <= asked.to {
        buckets.insert(start.timestamp(), Vec::new());
        start += day;
    }
    for fact in submissions {
        let Some(at) = fact.moment("Submitted At (UTC)") else { continue };
        let bucket = floor(at.with_timezone(asked.from.offset()), day).timestamp();
        if let Some(bucket) = buckets.get_mut(&bucket) {
            bucket.push(Fact(fact.0.clone()));
        }
    }
    let row = |(timestamp, facts): (i64, Vec<Fact>)| {
        let date = DateTime::from_timestamp(timestamp, 0).unwrap_or_default().format("%Y-%m-%dT%H:%M:%S+00:00");
        json!({ "date": date.to_string(), "timestamp": timestamp, "data": nps(&facts) })
    };
    buckets.into_iter().map(row).collect::<Vec<Value>>().into()
}
