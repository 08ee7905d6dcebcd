//! Decompresses gzip while it arrives: all members, one after another (RFC 1952, §2.2).
//!
//! Zero bytes may follow the last member, as `gzip` itself allows; anything else that is not a member is an error. The
//! output of one call is bounded, however small its input.

use std::io::Write as _;

use flate2::write::GzDecoder;

/// The first bytes of every member.
pub const MAGIC: &[u8] = &[0x1F, 0x8B];

/// Why bytes are not gzip. Includes truncated bodies.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum GzipError {
    #[error("its gzip data is corrupt or truncated")]
    Broken,
    #[error("bytes that are not gzip follow its last gzip member")]
    Trailing,
}

/// Takes compressed bytes and returns the decompressed ones; see the module's documentation.
#[derive(Debug, Default)]
pub struct Gunzip {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// No bytes so far.
    #[default]
    Start,
    Member(Box<GzDecoder<Vec<u8>>>),
    /// A member has ended.
    Between,
    /// Zero bytes follow the last member.
    Padding,
}

impl Gunzip {
    /// Takes bytes from the front of `input` and returns what they decompress to, at most about 64 KiB. Call it until
    /// `input` is empty and it returns nothing.
    pub fn take(&mut self, input: &mut &[u8]) -> Result<Vec<u8>, GzipError> {
        while let Some(&first) = input.first() {
            match &mut self.state {
                State::Start => self.begin(),
                State::Between if first == MAGIC[0] => self.begin(),
                State::Between if first == 0 => self.state = State::Padding,
                State::Between => return Err(GzipError::Trailing),
                State::Padding => {
                    let zeros = input.iter().take_while(|byte| **byte == 0).count();
                    *input = &input[zeros..];
                    if !input.is_empty() {
                        return Err(GzipError::Trailing);
                    }
                }
                State::Member(decoder) => {
                    let used = decoder.write(input).map_err(|_| GzipError::Broken)?;
                    *input = input.get(used..).unwrap_or_default();
                    // A complete member takes no more bytes.
                    let unpacked = if used == 0 { self.end()? } else { std::mem::take(decoder.get_mut()) };
                    if !unpacked.is_empty() {
                        return Ok(unpacked);
                    }
                }
            }
        }
        Ok(Vec::new())
    }

    /// Ends the input and returns the remaining output. Empty input yields empty output.
    pub fn finish(&mut self) -> Result<Vec<u8>, GzipError> {
        self.end()
    }

    fn begin(&mut self) {
        self.state = State::Member(Box::new(GzDecoder::new(Vec::new())));
    }

