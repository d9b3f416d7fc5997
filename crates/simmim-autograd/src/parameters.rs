//! Names, shapes and first values of parameters; the tensors; their gradients.

use crate::layer::{Layer, ParameterKind};
use crate::scalar::Scalar;
use crate::storage::Storage;
use crate::tensor::Tensor;
use rayon::prelude::*;
use simmim_device::{Buffer, Device};
use simmim_random::{Draws, Purpose, Stream};
use std::collections::HashSet;
use std::sync::Arc;
use thiserror::Error;

/// What can be wrong with values for a parameter.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The model has no such parameter.
    #[error("the model has no parameter `{name}`")]
    NoParameter {
        /// The name asked for.
        name: String,
    },
    /// The values are of another shape.
    #[error("`{name}`: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// The parameter.
        name: String,
        /// The model's shape.
        expected: Vec<usize>,
        /// The shape of the values.
        found: Vec<usize>,
    },
}

/// How a parameter gets its first values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// The same value everywhere.
    Constant(f32),
    /// Normal with mean 0, drawn again until within ±`bound`, then multiplied by `gain`.
    TruncatedNormal {
        /// Standard deviation before truncation.
        std: f32,
        /// Largest absolute value, before `gain`.
        bound: f32,
        /// Multiplies every value.
        gain: f32,
    },
    /// Uniform in ±`bound`.
    Uniform {
        /// Largest absolute value.
        bound: f32,
    },
}

impl Init {
    fn values(self, len: usize, mut draws: Draws) -> Vec<f32> {
        match self {
            Self::Constant(value) => vec![value; len],
            Self::Uniform { bound } => {
                let bound = f64::from(bound);
                (0..len)
                    .map(|_| draws.uniform(-bound, bound) as f32)
                    .collect()
            }
            Self::TruncatedNormal { std, bound, gain } => {
                // Where this rounds to f32 is part of what a seed means: elsewhere, first values would be others.
                let mut draw = || std * draws.normal() as f32;
                let mut within = || std::iter::repeat_with(&mut draw).find(|x| x.abs() <= bound);
                (0..len)
                    .map(|_| within().expect("draws never end") * gain)
                    .collect()
            }
        }
    }
}

/// A parameter before it has values.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// Its name in checkpoints.
    pub name: String,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Its first values.
    pub init: Init,
    /// Where in the model it lies.
    pub layer: Layer,
    /// What it is.
    pub kind: ParameterKind,
}

impl ParameterSpec {
    /// A weight of the head, which is what a parameter is unless more is said of it.
    pub fn new(name: impl Into<String>, shape: &[usize], init: Init) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            init,
            layer: Layer::Head,
            kind: ParameterKind::Weight,
        }
    }

    /// Number of values; the largest number that there is where they are more.
    #[allow(
        clippy::len_without_is_empty,
        reason = "an array of a shape, not a collection"
    )]
    pub fn len(&self) -> usize {
        // Sizes come from a configuration. Too many are refused by this number, which must not wrap to a small one.
        self.shape.iter().fold(1, |n, &side| n.saturating_mul(side))
    }
}

/// A parameter of one model: its place among [`ParameterSpecs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParameterId(usize);

impl ParameterId {
    /// Its place, in the order in which the model named its parameters.
    pub fn idx(self) -> usize {
        self.0
    }
}

/// The parameters that a model names as it is built; no memory is taken yet.
#[derive(Debug, Clone, Default)]
pub struct ParameterSpecs {
    specs: Vec<ParameterSpec>,
    names: HashSet<String>,
}

impl ParameterSpecs {
    /// Names a parameter of which there is no more to say.
    ///
    /// # Panics
    /// As [`ParameterSpecs::push`].
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize], init: Init) -> ParameterId {
        self.push(ParameterSpec::new(name, shape, init))
    }

    /// Names a parameter.
    ///
    /// # Panics
    /// When the name is taken: two parts of a model would share a checkpoint entry.
    pub fn push(&mut self, spec: ParameterSpec) -> ParameterId {
        let is_new = self.names.insert(spec.name.clone());
        assert!(is_new, "two parameters named {}", spec.name);
        self.specs.push(spec);
        ParameterId(self.specs.len() - 1)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ParameterSpec> {
        self.specs.iter()
    }

    /// Number of values of all parameters; the largest number that there is where they are more.
    pub fn n_values(&self) -> usize {
        let lens = self.specs.iter().map(ParameterSpec::len);
        lens.fold(0, usize::saturating_add)
    }
}

