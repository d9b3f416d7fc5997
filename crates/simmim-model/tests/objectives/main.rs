//! What every head with every target, loss and scope has to hold.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod geometry;
mod merged;

use self::merged::Merged;
use simmim_autograd::{
    AdamW, AdamWSettings, Device, Gradients, Group, ParameterId, ParameterSpecs, Parameters,
    PixelLoss, Tape, Tensor,
};
use simmim_cpu::CpuDevice;
use simmim_model::{
    ChannelStats, Encoder, EncoderConfig, HeadKind, Hiding, MaskedImageModel, Objective, Palette,
    Scope, SwinConfig, SwinSize, SwinVersion, Target, VitConfig,
};
use std::sync::Arc;

const IMAGE_PX: usize = 16;
const BATCH: usize = 8;
const MEAN: [f32; 3] = [0.5, 0.4, 0.3];
const STD: [f32; 3] = [0.2, 0.25, 0.3];
const STATS: ChannelStats<'static> = ChannelStats {
    mean: &MEAN,
    std: &STD,
};

/// Every target and loss.
const TARGETS: [Target; 7] = {
    const fn pixels(loss: PixelLoss, norm_target: Option<usize>) -> Target {
        Target::Pixels { loss, norm_target }
    }
    [
        pixels(PixelLoss::L1, None),
        pixels(PixelLoss::L2, None),
        pixels(PixelLoss::SmoothL1, None),
        pixels(PixelLoss::L1, Some(5)),
        Target::Bins { n: 4 },
        Target::Codewords { n: 6, side: 1 },
        Target::Codewords { n: 6, side: 2 },
    ]
};

/// Every head but the largest, target, loss, scope and resolution.
fn objectives() -> Vec<Objective> {
    let mut all = Vec::new();
    for head in [HeadKind::Linear, HeadKind::Mlp] {
        for target in TARGETS {
            for scope in [Scope::Masked, Scope::Full] {
                all.extend([1, 2, 4].map(|target_px| Objective {
                    head,
                    target,
                    target_px,
                    scope,
                }));
            }
        }
    }
    all
}

/// A model of patches of 4 px and features of 8 px, with masks that suit its objective.
struct Setup {
    model: MaskedImageModel,
    parameters: Parameters,
    device: Arc<dyn Device>,
    images: Tensor,
    hidden: Vec<bool>,
}

/// A small ViT with patches of that size.
fn vit(patch_px: usize) -> VitConfig {
    VitConfig {
        image_size: [IMAGE_PX; 2],
        patch_px,
        width: 8,
        depth: 1,
        heads: 2,
        drop_path: 0.0,
        ..VitConfig::default()
    }
}

/// A small Swin transformer whose features have squares of 8 px.
fn swin(version: SwinVersion) -> EncoderConfig {
    EncoderConfig::Swin(SwinConfig {
        version,
        image_size: [IMAGE_PX; 2],
        width: 16,
        depths: vec![2, 1],
        heads: vec![2, 4],
        window: 2,
        ..SwinConfig::default()
    })
}

impl Setup {
    fn new(objective: Objective) -> Self {
        let mut specs = ParameterSpecs::default();
        let encoder = Merged::new(&vit(4), 2, &mut specs);
        Self::of(Box::new(encoder), objective, specs)
    }

    /// Masks are of cells of 4 px, or 8 where the patches or the elements are larger.
    fn of(encoder: Box<dyn Encoder>, objective: Objective, mut specs: ParameterSpecs) -> Self {
        let device = CpuDevice::shared();
        let (stride, patch_px) = (encoder.stride(), encoder.patch_px());
        let mut model = MaskedImageModel::new(encoder, objective, &mut specs);
        match objective.target {
            Target::Pixels { .. } => {}
            Target::Bins { n } => model.set_palette(Palette::of_bins(&device, STATS, n)),
            Target::Codewords { n, side } => {
                let width = 3 * side * side;
                let word = |i: usize| (i / width) as f32 / n as f32 + 0.01 * (i % width) as f32;
                let words: Vec<f32> = (0..n * width).map(word).collect();
                model.set_palette(Palette::new(&device, STATS, &words, width));
            }
        }
        let cell_px = objective.element_px().max(patch_px);
        assert!(objective.fits(stride, patch_px, cell_px));
        let side = IMAGE_PX / patch_px;
        let is_hidden = |i: usize| {
            let (image, y, x) = (i / (side * side), i / side % side, i % side);
            !(y * patch_px / cell_px + x * patch_px / cell_px + image).is_multiple_of(3)
        };
        Self {
            model,
            parameters: Parameters::allocate(specs, &device, 3),
            images: images(&device),
            hidden: (0..BATCH * side * side).map(is_hidden).collect(),
            device,
        }
    }

    fn hiding(&self) -> Hiding {
        self.model.hiding(&self.device, &self.hidden)
    }

