//! Every kind of problem: what opens it, after which delay, and what ends it.

use std::sync::Arc;
use std::time::Duration;

use simulator::{Action, Match};
use tidegate::config::NotifyFormat;
use tidegate::notify::Timing;
use tidegate::store::problem::Patience;
use tidegate::store::topic::Topic;

use super::{Bench, quick, stream_row};
use crate::support::World;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table with a row for each kind")]
async fn each_kind_of_problem_opens_and_ends() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    for (kind, cause, end) in [
        (
            "held acme/marks",
            "update tidegate.stream set held_slices = 1, last_error = 'rows are missing'",
            "update tidegate.stream set held_slices = 0",
        ),
        (
            "late acme/marks",
            "update tidegate.stream set expected_by = now() - interval '1 h', expected_after = last_success_at",
            "update tidegate.stream set expected_by = null",
        ),
        ("gap acme/marks", "update tidegate.stream set has_gap = true", "update tidegate.stream set has_gap = false"),
        (
            "rejects acme/marks",
            "insert into tidegate.run (job, connection, kind, state, finished_at)
            values ('hourly', 'acme', 'manual', 'succeeded', now());
            insert into tidegate.task (run_id, stream, state, records_rejected)
            select id, 'marks', 'succeeded', 3 from tidegate.run",
            "update tidegate.run set finished_at = now() - interval '1 day';
            update tidegate.problem set seen_last_at = now() - interval '25 hours'",
        ),
        (
            "schema acme/lynn.marks",
            "insert into tidegate.run (job, connection, kind, state, created_at, finished_at)
            values ('hourly', 'acme', 'manual', 'succeeded', now() - interval '2 days', now() - interval '2 days');
            update tidegate.run set created_at = now() - interval '2 days';
            insert into tidegate.schema_change (connection, table_schema, table_name, column_name, change, new_type)
            values ('acme', 'lynn', 'marks', 'x', 'add_column', 'text')",
            "delete from tidegate.schema_change;
            update tidegate.problem set seen_last_at = now() - interval '25 hours'",
        ),
        (
            "schema acme/marks",
            "insert into tidegate.slice (
                connection, stream, window_start, window_end, read_until, finished_run, finished_at, lacks_columns_since
            )
            values (
                'acme', 'marks', now() - interval '1 day', now(), now(), 1, now(), now() - interval '20 minutes'
            );
            update tidegate.stream set has_gap = false",
            "delete from tidegate.slice;
            update tidegate.stream set has_gap = false",
        ),
        (
            "quota_refused acme",
            "insert into tidegate.quota_ledger (key, connections) values ('k', '{acme,zoo}');
            insert into tidegate.quota_limit (ledger_id, name, unit, amount, per, reach, width, blocked_until)
            select id, 'requests', 'calls', 1, '1 s', '1 s', '0', now() + interval '1 h' from tidegate.quota_ledger",
            "update tidegate.quota_limit set blocked_until = null;
            update tidegate.problem set seen_last_at = now() - interval '25 hours'",
        ),
        (
            "config_refused system",
            "insert into tidegate.instance (owner, jobs, seen_at, config_refused) values ('me', '{}', now(), true)",
            "update tidegate.instance set config_refused = false",
        ),
        (
            "stalled system",
            "insert into tidegate.instance (owner, jobs, seen_at, loops)
            values ('other', '{}', now(), '{\"enqueue\": 0.2, \"prune\": 11000, \"problems\": 100, \"unknown\": 99999}')",
            "delete from tidegate.instance where owner = 'other'",
        ),
        (
            "push_unknown outbound",
            "insert into tidegate.push_batch (job, connection, campaign_id, template_id, rows, state)
            values ('outbound', 'acme', '1', '1', 5, 'unknown')",
            "update tidegate.push_batch set state = 'resent'",
        ),
        (
            "notify_stuck oncall",
            "insert into tidegate.notification (target, kind, state, attempts, outcome, due_at)
            values ('oncall', 'opened', 'given_up', 8, 'HTTP 500', now())",
            "insert into tidegate.notification (target, kind, state, attempts, sent_at)
            values ('oncall', 'test', 'sent', 1, clock_timestamp())",
        ),
    ] {
        bench.execute(stream_row("acme", "marks")).await;
        bench.execute(cause).await;
        bench.check().await;
        assert_eq!(bench.open().await, [kind]);
        let said = bench.all("select summary || ' ' || hint from tidegate.problem where closed_at is null").await;
        assert_eq!(said.len(), 1, "{kind} has a hint");
        if kind.starts_with("held") {
            assert!(said[0].contains("`tidegate held release hourly --stream marks`"), "{said:?}");
        }
        bench.execute(end).await;
        bench.check().await;
        // This sets back the time of kinds that are found only when they occur.
        bench.execute(end).await;
        bench.check().await;
        assert_eq!(bench.open().await.len(), 0, "{kind}");
    }
}

