//! Forward and backward passes that are timed.

use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use simmim_autograd::{
    AdamW, AdamWSettings, Device, Gradients, Group, Init, ParameterSpecs, Parameters, Scalar,
    Tensor,
};
use simmim_collective::agree;
use simmim_data::Batch;

use crate::error::Error;
use crate::learner::{Learner, Task};
use crate::run::images::Images;

/// Images of the first pass, which tells how many the next one can have.
const FEW: usize = 2;
/// A run that takes less is not measured any closer.
const SHORT_SECS: f64 = 30.0;
/// The share of a run that measuring it may take.
const SHARE: f64 = 0.04;
/// Measuring takes no longer, but for what one image takes.
const MOST_SECS: f64 = 10.0;
/// The share of that time in which images are read.
const READING: f64 = 0.2;
/// Values of the array by which the update of weights is timed.
const UPDATED: usize = 4 << 20;

/// What was measured, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    /// Forward and backward of an image.
    pub(super) image_secs: f64,
    /// To read and crop an image, where all of the loader's threads do and nothing else.
    pub(super) read_secs: f64,
    /// The update of all weights.
    pub(super) update_secs: f64,
    /// Whether the run is so short that few images were enough.
    pub(super) is_rough: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial<'a> {
    pub(super) images: &'a Images,
    /// The step that is next, whose images are read.
    pub(super) step: u64,
    /// Images of the whole run.
    pub(super) n_images: f64,
}

impl Trial<'_> {
    /// Measures; none where no image of the step can be read.
    pub(super) fn measure<T: Task>(
        self,
        learner: &mut Learner<T>,
    ) -> Result<Option<Measured>, Error> {
        let collective = Arc::clone(learner.collective());
        let begun = Instant::now();
        let read = self.images.batches.some_of_step(self.step, 0..FEW);
        let few: Batch = agree(&*collective, read.map_err(Error::from))?;
        // All ranks go on, or none does: each waits for the others' gradients. So what is decided by is the mean of all.
        let mut n_few = [f64::from(u8::from(few.is_empty()))];
        collective.all_reduce_f64(&mut n_few)?;
        if n_few != [0.0] {
            return Ok(None);
        }
        let mut clock = Clock(learner);
        let alone_secs = begun.elapsed().as_secs_f64() / few.len() as f64;
        // The same number on all ranks, of which one may have found an image that it cannot read.
        let share = self.images.batches.share_size();
        let image_secs = clock.secs_of(&few, FEW.min(share))?;
        let rough = Measured {
            image_secs,
            read_secs: clock.mean(alone_secs / self.images.n_workers as f64)?,
            update_secs: 0.0,
            is_rough: true,
        };
        let n_images = self.n_images / collective.world() as f64;
        let rough_secs = n_images * (image_secs + rough.read_secs);
        if rough_secs < SHORT_SECS {
            return Ok(Some(rough));
        }
        let budget_secs = (SHARE * rough_secs).min(MOST_SECS);
        let read_secs = self.read_secs(alone_secs, READING * budget_secs);
        let read_secs = clock.mean(agree(&*collective, read_secs)?)?;
        let update_secs = update_secs(clock.0.parameters());
        Ok(Some(Measured {
            image_secs: clock.image_secs(&few, share, budget_secs)?,
            read_secs,
            update_secs: clock.mean(update_secs)?,
            is_rough: false,
        }))
    }

    /// Seconds of an image where all threads of the loader read, in about so many seconds; `alone_secs` are those of an image on one thread.
    fn read_secs(self, alone_secs: f64, budget_secs: f64) -> Result<f64, Error> {
        let batches = &self.images.batches;
        let n_threads = self.images.n_workers.min(batches.share_size());
        let each = ((budget_secs / alone_secs) as usize).clamp(1, batches.share_size() / n_threads);
        let begun = Instant::now();
        let read: Result<Vec<Batch>, simmim_data::Error> = std::thread::scope(|scope| {
            let read = |thread| batches.some_of_step(self.step, thread * each..(thread + 1) * each);
            let threads: Vec<_> = (0..n_threads)
                .map(|thread| scope.spawn(move || read(thread)))
                .collect();
            let joined = threads.into_iter().map(ScopedJoinHandle::join);
            joined
                .map(|read| read.expect("images are read without a panic"))
                .collect()
        });
        read?;
        Ok(begun.elapsed().as_secs_f64() / (n_threads * each) as f64)
    }
}

/// Times what all ranks do: each gets the mean, so that all decide the same.
struct Clock<'a, T>(&'a mut Learner<T>);

