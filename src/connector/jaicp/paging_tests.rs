use proptest::prelude::*;

use super::*;

fn day() -> Window {
    Window { start: "2024-03-01T00:00:00Z".parse().unwrap(), end: "2024-03-02T00:00:00Z".parse().unwrap() }
}

fn page(ids: std::ops::Range<u64>, size: i64, total: u64) -> Page {
    Page { ids: ids.collect(), size, total, bytes: 1 }
}

fn begin() -> Cursor {
    Cursor::begin(day(), 100)
}

fn going(next: Next) -> Cursor {
    match next {
        Next::Page(cursor) => Cursor::parse(&cursor.text().unwrap()).unwrap(),
        Next::Complete(_) => panic!("complete"),
    }
}

#[test]
fn pages_follow_one_another_until_as_many_rows_were_seen_as_there_are() {
    let cursor = going(begin().after(&page(0..100, 100, 250)).unwrap());
    assert_eq!((cursor.page, cursor.size), (1, 100));
    // A short page is not an end.
    let cursor = going(cursor.after(&page(100..150, 100, 250)).unwrap());
    let cursor = going(cursor.after(&page(150..249, 100, 250)).unwrap());
    assert_eq!(cursor.page, 3);
    assert!(matches!(cursor.after(&page(249..250, 100, 250)).unwrap(), Next::Complete(_)));
    assert!(matches!(begin().after(&page(0..0, 100, 0)).unwrap(), Next::Complete(_)));
}

#[test]
fn the_vendors_page_size_is_used() {
    let cursor = going(begin().after(&page(0..50, 50, 80)).unwrap());
    assert_eq!((cursor.page, cursor.size), (1, 50));
    // The vendor changes the page size during the reading.
    let cursor = going(cursor.after(&page(40..60, 20, 80)).unwrap());
    assert_eq!((cursor.page, cursor.size, cursor.rows), (0, 20, 0));
    for size in [0, -1, i64::MAX] {
        assert_eq!(going(begin().after(&page(0..100, size, 250)).unwrap()).size, 100);
    }
}

#[test]
fn a_part_with_another_count_is_read_again_then_in_halves_then_fails() {
    let mut cursor = begin();
    let mut readings = 0;
    let error = loop {
        readings += 1;
        match cursor.after(&page(0..10, 100, 11)) {
            // The missing row is on no page.
            Ok(next) => match going(next).after(&page(0..0, 100, 11)) {
                Ok(next) => cursor = going(next),
                Err(error) => break error,
            },
            Err(error) => break error,
        }
    };
    assert_eq!(readings, 17 * 3, "a day, its half, … a second and something");
    let StepError::Unsteady { found: 10, announced: 11, start, end } = error else { panic!("{error:?}") };
    assert_eq!((start.as_str(), end.as_str()), ("2024-03-01T00:00:00.000Z", "2024-03-01T00:00:01.000Z"));
}

#[test]
fn rows_that_are_seen_twice_are_counted_once() {
    // A row was added before the second page was read: one row is on two pages, and one is on none.
    let cursor = going(begin().after(&page(0..100, 100, 150)).unwrap());
    let again = going(cursor.after(&page(99..149, 100, 150)).unwrap());
    assert_eq!((again.page, again.unsteady, again.from, again.to), (0, 1, day().start, day().end));
}

#[test]
fn a_repeated_page_is_an_error() {
    let cursor = going(begin().after(&page(0..100, 100, 250)).unwrap());
    assert!(matches!(cursor.after(&page(0..100, 100, 250)), Err(StepError::CursorStuck)));
}

#[test]
fn p6_a_part_with_too_many_rows_is_halved_before_it_is_read() {
    let cursor = going(begin().after(&page(0..100, 100, ROWS_MAX + 1)).unwrap());
    assert_eq!((cursor.page, cursor.rows, cursor.to), (0, 0, "2024-03-01T12:00:00Z".parse().unwrap()));
    let mut cursor = begin();
    cursor.to = cursor.from + TimeDelta::seconds(1);
    let mut pages = 0_u64;
    let error = loop {
        match cursor.after(&page(pages * 100..pages * 100 + 100, 100, 1_000_000)) {
            Ok(next) => cursor = going(next),
            Err(error) => break error,
        }
        pages += 1;
        assert!(cursor.text().unwrap().len() < 300_000);
    };
    assert!(matches!(error, StepError::Endless(200)), "{error:?}");
}

#[test]
fn parts_follow_one_another_to_the_windows_end_and_grow_again() {
    let mut cursor = begin();
    cursor.to = cursor.from + TimeDelta::hours(3);
    let Next::Complete(done) = cursor.after(&page(0..10, 100, 10)).unwrap() else { panic!() };
    let next = done.following(day()).unwrap();
    assert_eq!((next.from, next.to), (done.to, done.to + TimeDelta::hours(6)));
    let mut last = next.clone();
    last.to = day().end - TimeDelta::hours(1);
    assert_eq!(last.following(day()).unwrap().to, day().end);
    last.to = day().end;
    assert_eq!(last.following(day()), None);
}

#[test]
fn a_refused_page_is_requested_in_smaller_pieces() {
    let sizes = |status: u16| {
        std::iter::successors(Some(begin()), move |cursor| cursor.smaller(status))
            .map(|cursor| cursor.size)
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(400), [100, 50, 25, 20]);
    assert_eq!(sizes(504), [100, 50, 25, 12, 6, 3, 1]);
    assert_eq!(sizes(413), sizes(504));
    for status in [401, 403, 404, 500, 503] {
        assert_eq!(sizes(status), [100]);
    }
    let deep = Cursor { page: 7, rows: 700, ..begin() };
    let half = deep.smaller(500).unwrap();
    assert_eq!((half.page, half.rows, half.to), (0, 0, "2024-03-01T12:00:00Z".parse().unwrap()));
    assert_eq!(deep.smaller(403), None);
}

#[test]
fn an_unknown_cursor_is_refused() {
    for text in ["", "null", "{}", r#"{"page":1}"#] {
        assert!(matches!(Cursor::parse(text), Err(StepError::CursorUnknown)), "{text}");
    }
}

proptest! {
    /// A list that does not change during the reading is read completely, with any content and any page size.
    #[test]
    fn a_steady_list_is_read_completely(
        rows in proptest::collection::vec(0_i64..86_400, 0..400),
        size_max in 1_u32..60,
        asked in 1_u32..120,
    ) {
        let mut seen = HashSet::<u64>::new();
        let mut cursor = Some(Cursor::begin(day(), asked));
        let mut calls = 0;
        while let Some(now) = cursor {
            calls += 1;
            prop_assert!(calls < 3_000);
            let (start, end) = ((now.from - day().start).num_seconds(), (now.to - day().start).num_seconds());
            let here: Vec<u64> =
                (0..).zip(&rows).filter(|(_, at)| (start..end).contains(*at)).map(|(id, _)| id).collect();
            let size = size_max.min(now.size);
            let (page, rows) = (usize::try_from(now.page).unwrap(), size as usize);
            let ids: Vec<u64> = here.iter().copied().skip(page * rows).take(rows).collect();
            seen.extend(&ids);
            let response = Page { ids, size: i64::from(size), total: here.len() as u64, bytes: 0 };
            cursor = match now.after(&response).unwrap() {
                Next::Page(next) => Some(next),
                Next::Complete(done) => done.following(day()),
            };
        }
        prop_assert_eq!(seen.len(), rows.len());
    }
}
