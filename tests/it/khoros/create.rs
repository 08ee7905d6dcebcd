//! How export jobs are created.

use chrono::SubsecRound as _;
use simulator::khoros::{Methods, Submitted};
use simulator::{Action, Match};
use tidegate::http::HttpError;

use super::*;

fn millis(at: DateTime<Utc>) -> String {
    at.timestamp_millis().to_string()
}

fn exports() -> Vec<Stream> {
    connector::streams(VENDOR).into_iter().filter(|stream| stream.exported).collect()
}

/// The create calls of a reading.
async fn submitted(settings: Settings, stream: &Stream, window: Window, expected: Expected) -> Vec<Submitted> {
    let scene = Scene::with(free(), settings).await;
    scene.client.read_expecting(stream, window, None, expected).await.unwrap();
    scene.assert_well_behaved();
    scene.control().khoros().submitted()
}

#[tokio::test]
async fn every_export_is_requested_with_its_own_parameters() {
    let scene = Scene::new().await;
    for stream in exports() {
        let window = if stream.windowed() { day(3) } else { list() };
        let before = scene.control().khoros().submitted().len();
        let reading = scene.client.read_expecting(&stream, window, None, Expected::default()).await.unwrap();
        let submitted = &scene.control().khoros().submitted()[before..];
        assert_eq!(submitted.len(), if stream.name == "conversation" { 2 } else { 1 }, "{}", stream.name);
        for call in submitted {
            assert_eq!((&*call.export, call.method), (&*stream.name, "POST"));
            for (name, value) in [("reportFormat", "json"), ("locale", "en")] {
                assert_eq!(call.get(name), Some(value), "{}", stream.name);
            }
            assert_eq!(call.get("timezoneOffset"), (stream.name != "user").then_some("0"), "{}", stream.name);
            if stream.windowed() {
                let end = window.end - TimeDelta::milliseconds(1);
                assert_eq!(call.get("startTime"), Some(&*millis(window.start)));
                assert_eq!(call.get("endTime"), Some(&*millis(end)));
            }
        }
        if stream.windowed() && stream.name != "conversation" {
            let truth = scene.control().khoros().data().text(&stream.name, window.start, window.end).unwrap();
            assert_eq!(reading.rows, truth, "{}", stream.name);
        }
    }
    let last = scene.control().khoros().submitted().pop().unwrap();
    assert_eq!(last.export, "user");
    let instant = |name: &str| last.get(name).unwrap().parse::<i64>().unwrap();
    assert_eq!(instant("endTime") - instant("startTime"), 86_400_000 - 1);
    assert!(Utc::now().timestamp_millis() - instant("endTime") < 60_000);
    // The simulator refuses parameters in the query that belong in the form, and vice versa.
    scene.assert_well_behaved();
}

#[tokio::test]
async fn conversations_are_read_by_three_reports_and_the_open_ones_once() {
    let conversation = named("conversation");
    let types = |calls: Vec<Submitted>| -> Vec<String> {
        calls.iter().map(|call| call.get("conversationReportType").unwrap().to_owned()).collect()
    };
    let older = submitted(settings(), &conversation, day(3), Expected::default()).await;
    assert_eq!(types(older), ["CREATED", "CLOSED"]);
    let newest = Expected { newest: true, ..Expected::default() };
    let window = Window { start: ago(0), end: Utc::now().trunc_subsecs(0) - TimeDelta::seconds(1) };
    let calls = submitted(settings(), &conversation, window, newest).await;
    let open = calls.last().unwrap();
    assert_eq!(types(calls.clone()), ["CREATED", "CLOSED", "OPEN_AT_END"]);
    let end: i64 = open.get("endTime").unwrap().parse().unwrap();
    assert!((Utc::now().timestamp_millis() - end).abs() < 60_000, "open now, not at the window's end");
    assert_eq!(open.get("startTime"), Some(&*millis(window.start)));
    // Ninety days or more are not requested in one call.
    let window = Window { start: ago(90), end: ago(0) };
    let calls = submitted(settings(), &conversation, window, newest).await;
    assert_eq!(types(calls), ["CREATED", "CLOSED", "OPEN_AT_END"]);
}

