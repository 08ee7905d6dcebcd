//! Promise 9: a wrong configuration is refused with file, line, key and what to write instead.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::secret::Secret;
use crate::settings::{SourceFile, keys_of};

mod auth;
mod csv;
mod database;
mod fuzz;
mod jaicp;
mod khoros;
mod lexer;
mod lynn_outbound;
mod mart;
mod notify;
mod refused;
mod sharing;
mod types;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Texts as files with these names.
fn sources(files: &[(&str, &str)]) -> Vec<SourceFile> {
    let source = |(order, (name, text)): (usize, &(&str, &str))| SourceFile::new(order, name, (*text).to_owned());
    files.iter().enumerate().map(source).collect()
}

/// Loads texts as files with these names.
fn load_texts(files: &[(&str, &str)], env: &BTreeMap<String, String>) -> Result<Config, Faults> {
    Config::from_sources(sources(files), env, connector::ALL, Shared::default(), Faults::default())
}

/// Names and contents.
type Files<'a> = &'a [(&'a str, &'a str)];

#[test]
fn despite_faults_the_database_is_known_unless_it_depends_on_one() {
    const DATABASE: &str = "database: { url: \"postgres://u:s3cret@db/x\" }\n";
    let wrong_job = format!("{DATABASE}{}", MINIMAL.replace("2026-01-01", "2026-13-01"));
    let wrong_connection = format!("{DATABASE}{}", MINIMAL.replace("vendor: lynn_reporting", "vendor: lin"));
    let wrong_database = format!("database: {{ hots: db }}\n{MINIMAL}");
    let cases: [(Files<'_>, Option<usize>); 5] = [
        (&[("tidegate.yaml", wrong_job.as_str())], Some(1)),
        (&[("tidegate.yaml", wrong_connection.as_str())], Some(0)),
        (&[("tidegate.yaml", DATABASE), ("jobs/a.yaml", MINIMAL), ("jobs/b.yaml", "jobs: [\n")], Some(1)),
        (&[("tidegate.yaml", "database: [\n"), ("jobs/a.yaml", MINIMAL)], None),
        (&[("tidegate.yaml", wrong_database.as_str())], None),
    ];
    for (files, connections) in cases {
        let (config, faults) = Config::despite_faults(
            sources(files),
            &credentials(),
            connector::ALL,
            Shared::default(),
            Faults::default(),
        );
        assert!(!faults.is_empty(), "{files:?}");
        assert_eq!(config.as_ref().map(|config| config.connections.len()), connections, "{files:?}: {faults}");
        assert!(config.is_none_or(|config| config.jobs.is_empty()), "the jobs in force are other ones");
        assert!(load_texts(files, &credentials()).is_err(), "{files:?}");
    }
}

/// The minimal connection and job.
const MINIMAL: &str = "\
connections:
  acme-lynn:
    vendor: lynn_reporting
    tenant: 4411
    access_token: ${LYNN_ACCESS_TOKEN}
    access_token_secret: ${LYNN_ACCESS_TOKEN_SECRET}
jobs:
  lynn-hourly:
    connection: acme-lynn
    streams: \"*\"
    start: 2026-01-01
";

fn credentials() -> BTreeMap<String, String> {
    env(&[("LYNN_ACCESS_TOKEN", "7c01d94ab3e2f5"), ("LYNN_ACCESS_TOKEN_SECRET", "0b6f2f4e-hunter2")])
}

fn minimal_with(overrides: &[(&str, &str)]) -> Result<Config, Faults> {
    let mut env = credentials();
    env.extend(self::env(overrides));
    load_texts(&[("tidegate.yaml", MINIMAL)], &env)
}

fn lynn(config: &Config) -> &connector::lynn::Settings {
    config.connections["acme-lynn"].settings.downcast().unwrap()
}

/// The keys of a vendor's connection and of its `sections`.
fn connection_keys(vendor: &str, sections: &[&str]) -> Vec<String> {
    let schema = json_schema();
    let cases = schema["properties"]["connections"]["additionalProperties"]["allOf"].as_array().unwrap();
    let case = cases.iter().find(|case| case["if"]["properties"]["vendor"]["const"] == vendor).unwrap();
    let keys = |schema: &serde_json::Value| -> Vec<String> {
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let own = &case["then"];
    sections.iter().flat_map(|section| keys(&own["properties"][section])).chain(keys(own)).collect()
}

#[test]
fn p9_the_commented_sample_is_the_defaults() {
    let files = [
        ("tidegate.yaml", include_str!("../../../config/tidegate.yaml")),
        ("jobs/lynn.yaml", include_str!("../../../config/jobs/lynn.yaml")),
    ];
    let mut sample = load_texts(&files, &credentials()).unwrap();
    let minimal = minimal_with(&[]).unwrap();
    // The only key of the sample without a default.
    assert_eq!(sample.jobs["lynn-hourly"].schedule.as_ref().map(Schedule::expression), Some("15 * * * *"));
    sample.jobs.get_mut("lynn-hourly").unwrap().schedule = None;
    assert_eq!(format!("{sample:#?}"), format!("{minimal:#?}"));
}

#[test]
fn p9_the_sample_names_every_key() {
    let mut missing = String::new();
    let text = concat!(include_str!("../../../config/tidegate.yaml"), include_str!("../../../config/jobs/lynn.yaml"));
    let sections = [
        keys_of::<raw::Root>(),
        keys_of::<raw::Database>(),
        keys_of::<raw::Embedded>(),
        keys_of::<raw::Server>(),
        keys_of::<raw::Notify>(),
        keys_of::<raw::Worker>(),
        keys_of::<raw::History>(),
        keys_of::<raw::Log>(),
        keys_of::<raw::Job>(),
    ];
    let own = connection_keys("lynn_reporting", &["retry", "paths"]);
    let keys = sections.into_iter().flatten().copied().chain(own.iter().map(String::as_str));
    for key in keys.filter(|key| *key != "push" && !text.contains(&format!("{key}:"))) {
        writeln!(missing, "{key}").unwrap();
    }
    assert_eq!(missing, "");
}

#[test]
fn the_committed_schema_is_current() {
    let mut schema = Vec::new();
    crate::commands::schema::run(&mut schema, &crate::commands::SchemaArgs { api: false }).unwrap();
    let committed =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/config/tidegate.schema.json")).unwrap_or_default();
    assert!(committed == schema, "write the output of `tidegate schema` to config/tidegate.schema.json");
}

/// Adds `key: default` lines for every default that the schema states.
fn write_defaults(schema: &serde_json::Value, indent: usize, text: &mut String) {
    let Some(properties) = schema["properties"].as_object() else { return };
    for (key, schema) in properties {
        let pad = " ".repeat(indent);
        if let Some(default) = schema.get("default") {
            writeln!(text, "{pad}{key}: {default}").unwrap();
        } else if schema["properties"].is_object() {
            writeln!(text, "{pad}{key}:").unwrap();
            write_defaults(schema, indent + 2, text);
        }
    }
}

#[test]
fn the_defaults_that_the_schema_states_are_the_real_ones() {
    let mut schema = json_schema();
    let (sections, jobs) = MINIMAL.split_once("jobs:\n").unwrap();
    let mut text = sections.to_owned();
    write_defaults(&schema["properties"]["connections"]["additionalProperties"]["allOf"][0]["then"], 4, &mut text);
    text.push_str("jobs:\n");
    text.push_str(jobs);
    // The keys of `push` do not apply to a job that reads.
    schema["properties"]["jobs"]["additionalProperties"]["properties"].as_object_mut().unwrap().remove("push");
    write_defaults(&schema["properties"]["jobs"]["additionalProperties"], 4, &mut text);
    for section in ["connections", "jobs"] {
        schema["properties"].as_object_mut().unwrap().remove(section);
    }
    write_defaults(&schema, 0, &mut text);
    assert!(text.lines().count() > 40, "{text}");
    let stated = load_texts(&[("tidegate.yaml", &text)], &credentials()).unwrap();
    assert_eq!(format!("{stated:#?}"), format!("{:#?}", minimal_with(&[]).unwrap()));
}

#[test]
fn p9_a_file_that_is_empty_is_refused_wherever_it_is() {
    for text in ["", "\n", " \r\n\t\n", "\u{feff}"] {
        for (empty, files) in [
            ("tidegate.yaml", [("tidegate.yaml", text), ("jobs/a.yaml", MINIMAL)]),
            ("jobs/a.yaml", [("tidegate.yaml", MINIMAL), ("jobs/a.yaml", text)]),
        ] {
            let faults = load_texts(&files, &credentials()).unwrap_err().to_string();
            assert!(faults.starts_with(&format!("{empty}: is empty; restore what it held")), "{text:?}: {faults}");
        }
    }
}

#[test]
fn an_empty_file_is_a_configuration_of_defaults() {
    for text in ["# nothing\n", "---\n", "log:\njobs: {}\nconnections: ~\n"] {
        let config = load_texts(&[("tidegate.yaml", text)], &BTreeMap::new()).unwrap();
        assert!(config.jobs.is_empty() && config.connections.is_empty());
        assert!(config.database.target.is_embedded());
    }
}

#[test]
fn maps_of_several_files_are_merged() {
    let (connections, jobs) = MINIMAL.split_once("jobs:").unwrap();
    let files = [
        ("config/tidegate.yaml", "log: { level: debug }\n"),
        ("config/jobs/a.yaml", connections),
        ("config/jobs/b.yaml", &format!("log: {{ format: json }}\njobs:{jobs}")),
    ];
    let config = load_texts(&files, &credentials()).unwrap();
    assert_eq!((config.log.level.as_str(), config.log.format), ("debug", LogFormat::Json));
    assert_eq!(config.jobs["lynn-hourly"].streams.len(), 8);
}

#[test]
fn a_folder_is_read_in_order_and_hidden_files_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = folder.path().join("jobs");
    std::fs::create_dir(&jobs).unwrap();
    std::fs::write(jobs.join("lynn.yaml"), MINIMAL).unwrap();
    std::fs::write(jobs.join(".lynn.yaml"), MINIMAL).unwrap();
    std::fs::write(jobs.join("README.md"), "not: [read").unwrap();
    let config = Config::load(folder.path(), &credentials()).unwrap();
    assert_eq!(config.jobs.len(), 1);
    let config = Config::load(&jobs.join("lynn.yaml"), &credentials()).unwrap();
    assert_eq!(config.connections.len(), 1);
}

#[test]
fn a_config_map_of_kubernetes_is_read_through_its_links() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let version = folder.path().join("..2026_01_01");
    std::fs::create_dir_all(version.join("jobs/.sub")).unwrap();
    std::fs::write(version.join("tidegate.yaml"), "log: { format: json }\n").unwrap();
    std::fs::write(version.join("jobs/lynn.yaml"), MINIMAL).unwrap();
    std::fs::write(version.join("jobs/.sub/old.yaml"), MINIMAL).unwrap();
    symlink("..2026_01_01", folder.path().join("..data")).unwrap();
    symlink("..data/tidegate.yaml", folder.path().join("tidegate.yaml")).unwrap();
    symlink("..data/jobs", folder.path().join("jobs")).unwrap();
    let config = Config::load(folder.path(), &credentials()).unwrap();
    assert_eq!((config.jobs.len(), config.log.format), (1, LogFormat::Json));
}

