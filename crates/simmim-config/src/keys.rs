//! Every key of a configuration: its type, its default and what it means.
//!
//! This file is the only place where a key is named. The struct, its documentation, the list that
//! `simmim recipes keys` prints, the reading and the writing all come from these lines.

use simmim_autograd::{PixelLoss, Precision};
use simmim_data::{Exif, MaskKind, Pages, Shuffle};
use simmim_device::DeviceChoice;
use simmim_model::{DecayRule, InitRule, Pooling, Scope};
use toml::Value;

pub use crate::range::Range;
use crate::setting::{Setting, words, words_of};

/// The maximum of the classes that are told apart.
pub const MAX_CLASSES: usize = 1 << 16;

/// What there is to know of a key without its section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: &'static str,
    /// One sentence on its meaning.
    pub(crate) doc: &'static str,
    /// Whether it is marked `@free`: a run may go on with another value of it, because it does not decide what is computed.
    pub(crate) is_free: bool,
}

/// A section of the configuration, without its type.
pub(crate) trait Section {
    /// Its name in TOML.
    fn name(&self) -> &'static str;

    /// One sentence on what it is about.
    fn about(&self) -> &'static str;

    /// Its keys, in order.
    fn keys(&self) -> &'static [Row];

    /// What the key takes, in words; none for an unknown key.
    fn expected(&self, key: &str) -> Option<String>;

    /// Sets the key; false where there is no such key or the value is not one that it takes.
    fn set(&mut self, key: &str, value: &Value) -> bool;

    /// The value of the key; none where it is not set.
    fn get(&self, key: &str) -> Option<Value>;
}

/// Defines a section: a struct whose fields are the keys, with its defaults. A key with `@free` before its name does not decide
/// what is computed.
macro_rules! section {
    ($(#[doc = $about:literal])+ $name:ident = $section:literal {
        $($(#[doc = $doc:literal])+ $(@$free:ident)? $key:ident: $type:ty = $default:expr,)+
    }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $key: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl Section for $name {
            fn name(&self) -> &'static str {
                $section
            }

            fn about(&self) -> &'static str {
                concat!($($about),+).trim_ascii()
            }

            fn keys(&self) -> &'static [Row] {
                const KEYS: &[Row] = &[$({
                    // Without `@free` the list is empty.
                    const MARKS: &[&str] = &[$(stringify!($free))?];
                    Row {
                        name: stringify!($key),
                        doc: concat!($($doc),+).trim_ascii(),
                        is_free: !MARKS.is_empty(),
                    }
                },)+];
                KEYS
            }

            fn expected(&self, key: &str) -> Option<String> {
                $(if key == stringify!($key) {
                    return Some(<$type as Setting>::expected());
                })+
                None
            }

            fn set(&mut self, key: &str, value: &Value) -> bool {
                $(if key == stringify!($key) {
                    return Setting::from_toml(value).map(|value| self.$key = value).is_some();
                })+
                false
            }

            fn get(&self, key: &str) -> Option<Value> {
                $(if key == stringify!($key) {
                    return self.$key.to_toml();
                })+
                None
            }
        }
    };
}

