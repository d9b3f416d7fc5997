//! Pixels to files.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};
use simmim_data::{Image, Samples};

/// Why an image cannot be written; it is kept as it is then.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// EXIF data that say nothing but which way up an image is shown; none for an image that is shown as it is stored.
///
/// Source: Exif 2.32, 4.5 and 4.6.4: a TIFF of one entry, of tag 0x112 and type SHORT.
pub(crate) fn exif(orientation: u8) -> Option<Vec<u8>> {
    if orientation == 1 {
        return None;
    }
    let mut exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.push(orientation);
    // Two bytes that fill up the value, and no further directory.
    exif.extend([0; 6]);
    Some(exif)
}

/// Writes an image of 8 bits and 1 or 3 channels. Colours have the resolution of the image (4:4:4): it has been made smaller, and with
/// it the blur of the camera's own file.
pub(crate) fn jpeg(image: &Image, quality: u8, exif: Option<&[u8]>) -> Result<Vec<u8>, Failed> {
    let Samples::U8(values) = &image.samples else {
        return Err("a JPEG has 8 bits".into());
    };
    let format = match image.channels {
        1 => PixelFormat::Grayscale,
        _ => PixelFormat::Rgb,
    };
    let mut encoder = Encoder::new(values, image.width, image.height, format)
        .quality(quality)
        .subsampling(Subsampling::S444)
        .optimize_huffman(true);
    if let Some(exif) = exif {
        encoder = encoder.exif_data(exif);
    }
    Ok(encoder.encode()?)
}

/// Writes an image of up to 4 channels of 8 or 16 bits without loss.
pub(crate) fn png(image: &Image, exif: Option<Vec<u8>>) -> Result<Vec<u8>, Failed> {
    let mut file = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut file, CompressionType::Default, FilterType::Adaptive);
    write(image, encoder, exif)?;
    Ok(file)
}

/// Writes an image of up to 4 channels of 8 bits without loss.
pub(crate) fn webp(image: &Image, exif: Option<Vec<u8>>) -> Result<Vec<u8>, Failed> {
    let mut file = Vec::new();
    write(image, WebPEncoder::new_lossless(&mut file), exif)?;
    Ok(file)
}

fn write(image: &Image, mut to: impl ImageEncoder, exif: Option<Vec<u8>>) -> Result<(), Failed> {
    let color = match (&image.samples, image.channels) {
        (Samples::U8(_), 1) => ExtendedColorType::L8,
        (Samples::U8(_), 2) => ExtendedColorType::La8,
        (Samples::U8(_), 3) => ExtendedColorType::Rgb8,
        (Samples::U8(_), 4) => ExtendedColorType::Rgba8,
        (Samples::U16(_), 1) => ExtendedColorType::L16,
        _ => return Err("no picture has such samples".into()),
    };
    if let Some(exif) = exif {
        to.set_exif_metadata(exif)?;
    }
    let (width, height) = (image.width as u32, image.height as u32);
    match &image.samples {
        Samples::U8(values) => to.write_image(values, width, height, color)?,
        Samples::U16(values) => {
            // In the order of the machine, as the crate takes them.
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_ne_bytes())
                .collect();
            to.write_image(&bytes, width, height, color)?;
        }
        Samples::F32(_) => return Err("no picture has such samples".into()),
    }
    Ok(())
}
