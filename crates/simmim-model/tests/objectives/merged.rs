//! An encoder with a stride of several patches.

use simmim_autograd::{Index, ParameterId, ParameterKind, ParameterSpecs, Tape, Tensor, Var};
use simmim_model::{Encoder, Vit, VitConfig};

/// A ViT of which four neighbouring tokens make one feature, as in a hierarchical encoder.
#[derive(Debug)]
pub(crate) struct Merged {
    vit: Vit,
    merge: usize,
}

impl Merged {
    pub(crate) fn new(config: &VitConfig, merge: usize, specs: &mut ParameterSpecs) -> Self {
        let vit = Vit::new(config, "encoder.", specs);
        Self { vit, merge }
    }
}

impl Encoder for Merged {
    fn embed<'a>(&'a self, tape: &mut Tape<'a>, images: &Tensor) -> Var {
        self.vit.embed(tape, images)
    }

    fn encode_seen<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        tokens: Var,
        seen: &mut dyn FnMut(&Var),
    ) -> Var {
        let tokens = self.vit.encode_seen(tape, tokens, seen); // [B, L, D]
        let (batch, [h, w], merge) = (tokens.shape()[0], self.grid(), self.merge);
        let mut order = Vec::new();
        for square in 0..batch * h * w / (merge * merge) {
            let (line, column) = (square / (w / merge), square % (w / merge));
            for part in 0..merge * merge {
                let (y, x) = (line * merge + part / merge, column * merge + part % merge);
                order.push((y * w + x) as u32);
            }
        }
        let merged = tape.gather(&tokens, &Index::new(tape.device(), &order));
        merged.reshape(&[batch, h * w / (merge * merge), self.features()])
    }

    fn grid(&self) -> [usize; 2] {
        self.vit.grid()
    }

    fn stride(&self) -> usize {
        self.vit.stride() * self.merge
    }

    fn n_blocks(&self) -> usize {
        self.vit.n_blocks()
    }

    fn patch_px(&self) -> usize {
        self.vit.patch_px()
    }

    fn channels(&self) -> usize {
        self.vit.channels()
    }

    fn features(&self) -> usize {
        self.vit.features() * self.merge * self.merge
    }

    fn mask_token(&self) -> Option<ParameterId> {
        self.vit.mask_token()
    }

    fn exempt_kinds(&self) -> &'static [ParameterKind] {
        self.vit.exempt_kinds()
    }
}
