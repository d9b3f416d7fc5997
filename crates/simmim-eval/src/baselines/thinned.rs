//! Fewer images where all would be too many.

use simmim_random::{Purpose, Stream};

/// At most so many of the images, drawn, in their order.
pub(super) fn thinned(images: &[usize], max: usize, seed: u64) -> Vec<usize> {
    if images.len() <= max {
        return images.to_vec();
    }
    let mut draws = Stream::new(seed, Purpose::Survey).at(0, 2);
    let drawn = draws.permutation(images.len()).into_iter().take(max);
    let mut kept: Vec<usize> = drawn.map(|at| images[at]).collect();
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_of_many_images_are_drawn_from_all_of_them() {
        let images: Vec<usize> = (100..1100).collect();
        let kept = thinned(&images, 50, 3);
        assert!(kept.len() == 50 && kept.is_sorted());
        assert!(kept[0] < 300 && kept[49] > 900, "{kept:?}");
        assert_ne!(kept, thinned(&images, 50, 4));
        assert_eq!(thinned(&images, 1000, 3), images);
    }
}
