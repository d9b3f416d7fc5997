//! Refuses ranks that would not do the same.

use crate::collective::Collective;
use crate::error::Error;

/// Something that has to be the same on every rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is, as it follows "was started with".
    pub what: String,
    /// What this rank has.
    pub value: String,
}

impl Fact {
    /// A fact.
    pub fn new(what: impl Into<String>, value: impl Into<String>) -> Self {
        let (what, value) = (what.into(), value.into());
        Self { what, value }
    }

    /// The version of the program.
    pub fn version() -> Self {
        Self::new("a version of simmim", env!("CARGO_PKG_VERSION"))
    }

    /// A number that stands for something large.
    pub fn fingerprint(what: &str, value: u64) -> Self {
        Self::new(what, format!("fingerprint {value:016x}"))
    }

    /// In one line, so that facts can be told line by line.
    fn line(&self) -> String {
        let one_line = |text: &str| text.replace(char::is_control, "\u{fffd}");
        format!("{}\t{}", one_line(&self.what), one_line(&self.value))
    }
}

/// Refuses ranks that have other facts than rank 0, on all ranks.
///
/// # Errors
/// [`Error::Differs`], which names the first rank that differs, and in what.
pub fn require_same(collective: &dyn Collective, facts: &[Fact]) -> Result<(), Error> {
    if collective.is_alone() {
        return Ok(());
    }
    let own: Vec<String> = facts.iter().map(Fact::line).collect();
    let all = collective.all_gather(own.join("\n").as_bytes())?;
    let all: Vec<_> = all
        .iter()
        .map(|text| String::from_utf8_lossy(text))
        .collect();
    for (rank, text) in all.iter().enumerate().skip(1) {
        let mut lines = all[0].lines().zip(text.lines());
        if let Some((expected, found)) = lines.find(|(expected, found)| expected != found) {
            let (what, expected) = expected.split_once('\t').unwrap_or_default();
            let found = found.split_once('\t').unwrap_or_default().1;
            return Err(Error::Differs {
                who: collective.member(rank),
                what: what.to_owned(),
                expected: expected.to_owned(),
                found: found.to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alone::Alone;
    use crate::threads::ThreadRank;

    #[test]
    fn the_first_rank_that_differs_is_named_everywhere() {
        let found = ThreadRank::run(3, |rank| {
            let weights = if rank.rank() == 2 { "b\nc" } else { "a" };
            let facts = [Fact::new("images", "7"), Fact::new("weights", weights)];
            require_same(rank, &facts)
        });
        for told in found {
            assert_eq!(
                told.unwrap_err().to_string(),
                "rank 2 was started with weights other than those of rank 0: b\u{fffd}c, where rank 0 has a"
            );
        }
        let same = ThreadRank::run(2, |rank| require_same(rank, &[Fact::new("images", "7")]));
        assert_eq!(same, [Ok(()), Ok(())]);
        assert_eq!(require_same(&Alone, &[]), Ok(()));
    }
}
