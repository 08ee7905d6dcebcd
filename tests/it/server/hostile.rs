//! Promise 7: names, errors and messages of others stay text.

use super::api;
use crate::support::TestDatabase;
use crate::support::port::{CONFIG, Port, config};
use crate::support::story::PAGES;
use crate::support::story::{self, HOSTILE};

#[tokio::test(flavor = "multi_thread")]
async fn p7_hostile_names_stay_text_on_every_page_and_in_the_api() {
    let database = TestDatabase::create().await;
    story::trouble(&database.pool(), HOSTILE).await;
    let mut config = config(CONFIG);
    HOSTILE.clone_into(&mut config.server.title);
    let port = Port::of(database.pool(), config).await;
    let stream = format!("/streams/acme-lynn/{}", encoded(HOSTILE));
    let search = format!("/streams?q={}", encoded(HOSTILE));
    let mut escaped = 0;
    for page in PAGES.into_iter().chain(["/runs/2", "/runs/4", &stream, &search, "/no/such/page"]) {
        let reply = port.fetch(page, "").await;
        assert_eq!(reply.status, if page == "/no/such/page" { 404 } else { 200 }, "{page}: {}", reply.body);
        for part in ["<script>", "<img", "alert(1)>\"", "\u{202e}", "\u{1b}", "Juana", "s3cret", "7c01d94ab3e2f5"] {
            assert!(!reply.body.contains(part), "{page} has {part:?}: {}", reply.body);
        }
        escaped += usize::from(reply.body.contains("&lt;img src=x"));
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{page}: {policy}");
        for (name, value) in
            [("x-content-type-options", "nosniff"), ("cache-control", "no-store"), ("referrer-policy", "same-origin")]
        {
            assert_eq!(reply.header(name), value, "{page}");
        }
        if page == "/no/such/page" {
            continue;
        }
        let document = port.fetch(&api(page), "").await;
        assert_eq!(document.header("content-type"), "application/json", "{page}");
        assert!(!document.body.contains(['\u{202e}', '\u{1b}']) && !document.body.contains("Juana"), "{page}");
        document.json();
    }
    assert!(escaped >= 8, "{escaped} pages show the text");
    port.close().await;
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"))
}
