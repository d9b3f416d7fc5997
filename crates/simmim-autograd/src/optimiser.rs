//! AdamW over groups of parameters, after the clip of the global norm.

use crate::parameters::{Gradients, ParameterId, Parameters};
use crate::scalar::Scalar;
use crate::storage::Storage;
use crate::tensor::Tensor;
use simmim_device::{AdamWStep, AdamWTensors, Buffer, Clip};
use std::sync::Arc;

const HELD: &str = "no tape is alive while the optimiser steps";
const ONE_GROUP: &str = "a parameter is in one group";

/// The numbers of AdamW that hold for a whole run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// β₁ and β₂.
    pub betas: [f32; 2],
    /// ε, added to the root of the second moment.
    pub eps: f32,
    /// The global L2 norm that gradients are scaled down to; `None` for no clip.
    pub clip_norm: Option<f64>,
}

/// Parameters that share a weight decay and a factor of the learning rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its members.
    pub parameters: Vec<ParameterId>,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Factor of the learning rate at its base.
    pub lr_scale: f64,
}

/// The optimiser and its moments.
#[derive(Debug)]
pub struct AdamW {
    settings: AdamWSettings,
    groups: Vec<Group>,
    /// m and v of each parameter, by its place.
    moments: Vec<[Tensor; 2]>,
    steps: u64,
}

impl AdamW {
    /// A fresh optimiser: moments zero, no step taken.
    pub fn new(parameters: &Parameters, groups: Vec<Group>, settings: AdamWSettings) -> Self {
        let zeros = |shape: &[usize]| Tensor::zeros(parameters.device(), shape);
        // Of every parameter, in a group or not: its place is that of its moments, too.
        let moments = parameters
            .iter()
            .map(|(_, spec, _)| [zeros(&spec.shape), zeros(&spec.shape)])
            .collect();
        Self {
            settings,
            groups,
            moments,
            steps: 0,
        }
    }

    /// One step at learning rate `lr`, times each group's scale; returns the norm of the gradients before the clip.
    ///
    /// A norm that is not finite changes nothing: the caller sees it and decides.
    ///
    /// # Panics
    /// When a tape still holds the parameters.
    pub fn step(&mut self, parameters: &mut Parameters, gradients: &Gradients, lr: f64) -> f64 {
        self.step_scaled(parameters, gradients, |scale| lr * scale)
    }

    /// As [`AdamW::step`], with the learning rate of each group by its scale: a schedule whose warm-up and end are the
    /// same for all groups does not just multiply by it.
    ///
    /// # Panics
    /// As [`AdamW::step`].
    pub fn step_scaled(
        &mut self,
        parameters: &mut Parameters,
        gradients: &Gradients,
        rate: impl Fn(f64) -> f64,
    ) -> f64 {
        let norm = gradients.norm();
        let clip = self.clip(gradients, &norm, &[]);
        self.apply(parameters, gradients, &clip, rate);
        // Waits for the device. Who has losses to read as well reads all of them at once.
        let norm = Scalar::read(&[norm])[0];
        if !norm.is_finite() {
            self.not_done();
        }
        norm
    }

    /// What gradients of this norm are multiplied by. It stays on the device, and says there that the step is not done where the norm
    /// or one of the losses is not finite.
    pub fn clip(&self, gradients: &Gradients, norm: &Scalar, losses: &[Scalar]) -> Scalar {
        let losses: Vec<&Buffer> = losses.iter().map(Scalar::buffer).collect();
        let device = gradients.device();
        let clip = device.clip(Clip {
            norm: norm.buffer(),
            losses: &losses,
            max_norm: self.settings.clip_norm,
        });
        Scalar::new(Arc::new(Storage::new(device, clip)))
    }

    /// Takes back the count of the last step, for whom it turned out not to be done.
    pub fn not_done(&mut self) {
        self.steps -= 1;
    }

    /// As [`AdamW::step_scaled`], with the factor of the gradients that [`AdamW::clip`] gave: nothing is waited for. The step counts as
    /// done; see [`AdamW::not_done`].
    ///
    /// # Panics
    /// As [`AdamW::step`].
    pub fn apply(
        &mut self,
        parameters: &mut Parameters,
        gradients: &Gradients,
        clip: &Scalar,
        rate: impl Fn(f64) -> f64,
    ) {
        // First of all: the corrections count from 1, and at 0 they would divide by zero.
        self.steps += 1;
        // In f64: near step 1 of a long average 1 − βᵗ is small, and f32 would lose half of its digits.
        let correction = |beta: f32| (1.0 - f64::from(beta).powf(self.steps as f64)) as f32;
        // The two zeros stand until each group puts its own numbers there.
        let shared = AdamWStep {
            lr: 0.0,
            betas: self.settings.betas,
            eps: self.settings.eps,
            weight_decay: 0.0,
            corrections: self.settings.betas.map(correction),
        };
        let both = parameters.tensors_mut().iter_mut().zip(&mut self.moments);
        // Each is taken out by the one group that it is in.
        let mut both: Vec<_> = both.map(Some).collect();
        for group in &self.groups {
            let step = AdamWStep {
                weight_decay: group.weight_decay,
                lr: rate(group.lr_scale) as f32,
                ..shared
            };
            let members = group.parameters.iter().filter_map(|&id| {
                // Without a gradient nothing moves, not even by weight decay, as in PyTorch.
                let gradient = gradients.get(id)?;
                let (parameter, [first, second]) = both[id.idx()].take().expect(ONE_GROUP);
                Some(AdamWTensors {
                    parameter: parameter.buffer_mut().expect(HELD),
                    first: first.buffer_mut().expect(HELD),
                    second: second.buffer_mut().expect(HELD),
                    gradient: gradient.buffer(),
                })
            });
            let mut members: Vec<_> = members.collect();
            // One call for all members: a model has hundreds of parameters, many of them a few values long.
            gradients.device().adamw(&mut members, step, clip.buffer());
        }
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// m and v of a parameter.
    pub fn moments(&self, id: ParameterId) -> &[Tensor; 2] {
        &self.moments[id.idx()]
    }

    /// How many steps have been taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Puts back the moments that a parameter had in an earlier run, in the place of those that are there.
    ///
    /// # Panics
    /// When they are not of its shape.
    pub fn restore_moments(&mut self, id: ParameterId, first: Tensor, second: Tensor) {
        let held = &mut self.moments[id.idx()];
        let new = [first, second];
        for (new, old) in new.iter().zip(held.iter()) {
            assert_eq!(new.shape(), old.shape(), "moments of another parameter");
        }
        *held = new;
    }

    /// Puts back the number of steps that an earlier run had taken.
    pub fn restore_steps(&mut self, steps: u64) {
        self.steps = steps;
    }
}
