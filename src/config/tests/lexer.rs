//! A Lexer Activity connection: its sample, its defaults, and refused settings (promise 9).

use chrono::{DateTime, Utc};

use super::*;
use crate::connector::UtcOffset;
use crate::connector::lexer::{Intervals, Settings};

const MINIMAL: &str = "\
connections:
  acme-lexer:
    vendor: lexer_activity
    api_token: ${LEXER_API_TOKEN}
jobs:
  lexer-hourly:
    connection: acme-lexer
    streams: \"*\"
    start: 2026-01-01
";
const SAMPLE: &str = include_str!("../../../config/jobs/lexer.yaml");

fn token() -> BTreeMap<String, String> {
    env(&[("LEXER_API_TOKEN", "0b7f3a52-hunter2")])
}

fn load(text: &str) -> Result<Config, Faults> {
    load_texts(&[("lexer.yaml", text)], &token())
}

/// A configuration with additional keys of the connection.
fn with(keys: &str) -> Result<Config, Faults> {
    load(&MINIMAL.replace("jobs:", &format!("    {keys}\njobs:")))
}

fn connection(config: &Config) -> String {
    format!("{:#?}", config.connections["acme-lexer"])
}

#[test]
fn p9_the_sample_is_the_defaults_and_names_every_key() {
    let minimal = load(MINIMAL).unwrap();
    assert_eq!(connection(&load(SAMPLE).unwrap()), connection(&minimal));
    let uncommented: String = SAMPLE
        .lines()
        .map(|line| {
            let body = line.strip_prefix("    # ").filter(|text| {
                let key = text.trim_start().split(':').next().unwrap_or_default();
                text.contains(':') && !key.contains(' ') && !key.contains(char::is_uppercase)
            });
            body.map_or_else(|| line.to_owned(), |text| format!("    {text}")) + "\n"
        })
        .collect();
    assert!(uncommented.contains("\n    utc_offset: "), "{uncommented}");
    assert_eq!(connection(&load(&uncommented).unwrap()), connection(&minimal));
    for key in connection_keys("lexer_activity", &["retry", "polling", "csv"]) {
        assert!(SAMPLE.contains(&format!("{key}:")), "{key}");
    }
}

#[test]
fn its_settings_are_read() {
    let keys = [
        "forms: [502, 503]",
        "nps_category: promoters",
        "utc_offset: -03:30",
        "status_base_url: https://hub.lexer.io/",
        "parameters: {users: [41, x], flag: true}",
        "workflow_states_type: workflow",
        "response_volume_unit: seconds",
    ];
    let config = with(&keys.join("\n    ")).unwrap();
    let settings: &Settings = config.connections["acme-lexer"].settings.downcast().unwrap();
    assert_eq!((&settings.forms[..], settings.nps_category.as_str()), (&[502, 503][..], "promoters"));
    assert_eq!(settings.utc_offset.at(Utc::now()).local_minus_utc(), -12_600);
    assert_eq!(settings.status_base_url.as_str(), "https://hub.lexer.io/");
    assert_eq!(settings.parameters["users"], serde_json::json!([41, "x"]));
    assert_eq!(settings.parameters["flag"], true);
    let streams: Vec<_> = config.jobs["lexer-hourly"].streams.iter().map(|entry| &*entry.stream.name).collect();
    assert!(streams.len() == 17 && !streams.contains(&"workflow_states"), "{streams:?}");
}

#[test]
fn p9_what_is_wrong_is_refused_with_its_remedy() {
    let cases = [
        "api_tokn: x",
        "status_base_url: clients.lexer.io",
        "status_base_url: https://user:hunter2@clients.lexer.io",
        "forms: [abc]",
        "forms: [502, 502]",
        "forms: 502",
        "nps_category: \"all of them\"",
        "utc_offset: Australia/Sidney",
        "utc_offset: +11",
        "intervals: week",
        "parameters: {date_from: 2026-01-01}",
        "parameters: [users]",
        "workflow_states_type: \"\"",
        "response_volume_unit: hours",
        "quotas: {bursts: {limit: 5}}",
        "polling: {initial: 2m, max: 1m}",
    ];
    let mut said = String::new();
    for case in cases {
        let faults = with(case).unwrap_err().to_string();
        assert!(!faults.contains("hunter2"), "{faults}");
        writeln!(said, "{case}\n    {}", faults.trim()).unwrap();
    }
    let no_token = load(&MINIMAL.replace("    api_token: ${LEXER_API_TOKEN}\n", "")).unwrap_err();
    writeln!(said, "no token\n    {}", no_token.to_string().trim()).unwrap();
    let slice = |stream: &str, slice: &str| {
        let text = MINIMAL.replace("\"*\"", &format!("[{{ name: {stream}, slice: {slice} }}]"));
        load(&text).unwrap_err().to_string().trim().to_owned()
    };
    writeln!(said, "slices\n    {}\n    {}", slice("summary", "366d"), slice("case_details", "32d")).unwrap();
    let hours = MINIMAL.replace("jobs:", "    intervals: hour\njobs:") + "    slice: 7d\n";
    writeln!(said, "hours\n    {}", load(&hours).unwrap_err().to_string().trim()).unwrap();
    insta::assert_snapshot!(said);
}

