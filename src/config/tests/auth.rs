//! `server`: who may use the status port, and what the metrics have values of.

use super::*;

fn with_server(server: &str) -> Result<Config, Faults> {
    load_texts(&[("config/jobs/lynn.yaml", &format!("{MINIMAL}\nserver:\n{server}\n"))], &credentials())
}

#[test]
fn a_login_and_origins_are_taken_and_shown_without_secrets() {
    let server = with_server(
        "  auth: { user: operator, password: correct horse, token: t0ken-of-scripts }\n  origins: [https://Tidegate.Example.com:443]",
    )
    .unwrap()
    .server;
    assert_eq!(server.origins, ["https://tidegate.example.com"]);
    let shown = format!("{server:?}");
    assert!(shown.contains("operator") && !shown.contains("horse") && !shown.contains("t0ken"), "{shown}");
    let auth = server.auth.unwrap();
    assert_eq!((auth.password.expose(), auth.token.unwrap().expose()), ("correct horse", "t0ken-of-scripts"));
    assert!(with_server("  listen: 127.0.0.1:9").unwrap().server.auth.is_none());
}

#[test]
fn p9_half_a_login_and_wrong_origins_are_refused_with_the_remedy() {
    for (server, fault) in [
        ("  auth: {}", "server.auth: is empty; write `user` and `password`"),
        ("  auth: { user: operator }", "server.auth.password: missing; write the password"),
        ("  auth: { password: correct horse }", "server.auth.user: missing; write the name"),
        ("  auth: { token: t0ken-of-scripts }", "server.auth.user: missing; write the name"),
        ("  auth: { user: \"a:b\", password: correct horse }", "is not a name to log in with"),
        ("  auth: { user: a, password: short }", "has fewer than 12 characters"),
        ("  auth: { user: a, password: correct horse, token: \"two words here\" }", "cannot be sent in a header"),
        ("  origins: [tidegate.example.com]", "is not an origin; write scheme, host and port only"),
        ("  origins: [\"https://a.example/path\"]", "is not an origin"),
        ("  origins: [\"https://u:p@a.example\"]", "is not an origin"),
    ] {
        let faults = with_server(server).map(|_| ()).unwrap_err().to_string();
        assert!(faults.contains(fault), "{server}: {faults}");
        assert!(!faults.contains("horse") && !faults.contains("short"), "{faults}");
    }
}

#[test]
fn metrics_are_per_stream_by_default() {
    let per = |server: &str| with_server(server).unwrap().server.metrics_per;
    assert_eq!(per("  title: Prod"), MetricsPer::Stream);
    assert_eq!(per("  metrics_per: connection"), MetricsPer::Connection);
    let refused = with_server("  metrics_per: job").unwrap_err().to_string();
    assert!(refused.contains("server.metrics_per") && refused.contains("connection"), "{refused}");
}
