//! Values to classes: whole numbers, which are right or wrong.

use super::subject::Subject;

pub(super) fn check(subject: &mut Subject<'_>) {
    quantise(subject);
    nearest(subject);
    argmax(subject);
}

fn quantise(subject: &mut Subject<'_>) {
    let (n, n_bins) = (subject.size(300), subject.size(9));
    // On both sides of 0 to 1.
    let values = subject.values(n, 1.5);
    let bin =
        |value: &f64| ((value * n_bins as f64).floor().max(0.0) as u32).min(n_bins as u32 - 1);
    let expected: Vec<u32> = values.iter().map(bin).collect();
    let found = subject.device.quantise(&subject.up(&values), n_bins);
    let found = subject.device.download_index(&found);
    assert_eq!(found, expected, "quantise to {n_bins} bins");
}

fn nearest(subject: &mut Subject<'_>) {
    let (n, n_words, width) = (subject.size(200), subject.size(40), subject.size(7));
    let (rows, words) = (
        subject.values(n * width, 1.0),
        subject.values(n_words * width, 1.0),
    );
    let distance = |row: &[f64], word: u32| {
        let word = &words[word as usize * width..][..width];
        row.iter()
            .zip(word)
            .map(|(x, y)| (x - y).powi(2))
            .sum::<f64>()
    };
    let found = subject
        .device
        .nearest(&subject.up(&rows), &subject.up(&words), width);
    let found = subject.device.download_index(&found);
    assert_eq!(found.len(), n, "nearest: number of rows");
    for (row, found) in rows.chunks(width).zip(found) {
        let all = (0..n_words as u32).map(|word| distance(row, word));
        let least = all.fold(f64::INFINITY, f64::min);
        // Of two that are as near in f32, either is right.
        assert!(
            distance(row, found) <= least + 1e-6,
            "nearest: {found} is {} away, another {least}",
            distance(row, found)
        );
    }
    // Of several at the same distance, the lowest.
    let word = vec![0.5; 3 * width];
    let found = subject
        .device
        .nearest(&subject.up(&rows), &subject.up(&word), width);
    assert_eq!(subject.device.download_index(&found), vec![0; n], "nearest");
}

fn argmax(subject: &mut Subject<'_>) {
    let (rows, width) = (subject.size(30), subject.size(40));
    let mut x = subject.values(rows * width, 1.0);
    // The largest twice: the first one counts.
    let (first, second) = (subject.below(width), subject.below(width));
    for row in x.chunks_mut(width) {
        (row[first], row[second]) = (2.0, 2.0);
    }
    let found = subject.device.argmax(&subject.up(&x), width);
    let found = subject.device.download_index(&found);
    assert_eq!(found, vec![first.min(second) as u32; rows], "argmax");
}
