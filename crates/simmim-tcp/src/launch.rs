//! Whether this process is one of several, and where they meet.

use crate::error::Error;

/// The number of processes.
const WORLD: &str = "WORLD_SIZE";
/// Which one this is.
const RANK: &str = "RANK";
/// Which one of its machine this is.
const LOCAL_RANK: &str = "LOCAL_RANK";
/// The machine of rank 0.
const ADDRESS: &str = "MASTER_ADDR";
/// A port there.
const PORT: &str = "MASTER_PORT";
/// The port that the user chooses instead.
const OWN_PORT: &str = "SIMMIM_PORT";
/// What `torchrun` alone sets. It keeps `MASTER_PORT` for a store of its own.
const TORCHRUN: &str = "TORCHELASTIC_RUN_ID";

/// One of several processes that are told by their environment where they meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// How many there are, two at least.
    pub world: usize,
    /// Which one this is.
    pub rank: usize,
    /// Which one of its machine this is, where that is said.
    pub local_rank: Option<usize>,
    /// The machine of rank 0, by name or address.
    pub address: String,
    /// The port at which rank 0 listens: `SIMMIM_PORT` where that is set; else `MASTER_PORT`, and the one after it where `torchrun` holds that
    /// one itself.
    pub port: u16,
    /// Whether `torchrun` has started them: it is then the innermost of several launchers, as MPI's variables are handed on.
    pub is_by_torchrun: bool,
}

impl Launch {
    /// How this process was started; none where it is on its own.
    ///
    /// # Errors
    /// [`Error::Variable`] where there are several processes and they are not told where they meet.
    pub fn found() -> Result<Option<Self>, Error> {
        Self::by(&|name| std::env::var(name).ok())
    }

    fn by(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let number = |name| variable(name)?.trim().parse::<usize>().ok();
        let (Some(world), Some(rank)) = (number(WORLD), number(RANK)) else {
            return Ok(None);
        };
        if world < 2 {
            return Ok(None);
        }
        let wrong = |name, expected| Error::Variable {
            world,
            name,
            found: variable(name).map_or("not set".to_owned(), |text| format!("\"{text}\"")),
            expected,
        };
        if rank >= world {
            return Err(wrong(RANK, "a number below WORLD_SIZE"));
        }
        let address = variable(ADDRESS).map(|text| text.trim().to_owned());
        let address = address.filter(|text| !text.is_empty());
        let address = address.ok_or_else(|| wrong(ADDRESS, "the machine of rank 0"))?;
        let port_of = |name| variable(name)?.trim().parse::<u16>().ok();
        let is_by_torchrun = variable(TORCHRUN).is_some();
        let port = if variable(OWN_PORT).is_some() {
            let port = port_of(OWN_PORT).filter(|port| *port > 0);
            port.ok_or_else(|| wrong(OWN_PORT, "a port, 1 to 65535"))?
        } else {
            let port = port_of(PORT).filter(|port| *port > 0);
            let port = port.and_then(|port| port.checked_add(u16::from(is_by_torchrun)));
            port.ok_or_else(|| wrong(PORT, "a port, 1 to 65534"))?
        };
        Ok(Some(Self {
            world,
            rank,
            local_rank: number(LOCAL_RANK),
            address,
            port,
            is_by_torchrun,
        }))
    }

    /// Where rank 0 listens, in words.
    pub(crate) fn at(&self) -> String {
        // An address of IPv6 has colons of its own.
        if self.address.contains(':') {
            format!("[{}]:{}", self.address, self.port)
        } else {
            format!("{}:{}", self.address, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(&str, &str); 4] = [
        (WORLD, "4"),
        (RANK, "3"),
        (ADDRESS, "node1"),
        (PORT, "29500"),
    ];

    /// What is found by these variables, and by those others in place of them.
    fn found(others: &[(&str, &str)]) -> Result<Option<Launch>, Error> {
        Launch::by(&|name| {
            let mut all = others.iter().chain(&ALL);
            let own = all.find(|(own, _)| *own == name);
            own.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variables_say_where_ranks_meet() {
        let launch = found(&[]).unwrap().unwrap();
        assert_eq!((launch.world, launch.rank, launch.local_rank), (4, 3, None));
        assert_eq!(launch.at(), "node1:29500");
        let launch = found(&[(LOCAL_RANK, "1"), (ADDRESS, "::1")]).unwrap();
        let launch = launch.unwrap();
        assert_eq!(launch.local_rank, Some(1));
        assert_eq!(launch.at(), "[::1]:29500");
    }

    #[test]
    fn torchrun_keeps_its_port_and_a_port_of_ones_own_goes_before() {
        let port = |others: &[(&str, &str)]| found(others).unwrap().unwrap().port;
        assert_eq!(port(&[(TORCHRUN, "none")]), 29501);
        assert_eq!(port(&[(TORCHRUN, "none"), (OWN_PORT, "77")]), 77);
        assert_eq!(port(&[(OWN_PORT, "77")]), 77);
    }

    #[test]
    fn one_process_is_alone() {
        assert_eq!(found(&[(WORLD, "1"), (RANK, "0")]), Ok(None));
        assert_eq!(found(&[(RANK, "")]), Ok(None));
    }

    #[test]
    fn what_cannot_be_meant_is_told_by_its_name() {
        for (name, value) in [
            (RANK, "4"),
            (ADDRESS, " "),
            (PORT, "0"),
            (PORT, "65536"),
            (OWN_PORT, "x"),
        ] {
            let error = found(&[(name, value)]).unwrap_err();
            let says = format!("{name} is \"{value}\"");
            assert!(error.to_string().contains(&says), "{error}");
        }
        let last = found(&[(PORT, "65535"), (TORCHRUN, "none")]);
        assert!(last.is_err(), "{last:?}");
    }
}
