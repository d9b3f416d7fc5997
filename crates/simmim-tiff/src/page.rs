//! What a page of a TIFF is, from its tags: checked as a whole before anything of it is decoded.
//!
//! Source for tags, their values and defaults: TIFF 6.0 (Adobe, 1992), sections 3 to 8, 10, 14, 15, 18, 19 and 21; Adobe
//! Photoshop TIFF Technical Notes 3 (floats); libtiff, `libtiff/tiff.h`.

use crate::directory::{ByteOrder, Directory};
use crate::layout::Layout;
use crate::{Error, broken, unsupported};

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Unsigned,
    Signed,
    Float,
}

/// The type of the samples of a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SampleForm {
    pub(super) kind: Kind,
    /// Bits of a sample.
    pub(super) bits: usize,
    /// The value that stands for none.
    pub(super) no_data: Option<f64>,
}

impl SampleForm {
    /// The value of full brightness: the largest of a type of whole numbers, 1 of floats.
    pub(super) fn full(&self) -> f64 {
        let full = |bits: usize| ((1_u128 << bits) - 1) as f64;
        match self.kind {
            Kind::Unsigned => full(self.bits),
            Kind::Signed => full(self.bits - 1),
            Kind::Float => 1.0,
        }
    }

    /// Bits of a decoded sample: 8, 16, or 32 where neither holds every value.
    pub(super) fn decoded_bits(&self) -> u8 {
        match (self.kind, self.bits) {
            (Kind::Unsigned, ..=8) => 8,
            (Kind::Unsigned, ..=16) => 16,
            _ => 32,
        }
    }

    /// Whether each sample begins at a byte and is written in the order of the file's bytes.
    pub(super) fn is_whole_bytes(&self) -> bool {
        matches!(self.bits, 8 | 16 | 24 | 32 | 64)
    }
}

/// What the samples of a page mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    WhiteIsZero,
    BlackIsZero,
    Rgb,
    /// Red, green and blue of each index: all red first, then all green.
    Palette(Vec<u8>),
    Cmyk,
    /// As a JPEG stores colours; its decoder makes red, green and blue of them.
    YCbCr,
}

/// How the pieces of a page are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    PackBits,
    Lzw,
    Deflate,
    Zstd,
    Jpeg,
    /// Bits of black and white, in one of the ways of fax machines.
    Fax(Fax),
}

/// The ways of fax machines. Source: ITU-T T.4 and T.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fax {
    /// Runs, each line from a byte on.
    Rows,
    /// Runs, each line behind a mark; lines that refer to the one above where the options say so.
    Group3 { two_dimensional: bool },
    /// Every line refers to the one above.
    Group4,
}

/// What was done to the samples of a row before compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Predictor {
    None,
    /// Differences to the sample before.
    Horizontal,
    /// The same, of the bytes of floats, sorted by weight.
    Float,
}

/// What the decoded samples of a pixel are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Brightness.
    Grey,
    /// Brightness and an alpha.
    GreyAlpha,
    /// Brightness and a sample that is no alpha.
    GreyAnd,
    /// Red, green and blue.
    Rgb,
    /// So many samples, of which the first three are red, green and blue.
    RgbAnd(usize),
    /// Four inks.
    Cmyk,
    /// So many samples, of which the first four are inks.
    CmykAnd(usize),
    /// So many samples without a colour.
    Bands(usize),
}

/// A page, checked as a whole.
#[derive(Debug)]
pub struct Page<'a> {
    pub(super) directory: Directory<'a>,
    pub(super) layout: Layout,
    pub(super) form: SampleForm,
    pub(super) meaning: Meaning,
    /// What samples beyond the colours are: 1 is an alpha that colours were multiplied with, 2 another alpha.
    pub(super) extras: Vec<u64>,
    pub(super) compression: Compression,
    pub(super) predictor: Predictor,
    /// Whether the lowest bit of a byte comes first.
    pub(super) is_lowest_bit_first: bool,
    orientation: u64,
}

/// The command that reads everything that libtiff can and writes what is read here.
const BY_TIFFCP: &str = "tiffcp -c lzw IN.tif OUT.tif";
const BY_GDAL: &str = "gdal_translate -ot Float32 -co COMPRESS=LZW IN.tif OUT.tif";
const BY_MAGICK: &str = "magick IN.tif -colorspace sRGB -type TrueColor -compress lzw OUT.tif";

