//! A golden file: its tensors, and the model that it describes.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use simmim_autograd::{Device, ParameterSpecs, Parameters, PixelLoss, Precision, Tensor};
use simmim_checkpoint::{Archive, Array};
use simmim_device::contract::named_device;
use simmim_model::{
    EncoderConfig, MaskedImageModel, Objective, Role, SwinConfig, SwinVersion, Target, VitConfig,
};
use simmim_random::{Purpose, Stream};

use crate::arguments::{swin_config, vit_config};

/// What the authors' code stores of a model besides its parameters.
const BUFFERS: [&str; 3] = [
    "attn_mask",
    "relative_position_index",
    "relative_coords_table",
];

pub(crate) struct Golden {
    pub(crate) archive: Archive,
    pub(crate) device: Arc<dyn Device>,
    /// By how much parameters and images are moved, and the seed of the moves; none where they are the file's own.
    moved: Option<Moved>,
}

/// How numbers are moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    /// The largest relative distance.
    pub(crate) by: f64,
    /// The seed of the distances.
    pub(crate) seed: u64,
}

impl Golden {
    /// The file at `path`, to compare with what matrix products of that precision give.
    pub(crate) fn open(path: &Path, precision: Precision) -> Self {
        let archive = Archive::open(path).unwrap_or_else(|e| panic!("{e}"));
        let device = simmim_backend::open(named_device(), precision).expect("a device");
        Self {
            archive,
            device,
            moved: None,
        }
    }

    /// The same model and images with every number moved a little, so that other roundings happen.
    pub(crate) fn moved(self, moved: Moved) -> Self {
        Self {
            moved: Some(moved),
            ..self
        }
    }

    pub(crate) fn json(&self, key: &str) -> Value {
        let text = self
            .archive
            .metadata()
            .get(key)
            .unwrap_or_else(|| panic!("no metadata `{key}`"));
        serde_json::from_str(text).unwrap_or_else(|e| panic!("metadata `{key}`: {e}"))
    }

    pub(crate) fn values(&self, name: &str) -> Vec<f32> {
        self.array(name).values
    }

    pub(crate) fn tensor(&self, name: &str) -> Tensor {
        let array = self.array(name);
        Tensor::from_slice(&self.device, &array.shape, &array.values)
    }

    /// The array of that name, parameters and images moved where that is asked.
    fn array(&self, name: &str) -> Array {
        let mut array = self.archive.array(name).unwrap_or_else(|e| panic!("{e}"));
        let is_moved = name.starts_with("param.") || name == "input.image";
        if let Some(moved) = self.moved.filter(|_| is_moved) {
            let number = u64::from(crc32c::crc32c(name.as_bytes()));
            let mut draws = Stream::new(moved.seed, Purpose::Init).at(0, number);
            for value in &mut array.values {
                *value *= (1.0 + draws.uniform(-moved.by, moved.by)) as f32;
            }
        }
        array
    }

    pub(crate) fn kind(&self) -> &str {
        self.archive
            .metadata()
            .get("kind")
            .map_or("", String::as_str)
    }

    pub(crate) fn model(&self) -> (MaskedImageModel, ParameterSpecs) {
        let config = self.json("config");
        let mut specs = ParameterSpecs::default();
        let encoder = self
            .encoder(&config, Role::PreTrain)
            .build("encoder.", &mut specs);
        let norm_target = config["norm_target"].as_u64().filter(|&window| window > 0);
        let objective = Objective {
            target: Target::Pixels {
                loss: PixelLoss::L1,
                norm_target: norm_target.map(|window| window as usize),
            },
            ..Objective::default()
        };
        let model = MaskedImageModel::new(encoder, objective, &mut specs);
        (model, specs)
    }

    pub(crate) fn parameters(&self, specs: ParameterSpecs) -> Parameters {
        let mut parameters = Parameters::allocate(specs, &self.device, 0);
        let names: Vec<String> = parameters
            .iter()
            .map(|(_, spec, _)| spec.name.clone())
            .collect();
        let stored = self
            .archive
            .names()
            .filter_map(|name| name.strip_prefix("param."))
            // They follow from the geometry; the authors' code keeps them among the parameters.
            .filter(|name| !BUFFERS.iter().any(|buffer| name.ends_with(buffer)));
        let mut stored: Vec<&str> = stored.collect();
        stored.sort_unstable();
        let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        assert_eq!(sorted, stored, "parameter names");
        for name in &names {
            let array = self.array(&format!("param.{name}"));
            parameters
                .set(name, &array.shape, &array.values)
                .unwrap_or_else(|e| panic!("{e}"));
        }
        parameters
    }

    /// The encoder of the file.
    pub(crate) fn encoder(&self, config: &Value, role: Role) -> EncoderConfig {
        let swin = |version: SwinVersion| {
            EncoderConfig::Swin(SwinConfig {
                role,
                ..swin_config(config, version)
            })
        };
        match self.kind() {
            "swin_pretrain" | "swin_finetune" => swin(SwinVersion::V1),
            "swinv2_pretrain" => swin(SwinVersion::V2),
            _ => EncoderConfig::Vit(VitConfig {
                role,
                ..vit_config(config)
            }),
        }
    }
}
