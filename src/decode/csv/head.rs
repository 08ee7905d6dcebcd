//! The beginning of a CSV body: whether it is CSV at all, which delimiter it uses, and its column titles.

use std::collections::HashMap;

use csv_core::{ReadRecordResult, ReaderBuilder};

use super::super::{DecodeError, FIELDS_MAX};
use super::Spelling;

/// A longer first line is not a header.
pub(super) const HEADER_BYTES_MAX: usize = 1 << 20;
/// Delimiters that are detected. Of two equally likely ones the first wins, since commas also occur in words and
/// numbers.
const DELIMITERS: &[u8] = b"\t;|,";
/// How many lines or bytes after the header are examined to detect the delimiter.
const SAMPLE_LINES: usize = 50;
const SAMPLE_BYTES: usize = 64 << 10;
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// Collects the first line that is not blank, and the lines after it if the delimiter has to be detected.
#[derive(Debug)]
pub(super) struct Head {
    bytes: Vec<u8>,
    /// Given by the caller; `None` if it has to be detected.
    delimiter: Option<u8>,
    quote: u8,
    in_quotes: bool,
    /// Whether a quote here would open a quoted field: at the start of a field, or as the second of a doubled quote.
    may_open: bool,
    is_blank: bool,
    /// Where the header ends, once known.
    header_end: Option<usize>,
    /// Line ends after the header.
    lines: usize,
}

impl Head {
    pub(super) const fn new(delimiter: Option<u8>, quote: u8) -> Self {
        Self {
            bytes: Vec::new(),
            delimiter,
            quote,
            in_quotes: false,
            may_open: true,
            is_blank: true,
            header_end: None,
            lines: 0,
        }
    }

    /// Takes bytes from the front of `chunk` until it is complete. Returns their number.
    pub(super) fn take(&mut self, chunk: &[u8]) -> usize {
        for (at, &byte) in chunk.iter().enumerate() {
            if self.is_complete() {
                return at;
            }
            let is_mark = MARK.get(self.bytes.len()) == Some(&byte);
            self.bytes.push(byte);
            if self.header_end.is_some() {
                self.lines += usize::from(byte == b'\n' || byte == b'\r');
            } else if !is_mark {
                self.look(byte);
            }
        }
        chunk.len()
    }

