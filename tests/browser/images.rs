//! The pictures of the README.

use std::path::Path;

use serde_json::json;

use super::Site;
use super::driver::{Browser, Look};

/// A page for the README may not be larger.
const IMAGE_BYTES_MAX: usize = 150 * 1_024;

/// Makes the trouble a recent one, as a reader expects.
const RECENT: &str = "
    delete from tidegate.problem where kind = 'config_refused';
    update tidegate.problem
    set seen_first_at = now() - interval '3 hours', opened_at = now() - interval '3 hours', streams = 1,
        summary = case kind when 'gap' then 'data before the newest are missing' else summary end,
        hint = case kind when 'gap' then 'read the missing days with `tidegate backfill`' else 'renew the token' end;
    update tidegate.run set job = 'lynn-by-hand' where id = 4;
    update tidegate.run set created_at = now() - interval '20 minutes', started_at = now() - interval '20 minutes' where id = 3;
    delete from tidegate.stream where jobs <> '{lynn-hourly}';
    update tidegate.stream set expected_by = now() + interval '40 minutes', expected_after = now() - interval '4 hours',
        last_success_at = now() - case stream when 'menu_detail' then interval '4 hours' else interval '20 minutes' end;";

/// A picture of the README.
struct Picture {
    name: &'static str,
    look: Look,
    /// The page, and the one of the demo that is like it.
    page: &'static str,
    of_demo: &'static str,
    /// The last part of the page that is in the picture.
    last: &'static str,
    /// What the page shows.
    words: &'static [&'static str],
}

const PICTURES: [Picture; 2] = [
    Picture {
        name: "overview.png",
        look: Look::Light,
        page: "/",
        of_demo: "/",
        last: "#data",
        words: &[
            "2 things need you",
            "failed 1",
            "gap 1",
            "reading 1",
            "What needs you",
            "the vendor refused the credentials",
            "data before the newest are missing",
            "Now",
            "7 of 15",
            "quota period_calls",
            "Next",
            "lynn-hourly",
            "Data",
            "acme-lynn",
            "86.4 % of period_calls",
        ],
    },
    Picture {
        name: "stream.png",
        look: Look::Dark,
        page: "/streams/acme-lynn/survey_result",
        of_demo: "/streams/demo-lynn/show_dialogs",
        last: "#gaps",
        words: &[
            "survey_result",
            "gap",
            "Something before the newest data was not read",
            "lynn.survey_result",
            "Complete until",
            "Days of 20",
            "Days that are not complete",
            "missing",
            "tidegate backfill lynn-hourly --from",
        ],
    },
];

/// With `TIDEGATE_IMAGES=http://127.0.0.1:8080`, the address of a running `tidegate demo`, the pictures of the README
/// are taken from it and written. Otherwise what the same pages show of other data, and the size of the pictures, is
/// checked.
#[tokio::test(flavor = "multi_thread")]
async fn the_images_of_the_readme_show_the_pages() {
    let site = Site::new("problems").await;
    sqlx::raw_sql(RECENT).execute(&site.pool).await.unwrap();
    let demo = std::env::var("TIDEGATE_IMAGES").ok();
    for Picture { name, look, page, of_demo, last, words } in PICTURES {
        let Some(browser) = Browser::start(look, true).await else { return };
        browser.set_width(1_280).await;
        let url = demo.as_ref().map_or_else(|| site.url(page), |demo| format!("{demo}{of_demo}"));
        browser.open(&url).await;
        // As high as the part of the page that the picture shows.
        let end = "return Math.ceil(document.querySelector(arguments[0]).getBoundingClientRect().bottom) + 16";
        let end: u32 = browser.run(end, json!([last])).await;
        let frame: u32 = browser.run("return outerHeight - innerHeight", json!([])).await;
        browser.set_size(1_280, end + frame).await;
        assert_eq!(browser.run::<u32>("return innerHeight", json!([])).await, end, "{name} is cut");
        let shown = browser.text("#main").await;
        for word in words.iter().filter(|_| demo.is_none()) {
            assert!(shown.contains(word), "{name} does not show {word}: {shown}");
        }
        let is_styled = "return getComputedStyle(document.querySelector('.facts, .states')).display !== 'block'";
        assert!(browser.run::<bool>(is_styled, json!([])).await, "{name} has no style");
        let image = browser.screenshot().await;
        assert!(image.len() <= IMAGE_BYTES_MAX, "{name} has {} bytes", image.len());
        if demo.is_some() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/img");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), image).unwrap();
        }
        browser.close().await;
    }
}