#[tokio::test]
async fn a_refused_configuration_is_named_with_file_and_line_until_another_fault_is_the_first() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    bench
        .execute(
            "insert into tidegate.instance (owner, jobs, seen_at, config_refused)
            values ('me', '{}', now(), true), ('well', '{}', now(), false);
            insert into tidegate.event (kind, actor, summary) values
            ('reload_refused', 'me', 'it is refused: tidegate.yaml:3: of an earlier change'),
            ('reload', 'me', 'configuration reloaded'),
            ('reload_refused', 'me', 'it is refused: jobs/lynn.yaml:14: jobs.lynn.pawsed: unknown key'),
            ('reload_refused', 'well', 'it is refused: tidegate.yaml:5: of a process whose configuration is right')",
        )
        .await;
    let summary = async || {
        bench.check().await;
        bench.all("select summary from tidegate.problem where closed_at is null").await
    };
    assert_eq!(summary().await, ["it is refused: jobs/lynn.yaml:14: jobs.lynn.pawsed: unknown key"]);
    bench.send().await;
    let texts = bench.texts().await;
    assert!(texts.len() == 1 && texts[0].contains("jobs/lynn.yaml:14: "), "{texts:?}");
    bench
        .execute(
            "insert into tidegate.event (kind, actor, summary)
            values ('reload_refused', 'me', 'it is refused: jobs/lynn.yaml:20: jobs.lynn.schedule: wrong')",
        )
        .await;
    assert_eq!(summary().await, ["it is refused: jobs/lynn.yaml:20: jobs.lynn.schedule: wrong"]);
    // The event of the next refusal is not stored yet: that of the one before is not about it.
    bench.execute("insert into tidegate.event (kind, actor, summary) values ('reload', 'me', 'reloaded')").await;
    assert_eq!(summary().await, ["the configuration on disk is wrong"]);
}

#[tokio::test]
async fn two_blocked_credentials_of_a_connection_are_one_problem_and_those_of_removed_connections_none() {
    let bench = Bench::with(NotifyFormat::Slack, quick()).await;
    bench.execute(stream_row("acme", "marks")).await;
    bench
        .execute(
            "insert into tidegate.quota_ledger (key, connections)
            values ('new', '{acme}'), ('old', '{acme,zoo}'), ('removed', '{gone}');
            insert into tidegate.quota_limit (ledger_id, name, unit, amount, per, reach, width, blocked_until)
            select id, 'requests', 'calls', 1, '1 s', '1 s', '0', now() + interval '1 h' from tidegate.quota_ledger",
        )
        .await;
    bench.check().await;
    assert_eq!(bench.open().await, ["quota_refused acme"]);
    bench.execute("update tidegate.quota_limit set blocked_until = '2030-01-01 04:59:59.96Z'").await;
    bench.check().await;
    let said = bench.all("select summary from tidegate.problem where closed_at is null").await;
    assert!(said[0].ends_with("nothing is sent until 2030-01-01 05:00 UTC"), "not over before: {said:?}");
}

#[tokio::test]
async fn the_columns_of_a_first_load_are_no_problem() {
    let bench = Bench::with(NotifyFormat::Slack, quick()).await;
    bench.execute(stream_row("acme", "marks")).await;
    bench
        .execute(
            "insert into tidegate.run (job, connection, kind, state, created_at)
            values ('hourly', 'acme', 'manual', 'running', now() - interval '2 hours');
            insert into tidegate.schema_change (connection, table_schema, table_name, column_name, change, new_type)
            values ('acme', 'lynn', 'marks', 'x', 'add_column', 'text')",
        )
        .await;
    bench.check().await;
    assert_eq!(bench.open().await.len(), 0);
}

