//! A problem in a sentence, and its link.

use chrono::{DateTime, Utc};
use url::Url;

use crate::store::activity::{Action, FinishedRun};
use crate::store::problem::Problem;
use crate::text;

/// The subject of the sentence: `acme-lynn/survey_result`, `12 streams of acme-lynn`, a job, a target or Tidegate.
pub(super) fn subject(problem: &Problem) -> String {
    match (&problem.connection, &problem.stream) {
        (Some(connection), None) if problem.streams > 1 => format!("{} streams of {connection}", problem.streams),
        _ if problem.scope == "system" => "Tidegate".to_owned(),
        _ => problem.scope.clone(),
    }
}

/// The verb of the sentence: `fails`, `is late`.
pub(super) fn verb(problem: &Problem) -> &'static str {
    let several = problem.connection.is_some() && problem.stream.is_none() && problem.streams > 1;
    match (problem.kind.as_str(), several) {
        ("failed", false) => "fails",
        ("failed", true) => "fail",
        ("held", false) => "has rows that were not deleted",
        ("held", true) => "have rows that were not deleted",
        ("late", false) => "is late",
        ("late", true) => "are late",
        ("gap", false) => "has a gap",
        ("gap", true) => "have gaps",
        ("quota_refused", _) => "was refused by the vendor",
        ("rejects", false) => "has rejected records",
        ("rejects", true) => "have rejected records",
        ("schema", _) if problem.stream.is_some() => "lacks columns",
        ("schema", _) => "has new columns",
        ("config_refused", _) => "refused a configuration",
        ("push_unknown", _) => "has batches without a response",
        ("notify_stuck", _) => "does not accept messages",
        ("stalled", _) => "does not do all its work",
        _ => "has a problem",
    }
}

/// A time for people, in UTC.
pub(super) fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// The problem on one line, without what a terminal or a chat would interpret as a line end.
pub(super) fn sentence(problem: &Problem) -> String {
    let since = moment(problem.since);
    let (subject, verb, summary) = (subject(problem), verb(problem), &problem.summary);
    let sentence = if let Some(closed_at) = problem.closed_at {
        format!("{subject}: over since {} (it began {since}): {summary}", moment(closed_at))
    } else {
        let begin = format!("{subject} {verb} since {since}: ");
        match &problem.hint {
            Some(hint) => format!("{begin}{} To do: {hint}", text::ended(summary)),
            None => begin + summary,
        }
    };
    text::plain(&sentence)
}

/// The page about the problem, if people can reach one.
pub(super) fn link(base: Option<&Url>, problem: &Problem) -> Option<String> {
    let base = base?;
    Some(match (&problem.connection, &problem.stream) {
        (Some(connection), Some(stream)) => page(base, &["streams", connection, stream]),
        (Some(connection), None) => page(base, &["connections", connection]),
        _ => overview(base),
    })
}

/// The page of a run, if people can reach one.
pub(super) fn link_to_run(base: Option<&Url>, run: i64) -> Option<String> {
    Some(page(base?, &["runs", &run.to_string()]))
}

/// A run that finished, on one line.
pub(super) fn of_run(run: &FinishedRun) -> String {
    let FinishedRun { id, job, state, finished_at, error, .. } = run;
    let error = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    text::plain(&format!("run {id} of {job} {} at {}{error}", words_of_state(state), moment(*finished_at)))
}

fn words_of_state(state: &str) -> &str {
    match state {
        "held" => "has rows that were not deleted, and ended",
        "cancelled" => "was cancelled",
        state => state,
    }
}

/// An action of an operator, on one line.
pub(super) fn of_action(action: &Action) -> String {
    let actor = action.actor.as_deref().unwrap_or("Tidegate");
    text::plain(&format!("{actor}, {}: {}", moment(action.at), action.summary))
}

/// The overview.
pub(super) fn overview(base: &Url) -> String {
    page(base, &[""])
}

fn page(base: &Url, path: &[&str]) -> String {
    let mut url = base.clone();
    // Any URL with a host has a path; the configuration was checked for that.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url.into()
}

#[cfg(test)]
pub(super) fn example() -> Problem {
    Problem {
        id: 881,
        kind: "failed".to_owned(),
        scope: "acme-lynn/survey_result".to_owned(),
        connection: Some("acme-lynn".to_owned()),
        stream: Some("survey_result".to_owned()),
        table: Some("lynn.survey_result".to_owned()),
        job: Some("lynn-hourly".to_owned()),
        run_id: Some(9001),
        streams: 1,
        since: "2026-11-29T03:15:00Z".parse().unwrap(),
        closed_at: None,
        merged_into: None,
        complete_until: Some("2026-11-28T03:15:00Z".parse().unwrap()),
        summary: "the vendor responded with status 401".to_owned(),
        hint: Some("renew the token".to_owned()),
        is_known: false,
        is_muted: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_says_what_since_when_why_and_what_to_do() {
        let mut problem = example();
        assert_eq!(
            sentence(&problem),
            "acme-lynn/survey_result fails since 2026-11-29 03:15 UTC: the vendor responded with status 401. To do: renew \
             the token"
        );
        problem.summary = "write names that look like this.".to_owned();
        assert!(sentence(&problem).ends_with(" look like this. To do: renew the token"), "{}", sentence(&problem));
        problem.summary = example().summary;
        (problem.stream, problem.streams, problem.scope) = (None, 12, "acme-lynn".to_owned());
        assert!(sentence(&problem).starts_with("12 streams of acme-lynn fail since "));
        problem.closed_at = Some("2026-11-29T04:00:00Z".parse().unwrap());
        assert_eq!(
            sentence(&problem),
            "12 streams of acme-lynn: over since 2026-11-29 04:00 UTC (it began 2026-11-29 03:15 UTC): the vendor \
             responded with status 401"
        );
    }

    #[test]
    fn a_link_keeps_the_prefix_and_escapes_names() {
        let base = Url::parse("https://ops.example/tidegate").unwrap();
        let mut problem = example();
        let of = |problem: &Problem| link(Some(&base), problem).unwrap();
        assert_eq!(of(&problem), "https://ops.example/tidegate/streams/acme-lynn/survey_result");
        problem.stream = Some("a/b?c|d>".to_owned());
        assert_eq!(of(&problem), "https://ops.example/tidegate/streams/acme-lynn/a%2Fb%3Fc|d%3E");
        problem.stream = None;
        assert_eq!(of(&problem), "https://ops.example/tidegate/connections/acme-lynn");
        problem.connection = None;
        assert_eq!(of(&problem), "https://ops.example/tidegate/");
        assert_eq!(link(None, &problem), None);
    }
}
