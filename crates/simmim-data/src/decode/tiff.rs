//! TIFF, by the crate `simmim-tiff`: pages upright, and several as one image.

use image::metadata::Orientation;
use simmim_tiff::{Colour, Jpeg, Page, Tiff};

use super::channels::Color;
use super::orientation::{swaps_sides, turned};
use super::{
    DecodeSettings, Decoded, Extras, Format, Header, Image, Pages, Samples, jpeg, refused, zeroed,
};
use crate::Error;

pub(super) fn probe(bytes: &[u8], settings: &DecodeSettings) -> Result<Header, Error> {
    Ok(Opened::new(bytes, settings)?.header())
}

/// How many pages a file has: one, unless it is a TIFF of several.
pub(super) fn n_pages(bytes: &[u8], format: Format) -> usize {
    match format {
        Format::Tiff => simmim_tiff::n_pages(bytes),
        _ => 1,
    }
}

pub(super) fn decode(bytes: &[u8], settings: &DecodeSettings) -> Result<Decoded, Error> {
    let opened = Opened::new(bytes, settings)?;
    let header = opened.header();
    settings.check(&header)?;
    let read = |page: &Page<'_>| read_upright(page, settings);
    let samples = match opened.tiff.pages() {
        [page] => read(page)?,
        pages => {
            let pages = pages.iter().map(read).collect::<Result<_, _>>()?;
            beside_each_other(pages, &header)?
        }
    };
    let first = opened.first();
    let is_stack = opened.tiff.pages().len() > 1;
    Ok(Decoded {
        width: header.width,
        height: header.height,
        color: opened.color(),
        samples,
        extras: Extras {
            full: Some(first.full()),
            no_data: first.no_data(),
            premultiplied: first.premultiplied().filter(|_| !is_stack),
        },
    })
}

/// A file whose pages are known to be one image.
struct Opened<'a> {
    tiff: Tiff<'a>,
}

impl<'a> Opened<'a> {
    fn new(bytes: &'a [u8], settings: &DecodeSettings) -> Result<Self, Error> {
        let tiff = Tiff::open(bytes, settings.pages == Pages::Channels).map_err(failed)?;
        let opened = Self { tiff };
        let key = |page: &Page<'_>| (upright_size(page), page.sample_type());
        for (number, page) in (1..).zip(opened.tiff.pages()) {
            let ([height, width], (bits, _)) = key(page);
            if key(page) != key(opened.first()) {
                return Err(Error::UnequalPages {
                    page: number,
                    width,
                    height,
                    bits,
                });
            }
        }
        Ok(opened)
    }

    fn first(&self) -> &Page<'a> {
        &self.tiff.pages()[0]
    }

    fn color(&self) -> Color {
        match self.tiff.pages() {
            [page] => color_of(page),
            pages => Color::Bands(pages.iter().map(|page| color_of(page).channels()).sum()),
        }
    }

    fn header(&self) -> Header {
        let first = self.first();
        let [height, width] = upright_size(first);
        let color = self.color();
        Header {
            format: Format::Tiff,
            width,
            height,
            channels: color.channels(),
            colours: color.colours(),
            bits: first.decoded_bits(),
            pages: self.tiff.n_pages(),
        }
    }
}

fn color_of(page: &Page<'_>) -> Color {
    match page.colour() {
        Colour::Grey => Color::Grey,
        Colour::GreyAlpha => Color::GreyAlpha,
        Colour::GreyAnd => Color::GreyAnd,
        Colour::Rgb => Color::Rgb,
        Colour::RgbAnd(n) => Color::RgbAnd(n),
        Colour::Cmyk => Color::Cmyk,
        Colour::CmykAnd(n) => Color::CmykAnd(n),
        Colour::Bands(n) => Color::Bands(n),
    }
}

/// How a page is turned: not at all where the tag has no meaning.
fn orientation(page: &Page<'_>) -> Orientation {
    let tag = u8::try_from(page.orientation()).ok();
    tag.and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms)
}

/// `[H, W]` of a page once it stands upright.
fn upright_size(page: &Page<'_>) -> [usize; 2] {
    if swaps_sides(orientation(page)) {
        [page.width(), page.height()]
    } else {
        [page.height(), page.width()]
    }
}

fn read_upright(page: &Page<'_>, settings: &DecodeSettings) -> Result<Samples, Error> {
    let decode_jpeg = |bytes: &[u8]| {
        let decoded = jpeg::decode(bytes, settings)?;
        let Samples::U8(values) = decoded.samples else {
            return Err("a piece is a JPEG of other than 8 bits".into());
        };
        Ok(Jpeg {
            width: decoded.width,
            height: decoded.height,
            samples: decoded.color.channels(),
            values,
        })
    };
    let samples = match page.read(&decode_jpeg).map_err(failed)? {
        simmim_tiff::Samples::U8(values) => Samples::U8(values),
        simmim_tiff::Samples::U16(values) => Samples::U16(values),
        simmim_tiff::Samples::F32(values) => Samples::F32(values),
    };
    let stored = Image {
        width: page.width(),
        height: page.height(),
        channels: color_of(page).channels(),
        samples,
    };
    Ok(turned(stored, orientation(page)).samples)
}

fn failed(error: simmim_tiff::Error) -> Error {
    let format = Format::Tiff;
    match error {
        simmim_tiff::Error::CutShort => Error::CutShort { format },
        simmim_tiff::Error::Memory { n_samples } => Error::Memory { n_samples },
        simmim_tiff::Error::Unsupported { found, convert } => Error::Unsupported {
            format,
            found,
            convert,
        },
        simmim_tiff::Error::Decoder(source) => Error::Decode { format, source },
        other => refused(format)(other.into()),
    }
}

/// The channels of pages, which all have the same size and type, as those of one image.
fn beside_each_other(pages: Vec<Samples>, header: &Header) -> Result<Samples, Error> {
    fn join<T: Copy + Default>(pages: &[Vec<T>], header: &Header) -> Result<Vec<T>, Error> {
        let n_pixels = header.width * header.height;
        let mut joined = zeroed([header.height, header.width, header.channels])?;
        let mut first = 0;
        for page in pages {
            let channels = page.len() / n_pixels;
            let pixels = joined.chunks_exact_mut(header.channels);
            for (to, from) in pixels.zip(page.chunks_exact(channels)) {
                to[first..first + channels].copy_from_slice(from);
            }
            first += channels;
        }
        Ok(joined)
    }
    let (mut narrow, mut wide, mut floats) = (Vec::new(), Vec::new(), Vec::new());
    for page in pages {
        match page {
            Samples::U8(values) => narrow.push(values),
            Samples::U16(values) => wide.push(values),
            Samples::F32(values) => floats.push(values),
        }
    }
    // A page with a palette has another type than one without.
    match (narrow.len(), wide.len(), floats.len()) {
        (_, 0, 0) => Ok(Samples::U8(join(&narrow, header)?)),
        (0, _, 0) => Ok(Samples::U16(join(&wide, header)?)),
        (0, 0, _) => Ok(Samples::F32(join(&floats, header)?)),
        _ => Err(Error::Unsupported {
            format: Format::Tiff,
            found: "pages with and without a palette".to_owned(),
            convert: "magick IN.tif -type TrueColor OUT.tif",
        }),
    }
}