#[test]
fn the_environment_overrides_any_setting() {
    let config = minimal_with(&[
        ("TIDEGATE__WORKER__CONCURRENCY", "2"),
        ("TIDEGATE__CONNECTIONS__ACME_LYNN__TENANT", "17"),
        ("TIDEGATE__CONNECTIONS__ACME_LYNN__ACCESS_TOKEN", "literal ${VALUE}"),
        ("TIDEGATE__CONNECTIONS__ACME_LYNN__ALLOWED_HOSTS", "Files.Example:8443, [::1]"),
        ("TIDEGATE__CONNECTIONS__ACME_LYNN__QUOTAS__REQUESTS__LIMIT", "2"),
        ("tidegate__jobs__lynn_hourly__streams", "survey_result,show_error"),
        ("TIDEGATE__JOBS__LYNN_HOURLY__PAUSED", "true"),
        ("TIDEGATE_CONFIG", "elsewhere"),
    ])
    .unwrap();
    assert_eq!(config.worker.concurrency, 2);
    let connection = &config.connections["acme-lynn"];
    assert_eq!(connection.allowed_hosts, ["files.example:8443", "[::1]"]);
    assert_eq!((connection.limits[1].amount, connection.limits[1].per), (2, Duration::from_secs(4)));
    assert_eq!((lynn(&config).account.tenant, lynn(&config).account.access_token.expose()), (17, "literal ${VALUE}"));
    let job = &config.jobs["lynn-hourly"];
    assert!(job.paused);
    assert_eq!(job.streams.iter().map(|s| &*s.stream.name).collect::<Vec<_>>(), ["survey_result", "show_error"]);
}

