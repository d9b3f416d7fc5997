//! The EXIF data of images, of which the orientation alone is read.

use image::metadata::Orientation;

use super::{DecodeSettings, Format, raster, webp};

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
        Format::WebP => webp::orientation(bytes),
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
