//! JAICP Reporter: the sample, and wrong settings with their exact messages (promise 9).

use super::*;
use crate::connector::jaicp::{Api, BySession, Interval, Settings};

const JAICP: &str = "\
connections:
  acme:
    vendor: jaicp_reporter
    token: ab12cd34:hunter2
jobs:
  hourly:
    connection: acme
    streams: \"*\"
    start: 2026-01-01
";

/// Adds the default token unless `lines` contain another.
fn with(lines: &str) -> Result<Config, Faults> {
    let text =
        if lines.contains("token:") { JAICP.replace("    token: ab12cd34:hunter2\n", "") } else { JAICP.to_owned() };
    load_texts(&[("tidegate.yaml", &text.replace("jobs:\n", &format!("{lines}jobs:\n")))], &BTreeMap::new())
}

fn settings(config: &Config) -> &Settings {
    config.connections["acme"].settings.downcast().unwrap()
}

fn renamed(mut config: Config) -> Config {
    let connection = config.connections.remove("acme-jaicp").unwrap();
    config.connections.insert("acme".to_owned(), connection);
    config
}

#[test]
fn p9_the_commented_sample_is_the_defaults() {
    let text = include_str!("../../../config/jobs/jaicp.yaml");
    let sample = load_texts(&[("jaicp.yaml", text)], &env(&[("JAICP_TOKEN", "ab12cd34:hunter2")])).unwrap();
    let minimal = with("").unwrap();
    let shown = |config: &Config, name: &str| format!("{:#?}", config.connections[name]).replace(name, "acme");
    assert_eq!(shown(&sample, "acme-jaicp"), shown(&minimal, "acme"));
    let named: usize = sample.jobs.values().map(|job| job.streams.len()).sum();
    assert_eq!(named, minimal.jobs["hourly"].streams.len(), "every stream that is on by default");
    let keys = connection_keys("jaicp_reporter", &["polling", "csv"]);
    for key in &keys {
        assert!(text.contains(&format!("{key}:")), "{key}");
    }
    // The sample's commented lines state the defaults, and they are valid.
    let written: String = text
        .lines()
        .map(|line| match line.strip_prefix("    # ") {
            Some(setting) if setting.split(": ").next().is_some_and(|key| keys.iter().any(|known| known == key)) => {
                format!("    {setting}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let written = load_texts(&[("jaicp.yaml", &written)], &env(&[("JAICP_TOKEN", "ab12cd34:hunter2")])).unwrap();
    let (written, minimal) = (&settings(&renamed(written)).clone(), settings(&minimal).clone());
    assert_eq!((written.project.as_deref(), written.timezone_offset), (Some("my_bot-1000-abc"), Some(0)));
    let same = Settings { project: None, timezone_offset: None, ..written.clone() };
    assert_eq!(format!("{same:?}"), format!("{minimal:?}"));
}

#[test]
fn every_setting_is_read() {
    let config = with(
        "    api: v1
    project: my_bot-1000-abc
    page_size: 500
    message_status: true
    by_session_method: post
    language: ru
    timezone_offset: -180
    polling: { initial: 1s, max: 2s, deadline: 3h }
    stats_interval: month
    filters:
      sessions:
        - { key: CHANNEL_TYPE, type: CHECKBOX, options: [telegram, \"17\"], comparisonType: CONTAINS }
        - { key: MESSAGE_COUNT, type: NUMERIC_RANGE, from: 20, to: 50.5 }
      report_messages:
        - { key: MESSAGE_TEXT, type: TEXT, values: [true], comparisonType: EQUALS, isCaseSensitive: false }
        - { key: SESSION_START_TIME, type: DATE_TIME_RANGE, from: 2026-01-01T00:00:00.000Z }
        - key: SESSION_DATA
          type: COMPOSITE_FILTER
          options: [{ key: a, value: 1, caseSensitive: true, comparisonOption: EQUALS }]
",
    )
    .unwrap();
    let settings = settings(&config);
    assert_eq!((settings.api, settings.project.as_deref()), (Api::V1, Some("my_bot-1000-abc")));
    assert_eq!((settings.page_size, settings.message_status), (500, true));
    assert_eq!((settings.by_session_method, settings.timezone_offset), (BySession::Post, Some(-180)));
    assert_eq!((settings.language.as_str(), settings.polling.max), ("ru", Duration::from_secs(2)));
    let filters = serde_json::json!({
        "sessions": [
            { "key": "CHANNEL_TYPE", "type": "CHECKBOX", "options": ["telegram", "17"], "comparisonType": "CONTAINS" },
            { "key": "MESSAGE_COUNT", "type": "NUMERIC_RANGE", "from": 20, "to": 50.5 },
        ],
        "report_messages": [
            { "key": "MESSAGE_TEXT", "type": "TEXT", "values": ["true"], "comparisonType": "EQUALS", "isCaseSensitive": false },
            { "key": "SESSION_START_TIME", "type": "DATE_TIME_RANGE", "from": "2026-01-01T00:00:00.000Z" },
            { "key": "SESSION_DATA", "type": "COMPOSITE_FILTER",
                "options": [{ "key": "a", "value": "1", "caseSensitive": true, "comparisonOption": "EQUALS" }] },
        ],
    });
    assert_eq!(serde_json::json!(settings.filters), filters);
    assert_eq!(settings.stats_interval, Interval::Month);
    let lookback =
        |name: &str| config.jobs["hourly"].streams.iter().find(|entry| entry.stream.name == name).unwrap().lookback;
    assert_eq!(lookback("stats_series"), Duration::from_hours(38 * 24), "until a month and a week are over");
    assert_eq!(
        (lookback("sessions"), lookback("telephony_daily")),
        (Duration::from_hours(24), Duration::from_hours(24))
    );
    assert_eq!(config.connections["acme"].base_url.as_str(), "https://app.jaicp.com/api");
    let names: Vec<&str> = config.jobs["hourly"].streams.iter().map(|entry| &*entry.stream.name).collect();
    assert!(!names.contains(&"session_labels") && !names.contains(&"message_label_groups"), "not in v1: {names:?}");
    assert!(names.contains(&"message_labels") && !names.contains(&"report_sessions"), "{names:?}");
}

#[test]
fn p9_wrong_jaicp_settings_are_refused_with_what_to_write() {
    let mut all = String::new();
    for (title, lines) in [
        ("no token", "    token:\n"),
        ("an empty token", "    token: \"\"\n"),
        ("a URL for a token", "    token: https://app.jaicp.com/api/reporter/p/ab12:hunter2\n"),
        ("a token and a space", "    token: \"ab12:hunter2 \"\n"),
        ("v1 without a project", "    api: v1\n"),
        ("an unknown generation", "    api: v2\n    project: a\n"),
        ("an invalid project", "    project: my bot\n"),
        ("pages without rows", "    page_size: 0\n"),
        ("pages that are too large", "    page_size: 5000\n"),
        ("an unknown verb", "    by_session_method: PUT\n"),
        ("an invalid language", "    language: \"en\\r\\nX: y\"\n"),
        ("a zone by name", "    timezone_offset: Europe/Berlin\n"),
        ("a key of another vendor", "    company_key: x\n"),
        ("an unknown interval", "    stats_interval: MINUTE\n"),
        ("filters of no stream", "    filters: { sesions: [{ key: BOT_ID, type: CHECKBOX, options: [a] }] }\n"),
        ("filters of a stream without any", "    filters: { telephony_daily: [{ key: BOT_ID, type: CHECKBOX }] }\n"),
        (
            "filters without key or type",
            "    filters: { clients: [{ type: CHECKBOX }, { key: BOT_ID }, { key: [a], type: \"\" }, ] }\n",
        ),
        ("an invalid filter", "    filters: { clients: [BOT_ID] }\n"),
        ("filters that are not a list", "    filters: { clients: { key: BOT_ID, type: CHECKBOX } }\n"),
        (
            "a date filter that Tidegate sets itself",
            "    filters: { messages: [{ key: MESSAGE_TIME, type: DATE_TIME_RANGE, from: x }] }\n",
        ),
        (
            "a date filter of a statistic",
            "    filters: { stats_series: [{ key: session_start_time, type: DATE_TIME_RANGE }] }\n",
        ),
        (
            "filters and statuses",
            "    message_status: true\n    filters: { messages: [{ key: BOT_ID, type: CHECKBOX, options: [a] }] }\n",
        ),
    ] {
        let faults = with(lines).unwrap_err().to_string();
        assert!(!faults.contains("hunter2"), "{faults}");
        let _ = writeln!(all, "## {title}\n{faults}\n");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn p9_a_list_that_v1_does_not_have_is_refused() {
    let lines = "    api: v1\n    project: my_bot\n";
    let text = JAICP.replace("jobs:\n", &format!("{lines}jobs:\n")).replace("\"*\"", "[session_labels]");
    let faults = load_texts(&[("tidegate.yaml", &text)], &BTreeMap::new()).unwrap_err().to_string();
    let remedy = "`session_labels` is not offered by `api: v1`; leave it out, or use `api: legacy`";
    assert!(faults.contains(remedy), "{faults}");
}
