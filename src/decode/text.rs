//! Converts the bytes of a file to UTF-8 text while they arrive.
//!
//! A file that is itself gzip is decompressed, all its members. A byte order mark determines the charset; without one,
//! the caller does, by default UTF-8. Nothing is replaced silently: bytes that are invalid in the charset become a byte
//! that is invalid in UTF-8, so that the consumer of the text rejects the row.

use std::borrow::Cow;

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::DecodeError;
use super::gzip::{Gunzip, MAGIC};

/// Never part of valid UTF-8.
const NO_LETTER: u8 = 0xFF;
/// The longest byte order mark.
const MARK_BYTES: usize = 3;

/// The charset of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

impl Charset {
    /// The charset with this name, in any case and usual spelling (WHATWG's list of labels).
    pub fn named(name: &str) -> Option<Self> {
        Encoding::for_label_no_replacement(name.as_bytes()).map(Self)
    }

    /// The charset in a Content-Type; `None` if it names none. The error is the name of an unknown charset.
    pub fn of_content_type(content_type: &str) -> Result<Option<Self>, &str> {
        let parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
        let named = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset")).map(|(_, value)| value);
        let name = named.map(|value| value.trim().trim_matches(['"', '\'']).trim()).next().unwrap_or_default();
        // "binary" means that the file is not text. "ASCII" means ASCII or more often UTF-8, not windows-1252 as in
        // WHATWG's list.
        let says_nothing = ["", "binary", "ascii", "us-ascii"];
        if says_nothing.iter().any(|word| name.eq_ignore_ascii_case(word)) {
            return Ok(None);
        }
        Self::named(name).map(Some).ok_or(name)
    }
}

/// Takes the bytes of a file and returns its text; see the module's documentation.
#[derive(Debug)]
pub struct FileText {
    packing: Packing,
    text: Text,
}

#[derive(Debug)]
enum Packing {
    /// The first bytes, until there are enough to recognise gzip.
    Start(Vec<u8>),
    Plain,
    Gzip(Gunzip),
}

enum Text {
    /// The first bytes, until there are enough to recognise a byte order mark, and the charset without one.
    Start(Vec<u8>, &'static Encoding),
    Utf8,
    Other(Decoder),
}

/// `Decoder` does not implement `Debug`.
impl std::fmt::Debug for Text {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Start(..) => "Start",
            Self::Utf8 => "Utf8",
            Self::Other(_) => "Other",
        })
    }
}

impl FileText {
    /// Decodes a file in this charset, unless a byte order mark says otherwise.
    pub fn new(charset: Option<Charset>) -> Self {
        let encoding = charset.map_or(UTF_8, |charset| charset.0);
        Self { packing: Packing::Start(Vec::new()), text: Text::Start(Vec::new(), encoding) }
    }

    /// Passes bytes on unchanged.
    pub const fn plain() -> Self {
        Self { packing: Packing::Plain, text: Text::Utf8 }
    }

    /// Takes bytes from the front of `input` and returns their text, bounded by the length of `input` plus a few
    /// hundred KiB. Call it until `input` is empty and it returns nothing.
    pub fn take<'a>(&mut self, input: &mut &'a [u8]) -> Result<Cow<'a, [u8]>, DecodeError> {
        loop {
            let unpacked = self.unpack(input)?;
            if unpacked.is_empty() {
                return Ok(Cow::Borrowed(b""));
            }
            let text = self.text.decode(unpacked);
            if !text.is_empty() {
                return Ok(text);
            }
        }
    }

    /// Ends the file and returns the rest of its text.
    pub fn finish(&mut self) -> Result<Vec<u8>, DecodeError> {
        let last = match &mut self.packing {
            Packing::Start(head) => std::mem::take(head),
            Packing::Plain => Vec::new(),
            Packing::Gzip(gunzip) => gunzip.finish()?,
        };
        let mut text = self.text.decode(last.into()).into_owned();
        self.text.finish(&mut text);
        Ok(text)
    }

    fn unpack<'a>(&mut self, input: &mut &'a [u8]) -> Result<Cow<'a, [u8]>, DecodeError> {
        loop {
            match &mut self.packing {
                Packing::Plain => return Ok(Cow::Borrowed(std::mem::take(input))),
                Packing::Gzip(gunzip) => return Ok(gunzip.take(input)?.into()),
                Packing::Start(head) if head.len() < MAGIC.len() => {
                    let Some((first, rest)) = input.split_first() else { return Ok(Cow::Borrowed(b"")) };
                    head.push(*first);
                    *input = rest;
                }
                Packing::Start(head) => {
                    let head = std::mem::take(head);
                    if head == MAGIC {
                        let mut gunzip = Gunzip::default();
                        // The first two bytes of a member contain no data.
                        gunzip.take(&mut &head[..])?;
                        self.packing = Packing::Gzip(gunzip);
                    } else {
                        self.packing = Packing::Plain;
                        return Ok(head.into());
                    }
                }
            }
        }
    }
}

