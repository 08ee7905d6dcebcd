//! Converts a CSV body to records while it arrives: each row becomes one JSON object with member names from the header.
//!
//! A field becomes a JSON string. An empty field is left out, since CSV does not distinguish empty text from null, and
//! so is a row of empty fields. A row that does not fit the header is rejected, never changed or dropped. Memory is
//! bounded by the header and one row, or the first lines, whatever the body's size. Quotes inside quotes are doubled,
//! as in RFC 4180. A vendor's exact format is not known in advance (`facts/lexer.md §6.3`,
//! `facts/khoros_care.md §7`), so line ends, byte order mark and delimiter may be any usual ones.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::{DecodeError, FIELDS_MAX, Flat, RECORD_BYTES_MAX, Sink, push_text};

mod head;

use head::{HEADER_BYTES_MAX, Head, is_padded, titles};

/// The result of reading a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CsvEnd {
    /// Number of rows that became records.
    pub records: u64,
    /// Number of rejected rows.
    pub refused: u64,
    /// The members' names in column order; empty if the body is empty.
    pub titles: Vec<String>,
}

/// Splits a body that arrives in chunks; see the module's documentation.
#[derive(Debug)]
pub struct CsvSplitter {
    /// The body's beginning, until its delimiter is known.
    head: Option<Head>,
    core: Reader,
    delimiter: u8,
    quote: u8,
    /// The current row without its quotes, its fields concatenated.
    fields: Vec<u8>,
    filled: usize,
    /// Where each field of the row ends.
    ends: Vec<usize>,
    ended: usize,
    /// Each column's name as written in a record, with the colon; `None` before the header was read.
    names: Option<Vec<Vec<u8>>>,
    text: Vec<u8>,
    /// Where the values are in `text`.
    values: Vec<Option<(usize, usize)>>,
    /// Number of empty fields that rows have in addition to the header's, if a delimiter ends each line. `None` before
    /// the first row.
    padding: Option<usize>,
    /// Replacements for some titles.
    spelling: Option<Spelling>,
    end: CsvEnd,
}

/// Returns the replacement of a title, if any.
pub type Spelling = fn(&str) -> Option<&'static str>;

impl CsvSplitter {
    /// A splitter with double quotes.
    #[cfg(test)]
    pub fn new(delimiter: Option<u8>) -> Self {
        Self::quoted(delimiter, b'"')
    }

    /// `delimiter` separates the fields; it is neither a quote nor a line end. Without one, it is detected from the
    /// header and the first lines: `,` `;` tab or `|`. A field may be enclosed in `quote`, which differs from the
    /// delimiter.
    pub fn quoted(delimiter: Option<u8>, quote: u8) -> Self {
        Self {
            head: Some(Head::new(delimiter, quote)),
            core: Reader::new(),
            delimiter: b',',
            quote,
            fields: Vec::new(),
            filled: 0,
            ends: Vec::new(),
            ended: 0,
            names: None,
            text: Vec::new(),
            values: Vec::new(),
            padding: None,
            spelling: None,
            end: CsvEnd::default(),
        }
    }

    /// The same, with replacements for some titles.
    #[must_use]
    pub fn spelt(self, spelling: Spelling) -> Self {
        Self { spelling: Some(spelling), ..self }
    }

    /// The header's titles as they appear in records: trimmed, duplicates with a number appended. Empty until the
    /// header has been read.
    #[cfg(test)]
    pub fn titles(&self) -> &[String] {
        &self.end.titles
    }

