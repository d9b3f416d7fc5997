//! The log of a run: one JSON line a record, in `metrics.jsonl`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use simmim_checkpoint::write_bytes_atomic;

use crate::error::{Error, read_error, write_error};

/// What is logged of a step. Every number is finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Optimiser steps done, counted from 1.
    pub step: u64,
    /// Passes over the training images done, a fraction.
    pub epoch: f64,
    /// Training loss of the step.
    pub loss: f64,
    /// Loss on the held-out images, where it was measured at this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// Accuracy on the held-out images, where it was measured at this step by a task that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_accuracy: Option<f64>,
    /// Learning rate of the step.
    pub lr: f64,
    /// Norm of the gradient of all parameters together, before it was clipped.
    pub grad_norm: f64,
    /// Training images a second in the step, without validations and checkpoints.
    pub images_per_sec: f64,
    /// Seconds of training so far, over all resumptions.
    pub seconds: f64,
    /// Share of the step's time in which it waited for images: 0 to 1.
    pub data_wait: f64,
    /// When the record was made, in seconds since 1970-01-01 UTC.
    pub time: f64,
}

impl Record {
    /// Name and value of each metric, in the order of the fields; step and time are not among them.
    pub fn metrics(&self) -> Vec<(&'static str, f64)> {
        let mut metrics = vec![("epoch", self.epoch), ("loss", self.loss)];
        metrics.extend(self.val_loss.map(|loss| ("val_loss", loss)));
        metrics.extend(self.val_accuracy.map(|share| ("val_accuracy", share)));
        metrics.extend([
            ("lr", self.lr),
            ("grad_norm", self.grad_norm),
            ("images_per_sec", self.images_per_sec),
            ("seconds", self.seconds),
            ("data_wait", self.data_wait),
        ]);
        metrics
    }

    fn line(&self) -> String {
        let json = serde_json::to_string(self).expect("a record of numbers is plain JSON");
        json + "\n"
    }

    fn require_finite(&self) -> Result<(), Error> {
        let mut all = self.metrics();
        all.push(("time", self.time));
        match all.into_iter().find(|(_, value)| !value.is_finite()) {
            None => Ok(()),
            Some((metric, value)) => Err(Error::NotFinite {
                step: self.step,
                metric,
                value,
            }),
        }
    }
}

/// The log of a run, open for appending.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens the log at `path`, or starts one.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be opened for writing.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        Ok(Self {
            file: file.map_err(|source| write_error(path, source))?,
            path: path.to_owned(),
        })
    }

    /// Appends a record, in one write.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a metric that is NaN or infinite; [`Error::File`] where the write fails.
    pub fn append(&mut self, record: &Record) -> Result<(), Error> {
        record.require_finite()?;
        // One write to a file open for appending: whoever reads the log meanwhile sees whole lines.
        let written = self.file.write_all(record.line().as_bytes());
        written.map_err(|source| write_error(&self.path, source))
    }

    /// Forces what was appended to the disk. Do so before a checkpoint is written: a resumed run expects the
    /// records up to its checkpoint.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn sync(&self) -> Result<(), Error> {
        self.file
            .sync_data()
            .map_err(|source| write_error(&self.path, source))
    }

    /// Drops the records after `step` and a last line that was not written to its end, atomically; the lines that
    /// stay keep every byte. Returns the records that stay.
    ///
    /// # Errors
    /// Those of [`MetricsLog::read`], and [`Error::File`] where the log cannot be replaced.
    pub fn truncate_after(&mut self, step: u64) -> Result<Vec<Record>, Error> {
        let text = read_text(&self.path)?;
        let mut lines = parse(&self.path, &text)?;
        lines.retain(|(_, record)| record.step <= step);
        let kept: String = lines.iter().flat_map(|(line, _)| [*line, "\n"]).collect();
        // Text that was cut, not records written anew: a number keeps the digits it was first written with.
        if kept != text {
            write_bytes_atomic(&self.path, kept.as_bytes())?;
            // The file of this name is another one now.
            *self = Self::open(&self.path)?;
        }
        Ok(lines.into_iter().map(|(_, record)| record).collect())
    }

    /// The records of the log at `path`, without what a crash left after the last whole one.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read, [`Error::MetricsLine`] where a line before a good one is damaged.
    pub fn read(path: &Path) -> Result<Vec<Record>, Error> {
        let text = read_text(path)?;
        Ok(parse(path, &text)?
            .into_iter()
            .map(|(_, record)| record)
            .collect())
    }
}