impl Text {
    fn decode<'a>(&mut self, bytes: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
        let bytes = match self {
            Self::Start(head, _) if head.is_empty() && bytes.len() >= MARK_BYTES => {
                self.begin(&bytes);
                bytes
            }
            Self::Start(head, _) => {
                head.extend_from_slice(&bytes);
                if head.len() < MARK_BYTES {
                    return Cow::Borrowed(b"");
                }
                let head = std::mem::take(head);
                self.begin(&head);
                head.into()
            }
            Self::Utf8 | Self::Other(_) => bytes,
        };
        match self {
            Self::Other(decoder) => {
                let mut text = Vec::new();
                decode(decoder, &bytes, false, &mut text);
                text.into()
            }
            _ => bytes,
        }
    }

    /// Appends the rest of the text at its end.
    fn finish(&mut self, text: &mut Vec<u8>) {
        if let Self::Start(head, _) = self {
            let head = std::mem::take(head);
            self.begin(&head);
            match self {
                Self::Other(decoder) => decode(decoder, &head, false, text),
                _ => text.extend_from_slice(&head),
            }
        }
        if let Self::Other(decoder) = self {
            decode(decoder, b"", true, text);
        }
    }

    fn begin(&mut self, head: &[u8]) {
        let Self::Start(_, said) = self else { return };
        let encoding = match head {
            [0xEF, 0xBB, 0xBF, ..] => UTF_8,
            [0xFF, 0xFE, ..] => UTF_16LE,
            [0xFE, 0xFF, ..] => UTF_16BE,
            _ => *said,
        };
        *self = if encoding == UTF_8 { Self::Utf8 } else { Self::Other(encoding.new_decoder_with_bom_removal()) };
    }
}

