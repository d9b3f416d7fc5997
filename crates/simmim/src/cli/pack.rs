//! `simmim pack`: any source of images as WebDataset shards of small images.

use std::io::{IsTerminal, stderr};
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget};
use serde_json::json;
use simmim_data::{Described, Only, Opening};
use simmim_pack::{Counts, PackFormat, PackJob, PackSettings, Packed, Progress, pack};

use super::failure::require_finished;
use super::{Talk, interrupt, output, progress, tell, tell_passed_over};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Write images as shards of small images, once, so that no training waits for large ones.
///
/// Reads anything that `simmim pretrain` and `simmim finetune` read (folders, archives, lists, tables of labels) and writes
/// tar archives in the form of WebDataset: the same images, names, labels and order, the short side of each at most
/// `--short-side`. Photographs of 12 megapixels are then read about fifty times as fast.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct PackArgs {
    /// Images: a folder, a .tar or .tar.gz, a list (.txt), a table of labels (.csv), or a quoted pattern of those.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// The folder to write: PREFIX-000000.tar and so on, and pack.json, which says what was done.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Pixels of the shorter side; images that have no more are copied byte for byte.
    #[arg(long, value_name = "N", default_value_t = 320)]
    short_side: usize,
    /// The format of resized images; of an image with an alpha, 16 bits or from a TIFF it is never lossy.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = FormatArg::Jpeg)]
    format: FormatArg,
    /// The quality of JPEGs, 1 to 100; their colours keep full resolution (4:4:4).
    #[arg(long, value_name = "N", default_value_t = 90)]
    quality: u8,
    /// The most bytes of a shard, as in 500M, 1G; K, M and G are powers of 1024.
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = bytes)]
    shard_size: u64,
    /// The most images of a shard [default: any number].
    #[arg(long, value_name = "N")]
    shard_images: Option<usize>,
    /// What the names of shards begin with.
    #[arg(long, value_name = "NAME", default_value = "shard")]
    prefix: String,
    /// Which images of folders and archives are taken, as by the key `data.only`: '*.jpg', '!*.seg.png'.
    #[arg(long, value_name = "PATTERNS")]
    only: Option<String>,
    /// The most pixels of an image that is read (the key `data.max_pixels`).
    #[arg(long, value_name = "N", default_value_t = PackSettings::default().max_pixels)]
    max_pixels: u64,
    /// Threads [default: one for each core]; the shards are the same for any number.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = super::n_threads())]
    threads: usize,
    /// Remove the pack that FOLDER holds, and write anew.
    #[arg(long)]
    overwrite: bool,
}

/// The format of resized images.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArg {
    /// JPEG, 30 to 80 KB an image.
    Jpeg,
    /// PNG, without loss: about four times as large.
    Png,
    /// WebP, without loss: nearly as large as PNG, and faster to write.
    Webp,
}

const AFTER_HELP: &str = "\
Examples:
  simmim pack --data photos/ --out packed/
  simmim pretrain --data packed/ --out runs/first         read the folder like any other
  simmim pack --data labels.csv --out packed/ --short-side 512
  simmim finetune --data packed/ --from runs/first --out runs/labels
  simmim pack --data 'scans/*.tar' --out packed/ --format png --shard-images 10000

How small: crops of pre-training show two thirds of an image or more, and at 320 px none of 224 px is ever enlarged. Crops of
fine-tuning may show a twelfth: take 512 px or more for it, and for larger crops as many times more.

Names stay what they are, endings included, whatever the format of the file: readers go by its first bytes. WebDataset's own
readers take for one sample what has one name up to its first full stop.

What is kept: pixels are resized by Lanczos' filter, as Pillow does it. They stay as they are stored, and a tag of EXIF that
turns them stays with them. Class folders, .cls and .json files beside images, and tables (labels.csv in FOLDER, with its
parts) stay what they are. Images with values that no picture has (more than 16 bits, bands, 16 bits in colour, pages) are
copied whole, and counted. What cannot be read is counted by reason and listed in FOLDER/unreadable.csv.

Kill it at any time: the same command goes on where it stopped, to the same bytes. Prints one JSON line to stdout.";