#[test]
fn an_override_replaces_an_unresolvable_reference() {
    let mut env = credentials();
    env.remove("LYNN_ACCESS_TOKEN");
    env.insert("TIDEGATE__CONNECTIONS__ACME_LYNN__ACCESS_TOKEN".to_owned(), "given".to_owned());
    let config = load_texts(&[("tidegate.yaml", MINIMAL)], &env).unwrap();
    assert_eq!(lynn(&config).account.access_token.expose(), "given");
}

#[test]
fn a_credential_that_looks_like_a_number_stays_as_written() {
    let text = MINIMAL
        .replace("4411", "\"4411\"")
        .replace("${LYNN_ACCESS_TOKEN}", "00123")
        .replace("${LYNN_ACCESS_TOKEN_SECRET}", "${NULL}");
    let config = load_texts(&[("tidegate.yaml", &text)], &env(&[("NULL", "null")])).unwrap();
    let lynn = &lynn(&config).account;
    assert_eq!((lynn.tenant, lynn.access_token.expose(), lynn.access_token_secret.expose()), (4411, "00123", "null"));
}

#[test]
fn lists_and_maps_from_aliases_keep_working() {
    let text = MINIMAL.replace("streams: \"*\"", "streams: &all [navigation_marks]");
    let text = format!("{text}  other:\n    connection: acme-lynn\n    streams: *all\n    start: 2026-01-01\n");
    assert_eq!(load_texts(&[("tidegate.yaml", &text)], &credentials()).unwrap().jobs.len(), 2);
}

