//! The file beside an image that states its label, as WebDataset has it.

use serde_json::{Value, json};
use simmim_data::{Part, Said};

/// What such a file holds.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct LabelFile {
    pub(crate) ending: &'static str,
    pub(crate) text: String,
}

impl LabelFile {
    /// The one for what a source says, where it says something that can be used.
    pub(crate) fn of(said: &Said) -> Option<Self> {
        let (ending, text) = match said {
            Said::Nothing | Said::Unusable(_) => return None,
            Said::Cls(label) => ("cls", label.clone()),
            Said::Json(labels) => ("json", in_json(labels).to_string()),
            Said::Row {
                labels,
                is_multi,
                part,
            } => match (labels.as_slice(), is_multi) {
                ([label], false) if !label.contains(char::is_control) => ("cls", label.clone()),
                _ => ("json", with_part(in_json(labels), *part).to_string()),
            },
        };
        Some(Self { ending, text })
    }
}

fn in_json(labels: &[String]) -> Value {
    match labels {
        [label] => json!({ "label": label }),
        labels => json!({ "labels": labels }),
    }
}

fn with_part(mut value: Value, part: Option<Part>) -> Value {
    if let Some(part) = part {
        value["split"] = part_name(part).into();
    }
    value
}

/// A part as tables name it.
pub(crate) fn part_name(part: Part) -> &'static str {
    match part {
        Part::Train => "train",
        Part::HeldOut => "val",
        Part::Test => "test",
    }
}