impl<T: Task> Clock<'_, T> {
    /// Seconds of an image in one part of `n` images.
    fn secs_of(&mut self, few: &Batch, n: usize) -> Result<f64, Error> {
        let batch = few.repeated(n);
        let begun = Instant::now();
        self.0.rehearse(&batch)?;
        self.mean(begun.elapsed().as_secs_f64() / n as f64)
    }

    /// Seconds of an image in parts of `most` images, or in as large ones as the time is enough for.
    fn image_secs(&mut self, few: &Batch, most: usize, budget_secs: f64) -> Result<f64, Error> {
        let mut n = FEW.min(most);
        // Not the first pass of this size, which made its buffers.
        let mut image_secs = self.secs_of(few, n)?;
        let mut left_secs = budget_secs - n as f64 * image_secs;
        loop {
            // A pass that makes the buffers, and one that counts.
            let next = ((left_secs / (2.0 * image_secs)) as usize).min(most);
            if next <= n {
                return Ok(image_secs);
            }
            n = next;
            let first_secs = self.secs_of(few, n)?;
            image_secs = self.secs_of(few, n)?;
            left_secs -= n as f64 * (first_secs + image_secs);
        }
    }

    fn mean(&self, secs: f64) -> Result<f64, Error> {
        let collective = self.0.collective();
        let mut sum = [secs];
        collective.all_reduce_f64(&mut sum)?;
        let [sum] = sum;
        // Not nothing: below what clocks tell apart, and rates are divided by it.
        Ok((sum / collective.world() as f64).max(1e-9))
    }
}

/// Seconds that an update of so many weights takes, by one of an array of its own: the weights themselves must not move.
fn update_secs(parameters: &Parameters) -> f64 {
    let n_values: usize = parameters.iter().map(|(_, spec, _)| spec.len()).sum();
    let n = n_values.min(UPDATED);
    let device: &Arc<dyn Device> = parameters.device();
    let mut specs = ParameterSpecs::default();
    let id = specs.add("measured", &[n], Init::Constant(0.0));
    let mut measured = Parameters::allocate(specs, device, 0);
    let mut gradients = Gradients::new(&measured);
    gradients.replace(id, Tensor::zeros(device, &[n]));
    let group = Group {
        parameters: vec![id],
        weight_decay: 0.0,
        lr_scale: 1.0,
    };
    let settings = AdamWSettings {
        betas: [0.9, 0.999],
        eps: 1e-8,
        clip_norm: Some(1.0),
    };
    let mut optimiser = AdamW::new(&measured, vec![group], settings);
    let mut step = || {
        let begun = Instant::now();
        optimiser.step(&mut measured, &gradients, 0.0);
        // Waits for the device.
        let _ = Scalar::read(&[gradients.norm()]);
        begun.elapsed().as_secs_f64()
    };
    // The first one makes buffers.
    step();
    step() * n_values as f64 / n as f64
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use simmim_collective::Alone;
    use simmim_config::{Layer, RawConfig};
    use simmim_data::{Loader, Pass};

    use super::*;
    use crate::pretrain::{Network, prepare};
    use crate::run::{Job, Prepared};
    use crate::run_folder::Mode;
    use simmim_picture::Picture;

    fn prepared(folder: &Path) -> Prepared<Network> {
        let keys = [
            "data.image_size=16",
            "model.variant=vit-t/4",
            "model.width=32",
            "model.depth=2",
            "model.heads=2",
            "model.drop_path=0.2",
            "mask.cell_px=4",
            "train.batch_size=8",
            "train.accumulation=2",
            "data.held_out=0.2",
        ];
        let path = format!("data.path={}", folder.display());
        let keys = keys.iter().copied().chain([path.as_str()]);
        let layers: Vec<Layer> = keys.map(|key| Layer::set(key).unwrap()).collect();
        let job = Job {
            recipe: "test".to_owned(),
            config: RawConfig::from_layers(&layers).unwrap(),
            out: folder.join("run"),
            mode: Mode::New,
            collective: Arc::new(Alone),
            chosen: Vec::new(),
        };
        prepare(&job, &mut ()).unwrap()
    }

    /// Losses, norms and weights of three steps, after a trial of a run of `n_images` if there is one.
    fn trained(folder: &Path, n_images: Option<f64>) -> (Vec<[f64; 2]>, Vec<Vec<f32>>) {
        let Prepared { images, begin, .. } = prepared(folder);
        let mut learner = begin(None).unwrap();
        if let Some(n_images) = n_images {
            let (images, step) = (&images, 0);
            let trial = Trial {
                images,
                step,
                n_images,
            };
            let measured = trial.measure(&mut learner).unwrap().unwrap();
            assert_eq!(measured.is_rough, n_images < 1e6);
            assert!(measured.image_secs > 0.0 && measured.read_secs > 0.0);
            assert_eq!(measured.update_secs > 0.0, !measured.is_rough);
        }
        let pass = Pass::Train { first_step: 0 };
        let mut loader = Loader::start(Arc::clone(&images.batches), pass, 2).unwrap();
        let steps = (0..3).map(|_| {
            let asked = learner.ask(&mut loader, 2, |scale| 0.01 * scale).unwrap();
            let result = learner.see(asked).unwrap();
            [result.loss, result.grad_norm]
        });
        let steps = steps.collect();
        let weights = learner.parameters().iter();
        (
            steps,
            weights.map(|(_, _, tensor)| tensor.to_vec()).collect(),
        )
    }

    #[test]
    fn a_trial_changes_no_bit_of_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        for idx in 0..24_u8 {
            let pixels = (0..20 * 20 * 3_u32).map(|at| (at as u8).wrapping_mul(idx));
            let picture = Picture {
                width: 20,
                height: 20,
                pixels: pixels.collect(),
            };
            picture
                .write(&folder.path().join(format!("{idx:02}.png")))
                .unwrap();
        }
        let plain = trained(folder.path(), None);
        assert!(trained(folder.path(), Some(24.0)) == plain, "a short one");
        assert!(trained(folder.path(), Some(1e12)) == plain, "a long one");
    }
}
