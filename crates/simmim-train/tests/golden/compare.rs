//! Everything that a golden file holds, computed.

use std::collections::BTreeSet;

use simmim_autograd::{
    AdamW, AdamWSettings, Gradients, Group, LabelLoss, ParameterId, ParameterSpecs, Parameters,
    Tape, Tensor,
};
use simmim_model::{
    Classifier, ClassifierConfig, DecayRule, Hiding, MaskedImageModel, Pooling, Role,
    exempt_from_decay,
};

use crate::errors::{Computed, Errors};
use crate::file::Golden;

impl Golden {
    /// How far everything that a file of this kind holds is from what is computed here.
    pub(crate) fn compare(&self) -> Errors {
        match self.computed() {
            Some(found) => Errors::between(&found, |tensor| self.values(tensor)),
            // Fails, and lets the other files have their line.
            None => Errors::nothing(&format!(
                "nothing: the kind `{}` is not known here",
                self.kind()
            )),
        }
    }

    /// Everything that a file of this kind holds, from its parameters and inputs; none for a kind that is not known here.
    pub(crate) fn computed(&self) -> Option<Computed> {
        match self.kind() {
            "vit_pretrain" | "swin_pretrain" | "swinv2_pretrain" => Some(self.pre_trained()),
            "vit_finetune" | "swin_finetune" | "vit_attentive" => Some(self.fine_tuned()),
            _ => None,
        }
    }

    /// Logits, loss, gradients and layers of a classifier.
    fn fine_tuned(&self) -> Computed {
        let mut found = Computed::new();
        let config = self.json("config");
        let targets = self.tensor("input.target");
        let mut specs = ParameterSpecs::default();
        let config_of_head = ClassifierConfig {
            n_labels: targets.width(),
            fresh_norm: (self.kind() != "swin_finetune").then_some(1e-6),
            pooling: match self.kind() {
                "vit_attentive" => Pooling::Attentive,
                _ => Pooling::Mean,
            },
        };
        let encoder = self.encoder(&config, Role::Apply).build("", &mut specs);
        let model = Classifier::new(encoder, config_of_head, &mut specs);
        let parameters = self.parameters(specs);
        let mut tape = Tape::recording(&parameters);
        let logits = model.logits(&mut tape, &self.tensor("input.image"));
        found.insert("output.logits".to_owned(), logits.tensor().to_vec());
        let factor = 1.0 / targets.shape()[0] as f32;
        let loss = tape.label_loss(&logits, &targets, LabelLoss::SoftCrossEntropy, factor);
        let value = loss.tensor().to_vec();
        found.insert("output.loss".to_owned(), value);
        let mut gradients = Gradients::new(&parameters);
        tape.backward(loss, &mut gradients);
        see_gradients(&parameters, &gradients, &mut found);
        let layers = self.json("layers");
        let n_blocks = model.encoder().n_blocks();
        for (_, spec, _) in parameters.iter() {
            let layer = layers[&spec.name]
                .as_u64()
                .expect("every parameter has a layer");
            assert_eq!(spec.layer.number(n_blocks) as u64, layer, "{}", spec.name);
        }
        found
    }

