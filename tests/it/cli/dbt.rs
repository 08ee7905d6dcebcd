//! `tidegate streams --dbt`: the sources of a dbt project.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use sqlx::AssertSqlSafe;
use tidegate::mart::{Settings, Views};

use super::shell::Shell;
use crate::support::TestDatabase;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/dbt/models/sources.yml");

/// Two connections with reports of hostile names, and jobs of several schedules.
const HOSTILE: &str = r#"
connections:
  acme:
    vendor: lynn_reporting
    tenant: 1
    access_token: abcdefghij
    access_token_secret: ghijklmnop
    reports:
      "a \"b\": {{ env_var('HOME') }} {% if %} {# c #} {{{ \n # x 'y' \\": 00000000-0000-0000-0000-000000000000
      "null": 00000000-0000-0000-0000-000000000001
      "Año {{ 1/0 }} \u202e\0": 00000000-0000-0000-0000-000000000002
      "select": 00000000-0000-0000-0000-000000000003
  other:
    vendor: lynn_reporting
    tenant: 2
    access_token: abcdefghij
    access_token_secret: ghijklmnop
    reports: { paused: 00000000-0000-0000-0000-000000000009 }
jobs:
  weekdays: { connection: acme, streams: ["null", survey_result, show_error], schedule: "0 3 * * MON-FRI", start: 2026-01-01 }
  often: { connection: acme, streams: [survey_result], schedule: "*/10 * * * *", start: 2026-01-01 }
  weekly: { connection: other, streams: [survey_result], schedule: "@weekly", start: 2026-01-01 }
  paused: { connection: other, streams: [paused], schedule: "@weekly", start: 2026-01-01, paused: true }
  by-hand: { connection: other, streams: [menu_detail], start: 2026-01-01 }
"#;

/// A document, by the lines that this command writes.
#[derive(Debug, Default)]
struct Sources {
    /// By `schema.table`: the columns in their order, and those that have tests.
    tables: BTreeMap<String, (Vec<String>, Vec<String>)>,
    loaded_at: Vec<String>,
}

impl Sources {
    fn read(text: &str) -> Self {
        let (mut sources, mut schema, mut table) = (Self::default(), String::new(), String::new());
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("  - name: ") {
                name.clone_into(&mut schema);
            } else if let Some(name) = line.strip_prefix("      - name: ") {
                table = format!("{schema}.{}", name.trim_matches('"'));
                sources.tables.entry(table.clone()).or_default();
            } else if let Some(name) = line.strip_prefix("          - name: ") {
                sources.tables.get_mut(&table).unwrap().0.push(name.trim_matches('"').to_owned());
            } else if line.starts_with("            data_tests: ") {
                let (columns, tested) = sources.tables.get_mut(&table).unwrap();
                tested.push(columns.last().unwrap().clone());
            } else if let Some(expression) = line.strip_prefix("        loaded_at_field: ") {
                sources.loaded_at.push(expression.trim_matches('"').to_owned());
            }
        }
        sources
    }
}

/// The configuration of the demo, with addresses and credentials that do not matter here.
fn demo() -> Shell {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo");
    let mut text = String::new();
    let (mut connections, mut jobs) = (String::new(), String::new());
    let mut shell = Shell::without_credentials();
    let mut names: Vec<_> = fs::read_dir(samples).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let sample = fs::read_to_string(path).unwrap();
        let (before, after) = sample.split_once("\njobs:\n").unwrap();
        connections.push_str(before.split_once("connections:\n").unwrap().1);
        connections.push('\n');
        jobs.push_str(after);
        jobs.push('\n');
        for part in sample.split("${").skip(1) {
            let name = part.split('}').next().unwrap();
            let value = match name {
                _ if name.ends_with("_URL") => "http://127.0.0.1:9",
                "DEMO_FILES_HOST" => "127.0.0.1:9",
                "DEMO_START" => "2026-01-01",
                _ if name.ends_with("_TENANT") => "4411",
                _ => "0b7f3a52-hunter2",
            };
            shell = shell.with(name, value);
        }
    }
    write!(text, "connections:\n{connections}\njobs:\n{jobs}").unwrap();
    shell.write_config(&text);
    shell
}

/// `INSTA_UPDATE=always` writes the file again, as it does with snapshots.
#[tokio::test]
async fn the_sources_in_the_dbt_package_are_those_of_the_demo() {
    let printed = demo().run(&["streams", "--dbt"]).await.expect(0);
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(SHIPPED, &printed.stdout).unwrap();
    }
    let shipped = fs::read_to_string(SHIPPED).unwrap();
    assert!(
        printed.stdout == shipped,
        "run this test with INSTA_UPDATE=always and commit deploy/dbt/models/sources.yml"
    );
    assert!(!shipped.contains("hunter2") && !shipped.contains("127.0.0.1"));
}

