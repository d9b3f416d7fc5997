//! What a frozen encoder makes of images: one vector an image.

use std::fmt::{self, Display};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use simmim_autograd::{Device, Parameters, Precision, Tape, Tensor, Var};
use simmim_collective::Collective;
use simmim_config::RawConfig;
use simmim_data::{Batch, BatchPlan, DataSet, LabelledSet, Loader, Pass, Reporter, Split, Views};
use simmim_model::Encoder;
use simmim_train::{checkpoint, source};
use simmim_weights::Options;

use crate::baselines::pixels::PixelViews;
use crate::error::Error;
use crate::fine_tuned::FineTuned;
use crate::foreign::Foreign;
use crate::knn::Labelled;
use crate::opened::{Opened, fingerprint};
use crate::trained::Trained;
use crate::walk::Walk;

/// How the tokens of an image become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The mean of the patch tokens.
    Mean,
    /// The class token of a vision transformer.
    ClassToken,
}

/// Which vector of an image is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The block, counted from 1; none: the encoder's output, behind its last norm where it has one.
    pub block: Option<usize>,
    /// How its tokens become one vector.
    pub pool: Pool,
}

impl Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.block {
            Some(block) => write!(f, "block {block}")?,
            None => f.write_str("output")?,
        }
        f.write_str(match self.pool {
            Pool::Mean => ", mean",
            Pool::ClassToken => ", class token",
        })
    }
}

/// Labelled images whose features are wanted. Each image has a label or more.
#[derive(Debug, Clone, Copy)]
pub struct LabelledImages<'a> {
    /// The images.
    pub set: &'a LabelledSet,
    /// Collects those that cannot be read.
    pub reporter: &'a Arc<Reporter>,
    /// Images that are looked at together; the result is the same, to the bit where products are our own (AVX-512 BF16, AMX).
    pub batch_size: usize,
}

/// Features with labels, divided as their images are.
#[derive(Debug, Clone, Default)]
pub struct LabelledFeatures {
    /// Of the images to train on.
    pub train: Labelled,
    /// Of the images held out.
    pub queries: Labelled,
}

/// A frozen encoder, of a pre-training or a fine-tuning. It computes in f32 whatever it was trained in.
#[derive(Debug)]
pub struct Extractor {
    source: Source,
    /// Of each block's tokens, and of the output's.
    shapes: Vec<TokenShape>,
}

/// A feature that the encoder has.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    choice: Choice,
    /// D.
    width: usize,
}

#[derive(Debug, Clone, Copy)]
struct TokenShape {
    n_tokens: usize,
    width: usize,
}

#[derive(Debug)]
enum Source {
    Pretrained(Box<Trained>),
    FineTuned(Box<FineTuned>),
    Foreign(Box<Foreign>),
}

