//! Response bodies: complete, or generated part by part while they are sent, and the ways in which they go wrong.

use std::io::{self, Write as _};
use std::iter;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use super::mischief::HoldAt;
use super::wire::Wire;

/// How much of a generated body is produced before the response begins. A shorter body is sent as if it were complete.
const AHEAD: usize = 1 << 20;
/// Part size of a generated body.
const PART: usize = 1 << 16;

/// A body that is generated while it is sent.
pub type Parts = Box<dyn Iterator<Item = Bytes> + Send>;

/// The content of a response.
pub(super) enum Content {
    Whole(Bytes),
    Made(Parts),
}

impl Content {
    /// Length in bytes. A generated body counts as 0: only the storage has them, and no vendor's bandwidth limit covers
    /// it.
    pub fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Made(_) => 0,
        }
    }

    /// The beginning, and the parts to be generated after it; `None` if the beginning is everything.
    pub fn begin(self) -> (Bytes, Option<Parts>) {
        let mut parts = match self {
            Self::Whole(bytes) => return (bytes, None),
            Self::Made(parts) => parts,
        };
        let mut begun = BytesMut::new();
        while begun.len() < AHEAD {
            match parts.next() {
                Some(part) => begun.extend_from_slice(&part),
                None => return (begun.freeze(), None),
            }
        }
        (begun.freeze(), Some(parts))
    }

    /// Repeats its beginning endlessly.
    pub fn endless(self) -> Self {
        let (begun, _) = self.begin();
        let part = if begun.is_empty() { Bytes::from_static(b"without end\n") } else { begun };
        Self::Made(Box::new(iter::repeat(part)))
    }

    /// The gzip of this many equal bytes, about a thousandth in size.
    pub fn bomb(bytes: u64) -> Self {
        let mut encoder = Some(GzEncoder::new(Vec::new(), Compression::default()));
        let mut left = letters(bytes);
        Self::Made(Box::new(iter::from_fn(move || {
            // Writing to memory cannot fail.
            if let Some(part) = left.next() {
                let encoder = encoder.as_mut()?;
                encoder.write_all(&part).ok()?;
                return Some(std::mem::take(encoder.get_mut()).into());
            }
            encoder.take()?.finish().ok().map(Bytes::from)
        })))
    }

    /// Its gzip in this many members of about equal length. For a generated body, every part is one member.
    pub fn in_members(self, members: usize) -> Self {
        match self.begin() {
            (whole, None) if whole.is_empty() => Self::Whole(compressed(&whole)),
            (whole, None) => {
                let length = whole.len().div_ceil(members.max(1)).max(1);
                Self::Whole(whole.chunks(length).flat_map(compressed).collect())
            }
            (begun, Some(rest)) => Self::Made(Box::new(iter::once(begun).chain(rest).map(|part| compressed(&part)))),
        }
    }

    /// One field of this many bytes: in a JSON array's only object, or in a CSV file with the original header.
    pub fn one_field(self, content_type: &str, bytes: u64) -> Self {
        let (before, after) = if content_type.contains("json") {
            (Bytes::from_static(b"[{\"field\":\""), "\"}]")
        } else {
            let (begun, _) = self.begin();
            let header = begun.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            (Bytes::from([&begun[..header], b"\""].concat()), "\"\n")
        };
        let after = iter::once(Bytes::from_static(after.as_bytes()));
        Self::Made(Box::new(iter::once(before).chain(letters(bytes)).chain(after)))
    }
}

fn letters(bytes: u64) -> impl Iterator<Item = Bytes> {
    let part = Bytes::from(vec![b'a'; PART]);
    let whole = iter::repeat_n(part.clone(), usize::try_from(bytes).unwrap_or(usize::MAX) / PART);
    let rest = usize::try_from(bytes % PART as u64).unwrap_or_default();
    whole.chain((rest > 0).then(|| part.slice(..rest)))
}

pub(super) fn compressed(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    encoder.write_all(body).and_then(|()| encoder.finish()).unwrap_or_default().into()
}

/// What happens between two parts of a body.
pub(super) enum After {
    Nothing,
    Reset(Wire),
    Wait(Duration),
    Gate(HoldAt),
}

/// A body that is being sent.
struct Sending {
    begun: Bytes,
    rest: Option<Parts>,
    part: usize,
    after: After,
    sent: usize,
    stopping: CancellationToken,
}