#[test]
fn a_stream_has_its_own_settings_or_those_of_its_job() {
    let text = MINIMAL.replace(
        "streams: \"*\"",
        "streams: [survey_result, {name: show_error, slice: 7d, lookback: 0s, key: [POST_ID, markName], columns: extra}, \
         My Report]\n    slice: 6h\n    lookback: 2d",
    );
    let text =
        text.replace("tenant: 4411", "tenant: 4411\n    reports: {My Report: 00000000-0000-0000-0000-000000000000}");
    let config = load_texts(&[("tidegate.yaml", &text)], &credentials()).unwrap();
    let [survey, error, mine] = config.jobs["lynn-hourly"].streams.as_slice() else { panic!("three streams") };
    assert_eq!((survey.slice, survey.lookback), (SliceLength::Time(Duration::from_hours(6)), Duration::from_hours(48)));
    assert_eq!(survey.new_fields, NewFields::Add);
    assert_eq!((error.slice, error.lookback), (SliceLength::Days(7), Duration::ZERO));
    assert_eq!(error.new_fields, NewFields::Extra);
    assert_eq!(error.stream.key, crate::catalogue::Key::Fields(vec!["POST_ID".into(), "markName".into()]));
    assert_eq!(mine.stream.name, "my_report");
}

#[test]
fn premium_has_its_own_key_and_quotas() {
    let config = minimal_with(&[
        ("TIDEGATE__CONNECTIONS__ACME_LYNN__PRODUCT", "premium"),
        ("TIDEGATE__CONNECTIONS__ACME_LYNN__SUBSCRIPTION_KEY", "k3y"),
        ("TIDEGATE__CONNECTIONS__ACME_LYNN__BASE_URL", "http://127.0.0.1:9000/lynn/"),
    ])
    .unwrap();
    let connection = &config.connections["acme-lynn"];
    assert_eq!(connection.limits[3].amount, 997_200_000);
    assert_eq!(connection.base_url.as_str(), "http://127.0.0.1:9000/lynn");
    assert_eq!(lynn(&config).account.subscription_key.as_ref().map(Secret::expose), Some("k3y"));
}

