//! Text files, in the encodings that editors write.

use std::fs;
use std::path::Path;

use super::file::unreadable;
use crate::Error;

/// Reads a text file: UTF-8 or UTF-16, with or without a byte order mark, which is dropped.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let bytes = fs::read(path).map_err(|source| unreadable(path, source))?;
    decoded(bytes).map_err(|line| Error::NotText {
        path: path.to_owned(),
        line,
    })
}

/// The text, or the first line that is none.
fn decoded(bytes: Vec<u8>) -> Result<String, usize> {
    let text = match bytes.as_slice() {
        [0xef, 0xbb, 0xbf, utf_8 @ ..] => of_utf_8(utf_8.to_vec())?,
        [0xff, 0xfe, pairs @ ..] => of_utf_16(pairs, u16::from_le_bytes)?,
        [0xfe, 0xff, pairs @ ..] => of_utf_16(pairs, u16::from_be_bytes)?,
        // Without a mark the first letter tells: no list and no table begins with one that needs both bytes.
        [1..=255, 0, ..] => of_utf_16(&bytes, u16::from_le_bytes)?,
        [0, 1..=255, ..] => of_utf_16(&bytes, u16::from_be_bytes)?,
        _ => of_utf_8(bytes)?,
    };
    // No name of a file has one, so this is another encoding, or no text at all.
    match text.find('\0') {
        None => Ok(text),
        Some(at) => Err(line_at(text.as_bytes(), at)),
    }
}

fn of_utf_8(bytes: Vec<u8>) -> Result<String, usize> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        line_at(error.as_bytes(), at)
    })
}

fn of_utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, usize> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let letters = char::decode_utf16(pairs.iter().map(|pair| unit(*pair)));
    let mut text = String::with_capacity(pairs.len());
    for letter in letters {
        let Ok(letter) = letter else {
            return Err(line_at(text.as_bytes(), text.len()));
        };
        text.push(letter);
    }
    if rest.is_empty() {
        Ok(text)
    } else {
        Err(line_at(text.as_bytes(), text.len()))
    }
}

/// The number, from 1, of the line that a byte is on.
fn line_at(bytes: &[u8], at: usize) -> usize {
    bytes[..at].split(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_every_editor_is_read() {
        let expected = "é.png\r\nb.png\n";
        let utf_16 = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
            expected.encode_utf16().flat_map(unit).collect()
        };
        let (little, big) = (utf_16(u16::to_le_bytes), utf_16(u16::to_be_bytes));
        let ascii: Vec<u8> = "b".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [
            expected.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", expected.as_bytes()].concat(),
            [b"\xff\xfe", little.as_slice()].concat(),
            [b"\xfe\xff", big.as_slice()].concat(),
            little,
            big,
        ] {
            assert_eq!(decoded(bytes).unwrap(), expected);
        }
        assert_eq!(decoded(ascii).unwrap(), "b");
        assert_eq!(decoded(Vec::new()).unwrap(), "");
    }

    #[test]
    fn what_is_no_text_is_named_by_its_line() {
        for (bytes, line) in [
            (&b"a.png\nb\xe9.png\n"[..], 2),
            (b"\xff\xfea\0\n\0\0\xd8", 2),
            (b"\xff\xfea\0b", 1),
            (b"a\n\nb\0c", 3),
            (b"\xff\xfe\0\0a\0\0\0", 1),
        ] {
            assert_eq!(decoded(bytes.to_vec()), Err(line), "{bytes:?}");
        }
    }
}
