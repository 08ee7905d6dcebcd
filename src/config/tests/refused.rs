//! The table of wrong configurations and their exact messages (promise 9).

use std::fmt::Write as _;
use std::os::unix::fs::symlink;

use super::*;

/// What a case changes in [`MINIMAL`]: `old` → `new`, or the whole text if `old` is empty.
struct Case {
    title: &'static str,
    changes: &'static [(&'static str, &'static str)],
    env: &'static [(&'static str, &'static str)],
}

const fn case(title: &'static str, changes: &'static [(&'static str, &'static str)]) -> Case {
    Case { title, changes, env: &[] }
}

const fn with_env(title: &'static str, env: &'static [(&'static str, &'static str)]) -> Case {
    Case { title, changes: &[], env }
}

const YAML: &[Case] = &[
    case("not YAML", &[("", "jobs: [unclosed\nmore: }\n")]),
    case("a sentence", &[("", "please load everything\n")]),
    case("a list where settings are expected", &[("", "- jobs\n- connections\n")]),
    case("a tab for indentation", &[("", "jobs:\n\tlynn:\n\t\tpaused: true\n")]),
    case("an unquoted star", &[("streams: \"*\"", "streams: *")]),
    case("an unquoted schedule with a star", &[("start:", "schedule: */5 * * * *\n    start:")]),
    case("an unquoted nickname", &[("start:", "schedule: @hourly\n    start:")]),
    case("a second document", &[("jobs:", "---\njobs:")]),
    case("an unknown tag", &[("4411", "!number 4411")]),
    case("a map as a key", &[("access_token: ${LYNN_ACCESS_TOKEN}\n", "access_token: {{ hunter2 }}\n")]),
    case("a key twice", &[("start:", "paused: false\n    paused: true\n    start:")]),
    case("a key twice and another fault", &[("start:", "paused: no\n    paused: true\n    strat:")]),
    case("a name twice in a file", &[("jobs:", "  acme-lynn: { vendor: lynn_reporting }\njobs:")]),
    case("a merge key", &[("start:", "<<: { paused: true }\n    start:")]),
    case("an alias inside its anchor", &[("4411", "&a [*a]")]),
    case("an unknown alias", &[("4411", "*nowhere")]),
    case("a value with a colon", &[("4411", "44: 11")]),
    case(
        "a null section and a null key",
        &[("connections:\n", "log:\nserver: { listen: ~ }\nconnections:\n"), ("2026-01-01", "")],
    ),
    case("a null connection", &[("", "connections:\n  acme-lynn:\n")]),
    case("a list for a section", &[("", "database: [a]\njobs: none\nlog: pretty\n")]),
];

const SECTIONS: &[Case] = &[
    case(
        "unknown sections and keys",
        &[("connections:", "conections: {}\nbanana: 1\nserver: { port: 80 }\nconnections:")],
    ),
    case(
        "every key of the process wrong",
        &[(
            "connections:",
            "database: { url: mysql://u:hunter2@h/d, max_connections: 0 }\nembedded: { data_dir: \"\" }\n\
             server: { listen: localhost:8080 }\nworker: { concurrency: many, lease: 1s }\n\
             log: { format: xml, level: inof }\nconnections:",
        )],
    ),
    case(
        "a port alone",
        &[("connections:", "server: { listen: 9000 }\nworker: { lease: 2h, concurrency: 1.5 }\nconnections:")],
    ),
    case(
        "history that is too short to be examined",
        &[("connections:", "history: { keep_runs: 1h, keep_rejects: always, keep: 90d }\nconnections:")],
    ),
    case(
        "a warehouse that keeps days, and is divided by weeks",
        &[("connections:", "warehouse: { partition: week, keep: 90d }\nconnections:")],
    ),
    case(
        "a warehouse that keeps less than is read again",
        &[("connections:", "warehouse: { keep: 1 month }\nconnections:"), ("start:", "lookback: 40d\n    start:")],
    ),
    case(
        "a password that breaks the database URL",
        &[("connections:", "database: { url: \"postgres://u:hunter2/x@h:5432/d\" }\nconnections:")],
    ),
    case(
        "an unknown sslmode",
        &[("connections:", "database: { url: \"postgres://u:hunter2@h/d?sslmode=on\" }\nconnections:")],
    ),
    case("a database that is empty", &[("connections:", "database:\nconnections:")]),
    case("a database without keys", &[("connections:", "database: {}\nconnections:")]),
    case("a URL that is null", &[("connections:", "database: { url: ~ }\nconnections:")]),
    case("a URL that is empty", &[("connections:", "database: { url: \" \" }\nconnections:")]),
    case(
        "a URL and parts",
        &[("connections:", "database: { url: \"postgres://u:hunter2@h/d\", host: h, sslmode: require }\nconnections:")],
    ),
    case(
        "a parameter of a URL that is not known",
        &[("connections:", "database: { url: \"postgres://u:hunter2@h/d?timeout=1\" }\nconnections:")],
    ),
    case(
        "a certificate of a URL that is not there",
        &[("connections:", "database: { url: \"postgres://u@h/d?sslrootcert=/nonexistent\" }\nconnections:")],
    ),
    case("parts without a host", &[("connections:", "database: { password: hunter2 }\nconnections:")]),
    case(
        "a certificate that is not used",
        &[(
            "connections:",
            "database: { host: h, name: d, user: u, sslmode: require, sslrootcert: /etc/passwd }\nconnections:",
        )],
    ),
    case(
        "wrong parts",
        &[(
            "connections:",
            "database:\n  host: u:hunter2@h\n  port: 0\n  name: \"\"\n  user: ~\n  password: \"hunter2\\nx\"\n  sslmode: on\n  \
             sslrootcert: /nonexistent/ca.pem\nconnections:",
        )],
    ),
    case(
        "a level that would be read as a module",
        &[("connections:", "log: { level: \"info,tidegate=verbose\" }\nconnections:")],
    ),
];