    /// The loss and its gradients where the predicted pixels are those of `originals`.
    fn loss(&self, originals: &Tensor) -> (f32, Gradients) {
        let hiding = self.hiding();
        let mut tape = Tape::recording(&self.parameters);
        let features = self.model.features(&mut tape, &self.images, &hiding);
        let n_counted_px = hiding.n_counted_px();
        let loss = self
            .model
            .compare(&mut tape, &features, originals, &hiding, n_counted_px);
        let value = loss.tensor().item();
        let mut gradients = Gradients::new(&self.parameters);
        tape.backward(loss, &mut gradients);
        (value, gradients)
    }

    /// Some steps of AdamW on the one batch.
    fn train(&mut self, n_steps: usize) {
        let group = Group {
            parameters: self.parameters.iter().map(|(id, ..)| id).collect(),
            weight_decay: 0.0,
            lr_scale: 1.0,
        };
        let settings = AdamWSettings {
            betas: [0.9, 0.95],
            eps: 1e-8,
            clip_norm: None,
        };
        let mut optimiser = AdamW::new(&self.parameters, vec![group], settings);
        for _ in 0..n_steps {
            let (_, gradients) = self.loss(&self.images);
            optimiser.step(&mut self.parameters, &gradients, 1e-2);
        }
    }

    /// Asserts that a gradient that is a number, and not zero throughout, reaches every parameter.
    fn assert_reached(&self, gradients: &Gradients) {
        for (values, (_, spec, _)) in self.values(gradients).iter().zip(self.parameters.iter()) {
            let reached = values.iter().any(|g| *g != 0.0) && values.iter().all(|g| g.is_finite());
            assert!(reached, "{:?}: {}", self.model.objective(), spec.name);
        }
    }

    fn values(&self, gradients: &Gradients) -> Vec<Vec<f32>> {
        let of = |(id, ..): (ParameterId, _, _)| gradients.get(id).unwrap().to_vec();
        self.parameters.iter().map(of).collect()
    }
}

/// Images of smooth colours and some texture, each its own, normalised.
fn images(device: &Arc<dyn Device>) -> Tensor {
    let n = IMAGE_PX * IMAGE_PX;
    let value = |i: usize| {
        let (image, c, y, x) = (
            i / (3 * n),
            i / n % 3,
            i / IMAGE_PX % IMAGE_PX,
            i % IMAGE_PX,
        );
        let (phase, y, x) = (image as f32 * 1.7 + c as f32, y as f32, x as f32);
        let colour = 0.5 + 0.3 * (phase + 0.2 * x).sin() + 0.15 * (phase + 0.9 * y).cos();
        (colour - MEAN[c]) / STD[c]
    };
    let values: Vec<f32> = (0..BATCH * 3 * n).map(value).collect();
    Tensor::from_slice(device, &[BATCH, 3, IMAGE_PX, IMAGE_PX], &values)
}

/// `images` with another value at the pixels of hidden or of visible patches.
fn changed(setup: &Setup, when_hidden: bool) -> Tensor {
    let mut values = setup.images.to_vec();
    for (i, value) in values.iter_mut().enumerate() {
        let (image, y, x) = (i / (3 * 256), i / 16 % 16, i % 16);
        if setup.hidden[image * 16 + y / 4 * 4 + x / 4] == when_hidden {
            *value = 1.0 - 0.7 * *value;
        }
    }
    Tensor::from_slice(&setup.device, setup.images.shape(), &values)
}

#[test]
fn a_gradient_reaches_every_parameter_and_eight_images_are_learned_better_and_better() {
    for objective in objectives() {
        let mut setup = Setup::new(objective);
        let (first, gradients) = setup.loss(&setup.images);
        setup.assert_reached(&gradients);
        setup.train(60);
        let (last, _) = setup.loss(&setup.images);
        assert!(last < 0.8 * first, "{objective:?}: from {first} to {last}");
        let hiding = setup.hiding();
        let mut tape = Tape::inference(&setup.parameters);
        let picture = setup.model.reconstruct(&mut tape, &setup.images, &hiding);
        assert_eq!(picture.shape(), setup.images.shape());
        let pixels = setup.model.to_pixels(&setup.images, &picture).to_vec();
        assert!(pixels.iter().all(|x| x.is_finite()), "{objective:?}");
    }
}

#[test]
fn every_encoder_goes_with_every_head_and_target() {
    let encoders = [
        EncoderConfig::Vit(vit(8)),
        swin(SwinVersion::V1),
        swin(SwinVersion::V2),
    ];
    let upside_down = SwinSize {
        width: 32,
        depths: [1, 1, 2, 1],
        ..SwinSize::TINY
    };
    for encoder in encoders {
        for head in [
            HeadKind::Linear,
            HeadKind::Mlp,
            HeadKind::InverseSwin(upside_down),
        ] {
            for (i, target) in TARGETS.into_iter().enumerate() {
                let objective = Objective {
                    head,
                    target,
                    target_px: 1 + i % 2,
                    scope: [Scope::Masked, Scope::Full][i % 2],
                };
                let mut specs = ParameterSpecs::default();
                let built = encoder.build("encoder.", &mut specs);
                let mut setup = Setup::of(built, objective, specs);
                let (first, _) = setup.loss(&setup.images);
                // The norms of the second version start at zero; a step later everything counts.
                setup.train(12);
                let (last, gradients) = setup.loss(&setup.images);
                assert!(
                    last < 0.95 * first,
                    "{encoder:?}, {objective:?}: from {first} to {last}"
                );
                setup.assert_reached(&gradients);
            }
        }
    }
}

