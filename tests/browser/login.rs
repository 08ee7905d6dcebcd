//! The login as a browser makes it, and forms that are sent more than once.

use serde_json::json;
use tidegate::metrics::Gauges;

use super::driver::{Browser, Look};
use super::support::eventually;
use super::{SOON, Site, text_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_shows_nothing_and_the_right_one_the_pages() {
    let site = Site::new("login").await;
    let Some(browser) = Browser::start(Look::Light, true).await else { return };
    let wrong = format!("http://operator:wrong-horse@{}/", site.port.address);
    for (address, failures) in [(site.url("/"), 0), (wrong, 1), (site.url("/problems"), 1)] {
        browser.open(&address).await;
        assert_eq!(text_of(&browser, "#main").await, "", "{address}");
        let metrics = site.port.metrics.encode(&Gauges::default());
        let counted = format!("tidegate_auth_failures_total {failures}");
        assert!(metrics.lines().any(|line| line == counted), "{address}: {counted} in {metrics}");
    }
    site.log_in(&browser).await;
    for (page, expected) in [("/", "What needs you"), ("/problems", "3 days are missing"), ("/system", "host-1")] {
        browser.open(&site.url(page)).await;
        let main = browser.text("#main").await;
        assert!(main.contains(expected), "{page}: {main}");
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_several_times_makes_one_run() {
    let site = Site::new("login").await;
    let Some(browser) = Browser::start(Look::Light, true).await else { return };
    site.log_in(&browser).await;
    let before: i64 = sqlx::query_scalar("select max(id) from tidegate.run").fetch_one(&site.pool).await.unwrap();
    let made = async || -> Vec<i64> {
        let made = "select id from tidegate.run where id > $1";
        sqlx::query_scalar::<_, i64>(made).bind(before).fetch_all(&site.pool).await.unwrap()
    };
    let form = "/jobs/lynn-hourly/runs";
    browser.open(&site.url(form)).await;
    let fields = "return new URLSearchParams(new FormData(document.querySelector('#action [method=post]'))).toString()";
    let fields: String = browser.run(fields, json!([])).await;
    browser.double_click("#action button.main").await;
    eventually(SOON, async || (browser.path().await != form).then_some(())).await;
    let run = made().await;
    assert_eq!(run.len(), 1, "a double click");

    // The browser may send the form of a double click once. Two requests at the same time are surely sent.
    let again = format!(
        "const done = arguments[0];
        const send = async () => {{
            const response = await fetch({}, {{ method: 'POST', body: new URLSearchParams({}) }});
            return [response.status, new URL(response.url).pathname];
        }};
        Promise.all([send(), send()]).then(done, (error) => done(String(error)));",
        json!(form),
        json!(fields)
    );
    let place = json!([200, format!("/runs/{}", run[0])]);
    assert_eq!(browser.run_async(&again).await, json!([place, place]));
    assert_eq!(made().await, run);
    let actions = "select count(*) from tidegate.event where kind = 'action' and run_id = $1";
    assert_eq!(sqlx::query_scalar::<_, i64>(actions).bind(run[0]).fetch_one(&site.pool).await.unwrap(), 1);
    browser.close().await;
}
