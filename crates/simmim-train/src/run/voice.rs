//! What a run says: to its observer and to its log.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};
use simmim_data::printable;

use crate::error::Error;
use crate::error::write_error;
use crate::metrics::Record;
use crate::observer::{Event, Observer};
use crate::run_folder::RunFolder;

/// The observer and the run's log.
pub(crate) struct Voice<'o> {
    observer: &'o mut dyn Observer,
    log: File,
}

impl<'o> Voice<'o> {
    pub(crate) fn open(observer: &'o mut dyn Observer, folder: &RunFolder) -> Result<Self, Error> {
        let path = folder.log();
        let log = OpenOptions::new().append(true).create(true).open(&path);
        let log = log.map_err(|source| write_error(&path, source))?;
        Ok(Self { observer, log })
    }

    pub(crate) fn note(&mut self, text: &str) {
        self.tell(&Event::Note(text));
    }

    pub(crate) fn tell(&mut self, event: &Event<'_>) {
        self.observer.see(event);
        let line = match event {
            Event::Estimate(estimate) => estimate.lines(SystemTime::now()).join("; "),
            Event::Note(text) => (*text).to_owned(),
            Event::Begin {
                done_steps,
                total_steps,
            } => format!("begin at step {done_steps} of {total_steps}"),
            Event::Step(Record {
                step,
                loss,
                val_loss: Some(val_loss),
                val_accuracy,
                ..
            }) => {
                let accuracy = val_accuracy.map_or_else(String::new, |share| {
                    format!(", held-out accuracy {:.2} %", 100.0 * share)
                });
                format!("step {step}: loss {loss:.4}, held-out loss {val_loss:.4}{accuracy}")
            }
            // The latter happen around a run, not in it.
            Event::Step(_) | Event::Point { .. } | Event::AllRuns { .. } => return,
            Event::BadImage(image) => format!("unreadable image {image}"),
            Event::Saved(path) => format!("saved {}", path.display()),
            Event::Picture(path) => format!("drew {}", path.display()),
        };
        self.write(&line);
    }

    /// Writes a line to the log alone.
    pub(crate) fn write(&mut self, line: &str) {
        // Not `Utc::now()`, which panics where a clock is set to before 1970.
        let now = DateTime::<Utc>::from_timestamp_millis((1000.0 * unix_secs()) as i64);
        let now = now
            .unwrap_or_default()
            .to_rfc3339_opts(SecondsFormat::Millis, true);
        // In one write, so that a kill leaves no part of a line for the next one to be added to. The log is for reading
        // afterwards: a run does not end because a line of it could not be written.
        let line = format!("{now} {}\n", printable(line));
        let _ = self.log.write_all(line.as_bytes());
    }
}

/// Now, in seconds since 1970-01-01 UTC.
pub(crate) fn unix_secs() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
