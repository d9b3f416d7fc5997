//! What a job would take, without doing it.

use std::sync::Arc;

use simmim_checkpoint::Archive;
use simmim_collective::on_first;

use super::cost::{Ahead, estimate};
use super::job::Job;
use super::session::Prepared;
use crate::checkpoint;
use crate::error::Error;
use crate::estimate::Estimate;
use crate::learner::Task;
use crate::observer::{Event, Observer};
use crate::run_folder::{Mode, admit, last_of};

/// Tells the notes of a job and what it would take, and returns the latter; none where nothing is left to do. Writes nothing.
pub(crate) fn foresee<T: Task>(
    job: &Job,
    prepared: Prepared<T>,
    observer: &mut dyn Observer,
) -> Result<Option<Estimate>, Error> {
    let done_steps = done_steps(job)?;
    let Prepared {
        config,
        images,
        notes,
        needs,
        begin,
    } = prepared;
    for note in &notes {
        observer.see(&Event::Note(note));
    }
    // Fresh weights take as long as those of the checkpoint.
    let mut learner = begin(None)?.among(Arc::clone(&job.collective))?;
    let ahead = Ahead {
        config: &config,
        images: &images,
        done_steps,
        needs,
        out: &job.out,
    };
    let found = estimate(ahead, &mut learner)?;
    if let Some(found) = &found {
        observer.see(&Event::Estimate(found));
    }
    Ok(found)
}

/// Steps that are done already, as rank 0 finds them, which alone has the run folder; refuses a folder as the run itself does.
fn done_steps(job: &Job) -> Result<u64, Error> {
    let collective = &*job.collective;
    let own = on_first(collective, || -> Result<u64, Error> {
        admit(&job.out, job.mode)?;
        let last = last_of(&job.out);
        if job.mode != Mode::Resume || !last.is_file() {
            return Ok(0);
        }
        Ok(checkpoint::origin(&Archive::open(&last)?)?.progress.step)
    })?;
    // A sum of which the others' shares are nothing.
    let mut sum = [own.unwrap_or_default() as f64];
    collective.all_reduce_f64(&mut sum)?;
    let [done_steps] = sum;
    Ok(done_steps as u64)
}
