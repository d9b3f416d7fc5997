//! The bytes of a pickle.

use std::io::{self, Read};

use crate::error::Problem;

/// The longest name of a module or a class, in bytes.
const MAX_NAME_BYTES: usize = 1 << 10;

/// A stream of bytes of known length that knows how far it was read.
pub(crate) struct Input<R> {
    reader: R,
    position: u64,
    n_bytes: u64,
}

impl<R: Read> Input<R> {
    pub(crate) fn new(reader: R, n_bytes: u64) -> Self {
        Self {
            reader,
            position: 0,
            n_bytes,
        }
    }

    /// How many bytes were read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes there are.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Problem> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// That many bytes. A length beyond the end is refused before there is memory for it.
    pub(crate) fn bytes(&mut self, length: u64) -> Result<Vec<u8>, Problem> {
        let left = self.n_bytes.saturating_sub(self.position);
        let length = usize::try_from(length).ok();
        let length = length.filter(|&length| length as u64 <= left);
        let mut bytes = vec![0; length.ok_or(Problem::Ends)?];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self, length: u64) -> Result<String, Problem> {
        text(self.bytes(length)?)
    }

    /// A name that ends with its line.
    pub(crate) fn line(&mut self) -> Result<String, Problem> {
        let mut bytes = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return text(bytes),
                byte => bytes.push(byte),
            }
            if bytes.len() > MAX_NAME_BYTES {
                return Err(Problem::LongName {
                    limit: MAX_NAME_BYTES,
                    found: bytes.len(),
                });
            }
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Problem> {
        if (bytes.len() as u64) > self.n_bytes.saturating_sub(self.position) {
            return Err(Problem::Ends);
        }
        self.reader
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Problem::Ends,
                _ => Problem::Io(error),
            })?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

fn text(bytes: Vec<u8>) -> Result<String, Problem> {
    String::from_utf8(bytes).map_err(|_| Problem::Kind {
        what: "a text",
        expected: "UTF-8",
        found: "other bytes".to_owned(),
    })
}
