//! What a run tells whoever watches it.

use std::path::Path;

use simmim_data::BadImage;

use crate::estimate::Estimate;
use crate::metrics::Record;

/// Something that happened in a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Something that the user should know.
    Note(&'a str),
    /// What the run takes from here on.
    Estimate(&'a Estimate),
    /// What all runs of a sweep that are left take.
    AllRuns {
        /// How many there are.
        n_runs: usize,
        /// Seconds to the end of the last one.
        secs: f64,
    },
    /// The next run of a sweep begins.
    Point {
        /// Its name, that of its run folder.
        name: &'a str,
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        n_points: usize,
    },
    /// Training starts or goes on.
    Begin {
        /// Steps that are done already.
        done_steps: u64,
        /// Steps of the whole run.
        total_steps: u64,
    },
    /// An optimiser step is done, and the validation after it if there was one.
    Step(&'a Record),
    /// An image could not be read; another took its place.
    BadImage(&'a BadImage),
    /// A checkpoint was written.
    Saved(&'a Path),
    /// A picture of reconstructions was written.
    Picture(&'a Path),
}

/// Watches a run: draws a progress bar, writes a log, counts in a test.
pub trait Observer: Send {
    /// Called for each event, on the thread that trains.
    fn see(&mut self, event: &Event<'_>);
}

/// Tells that images are still being looked for.
pub fn tell_looking(observer: &mut dyn Observer, n_files: u64) {
    let note = format!("looking for images: {n_files} files so far");
    observer.see(&Event::Note(&note));
}

/// Watches without a word.
impl Observer for () {
    fn see(&mut self, _: &Event<'_>) {}
}
