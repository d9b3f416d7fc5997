//! Scores as text, CSV and a picture.

use std::fmt::Write as _;

use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, BitMapBackend, Color, DrawingArea, FontTransform, RGBColor, Rectangle, Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use simmim_data::printable;
use simmim_picture::Picture;
use simmim_train::scores::{MultiLabelScores, Scores};

use crate::error::Error;
use simmim_picture::chart::{self, Fault, text};

/// Classes of a table on a terminal; of more, those with the lowest recall.
const MAX_LISTED: usize = 20;
/// With more classes than this, cells of the matrix have no room for numbers.
const MAX_NUMBERED: usize = 30;
/// With more classes than this, the matrix has no room for their names.
const MAX_NAMED: usize = 120;
/// The colour of a cell that all images of its row fall into.
const FULL: RGBColor = RGBColor(0, 90, 150);

/// A line for each class: images, precision, recall, F1. Of many classes, those with the lowest recall.
pub fn table(scores: &Scores, classes: &[String]) -> String {
    let classes = shown(classes);
    let mut listed: Vec<usize> = (0..classes.len()).collect();
    let mut text = String::new();
    if listed.len() > MAX_LISTED {
        // A class without images has no recall, and stands last.
        let recall = |class: &usize| scores.of_class(*class).recall.unwrap_or(2.0);
        // Whoever reads a short list looks for what goes wrong.
        listed.sort_by(|a, b| recall(a).total_cmp(&recall(b)));
        listed.truncate(MAX_LISTED);
        let _ = writeln!(
            text,
            "the {MAX_LISTED} of {} classes with the lowest recall; the CSV has all",
            classes.len()
        );
    }
    // In characters and not in bytes: names may be of any language.
    let width = listed.iter().map(|class| classes[*class].chars().count());
    let width = width.max().unwrap_or(0).max("class".len());
    let _ = writeln!(
        text,
        "{:<width$}  {:>7}  {:>9}  {:>7}  {:>7}",
        "class", "images", "precision", "recall", "F1"
    );
    let percent = |share: Option<f64>| {
        share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", 100.0 * share))
    };
    for class in listed {
        let of = scores.of_class(class);
        let _ = writeln!(
            text,
            "{:<width$}  {:>7}  {:>9}  {:>7}  {:>7}",
            classes[class],
            of.n_images,
            percent(of.precision),
            percent(of.recall),
            percent(of.f1)
        );
    }
    text
}

/// A row for each class, every digit of every number; empty where there is none.
pub fn classes_csv(scores: &Scores, classes: &[String]) -> String {
    let classes = shown(classes);
    let rows = classes.iter().enumerate().map(|(class, name)| {
        let of = scores.of_class(class);
        let [precision, recall, f1] = [of.precision, of.recall, of.f1].map(number);
        vec![name.clone(), of.n_images.to_string(), precision, recall, f1]
    });
    csv(["class", "images", "precision", "recall", "f1"], rows)
}

/// The same of images with several labels.
pub fn labels_csv(scores: &MultiLabelScores, classes: &[String]) -> String {
    let classes = shown(classes);
    let rows = classes.iter().enumerate().map(|(class, name)| {
        let of = scores.of_class(class);
        let [precision, f1] = [of.average_precision, of.f1].map(number);
        vec![name.clone(), of.n_images.to_string(), precision, f1]
    });
    csv(["class", "images", "average_precision", "f1"], rows)
}

/// How often each class (row) is taken for each (column).
pub fn confusion_csv(scores: &Scores, classes: &[String]) -> String {
    let classes = shown(classes);
    let head = std::iter::once("true").chain(classes.iter().map(String::as_str));
    let rows = scores.confusion().chunks(classes.len()).zip(&classes);
    let rows = rows.map(|(row, name)| {
        let counts = row.iter().map(usize::to_string);
        std::iter::once(name.clone()).chain(counts).collect()
    });
    csv(head, rows)
}

