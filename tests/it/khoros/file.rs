//! From a finished job to its rows.

use simulator::{Action, Fault, Match};

use super::*;

const POSTS: &str = "incoming_post";

fn csv() -> Settings {
    Settings { report_format: ReportFormat::Csv, ..settings() }
}

fn text(content_type: &str, body: &str) -> Action {
    Action::Text { status: 200, content_type: content_type.to_owned(), body: body.to_owned() }
}

#[tokio::test]
async fn a_csv_file_has_the_same_rows_under_its_titles() {
    let scene = Scene::with(free(), csv()).await;
    let Reading { rows, titles, .. } = scene.read(POSTS, day(3)).await.unwrap();
    assert!(titles.contains(&"Post ID".to_owned()), "the loader judges the header before the rows: {titles:?}");
    let truth = scene.control().khoros().data().rows(POSTS, ago(3), ago(2)).unwrap();
    assert_eq!(rows.len(), truth.len());
    for (row, truth) in rows.iter().zip(&truth) {
        let row: Map<String, Value> = serde_json::from_str(row).unwrap();
        assert_eq!((&row["Post ID"], &row["Message Text"]), (&truth["POST_ID"], &truth["MESSAGE_TEXT"]));
    }
    scene.assert_well_behaved();
}

#[tokio::test]
async fn the_key_has_one_name_under_any_title_of_the_file() {
    for (own, titled, plain) in
        [(settings(), false, false), (settings(), true, false), (csv(), false, false), (csv(), false, true)]
    {
        let scene = Scene::with(free(), own).await;
        scene.control().khoros().shape(|shape| {
            shape.titled_json = titled;
            shape.plain_titles = plain;
        });
        let rows = scene.read("conversation", day(3)).await.unwrap().rows;
        assert!(rows.len() as u64 > ROWS);
        for row in rows {
            let row: Map<String, Value> = serde_json::from_str(&row).unwrap();
            assert!(row.contains_key("CONVERSATION_ID") && !row.contains_key("Conversation ID"), "{row:?}");
        }
    }
}

#[tokio::test]
async fn a_file_without_rows_is_an_empty_window() {
    for (own, bodies) in [
        (settings(), &["", "[]", " \n"][..]),
        (csv(), &["", "\"Post ID\",\"Message Text\"\r\n", "\"Post ID\",\"Message Text\""]),
    ] {
        let scene = Scene::with(free(), own).await;
        for body in bodies {
            scene.control().next(Match::endpoint("files_get"), text("text/plain", body));
            assert!(scene.read(POSTS, day(3)).await.unwrap().rows.is_empty(), "{body:?}");
        }
        assert_eq!(scene.calls("files_get"), 3);
    }
}

#[tokio::test]
async fn a_link_that_has_expired_is_requested_again() {
    let scene = Scene::new().await;
    scene.control().khoros().shape(|shape| shape.links_expired = 2);
    assert_eq!(scene.read(POSTS, day(3)).await.unwrap().rows.len() as u64, ROWS);
    assert_eq!((scene.calls("khoros_create"), scene.calls("khoros_download"), scene.calls("files_get")), (1, 3, 3));
    scene.control().khoros().shape(|shape| shape.links_expired = 10);
    let error = scene.fault(POSTS, day(3)).await;
    assert_eq!(error.to_string(), "the vendor refused: the file storage responded with status 403");
    scene.assert_well_behaved();
}

#[tokio::test]
async fn an_error_page_is_not_read_as_a_file() {
    for own in [settings(), csv()] {
        let scene = Scene::with(free(), own).await;
        // Once, and then repeatedly.
        for action in [Action::XmlErrorWith200, Action::HtmlWith200] {
            scene.control().next(Match::endpoint("files_get"), action.clone());
            assert_eq!(scene.read(POSTS, day(3)).await.unwrap().rows.len() as u64, ROWS);
            scene.control().mischief(Fault::new(Match::endpoint("files_get"), action).times(3));
            let error = scene.fault(POSTS, day(3)).await;
            assert!(error.to_string().contains("HTML or XML"), "{error}");
        }
        scene.assert_well_behaved();
    }
    let scene = Scene::new().await;
    let words = r#"{"status":"FAIL","message":null,"result":"the file of harbour-k7 is not there"}"#;
    scene.control().next(Match::endpoint("files_get"), text("text/plain", words));
    assert_eq!(scene.fault(POSTS, day(3)).await.to_string(), "the vendor refused: “the file of *** is not there”");
}

#[tokio::test]
async fn a_file_may_come_without_a_redirect_or_after_two() {
    let scene = Scene::new().await;
    let at = |path: &str| {
        let body = r#"[{"POST_ID":"1"}]"#;
        scene.control().put_file(path, "application/json", body, Duration::from_mins(1))
    };
    scene.control().next(Match::endpoint("khoros_download"), text("text/plain", r#"[{"POST_ID":"1"}]"#));
    assert_eq!(scene.read(POSTS, day(3)).await.unwrap().rows.len(), 1);
    let hop = |status, location: String| Action::Redirect { status, location };
    scene.control().next(Match::endpoint("files_get"), hop(302, at("b.json")));
    assert_eq!(scene.read(POSTS, day(3)).await.unwrap().rows, [r#"{"POST_ID":"1"}"#]);
    scene.control().mischief(Fault::new(Match::endpoint("files_get"), hop(302, at("c.json"))).times(2));
    let error = scene.fault(POSTS, day(3)).await;
    assert!(error.to_string().contains("more than 2 redirects"), "{error}");
    scene.assert_well_behaved();
}

#[tokio::test]
async fn a_file_that_no_longer_exists_needs_another_job() {
    let scene = Scene::new().await;
    scene.control().next(Match::endpoint("khoros_download"), Action::Status { status: 404 });
    let error = scene.fault(POSTS, day(3)).await;
    assert!(matches!(&error, StepError::ExportFailed { times: 1, .. }), "{error}");
}
