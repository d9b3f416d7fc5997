//! Small models of other libraries: what they compute is what the same weights compute here.
//!
//! `golden/interop/make.py` writes the files.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use simmim_autograd::{Device, ParameterSpecs, Parameters, Tape, Tensor};
use simmim_checkpoint::{Archive, Array, Entry};
use simmim_cpu::CpuDevice;
use simmim_model::{
    Classifier, ClassifierConfig, EncoderConfig, MaskedImageModel, Objective, Pooling, Role,
};
use simmim_pth::{Layout, Value, write_checkpoint};
use simmim_weights::{Format, Heads, Options, ToFill, Weights};

/// Sums are of another order than PyTorch's.
const TOLERANCE: f32 = 1e-4;

/// What was computed elsewhere, and the weights that it was computed with.
struct Case {
    weights: Weights,
    expected: Archive,
    device: Arc<dyn Device>,
}

impl Case {
    fn open(name: &str, options: &Options) -> Self {
        let folder = folder(name);
        let weights = Weights::open(&folder, options).unwrap_or_else(|e| panic!("{name}: {e}"));
        Self {
            weights,
            expected: Archive::open(folder.join("expected.safetensors")).unwrap(),
            device: CpuDevice::shared(),
        }
    }

    fn images(&self) -> Tensor {
        self.tensor("image")
    }

    fn tensor(&self, name: &str) -> Tensor {
        let array = self.expected.array(name).unwrap();
        Tensor::from_slice(&self.device, &array.shape, &array.values)
    }

    /// The encoder at the size of the images, which not every file says.
    fn encoder(&self) -> EncoderConfig {
        let shape = self.expected.info("image").unwrap().shape.clone();
        self.encoder_of([shape[2], shape[3]])
    }

    fn encoder_of(&self, size: [usize; 2]) -> EncoderConfig {
        let mut encoder = self.weights.encoder().unwrap();
        match &mut encoder {
            EncoderConfig::Vit(vit) => vit.image_size = size,
            EncoderConfig::Swin(swin) => swin.image_size = size,
        }
        encoder
    }

    fn filled(&self, encoder: &EncoderConfig, specs: ParameterSpecs) -> Parameters {
        let mut parameters = Parameters::allocate(specs, &self.device, 0);
        let target = ToFill {
            encoder,
            heads: Heads::Needed,
        };
        let report = self
            .weights
            .fill(target, &Options::default(), &mut parameters);
        let report = report.unwrap_or_else(|e| panic!("{e}"));
        assert!(report.fresh.is_empty(), "{report}");
        parameters
    }

    fn assert_near(&self, name: &str, found: &Tensor) {
        let (expected, found) = (self.expected.array(name).unwrap(), found.to_vec());
        assert_eq!(expected.values.len(), found.len(), "{name}");
        let farthest = expected
            .values
            .iter()
            .zip(&found)
            .map(|(a, b)| (a - b).abs());
        let farthest = farthest.fold(0.0, f32::max);
        assert!(farthest <= TOLERANCE, "{name} is {farthest} away");
    }

    fn features(&self) {
        let encoder = applied(self.encoder(), true);
        let mut specs = ParameterSpecs::default();
        let model = encoder.build("", &mut specs);
        let parameters = self.filled(&encoder, specs);
        let mut tape = Tape::inference(&parameters);
        let tokens = model.embed(&mut tape, &self.images());
        let features = model.encode(&mut tape, tokens);
        self.assert_near("features", features.tensor());
    }

    fn logits(&self) {
        let encoder = applied(self.encoder(), false);
        let mut specs = ParameterSpecs::default();
        let config = ClassifierConfig {
            n_labels: self.weights.classes().unwrap().classes.len(),
            fresh_norm: matches!(encoder, EncoderConfig::Vit(_)).then(|| encoder.norm_eps()),
            pooling: self.weights.pooling().unwrap(),
        };
        let model = Classifier::new(encoder.build("", &mut specs), config, &mut specs);
        let parameters = self.filled(&encoder, specs);
        let mut tape = Tape::inference(&parameters);
        self.assert_near("pooled", model.features(&mut tape, &self.images()).tensor());
        let mut tape = Tape::inference(&parameters);
        self.assert_near("logits", model.logits(&mut tape, &self.images()).tensor());
    }

