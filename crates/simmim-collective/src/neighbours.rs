//! Where the ranks of a training run.

use std::collections::BTreeSet;

use crate::collective::Collective;
use crate::cores;
use crate::error::Error;
use crate::member::Member;

/// The machines that the ranks of a training run on, and the cores that they may use there.
#[derive(Debug, Default)]
pub struct Neighbours {
    hosts: Vec<String>,
    /// How many other ranks may use the cores of this one.
    n_others_on_these_cores: usize,
    /// What the user should know of the cores.
    note: Option<String>,
}

impl Neighbours {
    /// Asks all ranks where they are.
    ///
    /// # Errors
    /// Where another rank has ended.
    pub fn found(collective: &dyn Collective) -> Result<Self, Error> {
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let own = format!("{host}\n{}", cores::allowed());
        let all = collective.all_gather(own.as_bytes())?;
        let all: Vec<String> = all
            .iter()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .collect();
        let split = |text: &String| {
            let (host, cores) = text.split_once('\n').unwrap_or((text, ""));
            (host.to_owned(), cores::numbers(cores))
        };
        let places: Vec<(String, BTreeSet<u32>)> = all.iter().map(split).collect();
        let here = places.iter().filter(|(at, _)| *at == host);
        let used: BTreeSet<u32> = here.flat_map(|(_, cores)| cores.iter().copied()).collect();
        let given = cores::numbers(&cores::of_launcher());
        let note = (given.len() > used.len()).then(|| {
            format!(
                "warning: the launcher lets its processes use {} of the {} cores of {host}; `mpirun --bind-to none` or \
                 `srun --cpus-per-task=N` gives them more",
                used.len(),
                given.len(),
            )
        });
        let others = all.iter().enumerate();
        let others = others.filter(|(rank, _)| *rank != collective.rank());
        Ok(Self {
            hosts: places.into_iter().map(|(host, _)| host).collect(),
            n_others_on_these_cores: others.filter(|(_, other)| **other == own).count(),
            note,
        })
    }

    /// What a rank is called; without a machine before the ranks were asked.
    pub fn member(&self, rank: usize) -> Member {
        let host = self.hosts.get(rank).cloned();
        Member { rank, host }
    }

    /// The place of a rank among those of its machine.
    pub fn place(&self, rank: usize) -> usize {
        let own = self.hosts.get(rank);
        let before = self.hosts.iter().take(rank);
        before.filter(|host| Some(*host) == own).count()
    }

    /// How many ranks, this one among them, may use the same cores.
    pub fn n_on_these_cores(&self) -> usize {
        1 + self.n_others_on_these_cores
    }

    /// How many ranks there are, by what they reach each other, and what the user should know of the cores.
    pub fn describe(&self, by: &str) -> Vec<String> {
        let n_hosts = self.hosts.iter().collect::<BTreeSet<_>>().len();
        let own = format!(
            "{} ranks on {n_hosts} {}, by {by}",
            self.hosts.len(),
            if n_hosts == 1 { "machine" } else { "machines" },
        );
        [own].into_iter().chain(self.note.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::ThreadRank;

    #[test]
    fn ranks_of_one_process_are_neighbours() {
        let found = ThreadRank::run(3, |rank| {
            let neighbours = Neighbours::found(rank).unwrap();
            assert_eq!(neighbours.n_on_these_cores(), 3);
            assert!(neighbours.member(1).host.is_some());
            let said = neighbours.describe("threads");
            assert_eq!(said[0], "3 ranks on 1 machine, by threads");
            neighbours.place(rank.rank())
        });
        assert_eq!(found, [0, 1, 2]);
    }

    #[test]
    fn before_it_is_known_a_rank_has_no_machine() {
        let unknown = Neighbours::default();
        assert_eq!(unknown.member(4).to_string(), "rank 4");
        assert_eq!(unknown.n_on_these_cores(), 1);
        assert_eq!(unknown.place(0), 0);
    }
}
