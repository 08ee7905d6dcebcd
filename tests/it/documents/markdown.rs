//! The parts of Markdown that the checks read: headings, tables, code spans and code blocks.

/// A piece of a document. Paragraphs are joined to one line each.
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    Heading(String),
    Paragraph(String),
    /// The lines of a fenced code block.
    Code(Vec<String>),
    Table(Table),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            blocks.push(Block::Code(
                lines.by_ref().take_while(|line| !line.starts_with("```")).map(str::to_owned).collect(),
            ));
        } else if line.starts_with('#') {
            blocks.push(Block::Heading(line.trim_start_matches('#').trim().to_owned()));
        } else if line.starts_with('|') {
            let mut rows = vec![cells(line)];
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(cells(row));
            }
            let header = rows.remove(0);
            // The line of dashes.
            rows.remove(0);
            blocks.push(Block::Table(Table { header, rows }));
        } else if !line.is_empty() {
            let mut paragraph = line.to_owned();
            while let Some(line) = lines.next_if(|line| !line.is_empty() && !line.starts_with(['|', '#', '`'])) {
                paragraph.push(' ');
                paragraph.push_str(line);
            }
            blocks.push(Block::Paragraph(paragraph));
        }
    }
    blocks
}

/// The cells of a table row. `\|` is a bar inside a cell.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim_start_matches('|').replace(r"\|", "\u{0}");
    let row = row.strip_suffix('|').unwrap_or(&row);
    row.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

/// The text between backticks.
pub fn spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The names in a piece of code: `paths.create_token` and its segments, `retry`.
pub fn names(code: &str) -> Vec<&str> {
    code.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.'))
        .flat_map(|name| name.split('.').chain([name.trim_matches('.')]))
        .filter(|name| !name.is_empty())
        .collect()
}

/// Every code span and line of code in a document.
pub fn code(text: &str) -> Vec<String> {
    let of_spans = |text: &str| spans(text).into_iter().map(str::to_owned).collect::<Vec<_>>();
    blocks(text)
        .into_iter()
        .flat_map(|block| match block {
            Block::Code(lines) => lines,
            Block::Heading(text) | Block::Paragraph(text) => of_spans(&text),
            Block::Table(table) => table.rows.iter().flatten().flat_map(|cell| of_spans(cell)).collect(),
        })
        .collect()
}

/// Copies of a document, each without one row of a table whose first cell starts with a code span.
pub fn without_each_row(text: &str) -> impl Iterator<Item = (&str, String)> {
    let rows = text.lines().filter(|line| line.trim_start().starts_with("| `"));
    rows.map(move |row| (row, text.replacen(&format!("{row}\n"), "", 1)))
}

#[test]
fn blocks_are_distinguished() {
    let text =
        "# Title\n\nOne `span\nof code`.\n\n| a | b |\n|---|---|\n| `x` | y \\| z |\n\n  ```sh\n  run it\n  ```\nEnd.";
    let table = Table { header: vec!["a".into(), "b".into()], rows: vec![vec!["`x`".into(), "y | z".into()]] };
    let expected = [
        Block::Heading("Title".into()),
        Block::Paragraph("One `span of code`.".into()),
        Block::Table(table),
        Block::Code(vec!["run it".into()]),
        Block::Paragraph("End.".into()),
    ];
    assert_eq!(blocks(text), expected);
    assert_eq!(code(text), ["span of code", "x", "run it"]);
    assert_eq!(names("{ paths.one: 4s }"), ["paths", "one", "paths.one", "4s", "4s"]);
    assert_eq!(without_each_row(text).count(), 1);
}