impl<'a> Page<'a> {
    pub(super) fn new(directory: Directory<'a>) -> Result<Self, Error> {
        let layout = Layout::of(&directory)?;
        let compression = compression(&directory)?;
        let form = form(&directory, layout.samples)?;
        let meaning = meaning(&directory, &form)?;
        let mut page = Page {
            predictor: predictor(&directory, compression)?,
            extras: directory.numbers(338)?.unwrap_or_default(),
            is_lowest_bit_first: directory.number_or(266, 1)? == 2,
            orientation: directory.number_or(274, 1)?,
            directory,
            layout,
            form,
            meaning,
            compression,
        };
        page.layout.check(page.form.bits)?;
        page.check()?;
        // Some writers name more than there are.
        let n_extras = page.layout.samples - page.n_colours();
        page.extras.truncate(n_extras);
        Ok(page)
    }

    /// The order of bytes of what is not compressed as a picture.
    pub(super) fn order(&self) -> ByteOrder {
        self.directory.file.order
    }

    /// How many of the samples are colours.
    fn n_colours(&self) -> usize {
        let n = match self.meaning {
            Meaning::WhiteIsZero | Meaning::BlackIsZero | Meaning::Palette(_) => 1,
            Meaning::Rgb | Meaning::YCbCr => 3,
            Meaning::Cmyk => 4,
        };
        n.min(self.layout.samples)
    }

    /// Width in pixels, as stored.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// Height in pixels, as stored.
    pub fn height(&self) -> usize {
        self.layout.height
    }

    /// The value of the tag `Orientation`, 1 where there is none.
    pub fn orientation(&self) -> u64 {
        self.orientation
    }

    /// Bits of a decoded sample: 8, 16, or 32 for all that is no whole number of 16 bits at most.
    pub fn decoded_bits(&self) -> u8 {
        match self.meaning {
            Meaning::Palette(_) => 8,
            _ => self.form.decoded_bits(),
        }
    }

    /// Bits of a sample in the file, and whether these are signed numbers or floats: what pages that are channels of one
    /// image have alike.
    pub fn sample_type(&self) -> (usize, &'static str) {
        let kind = match self.form.kind {
            Kind::Unsigned => "whole numbers",
            Kind::Signed => "signed numbers",
            Kind::Float => "floats",
        };
        (self.form.bits, kind)
    }

    /// The value of full brightness: the largest of a type of whole numbers, 1 of floats.
    pub fn full(&self) -> f64 {
        match self.meaning {
            // The colours of a palette have 8 bits.
            Meaning::Palette(_) => 255.0,
            _ => self.form.full(),
        }
    }

    /// The value that stands for none, where that is not told from the others already.
    pub fn no_data(&self) -> Option<f64> {
        let no_data = self.form.no_data.filter(|_| self.decoded_bits() < 32);
        match self.meaning {
            Meaning::Palette(_) => None,
            Meaning::WhiteIsZero => no_data.map(|none| self.form.full() - none),
            _ => no_data,
        }
    }

    /// What the decoded samples are.
    pub fn colour(&self) -> Colour {
        let n = self.layout.samples;
        match self.meaning {
            Meaning::Palette(_) => Colour::Rgb,
            Meaning::Rgb | Meaning::YCbCr if n == 3 => Colour::Rgb,
            Meaning::Rgb | Meaning::YCbCr => Colour::RgbAnd(n),
            Meaning::Cmyk if n == 4 => Colour::Cmyk,
            Meaning::Cmyk => Colour::CmykAnd(n),
            Meaning::WhiteIsZero | Meaning::BlackIsZero => match n {
                1 => Colour::Grey,
                2 if self.alpha().is_some() => Colour::GreyAlpha,
                2 => Colour::GreyAnd,
                n => Colour::Bands(n),
            },
        }
    }

    /// Which sample is an alpha.
    fn alpha(&self) -> Option<usize> {
        let place = self.extras.iter().position(|kind| matches!(kind, 1 | 2));
        place.map(|place| self.n_colours() + place)
    }

    /// Which sample is an alpha that colours were multiplied with.
    pub fn premultiplied(&self) -> Option<usize> {
        let has_colours = !matches!(self.colour(), Colour::Bands(_)) && self.meaning_has_alpha();
        self.alpha()
            .filter(|place| has_colours && self.extras[place - self.n_colours()] == 1)
    }