    fn pre_trained(&self) -> Computed {
        let mut found = Computed::new();
        let (model, specs) = self.model();
        let mut parameters = self.parameters(specs);
        let images = self.tensor("input.image");
        let hidden: Vec<bool> = self
            .values("input.mask")
            .iter()
            .map(|&hidden| hidden != 0.0)
            .collect();
        let hiding = model.hiding(&self.device, &hidden);

        let input = Input {
            images: &images,
            hiding: &hiding,
        };
        see_values(&model, &parameters, input, &mut found);

        let mut trajectory = Trajectory::default();
        let mut optimiser = self.optimiser(&model, &parameters);
        for step in 0..self.values("train.losses").len() {
            let mut gradients = Gradients::new(&parameters);
            let mut tape = Tape::recording(&parameters);
            let loss = model.loss(&mut tape, &images, &hiding, hiding.n_counted_px());
            trajectory.losses.push(loss.tensor().item());
            tape.backward(loss, &mut gradients);
            if step == 0 {
                found.insert("output.loss".to_owned(), trajectory.losses.clone());
                see_gradients(&parameters, &gradients, &mut found);
            }
            let norm = optimiser.step(&mut parameters, &gradients, 1e-3);
            trajectory.norms.push(norm as f32);
        }
        found.insert("train.losses".to_owned(), trajectory.losses);
        found.insert("train.grad_norms".to_owned(), trajectory.norms);
        // Not every file holds every parameter after the steps: golden/README.md says why.
        let stored: BTreeSet<&str> = self.archive.names().collect();
        for (_, spec, tensor) in parameters.iter() {
            let name = format!("after.{}", spec.name);
            if !stored.contains(name.as_str()) {
                continue;
            }
            found.insert(name, tensor.to_vec());
        }
        found
    }

    /// AdamW as the file's `optim` says, over the groups of the authors' rule.
    fn optimiser(&self, model: &MaskedImageModel, parameters: &Parameters) -> AdamW {
        let expected = "AdamW lr=1e-3 betas=(0.9,0.999) eps=1e-8 wd=0.05 clip=0.5";
        assert_eq!(
            self.archive.metadata().get("optim").map(String::as_str),
            Some(expected)
        );
        let exempt = |spec| exempt_from_decay(spec, DecayRule::Paper, model.encoder());
        let members = |exempted: bool| -> Vec<ParameterId> {
            parameters
                .iter()
                .filter(|(_, spec, _)| exempt(spec) == exempted)
                .map(|(id, _, _)| id)
                .collect()
        };
        let groups = vec![
            Group {
                parameters: members(false),
                weight_decay: 0.05,
                lr_scale: 1.0,
            },
            Group {
                parameters: members(true),
                weight_decay: 0.0,
                lr_scale: 1.0,
            },
        ];
        let settings = AdamWSettings {
            betas: [0.9, 0.999],
            eps: 1e-8,
            clip_norm: Some(0.5),
        };
        AdamW::new(parameters, groups, settings)
    }
}

fn see_values(
    model: &MaskedImageModel,
    parameters: &Parameters,
    input: Input<'_>,
    found: &mut Computed,
) {
    let Input { images, hiding } = input;
    let mut tape = Tape::inference(parameters);
    let features = model.features(&mut tape, images, hiding);
    found.insert(
        "output.features".to_owned(),
        channels_first(features.tensor()),
    );
    let reconstruction = model.reconstruct(&mut tape, images, hiding);
    found.insert("output.reconstruction".to_owned(), reconstruction.to_vec());
}

fn see_gradients(parameters: &Parameters, gradients: &Gradients, found: &mut Computed) {
    for (id, spec, _) in parameters.iter() {
        let name = format!("grad.{}", spec.name);
        let gradient = gradients
            .get(id)
            .unwrap_or_else(|| panic!("{name}: no gradient"));
        found.insert(name, gradient.to_vec());
    }
}

/// What a model of pre-training is given.
struct Input<'a> {
    images: &'a Tensor,
    hiding: &'a Hiding,
}

#[derive(Default)]
struct Trajectory {
    losses: Vec<f32>,
    norms: Vec<f32>,
}

/// `[B, L, D]` as the authors lay features out, `[B, D, L]`.
fn channels_first(features: &Tensor) -> Vec<f32> {
    let &[batch, tokens, width] = features.shape() else {
        panic!("features are {:?}", features.shape())
    };
    let values = features.to_vec();
    let at = |i: usize| {
        let (image, column, token) = (i / (tokens * width), i / tokens % width, i % tokens);
        values[(image * tokens + token) * width + column]
    };
    (0..batch * tokens * width).map(at).collect()
}
