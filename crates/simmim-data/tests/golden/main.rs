//! Mixup, `CutMix` and random erasing equal timm's, on outputs stored in `golden/augment`.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod erasing;
mod mixing;

/// The images of `golden/augment/make_mix.py`, `[N, C, H, W]` with N · C = `n_planes`.
fn drawn(n_planes: usize, [height, width]: [usize; 2]) -> Vec<f32> {
    const LEVELS: usize = 190;
    let mut values = Vec::new();
    for c in 0..n_planes {
        for y in 0..height {
            for x in 0..width {
                let smooth = x * 2 + y * 3 + c * 60;
                let rough = (x * x * 7 + y * y * 13 + x * y * 5 + c * 101) % 97;
                values.push(((256 - LEVELS) / 2 + (smooth + rough) % LEVELS) as f32);
            }
        }
    }
    values
}

/// The columns of each line of a file.
fn lines(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines().map(|line| line.split(' ').collect())
}

/// A column that is a whole number.
fn whole(column: &str) -> usize {
    column.parse().unwrap()
}

/// A column that is a number.
fn number(column: &str) -> f64 {
    column.parse().unwrap()
}
