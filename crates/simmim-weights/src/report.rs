//! What became of every array of a file, and of every parameter of a model.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Parameters that were filled.
    pub n_filled: usize,
    /// How many of these have another name or another order in the file, by what was done.
    pub renamed: BTreeMap<String, usize>,
    /// Those that were resampled: what, from and to which size, and how many.
    pub resampled: Vec<(String, usize)>,
    /// Parameters that begin at random, by reason.
    pub fresh: BTreeMap<String, Vec<String>>,
    /// Arrays of the file that were not used, by reason.
    pub left_out: BTreeMap<String, Vec<String>>,
}

impl Report {
    /// Notes something that was resampled: many parameters of the same sizes are one line.
    pub fn note_resampled(&mut self, what: String) {
        match self.resampled.iter_mut().find(|(known, _)| *known == what) {
            Some((_, n)) => *n += 1,
            None => self.resampled.push((what, 1)),
        }
    }

    /// Notes a parameter that begins at random.
    pub fn note_fresh(&mut self, reason: &str, name: &str) {
        let names = self.fresh.entry(reason.to_owned()).or_default();
        names.push(name.to_owned());
    }

    /// Notes an array that was not used.
    pub fn note_left_out(&mut self, reason: &str, name: &str) {
        let names = self.left_out.entry(reason.to_owned()).or_default();
        names.push(name.to_owned());
    }

    /// Notes a parameter that was filled, and what was done for that.
    pub fn note_filled(&mut self, rule: Option<&str>) {
        self.n_filled += 1;
        if let Some(rule) = rule {
            *self.renamed.entry(rule.to_owned()).or_default() += 1;
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors", self.n_filled)?;
        for (rule, n) in &self.renamed {
            write!(f, "; {n} of them {rule}")?;
        }
        for (what, n) in &self.resampled {
            write!(f, "; {n} {what}")?;
        }
        for (reason, names) in &self.fresh {
            write!(f, "; at random: {} ({reason})", some(names))?;
        }
        for (reason, names) in &self.left_out {
            write!(f, "; not used: {} ({reason})", some(names))?;
        }
        Ok(())
    }
}

/// Some of the names, and how many more there are.
fn some(names: &[String]) -> String {
    const MAX_NAMED: usize = 4;
    let first = names[..names.len().min(MAX_NAMED)].join(", ");
    match names.len().saturating_sub(MAX_NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
