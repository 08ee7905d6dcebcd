//! A sixth vendor from outside the crate: one folder (here one file), one line in a list, one migration. The rest of
//! the program treats it like the others.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use tidegate::catalogue::{Column, ColumnType, Key, Mode, Stream, Vendor, Windows};
use tidegate::config::Config;
use tidegate::connector::{
    self, AccountSettings, Connector, Outcome, OwnKeys, Records, Source, StepError, StepRequest, VendorPart,
};
use tidegate::decode::json::Splitter;
use tidegate::http::{Call, Session};
use tidegate::quota::{Calls, LimitSpec, Unit};
use tidegate::schedule::{ByHand, enqueue_manual};
use tidegate::secret::Secret;
use tidegate::settings::{Credential, Report, credential, read};
use url::Url;
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::world::{assert_succeeded, run_to_end};
use crate::support::{TestDatabase, ago};

/// The vendor's line in the list.
const CALL_DESK: Connector = Connector {
    vendor: VENDOR,
    default_base_url: "https://calldesk.example",
    required_keys: &["vendor", "api_key"],
    schema,
    streams,
    read: read_keys,
    takes_records: false,
    hint: |error, _| matches!(error, StepError::Credentials).then_some("check `api_key`"),
};

const VENDOR: Vendor = Vendor::new("call_desk");

/// Its migration.
const TABLES: &str = "
    create schema calldesk;
    create table calldesk.calls (
        _connection text not null,
        _window_start timestamptz not null,
        id bigint not null,
        started_at timestamptz,
        agent text,
        _extra jsonb,
        _run_id bigint not null,
        _loaded_at timestamptz not null,
        primary key (_connection, _window_start, id)
    )";

const CALLS: &[Column] = &[
    Column::new("id", "id", ColumnType::Bigint, "Id of the call"),
    Column::new("startedAt", "started_at", ColumnType::Timestamptz, "When the call began"),
    Column::new("agent", "agent", ColumnType::Text, "Who took it"),
];

fn streams() -> Vec<Stream> {
    vec![Stream {
        vendor: VENDOR,
        name: "calls".into(),
        schema: "calldesk",
        vendor_id: "calls".into(),
        id_label: None,
        meaning: "A call that was taken".into(),
        mode: Mode::ReplaceWindow,
        key: Key::Columns(vec![Cow::Borrowed("id")].into()),
        columns: CALLS.into(),
        documented: true,
        time_field: Some("startedAt".into()),
        row_time: Some("startedAt".into()),
        business_time: &["started_at"],
        off_by_default: false,
        children: Cow::Borrowed(&[]),
        windows: Windows::daily(31),
        exported: false,
    }]
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// The key shown in the vendor's console.
    api_key: Option<Credential>,
}

fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Keys>()
}

fn read_keys(own: &OwnKeys<'_>, report: &mut Report<'_>) -> VendorPart {
    let keys: Keys = read(own.node, own.path, own.common, "a call_desk connection", report);
    let api_key = credential(keys.api_key, &own.path.key("api_key"), "write `api_key: ${CALL_DESK_KEY}`", report);
    VendorPart { settings: Arc::new(Settings { api_key }), extra_streams: Vec::new() }
}

#[derive(Debug, Clone)]
struct Settings {
    api_key: Secret,
}

impl AccountSettings for Settings {
    fn limits(&self) -> &'static [LimitSpec] {
        &[LimitSpec { name: "requests", calls: Calls::Data, unit: Unit::Calls, amount: 50, per_secs: 1 }]
    }

    fn credential(&self) -> Vec<&str> {
        vec![self.api_key.expose()]
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.api_key.clone()]
    }

    fn source(&self, base_url: &Url) -> Box<dyn Source> {
        Box::new(CallDesk { base_url: base_url.clone(), api_key: self.api_key.clone() })
    }
}

#[derive(Debug)]
struct CallDesk {
    base_url: Url,
    api_key: Secret,
}