pub(crate) fn run(args: &PackArgs, talk: Talk) -> anyhow::Result<()> {
    let job = job(args);
    // Before the images are looked for, which may take long.
    job.settings.check()?;
    let only = args.only.as_deref().map(Only::parse).transpose()?;
    let mut told = |n_files| tell(talk, format!("looking for images: {n_files} files so far"));
    let opening = Opening {
        only: only.unwrap_or_default(),
        watch: Some(&mut told),
    };
    let images = Described::open(&args.data, opening)?;
    tell_passed_over(talk, images.data());
    let mut view = View::new(talk);
    let bar = view.bar.clone();
    let stop = interrupt::flag_of(move |line| bar.suspend(|| tell(talk, line)))?;
    let packed = pack(&images, &job, &mut |progress| {
        view.see(progress);
        if stop.is_raised() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    view.bar.finish_and_clear();
    let packed = packed?;
    tell_packed(talk, &packed, images.data().len());
    output::data(json!({
        "out": args.out,
        "finished": packed.manifest.finished,
        "n_images": packed.manifest.n_images(),
        "shards": packed.manifest.shards.len(),
        "n_bytes": packed.manifest.n_bytes(),
        "counts": packed.manifest.counts(),
    }))?;
    require_finished(packed.manifest.finished)
}

fn job(args: &PackArgs) -> PackJob {
    let threads = match args.threads {
        0 => available_parallelism().map_or(1, NonZero::get),
        n => n,
    };
    PackJob {
        out: args.out.clone(),
        settings: PackSettings {
            short_side_px: args.short_side,
            format: match args.format {
                FormatArg::Jpeg => PackFormat::Jpeg,
                FormatArg::Png => PackFormat::Png,
                FormatArg::Webp => PackFormat::WebP,
            },
            jpeg_quality: args.quality,
            shard_bytes: args.shard_size,
            shard_images: args.shard_images,
            max_pixels: args.max_pixels,
            prefix: args.prefix.clone(),
        },
        threads,
        overwrite: args.overwrite,
    }
}

/// A number of bytes with a letter behind it, or without.
fn bytes(text: &str) -> Result<u64, String> {
    let expected = || format!("`{text}` is no size, expected a whole number, as in 500M or 1G");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor: u64 = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err(expected()),
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(factor).ok_or_else(expected)
}

/// Shows how far the pass is: a bar on a terminal, lines elsewhere.
struct View {
    talk: Talk,
    bar: ProgressBar,
    has_bar: bool,
    begun: Instant,
    last_line: Instant,
}

impl View {
    fn new(talk: Talk) -> Self {
        let now = Instant::now();
        Self {
            talk,
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            has_bar: talk == Talk::Plain && stderr().is_terminal(),
            begun: now,
            last_line: now,
        }
    }

    fn see(&mut self, progress: &Progress) {
        let n_own = progress.n_done - progress.n_before;
        let secs = self.begun.elapsed().as_secs_f64();
        let speed = n_own as f64 / secs.max(1e-3);
        let figures = format!("{speed:.1} images/s · {}", HumanBytes(progress.n_bytes));
        let n_left = progress.n_images - progress.n_done;
        let left = HumanDuration(Duration::from_secs_f64(n_left as f64 / speed.max(1e-3)));
        if self.has_bar {
            if n_own == 1 {
                let template = "▕{wide_bar}▏ {pos}/{len} · {msg} left";
                self.bar.set_style(progress::style(template));
                self.bar.set_length(progress.n_images as u64);
                self.bar
                    .set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
            }
            self.bar.set_position(progress.n_done as u64);
            self.bar.set_message(format!("{figures} · {left}"));
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let Progress {
                n_done, n_images, ..
            } = progress;
            tell(
                self.talk,
                format!("{n_done} of {n_images} images · {figures} · {left} left"),
            );
        }
    }
}

fn tell_packed(talk: Talk, packed: &Packed, n_images: usize) {
    let manifest = &packed.manifest;
    if packed.n_before == n_images {
        tell(talk, "all images were packed before: nothing to do");
    } else if packed.n_before > 0 {
        tell(
            talk,
            format!(
                "{} of {n_images} images were packed before",
                packed.n_before
            ),
        );
    }
    let counts = manifest.counts();
    tell(
        talk,
        format!(
            "{} images in {} shards, {}: {} resized, {} copied as they are small enough",
            manifest.n_images(),
            manifest.shards.len(),
            HumanBytes(manifest.n_bytes()),
            counts.resized,
            counts.copied
        ),
    );
    tell_exceptions(talk, &counts);
    if !manifest.finished {
        tell(talk, "stopped: the same command goes on");
    }
}

/// Says what was done otherwise than with most images.
fn tell_exceptions(talk: Talk, counts: &Counts) {
    if counts.with_loss > 0 {
        tell(
            talk,
            format!(
                "{} of the resized images were PNG, BMP or GIF and are JPEG now: masks and measurements need --format png, or --only",
                counts.with_loss
            ),
        );
    }
    for (reason, n) in &counts.kept {
        tell(
            talk,
            format!("{n} larger images are copied whole: {reason}"),
        );
    }
    if counts.unusable_labels > 0 {
        let n = counts.unusable_labels;
        tell(
            talk,
            format!("{n} images have a file beside them that states no label: it is left out"),
        );
    }
    // Even with --quiet: these are missing from the shards.
    let n_unreadable: usize = counts.unreadable.values().sum();
    if n_unreadable > 0 {
        let reasons = counts.unreadable.iter();
        let reasons: Vec<String> = reasons.map(|(reason, n)| format!("{n} {reason}")).collect();
        output::say(format!(
            "warning: {n_unreadable} unreadable images are left out: {}; unreadable.csv beside the shards lists them",
            reasons.join(", ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_letter() {
        for (text, expected) in [
            ("4096", 4096),
            ("3k", 3072),
            ("500M", 500 << 20),
            ("1G", 1 << 30),
        ] {
            assert_eq!(bytes(text), Ok(expected));
        }
        for text in ["", "G", "1.5G", "1T", "-1", "99999999999G", "1 G", "1é"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
