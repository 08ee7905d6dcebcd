//! What is sent, and when.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use tidegate::config::NotifyFormat;
use tidegate::notify::Timing;
use tidegate::store::topic::Topic;

use super::{Bench, body, quick, stream_row};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_problem_and_its_end_are_sent_once_each() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    bench.fail(&["marks"], "the vendor responded with status 401").await;
    bench.check().await;
    assert_eq!(bench.send().await, 1);
    bench.check().await;
    assert_eq!(bench.send().await, 0, "it is the same problem");
    bench.mend(&["marks"]).await;
    bench.check().await;
    assert_eq!((bench.send().await, bench.open().await.len()), (0, 1), "one check without it is not enough");
    bench.check().await;
    assert_eq!((bench.send().await, bench.open().await.len()), (1, 0));
    let texts = bench.texts().await;
    assert!(texts[0].starts_with("*prod*: 1 problem\n✕ acme/marks fails since "), "{}", texts[0]);
    assert!(texts[0].contains("the vendor responded with status 401"), "{}", texts[0]);
    assert!(texts[0].ends_with("<https://ops.example/tidegate/streams/acme/marks|open>"), "{}", texts[0]);
    assert!(texts[1].starts_with("*prod*: 1 over\n✓ acme/marks: over since "), "{}", texts[1]);
    let events = bench.all("select kind || ': ' || summary from tidegate.event order by id").await;
    assert_eq!(
        events,
        [
            "problem: failed: the vendor responded with status 401",
            "recovered: failed: the vendor responded with status 401"
        ]
    );
}

#[tokio::test]
async fn events_are_cloudevents_with_the_signature_of_standard_webhooks() {
    let bench = Bench::new(NotifyFormat::Cloudevents).await;
    bench.accepts().await;
    bench.fail(&["marks"], "the vendor responded with status 401").await;
    bench.check().await;
    bench.send().await;
    bench.mend(&["marks"]).await;
    bench.check().await;
    bench.check().await;
    bench.send().await;
    let requests = bench.received().await;
    let [opened, over] = requests.as_slice() else { panic!("{requests:?}") };
    let header = |name: &str| opened.headers.get(name).unwrap().to_str().unwrap();
    assert_eq!(header("content-type"), "application/cloudevents+json");
    assert_eq!(header("x-token"), "header-s3cret-value");
    let signed = [header("webhook-id"), ".", header("webhook-timestamp"), "."].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"012345678901234567890123");
    let tag = STANDARD.decode(header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
    hmac::verify(&key, &[signed.as_bytes(), &opened.body].concat(), &tag).unwrap();
    let (opened, over) = (body(opened), body(over));
    assert_eq!(opened["id"], header("webhook-id"));
    for (member, value) in [
        ("specversion", "1.0"),
        ("type", "tidegate.problem.opened"),
        ("source", "https://ops.example/tidegate"),
        ("subject", "acme/marks"),
        ("datacontenttype", "application/json"),
    ] {
        assert_eq!(opened[member], value);
    }
    let data = &opened["data"];
    assert_eq!(
        (&data["kind"], &data["connection"], &data["stream"]),
        (&"failed".into(), &"acme".into(), &"marks".into())
    );
    assert_eq!((&data["table"], &data["job"]), (&"lynn.marks".into(), &"hourly".into()));
    assert!(data["closed_at"].is_null());
    assert_eq!(over["type"], "tidegate.problem.recovered");
    assert!(over["data"]["closed_at"].is_string() && over["id"] != opened["id"]);
    assert_eq!(over["data"]["problem"], data["problem"]);
}

#[tokio::test]
async fn a_problem_that_is_over_before_its_message_was_sent_is_not_sent() {
    for format in [NotifyFormat::Slack, NotifyFormat::Cloudevents] {
        let bench = Bench::with(format, Timing { first: HOUR, ..quick() }).await;
        bench.accepts().await;
        bench.fail(&["marks"], "refused").await;
        bench.check().await;
        bench.mend(&["marks"]).await;
        bench.check().await;
        bench.check().await;
        bench.send().await;
        assert_eq!(bench.received().await.len(), 0, "{format:?}");
        assert_eq!(bench.all("select kind from tidegate.notification").await.len(), 0, "{format:?}");
    }
}

