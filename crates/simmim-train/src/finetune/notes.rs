//! What the user of a fine-tuning is told before its first step.

use simmim_config::RawConfig;
use simmim_config::keys::Data;
use simmim_data::{LabelledSet, Remark};

/// Samples of up to this side are shifted rather than cropped.
///
/// Source: microsoft/SimMIM `data/data_finetune.py`, `build_transform`.
const SHIFTED_PX: usize = 32;
/// The areas of crops in the recipes of fine-tuning: the user did not ask for them.
const CROPS_OF_RECIPES: [f64; 2] = [0.08, 1.0];

/// Classes, training images and held-out images. `counts` are the training images of each class.
pub(super) fn of_images(set: &LabelledSet, counts: &[usize]) -> Vec<String> {
    let n_classes = counts.len();
    let (min, max) = (counts.iter().min(), counts.iter().max());
    let (min, max) = (min.unwrap_or(&0), max.unwrap_or(&0));
    let each = if min == max {
        format!("{max} training images each")
    } else {
        format!("{min} to {max} training images each")
    };
    let held_out = if set.divided_by_source() {
        "held-out images are those of the source"
    } else {
        "held-out images are a share of each class"
    };
    let mut notes = vec![format!("{n_classes} classes of {each}; {held_out}")];
    notes.extend(set.remarks().iter().map(|remark| match remark {
        Remark::TestUnused { .. } => format!(
            "{remark}, for `simmim evaluate`: the best weights are chosen on the held-out images"
        ),
        _ => remark.to_string(),
    }));
    notes
}

/// Settings that do not do what their names say.
pub(super) fn of_settings(config: &RawConfig) -> Vec<String> {
    let (data, train, finetune) = (&config.data, &config.train, config.of_fine_tuning());
    let mut notes = Vec::new();
    let is_asked = ![CROPS_OF_RECIPES, Data::default().crop_scale].contains(&data.crop_scale);
    if is_asked && data.image_size.iter().all(|side| *side <= SHIFTED_PX) {
        notes.push(format!(
            "`data.crop_scale` has no effect on images of up to {SHIFTED_PX} px: they are shifted by up to 4 px instead, as \
             the authors do"
        ));
    }
    let mixes = finetune.mix_share > 0.0 && (finetune.mixup > 0.0 || finetune.cutmix > 0.0);
    if mixes && train.batch_size == train.accumulation {
        notes.push(
            "each part of a batch is one image, which has no other to be mixed with: lower `train.accumulation` for Mixup \
             and CutMix, or set both to 0"
                .to_owned(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use simmim_config::Layer;

    fn notes(changes: &[&str]) -> Vec<String> {
        let layers = changes.iter().map(|text| Layer::set(text).unwrap());
        let layers: Vec<Layer> = layers.collect();
        of_settings(&RawConfig::from_fine_tuning(&layers).unwrap())
    }

    #[test]
    fn crops_that_were_asked_for_and_have_no_effect_are_noted() {
        let small = "data.image_size=32";
        let found = notes(&[small, "data.crop_scale=[0.5, 1.0]"]);
        assert!(found[0].contains("`data.crop_scale` has no effect"));
        assert!(notes(&[small]).is_empty());
        assert!(notes(&[small, "data.crop_scale=[0.08, 1.0]"]).is_empty());
        assert!(notes(&["data.image_size=48", "data.crop_scale=[0.5, 1.0]"]).is_empty());
    }

    #[test]
    fn parts_of_one_image_which_do_not_mix_are_noted() {
        let parts = ["train.batch_size=8", "train.accumulation=8"];
        assert!(notes(&parts)[0].contains("no other to be mixed with"));
        let unmixed = ["finetune.mixup=0", "finetune.cutmix=0"];
        assert!(notes(&[parts, unmixed].concat()).is_empty());
        assert!(notes(&["train.batch_size=8", "train.accumulation=4"]).is_empty());
    }
}
