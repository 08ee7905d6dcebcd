//! Processes with different targets on one database: one of them checks for problems, and each target receives its
//! messages from a process that has it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tidegate::config::{Config, NotifyFormat};
use tidegate::notify::{Notifier, Outcome, Timing};
use tidegate::store::topic::Topic;
use tidegate::store::{notification_statement, notification_target};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{Bench, SECRET, body, config, notifier, quick, round};

/// Another process on the database of a bench.
struct Process {
    notifier: Arc<Notifier>,
    config: Arc<Config>,
}

impl Process {
    fn new(config: Config) -> Self {
        Self::with(config, quick())
    }

    fn with(config: Config, timing: Timing) -> Self {
        Self { notifier: notifier(timing), config: Arc::new(config) }
    }

    fn without_targets(bench: &Bench) -> Self {
        let mut config = (*bench.config).clone();
        config.notify.clear();
        Self::new(config)
    }

    async fn check(&self, bench: &Bench) {
        assert!(self.notifier.check(&bench.pool, &self.config).await.unwrap());
    }

    /// Sends everything that is due to its targets. Returns how many attempts it made.
    async fn send(&self, bench: &Bench) -> usize {
        let mut attempts = 0;
        while let sent @ 1.. = round(&self.notifier, &bench.pool, &self.config).await {
            attempts += sent;
            assert!(attempts < 100, "it sends without end");
        }
        attempts
    }
}

/// A target that accepts everything, and a configuration with it alone.
async fn program() -> (MockServer, Config) {
    let program = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&program).await;
    let mut config = config(&program.uri(), NotifyFormat::Cloudevents);
    "program".clone_into(&mut config.notify[0].name);
    (program, config)
}

/// The number of problems of each message that waits.
async fn waiting(bench: &Bench) -> Vec<String> {
    bench
        .all("select target || ' ' || cardinality(problems) from tidegate.notification where state = 'due' order by 1")
        .await
}

#[tokio::test]
async fn p12_a_target_that_only_one_process_has_receives_what_another_process_finds() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    let other = Process::without_targets(&bench);
    bench.check().await;
    bench.fail(&["marks"], "refused").await;
    other.check(&bench).await;
    assert_eq!(other.send(&bench).await, 0, "it does not have the target");
    assert_eq!(bench.send().await, 1);
    bench.mend(&["marks"]).await;
    other.check(&bench).await;
    other.check(&bench).await;
    assert_eq!((other.send(&bench).await, bench.send().await), (0, 1));
    let texts = bench.texts().await;
    assert!(texts[0].contains("acme/marks fails since ") && texts[1].contains("acme/marks: over since "), "{texts:?}");
}

#[tokio::test]
async fn each_target_receives_what_its_own_process_selects_and_its_url_is_not_stored() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    let (program, mut config) = program().await;
    config.notify[0].on = BTreeSet::from([Topic::Late, Topic::RunFinished]);
    let other = Process::new(config);
    other.check(&bench).await;
    bench.check().await;
    bench.fail(&["marks"], "refused").await;
    bench
        .execute(
            "insert into tidegate.run (job, connection, kind, state, started_at, finished_at)
            values ('hourly', 'acme', 'schedule', 'succeeded', now(), clock_timestamp())",
        )
        .await;
    bench.check().await;
    assert_eq!((bench.send().await, other.send(&bench).await), (1, 1));
    assert!(bench.texts().await[0].contains("acme/marks fails since "));
    let received = program.received_requests().await.unwrap();
    assert_eq!(body(&received[0])["type"], "tidegate.activity");

    let stated = bench.all("select stated::text from tidegate.notification_statement as stated").await;
    assert_eq!(stated.len(), 2);
    for secret in [SECRET, "127.0.0.1", "header-s3cret-value", "whsec_"] {
        assert!(stated.iter().all(|text| !text.contains(secret)), "{stated:?}");
    }
}

