//! The outbox: retries, refusals, replicas, and messages that a process left behind.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidegate::config::NotifyFormat;
use tidegate::notify::{Outcome, Timing};
use tidegate::store::notification_attempt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use wiremock::ResponseTemplate;

use super::{Bench, body, notifier, quick, round};
use crate::support::eventually;

const MINUTE: Duration = Duration::from_mins(1);

fn id(request: &wiremock::Request) -> String {
    request.headers.get("webhook-id").unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_message_that_is_not_accepted_is_sent_again_under_the_same_id_with_the_same_document() {
    let bench = Bench::new(NotifyFormat::Cloudevents).await;
    bench.responds(ResponseTemplate::new(503).set_body_string("body-s3cret-value")).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    assert_eq!(bench.send_one().await, Some(Outcome::Refused(503)));
    let first = bench.received().await;
    bench.fail(&["marks"], "another error").await;
    bench.check().await;
    bench.accepts().await;
    assert_eq!(bench.send_one().await, Some(Outcome::Accepted(200)));
    let second = bench.received().await;
    assert_eq!((id(&first[0]), body(&first[0])), (id(&second[0]), body(&second[0])));
    assert_eq!(bench.send_one().await, None);
    let row = bench.all("select state || ' ' || attempts || ' ' || outcome from tidegate.notification").await;
    assert_eq!(row, ["sent 2 HTTP 200"]);
}

#[tokio::test]
async fn attempts_are_spread_and_end() {
    let timing = Timing { backoff: vec![MINUTE, 10 * MINUTE], ..quick() };
    let bench = Bench::with(NotifyFormat::Slack, timing).await;
    bench.responds(ResponseTemplate::new(500)).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    for (pause, state) in [(60.0, "due"), (600.0, "due"), (0.0, "given_up")] {
        assert_eq!(bench.send().await, 1);
        let row: (String, f64) = sqlx::query_as(
            "select state, extract(epoch from due_at - clock_timestamp())::double precision from tidegate.notification",
        )
        .fetch_one(&bench.pool)
        .await
        .unwrap();
        assert_eq!(row.0, state);
        assert!(row.1 > pause * 0.79 - 5.0 && row.1 < pause * 1.21, "{} of {pause}", row.1);
        bench.execute("update tidegate.notification set due_at = now() where state = 'due'").await;
    }
    bench.accepts().await;
    // The target has not received the problem, so it does not receive its end.
    bench.mend(&["marks"]).await;
    bench.check().await;
    bench.check().await;
    assert_eq!(bench.send().await, 0);
}

/// An attempt of a process that ended. It recorded no outcome.
const CUT_OFF: &str = "update tidegate.notification set attempts = attempts + 1, outcome = null, due_at = now()";

#[tokio::test]
async fn attempts_that_were_cut_off_use_up_no_retries() {
    let timing = Timing { backoff: vec![MINUTE, 10 * MINUTE], ..quick() };
    let bench = Bench::with(NotifyFormat::Slack, timing).await;
    bench.responds(ResponseTemplate::new(500)).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    for (after, state) in [("30 seconds", "due"), ("7 minutes", "due"), ("-1 minute", "given_up")] {
        for _ in 0..5 {
            bench.execute(CUT_OFF).await;
        }
        assert_eq!(bench.send().await, 1);
        let row = format!("select state || (due_at > now() + interval '{after}') from tidegate.notification");
        assert_eq!(bench.all(&row).await, [format!("{state}true")]);
    }
    assert_eq!(bench.all("select failures || ' of ' || attempts from tidegate.notification").await, ["3 of 18"]);
}

/// Sending the message may be what ends the process.
#[tokio::test]
async fn a_message_whose_attempts_are_cut_off_is_sent_more_and_more_seldom_and_given_up() {
    const LEASE: Duration = Duration::from_secs(30);
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    let mut leases = Vec::new();
    for attempts in 1..=20 {
        let claimed = notification_attempt::claim(&bench.pool, "oncall", LEASE, None).await.unwrap().unwrap();
        assert_eq!((claimed.attempts, claimed.failures, claimed.cut_off), (attempts, 0, attempts - 1));
        let lease =
            "select ceil(extract(epoch from due_at - clock_timestamp()) / 30)::integer from tidegate.notification";
        leases.push(sqlx::query_scalar::<_, i32>(lease).fetch_one(&bench.pool).await.unwrap());
        bench.execute("update tidegate.notification set due_at = now()").await;
    }
    assert_eq!(leases[..8], [1, 2, 4, 8, 16, 32, 64, 120], "{leases:?}");
    assert!(leases[8..].iter().all(|lease| *lease == 120), "at most an hour: {leases:?}");
    bench.fail(&["dialogs"], "does not exist").await;
    bench.check().await;
    assert_eq!(bench.send().await, 1, "the other one is sent");
    let given_up = "select attempts || ' ' || outcome from tidegate.notification where state = 'given_up'";
    assert_eq!(bench.all(given_up).await, ["20 the process ended before there was an outcome"]);
}

#[tokio::test]
async fn beginnings_are_sent_before_ends_and_reminders_and_each_before_its_own_end() {
    let bench = Bench::new(NotifyFormat::Cloudevents).await;
    bench.accepts().await;
    let names: Vec<String> = (0..4).map(|n| format!("marks{n}")).collect();
    let removed: Vec<&str> = names.iter().map(String::as_str).collect();
    for (stream, error) in removed.iter().zip(["a", "b", "c", "d"]) {
        another(&bench, stream, error).await;
    }
    assert_eq!(bench.send().await, 4);
    bench.mend(&removed).await;
    bench.check().await;
    bench.check().await;
    another(&bench, "dialogs", "does not exist").await;
    // It is over before the target has accepted its beginning.
    bench.responds(ResponseTemplate::new(500)).await;
    assert_eq!(bench.send_one().await, Some(Outcome::Refused(500)));
    bench.accepts().await;
    bench.mend(&["dialogs"]).await;
    bench.check().await;
    bench.check().await;
    another(&bench, "surveys", "timeout").await;
    assert_eq!(bench.send().await, 7);
    let received = bench.received().await;
    let events: Vec<String> = received
        .iter()
        .map(|request| {
            let event = body(request);
            let kind = event["type"].as_str().unwrap().replace("tidegate.problem.", "");
            format!("{kind} {}", event["subject"].as_str().unwrap().replace("acme/", ""))
        })
        .collect();
    assert_eq!(events[..2], ["opened dialogs", "opened surveys"], "{events:?}");
    assert!(events[2..].iter().all(|event| event.starts_with("recovered ")), "{events:?}");
    assert_eq!(events[6], "recovered dialogs", "{events:?}");
}

#[tokio::test]
async fn a_target_that_asks_to_wait_is_left_alone_for_that_time() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.responds(ResponseTemplate::new(429).insert_header("retry-after", "600")).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    assert_eq!(bench.send().await, 1);
    let waits =
        bench.all("select (due_at > now() + interval '9 minutes')::text || outcome from tidegate.notification").await;
    assert_eq!(waits, ["trueHTTP 429"]);
}