    fn masked(&self, size: [usize; 2]) -> (MaskedImageModel, Parameters) {
        let encoder = self.encoder_of(size);
        let mut specs = ParameterSpecs::default();
        let model = encoder.build("encoder.", &mut specs);
        let model = MaskedImageModel::new(model, Objective::default(), &mut specs);
        let mut parameters = Parameters::allocate(specs, &self.device, 0);
        let target = ToFill {
            encoder: &encoder,
            heads: Heads::Fitting,
        };
        self.weights
            .fill(target, &Options::default(), &mut parameters)
            .unwrap();
        (model, parameters)
    }

    fn hidden(&self, name: &str) -> Vec<bool> {
        let mask = self.expected.array(name).unwrap();
        mask.values.iter().map(|hidden| *hidden != 0.0).collect()
    }

    fn loss_of(&self, images: &str, mask: &str, expected: &str) {
        let images = self.tensor(images);
        let (model, parameters) = self.masked([images.shape()[2], images.shape()[3]]);
        let hiding = model.hiding(&self.device, &self.hidden(mask));
        let mut tape = Tape::inference(&parameters);
        let loss = model.loss(&mut tape, &images, &hiding, hiding.n_counted_px());
        self.assert_near(expected, loss.tensor());
    }
}

fn folder(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("golden/interop").join(name)
}

/// The encoder of whole images, with its last norm or without.
fn applied(encoder: EncoderConfig, final_norm: bool) -> EncoderConfig {
    match encoder {
        EncoderConfig::Vit(mut vit) => {
            vit.role = Role::Apply;
            vit.final_norm = final_norm;
            EncoderConfig::Vit(vit)
        }
        EncoderConfig::Swin(mut swin) => {
            swin.role = Role::Apply;
            EncoderConfig::Swin(swin)
        }
    }
}

#[test]
fn encoders_have_the_features_of_their_libraries() {
    for (name, format) in [
        ("timm_vit", Format::Timm),
        ("timm_vit_scaled", Format::Timm),
        ("timm_swin", Format::Timm),
        ("timm_swinv2", Format::Timm),
        ("hf_vit", Format::HuggingFace),
        ("hf_vit_mim", Format::HuggingFace),
        ("hf_mae", Format::HuggingFace),
        ("hf_dinov2", Format::HuggingFace),
        ("hf_beit_shared", Format::HuggingFace),
        ("hf_swin_mim", Format::HuggingFace),
        ("hf_swin", Format::HuggingFace),
        ("hf_swinv2_mim", Format::HuggingFace),
        ("torchvision_vit", Format::Torchvision),
        ("torchvision_swin", Format::Torchvision),
        ("torchvision_swinv2", Format::Torchvision),
        ("mm_vit", Format::Mmpretrain),
        ("mm_swin", Format::Mmpretrain),
        ("mm_swinv2", Format::Mmpretrain),
    ] {
        let case = Case::open(name, &Options::default());
        assert_eq!(case.weights.format(), format, "{name}");
        case.features();
    }
}

#[test]
fn classifiers_have_the_logits_of_their_libraries() {
    for (name, pooling) in [
        ("timm_vit", Pooling::ClassToken),
        ("timm_vit_scaled", Pooling::ClassToken),
        ("timm_vit_mean", Pooling::Mean),
        ("timm_swin", Pooling::Mean),
        ("timm_swinv2", Pooling::Mean),
        ("hf_vit", Pooling::ClassToken),
        ("hf_beit", Pooling::Mean),
        ("hf_swin", Pooling::Mean),
        ("torchvision_vit", Pooling::ClassToken),
        ("torchvision_swin", Pooling::Mean),
        ("torchvision_swinv2", Pooling::Mean),
        ("mm_beit", Pooling::Mean),
    ] {
        let case = Case::open(name, &Options::default());
        assert_eq!(case.weights.pooling(), Some(pooling), "{name}");
        case.logits();
    }
}

