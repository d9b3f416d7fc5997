use super::*;
use crate::layer::Layer;

const WRONG_TARGETS: [&str; 6] = [
    "objective.target_px=0",
    "objective.target_px=100000",
    "objective.bins=1",
    "objective.clusters=1",
    "objective.clusters=5000",
    "objective.codebook=book.safetensors",
];

/// Of what several processes need.
const WRONG_RANKS: [&str; 3] = [
    "train.bucket_mb=0",
    "train.bucket_mb=1025",
    "train.rank_timeout_secs=0",
];

#[test]
fn every_value_out_of_range_is_refused_by_the_name_of_its_key() {
    let wrong = [
        "data.channels=0",
        "data.image_size=0",
        "data.image_size=[224, 0]",
        "data.crop_scale=[0.0, 1.0]",
        "data.crop_scale=[0.9, 0.5]",
        "data.crop_scale=[0.5, 1.5]",
        "data.crop_ratio=[0.0, 1.0]",
        "data.crop_ratio=[1.0, inf]",
        "data.held_out=1.0",
        "data.held_out=-0.1",
        "data.held_out=nan",
        "data.max_bad=1.5",
        "data.max_pixels=0",
        "data.range=[4095, 0]",
        "data.range=[0, inf]",
        "data.mean=[0.5, 0.5, 0.5]",
        "data.std=[0.5, 0.5, 0.5]",
        "model.width=0",
        "model.depth=0",
        "model.heads=0",
        "model.patch_px=0",
        "model.window=0",
        "model.mlp_ratio=0",
        "model.layer_scale=-1",
        "model.drop_path=1",
        "mask.cell_px=0",
        "mask.ratio=0",
        "mask.ratio=1.01",
        "objective.norm_target=1",
        "objective.norm_target=8",
        "train.epochs=0",
        "train.batch_size=0",
        "train.accumulation=0",
        "train.accumulation=3",
        "train.base_lr=inf",
        "train.base_lr=-1e-4",
        "train.warmup_lr=nan",
        "train.min_lr=-1",
        "train.weight_decay=-0.1",
        "train.clip_norm=-5",
        "train.betas=[0.9, 1.0]",
        "train.eps=0",
        "train.warmup_epochs=inf",
        "train.warmup_epochs=-1",
        "train.gamma=-1",
        "train.step_epochs=0",
        "train.milestones=[5, 5]",
        "train.save_every_epochs=0",
        "train.save_every_minutes=-1",
    ];
    for assignment in wrong.into_iter().chain(WRONG_TARGETS).chain(WRONG_RANKS) {
        let layer = Layer::set(assignment).unwrap();
        let error = RawConfig::from_layers(&[layer]).unwrap_err();
        let named = assignment.split('=').next().unwrap();
        assert!(
            matches!(&error, Error::Range { key, .. } if *key == named),
            "{assignment}: {error}"
        );
    }
}

#[test]
fn the_ends_of_the_ranges_are_allowed() {
    let right = [
        "mask.ratio=1",
        "data.held_out=0",
        "data.max_bad=1",
        "objective.norm_target=47",
        "train.base_lr=0",
        "train.clip_norm=0",
        "train.warmup_epochs=100",
        "train.warmup_epochs=0.5",
        "model.layer_scale=0",
        "train.milestones=[]",
        "train.accumulation=128",
        "train.bucket_mb=1024",
        "train.rank_timeout_secs=1",
    ];
    for assignment in right {
        let layer = Layer::set(assignment).unwrap();
        assert!(RawConfig::from_layers(&[layer]).is_ok(), "{assignment}");
    }
}

#[test]
fn what_a_target_has_no_use_for_is_refused() {
    let read = |text: &str| {
        let text = format!("[objective]\n{text}");
        RawConfig::from_layers(&[Layer::text("test", &text).unwrap()])
    };
    let error = |text: &str| read(text).unwrap_err().to_string();
    assert_eq!(
        error("target = 'bins'\nloss = 'l2'"),
        "`objective.loss` is \"l2\", allowed: unset for the target \"bins\": classes are compared by cross-entropy"
    );
    assert!(error("target = 'clusters'\nnorm_target = 47").contains("only pixels"));
    assert!(error("target = 'tokens'").contains("`objective.codebook` is not set"));
    assert!(error("target = 'bins'\ncodebook = 'a'").contains("unset for the target"));
    for fine in [
        "target = 'bins'\nloss = 'l1'\nbins = 256",
        "target = 'clusters'\ncodebook = 'a'",
        "target = 'tokens'\ncodebook = 'a'",
        "loss = 'smooth-l1'\nscope = 'full'\nhead = 'mlp'\ntarget_px = 32",
    ] {
        assert!(read(fine).is_ok(), "{fine}");
    }
}

#[test]
fn grey_images_need_statistics_of_their_own() {
    let read = |text: &str| RawConfig::from_layers(&[Layer::text("test", text).unwrap()]);
    let error = read("[data]\nchannels = 1").unwrap_err().to_string();
    assert_eq!(
        error,
        "`data.normalise` is \"imagenet\", allowed: \"dataset\", or data.mean and data.std, for images of 1 channels"
    );
    assert!(read("[data]\nchannels = 1\nnormalise = 'dataset'").is_ok());
    assert!(read("[data]\nchannels = 1\nmean = [0.5]\nstd = [0.2]").is_ok());
    assert!(read("[data]\nchannels = 1\nmean = [0.5]\nstd = [0.0]").is_err());
    assert!(read("[data]\nmean = [0.5]\nstd = [0.2]").is_err());
}

#[test]
fn a_multistep_schedule_does_not_fall_within_the_warm_up() {
    let read = |text: &str| RawConfig::from_layers(&[Layer::text("test", text).unwrap()]);
    assert!(read("[train]\nschedule = 'multistep'\nmilestones = [5]").is_err());
    assert!(read("[train]\nschedule = 'multistep'\nmilestones = []").is_err());
    assert!(read("[train]\nschedule = 'multistep'\nmilestones = [10, 50]").is_ok());
}
