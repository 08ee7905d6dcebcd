//! What is due, what ran, quota use, how far each stream has been read, and rejected records.

use std::fmt::Write as _;
use std::process::Stdio;

use sqlx::AssertSqlSafe;

use super::shell::{CONFIG, SECRET, Shell, TOKEN, timeless};
use crate::support::TestDatabase;

/// One run that failed in part, one that waits for a quota, and one of a job that is no longer configured.
const STORY: &str = "
insert into tidegate.run (job, connection, kind, state, created_at, started_at, finished_at) values
('lynn-forgotten', 'acme-lynn', 'manual', 'succeeded', now() - interval '9 days', now() - interval '9 days', now() - interval '9 days');
insert into tidegate.run (job, connection, kind, state, scheduled_for, started_at, finished_at, error, hint) values
('lynn-yearly', 'acme-lynn', 'schedule', 'failed', now() - interval '5 hours', now() - interval '5 hours',
 now() - interval '4 hours', 'the vendor refused the credentials', 'check the credentials; they are issued per environment');
insert into tidegate.run (job, connection, kind, state, due_at, started_at, created_at) values
('lynn-by-hand', 'acme-lynn', 'manual', 'waiting', now() + interval '2 hours', now() - interval '3 hours', now() - interval '3 hours');
insert into tidegate.task (run_id, stream, state, slices_planned, slices_done, pages, calls, bytes, rows_read, rows_inserted,
    rows_updated, rows_deleted, rows_unchanged, rows_outside, values_extra, records_rejected, last_window_start,
    last_window_end, started_at, finished_at, error, hint, waiting_for, waiting_until)
values
(1, 'menu_detail', 'succeeded', 1, 1, 1, 1, 900, 3, 3, 0, 0, 0, 0, 0, 0, '2026-01-01', '2026-01-02', now(), now(), null, null, null, null),
(2, 'survey_result', 'failed', 3, 0, 0, 1, 2100, 0, 0, 0, 0, 0, 0, 0, 0, null, null, now(), now() - interval '4 hours',
 'the vendor refused the credentials', 'check the credentials; they are issued per environment', null, null),
(2, 'navigation_marks', 'succeeded', 2, 2, 4, 5, 1234567, 31000, 20000, 500, 40, 10455, 3, 7, 2, '2026-01-02', '2026-01-03',
 now(), now() - interval '4 hours', null, null, null, null),
(3, 'show_error', 'waiting', 9, 4, 40, 41, 98000000, 400000, 400000, 0, 0, 0, 0, 0, 0, '2026-01-04', '2026-01-05', now(), null,
 null, null, 'quota period_bandwidth', now() + interval '2 hours');
insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice, last_success_at, holder_run) values
('acme-lynn', 'navigation_marks', 'lynn', 'navigation_marks', '2026-01-01', 'America/Santiago', '1d', now() - interval '4 hours', null),
('acme-lynn', 'menu_detail', 'lynn', 'menu_detail', '2026-01-01', 'UTC', '1d', now() - interval '9 days', null),
('acme-lynn', 'show_error', 'lynn', 'show_error', '2026-01-01', 'UTC', '1d', null, null),
('acme-lynn', 'a_list', 'lynn', 'a_list', '2026-01-01', 'UTC', '1d', now() - interval '6 hours', null);
insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_run, finished_at, rows_total,
    reading_run, reading_pages) values