/// The parameters of a model, on a device.
#[derive(Debug)]
pub struct Parameters {
    specs: Vec<ParameterSpec>,
    tensors: Vec<Tensor>,
    device: Arc<dyn Device>,
}

impl Parameters {
    /// Puts all parameters on `device` with their first values: a function of `seed`, the parameter's
    /// place and its [`Init`] alone.
    pub fn allocate(specs: ParameterSpecs, device: &Arc<dyn Device>, seed: u64) -> Self {
        let stream = Stream::new(seed, Purpose::Init);
        let tensors = specs
            .specs
            // In any order: each parameter has a stream of its own.
            .par_iter()
            .enumerate()
            .map(|(idx, spec)| {
                let values = spec.init.values(spec.len(), stream.at(0, idx as u64));
                Tensor::from_slice(device, &spec.shape, &values)
            })
            .collect();
        Self {
            specs: specs.specs,
            tensors,
            device: Arc::clone(device),
        }
    }

    /// The values of a parameter.
    pub fn get(&self, id: ParameterId) -> &Tensor {
        &self.tensors[id.0]
    }

    /// The parameter of this name, if there is one.
    pub fn find(&self, name: &str) -> Option<ParameterId> {
        self.specs
            .iter()
            // A search is fast enough: names are asked for when weights are loaded, not in a step.
            .position(|spec| spec.name == name)
            .map(ParameterId)
    }

    /// Each parameter with its name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ParameterId, &ParameterSpec, &Tensor)> {
        let both = self.specs.iter().zip(&self.tensors).enumerate();
        both.map(|(idx, (spec, tensor))| (ParameterId(idx), spec, tensor))
    }

    /// Replaces the values of a parameter.
    ///
    /// # Errors
    /// When there is none of this name or `shape` is not its own.
    pub fn set(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Result<(), Error> {
        let id = self.find(name).ok_or_else(|| Error::NoParameter {
            name: name.to_owned(),
        })?;
        let expected = &self.specs[id.0].shape;
        // Both: the slice need not be as long as the shape that came with it says.
        if expected != shape || values.len() != shape.iter().product::<usize>() {
            let (name, expected, found) = (name.to_owned(), expected.clone(), shape.to_vec());
            return Err(Error::Shape {
                name,
                expected,
                found,
            });
        }
        // A new tensor, not a write: a clone that somebody holds keeps the old values.
        self.tensors[id.0] = Tensor::from_slice(&self.device, shape, values);
        Ok(())
    }

    /// The device that holds them.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The same parameters with the same values, in memory of their own.
    #[must_use]
    pub fn copy(&self) -> Self {
        // Clones would share their buffers, and a shared buffer cannot be written to.
        let tensors = self.tensors.iter().map(Tensor::copy).collect();
        Self {
            specs: self.specs.clone(),
            tensors,
            device: Arc::clone(&self.device),
        }
    }

    /// Moves every value a part of the way to that of `other`, if the step is done that [`AdamW::clip`](crate::AdamW::clip) gave `clip`
    /// for: p ← p + weight · (q − p).
    ///
    /// # Panics
    /// When `other` is of another model, or a tape still holds the parameters.
    pub fn lerp(&mut self, other: &Self, weight: f32, clip: &Scalar) {
        assert_eq!(self.tensors.len(), other.tensors.len(), "another model");
        for (own, other) in self.tensors.iter_mut().zip(&other.tensors) {
            own.lerp(other, weight, clip);
        }
    }

    /// Whether every value is a number.
    pub fn are_finite(&self) -> bool {
        let buffers: Vec<&Buffer> = self.tensors.iter().map(Tensor::buffer).collect();
        // A value that is no number shows in the norm, so that nothing else has to be read.
        let norm = norm(&self.device, &buffers);
        Scalar::read(&[norm])[0].is_finite()
    }

    pub(crate) fn tensors_mut(&mut self) -> &mut [Tensor] {
        &mut self.tensors
    }
}

/// The gradient of each parameter, summed over the backward passes since [`Gradients::clear`].
#[derive(Debug, Clone)]
pub struct Gradients {
    tensors: Vec<Option<Tensor>>,
    device: Arc<dyn Device>,
}

