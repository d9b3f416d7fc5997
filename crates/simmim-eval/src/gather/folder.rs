//! What the folder of a run tells: its configuration, its log, its pictures.

use std::fs;
use std::path::{Path, PathBuf};

use simmim_config::RawConfig;
use simmim_data::{DecodeSettings, Samples, decode};
use simmim_picture::Picture;
use simmim_report::{Fact, Setting, Shot, Shown};
use simmim_train::Job;
use simmim_train::metrics::{MetricsLog, Record};
use simmim_train::run_folder::{self, METRICS};

use super::samples::{PICTURE_PX, shrunk};
use super::told::fact;
use crate::error::Error;

/// Pictures of reconstructions that a page holds, and the bytes that they may take.
const MOST_SHOTS: usize = 30;
const SHOTS_BYTES: usize = 3 << 19;
/// Of pictures of photographs: edges of patches stay sharp.
const QUALITY: u8 = 80;

/// A run as its folder tells it.
pub(super) struct Folder {
    path: PathBuf,
    pub(super) config: RawConfig,
    recipe: String,
    pub(super) records: Vec<Record>,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let job = Job::resume(path)?;
        let metrics = path.join(METRICS);
        // A run that was only just begun has logged nothing.
        let records = if metrics.exists() {
            MetricsLog::read(&metrics)?
        } else {
            Vec::new()
        };
        Ok(Self {
            path: path.to_owned(),
            config: job.config,
            recipe: job.recipe,
            records,
        })
    }

    /// The folder's own name, wherever it is looked at from.
    pub(super) fn name(&self) -> String {
        let whole = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let name = whole.file_name().unwrap_or(whole.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// The figures that count. The same ones for all runs; empty where there is none.
    pub(super) fn facts(&self) -> Vec<Fact> {
        let mut facts = self.asked();
        facts.extend(self.came_of_it());
        facts
    }

    fn asked(&self) -> Vec<Fact> {
        let [height, width] = self.config.data.image_size;
        let input = format!(
            "{height} × {width} px, {}",
            channels(self.config.data.channels)
        );
        let task = match self.config.finetune {
            Some(_) => "fine-tuning",
            None => "pre-training",
        };
        vec![
            fact("task", task),
            fact("recipe", &*self.recipe),
            fact("state", self.state()),
            fact("model", &*self.config.model.variant),
            fact("input", input),
        ]
    }

    fn came_of_it(&self) -> Vec<Fact> {
        let last = self.records.last();
        let val = self.records.iter().filter_map(|record| record.val_loss);
        let accuracies = self.records.iter().filter_map(|record| record.val_accuracy);
        let of_last = |told: fn(&Record) -> String| last.map(told);
        let loss = |loss: f64| format!("{loss:.4}");
        let told = [
            (
                "epochs done",
                of_last(|record| format!("{:.1}", record.epoch)),
            ),
            ("training loss", last.map(|record| loss(record.loss))),
            ("held-out loss, last", val.clone().next_back().map(loss)),
            ("held-out loss, least", val.reduce(f64::min).map(loss)),
            (
                "held-out accuracy, best",
                accuracies
                    .reduce(f64::max)
                    .map(|share| format!("{:.2} %", 100.0 * share)),
            ),
            ("time", of_last(|record| hours(record.seconds))),
            (
                "speed",
                self.images_per_sec()
                    .map(|rate| format!("{rate:.0} images/s")),
            ),
        ];
        told.map(|(name, value)| fact(name, value.unwrap_or_default()))
            .to_vec()
    }

    fn state(&self) -> String {
        let Some(last) = self.records.last() else {
            return "not begun".to_owned();
        };
        let steps_per_epoch = (last.step as f64 / last.epoch).round().max(1.0) as u64;
        let total = self.config.schedule(steps_per_epoch).total_steps;
        if last.step >= total {
            format!("finished, {total} steps")
        } else {
            format!("step {} of {total}", last.step)
        }
    }

    /// The median: the first steps are slow, and a machine may have had other work.
    fn images_per_sec(&self) -> Option<f64> {
        let mut rates: Vec<f64> = self
            .records
            .iter()
            .map(|record| record.images_per_sec)
            .collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied()
    }

    /// What was told before the first step, without the times.
    pub(super) fn notes(&self) -> Vec<String> {
        let log = fs::read(run_folder::log_of(&self.path)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let told = log
            .lines()
            .filter_map(|line| line.split_once(' ').map(|(_, text)| text));
        let before = told.take_while(|text| !text.starts_with("begin at step"));
        before
            .filter(|text| !text.starts_with("drew ") && !text.starts_with("saved "))
            .map(str::to_owned)
            .collect()
    }

    /// Every key with its value, beside the default where that is another.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let of_key = |key: simmim_config::Key| {
            let name = format!("{}.{}", key.section, key.name);
            let value = self.config.get(&name);
            let value = value.map_or_else(String::new, |value| value.to_string());
            Setting {
                usual: (value != key.default).then(|| key.default.clone()),
                key: name,
                value,
            }
        };
        let keys = RawConfig::keys().into_iter();
        keys.filter(|key| self.config.has_section(key.section))
            .map(of_key)
            .collect()
    }

    /// Pictures of reconstructions, evenly spread over the run, the newest among them, as many as a page holds.
    ///
    /// # Errors
    /// [`Error::Train`] where the folder cannot be listed. A picture that cannot be read is left out: it may be half written.
    pub(super) fn shots(&self) -> Result<Vec<Shot>, Error> {
        let all = run_folder::reconstructions_of(&self.path)?;
        let shots = spread(&all, MOST_SHOTS)
            .into_iter()
            .filter_map(|(step, path)| self.shot(*step, path));
        let mut shots: Vec<Shot> = shots.collect();
        while shots.len() > 2
            && shots
                .iter()
                .map(|shot| shot.picture.n_bytes())
                .sum::<usize>()
                > SHOTS_BYTES
        {
            let n = shots.len().div_ceil(2);
            shots = spread(&shots, n).into_iter().cloned().collect();
        }
        Ok(shots)
    }

    fn shot(&self, step: u64, path: &Path) -> Option<Shot> {
        let image = decode(&fs::read(path).ok()?, 3, &DecodeSettings::default()).ok()?;
        let Samples::U8(pixels) = image.samples else {
            return None;
        };
        let picture = Picture {
            width: image.width,
            height: image.height,
            pixels,
        };
        let last = self.records.last()?;
        Some(Shot {
            step,
            epoch: Some(step as f64 * last.epoch / last.step as f64),
            picture: Shown::of(&shrunk(picture, PICTURE_PX), QUALITY),
        })
    }
}

/// So many of them, evenly spread, the first and the last among them.
pub(super) fn spread<T>(all: &[T], n: usize) -> Vec<&T> {
    if all.len() <= n {
        return all.iter().collect();
    }
    let last = all.len() - 1;
    (0..n)
        .map(|idx| &all[idx * last / (n - 1).max(1)])
        .collect()
}

fn channels(n: usize) -> String {
    match n {
        1 => "1 channel".to_owned(),
        n => format!("{n} channels"),
    }
}

fn hours(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds:.0} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spread_has_both_ends_and_no_more_than_asked() {
        let all: Vec<usize> = (0..100).collect();
        assert_eq!(spread(&all, 4), [&0, &33, &66, &99]);
        assert_eq!(spread(&all[..3], 4), [&0, &1, &2]);
        assert_eq!(spread(&all, 1), [&0]);
        assert!(spread(&all[..0], 4).is_empty());
    }

    #[test]
    fn times_are_told_in_their_largest_unit() {
        assert_eq!(hours(12.4), "12 s");
        assert_eq!(hours(600.0), "10 min");
        assert_eq!(hours(3.0 * 3600.0 + 120.0), "3 h 02 min");
    }
}
