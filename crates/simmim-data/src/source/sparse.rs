//! Members of tar archives that GNU tar has stored without their zeros, as `tar --sparse --format=pax` does.

use std::io;

use tar::PaxExtension;

/// The beginning of the keys that make a member a sparse one.
const PREFIX: &str = "GNU.sparse.";
/// The map in front of the data takes a whole number of blocks.
const BLOCK_BYTES: usize = 512;

/// What the extended headers say of a sparse member.
///
/// Source: GNU tar manual, "Storing Sparse Files", versions 0.0, 0.1 and 1.0 of the format.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    /// The member's name, where the one in its header only says that it is sparse.
    pub(super) name: Option<String>,
    /// Bytes of the whole file.
    pub(super) size_bytes: u64,
    /// Offsets and lengths in turn; empty where they stand in front of the data.
    map: Vec<u64>,
    has_map_in_data: bool,
}

impl Sparse {
    /// `None` for a member that is not sparse.
    pub(super) fn of<'a>(
        extensions: impl Iterator<Item = io::Result<PaxExtension<'a>>>,
    ) -> io::Result<Option<Self>> {
        let mut found = None;
        for extension in extensions {
            let extension = extension?;
            let Some(key) = extension
                .key()
                .ok()
                .and_then(|key| key.strip_prefix(PREFIX))
            else {
                continue;
            };
            let value = String::from_utf8_lossy(extension.value_bytes());
            let sparse: &mut Self = found.get_or_insert_default();
            match key {
                "name" => sparse.name = Some(value.into_owned()),
                "size" | "realsize" => sparse.size_bytes = number(&value)?,
                "major" => sparse.has_map_in_data = number(&value)? >= 1,
                "offset" | "numbytes" => sparse.map.push(number(&value)?),
                "map" => sparse.map = value.split(',').map(number).collect::<io::Result<_>>()?,
                // Numbers of pieces and of minor versions, which say nothing more.
                _ => {}
            }
        }
        Ok(found)
    }

    /// The whole file, of what the archive has of it.
    pub(super) fn expand(&self, stored: &[u8]) -> io::Result<Vec<u8>> {
        let (map, mut data) = if self.has_map_in_data {
            map_in_front(stored)?
        } else {
            (self.map.clone(), stored)
        };
        let mut whole = vec![0; self.size_bytes as usize];
        for piece in map.chunks(2) {
            let [offset, n_bytes] = *piece else {
                return Err(misfit());
            };
            let end = offset.checked_add(n_bytes).ok_or_else(misfit)?;
            let to = whole.get_mut(offset as usize..end as usize);
            let (from, rest) = data.split_at_checked(n_bytes as usize).ok_or_else(misfit)?;
            to.ok_or_else(misfit)?.copy_from_slice(from);
            data = rest;
        }
        Ok(whole)
    }
}

/// The map at the beginning of a member's data: how many pieces, then offset and length of each, a line a number.
fn map_in_front(stored: &[u8]) -> io::Result<(Vec<u64>, &[u8])> {
    let mut at = 0;
    let mut next = || {
        let rest = &stored[at..];
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(misfit)?;
        at += end + 1;
        number(&String::from_utf8_lossy(&rest[..end]))
    };
    let n_numbers = next()?.checked_mul(2).ok_or_else(misfit)?;
    // Not allocated at once: what a file says of its length may be anything.
    let map = (0..n_numbers)
        .map(|_| next())
        .collect::<io::Result<Vec<_>>>()?;
    let data_from = at.next_multiple_of(BLOCK_BYTES);
    Ok((map, stored.get(data_from..).unwrap_or_default()))
}

fn number(text: &str) -> io::Result<u64> {
    text.trim().parse().map_err(|_| misfit())
}

fn misfit() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the map of a sparse member does not fit the member",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_stand_between_zeros() {
        let given = Sparse {
            size_bytes: 8,
            map: vec![1, 2, 6, 1, 8, 0],
            ..Sparse::default()
        };
        assert_eq!(given.expand(b"abc").unwrap(), b"\0ab\0\0\0c\0");
        let mut stored = b"2\n1\n2\n6\n1\n".to_vec();
        stored.resize(512, 0);
        stored.extend(b"abc");
        let in_data = Sparse {
            size_bytes: 8,
            has_map_in_data: true,
            ..Sparse::default()
        };
        assert_eq!(in_data.expand(&stored).unwrap(), b"\0ab\0\0\0c\0");
    }

    #[test]
    fn maps_that_do_not_fit_are_errors() {
        let of = |map: &[u64]| Sparse {
            size_bytes: 8,
            map: map.to_vec(),
            ..Sparse::default()
        };
        for map in [&[0][..], &[7, 2], &[0, 9], &[u64::MAX, 2], &[0, 3, 3, 1]] {
            assert!(of(map).expand(b"abc").is_err(), "{map:?}");
        }
        for stored in [
            &b""[..],
            b"x\n",
            b"1\n0\n",
            b"18446744073709551615\n",
            b"9999999999\n1\n",
        ] {
            assert!(map_in_front(stored).is_err(), "{stored:?}");
        }
    }
}
