//! The pages in a real browser: accessibility, keyboard, refreshing, and what remains without the script.
//!
//! They are skipped, with a printed line, on machines without chromedriver. `.ci/run` installs it, and sets
//! `TIDEGATE_BROWSER=required` so that they must run.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what should not happen fails the test")]

mod driver;
#[expect(dead_code, unused_imports, reason = "shared with the other tests, which use all of it")]
#[path = "../it/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use self::driver::{Browser, ENTER, Look, TAB};
use self::support::port::Port;
use self::support::proxy::Proxy;
use self::support::{TestDatabase, eventually, story};

const SOON: Duration = Duration::from_secs(20);
/// The pages are kept for this time, and then read again.
const KEPT: Duration = Duration::from_millis(5_200);
/// A page for the README may not be larger.
const IMAGE_BYTES_MAX: usize = 150 * 1_024;
/// An address without a page.
const NOTHING: &str = "/no/such/page";

/// A status port with its database. The proxy is in between, so that the database can go away.
struct Site {
    port: Port,
    pool: PgPool,
    proxy: Proxy,
    _database: TestDatabase,
}

impl Site {
    async fn new(state: &str) -> Self {
        let database = TestDatabase::create().await;
        match state {
            "empty" => {}
            "calm" => story::calm(&database.pool()).await,
            _ => story::trouble(&database.pool(), "the vendor refused the credentials").await,
        }
        let proxy = Proxy::before(database.url()).await;
        let pool = PgPoolOptions::new().max_connections(3).connect_lazy(&proxy.url(database.url())).unwrap();
        let port = Port::open(pool.clone()).await;
        Self { port, pool: database.pool(), proxy, _database: database }
    }

    fn url(&self, page: &str) -> String {
        format!("http://{}{page}", self.port.address)
    }

    /// Lets the database go away, after the overview was read.
    async fn stop_database(&self) {
        assert_eq!(self.port.get("/").await.0, 200);
        self.proxy.set_up(false);
        eventually(SOON, async || (self.port.get("/").await.0 == 503).then_some(())).await;
    }
}

