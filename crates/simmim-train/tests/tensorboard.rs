//! Event files, read back by a reader that shares no line with the writer.

use std::fs;
use std::path::Path;

use simmim_train::metrics::Record;
use simmim_train::tensorboard::{EventWriter, FILE_PREFIX, rebuild};

/// CRC-32C bit by bit: polynomial 0x1EDC6F41, reflected.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

fn unmasked(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_left(15)
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(n);
    *bytes = rest;
    taken
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

/// The payloads of all frames, their checks compared.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = take(&mut bytes, 8);
        assert_eq!(unmasked(word(take(&mut bytes, 4))), crc32c(length));
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
        let payload = take(&mut bytes, length);
        assert_eq!(unmasked(word(take(&mut bytes, 4))), crc32c(payload));
        frames.push(payload);
    }
    frames
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a varint has ten bytes at most");
}

/// Number and contents of every field of a message; a varint comes as eight little-endian bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let contents = match key & 7 {
            0 => varint(&mut message).to_le_bytes().to_vec(),
            1 => take(&mut message, 8).to_vec(),
            2 => {
                let length = varint(&mut message) as usize;
                take(&mut message, length).to_vec()
            }
            5 => take(&mut message, 4).to_vec(),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, contents));
    }
    fields
}

fn field(message: &[u8], number: u64) -> Option<Vec<u8>> {
    fields(message)
        .into_iter()
        .find(|(found, _)| *found == number)
        .map(|(_, contents)| contents)
}

/// A value of a summary with its wall time, step and tag.
struct Value {
    time: f64,
    step: u64,
    tag: String,
    message: Vec<u8>,
}

fn values(path: &Path) -> Vec<Value> {
    let bytes = fs::read(path).expect("the event file");
    let frames = frames(&bytes);
    assert_eq!(
        field(frames[0], 3).as_deref(),
        Some(b"brain.Event:2".as_slice())
    );
    let mut values = Vec::new();
    for event in &frames[1..] {
        let eight = |number| {
            field(event, number)
                .expect("a field")
                .try_into()
                .expect("eight bytes")
        };
        let summary = field(event, 5).expect("a summary");
        for (_, message) in fields(&summary) {
            values.push(Value {
                time: f64::from_le_bytes(eight(1)),
                step: u64::from_le_bytes(eight(2)),
                tag: String::from_utf8(field(&message, 1).expect("a tag")).expect("text"),
                message,
            });
        }
    }
    values
}

fn record(step: u64) -> Record {
    Record {
        step,
        epoch: 0.5 * step as f64,
        loss: 1.0 / step as f64,
        val_loss: (step == 300).then_some(0.625),
        val_accuracy: None,
        lr: 1e-4 / 3.0,
        grad_norm: 2.5,
        images_per_sec: 100.125,
        seconds: 3.5,
        data_wait: 0.0,
        time: 1_790_000_000.25 + step as f64,
    }
}

fn event_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("the folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with(FILE_PREFIX))
        .count()
}

#[test]
fn every_metric_is_read_back_as_the_nearest_f32() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(folder.path(), 1_790_000_000.0).unwrap();
    let records: Vec<Record> = [1, 2, 300].map(record).to_vec();
    for record in &records {
        writer.record(record).unwrap();
    }
    let mut read = values(writer.path()).into_iter();
    for record in &records {
        for (tag, value) in record.metrics() {
            let found = read.next().unwrap();
            assert_eq!((found.step, found.tag.as_str()), (record.step, tag));
            assert_eq!(found.time.to_bits(), record.time.to_bits());
            assert_eq!(
                word(&field(&found.message, 2).unwrap()),
                (value as f32).to_bits()
            );
        }
    }
    assert!(read.next().is_none());
}

#[test]
fn a_picture_carries_its_size_and_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, 5, 3);
    encoder.set_color(png::ColorType::Rgb);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&[7; 45])
        .unwrap();
    let mut writer = EventWriter::create(folder.path(), 5.0).unwrap();
    writer.image("reconstructions", 12, 6.5, &png).unwrap();
    let read = values(writer.path());
    assert_eq!(
        (read[0].step, read[0].tag.as_str()),
        (12, "reconstructions")
    );
    let image = field(&read[0].message, 4).unwrap();
    let number = |index| u64::from_le_bytes(field(&image, index).unwrap().try_into().unwrap());
    assert_eq!((number(1), number(2), number(3)), (3, 5, 3));
    assert_eq!(field(&image, 4).unwrap(), png);
}

#[test]
fn a_rebuilt_folder_has_one_file_and_each_step_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(folder.path(), 100.0).unwrap();
    for step in 1..=9 {
        writer.record(&record(step)).unwrap();
    }
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let kept: Vec<Record> = (1..=6).map(record).collect();
    let mut writer = rebuild(folder.path(), &kept, 200.0).unwrap();
    writer.record(&record(7)).unwrap();
    assert_eq!(event_files(folder.path()), 1);
    assert!(folder.path().join("notes.txt").exists());
    let losses: Vec<u64> = values(writer.path())
        .iter()
        .filter(|value| value.tag == "loss")
        .map(|value| value.step)
        .collect();
    assert_eq!(losses, [1, 2, 3, 4, 5, 6, 7]);
}
