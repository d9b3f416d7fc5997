//! Pre-trains a small vision transformer on a folder of images:
//! `cargo run --release --example pretrain -- PATH/TO/IMAGES`

use std::error::Error;
use std::time::SystemTime;

use simmim::train::recipe;
use simmim::train::run_folder::RunFolder;
use simmim::{Event, Job, Layer, Observer, RawConfig, Start, StopFlag, pretrain};

struct Lines;

impl Observer for Lines {
    fn see(&mut self, event: &Event<'_>) {
        match event {
            Event::Note(text) => eprintln!("{text}"),
            Event::Step(record) => eprintln!("step {}: loss {:.4}", record.step, record.loss),
            _ => {}
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let photos = std::env::args()
        .nth(1)
        .ok_or("usage: pretrain PATH/TO/IMAGES")?;
    let mut config = RawConfig::from_layers(&[
        recipe::find("demo")?.layer()?,
        Layer::set("train.max_steps=100")?,
    ])?;
    config.data.path = Some(photos);
    let out = RunFolder::default_path("example", SystemTime::now());
    let job = Job {
        recipe: "demo".to_owned(),
        config,
        out,
        start: Start::New,
    };
    let outcome = pretrain(&job, &mut Lines, &StopFlag::new())?;
    eprintln!(
        "held-out loss {:?} -> {:?}",
        outcome.first_val_loss, outcome.last_val_loss
    );
    eprintln!("run folder: {}", outcome.out.display());
    Ok(())
}