/// The text of the log. Bytes that a crash has damaged become characters that are not JSON.
fn read_text(path: &Path) -> Result<String, Error> {
    let bytes = fs::read(path).map_err(|source| read_error(path, source))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Every line with its record. Only the last lines may be damaged: that is where a crash leaves its traces.
fn parse<'a>(path: &Path, text: &'a str) -> Result<Vec<(&'a str, Record)>, Error> {
    let mut records = Vec::new();
    let mut damaged = None;
    // A line without its end was being written when the run was killed, even where it is JSON already.
    let whole_lines = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'));
    for (line_idx, line) in whole_lines.enumerate() {
        match (serde_json::from_str::<Record>(line), damaged.take()) {
            (Ok(record), None) => records.push((line, record)),
            // A good line after a damaged one: no crash did that, and nothing may be dropped in silence.
            (Ok(_), Some((line, source))) => {
                return Err(Error::MetricsLine {
                    path: path.to_owned(),
                    line,
                    source,
                });
            }
            (Err(_), Some(first)) => damaged = Some(first),
            (Err(source), None) => damaged = Some((line_idx + 1, source)),
        }
    }
    Ok(records)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(step: u64) -> Record {
        Record {
            step,
            epoch: step as f64 / 3.0,
            loss: 0.1 + 1.0 / step as f64,
            val_loss: step.is_multiple_of(2).then_some(0.7),
            val_accuracy: step.is_multiple_of(4).then_some(0.5),
            lr: 1e-4 / 3.0,
            grad_norm: 1.23456789,
            images_per_sec: 812.5,
            seconds: step as f64 * 0.1,
            data_wait: 0.0125,
            time: 1_790_000_000.25 + step as f64,
        }
    }

    fn log_of(n_records: u64) -> (tempfile::TempDir, PathBuf, MetricsLog) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = MetricsLog::open(&path).unwrap();
        for step in 1..=n_records {
            log.append(&record(step)).unwrap();
        }
        (folder, path, log)
    }

    #[test]
    fn records_are_read_back_exactly() {
        let (_folder, path, log) = log_of(50);
        log.sync().unwrap();
        assert_eq!(
            MetricsLog::read(&path).unwrap(),
            (1..=50).map(record).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_record_without_validation_has_no_such_field() {
        let (_folder, path, _log) = log_of(2);
        let text = fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        assert!(!lines.next().unwrap().contains("val_loss"));
        assert!(lines.next().unwrap().contains("\"val_loss\":0.7"));
    }

    #[test]
    fn a_resumed_log_is_that_of_an_uninterrupted_run() {
        let (_folder, path, log) = log_of(9);
        drop(log);
        fs::write(
            &path,
            fs::read_to_string(&path).unwrap() + "{\"step\":10,\"epo",
        )
        .unwrap();
        let mut log = MetricsLog::open(&path).unwrap();
        assert_eq!(log.truncate_after(6).unwrap().len(), 6);
        for step in 7..=12 {
            log.append(&record(step)).unwrap();
        }
        let (_other_folder, uninterrupted, _log) = log_of(12);
        assert_eq!(fs::read(path).unwrap(), fs::read(uninterrupted).unwrap());
    }

    #[test]
    fn truncation_at_the_end_keeps_everything_but_a_torn_line() {
        let (_folder, path, mut log) = log_of(3);
        let whole = fs::read(&path).unwrap();
        assert_eq!(log.truncate_after(3).unwrap().len(), 3);
        assert_eq!(fs::read(&path).unwrap(), whole);
        let mut torn = whole.clone();
        torn.extend_from_slice(b"\0\0\0\n\xff\xfe");
        fs::write(&path, torn).unwrap();
        assert_eq!(log.truncate_after(99).unwrap().len(), 3);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_an_error_that_names_it() {
        let (_folder, path, mut log) = log_of(3);
        let text = fs::read_to_string(&path)
            .unwrap()
            .replacen("\"step\":2", "\"step\":two", 1);
        fs::write(&path, text).unwrap();
        let error = log.truncate_after(3).unwrap_err();
        assert!(
            matches!(error, Error::MetricsLine { line: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused_by_name() {
        let (_folder, path, mut log) = log_of(1);
        let broken = Record {
            grad_norm: f64::NAN,
            ..record(2)
        };
        let error = log.append(&broken).unwrap_err();
        assert_eq!(error.to_string(), "`grad_norm` is NaN at step 2");
        assert_eq!(MetricsLog::read(&path).unwrap().len(), 1);
    }
}
