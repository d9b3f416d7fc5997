//! One square at a random position.

use simmim_random::Draws;

use super::cells::Cells;

/// Hides `count` cells that form a square as nearly as the count and the grid allow.
///
/// The rectangle that holds them is the square's root, rounded, by as much as is needed. If it
/// holds more than `count`, a run of cells is shown again along one of its edges, from one of its
/// corners; which way round is drawn, so that no direction is preferred.
pub(super) fn hide(cells: &mut Cells, count: usize, draws: &mut Draws) {
    let [height, width] = cells.size();
    let root = (count as f64).sqrt().round() as usize;
    // Which side gets the root is drawn, or all rectangles would lie the same way.
    let stands = draws.chance(0.5);
    let [h, w] = if stands {
        enclosing(count, root, [height, width])
    } else {
        let [w, h] = enclosing(count, root, [width, height]);
        [h, w]
    };
    let at = [draws.below(height - h + 1), draws.below(width - w + 1)];
    let rectangle = cells.rectangle(at, [h, w]);
    for cell_idx in &rectangle {
        cells.hide(*cell_idx);
    }
    let (last_edge, far_end) = (draws.chance(0.5), draws.chance(0.5));
    let surplus = h * w - count;
    for step in 0..surplus {
        // The surplus is shorter than either kind of edge it may run along; it prefers the side.
        let (edge_len, n_edges) = if surplus < h { (h, w) } else { (w, h) };
        let along = if far_end { edge_len - 1 - step } else { step };
        let edge = if last_edge { n_edges - 1 } else { 0 };
        let place = if surplus < h {
            along * w + edge
        } else {
            edge * w + along
        };
        cells.show(rectangle[place]);
    }
}

/// The sides of the most nearly square rectangle that holds `count` cells inside `bounds`, the
/// first side as near to `root` as possible.
fn enclosing(count: usize, root: usize, bounds: [usize; 2]) -> [usize; 2] {
    let first = root.clamp(1, bounds[0]);
    let second = count.div_ceil(first);
    if second <= bounds[1] {
        [first, second]
    } else {
        [count.div_ceil(bounds[1]), bounds[1]]
    }
}

#[cfg(test)]
mod tests {
    use simmim_random::{Purpose, Stream};

    use super::*;

    #[test]
    fn a_square_count_gives_a_square_and_others_nearly_one() {
        let stream = Stream::new(3, Purpose::Mask);
        for (count, longest) in [(1, 1), (9, 3), (10, 4), (20, 5), (22, 5), (36, 6)] {
            for index in 0..100 {
                let mut cells = Cells::visible([6, 6]);
                hide(&mut cells, count, &mut stream.at(0, index));
                assert_eq!(cells.n_hidden(), count);
                let [h, w] = extent(&cells);
                assert!(h.max(w) <= longest, "{count}: {h} x {w}");
                assert!(h * w - count < h.max(w), "{count}: {h} x {w}");
            }
        }
    }

    #[test]
    fn every_count_fits_every_grid() {
        let stream = Stream::new(4, Purpose::Mask);
        for size in [[1, 1], [1, 9], [9, 1], [2, 7], [5, 4], [14, 14]] {
            for count in 1..=size[0] * size[1] {
                let mut cells = Cells::visible(size);
                hide(&mut cells, count, &mut stream.at(0, count as u64));
                assert_eq!(cells.n_hidden(), count, "{size:?}");
            }
        }
    }

    fn extent(cells: &Cells) -> [usize; 2] {
        let width = cells.size()[1];
        let places: Vec<usize> = (0..cells.hidden().len())
            .filter(|i| cells.hidden()[*i])
            .collect();
        let span = |values: Vec<usize>| {
            let (low, high) = (values.iter().min(), values.iter().max());
            high.unwrap() - low.unwrap() + 1
        };
        [
            span(places.iter().map(|i| i / width).collect()),
            span(places.iter().map(|i| i % width).collect()),
        ]
    }
}