#[tokio::test]
async fn a_problem_opens_after_the_delay_of_its_kind_and_not_if_it_passes_before() {
    let late = |secs| {
        let mut timing = quick();
        timing.patience.iter_mut().filter(|kind| kind.topic == Topic::Late).for_each(|kind: &mut Patience| {
            kind.delay = Duration::from_secs(secs);
        });
        timing
    };
    let bench = Bench::with(NotifyFormat::Slack, late(600)).await;
    bench.execute(stream_row("acme", "marks")).await;
    bench
        .execute("update tidegate.stream set expected_by = now() - interval '1 h', expected_after = last_success_at")
        .await;
    bench.check().await;
    assert_eq!(bench.open().await.len(), 0);
    bench.execute("update tidegate.problem set seen_first_at = now() - interval '11 minutes'").await;
    bench.check().await;
    assert_eq!(bench.open().await, ["late acme/marks"]);

    let bench = Bench::with(NotifyFormat::Slack, late(600)).await;
    bench.execute(stream_row("acme", "marks")).await;
    bench
        .execute("update tidegate.stream set expected_by = now() - interval '1 h', expected_after = last_success_at")
        .await;
    bench.check().await;
    bench.mend(&["marks"]).await;
    bench.check().await;
    assert_eq!(bench.all("select kind from tidegate.problem").await.len(), 0, "nothing is left of it");
    assert_eq!(bench.all("select kind from tidegate.event").await.len(), 0);
}

#[tokio::test]
async fn a_gap_that_a_run_will_read_is_no_problem() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.execute(stream_row("acme", "marks")).await;
    bench
        .execute(
            "update tidegate.stream set has_gap = true;
            insert into tidegate.run (job, connection, kind, state) values ('hourly', 'acme', 'backfill', 'queued');
            insert into tidegate.task (run_id, stream) select id, 'marks' from tidegate.run",
        )
        .await;
    bench.check().await;
    assert_eq!(bench.open().await.len(), 0);
    bench.execute("update tidegate.run set state = 'cancelled', finished_at = now()").await;
    bench.check().await;
    assert_eq!(bench.open().await, ["gap acme/marks"]);
}

#[tokio::test]
async fn a_pause_ends_no_problem_that_persists_and_opens_none() {
    let by_operator = |job: &str| {
        let pause = "insert into tidegate.pause (job, until, reason, actor) values";
        (format!("{pause} ('{job}', now() + interval '1 hour', 'x', 'y')"), "delete from tidegate.pause")
    };
    let by_configuration =
        ("update tidegate.stream set paused = true".to_owned(), "update tidegate.stream set paused = false");
    for (pause, resume) in [by_operator(""), by_operator("hourly"), by_configuration] {
        let bench = Bench::new(NotifyFormat::Slack).await;
        bench.accepts().await;
        for stream in ["marks", "other", "third", "behind", "holed"] {
            bench.execute(stream_row("acme", stream)).await;
        }
        bench.execute("update tidegate.stream set active_jobs = jobs").await;
        bench.execute("update tidegate.stream set held_slices = 1 where stream = 'marks'").await;
        bench.execute("update tidegate.stream set has_gap = true where stream = 'holed'").await;
        bench
            .execute(
                "update tidegate.stream set expected_by = now() - interval '1 h', expected_after = last_success_at
                where stream = 'behind'",
            )
            .await;
        bench.fail(&["other"], "refused").await;
        bench.check().await;
        let open = ["failed acme/other", "gap acme/holed", "held acme/marks", "late acme/behind"];
        assert_eq!(bench.open().await, open);
        bench.send().await;

        bench.execute(pause.clone()).await;
        assert_eq!(bench.all("select distinct state from tidegate.stream_state").await, ["paused"]);
        bench.execute("update tidegate.stream set held_slices = 1 where stream = 'third'").await;
        bench.check().await;
        bench.check().await;
        assert_eq!((bench.open().await, bench.send().await), (open.map(str::to_owned).to_vec(), 0), "{pause}");
        bench.execute("update tidegate.stream set held_slices = 0 where stream = 'third'").await;
        bench.execute(resume).await;
        bench.check().await;
        bench.check().await;
        assert_eq!((bench.open().await, bench.send().await), (open.map(str::to_owned).to_vec(), 0), "{pause}");
        assert_eq!(bench.all("select id::text from tidegate.problem").await.len(), 4, "they are the same problems");

        // Put right by hand during a pause.
        bench.execute(pause.clone()).await;
        bench.execute("update tidegate.stream set held_slices = 0, has_gap = false").await;
        bench.mend(&["other", "behind"]).await;
        bench.check().await;
        bench.check().await;
        assert_eq!(bench.open().await.len(), 0, "{pause}");
        assert!(bench.send().await > 0, "its end is sent");
    }
}