('acme-lynn', 'navigation_marks', now() - interval '3 days', now() - interval '2 days', now() - interval '2 days', 2, now(), 9000, null, 0),
('acme-lynn', 'navigation_marks', now() - interval '2 days', now() - interval '1 day', now() - interval '30 hours', 2, now(), 11000, null, 0),
('acme-lynn', 'show_error', '2026-01-05', '2026-01-06', null, null, null, 0, 3, 7),
('acme-lynn', 'a_list', 'epoch', '9999-12-31', now() - interval '6 hours', 1, now(), 12, null, 0);
insert into tidegate.rejected_record (run_id, connection, stream, window_start, reason, record, rejected_at) values
(2, 'acme-lynn', 'navigation_marks', '2026-01-02', 'is not an object', '[\"Juana\", \"+56 9 1234 5678\"]', now() - interval '4 hours'),
(2, 'acme-lynn', 'navigation_marks', '2026-01-02', E'lacks its key\\nsession', E'{\"phone\": \"\\x1b[31m1\"}', now() - interval '4 hours'),
(2, 'other-lynn', 'navigation_marks', '2026-01-02', 'is not an object', '7', now() - interval '4 hours');
insert into tidegate.connection (name, vendor, account, pinned_at) values
('acme-lynn', 'lynn_reporting', '{\"host\": \"127.0.0.1\", \"tenant\": \"4411\"}', now() - interval '9 days'),
('old-khoros', 'khoros_care', '{\"host\": \"old.example\", \"company_key\": \"sha256:00\"}', now() - interval '99 days');
insert into tidegate.table_column (table_schema, table_name, column_name, field, kind) values
('lynn', 'survey_result', 'score', 'Score', 'bigint');
";

const READERS: &[&[&str]] = &[
    &["status"],
    &["runs"],
    &["runs", "lynn-forgotten"],
    &["runs", "lynn-yearly", "--tasks"],
    &["quota"],
    &["cursors"],
    &["cursors", "lynn-yearly"],
    &["connections"],
    &["rejects"],
    &["rejects", "lynn-yearly", "--record"],
];

/// A daemon that runs during the whole test.
const DAEMON: &str = "
insert into tidegate.instance (owner, jobs, seen_at, started_at, version, config_hash, loops)
values ('host-1', '{}', now() + interval '1 hour', now() - interval '5 hours', '1.2.3', 'abcdef', '{}')";

async fn with_story() -> TestDatabase {
    let database = TestDatabase::create().await;
    sqlx::raw_sql(STORY).execute(&database.pool()).await.unwrap();
    sqlx::raw_sql(DAEMON).execute(&database.pool()).await.unwrap();
    database
}

async fn transcript(shell: &Shell) -> String {
    let mut text = String::new();
    for args in READERS {
        let read = shell.run(args).await.expect(0);
        assert!(read.stderr.is_empty(), "{read:?}");
        writeln!(text, "$ tidegate {}\n{}\n", args.join(" "), timeless(&read.stdout)).unwrap();
    }
    text
}

#[tokio::test]
async fn tables_show_what_happened() {
    let database = with_story().await;
    insta::assert_snapshot!(transcript(&Shell::on(&database)).await);
}

#[tokio::test]
async fn empty_lists_name_the_next_step() {
    let database = TestDatabase::create().await;
    let shell = Shell::on(&database);
    let mut text = String::new();
    for args in [&["status"][..], &["runs"], &["cursors"], &["rejects"], &["cursors", "reset", "lynn-yearly"]] {
        let read = shell.run(args).await.expect(0);
        writeln!(text, "$ tidegate {}\n{}\n", args.join(" "), timeless(&read.stdout)).unwrap();
    }
    insta::assert_snapshot!(text);
    shell.write_config("database: { url: \"${DATABASE_URL}\" }\n");
    for args in [&["status"][..], &["quota"], &["cursors"], &["check"]] {
        let read = shell.run(args).await.expect(0).stdout;
        assert!(read.contains("is configured; the folder `config/jobs` of the source code has a sample"), "{read}");
    }
}

#[tokio::test]
async fn a_stream_whose_wait_is_over_waits_for_its_turn() {
    let database = with_story().await;
    let over = "update tidegate.run set state = 'running' where id = 3;
        update tidegate.task set waiting_until = now() - interval '6 minutes' where run_id = 3";
    sqlx::raw_sql(over).execute(&database.pool()).await.unwrap();
    let shell = Shell::on(&database);
    let status = shell.run(&["status"]).await.expect(0).stdout;
    let waits = status.lines().find(|line| line.contains("show_error") && line.contains("quota period_bandwidth"));
    assert!(waits.is_some_and(|line| line.trim_end().ends_with("its turn")), "{status}");
    let runs = shell.run(&["runs", "lynn-by-hand", "--tasks"]).await.expect(0).stdout;
    assert!(runs.contains("its turn, after quota period_bandwidth"), "{runs}");
}