#[tokio::test]
async fn the_end_is_sent_only_to_targets_that_received_the_beginning() {
    let mut bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    bench.configure(|target| {
        target.on.remove(&Topic::Failed);
    });
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    // It receives failures from now on.
    bench.configure(|target| {
        target.on.insert(Topic::Failed);
    });
    bench.mend(&["marks"]).await;
    bench.check().await;
    bench.check().await;
    assert_eq!((bench.send().await, bench.open().await.len()), (0, 0));
}

#[tokio::test]
async fn a_target_is_reminded_of_what_stays_open_and_not_of_what_is_muted() {
    let mut bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    bench.send().await;
    bench.check().await;
    assert_eq!(bench.send().await, 0);
    bench.configure(|target| target.repeat = Duration::from_millis(1));
    bench.execute("update tidegate.problem set muted_until = now() + interval '1 hour'").await;
    bench.check().await;
    assert_eq!(bench.send().await, 0);
    bench.execute("update tidegate.problem set muted_until = now() - interval '1 hour'").await;
    bench.check().await;
    assert_eq!(bench.send().await, 1);
    assert!(
        bench.texts().await[1].starts_with("*prod*: 1 still open\n✕ acme/marks fails"),
        "{:?}",
        bench.texts().await
    );
}

#[tokio::test]
async fn a_mute_withdraws_a_reminder_that_was_stored_before_it() {
    for format in [NotifyFormat::Slack, NotifyFormat::Cloudevents] {
        let mut bench = Bench::new(format).await;
        bench.accepts().await;
        bench.fail(&["marks"], "refused").await;
        bench.check().await;
        assert_eq!(bench.send().await, 1);
        bench.configure(|target| target.repeat = Duration::from_millis(1));
        bench.check().await;
        assert_eq!(bench.all("select id::text from tidegate.notification where state = 'due'").await.len(), 1);
        bench.execute("update tidegate.problem set muted_until = now() + interval '1 hour'").await;
        bench.send().await;
        assert_eq!(bench.received().await.len(), 1, "{format:?}");
        assert_eq!(bench.all("select state from tidegate.notification").await, ["sent"], "{format:?}");
    }
}

/// A mute is about reminders: a target that has received nothing of the problem still receives its beginning.
#[tokio::test]
async fn a_mute_withdraws_no_beginning() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    bench.execute("update tidegate.problem set muted_until = now() + interval '1 hour'").await;
    assert_eq!(bench.send().await, 1);
}

#[tokio::test]
async fn a_reminder_is_stored_a_whole_repeat_after_the_delivery_or_the_last_attempt() {
    for is_given_up in [false, true] {
        let backoff = if is_given_up { vec![Duration::ZERO] } else { vec![HOUR; 7] };
        let mut bench = Bench::with(NotifyFormat::Cloudevents, Timing { backoff, ..quick() }).await;
        bench.configure(|target| target.repeat = 2 * HOUR);
        bench.responds(wiremock::ResponseTemplate::new(503)).await;
        bench.fail(&["marks"], "refused").await;
        bench.check().await;
        bench.send().await;
        // It opened long ago, and the target did not accept it until now.
        let earlier = "update tidegate.notification set created_at = created_at - interval '3 hours';
            update tidegate.problem set seen_first_at = seen_first_at - interval '3 hours', opened_at = opened_at - interval '3 hours'";
        bench.execute(earlier).await;
        bench.check().await;
        let messages = async || bench.all("select state from tidegate.notification order by created_at").await;
        assert_eq!(messages().await, [if is_given_up { "given_up" } else { "due" }]);
        bench.accepts().await;
        bench.execute("update tidegate.notification set due_at = now() where state = 'due'").await;
        bench.send().await;
        bench.check().await;
        assert_eq!(messages().await, [if is_given_up { "given_up" } else { "sent" }]);
        let longer = "update tidegate.notification
            set sent_at = sent_at - interval '3 hours', due_at = due_at - interval '3 hours'";
        bench.execute(longer).await;
        bench.check().await;
        assert_eq!(messages().await.len(), 2, "a reminder");
    }
}

