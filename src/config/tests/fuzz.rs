//! Unrealistic configurations: promise 9 holds for them too, within bounds.

use std::time::{Duration, Instant};

use super::*;
use crate::cron::Schedule;
use crate::fuzz::{damaged, damaged_text};
use crate::text::show_duration;

const SAMPLES: &[&[u8]] = &[
    include_bytes!("../../../config/tidegate.yaml"),
    include_bytes!("../../../config/jobs/lynn.yaml"),
    MINIMAL.as_bytes(),
    CONTRACT.as_bytes(),
    b"a: &a { b: [1, 2, &c x, *c], d: \"${LYNN_ACCESS_TOKEN:-x}\" }\njobs: { j: *a }\n",
    b"jobs:\n  - |\n    text\n  - >-\n    folded\n  - ? k\n    : v\n",
];

const EXPRESSIONS: &[&[u8]] = &[
    b"15 * * * *",
    b"0 9 * jan-mar MON-FRI",
    b"30 15 * * * *",
    b"0 0 L * *",
    b"0 0 15W * +MON#1",
    b"@hourly",
    b"*/7 1-5,23 29 2 ?",
];

/// Time limit for parsing, checking and showing the faults, in debug builds on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A tree as YAML, in block or flow style.
fn any_tree() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        prop::sample::select(vec![
            "connections",
            "jobs",
            "acme-lynn",
            "lynn-hourly",
            "vendor",
            "lynn_reporting",
            "tenant",
            "streams",
            "quotas",
            "requests",
            "limit",
            "per",
            "retry",
            "reports",
            "paths",
            "start",
            "slice",
            "lookback",
            "name",
            "key",
            "columns",
            "database",
            "url",
            "log",
            "level",
            "allowed_hosts",
            "4s",
            "1d",
            "\"*\"",
            "2026-01-01",
            "true",
            "~",
            "\"\"",
            "0",
            "-1",
            "99999999999999999999",
            "${LYNN_ACCESS_TOKEN}",
            "${NOT_SET}",
            "https://x.example",
            "<<",
        ])
        .prop_map(str::to_owned),
        "[a-z]{1,6}",
    ];
    word.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec(("[a-z_]{1,8}|connections|jobs|vendor|streams|start|connection", inner), 0..6)
                .prop_map(|entries| {
                    let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                    format!("{{{}}}", entries.join(", "))
                }),
        ]
    })
}

