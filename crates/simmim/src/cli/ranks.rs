//! The processes that this one was started with, by `mpirun` or `srun`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use simmim_collective::{Alone, Collective, Error as RankError};
use simmim_config::{Layer, RawConfig};
use simmim_mpi::{Launch, MpiRank};
use simmim_train::{Job, Mode};

use super::failure::Usage;
use super::{Talk, failure, output};

/// How long a rank that has failed waits for the others to have failed as well.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a command makes of several processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnRanks {
    /// They do it together.
    Together,
    /// One does it: several would do the same, and write the same files.
    Refused,
    /// It only looks at something, and may do that in each.
    Each,
}

/// The processes that do one training together; one in the usual case.
#[derive(Debug)]
pub(crate) struct Ranks(Option<Arc<MpiRank>>);

impl Ranks {
    /// Joins the others, if there are some.
    pub(crate) fn join(on_ranks: OnRanks) -> anyhow::Result<Self> {
        let launch = match (Launch::found(), on_ranks) {
            (None, _) | (_, OnRanks::Each) => return Ok(Self(None)),
            (Some(launch), OnRanks::Together) => launch,
            (
                Some(Launch {
                    launcher, world, ..
                }),
                OnRanks::Refused,
            ) => {
                return Err(Usage::new(
                    format!("{launcher} has started {world} processes, and this command runs in one"),
                    "start it without mpirun or srun, or with one process; SIMMIM_MPI=none makes each process a run of its own",
                )
                .into());
            }
        };
        let rank = Arc::new(MpiRank::join(launch)?);
        require_same_arguments(&*rank)?;
        Ok(Self(Some(rank)))
    }

    /// Whether this process speaks for all.
    pub(crate) fn is_first(&self) -> bool {
        self.0.as_ref().is_none_or(|rank| rank.is_first())
    }

    /// How much this process says: all but the first are quiet.
    pub(crate) fn talk(&self, talk: Talk) -> Talk {
        if self.is_first() { talk } else { Talk::Quiet }
    }

    /// The job that the first process makes, on every process.
    pub(crate) fn job(&self, make: impl FnOnce() -> anyhow::Result<Job>) -> anyhow::Result<Job> {
        let Some(rank) = &self.0 else {
            return make();
        };
        let own = rank.is_first().then(make).transpose();
        let mut sent = match &own {
            Ok(own) => own.as_ref().map(to_bytes).unwrap_or_default(),
            // An empty message is no job.
            Err(_) => Vec::new(),
        };
        rank.broadcast(&mut sent)?;
        let mut job = match own? {
            Some(job) => job,
            None => from_bytes(&sent, &**rank)?,
        };
        rank.set_timeout(job.config.train.rank_timeout_secs as u64);
        job.collective = Arc::clone(rank) as Arc<dyn Collective>;
        Ok(job)
    }

    /// The processes, as a training sees them.
    pub(crate) fn collective(&self) -> Arc<dyn Collective> {
        match &self.0 {
            Some(rank) => Arc::clone(rank) as Arc<dyn Collective>,
            None => Arc::new(Alone),
        }
    }

    /// What there is to say of several processes.
    pub(crate) fn describe(&self) -> Vec<String> {
        let rank = self.0.as_ref();
        rank.map(|rank| rank.describe()).unwrap_or_default()
    }