    /// Whether an alpha can be among the decoded samples: with a palette it is left out.
    fn meaning_has_alpha(&self) -> bool {
        !matches!(self.meaning, Meaning::Palette(_))
    }

    /// Refuses what tags say that do not go together.
    fn check(&self) -> Result<(), Error> {
        let (n, bits) = (self.layout.samples, self.form.bits);
        let n_needed = match self.meaning {
            Meaning::Rgb | Meaning::YCbCr => 3,
            Meaning::Cmyk => 4,
            _ => 1,
        };
        if n < n_needed {
            return Err(broken(format!(
                "{n} samples a pixel, expected at least {n_needed}"
            )));
        }
        match self.compression {
            Compression::Jpeg if self.form.kind != Kind::Unsigned || bits != 8 => Err(unsupported(
                format!("JPEG compression of {bits} bits"),
                BY_GDAL,
            )),
            Compression::Jpeg if self.layout.is_planar && self.meaning == Meaning::YCbCr => {
                Err(unsupported("YCbCr colours in planes".to_owned(), BY_TIFFCP))
            }
            Compression::Jpeg if !self.layout.is_planar && !matches!(n, 1 | 3) => Err(unsupported(
                format!("JPEG compression of {n} samples a pixel"),
                BY_TIFFCP,
            )),
            Compression::Fax(_) if n != 1 || bits != 1 => Err(broken(format!(
                "fax compression of {n} samples of {bits} bits, expected 1 of 1 bit"
            ))),
            _ => self.check_predictor(),
        }
    }

    fn check_predictor(&self) -> Result<(), Error> {
        let bits = self.form.bits;
        let fits = match self.predictor {
            Predictor::None => true,
            Predictor::Horizontal => matches!(bits, 8 | 16 | 32 | 64),
            Predictor::Float => self.form.kind == Kind::Float,
        };
        if fits {
            return Ok(());
        }
        Err(broken(format!(
            "a predictor that does not go with samples of {bits} bits"
        )))
    }
}

fn compression(directory: &Directory<'_>) -> Result<Compression, Error> {
    let code = directory.number_or(259, 1)?;
    let options = directory.number_or(292, 0)?;
    let (name, convert) = match code {
        1 => return Ok(Compression::None),
        2 => return Ok(Compression::Fax(Fax::Rows)),
        3 if options & 2 == 0 => {
            return Ok(Compression::Fax(Fax::Group3 {
                two_dimensional: options & 1 == 1,
            }));
        }
        4 if directory.number_or(293, 0)? & 2 == 0 => return Ok(Compression::Fax(Fax::Group4)),
        5 => return Ok(Compression::Lzw),
        7 => return Ok(Compression::Jpeg),
        8 | 32946 => return Ok(Compression::Deflate),
        32773 => return Ok(Compression::PackBits),
        50000 => return Ok(Compression::Zstd),
        3 | 4 => ("fax compression with uncompressed parts", BY_TIFFCP),
        6 => ("JPEG compression of the old kind", BY_TIFFCP),
        33003 | 33004 | 33005 | 34712 => ("JPEG 2000 compression", BY_GDAL),
        34661 => ("JBIG compression", BY_TIFFCP),
        34676 | 34677 => ("SGI LogLuv compression", BY_TIFFCP),
        34887 => ("LERC compression", BY_GDAL),
        34925 => ("LZMA compression", BY_TIFFCP),
        50001 => ("WebP compression", BY_TIFFCP),
        50002 | 52546 => ("JPEG XL compression", BY_GDAL),
        _ => return Err(unsupported(format!("compression {code}"), BY_TIFFCP)),
    };
    Err(unsupported(name.to_owned(), convert))
}

fn predictor(directory: &Directory<'_>, compression: Compression) -> Result<Predictor, Error> {
    // These have no rows of samples to predict.
    if matches!(compression, Compression::Jpeg | Compression::Fax(_)) {
        return Ok(Predictor::None);
    }
    match directory.number_or(317, 1)? {
        1 => Ok(Predictor::None),
        2 => Ok(Predictor::Horizontal),
        3 => Ok(Predictor::Float),
        other => Err(unsupported(format!("predictor {other}"), BY_GDAL)),
    }
}

