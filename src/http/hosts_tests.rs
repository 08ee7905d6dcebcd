//! Promise 7 as tables: where a URL from the vendor may lead.

use proptest::prelude::*;

use super::*;
use crate::fuzz::{assert_decent, damaged_text};

/// A marker for parts that must not be shown: a host cannot contain a `|`.
const URLS: &[&[u8]] = &[
    b"https://files.example:8443/path%2Bs3cret|/a?X-Sig=s3cret|&b=%2F#s3cret|",
    b"https://user:s3cret|@api.vendor.example/",
    b"//127.0.0.1/s3cret|",
    b"HTTP://[::ffff:10.0.0.1]:80/?s3cret|",
    b"https://0x7f.1/",
    b"https://a.localhost./s3cret|",
    b"/files/../a?s3cret|",
    b"ftp://x.example/s3cret|",
    "https://\u{ff11}\u{ff12}7.0.0.1@b\u{fc}cher.example\\@[fd00::1]/".as_bytes(),
];

fn assert_refusal(refused: &HttpError) {
    let (host, why) = why(refused);
    assert!(host.len() <= HOST_BYTES_MAX + 6 && !why.is_empty() && !refused.is_transient());
    let shown = refused.to_string();
    assert_decent(&shown);
    assert!(!format!("{shown} {refused:?}").contains("s3cret|"), "{refused:?}");
}