#[tokio::test]
async fn the_end_of_a_problem_is_sent_although_its_stream_is_late_by_then() {
    let mut timing = quick();
    timing.patience.iter_mut().filter(|kind| kind.topic == Topic::Late).for_each(|kind| kind.delay = HOUR);
    let bench = Bench::with(NotifyFormat::Slack, timing).await;
    bench.accepts().await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    bench.send().await;
    bench
        .execute(
            "update tidegate.stream
            set needs_operator = false, expected_by = now() - interval '1 h', expected_after = last_success_at",
        )
        .await;
    bench.check().await;
    bench.check().await;
    assert_eq!((bench.open().await.len(), bench.send().await), (0, 1));
    let texts = bench.texts().await;
    assert!(texts[1].starts_with("*prod*: 1 over\n✓ acme/marks: over since "), "{texts:?}");
    // It is on time before it is reported as late: nothing is sent.
    bench.mend(&["marks"]).await;
    bench.check().await;
    bench.check().await;
    assert_eq!((bench.open().await.len(), bench.send().await), (0, 0));
}

#[tokio::test]
async fn a_problem_stays_open_while_its_stream_has_a_worse_one_and_the_ends_of_both_are_sent() {
    let bench = Bench::new(NotifyFormat::Cloudevents).await;
    bench.accepts().await;
    bench.execute(stream_row("acme", "marks")).await;
    bench
        .execute("update tidegate.stream set expected_by = now() - interval '1 h', expected_after = last_success_at")
        .await;
    bench.check().await;
    assert_eq!((bench.open().await, bench.send().await), (vec!["late acme/marks".to_owned()], 1));
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    bench.check().await;
    assert_eq!(bench.open().await, ["failed acme/marks", "late acme/marks"]);
    assert_eq!(bench.send().await, 1);
    bench.mend(&["marks"]).await;
    bench.check().await;
    bench.check().await;
    bench.send().await;
    let types: Vec<_> = bench.received().await.iter().map(|request| body(request)["type"].clone()).collect();
    let ends = types.iter().filter(|kind| **kind == "tidegate.problem.recovered").count();
    assert_eq!((types.len(), ends, bench.open().await.len()), (4, 2, 0), "{types:?}");
}

