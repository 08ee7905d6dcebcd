//! The pages of a window must have as many records as the vendor's total.

use simulator::{Action, Fault, Match, Options, ReportCall};

use super::*;

fn pages(bench: &Bench) -> Vec<ReportCall> {
    bench.control().stats().reports
}

#[tokio::test]
async fn every_page_is_read_and_every_range_is_explicit() {
    let bench = Bench::new().await;
    let jaicp = bench.jaicp();
    for (stream, truth) in [
        ("messages", messages(&jaicp, day(5))),
        ("sessions", sessions(&jaicp, day(5))),
        ("clients", clients(&jaicp, day(5))),
    ] {
        let read = bench.read(stream, day(5)).await.unwrap();
        assert_eq!(read.distinct(), truth, "{stream}");
        assert!(read.rows.len() > 15 && read.refused.is_empty());
    }
    let calls = pages(&bench);
    assert_eq!(
        calls.iter().filter(|call| call.report == "messages").map(|call| call.page).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    for call in &calls {
        assert_eq!((call.size, &*call.start_date), (20, "2024-03-04T23:59:59.000Z"), "a second of overlap");
        assert_eq!(call.end_date, "2024-03-06T00:00:00.000Z");
    }
    assert_well_behaved(&bench.control());
}

#[tokio::test]
async fn a_vendor_that_gives_smaller_pages_is_followed() {
    let bench = Bench::new().await;
    bench.jaicp().shape(|shape| {
        shape.size_max = 7;
        shape.page_base = 1;
    });
    let read = bench.read("messages", day(5)).await.unwrap();
    assert_eq!(read.distinct(), messages(&bench.jaicp(), day(5)));
    let sizes: Vec<u64> = pages(&bench).iter().map(|call| call.size).collect();
    assert_eq!((sizes[0], sizes.len()), (20, 9));
    assert!(sizes[1..].iter().all(|size| *size == 7));
}

#[tokio::test]
async fn a_page_that_is_refused_for_its_size_is_requested_in_smaller_parts() {
    for (status, max, calls) in [(400, 25, 3), (413, 6, 5), (504, 6, 5)] {
        let mut bench = Bench::new().await;
        bench.settings.page_size = 100;
        bench.jaicp().shape(|shape| shape.size_refused = Some((max, status)));
        let read = bench.read("clients", day(5)).await.unwrap();
        assert_eq!(read.distinct(), clients(&bench.jaicp(), day(5)), "{status}");
        let asked = bench.control().stats().calls["jaicp_clients"];
        assert!(asked >= calls && asked < 30, "{status}: {asked}");
    }
}

#[tokio::test]
async fn a_bad_request_for_any_page_size_is_reported_with_the_vendors_message() {
    let mut bench = Bench::new().await;
    bench.settings.page_size = 100;
    bench.jaicp().shape(|shape| shape.size_refused = Some((5, 400)));
    let error = bench.read("clients", day(5)).await.unwrap_err();
    let StepError::Refused { what, .. } = error else { panic!("{error:?}") };
    assert_eq!(what, "status 400, “reporter.wrong.size: size is wrong”");
    assert_eq!(bench.control().stats().calls["jaicp_clients"], 4, "100, 50, 25, 20");
}

#[tokio::test]
async fn deep_pages_that_are_refused_are_avoided_by_shorter_windows() {
    let bench = Bench::new().await;
    bench.jaicp().shape(|shape| shape.pages_refused = Some(2));
    let read = bench.read("messages", day(5)).await.unwrap();
    assert_eq!(read.distinct(), messages(&bench.jaicp(), day(5)));
    assert!(read.parts.iter().any(|part| *part != day(5)));
}

#[tokio::test]
async fn p5_pages_that_shift_are_read_until_they_add_up() {
    let bench = Bench::new().await;
    // Once: two rows were added before the second page.
    bench.control().next(Match::report("messages").page(2), Action::Overlap { rows: 2 });
    let read = bench.read("messages", day(5)).await.unwrap();
    assert_eq!(read.distinct(), messages(&bench.jaicp(), day(5)));
    assert_eq!(pages(&bench).len(), 6, "the window is read twice");
    // Always: until parts fit into one page.
    bench.jaicp().shape(|shape| shape.shifts = true);
    for (stream, truth) in
        [("messages", messages(&bench.jaicp(), day(5))), ("clients", clients(&bench.jaicp(), day(5)))]
    {
        assert_eq!(bench.read(stream, day(5)).await.unwrap().distinct(), truth, "{stream}");
    }
}

#[tokio::test]
async fn p5_wrong_counts_are_an_error_and_not_a_loss() {
    let bench = Bench::new().await;
    bench.jaicp().shape(|shape| shape.total_off = 3);
    let error = bench.read("clients", day(5)).await.unwrap_err();
    assert!(matches!(error, StepError::Unsteady { .. }), "{error:?}");
    let asked = pages(&bench).len();
    assert!(asked < 300, "{asked}");
}

#[tokio::test]
async fn a_vendor_that_ignores_the_page_is_an_error() {
    let bench = Bench::new().await;
    bench.jaicp().shape(|shape| shape.ignores_page = true);
    let error = bench.read("messages", day(5)).await.unwrap_err();
    assert!(matches!(error, StepError::CursorStuck), "{error:?}");
    assert_eq!(pages(&bench).len(), 2);
    bench.jaicp().shape(|shape| shape.ignores_page = false);
    bench.control().mischief(Fault::new(Match::report("messages"), Action::Endless).times(99));
    assert!(matches!(bench.read("messages", day(5)).await.unwrap_err(), StepError::CursorStuck));
}

#[tokio::test]
async fn p6_a_window_of_many_rows_is_read_in_parts_with_small_cursors() {
    let mut bench = Bench::with(Options { volume: Volume::Exactly(12_000), ..Options::default() }).await;
    bench.settings.page_size = 500;
    let read = bench.read("clients", day(5)).await.unwrap();
    assert!(read.distinct().is_superset(&clients(&bench.jaicp(), day(5))));
    let longest = read.cursors.iter().map(String::len).max().unwrap();
    assert!(longest < 60_000, "{longest}");
    assert!(read.parts.iter().all(|part| part.end <= day(5).end && part.start >= day(5).start));
    assert!(read.rows.len() < 14_000, "what is halved is not read on: {}", read.rows.len());
}

#[tokio::test]
async fn bounds_may_belong_to_a_range_or_not() {
    for end_inclusive in [true, false] {
        let options = Options { volume: Volume::Exactly(ROWS), end_inclusive, ..Options::default() };
        let bench = Bench::with(options).await;
        for moment in [day(5).start, day(5).end, day(5).start + TimeDelta::hours(12)] {
            bench.jaicp().data().insert("clients", moment).unwrap();
        }
        // If a window is read in halves, there are bounds within it.
        bench.jaicp().shape(|shape| shape.shifts = true);
        let mut read = BTreeSet::new();
        for number in [4, 5, 6] {
            read.extend(bench.read("clients", day(number)).await.unwrap().distinct());
        }
        assert_eq!(read, clients(&bench.jaicp(), days(4, 6)), "{end_inclusive}");
    }
}

#[tokio::test]
async fn p3_another_process_continues_at_the_next_page() {
    let bench = Bench::new().await;
    let (client, stream) = (bench.client().await, stream("messages"));
    let mut first = Page::default();
    let Outcome::Page { next, .. } = client.step(&stream, day(5), None, &mut first).await.unwrap() else { panic!() };
    let rest = bench.client().await.read_on("messages", day(5), next).await.unwrap();
    assert_eq!(pages(&bench).iter().map(|call| call.page).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((first.rows.len(), rest.rows.len()), (20, 40));
    for cursor in ["", "null", "{}", r#"{"page":1}"#] {
        let error = client.step(&stream, day(5), Some(cursor), &mut Page::default()).await.unwrap_err();
        assert!(matches!(error, StepError::CursorUnknown), "{cursor}: {error:?}");
    }
    assert_eq!(pages(&bench).len(), 3, "before anything is sent");
}
