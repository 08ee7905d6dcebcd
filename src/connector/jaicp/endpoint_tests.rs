//! The connector is read-only by construction: the table lists every call.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::config::BySession;
use super::super::interval::Interval;
use super::*;
use crate::connector::export::Polling;

pub(in super::super) fn settings(api: Api) -> Settings {
    Settings {
        polling: Polling::default(),
        token: "ab12cd34:0f/9 é".into(),
        api,
        project: Some("bot-1".to_owned()),
        page_size: 100,
        message_status: false,
        by_session_method: BySession::Auto,
        language: "en".to_owned(),
        timezone_offset: None,
        filters: BTreeMap::new(),
        stats_interval: Interval::Day,
        csv: crate::connector::CsvForm::default(),
    }
}

fn base() -> Url {
    "https://app.jaicp.com/api".parse().unwrap()
}

/// The documented calls that read (`facts/jaicp.md §3-§10`). A line that is added must be such a call.
const TABLE: &str = "\
Filters Get filters | reporter/filters
Sessions Post sessions/filter | reporter/sessions/filter
Messages Post messages/filter | reporter/messages/filter
BySession Get messages/by-session | reporter/messages/by-session
BySessionPosted Post messages/by-session | reporter/messages/by-session
Clients Post clients/filter | reporter/clients/filter
MessageLabels Get message/labels | reporter/message/labels
MessageLabelGroups Get message/labels/groups | -
SessionLabels Get logs/labels/sessions | -
Experiments Get scenario-exeperiments | reporter/scenario-exeperiments
ExperimentsSpelledRight Get scenario-experiments | reporter/scenario-experiments
ExperimentCounts Get scenario-exeperiments/count-sessions | reporter/scenario-exeperiments/count-sessions
ExperimentCountsSpelledRight Get scenario-experiments/count-sessions | reporter/scenario-experiments/count-sessions
SessionsCount Get projects/sessions/count | reporter/projects/sessions/count
UniqueClients Get stats/unique-clients | reporter/stats/unique-clients
MessageStats Post stats/messages/with-advanced-filters | reporter/stats/messages/with-advanced-filters
SessionStats Post stats/sessions/with-advanced-filters | reporter/stats/sessions/with-advanced-filters
SwitchedSessions Get stats/switched-sessions | reporter/stats/switched-sessions
SessionLabelStats Post stats/session-labels | reporter/stats/session-labels
MessageLabelStats Post stats/log-labels | reporter/stats/log-labels
Telephony Get stats/telephony | reporter/stats/telephony
SessionsReport Post reports/sessions | async/reporter/reports/sessions
MessagesReport Post reports/messages | async/reporter/reports/messages
ClientsReport Post reports/clients | async/reporter/reports/clients
TelephonyReport Post reports/telephony | async/reporter/reports/telephony
Task Get reports/tasks | reporter/reports/tasks
Tasks Get reports | reporter/reports
Events Get - | async/events
";

#[test]
fn only_documented_reads_can_be_sent() {
    let mut table = String::new();
    for endpoint in Endpoint::ALL {
        let (verb, legacy, v1) = endpoint.route();
        let (legacy, v1) = (legacy.unwrap_or("-"), v1.unwrap_or("-"));
        writeln!(table, "{endpoint:?} {verb:?} {legacy} | {v1}").unwrap();
    }
    assert_eq!(table, TABLE);
    for endpoint in Endpoint::ALL {
        for api in [Api::Legacy, Api::V1] {
            let Ok(call) = call(&base(), &settings(api), &Request::new(*endpoint)) else { continue };
            assert!(matches!(call.method, Method::GET | Method::POST), "{endpoint:?}");
            let path = call.url.path();
            for write in [
                "block",
                "join",
                "stop",
                "bulk",
                "by-list",
                "priority",
                "logs?",
                "comments",
                "reports/all",
                "user-filter",
            ] {
                assert!(!path.contains(write), "{path}");
            }
            assert!(!(call.method == Method::POST && path.ends_with("/reports")), "{path}");
        }
    }
}

