//! The first frame of a GIF, by the `gif` crate.
//!
//! The `image` crate, which reads by the same one, leaves black what a frame smaller than its screen does not cover.

use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError};

use super::channels::Color;
use super::{DecodeSettings, Decoded, Extras, Format, Header, Samples, refused, zeroed};
use crate::Error;

pub(super) fn probe(bytes: &[u8]) -> Result<Header, Error> {
    Ok(open(bytes)?.1)
}

pub(super) fn decode(bytes: &[u8], settings: &DecodeSettings) -> Result<Decoded, Error> {
    let (mut decoder, header) = open(bytes)?;
    settings.check(&header)?;
    let mut indices = zeroed([1, 1, decoder.buffer_size()])?;
    decoder.read_into_buffer(&mut indices).map_err(failed)?;
    let palette = decoder.palette().map_err(failed)?;
    let frame = decoder.current_frame_info().ok_or_else(cut_short)?;
    let transparent = frame.transparent;
    let colour = |index: u8| {
        let (colours, _) = palette.as_chunks::<3>();
        // What a palette lacks is black.
        let colour = colours.get(usize::from(index)).copied();
        let [red, green, blue] = colour.unwrap_or_default();
        let alpha = if transparent == Some(index) { 0 } else { 255 };
        [red, green, blue, alpha]
    };
    let mut samples = zeroed([header.height, header.width, 4])?;
    let (pixels, _) = samples.as_chunks_mut::<4>();
    // Outside of its frame Pillow shows what is transparent in it, or else the first colour.
    pixels.fill(colour(transparent.unwrap_or(0)));
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let frame_width = usize::from(frame.width).max(1);
    let rows = pixels.chunks_exact_mut(header.width).skip(top);
    for (row, indices) in rows.zip(indices.chunks_exact(frame_width)) {
        let shown = row[left..].iter_mut().zip(indices);
        shown.for_each(|(pixel, index)| *pixel = colour(*index));
    }
    Ok(Decoded {
        width: header.width,
        height: header.height,
        color: Color::Rgba,
        samples: Samples::U8(samples),
        extras: Extras::default(),
    })
}

/// The decoder at the first frame, and what there is to know of it.
fn open(bytes: &[u8]) -> Result<(Decoder<&[u8]>, Header), Error> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    let mut decoder = options.read_info(bytes).map_err(failed)?;
    let frame = decoder.next_frame_info().map_err(failed)?;
    let frame = frame.ok_or_else(cut_short)?;
    // A frame beyond the screen makes it larger, as in Pillow.
    let reach = [
        usize::from(frame.left) + usize::from(frame.width),
        usize::from(frame.top) + usize::from(frame.height),
    ];
    let header = Header {
        format: Format::Gif,
        width: reach[0].max(usize::from(decoder.width())),
        height: reach[1].max(usize::from(decoder.height())),
        channels: 4,
        colours: 3,
        bits: 8,
        pages: 1,
    };
    Ok((decoder, header))
}

fn cut_short() -> Error {
    Error::CutShort {
        format: Format::Gif,
    }
}

fn failed(error: DecodingError) -> Error {
    match error {
        DecodingError::Io(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => cut_short(),
        other => refused(Format::Gif)(other.into()),
    }
}