#[async_trait::async_trait]
impl Source for CallDesk {
    /// A page of calls; the cursor is the number of the next page.
    async fn step(
        &self,
        session: &Session<'_>,
        request: StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let page: u32 = request.cursor.map_or(Ok(1), str::parse).map_err(|_| StepError::CursorUnknown)?;
        let mut url = self.base_url.clone();
        url.set_path("/calls");
        url.query_pairs_mut()
            .append_pair("from", &request.window.start.to_rfc3339())
            .append_pair("to", &request.window.end.to_rfc3339())
            .append_pair("page", &page.to_string());
        let call = Call { headers: vec![("x-api-key", self.api_key.clone())], ..Call::get(url) };
        let mut body = session.send(call).await?;
        records.begin(request.window);
        let mut splitter = Splitter::new("calls");
        while let Some(chunk) = body.chunk().await? {
            splitter.feed(&chunk, records)?;
            records.flush().await?;
        }
        let bytes = body.finish().await?;
        let more = splitter.finish()?.parsed("more").unwrap_or(false);
        Ok(Outcome::Page { next: more.then(|| (page + 1).to_string()), bytes })
    }

    async fn log_in(&self, _: &Session<'_>) -> Result<(), StepError> {
        Ok(())
    }
}

/// The five built-in connectors, and this one.
fn connectors() -> Vec<&'static Connector> {
    connector::ALL.iter().copied().chain([&CALL_DESK]).collect()
}

fn load(yaml: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tidegate.yaml"), yaml).unwrap();
    Config::load_with(folder.path(), &BTreeMap::new(), &connectors()).map_err(|faults| faults.to_string())
}

/// A vendor that serves yesterday's calls in two pages.
async fn served() -> MockServer {
    let server = MockServer::start().await;
    let (empty, yesterday) = (r#"{"calls":[],"more":false}"#, ago(1).date_naive());
    let first = format!(r#"{{"calls":[{{"id":1,"startedAt":"{yesterday}T08:00:00Z","agent":"Ada"}}],"more":true}}"#);
    let second = format!(r#"{{"calls":[{{"id":2,"startedAt":"{yesterday}T09:00:00Z","tags":["x"]}}],"more":false}}"#);
    let from = format!("{yesterday}T00:00:00+00:00");
    for (page, body) in [("1", first), ("2", second)] {
        Mock::given(method("GET"))
            .and(path("/calls"))
            .and(header("x-api-key", "k3y-of-acme"))
            .and(query_param("from", &from))
            .and(query_param("page", page))
            .respond_with(ResponseTemplate::new(200).set_body_string(body))
            .mount(&server)
            .await;
    }
    Mock::given(path("/calls")).respond_with(ResponseTemplate::new(200).set_body_string(empty)).mount(&server).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_vendor_from_outside_the_five_is_loaded_exactly_once() {
    let (database, server) = (TestDatabase::create().await, served().await);
    let pool = database.pool();
    sqlx::raw_sql(TABLES).execute(&pool).await.unwrap();
    let start = ago(2).date_naive();
    let config = load(&format!(
        "database: {{ url: \"{}\" }}
connections:
  acme:
    vendor: call_desk
    base_url: {}
    api_key: k3y-of-acme
jobs:
  calls: {{ connection: acme, streams: \"*\", start: {start} }}
",
        database.url(),
        server.uri(),
    ))
    .unwrap();
    let config = Arc::new(config);
    // Read twice, since the second reading must find nothing new.
    for _ in 0..2 {
        let mut connection = database.connect().await;
        let run = enqueue_manual(&mut connection, &config.jobs["calls"], &["calls"], ByHand::Manual).await.unwrap();
        assert_succeeded(&run_to_end(Arc::clone(&config), pool.clone(), run).await);
        let rows: Vec<(i64, Option<String>, Option<String>)> =
            sqlx::query_as("select id, agent, _extra ->> 'tags' from calldesk.calls order by id")
                .fetch_all(&pool)
                .await
                .unwrap();
        assert_eq!(rows, [(1, Some("Ada".to_owned()), None), (2, None, Some(r#"["x"]"#.to_owned()))]);
    }
    let used: i64 = sqlx::query_scalar("select count(*) from tidegate.quota_ledger").fetch_one(&pool).await.unwrap();
    assert_eq!(used, 1, "its calls count against its own ledger");
}

#[test]
fn p9_faults_in_its_settings_name_the_place_and_the_remedy() {
    let faults = load("connections:\n  acme:\n    vendor: call_desk\n    api_kee: x\n").unwrap_err();
    assert!(faults.contains("unknown key of a call_desk connection"), "{faults}");
    assert!(
        faults.contains("did you mean `api_key`?") && faults.contains("write `api_key: ${CALL_DESK_KEY}`"),
        "{faults}"
    );
    let faults = load("connections:\n  acme:\n    vendor: call_dsk\n    api_key: x\n").unwrap_err();
    assert!(faults.contains("did you mean `call_desk`?"), "{faults}");
}