section! {
    /// The images, and how they are cropped and normalised.
    Data = "data" {
        /// Folder, archive or list of images; relative to the working folder.
        @free path: Option<String> = None,
        /// Patterns that choose among the images of folders and archives, separated by commas: "*.jpg" takes no others, "!*.seg.png" leaves these out, "images/*" is about the path below the source.
        only: Option<String> = None,
        /// Channels of the images: 3 for colour, 1 for grey.
        channels: usize = 3,
        /// Which pages of an image file are read: the first, or all as the channels of one image.
        pages: Pages = Pages::First,
        /// Which values become 0 and 1: the ends of the images' type, the smallest and the largest of the data set, or [low, high]; unset: by type where the images are pictures, that is of 8 bits, or of 16 bits in three channels, and else by data set.
        range: Option<Range> = None,
        /// Size of the crops in pixels: one number, or [height, width].
        image_size: [usize; 2] = [224, 224],
        /// What is done with the EXIF tag by which cameras say which way up a picture is; TIFFs are always turned upright.
        exif: Exif = Exif::Stored,
        /// Which mean and standard deviation normalise the channels: those of ImageNet, or those of this data set.
        normalise: Normalise = Normalise::ImageNet,
        /// Mean of each channel, of values in 0 to 1; with `std`, takes the place of `normalise`.
        mean: Option<Vec<f64>> = None,
        /// Standard deviation of each channel, of values in 0 to 1; with `mean`, takes the place of `normalise`.
        std: Option<Vec<f64>> = None,
        /// Smallest and largest area of a crop, as shares of the image; without effect on a fine-tuning at up to 32 px, where images are shifted by up to 4 px instead, as the authors do.
        crop_scale: [f64; 2] = [0.67, 1.0],
        /// Smallest and largest width of a crop divided by its height.
        crop_ratio: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0],
        /// Whether half of the crops are mirrored left to right.
        flip: bool = true,
        /// Share of the images that is held out for the validation loss; 0 = none.
        held_out: f64 = 0.05,
        /// The most images that are held out.
        held_out_max: usize = 2000,
        /// What an epoch shuffles: all images, or archives, dealt out among the places of a batch, so that each of several processes opens only some.
        shuffle: Shuffle = Shuffle::Images,
        /// Threads that decode images; 0 = as many as the computation has.
        @free workers: usize = 0,
        /// Share of the images that may be unreadable before the run stops; always ten, unless it is 0.
        @free max_bad: f64 = 0.01,
        /// The most pixels that an image may have; larger ones count as unreadable, and pixels of more than 8 bytes count as more.
        max_pixels: usize = 178_956_970,
    }
}

section! {
    /// The encoder.
    Model = "model" {
        /// Name of the geometry; the keys that are left unset below come from it.
        variant: String = "vit-b/16".to_owned(),
        /// Width of a token.
        width: Option<usize> = None,
        /// Number of blocks of a ViT.
        depth: Option<usize> = None,
        /// Number of blocks of each stage of a Swin transformer.
        depths: Option<Vec<usize>> = None,
        /// Attention heads of a block; of a Swin transformer's first stage, each further one has twice as many.
        heads: Option<usize> = None,
        /// Side of the patch that becomes one token, in pixels.
        patch_px: Option<usize> = None,
        /// Side of a Swin transformer's window of attention, in tokens; unset: the usual one of which the image is a whole number.
        window: Option<usize> = None,
        /// Sides of the windows that the position biases of a SwinV2 were trained with, one for each stage; unset: those that it has.
        pretrained_windows: Option<Vec<usize>> = None,
        /// Whether a Swin transformer's patch embedding ends in a layer norm; unset: it does.
        patch_norm: Option<bool> = None,
        /// Width of the hidden layer of a block's MLP, divided by the width of a token.
        mlp_ratio: f64 = 4.0,
        /// How the encoder knows where a token lies; unset: "shared-relative" for a ViT, "relative" for a Swin transformer.
        positions: Option<Positions> = None,
        /// First value of the scale on each residual branch; 0 = no scale; unset: 0.1 for a ViT, none for a Swin transformer.
        layer_scale: Option<f64> = None,
        /// Whether queries and values have a bias; whether keys have one as well is `key_bias`.
        qkv_bias: bool = true,
        /// Whether keys have a bias where queries and values have one; unset: in a Swin transformer of the first version only.
        key_bias: Option<bool> = None,
        /// Whether a ViT has a class token; unset: it has.
        class_token: Option<bool> = None,
        /// Whether a ViT's class token has a vector of absolute positions of its own; unset: it has.
        class_position: Option<bool> = None,
        /// The number that a layer norm adds to a variance before it takes the root; unset: 1e-6 in a ViT, 1e-5 in a Swin transformer.
        norm_eps: Option<f64> = None,
        /// Chance that the last block's residual branches are dropped; it grows from 0 at the first block; unset: 0.1 for a ViT, 0 for a Swin transformer.
        drop_path: Option<f64> = None,
        /// How parameters are first drawn: with a deviation of 0.02; "paper" repeats the authors' truncation at one deviation; "width" multiplies it by the root of 768 / width, which narrow networks learn faster from.
        init: InitRule = InitRule::Standard,
    }
}

