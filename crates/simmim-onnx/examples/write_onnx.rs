//! Writes the graphs that `golden/interop/check_onnx.py` runs in onnxruntime, and beside each what this project's engine gives: `write_onnx FOLDER`.

#[path = "../tests/graphs/models.rs"]
mod models;

use std::collections::BTreeMap;
use std::path::Path;

use models::{Case, Made, cases};
use simmim_checkpoint::{Array, Dtype, Entry, write_archive};
use simmim_onnx::{Export, write_onnx};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("name a folder")?;
    for case in cases() {
        let model = Made::of(&case);
        let path = Path::new(&folder).join(case.name).with_extension("onnx");
        let metadata = BTreeMap::from([("kind".to_owned(), case.name.to_owned())]);
        let export = Export {
            encoder: &case.encoder,
            prefix: case.prefix(),
            part: case.part(),
            normalisation: None,
            metadata: &metadata,
        };
        write_onnx(&path, export, model.arrays())?;
        for n_images in [1, 3, 16] {
            batch(&path, &case, &model, n_images)?;
        }
    }
    Ok(())
}

/// Writes a batch's inputs and outputs.
fn batch(
    path: &Path,
    case: &Case,
    model: &Made,
    n_images: usize,
) -> Result<(), simmim_checkpoint::Error> {
    let batch = model.batch(case, n_images);
    let mask: Vec<u8> = batch
        .mask
        .values
        .iter()
        .map(|&hidden| hidden.into())
        .collect();
    let floats =
        |name: String, Array { shape, values }: &'_ Array| (name, shape.clone(), values.clone());
    let mut arrays = vec![floats("images".to_owned(), &batch.images)];
    arrays.extend(
        batch
            .outputs
            .iter()
            .map(|(name, array)| floats(format!("output.{name}"), array)),
    );
    let mut entries: Vec<Entry> = arrays
        .iter()
        .map(|(name, shape, values)| Entry::f32(name.as_str(), shape, values))
        .collect();
    entries.push(Entry::bytes("mask", &batch.mask.shape, Dtype::BOOL, &mask));
    let path = path.with_extension(format!("{n_images}.safetensors"));
    write_archive(&path, &entries, &BTreeMap::new())
}
