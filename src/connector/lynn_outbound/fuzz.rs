//! Damaged responses and stored cursors of Lynn Outbound.

use proptest::prelude::*;

use super::config::Endpoint;
use super::dnd::{Cursor, Entries, Ids};
use super::load::{Loaded, TaskState, taken};
use super::{ListReader, LynnOutbound, Settings, TaskWords, wire};
use crate::connector::export::Polling;
use crate::connector::lynn_account::{Account, Product};
use crate::decode::object::Members;
use crate::decode::{Sink as _, raw};
use crate::fuzz::{any_cuts, assert_decent, assert_told, damaged, damaged_text, pieces, redactor};
use crate::test_kit::Collected;

const LISTS: &[&[u8]] = &[
    br#"{"isValid":true,"errors":[],"total":2,"pageCount":1,"next":null,"hasMore":false,"list":[{"contactId":"c-1","campaignId":7},{"id":2}]}"#,
    br#"{"IsValid":"false","errors":["no division s3cret-value",{"token":"s3cret-value"}],"list":[]}"#,
    br#"{"success":false,"message":"no s3cret-value\nhere","list":[]}"#,
    b"\xef\xbb\xbf[{\"contactId\":\"c-1\",\"campaign\":\"a\"},{\"CONTACT_ID\":\"C-1\",\"id\":\"..\"}]",
    br#"{"lastDocument":"d1","list":[{"a":1}],"TotalCount":"3"}"#,
];

const TASKS: &[&[u8]] = &[
    br#"{"isValid":true,"errors":[],"result":{"taskId":"9d0c-1","status":"Completed"}}"#,
    br#""9d0c-1""#,
    b"12345678901234567890",
    b"9d0c-1",
    b"s3cret-value",
    br#"{"task":"s3cret-value","state":"s3cret-value","completed":"s3cret-value"}"#,
    br#"{"isValid":false,"errors":"unknown template of s3cret-value"}"#,
    br#"{"ok":true,"is_done":false,"message":"the records of s3cret-value"}"#,
    b"<html>s3cret-value</html>",
];

