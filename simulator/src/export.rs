//! Rows of a report as a JSON or CSV file that is generated while it is sent.

use std::iter;
use std::sync::Weak;

use bytes::Bytes;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::truth::Span;
use super::{Vendor, World};

/// Rows read at once. Edits wait for at most one such read.
const PIECE: usize = 1000;

/// All rows of a span in batches, each row as JSON text. The reference to the world is weak, since files are part of
/// it.
pub(super) fn pieces(
    world: Weak<World>,
    vendor: Vendor,
    report: usize,
    span: Span,
) -> impl Iterator<Item = Vec<String>> + Send + 'static {
    let mut after = None;
    iter::from_fn(move || {
        let (world, mut piece, behind) = (world.upgrade()?, Vec::with_capacity(PIECE), after);
        world.data(vendor).with_truth(|truth| {
            truth.walk(report, span, behind, &mut |place, text| {
                piece.push(text.to_owned());
                after = Some(place);
                piece.len() < PIECE
            });
        });
        (!piece.is_empty()).then_some(piece)
    })
}

/// One array of all rows.
pub(super) fn json(
    pieces: impl Iterator<Item = Vec<String>> + Send + 'static,
) -> impl Iterator<Item = Bytes> + Send + 'static {
    let mut comma = "";
    // A batch of which nothing is wanted has no comma.
    let rows = pieces.filter(|piece| !piece.is_empty()).map(move |piece| {
        let text = format!("{comma}{}", piece.join(",\n"));
        comma = ",\n";
        Bytes::from(text)
    });
    iter::once(Bytes::from_static(b"[")).chain(rows).chain(iter::once(Bytes::from_static(b"]")))
}

/// A header, and a line for each row that is an object. Fields without a column are left out.
pub(super) fn csv(
    columns: Vec<String>,
    pieces: impl Iterator<Item = Vec<String>> + Send + 'static,
) -> impl Iterator<Item = Bytes> + Send + 'static {
    let mut header = String::new();
    push_line(&mut header, columns.iter().map(String::as_str));
    let lines = pieces.map(move |piece| {
        let mut lines = String::new();
        for row in piece {
            let fields = fields(&row);
            let cell = |column: &String| {
                fields.iter().find(|(name, _)| name == column).map_or("", |(_, value)| value.as_str())
            };
            push_line(&mut lines, columns.iter().map(cell));
        }
        Bytes::from(lines)
    });
    iter::once(Bytes::from(header)).chain(lines)
}

/// Names and values of a JSON object's fields, in order. A string yields its content, null an empty text, and
/// everything else its JSON text.
pub(super) fn fields(object: &str) -> Vec<(String, String)> {
    struct Fields;
    impl<'de> Visitor<'de> for Fields {
        type Value = Vec<(String, String)>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                let text = value.get();
                let cell = if text == "null" { String::new() } else { text.to_owned() };
                fields.push((name, serde_json::from_str(text).unwrap_or(cell)));
            }
            Ok(fields)
        }
    }
    serde_json::Deserializer::from_str(object).deserialize_map(Fields).unwrap_or_default()
}

fn push_line<'a>(out: &mut String, cells: impl Iterator<Item = &'a str>) {
    for (index, cell) in cells.enumerate() {
        out.push_str(if index > 0 { "," } else { "" });
        if cell.contains(['"', ',', '\n', '\r']) {
            out.push('"');
            out.push_str(&cell.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(cell);
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::truth::ticks;
    use super::super::{Options, start};
    use super::*;

    fn whole(parts: impl Iterator<Item = Bytes>) -> String {
        parts.map(|part| String::from_utf8(part.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_file_is_json_or_csv() {
        let rows = || [vec![r#"{"a":"x, \"y\"\n","b":null}"#.to_owned()], vec![r#"{"b":[1],"c":2}"#.to_owned()]];
        let columns = ["a", "b"].map(str::to_owned).to_vec();
        assert_eq!(whole(csv(columns, rows().into_iter())), "a,b\n\"x, \"\"y\"\"\n\",\n,[1]\n");
        let parsed: serde_json::Value = serde_json::from_str(&whole(json(rows().into_iter()))).unwrap();
        assert_eq!((&parsed[1]["c"], parsed.as_array().unwrap().len()), (&2.into(), 2));
        assert_eq!(whole(json([].into_iter())), "[]");
        assert_eq!(whole(json([vec![], vec!["1".to_owned()], vec![], vec!["2".to_owned()]].into_iter())), "[1,\n2]");
        assert_eq!(fields("[1]"), []);
    }

    #[tokio::test]
    async fn batches_add_up_to_the_truth() {
        let simulator = start(Options::default()).await.unwrap();
        let data = simulator.control().khoros().data();
        let (from, to) = (chrono::DateTime::UNIX_EPOCH, chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(20));
        let span = Span { from: ticks(from), until: ticks(to) };
        let read: Vec<Vec<String>> = pieces(Arc::downgrade(&data.world), Vendor::Khoros, 0, span).collect();
        assert!(read.len() > 2);
        assert_eq!(read.concat(), data.text("conversation", from, to).unwrap());
    }
}