const CONNECTIONS: &[Case] = &[
    case("no vendor", &[("    vendor: lynn_reporting\n", "")]),
    case("a misspelt vendor", &[("lynn_reporting", "lynn_reportin")]),
    case("an unknown vendor", &[("lynn_reporting", "salesforce")]),
    case("keys missing", &[("    tenant: 4411\n", ""), ("    access_token_secret: ${LYNN_ACCESS_TOKEN_SECRET}\n", "")]),
    case("an unknown key of the vendor", &[("tenant:", "tennant:")]),
    case("an unknown key in a map", &[("tenant:", "retry: { attempts: 3 }\n    tenant:")]),
    case("a misspelt credential key", &[("access_token: ${LYNN_ACCESS_TOKEN}\n", "acess_token: hunter2\n")]),
    case("a credential that is a map", &[("access_token: ${LYNN_ACCESS_TOKEN}\n", "access_token: { a: hunter2 }\n")]),
    case(
        "a credential with a line break",
        &[("access_token: ${LYNN_ACCESS_TOKEN}\n", "access_token: \"hunter2\\nx\"\n")],
    ),
    case("an empty credential", &[("access_token: ${LYNN_ACCESS_TOKEN}\n", "access_token: \"\"\n")]),
    case("a tenant that is not a number", &[("4411", "acme")]),
    case("a tenant out of range", &[("4411", "-3")]),
    case("a number past every range", &[("4411", "99999999999999999999999")]),
    case("an unknown product", &[("tenant:", "product: permium\n    tenant:")]),
    case("premium without a key", &[("tenant:", "product: premium\n    subscription_key: ${NONE:-}\n    tenant:")]),
    case("a key without premium", &[("tenant:", "subscription_key: hunter2\n    tenant:")]),
    case("a base URL without scheme", &[("tenant:", "base_url: premium-production.lynn.cx\n    tenant:")]),
    case("a base URL with credentials", &[("tenant:", "base_url: https://u:hunter2@lynn.cx\n    tenant:")]),
    case("a base URL with a query", &[("tenant:", "base_url: https://lynn.cx/?a=1\n    tenant:")]),
    case(
        "invalid hosts",
        &[("tenant:", "allowed_hosts: [https://a.b, \"*.b.c\", a.b/c, a.b:0, \"\", ~, good.host]\n    tenant:")],
    ),
    case("a text for a list", &[("tenant:", "allowed_hosts: a.b\n    tenant:")]),
    case(
        "wrong paths",
        &[(
            "tenant:",
            "paths: { create_token: //evil.example/x, execute_report: \"/r/{tenant}/{id}\", other: /x }\n    tenant:",
        )],
    ),
    case(
        "a path without its report",
        &[("tenant:", "paths: { execute_report: \"/r/{tenant}\", create_token: /../x }\n    tenant:")],
    ),
    case(
        "wrong Lynn details",
        &[(
            "tenant:",
            "method: post\n    filter_timezone: santiago\n    date_format: \"%Y-%m-%d %I:%M:%S\"\n    \
             authorization_scheme: \"bearer x\"\n    page_size: 20000\n    probe_full_page: maybe\n    tenant:",
        )],
    ),
    case("a date format with a zone", &[("tenant:", "date_format: \"%Y-%m-%dT%H:%M:%S%z\"\n    tenant:")]),
    case(
        "wrong reports",
        &[(
            "tenant:",
            "reports:\n      survey_result: 00000000-0000-0000-0000-000000000000\n      contacts: 00000000-0000-0000-0000-000000000000\n      \
             My Report: abc\n      my_report: 00000000-0000-0000-0000-000000000000\n      \"--\": 00000000-0000-0000-0000-000000000000\n    tenant:",
        )],
    ),
    case("an unknown quota", &[("tenant:", "quotas: { request: { limit: 1, per: 4s } }\n    tenant:")]),
    case(
        "wrong quotas",
        &[(
            "tenant:",
            "quotas: { requests: { limit: 0, per: 0s }, period_bandwidth: { limit: 102400 }, period_calls: { limit: 5MB }, create_token: {} }\n    tenant:",
        )],
    ),
    case(
        "wrong retries",
        &[("tenant:", "retry: { max_attempts: 0, initial: 2m, max: 1m }\n    request_timeout: 0s\n    tenant:")],
    ),
    case("wrong durations", &[("tenant:", "request_timeout: 60\n    retry: { initial: -1s, max: 1.5s }\n    tenant:")]),
    case("a name with a space", &[("acme-lynn", "acme lynn")]),
];

