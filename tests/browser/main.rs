//! The pages in a real browser: accessibility, keyboard, zoom, login, refreshing, and what remains without the script.
//!
//! They are skipped, with a printed line, on machines without chromedriver. `.ci/run` installs it, and sets
//! `TIDEGATE_BROWSER=required` so that they must run.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what should not happen fails the test")]

mod driver;
mod images;
mod login;
#[expect(dead_code, unused_imports, reason = "shared with the other tests, which use all of it")]
#[path = "../it/support/mod.rs"]
mod support;
mod zoom;

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tidegate::config::Config;
use tidegate::quota::LedgerKey;

use self::driver::{Browser, ENTER, Look, TAB};
use self::support::port::{CONFIG, Port, config};
use self::support::proxy::Proxy;
use self::support::{TestDatabase, eventually, story};

const SOON: Duration = Duration::from_secs(20);
/// The pages are kept for this time, and then read again.
const KEPT: Duration = Duration::from_millis(5_200);
/// An address without a page.
const NOTHING: &str = "/no/such/page";

/// With a login, operators may act on the pages.
const LOGIN: &str = "
server: { auth: { user: operator, password: correct-horse } }
notify: [{ name: oncall, url: \"https://hooks.example.com/x\", format: slack }]
";
/// The pages of all actions, with names that the story and [`ACTABLE`] have.
const ACTIONS: [&str; 13] = [
    "/jobs/lynn-hourly/runs",
    "/jobs/lynn-hourly/backfills",
    "/jobs/lynn-hourly/backfills?from=&to=",
    BACKFILL,
    "/jobs/lynn-hourly/pause",
    "/jobs/lynn-hourly/resume",
    "/system/pause",
    "/system/resume",
    "/runs/3/cancel",
    "/streams/acme-lynn/show_error/release",
    "/connections/acme-lynn/unblock",
    "/problems/1/mute",
    "/system/notify/oncall/test",
];
/// What a backfill would cost.
const BACKFILL: &str = "/jobs/lynn-hourly/backfills?from=2026-01-02&to=2026-01-05";
/// A range that ends before it begins.
const WRONG: &str = "/jobs/lynn-hourly/backfills?from=2026-01-05&to=2026-01-02";
/// Pages that lead to actions.
const LEADING: [&str; 8] = [
    "/",
    "/streams/acme-lynn/survey_result",
    "/jobs/lynn-hourly",
    "/runs/3",
    "/quotas",
    "/connections/acme-lynn",
    "/problems",
    "/system",
];
/// Something for every action, and a second credential of the same connection.
const ACTABLE: &str = "
    update tidegate.slice set held_since = now(), held_reason = 'few rows', held_rows_there = 1234, held_rows_reported = 5
    where stream = 'show_error' and window_start = (select min(window_start) from tidegate.slice);
    insert into tidegate.pause (job, until, reason, actor) values
    ('', now() + interval '1 day', 'maintenance', 'ops'), ('lynn-hourly', now() + interval '2 days', 'maintenance', 'ops');
    insert into tidegate.quota_ledger (key, connections) values ('key 2', '{acme-lynn}');
    insert into tidegate.quota_limit (ledger_id, name, unit, amount, per, reach, width)
    values (2, 'period_calls', 'calls', 10000, '12 hours', '12 hours', '1 hour');
    insert into tidegate.quota_use (limit_id, ends_at, used) values (2, now() + interval '1 hour', 10);
";

/// A status port with its database. The proxy is in between, so that the database can go away.
struct Site {
    port: Port,
    pool: PgPool,
    proxy: Proxy,
    _database: TestDatabase,
}

impl Site {
    /// The state is `empty`, `calm`, `login` or anything else: the last two have every trouble.
    async fn new(state: &str) -> Self {
        let database = TestDatabase::create().await;
        match state {
            "empty" => {}
            "calm" => story::calm(&database.pool()).await,
            _ => story::trouble(&database.pool(), "the vendor refused the credentials").await,
        }
        let login = if state == "login" { LOGIN } else { "" };
        let config = config(&format!("{CONFIG}{login}"));
        if state == "login" {
            make_actable(&database.pool(), &config).await;
        }
        let proxy = Proxy::before(database.url()).await;
        let pool = PgPoolOptions::new().max_connections(3).connect_lazy(&proxy.url(database.url())).unwrap();
        let port = Port::of(pool, config).await;
        Self { port, pool: database.pool(), proxy, _database: database }
    }

    fn url(&self, page: &str) -> String {
        format!("http://{}{page}", self.port.address)
    }

    /// Gives the login to the browser, which sends it from now on.
    async fn log_in(&self, browser: &Browser) {
        browser.open(&format!("http://operator:correct-horse@{}/", self.port.address)).await;
    }

    /// The pages of this state that are checked.
    fn pages(state: &str) -> Vec<&'static str> {
        match state {
            "login" => ACTIONS.into_iter().chain(LEADING).chain([WRONG]).collect(),
            _ => story::PAGES.into_iter().chain([NOTHING]).collect(),
        }
    }

    /// Lets the database go away, after the overview was read.
    async fn stop_database(&self) {
        assert_eq!(self.port.get("/").await.0, 200);
        self.proxy.set_up(false);
        eventually(SOON, async || (self.port.get("/").await.0 == 503).then_some(())).await;
    }
}

/// Lets every action have an effect. The blocked ledger of the story becomes that of the connection.
async fn make_actable(pool: &PgPool, config: &Config) {
    sqlx::raw_sql(ACTABLE).execute(pool).await.unwrap();
    let connection = &config.connections["acme-lynn"];
    let key = LedgerKey::derive(pool, &connection.base_url, &connection.settings.credential()).await.unwrap();
    let own = "update tidegate.quota_ledger set key = $1 where id = 1";
    sqlx::query(own).bind(key.as_str()).execute(pool).await.unwrap();
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
    for state in ["calm", "problems", "empty", "gone", "login"] {
        sites.push((state, Site::new(state).await));
    }
    sites[3].1.stop_database().await;
    let mut found = std::collections::BTreeSet::new();
    for look in [Look::Light, Look::Dark] {
        let Some(browser) = Browser::start(look, true).await else { return };
        let is_dark = "return matchMedia('(prefers-color-scheme: dark)').matches";
        assert_eq!(browser.run::<bool>(is_dark, json!([])).await, matches!(look, Look::Dark));
        for (state, site) in &sites {
            if *state == "login" {
                site.log_in(&browser).await;
            }
            for page in Site::pages(state) {
                browser.open(&site.url(page)).await;
                if ACTIONS.contains(&page) {
                    assert_ne!(browser.text("#action h1").await, "", "{page} is not the page of an action");
                }
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
                    let is_wrong = page == WRONG && entry.contains("status of 422");
                    let is_status = is_wrong || entry.contains("status of 503") || entry.contains("status of 404");
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

/// Presses Tab until the selector matches the element with the focus.
async fn tab_to(browser: &Browser, selector: &str) {
    for _ in 0..80 {
        browser.press(TAB).await;
        let is_there = "return document.activeElement.matches(arguments[0])";
        if browser.run::<bool>(is_there, json!([selector])).await {
            let outline = "return getComputedStyle(document.activeElement).outlineStyle";
            let outline: String = browser.run(outline, json!([])).await;
            assert_eq!(outline, "solid", "the focus is visible");
            return;
        }
    }
    panic!("{selector} cannot be reached with the keyboard");
}

/// Follows the link or presses the button that has the focus, until the page with this path is shown.
async fn enter(browser: &Browser, path: &str) {
    browser.press(ENTER).await;
    eventually(SOON, async || (browser.path().await == path).then_some(())).await;
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
    tab_to(&browser, "[href='/streams/acme-lynn/survey_result']").await;
    enter(&browser, "/streams/acme-lynn/survey_result").await;
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

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_leads_from_the_overview_to_a_started_backfill() {
    let site = Site::new("login").await;
    let Some(browser) = Browser::start(Look::Light, true).await else { return };
    site.log_in(&browser).await;
    browser.open(&site.url("/")).await;
    tab_to(&browser, "[href='/streams/acme-lynn/survey_result']").await;
    enter(&browser, "/streams/acme-lynn/survey_result").await;
    tab_to(&browser, "[href='/jobs/lynn-hourly/backfills?stream=survey_result']").await;
    enter(&browser, "/jobs/lynn-hourly/backfills").await;
    // Days that end before they begin: the page says so, and leads back to the form.
    for (from, to, expected) in
        [("01052026", "01022026", "is not before"), ("01022026", "01052026", "What it would read")]
    {
        tab_to(&browser, "#action [name=from]").await;
        browser.press(from).await;
        tab_to(&browser, "#action [name=to]").await;
        browser.press(to).await;
        tab_to(&browser, "#action [name=stream]").await;
        browser.press("survey").await;
        tab_to(&browser, "#action button").await;
        browser.press(ENTER).await;
        eventually(SOON, async || browser.text("#main").await.contains(expected).then_some(())).await;
        if expected == "is not before" {
            tab_to(&browser, "#message [href='/jobs/lynn-hourly/backfills']").await;
            browser.press(ENTER).await;
            eventually(SOON, async || (!browser.text("#action").await.is_empty()).then_some(())).await;
        }
    }
    let cost = browser.text(".cost").await;
    assert!(["Slices", "3", "Calls", "Bytes", "about"].iter().all(|part| cost.contains(part)), "{cost}");
    tab_to(&browser, "#action button.main").await;
    let begun = "select count(*) from tidegate.run where kind = 'backfill' and state = 'queued'";
    assert_eq!(
        sqlx::query_scalar::<_, i64>(begun).fetch_one(&site.pool).await.unwrap(),
        0,
        "nothing was confirmed yet"
    );
    browser.press(ENTER).await;
    let shown = async || browser.path().await.strip_prefix("/runs/").and_then(|run| run.parse::<i64>().ok());
    let run = eventually(SOON, shown).await;
    let made: (String, String, bool) = sqlx::query_as(
        "select job, kind, range_start = timestamp '2026-01-02' at time zone 'America/Santiago'
            and range_end = timestamp '2026-01-05' at time zone 'America/Santiago'
        from tidegate.run where id = $1",
    )
    .bind(run)
    .fetch_one(&site.pool)
    .await
    .unwrap();
    assert_eq!(made, ("lynn-hourly".to_owned(), "backfill".to_owned(), true));
    let (actor, stream): (String, Option<String>) =
        sqlx::query_as("select actor, stream from tidegate.event where run_id = $1 and kind = 'action'")
            .bind(run)
            .fetch_one(&site.pool)
            .await
            .unwrap();
    assert_eq!((&*actor, stream.as_deref()), ("operator from 127.0.0.1", Some("survey_result")));
    assert!(browser.text("h1").await.contains(&format!("Run {run}")), "{}", browser.text("h1").await);
    browser.close().await;
}

/// How many of the elements are not within the width of the window, or are not there.
const OUTSIDE: &str = "const found = [...document.querySelectorAll(arguments[0])];
    const outside = found.filter((one) => one.getBoundingClientRect().right > innerWidth || one.getBoundingClientRect().left < 0);
    return found.length === 0 ? -1 : outside.length";

/// Scrolls a table sideways. Returns whether the shade at its right edge is over it, instead of below the strip in the
/// padding of the last column.
const SHADE: &str = "const scroller = document.querySelector('.scroll');
    scroller.scrollLeft = arguments[0];
    const edge = scroller.getBoundingClientRect().right;
    const strip = scroller.querySelector('tbody tr > :last-child').getBoundingClientRect().right;
    const shade = getComputedStyle(scroller, '::after');
    return shade.position === 'sticky' && parseFloat(shade.right) === 0 && Math.abs(strip - edge) > 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_screen_shows_what_matters_without_scrolling_sideways() {
    let site = Site::new("login").await;
    sqlx::raw_sql(
        "update tidegate.run set error = repeat('the vendor refused the credentials; ', 20) where id in (2, 5);
        update tidegate.stream set last_error = repeat('the vendor refused the credentials; ', 20) where failures > 0;",
    )
    .execute(&site.pool)
    .await
    .unwrap();
    let Some(browser) = Browser::start(Look::Light, true).await else { return };
    site.log_in(&browser).await;
    browser.set_width(400).await;
    for (page, selector) in [
        (BACKFILL, ".cost dd, .cost time, .cost .age, button.main"),
        (
            "/streams/acme-lynn/show_error/release",
            "tbody td:nth-child(2), tbody td:nth-child(3), tbody td:nth-child(4)",
        ),
        ("/streams/acme-lynn/survey_result", ".calendar, .calendar text, .calendar path"),
        ("/", "#data td:nth-child(3), #data td:nth-child(4), #data .bar, #now [aria-label=Waiting] td"),
        ("/connections", "tbody td:nth-child(3), tbody td:nth-child(4), .bar"),
        ("/streams", "tbody td:nth-child(3)"),
        ("/quotas", "tbody td"),
        // What is wrong: errors, and a quota that is blocked.
        ("/", "#data .note div"),
        ("/connections", ".note div"),
        ("/streams", ".note div"),
        ("/jobs", ".note div"),
        ("/jobs/lynn-hourly", ".note div"),
        ("/runs", ".note div"),
    ] {
        browser.open(&site.url(page)).await;
        let outside: i64 = browser.run(OUTSIDE, json!([selector])).await;
        assert_eq!(outside, 0, "{page}: of {selector}");
    }
    // What is wider than the window shows it with a shade at its edge, until one has scrolled to the end.
    browser.open(&site.url("/runs")).await;
    for (place, is_shown) in [(0, true), (10_000, false)] {
        let shade: bool = browser.run(SHADE, json!([place])).await;
        assert_eq!(shade, is_shown, "scrolled to {place}");
    }
    let highest = "return Math.max(...[...document.querySelectorAll('tbody tr')].map((row) => row.offsetHeight))";
    for page in ["/jobs", "/jobs/lynn-hourly", "/runs", "/streams"] {
        browser.open(&site.url(page)).await;
        assert!(browser.text("#main").await.contains("credentials; the vendor"), "{page}");
        let height = number(&browser, highest).await;
        assert!(height <= 180, "{page}: a row is {height} px high");
    }
    // On a wide screen, a number and its unit stay on one line.
    browser.set_width(1_280).await;
    browser.open(&site.url("/runs/1")).await;
    let height = number(&browser, highest).await;
    assert!(height <= 40, "a row is {height} px high");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_only_a_message_is_not_asked_for_again() {
    let site = Site::new("login").await;
    let Some(browser) = Browser::start(Look::Light, true).await else { return };
    site.log_in(&browser).await;
    browser.open(&site.url(WRONG)).await;
    let is_still = "return document.body.dataset.still !== undefined && document.getElementById('pause').hidden";
    assert!(browser.run::<bool>(is_still, json!([])).await, "a refresh would call the daemon silent, or show the form");
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
    assert!(text_of(&browser, "#problems").await.contains("3 days are missing"));
    sqlx::query("update tidegate.problem set closed_at = now() where kind = 'gap'").execute(&site.pool).await.unwrap();
    sqlx::query("update tidegate.stream set failures = 0, needs_operator = false").execute(&site.pool).await.unwrap();
    tokio::time::sleep(KEPT).await;
    browser.act(REFRESH).await;
    eventually(SOON, async || (!text_of(&browser, "#problems").await.contains("3 days are missing")).then_some(()))
        .await;
    assert!(text_of(&browser, "#live").await.contains("2 problems need you"), "a screen reader is told");
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
    assert!(text_of(&browser, "main.old h1").await.contains("Postgres has not responded"), "grey, and no old headline");
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
    assert!(text_of(&browser, "main.old h1").await.contains("Tidegate has not responded"), "no old headline");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_script_everything_can_be_read_and_used() {
    let site = Site::new("login").await;
    let Some(browser) = Browser::start(Look::Light, false).await else { return };
    site.log_in(&browser).await;
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
    browser.open(&site.url("/jobs/lynn-hourly/runs")).await;
    browser.click("#action button.main").await;
    let shown = async || browser.path().await.strip_prefix("/runs/").and_then(|run| run.parse::<i64>().ok());
    eventually(SOON, shown).await;
    browser.close().await;
}
