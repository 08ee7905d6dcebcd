//! Kills the real binary: its successors load what an undisturbed run loads, and request nothing twice.

use std::collections::BTreeMap;

use simulator::{Hold, Match, Point};

use super::site::{Site, ago};
use super::*;
use crate::support::{Process, eventually};

const LONG: Duration = Duration::from_mins(1);

async fn reached(hold: &Hold, process: &mut Process) {
    eventually(LONG, async || {
        assert!(!process.has_ended(), "it ended too soon: {}", process.said());
        hold.is_reached().then_some(())
    })
    .await;
}

/// A `sync` that is killed when the held call arrives, and another that continues.
async fn killed_and_continued(site: &Site, hold: Hold) {
    let mut process = Process::start(&site.config_path(), &["sync"], &[]);
    reached(&hold, &mut process).await;
    process.kill();
    hold.release();
    go_on(site).await;
}

async fn go_on(site: &Site) {
    sqlx::query("update tidegate.run set lease_until = clock_timestamp() - interval '1 ms' where state = 'running'")
        .execute(&site.database.pool())
        .await
        .unwrap();
    let mut process = Process::start(&site.config_path(), &["sync"], &[]);
    let status = process.wait(LONG).await;
    assert!(status.success(), "{status}: {}", process.said());
}

/// Waits for the checkpoint after this many pages.
async fn committed(site: &Site, pages: i64) {
    eventually(LONG, async || {
        let done: i64 = site.scalar("select coalesce(sum(reading_pages), 0)::bigint from tidegate.slice").await;
        (done >= pages).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p3_a_kill_between_pages_loses_nothing_and_reads_no_page_again() {
    for stream in ["messages", "clients"] {
        let site = Site::new("", &format!("[{stream}]"), "lookback: 0s").await;
        // In the second day, after its first two pages are durable.
        let hold = site.control().hold_after(Match::report(stream).page(3), 1, Point::BeforeResponse);
        let mut process = Process::start(&site.config_path(), &["sync"], &[]);
        reached(&hold, &mut process).await;
        committed(&site, 2).await;
        process.kill();
        hold.release();
        go_on(&site).await;
        let truth = if stream == "messages" { site.messages() } else { site.truth(stream) };
        site.assert_rows(stream, truth).await;
        let mut asked = BTreeMap::new();
        for call in site.control().stats().reports.iter().filter(|call| call.rows > 0) {
            *asked.entry((call.start_date.clone(), call.page)).or_insert(0) += 1;
        }
        let twice: Vec<_> = asked.iter().filter(|(_, times)| **times > 1).collect();
        assert_eq!((asked.len(), twice.len()), (9, 1), "only the page under way is asked for again: {asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_while_statuses_are_read_loses_nothing() {
    let site = Site::new("message_status: true", "[messages]", "lookback: 0s").await;
    let hold = site.control().hold_after(Match::report("by_session"), 12, Point::MidBody);
    let mut process = Process::start(&site.config_path(), &["sync"], &[]);
    reached(&hold, &mut process).await;
    // Pages that arrive together become durable together, so a kill meanwhile would cost all of them.
    let arrived = site.control().stats().calls.values().sum::<u64>() - 1;
    eventually(LONG, async || {
        let durable: i64 = site.scalar("select pages from tidegate.task").await;
        (durable == i64::try_from(arrived).unwrap()).then_some(())
    })
    .await;
    process.kill();
    hold.release();
    go_on(&site).await;
    site.assert_rows("messages", site.truth("messages")).await;
    let told = |session: &Map<String, Value>| {
        ["telegram", "viber", "vk"].contains(&session["channelType"].as_str().unwrap().to_lowercase().as_str())
    };
    // A session that continues on the next day is requested on both days. A day is requested with the second before it.
    let day = |days: i64| site.jaicp().sessions(ago(days) - TimeDelta::seconds(1), ago(days - 1));
    let sessions = (0..=3).flat_map(day);
    let told = sessions.filter(told).count() as u64;
    let asked = site.control().stats().calls["jaicp_by_session"];
    assert_eq!(asked, told + 1, "only the call under way is made again");
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_after_a_kill_during_a_report_the_report_is_polled_and_not_created_again() {
    let site = Site::new("", "[report_messages]", "lookback: 0s").await;
    site.jaicp().shape(|shape| shape.polls = 4);
    let hold = site.control().hold_after(Match::endpoint("jaicp_task"), 2, Point::BeforeResponse);
    killed_and_continued(&site, hold).await;
    assert_eq!(site.count("report_messages").await, 180);
    // One for each of three days and the open one.
    assert_eq!(site.jaicp().tasks(), 4);
    site.assert_well_behaved();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_between_metrics_leaves_every_metric_once() {
    let site = Site::new("", "[stats_series]", "lookback: 0s").await;
    let hold = site.control().hold(Match::report("session_labels"), Point::BeforeResponse);
    let mut process = Process::start(&site.config_path(), &["sync"], &[]);
    reached(&hold, &mut process).await;
    committed(&site, 3).await;
    process.kill();
    hold.release();
    go_on(&site).await;
    let calls = site.control().stats().calls["jaicp_stats"];
    assert_eq!(calls, 6, "five metrics, and the one under way once more");
    let sum: f64 = site.scalar("select sum(value) from jaicp.stats_series where metric = 'messages'").await;
    assert!((sum - 180.0).abs() < 0.5, "{sum}");
}