#[tokio::test]
async fn a_problem_that_takes_over_others_is_open_and_as_old_as_they_are_and_a_program_receives_their_ends() {
    let mut timing = quick();
    timing.patience.iter_mut().filter(|kind| kind.topic == Topic::Late).for_each(|kind| kind.delay = HOUR);
    let bench = Bench::with(NotifyFormat::Cloudevents, timing).await;
    bench.accepts().await;
    let late = async |stream: &str| {
        bench.execute(stream_row("acme", stream)).await;
        bench
            .execute(format!(
                "update tidegate.stream set expected_by = now() - interval '1 h', expected_after = last_success_at
                where stream = '{stream}'"
            ))
            .await;
    };
    late("marks").await;
    bench.check().await;
    bench.execute("update tidegate.problem set seen_first_at = '2026-01-01 00:00Z'").await;
    bench.check().await;
    assert_eq!(bench.open().await, ["late acme/marks"]);
    bench.send().await;
    for stream in ["a", "b", "c", "d"] {
        late(stream).await;
    }
    bench.check().await;
    assert_eq!(bench.open().await, ["late acme"], "the streams that are new need not be late for an hour");
    let since = "select (seen_first_at = '2026-01-01 00:00Z')::text from tidegate.problem where closed_at is null";
    assert_eq!(bench.all(since).await, ["true"]);
    bench.send().await;
    let seen: Vec<_> = bench.received().await.iter().map(body).collect();
    let about = |event: &serde_json::Value| (event["type"].clone(), event["subject"].clone());
    let [_, second, third] = seen.as_slice() else { panic!("{seen:?}") };
    let mut rest = [about(second), about(third)].map(|(kind, subject)| format!("{kind} {subject}"));
    rest.sort();
    assert_eq!(rest, [r#""tidegate.problem.merged" "acme/marks""#, r#""tidegate.problem.opened" "acme""#], "{seen:?}");
    let [merged, opened] = if second["type"] == "tidegate.problem.merged" { [second, third] } else { [third, second] };
    assert_eq!(merged["data"]["merged_into"], opened["data"]["problem"], "{seen:?}");
    assert!(opened["data"]["merged_into"].is_null() && merged["data"]["closed_at"].is_string(), "{seen:?}");
}

#[tokio::test]
async fn a_problem_has_the_same_beginning_in_messages_and_in_the_api() {
    let mut timing = quick();
    timing.patience.iter_mut().filter(|kind| kind.topic == Topic::Late).for_each(|kind| kind.delay = HOUR);
    let bench = Bench::with(NotifyFormat::Cloudevents, timing).await;
    bench.accepts().await;
    bench.execute(stream_row("acme", "marks")).await;
    bench
        .execute("update tidegate.stream set expected_by = now() - interval '1 h', expected_after = last_success_at")
        .await;
    bench.check().await;
    bench.execute("update tidegate.problem set seen_first_at = '2026-01-01 00:00Z'").await;
    bench.check().await;
    bench.send().await;
    let sent = body(&bench.received().await[0])["data"]["opened_at"].clone();
    let mut conn = bench.pool.acquire().await.unwrap();
    let open = tidegate::report::open_problems(&mut conn, 10).await.unwrap();
    assert_eq!(
        (sent, open.problems[0].opened_at),
        ("2026-01-01T00:00:00.000Z".into(), "2026-01-01T00:00:00Z".parse().unwrap())
    );
}

#[tokio::test]
async fn streams_with_one_cause_are_one_problem_of_their_connection() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    bench.fail(&["marks"], "the credential was refused (request 17)").await;
    bench.check().await;
    assert_eq!(bench.open().await, ["failed acme/marks"]);
    bench.fail(&["dialogs", "surveys"], "the credential was refused (request 18)").await;
    bench.fail(&["other"], "the report does not exist").await;
    bench.check().await;
    assert_eq!(bench.open().await, ["failed acme", "failed acme/other"]);
    bench.send().await;
    let texts = bench.texts().await;
    assert_eq!(
        texts.len(),
        1,
        "the problem of the stream became part of that of the connection before it was sent: {texts:?}"
    );
    assert!(texts[0].contains("3 streams of acme fail since ") && texts[0].contains("acme/other fails"), "{texts:?}");
    // It stays the same problem while it has a stream.
    bench.mend(&["dialogs", "surveys"]).await;
    bench.check().await;
    bench.check().await;
    assert_eq!(bench.open().await, ["failed acme", "failed acme/other"]);
    // The outage shows another error: it is the same problem.
    bench.fail(&["marks", "dialogs", "surveys"], "the vendor did not respond").await;
    bench.check().await;
    bench.check().await;
    assert_eq!((bench.open().await.len(), bench.send().await), (2, 0));
    let streams = "select streams || ' ' || summary from tidegate.problem where closed_at is null order by scope";
    assert_eq!(bench.all(streams).await, ["3 the vendor did not respond", "1 the report does not exist"]);
    bench.mend(&["marks", "dialogs", "surveys", "other"]).await;
    bench.check().await;
    bench.check().await;
    bench.send().await;
    assert!(bench.texts().await[1].starts_with("*prod*: 2 over\n"), "{:?}", bench.texts().await);
}

/// What a vendor writes may differ at each call, and one error may follow another while the streams are read in turn.
#[tokio::test]
async fn a_problem_of_several_streams_keeps_its_age_and_its_mute_while_their_errors_change() {
    let bench = Bench::new(NotifyFormat::Cloudevents).await;
    bench.accepts().await;
    let streams = ["marks", "dialogs", "surveys"];
    bench.fail(&streams, "status 400, “outage”").await;
    bench.check().await;
    assert_eq!((bench.open().await, bench.send().await), (vec!["failed acme".to_owned()], 1));
    bench.execute("update tidegate.problem set seen_first_at = '2026-01-01 00:00Z'").await;
    mute(&bench, "acme").await;
    let same = async || {
        bench.check().await;
        bench.check().await;
        assert_eq!((bench.open().await, bench.send().await), (vec!["failed acme".to_owned()], 0));
        let kept = "select streams || ' ' || (seen_first_at = '2026-01-01 00:00Z' and muted_until > now())
            from tidegate.problem";
        bench.all(kept).await
    };
    for (failing, error) in [
        // One stream after another shows the next error.
        (&streams[..2], "status 400, “the service is closed”"),
        (&streams[..], "status 400, “the service is closed”"),
        (&streams[..], "the vendor did not respond"),
        // The error with which it began.
        (&streams[2..], "status 400, “outage”"),
        (&streams[2..], "the vendor did not respond"),
    ] {
        bench.fail(failing, error).await;
        assert_eq!(same().await, ["3 true"], "{error}");
    }
    bench.fail(&["another"], "the report does not exist").await;
    bench.check().await;
    assert_eq!(
        (bench.open().await, bench.send().await),
        (vec!["failed acme".to_owned(), "failed acme/another".to_owned()], 1)
    );
    // The end of the problem is found twice although a stream of its connection still fails.
    bench.mend(&streams).await;
    bench.check().await;
    assert_eq!((bench.open().await.len(), bench.send().await), (2, 0));
    bench.check().await;
    assert_eq!((bench.open().await, bench.send().await), (vec!["failed acme/another".to_owned()], 1));
    let last = body(bench.received().await.last().unwrap());
    assert_eq!((&last["type"], &last["subject"]), (&"tidegate.problem.recovered".into(), &"acme".into()));
    // It fails again: that is a new problem.
    bench.fail(&["marks", "dialogs"], "status 400, “outage”").await;
    bench.check().await;
    let since = "select (opened_at = seen_first_at and muted_until is null)::text from tidegate.problem
        where closed_at is null and scope = 'acme'";
    assert_eq!(bench.all(since).await, ["true"]);
}

/// Mutes the open problems of this scope.
async fn mute(bench: &Bench, scope: &str) {
    bench
        .execute(format!(
            "update tidegate.problem set muted_until = now() + interval '7 days', muted_by = 'operator'
            where scope like '{scope}' and closed_at is null"
        ))
        .await;
}

/// The open problems, how many streams each has, and whether it is muted.
async fn mutes(bench: &Bench) -> Vec<String> {
    let open = "select concat_ws(' ', scope, streams, case when muted_until > now() then 'muted' end)
        from tidegate.problem where opened_at is not null and closed_at is null order by scope";
    bench.all(open).await
}

#[tokio::test]
async fn a_stream_that_fails_for_another_reason_at_two_checks_leaves_the_problem_of_its_connection() {
    let bench = Bench::new(NotifyFormat::Cloudevents).await;
    bench.accepts().await;
    bench.fail(&["marks", "dialogs", "surveys"], "status 400, “outage”").await;
    bench.check().await;
    bench.send().await;
    mute(&bench, "acme").await;
    bench.fail(&["marks"], "the credential was refused").await;
    bench.check().await;
    assert_eq!((mutes(&bench).await, bench.send().await), (vec!["acme 3 muted".to_owned()], 0));
    // It was for once.
    bench.fail(&["marks"], "status 400, “outage”").await;
    bench.check().await;
    bench.fail(&["marks"], "the credential was refused").await;
    bench.check().await;
    assert_eq!((mutes(&bench).await, bench.send().await), (vec!["acme 3 muted".to_owned()], 0));
    bench.check().await;
    let apart = ["acme 2 muted", "acme/marks 1"];
    assert_eq!((mutes(&bench).await, bench.send().await), (apart.map(str::to_owned).to_vec(), 1));
    assert_eq!(body(bench.received().await.last().unwrap())["subject"], "acme/marks");
    bench.check().await;
    bench.check().await;
    assert_eq!((mutes(&bench).await, bench.send().await), (apart.map(str::to_owned).to_vec(), 0));
}

#[tokio::test]
async fn a_problem_whose_streams_all_leave_it_for_others_has_not_recovered() {
    let bench = Bench::new(NotifyFormat::Cloudevents).await;
    bench.accepts().await;
    bench.fail(&["marks", "dialogs"], "status 400, “outage”").await;
    bench.check().await;
    bench.send().await;
    bench.fail(&["marks"], "the credential was refused").await;
    bench.fail(&["dialogs"], "the report does not exist").await;
    bench.check().await;
    assert_eq!((mutes(&bench).await, bench.send().await), (vec!["acme 2".to_owned()], 0));
    bench.check().await;
    bench.send().await;
    assert_eq!(mutes(&bench).await, ["acme/dialogs 1", "acme/marks 1"]);
    let received = bench.received().await;
    let about = |message| {
        let message = body(message);
        format!("{} {}", message["type"].as_str().unwrap(), message["subject"].as_str().unwrap())
    };
    let mut rest: Vec<String> = received[1..].iter().map(about).collect();
    rest.sort_unstable();
    let expected =
        ["tidegate.problem.merged acme", "tidegate.problem.opened acme/dialogs", "tidegate.problem.opened acme/marks"];
    assert_eq!(rest, expected);
    bench.check().await;
    bench.check().await;
    assert_eq!((mutes(&bench).await.len(), bench.send().await), (2, 0));
}

#[tokio::test]
async fn a_problem_that_its_streams_have_left_takes_none_of_them_back() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.fail(&["a", "b"], "status 400, “outage”").await;
    bench.check().await;
    bench.fail(&["x", "y"], "the credential was refused").await;
    bench.check().await;
    assert_eq!(mutes(&bench).await, ["acme 2", "acme 2"]);
    bench.fail(&["x"], "status 400, “outage”").await;
    bench.fail(&["y"], "the report does not exist").await;
    for _ in 0..4 {
        bench.check().await;
    }
    assert_eq!(mutes(&bench).await, ["acme 3", "acme/y 1"]);
}

