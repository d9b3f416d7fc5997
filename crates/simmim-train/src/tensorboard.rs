//! TensorBoard event files: the scalars of a run and its pictures.
//!
//! A file is a sequence of framed records, each an `Event` message in protobuf's encoding. The few fields that are
//! needed are encoded here: the crates that write this format bring a protobuf compiler or have not been kept up.
//!
//! Source of the frame: tensorflow/tensorflow, `tensorflow/core/lib/io/record_writer.h`. Source of the messages:
//! tensorflow/tensorboard, `tensorboard/compat/proto/event.proto` and `summary.proto`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, read_error, write_error};
use crate::metrics::Record;

/// What every event file has in its name, by which TensorBoard finds it.
pub const FILE_PREFIX: &str = "events.out.tfevents.";

/// The version that the first event of a file states.
const FILE_VERSION: &str = "brain.Event:2";

/// An event file, open for appending. Every call writes one whole event, so a viewer can follow the run.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Starts a file in `folder`, named by `time` in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written or a file of that second exists.
    pub fn create(folder: &Path, time: f64) -> Result<Self, Error> {
        let path = folder.join(format!("{FILE_PREFIX}{:010}.simmim", time as u64));
        // Never goes on with an existing file, which may end in a torn event.
        let file = OpenOptions::new().append(true).create_new(true).open(&path);
        let file = file.map_err(|source| write_error(&path, source))?;
        let mut writer = Self { path, file };
        let mut event = event(time, 0);
        // Event.file_version
        bytes_field(&mut event, 3, FILE_VERSION.as_bytes());
        writer.write(&event)?;
        Ok(writer)
    }

    /// Writes the metrics of a record, each under its own name. TensorBoard keeps 32 bits of a value.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn record(&mut self, record: &Record) -> Result<(), Error> {
        let mut summary = Vec::new();
        for (tag, value) in record.metrics() {
            let mut scalar = Vec::new();
            // Summary.Value: 1 tag, 2 simple_value; Summary: 1 value.
            bytes_field(&mut scalar, 1, tag.as_bytes());
            fixed32_field(&mut scalar, 2, (value as f32).to_bits());
            bytes_field(&mut summary, 1, &scalar);
        }
        self.write_summary(record.time, record.step, &summary)
    }

    /// Writes a picture from the bytes of a PNG file, at `time` in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// [`Error::NotPng`] for other bytes, [`Error::File`].
    pub fn image(&mut self, tag: &str, step: u64, time: f64, png: &[u8]) -> Result<(), Error> {
        let header = png_header(png).ok_or_else(|| Error::NotPng {
            tag: tag.to_owned(),
        })?;
        let mut image = Vec::with_capacity(png.len() + 32);
        // Summary.Image: 1 height, 2 width, 3 colorspace, 4 encoded_image_string.
        varint_field(&mut image, 1, u64::from(header.height));
        varint_field(&mut image, 2, u64::from(header.width));
        varint_field(&mut image, 3, header.n_channels);
        bytes_field(&mut image, 4, png);
        let mut value = Vec::with_capacity(image.len() + 64);
        bytes_field(&mut value, 1, tag.as_bytes());
        // Summary.Value: 4 image.
        bytes_field(&mut value, 4, &image);
        let mut summary = Vec::with_capacity(value.len() + 8);
        bytes_field(&mut summary, 1, &value);
        self.write_summary(time, step, &summary)
    }

    /// The file that is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write_summary(&mut self, time: f64, step: u64, summary: &[u8]) -> Result<(), Error> {
        let mut event = event(time, step);
        // Event.summary
        bytes_field(&mut event, 5, summary);
        self.write(&event)
    }

    fn write(&mut self, event: &[u8]) -> Result<(), Error> {
        self.file
            .write_all(&frame(event))
            .map_err(|source| write_error(&self.path, source))
    }
}

/// Removes the event files of `folder` and starts one with `records`, so that a resumed run shows no step twice.
/// Pictures are lost with the old files: the caller adds them again from the run folder.
///
/// # Errors
/// [`Error::File`].
pub fn rebuild(folder: &Path, records: &[Record], time: f64) -> Result<EventWriter, Error> {
    let unreadable = |source| read_error(folder, source);
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.file_name().to_string_lossy().starts_with(FILE_PREFIX) {
            fs::remove_file(entry.path()).map_err(|source| write_error(&entry.path(), source))?;
        }
    }
    let mut writer = EventWriter::create(folder, time)?;
    records
        .iter()
        .try_for_each(|record| writer.record(record))?;
    Ok(writer)
}

/// Length, check of the length, the bytes, check of the bytes.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut framed = Vec::with_capacity(bytes.len() + 16);
    framed.extend_from_slice(&length);
    framed.extend_from_slice(&masked_crc(&length).to_le_bytes());
    framed.extend_from_slice(bytes);
    framed.extend_from_slice(&masked_crc(bytes).to_le_bytes());
    framed
}

/// A checksum, turned and shifted as checksums are that stand in what others may check again.
///
/// Source: tensorflow/tensorflow, `tensorflow/core/lib/hash/crc32c.h`, `Mask`.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// An `Event` with its first two fields: wall time in seconds, step.
fn event(time: f64, step: u64) -> Vec<u8> {
    let mut event = Vec::new();
    key(&mut event, 1, 1);
    event.extend_from_slice(&time.to_le_bytes());
    varint_field(&mut event, 2, step);
    event
}

/// The number of a field and its wire type: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
///
/// Source: the protocol buffers documentation, page "Encoding".
fn key(message: &mut Vec<u8>, field: u64, wire_type: u64) {
    varint(message, field << 3 | wire_type);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn varint_field(message: &mut Vec<u8>, field: u64, value: u64) {
    key(message, field, 0);
    varint(message, value);
}

fn fixed32_field(message: &mut Vec<u8>, field: u64, bits: u32) {
    key(message, field, 5);
    message.extend_from_slice(&bits.to_le_bytes());
}

fn bytes_field(message: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    key(message, field, 2);
    varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

struct PngHeader {
    width: u32,
    height: u32,
    n_channels: u64,
}

/// Source: PNG specification (third edition), sections 5.2 "PNG signature" and 11.2.1 "IHDR".
fn png_header(png: &[u8]) -> Option<PngHeader> {
    let fields = png.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR")?;
    let (width, fields) = fields.split_first_chunk()?;
    let (height, fields) = fields.split_first_chunk()?;
    // The colour type, behind the bit depth: grey, colour or palette, grey with alpha, colour with alpha.
    let n_channels = match fields.get(1)? {
        0 => 1,
        2 | 3 => 3,
        4 => 2,
        6 => 4,
        _ => return None,
    };
    Some(PngHeader {
        width: u32::from_be_bytes(*width),
        height: u32::from_be_bytes(*height),
        n_channels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_of_a_frame_is_the_one_that_tensorflow_computes() {
        // Source: google/crc32c, src/crc32c_unittest.cc, `StandardResults` (32 zero bytes: 0x8a9136aa); masked by hand.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x0fd7_fffa);
    }

    #[test]
    fn a_varint_has_seven_bits_a_byte() {
        // Source: the protocol buffers documentation, page "Encoding": 150 is 96 01.
        let mut message = Vec::new();
        varint_field(&mut message, 1, 150);
        assert_eq!(message, [0x08, 0x96, 0x01]);
    }

    #[test]
    fn bytes_that_are_no_png_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path(), 1.0).unwrap();
        let error = writer.image("pictures", 1, 1.0, b"GIF89a").unwrap_err();
        assert!(error.to_string().contains("pictures"));
    }
}
