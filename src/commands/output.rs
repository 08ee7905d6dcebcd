//! The output of commands: plain tables for people, one JSON document for programs.
//!
//! Text from other sources passes through [`text`](crate::text), which removes control characters for terminals. A
//! reader that closes the pipe early (`tidegate runs | head`) is not an error.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};
use std::iter;

use serde::Serialize;

use crate::text::{self, plain};

/// Between two columns.
const GAP: &str = "  ";
/// Minimum width of the last column, even if the terminal is narrower.
const LAST_COLUMN_MIN: usize = 24;

/// Prints `text` without control characters.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text::lines(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Prints one JSON document.
pub(crate) fn print_json(document: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    Ok(print(&text::json(&text))?)
}

/// Prints `document` as JSON if `json`, and the text for people otherwise.
pub(crate) fn print_document(
    json: bool,
    document: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    if json { print_json(document) } else { Ok(print(&text())?) }
}

/// Width of the terminal in columns. `None` if standard output is a file or a pipe.
pub(crate) fn terminal_width() -> Option<usize> {
    let out = io::stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok())??;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// Aligned columns without borders. The last column may contain long text, which is cut only on a terminal.
#[derive(Debug, Default)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds columns of text.
    #[must_use]
    pub(crate) fn left(mut self, titles: &[&'static str]) -> Self {
        self.columns.extend(titles.iter().map(|title| (*title, Side::Left)));
        self
    }

    /// Adds columns of numbers.
    #[must_use]
    pub(crate) fn right(mut self, titles: &[&'static str]) -> Self {
        self.columns.extend(titles.iter().map(|title| (*title, Side::Right)));
        self
    }

    /// Adds a row with a cell for each column.
    pub(crate) fn row(&mut self, cells: impl AsRef<[String]>) {
        let cells = cells.as_ref();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell per column");
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text for the standard output of this process.
    pub(crate) fn show(&self) -> String {
        self.render(terminal_width())
    }

    fn render(&self, width: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.columns.iter().map(|(title, _)| title.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        if let (Some(total), Some((last, before))) = (width, widths.split_last_mut()) {
            let taken: usize = before.iter().map(|width| width + GAP.len()).sum();
            *last = total.saturating_sub(taken).max(LAST_COLUMN_MIN).min(*last);
        }
        let titles: Vec<&str> = self.columns.iter().map(|(title, _)| *title).collect();
        let mut text = String::new();
        self.line(&mut text, &widths, &titles);
        for row in &self.rows {
            self.line(&mut text, &widths, row);
        }
        text
    }

    fn line(&self, text: &mut String, widths: &[usize], cells: &[impl AsRef<str>]) {
        let start = text.len();
        for (((_, side), width), cell) in self.columns.iter().zip(widths).zip(cells) {
            if text.len() > start {
                text.push_str(GAP);
            }
            let cell = cut(cell.as_ref(), *width);
            let blanks = iter::repeat_n(' ', width.saturating_sub(cell.chars().count()));
            match side {
                Side::Left => {
                    text.push_str(&cell);
                    text.extend(blanks);
                }
                Side::Right => {
                    text.extend(blanks);
                    text.push_str(&cell);
                }
            }
        }
        text.truncate(start + text[start..].trim_end().len());
        text.push('\n');
    }
}

fn cut(cell: &str, width: usize) -> Cow<'_, str> {
    if cell.chars().count() <= width {
        return Cow::Borrowed(cell);
    }
    let mut text: String = cell.chars().take(width.saturating_sub(1)).collect();
    text.push('…');
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new().left(&["JOB"]).right(&["ROWS"]).left(&["ERROR"]);
        table.row(["lynn".to_owned(), "12".to_owned(), String::new()]);
        table.row(["a-long-name".to_owned(), "1234567".to_owned(), "the vendor refused\nthe\x1b[31m key".to_owned()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let expected = "\
JOB             ROWS  ERROR
lynn              12
a-long-name  1234567  the vendor refused the\u{fffd}[31m key
";
        assert_eq!(table().render(None), expected);
    }

    #[test]
    fn only_the_last_column_is_cut_and_only_on_a_terminal() {
        let text = table().render(Some(40));
        assert!(text.lines().all(|line| line.chars().count() <= 46), "{text}");
        assert!(text.contains("a-long-name  1234567  the vendor refused the\u{fffd}…\n"), "{text}");
    }
}
