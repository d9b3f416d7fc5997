//! The loss reads the hidden pixels of the image at hand and nothing else: there is a floor below which it cannot be learned when
//! what is hidden comes from another image.

use simmim_config::{Layer, Plan, RawConfig};
use simmim_cpu::CpuDevice;
use simmim_data::Batch;
use simmim_random::{Draws, Purpose, Stream};
use simmim_train::learner::Learner;

use crate::TINY;

const N_IMAGES: usize = 8;
const N_STEPS: u64 = 400;
/// Values of an image: channels, height, width.
const SHAPE: [usize; 3] = [3, 16, 16];

/// Images of one colour each, -1 or 1 in each channel, all eight colours: what is seen of one tells what is hidden of it.
fn images() -> Vec<f32> {
    let [channels, height, width] = SHAPE;
    let value = |image: usize, channel: usize| if image >> channel & 1 == 1 { 1.0 } else { -1.0 };
    (0..N_IMAGES)
        .flat_map(|image| (0..channels).map(move |channel| value(image, channel)))
        .flat_map(|value| std::iter::repeat_n(value, height * width))
        .collect()
}

/// The numbers from 0 to `n` in an order drawn by chance.
fn shuffled(n: usize, draws: &mut Draws) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, draws.below(i + 1));
    }
    order
}

/// The eight images under masks drawn for this step. With `is_mixed`, what a mask hides of an image is that of another, drawn
/// anew as well.
fn batch(plan: &Plan, step: u64, is_mixed: bool) -> Batch {
    let own = images();
    let mut batch = Batch {
        images: own.clone(),
        image_shape: SHAPE,
        entry_idx: (0..N_IMAGES).collect(),
        ..Batch::default()
    };
    let from = shuffled(N_IMAGES, &mut Stream::new(5, Purpose::Survey).at(0, step));
    let n_values = SHAPE.iter().product::<usize>();
    let plane = SHAPE[1] * SHAPE[2];
    for (image, other) in from.into_iter().enumerate() {
        let draws = Stream::new(5, Purpose::Mask).at(step, image as u64);
        let mask = plan.masks().draw(draws);
        let hidden = mask.to_pixels(plan.masks().patch_px());
        for i in (0..n_values).filter(|i| is_mixed && hidden[i % plane]) {
            batch.images[image * n_values + i] = own[other * n_values + i];
        }
        batch.hidden.extend(mask.hidden());
        batch.grid = mask.grid();
    }
    batch
}

/// The mean loss of the last fifty steps.
fn last_loss(is_mixed: bool) -> f64 {
    let layers: Vec<Layer> = TINY.iter().map(|text| Layer::set(text).unwrap()).collect();
    let plan = Plan::new(RawConfig::from_layers(&layers).unwrap()).unwrap();
    let mut learner = Learner::pretraining(&plan, None, CpuDevice::shared()).unwrap();
    let losses = (0..N_STEPS).map(|step| {
        let batch = batch(&plan, step, is_mixed);
        learner.step_on(&batch, 2e-3).unwrap().loss
    });
    losses.skip(N_STEPS as usize - 50).sum::<f64>() / 50.0
}

#[test]
fn the_loss_stays_above_its_floor_when_the_hidden_parts_are_those_of_other_images() {
    // Half of the colours are -1 and half 1 in each channel: no guess is nearer than 1 in the mean. A loss that looked at
    // visible pixels, at another mask than the one that hides, or a model that saw what is hidden, would fall below.
    let mixed = last_loss(true);
    // That it can be learned where the hidden part is the image's own.
    let own = last_loss(false);
    println!("loss {mixed:.3} with hidden parts of other images, {own:.3} with their own");
    assert!(mixed > 0.97, "{mixed}");
    assert!(own < 0.1, "{own}");
}