    /// Ends the member after checking its checksum and length.
    fn end(&mut self) -> Result<Vec<u8>, GzipError> {
        match std::mem::take(&mut self.state) {
            State::Member(decoder) => {
                self.state = State::Between;
                decoder.finish().map_err(|_| GzipError::Broken)
            }
            other => {
                self.state = other;
                Ok(Vec::new())
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    /// Compresses one member.
    pub(crate) fn member(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(pieces: &[&[u8]]) -> Result<Vec<u8>, GzipError> {
        let (mut gunzip, mut whole) = (Gunzip::default(), Vec::new());
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let unpacked = gunzip.take(&mut rest)?;
                if unpacked.is_empty() {
                    assert!(rest.is_empty(), "output may be empty only when all input is taken");
                    break;
                }
                whole.extend(unpacked);
            }
        }
        whole.extend(gunzip.finish()?);
        Ok(whole)
    }

    #[test]
    fn all_members_are_read_including_empty_ones() {
        for texts in [&["one"][..], &["one", "two"], &["", "one", "", "", "two", "three", ""], &[""]] {
            let packed: Vec<u8> = texts.iter().flat_map(|text| member(text.as_bytes())).collect();
            assert_eq!(unpack(&[&packed]).unwrap(), texts.concat().into_bytes(), "{texts:?}");
        }
        assert_eq!(unpack(&[]).unwrap(), b"", "no bytes hold nothing");
    }

    #[test]
    fn a_header_may_have_all_optional_fields() {
        let mut encoder = GzBuilder::new()
            .filename("a name")
            .comment("of a file")
            .extra(vec![b'x'; 300])
            .mtime(7)
            .write(Vec::new(), Compression::best());
        encoder.write_all(b"rows").unwrap();
        let packed = [encoder.finish().unwrap(), member(b" and rows")].concat();
        let bytes: Vec<&[u8]> = packed.chunks(1).collect();
        assert_eq!(unpack(&bytes).unwrap(), b"rows and rows");
    }

    #[test]
    fn only_zeros_may_follow_the_last_member() {
        let whole = [member(b"one"), member(b"two")].concat();
        for (tail, outcome) in [
            (&b""[..], Ok(b"onetwo".to_vec())),
            (&[0; 1], Ok(b"onetwo".to_vec())),
            (&[0; 5000], Ok(b"onetwo".to_vec())),
            (b"x", Err(GzipError::Trailing)),
            (b"\n", Err(GzipError::Trailing)),
            (b"\0\0x", Err(GzipError::Trailing)),
            (b"\x1f", Err(GzipError::Broken)),
            (b"\x1fx", Err(GzipError::Broken)),
            (b"\x1f\x8b\x08", Err(GzipError::Broken)),
        ] {
            let packed = [&whole, tail].concat();
            assert_eq!(unpack(&[&packed]), outcome, "{}", tail.escape_ascii());
            let bytes: Vec<&[u8]> = packed.chunks(1).collect();
            assert_eq!(unpack(&bytes), outcome, "{} byte by byte", tail.escape_ascii());
        }
        let padded = [member(b"one"), vec![0; 3], member(b"two")].concat();
        assert_eq!(unpack(&[&padded]), Err(GzipError::Trailing), "padding ends the file");
    }

    #[test]
    fn truncation_is_detected_except_between_two_members() {
        let packed = [member(b"one"), member(b"two")].concat();
        let boundary = member(b"one").len();
        for end in 1..packed.len() {
            let outcome = unpack(&[&packed[..end]]);
            if end == boundary {
                assert_eq!(outcome.unwrap(), b"one");
            } else {
                assert_eq!(outcome, Err(GzipError::Broken), "cut at {end} of {}", packed.len());
            }
        }
    }

    #[test]
    fn a_wrong_checksum_or_length_is_detected_in_every_member() {
        for at in 1..=8 {
            for members in [[member(b"one"), member(b"two")], [member(b"two"), member(b"one")]] {
                let first = members[0].len();
                let packed = members.concat();
                for end in [first, packed.len()] {
                    let mut damaged = packed.clone();
                    damaged[end - at] ^= 1;
                    assert_eq!(unpack(&[&damaged]), Err(GzipError::Broken));
                }
            }
        }
    }

    #[test]
    fn p6_the_output_of_one_call_is_bounded_across_members() {
        let bomb = member(&vec![b'x'; 20 << 20]);
        let packed = [bomb.clone(), bomb.clone(), bomb].concat();
        let (mut gunzip, mut rest, mut total) = (Gunzip::default(), &packed[..], 0);
        loop {
            let unpacked = gunzip.take(&mut rest).unwrap();
            assert!(unpacked.len() <= 64 << 10, "{}", unpacked.len());
            total += unpacked.len();
            if unpacked.is_empty() {
                break;
            }
        }
        let last = gunzip.finish().unwrap();
        assert!(last.len() <= 64 << 10, "{}", last.len());
        assert_eq!(total + last.len(), 60 << 20);
    }

    proptest! {
        #[test]
        fn members_are_the_same_in_any_chunks(
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..5),
            cuts in proptest::collection::vec(1_usize..40, 1..8),
        ) {
            let packed: Vec<u8> = texts.iter().flat_map(|text| member(text)).collect();
            let (mut pieces, mut rest, mut cut) = (Vec::new(), &packed[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(unpack(&pieces).unwrap(), texts.concat());
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(
            start in any::<bool>(), bytes in proptest::collection::vec(any::<u8>(), 0..200), chunk in 1_usize..20,
        ) {
            let packed = if start { [&member(b"one"), &bytes[..]].concat() } else { bytes };
            let pieces: Vec<&[u8]> = packed.chunks(chunk).collect();
            let _ = unpack(&pieces);
        }
    }
}