#[tokio::test]
async fn a_stream_that_joins_a_muted_problem_ends_its_mute_unless_its_own_is_muted() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.fail(&["marks", "dialogs"], "status 400, “outage”").await;
    bench.check().await;
    mute(&bench, "acme").await;
    bench.check().await;
    assert_eq!(mutes(&bench).await, ["acme 2 muted"]);
    // It fails now.
    bench.fail(&["surveys"], "status 400, “outage”").await;
    bench.check().await;
    assert_eq!(mutes(&bench).await, ["acme 3"]);
    // It had an open problem that was not muted.
    bench.fail(&["navigation"], "the report does not exist").await;
    bench.check().await;
    mute(&bench, "acme").await;
    bench.fail(&["navigation"], "status 400, “outage”").await;
    bench.check().await;
    assert_eq!(mutes(&bench).await, ["acme 4"]);
    // That was muted.
    bench.fail(&["tags"], "the report does not exist").await;
    bench.check().await;
    mute(&bench, "%").await;
    bench.fail(&["tags"], "status 400, “outage”").await;
    bench.check().await;
    assert_eq!(mutes(&bench).await, ["acme 5 muted"]);
}

#[tokio::test]
async fn rejects_of_a_stream_that_had_some_before_do_not_end_the_mute_of_its_connection() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    let rejects = async |streams: &[&str]| {
        for stream in streams {
            bench.execute(stream_row("acme", stream)).await;
            bench
                .execute(format!(
                    "with run as (
                        insert into tidegate.run (job, connection, kind, state, finished_at)
                        values ('hourly', 'acme', 'manual', 'succeeded', clock_timestamp())
                        returning id
                    )
                    insert into tidegate.task (run_id, stream, state, records_rejected)
                    select id, '{stream}', 'succeeded', 1 from run"
                ))
                .await;
        }
        bench.check().await;
    };
    bench.check().await;
    rejects(&["a", "b", "c", "d", "e"]).await;
    mute(&bench, "acme").await;
    rejects(&["a"]).await;
    rejects(&["b"]).await;
    assert!(mutes(&bench).await[0].ends_with("muted"), "{:?}", mutes(&bench).await);
    rejects(&["f"]).await;
    assert!(!mutes(&bench).await[0].ends_with("muted"), "{:?}", mutes(&bench).await);
}