/// Sends the beginning and then the generated parts. When the simulator stops, the rest of a complete body is sent at
/// once, and a generated body breaks off.
pub(super) fn in_parts(
    begun: Bytes,
    rest: Option<Parts>,
    part: usize,
    after: After,
    stopping: CancellationToken,
) -> Body {
    let sending = Sending { begun, rest, part, after, sent: 0, stopping };
    Body::from_stream(stream::unfold(sending, |mut sending| async move { Some((sending.next().await?, sending)) }))
}

impl Sending {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        while self.begun.is_empty() {
            if self.rest.is_some() && self.stopping.is_cancelled() {
                return Some(Err(self.broken()));
            }
            self.begun = self.rest.as_mut()?.next()?;
        }
        let mut part = self.part;
        if self.sent > 0 {
            match &self.after {
                After::Nothing => {}
                // For a generated body, one part may not be enough.
                After::Reset(_) if self.sent < self.part => part -= self.sent,
                After::Reset(wire) => {
                    // Lets the part that was sent reach the client before the reset overtakes it.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    wire.reset();
                    return Some(Err(self.broken()));
                }
                After::Wait(every) => {
                    let _ = self.stopping.run_until_cancelled(tokio::time::sleep(*every)).await;
                }
                After::Gate(hold) => {
                    let _ = self.stopping.run_until_cancelled(hold.gate.pass()).await;
                    (self.after, self.part, part) = (After::Nothing, usize::MAX, usize::MAX);
                }
            }
        }
        let part = self.begun.split_to(part.clamp(1, self.begun.len()));
        self.sent += part.len();
        Some(Ok(part))
    }

    /// Nothing follows.
    fn broken(&mut self) -> io::Error {
        (self.begun, self.rest) = (Bytes::new(), None);
        io::ErrorKind::ConnectionReset.into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn all(content: Content) -> Vec<u8> {
        let (begun, rest) = content.begin();
        rest.into_iter().flatten().fold(begun.to_vec(), |whole, part| [whole, part.to_vec()].concat())
    }

    #[test]
    fn a_short_generated_body_is_sent_like_a_complete_one() {
        let parts = || Box::new(["a", "", "b"].map(Bytes::from).into_iter());
        let (begun, rest) = Content::Made(parts()).begin();
        assert_eq!((&begun[..], rest.is_none()), (&b"ab"[..], true));
        let long = Content::Made(Box::new(letters(3 << 20)));
        assert!(long.begin().1.is_some());
        let endless: Vec<Bytes> = Content::Made(parts()).endless().begin().1.unwrap().take(2).collect();
        assert_eq!(endless, ["ab", "ab"]);
    }

    #[test]
    fn members_together_contain_the_body() {
        let long: Vec<Bytes> = letters(3 << 20).chain([Bytes::from_static(b"end")]).collect();
        let made = || Content::Made(Box::new(long.clone().into_iter()));
        for (content, members, plain) in [
            (Content::Whole(Bytes::from_static(b"one,two\n1,2\n")), 3, b"one,two\n1,2\n".to_vec()),
            (Content::Whole(Bytes::from_static(b"1")), 9, b"1".to_vec()),
            (Content::Whole(Bytes::new()), 2, Vec::new()),
            (made(), 2, long.concat()),
        ] {
            let packed = all(content.in_members(members));
            let mut unpacked = Vec::new();
            flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == plain);
        }
        let packed = all(Content::Whole(Bytes::from_static(b"one,two\n1,2\n")).in_members(3));
        let mut first = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut first).unwrap();
        assert_eq!(first, b"one,");
    }

    #[test]
    fn bombs_and_fields_have_the_requested_size() {
        let mut plain = Vec::new();
        let bomb = all(Content::bomb(5_000_001));
        assert!(bomb.len() < 50_000, "{}", bomb.len());
        flate2::read::GzDecoder::new(&bomb[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain.len(), 5_000_001);
        let csv = || Content::Whole(Bytes::from_static(b"one,two\n1,2\n"));
        assert_eq!(all(csv().one_field("text/csv", 3)), b"one,two\n\"aaa\"\n");
        assert_eq!(all(csv().one_field("application/json", 3)), br#"[{"field":"aaa"}]"#);
    }
}