/// As patient as after any other failure: a short time that the target asks for does not use up the attempts.
#[tokio::test]
async fn p12_a_target_that_asks_for_a_second_is_tried_for_as_long_as_any_other() {
    let bench = Bench::with(NotifyFormat::Slack, Timing { backoff: vec![MINUTE, 10 * MINUTE], ..quick() }).await;
    bench.responds(ResponseTemplate::new(429).insert_header("retry-after", "1")).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    for after in ["45 seconds", "7 minutes"] {
        assert_eq!(bench.send().await, 1);
        let due =
            format!("select (state = 'due' and due_at > now() + interval '{after}')::text from tidegate.notification");
        assert_eq!(bench.all(&due).await, ["true"]);
        bench.execute("update tidegate.notification set due_at = now()").await;
        bench.execute("update tidegate.notification_target set paused_until = null").await;
    }
}

/// Adds a problem that is a message of its own.
async fn another(bench: &Bench, stream: &str, error: &str) {
    bench.fail(&[stream], error).await;
    bench.check().await;
}

#[tokio::test]
async fn a_target_that_asks_to_wait_or_fails_receives_no_other_message_meanwhile() {
    for (response, least) in [
        (ResponseTemplate::new(429).insert_header("retry-after", "600"), "9 minutes"),
        (ResponseTemplate::new(503), "40 seconds"),
    ] {
        let timing = Timing { backoff: vec![60 * MINUTE; 7], target_pause: MINUTE, ..quick() };
        let bench = Bench::with(NotifyFormat::Cloudevents, timing).await;
        bench.responds(response).await;
        another(&bench, "marks", "refused").await;
        another(&bench, "dialogs", "does not exist").await;
        assert_eq!(bench.send().await, 1, "the other one waits");
        let paused = format!(
            "select (paused_until > clock_timestamp() + interval '{least}')::text from tidegate.notification_target",
        );
        assert_eq!(bench.all(&paused).await, ["true"]);
        bench.accepts().await;
        assert_eq!(bench.send().await, 0);
        bench.execute("update tidegate.notification_target set paused_until = clock_timestamp()").await;
        assert_eq!(bench.send().await, 2, "as soon as it accepts one, it receives all");
        // The clock was ahead when the time was stored.
        bench.execute("update tidegate.notification_target set paused_until = now() + interval '3 hours'").await;
        another(&bench, "surveys", "timeout").await;
        assert_eq!(bench.send().await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_respond_holds_up_no_other() {
    let timing = Timing { timeout: Duration::from_secs(30), lease: MINUTE, ..quick() };
    let mut bench = Bench::with(NotifyFormat::Cloudevents, timing).await;
    let silent = wiremock::MockServer::start().await;
    bench.accepts().await;
    wiremock::Mock::given(wiremock::matchers::any())
        .respond_with(ResponseTemplate::new(200).set_delay(MINUTE))
        .mount(&silent)
        .await;
    bench.add_target("silent", &silent.uri());
    another(&bench, "marks", "refused").await;
    bench.notifier.send(&bench.pool, &bench.config).await.unwrap();
    eventually(Duration::from_secs(20), async || {
        let asked = silent.received_requests().await.unwrap().len() == 1 && bench.received().await.len() == 1;
        asked.then_some(())
    })
    .await;
    for (n, error) in ["a", "b", "c"].iter().enumerate() {
        another(&bench, &format!("more{n}"), error).await;
        eventually(Duration::from_secs(20), async || {
            bench.notifier.send(&bench.pool, &bench.config).await.unwrap();
            (bench.received().await.len() == n + 2).then_some(())
        })
        .await;
    }
    assert_eq!(silent.received_requests().await.unwrap().len(), 1, "one attempt at a time");
}

#[tokio::test]
async fn a_target_is_stuck_while_it_accepts_nothing_and_not_while_many_messages_wait() {
    let bench = Bench::with(NotifyFormat::Cloudevents, Timing { backoff: Vec::new(), ..quick() }).await;
    let age = async || {
        let names = [bench.config.notify[0].name.clone()];
        let known = tidegate::store::notification_target::deliveries(&bench.pool, &names).await.unwrap();
        known[0].stuck_seconds
    };
    assert!(age().await.abs() < f64::EPSILON);
    bench.accepts().await;
    another(&bench, "marks", "refused").await;
    bench.execute("update tidegate.notification set (created_at, due_at) = row (now() - interval '1 hour', now() - interval '1 hour')").await;
    assert!(age().await >= 3_599.0, "it has waited for an hour");
    bench.send().await;
    assert!(age().await.abs() < f64::EPSILON);
    another(&bench, "dialogs", "does not exist").await;
    bench.execute("update tidegate.notification set (created_at, due_at) = row (now() - interval '1 hour', now() - interval '1 hour')").await;
    assert!(age().await < 60.0, "it accepted one a moment ago");
    bench.responds(ResponseTemplate::new(500)).await;
    bench.send().await;
    assert_eq!(bench.all("select state from tidegate.notification order by state").await, ["given_up", "sent"]);
    bench.execute("update tidegate.notification_target set sent_at = now() - interval '20 minutes'").await;
    assert!(age().await > 1_100.0, "what was given up is not delivered");
}

#[tokio::test]
async fn a_target_that_is_gone_gets_nothing_until_a_reload() {
    let mut bench = Bench::new(NotifyFormat::Slack).await;
    bench.responds(ResponseTemplate::new(410)).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    assert_eq!(bench.send().await, 1);
    bench.execute("update tidegate.notification set due_at = now()").await;
    assert_eq!(bench.send().await, 0);
    bench.accepts().await;
    bench.configure(|_| {});
    assert_eq!(bench.send().await, 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_long_response_not_read() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.responds(ResponseTemplate::new(302).insert_header("location", "/elsewhere")).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    assert_eq!(bench.send_one().await, Some(Outcome::Refused(302)));
    assert_eq!(bench.received().await.len(), 1);
    bench.responds(ResponseTemplate::new(200).set_body_bytes(vec![b'x'; 20 << 20])).await;
    assert_eq!(bench.send_one().await, Some(Outcome::Accepted(200)));
}

#[tokio::test]
async fn a_target_that_does_not_respond_is_given_its_time() {
    let timing = Timing { timeout: Duration::from_millis(200), ..quick() };
    let bench = Bench::with(NotifyFormat::Slack, timing).await;
    bench.responds(ResponseTemplate::new(200).set_delay(Duration::from_secs(20))).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    assert_eq!(bench.send_one().await, Some(Outcome::Timeout));
}

/// A target that sends these bytes to each client, and keeps its connections open.
async fn raw(response: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4_096];
            let _read = stream.read(&mut request).await;
            // The client may have closed the connection.
            let _sent = stream.write_all(&response).await;
            kept.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn p12_the_outcome_says_how_far_an_attempt_came() {
    let mut bench = Bench::new(NotifyFormat::Slack).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let garbage = raw(b"\x00\x01 garbage\r\n\r\n".to_vec()).await;
    let flood = raw([&b"HTTP/1.1 200 OK\r\n"[..], &b"x: y\r\n".repeat(10_000), b"\r\n"].concat()).await;
    for (url, outcome, text) in [
        (format!("http://{unused}/"), Outcome::Unreachable, "no connection"),
        (format!("http://{garbage}/"), Outcome::NoResponse, "no HTTP response"),
        (format!("http://{flood}/"), Outcome::NoResponse, "no HTTP response"),
        (format!("https://{garbage}/"), Outcome::Handshake, "TLS: the handshake failed"),
    ] {
        bench.configure(|target| target.url = (&*url).into());
        assert_eq!(bench.send_one().await, Some(outcome), "{url}");
        assert_eq!(bench.all("select failure from tidegate.notification_target").await, [text], "{url}");
    }
}

#[tokio::test]
async fn p12_a_response_without_an_end_holds_up_no_other_message() {
    let timing = Timing { timeout: 30 * MINUTE, lease: 60 * MINUTE, ..quick() };
    let mut bench = Bench::with(NotifyFormat::Slack, timing).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    let endless = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec()).await;
    bench.configure(|target| target.url = format!("http://{endless}/").as_str().into());
    let sent = tokio::time::timeout(MINUTE, bench.send_one()).await.expect("its end is not waited for");
    assert_eq!(sent, Some(Outcome::Accepted(200)));
}

#[tokio::test]
async fn p12_a_test_message_is_sent_first_and_does_not_wait_until_a_pause_is_over() {
    let timing = Timing { backoff: vec![60 * MINUTE; 7], target_pause: MINUTE, ..quick() };
    let bench = Bench::with(NotifyFormat::Slack, timing).await;
    bench.responds(ResponseTemplate::new(503)).await;
    another(&bench, "marks", "refused").await;
    assert_eq!(bench.send().await, 1);
    another(&bench, "dialogs", "does not exist").await;
    bench.accepts().await;
    assert_eq!(bench.send().await, 0, "the target is paused");
    bench.execute("insert into tidegate.notification (target, kind) values ('oncall', 'test')").await;
    assert_eq!(bench.send().await, 3, "after it was accepted, the others are sent too");
    let texts = bench.texts().await;
    assert!(texts[0].contains("this is a test of notifications"), "{texts:?}");
    assert!(!texts[0].contains("Nothing is wrong"), "problems are open: {texts:?}");
}

#[tokio::test]
async fn the_end_of_a_problem_is_not_sent_before_its_begin() {
    let bench = Bench::with(NotifyFormat::Cloudevents, Timing { backoff: vec![MINUTE; 7], ..quick() }).await;
    bench.responds(ResponseTemplate::new(500)).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    bench.send().await;
    bench.accepts().await;
    bench.mend(&["marks"]).await;
    bench.check().await;
    bench.check().await;
    assert_eq!(bench.send().await, 0, "it is not known whether the target received the problem");
    bench.execute("update tidegate.notification set due_at = now() where outcome is not null").await;
    assert_eq!(bench.send().await, 2);
    let kinds: Vec<_> = bench.received().await.iter().map(|request| body(request)["type"].clone()).collect();
    assert_eq!(kinds, ["tidegate.problem.opened", "tidegate.problem.recovered"]);
}

#[tokio::test]
async fn what_was_not_accepted_is_sent_as_soon_as_the_target_accepts_again() {
    let bench = Bench::with(NotifyFormat::Cloudevents, Timing { backoff: vec![60 * MINUTE; 7], ..quick() }).await;
    bench.responds(ResponseTemplate::new(500)).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    bench.send().await;
    bench.accepts().await;
    bench.fail(&["dialogs"], "does not exist").await;
    bench.check().await;
    assert_eq!(bench.send().await, 2);
}

#[tokio::test]
async fn the_end_of_a_problem_that_waits_for_its_begin_holds_up_nothing_else() {
    let bench = Bench::with(NotifyFormat::Slack, Timing { backoff: vec![60 * MINUTE; 7], ..quick() }).await;
    bench.responds(ResponseTemplate::new(500)).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    bench.send().await;
    bench.accepts().await;
    bench.mend(&["marks"]).await;
    bench.check().await;
    bench.check().await;
    assert_eq!(bench.send().await, 0);
    bench.fail(&["dialogs"], "does not exist").await;
    bench.check().await;
    assert_eq!(bench.send().await, 3);
    let texts = bench.texts().await;
    let firsts: Vec<&str> = texts.iter().map(|text| text.lines().nth(1).unwrap()).collect();
    assert!(firsts[0].starts_with("✕ acme/dialogs") && firsts[1].starts_with("✕ acme/marks"), "{firsts:?}");
    assert!(firsts[2].starts_with("✓ acme/marks"), "{firsts:?}");
}

#[tokio::test]
async fn a_message_that_another_process_sends_is_not_sent_again_because_the_target_accepts_another() {
    let bench = Arc::new(Bench::new(NotifyFormat::Cloudevents).await);
    bench.responds(ResponseTemplate::new(500)).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    bench.send_one().await;
    // Its second attempt takes a while.
    bench.responds(ResponseTemplate::new(200).set_delay(Duration::from_secs(1))).await;
    let sending = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.send_one().await }
    });
    eventually(Duration::from_secs(20), async || (bench.received().await.len() == 1).then_some(())).await;
    bench.fail(&["dialogs"], "does not exist").await;
    bench.check().await;
    // The target receives one message at a time.
    assert_eq!(sending.await.unwrap(), Some(Outcome::Accepted(200)));
    assert_eq!((bench.send().await, bench.received().await.len()), (1, 2));
    assert_eq!((bench.send().await, bench.received().await.len()), (0, 2));
}

