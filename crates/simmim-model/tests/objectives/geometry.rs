//! Which pixels count, for every geometry that fits.

use crate::merged::Merged;
use simmim_autograd::{
    Device, Gradients, Layer, ParameterSpec, ParameterSpecs, Parameters, Tape, Tensor,
};
use simmim_cpu::CpuDevice;
use simmim_model::{MaskedImageModel, Objective, RelativePositions, VitConfig};
use std::sync::Arc;

/// Sides in pixels.
#[derive(Debug, Clone, Copy)]
struct Sides {
    patch: usize,
    square: usize,
    cell: usize,
}

/// A model of that geometry whose predictions are all 1, if it fits.
fn geometry(
    objective: Objective,
    sides: Sides,
    device: &Arc<dyn Device>,
) -> Option<(MaskedImageModel, Parameters)> {
    let (patch_px, square_px, cell_px) = (sides.patch, sides.square, sides.cell);
    let is_whole = square_px.is_multiple_of(patch_px) && cell_px.is_multiple_of(patch_px);
    if !is_whole || !objective.fits(square_px, patch_px, cell_px) {
        return None;
    }
    let config = VitConfig {
        image_size: [24, 48],
        channels: 2,
        patch_px,
        width: 2,
        depth: 0,
        heads: 1,
        relative_positions: RelativePositions::None,
        ..VitConfig::default()
    };
    let mut specs = ParameterSpecs::default();
    let encoder = Merged::new(&config, square_px / patch_px, &mut specs);
    let model = MaskedImageModel::new(Box::new(encoder), objective, &mut specs);
    let head: Vec<ParameterSpec> = specs
        .iter()
        .filter(|spec| spec.layer == Layer::Head)
        .cloned()
        .collect();
    let mut parameters = Parameters::allocate(specs, device, 0);
    for spec in head {
        let value = f32::from(spec.name.ends_with("bias"));
        let values = vec![value; spec.len()];
        parameters.set(&spec.name, &spec.shape, &values).unwrap();
    }
    Some((model, parameters))
}

#[test]
fn every_geometry_that_fits_counts_each_hidden_pixel_and_no_other() {
    const SIZES: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 24];
    let device = CpuDevice::shared();
    let mut n_checked = 0;
    for i in 0..SIZES.len().pow(4) {
        let [target_px, patch, square, cell] =
            [1, 8, 64, 512].map(|digit| SIZES[i / digit % SIZES.len()]);
        let objective = Objective {
            target_px,
            ..Objective::default()
        };
        let sides = Sides {
            patch,
            square,
            cell,
        };
        if let Some((model, parameters)) = geometry(objective, sides, &device) {
            assert_counts(&model, &parameters, cell);
            n_checked += 1;
        }
    }
    assert!(n_checked > 100, "{n_checked} geometries");
}

/// Where all predictions are 1 and all targets 0, the gradient of the head's bias says at which places errors
/// were counted, and how often.
fn assert_counts(model: &MaskedImageModel, parameters: &Parameters, cell_px: usize) {
    let (patch_px, square_px) = (model.encoder().patch_px(), model.head().square_px());
    let target_px = model.objective().target_px;
    let is_hidden = |y: usize, x: usize| (y / cell_px * 5 + x / cell_px * 3) % 4 != 1;
    let [h, w] = model.encoder().grid();
    let patch = |i: usize| is_hidden(i / w * patch_px, i % w * patch_px);
    let hidden: Vec<bool> = (0..h * w).map(patch).collect();
    let hiding = model.hiding(parameters.device(), &hidden);
    let n_hidden = (0..24 * 48).filter(|i| is_hidden(i / 48, i % 48)).count();
    assert_eq!(hiding.n_counted_px(), n_hidden, "{:?}", model.objective());

    let mut tape = Tape::recording(parameters);
    let zeros = Tensor::zeros(parameters.device(), &[1, 2, 24, 48]);
    let loss = model.loss(&mut tape, &zeros, &hiding, n_hidden);
    let mut gradients = Gradients::new(parameters);
    tape.backward(loss, &mut gradients);
    let bias = parameters.find("decoder.0.bias").unwrap();
    let found = gradients.get(bias).unwrap().to_vec();

    let side = square_px / target_px;
    let mut expected = vec![0.0; 2 * side * side];
    for pixel in (0..24 * 48).filter(|i| is_hidden(i / 48, i % 48)) {
        let place = [pixel / 48, pixel % 48].map(|at| at % square_px / target_px);
        for channel in 0..2 {
            expected[(channel * side + place[0]) * side + place[1]] += 0.5 / n_hidden as f64;
        }
    }
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (f64::from(*found) - expected).abs() < 1e-5,
            "patch {patch_px}, square {square_px}, cell {cell_px}, {:?}: {found} is not {expected}",
            model.objective()
        );
    }
}
