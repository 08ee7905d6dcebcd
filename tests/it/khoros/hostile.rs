//! Malicious URLs and files: they are refused before anything is sent, and no credential is sent to another host.

use simulator::{Action, Fault, Match};
use tidegate::http::HttpError;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;

const POSTS: &str = "incoming_post";

/// A host that is not allowed.
async fn stranger() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_string("[]")).mount(&server).await;
    server
}

#[tokio::test]
async fn p7_urls_that_name_another_host_are_not_followed() {
    let (scene, stranger) = (Scene::new().await, stranger().await);
    for base in [
        stranger.uri(),
        "https://aanalytics-api.app.lithium.com/api/public".to_owned(),
        "http://user:password@127.0.0.1:1".to_owned(),
        "file:///etc".to_owned(),
        "not a URL".to_owned(),
    ] {
        scene.control().khoros().shape(|shape| shape.url_base = Some(base));
        assert_eq!(scene.read(POSTS, day(3)).await.unwrap().rows.len() as u64, ROWS);
    }
    assert_eq!(stranger.received_requests().await.unwrap().len(), 0);
    scene.assert_well_behaved();
}

#[tokio::test]
async fn p7_a_file_at_a_private_or_unfit_place_is_not_fetched() {
    let (scene, stranger) = (Scene::new().await, stranger().await);
    for (location, why) in [
        (format!("{}/file?X-Amz-Signature=5ecret", stranger.uri()), "private"),
        ("http://169.254.169.254/latest/meta-data".to_owned(), "private"),
        ("https://localhost/x".to_owned(), "this machine"),
        ("https://[::1]/x".to_owned(), "private"),
        ("https://user:5ecret@files.example/x".to_owned(), "user or password"),
        ("ftp://files.example/5ecret".to_owned(), "not https"),
        ("file:///etc/passwd".to_owned(), ""),
    ] {
        scene
            .control()
            .next(Match::endpoint("khoros_download"), Action::Redirect { status: 307, location: location.clone() });
        let error = scene.fault(POSTS, day(3)).await;
        assert!(matches!(&error, StepError::Http(HttpError::Host { .. })), "{location}: {error}");
        assert!(error.to_string().contains(why) && !error.to_string().contains("5ecret"), "{location}: {error}");
        // Also for a redirect of the file storage.
        scene
            .control()
            .next(Match::endpoint("files_get"), Action::Redirect { status: 302, location: location.clone() });
        let error = scene.fault(POSTS, day(3)).await;
        assert!(matches!(&error, StepError::Http(HttpError::Host { .. })), "{location}: {error}");
    }
    assert_eq!(stranger.received_requests().await.unwrap().len(), 0);
    scene.assert_well_behaved();
}

#[tokio::test]
async fn p7_the_storage_gets_no_credential() {
    let stranger = stranger().await;
    let scene = Scene::allowing(free(), settings(), Some(stranger.address().to_string())).await;
    let location = format!("{}/exports/x?X-Amz-Signature=a%2Bb", stranger.uri());
    scene.control().next(Match::endpoint("khoros_download"), Action::Redirect { status: 307, location });
    assert!(scene.read(POSTS, day(3)).await.unwrap().rows.is_empty());
    let requests = stranger.received_requests().await.unwrap();
    let sent = &requests[0];
    assert_eq!((requests.len(), sent.url.query()), (1, Some("X-Amz-Signature=a%2Bb")));
    for name in ["authorization", "cookie", "referer"] {
        assert!(!sent.headers.contains_key(name), "{name}");
    }
    assert!(!format!("{sent:?}").contains("harbour"), "the company's key stays here");
}

#[tokio::test]
async fn p7_a_redirect_of_the_api_itself_is_refused() {
    let (scene, stranger) = (Scene::new().await, stranger().await);
    for endpoint in ["khoros_create", "khoros_status", "khoros_teams"] {
        let redirect = Action::Redirect { status: 307, location: stranger.uri() };
        scene.control().next(Match::endpoint(endpoint), redirect);
        let stream = if endpoint == "khoros_teams" { "teams" } else { POSTS };
        let error = scene.fault(stream, if stream == POSTS { day(3) } else { list() }).await;
        assert!(matches!(&error, StepError::Refused { what, .. } if what.contains("redirects")), "{endpoint}: {error}");
    }
    assert_eq!(stranger.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn p6_a_file_of_unbounded_size_is_refused() {
    for (own, content_type) in
        [(settings(), "application/json"), (Settings { report_format: ReportFormat::Csv, ..settings() }, "text/csv")]
    {
        let scene = Scene::with(free(), own).await;
        for (action, said) in
            [(Action::OneField { bytes: 1 << 30 }, "larger than"), (Action::GzipBomb { bytes: 1 << 26 }, "")]
        {
            let of = |action| Fault::new(Match::endpoint("files_get"), action).times(3);
            scene.control().mischief(of(action.clone()));
            let error = scene.fault(POSTS, day(3)).await;
            assert!(matches!(error, StepError::Unreadable(_)), "{content_type} {action:?}: {error}");
            assert!(error.to_string().contains(said), "{content_type} {action:?}: {error}");
            scene.control().quiet();
        }
        scene.assert_well_behaved();
    }
}
