//! What a new user sees first: help texts, and the errors for a wrong command line or configuration.

use std::fmt::Write as _;

use super::shell::Shell;

const COMMANDS: &[&[&str]] = &[
    &[],
    &["run"],
    &["sync"],
    &["backfill"],
    &["plan"],
    &["check"],
    &["status"],
    &["runs"],
    &["quota"],
    &["quota", "unblock"],
    &["cursors"],
    &["cursors", "reset"],
    &["held"],
    &["held", "release"],
    &["connections"],
    &["connections", "forget"],
    &["rejects"],
    &["streams"],
    &["mart"],
    &["notify"],
    &["notify", "test"],
    &["notify", "list"],
    &["migrate"],
    &["schema"],
    &["simulate"],
    &["demo"],
];

#[tokio::test]
async fn every_command_has_a_help_text() {
    let shell = Shell::without_database();
    let mut text = String::new();
    for command in COMMANDS {
        let help = shell.run(&[command, &["--help"][..]].concat()).await.expect(0);
        assert!(help.stderr.is_empty(), "{help:?}");
        writeln!(text, "$ tidegate {} --help\n{}", command.join(" "), help.stdout).unwrap();
    }
    assert!(text.lines().all(|line| line.chars().count() <= 130), "a line is too long for a terminal:\n{text}");
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_wrong_command_line_exits_with_2_and_suggests_what_was_meant() {
    let shell = Shell::without_database();
    for args in [&["statsu"][..], &["runs", "--limit", "0"], &["cursors", "reset"], &["backfill", "x", "--from", "1"]] {
        let refused = shell.run(args).await.expect(2);
        assert!(refused.stdout.is_empty() && refused.stderr.starts_with("error: "), "{refused:?}");
    }
    for (args, said) in [
        (&["cursors", "lynn-yearl"][..], "error: unknown job `lynn-yearl`; did you mean `lynn-yearly`?\n"),
        (&["rejects", "x"], "error: unknown job `x`; known here: lynn-by-hand, lynn-yearly\n"),
        (
            &["cursors", "reset", "lynn-yearly", "--stream", "survey_results"],
            "error: the job `lynn-yearly` has no stream `survey_results`; did you mean `survey_result`?\n",
        ),
        (&["streams", "lynn_reportin"], "error: unknown vendor `lynn_reportin`; did you mean `lynn_reporting`?\n"),
    ] {
        assert_eq!(shell.run(args).await.expect(2).stderr, said);
    }
}

#[tokio::test]
async fn p9_a_wrong_configuration_exits_with_2_before_anything_is_done() {
    let shell = Shell::without_database();
    shell.write_config("jobs:\n  lynn:\n    conection: acme\n    start: 2026-13-01\nloog: {}\n");
    for command in
        ["check", "status", "runs", "quota", "cursors", "rejects", "streams", "migrate", "run", "sync", "plan"]
    {
        let refused = shell.run(&[command]).await.expect(2);
        assert!(refused.stdout.is_empty(), "{refused:?}");
        assert!(refused.stderr.contains("config/tidegate.yaml:3: jobs.lynn.conection: unknown key"), "{refused:?}");
        assert!(refused.stderr.contains("did you mean `connection`?"), "{refused:?}");
    }
    insta::assert_snapshot!(shell.run(&["check", "--offline"]).await.stderr);
}

#[tokio::test]
async fn p9_a_missing_configuration_is_named() {
    let shell = Shell::without_database().with("TIDEGATE_CONFIG", "elsewhere");
    let refused = shell.run(&["status"]).await.expect(2);
    assert!(
        refused.stderr.contains("elsewhere: does not exist; name a file or a folder with `--config PATH`"),
        "{refused:?}"
    );
    // The command line takes precedence.
    shell.run(&["--config", "config", "check", "--offline"]).await.expect(0);
    shell.run(&["check", "--offline", "--config", "config/tidegate.yaml"]).await.expect(0);
}

#[tokio::test]
async fn the_catalogue_needs_no_configuration_and_lists_extra_reports_of_one() {
    let shell = Shell::without_database();
    shell.remove_config();
    let overview = shell.run(&["streams"]).await.expect(0);
    insta::assert_snapshot!(format!("{}\n{}", overview.stdout, shell.run(&["streams", "lynn_reporting"]).await.stdout));
    let document = shell.run(&["streams", "--json"]).await.expect(0).json();
    let marks = document["streams"].as_array().unwrap().iter().find(|entry| entry["stream"] == "navigation_marks");
    let marks = marks.unwrap();
    assert_eq!(marks["key"], serde_json::json!(["_connection", "_window_start", "_row_key"]));
    assert_eq!(marks["columns"][0]["type"], "timestamptz");

    shell.write_config(
        "connections:\n  acme:\n    vendor: lynn_reporting\n    tenant: 1\n    access_token: abcdef\n    \
         access_token_secret: ghijkl\n    reports: { my_own: 00000000-0000-0000-0000-000000000000 }\n",
    );
    assert!(shell.run(&["streams"]).await.expect(0).stdout.contains("lynn.my_own"));
}

#[tokio::test]
async fn the_schema_is_the_committed_one_for_editors() {
    let schema = Shell::without_database().run(&["schema"]).await.expect(0);
    assert_eq!(schema.stdout, include_str!("../../../config/tidegate.schema.json"));
}

/// A removed or renamed field shows here: clients of the API notice it too.
#[tokio::test]
async fn the_api_has_the_documents_and_fields_that_its_clients_know() {
    let schema = Shell::without_database().run(&["schema", "--api"]).await.expect(0);
    insta::assert_snapshot!(schema.stdout);
}
