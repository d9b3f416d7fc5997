//! Images side by side, with titles.

use plotters::prelude::Text;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::chart::{self, Canvas, Fault, measure, text};
use crate::error::Error;
use crate::picture::Picture;

/// Images are enlarged by a whole factor until their shorter side has at least this many pixels.
const SHOWN_PX: usize = 160;
/// White pixels between images.
const GAP_PX: usize = 6;
/// White pixels between images that do not belong together, besides that.
const APART_PX: usize = 18;
/// How much wider than high a picture is at best.
const ASPECT: f64 = 1.4;
/// Heights of the letters of titles, the largest that fits.
const LETTERS_PX: [i32; 4] = [20, 18, 16, 14];
/// Height of the letters of the caption.
const CAPTION_PX: i32 = 18;
/// Lines that a title may take.
const MAX_LINES: usize = 2;

/// What stands over images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Titles {
    /// A title for each image.
    Each(Vec<String>),
    /// Images that belong together follow each other in a row, as many as there are titles; these stand over the first row.
    Columns(Vec<String>),
}

/// Images of one size, to be laid out so that the picture is about as high as it is wide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// Height and width of each image.
    pub size: [usize; 2],
    /// The images, row by row, each `[H, W, 3]`.
    pub images: Vec<Vec<u8>>,
    /// What stands over them.
    pub titles: Titles,
    /// A line under all of them.
    pub caption: Option<String>,
}

/// Where everything stands, in pixels.
struct Layout {
    /// Each pixel is repeated so often, each way.
    factor: usize,
    /// Groups of images in a row.
    n_groups: usize,
    /// Titles broken into lines, a cell each.
    titles: Vec<Vec<String>>,
    letters_px: i32,
    /// The top of each row's images.
    tops: Vec<usize>,
    width: usize,
    height: usize,
}

impl Grid {
    /// Draws it: white between the images, each pixel repeated and not smoothed, so that patches keep their edges.
    ///
    /// # Errors
    /// [`Error::Plot`].
    ///
    /// # Panics
    /// When an image has another size.
    pub fn draw(&self) -> Result<Picture, Error> {
        let layout = self.layout()?;
        let size = (layout.width as u32, layout.height as u32);
        let mut picture = chart::picture(size, |canvas| self.letter(canvas, &layout))?;
        for (idx, image) in self.images.iter().enumerate() {
            self.put(&mut picture, &layout, idx, image);
        }
        Ok(picture)
    }

    fn layout(&self) -> Result<Layout, Error> {
        let [height, width] = self.size;
        let factor = SHOWN_PX.div_ceil(height.min(width).max(1));
        let n_groups = self.groups_in_a_row(factor);
        let n_columns = n_groups * self.together();
        let (titles, letters_px) = self.break_titles(n_columns, width * factor)?;
        let (mut tops, mut y) = (Vec::new(), GAP_PX);
        for row in titles.chunks(n_columns) {
            let n_lines = row.iter().map(Vec::len).max().unwrap_or(0);
            y += n_lines * line_px(letters_px);
            tops.push(y);
            y += height * factor + GAP_PX;
        }
        let mut least = 0;
        if let Some(caption) = &self.caption {
            y += line_px(CAPTION_PX);
            least = measure(caption, CAPTION_PX)?.0 as usize + 2 * GAP_PX;
        }
        let (left, _) = place_of(n_columns - 1, self.together(), width * factor);
        Ok(Layout {
            factor,
            n_groups,
            titles,
            letters_px,
            tops,
            width: (left + width * factor + GAP_PX).max(least),
            height: y,
        })
    }

    /// Images that follow each other in a row.
    fn together(&self) -> usize {
        match &self.titles {
            Titles::Each(_) => 1,
            Titles::Columns(titles) => titles.len().max(1),
        }
    }

    fn title(&self, idx: usize, n_columns: usize) -> &str {
        let title = match &self.titles {
            Titles::Each(titles) => titles.get(idx),
            Titles::Columns(titles) if idx < n_columns => titles.get(idx % self.together()),
            Titles::Columns(_) => None,
        };
        title.map_or("", String::as_str)
    }

    /// So many that the picture comes nearest to its best shape.
    fn groups_in_a_row(&self, factor: usize) -> usize {
        let n = self.images.len().div_ceil(self.together()).max(1);
        let [height, width] = self.size.map(|px| (px * factor) as f64);
        let miss = |n_groups: usize| {
            let across = (n_groups * self.together()) as f64 * width;
            let down = n.div_ceil(n_groups) as f64 * height;
            (across / down / ASPECT).ln().abs()
        };
        let better = |a, b| if miss(b) < miss(a) { b } else { a };
        (1..=n).reduce(better).unwrap_or(1)
    }

    /// The lines of every title, in the largest letters in which all of them fit; in the smallest they are cut.
    fn break_titles(
        &self,
        n_columns: usize,
        width: usize,
    ) -> Result<(Vec<Vec<String>>, i32), Error> {
        for letters_px in LETTERS_PX {
            let titles = (0..self.images.len()).map(|idx| self.title(idx, n_columns));
            let broken = titles.map(|title| lines(title, width, letters_px));
            let broken: Vec<Vec<String>> = broken.collect::<Result<_, _>>()?;
            let is_last = letters_px == LETTERS_PX[LETTERS_PX.len() - 1];
            if is_last || broken.iter().all(|lines| lines.len() <= MAX_LINES) {
                let cut = |mut lines: Vec<String>| {
                    lines.truncate(MAX_LINES);
                    lines
                };
                return Ok((broken.into_iter().map(cut).collect(), letters_px));
            }
        }
        unreachable!("the last size is taken as it is")
    }

