//! A picture as it lies in the file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use simmim_picture::Picture;

/// The bytes of a picture that a browser shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    mime: &'static str,
    bytes: Vec<u8>,
    width: usize,
    height: usize,
}

impl Shown {
    /// A PNG, or a JPEG of that quality, from 1 to 100, where that is less than half as large: drawings and few pixels are small as PNG,
    /// photographs as JPEG.
    pub fn of(picture: &Picture, quality: u8) -> Self {
        let png = picture.to_png();
        // What no JPEG can hold is a PNG.
        let (mime, bytes) = match picture.to_jpeg(quality) {
            Ok(jpeg) if jpeg.len() < png.len() / 2 => ("image/jpeg", jpeg),
            _ => ("image/png", png),
        };
        Self {
            mime,
            bytes,
            width: picture.width,
            height: picture.height,
        }
    }

    /// Bytes that it takes, before they are written as text.
    pub fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Width and height in pixels.
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.width, self.height]
    }

    /// The picture itself in place of an address.
    pub(crate) fn address(&self) -> String {
        format!("data:{};base64,{}", self.mime, STANDARD.encode(&self.bytes))
    }
}
