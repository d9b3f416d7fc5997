//! Notices a loss that rises past where it began.

use crate::metrics::Record;

/// Steps whose mean is where the training loss began, and over which about the present one is averaged.
const N_STEPS: u64 = 50;
/// What counts as risen: noise of batches stays below.
const FACTOR: f64 = 1.05;

/// Where the losses of a run began, and where they are. Made of the run's records alone, so that a run that goes on notices the same.
#[derive(Debug, Default)]
pub(crate) struct Rise {
    n_steps: u64,
    /// Mean of the first steps' training losses.
    began: f64,
    /// A mean of the training loss that forgets.
    recent: f64,
    is_told: bool,
    /// The first loss on held-out images.
    held_out_began: Option<f64>,
    is_held_out_told: bool,
}

impl Rise {
    /// Of a run that has come as far as these records.
    pub(crate) fn of_records(records: &[Record]) -> Self {
        let mut rise = Self::default();
        for record in records {
            rise.see(record);
        }
        rise
    }

    /// Takes the loss on held-out images before any training.
    pub(crate) fn begin(&mut self, held_out: Option<f64>) {
        self.held_out_began = held_out;
    }

    /// Looks at a step, and says what has risen: once, until it has been lower again.
    pub(crate) fn see(&mut self, record: &Record) -> Option<String> {
        self.n_steps += 1;
        // The mean of all steps while they are few.
        let share = 1.0 / self.n_steps.min(N_STEPS) as f64;
        self.recent += share * (record.loss - self.recent);
        if self.n_steps <= N_STEPS {
            self.began = self.recent;
        }
        // A classifier's loss on held-out images may rise while it gets better: it is judged by its accuracy.
        let held_out = record.val_loss.filter(|_| record.val_accuracy.is_none());
        if let Some(loss) = held_out {
            let began = *self.held_out_began.get_or_insert(loss);
            let has_risen = loss > FACTOR * began;
            if is_new(has_risen, &mut self.is_held_out_told) {
                return Some(text("held-out loss", loss, began));
            }
        }
        let has_risen = self.recent > FACTOR * self.began;
        let is_new = is_new(has_risen, &mut self.is_told);
        is_new.then(|| text("training loss", self.recent, self.began))
    }
}

/// Whether this is to be told, which is remembered.
fn is_new(has_risen: bool, is_told: &mut bool) -> bool {
    let was_told = std::mem::replace(is_told, has_risen);
    has_risen && !was_told
}

fn text(what: &str, loss: f64, began: f64) -> String {
    format!(
        "warning: the {what} is {loss:.4}, above {began:.4} where it began. If it does not fall soon, stop and begin again with a \
         lower learning rate (train.base_lr) or a longer warm-up (train.warmup_epochs)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64, loss: f64, val_loss: Option<f64>) -> Record {
        Record {
            step,
            epoch: 0.0,
            loss,
            val_loss,
            val_accuracy: None,
            lr: 0.0,
            grad_norm: 0.0,
            images_per_sec: 1.0,
            seconds: 0.0,
            data_wait: 0.0,
            time: 0.0,
        }
    }

    fn falling_then_rising(step: u64) -> f64 {
        if step <= 100 {
            1.0 - step as f64 / 200.0
        } else {
            2.0
        }
    }

    #[test]
    fn a_training_loss_above_its_start_is_told_once_however_often_the_run_was_resumed() {
        let records: Vec<Record> = (1..=300)
            .map(|step| record(step, falling_then_rising(step), None))
            .collect();
        let mut rise = Rise::default();
        let told: Vec<u64> = records
            .iter()
            .filter(|record| rise.see(record).is_some())
            .map(|record| record.step)
            .collect();
        assert!(
            matches!(told[..], [step] if (101..160).contains(&step)),
            "{told:?}"
        );
        let mut resumed = Rise::of_records(&records[..200]);
        assert!(
            records[200..]
                .iter()
                .all(|record| resumed.see(record).is_none())
        );
        let mut resumed = Rise::of_records(&records[..90]);
        assert_eq!(
            records[90..]
                .iter()
                .filter(|record| resumed.see(record).is_some())
                .count(),
            1
        );
    }

    #[test]
    fn a_held_out_loss_above_its_start_is_told_once_and_of_a_classifier_not_at_all() {
        let mut rise = Rise::default();
        rise.begin(Some(1.0));
        assert_eq!(rise.see(&record(1, 1.0, Some(1.04))), None);
        let text = rise.see(&record(2, 1.0, Some(1.25))).unwrap();
        assert!(
            text.contains("held-out loss is 1.2500, above 1.0000"),
            "{text}"
        );
        assert_eq!(rise.see(&record(3, 1.0, Some(1.3))), None);
        assert_eq!(rise.see(&record(3, 1.0, Some(0.9))), None);
        assert!(rise.see(&record(3, 1.0, Some(1.25))).is_some());
        let classifier = Record {
            val_accuracy: Some(0.9),
            ..record(4, 1.0, Some(3.0))
        };
        assert_eq!(rise.see(&classifier), None);
    }
}
