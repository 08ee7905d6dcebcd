//! `tidegate schema`: the JSON Schema of the configuration, or the description of the JSON API.

use std::io::{self, Write};

use super::SchemaArgs;
use crate::config::json_schema;
use crate::server::api_schema;

/// The schema, indented, with a line break at its end: the content of `config/tidegate.schema.json`.
pub fn run(out: &mut impl Write, args: &SchemaArgs) -> io::Result<()> {
    writeln!(out, "{:#}", if args.api { api_schema() } else { json_schema() })
}