/// Asserts that an error message is bounded, has as many lines as there are faults, and shows no credential.
fn assert_decent(outcome: Result<Config, Faults>) {
    let Err(faults) = outcome else { return };
    let text = faults.to_string();
    assert!(!faults.is_empty() && faults.len() <= 200, "{}", faults.len());
    assert_eq!(text.lines().count(), faults.len(), "{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    for secret in ["7c01d94ab3e2f5", "0b6f2f4e-hunter2"] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// The same for three trees, used as sections of a configuration.
fn assert_trees_decent(connections: &str, jobs: &str, rest: &str) {
    assert_decent(load_texts(&[("tidegate.yaml", rest)], &credentials()));
    let within = format!(
        "connections: {{acme-lynn: {connections}}}\njobs: {{lynn-hourly: {jobs}, b: {rest}}}\nlog: {rest}\ndatabase: {rest}\n"
    );
    assert_decent(load_texts(&[("tidegate.yaml", &within)], &credentials()));
    let spread =
        MINIMAL.replace("start: 2026-01-01", &format!("start: 2026-01-01\n    streams: {jobs}\n    slice: {rest}"));
    assert_decent(load_texts(&[("tidegate.yaml", &spread.replacen("    streams: \"*\"\n", "", 1))], &credentials()));
}

/// A case found by the property below.
#[test]
fn p9_a_credential_in_place_of_a_stream_causes_a_safe_error() {
    assert_trees_decent("connections", "${LYNN_ACCESS_TOKEN}", "[]");
}

proptest! {
    #[test]
    fn p9_a_damaged_configuration_is_accepted_or_causes_a_safe_error(one in damaged_text(SAMPLES), other in damaged_text(SAMPLES)) {
        assert_decent(load_texts(&[("tidegate.yaml", &one)], &credentials()));
        assert_decent(load_texts(&[("tidegate.yaml", &one), ("jobs/other.yaml", &other)], &credentials()));
    }

    #[test]
    fn p9_any_tree_is_accepted_or_causes_a_safe_error(connections in any_tree(), jobs in any_tree(), rest in any_tree()) {
        assert_trees_decent(&connections, &jobs, &rest);
    }

    #[test]
    fn p9_files_of_any_bytes_are_accepted_or_cause_a_safe_error(main in damaged(SAMPLES), job in damaged(SAMPLES), secret in damaged(SAMPLES)) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("jobs")).unwrap();
        std::fs::write(root.join("tidegate.yaml"), main).unwrap();
        std::fs::write(root.join("jobs/a.yaml"), job).unwrap();
        std::fs::write(root.join("secret"), secret).unwrap();
        let file = format!("log: {{ level: \"${{file:{}}}\" }}\n", root.join("secret").display());
        std::fs::write(root.join("jobs/b.yaml"), file).unwrap();
        assert_decent(Config::load(root, &credentials()));
    }

    #[test]
    fn p9_any_override_is_accepted_or_causes_a_safe_error(
        names in prop::collection::vec(
            "TIDEGATE__(CONNECTIONS|JOBS|DATABASE|LOG|[A-Z_]{0,6})(__(ACME_LYNN|LYNN_HOURLY|URL|LEVEL|STREAMS|[A-Za-z_.é]{0,8})){0,4}", 1..5,
        ),
        value in prop_oneof![damaged_text(SAMPLES), "\\PC{0,20}", "[0-9]{1,6}(ms|s|h)?"],
    ) {
        let overrides: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
        assert_decent(minimal_with(&overrides));
    }

    #[test]
    fn p8_a_damaged_schedule_fires_or_is_refused_in_bounded_time(
        text in damaged_text(EXPRESSIONS), zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
    ) {
        let started = Instant::now();
        if let Ok(schedule) = Schedule::parse(&text, zone) {
            let after = "2026-03-01T12:00:00Z".parse().unwrap();
            let next = schedule.next_after(after);
            prop_assert!(next.is_none_or(|next| next > after));
            prop_assert_eq!(next.is_some(), schedule.ever_fires());
        }
        prop_assert!(started.elapsed() < SOON, "{text}");
    }

    #[test]
    fn damaged_durations_and_sizes_are_accepted_or_refused(text in damaged_text(&[b"1h30m", b"102400kB", b"7d", b"64 KiB", b"40ms"])) {
        if let Ok(span) = settings::duration(&text) {
            prop_assert_eq!(settings::duration(&show_duration(span)), Ok(span));
        }
        let _ = settings::size(&text);
    }
}

#[test]
fn p9_megabytes_crafted_to_be_slow_are_refused_quickly() {
    let started = Instant::now();
    let repeated = |piece: &str| piece.repeat((300 << 10) / piece.len());
    let names: String = (0..2_000).map(|number| format!("  n{number}: {{}}\n")).collect::<Vec<_>>().concat();
    for text in [
        repeated("["),
        repeated("{"),
        repeated("- "),
        repeated("? "),
        repeated("a: "),
        repeated("&a "),
        repeated("\""),
        repeated("#"),
        repeated("!"),
        repeated("a: |\n "),
        repeated("a: b\n"),
        repeated("---\n"),
        format!("a: \"{}", repeated("${")),
        format!("a: \"{}\"", repeated("${A:-b}")),
        format!("a: [{}]", repeated("x, ")),
        format!("jobs:\n{names}"),
        names.clone(),
    ] {
        assert_decent(load_texts(
            &[("tidegate.yaml", &text), ("jobs/a.yaml", &format!("jobs:\n{names}"))],
            &credentials(),
        ));
    }
    assert!(started.elapsed() < 3 * SOON, "{:?}", started.elapsed());
}
