//! A Swin transformer's window: the one that is asked for, or the usual one that fits its image.

use simmim_model::{SwinConfig, usual_window};

use super::misfit::{MAX_SIZE, misfit};
use crate::error::Error;

/// The configuration with the window wanted for, or the first usual one of which the image is a whole number.
pub(super) fn with_window(swin: SwinConfig, wanted: Option<usize>) -> Result<SwinConfig, Error> {
    let window = window_of(&swin, wanted).ok_or_else(|| no_window(&swin, wanted))?;
    Ok(SwinConfig { window, ..swin })
}

fn window_of(swin: &SwinConfig, wanted: Option<usize>) -> Option<usize> {
    let fits = |window: &usize| {
        let other = SwinConfig {
            window: *window,
            ..swin.clone()
        };
        other.fits(swin.image_size)
    };
    match wanted {
        Some(window) => Some(window).filter(fits),
        None => usual_window(fits),
    }
}

/// Says which sizes near that of the image would fit.
fn no_window(swin: &SwinConfig, wanted: Option<usize>) -> Error {
    let (stride, size) = (swin.stride(), swin.image_size);
    let is_whole = size.iter().all(|side| side.is_multiple_of(stride));
    let what = match wanted {
        Some(window) => format!("windows of {window} tokens at every stage"),
        None if is_whole => {
            "usual windows at every stage, and `model.window` is not set".to_owned()
        }
        None => format!("squares of {stride} px, the patches of the last stage"),
    };
    let fits = |image_size: [usize; 2]| {
        let other = SwinConfig {
            image_size,
            ..swin.clone()
        };
        window_of(&other, wanted).is_some()
    };
    let near: Vec<String> = [Down, Up]
        .into_iter()
        .filter_map(|way| nearest(size, stride, way, fits))
        .map(|[h, w]| format!("[{h}, {w}]"))
        .collect();
    let near = match near.as_slice() {
        [] => "; no size near it fits".to_owned(),
        near => format!("; the nearest that fit are {}", near.join(" and ")),
    };
    // Another window may be an easier change than another image size.
    let usual = wanted.and_then(|_| window_of(swin, None));
    let or = usual.map_or_else(String::new, |usual| {
        format!("; windows of {usual} fit this size")
    });
    let reason = format!("it is not a whole number of {what}{near}{or}");
    misfit("data.image_size", format!("{size:?}"), reason)
}

/// Where to look for another size.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Down,
    Up,
}
use Way::{Down, Up};

/// The nearest size of which both sides are whole strides, both on the same side of the wanted one.
fn nearest(
    [height, width]: [usize; 2],
    stride: usize,
    way: Way,
    fits: impl Fn([usize; 2]) -> bool,
) -> Option<[usize; 2]> {
    // Any whole number of windows of 24 tokens lies within this many strides.
    const REACH: usize = 48;
    // A side is at least one stride, and no geometry has more than the maximum.
    let sides = |side: usize| -> Vec<usize> {
        let (low, high) = (side / stride, side.div_ceil(stride));
        match way {
            Down => (low.saturating_sub(REACH).max(1)..=low).collect(),
            Up => (high..=(high + REACH).min(MAX_SIZE / stride)).collect(),
        }
    };
    let heights = sides(height);
    let sizes = heights.iter().flat_map(|h| {
        let pair = move |w: usize| [h * stride, w * stride];
        sides(width).into_iter().map(pair)
    });
    sizes
        .filter(|size| fits(*size))
        .min_by_key(|[h, w]| height.abs_diff(*h) + width.abs_diff(*w))
}
