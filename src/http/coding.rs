//! The encoding of a body. Only gzip is offered to vendors, so nothing else is accepted.

use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};

use crate::decode::gzip::Gunzip;

/// The value of `Accept-Encoding`.
pub(super) const OFFERED: HeaderValue = HeaderValue::from_static("gzip");
/// Encodings that an error names. Any other name is vendor text and is not shown.
const KNOWN: &[&str] =
    &["br", "zstd", "deflate", "compress", "x-compress", "dcb", "dcz", "aes128gcm", "exi", "pack200-gzip"];

/// How a body is encoded.
#[derive(Debug)]
pub(super) enum Coding {
    Identity,
    Gzip(Gunzip),
    /// An encoding that was not offered, by name.
    Other(&'static str),
}

impl Coding {
    /// The encoding that the headers state. Names and values may be in any case and in several lines.
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
                Self::Other(KNOWN.iter().find(|known| **known == other).copied().unwrap_or("with an unknown name"))
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
    fn gzip_and_no_encoding_are_accepted_and_others_are_named() {
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
            (&["s3cret-value"], "not with an unknown name"),
            (&["gzip, gzip"], "not several, one within another"),
            (&["deflate", "gzip"], "not several, one within another"),
        ] {
            assert_eq!(of(lines), coding, "{lines:?}");
        }
    }
}
