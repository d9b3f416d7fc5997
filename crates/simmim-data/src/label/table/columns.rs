//! Which column of a table holds what.

use std::path::Path;

use super::reader::Row;
use crate::Error;
use crate::label::Remark;

/// The names of the column of paths, the usual one first; capitals, and spaces for underscores, make no difference.
const PATHS: [&str; 12] = [
    "path",
    "filepath",
    "file_path",
    "filepaths",
    "image_path",
    "img_path",
    "filename",
    "file_name",
    "image_name",
    "file",
    "image",
    "img",
];

/// Those of the column of labels.
const LABELS: [&str; 8] = [
    "label",
    "labels",
    "class",
    "class_name",
    "classname",
    "class_label",
    "category",
    "target",
];

/// Those of the column of parts.
const SPLITS: [&str; 7] = [
    "split",
    "subset",
    "partition",
    "set",
    "part",
    "data_set",
    "dataset",
];

/// Where the columns are.
pub(super) struct Columns {
    pub(super) path: usize,
    pub(super) label: Label,
    pub(super) split: Option<usize>,
    /// What the user is told of them.
    pub(super) remarks: Vec<Remark>,
}

/// How a table states labels.
pub(super) enum Label {
    /// By name, in this column.
    Names(usize),
    /// In a column for each class.
    OneHot(Vec<Class>),
}

/// A column of zeros and ones.
pub(super) struct Class {
    column: usize,
    pub(super) name: String,
}

impl Class {
    /// Whether a row's image is of this class.
    pub(super) fn is_set(&self, table: &Path, row: &Row) -> Result<bool, Error> {
        match row.field(self.column) {
            "1" | "1.0" => Ok(true),
            "0" | "0.0" => Ok(false),
            text if text.eq_ignore_ascii_case("true") => Ok(true),
            text if text.eq_ignore_ascii_case("false") => Ok(false),
            found => Err(Error::NotOneHot {
                path: table.to_owned(),
                line: row.line,
                column: self.name.clone(),
                found: found.to_owned(),
            }),
        }
    }
}

impl Columns {
    /// Finds the columns by their names.
    pub(super) fn of(table: &Path, header: &[String]) -> Result<Self, Error> {
        let header = Header { table, header };
        let (path, label) = (header.find(&PATHS)?, header.find(&LABELS)?);
        let split = header.find(&SPLITS)?;
        let Some(path) = path else {
            return Err(header.refuse(format!(
                "none of them is `path` (or {})",
                PATHS[1..].join(", ")
            )));
        };
        header.refuse_slips(split)?;
        let mut others = Vec::new();
        for (column, name) in header.header.iter().enumerate() {
            if ![Some(path), label, split].contains(&Some(column)) {
                others.push(Class {
                    column,
                    name: name.clone(),
                });
            }
        }
        match label {
            Some(label) => Ok(Self {
                path,
                label: Label::Names(label),
                split,
                remarks: unread(others),
            }),
            // One column alone may hold anything.
            None if others.len() < 2 => Err(header.refuse(format!(
                "none of them is `label` (or {}), and they are no columns of 0 and 1, one for each class",
                LABELS[1..].join(", ")
            ))),
            None => Ok(Self {
                path,
                remarks: vec![Remark::OneHot {
                    n_columns: others.len(),
                }],
                label: Label::OneHot(others),
                split,
            }),
        }
    }
}

/// What is said of columns that are not read.
fn unread(columns: Vec<Class>) -> Vec<Remark> {
    let names: Vec<String> = columns.into_iter().map(|column| column.name).collect();
    if names.is_empty() {
        Vec::new()
    } else {
        vec![Remark::ColumnsUnread {
            names: names.join(", "),
        }]
    }
}

struct Header<'a> {
    table: &'a Path,
    header: &'a [String],
}

impl Header<'_> {
    /// The column of one of these names; the usual one, which stands first, before the others.
    fn find(&self, names: &[&str]) -> Result<Option<usize>, Error> {
        let places = |wanted: &dyn Fn(&str) -> bool| -> Vec<usize> {
            let columns = self.header.iter().enumerate();
            let found = columns.filter(|(_, name)| wanted(&plain(name)));
            found.map(|(column, _)| column).collect()
        };
        let usual = places(&|name| name == names[0]);
        let found = if usual.is_empty() {
            places(&|name| names.contains(&name))
        } else {
            usual
        };
        match found[..] {
            [] => Ok(None),
            [column] => Ok(Some(column)),
            [one, other, ..] => Err(self.refuse(format!(
                "`{}` and `{}` both may be the column `{}`: give one of them that name",
                self.header[one], self.header[other], names[0]
            ))),
        }
    }

    /// Refuses a column whose name is likely a slip for the one that may be missing.
    fn refuse_slips(&self, split: Option<usize>) -> Result<(), Error> {
        let is_slip = |name: &&String| strsim::osa_distance(&plain(name), SPLITS[0]) == 1;
        match self.header.iter().find(is_slip) {
            Some(name) if split.is_none() => {
                Err(self.refuse(format!("`{name}` is read as nothing: is it `split`?")))
            }
            _ => Ok(()),
        }
    }

    fn refuse(&self, problem: String) -> Error {
        Error::TableColumns {
            path: self.table.to_owned(),
            found: self.header.join(","),
            problem,
        }
    }
}

/// A name as it is compared.
fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '-'], "_")
}
