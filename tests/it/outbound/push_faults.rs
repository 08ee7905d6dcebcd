//! How a push handles refusals, failures and missing responses.

use std::time::Duration;

use simulator::{Action, Fault, Match, Quota, Wording};
use tokio::net::TcpListener;

use super::super::support::world::Recipe;
use super::{LONG, begin, eventually, push, push_world, push_world_with, reached, received, states};

const LOAD: &str = "add_campaign_data";

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_task_stops_the_push_and_its_rows_are_held_until_resend() {
    let world = push_world(25, 10).await;
    world.control().outbound().shape(|shape| shape.tasks_fail = true);
    let pushed = push(&world, &[]).await;
    assert_eq!(pushed.code, 1);
    assert!(
        pushed.said.starts_with("error: the vendor reports that batch 1 failed: “Failed”\nhint: ask the vendor"),
        "{pushed:?}"
    );
    assert_eq!((received(&world).len(), states(&world).await), (10, vec!["failed".to_owned()]), "the first is a trial");

    world.control().outbound().shape(|shape| shape.tasks_fail = false);
    let pushed = push(&world, &[]).await;
    assert_eq!((pushed.code, &pushed.document["rows"]["held_back"]), (0, &10.into()), "{pushed:?}");
    assert_eq!(received(&world).len(), 25);
    let pushed = push(&world, &["--resend"]).await;
    assert_eq!((pushed.code, &pushed.document["rows"]["sent"]), (0, &10.into()), "{pushed:?}");
    assert_eq!(states(&world).await, ["resent", "done", "done", "done"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_batch_did_not_arrive_and_is_sent_by_the_next_push() {
    let world = push_world(5, 2).await;
    for action in [Action::Status { status: 400 }, Action::Forbidden, Action::Status { status: 404 }] {
        world.control().next(Match::endpoint(LOAD), action);
        let pushed = push(&world, &[]).await;
        assert_eq!(pushed.code, 1, "{pushed:?}");
        assert!(pushed.said.starts_with("error: the vendor refused a batch: "), "{pushed:?}");
        assert!(pushed.said.contains("hint: check campaign, template, labels"), "{pushed:?}");
    }
    assert_eq!((received(&world).len(), states(&world).await), (0, vec!["refused".to_owned(); 3]));
    // The vendor refuses the template.
    let id = simulator::lynn::outbound::TEMPLATE_ID;
    world.edit_config(|text| text.replace(id, "00000000-0000-0000-0000-000000000000"));
    let pushed = push(&world, &[]).await;
    assert!(pushed.said.contains("the vendor refused a batch: the vendor responded with status 400"), "{pushed:?}");
    world.edit_config(|text| text.replace("00000000-0000-0000-0000-000000000000", id));
    assert_eq!(push(&world, &[]).await.code, 0);
    assert_eq!(received(&world), [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_certainly_did_not_arrive_are_repeated_immediately() {
    let world = push_world(3, 10).await;
    let control = world.control();
    let wording = Wording::Json;
    for action in [
        Action::TokenExpired,
        Action::TooMany { seconds: 1, wording, header: true },
        Action::OutOfQuota { quota: Quota::Calls, replenished_in: "00:00:01".to_owned(), retry_after: None },
    ] {
        control.mischief(Fault::new(Match::endpoint(LOAD), action));
    }
    let pushed = push(&world, &[]).await;
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert_eq!((received(&world), states(&world).await), (vec![1, 2, 3], vec!["done".to_owned()]));
    assert_eq!((control.pending(), control.stats().calls[LOAD]), (0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_batch_whose_response_was_lost_is_sent_again_only_on_request() {
    for (action, arrived) in [
        (Action::Reset, true),
        (Action::Status { status: 500 }, false),
        (Action::Status { status: 503 }, false),
        (Action::Delay { ms: 3_000 }, true),
        (Action::HtmlWith200, true),
        (Action::Cut, true),
    ] {
        let world = push_world_with(5, 2, Recipe::default().options, &["request_timeout: 1s"]).await;
        world.control().next(Match::endpoint(LOAD), action.clone());
        let pushed = push(&world, &[]).await;
        assert_eq!(pushed.code, 1, "{action:?}: {pushed:?}");
        assert!(pushed.said.starts_with("error: the response to batch 1 was lost: "), "{action:?}: {pushed:?}");
        assert!(pushed.said.contains("hint: look into the campaign's data"), "{pushed:?}");
        assert_eq!(world.control().stats().calls[LOAD], 1, "{action:?}: once");

        let pushed = push(&world, &[]).await;
        assert_eq!(pushed.code, 1, "{action:?}: it is still unknown: {pushed:?}");
        assert!(pushed.said.contains("error: it is unknown whether 1 batch arrived"), "{pushed:?}");
        assert_eq!(pushed.document["rows"]["held_back"], 2);
        let before: &[i64] = if arrived { &[1, 2] } else { &[] };
        assert_eq!(received(&world), [before, &[3, 4, 5]].concat(), "{action:?}");

        let pushed = push(&world, &["--resend"]).await;
        assert_eq!(pushed.code, 0, "{pushed:?}");
        assert_eq!(received(&world), [before, &[3, 4, 5], &[1, 2]].concat(), "{action:?}");
        assert_eq!(states(&world).await, ["resent", "done", "done", "done"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_cannot_be_reached_leaves_nothing_unknown() {
    let world = push_world(5, 2).await;
    // It obtains a token; then nothing listens at the vendor's address any more.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let url = world.simulator.base_url();
    world.edit_config(|text| text.replace(&url, &address));
    let pushed = push(&world, &[]).await;
    assert_eq!(pushed.code, 1, "{pushed:?}");
    assert!(pushed.said.contains("the connection could not be made"), "{pushed:?}");
    assert_eq!(states(&world).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_state_is_shown_and_the_next_push_polls_again() {
    let world = push_world_with(3, 2, Recipe::default().options, &[]).await;
    world.edit_config(|text| text.replace("deadline: 20s", "deadline: 300ms"));
    world.control().outbound().shape(|shape| shape.done_word = "Procesado".to_owned());
    let pushed = push(&world, &[]).await;
    assert_eq!(pushed.code, 1);
    assert!(pushed.said.contains("has not ended within 0 h; its last status was “Procesado”"), "{pushed:?}");
    assert!(pushed.said.contains("add it to the connection's `task_words`"), "{pushed:?}");
    assert_eq!((received(&world).len(), states(&world).await), (2, vec!["sent".to_owned()]));
    world.edit_config(|text| {
        text.replace("    polling:", "    task_words: { done: [PROCESADO], failed: [error] }\n    polling:")
    });
    let pushed = push(&world, &[]).await;
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert_eq!((received(&world), states(&world).await), (vec![1, 2, 3], vec!["done".to_owned(); 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_waits_for_the_response_and_sends_no_more() {
    let world = push_world(5, 2).await;
    let hold = world.control().hold(Match::endpoint(LOAD), simulator::Point::BeforeResponse);
    let mut process = begin(&world);
    reached(&hold, &mut process).await;
    process.signal(rustix::process::Signal::INT);
    tokio::time::timeout(Duration::from_millis(300), process.wait(LONG)).await.expect_err("it waits for the response");
    hold.release();
    let status = process.wait(LONG).await;
    assert_eq!(status.code(), Some(1));
    assert!(process.said().contains("error: interrupted"), "{}", process.said());
    assert_eq!((received(&world), states(&world).await), (vec![1, 2], vec!["sent".to_owned()]));
    assert_eq!(push(&world, &[]).await.code, 0);
    eventually(LONG, async || (received(&world) == [1, 2, 3, 4, 5]).then_some(())).await;
    assert_eq!(states(&world).await, ["done"; 3]);
}