#[test]
fn p7_no_fault_or_debug_output_shows_a_credential() {
    let config = minimal_with(&[("TIDEGATE__DATABASE__URL", "postgres://u:hunter2@db/x")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    // Every setting in turn gets an invalid value that contains a secret.
    let schema = json_schema();
    for section in ["database", "embedded", "server", "worker", "log"] {
        for key in schema["properties"][section]["properties"].as_object().unwrap().keys() {
            let name = format!("TIDEGATE__{section}__{key}").to_uppercase();
            if let Err(faults) = minimal_with(&[(&name, "hunter2\n:/@")]) {
                assert!(!faults.to_string().contains("hunter2"), "{faults}");
            }
        }
    }
    let connection = &schema["properties"]["connections"]["additionalProperties"]["allOf"][0]["then"]["properties"];
    for key in connection.as_object().unwrap().keys() {
        for value in ["hunter2\n:/@", "[hunter2]", "{a: hunter2}"] {
            let name = format!("TIDEGATE__connections__acme_lynn__{key}").to_uppercase();
            if let Err(faults) = minimal_with(&[(&name, value)]) {
                assert!(!faults.to_string().contains("hunter2"), "{faults}");
            }
        }
    }
}

#[test]
fn p7_a_credential_where_streams_should_be_is_not_shown() {
    let text = MINIMAL.replacen("streams: \"*\"", "streams: ${LYNN_ACCESS_TOKEN}", 1);
    let faults = load_texts(&[("tidegate.yaml", &text)], &credentials()).unwrap_err().to_string();
    assert!(faults.contains("is not a list of streams") && !faults.contains("7c01d94ab3e2f5"), "{faults}");
}

#[test]
fn p7_a_fault_that_names_another_job_cannot_control_a_terminal() {
    let other = MINIMAL[MINIMAL.find("jobs:").unwrap()..].replacen("lynn-hourly:", "\"\\e[2J\\u202elynn\":", 1)
        + "    timezone: America/Santiago\n";
    let texts = [("tidegate.yaml", MINIMAL), ("jobs/a.yaml", &*other)];
    let faults = load_texts(&texts, &credentials()).unwrap_err().to_string();
    assert!(faults.contains(r"the job `\u{1b}[2J\u{202e}lynn` reads"), "{faults}");
    assert!(!faults.contains(|c| c != '\n' && crate::text::steers(c)), "{faults:?}");
}

#[test]
fn p7_no_name_in_the_configuration_can_affect_metrics_pages_or_paths() {
    for name in ["a\"} 1", "a\nb", "a b", "../a", "a/b", "a\\", "a<b>", "\u{202e}a", "a\u{1b}", ".", ""] {
        let quoted = serde_json::Value::from(name).to_string();
        for old in ["acme-lynn:", "lynn-hourly:"] {
            let text = MINIMAL.replacen(old, &format!("{quoted}:"), 1);
            let faults = load_texts(&[("tidegate.yaml", &text)], &credentials()).unwrap_err().to_string();
            assert!(faults.contains("a name has letters, digits"), "{quoted}: {faults}");
        }
    }
}

#[test]
fn p7_an_extra_report_is_a_plain_table_and_its_id_a_guid() {
    let with = |name: &str, id: &str| {
        let report = format!("    reports: {{ {}: \"{id}\" }}\njobs:", serde_json::Value::from(name));
        load_texts(&[("tidegate.yaml", &MINIMAL.replacen("jobs:", &report, 1))], &credentials())
    };
    let guid = "0B6F2F4E-0000-4000-8000-000000000000";
    for (name, table) in
        [("../../etc/passwd", "etc_passwd"), ("a\"; drop table x --", "a_drop_table_x"), ("pg.Class", "pg_class")]
    {
        let config = with(name, guid).unwrap();
        assert_eq!(config.connections["acme-lynn"].streams.last().unwrap().name, table);
    }
    for id in ["../../CreateToken/1", "00000000-0000-0000-0000-00000000000/", "%2e%2e", "x?y=z#"] {
        assert!(with("mine", id).unwrap_err().to_string().contains("is not a report id"), "{id}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn p9_arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let _ = load_texts(&[("tidegate.yaml", &text)], &BTreeMap::new());
    }

    #[test]
    fn p9_arbitrary_yaml_like_text_never_panics(text in "([a-z*&!@%|>~#'\"{}\\[\\],:?$-]|\n|  |: |- |\t|&a |\\*a ){0,120}") {
        let _ = load_texts(&[("tidegate.yaml", &text)], &BTreeMap::new());
    }

    #[test]
    fn p9_any_value_for_any_key_is_accepted_or_refused(
        line in 0..11_usize,
        value in prop_oneof!["\\PC{0,12}", "[0-9]{1,24}(ms|s|m|h|d|kB)?", "\\[[a-z*, ]{0,8}\\]", "\\{[a-z: ]{0,8}\\}"],
    ) {
        let text: String = MINIMAL
            .lines()
            .enumerate()
            .map(|(index, written)| {
                let key = written.split(':').next().unwrap_or_default();
                if index == line { format!("{key}: {value}\n") } else { format!("{written}\n") }
            })
            .collect();
        if let Err(faults) = load_texts(&[("tidegate.yaml", &text)], &credentials()) {
            prop_assert!(!faults.is_empty());
        }
    }
}

/// Keys that users rely on (docs/configuration.md): this text must be accepted as it stands.
const CONTRACT: &str = r#"
database:
  url: ${DATABASE_URL}          # without `url` and the parts: a private embedded Postgres
  max_connections: 8
embedded:
  data_dir: ./data/postgres     # where the embedded Postgres keeps its cluster
server:
  listen: 127.0.0.1:8080        # status page, /metrics, /healthz, /readyz
worker:
  concurrency: 4                # runs at a time in this process
  lease: 60s                    # a run whose worker is silent for this long is taken over
log: { format: pretty, level: info }     # pretty | json

connections:
  acme-lynn:
    vendor: lynn_reporting
    base_url: https://premium-production.lynn.cx      # every vendor's default can be replaced
    tenant: 4411
    access_token: ${LYNN_ACCESS_TOKEN}
    access_token_secret: ${LYNN_ACCESS_TOKEN_SECRET}
    product: basic                # basic | premium
    subscription_key: ${LYNN_SUBSCRIPTION_KEY:-}      # premium only
    paths: { execute_report: "/api/LynnReporting/ExecuteReport/{tenant}/{report_id}" }   # unconfirmed paths are settings
    reports: { my_report: 00000000-0000-0000-0000-000000000000 }   # extra reports become extra streams
    quotas:                       # override a documented limit by its name
      requests: { limit: 1, per: 4s }
    allowed_hosts: []             # `host` or `host:port`, exact: further hosts that vendor-supplied URLs may point to
    request_timeout: 60s
    retry: { max_attempts: 5, initial: 1s, max: 60s }
jobs:
  lynn-hourly:
    connection: acme-lynn
    streams: [navigation_marks, survey_result]     # or "*" (all but those off by default)
    schedule: "15 * * * *"        # 5 or 6 fields, or @hourly …
    timezone: America/Santiago    # IANA name; default UTC
    catch_up: latest              # latest | all | none
    start: 2026-01-01             # first slice of the first run
    slice: 1d                     # grid of the windows
    lookback: 1d                  # finished slices this far behind are read again
    settle: 10m                   # never read closer to now than this
    priority: 0                   # higher goes first when a quota is scarce
    timeout: 6h
    paused: false                 # `sync` without names leaves paused jobs out; named, it runs them
"#;

#[test]
fn the_example_of_the_contract_is_accepted() {
    let mut env = credentials();
    env.insert(
        "DATABASE_URL".to_owned(),
        "postgres://tidegate:p%40ss@db.example:5432/warehouse?sslmode=require".to_owned(),
    );
    let config = load_texts(&[("tidegate.yaml", CONTRACT)], &env).unwrap();
    assert!(matches!(config.database.target, DatabaseTarget::Url(_)));
    assert_eq!(config.connections["acme-lynn"].streams.len(), 9);
    let job = &config.jobs["lynn-hourly"];
    assert_eq!((job.timezone, job.streams.len()), (chrono_tz::America::Santiago, 2));
    assert_eq!(job.streams[0].new_fields, NewFields::Extra, "navigation_marks is documented");
    assert_eq!(job.streams[1].new_fields, NewFields::Add, "survey_result is not");
}

#[test]
fn p2_different_limits_of_one_credential_cause_a_warning() {
    let other =
        MINIMAL[..MINIMAL.find("jobs:").unwrap()].replacen("connections:\n", "", 1).replacen("acme", "other", 1);
    let with = |limit: &str| {
        let text = MINIMAL.replacen(
            "jobs:",
            &format!("{other}    quotas: {{ requests: {{ limit: {limit}, per: 4s }} }}\njobs:"),
            1,
        );
        load_texts(&[("tidegate.yaml", &text)], &credentials()).unwrap().warnings(chrono::Utc::now())
    };
    let shown = |limit: &str| {
        let text = MINIMAL.replacen(
            "jobs:",
            &format!("{other}    quotas: {{ requests: {{ limit: {limit}, per: 9s }} }}\njobs:"),
            1,
        );
        let config = load_texts(&[("tidegate.yaml", &text)], &credentials()).unwrap();
        let limits = config.connections.values().map(|connection| connection.limits_among(config.connections.values()));
        let requests = limits.flatten().filter(|limit| limit.name == "requests");
        requests.map(|limit| (limit.amount, limit.per.as_secs())).collect::<Vec<_>>()
    };
    assert_eq!(shown("2"), [(1, 9), (1, 9)], "the smaller amount within the longer period");
    let warnings = with("2");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("connections `acme-lynn` and `other-lynn` share a credential"), "{warnings:?}");
    assert_eq!(with("1"), Vec::<String>::new());
}
