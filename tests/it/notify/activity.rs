//! Runs that finished and actions of operators, for targets that ask for them.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate::config::NotifyFormat;
use tidegate::notify::Timing;
use tidegate::store::topic::Topic;
use wiremock::ResponseTemplate;

use super::{Bench, body, quick};

const HOUR: Duration = Duration::from_hours(1);

/// A target that receives runs and actions.
async fn bench(format: NotifyFormat, timing: Timing) -> Bench {
    let mut bench = Bench::with(format, timing).await;
    bench.accepts().await;
    bench.configure(|target| target.on = BTreeSet::from([Topic::RunFinished, Topic::Action]));
    // From now on.
    bench.check().await;
    bench
}

fn run(job: &str, connection: &str, state: &str) -> String {
    format!(
        "insert into tidegate.run (job, connection, kind, state, started_at, finished_at, error)
        values ('{job}', '{connection}', 'schedule', '{state}', now(), clock_timestamp(),
            case when '{state}' = 'failed' then 'the vendor responded with status 500' end);"
    )
}

fn action(job: &str, summary: &str) -> String {
    format!("insert into tidegate.event (kind, job, actor, summary) values ('action', '{job}', 'ana', '{summary}');")
}

#[tokio::test]
async fn runs_and_actions_are_sent_to_a_target_that_asks_for_them_and_once() {
    let bench = bench(NotifyFormat::Slack, quick()).await;
    bench.execute(run("hourly", "acme", "succeeded") + &run("daily", "acme", "failed")).await;
    bench.execute(action("hourly", "the pause of <hourly> was ended")).await;
    bench.check().await;
    assert_eq!(bench.send().await, 1);
    let texts = bench.texts().await;
    let lines: Vec<&str> = texts[0].lines().collect();
    assert_eq!(lines[0], "*prod*: 2 runs finished (1 failed, 1 succeeded), 1 action");
    assert!(
        lines[1].starts_with("• ana, ") && lines[1].ends_with(": the pause of &lt;hourly&gt; was ended"),
        "{lines:?}"
    );
    assert!(lines[2].starts_with("✕ run 2 of daily failed at "), "{lines:?}");
    assert!(lines[2].contains(": the vendor responded with status 500 <https://ops.example/tidegate/runs/2|open>"));
    assert!(lines[3].starts_with("✓ run 1 of hourly succeeded at "), "{lines:?}");
    bench.check().await;
    assert_eq!(bench.send().await, 0, "nothing happened since");
    bench.execute(run("hourly", "acme", "cancelled")).await;
    bench.check().await;
    assert_eq!(bench.send().await, 1);
    assert!(bench.texts().await[1].contains("run 3 of hourly was cancelled at "), "{:?}", bench.texts().await);
}

#[tokio::test]
async fn a_program_receives_one_event_with_the_numbers_and_the_runs() {
    let bench = bench(NotifyFormat::Cloudevents, quick()).await;
    bench.execute(run("hourly", "acme", "succeeded") + &run("daily", "acme", "held")).await;
    bench.execute(action("hourly", "run 1 was cancelled")).await;
    bench.check().await;
    bench.send().await;
    let received = bench.received().await;
    assert_eq!(received.len(), 1);
    let event = body(&received[0]);
    assert_eq!((&event["type"], &event["data"]["runs_total"]), (&"tidegate.activity".into(), &2.into()));
    let data = &event["data"];
    assert_eq!(data["runs_by_state"], serde_json::json!({ "held": 1, "succeeded": 1 }));
    assert_eq!((&data["runs"][0]["state"], &data["runs"][0]["job"]), (&"held".into(), &"daily".into()));
    assert_eq!(data["runs"][0]["url"], "https://ops.example/tidegate/runs/2");
    assert_eq!((&data["actions_total"], &data["actions"][0]["actor"]), (&1.into(), &"ana".into()));
    assert!(data["from"].as_str().unwrap() < data["until"].as_str().unwrap(), "{data}");
}