const JOBS: &[Case] = &[
    case("an unknown key", &[("start:", "schedul: \"15 * * * *\"\n    start:")]),
    case("everything missing", &[("", "jobs:\n  lynn-hourly: {}\n")]),
    case("no start where a stream has windows", &[("    start: 2026-01-01\n", "")]),
    case("an unknown connection", &[("connection: acme-lynn", "connection: acme_lyn")]),
    case("no connections at all", &[("", "jobs: { a: { connection: b, streams: \"*\", start: 2026-01-01 } }\n")]),
    case("an unknown stream", &[("\"*\"", "[navigation_mark, banana, { name: survey }]")]),
    case("a stream twice", &[("\"*\"", "[show_error, show_error]")]),
    case("a star among streams", &[("\"*\"", "[\"*\", show_error]")]),
    case("no streams", &[("\"*\"", "[]")]),
    case("one stream without a list", &[("\"*\"", "show_error")]),
    case("empty and nameless streams", &[("\"*\"", "[~, { slice: 1d }, [show_error], show_error]")]),
    case("an unknown key of a stream", &[("\"*\"", "[{ name: show_error, lookbak: 1d, columns: all }]")]),
    case(
        "wrong keys of a stream",
        &[("\"*\"", "[{ name: navigation_marks, key: [sesion, session, session, ~] }, { name: show_error, key: [] }]")],
    ),
    case("too few fields", &[("start:", "schedule: \"15 * * *\"\n    start:")]),
    case("an impossible minute", &[("start:", "schedule: \"75 * * * *\"\n    start:")]),
    case("an empty item of a list", &[("start:", "schedule: \"0,,5 * * * *\"\n    start:")]),
    case("a comma at the end", &[("start:", "schedule: \"0 9, * * *\"\n    start:")]),
    case("an unknown nickname", &[("start:", "schedule: \"@reboot\"\n    start:")]),
    case("a schedule that never fires", &[("start:", "schedule: \"0 0 30 2 *\"\n    start:")]),
    case("a misspelt zone", &[("start:", "timezone: America/Santigo\n    start:")]),
    case("a zone of another kind", &[("start:", "timezone: GMT-03:00\n    start:")]),
    case("an unknown catch-up", &[("start:", "catch_up: last\n    start:")]),
    case("a start that is not a date", &[("2026-01-01", "2026-02-30")]),
    case("a start that is a duration", &[("2026-01-01", "30d")]),
    case("a start before any vendor existed", &[("2026-01-01", "0026-01-01")]),
    case("a slice that does not divide a day", &[("start:", "slice: 7h\n    start:")]),
    case("a slice of a day and a half", &[("start:", "slice: 1d12h\n    start:")]),
    case("a slice of zero", &[("start:", "slice: 0s\n    start:")]),
    case(
        "wrong windows",
        &[("start:", "slice: 400d\n    lookback: 400d\n    settle: -1m\n    timeout: 0s\n    start:")],
    ),
    case("a wrong priority and flag", &[("start:", "priority: high\n    paused: 1\n    start:")]),
    case(
        "two jobs with other slices",
        &[(
            "start: 2026-01-01\n",
            "start: 2026-01-01\n  more:\n    connection: acme-lynn\n    streams: [{ name: show_error, slice: 12h }]\n    start: 2026-01-01\n",
        )],
    ),
    case(
        "two jobs in other zones",
        &[(
            "start: 2026-01-01\n",
            "start: 2026-01-01\n  more:\n    connection: acme-lynn\n    streams: [show_error]\n    timezone: America/Santiago\n    start: 2026-01-01\n",
        )],
    ),
    case(
        "two jobs with other keys",
        &[(
            "start: 2026-01-01\n",
            "start: 2026-01-01\n  more:\n    connection: acme-lynn\n    streams: [{ name: show_error, key: [session] }]\n    start: 2026-01-01\n",
        )],
    ),
];

