//! Khoros Care: the sample, and wrong settings with their exact messages (promise 9).

use crate::connector::khoros::{Method, ReportFormat, Settings};

use super::*;

const KHOROS: &str = "\
connections:
  acme:
    vendor: khoros_care
    company_key: acme-t1
    username: api@example.com
    password: hunter2-hunter2
jobs:
  daily:
    connection: acme
    streams: \"*\"
    start: 2026-01-01
";

fn with(lines: &str) -> Result<Config, Faults> {
    load_texts(&[("tidegate.yaml", &KHOROS.replace("jobs:\n", &format!("{lines}jobs:\n")))], &BTreeMap::new())
}

fn settings(config: &Config) -> &Settings {
    config.connections["acme"].settings.downcast().unwrap()
}

fn faults(lines: &str) -> Vec<String> {
    let faults = with(lines).unwrap_err().to_string();
    assert!(!faults.contains("hunter2"), "{faults}");
    faults.lines().map(str::to_owned).collect()
}

#[test]
fn p9_the_commented_sample_is_the_defaults() {
    let text = include_str!("../../../config/jobs/khoros_care.yaml");
    let env = env(&[
        ("KHOROS_COMPANY_KEY", "acme-t1"),
        ("KHOROS_USERNAME", "api@example.com"),
        ("KHOROS_PASSWORD", "hunter2-hunter2"),
    ]);
    let sample = load_texts(&[("khoros_care.yaml", text)], &env).unwrap();
    let minimal = with("").unwrap();
    let shown = |config: &Config, name: &str| format!("{:#?}", config.connections[name]).replace(name, "acme");
    assert_eq!(shown(&sample, "acme-khoros"), shown(&minimal, "acme"));
    assert_eq!(sample.jobs["khoros-daily"].streams.len(), 14);
    for key in connection_keys("khoros_care", &["polling", "csv"]) {
        assert!(text.contains(&format!("{key}:")), "{key}");
    }
}

#[test]
fn every_setting_is_read() {
    let config = with(
        "    locale: en_US
    timezone_offset: -06:00
    report_format: csv
    method: get
    history: 30d
    marketing: { Brand Post: raw_brand_post }
    metrics: { conversation: [CONVERSATION_ID, STATUS], marketing_brand_post: [X] }
    parameters:
      user: { agentId: [1, 2], includeDisabled: true }
      raw_agent_states: { teamIds: [11, 12], priorities: \"0,5\", businessHourType: false }
      team_performance_interval: { timeInterval: 7200000 }
",
    )
    .unwrap();
    let own = settings(&config);
    assert_eq!((own.locale.as_str(), own.timezone_offset), ("en_US", -21_600_000));
    assert_eq!((own.report_format, own.method), (ReportFormat::Csv, Some(Method::Get)));
    assert_eq!((own.history.as_secs(), own.metrics["conversation"].len()), (30 * 86_400, 2));
    let parameters = |export: &str| {
        own.parameters[export].iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    };
    assert_eq!(parameters("user"), "agentId=1&agentId=2&includeDisabled=true");
    assert_eq!(
        parameters("raw_agent_states"),
        "businessHourType=false&priorities=0,5&teamIds=11,12&enableBusinessHour=true"
    );
    let streams = &config.connections["acme"].streams;
    let brand = streams.iter().find(|stream| stream.name == "marketing_brand_post").unwrap();
    assert_eq!((&*brand.vendor_id, streams.len()), ("marketing/raw_brand_post", 15));
}

#[test]
fn distances_from_utc_are_read() {
    for (text, millis) in [("0", 0), ("-21600000", -21_600_000), ("+05:45", 20_700_000), ("-00:30", -1_800_000)] {
        let config = with(&format!("    timezone_offset: {text}\n")).unwrap();
        assert_eq!(settings(&config).timezone_offset, millis, "{text}");
    }
    for text in ["UTC", "5:30", "+25:00", "05:60", "--3", "+", "99999999999", "1.5"] {
        assert!(with(&format!("    timezone_offset: \"{text}\"\n")).is_err(), "{text}");
    }
}

#[test]
fn p9_wrong_settings_are_refused_with_what_to_write() {
    let mut said = String::new();
    for lines in [
        "    locale: \"\"\n    report_format: CSV\n    method: put\n    history: 1h\n    timezone_offset: Europe/Berlin\n",
        "    metrics: { conversatoin: [A], teams: [name], conversation: [A, A, ~] }\n",
        "    marketing: { \"!\": x, a b: x y, a-b: y }\n",
        "    parameters: { author: { startTime: 1, reportMetrics: A, timezone: UTC, Locale: en, priorities: [1, 6] } }\n",
        "    parameters: { user: { priorities: 1, includeDisabled: yes, agentId: [] } }\n",
        "    parameters: { conversation: { conversationReportType: CLOSED, smartViewId: [1, 2], businessHourType: true, \
         enableBusinessHour: false } }\n",
        "    parameters: { team_performance_interval: { timeInterval: 3000000 } }\n",
        "    parameters: { team_performance_interval: { timeInterval: 1800000 } }\n",
        "    parameters: { nobody: {} }\n    metric: {}\n",
    ] {
        writeln!(said, "{}{}\n", lines, faults(lines).join("\n")).unwrap();
    }
    insta::assert_snapshot!(said);
}

#[test]
fn p9_a_slice_is_no_longer_than_the_vendor_serves() {
    let text = KHOROS.replace("start: 2026-01-01", "start: 2026-01-01\n    slice: 91d");
    let faults = load_texts(&[("tidegate.yaml", &text)], &BTreeMap::new()).unwrap_err().to_string();
    assert!(faults.contains("at most `90d`"), "{faults}");
}
