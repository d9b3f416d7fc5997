//! Pre-trains a small vision transformer on a folder of images:
//! `cargo run --release --example pretrain -- PATH/TO/IMAGES`

use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;

use simmim::config::recipe;
use simmim::train::run_folder::RunFolder;
use simmim::{Alone, Job, Layer, Mode, RawConfig, StopFlag, pretrain};

fn main() -> Result<(), Box<dyn Error>> {
    let photos = std::env::args().nth(1);
    let photos = photos.ok_or("usage: pretrain PATH/TO/IMAGES")?;
    // A recipe, and on top of it whatever is to be different.
    let layers = [
        recipe::find("demo")?.layer()?,
        Layer::set("train.max_steps=100")?,
    ];
    let mut config = RawConfig::from_layers(&layers)?;
    config.data.path = Some(photos);
    let job = Job {
        recipe: "demo".to_owned(),
        config,
        out: RunFolder::default_path("example", SystemTime::now()),
        mode: Mode::New,
        collective: Arc::new(Alone),
        chosen: Vec::new(),
    };
    // `()` watches in silence; an `Observer` of your own sees every step.
    let outcome = pretrain(&job, &mut (), &StopFlag::new())?;
    let (first, last) = (outcome.first_val_loss, outcome.last_val_loss);
    eprintln!("held-out loss {first:?} -> {last:?}");
    eprintln!("run folder: {}", outcome.out.display());
    Ok(())
}