#[tokio::test]
async fn what_is_expected_during_a_pause_of_an_operator_does_not_join_a_problem_of_its_connection() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    for stream in ["a", "b", "c", "d", "e", "on_time"] {
        bench.execute(stream_row("acme", stream)).await;
    }
    bench
        .execute(
            "update tidegate.stream
            set active_jobs = jobs, expected_by = now() - interval '1 h', expected_after = last_success_at
            where stream <> 'on_time'",
        )
        .await;
    bench.check().await;
    assert_eq!(bench.open().await, ["late acme"]);
    bench
        .execute("insert into tidegate.pause (job, until, reason, actor) values ('', now() + interval '1 h', 'x', 'y')")
        .await;
    bench
        .execute(
            "update tidegate.stream
            set active_jobs = jobs, expected_by = clock_timestamp(), expected_after = last_success_at
            where stream = 'on_time'",
        )
        .await;
    bench.check().await;
    bench.check().await;
    let streams = bench.all("select streams || ' ' || summary from tidegate.problem where closed_at is null").await;
    assert!(streams.len() == 1 && streams[0].starts_with("5 the first data were expected by "), "{streams:?}");
}

#[tokio::test]
async fn p11_a_late_stream_is_named_with_what_was_expected_what_is_complete_and_the_cause() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.execute(stream_row("acme", "marks")).await;
    bench
        .execute(
            "update tidegate.stream
            set expected_by = '2026-01-03 04:30Z', expected_after = last_success_at, complete_until = '2026-01-02 04:00Z'",
        )
        .await;
    let said = async || {
        bench.check().await;
        bench.all("select summary || '. ' || hint from tidegate.problem where closed_at is null").await.pop().unwrap()
    };
    let known = "data were expected by 2026-01-03 04:30 UTC; complete until 2026-01-02 04:00 UTC";
    let runs = "see the last runs with `tidegate runs hourly --tasks`";
    let sync = "; to read now, run `tidegate sync hourly`";
    assert_eq!(said().await, format!("{known}. {runs}{sync}"));
    bench.execute("update tidegate.stream set failures = 1, last_error = 'the vendor did not respond'").await;
    assert_eq!(said().await, format!("{known}; the last error: the vendor did not respond. {runs}{sync}"));
    bench
        .execute(
            "insert into tidegate.run (job, connection, kind, state) values ('hourly', 'acme', 'schedule', 'waiting');
            insert into tidegate.task (run_id, stream, state, waiting_for, waiting_until)
            select id, 'marks', 'waiting', 'quota period_calls', '2030-01-01 04:59:59.96Z' from tidegate.run",
        )
        .await;
    let quota = "it waits for quota period_calls until 2030-01-01 05:00 UTC";
    let hint = "see the use of the quotas with `tidegate quota --connection acme`";
    assert_eq!(said().await, format!("{known}; {quota}. {hint}"));
    bench.execute("update tidegate.task set waiting_for = 'export'").await;
    assert_eq!(said().await, format!("{known}; it waits for export until 2030-01-01 05:00 UTC. {runs}"));
}

#[tokio::test]
async fn a_stream_that_fails_before_it_has_succeeded_is_a_problem_at_once() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    bench.execute(stream_row("acme", "marks")).await;
    bench.execute(stream_row("acme", "other")).await;
    bench.execute("update tidegate.stream set last_success_at = null where stream = 'marks'").await;
    bench.check().await;
    assert_eq!(bench.open().await.len(), 0, "it has not been read");
    // The other one has succeeded before: one failure is left to the next firing.
    bench.execute("update tidegate.stream set failures = 1, last_error = 'the vendor did not respond'").await;
    bench.check().await;
    assert_eq!(bench.open().await, ["failed acme/marks"]);
    bench.send().await;
    let texts = bench.texts().await;
    assert!(texts.len() == 1 && texts[0].contains("the vendor did not respond"), "{texts:?}");
    bench.mend(&["marks"]).await;
    bench.check().await;
    bench.check().await;
    assert_eq!(bench.open().await.len(), 0);
}

