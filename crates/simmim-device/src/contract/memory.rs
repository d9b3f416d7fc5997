//! Buffers, and what moves and mixes their values.

use super::subject::{F32, Subject, compare};
use crate::buffer::Element;

pub(super) fn check(subject: &mut Subject<'_>) {
    values_come_back(subject);
    values_of_a_branch_come_back(subject);
    row_numbers_come_back(subject);
    scalars_are_read_together(subject);
    values_are_mixed(subject);
}

fn values_come_back(subject: &mut Subject<'_>) {
    let n = subject.size(3000);
    let values = subject.values(n, 3.0);
    let device = subject.device;
    let buffer = subject.up(&values);
    assert_eq!((buffer.len(), buffer.element()), (n, Element::F32));
    assert_eq!(subject.down(&buffer), values, "upload, download");
    let mut copy = subject.out(n);
    device.copy(&buffer, &mut copy);
    device.release(buffer);
    // What takes the memory of the first must not reach the copy.
    let mut other = device.allocate(n, Element::F32);
    device.fill(&mut other, 7.0);
    device.synchronise();
    assert_eq!(subject.down(&copy), values, "copy");
    assert_eq!(subject.down(&other), vec![7.0; n], "fill");
    device.release(copy);
    device.release(other);
}

/// Of either element and into either: what a branch keeps is rounded, and nothing else.
fn values_of_a_branch_come_back(subject: &mut Subject<'_>) {
    let n = subject.size(3000);
    let mut values = subject.values(n, 3.0);
    let buffer = subject.up_in_branch(&mut values);
    assert_eq!(subject.down(&buffer), values, "download of {buffer:?}");
    let mut copy = subject.out_in_branch(n);
    subject.device.copy(&buffer, &mut copy);
    subject.compare_buffer("copy", &copy, &values, 0.0);
    subject.device.fill(&mut copy, 7.0);
    assert_eq!(subject.down(&copy), vec![7.0; n], "fill of {copy:?}");
    let mut sum = subject.device.allocate(n, buffer.element());
    subject.device.copy(&buffer, &mut sum);
    subject.device.add_assign(&mut sum, &buffer);
    let expected: Vec<f64> = values.iter().map(|value| 2.0 * value).collect();
    subject.compare_buffer("add_assign", &sum, &expected, 0.0);
}

fn row_numbers_come_back(subject: &mut Subject<'_>) {
    // None at all, too: an empty list stands for windows without regions.
    let n = subject.below(50);
    let numbers = subject.numbers(n, u32::MAX as usize);
    let device = subject.device;
    for _ in 0..2 {
        // The second time in memory that was given back.
        let buffer = device.upload_index(&numbers);
        assert_eq!((buffer.len(), buffer.element()), (n, Element::U32));
        assert_eq!(device.download_index(&buffer), numbers, "upload_index");
        device.release(buffer);
    }
}

fn scalars_are_read_together(subject: &mut Subject<'_>) {
    let device = subject.device;
    let (loss, x) = (device.upload(&[0.3]), device.upload(&[3.0, 4.0]));
    // Of 64 bits, where a loss has 32: one read has to take both.
    let norm = device.global_norm(&[&x]);
    let reading = device.read_scalars(&[&loss, &norm, &loss]);
    // What is asked for meanwhile, in memory that is given back, must not reach it.
    let values = f64::from(0.3_f32);
    for buffer in [loss, norm] {
        device.release(buffer);
    }
    let mut other = device.allocate(1, Element::F32);
    device.fill(&mut other, 7.0);
    let found = reading.wait();
    compare("read_scalars", &found, &[values, 5.0, values], 1e-12);
}

fn values_are_mixed(subject: &mut Subject<'_>) {
    let n = subject.size(3000);
    let (x, y) = (subject.values(n, 2.0), subject.values(n, 2.0));
    let device = subject.device;
    let other = subject.up(&y);
    let mut sum = subject.up(&x);
    device.add_assign(&mut sum, &other);
    let expected: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
    subject.compare_buffer("add_assign", &sum, &expected, F32);
    let mut mixed = subject.up(&x);
    // Whatever the scale, if it is one.
    device.lerp(&mut mixed, &other, 0.25, &device.upload(&[0.3]));
    let expected: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x + 0.25 * (y - x)).collect();
    subject.compare_buffer("lerp", &mixed, &expected, F32);
    device.lerp(&mut mixed, &other, 0.25, &device.upload(&[f32::NAN]));
    subject.compare_buffer("lerp of no step", &mixed, &expected, F32);
}