fn decode(decoder: &mut Decoder, mut bytes: &[u8], is_last: bool, text: &mut Vec<u8>) {
    loop {
        let start = text.len();
        // The bound is absent only for texts of exabytes.
        let room = decoder.max_utf8_buffer_length_without_replacement(bytes.len()).unwrap_or(bytes.len());
        text.resize(start + room, 0);
        let (result, used, written) = decoder.decode_to_utf8_without_replacement(bytes, &mut text[start..], is_last);
        text.truncate(start + written);
        bytes = &bytes[used..];
        match result {
            DecoderResult::InputEmpty => return,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => text.push(NO_LETTER),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::gzip::GzipError;
    use super::super::gzip::tests::member;
    use super::*;

    fn text_of(charset: Option<&str>, file: &[u8], chunk: usize) -> Result<Vec<u8>, DecodeError> {
        let charset = charset.map(|name| Charset::named(name).unwrap());
        let (mut text, mut whole) = (FileText::new(charset), Vec::new());
        for piece in file.chunks(chunk) {
            let mut rest = piece;
            loop {
                let part = text.take(&mut rest)?;
                if part.is_empty() {
                    assert!(rest.is_empty());
                    break;
                }
                whole.extend_from_slice(&part);
            }
        }
        whole.extend(text.finish()?);
        Ok(whole)
    }

    /// Asserts the same text for every chunk size.
    fn read(charset: Option<&str>, file: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let whole = text_of(charset, file, file.len().max(1));
        for chunk in 1..file.len().min(9) {
            assert_eq!(text_of(charset, file, chunk), whole, "chunks of {chunk}");
        }
        whole
    }

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn a_content_type_names_the_charset_in_any_spelling() {
        for (content_type, name) in [
            ("text/csv", Ok(None)),
            ("text/csv; charset=utf-8", Ok(Some("UTF-8"))),
            ("text/csv;Charset=\"ISO-8859-1\"", Ok(Some("windows-1252"))),
            ("text/csv; header=present; charset = Windows-1252 ; x=y", Ok(Some("windows-1252"))),
            ("text/csv; charset=UTF8", Ok(Some("UTF-8"))),
            ("text/csv; charset='shift_jis'", Ok(Some("Shift_JIS"))),
            ("text/csv; charset=utf-16", Ok(Some("UTF-16LE"))),
            ("text/csv; charset=", Ok(None)),
            ("text/csv; charset", Ok(None)),
            ("charset=utf-16", Ok(None)),
            ("application/gzip; charset=binary", Ok(None)),
            ("text/csv; charset=klingon", Err("klingon")),
            ("text/csv; charset=iso-2022-kr", Err("iso-2022-kr")),
            ("", Ok(None)),
        ] {
            let named = Charset::of_content_type(content_type);
            assert_eq!(named.map(|charset| charset.map(|charset| charset.0.name())), name, "{content_type}");
        }
    }

    #[test]
    fn p5_a_file_is_read_in_its_charset() {
        let text = "Agent,Größe\nŽofie €,1\n";
        let windows = b"Agent,Gr\xF6\xDFe\n\x8Eofie \x80,1\n";
        for name in ["windows-1252", "iso-8859-1", "latin1", "cp1252"] {
            assert_eq!(read(Some(name), windows).unwrap(), text.as_bytes(), "{name}");
        }
        assert_eq!(read(Some("iso-8859-2"), b"\xAEofie").unwrap(), "Žofie".as_bytes());
        assert_eq!(read(None, text.as_bytes()).unwrap(), text.as_bytes());
        assert_eq!(read(None, windows).unwrap(), windows, "the consumer of the rows checks UTF-8");
        assert_eq!(read(Some("utf-16le"), &utf16(text, false)).unwrap(), text.as_bytes());
        assert_eq!(read(Some("utf-16be"), &utf16(text, true)).unwrap(), text.as_bytes());
        for file in [&b""[..], b"a", b"ab"] {
            assert_eq!(read(None, file).unwrap(), file);
            assert_eq!(read(Some("latin1"), file).unwrap(), file);
        }
    }

    #[test]
    fn p5_a_byte_order_mark_overrides_any_charset() {
        let text = "a;ß\n😀;2\n";
        for charset in [None, Some("utf-8"), Some("latin1"), Some("utf-16")] {
            for big in [false, true] {
                assert_eq!(read(charset, &utf16(&format!("\u{feff}{text}"), big)).unwrap(), text.as_bytes());
            }
            let marked = format!("\u{feff}{text}");
            assert_eq!(read(charset, marked.as_bytes()).unwrap(), marked.as_bytes(), "the mark itself is not a letter");
        }
        assert_eq!(read(None, b"\xFF\xFE").unwrap(), b"");
    }

    #[test]
    fn p5_an_invalid_character_rejects_only_its_own_row() {
        for (charset, file, text) in [
            ("utf-16le", [utf16("a\n", false), vec![0x00, 0xD8], utf16("\nb", false)].concat(), &b"a\n\xFF\nb"[..]),
            ("utf-16le", [utf16("ab", false), vec![0x63]].concat(), b"ab\xFF"),
            ("shift_jis", b"a,\x82\xA0\n\x82\n\x83\x40".to_vec(), b"a,\xE3\x81\x82\n\xFF\n\xE3\x82\xA1"),
            ("windows-1253", b"a\xAAb".to_vec(), b"a\xFFb"),
        ] {
            let read = read(Some(charset), &file).unwrap();
            assert_eq!(read, text, "{charset}: {}", read.escape_ascii());
        }
    }

    #[test]
    fn p5_a_gzip_file_is_decompressed_under_any_name() {
        let latin = b"Gr\xF6\xDFe\n".to_vec();
        let packed = [member(&latin[..3]), member(b""), member(&latin[3..])].concat();
        assert_eq!(read(Some("latin1"), &packed).unwrap(), "Größe\n".as_bytes());
        assert_eq!(read(None, &member(&utf16("\u{feff}ß", true))).unwrap(), "ß".as_bytes());
        assert_eq!(read(None, &[&packed[..], &[0; 5]].concat()).unwrap(), latin);
        let cut = read(None, &packed[..packed.len() - 1]).unwrap_err();
        assert_eq!(cut, DecodeError::Packed(GzipError::Broken));
        let trailing = read(None, &[&packed[..], b"x"].concat()).unwrap_err();
        assert_eq!(trailing, DecodeError::Packed(GzipError::Trailing));
        assert_eq!(read(None, &member(&packed)).unwrap(), packed, "once is enough");
        assert_eq!(read(None, b"\x1f").unwrap(), b"\x1f");
    }

    #[test]
    fn p6_the_output_of_one_call_is_bounded() {
        let bomb = member(&vec![b'\xE4'; 8 << 20]).repeat(3);
        let (mut text, mut rest, mut total) = (FileText::new(Charset::named("latin1")), &bomb[..], 0);
        loop {
            let part = text.take(&mut rest).unwrap();
            assert!(part.len() <= 256 << 10, "{}", part.len());
            total += part.len();
            if part.is_empty() {
                break;
            }
        }
        total += text.finish().unwrap().len();
        assert_eq!(total, 48 << 20);
    }

    proptest! {
        #[test]
        fn p5_any_text_round_trips_in_any_charset_that_has_its_characters(text in "\\PC{0,60}", chunk in 1_usize..9) {
            for name in ["utf-8", "utf-16le", "utf-16be", "gb18030"] {
                let file = match name {
                    "utf-16le" => utf16(&text, false),
                    "utf-16be" => utf16(&text, true),
                    _ => Charset::named(name).unwrap().0.encode(&text).0.into_owned(),
                };
                // A file that begins with the bytes of another format is read as that format.
                let is_marked = text.starts_with(['\u{feff}', '\u{fffe}']) || file.starts_with(MAGIC)
                    || file.starts_with(&[0xFF, 0xFE]) || file.starts_with(&[0xFE, 0xFF]) || file.starts_with(b"\xEF\xBB\xBF");
                prop_assume!(!is_marked);
                prop_assert_eq!(String::from_utf8(text_of(Some(name), &file, chunk).unwrap()).unwrap(), text.clone());
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic_and_the_same_in_any_chunks(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), chunk in 1_usize..20,
        ) {
            for name in [None, Some("latin1"), Some("utf-16le"), Some("shift_jis"), Some("iso-2022-jp"), Some("gb18030")] {
                prop_assert_eq!(text_of(name, &bytes, chunk), text_of(name, &bytes, 200));
            }
        }
    }
}