section! {
    /// Which part of an image is hidden.
    Mask = "mask" {
        /// The arrangement of the hidden cells.
        kind: MaskKind = MaskKind::Random,
        /// Side of a cell, the unit of masking, in pixels: a whole number of patches.
        cell_px: usize = 32,
        /// Share of the cells that is hidden, rounded up to whole cells.
        ratio: f64 = 0.6,
    }
}

section! {
    /// What is predicted for the hidden part, and how the error is measured.
    Objective = "objective" {
        /// What is predicted.
        target: Target = Target::Pixels,
        /// The measure of the error of pixels; classes are always compared by cross-entropy.
        loss: PixelLoss = PixelLoss::L1,
        /// Which errors count.
        scope: Scope = Scope::Masked,
        /// What stands between the features and the prediction.
        head: Head = Head::Linear,
        /// Side of the square of pixels of which the mean is one pixel of the target; 1 = full resolution.
        target_px: usize = 1,
        /// Side of the window over which the target is normalised, in pixels, odd; 0 = not normalised. For "pixels".
        norm_target: usize = 0,
        /// Classes of each channel, for "bins".
        bins: usize = 8,
        /// Colours that are told apart, for "clusters".
        clusters: usize = 512,
        /// Safetensors file with the codewords of "tokens", or of "clusters" that were found before: a matrix, one codeword a row.
        codebook: Option<String> = None,
    }
}

section! {
    /// What an encoder is put to use with: labels, and how the training images are varied.
    FineTune = "finetune" {
        /// Run folder or checkpoint that the encoder comes from; unset: from scratch.
        @free from: Option<String> = None,
        /// Whether the encoder of `from` comes with its weights, or with its geometry alone to start from scratch.
        weights: bool = true,
        /// How the features of an image become one vector: their mean, what learned queries attend to ("attentive"), or what a ViT's class token has become ("token").
        pool: Pooling = Pooling::Mean,
        /// Share of the training images of each class that is trained on, at least one of each.
        labels: f64 = 1.0,
        /// Seed of the choice of that share.
        labels_seed: u64 = 0,
        /// Seed of the choice of the held-out images, where the source does not divide them; unset: `train.seed`.
        split_seed: Option<u64> = None,
        /// The most classes that labels may have; unset: 30000, and one for every two images, as more are likely a mistake.
        @free max_classes: Option<usize> = None,
        /// Factor of the learning rate from each block to the one before it; 1 = the same for all.
        layer_decay: f64 = 0.8,
        /// Share of the target that is spread over all classes.
        smoothing: f64 = 0.1,
        /// How strongly pairs of images are faded together: both parameters of the Beta distribution of the share; 0 = not at all.
        mixup: f64 = 0.8,
        /// How large the rectangles are that images paste into each other, in the same way; 0 = not at all.
        cutmix: f64 = 1.0,
        /// Share of the batches that are mixed.
        mix_share: f64 = 1.0,
        /// Share of the mixed batches that paste, where both ways are on.
        mix_switch: f64 = 0.5,
        /// Distortions of the training images in timm's notation; "none" = none.
        rand_augment: String = "rand-m9-mstd0.5-inc1".to_owned(),
        /// Chance that a rectangle of a training image is erased.
        erase: f64 = 0.25,
        /// Weights of the classes in the loss.
        class_weights: ClassWeights = ClassWeights::None,
        /// Decay of a running average of the weights, which is then what is validated and kept as best; 0 = no average.
        ema: f64 = 0.0,
        /// Validations after which the run ends where none had a better accuracy, or the same one at a lower loss; 0 = it runs to its end.
        patience: usize = 0,
    }
}

