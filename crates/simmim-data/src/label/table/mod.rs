//! Labels from a table of values that commas, semicolons or tabulators separate.

mod columns;
mod reader;

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use super::role::Role;
use super::{Collected, Found, Part, Remark, TestFolder};
use crate::Error;
use crate::source::{DataSet, read_text};
use columns::{Columns, Label};
use reader::{Reader, Row};

/// What separates several labels of an image.
const SEPARATOR: char = ';';

/// Opens a table. Of its test images those remain that are held out.
pub(super) fn open(table: &Path, test: TestFolder) -> Result<Found, Error> {
    let text = read_text(table)?;
    let mut reader = Reader::new(table, &text);
    let columns = Columns::of(table, &reader.header()?)?;
    let division = match columns.split {
        Some(column) => Some(Division::of(table, &text, column, test)?),
        None => None,
    };
    let mut rows = Rows::new(table, columns);
    while let Some(row) = reader.next()? {
        rows.push(&row, division.as_ref())?;
    }
    rows.finish(division)
}

/// What becomes of the images of each part.
struct Division {
    /// Images of each role: trained on, to choose by, to test.
    counts: [usize; 3],
    /// The role of the images that are held out; none: a share of the training images is.
    held_out: Option<Role>,
    /// Whether test images are a part of their own.
    keeps_test: bool,
}

impl Division {
    /// Reads the column of the parts alone, because the last row may decide what becomes of the first.
    fn of(table: &Path, text: &str, column: usize, test: TestFolder) -> Result<Self, Error> {
        let mut reader = Reader::new(table, text);
        reader.header()?;
        let mut counts = [0; 3];
        while let Some(row) = reader.next()? {
            counts[role(table, &row, column)? as usize] += 1;
        }
        let has = |role: Role| counts[role as usize] > 0;
        let without = |part| Error::PartWithoutImages {
            path: table.to_owned(),
            part,
        };
        if test == TestFolder::Kept {
            return Ok(Self {
                counts,
                held_out: Some(Role::Validation),
                keeps_test: true,
            });
        }
        // No row at all is another fault, told later.
        if !has(Role::Train) && counts != [0; 3] {
            return Err(without("train"));
        }
        let held_out = match (has(Role::Validation), has(Role::Test), test) {
            (true, _, _) => Some(Role::Validation),
            (false, true, TestFolder::HeldOut) => Some(Role::Test),
            (false, false, _) if has(Role::Train) => return Err(without("val")),
            (false, _, _) => None,
        };
        Ok(Self {
            counts,
            held_out,
            keeps_test: false,
        })
    }

    /// The part of an image of that role; `None` where it is used for nothing.
    fn part(&self, role: Role) -> Option<Part> {
        match role {
            Role::Train => Some(Part::Train),
            Role::Test if self.keeps_test => Some(Part::Test),
            _ => (self.held_out == Some(role)).then_some(Part::HeldOut),
        }
    }

    fn unused(&self, table: &Path) -> Option<Remark> {
        let n_images = self.counts[Role::Test as usize];
        let is_unused = n_images > 0 && self.held_out != Some(Role::Test) && !self.keeps_test;
        is_unused.then(|| Remark::TestUnused {
            part: format!("the part `test` of {}", table.display()),
            n_images,
        })
    }
}

fn role(table: &Path, row: &Row, column: usize) -> Result<Role, Error> {
    let found = row.field(column);
    Role::of(found).ok_or_else(|| Error::UnknownPart {
        path: table.to_owned(),
        line: row.line,
        found: found.to_owned(),
    })
}

/// The rows read so far.
struct Rows<'a> {
    table: &'a Path,
    columns: Columns,
    /// Lines and paths.
    images: Vec<(usize, String)>,
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
            labels: Collected::default(),
            parts: Vec::new(),
            unlabelled: None,
        }
    }

    fn push(&mut self, row: &Row, division: Option<&Division>) -> Result<(), Error> {
        if let (Some(column), Some(division)) = (self.columns.split, division) {
            // An image that is used for nothing need not be there, and its class need not be known.
            let Some(part) = division.part(role(self.table, row, column)?) else {
                return Ok(());
            };
            self.parts.push(part);
        }
        let path = row.field(self.columns.path);
        if path.is_empty() {
            return Err(Error::CellEmpty {
                path: self.table.to_owned(),
                line: row.line,
                column: "path",
            });
        }
        match self.push_labels(row)? {
            // Whether that is wrong is known only at the end: images with several labels may be without any.
            0 => _ = self.unlabelled.get_or_insert(row.line),
            1 => {}
            _ => self.labels.multi_label = true,
        }
        self.images.push((row.line, path.to_owned()));
        Ok(())
    }

    /// Adds the labels of an image, and answers how many it has.
    fn push_labels(&mut self, row: &Row) -> Result<usize, Error> {
        match &self.columns.label {
            Label::Names(column) => {
                let names = row.field(*column).split(SEPARATOR).map(str::trim);
                Ok(self.labels.push(names.filter(|name| !name.is_empty())))
            }
            Label::OneHot(classes) => {
                let mut names = Vec::new();
                for class in classes {
                    if class.is_set(self.table, row)? {
                        names.push(class.name.as_str());
                    }
                }
                Ok(self.labels.push(names.into_iter()))
            }
        }
    }

    fn finish(self, division: Option<Division>) -> Result<Found, Error> {
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
        let images = self
            .images
            .iter()
            .map(|(line, path)| (*line, path.as_str()));
        let data = DataSet::of_table(self.table, images)?;
        self.refuse_twins(&data)?;
        let is_divided = division
            .as_ref()
            .is_some_and(|found| found.held_out.is_some());
        let mut remarks = self.columns.remarks;
        remarks.extend(division.and_then(|found| found.unused(self.table)));
        let mut labels = self.labels.names.iter();
        remarks.extend(
            labels
                .find(|name| name.contains('|'))
                .map(|name| Remark::Bars {
                    label: name.clone(),
                }),
        );
        Ok(Found {
            data,
            labels: self.labels,
            parts: is_divided.then_some(self.parts),
            remarks,
        })
    }

    /// Refuses an image that two lines name, however each writes it.
    fn refuse_twins(&self, data: &DataSet) -> Result<(), Error> {
        let mut lines = HashMap::new();
        for (entry_idx, (line, path)) in self.images.iter().enumerate() {
            // `./a.png` and `a.png` are one image.
            let written = Path::new(data.name(entry_idx)).components();
            let written: PathBuf = written.filter(|part| *part != Component::CurDir).collect();
            if let Some(first_line) = lines.insert(written, *line) {
                return Err(Error::ListedTwice {
                    list: self.table.to_owned(),
                    line: *line,
                    first_line,
                    path: PathBuf::from(path),
                });
            }
        }
        Ok(())
    }
}
