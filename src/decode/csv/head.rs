//! The beginning of a CSV body: whether it is CSV at all, what separates its fields, what its columns are called.

use std::collections::HashMap;

use super::super::DecodeError;
use super::Spelling;

/// A header beyond this is none.
pub(super) const HEADER_BYTES_MAX: usize = 1 << 20;
/// What may separate fields when nobody said; of equally frequent ones the first.
const DELIMITERS: &[u8] = b",;\t|";
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// Gathers the first line that is not blank.
#[derive(Debug)]
pub(super) struct Head {
    bytes: Vec<u8>,
    /// The delimiters that it may be, each with how often it stands outside quotes.
    counts: Vec<(u8, usize)>,
    in_quotes: bool,
    /// Whether a quote would be one that opens: at the start of a field, or as the second of a doubled one.
    may_open: bool,
    is_blank: bool,
    is_complete: bool,
}

impl Head {
    pub(super) fn new(delimiter: Option<u8>) -> Self {
        let candidates = delimiter.map_or(DELIMITERS.to_vec(), |delimiter| vec![delimiter]);
        Self {
            bytes: Vec::new(),
            counts: candidates.into_iter().map(|candidate| (candidate, 0)).collect(),
            in_quotes: false,
            may_open: true,
            is_blank: true,
            is_complete: false,
        }
    }

    /// Takes what belongs to the line, its end included; answers how many bytes it took.
    pub(super) fn take(&mut self, chunk: &[u8]) -> usize {
        for (at, &byte) in chunk.iter().enumerate() {
            if self.is_complete {
                return at;
            }
            let is_mark = MARK.get(self.bytes.len()) == Some(&byte);
            self.bytes.push(byte);
            if !is_mark {
                self.look(byte);
            }
        }
        chunk.len()
    }

    fn look(&mut self, byte: u8) {
        let is_line_end = !self.in_quotes && matches!(byte, b'\r' | b'\n');
        self.is_blank &= byte.is_ascii_whitespace();
        // What is too long for a header is told by whoever reads it.
        self.is_complete = (is_line_end && !self.is_blank) || self.bytes.len() > HEADER_BYTES_MAX;
        if byte == b'"' {
            self.in_quotes = !self.in_quotes && self.may_open;
            self.may_open = !self.in_quotes;
        } else if !self.in_quotes {
            let count = self.counts.iter_mut().find(|(delimiter, _)| *delimiter == byte);
            self.may_open = is_line_end || count.is_some();
            if let Some((_, count)) = count {
                *count += 1;
            }
        }
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.is_complete
    }

    pub(super) fn delimiter(&self) -> u8 {
        let more_frequent = |best: (u8, usize), next: &(u8, usize)| if next.1 > best.1 { *next } else { best };
        self.counts.iter().fold(self.counts[0], more_frequent).0
    }

    /// What was gathered without byte order mark and blank lines, unless it is plainly something else than CSV.
    pub(super) fn text(&self) -> Result<&[u8], DecodeError> {
        let text = self.bytes.strip_prefix(MARK).unwrap_or(&self.bytes);
        let trimmed = text.trim_ascii_start();
        let other = match trimmed {
            [] => return Ok(trimmed),
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "UTF-16",
            [b'<', ..] => "HTML or XML",
            [b'{' | b'[', ..] => "JSON",
            // A workbook is one; an export of JAICP may be either (`vendors/jaicp.md §10`).
            [b'P', b'K', 3, 4, ..] => "a ZIP archive (or XLSX)",
            _ => {
                // White space before the first title may be delimiters.
                let blank = &text[..text.len() - trimmed.len()];
                let line = blank.iter().rposition(|byte| matches!(byte, b'\r' | b'\n')).map_or(0, |end| end + 1);
                return Ok(&text[line..]);
            }
        };
        Err(DecodeError::NotCsv(other))
    }
}

/// The columns' names from the header's fields, each unlike the others; none when a field is not UTF-8.
pub(super) fn titles(text: &str, ends: &[usize], spelling: Option<Spelling>) -> Option<Vec<String>> {
    let mut titles = Vec::with_capacity(ends.len());
    // Each name with the number to try for its next bearer.
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