#[test]
fn with_hourly_data_a_slice_is_a_day_by_default() {
    let config = with("intervals: hour\n    utc_offset: Europe/Berlin").unwrap();
    let settings: &Settings = config.connections["acme-lexer"].settings.downcast().unwrap();
    assert_eq!(
        (settings.intervals, settings.utc_offset),
        (Intervals::Hour, UtcOffset::Zone(chrono_tz::Europe::Berlin))
    );
    let slice = |config: &Config, name: &str| {
        config.jobs["lexer-hourly"].streams.iter().find(|entry| entry.stream.name == name).unwrap().slice
    };
    for name in ["states_volume", "response_volume", "case_volume"] {
        assert_eq!(slice(&config, name), SliceLength::Days(1), "{name}");
        assert_eq!(slice(&load(MINIMAL).unwrap(), name), SliceLength::Days(7), "{name}");
    }
    assert_eq!(slice(&config, "nps_volume"), SliceLength::Days(7), "days only");
    let three = MINIMAL.replace("jobs:", "    intervals: hour\njobs:") + "    slice: 3d\n";
    assert_eq!(slice(&load(&three).unwrap(), "states_volume"), SliceLength::Days(3));
}

#[test]
fn days_of_a_job_that_differ_from_those_of_the_offset_cause_a_warning() {
    let now: DateTime<Utc> = "2026-03-01T00:00:00Z".parse().unwrap();
    let warnings = |offset: &str, zone: &str, streams: &str| {
        let text = MINIMAL.replace("jobs:", &format!("    utc_offset: \"{offset}\"\njobs:"));
        let text = text.replace("\"*\"", streams) + &format!("    timezone: {zone}\n");
        load(&text).unwrap().warnings(now)
    };
    for (offset, zone) in [
        ("+00:00", "UTC"),
        ("Europe/Berlin", "Europe/Berlin"),
        ("Europe/Paris", "Europe/Berlin"),
        ("+05:30", "Asia/Kolkata"),
    ] {
        assert_eq!(warnings(offset, zone, "[summary]"), Vec::<String>::new(), "{offset} {zone}");
    }
    let one = |offset: &str, zone: &str| {
        let all = warnings(offset, zone, "[states_volume, summary]");
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    };
    // In winter there is no difference.
    let lisbon = one("+00:00", "Europe/Lisbon");
    assert!(
        lisbon.contains("differs on 2026-04-02") && lisbon.contains("write `utc_offset: Europe/Lisbon`"),
        "{lisbon}"
    );
    let sydney = one("+11:00", "UTC");
    assert!(sydney.contains("job `lexer-hourly`") && sydney.contains("write `utc_offset: \"+00:00\"`"), "{sydney}");
    let zone = one("America/Santiago", "UTC");
    assert!(zone.contains("write `timezone: America/Santiago`"), "{zone}");
    assert!(warnings("+11:00", "UTC", "[users, groups]").is_empty(), "lists have no days");
}

#[test]
fn p7_plain_http_to_a_public_host_causes_a_warning() {
    let now: DateTime<Utc> = "2026-03-01T00:00:00Z".parse().unwrap();
    let bases = "    base_url: http://api.lexer.example\n    status_base_url: http://clients.lexer.example\njobs:";
    let warnings = load(&MINIMAL.replace("jobs:", bases)).unwrap().warnings(now);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("`base_url` is `http://api.lexer.example/`"), "{warnings:?}");
    assert!(warnings[1].contains("`status_base_url` is `http://clients.lexer.example/`"), "{warnings:?}");
}
