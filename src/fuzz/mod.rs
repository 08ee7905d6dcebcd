//! Hostile input for everything that parses text from a vendor or an operator: valid samples with structural damage.
//!
//! Every parser must not panic, must terminate, must stay within its memory bounds, and must produce the same outcome
//! however the bytes are split into chunks. `PROPTEST_CASES` sets the number of cases per test; the default suits
//! everyday runs. Private parsers of a module are tested in a `fuzz` module of their own, with the same damage.

mod decoders;
mod pages;

use futures_util::FutureExt as _;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::connector::StepError;
use crate::http::Redactor;
use crate::secret::Secret;
use crate::text::steers;

/// Used in samples wherever a vendor could repeat a credential.
pub(crate) const SECRET: &str = "s3cret-value";
/// Longer than a message with the 500 characters of vendor text that it may hold.
const SHOWN_CHARS_MAX: usize = 700;

/// Fragments that parsers are likely to handle wrongly.
const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b":",
    b",",
    b";",
    b"\t",
    b"|",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"<",
    b">",
    b"/",
    b"\\\"",
    b"\\u0000",
    b"\\ud800",
    b"\\u007b",
    b"\"\"",
    b"\"\"\"",
    b"null",
    b"true",
    b"-",
    b"0",
    b"1e999",
    b"1e-999",
    b"NaN",
    b"-Infinity",
    b"\"a\":NaN,",
    b"9223372036854775808",
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\x1b[2J",
    b"[[[[[[[[[[[[[[[[",
    b"\"a\":",
    b"{\"a\":{\"b\":",
    b"\"result\":[",
    b"\"Result\":null,",
    b"lastDocument",
    b"- ",
    b"&a ",
    b"*a",
    b"${",
    b"}",
    b"?",
];

/// One kind of damage to a sample.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Insert(Index, &'static [u8]),
    Delete(Index, usize),
    /// A piece is inserted again at another position.
    Copy(Index, usize, Index),
    /// A piece is repeated many times.
    Repeat(Index, usize, usize),
    Truncate(Index),
    /// The rest is replaced by the rest of another sample.
    Splice(Index, Index, Index),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    prop_oneof![
        2 => (place(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        4 => (place(), select(TOKENS)).prop_map(|(at, token)| Damage::Insert(at, token)),
        3 => (place(), 1_usize..12).prop_map(|(at, length)| Damage::Delete(at, length)),
        2 => (place(), 1_usize..40, place()).prop_map(|(from, length, to)| Damage::Copy(from, length, to)),
        1 => (place(), 1_usize..20, 2_usize..300).prop_map(|(at, length, times)| Damage::Repeat(at, length, times)),
        1 => place().prop_map(Damage::Truncate),
        1 => (place(), place(), place()).prop_map(|(sample, from, at)| Damage::Splice(sample, from, at)),
    ]
}

impl Damage {
    fn strike(&self, bytes: &mut Vec<u8>, samples: &[&[u8]]) {
        // Half of the positions are at the start or end of a token.
        let place = |index: &Index, bytes: &[u8]| {
            let at = index.index(bytes.len() + 1);
            let joint = |byte: &u8| byte.is_ascii_punctuation() || *byte == b'\n';
            let near = bytes[at..].iter().position(joint).filter(|_| index.index(2) == 0);
            at + near.unwrap_or(0)
        };
        match self {
            Self::Flip(at, bit) => {
                let at = place(at, bytes);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Insert(at, token) => {
                let at = place(at, bytes);
                bytes.splice(at..at, token.iter().copied());
            }
            Self::Delete(at, length) => {
                let at = place(at, bytes);
                let end = (at + length).min(bytes.len());
                bytes.drain(at..end);
            }
            Self::Copy(from, length, to) => {
                let from = place(from, bytes);
                let piece = bytes[from..(from + length).min(bytes.len())].to_vec();
                let to = place(to, bytes);
                bytes.splice(to..to, piece);
            }
            Self::Repeat(at, length, times) => {
                let at = place(at, bytes);
                let piece = bytes[at..(at + length).min(bytes.len())].repeat(*times);
                bytes.splice(at..at, piece);
            }
            Self::Truncate(at) => bytes.truncate(place(at, bytes)),
            Self::Splice(sample, from, at) => {
                let other = sample.get(samples);
                let (at, from) = (place(at, bytes), place(from, other));
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}

/// One of the samples, intact or damaged in several ways; sometimes random bytes.
pub(crate) fn damaged(samples: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let struck = (select(samples), prop::collection::vec(any_damage(), 0..8)).prop_map(|(sample, damages)| {
        let mut bytes = sample.to_vec();
        for damage in damages {
            damage.strike(&mut bytes, samples);
        }
        bytes
    });
    let noise = prop::collection::vec(
        prop_oneof![select(TOKENS).prop_map(<[u8]>::to_vec), any::<[u8; 3]>().prop_map(|noise| noise.to_vec())],
        0..60,
    );
    prop_oneof![9 => struck, 1 => noise.prop_map(|parts| parts.concat())]
}

/// The same as text.
pub(crate) fn damaged_text(samples: &'static [&'static [u8]]) -> impl Strategy<Value = String> {
    damaged(samples).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A redactor that knows the credential of the samples.
pub(crate) fn redactor() -> Redactor {
    Redactor::new(vec![Secret::new(SECRET)])
}

/// Asserts that a text may be shown and logged: one line of bounded length, without a credential and without terminal
/// control characters.
pub(crate) fn assert_decent(text: &str) {
    assert!(!text.contains(SECRET), "{text}");
    assert!(!text.chars().any(steers), "{text:?}");
    assert!(text.chars().count() <= SHOWN_CHARS_MAX, "{text}");
}

/// Asserts that an error message is not empty and may be shown.
pub(crate) fn assert_told(error: &StepError) {
    let shown = error.to_string();
    assert!(!shown.is_empty());
    assert_decent(&shown);
    assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
}

/// Runs a future that never has to wait.
pub(crate) fn at_once<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("it waits")
}

/// Chunk lengths, used in turn.
pub(crate) fn any_cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![1]), prop::collection::vec(1_usize..90, 1..8), Just(vec![usize::MAX])]
}

/// Splits the bytes into chunks of these lengths.
pub(crate) fn pieces<'a>(bytes: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(rest.len().min(*cuts.next()?));
        rest = after;
        Some(piece)
    })
}
