//! `notify`.

use super::*;
use crate::store::topic::Topic;

const FULL: &str = r#"notify:
  - name: oncall
    url: https://hooks.slack.example/services/T0/B0/hunter2
    format: slack
    on: [failed, recovered]
    only: { connections: [acme-lynn], jobs: [lynn-hourly] }
    repeat: 6h
  - url: http://10.0.0.7:9000/hook?key=hunter2
    format: cloudevents
    headers: { Authorization: Bearer hunter2, X-Scope: "7" }
    secret: whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz
"#;

fn load(notify: &str) -> Result<Config, Faults> {
    load_texts(&[("tidegate.yaml", &format!("{notify}{MINIMAL}"))], &credentials())
}

#[test]
fn p7_targets_are_read_and_their_credentials_never_printed() {
    let config = load(FULL).unwrap();
    let [slack, events] = config.notify.as_slice() else { panic!("two targets") };
    assert_eq!((slack.name.as_str(), slack.host.as_str()), ("oncall", "hooks.slack.example"));
    assert_eq!(slack.on, BTreeSet::from([Topic::Failed, Topic::Recovered]));
    assert_eq!(slack.connections, Some(BTreeSet::from(["acme-lynn".to_owned()])));
    assert_eq!(slack.repeat, Duration::from_hours(6));
    assert_eq!((events.name.as_str(), events.host.as_str()), ("10.0.0.7", "10.0.0.7:9000"));
    assert!(!events.on.contains(&Topic::Schema) && events.on.contains(&Topic::NotifyStuck));
    assert_eq!(events.on.len(), 11);
    assert_eq!(events.signing_key().unwrap(), b"012345678901234567890123");
    assert_eq!(events.headers[0].1.expose(), "Bearer hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    let warnings = config.warnings(chrono::Utc::now());
    assert!(warnings.iter().any(|warning| warning.starts_with("notify `10.0.0.7`: ")), "{warnings:?}");
    assert!(!format!("{warnings:?}").contains("hunter2"));
}

#[test]
fn p9_wrong_targets_are_refused_with_the_remedy() {
    let mut text = String::new();
    for (title, notify) in [
        ("no keys", "notify: [{}, ~]\n"),
        ("not a list", "notify: { url: https://a.example/hunter2, format: slack }\n"),
        ("unknown words", "notify: [{ url: https://a.example/hunter2, format: slak, on: [failled, healthy, ~] }]\n"),
        ("nothing to tell", "notify: [{ url: https://a.example, format: slack, on: [recovered] }]\n"),
        (
            "names twice",
            "notify: [{ url: https://a.example/1, format: slack }, { url: https://a.example/2, format: slack }]\n",
        ),
        ("a URL that is none", "notify: [{ url: hooks/hunter2, format: slack }]\n"),
        ("a URL with a password", "notify: [{ url: https://u:hunter2@a.example, format: slack }]\n"),
        ("an address without a name", "notify: [{ url: \"http://[::1]/hunter2\", format: slack }]\n"),
        (
            "names that are not configured",
            "notify: [{ url: https://a.example, format: slack, only: { connections: [acme-lyn], jobs: [] } }]\n",
        ),
        (
            "headers and a secret",
            "notify: [{ url: https://a.example, format: cloudevents, secret: hunter2, headers: { \"a b\": x, Host: x, \
             X: \"hunter2\\n\", Y: ~ } }]\n",
        ),
        ("a secret that is not used", "notify: [{ url: https://a.example, format: slack, secret: hunter2 }]\n"),
        ("a reminder each second", "notify: [{ url: https://a.example, format: slack, repeat: 1s }]\n"),
        ("an unknown key", "notify: [{ uri: https://a.example, format: slack }]\n"),
        ("a link and a title", "server: { url: \"tidegate.example.com\", title: \"\" }\n"),
        ("events that are forgotten at once", "history: { keep_events: 1h }\n"),
    ] {
        let faults = load(notify).unwrap_err().to_string();
        assert!(!faults.contains("hunter2"), "{faults}");
        writeln!(text, "## {title}\n{faults}\n").unwrap();
    }
    insta::assert_snapshot!(text);
}