/// What axe finds on the page that the browser shows: the rule, and where.
async fn violations(browser: &Browser, axe: &str) -> Vec<String> {
    browser.act(&format!("{axe}; window.axe = axe;")).await;
    let run = "const done = arguments[0];
        window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'] })
            .then((result) => done(result.violations), (error) => done([{ id: String(error), nodes: [] }]));";
    let found = browser.run_async(run).await;
    found
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            let nodes = rule["nodes"].as_array().unwrap().iter().take(3);
            let shown = nodes.fold(String::new(), |mut text, node| {
                let _ = write!(text, "\n    {}\n    {}", node["html"], node["failureSummary"]);
                text
            });
            format!("{}: {}{shown}", rule["id"], rule["help"])
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_accessible_in_every_state_colour_scheme_and_width() {
    let Some(axe) = driver::axe() else { return };
    let mut sites = Vec::new();
    for state in ["calm", "problems", "empty", "gone"] {
        sites.push((state, Site::new(state).await));
    }
    sites[3].1.stop_database().await;
    let mut found = std::collections::BTreeSet::new();
    for look in [Look::Light, Look::Dark] {
        let Some(browser) = Browser::start(look, true).await else { return };
        let is_dark = "return matchMedia('(prefers-color-scheme: dark)').matches";
        assert_eq!(browser.run::<bool>(is_dark, json!([])).await, matches!(look, Look::Dark));
        for (state, site) in &sites {
            for page in story::PAGES.into_iter().chain([NOTHING]) {
                browser.open(&site.url(page)).await;
                for width in [1_280, 400] {
                    browser.set_width(width).await;
                    assert_eq!(browser.run::<u32>("return innerWidth", json!([])).await, width);
                    for violation in violations(&browser, &axe).await {
                        found.insert(format!("{page}, {state}, {look:?}, {width} px: {violation}"));
                    }
                    let body = "return [document.documentElement.scrollWidth, innerWidth]";
                    let widths: Vec<i64> = browser.run(body, json!([])).await;
                    if widths[0] > widths[1] {
                        found.insert(format!("{page}, {state}, {width} px: scrolls to {}", widths[0]));
                    }
                }
                for entry in browser.console().await {
                    // A page that says that something is missing or gone has that status.
                    let is_status = entry.contains("status of 503") || entry.contains("status of 404");
                    if !is_status {
                        found.insert(format!("{page}, {state}: console: {entry}"));
                    }
                }
            }
        }
        browser.close().await;
    }
    let text = found.iter().fold(String::new(), |text, one| format!("{text}{one}\n"));
    assert!(found.is_empty(), "{} violations:\n{text}", found.len());
}

/// Presses Tab until the element with the focus has this text in its `href`.
async fn tab_to(browser: &Browser, href: &str) {
    for _ in 0..60 {
        browser.press(TAB).await;
        let at = "return document.activeElement.getAttribute('href') || ''";
        let at: String = browser.run(at, json!([])).await;
        if at.ends_with(href) {
            let outline = "return getComputedStyle(document.activeElement).outlineStyle";
            let outline: String = browser.run(outline, json!([])).await;
            assert_eq!(outline, "solid", "the focus is visible");
            return;
        }
    }
    panic!("no link to {href} can be reached with the keyboard");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_leads_from_the_overview_to_the_gaps_of_a_stream() {
    let site = Site::new("problems").await;
    let Some(browser) = Browser::start(Look::Light, true).await else { return };
    browser.open(&site.url("/")).await;
    browser.press(TAB).await;
    browser.press(ENTER).await;
    let focused: String = browser.run("return document.activeElement.id", json!([])).await;
    assert_eq!(focused, "main", "the first link skips the menu");
    tab_to(&browser, "/streams/acme-lynn/survey_result").await;
    browser.press(ENTER).await;
    eventually(SOON, async || (browser.path().await == "/streams/acme-lynn/survey_result").then_some(())).await;
    let gaps = browser.text("#gaps").await;
    assert!(gaps.contains("missing") && gaps.contains("tidegate backfill lynn-hourly --from"), "{gaps}");
    // `/` goes to the search from anywhere.
    browser.press("/").await;
    browser.press("survey").await;
    browser.press(ENTER).await;
    eventually(SOON, async || (browser.path().await == "/streams").then_some(())).await;
    let list = browser.text("#list").await;
    assert!(list.contains("survey_result") && !list.contains("menu_detail"), "{list}");
    browser.close().await;
}

/// Requests of the script since the page was opened.
const REQUESTS: &str =
    "return performance.getEntriesByType('resource').filter((one) => one.initiatorType === 'fetch').length";
/// Lets the script look at once, as the end of a pause does. The focus stays.
const REFRESH: &str = "const pause = document.getElementById('pause'); pause.click(); pause.click();";

async fn number(browser: &Browser, script: &str) -> i64 {
    browser.run(script, json!([])).await
}

async fn text_of(browser: &Browser, selector: &str) -> String {
    let script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent).join(' ')";
    browser.run(script, json!([selector])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_keeps_the_focus_and_a_hidden_tab_sends_nothing() {
    let site = Site::new("problems").await;
    let Some(browser) = Browser::start(Look::Dark, true).await else { return };
    browser.open(&site.url("/")).await;
    let focus =
        "document.querySelector('#data a').focus(); scrollTo(0, 200); return document.activeElement.textContent";
    let focused: String = browser.run(focus, json!([])).await;
    assert_eq!(focused, "acme-lynn");
    assert!(text_of(&browser, "#problems").await.contains("2 days are missing"));
    sqlx::query("update tidegate.problem set closed_at = now() where kind = 'gap'").execute(&site.pool).await.unwrap();
    sqlx::query("update tidegate.stream set failures = 0, needs_operator = false").execute(&site.pool).await.unwrap();
    tokio::time::sleep(KEPT).await;
    browser.act(REFRESH).await;
    eventually(SOON, async || (!text_of(&browser, "#problems").await.contains("2 days are missing")).then_some(()))
        .await;
    assert!(text_of(&browser, "#live").await.contains("2 open problems"), "a screen reader is told");
    let focused: String = browser.run("return document.activeElement.textContent", json!([])).await;
    assert_eq!(focused, "acme-lynn", "the focus stays");
    assert!(number(&browser, "return scrollY").await > 0, "so does the place");

    // What is open stays open, and a form keeps what was written.
    let before = number(&browser, REQUESTS).await;
    for (begin, end) in [
        (
            "const open = document.createElement('details'); open.open = true; document.getElementById('main').append(open);",
            "document.querySelector('details').remove();",
        ),
        ("document.getElementById('q').focus();", "document.activeElement.blur();"),
        (
            "Object.defineProperty(document, 'hidden', { value: true, configurable: true });",
            "Object.defineProperty(document, 'hidden', { value: false, configurable: true });",
        ),
    ] {
        browser.act(begin).await;
        browser.act(REFRESH).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(number(&browser, REQUESTS).await, before, "{begin}");
        browser.act(end).await;
    }
    browser.act(REFRESH).await;
    eventually(SOON, async || (number(&browser, REQUESTS).await > before).then_some(())).await;

    // The database stops: the page says so by itself. It is back: the bar goes.
    site.proxy.set_up(false);
    tokio::time::sleep(KEPT).await;
    browser.act(REFRESH).await;
    eventually(SOON, async || text_of(&browser, "#alarm").await.contains("Postgres has not responded").then_some(()))
        .await;
    assert!(text_of(&browser, "#data").await.contains("acme-lynn"), "the last overview stays");
    site.proxy.set_up(true);
    eventually(SOON, async || {
        browser.act(REFRESH).await;
        text_of(&browser, "#alarm").await.is_empty().then_some(())
    })
    .await;

    // The daemon stops: after two failed attempts a bar says so.
    site.port.close().await;
    eventually(SOON, async || {
        browser.act(REFRESH).await;
        text_of(&browser, "#unreachable").await.contains("Tidegate has not responded").then_some(())
    })
    .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_script_everything_can_be_read_and_used() {
    let site = Site::new("problems").await;
    let Some(browser) = Browser::start(Look::Light, false).await else { return };
    for (page, expected) in
        [("/", "What needs you"), ("/streams/acme-lynn/survey_result", "missing"), ("/system", "host-1")]
    {
        browser.open(&site.url(page)).await;
        let main = browser.text("#main").await;
        assert!(main.contains(expected) && main.contains(" ago"), "{page}: {main}");
        assert!(!main.contains("Pause updates"), "a button without effect is not shown");
    }
    browser.click("#zone option[value=UTC]").await;
    browser.click(".zone button").await;
    eventually(SOON, async || {
        let main = browser.text("#main").await;
        (main.contains("(UTC)") && browser.path().await == "/system").then_some(())
    })
    .await;
    browser.close().await;
}

/// Makes the trouble a recent one, as a reader expects.
const RECENT: &str = "
    delete from tidegate.problem where kind = 'config_refused';
    update tidegate.problem set opened_at = now() - interval '3 hours', hint = case kind when 'failed' then 'renew the token' end;
    update tidegate.run set job = 'lynn-by-hand' where id = 4;
    delete from tidegate.stream where jobs <> '{lynn-hourly}';
    update tidegate.stream set last_success_at = now() - interval '4 minutes', expected_after = now() - interval '4 minutes'
    where stream <> 'show_error';";

/// The pages of the README. `TIDEGATE_IMAGES=1` writes them; otherwise only their size is checked.
#[tokio::test(flavor = "multi_thread")]
async fn the_images_of_the_readme_show_the_pages() {
    let site = Site::new("problems").await;
    sqlx::raw_sql(RECENT).execute(&site.pool).await.unwrap();
    for (look, page, name) in
        [(Look::Light, "/", "overview.png"), (Look::Dark, "/streams/acme-lynn/survey_result", "stream.png")]
    {
        let Some(browser) = Browser::start(look, true).await else { return };
        browser.set_width(1_280).await;
        browser.open(&site.url(page)).await;
        let image = browser.screenshot().await;
        assert!(image.len() <= IMAGE_BYTES_MAX, "{name} has {} bytes", image.len());
        if std::env::var_os("TIDEGATE_IMAGES").is_some() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/img");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), image).unwrap();
        }
        browser.close().await;
    }
}
