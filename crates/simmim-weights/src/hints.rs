//! What a file says of its model besides the arrays: in JSON files beside it, or in its name.

use std::path::Path;

use serde_json::Value;
use simmim_model::Pooling;
use simmim_pth::Value as Torch;

use crate::dialects::{Dialect, Format};
use crate::error::Error;
use crate::family::Family;
use crate::store::{Store, read_json_beside};

/// Of every published Swin transformer.
const N_STAGES: usize = 4;

/// What is known of a model besides the shapes of its arrays; none where nothing says it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Hints {
    /// Of the first stage.
    pub(crate) heads: Option<usize>,
    pub(crate) image_size: Option<[usize; 2]>,
    pub(crate) window: Option<usize>,
    /// One for each stage.
    pub(crate) pretrained_windows: Option<Vec<usize>>,
    pub(crate) norm_eps: Option<f64>,
    pub(crate) pooling: Option<Pooling>,
    pub(crate) mean: Option<Vec<f64>>,
    pub(crate) std: Option<Vec<f64>>,
    pub(crate) classes: Option<Vec<String>>,
}

/// Reads what stands beside the weights.
///
/// # Errors
/// [`Error::OtherArithmetic`] where the model computes something else than ours, [`Error::Geometry`] for numbers that no model here has,
/// [`Error::Json`] and its like.
pub(crate) fn read(store: &Store, dialect: &Dialect) -> Result<Hints, Error> {
    let weights = store.path();
    let json = read_json_beside(weights, "config.json")?;
    let mut hints = match (dialect.format, &json) {
        (Format::HuggingFace, Some(json)) => Source { weights, json }.of_transformers(dialect)?,
        (Format::Timm, Some(json)) => Source { weights, json }.of_timm()?,
        // timm names its BEiT as the authors name theirs, and says so beside it.
        (Format::Official, Some(json)) if json["architecture"].is_string() => {
            Source { weights, json }.of_timm()?
        }
        (Format::Official, _) => store
            .root()
            .map_or_else(Hints::default, |root| of_yacs(root, dialect.family)),
        _ => Hints::default(),
    };
    if dialect.format == Format::HuggingFace
        && let Some(json) = read_json_beside(weights, "preprocessor_config.json")?
    {
        hints.mean = numbers(&json["image_mean"]);
        hints.std = numbers(&json["image_std"]);
    }
    let stem = weights.file_stem().unwrap_or_default().to_string_lossy();
    Ok(hints.or_of_name(&stem))
}

/// What the authors' code keeps of its configuration beside the weights.
///
/// Source: microsoft/SimMIM and microsoft/Swin-Transformer `config.py`.
fn of_yacs(root: &Torch, family: Family) -> Hints {
    let at = |keys: &[&str]| keys.iter().try_fold(root, |value, key| value.get(key));
    let number = |keys: &[&str]| whole(at(keys)?);
    let swin = match family {
        Family::SwinV2 => "SWINV2",
        Family::Vit | Family::Swin => "SWIN",
    };
    let heads = match family {
        Family::Vit => number(&["config", "MODEL", "VIT", "NUM_HEADS"]),
        Family::Swin | Family::SwinV2 => None,
    };
    let learned = match at(&["config", "MODEL", swin, "PRETRAINED_WINDOW_SIZES"]) {
        Some(Torch::List(list)) => list.iter().map(whole).collect(),
        _ => None,
    };
    Hints {
        heads,
        image_size: number(&["config", "DATA", "IMG_SIZE"]).map(|side| [side; 2]),
        window: number(&["config", "MODEL", swin, "WINDOW_SIZE"]),
        pretrained_windows: learned,
        ..Hints::default()
    }
}

/// A whole number above 0.
fn whole(value: &Torch) -> Option<usize> {
    match value {
        Torch::Int(n) => usize::try_from(*n).ok().filter(|n| *n > 0),
        _ => None,
    }
}

/// A JSON file and the weights that it is about.
struct Source<'a> {
    weights: &'a Path,
    json: &'a Value,
}