#[tokio::test]
async fn two_errors_that_a_vendor_describes_are_two_problems_and_ids_of_requests_make_no_difference() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    let at = "Mon, 30 Nov 2026 23:59:59 GMT";
    bench.fail(&["a"], &format!("status 400, “no such filter (request 3f0c-91ab, {at})”")).await;
    bench.fail(&["b"], "status 400, “no such filter (request beef-7, Tue, 01 Dec 2026 00:00:00 GMT)”").await;
    bench.fail(&["c"], "status 400, “the account is closed (request 5f0c1d7e-7d5a-4c09-8a41-6a3f0a0b8c11)”").await;
    bench.fail(&["d"], "status 400, “the account is closed (request 01JDXQ4T)").await;
    bench.fail(&["e"], "status 400, “the report is too large (request 7)”").await;
    bench.check().await;
    assert_eq!(mutes(&bench).await, ["acme 2", "acme 2", "acme/e 1"]);
}

#[tokio::test]
async fn a_problem_that_takes_over_others_is_muted_if_all_its_streams_were() {
    for (muted, joining, is_muted) in [("acme/marks", false, "false"), ("%", false, "true"), ("%", true, "false")] {
        let bench = Bench::new(NotifyFormat::Slack).await;
        bench.fail(&["marks"], "status 503").await;
        bench.fail(&["dialogs"], "status 503, and more").await;
        bench.check().await;
        mute(&bench, muted).await;
        bench.fail(&["marks", "dialogs"], "the credential was refused").await;
        if joining {
            bench.fail(&["surveys"], "the credential was refused").await;
        }
        bench.check().await;
        assert_eq!(bench.open().await, ["failed acme"]);
        let mute = "select (muted_until is not null and muted_by = 'operator')::text from tidegate.problem
            where closed_at is null";
        assert_eq!(bench.all(mute).await, [is_muted], "{muted} {joining}");
    }
}