/// The type of the samples, one for all of a pixel.
fn form(directory: &Directory<'_>, samples: usize) -> Result<SampleForm, Error> {
    let all_alike = |tag: u16, default: u64, what: &str| -> Result<u64, Error> {
        let values = directory.numbers(tag)?.unwrap_or_default();
        let Some(first) = values.first() else {
            return Ok(default);
        };
        let of_pixel = &values[..values.len().min(samples)];
        if of_pixel.iter().all(|value| value == first) {
            return Ok(*first);
        }
        let found: Vec<String> = of_pixel.iter().map(u64::to_string).collect();
        let found = format!("samples of different {what} ({})", found.join(", "));
        Err(unsupported(found, BY_GDAL))
    };
    let bits = all_alike(258, 1, "bits")?;
    let kind = match all_alike(339, 1, "types")? {
        // 4 says that nothing is known, and libtiff takes that for whole numbers.
        1 | 4 => Kind::Unsigned,
        2 => Kind::Signed,
        3 => Kind::Float,
        _ => {
            return Err(unsupported(
                format!("complex numbers of {bits} bits"),
                BY_GDAL,
            ));
        }
    };
    let fits = match kind {
        Kind::Unsigned => matches!(bits, 1..=32 | 64),
        Kind::Signed => matches!(bits, 2..=32 | 64),
        Kind::Float => matches!(bits, 16 | 32 | 64),
    };
    if !fits {
        let name = match kind {
            Kind::Unsigned => "whole numbers",
            Kind::Signed => "signed numbers",
            Kind::Float => "floats",
        };
        return Err(unsupported(format!("{name} of {bits} bits"), BY_GDAL));
    }
    Ok(SampleForm {
        kind,
        bits: bits as usize,
        no_data: no_data(directory)?,
    })
}

/// The value that stands for none. Source: GDAL, `frmts/gtiff`, `TIFFTAG_GDAL_NODATA`: a number as text.
fn no_data(directory: &Directory<'_>) -> Result<Option<f64>, Error> {
    let text = directory.bytes(42113)?.unwrap_or_default();
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = str::from_utf8(text).unwrap_or_default();
    // Where it is no number, no pixel can have it.
    Ok(text.trim().parse().ok())
}

fn meaning(directory: &Directory<'_>, form: &SampleForm) -> Result<Meaning, Error> {
    let found = directory.number(262)?;
    let name = match found {
        // A missing tag is taken for grey, or for colour where there are three samples, as libtiff does.
        None if directory.number_or(277, 1)? >= 3 => return Ok(Meaning::Rgb),
        None | Some(1) => return Ok(Meaning::BlackIsZero),
        Some(0) => return Ok(Meaning::WhiteIsZero),
        Some(2) => return Ok(Meaning::Rgb),
        Some(3) => return palette(directory, form),
        Some(5) => return Ok(Meaning::Cmyk),
        Some(6) if directory.number_or(259, 1)? == 7 => return Ok(Meaning::YCbCr),
        Some(4) => "a mask of transparency".to_owned(),
        Some(6) => "YCbCr colours without JPEG compression".to_owned(),
        Some(8..=10) => "CIE L*a*b* colours".to_owned(),
        Some(32803) => "a colour filter array (the raw data of a camera)".to_owned(),
        Some(32844 | 32845) => "LogLuv colours".to_owned(),
        Some(34892) => "linear raw colours".to_owned(),
        Some(other) => format!("colours of kind {other}"),
    };
    Err(unsupported(name, BY_MAGICK))
}

/// A palette, of 8 bits a colour.
fn palette(directory: &Directory<'_>, form: &SampleForm) -> Result<Meaning, Error> {
    if form.kind != Kind::Unsigned || form.bits > 16 {
        return Err(broken(format!(
            "a palette for samples of {} bits",
            form.bits
        )));
    }
    let values = directory.numbers(320)?.unwrap_or_default();
    let expected = 3 << form.bits;
    if values.len() < expected {
        let found = values.len();
        return Err(broken(format!(
            "a palette of {found} values, expected {expected}"
        )));
    }
    // Some writers fill 8 of the 16 bits. Source: libtiff, `tif_getimage.c`, `checkcmap`.
    let shift = if values.iter().any(|value| *value > 255) {
        8
    } else {
        0
    };
    let narrow = values[..expected]
        .iter()
        .map(|value| (value >> shift) as u8);
    Ok(Meaning::Palette(narrow.collect()))
}