#[test]
fn no_other_module_of_this_vendor_builds_a_call_or_uses_another_verb() {
    let sources = [
        ("mod.rs", include_str!("mod.rs")),
        ("wire.rs", include_str!("wire.rs")),
        ("entities.rs", include_str!("entities.rs")),
        ("interval.rs", include_str!("interval.rs")),
        ("lists.rs", include_str!("lists.rs")),
        ("paging.rs", include_str!("paging.rs")),
        ("record.rs", include_str!("record.rs")),
        ("reports.rs", include_str!("reports.rs")),
        ("config.rs", include_str!("config.rs")),
        ("stats.rs", include_str!("stats.rs")),
        ("status.rs", include_str!("status.rs")),
        ("tasks.rs", include_str!("tasks.rs")),
        ("times.rs", include_str!("times.rs")),
    ];
    for (name, source) in sources {
        for word in ["Method::", "Call::", "Call {", "reqwest", "path_segments_mut", "set_path"] {
            assert!(!source.contains(word), "{name} has {word}");
        }
    }
    for verb in ["DELETE", "PUT", "PATCH"] {
        assert!(!include_str!("endpoint.rs").contains(verb), "{verb}");
    }
}

#[test]
fn the_token_is_one_segment_of_the_path_or_a_header_and_never_both() {
    let ask = Request::new(Endpoint::Task).query("page", "0");
    let ask = Request { id: Some("../t 1?x".to_owned()), ..ask };
    let legacy = call(&base(), &settings(Api::Legacy), &ask).unwrap();
    assert_eq!(
        legacy.url.as_str(),
        "https://app.jaicp.com/api/reporter/p/ab12cd34:0f%2F9%20%C3%A9/reports/tasks/..%2Ft%201%3Fx?page=0"
    );
    assert!(legacy.authorization.is_none());
    let v1 = call(&base(), &settings(Api::V1), &Request::new(Endpoint::Experiments)).unwrap();
    assert_eq!(v1.url.as_str(), "https://app.jaicp.com/api/v1/reporter/scenario-exeperiments?projectShortName=bot-1");
    let (scheme, token) = v1.authorization.unwrap();
    assert_eq!((scheme.as_str(), token.expose()), ("Bearer", "ab12cd34:0f/9 é"));
    let bare: Url = "https://host".parse().unwrap();
    let literal = call(&bare, &settings(Api::Legacy), &Request::new(Endpoint::Tasks)).unwrap();
    assert!(literal.url.path().starts_with("/reporter/p/ab12cd34:0f%2F9"), "{}", literal.url);
}

#[test]
fn v1_names_the_project_only_where_it_is_declared() {
    let named = |endpoint: &&Endpoint| {
        let call = call(&base(), &settings(Api::V1), &Request::new(**endpoint));
        call.is_ok_and(|call| call.url.query().is_some_and(|query| query.contains("projectShortName=bot-1")))
    };
    let without: Vec<&Endpoint> = Endpoint::ALL.iter().filter(|endpoint| !named(endpoint)).collect();
    let labels = [&Endpoint::MessageLabels, &Endpoint::MessageLabelGroups, &Endpoint::SessionLabels];
    let account = [&Endpoint::SessionsCount, &Endpoint::Task, &Endpoint::Tasks, &Endpoint::Events];
    assert_eq!(without, [&[&Endpoint::Filters][..], &labels, &account].concat());
    let legacy = call(&base(), &settings(Api::Legacy), &Request::new(Endpoint::Sessions)).unwrap();
    assert_eq!(legacy.url.query(), None);
}

#[test]
fn headers_are_sent_where_they_are_documented() {
    let with = Settings { timezone_offset: Some(-180), ..settings(Api::Legacy) };
    let headers = |endpoint| {
        let call = call(&base(), &with, &Request::new(endpoint)).unwrap();
        call.headers.into_iter().map(|(name, value)| format!("{name}={}", value.expose())).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(headers(Endpoint::Sessions), "");
    assert_eq!(headers(Endpoint::Filters), "language=en");
    assert_eq!(headers(Endpoint::MessageStats), "Timezone=-180");
    assert_eq!(headers(Endpoint::ClientsReport), "language=en Timezone=-180");
    assert!(call(&base(), &settings(Api::Legacy), &Request::new(Endpoint::SessionStats)).unwrap().headers.is_empty());
}

#[test]
fn a_call_that_a_generation_does_not_have_is_refused_with_the_remedy() {
    for endpoint in [Endpoint::MessageLabelGroups, Endpoint::SessionLabels] {
        let refused = call(&base(), &settings(Api::V1), &Request::new(endpoint)).err().unwrap();
        assert!(matches!(&refused, StepError::Refused { hint, .. } if hint.contains("api: legacy")), "{refused:?}");
    }
}
