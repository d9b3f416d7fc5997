//! Everything that a golden file holds, computed and compared.

use std::collections::BTreeSet;

use simmim_autograd::{
    AdamW, AdamWSettings, Gradients, Group, LabelLoss, ParameterId, ParameterSpecs, Parameters,
    Tape, Tensor,
};
use simmim_model::{
    Classifier, ClassifierConfig, DecayRule, Hiding, MaskedImageModel, Pooling, Role,
    exempt_from_decay,
};

use crate::errors::Errors;
use crate::file::Golden;

impl Golden {
    /// Compares everything that a file of this kind holds.
    pub(crate) fn compare(&self) -> Errors {
        match self.kind() {
            "vit_pretrain" | "swin_pretrain" | "swinv2_pretrain" => self.compare_pretraining(),
            "vit_finetune" | "swin_finetune" | "vit_attentive" => self.compare_fine_tuning(),
            // Fails, and lets the other files have their line.
            other => Errors::nothing(&format!("nothing: the kind `{other}` is not known here")),
        }
    }

    /// Logits, loss, gradients and layers of a classifier.
    fn compare_fine_tuning(&self) -> Errors {
        let mut errors = Errors::default();
        let config = self.json("config");
        let targets = self.tensor("input.target");
        let mut specs = ParameterSpecs::default();
        let config_of_head = ClassifierConfig {
            n_labels: targets.width(),
            fresh_norm: self.kind() != "swin_finetune",
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
        errors.see(
            "output.logits",
            &logits.tensor().to_vec(),
            &self.values("output.logits"),
        );
        let factor = 1.0 / targets.shape()[0] as f32;
        let loss = tape.label_loss(&logits, &targets, LabelLoss::SoftCrossEntropy, factor);
        let value = loss.tensor().to_vec();
        errors.see("output.loss", &value, &self.values("output.loss"));
        let mut gradients = Gradients::new(&parameters);
        tape.backward(loss, &mut gradients);
        self.compare_gradients(&parameters, &gradients, &mut errors);
        let layers = self.json("layers");
        let n_blocks = model.encoder().n_blocks();
        for (_, spec, _) in parameters.iter() {
            let layer = layers[&spec.name]
                .as_u64()
                .expect("every parameter has a layer");
            assert_eq!(spec.layer.number(n_blocks) as u64, layer, "{}", spec.name);
        }
        errors
    }

    fn compare_pretraining(&self) -> Errors {
        let mut errors = Errors::default();
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
        self.compare_values(&model, &parameters, input, &mut errors);

        let mut trajectory = Trajectory::default();
        let mut optimiser = self.optimiser(&model, &parameters);
        for step in 0..self.values("train.losses").len() {
            let mut gradients = Gradients::new(&parameters);
            let mut tape = Tape::recording(&parameters);
            let loss = model.loss(&mut tape, &images, &hiding, hiding.n_counted_px());
            trajectory.losses.push(loss.tensor().item());
            tape.backward(loss, &mut gradients);
            if step == 0 {
                errors.see(
                    "output.loss",
                    &trajectory.losses,
                    &self.values("output.loss"),
                );
                self.compare_gradients(&parameters, &gradients, &mut errors);
            }
            let norm = optimiser.step(&mut parameters, &gradients, 1e-3);
            trajectory.norms.push(norm as f32);
        }
        errors.see(
            "train.losses",
            &trajectory.losses,
            &self.values("train.losses"),
        );
        errors.see(
            "train.grad_norms",
            &trajectory.norms,
            &self.values("train.grad_norms"),
        );
        // Not every file holds every parameter after the steps: golden/README.md says why.
        let stored: BTreeSet<&str> = self.archive.names().collect();
        for (_, spec, tensor) in parameters.iter() {
            let name = format!("after.{}", spec.name);
            if !stored.contains(name.as_str()) {
                continue;
            }
            errors.see(&name, &tensor.to_vec(), &self.values(&name));
        }
        errors
    }

    fn compare_values(
        &self,
        model: &MaskedImageModel,
        parameters: &Parameters,
        input: Input<'_>,
        errors: &mut Errors,
    ) {
        let Input { images, hiding } = input;
        let mut tape = Tape::inference(parameters);
        let features = model.features(&mut tape, images, hiding);
        let expected = self.archive.array("output.features").expect("features");
        errors.see(
            "output.features",
            &channels_first(features.tensor()),
            &expected.values,
        );
        let reconstruction = model.reconstruct(&mut tape, images, hiding);
        errors.see(
            "output.reconstruction",
            &reconstruction.to_vec(),
            &self.values("output.reconstruction"),
        );
    }

    fn compare_gradients(
        &self,
        parameters: &Parameters,
        gradients: &Gradients,
        errors: &mut Errors,
    ) {
        for (id, spec, _) in parameters.iter() {
            let name = format!("grad.{}", spec.name);
            let gradient = gradients
                .get(id)
                .unwrap_or_else(|| panic!("{name}: no gradient"));
            errors.see(&name, &gradient.to_vec(), &self.values(&name));
        }
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