#[tokio::test]
async fn a_target_receives_no_runs_and_no_actions_unless_it_asks_and_only_of_its_jobs() {
    let mut bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    bench.check().await;
    bench.execute(run("hourly", "acme", "failed") + &action("hourly", "x")).await;
    bench.check().await;
    assert_eq!(bench.send().await, 0, "the default has neither");
    bench.configure(|target| {
        target.on.insert(Topic::RunFinished);
        target.jobs = Some(BTreeSet::from(["daily".to_owned()]));
        target.connections = Some(BTreeSet::from(["zoo".to_owned()]));
    });
    bench.check().await;
    assert_eq!(bench.send().await, 0, "what finished before it asked is not sent");
    bench.execute(run("hourly", "acme", "failed") + &action("daily", "x")).await;
    bench.check().await;
    assert_eq!(bench.send().await, 0, "another job, and an action");
    bench
        .execute(run("daily", "acme", "failed") + &run("hourly", "zoo", "failed") + &run("hourly", "acme", "failed"))
        .await;
    bench.check().await;
    assert_eq!(bench.send().await, 1);
    assert!(bench.texts().await[0].starts_with("*prod*: 2 runs finished (2 failed)\n"), "{:?}", bench.texts().await);
}

#[tokio::test]
async fn ten_thousand_runs_are_at_most_two_messages() {
    for format in [NotifyFormat::Slack, NotifyFormat::Cloudevents] {
        let bench = bench(format, Timing { pause: HOUR, ..quick() }).await;
        for wave in 0..10 {
            bench
                .execute(format!(
                    "insert into tidegate.run (job, connection, kind, state, started_at, finished_at)
                    select 'job ' || n, 'acme', 'schedule', case when n % 7 = 0 then 'failed' else 'succeeded' end, now(),
                        clock_timestamp()
                    from generate_series({wave} * 1000 + 1, {wave} * 1000 + 1000) as n"
                ))
                .await;
            bench.check().await;
            bench.send().await;
        }
        assert_eq!(bench.received().await.len(), 1, "{format:?}");
        bench.execute("update tidegate.notification set due_at = now() where state = 'due'").await;
        bench.send().await;
        let received = bench.received().await;
        assert_eq!(received.len(), 2, "{format:?}");
        let second = String::from_utf8_lossy(&received[1].body).into_owned();
        let total = if format == NotifyFormat::Slack {
            "9000 runs finished (1286 failed, 7714 succeeded)"
        } else {
            "\"runs_total\":9000"
        };
        assert!(second.contains(total) && second.len() < 64 << 10, "{} {second}", second.len());
        if format == NotifyFormat::Slack {
            assert!(
                bench.texts().await[1].ends_with("and 8990 more: <https://ops.example/tidegate/|open>"),
                "{second}"
            );
        }
    }
}

#[tokio::test]
async fn while_a_message_is_retried_further_runs_wait_for_one_message() {
    let bench = bench(NotifyFormat::Slack, Timing { backoff: vec![HOUR; 7], ..quick() }).await;
    bench.responds(ResponseTemplate::new(500)).await;
    for _ in 0..3 {
        bench.execute(run("hourly", "acme", "succeeded")).await;
        bench.check().await;
        bench.send().await;
    }
    let states = bench.all("select state || ' ' || attempts from tidegate.notification order by attempts desc").await;
    assert_eq!(states, ["due 1", "due 0"]);
    bench.accepts().await;
    bench.execute("update tidegate.notification set due_at = now()").await;
    assert_eq!(bench.send().await, 2);
    assert!(bench.texts().await[1].starts_with("*prod*: 2 runs finished"), "{:?}", bench.texts().await);
}

#[tokio::test]
async fn an_activity_message_is_neither_a_problem_nor_changed_by_the_end_of_one() {
    let mut bench = bench(NotifyFormat::Slack, Timing { first: HOUR, ..quick() }).await;
    bench.configure(|target| {
        target.on.extend([Topic::Failed, Topic::Recovered]);
    });
    bench.execute(run("hourly", "acme", "failed")).await;
    bench.fail(&["marks"], "refused").await;
    bench.check().await;
    bench.mend(&["marks"]).await;
    bench.check().await;
    bench.check().await;
    assert_eq!(bench.all("select kind from tidegate.notification").await, ["activity"]);
}
