//! Khoros Care.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::{Csv, Polling};
use crate::config::scalar::{Credential, Offset, Span};

/// The keys of a Khoros Care connection beyond those of every connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct KhorosCare {
    /// The tenant's key, from Analytics API Settings.
    pub(in crate::config) company_key: Option<Credential>,
    /// The API user's name.
    pub(in crate::config) username: Option<String>,
    /// The API user's password.
    pub(in crate::config) password: Option<Credential>,
    /// Language and date style of the files: `en`, `es`, `fr`, `de` or `tr`. A change renames the titles of CSV files.
    #[schemars(extend("default" = "en"))]
    pub(in crate::config) locale: Option<String>,
    /// How far from UTC dates are printed: `-06:00`, or milliseconds. It moves no window.
    #[schemars(extend("default" = 0))]
    pub(in crate::config) timezone_offset: Option<Offset>,
    /// Format of the files. JSON has more columns, and their names do not depend on `locale`.
    #[schemars(extend("default" = "json"))]
    pub(in crate::config) report_format: Option<KhorosFormat>,
    /// How the files of `report_format: csv` are written, where it cannot be told from them.
    pub(in crate::config) csv: Option<Csv>,
    /// How export jobs are started: by `post`, by `get`, or by whichever of them the tenant serves.
    #[schemars(extend("default" = "auto"))]
    pub(in crate::config) method: Option<KhorosMethod>,
    /// The columns to ask for, by export: the vendor's metric ids as it spells them. Left out, all that the company has
    /// enabled.
    #[schemars(with = "Option<BTreeMap<String, Vec<String>>>", extend("default" = {}))]
    pub(in crate::config) metrics: Option<BTreeMap<String, Vec<Option<String>>>>,
    /// Further parameters, by export: filters such as `teamIds`, and what is special about one, such as `timeInterval`.
    #[schemars(extend("default" = {}))]
    pub(in crate::config) parameters: Option<BTreeMap<String, BTreeMap<String, Values>>>,
    /// Publishing exports, name: export id. Each becomes a stream and a table `marketing_NAME`.
    #[schemars(extend("default" = {}))]
    pub(in crate::config) marketing: Option<BTreeMap<String, String>>,
    /// How far back the vendor serves. Windows before that are skipped.
    #[schemars(extend("default" = "546d"))]
    pub(in crate::config) history: Option<Span>,
    /// How patiently export jobs are asked after.
    pub(in crate::config) polling: Option<Polling>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum KhorosFormat {
    Json,
    Csv,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum KhorosMethod {
    Auto,
    Post,
    Get,
}

/// One value or a list of them. An item that was refused is none.
#[derive(Debug)]
pub(in crate::config) struct Values(pub(in crate::config) Vec<Option<String>>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor)
    }
}

struct ValuesVisitor;

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = Values;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value or a list of values")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Values, E> {
        Ok(Values(vec![Some(text.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Values, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(Values)
    }
}

impl JsonSchema for Values {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Values".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let value = ["string", "number", "boolean"];
        json_schema!({ "anyOf": [
            { "type": value },
            { "type": "array", "minItems": 1, "items": { "type": value } },
        ] })
    }
}