#[tokio::test]
async fn json_is_one_document_with_times_as_rfc_3339() {
    let database = with_story().await;
    let shell = Shell::on(&database);
    let status = shell.run(&["status", "--json"]).await.expect(0).json();
    assert_eq!(status["waiting"][0]["waiting_for"], "quota period_bandwidth");
    assert_eq!(status["next"][0]["job"], "lynn-yearly");
    assert_eq!(status["connections_total"], 1);
    let runs = shell.run(&["runs", "--json", "--limit", "2"]).await.expect(0).json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2);
    assert_eq!(runs["runs"][1]["streams"][0]["rows_updated"], 500);
    let finished = runs["runs"][1]["finished_at"].as_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(finished).is_ok() && finished.ends_with('Z'), "{finished}");
    let quota = shell.run(&["quota", "--json"]).await.expect(0).json();
    assert_eq!(quota["quotas"][3]["limit"], "period_bandwidth");
    assert_eq!((&quota["quotas"][3]["used"], &quota["quotas"][3]["allowed"]), (&0.into(), &102_400_000.into()));
    let cursors = shell.run(&["cursors", "--json"]).await.expect(0).json();
    assert_eq!(cursors["cursors"].as_array().unwrap().len(), 5);
    let check = shell.run(&["check", "--offline", "--json"]).await.expect(0).json();
    assert_eq!((&check["ok"], &check["connections"][0]["state"]), (&true.into(), &"not_checked".into()));
    let streams = shell.run(&["streams", "--discovered", "--json"]).await.expect(0).json();
    assert_eq!(streams["streams"][5]["discovered"][0]["name"], "score");
}

#[tokio::test]
async fn p7_rejected_records_are_shown_on_demand_only_and_cannot_control_a_terminal() {
    let database = with_story().await;
    let shell = Shell::on(&database);
    for args in [&["rejects"][..], &["rejects", "--json"], &["status"], &["runs", "--tasks", "--json"]] {
        let shown = shell.run(args).await.expect(0);
        assert!(!shown.said().contains("Juana"), "{shown:?}");
    }
    let shown = shell.run(&["rejects", "--record"]).await.expect(0);
    assert!(shown.stdout.contains("Juana") && !shown.stdout.contains('\x1b'), "{shown:?}");
    let shown = shell.run(&["rejects", "--record", "--json", "--limit", "3"]).await.expect(0).json();
    assert_eq!(shown["rejects"][1]["record"], "{\"phone\": \"\u{1b}[31m1\"}");
}

#[tokio::test]
async fn a_database_without_the_schema_is_unchanged_until_it_is_migrated() {
    let database = TestDatabase::create_empty().await;
    let shell = Shell::on(&database);
    for args in [
        &["status"][..],
        &["runs"],
        &["quota"],
        &["cursors"],
        &["rejects"],
        &["cursors", "reset", "lynn-yearly"],
        &["check"],
    ] {
        let refused = shell.run(args).await.expect(1);
        assert!(refused.stderr.contains("migrations\nhint: run `tidegate migrate`\n"), "{refused:?}");
    }
    let schemas: i64 = sqlx::query_scalar("select count(*) from pg_namespace where nspname = 'tidegate'")
        .fetch_one(&database.pool())
        .await
        .unwrap();
    assert_eq!(schemas, 0);
    // Also by a user named `tidegate` like the schema, as on the test server.
    let (one, other) = tokio::join!(shell.run(&["migrate"]), shell.run(&["migrate"]));
    assert!(one.expect(0).stdout.contains("migration") || other.expect(0).stdout.contains("migration"));
    assert_eq!(shell.run(&["migrate"]).await.expect(0).stdout, "the database is up to date\n");
    shell.run(&["status"]).await.expect(0);
}

#[tokio::test]
async fn reading_writes_nothing() {
    let database = with_story().await;
    let name = database.name();
    let sql = format!("alter database {name} set default_transaction_read_only = on");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&database.pool()).await.unwrap();
    transcript(&Shell::on(&database)).await;
}