impl Extractor {
    /// Reads the encoder of a run folder (its best weights, or its last where none are best) or of a checkpoint.
    ///
    /// # Errors
    /// Those of [`Trained::open`] and [`FineTuned::open`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with(path, &Options::default())
    }

    /// As [`Extractor::open`], also of a file or folder of another program.
    ///
    /// # Errors
    /// As there, and [`Error::Train`] for weights that cannot be used.
    pub fn open_with(path: &Path, options: &Options) -> Result<Self, Error> {
        if let Some(weights) = source::foreign(path, options)? {
            let foreign = Foreign::new(&weights, options)?;
            return Ok(Self::measured(Source::Foreign(Box::new(foreign))));
        }
        // The checkpoint is opened twice: once to learn of which kind it is, and once by that kind.
        let (_, origin) = checkpoint::open_own(path, None)?;
        let is_fine_tuned = origin.config.finetune.is_some();
        let source = if is_fine_tuned {
            Source::FineTuned(Box::new(FineTuned::open_in(path, Some(Precision::F32))?))
        } else {
            Source::Pretrained(Box::new(Trained::open_in(path, Some(Precision::F32))?))
        };
        Ok(Self::measured(source))
    }

    fn measured(source: Source) -> Self {
        // Only a pass tells the widths: a Swin transformer's blocks widen from stage to stage.
        let mut extractor = Self {
            source,
            shapes: Vec::new(),
        };
        extractor.shapes = extractor.measured_shapes();
        extractor
    }

    /// The number of patch tokens and the width of each block and, last, of the output, from one blank image.
    fn measured_shapes(&self) -> Vec<TokenShape> {
        let [channels, height, width] = self.image_shape();
        let parameters = self.parameters();
        let shape = [1, channels, height, width];
        let blank = Tensor::from_slice(
            parameters.device(),
            &shape,
            &vec![0.0; channels * height * width],
        );
        let mut tape = Tape::inference(parameters);
        let tokens = self.encoder().embed(&mut tape, &blank);
        let shape = |x: &Var, n_class: usize| TokenShape {
            n_tokens: x.shape()[1] - n_class,
            width: x.tensor().width(),
        };
        let (mut shapes, n_class) = (Vec::new(), self.encoder().class_tokens());
        let seen = &mut |x: &Var| shapes.push(shape(x, n_class));
        let output = self.encoder().encode_seen(&mut tape, tokens, seen);
        // Behind the last norm an encoder hands out patch tokens alone.
        shapes.push(shape(&output, 0));
        shapes
    }

    /// The same, which looks at images together with other processes. All of them call the same in the same order, with the
    /// same weights and images; what comes of it is on rank 0.
    #[must_use]
    pub fn among(mut self, ranks: Arc<dyn Collective>) -> Self {
        let opened = match &mut self.source {
            Source::Pretrained(trained) => trained.opened_mut(),
            Source::FineTuned(tuned) => tuned.opened_mut(),
            Source::Foreign(foreign) => foreign.opened_mut(),
        };
        opened.ranks = ranks;
        self
    }

    /// The processes that look at images together.
    pub(crate) fn ranks(&self) -> &Arc<dyn Collective> {
        &self.opened().ranks
    }

    /// A number that stands for its weights.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(self.parameters())
    }

    /// The file that the weights are from.
    pub fn file(&self) -> &Path {
        &self.opened().file
    }

    /// That file and, where another program wrote it, what it holds.
    pub fn shown(&self) -> String {
        self.opened().shown()
    }

    /// The configuration that it was trained by.
    pub fn config(&self) -> &RawConfig {
        match &self.source {
            Source::Pretrained(trained) => trained.plan().config(),
            Source::FineTuned(tuned) => tuned.plan().config(),
            Source::Foreign(foreign) => foreign.opened().config(),
        }
    }

    /// What it computes on.
    pub(crate) fn device(&self) -> &Arc<dyn Device> {
        self.parameters().device()
    }

    fn encoder(&self) -> &dyn Encoder {
        match &self.source {
            Source::Pretrained(trained) => trained.network().model().encoder(),
            Source::FineTuned(tuned) => tuned.network().model().encoder(),
            Source::Foreign(foreign) => foreign.encoder(),
        }
    }

    fn parameters(&self) -> &Parameters {
        match &self.source {
            Source::Pretrained(trained) => trained.network().parameters(),
            Source::FineTuned(tuned) => tuned.network().parameters(),
            Source::Foreign(foreign) => foreign.parameters(),
        }
    }

    fn image_shape(&self) -> [usize; 3] {
        let data = &self.config().data;
        [data.channels, data.image_size[0], data.image_size[1]]
    }

    /// How many blocks it has.
    pub fn n_blocks(&self) -> usize {
        self.shapes.len() - 1
    }

    /// Proves that an encoder of this kind has what is chosen; returns its width.
    ///
    /// # Errors
    /// [`Error::NoFeature`].
    pub fn width_of(&self, choice: Choice) -> Result<usize, Error> {
        let missing = |what: String, has: String| Error::NoFeature { what, has };
        if choice.pool == Pool::ClassToken && self.encoder().class_tokens() == 0 {
            let has = "a Swin transformer has none: take the mean".to_owned();
            return Err(missing("class token".to_owned(), has));
        }
        Ok(self.shape_of(choice.block)?.width)
    }

    /// How many patch tokens there are of which [`Choice::block`] says.
    ///
    /// # Errors
    /// [`Error::NoFeature`].
    pub(crate) fn n_tokens(&self, choice: Choice) -> Result<usize, Error> {
        Ok(self.shape_of(choice.block)?.n_tokens)
    }

    fn shape_of(&self, block: Option<usize>) -> Result<TokenShape, Error> {
        let (output, blocks) = self.shapes.split_last().expect("an encoder has an output");
        let Some(block) = block else {
            return Ok(*output);
        };
        // Users count blocks from 1, and 0 is no block.
        let shape = block.checked_sub(1).and_then(|idx| blocks.get(idx));
        shape.copied().ok_or_else(|| Error::NoFeature {
            what: format!("block {block}"),
            has: format!("it has the blocks 1 to {}", self.n_blocks()),
        })
    }

    /// The patch tokens of each image of a batch, of the block or the output that is chosen.
    ///
    /// # Shapes
    /// The result `[B, L, D]`, L that of [`Extractor::n_tokens`], D that of [`Extractor::width_of`].
    pub(crate) fn tokens(&self, batch: &Batch, choice: Choice) -> Vec<f32> {
        let encoder = self.encoder();
        let mut tape = Tape::inference(self.parameters());
        let tokens = encoder.embed(&mut tape, &self.images(batch));
        let (mut number, mut found) = (0, Vec::new());
        let output = encoder.encode_seen(&mut tape, tokens, &mut |x| {
            number += 1;
            if choice.block == Some(number) {
                let n_skipped = encoder.class_tokens() * x.tensor().width();
                let per_image = x.tensor().len() / batch.len();
                let all = x.tensor().to_vec();
                let of_patches = all.chunks(per_image).flat_map(|image| &image[n_skipped..]);
                found = of_patches.copied().collect();
            }
        });
        if choice.block.is_none() {
            found = output.tensor().to_vec();
        }
        found
    }

    /// How much some patches of each image attend to each of its patches in the last block, as the mean of the heads. What goes to a class
    /// token is left out.
    ///
    /// # Shapes
    /// `queries` are Q of the L patches of [`Extractor::grid_of_features`]; the result `[B, Q, L]`.
    pub(crate) fn attention(&self, batch: &Batch, queries: Range<usize>) -> Vec<f32> {
        let encoder = self.encoder();
        let mut tape = Tape::inference(self.parameters()).watching_attention();
        let tokens = encoder.embed(&mut tape, &self.images(batch));
        encoder.encode(&mut tape, tokens);
        let seen = tape.take_attention().expect("an encoder has a block");
        let (n_class, [rows, columns]) = (encoder.class_tokens(), self.grid_of_features());
        let weights = seen.weights(n_class + queries.start..n_class + queries.end);
        let rows = weights.chunks(n_class + rows * columns);
        rows.flat_map(|row| &row[n_class..]).copied().collect()
    }

    /// Some images of a labelled set in order, all of them on this process, as the encoder is to see them: resized and cropped at the centre.
    ///
    /// # Errors
    /// [`Error::Data`] where there is nothing to read.
    pub(crate) fn chosen_images(
        &self,
        images: &LabelledImages<'_>,
        chosen: Vec<usize>,
    ) -> Result<Loader, Error> {
        let (views, opened) = (self.views()?, self.opened());
        let (split, settings) = (Split::to_look_at(chosen), opened.batches(images.batch_size));
        let reporter = Arc::clone(images.reporter);
        let batches = BatchPlan::labelled(images.set, views, split, settings, reporter)?;
        let n_workers = opened.config().n_workers();
        Ok(Loader::start(Arc::new(batches), Pass::HeldOut, n_workers)?)
    }

    /// One vector for each image of a batch. No value depends on which other images are in the batch.
    ///
    /// # Shapes
    /// The result `[B, D]`, D that of [`Extractor::width_of`].
    ///
    /// # Panics
    /// When there is no such feature: [`Extractor::width_of`] proves that there is.
    pub fn features(&self, batch: &Batch, choice: Choice) -> Vec<f32> {
        let encoder = self.encoder();
        let mut tape = Tape::inference(self.parameters());
        let tokens = encoder.embed(&mut tape, &self.images(batch));
        let (mut number, mut found) = (0, Vec::new());
        // The class token of the output is that of the last block.
        let wanted = match (choice.block, choice.pool) {
            (None, Pool::ClassToken) => Some(self.n_blocks()),
            (block, _) => block,
        };
        let output = encoder.encode_seen(&mut tape, tokens, &mut |x| {
            number += 1;
            if wanted == Some(number) {
                found = pooled(x.tensor(), encoder.class_tokens(), choice.pool);
            }
        });
        // Behind the last norm an encoder hands out patch tokens alone.
        if wanted.is_none() {
            found = pooled(output.tensor(), 0, Pool::Mean);
        }
        found
    }

    /// Every feature that the encoder has, the first block's first, the output's last.
    pub fn choices(&self) -> Vec<Choice> {
        let pools: &[Pool] = match self.encoder().class_tokens() {
            0 => &[Pool::Mean],
            _ => &[Pool::Mean, Pool::ClassToken],
        };
        let blocks = (1..=self.n_blocks()).map(Some);
        let of_blocks = blocks.flat_map(|block| pools.iter().map(move |pool| (block, *pool)));
        let all = of_blocks.chain([(None, Pool::Mean)]);
        all.map(|(block, pool)| Choice { block, pool }).collect()
    }

    /// All of [`Extractor::choices`] at once, for the price of one.
    ///
    /// # Shapes
    /// For each choice `[B, D]`, D that of [`Extractor::width_of`].
    pub fn all(&self, batch: &Batch) -> Vec<Vec<f32>> {
        let encoder = self.encoder();
        let n_class = encoder.class_tokens();
        let mut tape = Tape::inference(self.parameters());
        let tokens = encoder.embed(&mut tape, &self.images(batch));
        let mut found = Vec::new();
        let output = encoder.encode_seen(&mut tape, tokens, &mut |x| {
            found.push(pooled(x.tensor(), n_class, Pool::Mean));
            if n_class > 0 {
                found.push(pooled(x.tensor(), n_class, Pool::ClassToken));
            }
        });
        found.push(pooled(output.tensor(), 0, Pool::Mean));
        found
    }

    /// The features of labelled images that can be read, with the first label of each: of those to train on, and of those held
    /// out; none on other ranks than the first. `seen` is told after each batch how many images are done.
    ///
    /// # Errors
    /// [`Error::NoFeature`]; [`Error::Data`] for too many unreadable images.
    pub fn labelled(
        &self,
        images: &LabelledImages<'_>,
        choice: Choice,
        seen: &mut dyn FnMut(usize),
    ) -> Result<LabelledFeatures, Error> {
        let width = self.width_of(choice)?;
        let mut walk = self.all_images(images.set.data(), images.reporter, images.batch_size)?;
        let own = self.labelled_of(&mut walk, images.set, Wanted { choice, width }, seen);
        walk.finish(own)
    }

    fn labelled_of(
        &self,
        walk: &mut Walk,
        set: &LabelledSet,
        Wanted { choice, width }: Wanted,
        seen: &mut dyn FnMut(usize),
    ) -> Result<LabelledFeatures, Error> {
        let (labels, split) = (set.labels(), set.split());
        let (mut found, mut n_done) = (LabelledFeatures::default(), 0);
        while let Some(part) = walk.next(&mut |batch| vec![self.features(batch, choice)])? {
            let features = part.columns.concat();
            for (row, entry_idx) in features.chunks(width).zip(&part.entries) {
                let is_in = |part: &[usize]| part.binary_search(entry_idx).is_ok();
                let part = match (is_in(split.train()), is_in(split.held_out())) {
                    (true, _) => &mut found.train,
                    (_, true) => &mut found.queries,
                    _ => continue,
                };
                part.features.extend(row);
                part.labels.push(labels.of(*entry_idx)[0] as usize);
            }
            n_done += part.entries.len();
            seen(n_done);
        }
        Ok(found)
    }

    /// How the images look that it sees, as pixels.
    ///
    /// # Errors
    /// [`Error::Train`] for a checkpoint that does not say how images are normalised.
    pub fn pixels(&self) -> Result<PixelViews, Error> {
        match &self.source {
            Source::FineTuned(tuned) => tuned.pixels(),
            Source::Foreign(foreign) => foreign.pixels(),
            Source::Pretrained(trained) => {
                let transform = trained.transform()?;
                Ok(PixelViews::new(trained.opened(), &transform))
            }
        }
    }

    fn images(&self, batch: &Batch) -> Tensor {
        let [channels, height, width] = batch.image_shape;
        let shape = [batch.len(), channels, height, width];
        Tensor::from_slice(self.parameters().device(), &shape, &batch.images)
    }

    /// All images of a data set in order, as the encoder is to see them: resized and cropped at the centre.
    ///
    /// # Errors
    /// [`Error::Data`] where there is nothing to read.
    pub(crate) fn all_images(
        &self,
        data: &Arc<DataSet>,
        reporter: &Arc<Reporter>,
        batch_size: usize,
    ) -> Result<Walk, Error> {
        self.opened()
            .all_images(self.views()?, data, reporter, batch_size)
    }

    /// Images as the encoder is to see them.
    pub(crate) fn views(&self) -> Result<Views, Error> {
        match &self.source {
            Source::FineTuned(tuned) => tuned.views(),
            Source::Pretrained(trained) => trained.views(),
            Source::Foreign(foreign) => Ok(foreign.opened().views(foreign.transform()?)),
        }
    }

    fn opened(&self) -> &Opened {
        match &self.source {
            Source::Pretrained(trained) => trained.opened(),
            Source::FineTuned(tuned) => tuned.opened(),
            Source::Foreign(foreign) => foreign.opened(),
        }
    }

    /// Names and sizes of the images that it was trained on, in one number; none of weights of another program.
    pub(crate) fn data_fingerprint(&self) -> Option<u64> {
        let opened = self.opened();
        let is_own = opened.held.is_none();
        is_own.then_some(opened.origin.progress.data_fingerprint)
    }

    /// Rows and columns of the features of an image.
    pub(crate) fn grid_of_features(&self) -> [usize; 2] {
        let encoder = self.encoder();
        let per_feature = encoder.stride() / encoder.patch_px();
        encoder.grid().map(|patches| patches / per_feature)
    }

    /// About how many multiplications an image takes. In a Swin transformer tokens become fewer from stage to stage, and parameters more.
    pub(crate) fn cost_of_an_image(&self) -> f64 {
        let n_parameters: usize = self
            .parameters()
            .iter()
            .map(|(_, spec, _)| spec.len())
            .sum();
        let tokens = |[rows, columns]: [usize; 2]| (rows * columns) as f64;
        let encoder = self.encoder();
        n_parameters as f64 * (tokens(encoder.grid()) * tokens(self.grid_of_features())).sqrt()
    }
}

/// One vector for each image, made on the device: only these are downloaded.
///
/// # Shapes
/// `tokens` `[B, c + l, d]`, of which the first c = `n_class` are no patches; the result `[B, d]`.
fn pooled(tokens: &Tensor, n_class: usize, pool: Pool) -> Vec<f32> {
    let vectors = match pool {
        Pool::ClassToken => tokens.token(0),
        Pool::Mean => tokens.pool_tokens(n_class),
    };
    vectors.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use simmim_cpu::CpuDevice;

    #[test]
    fn the_mean_leaves_the_class_token_out() {
        let device = CpuDevice::shared();
        let tokens = [9.0, 9.0, 1.0, 2.0, 3.0, 6.0, 7.0, 7.0, 0.0, 0.0, 1.0, 1.0];
        let tokens = Tensor::from_slice(&device, &[2, 3, 2], &tokens);
        assert_eq!(pooled(&tokens, 1, Pool::Mean), [2.0, 4.0, 0.5, 0.5]);
        assert_eq!(pooled(&tokens, 1, Pool::ClassToken), [9.0, 9.0, 7.0, 7.0]);
    }
}