impl Gradients {
    /// No gradients yet.
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            tensors: vec![None; parameters.tensors.len()],
            device: Arc::clone(&parameters.device),
        }
    }

    /// The gradient of a parameter; `None` when no loss has reached it.
    pub fn get(&self, id: ParameterId) -> Option<&Tensor> {
        self.tensors[id.0].as_ref()
    }

    /// Puts another gradient in place of a parameter's.
    ///
    /// # Panics
    /// When it is of another shape.
    pub fn replace(&mut self, id: ParameterId, gradient: Tensor) {
        if let Some(old) = &self.tensors[id.0] {
            assert_eq!(old.shape(), gradient.shape(), "a gradient of another shape");
        }
        self.tensors[id.0] = Some(gradient);
    }

    pub(crate) fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// Forgets all gradients; their memory is used again.
    pub fn clear(&mut self) {
        // Not zeros: the first gradient of the next step is taken as it is, without a sum.
        self.tensors.fill(None);
    }

    /// The L2 norm of all gradients as one vector.
    pub fn norm(&self) -> Scalar {
        let buffers: Vec<&Buffer> = self.tensors.iter().flatten().map(Tensor::buffer).collect();
        norm(&self.device, &buffers)
    }

    pub(crate) fn add(&mut self, id: ParameterId, gradient: Tensor) {
        match &mut self.tensors[id.0] {
            Some(sum) => sum.add_assign(&gradient),
            empty => *empty = Some(gradient),
        }
    }
}

fn norm(device: &Arc<dyn Device>, buffers: &[&Buffer]) -> Scalar {
    let norm = device.global_norm(buffers);
    // No tensor: those are of f32, and a norm has 64 bits.
    Scalar::new(Arc::new(Storage::new(device, norm)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use simmim_cpu::CpuDevice;

    fn drawn(init: Init) -> Vec<f32> {
        let mut specs = ParameterSpecs::default();
        let id = specs.add("w", &[100, 100], init);
        Parameters::allocate(specs, &CpuDevice::shared(), 1)
            .get(id)
            .to_vec()
    }

    #[test]
    fn a_truncated_normal_keeps_its_bound_and_spread() {
        let values = drawn(Init::TruncatedNormal {
            std: 0.02,
            bound: 0.02,
            gain: 0.5,
        });
        assert!(values.iter().all(|x| x.abs() <= 0.01));
        let variance = values.iter().map(|x| f64::from(x * x)).sum::<f64>() / 1e4;
        // The variance of a standard normal truncated at ±1 is 1 − 2φ(1)/(2Φ(1) − 1) = 0.2911.
        assert!(
            (variance.sqrt() / 0.01 - 0.2911_f64.sqrt()).abs() < 0.01,
            "{}",
            variance.sqrt()
        );
    }

    #[test]
    fn a_uniform_start_fills_its_range() {
        let values = drawn(Init::Uniform { bound: 0.5 });
        assert!(values.iter().all(|x| x.abs() < 0.5) && values.iter().any(|x| *x > 0.49));
        assert!(values.iter().any(|x| *x < -0.49));
    }

    #[test]
    fn a_lerp_moves_by_its_weight_and_leaves_the_other_alone() {
        let mut specs = ParameterSpecs::default();
        let id = specs.add("w", &[3], Init::Constant(1.0));
        let mut parameters = Parameters::allocate(specs, &CpuDevice::shared(), 1);
        let mut average = parameters.copy();
        parameters.set("w", &[3], &[1.0, 2.0, -3.0]).unwrap();
        // The second time for a step that is not done.
        for scale in [1.0, f32::NAN] {
            let clip = Tensor::from_slice(parameters.device(), &[1], &[scale]).scalar();
            average.lerp(&parameters, 0.25, &clip);
            assert_eq!(average.get(id).to_vec(), [1.0, 1.25, 0.0]);
        }
        assert_eq!(parameters.get(id).to_vec(), [1.0, 2.0, -3.0]);
    }

    #[test]
    fn values_of_another_shape_or_name_are_refused() {
        let mut specs = ParameterSpecs::default();
        specs.add("w", &[2], Init::Constant(0.0));
        let mut parameters = Parameters::allocate(specs, &CpuDevice::shared(), 1);
        let wrong = parameters
            .set("w", &[3], &[0.0; 3])
            .unwrap_err()
            .to_string();
        assert_eq!(wrong, "`w`: expected shape [2], found [3]");
        let unknown = parameters
            .set("v", &[2], &[0.0; 2])
            .unwrap_err()
            .to_string();
        assert_eq!(unknown, "the model has no parameter `v`");
    }
}
