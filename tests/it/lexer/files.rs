//! The compression, charset and delimiter of a file.

use simulator::{Action, Fault, Match};

use super::*;

fn files() -> Match {
    Match::endpoint("files_get")
}

/// A world whose next file of `mention_sla_export` is this one.
async fn holding(connection: &[&str], content_type: &str, body: impl Into<Vec<u8>>) -> World {
    let world = world(options(), "[mention_sla_export]", 0, connection, &["lookback: 10d"]).await;
    put_file(&world, content_type, body);
    world
}

/// The next file is this one.
fn put_file(world: &World, content_type: &str, body: impl Into<Vec<u8>>) {
    let location = world.control().put_file("other.csv", content_type, body.into(), LONG);
    let elsewhere = || Fault::new(files(), Action::Redirect { status: 302, location: location.clone() });
    world.control().mischief(elsewhere());
    // A file that cannot be read is requested once more.
    world.control().mischief(elsewhere().after(1));
}

/// The state of each row, in order.
async fn states(world: &World) -> Vec<Option<String>> {
    sqlx::query_scalar("select state from lexer.mention_sla_export order by account_name")
        .fetch_all(&world.database.pool())
        .await
        .unwrap()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_file_of_several_gzip_members_loads_all_rows_whether_a_header_says_so_or_not() {
    for (members, named) in [(1, true), (2, true), (2, false), (3, false), (1_000, true)] {
        let world = plain("[mention_sla_export, case_details]", 2).await;
        world.control().mischief(Fault::new(files(), Action::GzipMembers { members, named }).times(50));
        let tasks = world.sync_ok().await;
        for file in [SLA, "case_details"] {
            assert_file(&world, file).await;
        }
        let rejected: i64 = tasks.iter().map(|task| task.records_rejected).sum();
        assert_eq!(rejected, 0, "{members} members, named: {named}");
        // A second reading finds every row again.
        let again = world.sync_ok().await;
        assert!(again.iter().all(|task| (task.rows_inserted, task.rows_deleted) == (0, 0)), "{again:#?}");
        assert_well_behaved(&world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_file_is_read_in_the_charset_that_its_content_type_or_its_mark_names() {
    let text = "Account Name,State\nA,gelöst\nB,\"für € 5\"\n";
    let marked = utf16(&format!("\u{feff}{text}"));
    let windows = b"Account Name,State\nA,gel\xF6st\nB,\"f\xFCr \x80 5\"\n".to_vec();
    for (connection, content_type, body) in [
        (&[][..], "text/csv", text.as_bytes().to_vec()),
        (&[], "text/csv; charset=\"ISO-8859-1\"", windows.clone()),
        (&[], "text/csv;CHARSET=windows-1252", windows.clone()),
        (&[], "text/csv; charset=latin1", marked.clone()),
        (&[], "application/octet-stream", marked),
        (&["csv: { charset: windows-1252 }"], "text/csv; charset=utf-8", windows),
        (&[], "text/csv; charset=utf-16le", utf16(text)),
        (&[], "text/csv; charset=US-ASCII", text.as_bytes().to_vec()),
    ] {
        let world = holding(connection, content_type, body).await;
        world.sync_ok().await;
        let found: Vec<_> = states(&world).await.into_iter().flatten().collect();
        assert_eq!(found, ["gelöst", "für € 5"], "{connection:?} {content_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_character_that_cannot_be_decoded_is_not_replaced_with_another() {
    let world = holding(&[], "text/csv", b"Account Name,State\nA,gel\xF6st\nB,open\n".to_vec()).await;
    let tasks = world.sync().await;
    assert_eq!(tasks[0].records_rejected, 1, "{tasks:#?}");
    let row: String = world.scalar("select record from tidegate.rejected_record where reason = 'not UTF-8'").await;
    assert_eq!(row, r"A,gel\xf6st");
    for (content_type, body, said) in [
        ("text/csv; charset=klingon", &b"Account Name,State\nA,b\n"[..], "a charset that is not known: “klingon”"),
        (
            "text/csv",
            b"Account Name,Gr\xF6\xDFe\nA,b\n",
            "text in another charset than the announced or configured one",
        ),
        ("text/csv", b"A\0c\0c\0,\0", "UTF-16 without a byte order mark"),
    ] {
        let world = holding(&[], content_type, body).await;
        let (error, hint) = fails(&world).await;
        assert!(error.contains(said) && hint.contains("csv: { charset: "), "{error} {hint}");
    }
    for (body, said) in [
        (&b"PK\x03\x04\x14\0\0\0"[..], "a ZIP archive (or XLSX)"),
        (b"\xD0\xCF\x11\xE0\xA1\xB1", "an old workbook (XLS)"),
        (b"BZh91AY&SY", "a bzip2 file"),
    ] {
        let world = holding(&[], "application/octet-stream", body).await;
        assert!(fails(&world).await.0.contains(said), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_delimiter_is_detected_in_the_lines_too_or_set_by_the_connection() {
    for (connection, body) in [
        (&[][..], "Account Name;State;Wait (h, m, s, ms)\nA;open;1\nB;closed;2\n"),
        (&[], "Account Name;State;Wait (h, m, s, ms);\nA;open;1;\nB;closed;2;\n"),
        (&[], "Account Name;State\nA;open;\nB;closed;\n"),
        (&["csv: { delimiter: \"^\", quote: \"'\" }"], "Account Name^State\nA^'open'\n'B'^closed\n"),
    ] {
        let world = holding(connection, "text/csv", body).await;
        world.sync_ok().await;
        let found: Vec<_> = states(&world).await.into_iter().flatten().collect();
        assert_eq!(found, ["open", "closed"], "{body}");
        assert_eq!(world.scalar::<i64>("select count(*) from tidegate.rejected_record").await, 0, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_file_whose_first_line_has_no_known_title_is_refused_and_deletes_nothing() {
    let good = "Account Name,State\nA,open\nB,closed\n";
    for body in ["Mentions,\nAccount Name,State\nA,open\nB,closed\n", "A,open\nB,closed\n", "Konto,Zustand\nA,open\n"] {
        let world = holding(&[], "text/csv", good).await;
        world.sync_ok().await;
        world.control().quiet();
        put_file(&world, "text/csv", body);
        let (error, hint) = fails(&world).await;
        assert!(error.contains("not a header of this table") && hint.contains("`types`"), "{error} {hint}");
        assert_eq!(states(&world).await.into_iter().flatten().collect::<Vec<_>>(), ["open", "closed"], "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_titles_in_another_letter_case_and_rows_of_delimiters_change_no_row() {
    let world = holding(&[], "text/csv", "Account Name,State,Own\nA,open,1\nB,closed,2\n").await;
    world.sync_ok().await;
    world.control().quiet();
    put_file(&world, "text/csv", "ACCOUNT NAME,state,OWN\nA,open,1\nB,closed,2\n,,\n,,,,\n");
    let tasks = world.sync_ok().await;
    // The end of the window advances during the day, so rows may be updated.
    let changed = (tasks[0].rows_inserted, tasks[0].rows_deleted, tasks[0].records_rejected);
    assert_eq!(changed, (0, 0, 0), "{tasks:#?}");
    assert_eq!(states(&world).await.len(), 2);
}