#[tokio::test]
async fn a_read_only_command_creates_no_embedded_cluster() {
    let shell = Shell::without_database();
    shell.write_config("embedded: { data_dir: ./data }\n");
    for args in [&["status"][..], &["runs"], &["check"]] {
        let refused = shell.run(args).await.expect(1);
        assert!(refused.stderr.contains("there is no embedded Postgres in ./data yet"), "{refused:?}");
        assert!(refused.stderr.contains("hint: run `tidegate migrate` to create it"), "{refused:?}");
    }
}

#[tokio::test]
async fn a_closed_output_pipe_is_not_a_failure() {
    let database = with_story().await;
    sqlx::raw_sql(
        "insert into tidegate.run (job, connection, kind, state, error)
        select 'lynn-yearly', 'acme-lynn', 'manual', 'failed', repeat('x', 300) from generate_series(1, 2000)",
    )
    .execute(&database.pool())
    .await
    .unwrap();
    let shell = Shell::on(&database);
    for args in
        [&["runs", "--limit", "2000"][..], &["runs", "--limit", "2000", "--json"], &["schema"], &["streams", "--json"]]
    {
        let mut child = shell.command(args).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().await.unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{args:?}");
    }
}

#[tokio::test]
async fn p7_no_secret_is_printed_at_any_log_level() {
    let database = with_story().await;
    let password = "pg-hunter2-very-secret";
    let mut wrong: url::Url = database.url().parse().unwrap();
    wrong.set_password(Some(password)).unwrap();
    let shells = [
        Shell::on(&database).with("TIDEGATE__LOG__LEVEL", "trace"),
        Shell::at(wrong.as_str()).with("TIDEGATE__LOG__LEVEL", "trace"),
        Shell::at(&format!("postgres://u:{password}@[bad")).with("TIDEGATE__LOG__LEVEL", "trace"),
    ];
    let own: url::Url = database.url().parse().unwrap();
    let own = own.password().unwrap_or_default().to_owned();
    for shell in shells {
        for args in [&["check"][..], &["check", "--json"], &["status"], &["quota", "--json"], &["migrate"], &["runs"]] {
            let said = shell.run(args).await.said();
            for secret in [TOKEN, SECRET, password, own.as_str()] {
                assert!(secret.is_empty() || !said.contains(secret), "{args:?}: {said}");
            }
        }
    }
}

#[tokio::test]
async fn a_backfill_of_mistyped_years_is_refused_before_anything_is_requested() {
    let database = with_story().await;
    let shell = Shell::on(&database);
    for (from, to, error) in [
        ("1990-01-01", "2026-01-02", "before the year 2000"),
        ("2026-01-01", "9999-01-01", "more than a day in the future"),
    ] {
        let refused = shell.run(&["backfill", "lynn-yearly", "--from", from, "--to", to]).await.expect(2);
        assert!(refused.stderr.contains(error), "{refused:?}");
    }
    let runs: i64 = sqlx::query_scalar("select count(*) from tidegate.run where kind = 'backfill'")
        .fetch_one(&database.pool())
        .await
        .unwrap();
    assert_eq!(runs, 0);
}

#[tokio::test]
async fn one_problem_of_many_streams_is_shown_first_and_once() {
    let database = with_story().await;
    sqlx::raw_sql(
        "insert into tidegate.problem (kind, scope, connection, streams, opened_at, summary, hint)
        values ('failed', 'acme-lynn', 'acme-lynn', 2, now(), 'the vendor refused the credentials', 'renew them')",
    )
    .execute(&database.pool())
    .await
    .unwrap();
    let text = Shell::on(&database).run(&["status"]).await.expect(0).stdout;
    let head = "1 thing needs you\n\nProblems, worst first: 1\nfailed: acme-lynn, 2 streams, since ";
    assert!(text.starts_with(head), "{text}");
    assert!(text.contains("  error: the vendor refused the credentials\n  hint: renew them\n\nJOB"), "{text}");
    assert_eq!(text.matches("the vendor refused the credentials").count(), 1, "{text}");
    assert!(!text.contains("Failures"), "{text}");
}