#[tokio::test]
async fn two_replicas_check_and_send_once() {
    let bench = Arc::new(Bench::new(NotifyFormat::Cloudevents).await);
    bench.accepts().await;
    for n in 0..40 {
        bench.execute(super::stream_row(&format!("c{n}"), "marks")).await;
    }
    bench.execute("update tidegate.stream set needs_operator = true, last_error = 'refused'").await;
    let replica = |notifier: Arc<tidegate::notify::Notifier>| {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move {
            for _ in 0..3 {
                notifier.check(&bench.pool, &bench.config).await.unwrap();
            }
            for _ in 0..60 {
                round(&notifier, &bench.pool, &bench.config).await;
            }
        })
    };
    let (one, other) = (replica(notifier(quick())), replica(notifier(quick())));
    one.await.unwrap();
    other.await.unwrap();
    let ids: Vec<String> = bench.received().await.iter().map(id).collect();
    assert_eq!((ids.len(), ids.into_iter().collect::<BTreeSet<_>>().len()), (40, 40));
    assert_eq!(bench.all("select 'x' from tidegate.event where kind = 'problem'").await.len(), 40);
}

#[tokio::test]
async fn checks_keep_their_distance_also_between_processes() {
    let bench = Bench::with(NotifyFormat::Slack, Timing { check_every: MINUTE, ..quick() }).await;
    bench.check().await;
    let other = notifier(Timing { check_every: MINUTE, ..quick() });
    assert!(!other.check(&bench.pool, &bench.config).await.unwrap());
    bench.execute("update tidegate.lock set done_at = now() - interval '61 seconds' where name = 'problem'").await;
    assert!(other.check(&bench.pool, &bench.config).await.unwrap());
}