/// The names of the classes, which may hold anything, without what steers a terminal or a page.
fn shown(classes: &[String]) -> Vec<String> {
    let names = classes.iter().map(|name| printable(name).into_owned());
    names.collect()
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// Rows under a head, as RFC 4180 writes them.
///
/// # Panics
/// When a row is not as long as the head.
pub fn csv<'a>(
    head: impl IntoIterator<Item = &'a str>,
    rows: impl Iterator<Item = Vec<String>>,
) -> String {
    const IN_MEMORY: &str = "memory takes every row, and all rows are of one length";
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head).expect(IN_MEMORY);
    rows.for_each(|row| writer.write_record(row).expect(IN_MEMORY));
    let bytes = writer.into_inner().expect(IN_MEMORY);
    String::from_utf8(bytes).expect("text in, text out")
}

/// The confusion matrix: the darker a cell, the larger the share of its row's images.
///
/// # Errors
/// [`Error::Picture`].
pub fn confusion_picture(scores: &Scores, classes: &[String]) -> Result<Picture, Error> {
    let classes = &shown(classes);
    let layout = Layout::of(classes);
    let side = layout.margin + layout.cell * classes.len() as i32 + Layout::EDGE_PX;
    let size = (side as u32, (side + Layout::TITLE_PX) as u32);
    Ok(chart::picture(size, |canvas| {
        layout.paint(canvas, scores, classes)
    })?)
}

/// The frame of a cell whose images are right.
const RIGHT: RGBColor = RGBColor(213, 94, 0);

/// Where the parts of the matrix stand.
struct Layout {
    /// Rows and columns.
    n_classes: usize,
    /// The side of a cell, in pixels as all of these.
    cell: i32,
    /// Left of the cells and above them, for the names.
    margin: i32,
    /// Height of the letters.
    letters: i32,
}

impl Layout {
    const EDGE_PX: i32 = 24;
    const TITLE_PX: i32 = 70;

    fn of(classes: &[String]) -> Self {
        let n = classes.len();
        // About 900 px for all of them, in cells that can still be seen and are not huge.
        let cell = (900 / n as i32).clamp(2, 72);
        let letters = (cell * 2 / 5).clamp(11, 24);
        let longest = classes.iter().map(|name| name.chars().count()).max();
        let longest = longest.unwrap_or(0).min(Self::MAX_LETTERS) as i32;
        // A letter is about three fifths as wide as it is high.
        let named = if n <= MAX_NAMED {
            longest * letters * 3 / 5 + 60
        } else {
            60
        };
        // A title fits over the smallest of matrices.
        let margin = named.max(560 - cell * n as i32);
        Self {
            n_classes: n,
            cell,
            margin,
            letters,
        }
    }

    const MAX_LETTERS: usize = 24;

    fn paint(
        &self,
        canvas: &DrawingArea<BitMapBackend<'_>, Shift>,
        scores: &Scores,
        classes: &[String],
    ) -> Result<(), Fault> {
        let n = self.n_classes;
        let origin = (self.margin, self.margin + Self::TITLE_PX);
        let title = format!(
            "{:.2} % of {} images right",
            100.0 * scores.top1(),
            scores.n_images()
        );
        canvas.draw(&Text::new(title, (Self::EDGE_PX, 16), text(28)))?;
        let about = "rows: true class; columns: predicted; numbers: images; framed: right";
        canvas.draw(&Text::new(about, (Self::EDGE_PX, 50), text(18)))?;
        for (row, counts) in scores.confusion().chunks(n).enumerate() {
            let n_images: usize = counts.iter().sum();
            for (column, count) in counts.iter().enumerate() {
                let corner = self.corner(origin, row, column);
                self.cell(canvas, corner, *count, n_images)?;
            }
        }
        // What is right lies on the diagonal; drawn last, so that no neighbour covers its frame.
        for class in 0..n {
            let (x, y) = self.corner(origin, class, class);
            let corners = [(x, y), (x + self.cell, y + self.cell)];
            canvas.draw(&Rectangle::new(corners, RIGHT))?;
        }
        let end = self.corner(origin, n, n);
        canvas.draw(&Rectangle::new([origin, end], BLACK.mix(0.4)))?;
        if n <= MAX_NAMED {
            self.names(canvas, origin, classes)?;
        }
        Ok(())
    }

    fn corner(&self, (x, y): (i32, i32), row: usize, column: usize) -> (i32, i32) {
        (x + self.cell * column as i32, y + self.cell * row as i32)
    }

