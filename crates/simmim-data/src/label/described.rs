//! Images with all that their source says of each, for whoever copies them.

use super::{Collected, Found, TestFolder, table, table_of};
use crate::Error;
use crate::hash::Fnv;
use crate::source::{Beside, DataSet, Opening};

/// Which part of a data set its owner put an image in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// To be trained on.
    Train,
    /// Held out.
    HeldOut,
    /// To measure on at the very end, where that is told apart.
    Test,
}

/// What a source says of an image, beside its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Nothing.
    Nothing,
    /// The file beside it in an archive, a `.cls`.
    Cls(String),
    /// The same, of a `.json`; several labels are in a list.
    Json(Vec<String>),
    /// A row of a table.
    Row {
        /// Its labels.
        labels: Vec<String>,
        /// Whether any image of the table has another number of labels than one.
        is_multi: bool,
        /// The part, where the table divides.
        part: Option<Part>,
    },
    /// A file beside it that states no label, and why.
    Unusable(String),
}

/// An indexed data set with the labels that do not follow from names.
#[derive(Debug)]
pub struct Described {
    data: DataSet,
    told: Told,
}

/// Where labels come from.
#[derive(Debug)]
enum Told {
    Beside(Beside),
    Rows {
        labels: Collected,
        parts: Option<Vec<Part>>,
    },
}

impl Described {
    /// Indexes the images that `spec` names: anything that [`DataSet::open`] takes, or a table. Nothing is left out, and
    /// nothing is asked of labels.
    ///
    /// # Errors
    /// Those of [`DataSet::open`], and of a table that cannot be read.
    pub fn open(spec: &str, opening: Opening<'_>) -> Result<Self, Error> {
        let Some(table) = table_of(spec)? else {
            let (data, beside) = DataSet::open_with_labels(spec, opening)?;
            let told = Told::Beside(beside);
            return Ok(Self { data, told });
        };
        let Found {
            data,
            labels,
            parts,
            ..
        } = table::open(&table, TestFolder::Kept)?;
        let told = Told::Rows { labels, parts };
        Ok(Self { data, told })
    }

    /// The images.
    pub fn data(&self) -> &DataSet {
        &self.data
    }

    /// Whether labels are those of a table.
    pub fn is_table(&self) -> bool {
        matches!(self.told, Told::Rows { .. })
    }

    /// What is said of an image.
    ///
    /// # Panics
    /// When the data set has no such image.
    pub fn of(&self, entry_idx: usize) -> Said {
        match &self.told {
            Told::Rows { labels, parts } => Said::Row {
                labels: labels.of(entry_idx),
                is_multi: labels.multi_label,
                part: parts.as_ref().map(|parts| parts[entry_idx]),
            },
            Told::Beside(beside) => {
                let image = self.data.name(entry_idx);
                match beside.of(image) {
                    None => Said::Nothing,
                    Some(Err(reason)) => Said::Unusable(reason.to_owned()),
                    Some(Ok(stated)) if beside.has_cls(image) => Said::Cls(stated.labels.join("")),
                    Some(Ok(stated)) => Said::Json(stated.labels.clone()),
                }
            }
        }
    }

    /// A number that stays the same as long as the images' names, sizes, order and what is said of them do.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv::new().with(&self.data.fingerprint().to_le_bytes());
        for entry_idx in 0..self.data.len() {
            hash = hash.with(format!("{:?}", self.of(entry_idx)).as_bytes());
        }
        hash.value()
    }

    /// The part of an image's name that does not depend on where the data set lies.
    ///
    /// # Panics
    /// As [`Self::of`].
    pub fn relative_name(&self, entry_idx: usize) -> &str {
        self.data.relative_name(entry_idx)
    }
}
