//! Which library's names a file has, and what each of its arrays is.

use std::collections::{BTreeMap, BTreeSet};

use glob::Pattern as Glob;

use crate::dialects::{ALL, Dialect, Format};
use crate::error::Error;
use crate::family::Family;
use crate::pattern::Pattern;
use crate::rule::{How, Rule};
use crate::store::Store;

/// Arrays that no model here has, whose presence means that the model computes something else.
const OTHER_ARITHMETIC: [(&str, &str); 10] = [
    ("*register_tokens", "it has register tokens"),
    ("*reg_token", "it has register tokens"),
    ("*norm_pre.*", "it normalises tokens before the first block"),
    (
        "*pre_layrnorm.*",
        "it normalises tokens before the first block",
    ),
    ("*q_norm.*", "it normalises queries and keys"),
    ("*mlp.weights_in.*", "its MLPs are gated (SwiGLU)"),
    ("*mlp.w12.*", "its MLPs are gated (SwiGLU)"),
    ("*mlp.fc1_g.*", "its MLPs are gated (SwiGLU)"),
    ("*dist_token", "it has a second token, for distillation"),
    (
        "*distillation_token",
        "it has a second token, for distillation",
    ),
];

/// What one of our arrays is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) theirs: Vec<String>,
    pub(crate) how: How,
    pub(crate) shape: Vec<usize>,
}

