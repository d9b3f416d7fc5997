//! What a run takes, in numbers and in words.

use std::time::SystemTime;

use simmim_config::shorter::{LONG_SECS, Shorter};

use crate::lasting::{self, rounded};

/// What a run takes from here to its end, by what was measured before its first step.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Steps to do.
    pub n_steps: u64,
    /// Seconds to its end.
    pub secs: f64,
    /// Seconds of a step, with its images.
    pub step_secs: f64,
    /// Images a second.
    pub images_per_sec: f64,
    /// Images a second that are read and cropped where nothing else is done.
    pub loader_images_per_sec: f64,
    /// Whether the run is so short that it was measured by very few images.
    pub is_rough: bool,
    /// Bytes of memory at the peak.
    pub memory_bytes: u64,
    /// Bytes on the disk at the peak.
    pub disk_bytes: u64,
    /// Bytes that are free on the disk now, where the system says so.
    pub free_bytes: Option<u64>,
    /// Settings that would make it shorter, where it takes more than a day.
    pub shorter: Vec<Shorter>,
}

impl Estimate {
    /// The same in words, for a run that begins `now`.
    pub fn lines(&self, now: SystemTime) -> Vec<String> {
        let mut lines = vec![self.time(now)];
        let free = self.free_bytes.map_or_else(String::new, |bytes| {
            format!(", of {} that are free", size(bytes))
        });
        lines.push(format!(
            "disk: up to {} for checkpoints and pictures{free}",
            size(self.disk_bytes)
        ));
        if self.secs > LONG_SECS {
            let each = self
                .shorter
                .iter()
                .map(|it| format!("{} ({} times shorter)", it.setting, rounded(it.factor)));
            let each: Vec<String> = each.collect();
            lines.push(match each.as_slice() {
                [] => "more than a day: a machine with more cores is faster".to_owned(),
                each => format!(
                    "more than a day; what would make it shorter: {}",
                    each.join(", ")
                ),
            });
        }
        lines
    }

    fn time(&self, now: SystemTime) -> String {
        if self.is_rough {
            return "time: less than a minute".to_owned();
        }
        format!(
            "time: {}: {} steps of {}, {} images/s (the loader alone: {})",
            lasting::words(self.secs, now),
            self.n_steps,
            lasting::duration(self.step_secs),
            rounded(self.images_per_sec),
            rounded(self.loader_images_per_sec),
        )
    }
}

fn size(bytes: u64) -> String {
    let mib = bytes as f64 / 2f64.powi(20);
    if mib < 1000.0 {
        format!("{mib:.0} MiB")
    } else {
        format!("{:.1} GiB", mib / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn estimate(secs: f64) -> Estimate {
        Estimate {
            n_steps: 1000,
            secs,
            step_secs: secs / 1000.0,
            images_per_sec: 83.4,
            loader_images_per_sec: 4.26,
            is_rough: false,
            memory_bytes: 3 << 30,
            disk_bytes: 3 << 29,
            free_bytes: Some(43 << 30),
            shorter: Vec::new(),
        }
    }

    #[test]
    fn what_is_shorter_is_said_with_its_factor() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let mut long = estimate(400_000.0);
        long.shorter = vec![Shorter {
            setting: "train.epochs=20".to_owned(),
            factor: 4.0,
        }];
        let lines = long.lines(now);
        assert!(
            lines[0].starts_with("time: about 4 days 15 h, until "),
            "{lines:?}"
        );
        assert!(
            lines[0].ends_with("1000 steps of 7 minutes, 83 images/s (the loader alone: 4.3)"),
            "{lines:?}"
        );
        assert_eq!(
            lines[1],
            "disk: up to 1.5 GiB for checkpoints and pictures, of 43.0 GiB that are free"
        );
        assert!(
            lines[2].ends_with("train.epochs=20 (4.0 times shorter)"),
            "{lines:?}"
        );
        assert_eq!(estimate(500.0).lines(now).len(), 2);
    }
}
