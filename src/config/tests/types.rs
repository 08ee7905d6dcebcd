//! `types:` of a stream.

use super::*;
use crate::catalogue::ColumnType;

fn with_streams(streams: &str) -> Result<Config, Faults> {
    let text = MINIMAL.replace("\"*\"", streams);
    load_texts(&[("config/jobs/lynn.yaml", &text)], &credentials())
}

#[test]
fn types_of_undocumented_fields_are_used_as_stated() {
    let config = with_streams(
        "\n    - name: survey_result\n      types: { waitMinutes: double, rate: double precision, user.age: bigint, \"Since\": timestamptz }\n    - { name: navigation_marks, types: { session: text } }",
    )
    .unwrap();
    let streams = &config.jobs["lynn-hourly"].streams;
    let stated: Vec<_> = streams[0].types.iter().map(|(field, kind)| (field.as_str(), *kind)).collect();
    assert_eq!(
        stated,
        [
            ("Since", ColumnType::Timestamptz),
            ("rate", ColumnType::Double),
            ("user.age", ColumnType::Bigint),
            ("waitMinutes", ColumnType::Double),
        ]
    );
    assert!(streams[1].types.is_empty(), "the vendor documents it");
}

#[test]
fn p9_invalid_types_and_types_that_contradict_the_vendor_are_refused() {
    for (streams, fault) in [
        (
            "[{ name: survey_result, types: { wait: dubble } }]",
            "config/jobs/lynn.yaml:10: jobs.lynn-hourly.streams[0].types.wait: `dubble` is not a type; did you mean `double`?",
        ),
        (
            "[{ name: survey_result, types: { wait: ~ } }]",
            "config/jobs/lynn.yaml:10: jobs.lynn-hourly.streams[0].types.wait: missing; write a type, for instance `double`",
        ),
        (
            "[{ name: navigation_marks, types: { MARKNAME: bigint } }]",
            "config/jobs/lynn.yaml:10: jobs.lynn-hourly.streams[0].types.MARKNAME: `bigint` contradicts the vendor's documentation, by \
             which it is `text`; remove the entry",
        ),
        (
            "[{ name: navigation_marks, types: { timestamp: text } }]",
            "config/jobs/lynn.yaml:10: jobs.lynn-hourly.streams[0].types.timestamp: `text` contradicts the vendor's documentation, by \
             which it is `timestamptz`; remove the entry",
        ),
        (
            "[{ name: survey_result, types: { \"\": text } }]",
            "a field without a name cannot have a type; remove the entry",
        ),
    ] {
        let faults = with_streams(streams).unwrap_err().to_string();
        assert!(faults.contains(fault), "{faults}");
    }
}

#[test]
fn p9_jobs_that_fill_one_table_state_the_same_types() {
    let more = "start: 2026-01-01\n  more:\n    connection: acme-lynn\n    streams: [{ name: show_error, types: { a: text } }]\n    start: 2026-01-01\n";
    let text = MINIMAL.replace("start: 2026-01-01\n", more);
    let faults = load_texts(&[("config/jobs/lynn.yaml", &text)], &credentials()).unwrap_err();
    let fault = "the job `lynn-hourly` fills the table of `show_error` with other `types`; write the same in both";
    assert!(faults.to_string().contains(fault), "{faults}");
}
