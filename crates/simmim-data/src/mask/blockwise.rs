//! Rectangles of random size, shape and place.

use simmim_random::Draws;

use super::cells::Cells;

/// How often the place of a block is drawn before blocks are given up.
///
/// Source: microsoft/unilm, `beit/masking_generator.py` @ 2312c6f, `MaskingGenerator._mask`.
const N_TRIES: usize = 10;

/// The lowest ratio of height to width; the highest is its inverse. Source: as [`N_TRIES`].
const MIN_ASPECT: f64 = 0.3;

/// The smallest block's share of the image: 16 of 14 x 14 patches.
///
/// Source: microsoft/unilm, `beit/run_beit_pretraining.py`, `min_mask_patches_per_block`, at its
/// images of 224 and patches of 16 pixels.
const MIN_SHARE: f64 = 16.0 / 196.0;

/// Hides `count` cells: blocks while they fit into what is left of the count, then single cells at
/// the border of the blocks.
pub(super) fn hide(cells: &mut Cells, count: usize, draws: &mut Draws) {
    while cells.n_hidden() < count && hide_block(cells, count - cells.n_hidden(), draws) {}
    while cells.n_hidden() < count {
        hide_border_cell(cells, draws);
    }
}

/// Hides one block that adds between 1 and `max_new` cells. `false` if no try gave one.
fn hide_block(cells: &mut Cells, max_new: usize, draws: &mut Draws) -> bool {
    let [height, width] = cells.size();
    let min_area = ((height * width) as f64 * MIN_SHARE).round().max(1.0);
    for _ in 0..N_TRIES {
        // As in the source, the two ends change sides when little is left of the count.
        let area = draws.uniform(min_area, max_new as f64);
        let aspect = draws.uniform(MIN_ASPECT.ln(), -MIN_ASPECT.ln()).exp();
        let h = (area * aspect).sqrt().round_ties_even() as usize;
        let w = (area / aspect).sqrt().round_ties_even() as usize;
        // As in the source, a block is smaller than the image both ways.
        if h == 0 || w == 0 || h >= height || w >= width {
            continue;
        }
        let at = [draws.below(height - h + 1), draws.below(width - w + 1)];
        let block = cells.rectangle(at, [h, w]);
        // Blocks may overlap, so what counts is what is not yet hidden.
        let n_new = block.iter().filter(|i| !cells.hidden()[**i]).count();
        if (1..=max_new).contains(&n_new) {
            for cell_idx in block {
                cells.hide(cell_idx);
            }
            return true;
        }
    }
    false
}

/// Hides one visible cell, beside a hidden one if there is any.
fn hide_border_cell(cells: &mut Cells, draws: &mut Draws) {
    let visible: Vec<usize> = (0..cells.hidden().len())
        .filter(|i| !cells.hidden()[*i])
        .collect();
    let border: Vec<usize> = visible
        .iter()
        .copied()
        .filter(|i| cells.touches_hidden(*i))
        .collect();
    // On a grid too small for any block nothing is hidden yet, and any cell will do.
    let choices = if border.is_empty() { visible } else { border };
    cells.hide(choices[draws.below(choices.len())]);
}

#[cfg(test)]
mod tests {
    use simmim_random::{Purpose, Stream};

    use super::*;

    #[test]
    fn every_count_is_reached_exactly_on_every_grid() {
        let stream = Stream::new(5, Purpose::Mask);
        for size in [[1, 1], [1, 9], [2, 2], [6, 6], [14, 14]] {
            for count in 1..=size[0] * size[1] {
                let mut cells = Cells::visible(size);
                hide(&mut cells, count, &mut stream.at(0, count as u64));
                assert_eq!(cells.n_hidden(), count, "{size:?}");
            }
        }
    }

    #[test]
    fn hidden_cells_lie_together() {
        // The share of neighbours of hidden cells that are hidden is the ratio itself, 0.4, for
        // random masks, and much higher for blocks.
        let stream = Stream::new(6, Purpose::Mask);
        let (mut n_touching, mut n_hidden) = (0, 0);
        for index in 0..200 {
            let mut cells = Cells::visible([14, 14]);
            hide(&mut cells, 79, &mut stream.at(0, index));
            let hidden: Vec<usize> = (0..196).filter(|i| cells.hidden()[*i]).collect();
            n_hidden += hidden.iter().filter(|i| *i % 14 < 13).count();
            n_touching += hidden
                .iter()
                .filter(|i| *i % 14 < 13 && cells.hidden()[*i + 1])
                .count();
        }
        let share = f64::from(n_touching as u32) / f64::from(n_hidden as u32);
        assert!(share > 0.65, "{share}");
    }
}
