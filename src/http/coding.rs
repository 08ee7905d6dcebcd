//! What a body is packed in. Only gzip is offered to vendors, so nothing else may come.

use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};

use crate::decode::gzip::Gunzip;

/// What is offered: the value of `Accept-Encoding`.
pub(super) const OFFERED: HeaderValue = HeaderValue::from_static("gzip");
/// Encodings that an error names. Any other name is the vendor's own text and is not shown.
const KNOWN: &[&str] =
    &["br", "zstd", "deflate", "compress", "x-compress", "dcb", "dcz", "aes128gcm", "exi", "pack200-gzip"];

/// How the bytes of a body become its text.
#[derive(Debug)]
pub(super) enum Coding {
    Identity,
    Gzip(Gunzip),
    /// One that was not offered, by its name.
    Other(&'static str),
}

impl Coding {
    /// What the head of an answer says. Header names and values may come in any case, and in several lines.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(CONTENT_ENCODING).into_iter();
        let text: Vec<String> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase()).collect();
        let codings: Vec<&str> = text
            .iter()
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .filter(|coding| !matches!(*coding, "" | "identity"))
            .collect();
        match codings[..] {
            [] => Self::Identity,
            ["gzip" | "x-gzip"] => Self::Gzip(Gunzip::default()),
            [other] => {
                Self::Other(KNOWN.iter().find(|known| **known == other).copied().unwrap_or("of an unknown name"))
            }
            _ => Self::Other("several, one within another"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CONTENT_ENCODING, HeaderValue::from_str(line).unwrap());
        }
        match Coding::of(&headers) {
            Coding::Identity => "identity".to_owned(),
            Coding::Gzip(_) => "gzip".to_owned(),
            Coding::Other(name) => format!("not {name}"),
        }
    }

    #[test]
    fn gzip_and_nothing_are_read_and_everything_else_is_named() {
        for (lines, coding) in [
            (&[][..], "identity"),
            (&["identity"], "identity"),
            (&[""], "identity"),
            (&["gzip"], "gzip"),
            (&["GZip "], "gzip"),
            (&["x-gzip"], "gzip"),
            (&["identity, gzip"], "gzip"),
            (&["br"], "not br"),
            (&["ZSTD"], "not zstd"),
            (&["deflate"], "not deflate"),
            (&["s3cret-value"], "not of an unknown name"),
            (&["gzip, gzip"], "not several, one within another"),
            (&["deflate", "gzip"], "not several, one within another"),
        ] {
            assert_eq!(of(lines), coding, "{lines:?}");
        }
    }
}