    fn letter(&self, canvas: &Canvas<'_>, layout: &Layout) -> Result<(), Fault> {
        let shown_px = self.size[1] * layout.factor;
        let n_columns = layout.n_groups * self.together();
        let centred = Pos::new(HPos::Center, VPos::Bottom);
        for (idx, lines) in layout.titles.iter().enumerate() {
            let (left, _) = place_of(idx % n_columns, self.together(), shown_px);
            let bottom = layout.tops[idx / n_columns];
            for (above, line) in lines.iter().rev().enumerate() {
                let y = bottom - above * line_px(layout.letters_px) - GAP_PX / 2;
                let at = ((left + shown_px / 2) as i32, y as i32);
                canvas.draw(&Text::new(
                    line.clone(),
                    at,
                    text(layout.letters_px).pos(centred),
                ))?;
            }
        }
        if let Some(caption) = &self.caption {
            let at = (GAP_PX as i32, (layout.height - line_px(CAPTION_PX)) as i32);
            canvas.draw(&Text::new(caption.clone(), at, text(CAPTION_PX)))?;
        }
        Ok(())
    }

    fn put(&self, picture: &mut Picture, layout: &Layout, idx: usize, image: &[u8]) {
        let ([height, width], factor) = (self.size, layout.factor);
        assert_eq!(image.len(), height * width * 3, "images of one size");
        let n_columns = layout.n_groups * self.together();
        let (left, _) = place_of(idx % n_columns, self.together(), width * factor);
        let top = layout.tops[idx / n_columns];
        for y in 0..height * factor {
            let row = &image[y / factor * width * 3..][..width * 3];
            let start = ((top + y) * picture.width + left) * 3;
            let enlarged = row.chunks_exact(3).flat_map(|pixel| pixel.repeat(factor));
            let to = &mut picture.pixels[start..start + width * factor * 3];
            to.iter_mut()
                .zip(enlarged)
                .for_each(|(to, from)| *to = from);
        }
    }
}

/// Pixels of a line of letters of that height, with the white between lines.
fn line_px(letters_px: i32) -> usize {
    letters_px as usize * 13 / 10
}

/// The left and the right end of a column.
fn place_of(column: usize, together: usize, shown_px: usize) -> (usize, usize) {
    let left = GAP_PX + column * (shown_px + GAP_PX) + column / together * APART_PX;
    // Images that stand alone need no more room than the gap.
    let left = if together == 1 {
        GAP_PX + column * (shown_px + GAP_PX)
    } else {
        left
    };
    (left, left + shown_px)
}

/// A title in lines that are no wider than `width`, broken between words. A word that is wider stands as it is.
fn lines(title: &str, width: usize, letters_px: i32) -> Result<Vec<String>, Error> {
    let mut lines: Vec<String> = Vec::new();
    for word in title.split_whitespace() {
        let longer = lines.last().map(|line| format!("{line} {word}"));
        match (longer, lines.last_mut()) {
            (Some(longer), Some(last)) if measure(&longer, letters_px)?.0 as usize <= width => {
                *last = longer;
            }
            _ => lines.push(word.to_owned()),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(n: usize, size: [usize; 2], titles: Titles) -> Grid {
        Grid {
            size,
            images: (0..n)
                .map(|idx| vec![40 + idx as u8; size[0] * size[1] * 3])
                .collect(),
            titles,
            caption: None,
        }
    }

    fn columns() -> Titles {
        Titles::Columns(
            ["hidden", "predicted in place of hidden", "original"]
                .map(str::to_owned)
                .to_vec(),
        )
    }

    fn none() -> Titles {
        Titles::Each(Vec::new())
    }

    #[test]
    fn small_images_are_enlarged_and_no_number_of_them_makes_a_ribbon() {
        for (n, size, titles) in [
            (3, [32, 32], columns()),
            (24, [32, 32], columns()),
            (48, [28, 28], columns()),
            (192, [28, 28], columns()),
            (24, [224, 224], columns()),
            (5, [64, 96], none()),
            (65, [16, 16], none()),
        ] {
            let picture = grid(n, size, titles).draw().unwrap();
            let aspect = picture.width as f64 / picture.height as f64;
            assert!((0.6..3.0).contains(&aspect), "{n} of {size:?}: {aspect}");
            for idx in 0..n {
                let shade = [40 + idx as u8; 3];
                let shown = picture
                    .pixels
                    .chunks_exact(3)
                    .filter(|pixel| **pixel == shade)
                    .count();
                assert!(
                    shown >= SHOWN_PX * SHOWN_PX,
                    "{n} of {size:?}: image {idx} has {shown} pixels"
                );
            }
        }
    }

    #[test]
    fn a_title_stands_over_its_image_in_letters_that_fit() {
        let with = grid(6, [32, 32], columns()).draw().unwrap();
        let bare = grid(6, [32, 32], Titles::Columns(vec![String::new(); 3]))
            .draw()
            .unwrap();
        assert!(with.height > bare.height && with.width == bare.width);
        let dark = |picture: &Picture| picture.pixels.iter().filter(|value| **value < 30).count();
        assert!(dark(&with) > 100 && dark(&bare) == 0);
        for line in lines("predicted in place of hidden", 160, 16).unwrap() {
            assert!(measure(&line, 16).unwrap().0 <= 160, "{line}");
        }
    }

    #[test]
    fn a_caption_makes_room_for_itself() {
        let mut grid = grid(1, [32, 32], none());
        let narrow = grid.draw().unwrap();
        grid.caption =
            Some("60 % of the cells hidden, of 32 px each, in squares of whole patches".to_owned());
        let wide = grid.draw().unwrap();
        assert!(wide.width > narrow.width && wide.height > narrow.height);
    }
}