#[tokio::test]
async fn p11_nothing_needs_a_person_only_if_no_stream_is_failed_held_late_or_has_a_gap() {
    let database = with_story().await;
    let pool = database.pool();
    let execute = async |sql: &'static str| {
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    };
    execute(
        "delete from tidegate.problem;
        update tidegate.stream set failures = 0, needs_operator = false, held_slices = 0, has_gap = false, expected_by = null",
    )
    .await;
    let shell = Shell::on(&database);
    let heads = async || {
        let text = shell.run(&["status"]).await.expect(0).stdout;
        let json = shell.run(&["status", "--json"]).await.expect(0).json();
        (text.lines().next().unwrap().to_owned(), json["headline"].as_str().unwrap().to_owned())
    };
    let both = |head: &str| (head.to_owned(), head.to_owned());
    assert_eq!(heads().await, both("Nothing needs you"));
    // Nothing has checked for problems since, so none is open.
    execute(
        "update tidegate.stream set expected_by = now() - interval '1 minute', expected_after = last_success_at
        where stream = 'navigation_marks'",
    )
    .await;
    assert_eq!(heads().await, both("Nothing is reported yet; 1 stream is late"));
    // A run waits for a quota before it reads this one further.
    execute("update tidegate.stream set expected_by = now() - interval '1 minute' where stream = 'show_error'").await;
    assert_eq!(heads().await, both("Nothing is reported yet; 1 stream is late, 1 is late and waits"));
    execute("update tidegate.stream set expected_by = null where stream = 'navigation_marks'").await;
    assert_eq!(heads().await, both("Nothing is reported; 1 stream is late and waits"));
    execute(
        "update tidegate.stream set expected_by = null where stream = 'show_error';
        update tidegate.stream set expected_by = now() - interval '1 minute' where stream = 'navigation_marks'",
    )
    .await;
    execute(
        "insert into tidegate.problem (kind, scope, connection, opened_at, summary, muted_until)
        values ('late', 'acme-lynn', 'acme-lynn', now(), 'late', now() + interval '1 hour')",
    )
    .await;
    assert_eq!(heads().await, both("1 problem is muted; 1 stream is late"));
    execute("update tidegate.problem set muted_until = null").await;
    assert_eq!(heads().await, both("1 thing needs you"));
}

#[tokio::test]
async fn p11_nothing_needs_a_person_only_if_a_daemon_runs() {
    let database = with_story().await;
    let pool = database.pool();
    let execute = async |sql: &'static str| {
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    };
    execute(
        "update tidegate.stream set failures = 0, needs_operator = false, held_slices = 0, has_gap = false, expected_by = null",
    )
    .await;
    let shell = Shell::on(&database);
    let text = async || shell.run(&["status"]).await.expect(0).stdout;
    let json = async || shell.run(&["status", "--json"]).await.expect(0).json();
    assert!(text().await.starts_with("Nothing needs you\n\n"), "{}", text().await);
    let document = json().await;
    assert_eq!(document["headline"], "Nothing needs you");
    assert_eq!((&document["daemons"][0]["owner"], &document["last_daemon"]), (&"host-1".into(), &().into()));

    execute("update tidegate.instance set config_refused = true").await;
    let refused = "The configuration on disk was refused; the previous one is in force";
    assert!(text().await.starts_with(&format!("{refused}\n\n")), "{}", text().await);
    let document = json().await;
    assert_eq!((&document["headline"], &document["config_refused"]), (&refused.into(), &true.into()));

    // It was killed or is suspended. A command is no daemon.
    execute(
        "update tidegate.instance set seen_at = '2026-01-05 03:15:07Z';
        insert into tidegate.instance (owner, jobs, seen_at, started_at, loops)
        values ('host-2', '{}', now() + interval '1 hour', now(), '{}')",
    )
    .await;
    let dead = "No daemon runs; one was last seen 2026-01-05 03:15:07 UTC";
    let shown = text().await;
    assert!(shown.starts_with(&format!("{dead}\n  hint: `tidegate run` starts a daemon\n\n")), "{shown}");
    assert!(shown.contains("\nDaemons\nnone runs; last seen: host-1, 2026-01-05"), "{shown}");
    let document = json().await;
    assert_eq!((&document["headline"], &document["daemons"]), (&dead.into(), &serde_json::json!([])));
    assert_eq!(document["last_daemon"]["owner"], "host-1");
    execute(
        "update tidegate.stream set expected_by = now() - interval '1 minute', expected_after = last_success_at
        where stream = 'navigation_marks'",
    )
    .await;
    let late = format!("{dead}; 1 stream is late");
    assert!(text().await.starts_with(&late), "it is not promised that this will be reported: {}", text().await);
    assert_eq!(json().await["headline"], late);
    execute("delete from tidegate.instance").await;
    assert_eq!(json().await["headline"], "No daemon runs; 1 stream is late");
}

