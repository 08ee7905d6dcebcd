//! Pages and their cursors.

use simulator::lynn::{CursorShape, LastCursor, PageCount};
use simulator::{Action, Fault, Match, Options};
use tidegate::connector::StepError;

use super::*;

fn pages(control: &Control) -> u64 {
    control.stats().calls["execute_report"]
}

#[tokio::test]
async fn a_window_is_read_whole_in_every_shape_of_last_document_byte_for_byte() {
    let (_bench, control, client) = start().await;
    for cursor in [CursorShape::Array, CursorShape::Number, CursorShape::Text, CursorShape::Object] {
        // The simulator refuses a `lastDocument` that differs in a single byte.
        control.shape(|shape| shape.cursor = cursor);
        let reading = client.read(MARKS, day(1)).await.unwrap();
        assert_eq!(reading.rows, truth(&control, day(1)), "{cursor:?}");
        assert_eq!(reading.pages, [20, 20, 10]);
    }
}

#[tokio::test]
async fn p3_only_the_page_count_of_the_first_response_counts() {
    let (_bench, control, client) = start().await;
    for page_count in [PageCount::Decreasing, PageCount::Constant, PageCount::FirstOnly] {
        for last_cursor in [LastCursor::OfLastRow, LastCursor::Null, LastCursor::Absent] {
            control.shape(|shape| (shape.page_count, shape.last_cursor) = (page_count, last_cursor));
            let before = control.stats().reports.len();
            let reading = client.read(MARKS, day(1)).await.unwrap();
            assert_eq!(reading.rows, truth(&control, day(1)), "{page_count:?} {last_cursor:?}");
            assert_eq!(control.stats().reports.len() - before, 3, "not a call more than needed");
        }
    }
}

#[tokio::test]
async fn an_empty_window_is_read_with_one_call() {
    let (_bench, control, client) = start_with(Options { volume: Volume::Exactly(0), ..free() }).await;
    let reading = client.read(MARKS, day(1)).await.unwrap();
    assert_eq!((reading.rows.len(), pages(&control)), (0, 1));
    control.next(Match::default(), Action::ResultNull);
    assert_eq!(client.read(MARKS, day(1)).await.unwrap().rows.len(), 0, "null is an empty window too");
}

#[tokio::test]
async fn p10_an_announced_page_that_is_empty_is_an_error_that_names_the_page() {
    let (_bench, control, client) = start().await;
    let mut page = Page::default();
    let Outcome::Page { next, .. } = client.step(&marks(), day(1), None, &mut page).await.unwrap() else { panic!() };
    control.lynn().vanish(simulator::Rows::between(MARKS, day(1).start, day(1).end)).unwrap();
    // Two more pages were announced; the next one is empty.
    let error = client.read_on(MARKS, day(1), next).await.unwrap_err();
    assert!(matches!(error, StepError::PagesMissing { page: 2, pages: 3, .. }), "{error:?}");
    assert_eq!(pages(&control), 2, "nothing is asked for that is not there");
    assert_eq!(
        client.read(MARKS, day(1)).await.unwrap().rows.len(),
        0,
        "read from its first page, the window is empty"
    );
}

#[tokio::test]
async fn p10_an_announced_page_without_a_cursor_is_an_error_that_names_the_page() {
    let (_bench, control, client) = start().await;
    for (page, last_cursor) in [(1, LastCursor::Null), (2, LastCursor::Absent)] {
        control.shape(|shape| shape.last_cursor = last_cursor);
        control.next(Match::report(MARKS).page(page), Action::NoLastDocument);
        let error = client.read(MARKS, day(1)).await.unwrap_err();
        let StepError::PagesMissing { page: missing, pages: 3, .. } = error else { panic!("{error:?}") };
        assert_eq!(missing, u64::from(page) + 1);
    }
}

