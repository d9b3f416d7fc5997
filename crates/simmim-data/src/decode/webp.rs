//! The chunks of a WebP, as far as they decide what memory is taken.
//!
//! The decoder (`image-webp` 0.2.4) believes what they say: a chunk of EXIF data of a few bytes takes up to 4 GiB, and a lossy
//! frame that is larger than the image takes memory for its own size before the two are compared.

use image::metadata::Orientation;

use super::DecodeSettings;
use crate::Error;

/// "RIFF", the length of the rest, "WEBP".
const HEADER_BYTES: usize = 12;

/// The orientation in the EXIF data of an image; none where it carries none that is valid.
pub(super) fn orientation(webp: &[u8]) -> Option<Orientation> {
    let mut chunks = Chunks::of(webp);
    // The other forms have no chunks but the image's.
    if chunks.next()?.name != *b"VP8X" {
        return None;
    }
    let exif = chunks.find(|chunk| chunk.name == *b"EXIF")?;
    Orientation::from_exif_chunk(exif.whole?)
}

/// Refuses an image that has a lossy frame of too many pixels.
pub(super) fn check_frames(webp: &[u8], settings: &DecodeSettings) -> Result<(), Error> {
    /// In front of the frame within a frame of an animation: place, size, time, flags.
    const FRAME_HEADER_BYTES: usize = 16;
    for chunk in Chunks::of(webp) {
        check(&chunk, settings)?;
        if chunk.name == *b"ANMF" {
            // An alpha and a frame at the most, which the decoder also reads where they end outside.
            let rest = chunk.from_data.get(FRAME_HEADER_BYTES..);
            for inner in Chunks(rest.unwrap_or_default()).take(2) {
                check(&inner, settings)?;
            }
        }
    }
    Ok(())
}

/// Source: RFC 6386, 9.1: a tag of three bytes, a start code of three, then width and height in 14 bits each.
fn check(chunk: &Chunk<'_>, settings: &DecodeSettings) -> Result<(), Error> {
    let Some([_, _, _, _, _, _, w0, w1, h0, h1]) = chunk.from_data.first_chunk::<10>() else {
        return Ok(());
    };
    let side = |low: &u8, high: &u8| u64::from(u16::from_le_bytes([*low, *high]) & 0x3fff);
    let (width, height) = (side(w0, w1), side(h0, h1));
    if chunk.name == *b"VP8 " && width * height > settings.max_pixels {
        return Err(Error::TooManyPixels {
            width,
            height,
            limit_px: settings.max_pixels,
        });
    }
    Ok(())
}

/// A chunk and what is behind its header.
struct Chunk<'a> {
    name: [u8; 4],
    /// What it holds; none where the file ends before.
    whole: Option<&'a [u8]>,
    /// The file from what it holds on.
    from_data: &'a [u8],
}

/// The chunks that stand in some bytes, one behind the other.
struct Chunks<'a>(&'a [u8]);

impl<'a> Chunks<'a> {
    fn of(webp: &'a [u8]) -> Self {
        Self(webp.get(HEADER_BYTES..).unwrap_or_default())
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.split_first_chunk::<4>()?;
        let (length, from_data) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        // A chunk of an odd length is followed by a byte that belongs to none.
        let behind = from_data.get(length.saturating_add(length % 2)..);
        self.0 = behind.unwrap_or_default();
        Some(Chunk {
            name: *name,
            whole: from_data.get(..length),
            from_data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: [u8; 4], data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u32).to_le_bytes();
        let padding = &[0][..data.len() % 2];
        [&name[..], &length, data, padding].concat()
    }

    fn webp(chunks: &[Vec<u8>]) -> Vec<u8> {
        let extended = chunk(*b"VP8X", &[8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        [&b"RIFF\xff\0\0\0WEBP"[..], &extended, &chunks.concat()].concat()
    }

    /// With the tag in an EXIF chunk behind a chunk of an odd length.
    fn tagged(tag: u8) -> Vec<u8> {
        let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([tag, 0, 0, 0, 0, 0, 0, 0]);
        webp(&[chunk(*b"ALPH", b"a"), chunk(*b"EXIF", &exif)])
    }

    #[test]
    fn the_tag_is_found_and_a_chunk_that_says_to_be_gigantic_is_none() {
        let whole = tagged(8);
        assert_eq!(orientation(&whole), Some(Orientation::Rotate270));
        assert_eq!(orientation(&tagged(9)), None);
        for len in 0..whole.len() {
            assert_eq!(orientation(&whole[..len]), None);
        }
        let at = whole.windows(4).position(|name| name == b"EXIF").unwrap();
        let mut gigantic = whole.clone();
        gigantic[at + 4..at + 8].fill(0xff);
        assert_eq!(orientation(&gigantic), None);
        let mut lossless = whole;
        lossless[12..16].copy_from_slice(b"VP8L");
        assert_eq!(orientation(&lossless), None);
    }

    #[test]
    fn a_frame_of_too_many_pixels_is_refused_wherever_it_stands() {
        let settings = DecodeSettings {
            max_pixels: 1 << 16,
            ..DecodeSettings::default()
        };
        let frame = |w: u16, h: u16| {
            let size = [w.to_le_bytes(), h.to_le_bytes()].concat();
            chunk(
                *b"VP8 ",
                &[&[0x30, 1, 0, 0x9d, 1, 0x2a][..], &size].concat(),
            )
        };
        let animated = |frame: Vec<u8>| {
            let inner = [&[0; 16][..], &chunk(*b"ALPH", b"a"), &frame].concat();
            webp(&[chunk(*b"ANIM", &[0; 6]), chunk(*b"ANMF", &inner)])
        };
        for file in [webp(&[frame(0x3fff, 0x3fff)]), animated(frame(0x3fff, 9))] {
            let error = check_frames(&file, &settings).unwrap_err();
            assert!(
                matches!(error, Error::TooManyPixels { width: 0x3fff, .. }),
                "{error}"
            );
            // Whatever follows.
            assert!(check_frames(&file[..file.len() - 9], &settings).is_ok());
        }
        // The two bits above the size scale the picture that is shown, and are no part of it.
        for file in [webp(&[frame(0x4100, 0x100)]), animated(frame(9, 9))] {
            check_frames(&file, &settings).unwrap();
        }
    }
}