/// A file whose names are known.
#[derive(Debug)]
pub(crate) struct Recognised {
    pub(crate) dialect: &'static Dialect,
    /// Under our names, without a prefix.
    pub(crate) arrays: BTreeMap<String, Mapped>,
    /// Their arrays that have no place, with the reason.
    pub(crate) unused: Vec<(String, &'static str)>,
    /// Their arrays that nothing explains.
    pub(crate) unexplained: Vec<String>,
}

/// The dialect that explains most arrays of a file.
///
/// # Errors
/// [`Error::Unknown`] where none explains it; [`Error::OtherArithmetic`].
pub(crate) fn recognise(store: &Store, format: Option<Format>) -> Result<Recognised, Error> {
    let dialects = ALL
        .iter()
        .filter(|dialect| format.is_none_or(|format| dialect.format == format));
    let mut best: Option<Reading> = None;
    for dialect in dialects {
        let rules = dialect.rules();
        for prefix in dialect.prefixes {
            let found = Reading::new(store, dialect, &rules, prefix);
            let is_better = |best: &Reading| found.score() > best.score();
            if found.fits(store) && best.as_ref().is_none_or(is_better) {
                best = Some(found);
            }
        }
    }
    let unknown = || Error::Unknown {
        path: store.path().to_owned(),
        format,
        names: store.shapes().map(|(name, _)| name.to_owned()).collect(),
    };
    best.ok_or_else(unknown)?.explained(store)
}

/// A checkpoint of this program, which has no names but ours: all of its arrays, without the prefix of a pre-training.
pub(crate) fn own(store: &Store, family: Family) -> Recognised {
    let dialects = ALL.iter().copied();
    let mut official = dialects.filter(|dialect| dialect.format == Format::Official);
    let dialect = official
        .find(|dialect| dialect.family == family)
        .expect("every family has the authors' names");
    let mut recognised = Recognised {
        dialect,
        arrays: BTreeMap::new(),
        unused: Vec::new(),
        unexplained: Vec::new(),
    };
    for (name, shape) in store.shapes() {
        if let Some((_, reason)) = BESIDE.iter().find(|(start, _)| name.starts_with(start)) {
            recognised.unused.push((name.to_owned(), reason));
            continue;
        }
        let mapped = Mapped {
            theirs: vec![name.to_owned()],
            how: How::Same,
            shape: shape.to_vec(),
        };
        let ours = name.strip_prefix("encoder.").unwrap_or(name);
        recognised.arrays.insert(ours.to_owned(), mapped);
    }
    recognised
}

/// Of an array of a training's own.
const BESIDE_WEIGHTS: &str = "it stands beside the model";

/// What a checkpoint of this program holds besides a model.
const BESIDE: [(&str, &str); 3] = [
    ("optimizer.", "it is the optimiser's"),
    (
        "average.",
        "it is a running average, which a run's best weights are made of",
    ),
    ("codebook", "it belongs to the target"),
];

/// A file, read as one of a dialect.
struct Reading {
    dialect: &'static Dialect,
    prefix: &'static str,
    arrays: BTreeMap<String, Mapped>,
    used: BTreeSet<String>,
}

impl Reading {
    #[allow(
        clippy::too_many_arguments,
        reason = "a file, and the rules of a dialect for one of its prefixes"
    )]
    fn new(store: &Store, dialect: &'static Dialect, rules: &[Rule], prefix: &'static str) -> Self {
        let mut reading = Self {
            dialect,
            prefix,
            arrays: BTreeMap::new(),
            used: BTreeSet::new(),
        };
        for rule in rules {
            for (name, _) in store.shapes() {
                reading.take(store, rule, name);
            }
        }
        reading
    }

    /// Reads an array by a rule, if it is one of it and all that go with it are there.
    fn take(&mut self, store: &Store, rule: &Rule, name: &str) {
        let Some(places) = rule.theirs[0].read(name, self.prefix) else {
            return;
        };
        let theirs = rule
            .theirs
            .iter()
            .map(|part| part.write(&places, self.prefix));
        let theirs: Vec<String> = theirs.collect();
        let shapes = theirs
            .iter()
            .map(|name| store.shape(name).map(<[usize]>::to_vec));
        let Some(shapes) = shapes.collect::<Option<Vec<_>>>() else {
            return;
        };
        let ours = rule.ours.write(&places, "");
        let Some(shape) = rule
            .how
            .shape(&shapes)
            .filter(|_| !self.arrays.contains_key(&ours))
        else {
            return;
        };
        self.used.extend(theirs.iter().cloned());
        let mapped = Mapped {
            theirs,
            how: rule.how,
            shape,
        };
        self.arrays.insert(ours, mapped);
    }

    /// Whether the file has what every file of the dialect has, and nothing that none has.
    fn fits(&self, store: &Store) -> bool {
        let is_marked = |mark: &&'static str| {
            let mark = Pattern::new(mark);
            self.arrays.keys().any(|name| mark.read(name, "").is_some())
        };
        let is_foreign = |text: &&'static str| {
            let pattern = Pattern::new(text);
            store
                .shapes()
                .any(|(name, _)| pattern.read(name, self.prefix).is_some())
        };
        self.dialect.marks.iter().all(is_marked)
            && !self.dialect.without.iter().any(is_foreign)
            && self.arrays.contains_key("patch_embed.proj.weight")
    }

    /// More is better: first the arrays that are explained, then how much is asked of a file.
    fn score(&self) -> (usize, usize) {
        (self.used.len(), self.dialect.marks.len())
    }

    /// What is left is unused for a reason, or unexplained.
    fn explained(self, store: &Store) -> Result<Recognised, Error> {
        let beside = store.beside().iter();
        let mut unused: Vec<_> = beside.map(|name| (name.clone(), BESIDE_WEIGHTS)).collect();
        let mut unexplained = Vec::new();
        for (name, _) in store
            .shapes()
            .filter(|(name, _)| !self.used.contains(*name))
        {
            let mut reasons = self.dialect.unused.iter();
            let known = reasons.find(|unused| glob(unused.pattern).matches(name));
            match known {
                Some(known) => unused.push((name.to_owned(), known.reason)),
                None => unexplained.push(name.to_owned()),
            }
        }
        for name in &unexplained {
            let other = OTHER_ARITHMETIC
                .iter()
                .find(|(text, _)| glob(text).matches(name));
            if let Some((_, what)) = other {
                return Err(Error::OtherArithmetic {
                    path: store.path().to_owned(),
                    what: format!("{what} (`{name}`)"),
                });
            }
        }
        Ok(Recognised {
            dialect: self.dialect,
            arrays: self.arrays,
            unused,
            unexplained,
        })
    }
}

fn glob(text: &str) -> Glob {
    Glob::new(text).expect("a pattern of this crate's tables")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_fills_the_places_that_its_other_side_has() {
        for dialect in ALL {
            for unused in dialect.unused {
                glob(unused.pattern);
            }
            for rule in dialect.rules() {
                let names = ["weight", "bias"].map(|kind| example(&rule, kind));
                let written = names.into_iter().flatten().next();
                assert!(written.is_some(), "{rule:?}");
            }
        }
        for (text, _) in OTHER_ARITHMETIC {
            glob(text);
        }
    }

    /// Our name and theirs for the second block of the second stage.
    fn example(rule: &Rule, kind: &str) -> Option<(String, Vec<String>)> {
        let name = rule.theirs[0].example(kind);
        let places = rule.theirs[0].read(&name, "")?;
        let theirs = rule
            .theirs
            .iter()
            .map(|part| part.write(&places, ""))
            .collect();
        Some((rule.ours.write(&places, ""), theirs))
    }
}
