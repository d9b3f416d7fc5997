//! Images drawn in code, good and bad.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};

/// A picture with gradients, a different one for each number.
pub(crate) fn photo(idx: usize) -> RgbImage {
    let (width, height) = (40 + idx as u32 % 3 * 8, 48);
    RgbImage::from_fn(width, height, |x, y| {
        let k = idx as u32 * 37;
        Rgb([
            (x * 5 + k) as u8,
            (y * 5 + k / 2) as u8,
            ((x + y) * 3) as u8,
        ])
    })
}

/// The classes of [`labelled`].
pub(crate) const CLASSES: [&str; 3] = ["bars", "dark", "light"];

/// A picture of one of [`CLASSES`], a different one for each number.
pub(crate) fn labelled(class: usize, idx: usize) -> RgbImage {
    RgbImage::from_fn(36, 36, |x, y| {
        let noise = (x * 7 + y * 13 + idx as u32 * 29) % 40;
        let grey = match class {
            0 if (x / 6 + idx as u32).is_multiple_of(2) => 215,
            0 | 1 => noise,
            _ => 215 + noise,
        };
        Rgb([grey as u8; 3])
    })
}

pub(crate) fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A JPEG file that ends in its middle.
pub(crate) fn truncated_jpeg() -> Vec<u8> {
    let mut bytes = encoded(&photo(7), ImageFormat::Jpeg);
    bytes.truncate(bytes.len() * 7 / 8);
    bytes
}

/// A PNG file whose header promises a gigantic image, and nothing else.
pub(crate) fn huge_header() -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = png::Encoder::new(&mut bytes, 2_000_000_000, 2_000_000_000);
    std::mem::forget(encoder.write_header().unwrap());
    bytes
}

/// A whole PNG file of a few kilobytes that unpacks to 182 million pixels.
pub(crate) fn bomb() -> Vec<u8> {
    let (width, height) = (14_000, 13_000);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().unwrap();
    writer
        .write_image_data(&vec![0; (width / 8 * height) as usize])
        .unwrap();
    writer.finish().unwrap();
    bytes
}

/// An uncompressed little-endian TIFF of 16 bits a sample, samples of a pixel side by side.
pub(crate) fn tiff16([height, width]: [usize; 2], channels: usize, seed: usize) -> Vec<u8> {
    let n_values = height * width * channels;
    let values = (0..n_values).flat_map(|i| ((i * 997 + seed * 4001) as u16).to_le_bytes());
    let bits_at = 8 + 2 * n_values;
    let directory_at = bits_at + 2 * channels;
    let mut bytes = b"II*\0".to_vec();
    bytes.extend((directory_at as u32).to_le_bytes());
    bytes.extend(values);
    bytes.extend((0..channels).flat_map(|_| 16_u16.to_le_bytes()));
    // Width, height, bits, no compression, grey, place, samples, rows of a strip, length, side by side.
    let tags: [(u16, u16, usize, usize); 10] = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, bits_at),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, 2 * n_values),
        (284, 3, 1, 1),
    ];
    bytes.extend((tags.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in tags {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend((count as u32).to_le_bytes());
        bytes.extend((value as u32).to_le_bytes());
    }
    bytes.extend([0; 4]);
    bytes
}