section! {
    /// The optimiser, its schedule, and what is written when.
    Train = "train" {
        /// What a pre-training begins with: a run folder, or a file or folder of weights of this program or another; unset: random weights. A fine-tuning has `finetune.from`.
        @free from: Option<String> = None,
        /// Whose names the arrays of the file to begin with have; unset: those that explain most of them.
        @free from_format: Option<String> = None,
        /// Patterns of parameters that may begin at random where that file lacks them, separated by commas.
        @free allow_missing: Option<String> = None,
        /// Patterns of arrays of that file that may be left out though nothing explains them, separated by commas.
        @free allow_unexpected: Option<String> = None,
        /// Passes over the training images.
        epochs: usize = 100,
        /// Images of one optimiser step.
        batch_size: usize = 128,
        /// Parts into which the batch is cut, one after the other in memory; the result is the same, but for `finetune.mixup` and `finetune.cutmix`, which pair the images of a part.
        accumulation: usize = 1,
        /// Learning rate at its highest, for 512 images a step; it is multiplied by `batch_size` / 512.
        base_lr: f64 = 2e-4,
        /// Learning rate of the first step, for 512 images a step.
        warmup_lr: f64 = 1e-6,
        /// Learning rate at the end of a cosine schedule, for 512 images a step.
        min_lr: f64 = 1e-5,
        /// Length of the linear rise from `warmup_lr` to `base_lr`, in epochs; may be a fraction. Longer than the run, it becomes a twentieth of it.
        warmup_epochs: f64 = 10.0,
        /// How the learning rate falls: "cosine" counts from the first step, "cosine-prefix" from the end of the warm-up.
        schedule: Schedule = Schedule::Cosine,
        /// Epochs at which the "multistep" schedule multiplies the learning rate by `gamma`.
        milestones: Vec<usize> = vec![700],
        /// Factor of the "step" and "multistep" schedules.
        gamma: f64 = 0.1,
        /// Epochs between two falls of the "step" schedule.
        step_epochs: usize = 30,
        /// The optimiser.
        optimiser: Optimiser = Optimiser::AdamW,
        /// Decoupled weight decay.
        weight_decay: f64 = 0.05,
        /// Decay rates of the optimiser's averages of the gradient and of its square.
        betas: [f64; 2] = [0.9, 0.999],
        /// Added to the root of the average square, against division by zero.
        eps: f64 = 1e-8,
        /// Largest norm of the gradient of all parameters together; 0 = not limited.
        clip_norm: f64 = 5.0,
        /// Which parameters decay: "paper" also decays the mask token and the position tables, as the authors' code does.
        decay_rule: DecayRule = DecayRule::Standard,
        /// Precision of the matrix products.
        precision: Precision = Precision::F32,
        /// Whether a GPU rounds the operands of fp32 products to TF32 (10 bits of the fraction): several times faster, close to bf16's error. The cores do not.
        tf32: bool = false,
        /// Whether activations are computed again in the backward pass: less memory, about a third more time.
        checkpointing: bool = false,
        /// Seed of every random decision.
        seed: u64 = 0,
        /// What computes: "cpu", "cuda" (a GPU of NVIDIA's; not yet run on a real GPU) or "cuda:1" (the second one); "auto" = the cores, as long as that is so.
        @free device: DeviceChoice = DeviceChoice::Auto,
        /// Threads of the computation; 0 = one for each core, of which the processes of one training on a machine (mpirun, srun) each take their share.
        threads: usize = 0,
        /// As what gradients travel between the processes of one training (mpirun, srun): "bf16" halves the bytes, and rounds what is summed.
        reduce_precision: Precision = Precision::F32,
        /// Megabytes of gradients that travel together between these processes, while the backward pass still runs.
        @free bucket_mb: usize = 25,
        /// Seconds that one of these processes waits for the others before it ends the run.
        @free rank_timeout_secs: usize = 600,
        /// Optimiser steps after which the run ends; 0 = by `epochs`.
        max_steps: usize = 0,
        /// The fewest optimiser steps of a run: where `epochs` gives fewer, epochs, warm-up and the time between two validations and two checkpoints are multiplied by a whole number. So one recipe serves few images and many; 0 = by `epochs` alone.
        min_steps: usize = 0,
        /// Epochs between two checkpoints.
        @free save_every_epochs: usize = 1,
        /// Minutes of training after which a checkpoint is written in any case; 0 = only by epochs.
        @free save_every_minutes: f64 = 15.0,
        /// Newest checkpoints that are kept while the run goes on; 0 = all.
        @free keep: usize = 3,
        /// Newest checkpoints that are kept once all steps are done, beside the best weights; 0 = all.
        @free keep_at_end: usize = 1,
        /// Whether the last checkpoint keeps the optimiser's state once all steps are done: two thirds of the file, which nothing reads any more, since a finished run cannot be made longer.
        @free state_at_end: bool = true,
        /// Epochs between two validations on the held-out images; 0 = never.
        validate_every_epochs: usize = 1,
        /// Held-out images in the picture of reconstructions; 0 = no picture.
        @free pictures: usize = 8,
    }
}

