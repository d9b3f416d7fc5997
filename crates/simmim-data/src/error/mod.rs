//! What can go wrong between a data set and a batch.

mod hint;

use std::io;
use std::path::PathBuf;

use crate::content::Content;
use crate::decode::Format;
use crate::report::BadImage;
use crate::source::{ListFault, PassedOver};

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing exists at the path.
    #[error("there is nothing at {path}")]
    NotFound {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The path is a socket, a pipe or a device.
    #[error("{path} is {found}, expected a folder, an archive or a list of images")]
    NotAFileOrFolder {
        /// The path that was asked for.
        path: PathBuf,
        /// What is there instead.
        found: &'static str,
    },
    /// The operating system refused to read a file or a folder.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that is no image, archive or list by its extension.
    #[error("{path} does not look like a source of images, expected {expected}")]
    UnknownSource {
        /// The file.
        path: PathBuf,
        /// The names that are understood.
        expected: &'static str,
    },
    /// A file of a kind that is not read, by its first bytes.
    #[error("{path} is {}, expected {expected}", found.name())]
    OtherContent {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: Content,
        /// What is understood.
        expected: &'static str,
    },
    /// The system does not let this process open another file.
    #[error("cannot open {path}, one of {n_sources} files that are open at once")]
    TooManyOpenFiles {
        /// The archive that could not be opened.
        path: PathBuf,
        /// How many archives the specification names.
        n_sources: usize,
        /// What the system said.
        source: io::Error,
    },
    /// Another file stands in the place of an archive, or it has changed, since it was indexed.
    #[error("{path} has changed while it was in use")]
    ArchiveChanged {
        /// The archive.
        path: PathBuf,
    },
    /// Images that lie in no archive, of which whole archives are to be dealt out.
    #[error("{name} lies in no archive, and `data.shuffle = \"shards\"` deals out archives")]
    NoShard {
        /// The first such image.
        name: String,
    },
    /// A list or a table that is no text in a known encoding.
    #[error("line {line} of {path} is not text in UTF-8 or UTF-16")]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first such line, from 1.
        line: usize,
    },
    /// A glob or brace pattern that cannot be read.
    #[error("cannot read the pattern {pattern}: {reason}")]
    Pattern {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A glob that names nothing.
    #[error("nothing matches the pattern {pattern}")]
    NoMatch {
        /// The pattern as given.
        pattern: String,
    },
    /// A folder without any file, at any depth.
    #[error("the folder {path} is empty")]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A source with files, none of which is an image by its extension.
    #[error("no images in {spec}, only other files: {passed_over}")]
    NoImages {
        /// The source as given.
        spec: String,
        /// What was there instead.
        passed_over: PassedOver,
    },
    /// A list without paths.
    #[error("the list {list} names no images{}", comments(*n_comments))]
    EmptyList {
        /// The text file.
        list: PathBuf,
        /// Its lines that begin with `#`.
        n_comments: usize,
    },
    /// A list that names files which are not there.
    #[error("line {line} of {list} names {path}, which is not a file ({n_missing} such lines)")]
    ListedFileMissing {
        /// The text file.
        list: PathBuf,
        /// The first such line, from 1.
        line: usize,
        /// The file it names.
        path: PathBuf,
        /// How many lines name no file.
        n_missing: usize,
        /// Why the first one does not, where that can be told.
        fault: Option<ListFault>,
    },
    /// An archive that cannot be read as a tar file.
    #[error("cannot read the archive {path}")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What the reader said.
        source: io::Error,
    },
    /// An archive that ends inside one of its images.
    #[error(
        "the archive {path} ends at {found_bytes} bytes, inside {entry}, which needs {expected_bytes}"
    )]
    ArchiveCut {
        /// The archive.
        path: PathBuf,
        /// The image that does not fit.
        entry: String,
        /// The size that the archive would need.
        expected_bytes: u64,
        /// The size that it has.
        found_bytes: u64,
    },
    /// The temporary file for the images of a compressed archive cannot be written.
    #[error("cannot unpack {path} into the temporary folder {into}")]
    Unpack {
        /// The archive.
        path: PathBuf,
        /// The temporary folder.
        into: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An image file over the size limit.
    #[error("{name} has {found_bytes} bytes, over the limit of {limit_bytes} for one image")]
    FileTooLarge {
        /// The image.
        name: String,
        /// Its size.
        found_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },

    /// Images that are in no class's folder, beside folders that are.
    #[error(
        "{n_images} images lie directly in {path}, beside {n_folders} folders; the first: {example}"
    )]
    ImagesBesideClasses {
        /// The folder of the class folders.
        path: PathBuf,
        /// How many images.
        n_images: usize,
        /// How many folders.
        n_folders: usize,
        /// The first such image.
        example: String,
    },
    /// Images without a folder that says what they are.
    #[error("{path} has {n_images} images directly in it and no class folders")]
    NoClassFolders {
        /// The folder.
        path: PathBuf,
        /// How many images.
        n_images: usize,
    },
    /// A class folder that holds folders instead of images.
    #[error(
        "the class folder {path} holds folders instead of images, {n_folders} of them with images: {examples}"
    )]
    NestedClasses {
        /// The class folder.
        path: PathBuf,
        /// How many folders with images it holds.
        n_folders: usize,
        /// The first of them.
        examples: String,
    },
    /// A class folder without images.
    #[error("the class folder {path} holds no images, only {n_entries} other entries")]
    ClassWithoutImages {
        /// The class folder.
        path: PathBuf,
        /// What it holds instead.
        n_entries: usize,
    },
    /// One class only.
    #[error("all {n_images} images of {spec} have the same label, {class}")]
    OneClass {
        /// The source as given.
        spec: String,
        /// The class.
        class: String,
        /// How many images.
        n_images: usize,
    },
    /// Not one label.
    #[error("none of the {n_images} images of {spec} has a label")]
    NoLabels {
        /// The source as given.
        spec: String,
        /// How many images.
        n_images: usize,
    },
    /// So many classes that they are likely to be something else.
    #[error(
        "{n_classes} classes for {n_images} images in {spec}, expected at most {allowed}; the first: {examples}"
    )]
    TooManyClasses {
        /// The source as given.
        spec: String,
        /// How many classes.
        n_classes: usize,
        /// How many images.
        n_images: usize,
        /// How many classes may be.
        allowed: String,
        /// The first of them.
        examples: String,
    },
    /// A class that only held-out images have.
    #[error("the class {class} has {n_images} held-out images and none to train on")]
    ClassNotTrained {
        /// The class.
        class: String,
        /// How many images.
        n_images: usize,
    },
    /// A part of a divided source that has no images.
    #[error("{path} has no images in its part {part}")]
    PartWithoutImages {
        /// The folder or the table.
        path: PathBuf,
        /// The part.
        part: &'static str,
    },
    /// A divided source without a part that it needs.
    #[error("{path} has no folder of that part of the images: {part}; it has {found}")]
    NoSuchPart {
        /// The folder.
        path: PathBuf,
        /// The usual name of the part.
        part: &'static str,
        /// The folders with images that are there.
        found: String,
    },
    /// Several folders that are called after training images.
    #[error("{path} has more than one folder of training images: {found}")]
    TwoTrainingParts {
        /// The folder that they are in.
        path: PathBuf,
        /// Their names.
        found: String,
    },
    /// A folder of images where class folders are expected.
    #[error("all images are in {path}, which is no class: there are no class folders")]
    FolderOfImages {
        /// The folder.
        path: PathBuf,
    },
    /// A file beside an image in an archive whose label cannot be used.
    #[error("the label beside {image} cannot be used: {reason}")]
    LabelFile {
        /// The image.
        image: String,
        /// What is wrong with the file.
        reason: String,
    },
    /// An image of an archive without a label, where others have one beside them.
    #[error(
        "{image} has no label: neither a .cls beside it nor a .json with a key of that meaning, as others have"
    )]
    NoLabelBeside {
        /// The image.
        image: String,
    },
    /// A folder that `simmim pack` has begun to write and has not finished.
    #[error("{path} is a pack that is not finished")]
    PackUnfinished {
        /// The folder.
        path: PathBuf,
    },
    /// The file that says what `simmim pack` has written is not as it was written.
    #[error("{path} does not tell which shards there are: {reason}")]
    PackManifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file that keeps what a survey finds cannot be read or written.
    #[error("cannot keep what is found of the images in {path}")]
    SurveyKept {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file that is to keep what a survey finds holds something else.
    #[error("line {line} of {path} is not of a survey of images read as these are: {reason}")]
    SurveyLine {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// An image that a source holds twice.
    #[error("the image {name} is named twice")]
    DuplicateImage {
        /// The image.
        name: String,
    },
    /// A table that cannot be read as comma-separated values.
    #[error("cannot read the table {path}")]
    Table {
        /// The table.
        path: PathBuf,
        /// What the reader said.
        source: csv::Error,
    },
    /// A table whose columns are not those that are needed.
    #[error("the columns of {path} are {found}: {problem}")]
    TableColumns {
        /// The table.
        path: PathBuf,
        /// Its columns.
        found: String,
        /// What is wrong with them.
        problem: String,
    },
    /// A row of a table with more or fewer values than there are columns.
    #[error("line {line} of {path} has {found} values, expected {expected}")]
    RowLength {
        /// The table.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// How many values.
        found: usize,
        /// How many columns.
        expected: usize,
    },
    /// A row of a table without a value that it needs.
    #[error("line {line} of {path} has nothing in the column `{column}`")]
    CellEmpty {
        /// The table.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column.
        column: &'static str,
    },
    /// A value in a column that was taken for a class and is none.
    #[error(
        "`{column}` on line {line} of {path} is {found:?}, expected 0 or 1: without a column `label`, each further column is a class"
    )]
    NotOneHot {
        /// The table.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column.
        column: String,
        /// What it says.
        found: String,
    },
    /// A table without rows.
    #[error("the table {path} names no images")]
    TableEmpty {
        /// The table.
        path: PathBuf,
    },
    /// An image that a table names twice.
    #[error("line {line} of {list} names {path}, as line {first_line} does")]
    ListedTwice {
        /// The table.
        list: PathBuf,
        /// The second line, from 1.
        line: usize,
        /// The first line.
        first_line: usize,
        /// The image.
        path: PathBuf,
    },
    /// An image without a label in a table where each has one.
    #[error("line {line} of {path} has no label")]
    LabelMissing {
        /// The table.
        path: PathBuf,
        /// The first such line, from 1.
        line: usize,
    },
    /// A part of the data set that is not known.
    #[error("the split on line {line} of {path} is {found:?}, expected train, val or test")]
    UnknownPart {
        /// The table.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What it says.
        found: String,
    },
    /// A share of the training images that is none.
    #[error("the share of labelled images is {found}, expected more than 0 and at most 1")]
    SubsetShare {
        /// The share.
        found: f64,
    },

    /// Bytes which are no image of a known format.
    #[error("not a JPEG, PNG, WebP, BMP, GIF or TIFF image{}", instead(*found, first_bytes))]
    UnknownFormat {
        /// What they are, where that is known.
        found: Option<Content>,
        /// The first bytes, escaped where they are no ASCII.
        first_bytes: String,
    },
    /// An image whose data ends early.
    #[error("the {format} data ends early")]
    CutShort {
        /// The format.
        format: Format,
    },
    /// A JPEG of a kind that is not read.
    #[error("a JPEG with {found} is not read")]
    JpegKind {
        /// What it has.
        found: String,
    },
    /// An image that its decoder refuses, or panics at.
    #[error("cannot decode the {format} data")]
    Decode {
        /// The format.
        format: Format,
        /// What the decoder said, or that it panicked.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An image with more pixels than allowed, by its header.
    #[error("{width} x {height} pixels are over the limit of {limit_px} (data.max_pixels)")]
    TooManyPixels {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
        /// The limit.
        limit_px: u64,
    },
    /// An image whose samples take as much memory as more pixels than allowed, by its header.
    #[error(
        "{width} x {height} pixels of {pixel_bytes} bytes count as {counted_px} pixels, over the limit of {limit_px} (data.max_pixels)"
    )]
    TooManyBands {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
        /// Bytes of a pixel, all samples together.
        pixel_bytes: u64,
        /// The pixels of 8 bytes that take as much memory.
        counted_px: u64,
        /// The limit.
        limit_px: u64,
    },
    /// An image of zero width or height.
    #[error("the image has no pixels ({width} x {height})")]
    NoPixels {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
    },
    /// An image with another number of channels than the model reads.
    #[error("expected {expected} channels, found {found}")]
    Channels {
        /// Channels asked for.
        expected: usize,
        /// Channels of the image.
        found: usize,
    },
    /// The same, where the file has further pages.
    #[error("expected {expected} channels, found {found} on the first of {n_pages} pages")]
    Pages {
        /// Channels asked for.
        expected: usize,
        /// Channels of the first page.
        found: usize,
        /// Pages of the file.
        n_pages: usize,
    },
    /// Pages that cannot be the channels of one image.
    #[error(
        "page {page} is {width} x {height} pixels of {bits} bits, which is not the size and type of the first page"
    )]
    UnequalPages {
        /// The first page that is not like the first one, from 1.
        page: usize,
        /// Its width in pixels.
        width: usize,
        /// Its height in pixels.
        height: usize,
        /// Bits of its samples.
        bits: usize,
    },
    /// What a format may hold and is not read here.
    #[error("{format} with {found} is not read")]
    Unsupported {
        /// The format.
        format: Format,
        /// What it holds.
        found: String,
        /// A command that makes a file of it that is read.
        convert: &'static str,
    },
    /// An image without a single value: the file says of all that they stand for none.
    #[error("none of its pixels has a value: all are marked as no data, or are not a number")]
    NoData,
    /// An image for which there is no memory.
    #[error("there is no memory for its {n_samples} samples")]
    Memory {
        /// How many samples.
        n_samples: usize,
    },
    /// A range without extent.
    #[error("the range is {low} to {high}, expected two finite numbers, the smaller one first")]
    Range {
        /// The value that was to become 0.
        low: f64,
        /// The value that was to become 1.
        high: f64,
    },

    /// Crop settings that describe no crop.
    #[error("crop {setting} is ({low}, {high}), expected {expected}")]
    CropRange {
        /// `scale` or `ratio`.
        setting: &'static str,
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// A notation for distortions that says something unknown or impossible.
    #[error("cannot read the augmentation {config:?}: {reason}")]
    RandAugment {
        /// The notation as given.
        config: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A probability or share outside [0, 1].
    #[error("{setting} is {found}, expected 0 to 1")]
    Probability {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: f64,
    },
    /// Erasing settings that describe no rectangle.
    #[error("erasing {setting} is ({low}, {high}), expected {expected}")]
    ErasingRange {
        /// `area` or `ratio`.
        setting: &'static str,
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// A parameter of the Beta distribution that is negative or not finite.
    #[error("{setting} is {found}, expected 0 or more")]
    MixAlpha {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: f64,
    },
    /// A mean or standard deviation that cannot normalise.
    #[error("cannot normalise: {reason}")]
    Normalisation {
        /// What is wrong.
        reason: String,
    },
    /// A setting that must be at least one is zero.
    #[error("{setting} is zero, expected at least 1")]
    Zero {
        /// The setting.
        setting: &'static str,
    },

    /// An image that is not a whole number of patches.
    #[error("an image of {height} x {width} px is not a whole number of patches of {patch_px} px")]
    PatchSize {
        /// Image height in pixels.
        height: usize,
        /// Image width in pixels.
        width: usize,
        /// Patch side in pixels.
        patch_px: usize,
    },
    /// A cell that is not a whole number of patches, or does not divide the image.
    #[error(
        "a mask cell of {cell_px} px does not divide {height} x {width} px into whole patches of {patch_px} px, valid cells: {valid}"
    )]
    CellSize {
        /// Image height in pixels.
        height: usize,
        /// Image width in pixels.
        width: usize,
        /// Patch side in pixels.
        patch_px: usize,
        /// Cell side in pixels.
        cell_px: usize,
        /// The cell sizes that would do, in pixels.
        valid: String,
    },
    /// A mask ratio outside (0, 1].
    #[error("mask ratio is {ratio}, expected more than 0 and at most 1")]
    MaskRatio {
        /// The ratio.
        ratio: f64,
    },
    /// A mask plan for another image size than the crops have.
    #[error("masks are for {masks:?} px, crops are {crops:?} px")]
    MaskImageSize {
        /// `[H, W]` of the mask plan.
        masks: [usize; 2],
        /// `[H, W]` of the crops.
        crops: [usize; 2],
    },

    /// A batch that cannot be shared out evenly.
    #[error(
        "a batch of {batch_size} images does not divide into {world} processes x {n_micro} micro-batches"
    )]
    BatchDivision {
        /// Images in a step.
        batch_size: usize,
        /// Processes.
        world: usize,
        /// Micro-batches of a step.
        n_micro: usize,
    },
    /// A rank outside the world.
    #[error("there is no rank {rank} among {world} processes")]
    Rank {
        /// The rank.
        rank: usize,
        /// The number of processes.
        world: usize,
    },
    /// Fewer training images than one batch.
    #[error("{n_train} training images are fewer than one batch of {batch_size}")]
    TooFewImages {
        /// Training images.
        n_train: usize,
        /// Images in a step.
        batch_size: usize,
    },
    /// More unreadable images than allowed.
    #[error(
        "{count} images are unreadable, over the limit of {limit}; the first: {}",
        list(examples)
    )]
    TooManyBad {
        /// Unreadable images so far.
        count: usize,
        /// The limit.
        limit: usize,
        /// The first few.
        examples: Vec<BadImage>,
    },
    /// Not one image could be read.
    #[error(
        "none of {n_images} images could be read; the first: {}",
        list(examples)
    )]
    NoReadableImage {
        /// Images tried.
        n_images: usize,
        /// The first few.
        examples: Vec<BadImage>,
    },
    /// A batch outside the pass that was asked for.
    #[error("there is no batch {batch_idx}, the pass has {n_batches}")]
    NoSuchBatch {
        /// The batch asked for.
        batch_idx: u64,
        /// Batches in the pass.
        n_batches: u64,
    },
    /// A loader thread panicked: a bug in this crate or in a decoder.
    #[error("a loader thread panicked while making batch {batch_idx}")]
    WorkerPanicked {
        /// The batch it was making.
        batch_idx: u64,
    },
    /// The system refused to start a loader thread.
    #[error("cannot start a loader thread")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

/// What an image that is none is instead.
fn instead(found: Option<Content>, first_bytes: &str) -> String {
    match found {
        Some(found) => format!(" but {}", found.name()),
        None => format!(" (first bytes: {first_bytes})"),
    }
}

fn comments(n_comments: usize) -> String {
    match n_comments {
        0 => String::new(),
        n => format!(": {n} lines begin with #, which makes them comments"),
    }
}

fn list(examples: &[BadImage]) -> String {
    let lines: Vec<String> = examples.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

impl Error {
    /// The message and those of all its sources, on one line.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line.push_str(": ");
            // Decoders end some of their messages with a line break.
            line.push_str(error.to_string().trim_end());
            cause = error.source();
        }
        line
    }
}
