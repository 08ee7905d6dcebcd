//! A response that is not a list is refused with a clear message, and deletes nothing.

use simulator::{Action, Fault, Match};
use tokio::net::TcpListener;

use super::{fails, rows, sync, truth, world, world_with};
use crate::support::world::Recipe;

#[tokio::test(flavor = "multi_thread")]
async fn p5_an_incomplete_list_fails_and_nothing_is_lost() {
    let world = world("[contacts]").await;
    sync(&world).await;
    let before = truth(&world, "contacts");
    let json = |body: &str| Action::Json { status: 200, body: body.to_owned() };
    for (action, said) in [
        (Action::HtmlWith200, "HTML"),
        (json("{}"), "an object without an array"),
        (json(r#"{"a":[],"b":[]}"#), "an object with several arrays"),
        (json(r#"{"contacts":null}"#), "an object without an array"),
        (json(r#"{"total":41,"contacts":[{"id":1}]}"#), "the vendor pages this list in an unknown way"),
        (json(r#"{"nextPage":"https://elsewhere/x?token=s","contacts":[]}"#), "`next_page` leads to further rows"),
        (json(r#"{"isValid":false,"errors":["no division"],"contacts":[]}"#), "no division"),
        (json(r#""nothing""#), "a single value"),
        (json("[{\"id\":1},"), "truncated"),
        (Action::EndlessBody, "malformed JSON"),
        (Action::Forbidden, "the vendor denied access (403)"),
        (Action::Status { status: 405 }, "does not serve the report (status 405)"),
        (Action::Redirect { status: 307, location: "/elsewhere".to_owned() }, "307"),
    ] {
        world.control().mischief(Fault::new(Match::report("contacts"), action.clone()).times(20));
        let (error, hint) = fails(&world).await;
        assert!(error.contains(said) && !hint.is_empty(), "{action:?}: {error} {hint}");
        assert!(!error.contains("elsewhere"), "{error}");
        world.control().quiet();
        assert_eq!(rows(&world, "contacts").await, before, "{action:?}");
    }
    sync(&world).await;
    assert_eq!(rows(&world, "contacts").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_body_that_grows_without_end_is_refused() {
    let mut options = Recipe::default().options;
    options.gzip = true;
    let world = world_with("[contacts]", options, &[]).await;
    world.control().shape(|shape| shape.gzip = true);
    for (action, said) in [
        (Action::GzipBomb { bytes: 2 << 30 }, "where JSON was expected"),
        (Action::OneField { bytes: 1 << 30 }, "larger than"),
    ] {
        world.control().mischief(Fault::new(Match::report("contacts"), action.clone()).times(20));
        let (error, _) = fails(&world).await;
        assert!(error.contains(said) || error.contains("malformed") || error.contains("larger"), "{action:?}: {error}");
        world.control().quiet();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_wrong_credentials_and_redirects_take_no_credential_elsewhere() {
    let world = world("[contacts]").await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("http://{}/api", other.local_addr().unwrap());
    world.control().mischief(Fault::new(Match::default(), Action::Redirect { status: 307, location }).times(20));
    fails(&world).await;
    let touched = tokio::time::timeout(std::time::Duration::from_millis(50), other.accept()).await;
    assert!(touched.is_err(), "the other host sees nothing");
    world.control().quiet();

    let secret = simulator::lynn::Account::default().access_token_secret;
    world.edit_config(|text| text.replace(&secret, "mistyped-hunter2"));
    let (error, hint) = fails(&world).await;
    assert_eq!(error, "the vendor refused the credentials");
    assert!(hint.contains("check the credentials"), "{hint}");
}
