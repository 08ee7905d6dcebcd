//! At 200 % zoom everything can be reached and used, and nothing moves if that is not wanted.

use std::fmt::Write as _;

use serde_json::json;

use super::driver::{Browser, Look, TAB};
use super::{BACKFILL, Site, number};

/// What can be pressed or filled in; links within a text apart.
const CONTROLS: &str = "nav a, .act, .states a, button, input:not([type=hidden]), select, textarea, summary";
/// What is wrong with the controls, each of them with the focus.
const FAULTS: &str = "const controls = [...document.querySelectorAll(arguments[0])].filter((one) => !one.hidden);
    if (controls.length === 0) return ['there is no control'];
    return controls.flatMap((control) => {
        control.focus();
        const box = control.getBoundingClientRect();
        const middle = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
        const isInside = box.left >= 0 && box.right <= innerWidth && box.top >= 0 && box.bottom <= innerHeight;
        const faults = [];
        if (document.activeElement !== control) faults.push('cannot have the focus');
        if (!isInside) faults.push('is outside the window');
        else if (!control.contains(middle)) faults.push('is covered');
        if (Math.min(box.width, box.height) < 24) faults.push(`has ${box.width} x ${box.height} px`);
        return faults.map((fault) => `${control.outerHTML.slice(0, 120)} ${fault}`);
    });";
/// What is wrong with the element to which Tab led; null at the end of the page. A date has the focus in its parts, of
/// which the last one, its button, has an outline of the browser.
const STOP: &str = "const at = document.activeElement;
    if (at === document.body) return null;
    at.dataset.seen = '';
    const box = at.getBoundingClientRect();
    const faults = [];
    if (getComputedStyle(at).outlineStyle !== 'solid' && at.type !== 'date') faults.push('does not show the focus');
    if (box.left < 0 || box.right > innerWidth || box.bottom <= 0 || box.top >= innerHeight) faults.push('is outside the window');
    return faults.map((fault) => `${at.outerHTML.slice(0, 120)} ${fault}`);";
/// The controls to which Tab did not lead.
const MISSED: &str = "const controls = [...document.querySelectorAll(arguments[0])].filter((one) => !one.hidden);
    const missed = controls.filter((one) => one.dataset.seen === undefined);
    return missed.map((one) => `${one.outerHTML.slice(0, 120)} is not reached with Tab`);";

/// Presses Tab from the beginning of a page to its end. Returns what is wrong on the way.
async fn walk(browser: &Browser) -> Vec<String> {
    let mut faults = Vec::new();
    for _ in 0..120 {
        browser.press(TAB).await;
        let Some(found) = browser.run::<Option<Vec<String>>>(STOP, json!([])).await else {
            faults.extend(browser.run::<Vec<String>>(MISSED, json!([CONTROLS])).await);
            return faults;
        };
        faults.extend(found);
    }
    panic!("Tab does not lead to the end of the page");
}

/// 1,280 × 900 pixels at 200 % are 640 × 450 of CSS, and the browser's own bars need a part of them.
#[tokio::test(flavor = "multi_thread")]
async fn at_200_percent_every_control_is_reached_and_no_page_scrolls_sideways() {
    let site = Site::new("login").await;
    let Some(browser) = Browser::start(Look::Light, true).await else { return };
    site.log_in(&browser).await;
    browser.set_size(640, 450).await;
    assert_eq!(number(&browser, "return innerWidth").await, 640);
    let mut found = String::new();
    for page in Site::pages("login").into_iter().chain(["/streams", "/runs", "/events"]) {
        browser.open(&site.url(page)).await;
        let mut faults = if ["/", "/system", BACKFILL].contains(&page) { walk(&browser).await } else { Vec::new() };
        faults.extend(browser.run::<Vec<String>>(FAULTS, json!([CONTROLS])).await);
        let beyond = number(&browser, "return document.documentElement.scrollWidth - innerWidth").await;
        if beyond > 0 {
            faults.push(format!("scrolls sideways by {beyond} px"));
        }
        for fault in faults {
            let _ = writeln!(found, "{page}: {fault}");
        }
    }
    assert!(found.is_empty(), "{found}");
    browser.close().await;
}

/// The elements that move by themselves or when something changes.
const MOVING: &str = "const moves = (style) => style.animationName !== 'none' || style.scrollBehavior === 'smooth'
        || style.transitionDuration.split(',').some((seconds) => parseFloat(seconds) > 0);
    const parts = [null, '::before', '::after'];
    const moving = [...document.querySelectorAll('*')].filter((one) => parts.some((part) => moves(getComputedStyle(one, part))));
    return moving.map((one) => one.outerHTML.slice(0, 120));";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_if_the_system_asks_for_less_motion() {
    let site = Site::new("problems").await;
    let Some(browser) = Browser::start(Look::Light, true).await else { return };
    browser.reduce_motion().await;
    for page in ["/problems", "/streams", "/streams/acme-lynn/survey_result", "/runs/3", "/"] {
        browser.open(&site.url(page)).await;
        let is_reduced = "return matchMedia('(prefers-reduced-motion: reduce)').matches";
        assert!(browser.run::<bool>(is_reduced, json!([])).await);
        let moving: Vec<String> = browser.run(MOVING, json!([])).await;
        assert!(moving.is_empty(), "{page}: {moving:?}");
    }
    // A rule that does not ask the system would be noticed.
    browser.act("document.styleSheets[0].insertRule('a { transition: color 1s }', 0)").await;
    assert!(!browser.run::<Vec<String>>(MOVING, json!([])).await.is_empty());
    browser.close().await;
}