words! {
    /// Source of the mean and the standard deviation of the channels.
    Normalise {
        /// The published values for ImageNet: mean .485, .456, .406; standard deviation .229, .224, .225.
        ImageNet = "imagenet",
        /// Measured on the training images.
        Dataset = "dataset",
    }
}

words! {
    /// How an encoder knows where a token lies.
    Positions {
        /// One table of relative position biases for all blocks.
        SharedRelative = "shared-relative",
        /// A table of relative position biases for each block.
        Relative = "relative",
        /// A learned vector added to each token.
        Absolute = "absolute",
        /// Both: a table for each block and a vector for each token.
        RelativeAbsolute = "relative-absolute",
        /// Not at all.
        None = "none",
    }
}

words! {
    /// What is predicted for a hidden patch.
    Target {
        /// Its normalised pixels.
        Pixels = "pixels",
        /// In which of some equal ranges each channel of each pixel lies.
        Bins = "bins",
        /// Which of the data set's most typical colours is nearest to each pixel.
        Clusters = "clusters",
        /// Which codeword of a file is nearest to each square of pixels.
        Tokens = "tokens",
    }
}

words! {
    /// What stands between the features and the prediction.
    Head {
        /// One linear layer.
        Linear = "linear",
        /// Two linear layers with a GELU between them.
        Mlp = "mlp",
        /// A Swin-T upside down.
        InverseSwinT = "inverse-swin-t",
        /// A Swin-B upside down.
        InverseSwinB = "inverse-swin-b",
    }
}

words! {
    /// Weights of the classes in the loss.
    ClassWeights {
        /// The same for all.
        None = "none",
        /// Inverse to how often a class occurs among the training images.
        Balanced = "balanced",
    }
}

words! {
    /// How the learning rate falls after the warm-up.
    Schedule {
        /// Half a cosine over all steps: at the end of the warm-up it has already fallen a little.
        Cosine = "cosine",
        /// Half a cosine over the steps after the warm-up.
        CosinePrefix = "cosine-prefix",
        /// A straight line.
        Linear = "linear",
        /// By `gamma` every `step_epochs`.
        Step = "step",
        /// By `gamma` at each of the `milestones`.
        Multistep = "multistep",
    }
}

words! {
    /// The optimiser.
    Optimiser {
        /// Adam with decoupled weight decay.
        AdamW = "adamw",
    }
}

words_of! { Shuffle { Images = "images", Shards = "shards" } }
words_of! {
    InitRule { Standard = "standard", Paper = "paper", Width = "width" }
}

words_of! {
    Exif { Stored = "stored", Upright = "upright" }
}

words_of! {
    MaskKind { Random = "random", Square = "square", Blockwise = "blockwise" }
}

words_of! {
    Pages { First = "first", Channels = "channels" }
}

words_of! {
    PixelLoss { L1 = "l1", L2 = "l2", SmoothL1 = "smooth-l1" }
}

words_of! {
    Scope { Masked = "masked", Full = "full" }
}

words_of! {
    DecayRule { Standard = "standard", Paper = "paper" }
}

words_of! {
    Pooling { Mean = "mean", Attentive = "attentive", ClassToken = "token" }
}

words_of! {
    Precision { F32 = "fp32", Bf16 = "bf16" }
}