impl Source<'_> {
    /// Source: huggingface/transformers `src/transformers/models/*/configuration_*.py`.
    fn of_transformers(&self, dialect: &Dialect) -> Result<Hints, Error> {
        let json = self.json;
        // Exact GELU is what all models here compute between two layers.
        self.require_gelu(&json["hidden_act"])?;
        if json["use_swiglu_ffn"].as_bool() == Some(true) {
            return Err(self.other("its MLPs are gated (SwiGLU)"));
        }
        let heads = match dialect.family {
            Family::Vit => number(&json["num_attention_heads"]),
            Family::Swin | Family::SwinV2 => self.heads_of_stages(&json["num_heads"])?,
        };
        let eps = json["layer_norm_eps"].as_f64();
        // Its Swin transformers leave the norms of patches and mergings at PyTorch's default.
        if dialect.family != Family::Vit && eps.is_some_and(|eps| eps != dialect.norm_eps) {
            return Err(self.other("the norms of its blocks have another epsilon than its others"));
        }
        let mean_pooled = json["use_mean_pooling"].as_bool().unwrap_or(false);
        let pooling = match dialect.family {
            Family::Vit if !mean_pooled => Pooling::ClassToken,
            _ => Pooling::Mean,
        };
        Ok(Hints {
            heads,
            image_size: side_or_sides(&json["image_size"]),
            window: number(&json["window_size"]),
            pretrained_windows: windows(&json["pretrained_window_sizes"]),
            norm_eps: eps,
            pooling: Some(pooling),
            classes: numbered_names(&json["id2label"]),
            ..Hints::default()
        })
    }

    /// Source: huggingface/pytorch-image-models `timm/models/_hub.py`, `save_config_for_hf`.
    fn of_timm(&self) -> Result<Hints, Error> {
        let json = self.json;
        let architecture = json["architecture"].as_str().unwrap_or_default();
        if architecture.contains("quickgelu") {
            return Err(self.other("its activation is quick GELU"));
        }
        let (arguments, pretrained) = (&json["model_args"], &json["pretrained_cfg"]);
        self.require_gelu(&arguments["act_layer"])?;
        let input = arguments
            .get("img_size")
            .and_then(side_or_sides)
            .or_else(|| sides(pretrained["input_size"].as_array()?.get(1..)?));
        let pooling = match json["global_pool"].as_str() {
            Some("token") => Some(Pooling::ClassToken),
            Some("avg") => Some(Pooling::Mean),
            _ => None,
        };
        let names = [&json["label_names"], &pretrained["label_names"]];
        let hints = Hints {
            heads: match &arguments["num_heads"] {
                list @ Value::Array(_) => self.heads_of_stages(list)?,
                heads => number(heads),
            },
            image_size: input,
            window: number(&arguments["window_size"]),
            pretrained_windows: windows(&arguments["pretrained_window_sizes"]),
            pooling,
            mean: numbers(&pretrained["mean"]),
            std: numbers(&pretrained["std"]),
            classes: names.into_iter().find_map(words),
            ..Hints::default()
        };
        Ok(hints.or_of_name(architecture))
    }

    fn require_gelu(&self, activation: &Value) -> Result<(), Error> {
        match activation.as_str() {
            None | Some("gelu") => Ok(()),
            Some(other) => Err(self.other(&format!(
                "its activation is `{other}`, and only exact GELU is computed"
            ))),
        }
    }

    /// The heads of the first stage, where each further one has twice as many.
    fn heads_of_stages(&self, list: &Value) -> Result<Option<usize>, Error> {
        let Some(list) = list.as_array() else {
            return Ok(None);
        };
        let heads: Vec<Option<usize>> = list.iter().map(number).collect();
        let first = heads.first().copied().flatten();
        let doubles = heads.iter().enumerate().all(|(stage, own)| {
            let expected = first.and_then(|first| first.checked_shl(stage as u32));
            *own == expected
        });
        if doubles {
            return Ok(first);
        }
        Err(self.other("the heads of its stages do not double from one to the next"))
    }

    fn other(&self, what: &str) -> Error {
        Error::OtherArithmetic {
            path: self.weights.to_owned(),
            what: what.to_owned(),
        }
    }
}