#[tokio::test]
async fn a_target_that_accepts_nothing_is_one_problem_whichever_process_checks() {
    let mut timing = quick();
    for patience in timing.patience.iter_mut().filter(|patience| patience.topic == Topic::NotifyStuck) {
        patience.delay = Duration::from_mins(15);
    }
    let bench = Bench::with(NotifyFormat::Slack, timing.clone()).await;
    bench.responds(ResponseTemplate::new(500)).await;
    let (program, config) = program().await;
    let other = Process::with(config, timing);
    other.check(&bench).await;
    bench.check().await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    assert_eq!(bench.send_one().await, Some(Outcome::Refused(500)));
    bench.check().await;
    let id = "select id::text || ' ' || missed from tidegate.problem where kind = 'notify_stuck'";
    let first = bench.all(id).await;
    assert_eq!(first.len(), 1);
    other.check(&bench).await;
    bench.check().await;
    assert_eq!(bench.all(id).await, first, "it has held since then");
    bench
        .execute(
            "update tidegate.problem set seen_first_at = now() - interval '16 minutes' where kind = 'notify_stuck'",
        )
        .await;
    other.check(&bench).await;
    assert_eq!(bench.open().await, ["failed acme/marks", "notify_stuck oncall"]);
    assert_eq!(other.send(&bench).await, 2);
    let received = program.received_requests().await.unwrap();
    assert_eq!(body(&received[1])["data"]["kind"], "notify_stuck");
}

#[tokio::test]
async fn a_target_misses_nothing_while_its_only_process_is_started_again() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    let other = Process::without_targets(&bench);
    let ended = |minutes: u32| {
        format!("update tidegate.notification_statement set seen_at = now() - interval '{minutes} minutes'")
    };
    bench.check().await;
    bench.execute(ended(9)).await;
    bench.fail(&["marks"], "refused").await;
    other.check(&bench).await;
    assert_eq!(waiting(&bench).await, ["oncall 1"]);
    bench.execute(ended(11)).await;
    bench.fail(&["dialogs"], "does not exist").await;
    other.check(&bench).await;
    assert_eq!(waiting(&bench).await, ["oncall 1"], "no process has the target any more");

    let again = Process::new((*bench.config).clone());
    again.check(&bench).await;
    bench.fail(&["surveys"], "timeout").await;
    other.check(&bench).await;
    assert_eq!(waiting(&bench).await, ["oncall 2"]);
    assert_eq!(again.send(&bench).await, 1);
    let texts = bench.texts().await;
    assert!(texts[0].contains("acme/marks") && texts[0].contains("acme/surveys"), "{texts:?}");
}

#[tokio::test]
async fn no_message_is_written_to_a_target_that_was_removed_from_the_configuration() {
    let mut bench = Bench::new(NotifyFormat::Slack).await;
    let other = Process::without_targets(&bench);
    bench.check().await;
    bench.config = Arc::clone(&other.config);
    bench.check().await;
    bench.fail(&["marks"], "refused").await;
    other.check(&bench).await;
    assert_eq!(waiting(&bench).await.len(), 0);
    // What a process left behind that ended long ago is deleted.
    bench
        .execute(
            "insert into tidegate.notification_statement (owner, target, format, topics, repeat, seen_at)
            values
                ('ended', 'oncall', 'slack', '{failed}', '1 day', now() - interval '2 days'),
                ('ahead', 'oncall', 'slack', '{failed}', '1 day', now() + interval '2 days')",
        )
        .await;
    bench.fail(&["dialogs"], "does not exist").await;
    other.check(&bench).await;
    assert_eq!(waiting(&bench).await.len(), 0);
    assert_eq!(bench.all("select owner from tidegate.notification_statement").await.len(), 0);
}

