//! Wrong addresses, and pages that the client already has.

use super::api;
use crate::support::TestDatabase;
use crate::support::port::{CONFIG, Port, config};
use crate::support::story;
use crate::support::story::PAGES;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_is_refused_with_a_page_or_a_problem_document() {
    let database = TestDatabase::create().await;
    story::calm(&database.pool()).await;
    let port = Port::open(database.pool()).await;
    let long = format!("/streams?q={}", "a".repeat(2_000));
    for (path, status, says) in [
        ("/nothing", 404, "There is no such page"),
        ("/streams/acme-lynn/nothing", 404, "Search for it above"),
        ("/jobs/nothing", 404, "Show all jobs"),
        ("/connections/nothing", 404, "Nothing has this name"),
        ("/runs/999", 404, "Show all runs"),
        ("/runs/first", 404, "Nothing has this name"),
        ("/assets/style.css", 404, "There is no such page"),
        ("/runs?after=first", 400, "parameter <code>after</code> is not a whole number"),
        ("/runs?from=yesterday", 400, "parameter <code>from</code> is not a date"),
        ("/streams?after=a", 400, "parameter <code>after</code> is not a connection and a stream"),
        ("/events?run=x", 400, "parameter <code>run</code> is not a whole number"),
        ("/streams/acme-lynn/survey_result?year=x", 400, "parameter <code>year</code> is not a whole number"),
        ("/quotas?after=x", 400, "parameter <code>after</code> is not a whole number"),
        (&long, 414, "longer than 2,000 characters"),
    ] {
        let page = port.fetch(path, "").await;
        assert_eq!(page.status, status, "{path}: {}", page.body);
        assert!(page.body.contains(says) && page.body.contains("<nav"), "{path}: {}", page.body);
        if path.starts_with("/assets") {
            continue;
        }
        let document = port.fetch(&api(path), "").await;
        assert_eq!((document.status, document.header("content-type")), (status, "application/problem+json"), "{path}");
        let problem = document.json();
        assert_eq!((&problem["type"], &problem["status"]), (&"about:blank".into(), &status.into()), "{path}");
        assert!(problem["detail"].is_string() && problem["title"].is_string(), "{problem}");
    }
    // Numbers beyond every limit are no fault of the server.
    for path in [
        "/runs?after=-9223372036854775808",
        "/runs/9223372036854775808",
        "/quotas?after=-1",
        "/streams/acme-lynn/survey_result?year=9223372036854775807",
        "/streams/acme-lynn/survey_result?year=-300000",
        "/events?from=0001-01-01",
        "/streams/a%00b/c",
        "/jobs/a%00",
        "/runs?job=%00",
        "/streams?after=gone/gone",
        "/runs?to=262143-01-01",
    ] {
        let page = port.fetch(path, "").await;
        assert!([200, 400, 404].contains(&page.status), "{path}: {page:?}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let refused =
            port.ask(&format!("{method} /streams HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")).await;
        assert!(refused.starts_with("HTTP/1.1 405"), "{method}: {refused}");
    }
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_have_the_path_of_the_proxy_in_front() {
    let database = TestDatabase::create().await;
    story::trouble(&database.pool(), "refused").await;
    let mut config = config(CONFIG);
    config.server.url = Some("https://ops.example/tidegate/".parse().unwrap());
    let port = Port::of(database.pool(), config).await;
    for page in PAGES {
        let body = port.fetch(page, "").await.body;
        for name in [" href=\"", " src=\"", " action=\""] {
            for link in body.split(name).skip(1) {
                let inside = link.starts_with("/tidegate/") || link.starts_with('#');
                assert!(inside, "{page}: {}", link.split('"').next().unwrap());
            }
        }
    }
    let back = port.fetch("/zone?zone=UTC&back=%2Fjobs", "").await;
    assert_eq!(back.header("location"), "/tidegate/jobs");
    assert!(back.header("set-cookie").contains("; path=/tidegate/;"), "{back:?}");
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_link_of_every_page_leads_somewhere() {
    let database = TestDatabase::create().await;
    story::trouble(&database.pool(), "refused").await;
    let port = Port::open(database.pool()).await;
    let mut links = std::collections::BTreeSet::new();
    for page in PAGES {
        let body = port.fetch(page, "").await.body;
        links.extend(
            body.split(" href=\"")
                .skip(1)
                .map(|link| link.split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&")),
        );
    }
    assert!(links.len() > 40, "{links:?}");
    // Also those of jobs of the story that the configuration does not have.
    for link in links.iter().filter(|link| !link.starts_with('#')) {
        assert_eq!(port.fetch(link, "").await.status, 200, "{link}");
    }
    port.close().await;
}