#[tokio::test]
async fn ninety_calendar_days_that_are_an_hour_longer_are_requested_in_two_parts() {
    let window = Window { start: ago(95), end: ago(5) + TimeDelta::hours(1) };
    let calls = submitted(settings(), &named("incoming_post"), window, Expected::default()).await;
    let bounds: Vec<_> = calls.iter().flat_map(|call| [call.get("startTime"), call.get("endTime")]).flatten().collect();
    let half = window.start + (window.end - window.start) / 2;
    let last = |at: DateTime<Utc>| millis(at - TimeDelta::milliseconds(1));
    assert_eq!(bounds, [millis(window.start), last(half), millis(half), last(window.end)]);
}

#[tokio::test]
async fn intervals_fit_the_slice_however_much_of_it_is_read() {
    let stream = named("team_performance_interval");
    for (window, slice_secs, interval) in [
        (day(3), 86_400, "3600000"),
        (Window { start: ago(3), end: ago(3) + TimeDelta::hours(2) }, 86_400, "3600000"),
        (Window { start: ago(9), end: ago(2) }, 7 * 86_400, "28800000"),
        (Window { start: ago(9), end: ago(8) }, 7 * 86_400, "28800000"),
        (Window { start: ago(90), end: ago(0) }, 90 * 86_400, "604800000"),
        (Window { start: ago(31), end: ago(0) }, 0, "86400000"),
    ] {
        let expected = Expected { slice_secs, ..Expected::default() };
        let calls = submitted(settings(), &stream, window, expected).await;
        assert_eq!(calls[0].get("timeInterval"), Some(interval), "{slice_secs}");
    }
    let mut own = settings();
    own.parameters =
        BTreeMap::from([(stream.name.to_string(), vec![("timeInterval".to_owned(), "43200000".to_owned())])]);
    let calls = submitted(own, &stream, day(3), Expected::default()).await;
    assert_eq!(calls[0].all("timeInterval"), ["43200000"]);
}

#[tokio::test]
async fn settings_are_sent_as_they_are_written() {
    let mut own = settings();
    own.locale = "en_US".to_owned();
    own.timezone_offset = -21_600_000;
    let metrics = ["CONVERSATION_ID", "STATUS"].map(str::to_owned).to_vec();
    own.metrics = BTreeMap::from([("conversation".to_owned(), metrics)]);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    own.parameters = BTreeMap::from([
        ("conversation_history_action".to_owned(), vec![pair("raiselimit", "true"), pair("priorities", "0,5")]),
        ("user".to_owned(), vec![pair("agentId", "1"), pair("agentId", "2"), pair("includeDisabled", "true")]),
    ]);
    let scene = Scene::with(free(), own).await;
    let reading = scene.read("conversation", day(3)).await.unwrap();
    assert!(reading.rows.iter().all(|row| row.starts_with("{\"CONVERSATION_ID\":") && row.matches(':').count() == 2));
    scene.read("conversation_history_action", day(3)).await.unwrap();
    scene.read("user", list()).await.unwrap();
    let calls = scene.control().khoros().submitted();
    assert_eq!(calls[0].all("reportMetrics"), ["CONVERSATION_ID", "STATUS"]);
    assert_eq!((calls[0].get("locale"), calls[0].get("timezoneOffset")), (Some("en_US"), Some("-21600000")));
    let history = &calls[2];
    assert_eq!((history.get("raiselimit"), history.get("priorities")), (Some("true"), Some("0,5")));
    assert_eq!(calls[3].all("agentId"), ["1", "2"]);
    scene.assert_well_behaved();
}

#[tokio::test]
async fn get_puts_everything_into_the_query() {
    let own = Settings { method: Some(Method::Get), ..settings() };
    let scene = Scene::with(free(), own).await;
    for stream in ["conversation", "conversation_actions", "user"] {
        let window = if stream == "user" { list() } else { day(3) };
        scene.read(stream, window).await.unwrap();
        let last = scene.control().khoros().submitted().pop().unwrap();
        assert_eq!((last.method, last.get("companyKey").is_some()), ("GET", true), "{stream}");
    }
    let error = scene.fault("author", day(3)).await;
    assert!(
        matches!(&error, StepError::Refused { what, hint } if what.contains("405 to GET") && hint.contains("method: auto")),
        "{error}"
    );
    scene.assert_well_behaved();
}

/// The methods of the create calls, including refused ones, and how many jobs they started.
fn started(scene: &Scene) -> (u64, Vec<&'static str>) {
    let submitted = scene.control().khoros().submitted();
    (scene.calls("khoros_create"), submitted.iter().map(|call| call.method).collect())
}