    /// A cell of `count` images, of the `n_images` of its row.
    fn cell(
        &self,
        canvas: &DrawingArea<BitMapBackend<'_>, Shift>,
        (x, y): (i32, i32),
        count: usize,
        n_images: usize,
    ) -> Result<(), Fault> {
        // The root makes rare mistakes visible.
        let shade = (count as f64 / n_images.max(1) as f64).sqrt();
        let corners = [(x, y), (x + self.cell, y + self.cell)];
        canvas.draw(&Rectangle::new(corners, FULL.mix(shade).filled()))?;
        if self.n_classes <= MAX_NUMBERED && count > 0 {
            let colour = if shade > 0.6 { WHITE } else { BLACK };
            let centred = Pos::new(HPos::Center, VPos::Center);
            let style = text(self.letters.min(self.cell * 2 / 5))
                .color(&colour)
                .pos(centred);
            let middle = (x + self.cell / 2, y + self.cell / 2);
            canvas.draw(&Text::new(count.to_string(), middle, style))?;
        }
        Ok(())
    }

    fn names(
        &self,
        canvas: &DrawingArea<BitMapBackend<'_>, Shift>,
        origin: (i32, i32),
        classes: &[String],
    ) -> Result<(), Fault> {
        let size = self.letters.min(self.cell.max(7));
        let left = text(size).pos(Pos::new(HPos::Right, VPos::Center));
        let above = text(size)
            .transform(FontTransform::Rotate270)
            .pos(Pos::new(HPos::Left, VPos::Center));
        for (class, name) in classes.iter().enumerate() {
            // A long name would push the cells off the picture.
            let shown: String = name.chars().take(Self::MAX_LETTERS).collect();
            let (x, y) = self.corner(origin, class, class);
            let middle = self.cell / 2;
            canvas.draw(&Text::new(
                shown.clone(),
                (origin.0 - 8, y + middle),
                left.clone(),
            ))?;
            canvas.draw(&Text::new(shown, (x + middle, origin.1 - 8), above.clone()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(n: usize) -> (Scores, Vec<String>) {
        let mut scores = Scores::new(n);
        for image in 0..20 * n {
            let label = image % n;
            let taken_for = if image % 7 == 0 {
                (label + 1) % n
            } else {
                label
            };
            let row: Vec<f32> = (0..n)
                .map(|k| if k == taken_for { 0.9 } else { 0.01 })
                .collect();
            scores.add(&row, &[label]).unwrap();
        }
        (scores, (0..n).map(|k| format!("class {k}")).collect())
    }

    #[test]
    fn a_table_of_many_classes_shows_the_worst_and_says_so() {
        let (scores, classes) = counted(30);
        let text = table(&scores, &classes);
        assert_eq!(text.lines().count(), 2 + MAX_LISTED, "{text}");
        assert!(text.starts_with("the 20 of 30 classes"), "{text}");
        let (scores, classes) = counted(3);
        assert_eq!(table(&scores, &classes).lines().count(), 4);
    }

    #[test]
    fn csv_has_every_class_and_quotes_what_would_break_it() {
        let (scores, mut classes) = counted(2);
        classes[0] = "cat, \"big\"".to_owned();
        let text = confusion_csv(&scores, &classes);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(&reader.headers().unwrap()[1], "cat, \"big\"");
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let sum: usize = rows
            .iter()
            .flat_map(|row| row.iter().skip(1))
            .map(|n| n.parse::<usize>().unwrap())
            .sum();
        assert_eq!((rows.len(), sum), (2, 40));
        assert_eq!(classes_csv(&scores, &classes).lines().count(), 3);
    }

    #[test]
    fn a_matrix_of_any_size_is_a_picture_of_bearable_size() {
        for n in [2, 10, 31, 200, 1000] {
            let (scores, classes) = counted(n);
            let picture = confusion_picture(&scores, &classes).unwrap();
            assert!(
                (400..2400).contains(&picture.width),
                "{n}: {}",
                picture.width
            );
            let dark = picture.pixels.chunks_exact(3).filter(|p| p[0] < 60).count();
            assert!(dark > 100, "{n}: {dark}");
            if let Some(folder) = std::env::var_os("SIMMIM_SHOW") {
                let path = std::path::Path::new(&folder).join(format!("confusion-{n}.png"));
                picture.write(&path).unwrap();
            }
        }
    }
}