#[tokio::test]
async fn p12_status_shows_that_the_database_only_reads() {
    let database = with_story().await;
    let name = database.name();
    let mut admin = TestDatabase::superuser().await;
    let only_reads = format!("alter database {name} set default_transaction_read_only = on");
    sqlx::raw_sql(AssertSqlSafe(only_reads)).execute(&mut admin).await.unwrap();
    let shell = Shell::on(&database);
    let head = "The database only reads, so nothing is loaded";
    let text = shell.run(&["status"]).await.expect(0).stdout;
    assert!(text.starts_with(head), "{text}");
    assert!(
        text.contains("\n  error: the database only reads: it is a standby") && text.contains("\n  hint: name"),
        "{text}"
    );
    let document = shell.run(&["status", "--json"]).await.expect(0).json();
    assert!(document["headline"].as_str().unwrap().starts_with(head), "{document}");
    assert_eq!(document["only_reads"], true);
}

#[tokio::test]
async fn p9_status_shows_what_is_stored_while_the_configuration_on_disk_is_refused() {
    let database = with_story().await;
    let stored = "
        update tidegate.stream set jobs = '{lynn-yearly}' where stream = 'navigation_marks';
        update tidegate.stream set jobs = '{lynn-by-hand}' where stream = 'show_error'";
    sqlx::raw_sql(stored).execute(&database.pool()).await.unwrap();
    let shell = Shell::on(&database);
    shell.write_config(&CONFIG.replace("    schedule:", "    schedul:"));
    let shown = shell.run(&["status"]).await.expect(2);
    let head = "configuration: the configuration has 1 fault; a running daemon keeps the previous one\n  \
                error: config/tidegate.yaml:";
    let (first, rest) = shown.stdout.split_once('\n').unwrap();
    assert!(first.starts_with("The configuration on disk was refused; the previous one is in force"), "{shown:?}");
    assert!(rest.starts_with(head), "{shown:?}");
    for part in ["lynn-yearly", "quota period_bandwidth", "lynn.navigation_marks", "tidegate check --offline"] {
        assert!(shown.stdout.contains(part), "{part}: {shown:?}");
    }
    assert!(!shown.stdout.contains("by hand"), "the schedules in force are not known: {shown:?}");
    assert!(shown.stderr.contains("jobs.lynn-yearly.schedul: unknown key"), "{shown:?}");
    let shown = shell.run(&["status", "--json"]).await.expect(2);
    let document = shown.json();
    assert_eq!((&document["config_refused"], &document["next"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(document["waiting"][0]["waiting_for"], "quota period_bandwidth");
    // Which database it is depends on the fault, or it has no state to show.
    let nowhere = Shell::without_database();
    for (shell, text) in [
        (&shell, CONFIG.replace("max_connections: 4", "max_connections: 0")),
        (&shell, format!("{CONFIG}  broken: [\n")),
        (&nowhere, CONFIG.replace("    schedule:", "    schedul:")),
    ] {
        shell.write_config(&text);
        for args in [&["status"][..], &["status", "--json"]] {
            let refused = shell.run(args).await.expect(2);
            assert!(refused.stdout.is_empty() && refused.stderr.contains("nothing was done"), "{refused:?}");
        }
    }
}
