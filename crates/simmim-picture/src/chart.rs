//! What all plots share: the canvas, the letters, the colours.

use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, BitMapBackend, DrawingArea, FontStyle, IntoDrawingArea, IntoFont, RGBColor, WHITE,
};
use plotters::style::{TextStyle, register_font};

use crate::error::Error;
use crate::picture::Picture;

const FONT: &str = "sans-serif";

/// Colours that people with any colour vision tell apart.
///
/// Source: Okabe and Ito, *Color Universal Design* (2008).
pub const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// What is drawn on.
pub type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// Why something could not be drawn.
pub type Fault = Box<dyn std::error::Error>;

/// A white picture of `size` pixels, width first, that `paint` has drawn on.
///
/// # Errors
/// [`Error::Plot`].
pub fn picture(
    size: (u32, u32),
    paint: impl FnOnce(&Canvas<'_>) -> Result<(), Fault>,
) -> Result<Picture, Error> {
    know_the_font()?;
    let failed = |reason: String| Error::Plot { reason };
    let (width, height) = size;
    let mut pixels = vec![255; (width * height * 3) as usize];
    // The canvas borrows the pixels until this block ends.
    {
        let canvas = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        let white = canvas.fill(&WHITE);
        white.map_err(|error| failed(error.to_string()))?;
        paint(&canvas).map_err(|error| failed(error.to_string()))?;
        let presented = canvas.present();
        presented.map_err(|error| failed(error.to_string()))?;
    }
    Ok(Picture {
        width: width as usize,
        height: height as usize,
        pixels,
    })
}

/// Black letters of that height in pixels.
pub fn text(size_px: i32) -> TextStyle<'static> {
    (FONT, size_px).into_font().color(&BLACK)
}

/// Pixels that a line of text takes, across and down.
///
/// # Errors
/// [`Error::Plot`].
pub fn measure(line: &str, size_px: i32) -> Result<(u32, u32), Error> {
    know_the_font()?;
    let measured = text(size_px).font.box_size(line);
    measured.map_err(|error| Error::Plot {
        reason: error.to_string(),
    })
}

/// The font is part of the program: a server may have none.
fn know_the_font() -> Result<(), Error> {
    let font = register_font(FONT, FontStyle::Normal, notosans::REGULAR_TTF);
    font.map_err(|_| Error::Plot {
        reason: "the font cannot be read".to_owned(),
    })
}
