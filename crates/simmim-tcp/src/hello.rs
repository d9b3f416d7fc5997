//! The first words on a connection: who comes, and whether it is taken.

/// Bytes of either.
pub(crate) const BYTES: usize = 32;
/// How this protocol begins, of whoever comes.
const COMES: [u8; 8] = *b"simmim1>";
/// The same of rank 0.
const ANSWERS: [u8; 8] = *b"simmim1<";
/// Room for the version of the program.
const VERSION_BYTES: usize = 16;
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Who comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    version: [u8; VERSION_BYTES],
    pub(crate) world: u32,
    pub(crate) rank: u32,
}

/// What rank 0 answers: whether the other is taken, and if not what it has itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    version: [u8; VERSION_BYTES],
    world: u32,
    pub(crate) verdict: Verdict,
}

/// Whether a rank is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Welcome,
    OtherVersion,
    OtherWorld,
    /// The rank has come before, or there is none of that number.
    NoPlace,
}

/// The version of this program, or as much of it as there is room for.
fn own_version() -> [u8; VERSION_BYTES] {
    let mut version = [0; VERSION_BYTES];
    for (place, byte) in version.iter_mut().zip(VERSION.bytes()) {
        *place = byte;
    }
    version
}

/// What another says of its version, as a text.
fn text(version: [u8; VERSION_BYTES]) -> String {
    let text = String::from_utf8_lossy(&version);
    let text = text.trim_end_matches('\0');
    text.replace(char::is_control, "\u{fffd}")
}

/// Twice four bytes and a version behind the first word.
fn bytes(word: [u8; 8], version: [u8; VERSION_BYTES], numbers: Numbers) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&word);
    bytes[8..24].copy_from_slice(&version);
    bytes[24..28].copy_from_slice(&numbers.world.to_le_bytes());
    bytes[28..].copy_from_slice(&numbers.last.to_le_bytes());
    bytes
}

struct Numbers {
    world: u32,
    last: u32,
}

/// A part of the bytes, of which there are enough.
fn part<const N: usize>(bytes: &[u8; BYTES], start: usize) -> [u8; N] {
    std::array::from_fn(|place| bytes[start + place])
}

impl Hello {
    pub(crate) fn new(world: u32, rank: u32) -> Self {
        Self {
            version: own_version(),
            world,
            rank,
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; BYTES] {
        let Self { world, rank, .. } = self;
        bytes(COMES, self.version, Numbers { world, last: rank })
    }

    /// None of what is no such word.
    pub(crate) fn read(bytes: &[u8; BYTES]) -> Option<Self> {
        (part(bytes, 0) == COMES).then(|| Self {
            version: part(bytes, 8),
            world: u32::from_le_bytes(part(bytes, 24)),
            rank: u32::from_le_bytes(part(bytes, 28)),
        })
    }

    /// Whether bytes that are not all there yet may become such a word.
    pub(crate) fn may_begin(bytes: &[u8]) -> bool {
        bytes.iter().zip(COMES).all(|(found, byte)| *found == byte)
    }

    /// Whether the other is of the same training as `own`, as far as it says.
    pub(crate) fn judge(&self, own: &Self) -> Verdict {
        if self.version != own.version {
            Verdict::OtherVersion
        } else if self.world != own.world {
            Verdict::OtherWorld
        } else if self.rank == 0 || self.rank >= own.world {
            Verdict::NoPlace
        } else {
            Verdict::Welcome
        }
    }

    /// What rank 0 says of one that it does not take.
    pub(crate) fn describe(&self) -> String {
        let Self { world, rank, .. } = self;
        format!("rank {rank} of {world}, of simmim {}", text(self.version))
    }
}

impl Answer {
    pub(crate) fn new(own: &Hello, verdict: Verdict) -> Self {
        Self {
            version: own.version,
            world: own.world,
            verdict,
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; BYTES] {
        let last = match self.verdict {
            Verdict::Welcome => 0,
            Verdict::OtherVersion => 1,
            Verdict::OtherWorld => 2,
            Verdict::NoPlace => 3,
        };
        let world = self.world;
        bytes(ANSWERS, self.version, Numbers { world, last })
    }

    /// None of what is no such word.
    pub(crate) fn read(bytes: &[u8; BYTES]) -> Option<Self> {
        let verdict = match u32::from_le_bytes(part(bytes, 28)) {
            0 => Verdict::Welcome,
            1 => Verdict::OtherVersion,
            2 => Verdict::OtherWorld,
            3 => Verdict::NoPlace,
            _ => return None,
        };
        (part(bytes, 0) == ANSWERS).then(|| Self {
            version: part(bytes, 8),
            world: u32::from_le_bytes(part(bytes, 24)),
            verdict,
        })
    }

    /// Why the other is not taken.
    pub(crate) fn reason(&self) -> String {
        match self.verdict {
            Verdict::Welcome => "it is taken".to_owned(),
            Verdict::OtherVersion => format!(
                "it is simmim {VERSION}, and rank 0 simmim {}",
                text(self.version)
            ),
            Verdict::OtherWorld => format!("rank 0 is one of {} ranks", self.world),
            Verdict::NoPlace => "that rank has come already".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_were_written() {
        let hello = Hello::new(4, 3);
        assert_eq!(Hello::read(&hello.to_bytes()), Some(hello));
        for verdict in [
            Verdict::Welcome,
            Verdict::OtherVersion,
            Verdict::OtherWorld,
            Verdict::NoPlace,
        ] {
            let answer = Answer::new(&hello, verdict);
            assert_eq!(Answer::read(&answer.to_bytes()), Some(answer));
        }
    }

    #[test]
    fn other_words_are_none() {
        let hello = Hello::new(4, 3).to_bytes();
        assert_eq!(Answer::read(&hello), None);
        let answer = Answer::new(&Hello::new(4, 0), Verdict::Welcome).to_bytes();
        assert_eq!(Hello::read(&answer), None);
        assert!(Hello::may_begin(b"simm"));
        assert!(!Hello::may_begin(b"GET / HTTP/1.1"));
    }

    #[test]
    fn only_ranks_of_the_same_training_are_taken() {
        let own = Hello::new(4, 0);
        assert_eq!(Hello::new(4, 3).judge(&own), Verdict::Welcome);
        assert_eq!(Hello::new(4, 4).judge(&own), Verdict::NoPlace);
        assert_eq!(Hello::new(4, 0).judge(&own), Verdict::NoPlace);
        assert_eq!(Hello::new(5, 3).judge(&own), Verdict::OtherWorld);
        let mut older = Hello::new(4, 3);
        older.version[0] = b'\x1b';
        assert_eq!(older.judge(&own), Verdict::OtherVersion);
        assert!(!older.describe().contains('\x1b'));
    }
}