/// A reading is refused with words about a customer. Each message has the status and the hint, and none of them.
#[tokio::test(flavor = "multi_thread")]
async fn p7_messages_have_nothing_that_a_vendor_wrote() {
    const PERSONAL: [&str; 2] = ["maria@example.com", "+56 9 1234 5678"];
    let said = PERSONAL.join(" ");
    for format in [NotifyFormat::Slack, NotifyFormat::Cloudevents] {
        let (world, bench) = (World::new().await, Bench::new(format).await);
        let pool = world.database.pool();
        let mut config = (*bench.config).clone();
        config.notify[0].on.insert(Topic::RunFinished);
        let config = Arc::new(config);
        bench.accepts().await;
        // Activity is sent from now on.
        assert!(bench.notifier.check(&pool, &config).await.unwrap());
        let errors = format!(r#"["customer {said}","customer {said}"]"#);
        world.control().next(Match::report("navigation_marks"), Action::Invalid { errors_json: errors });
        let tasks = world.sync().await;
        let error = tasks[0].error.as_deref().unwrap();
        assert_eq!(error, format!("the report failed at the vendor: “customer {said}”"), "once, and stored");
        sqlx::query("update tidegate.stream set needs_operator = true").execute(&pool).await.unwrap();
        assert!(bench.notifier.check(&pool, &config).await.unwrap());
        while let 1.. = super::round(&bench.notifier, &pool, &config).await {}
        let received = bench.received().await;
        assert!(received.len() >= 2, "a problem and a run: {received:?}");
        for request in &received {
            let text = String::from_utf8(request.body.clone()).unwrap();
            assert!(PERSONAL.iter().all(|word| !text.contains(word)) && !text.contains("maria"), "{text}");
        }
        let all: Vec<String> = received.iter().map(|request| super::body(request).to_string()).collect();
        assert!(all.iter().all(|text| text.contains("the report failed at the vendor: “…”")), "{all:?}");
    }
}

#[tokio::test]
async fn the_usual_delays_are_those_of_the_documents() {
    let timing = Timing::default();
    let delay = |topic| timing.patience.iter().find(|kind| kind.topic == topic).unwrap().delay.as_secs() / 60;
    let minutes = Topic::PROBLEMS.map(delay);
    assert_eq!(minutes, [0, 0, 10, 60, 0, 0, 0, 2, 0, 15, 2]);
    assert_eq!(timing.backoff.len(), 7);
}

#[tokio::test]
async fn a_refused_credential_is_a_problem_with_its_run_and_a_hint() {
    let world = World::new().await;
    let pool = world.database.pool();
    let config = super::config("http://127.0.0.1:1", NotifyFormat::Slack);
    let notifier = super::notifier(quick());
    let check = async || {
        assert!(notifier.check(&pool, &config).await.unwrap());
    };
    let mut right = String::new();
    world.edit_config(|text| {
        right.clone_from(&text);
        text.lines()
            .map(|line| if line.contains("access_token_secret:") { "    access_token_secret: wrong" } else { line })
            .fold(String::new(), |text, line| text + line + "\n")
    });
    let tasks = world.sync().await;
    assert_eq!(tasks[0].state, "failed", "{tasks:?}");
    check().await;
    let problem: (String, String, Option<String>, Option<i64>) =
        sqlx::query_as("select scope, summary, hint, run_id from tidegate.problem").fetch_one(&pool).await.unwrap();
    let run: i64 = world.scalar("select max(id) from tidegate.run").await;
    assert_eq!((problem.0.as_str(), problem.3), ("acme/navigation_marks", Some(run)));
    assert!(problem.2.as_ref().is_some_and(|hint| hint.contains("check the credentials")), "{problem:?}");
    world.edit_config(|_| right);
    world.sync_ok().await;
    check().await;
    check().await;
    let closed: bool = world.scalar("select closed_at is not null from tidegate.problem").await;
    assert!(closed);
}