#[tokio::test]
async fn an_open_problem_that_joins_a_muted_one_ends_its_mute() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.fail(&["marks", "dialogs"], "the credential was refused").await;
    bench.check().await;
    let mute = "update tidegate.problem set muted_until = now() + interval '7 days', muted_by = 'operator'";
    bench.execute(mute).await;
    bench.fail(&["surveys"], "the report does not exist").await;
    bench.check().await;
    assert_eq!(bench.open().await, ["failed acme", "failed acme/surveys"]);
    let is_muted = "select coalesce(muted_until > now(), false)::text from tidegate.problem
        where closed_at is null and scope = 'acme'";
    assert_eq!(bench.all(is_muted).await, ["true"]);
    bench.fail(&["surveys"], "the credential was refused").await;
    bench.check().await;
    assert_eq!(
        (bench.open().await, bench.all(is_muted).await),
        (vec!["failed acme".to_owned()], vec!["false".to_owned()])
    );
}

#[tokio::test]
async fn a_stream_that_is_retried_or_waits_for_a_quota_is_no_problem() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.execute(stream_row("acme", "marks")).await;
    bench
        .execute(
            "update tidegate.stream
            set failures = 2, last_error = 'the vendor did not respond', expected_by = now() - interval '1 hour',
                expected_after = now(), last_success_at = now() - interval '2 hours';
            insert into tidegate.run (job, connection, kind, state) values ('hourly', 'acme', 'schedule', 'waiting');
            insert into tidegate.task (run_id, stream, state, waiting_for, waiting_until, attempts)
            select id, 'marks', 'waiting', 'requests', now() + interval '1 hour', 2 from tidegate.run",
        )
        .await;
    bench.check().await;
    bench.check().await;
    assert_eq!(bench.open().await.len(), 0);
    bench.execute("update tidegate.run set state = 'failed', finished_at = now()").await;
    bench.check().await;
    assert_eq!(bench.open().await, ["late acme/marks"]);
    // A problem that is open does not end because the next run waits.
    bench.execute("update tidegate.run set state = 'waiting', finished_at = null").await;
    bench.check().await;
    bench.check().await;
    assert_eq!(bench.open().await, ["late acme/marks"]);
}

#[tokio::test]
async fn the_end_of_a_problem_is_not_sent_if_its_stream_is_not_read_any_more() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    bench.send().await;
    bench.execute("update tidegate.stream set jobs = '{}'").await;
    bench.check().await;
    bench.check().await;
    assert_eq!((bench.send().await, bench.open().await.len()), (0, 0));
}

#[tokio::test]
async fn digests_to_a_target_keep_their_distance() {
    let timing = Timing { pause: HOUR, ..quick() };
    let bench = Bench::with(NotifyFormat::Slack, timing).await;
    bench.accepts().await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    assert_eq!(bench.send().await, 1);
    for stream in ["a", "b", "c"] {
        bench.fail(&[stream], &format!("{stream} does not exist")).await;
        bench.check().await;
    }
    assert_eq!(bench.send().await, 0);
    let waiting = bench
        .all(
            "select cardinality(problems) || case when due_at > now() + interval '59 minutes' then ' in an hour' else '' end
            from tidegate.notification where state = 'due'",
        )
        .await;
    assert_eq!(waiting, ["3 in an hour"]);
}
