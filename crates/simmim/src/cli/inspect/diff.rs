//! Two files of weights, array by array.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use simmim_checkpoint::Array;
use simmim_train::source::Source;
use simmim_weights::{Error as WeightsError, OpenedPart, Options, Weights, open_parts};

use crate::cli::{Talk, output};

/// Arrays of a file: under our names where these are known, else under its own.
enum Side {
    Known(Box<Source>),
    Plain {
        parts: Vec<OpenedPart>,
        /// The part that holds the array of a name.
        part_of: BTreeMap<String, usize>,
    },
}

impl Side {
    fn open(path: &Path, options: &Options) -> anyhow::Result<Self> {
        match Source::open(path, options) {
            Ok(source) => Ok(Self::Known(Box::new(source))),
            Err(simmim_train::Error::Foreign(WeightsError::Unknown { .. })) => {
                let parts = open_parts(path)?;
                let mut part_of = BTreeMap::new();
                for (idx, part) in parts.iter().enumerate() {
                    for array in part.listed() {
                        // Of one name in two parts the first counts.
                        part_of.entry(array.name).or_insert(idx);
                    }
                }
                Ok(Self::Plain { parts, part_of })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn weights(&self) -> Option<&Weights> {
        match self {
            Self::Known(source) => Some(source.weights()),
            Self::Plain { .. } => None,
        }
    }

    fn names(&self) -> BTreeSet<String> {
        match self {
            Self::Known(source) => source.weights().names().map(str::to_owned).collect(),
            Self::Plain { part_of, .. } => part_of.keys().cloned().collect(),
        }
    }

    fn array(&self, name: &str) -> anyhow::Result<Array> {
        match self {
            Self::Known(source) => Ok(source.weights().array(name)?),
            Self::Plain { parts, part_of } => {
                let part = part_of.get(name).expect("a name of one of the parts");
                Ok(parts[*part].array(name)?)
            }
        }
    }
}

/// How an array differs between two files.
enum Difference {
    Same,
    Shape {
        before: Vec<usize>,
        after: Vec<usize>,
    },
    /// The farthest value, and the root mean square beside that of the first file's values.
    Values {
        farthest: f64,
        relative: f64,
    },
    OnlyIn(&'static str),
}

/// Compares two files, `a` and `b`.
pub(super) fn run(a: &Path, b: &Path, options: &Options, talk: Talk) -> anyhow::Result<()> {
    let [a, b] = [Side::open(a, options)?, Side::open(b, options)?];
    let (in_a, in_b) = (a.names(), b.names());
    let mut n_same = 0;
    for name in in_a.union(&in_b) {
        let difference = match (in_a.contains(name), in_b.contains(name)) {
            (true, true) => compare(&a.array(name)?, &b.array(name)?),
            (true, false) => Difference::OnlyIn("A"),
            _ => Difference::OnlyIn("B"),
        };
        if let Difference::Same = difference {
            n_same += 1;
        } else if talk == Talk::Json {
            output::data(difference.to_json(name))?;
        } else {
            output::data(difference.to_line(name))?;
        }
    }
    let n_all = in_a.union(&in_b).count();
    if talk == Talk::Json {
        output::data(json!({"same": n_same, "arrays": n_all}))?;
        return Ok(());
    }
    for (letter, side) in [("A", &a), ("B", &b)] {
        if let Some(weights) = side.weights() {
            output::data(format!("{letter} is {}", weights.describe()))?;
        }
    }
    output::data(format!(
        "{n_same} of {n_all} arrays are the same to the bit"
    ))?;
    Ok(())
}

fn compare(a: &Array, b: &Array) -> Difference {
    if a.shape != b.shape {
        return Difference::Shape {
            before: a.shape.clone(),
            after: b.shape.clone(),
        };
    }
    let bits = |array: &Array| -> Vec<u32> { array.values.iter().map(|v| v.to_bits()).collect() };
    if bits(a) == bits(b) {
        return Difference::Same;
    }
    let pairs = a.values.iter().zip(&b.values);
    let away = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    let (mut farthest, mut squares) = (0.0_f64, 0.0);
    for distance in away {
        // Not by `max`, which would pass over what is not a number.
        farthest = if distance > farthest || distance.is_nan() {
            distance
        } else {
            farthest
        };
        squares += distance * distance;
    }
    let own: f64 = a.values.iter().map(|a| f64::from(*a).powi(2)).sum();
    Difference::Values {
        farthest,
        relative: (squares / own).sqrt(),
    }
}

impl Difference {
    fn to_line(&self, name: &str) -> String {
        match self {
            Self::Same => format!("{name}: the same"),
            Self::Shape { before, after } => format!("{name}: {before:?} in A, {after:?} in B"),
            Self::Values { farthest, relative } => {
                format!(
                    "{name}: at most {farthest:.3e} away, {:.2} % in all",
                    100.0 * relative
                )
            }
            Self::OnlyIn(side) => format!("{name}: only in {side}"),
        }
    }

    fn to_json(&self, name: &str) -> Value {
        match self {
            Self::Same => json!({"name": name}),
            Self::Shape { before, after } => json!({"name": name, "shapes": [before, after]}),
            Self::Values { farthest, relative } => {
                json!({"name": name, "farthest": farthest, "relative": relative})
            }
            Self::OnlyIn(side) => json!({"name": name, "only_in": side}),
        }
    }
}