#[test]
fn visible_pixels_of_the_target_count_only_where_all_do() {
    for objective in objectives() {
        let window = Target::Pixels {
            loss: PixelLoss::L1,
            norm_target: Some(5),
        };
        if objective.target == window {
            // A window reaches from a hidden pixel to visible ones.
            continue;
        }
        let setup = Setup::new(objective);
        let gradients = |originals: &Tensor| setup.values(&setup.loss(originals).1);
        let expected = gradients(&setup.images);
        let is_full = objective.scope == Scope::Full;
        let visible = gradients(&changed(&setup, false));
        assert_eq!(visible != expected, is_full, "{objective:?}: visible");
        assert_ne!(
            gradients(&changed(&setup, true)),
            expected,
            "{objective:?}: hidden"
        );
    }
}

#[test]
fn the_parts_of_a_batch_add_up_to_it() {
    for objective in objectives() {
        let setup = Setup::new(objective);
        let (whole, _) = setup.loss(&setup.images);
        let n_counted_px = setup.hiding().n_counted_px();
        let values = setup.images.to_vec();
        let (mut sum, half) = (0.0, values.len() / 2);
        for part in 0..2 {
            let shape = [BATCH / 2, 3, IMAGE_PX, IMAGE_PX];
            let images = Tensor::from_slice(&setup.device, &shape, &values[part * half..][..half]);
            let hidden = &setup.hidden[part * BATCH * 8..][..BATCH * 8];
            let hiding = setup.model.hiding(&setup.device, hidden);
            let mut tape = Tape::inference(&setup.parameters);
            let loss = setup.model.loss(&mut tape, &images, &hiding, n_counted_px);
            sum += loss.tensor().item();
        }
        assert!((sum - whole).abs() < 1e-5 * whole, "{sum} is not {whole}");
    }
}

#[test]
fn a_class_is_drawn_as_what_it_stands_for() {
    let mut objective = Objective {
        target_px: 2,
        target: Target::Codewords { n: 6, side: 2 },
        ..Objective::default()
    };
    for target in [objective.target, Target::Bins { n: 4 }] {
        objective.target = target;
        let setup = Setup::new(objective);
        let mut tape = Tape::inference(&setup.parameters);
        let picture = setup
            .model
            .reconstruct(&mut tape, &setup.images, &setup.hiding());
        for (i, pixel) in picture.to_vec().iter().enumerate() {
            let c = i / 256 % 3;
            let value = pixel * STD[c] + MEAN[c];
            let is_one = match target {
                Target::Bins { .. } => {
                    (0..4).any(|k| (value - (k as f32 + 0.5) / 4.0).abs() < 1e-5)
                }
                // The word k holds k/6 and a hundredth more for each place.
                _ => (0..6).any(|k| {
                    let place = (value - k as f32 / 6.0) * 100.0;
                    let (y, x) = (i / 16 % 16 / 2 % 2, i % 16 / 2 % 2);
                    (place - (c * 4 + y * 2 + x) as f32).abs() < 1e-2
                }),
            };
            assert!(is_one, "value {i} of {target:?} is {value}");
        }
    }
}

#[test]
fn what_comes_out_of_each_block_is_seen_and_changes_nothing() {
    let swin = SwinConfig {
        image_size: [16, 16],
        patch_px: 2,
        width: 8,
        depths: vec![2, 1],
        heads: vec![1, 2],
        window: 4,
        ..SwinConfig::default()
    };
    let vit = VitConfig {
        image_size: [16, 16],
        patch_px: 4,
        width: 12,
        depth: 3,
        heads: 2,
        ..VitConfig::default()
    };
    let cases = [
        (EncoderConfig::Swin(swin), vec![[64, 8], [64, 8], [16, 16]]),
        (EncoderConfig::Vit(vit), vec![[17, 12]; 3]),
    ];
    for (config, expected) in cases {
        let mut specs = ParameterSpecs::default();
        let encoder = config.build("encoder.", &mut specs);
        let device = CpuDevice::shared();
        let parameters = Parameters::allocate(specs, &device, 3);
        let pixels: Vec<f32> = (0..2 * 3 * 16 * 16).map(|i| (i as f32).sin()).collect();
        let images = Tensor::from_slice(&device, &[2, 3, 16, 16], &pixels);
        let mut tape = Tape::inference(&parameters);
        let tokens = encoder.embed(&mut tape, &images);
        let plain = encoder.encode(&mut tape, tokens.clone());
        let mut shapes = Vec::new();
        let seen = encoder.encode_seen(&mut tape, tokens, &mut |x| {
            let &[2, tokens, width] = x.shape() else {
                panic!("{:?}", x.shape())
            };
            shapes.push([tokens, width]);
        });
        assert_eq!(shapes, expected);
        assert_eq!(seen.tensor().to_vec(), plain.tensor().to_vec());
    }
}
