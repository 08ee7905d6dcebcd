//! What an operator sees of held slices, and what a release does.

use simulator::lynn::PageCount;
use simulator::{Action, Fault, Match, Rows};

use super::{DAY_ROWS, STREAM, ago, assert_succeeded, held, loaded, read_again, rows};
use crate::support::daemon::{Daemon, command};
use crate::support::port::Port;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_release_lets_the_next_reading_delete_and_makes_it_due() {
    let world = loaded(&["lookback: 0s"]).await;
    for day in [1, 2] {
        world.control().lynn().vanish(Rows::between(STREAM, ago(day), ago(day - 1))).unwrap();
    }
    read_again(&world).await;
    assert_eq!((rows(&world).await, held(&world).await.len()), (2 * DAY_ROWS, 2));
    let (from, to) = (ago(1).date_naive().to_string(), ago(0).date_naive().to_string());
    let release = ["held", "release", "lynn", "--stream", STREAM, "--from", &from, "--to", &to];
    let output = command(&world, &[], &release).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("1 slice is released"), "{output:?}");
    assert_eq!(rows(&world).await, 2 * DAY_ROWS, "a release deletes nothing itself");
    let release = async || {
        // A port that has read nothing before.
        let port = Port::of(world.database.pool(), world.config()).await;
        let document = port.fetch(&format!("/api/v1/streams/acme/{STREAM}"), "").await.json();
        port.close().await;
        document["release"].clone()
    };
    let given = release().await;
    assert_eq!((given["slices"].as_i64(), given["by"].as_str()), (Some(1), Some("command")), "{given}");
    // Without a lookback, only the released slice is read again; the other one stays held.
    let output = command(&world, &[], &["sync", "--json"]).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let today: i64 =
        world.scalar(&format!("select count(*) from lynn.{STREAM} where _window_start = '{}'", ago(0))).await;
    assert_eq!(rows(&world).await, DAY_ROWS + today);
    assert!(release().await.is_null(), "the reading has used it up");
    let held = held(&world).await;
    assert_eq!(held.len(), 1);
    assert_eq!(held[0]["window_start"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap(), ago(2));
    assert_eq!(held[0]["released"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_release_does_not_cover_later_doubts() {
    let world = loaded(&[]).await;
    world.control().lynn().vanish(Rows::between(STREAM, ago(1), ago(0))).unwrap();
    read_again(&world).await;
    assert!(command(&world, &[], &["held", "release", "lynn", "--stream", STREAM]).await.status.success());
    world.control().mischief(Fault::new(Match::report(STREAM), Action::OddRow).times(9));
    assert_eq!((read_again(&world).await.state.as_str(), rows(&world).await), ("held", 2 * DAY_ROWS));
    world.control().quiet();
    assert_eq!(
        (read_again(&world).await.state.as_str(), rows(&world).await),
        ("held", 2 * DAY_ROWS),
        "the release was used up"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_release_of_what_is_not_held_is_refused() {
    let world = loaded(&[]).await;
    let output = command(&world, &[], &["held", "release", "lynn", "--stream", STREAM]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("tidegate held"), "{output:?}");
    let output = command(&world, &[], &["held", "release", "lynn", "--stream", "navigation_mark"]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("did you mean `navigation_marks`"), "{output:?}");
    let output = command(&world, &[], &["held", "release", "lynn"]).await;
    assert_eq!(output.status.code(), Some(2), "a release names its stream: {output:?}");
    let output = command(&world, &[], &["held"]).await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "nothing is held\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_of_other_days_is_not_held() {
    let world = loaded(&["lookback: 1d"]).await;
    world.control().lynn().vanish(Rows::between(STREAM, ago(1), ago(0))).unwrap();
    assert_eq!(read_again(&world).await.state, "held");
    let failed_state = "select concat_ws(' ', last_error, last_success_at) from tidegate.stream";
    let before: String = world.scalar(failed_state).await;
    assert_succeeded(&world.backfill(ago(2), ago(1)).await);
    assert_eq!(world.scalar::<String>(failed_state).await, before, "the held day is still a trouble of the stream");
    assert_eq!(held(&world).await.len(), 1);
    assert_eq!(world.backfill(ago(1), ago(0)).await[0].state, "held");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_held_slices_are_shown_everywhere() {
    let world = loaded(&[]).await;
    world.control().lynn().vanish(Rows::between(STREAM, ago(1), ago(0))).unwrap();
    read_again(&world).await;
    let (from, to) = (ago(2).date_naive().to_string(), ago(0).date_naive().to_string());
    let output = command(&world, &[], &["backfill", "lynn", "--from", &from, "--to", &to]).await;
    assert_eq!(output.status.code(), Some(3), "done, but something is held: {output:?}");
    assert!(text(&output.stdout).contains("held"), "{output:?}");
    for command_line in [vec!["held"], vec!["status"], vec!["runs", "--tasks"]] {
        let output = command(&world, &[], &command_line).await;
        let said = text(&output.stdout);
        assert!(said.contains("none of 250 rows"), "{command_line:?}: {said}");
    }
    let daemon = Daemon::start(&world).await;
    let status = daemon.status().await;
    assert_eq!(
        (status["held"][0]["stream"].as_str(), status["held"][0]["rows_reported"].as_i64()),
        (Some(STREAM), Some(0))
    );
    assert_eq!(status["streams"][0]["held_slices"], 1);
    let metric = format!("tidegate_held_slices{{connection=\"acme\",stream=\"{STREAM}\"}}");
    assert_eq!(daemon.metric(&metric).await, Some(1.0));
    assert!(daemon.get(&format!("/streams/acme/{STREAM}")).await.1.contains("none of 250 rows"));
    daemon.kill().await;
    // After a release and a reading, everything is normal again.
    assert!(command(&world, &[], &["held", "release", "lynn", "--stream", STREAM]).await.status.success());
    assert_succeeded(&[read_again(&world).await]);
    assert_eq!(rows(&world).await, DAY_ROWS);
    let output = command(&world, &[], &["status"]).await;
    assert!(!text(&output.stdout).contains("Held"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_held_slice_older_than_the_lookback_is_read_again_a_day_later() {
    let world = loaded(&["lookback: 0s"]).await;
    world.control().shape(|shape| shape.page_count = PageCount::FirstOnly);
    let body = r#"{"isValid":true,"pageCount":0,"result":[],"errors":null,"lastDocument":null}"#.to_owned();
    world.control().mischief(Fault::new(Match::report(STREAM), Action::Json { status: 200, body }).times(99));
    assert_eq!(read_again(&world).await.state, "held");
    world.control().quiet();
    let sync = async || world.sync().await.into_iter().next().unwrap().state.clone();
    assert_eq!(sync().await, "held", "not in the next run, because reading costs quota");
    sqlx::query("update tidegate.slice set finished_at = finished_at - interval '25 hours'")
        .execute(&world.database.pool())
        .await
        .unwrap();
    assert_eq!(
        (sync().await.as_str(), held(&world).await.len(), rows(&world).await >= 2 * DAY_ROWS),
        ("succeeded", 0, true)
    );
}
