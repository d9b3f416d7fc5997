//! Models of every kind that has a graph, with values that are nowhere special, run by this project's own engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use simmim_autograd::{Device, ParameterSpecs, Parameters, PixelLoss, Tape, Tensor};
use simmim_checkpoint::Array;
use simmim_cpu::CpuDevice;
use simmim_model::{
    ClassToken, Classifier, ClassifierConfig, Encoder, EncoderConfig, HeadKind, MaskedImageModel,
    Objective, Pooling, QkvBiases, RelativePositions, Role, Scope, SwinConfig, SwinVersion, Target,
    VitConfig,
};
use simmim_onnx::Part;

/// A kind of model.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) encoder: EncoderConfig,
    pub(crate) kind: Kind,
}

/// What stands on the encoder.
pub(crate) enum Kind {
    Encoder,
    Classifier(ClassifierConfig),
    Masked(Objective),
}

impl Case {
    /// What the names of the encoder's arrays begin with.
    pub(crate) fn prefix(&self) -> &'static str {
        match self.kind {
            Kind::Masked(_) => "encoder.",
            Kind::Encoder | Kind::Classifier(_) => "",
        }
    }

    pub(crate) fn part(&self) -> Part<'_> {
        match &self.kind {
            Kind::Encoder => Part::Encoder,
            Kind::Classifier(config) => Part::Classifier(*config),
            Kind::Masked(objective) => Part::Masked(objective),
        }
    }
}

fn vit() -> VitConfig {
    VitConfig {
        image_size: [32, 48],
        patch_px: 8,
        width: 24,
        depth: 2,
        heads: 3,
        mlp_ratio: 2.5,
        role: Role::Apply,
        ..VitConfig::default()
    }
}

fn swin() -> SwinConfig {
    SwinConfig {
        image_size: [64, 32],
        patch_px: 2,
        width: 12,
        depths: vec![2, 2, 2],
        heads: vec![2, 3, 6],
        window: 4,
        role: Role::Apply,
        ..SwinConfig::default()
    }
}

fn labels(fresh_norm: Option<f32>, pooling: Pooling) -> Kind {
    Kind::Classifier(ClassifierConfig {
        n_labels: 5,
        fresh_norm,
        pooling,
    })
}

fn pixels(loss: PixelLoss, norm_target: Option<usize>) -> Objective {
    Objective {
        target: Target::Pixels { loss, norm_target },
        ..Objective::default()
    }
}

/// Every kind of model, each choice of a configuration in at least one of them.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vits();
    cases.extend(swins());
    cases.extend(masked());
    cases
}

fn vits() -> Vec<Case> {
    let of = |name, config: VitConfig, kind| Case {
        name,
        encoder: EncoderConfig::Vit(config),
        kind,
    };
    let plain = VitConfig {
        relative_positions: RelativePositions::None,
        absolute_positions: true,
        layer_scale: None,
        qkv_bias: QkvBiases::None,
        ..vit()
    };
    let per_block = VitConfig {
        relative_positions: RelativePositions::PerBlock,
        final_norm: false,
        channels: 5,
        ..vit()
    };
    let published = |class_token| VitConfig {
        relative_positions: RelativePositions::None,
        absolute_positions: true,
        layer_scale: None,
        qkv_bias: QkvBiases::All,
        class_token,
        norm_eps: 0.01,
        ..vit()
    };
    let by_token = VitConfig {
        final_norm: false,
        ..published(ClassToken::Unplaced)
    };
    vec![
        of("vit-shared", vit(), Kind::Encoder),
        of("vit-absolute", plain, Kind::Encoder),
        of(
            "vit-without-token",
            published(ClassToken::None),
            Kind::Encoder,
        ),
        of(
            "vit-class-token",
            by_token,
            labels(Some(1e-6), Pooling::ClassToken),
        ),
        of(
            "vit-labels",
            per_block.clone(),
            labels(Some(1e-3), Pooling::Mean),
        ),
        of(
            "vit-attentive",
            per_block,
            labels(Some(1e-3), Pooling::Attentive),
        ),
    ]
}

fn swins() -> Vec<Case> {
    let of = |name, config: SwinConfig, kind| Case {
        name,
        encoder: EncoderConfig::Swin(config),
        kind,
    };
    let second = SwinConfig {
        version: SwinVersion::V2,
        pretrained_windows: Some(vec![3, 3, 2]),
        norm_eps: 0.01,
        channels: 1,
        ..swin()
    };
    let plain = SwinConfig {
        qkv_bias: false,
        patch_norm: false,
        absolute_positions: true,
        window: 8,
        image_size: [64; 2],
        ..swin()
    };
    vec![
        of("swin", swin(), Kind::Encoder),
        of("swin-plain", plain, Kind::Encoder),
        of("swin-labels", swin(), labels(None, Pooling::Mean)),
        of("swinv2", second.clone(), Kind::Encoder),
        of("swinv2-labels", second, labels(None, Pooling::Attentive)),
    ]
}

fn masked() -> Vec<Case> {
    let vit = VitConfig {
        role: Role::PreTrain,
        ..vit()
    };
    let swin = SwinConfig {
        role: Role::PreTrain,
        ..swin()
    };
    let of = |name, encoder, objective| Case {
        name,
        encoder,
        kind: Kind::Masked(objective),
    };
    let (vit, swin) = (EncoderConfig::Vit(vit), EncoderConfig::Swin(swin));
    let full = Objective {
        head: HeadKind::Mlp,
        scope: Scope::Full,
        ..pixels(PixelLoss::SmoothL1, None)
    };
    let coarse = Objective {
        target_px: 4,
        ..pixels(PixelLoss::L2, Some(5))
    };
    vec![
        of("masked-vit", vit.clone(), pixels(PixelLoss::L1, None)),
        of("masked-vit-full", vit, full),
        of("masked-swin", swin.clone(), pixels(PixelLoss::L1, Some(7))),
        of("masked-swin-coarse", swin, coarse),
    ]
}

