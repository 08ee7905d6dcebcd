//! `tidegate schema`: the JSON Schema of the configuration.

use std::io::{self, Write};

use crate::config::json_schema;

/// Writes the schema, indented, with a line break at its end: what `config/tidegate.schema.json` holds.
pub fn run(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:#}", json_schema())
}
