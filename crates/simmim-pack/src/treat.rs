//! What becomes of one image: the file that goes into a shard.

use simmim_data::{
    DecodeSettings, Error, Format, Header, Image, Range, Samples, Scratch, decode,
    exif_orientation, probe, shrink,
};

use crate::encode;
use crate::settings::{MAX_JPEG_PX, MAX_WEBP_PX, PackFormat, PackSettings};

/// What was done with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    Copied,
    Resized,
    /// Resized, and written with loss where the source had none.
    ResizedWithLoss,
    /// Too large, and copied all the same, for this reason.
    Kept(&'static str),
}

/// The file of an image.
#[derive(Debug)]
pub(crate) struct Treated {
    pub(crate) bytes: Vec<u8>,
    pub(crate) treatment: Treatment,
}

/// Makes the file of an image of that of the source.
///
/// # Errors
/// Those of an image that cannot be read: it is decoded even where it is copied.
pub(crate) fn treat(bytes: Vec<u8>, settings: &PackSettings) -> Result<Treated, Error> {
    let decoding = DecodeSettings {
        max_pixels: settings.max_pixels,
        ..DecodeSettings::default()
    };
    let header = probe(&bytes, &decoding)?;
    let has_alpha = is_picture_with_alpha(&header);
    let channels = if has_alpha {
        header.channels
    } else {
        header.colours
    };
    let image = decode(&bytes, channels, &decoding)?;
    let as_it_is = |bytes, treatment| Ok(Treated { bytes, treatment });
    if image.width.min(image.height) <= settings.short_side_px {
        return as_it_is(bytes, Treatment::Copied);
    }
    if let Some(reason) = why_kept(&bytes, &header, &image)? {
        return as_it_is(bytes, Treatment::Kept(reason));
    }
    let exif = encode::exif(exif_orientation(&bytes, &decoding)?);
    let small = resized(&image, settings.short_side_px);
    drop(image);
    let is_lossless = has_alpha || header.format == Format::Tiff;
    match written(&small, is_lossless, exif, settings) {
        Some(bytes) => Ok(Treated {
            treatment: resizing(&header, &bytes),
            bytes,
        }),
        None => as_it_is(bytes, Treatment::Kept("no format holds it")),
    }
}

/// How an image was resized, by the file that came of it.
fn resizing(header: &Header, file: &[u8]) -> Treatment {
    let had_none = matches!(header.format, Format::Png | Format::Bmp | Format::Gif);
    if had_none && file.starts_with(b"\xff\xd8") {
        Treatment::ResizedWithLoss
    } else {
        Treatment::Resized
    }
}

/// Whether an alpha is to be kept beside the colours: a TIFF's is left to the file itself.
fn is_picture_with_alpha(header: &Header) -> bool {
    header.format != Format::Tiff && header.bits == 8 && header.channels > header.colours
}

/// Why an image keeps the file that it has; `None` where a picture of another size holds all that it has.
fn why_kept(bytes: &[u8], header: &Header, image: &Image) -> Result<Option<&'static str>, Error> {
    if header.pages > 1 {
        return Ok(Some("several pages"));
    }
    if header.bits > 16 {
        return Ok(Some("more than 16 bits"));
    }
    if image.channels != header.channels {
        return Ok(Some("samples beside the colours"));
    }
    if image.channels > 4 || (image.channels == 2 && header.format == Format::Tiff) {
        return Ok(Some("bands of a measurement"));
    }
    if header.bits == 16 && image.channels > 1 {
        return Ok(Some("16 bits in colour"));
    }
    let is_plain = header.format != Format::Tiff || has_values_of_its_type(bytes, image)?;
    Ok((!is_plain).then_some("values on a scale of their own"))
}

/// Whether the numbers of a TIFF are those that a picture of as many bits has: no other value of full brightness, and none that
/// stands for no data.
fn has_values_of_its_type(bytes: &[u8], image: &Image) -> Result<bool, Error> {
    let high = match image.samples {
        Samples::U8(_) => 255.0,
        Samples::U16(_) => 65535.0,
        Samples::F32(_) => return Ok(false),
    };
    let own_numbers = DecodeSettings {
        max_pixels: u64::MAX,
        range: Range::new(0.0, high)?,
        ..DecodeSettings::default()
    };
    let read = decode(bytes, image.channels, &own_numbers)?;
    let is_same = |value: f64, found: &f32| (value / high) as f32 == *found;
    Ok(match (&image.samples, &read.samples) {
        (Samples::U8(values), Samples::F32(found)) => {
            let mut pairs = values.iter().zip(found);
            pairs.all(|(value, found)| is_same(f64::from(*value), found))
        }
        (Samples::U16(values), Samples::F32(found)) => {
            let mut pairs = values.iter().zip(found);
            pairs.all(|(value, found)| is_same(f64::from(*value), found))
        }
        (one, other) => one == other,
    })
}

/// The image with a shorter side of `short_px`, its shape kept to the pixel that is nearest.
fn resized(image: &Image, short_px: usize) -> Image {
    let (width, height) = (image.width as u128, image.height as u128);
    let short = width.min(height);
    let scaled = |side: u128| ((side * short_px as u128 * 2 + short) / (2 * short)) as usize;
    let (width, height) = (scaled(width), scaled(height));
    Image {
        width,
        height,
        channels: image.channels,
        samples: shrink(image, [height, width], &mut Scratch::new()),
    }
}

/// The file of a small image in the format that is asked for, or one without loss where that one cannot hold it.
fn written(
    image: &Image,
    is_lossless: bool,
    exif: Option<Vec<u8>>,
    settings: &PackSettings,
) -> Option<Vec<u8>> {
    let long_px = image.width.max(image.height);
    let has_8_bits = matches!(image.samples, Samples::U8(_));
    let file = match settings.format {
        PackFormat::Jpeg if !is_lossless && has_8_bits && long_px <= MAX_JPEG_PX => {
            encode::jpeg(image, settings.jpeg_quality, exif.as_deref())
        }
        PackFormat::WebP if has_8_bits && long_px <= MAX_WEBP_PX => encode::webp(image, exif),
        _ => encode::png(image, exif),
    };
    file.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_kept_to_the_nearest_pixel() {
        for (sides, expected) in [
            ([4000, 3000], [427, 320]),
            ([3000, 4001], [320, 427]),
            ([321, 321], [320, 320]),
            ([1000, 321], [997, 320]),
        ] {
            let image = Image {
                width: sides[0],
                height: sides[1],
                channels: 1,
                samples: Samples::U8(vec![7; sides[0] * sides[1]]),
            };
            let small = resized(&image, 320);
            assert_eq!([small.width, small.height], expected);
            assert_eq!(
                small.samples,
                Samples::U8(vec![7; expected[0] * expected[1]])
            );
        }
    }
}