#[tokio::test]
async fn a_message_whose_sender_vanished_is_sent_again_under_the_same_id() {
    let bench = Arc::new(Bench::new(NotifyFormat::Cloudevents).await);
    bench.responds(ResponseTemplate::new(200).set_delay(Duration::from_secs(1))).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    let sending = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.send_one().await }
    });
    eventually(Duration::from_secs(20), async || (bench.received().await.len() == 1).then_some(())).await;
    sending.abort();
    assert_eq!(bench.send_one().await, None, "it belongs to the process that sends it, for a while");
    eventually(Duration::from_secs(20), async || bench.send_one().await).await;
    let ids: BTreeSet<String> = bench.received().await.iter().map(id).collect();
    assert_eq!((bench.received().await.len(), ids.len()), (2, 1));
}

/// A second passes between the end of one attempt and the begin of the next, of all processes together; here a shorter
/// time.
#[tokio::test]
async fn two_replicas_together_keep_the_limit_of_a_target_that_responds_slowly() {
    const SPACING: Duration = Duration::from_millis(400);
    const SLOW: Duration = Duration::from_millis(300);
    let timing = || Timing { spacing: SPACING, ..quick() };
    let bench = Bench::with(NotifyFormat::Cloudevents, timing()).await;
    let begins = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&begins);
    let respond = move |_: &wiremock::Request| {
        noted.lock().unwrap().push(Instant::now());
        ResponseTemplate::new(200).set_delay(SLOW)
    };
    wiremock::Mock::given(wiremock::matchers::any()).respond_with(respond).mount(&bench.target).await;
    for n in 0..6 {
        bench.fail(&[&format!("marks{n}")], &format!("error {}", ["a", "b", "c", "d", "e", "f"][n])).await;
        // Five streams with the same kind of problem would be one problem.
        bench.execute(format!("update tidegate.stream set connection = 'c{n}' where stream = 'marks{n}'")).await;
    }
    bench.check().await;
    let replica = async |notifier: Arc<tidegate::notify::Notifier>| {
        let mut sent = 0;
        eventually(Duration::from_mins(1), async || {
            sent += round(&notifier, &bench.pool, &bench.config).await;
            let waiting = bench.all("select id::text from tidegate.notification where state = 'due'").await;
            waiting.is_empty().then_some(())
        })
        .await;
        sent
    };
    let (one, other) = tokio::join!(replica(notifier(timing())), replica(notifier(timing())));
    let begins = begins.lock().unwrap().clone();
    assert_eq!((one + other, begins.len()), (6, 6));
    for pair in begins.windows(2) {
        let apart = pair[1].duration_since(pair[0]);
        // The clock of the database is not that of this process.
        assert!(apart + Duration::from_millis(10) >= SPACING + SLOW, "{apart:?}");
    }
}

