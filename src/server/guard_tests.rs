use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;

use super::*;
use crate::config::{Auth, MetricsPer};
use crate::secret::Secret;

const BASIC: &str = "Basic b3BlcmF0b3I6Y29ycmVjdCBob3JzZQ==";
const BEARER: &str = "Bearer t0ken-of-scripts";
const OUR_HOST: &str = "tidegate.example.com";

fn server(with_auth: bool) -> Server {
    let token = Some(Secret::new("t0ken-of-scripts"));
    let auth = Auth { user: "operator".to_owned(), password: Secret::new("correct horse"), token };
    Server {
        listen: "127.0.0.1:8080".parse().unwrap(),
        url: Some("https://tidegate.example.com/care".parse().unwrap()),
        title: String::new(),
        auth: with_auth.then_some(auth),
        origins: vec!["https://proxy.example.com:8443".to_owned()],
        metrics_per: MetricsPer::Stream,
    }
}

fn headers(pairs: &[(HeaderName, Option<&str>)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        if let Some(value) = value {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
    }
    headers
}

fn judged(server: &Server, method: &Method, path: &str, headers: &HeaderMap) -> Result<Login, Refusal> {
    judge(server, Head { method, uri: &path.parse().unwrap(), headers })
}

#[test]
fn p7_a_request_for_a_foreign_name_is_refused() {
    let cases = [
        ("127.0.0.1:8080", true),
        ("10.1.2.3", true),
        ("[::1]:8080", true),
        ("localhost:8080", true),
        ("LOCALHOST.", true),
        (OUR_HOST, true),
        ("TIDEGATE.example.com.:443", true),
        ("proxy.example.com", true),
        ("evil.example", false),
        ("tidegate.example.com.evil.example", false),
        ("localhost.evil.example", false),
        ("127.0.0.1.evil.example", false),
        ("evil.example@localhost", false),
        ("localhost/evil", false),
        ("", false),
    ];
    for (host, own) in cases {
        let headers = headers(&[(HOST, Some(host))]);
        for path in ["/", "/streams", "/api/v1/overview", "/status.json", "/assets/x.css"] {
            let verdict = judged(&server(false), &Method::GET, path, &headers);
            assert_eq!(verdict, if own { Ok(Login::Open) } else { Err(Refusal::Host) }, "{host} {path}");
        }
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(judged(&server(false), &Method::GET, path, &headers), Ok(Login::Open), "{host} {path}");
        }
    }
    let two = headers(&[(HOST, Some("localhost")), (HOST, Some("evil.example"))]);
    for headers in [two, HeaderMap::new()] {
        assert_eq!(judged(&server(false), &Method::GET, "/", &headers), Err(Refusal::Host));
    }
    let absolute = headers(&[(HOST, Some("localhost"))]);
    assert_eq!(judged(&server(false), &Method::GET, "http://evil.example/", &absolute), Err(Refusal::Host));
}

#[test]
fn p7_all_but_the_probes_needs_the_login() {
    let server = server(true);
    for path in ["/", "/jobs/x", "/assets/x.css", "/api/v1/overview", "/status.json", "/metrics", "/nothing", "/zone"] {
        for (sent, expected) in [
            (None, Err(Refusal::Login(NoLogin::Missing))),
            (Some("Bearer wrong"), Err(Refusal::Login(NoLogin::Wrong))),
            (Some(BASIC), Ok(Login::Basic)),
            (Some(BEARER), Ok(Login::Bearer)),
        ] {
            let headers = headers(&[(HOST, Some("localhost")), (AUTHORIZATION, sent)]);
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(judged(&server, &method, path, &headers), expected, "{path} {sent:?}");
            }
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(judged(&server, &Method::GET, path, &HeaderMap::new()), Ok(Login::Open));
    }
    let headers = headers(&[(HOST, Some("localhost"))]);
    for path in ["//healthz", "/healthz/", "/healthz/x", "/%68ealthz", "/HEALTHZ"] {
        assert!(judged(&server, &Method::GET, path, &headers).is_err(), "{path}");
    }
}

/// Method, login, `Sec-Fetch-Site`, `Origin` and `Host`: every combination against the rules in words.
#[test]
fn p7_a_post_of_another_site_is_refused_in_every_combination() {
    let sites = [None, Some("same-origin"), Some("none"), Some("same-site"), Some("cross-site"), Some("x"), Some("")];
    let origins = [
        None,
        Some("http://127.0.0.1:8080"),
        Some("https://tidegate.example.com"),
        Some("https://proxy.example.com:8443"),
        Some("https://proxy.example.com"),
        Some("https://evil.example"),
        Some("null"),
        Some("file://127.0.0.1:8080"),
        Some(""),
    ];
    let hosts = ["127.0.0.1:8080", OUR_HOST, "internal.example"];
    let logins = [None, Some("Basic eDp5"), Some(BASIC), Some(BEARER)];
    let mut allowed = 0;
    for with_auth in [true, false] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            for (sent, site, origin, host) in combinations(&logins, &sites, &origins, &hosts) {
                let headers = headers(&[
                    (HOST, Some(host)),
                    (AUTHORIZATION, sent),
                    (SEC_FETCH_SITE, site),
                    (ORIGIN, origin),
                    (CONTENT_TYPE, Some(FORM)),
                ]);
                let verdict = judged(&server(with_auth), &method, "/jobs/x/runs", &headers);
                let own_origin = match origin {
                    Some("http://127.0.0.1:8080") => host == "127.0.0.1:8080",
                    Some("https://tidegate.example.com" | "https://proxy.example.com:8443") => true,
                    _ => false,
                };
                let own_page = match (site, origin) {
                    (Some(site), origin) => matches!(site, "same-origin" | "none") && (origin.is_none() || own_origin),
                    (None, Some(_)) => own_origin,
                    (None, None) => sent == Some(BEARER),
                };
                let expected = if host == "internal.example" {
                    Err(Refusal::Host)
                } else if !with_auth {
                    Ok(Login::Open)
                } else if sent.is_none() {
                    Err(Refusal::Login(NoLogin::Missing))
                } else if sent == Some("Basic eDp5") {
                    Err(Refusal::Login(NoLogin::Wrong))
                } else if method != Method::GET && !own_page {
                    Err(Refusal::CrossSite)
                } else {
                    Ok(if sent == Some(BASIC) { Login::Basic } else { Login::Bearer })
                };
                assert_eq!(verdict, expected, "{with_auth} {method} {sent:?} {site:?} {origin:?} {host}");
                allowed += u32::from(verdict.is_ok());
            }
        }
    }
    assert!(allowed > 100, "{allowed}");
}