#[test]
fn masked_models_have_the_losses_of_transformers() {
    for name in ["hf_vit_mim", "hf_swin_mim", "hf_swinv2_mim"] {
        let case = Case::open(name, &Options::default());
        case.loss_of("image", "mask", "loss");
    }
}

#[test]
fn a_masked_swin_transformer_of_mmpretrain_has_its_features() {
    let case = Case::open("mm_swin", &Options::default());
    let (model, parameters) = case.masked([64, 64]);
    let hiding = model.hiding(&case.device, &case.hidden("mask"));
    let mut tape = Tape::inference(&parameters);
    let features = model.features(&mut tape, &case.images(), &hiding);
    case.assert_near("masked", features.tensor());
}

/// Nothing but a table of coordinates says so there.
#[test]
fn windows_that_biases_were_learned_with_are_read_from_a_table_of_coordinates() {
    let case = Case::open("mm_swinv2", &Options::default());
    let model = &case.weights.config().model;
    assert_eq!(model.window, Some(4));
    assert_eq!(model.pretrained_windows, Some(vec![3, 3, 3, 2]));
    assert_eq!(case.weights.config().data.image_size, [64, 64]);
    let own = Case::open("torchvision_swinv2", &Options::default());
    assert_eq!(own.weights.config().model.pretrained_windows, None);
}

fn map(key: &str, value: Value) -> Value {
    Value::Map(vec![(key.to_owned(), value)])
}

/// A checkpoint as the authors' code writes it, opened.
fn checkpoint(folder: &Path, arrays: &[(String, Array)], config: Vec<(String, Value)>) -> Weights {
    let path = folder.join("ckpt_epoch_99.pth");
    let entries: Vec<Entry<'_>> = arrays
        .iter()
        .map(|(own, array)| Entry::f32(own, &array.shape, &array.values))
        .collect();
    let layout = Layout {
        key: Some("model"),
        beside: &[("epoch", Value::Int(99)), ("config", Value::Map(config))],
    };
    write_checkpoint(&path, &entries, layout).unwrap();
    let weights = Weights::open(&path, &Options::default()).unwrap();
    assert_eq!(weights.format(), Format::Official);
    weights
}

fn image_size(size: i64) -> (String, Value) {
    ("DATA".to_owned(), map("IMG_SIZE", Value::Int(size)))
}

#[test]
fn a_vit_of_the_authors_has_its_loss_from_a_file_of_torch_save() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let golden = Archive::open(root.join("golden/vit_pretrain.safetensors")).unwrap();
    let parameters = golden
        .names()
        .filter_map(|name| name.strip_prefix("param."));
    let arrays: Vec<(String, Array)> = parameters
        .map(|own| {
            (
                own.to_owned(),
                golden.array(&format!("param.{own}")).unwrap(),
            )
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let case = Case {
        weights: checkpoint(folder.path(), &arrays, vec![image_size(64)]),
        expected: golden,
        device: CpuDevice::shared(),
    };
    case.loss_of("input.image", "input.mask", "output.loss");
}

#[test]
fn swin_transformers_under_the_authors_names_have_their_losses_from_files_of_torch_save() {
    for (name, section) in [("hf_swin_mim", "SWIN"), ("hf_swinv2_mim", "SWINV2")] {
        let case = Case::open(name, &Options::default());
        let arrays: Vec<(String, Array)> = case
            .weights
            .names()
            .map(|own| {
                let prefix = if own.starts_with("decoder.") {
                    ""
                } else {
                    "encoder."
                };
                (format!("{prefix}{own}"), case.weights.array(own).unwrap())
            })
            .collect();
        let windows = map(section, map("WINDOW_SIZE", Value::Int(4)));
        let config = vec![image_size(32), ("MODEL".to_owned(), windows)];
        let folder = tempfile::tempdir().unwrap();
        let case = Case {
            weights: checkpoint(folder.path(), &arrays, config),
            ..case
        };
        assert_eq!(case.weights.config().model.window, Some(4));
        case.loss_of("image", "mask", "loss");
    }
}
