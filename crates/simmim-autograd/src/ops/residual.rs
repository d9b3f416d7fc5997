//! The residual connection with layer scale and stochastic depth.

use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use simmim_device::RowScale;
use std::sync::Arc;

/// A residual branch and how it is weighted.
#[derive(Debug)]
pub struct Branch<'a> {
    /// What the branch computed, `[B, L, D]`.
    pub value: Var,
    /// Layer scale γ, `[D]`, if the model has it.
    pub scale: Option<&'a Var>,
    /// The probability that a sample loses this branch in training.
    pub drop_rate: f32,
    /// The place of the branch in the model: each draws its own decisions.
    pub idx: u64,
}

impl Tape<'_> {
    /// y = x + keep ∘ γ ∘ branch, with keep 0 or 1/(1 − rate) for each sample while training, else 1.
    ///
    /// # Shapes
    /// `x` and the result `[B, L, D]`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn residual(&mut self, x: &Var, branch: Branch<'_>) -> Var {
        let &[batch, tokens, width] = x.shape() else {
            panic!("residual: x is {:?}", x.shape())
        };
        assert_eq!(x.shape(), branch.value.shape(), "residual: shapes differ");
        let keep = self.keep(branch.drop_rate, branch.idx, batch);
        let scale = branch.scale.cloned();
        let gain = Gain {
            scale: scale.as_ref().map(|scale| scale.tensor().clone()),
            keep,
            width,
            tokens,
        };
        let device = Arc::clone(self.device());
        let y = Tensor::build(&device, x.shape(), |y| {
            device.residual(
                x.tensor().buffer(),
                branch.value.tensor().buffer(),
                gain.rows(),
                y,
            );
        });
        let (x, value) = (x.node(), branch.value);
        // Without layer scale the backward needs only the shape of the branch, so that its values can go.
        let (shape, branch_node) = (value.shape().to_vec(), value.node());
        let element = value.tensor().element();
        let kept = scale.is_some().then_some(value);
        self.record(y, move |dy, sink| {
            let mut dscale = None;
            let dbranch = Tensor::build_of(element, &device, &shape, |dbranch| {
                let values = kept
                    .as_ref()
                    // Nothing is read from it without a γ: any buffer will do.
                    .map_or(dy.buffer(), |value| value.tensor().buffer());
                dscale = device.residual_backward(values, dy.buffer(), gain.rows(), dbranch);
            });
            sink.add(branch_node, dbranch);
            if let Some((scale, dscale)) = scale.zip(dscale) {
                sink.add(scale.node(), Tensor::from_buffer(&device, &[width], dscale));
            }
            // Last, because it gives the buffer away: x gets it without a copy.
            sink.add(x, dy);
        })
    }
}

struct Gain {
    scale: Option<Tensor>,
    keep: Option<Tensor>,
    width: usize,
    tokens: usize,
}

impl Gain {
    fn rows(&self) -> RowScale<'_> {
        RowScale {
            scale: self.scale.as_ref().map(Tensor::buffer),
            keep: self.keep.as_ref().map(Tensor::buffer),
            width: self.width,
            tokens: self.tokens,
        }
    }
}