const REFERENCES: &[Case] = &[
    with_env("an empty variable", &[("LYNN_ACCESS_TOKEN", "")]),
    with_env("an empty override of the database", &[("TIDEGATE__DATABASE__URL", "")]),
    Case {
        title: "an empty variable for the database",
        changes: &[("connections:", "database: { url: \"${DATABASE_URL}\" }\nconnections:")],
        env: &[("DATABASE_URL", "")],
    },
    case(
        "an empty default for the database",
        &[("connections:", "database: { url: \"${DATABASE_URL:-}\" }\nconnections:")],
    ),
    case("a variable that is not set", &[("4411", "${LYNN_TENANT}")]),
    case("an unfinished reference", &[("access_token: ${LYNN_ACCESS_TOKEN}\n", "access_token: hunter2${\n")]),
    case("a reference to nothing", &[("4411", "${}")]),
    case("a missing file", &[("4411", "${file:/nonexistent/secret}")]),
    case("a relative file", &[("4411", "${file:secret}")]),
    case("a folder for a file", &[("4411", "${file:/}")]),
    Case { title: "a credential in the wrong place", changes: &[("4411", "${T}")], env: &[("T", "hunter2")] },
    with_env("an override of an unknown key", &[("TIDEGATE__WORKER__CONCURENCY", "2")]),
    with_env("an override of an unknown section", &[("TIDEGATE__WORKERS__LEASE", "2")]),
    with_env("an override of an unknown job", &[("TIDEGATE__JOBS__LYN_HOURLY__PAUSED", "true")]),
    with_env("an override with a wrong value", &[("TIDEGATE__WORKER__LEASE", "hunter2")]),
    with_env("an override of nothing", &[("TIDEGATE__", "x"), ("TIDEGATE__LOG____LEVEL", "x")]),
    with_env("an override below a value", &[("TIDEGATE__JOBS__LYNN_HOURLY__START__DAY", "1")]),
    with_env("an override of a section", &[("TIDEGATE__JOBS", "hunter2")]),
];

fn faults_of(case: &Case) -> String {
    let mut text = MINIMAL.to_owned();
    for (old, new) in case.changes {
        assert!(text.contains(old), "{}: {old} is not in the text", case.title);
        text = if old.is_empty() { (*new).to_owned() } else { text.replacen(old, new, 1) };
    }
    let mut env = credentials();
    env.extend(super::env(case.env));
    let faults = match load_texts(&[("config/jobs/lynn.yaml", &text)], &env) {
        Ok(_) => "(taken)".to_owned(),
        Err(faults) => faults.to_string(),
    };
    assert!(!faults.contains("hunter2"), "{}: {faults}", case.title);
    faults
}

fn table(cases: &[Case]) -> String {
    let mut text = String::new();
    for case in cases {
        writeln!(text, "## {}\n{}\n", case.title, faults_of(case)).unwrap();
    }
    text
}

#[test]
fn p9_wrong_yaml_is_refused() {
    insta::assert_snapshot!(table(YAML));
}

#[test]
fn p9_wrong_sections_are_refused() {
    insta::assert_snapshot!(table(SECTIONS));
}

#[test]
fn p9_wrong_connections_are_refused() {
    insta::assert_snapshot!(table(CONNECTIONS));
}

#[test]
fn p9_wrong_jobs_are_refused() {
    insta::assert_snapshot!(table(JOBS));
}

#[test]
fn p9_wrong_references_and_overrides_are_refused() {
    insta::assert_snapshot!(table(REFERENCES));
}