#[tokio::test]
async fn the_next_message_to_a_target_is_sent_as_soon_as_its_turn_comes() {
    const SPACING: Duration = Duration::from_millis(700);
    let timing = Timing { spacing: SPACING, timeout: MINUTE, lease: 2 * MINUTE, ..quick() };
    let bench = Bench::with(NotifyFormat::Cloudevents, timing).await;
    bench.accepts().await;
    another(&bench, "marks", "refused").await;
    another(&bench, "dialogs", "does not exist").await;
    let begun = Instant::now();
    assert_eq!(bench.send().await, 2, "the second one waits for its turn, and not for the next call");
    assert!(begun.elapsed() >= SPACING, "{:?}", begun.elapsed());
    another(&bench, "surveys", "timeout").await;
    bench.execute("update tidegate.notification_target set next_at = now() + interval '30 s'").await;
    assert_eq!(bench.send().await, 0, "another process is sending");
}

#[tokio::test]
async fn a_target_whose_next_time_was_stored_while_the_clock_was_ahead_is_sent_to() {
    let bench = Bench::with(NotifyFormat::Slack, Timing { spacing: Duration::from_secs(1), ..quick() }).await;
    bench.accepts().await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    bench.execute("update tidegate.notification_target set next_at = now() + interval '1 day'").await;
    assert_eq!(bench.send_one().await, Some(Outcome::Accepted(200)));
    let is_soon = bench.all("select (next_at < now() + interval '5 s')::text from tidegate.notification_target").await;
    assert_eq!(is_soon, ["true"]);
}

#[tokio::test]
async fn the_state_of_a_target_follows_from_what_was_sent() {
    let bench = Bench::with(NotifyFormat::Slack, Timing { backoff: vec![MINUTE; 7], first: MINUTE, ..quick() }).await;
    let state = async || {
        let mut found =
            tidegate::store::notification_target::deliveries(&bench.pool, &["oncall".to_owned()]).await.unwrap();
        let found = found.pop().unwrap();
        (found.state(), found.last_failure)
    };
    assert_eq!(state().await, ("never sent", None));
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    assert_eq!(state().await, ("waiting", None));
    bench.responds(ResponseTemplate::new(503)).await;
    let due = "update tidegate.notification set due_at = now() where state = 'due'";
    bench.execute(due).await;
    bench.send().await;
    assert_eq!(state().await, ("failing", Some("HTTP 503".to_owned())));
    bench.accepts().await;
    bench.execute(due).await;
    bench.send().await;
    assert_eq!(state().await, ("delivered", Some("HTTP 503".to_owned())));
}