#[tokio::test]
async fn the_method_that_a_tenant_supports_is_used_and_remembered() {
    let scene = Scene::new().await;
    scene.control().khoros().shape(|shape| shape.methods = Methods::GetOnly);
    let rows = scene.read("author", day(3)).await.unwrap().rows.len() as u64;
    assert_eq!((rows, started(&scene)), (ROWS, (2, vec!["GET"])), "POST is refused once");
    scene.read("author", day(4)).await.unwrap();
    assert_eq!(started(&scene), (3, vec!["GET"; 2]), "the method is known by now");
    scene.read("user", list()).await.unwrap();
    assert_eq!(started(&scene), (4, vec!["GET"; 3]), "and tried first for other exports");
    // If the tenant changes, the other method is used.
    scene.control().khoros().shape(|shape| shape.methods = Methods::PostOnly);
    scene.read("author", day(3)).await.unwrap();
    assert_eq!(started(&scene), (6, vec!["GET", "GET", "GET", "POST"]));
    scene.assert_well_behaved();
}

#[tokio::test]
async fn a_refused_method_is_reported_only_if_the_other_is_refused_too() {
    let scene = Scene::new().await;
    for status in [404, 405, 501] {
        let refused = Action::Text { status, content_type: String::new(), body: String::new() };
        scene.control().next(Match::endpoint("khoros_create"), refused);
        assert_eq!(scene.read("conversation_actions", day(3)).await.unwrap().rows.len() as u64, ROWS, "{status}");
    }
    scene.control().khoros().shape(|shape| shape.methods = Methods::Neither);
    let before = scene.calls("khoros_create");
    let error = scene.fault("author", day(3)).await;
    let said = "status 405 to GET, 405 to POST";
    assert!(
        matches!(&error, StepError::Refused { what, hint } if what.contains(said) && hint.contains("base_url")),
        "{error}"
    );
    assert_eq!(scene.calls("khoros_create") - before, 2, "each method once");
}

#[tokio::test]
async fn p3_the_other_method_is_not_tried_after_a_lost_response_or_a_stated_reason() {
    let scene = Scene::new().await;
    let words = r#"{"status":"FAIL","result":"no such metric"}"#;
    let text = |status: u16, body: &str| Action::Text { status, content_type: String::new(), body: body.to_owned() };
    for action in [Action::Cut, text(500, ""), text(503, ""), text(400, "{}"), text(404, words), Action::Forbidden] {
        scene.control().next(Match::endpoint("khoros_create"), action.clone());
        let before = scene.calls("khoros_create");
        scene.fault("author", day(3)).await;
        assert_eq!(scene.calls("khoros_create") - before, 1, "{action:?}");
    }
}

#[tokio::test]
async fn p2_a_second_method_waits_for_the_quota_and_is_tried_first_then() {
    let scene = Scene::new().await;
    scene.control().khoros().shape(|shape| shape.methods = Methods::GetOnly);
    // One call fits now, and the next one only after the time that a worker waits.
    let one = Limit {
        name: "requests".to_owned(),
        calls: Calls::Data,
        unit: Unit::Calls,
        amount: 1,
        per: Duration::from_hours(1),
    };
    let narrow = scene.gate_with(one).await;
    let ask = async |gate: &Gate| {
        let (stream, window, expected) = (named("author"), day(3), Expected::default());
        let request = StepRequest { stream: &stream, window, cursor: None, expected };
        scene.client.source.step(&gate.session(0, Utc::now()), request, &mut Page::default()).await
    };
    let waits = ask(&narrow).await.unwrap_err();
    assert!(matches!(waits, StepError::Http(HttpError::OwnQuota { .. })), "{waits}");
    assert_eq!(started(&scene), (1, vec![]));
    assert!(matches!(ask(&scene.client.gate).await, Ok(Outcome::Pending { .. })));
    assert_eq!(started(&scene), (2, vec!["GET"]), "POST is not asked for again");
}

#[tokio::test]
async fn a_publishing_export_has_a_separate_path() {
    let stream = connector::khoros::marketing_export("Brand Post", "raw_brand_post");
    let calls = submitted(settings(), &stream, day(3), Expected::default()).await;
    assert_eq!((stream.name.as_ref(), calls[0].export.as_str()), ("marketing_brand_post", "raw_brand_post"));
}
