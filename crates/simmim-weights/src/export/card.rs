//! The model card: what a model is, where it comes from, and how it is read.

use super::described::{Normalised, normalised};
use super::parts::Parts;
use crate::dialects::Format;
use crate::family::Family;

/// What is known of a model besides its arrays.
#[derive(Debug, Clone, Default)]
pub struct Card {
    /// The licence under which it is given, a name of the Hub's list such as `mit`; none where nobody has said it.
    pub licence: Option<String>,
    /// The recipe that it was trained by, where that is known.
    pub recipe: Option<String>,
    /// Lines on its training, such as steps, figures and the fingerprint of the images.
    pub facts: Vec<String>,
}

impl Card {
    /// The card as Markdown, with a header in YAML. Nothing of it that comes from a file can be read as Markdown or YAML.
    pub(super) fn text(
        &self,
        parts: &Parts<'_>,
        format: Format,
        left_out: &[(String, &'static str)],
    ) -> String {
        let task = if parts.has_head {
            "image-classification"
        } else {
            "image-feature-extraction"
        };
        let library = match format {
            Format::HuggingFace => "transformers",
            Format::Timm => "timm",
            Format::Official | Format::Torchvision | Format::Mmpretrain => "pytorch",
        };
        let licence = quoted(self.licence.as_deref().unwrap_or("unknown"));
        let mut lines = vec![
            "---".to_owned(),
            format!("license: {licence}"),
            format!("library_name: {library}"),
            format!("pipeline_tag: {task}"),
            "tags:\n- simmim\n- masked-image-modeling\n---\n".to_owned(),
            "# A model of simmim\n".to_owned(),
        ];
        if let Some(recipe) = &self.recipe {
            lines.push(format!("Trained by simmim, which pre-trains by masked image modelling (SimMIM, arXiv 2111.09886), with the recipe {}.\n", code(recipe)));
        }
        let of_model = of_model(parts, format);
        let facts = self.facts.iter().chain(&of_model);
        lines.extend(facts.map(|fact| format!("* {}", code(fact))));
        lines.push(format!(
            "\n## How it is read\n\n```python\n{}\n```",
            reading(format)
        ));
        if !left_out.is_empty() {
            lines.push("\n## Left out\n".to_owned());
        }
        let left_out = left_out.iter();
        lines.extend(left_out.map(|(name, reason)| format!("* {}: {reason}", code(name))));
        lines.join("\n") + "\n"
    }
}

/// What every user of the model has to know of it, whatever the library reads.
fn of_model(parts: &Parts<'_>, format: Format) -> Vec<String> {
    let [height, width] = parts.encoder.image_size();
    let family = Family::of_encoder(&parts.encoder);
    let mut facts = vec![format!(
        "{family}, images of {height} x {width} px with {} channels, patches of {} px, features of {}",
        parts.encoder.channels(),
        parts.encoder.patch_px(),
        parts.encoder.features(),
    )];
    if let Ok(Normalised { mean, std }) = normalised(parts, format) {
        facts.push(format!(
            "images of values 0 to 1, less the mean {mean:?}, over the deviation {std:?}"
        ));
    }
    facts
}

fn reading(format: Format) -> &'static str {
    match format {
        Format::HuggingFace => {
            "from transformers import AutoModel\nmodel = AutoModel.from_pretrained(\"THIS_FOLDER\")"
        }
        Format::Timm => {
            "import timm\nmodel = timm.create_model(\"local-dir:THIS_FOLDER\", pretrained=True)"
        }
        Format::Official => {
            "import torch\nstate = torch.load(\"model.pth\", weights_only=True)[\"model\"]\nmodel.load_state_dict(state, strict=False)"
        }
        Format::Torchvision | Format::Mmpretrain => {
            "from safetensors.torch import load_file\nmodel.load_state_dict(load_file(\"model.safetensors\"), strict=False)"
        }
    }
}

/// A text of a file or of a user as one of YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text as one line of code of Markdown.
fn code(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|letter| {
            if letter.is_control() || letter == '`' {
                ' '
            } else {
                letter
            }
        })
        .collect();
    format!("`{plain}`")
}