#[tokio::test]
async fn p7_hostile_names_stay_text_in_the_sources_and_schedules_decide_what_is_late() {
    let shell = Shell::without_credentials();
    shell.write_config(HOSTILE);
    let printed = shell.run(&["streams", "lynn_reporting", "--dbt"]).await.expect(0).stdout;
    let same = shell.run(&["streams", "--dbt"]).await.expect(0).stdout;
    assert!(same.contains("  - name: mart\n") && !printed.contains("  - name: mart\n"));
    insta::assert_snapshot!(printed);
}

#[tokio::test]
async fn without_jobs_every_table_is_expected_once_a_day() {
    let shell = Shell::without_credentials();
    let without = shell.run(&["streams", "--dbt"]).await.expect(0).stdout;
    assert!(without.contains("warn_after: { count: 26, period: hour }"), "{without}");
    assert!(!without.contains("minute }"), "{without}");
    shell.write_config("{}\n");
    assert_eq!(shell.run(&["streams", "--dbt"]).await.expect(0).stdout, without);

    let refused = shell.run(&["streams", "zendesk", "--dbt"]).await.expect(2);
    assert!(refused.stdout.is_empty() && refused.stderr.contains("unknown vendor `zendesk`"), "{refused:?}");
    for other in ["--json", "--discovered"] {
        shell.run(&["streams", "--dbt", other]).await.expect(2);
    }
}

#[tokio::test]
async fn p11_the_sources_are_the_tables_of_the_warehouse_and_freshness_is_readable_by_both_roles() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    Views::default().refresh(&pool, &Settings::default()).await;
    let sources = Sources::read(&Shell::without_credentials().run(&["streams", "--dbt"]).await.expect(0).stdout);
    let found: Vec<(String, Vec<String>)> = sqlx::query_as(
        "select format('%s.%s', relnamespace::regnamespace, relname), array_agg(attname::text order by attnum)
        from pg_class
        inner join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
        where relkind in ('r', 'v') and relnamespace::regnamespace::text in ('lynn', 'khoros', 'lexer', 'jaicp', 'mart')
        group by relnamespace, relname",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let found: BTreeMap<String, Vec<String>> = found.into_iter().collect();
    assert_eq!(sources.tables.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (table, (columns, tested)) in &sources.tables {
        let sorted = |columns: &[String]| {
            let mut columns = columns.to_vec();
            columns.sort();
            columns
        };
        // Comments may have another order than columns.
        assert_eq!(sorted(columns), sorted(&found[table]), "{table}");
        assert!(!tested.is_empty() || table == "mart.schema_changes", "{table}");
    }

    // A table that is expected and was never read is old; one that nobody expects is not.
    sqlx::raw_sql(
        "insert into tidegate.stream (connection, stream, anchor, timezone, slice, table_schema, table_name, jobs)
        values ('acme', 'show_error', '2026-01-01', 'UTC', '1d', 'lynn', 'show_error', '{hourly}')",
    )
    .execute(&pool)
    .await
    .unwrap();
    assert!(sources.loaded_at.len() > 60, "{sources:?}");
    for role in ["tidegate_reader", "tidegate_analyst"] {
        let mut session = database.connect().await;
        sqlx::raw_sql(AssertSqlSafe(format!("set role {role}"))).execute(&mut session).await.unwrap();
        for expression in &sources.loaded_at {
            let old = format!("select {expression} = to_timestamp(0)");
            let old: bool = sqlx::query_scalar(AssertSqlSafe(old)).fetch_one(&mut session).await.unwrap();
            assert_eq!(old, expression.contains("'lynn.show_error'"), "{expression}");
        }
    }
}

#[test]
fn each_relation_of_the_mart_has_a_model_and_each_model_a_description() {
    let folder = Path::new(SHIPPED).parent().unwrap();
    let shipped = Sources::read(&fs::read_to_string(SHIPPED).unwrap());
    let described = fs::read_to_string(folder.join("schema.yml")).unwrap();
    let described: Vec<&str> = described.lines().filter_map(|line| line.strip_prefix("  - name: ")).collect();
    let (mut models, mut read) = (Vec::new(), String::new());
    for part in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for path in fs::read_dir(part).unwrap().map(|entry| entry.unwrap().path()) {
            models.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
            read.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    for relation in shipped.tables.keys().filter_map(|table| table.strip_prefix("mart.")) {
        assert!(read.contains(&format!("source('mart', '{relation}')")), "no model reads mart.{relation}");
    }
    models.sort();
    let mut sorted = described.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, models);
}
