//! `tidegate schema`: the JSON Schema of the configuration.

use std::io::{self, Write};

use crate::config::json_schema;

/// The schema, indented, with a line break at its end: the content of `config/tidegate.schema.json`.
pub fn run(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:#}", json_schema())
}