    /// Reads the next chunk and passes every row that ends in it to `sink`.
    pub fn feed(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<(), DecodeError> {
        let mut rest = chunk;
        if let Some(mut head) = self.head.take() {
            rest = &chunk[head.take(chunk)..];
            if !head.is_complete() {
                self.head = Some(head);
                return Ok(());
            }
            self.open(&head, false, sink)?;
        }
        self.rows(rest, sink)
    }

    /// The body has ended: passes on a last row without a line end.
    pub fn finish(mut self, sink: &mut dyn Sink) -> Result<CsvEnd, DecodeError> {
        if let Some(head) = self.head.take() {
            self.open(&head, true, sink)?;
        }
        let before = self.filled;
        // A line end always completes a row, except inside quotes.
        let (_, is_complete) = self.read(b"\n")?;
        if is_complete {
            if self.names.as_ref().is_some_and(|names| self.ended < names.len()) {
                return Err(DecodeError::Cut);
            }
            self.row(sink)?;
        } else if self.filled > before {
            return Err(DecodeError::Cut);
        }
        Ok(self.end)
    }

    fn open(&mut self, head: &Head, is_all: bool, sink: &mut dyn Sink) -> Result<(), DecodeError> {
        let text = head.text()?;
        self.delimiter = head.delimiter(text, is_all);
        self.core = ReaderBuilder::new().delimiter(self.delimiter).quote(self.quote).build();
        self.rows(text, sink)
    }

    fn rows(&mut self, mut rest: &[u8], sink: &mut dyn Sink) -> Result<(), DecodeError> {
        while !rest.is_empty() {
            let (used, is_complete) = self.read(rest)?;
            rest = &rest[used..];
            if is_complete {
                self.row(sink)?;
            }
        }
        Ok(())
    }

    /// Reads on. Returns the number of bytes used and whether a row is complete.
    fn read(&mut self, bytes: &[u8]) -> Result<(usize, bool), DecodeError> {
        if self.filled == self.fields.len() {
            let max = if self.names.is_none() { HEADER_BYTES_MAX } else { RECORD_BYTES_MAX };
            if self.filled > max {
                return Err(match self.names {
                    None => DecodeError::HeaderTooLarge { max },
                    Some(_) => DecodeError::RecordTooLarge { max },
                });
            }
            let room = (self.filled * 2).clamp(4096, max + 1);
            self.fields.reserve_exact(room - self.filled);
            self.fields.resize(room, 0);
        }
        if self.ended == self.ends.len() {
            if self.ended == FIELDS_MAX {
                return Err(DecodeError::TooManyColumns { max: FIELDS_MAX });
            }
            self.ends.resize((self.ended * 2).clamp(64, FIELDS_MAX), 0);
        }
        let (result, used, written, ended) =
            self.core.read_record(bytes, &mut self.fields[self.filled..], &mut self.ends[self.ended..]);
        self.filled += written;
        self.ended += ended;
        Ok((used, result == ReadRecordResult::Record))
    }

    /// Processes a complete row; the first one is the header.
    fn row(&mut self, sink: &mut dyn Sink) -> Result<(), DecodeError> {
        let fields = &self.fields[..std::mem::take(&mut self.filled)];
        let ends = &self.ends[..std::mem::take(&mut self.ended)];
        let text = std::str::from_utf8(fields).ok();
        let Some(names) = &self.names else {
            self.end.titles =
                text.and_then(|text| titles(text, ends, self.spelling)).ok_or(DecodeError::OTHER_CHARSET)?;
            self.names = Some(self.end.titles.iter().map(|title| name(title)).collect());
            return sink.header(&self.end.titles, &[]);
        };
        // A line of delimiters only, as spreadsheets write them below a table.
        if fields.is_empty() {
            return Ok(());
        }
        self.text.clear();
        self.values.clear();
        // Decided by the first row: if rows do not all end like that, an additional field may be part of another.
        let beyond = if is_padded(ends, names.len()) { ends.len() - names.len() } else { 0 };
        let padding = *self.padding.get_or_insert(beyond);
        let ends = if beyond > 0 && beyond == padding { &ends[..names.len()] } else { ends };
        let reason = if ends.len() != names.len() {
            format!("{} fields where the header has {}", ends.len(), names.len())
        } else if let Some(text) = text
            && write_object(text, ends, names, &mut self.text, &mut self.values)?
            && let Ok(record) = std::str::from_utf8(&self.text)
        {
            self.end.records += 1;
            return sink.flat_record(Flat { record, names: &self.end.titles, values: &self.values });
        } else {
            "not UTF-8".to_owned()
        };
        self.text.clear();
        write_row(fields, ends, (self.delimiter, self.quote), &mut self.text);
        self.end.refused += 1;
        sink.refuse(&reason, &self.text)
    }
}

fn name(title: &str) -> Vec<u8> {
    let mut json = Vec::with_capacity(title.len() + 3);
    push_text(title, &mut json);
    json.push(b':');
    json
}

/// Writes a record. Returns `false` if a field by itself is not UTF-8.
fn write_object(
    text: &str,
    ends: &[usize],
    names: &[Vec<u8>],
    json: &mut Vec<u8>,
    values: &mut Vec<Option<(usize, usize)>>,
) -> Result<bool, DecodeError> {
    let mut start = 0;
    json.push(b'{');
    for (&end, name) in ends.iter().zip(names) {
        let mut value = None;
        if end > start {
            let Some(field) = text.get(start..end) else { return Ok(false) };
            if json.len() > 1 {
                json.push(b',');
            }
            json.extend_from_slice(name);
            let value_start = json.len();
            push_text(field, json);
            value = Some((value_start, json.len()));
            // Escapes may have made the row longer than it was.
            if json.len() > RECORD_BYTES_MAX {
                return Err(DecodeError::RecordTooLarge { max: RECORD_BYTES_MAX });
            }
            start = end;
        }
        values.push(value);
    }
    json.push(b'}');
    Ok(true)
}

/// Writes a row as CSV again, with quotes where needed.
fn write_row(fields: &[u8], ends: &[usize], (delimiter, quote): (u8, u8), out: &mut Vec<u8>) {
    let mut start = 0;
    for (column, &end) in ends.iter().enumerate() {
        if column > 0 {
            out.push(delimiter);
        }
        let field = &fields[start..end];
        if field.iter().any(|byte| matches!(byte, b'\r' | b'\n') || [delimiter, quote].contains(byte)) {
            out.push(quote);
            for part in field.split_inclusive(|byte| *byte == quote) {
                out.extend_from_slice(part);
                if part.ends_with(&[quote]) {
                    out.push(quote);
                }
            }
            out.push(quote);
        } else {
            out.extend_from_slice(field);
        }
        start = end;
    }
}

#[cfg(test)]
mod tests;
