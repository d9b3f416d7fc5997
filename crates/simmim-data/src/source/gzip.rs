//! Reading what gzip has compressed, with everything checked that `gzip --test` checks.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// The first byte of a gzip member.
const MAGIC: u8 = 0x1f;

/// The contents of all members of a file, one behind the other. Checksum and length of each are verified at its end.
pub(super) struct Gunzip<R> {
    /// `None` behind the last member.
    member: Option<GzDecoder<R>>,
    has_garbage: bool,
}

impl<R: BufRead> Gunzip<R> {
    pub(super) fn new(compressed: R) -> Self {
        Self {
            member: Some(GzDecoder::new(compressed)),
            has_garbage: false,
        }
    }

    /// Whether something that is no gzip member stands behind the last one, which gzip ignores with a warning.
    pub(super) fn has_garbage(&self) -> bool {
        self.has_garbage
    }

    /// Goes on to the next member, where there is one. Zeros are the padding of tapes, and mean nothing.
    fn next_member(&mut self, mut compressed: R) -> io::Result<()> {
        loop {
            let buffered = compressed.fill_buf()?;
            match buffered.iter().position(|byte| *byte != 0) {
                None if buffered.is_empty() => return Ok(()),
                None => {
                    let n_zeros = buffered.len();
                    compressed.consume(n_zeros);
                }
                Some(at) if buffered[at] == MAGIC => {
                    compressed.consume(at);
                    self.member = Some(GzDecoder::new(compressed));
                    return Ok(());
                }
                Some(_) => {
                    self.has_garbage = true;
                    return Ok(());
                }
            }
        }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let n_read = member.read(into)?;
            if n_read > 0 || into.is_empty() {
                return Ok(n_read);
            }
            if let Some(ended) = self.member.take() {
                self.next_member(ended.into_inner())?;
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> io::Result<(Vec<u8>, bool)> {
        // A small buffer, so that members begin in its middle and at its end.
        let mut gunzip = Gunzip::new(BufReader::with_capacity(7, bytes));
        let mut found = Vec::new();
        gunzip.read_to_end(&mut found)?;
        Ok((found, gunzip.has_garbage()))
    }

    #[test]
    fn members_follow_each_other_and_zeros_pad_them() {
        let [one, two] = [b"one", b"two"].map(|text| packed(text));
        let all = [&one[..], &two, &packed(b""), &[0; 20], &one, &[0; 3]].concat();
        assert_eq!(unpacked(&all).unwrap(), (b"onetwoone".to_vec(), false));
        let all = [&one[..], b"rest"].concat();
        assert_eq!(unpacked(&all).unwrap(), (b"one".to_vec(), true));
    }

    #[test]
    fn a_wrong_checksum_a_wrong_length_and_a_cut_are_errors() {
        let whole = packed(b"some bytes");
        for at in whole.len() - 8..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(unpacked(&damaged).is_err(), "{at}");
            assert!(unpacked(&whole[..at]).is_err(), "{at}");
        }
    }
}