proptest! {
    #[test]
    fn p7_a_damaged_url_is_allowed_or_refused_without_showing_its_secrets(text in damaged_text(URLS)) {
        let is_clean = |url: &Url| url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let own = [url("https://api.vendor.example/"), url("https://clients.vendor.example:8443/")];
        match hosts().own(&text) {
            Ok(url) => prop_assert!(is_clean(&url) && own.iter().any(|own| own.origin() == url.origin()), "{url}"),
            Err(error) => assert_refusal(&error),
        }
        match hosts().foreign(&text) {
            Ok(vetted) => {
                let url = vetted.url();
                prop_assert!(is_clean(url) && url.scheme() == "https", "{url}");
                prop_assert!(Url::parse(url.as_str()).is_ok_and(|again| again == *url));
                prop_assert!(url.as_str().len() <= 3 * URL_BYTES_MAX + 100);
                prop_assert_eq!(vetted.is_trusted(), own.iter().any(|own| own.origin() == url.origin()));
                let shown = match url.host().unwrap() {
                    Host::Ipv4(address) => is_public(address.into()),
                    Host::Ipv6(address) => is_public(address.into()),
                    Host::Domain(name) => name.trim_end_matches('.').rsplit('.').next() != Some("localhost"),
                };
                prop_assert!(shown, "{url}");
                let debugged = format!("{vetted:?}");
                prop_assert!(!debugged.contains("s3cret|"));
            }
            Err(error) => assert_refusal(&error),
        }
    }
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn hosts_at(base_url: &str, further: &[&str], allowed: &[&str]) -> Hosts {
    let further: Vec<Url> = further.iter().map(|text| url(text)).collect();
    let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    Hosts::new(&url(base_url), &further.iter().collect::<Vec<_>>(), &allowed)
}

fn hosts() -> Hosts {
    hosts_at("https://api.vendor.example/api/public", &["https://clients.vendor.example:8443/x"], &[])
}

fn why(error: &HttpError) -> (&str, &str) {
    match error {
        HttpError::Host { host, why } => (host, why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn p7_a_credential_is_sent_to_own_hosts_only() {
    for (given, sent) in [
        ("https://api.vendor.example/status?a=1", "https://api.vendor.example/status?a=1"),
        ("HTTPS://API.Vendor.Example:443/s#part", "https://api.vendor.example/s"),
        ("https://clients.vendor.example:8443/", "https://clients.vendor.example:8443/"),
        ("/files/a%2Fb%2B%3D.csv", "https://api.vendor.example/files/a%2Fb%2B%3D.csv"),
        ("files/a.csv", "https://api.vendor.example/api/files/a.csv"),
        ("?page=2", "https://api.vendor.example/api/public?page=2"),
        (" https://api.vendor.example/a\n", "https://api.vendor.example/a"),
    ] {
        assert_eq!(hosts().own(given).unwrap().as_str(), sent, "{given:?}");
    }
    for (given, host) in [
        ("http://api.vendor.example/", "api.vendor.example"),
        ("https://api.vendor.example:444/", "api.vendor.example:444"),
        ("https://clients.vendor.example/", "clients.vendor.example"),
        ("http://clients.vendor.example:8443/", "clients.vendor.example:8443"),
        ("https://api.vendor.example./", "api.vendor.example."),
        ("https://vendor.example/", "vendor.example"),
        ("https://sub.api.vendor.example/", "sub.api.vendor.example"),
        ("https://api.vendor.example.evil.example/", "api.vendor.example.evil.example"),
        ("https://api.vendor.example@evil.example/", "evil.example"),
        ("https://user@api.vendor.example/", "api.vendor.example"),
        ("https://:secret@api.vendor.example/", "api.vendor.example"),
        ("https://evil.example#@api.vendor.example/", "evil.example"),
        ("//evil.example/a", "evil.example"),
        ("/\\evil.example/a", "evil.example"),
        ("\\\\evil.example\\a", "evil.example"),
        ("https:\\\\evil.example/a", "evil.example"),
        ("ht\ntps://evil.example/a", "evil.example"),
        ("ftp://api.vendor.example/", "api.vendor.example"),
        // A Cyrillic letter.
        ("https://\u{430}pi.vendor.example/", "xn--pi-6kc.vendor.example"),
    ] {
        assert_eq!(why(&hosts().own(given).unwrap_err()).0, host, "{given:?}");
    }
}

#[test]
fn p7_an_unreadable_url_names_no_host() {
    let endless = format!("https://files.example/{}", "a".repeat(URL_BYTES_MAX));
    let long_name = format!("https://{}example/", "a.".repeat(200));
    for given in [
        "",
        " ",
        "https://",
        "https://exa mple/",
        "https://[::1/",
        "https://1.2.3.4.5/",
        "mailto:a@b.example",
        "file:///etc/passwd",
        "data:text/plain,a",
        "javascript:alert(1)",
        "https://a.example:99999/",
        &endless,
        &long_name,
    ] {
        for refused in [hosts().own(given).unwrap_err(), hosts().foreign(given).unwrap_err()] {
            assert_eq!(why(&refused).0, "", "{given}");
            assert!(refused.to_string().starts_with("the vendor handed out an unreadable URL: "), "{refused}");
        }
    }
}

#[test]
fn p7_a_refusal_shows_only_the_host_of_the_url() {
    let given = "https://user:secret@10.0.0.1:8443/path-secret?signature=secret#secret";
    for refused in [hosts().own(given).unwrap_err(), hosts().foreign(given).unwrap_err()] {
        assert!(!format!("{refused} {refused:?}").contains("secret"), "{refused:?}");
        assert!(refused.to_string().starts_with("the vendor handed out a URL to “10.0.0.1:8443”: "), "{refused}");
        assert!(!refused.is_transient());
    }
    let vetted = hosts().foreign("https://files.example/secret?secret#secret").unwrap();
    assert_eq!(format!("{vetted:?}"), "Vetted(files.example)");
}

#[test]
fn p7_a_foreign_host_is_public_and_reached_over_tls() {
    for (given, fetched) in [
        ("https://bucket.s3.amazonaws.com/a%2Bb?X-Sig=%2F%3D#x", "https://bucket.s3.amazonaws.com/a%2Bb?X-Sig=%2F%3D"),
        ("https://FILES.example:8443/", "https://files.example:8443/"),
        ("https://b\u{fc}cher.example/", "https://xn--bcher-kva.example/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2a00:1450::1]/", "https://[2a00:1450::1]/"),
        ("https://localhost.example/", "https://localhost.example/"),
        ("https://notlocalhost/", "https://notlocalhost/"),
    ] {
        let vetted = hosts().foreign(given).unwrap();
        assert_eq!((vetted.url().as_str(), vetted.is_trusted()), (fetched, false), "{given}");
    }
    for (given, reason) in [
        ("http://files.example/", "it is not https"),
        ("http://api.vendor.example/", "it is not https"),
        ("ftp://files.example/", "it is not https"),
        ("wss://files.example/", "it is not https"),
        ("https://user@files.example/", "it contains a user or password"),
        ("https://:p@files.example/", "it contains a user or password"),
        ("https://localhost/", "it is this machine"),
        ("https://LOCALHOST:8443/", "it is this machine"),
        ("https://localhost./", "it is this machine"),
        ("https://a.LocalHost/", "it is this machine"),
        ("https://a.localhost./", "it is this machine"),
        ("https://l\u{f6}calhost.localhost/", "it is this machine"),
        ("https://ｌｏｃａｌｈｏｓｔ/", "it is this machine"),
    ] {
        assert_eq!(why(&hosts().foreign(given).unwrap_err()).1, reason, "{given}");
    }
}

/// One address of each class, in every URL spelling; the classes themselves are tested next to their rules.
#[test]
fn p7_a_private_address_is_recognised_in_any_spelling() {
    for address in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0X7F.0.0.0x1",
        "017700000001",
        "0177.0.0.01",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "012.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::FFFF:10.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[fd00::1]",
        "[fe80::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[64:ff9b::7f00:1]",
        "[::127.0.0.1]",
    ] {
        let refused = hosts().foreign(&format!("https://{address}/")).unwrap_err();
        assert_eq!(why(&refused).1, NOT_PUBLIC, "{address}");
    }
}

#[test]
fn p7_private_hosts_are_fetched_from_if_the_operator_configured_them() {
    let hosts = hosts_at(
        "http://10.0.0.1:8080/base",
        &["https://[::1]:9000"],
        &["files.example:8443", "10.0.0.2", "10.0.0.3:81", "[fd00::1]", "localhost", "xn--bcher-kva.example"],
    );
    for (given, expected) in [
        ("/files/a.csv", Some(true)),
        ("http://10.0.0.1:8080/a", Some(true)),
        ("http://0x0a.1:8080/a", Some(true)),
        ("https://[0::1]:9000/a", Some(true)),
        ("https://files.example:8443/", Some(true)),
        ("https://FILES.example:8443/", Some(true)),
        ("https://10.0.0.2/", Some(true)),
        ("http://10.0.0.2:7777/", Some(true)),
        ("http://10.0.0.3:81/", Some(true)),
        ("http://[fd00:0::1]/", Some(true)),
        ("http://localhost:3000/", Some(true)),
        ("https://b\u{fc}cher.example/", Some(true)),
        // Public names that are not configured: their addresses are checked when connecting.
        ("https://files.example/", Some(false)),
        ("https://files.example.:8443/", Some(false)),
        ("https://sub.files.example:8443/", Some(false)),
        ("http://other.example/", Some(false)),
        ("http://10.0.0.1/", None),
        ("http://10.0.0.1:8081/", None),
        ("https://[::1]/", None),
        ("http://10.0.0.3/", None),
        ("https://[fd00::2]/", None),
        ("http://sub.localhost/", None),
        ("http://localhost./", None),
        ("http://u@10.0.0.1:8080/", None),
        ("ftp://10.0.0.2/", None),
    ] {
        assert_eq!(hosts.foreign(given).ok().map(|vetted| vetted.is_trusted()), expected, "{given}");
    }
}