/// A model, and images and masks for it.
pub(crate) struct Made {
    device: Arc<dyn Device>,
    parameters: Parameters,
    network: Network,
}

enum Network {
    Encoder(Box<dyn Encoder>),
    Classifier(Classifier),
    Masked(Box<MaskedImageModel>),
}

/// Inputs, and what the engine makes of them: names, shapes, values.
pub(crate) struct Batch {
    pub(crate) images: Array,
    /// Over the patches, `true` = hidden.
    pub(crate) mask: Array<bool>,
    pub(crate) outputs: Vec<(&'static str, Array)>,
}

impl Made {
    pub(crate) fn of(case: &Case) -> Self {
        let mut specs = ParameterSpecs::default();
        let encoder = case.encoder.build(case.prefix(), &mut specs);
        let network = match case.kind {
            Kind::Encoder => Network::Encoder(encoder),
            Kind::Classifier(config) => {
                Network::Classifier(Classifier::new(encoder, config, &mut specs))
            }
            Kind::Masked(objective) => {
                let model = MaskedImageModel::new(encoder, objective, &mut specs);
                Network::Masked(Box::new(model))
            }
        };
        let device = CpuDevice::shared();
        let mut parameters = Parameters::allocate(specs, &device, 1);
        let named: Vec<(String, Vec<usize>)> = parameters
            .iter()
            .map(|(_, spec, _)| (spec.name.clone(), spec.shape.clone()))
            .collect();
        for (place, (name, shape)) in named.iter().enumerate() {
            // Nothing is left at its first value, which for norms, scales and biases is 0 or 1.
            let around = if name.contains("norm") && name.ends_with("weight") {
                1.0
            } else {
                0.0
            };
            let around = if name.ends_with("logit_scale") {
                2.0
            } else {
                around
            };
            let reach = if shape.len() > 1 { 0.4 } else { 0.2 };
            let values = draw(place as u32, shape.iter().product());
            let values: Vec<f32> = values.iter().map(|value| around + reach * value).collect();
            parameters
                .set(name, shape, &values)
                .expect("it is the model's own");
        }
        Self {
            device,
            parameters,
            network,
        }
    }

    pub(crate) fn arrays(&self) -> BTreeMap<String, Array> {
        let array = |tensor: &Tensor| Array {
            shape: tensor.shape().to_vec(),
            values: tensor.to_vec(),
        };
        let all = self.parameters.iter();
        all.map(|(_, spec, tensor)| (spec.name.clone(), array(tensor)))
            .collect()
    }

    pub(crate) fn batch(&self, case: &Case, n_images: usize) -> Batch {
        let [height, width] = case.encoder.image_size();
        let shape = [n_images, case.encoder.channels(), height, width];
        let values = draw(7000, shape.iter().product());
        let images = Tensor::from_slice(&self.device, &shape, &values);
        let [h, w] = [height, width].map(|side| side / case.encoder.patch_px());
        let mask = mask(
            [n_images, h, w],
            case.encoder.stride() / case.encoder.patch_px(),
        );
        let mut tape = Tape::inference(&self.parameters);
        let outputs = match &self.network {
            Network::Encoder(encoder) => {
                let tokens = encoder.embed(&mut tape, &images);
                let tokens = encoder.encode(&mut tape, tokens);
                let pooled = tape.mean_tokens(&tokens);
                vec![
                    ("tokens", tokens.tensor().clone()),
                    ("pooled", pooled.tensor().clone()),
                ]
            }
            Network::Classifier(classifier) => {
                let pooled = classifier.features(&mut tape, &images);
                let logits = classifier.logits(&mut tape, &images);
                vec![
                    ("logits", logits.tensor().clone()),
                    ("pooled", pooled.tensor().clone()),
                ]
            }
            Network::Masked(model) => {
                let hiding = model.hiding(&self.device, &mask);
                let prediction = model.reconstruct(&mut tape, &images, &hiding);
                let loss = model.loss(&mut tape, &images, &hiding, hiding.n_counted_px());
                vec![
                    ("prediction", prediction),
                    ("loss", loss.tensor().reshape(&[])),
                ]
            }
        };
        let array = |tensor: Tensor| Array {
            shape: tensor.shape().to_vec(),
            values: tensor.to_vec(),
        };
        Batch {
            images: array(images),
            mask: Array {
                shape: vec![n_images, h, w],
                values: mask,
            },
            outputs: outputs
                .into_iter()
                .map(|(name, tensor)| (name, array(tensor)))
                .collect(),
        }
    }
}

/// Values of −1 to 1 that look drawn, the same each time.
fn draw(seed: u32, n: usize) -> Vec<f32> {
    let mut state = u64::from(seed) * 2 + 1;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(next).collect()
}

/// Half of the cells of so many patches a side, hidden.
fn mask([n_images, h, w]: [usize; 3], cell: usize) -> Vec<bool> {
    let drawn = draw(8000, n_images * h * w);
    let of = |place: usize| {
        let (image, y, x) = (place / (h * w), place / w % h, place % w);
        drawn[(image * h + y / cell) * w + x / cell] > 0.0
    };
    (0..n_images * h * w).map(of).collect()
}
