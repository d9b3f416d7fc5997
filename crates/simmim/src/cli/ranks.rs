//! The processes that this one was started with, by `mpirun`, `srun` or `torchrun`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use simmim_collective::{
    Alone, Collective, Error as RankError, Fact, Launched, agree, require_same,
};
use simmim_config::{Layer, RawConfig};
use simmim_device::DeviceChoice;
use simmim_eval::features::Extractor;
use simmim_train::{Job, Mode, n_threads_of};

use super::failure::Usage;
use super::progress::Progress;
use super::start::Start;
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
pub(crate) struct Ranks(Option<Arc<dyn Launched>>);

impl Ranks {
    /// Joins the others, if there are some.
    pub(crate) fn join(on_ranks: OnRanks) -> anyhow::Result<Self> {
        if on_ranks == OnRanks::Each {
            return Ok(Self(None));
        }
        let Some(start) = Start::found()? else {
            return Ok(Self(None));
        };
        if on_ranks == OnRanks::Refused {
            return Err(Usage::new(
                format!("{}, and this command runs in one", start.describe()),
                "start it without mpirun, srun or torchrun, or with one process; SIMMIM_MPI=none makes each process a run of its own",
            )
            .into());
        }
        let rank = start.join()?;
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
        let train = &mut job.config.train;
        train.device = simmim_backend::of_process(train.device, rank.place_on_machine());
        job.collective = Arc::clone(rank) as Arc<dyn Collective>;
        Ok(job)
    }

    /// One process's result where all have one; the error of one that has failed on all of them.
    pub(crate) fn agree<T>(&self, own: anyhow::Result<T>) -> anyhow::Result<T> {
        let Some(rank) = &self.0 else {
            return own;
        };
        // Nobody is there to agree with.
        if own
            .as_ref()
            .is_err_and(|error| is_of(error, RankError::are_gone))
        {
            return own;
        }
        agree(&**rank, own.map_err(Own)).map_err(|Own(error)| error)
    }

    /// What each process has opened for itself, where all could, and all have opened the same by what `opened` tells of it.
    pub(crate) fn opened<T>(
        &self,
        own: anyhow::Result<T>,
        opened: impl FnOnce(&T) -> Opened,
    ) -> anyhow::Result<T> {
        let own = self.agree(own)?;
        if let Some(rank) = &self.0 {
            let Opened {
                device,
                weights,
                images,
            } = opened(&own);
            let facts = [
                Fact::version(),
                Fact::fingerprint("weights", weights),
                Fact::fingerprint("images", images),
                Fact::new("instructions", simmim_backend::level(device)),
            ];
            require_same(&**rank, &facts)?;
        }
        Ok(own)
    }

    /// Threads that this process computes with, where so many were asked for.
    pub(crate) fn n_threads(&self, asked: usize) -> usize {
        n_threads_of(asked, &*self.collective())
    }

    /// The processes, as a training sees them.
    pub(crate) fn collective(&self) -> Arc<dyn Collective> {
        match &self.0 {
            Some(rank) => Arc::clone(rank) as Arc<dyn Collective>,
            None => Arc::new(Alone),
        }
    }

    /// Says what there is to say of several processes.
    pub(crate) fn note(&self, progress: &mut Progress) {
        let rank = self.0.as_ref();
        for line in rank.map(|rank| rank.describe()).unwrap_or_default() {
            progress.note(&line);
        }
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
        if told.is_some_and(|error| is_of(error, RankError::are_gone)) {
            say(&words);
            rank.abort(code);
        }
        let own = match told.filter(|error| !is_of(error, is_of_others)) {
            Some(_) => format!("{code}\n{words}"),
            None => String::new(),
        };
        // Whoever has failed has said so to the others, who then come as well; where they do not, nobody can go on.
        // Without an error there is no limit: the first process may still draw a report or fit a classifier, and a launcher
        // notices when it is gone.
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

/// A trained model and images.
pub(crate) struct Opened {
    /// What the model computes on.
    pub(crate) device: DeviceChoice,
    /// The fingerprint of its weights.
    pub(crate) weights: u64,
    /// The fingerprint of the images.
    pub(crate) images: u64,
}

impl Opened {
    /// An encoder, and the fingerprint of the images that it looks at.
    pub(crate) fn by(extractor: &Extractor, images: u64) -> Self {
        Self {
            device: extractor.config().train.device,
            weights: extractor.fingerprint(),
            images,
        }
    }
}

/// An error of this process, on its way to the others.
#[derive(Debug, thiserror::Error)]
#[error("{}", failure::causes(.0))]
struct Own(anyhow::Error);

impl From<RankError> for Own {
    fn from(error: RankError) -> Self {
        Self(error.into())
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
    // Errors that speak with the words of their cause are not told apart from it in a chain.
    let of_train = error.downcast_ref().and_then(ranks_of_train);
    let of_eval = error.downcast_ref().and_then(ranks_of_eval);
    let of_sweep = error.downcast_ref().and_then(ranks_of_sweep);
    let found = of_train.or(of_eval).or(of_sweep).or(error.downcast_ref());
    found.is_some_and(is)
}

fn ranks_of_train(error: &simmim_train::Error) -> Option<&RankError> {
    match error {
        simmim_train::Error::Ranks(found) => Some(found),
        _ => None,
    }
}

fn ranks_of_sweep(error: &simmim_sweep::Error) -> Option<&RankError> {
    match error {
        simmim_sweep::Error::Ranks(found) => Some(found),
        simmim_sweep::Error::Train(error) => ranks_of_train(error),
        simmim_sweep::Error::Eval(error) => ranks_of_eval(error),
        _ => None,
    }
}

fn ranks_of_eval(error: &simmim_eval::Error) -> Option<&RankError> {
    match error {
        simmim_eval::Error::Ranks(found) => Some(found),
        simmim_eval::Error::Train(error) => ranks_of_train(error),
        _ => None,
    }
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
        chosen: Vec::new(),
    })
}