#[test]
fn p9_a_name_in_two_files_names_both_places() {
    let files = [("config/tidegate.yaml", "log: { level: info }\n"), ("config/jobs/a.yaml", MINIMAL)];
    let more = format!("log: {{ level: debug }}\n{MINIMAL}");
    let faults = load_texts(&[files[0], files[1], ("config/jobs/b.yaml", &more)], &credentials()).unwrap_err();
    insta::assert_snapshot!(faults, @r"
    config/jobs/b.yaml:1: log.level: defined twice; config/tidegate.yaml:1 has it already: keep one
    config/jobs/b.yaml:3: connections.acme-lynn: defined twice; config/jobs/a.yaml:2 has it already: keep one
    config/jobs/b.yaml:9: jobs.lynn-hourly: defined twice; config/jobs/a.yaml:8 has it already: keep one
    ");
}

#[test]
fn p9_hostile_files_are_bounded() {
    let laughs: String = (0..30)
        .map(|n| match n {
            0 => "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(),
            n => format!("l{n}: &l{n} [{}]\n", vec![format!("*l{}", n - 1); 10].join(", ")),
        })
        .collect();
    let deep = "- ".repeat(200_000);
    let flow = "[".repeat(10_000);
    let mut many = String::new();
    for n in 0..500 {
        writeln!(many, "k{n}: 1").unwrap();
    }
    let long = "x".repeat(500_000);
    let copies = format!("a: &a {long}\nb: [{}*a]\n", "*a, ".repeat(50_000));
    let names = format!("a: &a {{ {long}: 1 }}\nb: [{}*a]\n", "*a, ".repeat(50_000));
    for (name, text, start) in [
        ("aliases", laughs.as_str(), "bad.yaml:5: l4[7]: holds more than 100000 values"),
        ("copies", &copies, "bad.yaml:2: b[8]: holds more than 4194304 bytes"),
        ("copies of names", &names, "bad.yaml:2: b[8]: holds more than 4194304 bytes"),
        ("blocks", &deep, "bad.yaml:1: nests deeper than 32 levels"),
        ("brackets", &flow, "bad.yaml:1: is not valid YAML: recursion limit exceeded"),
        ("keys", &many, "bad.yaml:1: k0: unknown key"),
    ] {
        let faults = load_texts(&[("bad.yaml", text)], &BTreeMap::new()).unwrap_err();
        assert!(faults.to_string().starts_with(start), "{name}: {faults}");
        assert!(faults.len() <= 201, "{name}");
    }
}

#[test]
fn p9_a_folder_that_appears_to_be_read_but_is_not_causes_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in [
        ("job", "j.yaml"),
        ("Jobs.old", "j.yml"),
        ("connection", "c.yaml"),
        ("jobs", "a.yaml"),
        ("jbos", "notes.txt"),
        ("demo", "d.yaml"),
        (".job", "h.yaml"),
    ] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join(file), "jobs: {}\n").unwrap();
    }
    let config = Config::load(folder.path(), &BTreeMap::new()).unwrap();
    let unread: Vec<&str> = config.unread.iter().filter_map(|warning| warning.split('`').nth(1)).collect();
    let expected = ["Jobs.old", "connection", "job"].map(|name| folder.path().join(name).display().to_string());
    assert_eq!(unread, expected);
    assert_eq!(config.warnings(chrono::Utc::now()), config.unread);
}

#[test]
fn p9_unreadable_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let jobs = root.join("config/jobs");
    std::fs::create_dir_all(&jobs).unwrap();
    std::fs::create_dir(root.join("empty")).unwrap();
    std::fs::create_dir(jobs.join("folder.yaml")).unwrap();
    std::fs::write(root.join("config/tidegate.yml"), "").unwrap();
    std::fs::write(jobs.join("a.yaml"), b"jobs:\n  a: \xff\xfe\n").unwrap();
    std::fs::write(jobs.join("b.yaml"), "# \n".repeat(400_000)).unwrap();
    std::fs::write(jobs.join("c.yml"), "jobs: {}\n").unwrap();
    std::fs::write(jobs.join("d.yaml"), "jobs: [\n").unwrap();
    std::fs::write(jobs.join("E.YAML"), "jobs: {}\n").unwrap();
    std::fs::create_dir(jobs.join("sub")).unwrap();
    std::fs::write(jobs.join("sub/k.yaml"), "jobs: {}\n").unwrap();
    std::fs::write(root.join("config/lynn.yaml"), "jobs: {}\n").unwrap();
    symlink("nowhere", root.join("config/tidegate.yaml")).unwrap();
    std::fs::create_dir(root.join("links")).unwrap();
    symlink("nowhere", root.join("links/jobs")).unwrap();
    std::fs::create_dir(root.join("file")).unwrap();
    std::fs::write(root.join("file/jobs"), "jobs: {}\n").unwrap();
    let mut text = String::new();
    for path in ["none", "none.yaml", "empty", "config", "config/jobs/a.yaml", "links", "file"] {
        let faults = Config::load(&root.join(path), &BTreeMap::new()).unwrap_err();
        let faults = faults.to_string().replace(root.to_str().unwrap(), "…");
        writeln!(text, "## {path}\n{faults}\n").unwrap();
    }
    insta::assert_snapshot!(text);
}