type Combination<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, &'a str);

/// The server itself has no TLS. Whether a proxy with TLS is in front is known only if `server.url` says so.
#[test]
fn p7_a_page_with_another_scheme_than_that_of_the_url_is_another_site() {
    let host = "127.0.0.1:8380";
    for (url, origin, own) in [
        (None, "http://127.0.0.1:8380", true),
        (None, "https://127.0.0.1:8380", true),
        (None, "file://127.0.0.1:8380", false),
        (Some("http://127.0.0.1:8380"), "http://127.0.0.1:8380", true),
        (Some("http://127.0.0.1:8380"), "https://127.0.0.1:8380", false),
        (Some("http://tidegate.example.com"), "https://127.0.0.1:8380", false),
        (Some("https://127.0.0.1:8380"), "https://127.0.0.1:8380", true),
        (Some("https://127.0.0.1:8380"), "http://127.0.0.1:8380", false),
        (Some("https://tidegate.example.com"), "https://127.0.0.1:8380", true),
        (Some("https://tidegate.example.com"), "http://127.0.0.1:8380", true),
    ] {
        let server = Server { url: url.map(|url| url.parse().unwrap()), ..server(true) };
        for site in [None, Some("same-origin")] {
            let headers = headers(&[
                (HOST, Some(host)),
                (AUTHORIZATION, Some(BASIC)),
                (SEC_FETCH_SITE, site),
                (ORIGIN, Some(origin)),
                (CONTENT_TYPE, Some(FORM)),
            ]);
            let verdict = judged(&server, &Method::POST, "/jobs/x/runs", &headers);
            let expected = if own { Ok(Login::Basic) } else { Err(Refusal::CrossSite) };
            assert_eq!(verdict, expected, "{url:?} {origin} {site:?}");
        }
    }
    let listed = Server {
        url: Some("http://tidegate.example.com".parse().unwrap()),
        origins: vec!["https://127.0.0.1:8380".to_owned()],
        ..server(true)
    };
    let of_listed = headers(&[(HOST, Some(host)), (ORIGIN, Some("https://127.0.0.1:8380"))]);
    assert!(is_own_origin(&listed, "https://127.0.0.1:8380", &of_listed));
}

fn combinations<'a>(
    logins: &[Option<&'a str>],
    sites: &[Option<&'a str>],
    origins: &[Option<&'a str>],
    hosts: &[&'a str],
) -> Vec<Combination<'a>> {
    let mut all = Vec::new();
    for login in logins {
        for site in sites {
            for origin in origins {
                all.extend(hosts.iter().map(|host| (*login, *site, *origin, *host)));
            }
        }
    }
    all
}

#[test]
fn p7_a_post_is_a_form_and_to_the_api_json_with_the_token() {
    let server = server(true);
    let post = |path: &str, login: &str, kind: Option<&str>| {
        let headers = headers(&[
            (HOST, Some("localhost")),
            (AUTHORIZATION, Some(login)),
            (SEC_FETCH_SITE, Some("same-origin")),
            (CONTENT_TYPE, kind),
        ]);
        judged(&server, &Method::POST, path, &headers)
    };
    assert_eq!(post("/jobs/x/runs", BASIC, Some("application/x-www-form-urlencoded; charset=UTF-8")), Ok(Login::Basic));
    for kind in [None, Some(JSON), Some("multipart/form-data"), Some("text/plain"), Some("")] {
        assert_eq!(post("/jobs/x/runs", BASIC, kind), Err(Refusal::Kind), "{kind:?}");
    }
    assert_eq!(post("/api/v1/jobs/x/runs", BEARER, Some(JSON)), Ok(Login::Bearer));
    assert_eq!(post("/api/v1/jobs/x/runs", BEARER, Some(FORM)), Err(Refusal::Kind));
    assert_eq!(post("/api/v1/jobs/x/runs", BASIC, Some(JSON)), Err(Refusal::NotBearer));
}

#[test]
fn p7_a_header_that_occurs_twice_does_not_count_as_ours() {
    let twice = |name: HeaderName, ours: &'static str| {
        headers(&[
            (HOST, Some("localhost")),
            (AUTHORIZATION, Some(BASIC)),
            (CONTENT_TYPE, Some(FORM)),
            (name.clone(), Some(ours)),
            (name, Some("https://evil.example")),
        ])
    };
    for headers in [twice(SEC_FETCH_SITE, "same-origin"), twice(ORIGIN, "http://localhost")] {
        assert_eq!(judged(&server(true), &Method::POST, "/jobs/x/runs", &headers), Err(Refusal::CrossSite));
    }
}
