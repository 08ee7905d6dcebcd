//! What a job reads or sends.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::super::NewFields;
use crate::catalogue::ColumnType;
use crate::cron::CatchUp;
use crate::settings::{Bool, DurationText, Integer, Percent};

/// What a job reads, or what `tidegate push` sends for it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Job {
    /// Name of the connection to read from, or to send to.
    pub(in crate::config) connection: Option<String>,
    /// The streams to read, or `"*"` for all except those off by default.
    pub(in crate::config) streams: Option<Streams>,
    /// Instead of `streams`: what `tidegate push` sends. Runs only by that command.
    pub(in crate::config) push: Option<Push>,
    /// Cron expression of 5 fields, 6 with seconds, or `@hourly` and the like. Without it, the job runs only by hand.
    pub(in crate::config) schedule: Option<String>,
    /// IANA zone in which the schedule fires and days begin.
    #[schemars(extend("default" = "UTC"))]
    pub(in crate::config) timezone: Option<String>,
    /// Firings missed while nothing ran: run the `latest` one, `all` of them or `none`.
    #[schemars(extend("default" = "latest"))]
    pub(in crate::config) catch_up: Option<CatchUp>,
    /// First day to read, in `timezone`. Required if a stream of the job has windows; lists have none.
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub(in crate::config) start: Option<String>,
    /// Length of the windows that are read: whole days, or a part of a day that divides it evenly. By default every
    /// stream has its own length, mostly `1d` (`tidegate streams`).
    pub(in crate::config) slice: Option<DurationText>,
    /// Finished slices that ended less than this ago are read again, because the vendor may change data late.
    #[schemars(extend("default" = "1d"))]
    pub(in crate::config) lookback: Option<DurationText>,
    /// Data newer than this, counted back from now, is not read.
    #[schemars(extend("default" = "10m"))]
    pub(in crate::config) settle: Option<DurationText>,
    /// If a reading reports a smaller share of a slice's or list's rows than this, no row is deleted and the slice is
    /// held for a decision. `0%` disables the comparison.
    #[schemars(extend("default" = "80%"))]
    pub(in crate::config) hold_below: Option<Percent>,
    /// Higher goes first when a quota is scarce.
    #[schemars(range(min = -1000, max = 1000), extend("default" = 0))]
    pub(in crate::config) priority: Option<Integer>,
    /// A run that takes longer is stopped at its next checkpoint and fails.
    #[schemars(extend("default" = "6h"))]
    pub(in crate::config) timeout: Option<DurationText>,
    /// A paused job runs only when it is named.
    #[schemars(extend("default" = false))]
    pub(in crate::config) paused: Option<Bool>,
}

/// Rows of the warehouse, sent as records of a Lynn campaign.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Push {
    /// A query of the warehouse; each row becomes one record. It runs in a read-only transaction.
    pub(in crate::config) query: Option<String>,
    /// The campaign that receives the records. The vendor's sample has an empty text here; an empty text is sent as it
    /// is.
    pub(in crate::config) campaign_id: Option<String>,
    /// The WhatsApp template, a GUID.
    pub(in crate::config) template_id: Option<String>,
    /// The vendor documents 0 and no other value.
    #[schemars(range(min = 0, max = 2_147_483_647), extend("default" = 0))]
    pub(in crate::config) type_of_data: Option<Integer>,
    /// Label of a column of the template: column of the query.
    pub(in crate::config) columns: Option<BTreeMap<String, String>>,
    /// Columns of the query that identify a row. A row that was sent is not sent again.
    #[schemars(with = "Option<Vec<String>>")]
    pub(in crate::config) key: Option<Vec<Option<String>>>,
    /// Rows per call.
    #[schemars(range(min = 1, max = 10000), extend("default" = 100))]
    pub(in crate::config) batch_size: Option<Integer>,
}

/// `"*"` or a list. A refused item is `None`, so that the others keep their index.
#[derive(Debug)]
pub(in crate::config) enum Streams {
    All,
    Listed(Vec<Option<Entry>>),
}

impl<'de> Deserialize<'de> for Streams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StreamsVisitor)
    }
}

struct StreamsVisitor;

impl<'de> Visitor<'de> for StreamsVisitor {
    type Value = Streams;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of streams or `\"*\"`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Streams, E> {
        match text {
            "*" => Ok(Streams::All),
            // The value may be a misplaced credential; the code that shows faults hides it.
            _ => Err(E::custom("is not a list of streams; put it in brackets, or write `\"*\"` for all of them")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Streams, A::Error> {
        let entries = Vec::deserialize(SeqAccessDeserializer::new(items))?;
        let all = matches!(entries.as_slice(), [Some(Entry { name: Some(name), plain: true, .. })] if name == "*");
        Ok(if all { Streams::All } else { Streams::Listed(entries) })
    }
}

impl JsonSchema for Streams {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Streams".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entry = generator.subschema_for::<EntryMap>();
        json_schema!({ "anyOf": [
            { "const": "*" },
            { "type": "array", "minItems": 1, "items": { "anyOf": [{ "type": "string" }, entry] } },
        ] })
    }
}

/// One stream of a job: its name, or a map.
#[derive(Debug, Default)]
pub(in crate::config) struct Entry {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) slice: Option<DurationText>,
    pub(in crate::config) lookback: Option<DurationText>,
    pub(in crate::config) key: Option<Vec<Option<String>>>,
    pub(in crate::config) columns: Option<NewFields>,
    pub(in crate::config) types: Option<BTreeMap<String, Option<String>>>,
    /// Whether it was written as a name only.
    pub(in crate::config) plain: bool,
}

/// A stream with settings of its own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EntryMap {
    /// Name of the stream.
    name: Option<String>,
    /// Instead of the job's.
    slice: Option<DurationText>,
    /// Instead of the job's.
    lookback: Option<DurationText>,
    /// The fields that identify a row, by the vendor's names, if you know better than the documentation. In a new or
    /// empty table they become the primary key.
    #[schemars(with = "Option<Vec<String>>")]
    key: Option<Vec<Option<String>>>,
    /// A field without a column is kept in `_extra` (`extra`) or gets a column (`add`).
    columns: Option<NewFields>,
    /// The type of a column that appears with the data, by the vendor's field name. By default the first value decides.
    #[schemars(schema_with = "types_schema")]
    types: Option<BTreeMap<String, Option<String>>>,
}

fn types_schema(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<&str> = ColumnType::ALL.into_iter().map(ColumnType::word).chain(["double precision"]).collect();
    json_schema!({ "type": ["object", "null"], "additionalProperties": { "enum": words } })
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a stream, or a map with `name`")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Entry, E> {
        Ok(Entry { name: Some(name.to_owned()), plain: true, ..Entry::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
        let EntryMap { name, slice, lookback, key, columns, types } =
            EntryMap::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Entry { name, slice, lookback, key, columns, types, plain: false })
    }
}
