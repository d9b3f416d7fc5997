//! Labels from a table of comma-separated values.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Collected, Found, Part};
use crate::Error;
use crate::source::DataSet;

/// What separates several labels of an image.
const SEPARATOR: char = ';';

/// Where the columns are.
struct Columns {
    path: usize,
    label: usize,
    split: Option<usize>,
}

pub(super) fn open(table: &Path) -> Result<Found, Error> {
    let unreadable = |source| Error::Table {
        path: table.to_owned(),
        source,
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(table)
        .map_err(unreadable)?;
    let columns = columns(table, reader.headers().map_err(unreadable)?)?;
    let mut rows = Rows::new(table, columns);
    for record in reader.records() {
        rows.push(&record.map_err(unreadable)?)?;
    }
    rows.finish()
}

fn columns(table: &Path, header: &csv::StringRecord) -> Result<Columns, Error> {
    let place = |name| header.iter().position(|column| column == name);
    let known = ["path", "label", "split"];
    // A column that nobody reads is likely a slip in the name of one that somebody does.
    let distinct = header.iter().all(|column| known.contains(&column));
    let n_known = known.iter().filter(|name| place(**name).is_some()).count();
    match (place("path"), place("label")) {
        (Some(path), Some(label)) if distinct && n_known == header.len() => Ok(Columns {
            path,
            label,
            split: place("split"),
        }),
        _ => Err(Error::TableColumns {
            path: table.to_owned(),
            found: header.iter().collect::<Vec<_>>().join(","),
        }),
    }
}

/// The rows read so far.
struct Rows<'a> {
    table: &'a Path,
    columns: Columns,
    /// Lines and paths.
    images: Vec<(usize, String)>,
    /// The line on which each path stands, written in one way.
    lines: HashMap<PathBuf, usize>,
    labels: Collected,
    parts: Vec<Part>,
    /// The first line without a label.
    unlabelled: Option<usize>,
}

impl<'a> Rows<'a> {
    fn new(table: &'a Path, columns: Columns) -> Self {
        Self {
            table,
            columns,
            images: Vec::new(),
            lines: HashMap::new(),
            labels: Collected::default(),
            parts: Vec::new(),
            unlabelled: None,
        }
    }

    fn push(&mut self, record: &csv::StringRecord) -> Result<(), Error> {
        let line = record.position().map_or(0, |at| at.line() as usize);
        // Every record has as many fields as the header: the reader sees to that.
        let field = |column: usize| record.get(column).unwrap_or_default();
        let path = field(self.columns.path);
        // `./a.png` and `a.png` are one image.
        let written = Path::new(path).components();
        let written = written.filter(|part| *part != std::path::Component::CurDir);
        if let Some(first_line) = self.lines.insert(written.collect(), line) {
            return Err(Error::ListedTwice {
                list: self.table.to_owned(),
                line,
                first_line,
                path: PathBuf::from(path),
            });
        }
        if let Some(column) = self.columns.split {
            self.parts.push(part(self.table, line, field(column))?);
        }
        let labels = field(self.columns.label).split(SEPARATOR).map(str::trim);
        match self.labels.push(labels.filter(|label| !label.is_empty())) {
            // Whether that is wrong is known only at the end: images with several labels may be without any.
            0 => _ = self.unlabelled.get_or_insert(line),
            1 => {}
            _ => self.labels.multi_label = true,
        }
        self.images.push((line, path.to_owned()));
        Ok(())
    }

    fn finish(self) -> Result<Found, Error> {
        if self.images.is_empty() {
            return Err(Error::TableEmpty {
                path: self.table.to_owned(),
            });
        }
        if let (Some(line), false) = (self.unlabelled, self.labels.multi_label) {
            return Err(Error::LabelMissing {
                path: self.table.to_owned(),
                line,
            });
        }
        for (wanted, part) in [(Part::Train, "train"), (Part::HeldOut, "val")] {
            if self.columns.split.is_some() && !self.parts.contains(&wanted) {
                return Err(Error::PartWithoutImages {
                    path: self.table.to_owned(),
                    part,
                });
            }
        }
        let images = self
            .images
            .iter()
            .map(|(line, path)| (*line, path.as_str()));
        Ok(Found {
            data: DataSet::of_table(self.table, images)?,
            labels: self.labels,
            parts: self.columns.split.map(|_| self.parts),
            left_alone: None,
        })
    }
}

fn part(table: &Path, line: usize, found: &str) -> Result<Part, Error> {
    match found {
        "train" => Ok(Part::Train),
        "val" => Ok(Part::HeldOut),
        _ => Err(Error::UnknownPart {
            path: table.to_owned(),
            line,
            found: found.to_owned(),
        }),
    }
}