const CURSORS: &[&[u8]] = &[br#"{"after":"c-\u00e9\"1"}"#, br#"{"after":null}"#];

fn outbound() -> LynnOutbound {
    let account = Account {
        tenant: 1,
        access_token: "a".into(),
        access_token_secret: "b".into(),
        product: Product::Basic,
        subscription_key: None,
        create_token_path: "/t".to_owned(),
        authorization_scheme: "bearer".to_owned(),
    };
    let endpoint = || Endpoint { path: "/x/{contact_id}".to_owned(), method: reqwest::Method::GET };
    let settings = Settings {
        account,
        enabled_streams: Vec::new(),
        get_campaigns: endpoint(),
        get_contacts: endpoint(),
        get_dnd_contacts: endpoint(),
        add_campaign_data: endpoint(),
        get_task_status: endpoint(),
        contact_id_field: None,
        task_words: TaskWords::default(),
        polling: Polling::default(),
    };
    LynnOutbound::new("https://host".parse().unwrap(), settings, redactor())
}

/// Asserts that an id is a short word that can be stored, shown and put into a path.
fn assert_id(id: &str) {
    assert!(!id.trim().is_empty() && id.chars().count() <= 200, "{id}");
    assert!(!id.contains(char::is_control), "{id:?}");
    let Ok(path) = wire::with_id("/x/{id}/y", "{id}", id) else {
        assert!(matches!(id, "." | ".."), "{id}");
        return;
    };
    let url = url::Url::parse("https://host").unwrap().join(&path).unwrap();
    let segments: Vec<&str> = url.path_segments().unwrap().collect();
    assert!(segments.len() == 3 && segments[0] == "x" && segments[2] == "y", "{url}");
    assert!(url.query().is_none() && url.fragment().is_none(), "{url}");
}

proptest! {
    #[test]
    fn p5_a_damaged_list_is_read_whole_or_refused_with_a_safe_message(body in damaged(LISTS)) {
        match wire::wrapped(&body, &redactor()) {
            Ok(rows) => {
                prop_assert!(rows.len() <= body.len());
                for row in rows {
                    prop_assert!(raw::value(row.get().as_bytes()) == Ok(row));
                    if let Some(word) = wire::word(row) {
                        assert_id(&word);
                    }
                }
            }
            Err(error) => assert_told(&error),
        }
    }

    #[test]
    fn p6_a_damaged_list_gives_the_same_rows_in_any_chunks(body in damaged(LISTS), cuts in any_cuts()) {
        let outbound = outbound();
        let read = |cuts: &[usize]| {
            let (mut kept, mut reader) = (Collected::default(), ListReader::begin());
            let fed = pieces(&body, cuts).try_for_each(|piece| reader.feed(piece, &mut kept));
            let end = fed.and_then(|()| outbound.ended(reader, &"t0ken".into(), &mut kept));
            if let Err(error) = &end {
                assert_told(error);
            }
            (end.ok(), kept)
        };
        let (one, other) = (read(&[usize::MAX]), read(&cuts));
        prop_assert_eq!(&one, &other);
        prop_assert!(one.0.is_none_or(|rows| rows == one.1.records.len() as u64));
    }

    #[test]
    fn p5_entries_of_a_damaged_blacklist_name_contact_and_campaign_or_are_refused(body in damaged(LISTS), asked in any::<bool>()) {
        let (mut rows, mut kept) = (Collected::default(), Collected::default());
        let mut reader = ListReader::begin();
        if reader.feed(&body, &mut rows).and_then(|()| outbound().ended(reader, &"t0ken".into(), &mut rows)).is_err() {
            return Ok(());
        }
        let mut ids = Ids { field: None, found: Vec::new(), nameless: 0 };
        let mut entries = Entries::new(&mut kept, asked.then_some("c-1"));
        for row in &rows.records {
            ids.record(row).unwrap();
            if let Err(error) = entries.record(row) {
                assert_told(&error.into());
            }
        }
        prop_assert_eq!(ids.found.len() as u64 + ids.nameless, rows.records.len() as u64);
        ids.found.iter().for_each(|id| assert_id(id));
        for record in &kept.records {
            let members = Members::parse(record).unwrap();
            let names: Vec<&str> = members.iter().map(|(name, _)| name).take(2).collect();
            prop_assert_eq!(names, ["contact_id", "campaign_id"]);
            prop_assert!(!asked || members.text("contact_id").unwrap() == "c-1");
            assert_id(&members.text("campaign_id").unwrap());
        }
    }

    #[test]
    fn p7_a_damaged_response_to_a_load_names_a_task_that_can_be_stored_or_none(response in damaged(TASKS)) {
        match taken(&response, &redactor()) {
            Ok(Loaded::Taken { task, said }) => {
                if let Some(task) = &task {
                    assert_id(task);
                    assert_decent(task);
                    prop_assert!(!task.contains(char::is_whitespace));
                }
                prop_assert!(task.is_none() || said.is_none());
                assert_decent(&said.unwrap_or_default());
            }
            Ok(Loaded::Failed { said }) => assert_decent(&said),
            Err(error) => assert_told(&error),
        }
    }

    #[test]
    fn p7_a_damaged_task_state_is_safe_to_show(response in damaged(TASKS)) {
        match outbound().state(&response, &redactor()) {
            Ok(TaskState::Running(said) | TaskState::Done(said) | TaskState::Failed(said)) => {
                assert_decent(&said);
            }
            Err(error) => assert_told(&error),
        }
    }

    #[test]
    fn p3_a_damaged_cursor_is_refused_or_round_trips(text in damaged_text(CURSORS)) {
        if let Ok(cursor) = Cursor::parse(&text) {
            prop_assert_eq!(Cursor::parse(&cursor.text()).unwrap().after, cursor.after);
        }
    }
}

#[test]
fn a_byte_order_mark_may_come_in_pieces() {
    let (mut kept, mut reader) = (Collected::default(), ListReader::begin());
    for piece in [&b"\xef"[..], b"\xbb", b"\xbf", b" \n", b"[1", b",2]"] {
        reader.feed(piece, &mut kept).unwrap();
    }
    assert!(matches!(reader, ListReader::Array(_)));
    assert_eq!(outbound().ended(reader, &"t0ken".into(), &mut kept).unwrap(), 2);
}