impl Hints {
    /// The same, completed by what a name like `swin_base_patch4_window7_224` says.
    fn or_of_name(self, name: &str) -> Self {
        let parts: Vec<&str> = name.split(['_', '.', '-']).collect();
        let mut windows = parts.iter().filter_map(|part| part.strip_prefix("window"));
        let window = windows.find_map(Change::read);
        // An image has more than two digits; what follows the size is the set that was trained on.
        let mut sizes = parts.iter().filter_map(|part| Change::read(part));
        let size = sizes.find(|size| (100..10_000).contains(&size.to));
        let learned = match (window, size) {
            (Some(window), Some(size)) => learned_windows(window, size),
            _ => None,
        };
        Self {
            window: self.window.or(window.map(|window| window.to)),
            pretrained_windows: self.pretrained_windows.or(learned),
            image_size: self.image_size.or(size.map(|size| [size.to; 2])),
            ..self
        }
    }
}

/// A number of a name, or two that say what it was before: `12to16`.
#[derive(Debug, Clone, Copy)]
struct Change {
    from: usize,
    to: usize,
}

impl Change {
    fn read(text: &str) -> Option<Self> {
        let (from, to) = text.split_once("to").unwrap_or((text, text));
        // A sign would pass for a part of a number.
        let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let number = |part: &str| part.parse().ok().filter(|_| is_plain(part));
        Some(Self {
            from: number(from)?,
            to: number(to)?,
        })
    }
}

/// The windows of the stages that a published SwinV2 was trained with first; none where it has them still. An early stage has that of the
/// name, the last ones no larger one than the tokens that are left.
///
/// Source: microsoft/Swin-Transformer `configs/swinv2/swinv2_base_patch4_window12to16_192to256_22kto1k_ft.yaml`: 12, 12, 12 and 6.
fn learned_windows(window: Change, size: Change) -> Option<Vec<usize>> {
    let first_stride = 4;
    let side = |stage: usize| window.from.min(size.from / (first_stride << stage)).max(1);
    (window.from != window.to).then(|| (0..N_STAGES).map(side).collect())
}

/// A whole number above 0.
fn number(json: &Value) -> Option<usize> {
    let found = usize::try_from(json.as_u64()?).ok()?;
    (found > 0).then_some(found)
}

fn side_or_sides(json: &Value) -> Option<[usize; 2]> {
    match json {
        Value::Array(list) => sides(list),
        side => number(side).map(|side| [side; 2]),
    }
}

fn sides(list: &[Value]) -> Option<[usize; 2]> {
    match list {
        [height, width] => Some([number(height)?, number(width)?]),
        _ => None,
    }
}

fn numbers(json: &Value) -> Option<Vec<f64>> {
    json.as_array()?.iter().map(Value::as_f64).collect()
}

fn words(json: &Value) -> Option<Vec<String>> {
    let list = json.as_array()?.iter();
    list.map(|word| word.as_str().map(str::to_owned)).collect()
}

/// Names under their numbers, from 0 on without a gap.
fn numbered_names(json: &Value) -> Option<Vec<String>> {
    let map = json.as_object()?;
    let name = |number: usize| map.get(&number.to_string())?.as_str().map(str::to_owned);
    (0..map.len()).map(name).collect()
}

/// The windows that were trained with; zeros stand for those that the model has.
fn windows(json: &Value) -> Option<Vec<usize>> {
    json.as_array()?.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_window_and_image() {
        let of = |name: &str| Hints::default().or_of_name(name);
        let swin = of("swinv2_base_patch4_window12to16_192to256_22kto1k_ft");
        assert_eq!((swin.window, swin.image_size), (Some(16), Some([256; 2])));
        assert_eq!(swin.pretrained_windows, Some(vec![12, 12, 12, 6]));
        let swin = of("swin_tiny_patch4_window7_224.ms_in1k");
        assert_eq!((swin.window, swin.image_size), (Some(7), Some([224; 2])));
        assert_eq!(swin.pretrained_windows, None);
        assert_eq!(of("model"), Hints::default());
    }
}
