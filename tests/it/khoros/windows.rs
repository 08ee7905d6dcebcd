//! The vendor's history.

use super::*;

const ACTIONS: &str = "conversation_actions";

fn short() -> Settings {
    Settings { history: Duration::from_hours(24 * 30), ..settings() }
}

fn fresh() -> Expected {
    Expected { fresh: true, ..Expected::default() }
}

#[tokio::test]
async fn a_window_before_the_history_is_skipped() {
    let scene = Scene::with(free(), short()).await;
    let reading = scene.client.read_expecting(&named(ACTIONS), day(40), None, fresh()).await.unwrap();
    assert_eq!((reading.rows.len(), reading.pages.len(), scene.calls("khoros_create")), (0, 1, 0));
    // Entities stay, whatever a window contains.
    let reading = scene.read("conversation", day(40)).await.unwrap();
    assert_eq!((reading.pages.len(), scene.calls("khoros_create")), (1, 0));
}

#[tokio::test]
async fn a_window_that_the_history_begins_in_is_read_from_there() {
    let scene = Scene::with(free(), short()).await;
    let window = Window { start: ago(45), end: ago(15) };
    scene.client.read_expecting(&named(ACTIONS), window, None, fresh()).await.unwrap();
    let start: i64 = scene.control().khoros().submitted()[0].get("startTime").unwrap().parse().unwrap();
    let first = (Utc::now() - TimeDelta::days(30)).timestamp_millis();
    assert!((start - first).abs() < 60_000, "{start} {first}");
    scene.assert_well_behaved();
}

#[tokio::test]
async fn p4_rows_that_cannot_be_loaded_again_are_not_deleted() {
    let scene = Scene::with(free(), short()).await;
    for window in [day(40), Window { start: ago(45), end: ago(15) }] {
        let error = scene.fault(ACTIONS, window).await;
        assert!(matches!(&error, StepError::Refused { what, .. } if what.contains("history of 30 days")), "{error}");
    }
    assert_eq!(scene.calls("khoros_create"), 0);
}
