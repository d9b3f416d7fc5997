//! Pixels, and the file that they become.

use std::path::Path;

use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};
use simmim_checkpoint::write_bytes_atomic;

use crate::error::Error;
use crate::format::Format;

/// Of a picture that somebody asked for as JPEG: hardly any loss can be seen.
const QUALITY: u8 = 92;

/// An RGB picture, `[H, W, 3]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Rows of pixels, each three bytes.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// The picture as the bytes of a PNG file.
    ///
    /// # Panics
    /// When `pixels` are not as many as width and height say.
    pub fn to_png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let written = encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&self.pixels));
        written.expect("a picture of its own size encodes into memory");
        bytes
    }

    /// The picture as the bytes of a JPEG file of a quality from 1 to 100; colours have the resolution of the image, so that the
    /// edges of patches stay sharp.
    ///
    /// # Errors
    /// What the encoder says, of a picture that no JPEG can hold.
    pub fn to_jpeg(&self, quality: u8) -> Result<Vec<u8>, String> {
        Encoder::new(&self.pixels, self.width, self.height, PixelFormat::Rgb)
            .quality(quality)
            .subsampling(Subsampling::S444)
            .optimize_huffman(true)
            .encode()
            .map_err(|error| error.to_string())
    }

    /// Writes the picture in the format that the file's ending says: a file that stands there is replaced in one step.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`], [`Error::TooLarge`] for a JPEG; [`Error::File`] when it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let bytes = match Format::of(path)? {
            Format::Png => self.to_png(),
            Format::Jpeg => self.to_jpeg(QUALITY).map_err(|reason| Error::TooLarge {
                path: path.to_owned(),
                width: self.width,
                height: self.height,
                reason,
            })?,
        };
        Ok(write_bytes_atomic(path, &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize) -> Picture {
        Picture {
            width,
            height,
            pixels: (0..width * height * 3).map(|i| (i / 3) as u8).collect(),
        }
    }

    #[test]
    fn what_is_written_is_what_the_ending_says() {
        let folder = tempfile::tempdir().unwrap();
        let picture = picture(16, 8);
        for (name, magic) in [
            ("a.png", &b"\x89PNG"[..]),
            ("a.jpg", b"\xff\xd8\xff"),
            ("b.JPEG", b"\xff\xd8\xff"),
        ] {
            let path = folder.path().join(name);
            picture.write(&path).unwrap();
            assert!(std::fs::read(path).unwrap().starts_with(magic), "{name}");
        }
        let error = picture.write(&folder.path().join("a.gif")).unwrap_err();
        assert!(error.hint().unwrap().contains(".png"), "{error}");
        assert!(!folder.path().join("a.gif").exists());
    }

    #[test]
    fn a_jpeg_of_more_pixels_than_it_can_hold_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wide = picture(70_000, 1);
        let error = wide.write(&folder.path().join("a.jpg")).unwrap_err();
        assert!(
            matches!(error, Error::TooLarge { width: 70_000, .. }),
            "{error}"
        );
        wide.write(&folder.path().join("a.png")).unwrap();
    }
}