#[tokio::test]
async fn a_full_last_page_is_probed_only_when_that_is_configured() {
    let (mut bench, control, client) = start_with(Options { volume: Volume::Exactly(40), ..free() }).await;
    let hidden = || control.next(Match::report(MARKS).page(1), Action::HiddenPage);
    hidden();
    assert_eq!(client.read(MARKS, day(1)).await.unwrap().pages, [20], "the vendor's rule says stop");
    bench.settings.probe_full_page = true;
    let client = bench.client().await;
    hidden();
    let reading = client.read(MARKS, day(1)).await.unwrap();
    assert_eq!((reading.rows, reading.pages), (truth(&control, day(1)), vec![20, 20, 0]));
    // A last page that is not full needs no probe.
    assert_eq!(
        client.read(MARKS, window("2024-03-01T00:00:00Z", "2024-03-01T10:00:00Z")).await.unwrap().pages.len(),
        1
    );
}

#[tokio::test]
async fn a_stuck_cursor_is_an_error_and_not_a_loop() {
    let (_bench, control, client) = start().await;
    control.mischief(Fault::new(Match::report(MARKS).page(2), Action::StuckCursor).times(9));
    let error = client.read(MARKS, day(1)).await.unwrap_err();
    assert!(matches!(error, StepError::CursorStuck), "{error:?}");
    assert_eq!(pages(&control), 2);
}

#[tokio::test]
async fn endless_paging_ends() {
    let (mut bench, control, client) = start().await;
    let endless = || control.mischief(Fault::new(Match::report(MARKS), Action::Endless).times(10_000));
    endless();
    // As many pages as the first response announced, and no more.
    assert_eq!(client.read(MARKS, day(1)).await.unwrap().pages.len(), 3);
    control.quiet();
    bench.settings.probe_full_page = true;
    let client = bench.client().await;
    endless();
    let error = client.read(MARKS, day(1)).await.unwrap_err();
    assert!(matches!(error, StepError::Endless(_)), "{error:?}");
    assert!(pages(&control) < 40, "{}", pages(&control));
}

#[tokio::test]
async fn p3_another_process_continues_at_the_next_page_though_the_token_expired() {
    let (bench, control, client) = start().await;
    let (first, Outcome::Page { next, .. }) = first_page(&client).await.unwrap() else { panic!() };
    control.expire_tokens();
    // The same client, with a token that is no longer valid.
    let same = client.read_on(MARKS, day(1), next.clone()).await.unwrap();
    // A new client knows only the cursor.
    let client = bench.client().await;
    let rest = client.read_on(MARKS, day(1), next).await.unwrap();
    assert_eq!(same.rows, rest.rows);
    assert_eq!([first, rest.rows].concat(), truth(&control, day(1)));
    let stats = control.stats();
    assert_eq!((stats.tokens_minted, stats.unauthorized), (3, 1));
    assert_eq!(stats.reports.iter().filter(|call| call.page == 1).count(), 1, "the first page is not read again");
}

#[tokio::test]
async fn further_pages_repeat_the_first_request_even_if_the_configuration_changes() {
    let (mut bench, control, client) = start().await;
    let (first, Outcome::Page { next, .. }) = first_page(&client).await.unwrap() else { panic!() };
    bench.settings.page_size = 7;
    bench.settings.filter_timezone = Tz::America__Santiago;
    let client = bench.client().await;
    let rest = client.read_on(MARKS, day(1), next).await.unwrap();
    assert_eq!([first, rest.rows].concat(), truth(&control, day(1)));
    let asked = |call: &simulator::ReportCall| (call.start_date.clone(), call.end_date.clone(), call.size);
    let reports = control.stats().reports;
    assert!(reports.iter().all(|call| asked(call) == asked(&reports[0])), "{reports:?}");
}

#[tokio::test]
async fn an_unknown_cursor_is_refused_before_anything_is_sent() {
    let (_bench, control, client) = start().await;
    for cursor in ["", "null", "{}", r#"{"page":1}"#, "[1,2]"] {
        let error = client.step(&marks(), day(1), Some(cursor), &mut Page::default()).await.unwrap_err();
        assert!(matches!(error, StepError::CursorUnknown), "{cursor}: {error:?}");
    }
    assert_eq!(control.stats().calls.len(), 0);
}

#[tokio::test]
async fn the_size_is_limited_to_what_the_vendor_accepts() {
    let (mut bench, control, _) = start().await;
    for (configured, asked) in [(0, 1), (50_000, 10_000)] {
        bench.settings.page_size = configured;
        first_page(&bench.client().await).await.unwrap();
        assert_eq!(control.stats().reports.last().unwrap().size, asked);
    }
}