    fn look(&mut self, byte: u8) {
        let is_line_end = !self.in_quotes && matches!(byte, b'\r' | b'\n');
        self.is_blank &= byte.is_ascii_whitespace();
        // The reader reports a header that is too long.
        if (is_line_end && !self.is_blank) || self.bytes.len() > HEADER_BYTES_MAX {
            self.header_end = Some(self.bytes.len());
        }
        if byte == self.quote {
            self.in_quotes = !self.in_quotes && self.may_open;
            self.may_open = !self.in_quotes;
        } else if !self.in_quotes {
            let delimits = self.delimiter.map_or(DELIMITERS.contains(&byte), |delimiter| delimiter == byte);
            self.may_open = is_line_end || delimits;
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.header_end.is_some_and(|end| {
            let sampled = self.lines >= SAMPLE_LINES || self.bytes.len() >= end + SAMPLE_BYTES;
            self.delimiter.is_some() || sampled || end > HEADER_BYTES_MAX
        })
    }

    /// The delimiter of `text`, which [`Head::text`] returned. `is_all`: the body ends with it.
    ///
    /// It is the candidate that splits the header and most of the lines after it into the same number of fields, more
    /// than one. Of several such candidates, the most frequent one in the header wins, not counting places followed by
    /// a space, as in a sentence. If none splits the header, the one that splits the lines most wins: its rows are then
    /// refused instead of being read as one field each.
    pub(super) fn delimiter(&self, text: &[u8], is_all: bool) -> u8 {
        if let Some(delimiter) = self.delimiter {
            return delimiter;
        }
        let mut best = (b',', Judged::default());
        for &delimiter in DELIMITERS {
            let judged = Judged::of(text, delimiter, self.quote, is_all);
            if judged.is_of_use() && judged.rank() > best.1.rank() {
                best = (delimiter, judged);
            }
        }
        best.0
    }

    /// The collected bytes without byte order mark and blank lines, or an error if they are clearly not CSV.
    pub(super) fn text(&self) -> Result<&[u8], DecodeError> {
        let text = self.bytes.strip_prefix(MARK).unwrap_or(&self.bytes);
        let trimmed = text.trim_ascii_start();
        let other = match trimmed {
            [] => return Ok(trimmed),
            [b'<', ..] => "HTML or XML",
            [b'{' | b'[', ..] => "JSON",
            // An XLSX workbook is a ZIP archive; an export of JAICP may be one (`facts/jaicp.md §10`).
            [b'P', b'K', 3, 4, ..] => "a ZIP archive (or XLSX)",
            [0x1F, 0x8B, ..] => "gzip within gzip",
            [0xD0, 0xCF, 0x11, 0xE0, ..] => "an old workbook (XLS)",
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => "a bzip2 file",
            [0xFD, b'7', b'z', b'X', b'Z', ..] => "an xz file",
            [b'%', b'P', b'D', b'F', ..] => "a PDF",
            [0, ..] | [_, 0, ..] => return Err(DecodeError::UTF16),
            _ => {
                // White space before the first title may be a delimiter.
                let blank = &text[..text.len() - trimmed.len()];
                let line = blank.iter().rposition(|byte| matches!(byte, b'\r' | b'\n')).map_or(0, |end| end + 1);
                return Ok(&text[line..]);
            }
        };
        Err(DecodeError::NotCsv(other))
    }
}

/// Statistics of one delimiter over the beginning of a body.
#[derive(Debug, Default)]
struct Judged {
    /// Fields of the header, and how often the delimiter occurs in it without a space after it.
    titles: usize,
    tight: usize,
    /// Complete lines after the header, how many have the same number of fields, and the total number of their fields.
    rows: usize,
    alike: usize,
    fields: usize,
}

impl Judged {
    fn of(text: &[u8], delimiter: u8, quote: u8, is_all: bool) -> Self {
        let mut reader = ReaderBuilder::new().delimiter(delimiter).quote(quote).build();
        let (mut fields, mut ends) = (vec![0; text.len() + 1], vec![0; FIELDS_MAX]);
        let (mut filled, mut ended) = (0, 0);
        let mut judged = Self::default();
        for mut rest in [text, if is_all { b"\n" } else { b"" }] {
            while !rest.is_empty() {
                let (result, used, written, count) =
                    reader.read_record(rest, &mut fields[filled..], &mut ends[ended..]);
                rest = &rest[used..];
                filled += written;
                ended += count;
                match result {
                    ReadRecordResult::Record => judged.take(&fields[..filled], &ends[..ended]),
                    ReadRecordResult::InputEmpty => continue,
                    // More columns than are read.
                    ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull | ReadRecordResult::End => {
                        return judged;
                    }
                }
                (filled, ended) = (0, 0);
            }
        }
        if judged.rows == 0 && filled > 0 {
            // A single line exceeds the sample: it counts as complete, compared up to its cut.
            judged.fields = ended + 1;
            judged.rows = 1;
            judged.alike = usize::from((2..=judged.titles).contains(&judged.fields));
        }
        judged
    }

    fn take(&mut self, fields: &[u8], ends: &[usize]) {
        if self.titles == 0 {
            self.titles = ends.len();
            // A field begins where the previous one ends.
            let starts = ends.iter().take(ends.len().saturating_sub(1));
            self.tight = starts.filter(|start| fields.get(**start) != Some(&b' ')).count();
            return;
        }
        self.rows += 1;
        self.fields += ends.len();
        self.alike += usize::from(ends.len() == self.titles || is_padded(ends, self.titles));
    }

    /// Sort key; a larger one is likelier.
    fn rank(&self) -> (bool, usize, usize) {
        if self.titles < 2 {
            return (false, self.fields, 0);
        }
        (true, (self.alike * 1_000).checked_div(self.rows).unwrap_or(0), self.tight)
    }

    /// Whether it splits any line.
    const fn is_of_use(&self) -> bool {
        self.titles > 1 || self.fields > self.rows
    }
}

/// Whether a row has more fields than titles and all additional ones are empty.
pub(super) fn is_padded(ends: &[usize], titles: usize) -> bool {
    titles > 0 && ends.len() > titles && ends.get(titles - 1) == ends.last()
}

/// Distinct column names from the header's fields; `None` if a field is not UTF-8.
pub(super) fn titles(text: &str, ends: &[usize], spelling: Option<Spelling>) -> Option<Vec<String>> {
    let mut titles = Vec::with_capacity(ends.len());
    // Each name with the number to try for its next duplicate.
    let mut taken = HashMap::<String, usize>::with_capacity(ends.len());
    let mut start = 0;
    for &end in ends {
        let title = text.get(start..end)?.trim_matches(|letter: char| letter.is_whitespace() || letter == '\u{feff}');
        let title = if title.is_empty() { "column" } else { title };
        let title = spelling.and_then(|spelling| spelling(title)).unwrap_or(title);
        let mut unlike = title.to_owned();
        while taken.contains_key(&unlike) {
            let number = taken.entry(title.to_owned()).or_insert(2);
            unlike = format!("{title} {number}");
            *number += 1;
        }
        taken.insert(unlike.clone(), 2);
        titles.push(unlike);
        start = end;
    }
    Some(titles)
}