    /// Ends the command, together with the others: an error is told once.
    pub(crate) fn leave(self, done: anyhow::Result<()>) -> ExitCode {
        let code = done.as_ref().err().map_or(0, failure::exit_code);
        let told = done.as_ref().err().filter(|error| failure::is_told(error));
        let words = told.map(failure::message).unwrap_or_default();
        let Some(rank) = self.0 else {
            say(&words);
            return ExitCode::from(code);
        };
        if told.is_some_and(|error| is_of(error, are_gone)) {
            say(&words);
            rank.abort(code);
        }
        let own = match told.filter(|error| !is_of(error, is_of_others)) {
            Some(_) => format!("{code}\n{words}"),
            None => String::new(),
        };
        // Whoever has failed has said so to the others, who then come as well; where they do not, nobody can go on.
        let patience = told.map(|_| PATIENCE);
        let all = rank.farewell(&own, patience).unwrap_or_else(|error| {
            say(&words);
            say(&failure::message(&error.into()));
            Arc::clone(&rank).abort(code.max(1))
        });
        let blamed = first_with_words(&all, &*rank);
        if let Some(blamed) = blamed.as_ref().filter(|_| rank.is_first()) {
            say(&blamed.words);
        }
        // All is done and said: there is nothing that could be lost.
        let _ = rank.finish();
        ExitCode::from(blamed.map_or(code, |blamed| blamed.code))
    }
}

fn say(words: &str) {
    if !words.is_empty() {
        output::say(words);
    }
}

/// The rank whose error ends the command: its exit code is that of all.
struct Blamed {
    code: u8,
    words: String,
}

/// The first rank that has words of its own.
fn first_with_words(all: &[String], ranks: &dyn Collective) -> Option<Blamed> {
    let rank = all.iter().position(|words| !words.is_empty())?;
    let (code, words) = all[rank].split_once('\n')?;
    Some(Blamed {
        code: code.parse().ok()?,
        words: match rank {
            0 => words.to_owned(),
            rank => format!("{}: {words}", ranks.member(rank)),
        },
    })
}

fn is_of(error: &anyhow::Error, is: fn(&RankError) -> bool) -> bool {
    let found = match error.downcast_ref() {
        // It speaks with the words of its cause, and is not told apart from it in a chain.
        Some(simmim_train::Error::Ranks(found)) => Some(found),
        _ => error.downcast_ref(),
    };
    found.is_some_and(is)
}

/// Whether the others can no longer be reached.
fn are_gone(error: &RankError) -> bool {
    matches!(
        error,
        RankError::Left { .. } | RankError::Silent { .. } | RankError::Lost { .. }
    )
}

/// Whether another rank has met the error, and tells it.
fn is_of_others(error: &RankError) -> bool {
    matches!(error, RankError::Failed { .. })
}

/// Refuses processes that were started with other arguments than the first.
fn require_same_arguments(ranks: &dyn Collective) -> Result<(), RankError> {
    let own: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let all = ranks.all_gather(own.join(" ").as_bytes())?;
    match all.iter().position(|arguments| *arguments != all[0]) {
        None => Ok(()),
        Some(rank) => {
            let text = |rank: usize| String::from_utf8_lossy(&all[rank]).into_owned();
            Err(RankError::Differs {
                who: ranks.member(rank),
                what: "arguments".to_owned(),
                expected: text(0),
                found: text(rank),
            })
        }
    }
}

/// A job, as the first process tells it to the others, which have no run folder.
fn to_bytes(job: &Job) -> Vec<u8> {
    let told = json!({
        "recipe": job.recipe,
        "config": job.config.to_toml(),
        "out": job.out.to_string_lossy(),
        "goes_on": job.mode == Mode::Resume,
    });
    told.to_string().into_bytes()
}

fn from_bytes(bytes: &[u8], ranks: &dyn Collective) -> anyhow::Result<Job> {
    if bytes.is_empty() {
        return Err(RankError::Failed {
            who: ranks.member(0),
            reason: "it has no job".to_owned(),
        }
        .into());
    }
    let told: Value = serde_json::from_slice(bytes)?;
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    let layer = Layer::text("the configuration of rank 0", &text("config"))?;
    Ok(Job {
        recipe: text("recipe"),
        config: RawConfig::from_layers(&[layer])?,
        out: PathBuf::from(text("out")),
        mode: if told["goes_on"] == true {
            Mode::Resume
        } else {
            Mode::New
        },
        collective: Arc::new(Alone),
    })
}
