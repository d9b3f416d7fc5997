//! Which way up an image is to be shown, by the tag that cameras write, and turning it.

use image::metadata::Orientation;

use super::{Image, Samples};

/// Turns or mirrors an image as its tag says.
pub(super) fn turned(image: Image, orientation: Orientation) -> Image {
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let layout = Layout {
        width: image.width,
        height: image.height,
        channels: image.channels,
        orientation,
    };
    let [width, height] = layout.turned_size();
    let samples = match image.samples {
        Samples::U8(values) => Samples::U8(layout.turn(&values)),
        Samples::U16(values) => Samples::U16(layout.turn(&values)),
        Samples::F32(values) => Samples::F32(layout.turn(&values)),
    };
    Image {
        width,
        height,
        samples,
        ..image
    }
}

/// Whether the sides of an image change places.
pub(super) fn swaps_sides(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// An image as it is stored, and how it is turned.
struct Layout {
    width: usize,
    height: usize,
    channels: usize,
    orientation: Orientation,
}

impl Layout {
    /// Width and height of the turned image.
    fn turned_size(&self) -> [usize; 2] {
        if swaps_sides(self.orientation) {
            [self.height, self.width]
        } else {
            [self.width, self.height]
        }
    }

    /// Where the pixel comes from that stands at `x`, `y` of the turned image: column and row.
    fn source(&self, x: usize, y: usize) -> [usize; 2] {
        let (right, bottom) = (self.width - 1, self.height - 1);
        match self.orientation {
            Orientation::NoTransforms => [x, y],
            Orientation::FlipHorizontal => [right - x, y],
            Orientation::Rotate180 => [right - x, bottom - y],
            Orientation::FlipVertical => [x, bottom - y],
            Orientation::Rotate90FlipH => [y, x],
            Orientation::Rotate90 => [y, bottom - x],
            Orientation::Rotate270FlipH => [right - y, bottom - x],
            Orientation::Rotate270 => [right - y, x],
        }
    }

    fn turn<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let [width, height] = self.turned_size();
        let mut turned = Vec::with_capacity(values.len());
        for y in 0..height {
            for x in 0..width {
                let [column, row] = self.source(x, y);
                let from = (row * self.width + column) * self.channels;
                turned.extend_from_slice(&values[from..from + self.channels]);
            }
        }
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_turns_as_the_exif_standard_says() {
        // Three columns and two rows of two channels; the second channel is ten times the first.
        let stored = Image {
            width: 3,
            height: 2,
            channels: 2,
            samples: Samples::U8((1..=6).flat_map(|value| [value, 10 * value]).collect()),
        };
        // Source: Exif 2.32, 4.6.4: which sides of the picture the first row and the first column of the file are.
        let expected: [(u8, usize, [u8; 6]); 8] = [
            (1, 3, [1, 2, 3, 4, 5, 6]),
            (2, 3, [3, 2, 1, 6, 5, 4]),
            (3, 3, [6, 5, 4, 3, 2, 1]),
            (4, 3, [4, 5, 6, 1, 2, 3]),
            (5, 2, [1, 4, 2, 5, 3, 6]),
            (6, 2, [4, 1, 5, 2, 6, 3]),
            (7, 2, [6, 3, 5, 2, 4, 1]),
            (8, 2, [3, 6, 2, 5, 1, 4]),
        ];
        for (tag, width, values) in expected {
            let orientation = Orientation::from_exif(tag).unwrap();
            let image = turned(stored.clone(), orientation);
            assert_eq!((image.width, image.height), (width, 6 / width), "{tag}");
            let both = values.iter().flat_map(|value| [*value, 10 * value]);
            assert_eq!(image.samples, Samples::U8(both.collect()), "{tag}");
        }
    }
}