#[tokio::test]
async fn of_different_settings_for_one_target_the_newest_apply() {
    let mut bench = Bench::new(NotifyFormat::Slack).await;
    bench.configure(|target| target.on = BTreeSet::from([Topic::Failed]));
    let mut config = (*bench.config).clone();
    config.notify[0].on = BTreeSet::from([Topic::Held]);
    let other = Process::new(config);
    bench.check().await;
    other.check(&bench).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    assert_eq!(waiting(&bench).await.len(), 0, "the other one has stated it later");
    // Its configuration is loaded again. A newer version may have topics that this one does not know.
    bench.configure(|target| target.on = BTreeSet::from([Topic::Failed, Topic::Late]));
    bench.check().await;
    bench
        .execute("update tidegate.notification_statement set topics = topics || '{unknown}' where 'late' = any(topics)")
        .await;
    bench.fail(&["dialogs"], "does not exist").await;
    other.check(&bench).await;
    assert_eq!(waiting(&bench).await, ["oncall 1"]);

    let owners = bench.all("select owner from tidegate.notification_statement order by owner").await;
    let differing = async |owner: &str| notification_statement::differing(&bench.pool, owner).await.unwrap();
    assert_eq!(differing(&owners[0]).await.len(), 0, "the other process is not running");
    bench
        .execute(
            "insert into tidegate.instance (owner, jobs, seen_at)
            select owner, '{}', now()
            from tidegate.notification_statement",
        )
        .await;
    for owner in &owners {
        assert_eq!(differing(owner).await, ["oncall"]);
    }
}

#[tokio::test]
async fn a_digest_that_another_format_began_becomes_an_event_for_each_problem() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.responds(ResponseTemplate::new(500)).await;
    let events = Process::new(config(&bench.target.uri(), NotifyFormat::Cloudevents));
    for (stream, error) in [("marks", "refused"), ("dialogs", "does not exist"), ("surveys", "timeout")] {
        bench.fail(&[stream], error).await;
    }
    bench.check().await;
    assert_eq!(waiting(&bench).await, ["oncall 3"]);
    assert_eq!(bench.send_one().await, Some(Outcome::Refused(500)));
    bench.accepts().await;
    assert_eq!(events.send(&bench).await, 3);
    let received: Vec<_> = bench.received().await.iter().map(body).collect();
    let problems: BTreeSet<i64> = received.iter().map(|event| event["data"]["problem"].as_i64().unwrap()).collect();
    assert_eq!(problems.len(), 3, "{received:?}");
    assert!(received.iter().all(|event| event["type"] == "tidegate.problem.opened"), "{received:?}");
    assert_eq!(waiting(&bench).await.len(), 0);
}

#[tokio::test]
async fn a_check_that_fails_in_another_process_is_sent_too() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    let other = Process::without_targets(&bench);
    bench.check().await;
    bench.execute("alter table tidegate.push_batch rename to push_batch_away").await;
    other.notifier.check(&bench.pool, &other.config).await.unwrap_err();
    assert_eq!(bench.send().await, 1);
    let texts = bench.texts().await;
    assert!(texts[0].contains("Tidegate does not do all its work since "), "{texts:?}");
}

#[tokio::test]
async fn p12_a_process_whose_turn_lasted_too_long_does_not_end_that_of_another() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    let mut conn = bench.pool.acquire().await.unwrap();
    let (zero, minute) = (Duration::ZERO, Duration::from_mins(1));
    let late = notification_target::take_turn(&mut conn, "team", zero, false).await.unwrap().unwrap();
    let current = notification_target::take_turn(&mut conn, "team", minute, false).await.unwrap().unwrap();
    notification_target::end_turn(&mut *conn, "team", late, zero).await.unwrap();
    assert!(notification_target::take_turn(&mut conn, "team", minute, false).await.unwrap().is_none());
    notification_target::end_turn(&mut *conn, "team", current, zero).await.unwrap();
    assert!(notification_target::take_turn(&mut conn, "team", minute, false).await.unwrap().is_some());
}
