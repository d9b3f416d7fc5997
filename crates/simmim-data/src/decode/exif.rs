//! The EXIF data of images, of which the orientation alone is read.

use image::metadata::Orientation;

use super::{DecodeSettings, Format, raster};

/// What is done with the orientation that EXIF data tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exif {
    /// Nothing: pixels come as they are stored.
    Stored,
    /// Images are turned and mirrored so that they stand upright.
    Upright,
}

/// The orientation that an image carries: that of its pixels where it carries none that is valid.
///
/// That of a TIFF is no EXIF data, and is a matter of its decoder.
pub(super) fn orientation(bytes: &[u8], format: Format, settings: &DecodeSettings) -> Orientation {
    let found = match format {
        Format::Jpeg => of_jpeg(bytes),
        Format::Png => raster::orientation(bytes, format, settings),
        Format::WebP => of_webp(bytes),
        Format::Bmp | Format::Gif | Format::Tiff => None,
    };
    found.unwrap_or(Orientation::NoTransforms)
}

/// In front of EXIF data in an APP1 segment.
const SIGN: &[u8] = b"Exif\0\0";

/// The orientation that a JPEG carries in its first EXIF segment; none where it carries none that is valid.
///
/// Segments are walked up to the coded data; what is wrong with them is the decoder's to say.
fn of_jpeg(jpeg: &[u8]) -> Option<Orientation> {
    const APP1: u8 = 0xe1;
    const START_OF_SCAN: u8 = 0xda;
    let mut rest = jpeg.get(2..)?;
    loop {
        // Any number of fill bytes may stand in front of a marker.
        let begin = rest.iter().position(|byte| *byte != 0xff)?;
        if begin == 0 {
            return None;
        }
        let marker = rest[begin];
        rest = &rest[begin + 1..];
        // Markers without a segment.
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            continue;
        }
        if marker == START_OF_SCAN {
            return None;
        }
        let (length, _) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (segment, behind) = rest.split_at_checked(length)?;
        if let Some(exif) = segment.get(2..)?.strip_prefix(SIGN)
            && marker == APP1
        {
            return Orientation::from_exif_chunk(exif);
        }
        rest = behind;
    }
}

/// The orientation that a WebP carries in its EXIF chunk; none where it carries none that is valid.
///
/// Not by the decoder of another crate (`image-webp` 0.2.4), which takes memory for as much as the chunk says that it holds: up to
/// 4 GiB for a file of a few bytes.
fn of_webp(webp: &[u8]) -> Option<Orientation> {
    /// "RIFF", the length of the rest, "WEBP".
    const HEADER_BYTES: usize = 12;
    let mut rest = webp.get(HEADER_BYTES..)?;
    // The other forms have no chunks but the image's.
    if !rest.starts_with(b"VP8X") {
        return None;
    }
    loop {
        let (name, behind) = rest.split_first_chunk::<4>()?;
        let (length, behind) = behind.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let (chunk, behind) = behind.split_at_checked(length)?;
        if name == b"EXIF" {
            return Orientation::from_exif_chunk(chunk);
        }
        // A chunk of an odd length is followed by a byte that belongs to none.
        rest = behind.get(length % 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG's beginning with the tag in an EXIF segment behind another segment.
    fn tagged(tag: u8) -> Vec<u8> {
        let mut bytes = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xe1\0\x22Exif\0\0".to_vec();
        bytes.extend(b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0");
        bytes.extend([tag, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(b"\xff\xda");
        bytes
    }

    #[test]
    fn the_tag_is_found_behind_other_segments() {
        assert_eq!(of_jpeg(&tagged(6)), Some(Orientation::Rotate90));
        assert_eq!(of_jpeg(&tagged(1)), Some(Orientation::NoTransforms));
        assert_eq!(of_jpeg(&tagged(9)), None);
        assert_eq!(of_jpeg(b"\xff\xd8\xff\xda\0\x02"), None);
    }

    /// A WebP's beginning with the tag in an EXIF chunk behind a chunk of an odd length.
    fn webp_tagged(tag: u8) -> Vec<u8> {
        let mut bytes = b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0".to_vec();
        bytes.extend([8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(
            b"ALPH\x01\0\0\0a\0EXIF\x1a\0\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0",
        );
        bytes.extend([tag, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn the_tag_of_a_webp_is_found_and_a_chunk_that_says_to_be_gigantic_is_none() {
        let whole = webp_tagged(8);
        assert_eq!(of_webp(&whole), Some(Orientation::Rotate270));
        assert_eq!(of_webp(&webp_tagged(9)), None);
        for len in 0..whole.len() {
            let _ = of_webp(&whole[..len]);
        }
        let at = whole.windows(4).position(|name| name == b"EXIF").unwrap();
        let mut gigantic = whole.clone();
        gigantic[at + 4..at + 8].fill(0xff);
        assert_eq!(of_webp(&gigantic), None);
        let mut lossless = whole;
        lossless[12..16].copy_from_slice(b"VP8L");
        assert_eq!(of_webp(&lossless), None);
    }

    #[test]
    fn segments_that_are_cut_or_wrong_are_passed_over_without_a_panic() {
        let whole = tagged(6);
        for len in 0..whole.len() {
            let _ = of_jpeg(&whole[..len]);
            let mut damaged = whole.clone();
            damaged[len] ^= 0xff;
            let _ = of_jpeg(&damaged);
        }
        assert_eq!(of_jpeg(b"\xff\xd8\xff\xe1\0\x01"), None);
        assert_eq!(of_jpeg(b"\xff\xd8\xff\xe1\0\0\xff"), None);
    }
}
