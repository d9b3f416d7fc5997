//! Features of all images of a data set in one file, row by row as they are computed.
//!
//! Every image has its row, in the order of the data set: that of an image that cannot be read holds NaN, so that rows and
//! names can never slip against each other, and so that the length of the file is known before its first row.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use simmim_checkpoint::{write_atomic, write_bytes_atomic};
use simmim_config::near::near_or_all;
use simmim_data::{BadImage, Batch, DataSet, Reporter};

use crate::error::Error;
use crate::features::{Choice, Extractor};
use crate::walk::{Part, Walk};

/// Rows of one row group of a Parquet file.
const ROWS_OF_A_GROUP: usize = 1024;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `NumPy`'s: a matrix. The names are in a JSON file beside it.
    Npy,
    /// Two tensors: `features`, and `names`, the bytes of a JSON list.
    Safetensors,
    /// Two columns: `path`, and `features`, a list.
    Parquet,
}

impl Format {
    /// The kind that a file's name ends in.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`].
    pub fn of(path: &Path) -> Result<Self, Error> {
        let ending = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        match ending.as_str() {
            "npy" => Ok(Self::Npy),
            "safetensors" => Ok(Self::Safetensors),
            "parquet" => Ok(Self::Parquet),
            _ => Err(Error::UnknownFormat {
                path: path.to_owned(),
                near: near_or_all(&ending, ["npy", "safetensors", "parquet"]),
            }),
        }
    }
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// Rows, one an image.
    pub n_images: usize,
    /// Values of a row.
    pub width: usize,
    /// Images whose row holds NaN.
    pub unreadable: Vec<BadImage>,
    /// The file of the names, where they have one of their own.
    pub names: Option<PathBuf>,
}

/// Which features are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedSettings {
    /// The vector that is taken of each image.
    pub choice: Choice,
    /// Images that are looked at together; the result is the same, to the bit where products are our own (AVX-512 BF16, AMX).
    pub batch_size: usize,
}

/// Computes the features of all images and writes them, so that no more than a few batches are in memory. `seen` is told
/// after each batch how many images are done. Of several processes rank 0 writes.
///
/// # Errors
/// [`Error::UnknownFormat`], [`Error::NoFeature`]; [`Error::Data`] for too many unreadable images; [`Error::File`];
/// [`Error::Ranks`]. The file that stood there is then untouched.
pub fn embed(
    extractor: &Extractor,
    data: &Arc<DataSet>,
    settings: EmbedSettings,
    out: &Path,
    seen: &mut dyn FnMut(usize),
) -> Result<Embedded, Error> {
    let EmbedSettings { choice, batch_size } = settings;
    let format = Format::of(out)?;
    let width = extractor.width_of(choice)?;
    let n_images = data.len();
    // A row of NaN is better than none, up to the limit that a training has.
    let reporter = Arc::new(Reporter::new(extractor.config().bad_limit(n_images)));
    let mut rows = Rows {
        extractor,
        choice,
        width,
        walk: extractor.all_images(data, &reporter, batch_size)?,
        next: 0,
        n_images,
        waiting: None,
        at: 0,
        fault: None,
        seen,
    };
    let own = if extractor.ranks().is_first() {
        write(out, format, data, &mut rows)
    } else {
        rows.work().map(|()| None)
    };
    let names = rows.walk.finish(own)?;
    Ok(Embedded {
        n_images,
        width,
        unreadable: reporter.list(),
        names,
    })
}

/// Writes all rows, with their names; returns the file of the names, where they have one of their own.
fn write(
    out: &Path,
    format: Format,
    data: &DataSet,
    rows: &mut Rows<'_>,
) -> Result<Option<PathBuf>, Error> {
    let names = || (0..data.len()).map(|idx| data.name(idx));
    let list = || serde_json::to_vec(&names().collect::<Vec<_>>());
    let written = write_atomic(out, |file| match format {
        Format::Npy => write_npy(file, rows),
        Format::Safetensors => write_safetensors(file, &list()?, rows),
        Format::Parquet => write_parquet(file, &mut names(), rows).map_err(io::Error::other),
    });
    // What went wrong with an image says more than that the file could not be written.
    if let Some(fault) = rows.fault.take() {
        return Err(fault);
    }
    written?;
    if format != Format::Npy {
        return Ok(None);
    }
    let path = out.with_extension("names.json");
    write_bytes_atomic(&path, &list().expect("names are plain JSON"))?;
    Ok(Some(path))
}

/// The rows of all images, in order.
struct Rows<'a> {
    extractor: &'a Extractor,
    choice: Choice,
    width: usize,
    walk: Walk,
    /// The next image whose row is due.
    next: usize,
    n_images: usize,
    waiting: Option<Part>,
    /// Its next row.
    at: usize,
    fault: Option<Error>,
    seen: &'a mut dyn FnMut(usize),
}

impl Rows<'_> {
    /// Puts the next row in `row`; false behind the last one.
    fn next(&mut self, row: &mut Vec<f32>) -> io::Result<bool> {
        row.clear();
        if self.next == self.n_images {
            return Ok(false);
        }
        self.fill()?;
        match &mut self.waiting {
            // Batches leave out what cannot be read; a gap in their numbers is such an image.
            Some(part) if part.entries[self.at] == self.next => {
                row.extend(&part.columns[0][self.at * self.width..][..self.width]);
                self.at += 1;
            }
            // It is in no batch: it could not be read.
            _ => row.resize(self.width, f32::NAN),
        }
        self.next += 1;
        Ok(true)
    }

    /// Computes the next batch that holds an image, where no row is waiting; none at the end.
    fn fill(&mut self) -> io::Result<()> {
        while self
            .waiting
            .as_ref()
            .is_none_or(|part| part.entries.len() == self.at)
        {
            let part = self.next_part().map_err(|error| {
                self.fault = Some(error);
                io::Error::other("an image could not be read")
            })?;
            self.at = 0;
            self.waiting = part;
            let Some(part) = &self.waiting else {
                return Ok(());
            };
            (self.seen)(self.next + part.entries.len());
        }
        Ok(())
    }

    fn next_part(&mut self) -> Result<Option<Part>, Error> {
        let (extractor, choice) = (self.extractor, self.choice);
        let compute = &mut |batch: &Batch| vec![extractor.features(batch, choice)];
        self.walk.next(compute)
    }

    /// Does this process's share of the work for rank 0, which gets the rows.
    fn work(&mut self) -> Result<(), Error> {
        self.next_part().map(|_| ())
    }

    /// All rows as little-endian bytes.
    fn write_bytes(&mut self, file: &mut dyn Write) -> io::Result<()> {
        let (mut row, mut bytes) = (Vec::new(), Vec::new());
        while self.next(&mut row)? {
            bytes.clear();
            bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
            file.write_all(&bytes)?;
        }
        Ok(())
    }
}

/// Version 1.0 of the format.
///
/// Source: `NumPy`, `numpy.lib.format`: the magic, the version, the length of the header, a Python dictionary padded with
/// spaces so that the values begin at a multiple of 64 bytes.
fn write_npy(file: &mut dyn Write, rows: &mut Rows<'_>) -> io::Result<()> {
    const BEFORE: usize = 10;
    let (n, width) = (rows.n_images, rows.width);
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, {width}), }}");
    let len = (BEFORE + header.len() + 1).next_multiple_of(64) - BEFORE;
    header += &" ".repeat(len - header.len() - 1);
    header.push('\n');
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(len as u16).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    rows.write_bytes(file)
}

/// Source: the format of huggingface/safetensors: the length of a JSON header, the header, the values.
fn write_safetensors(file: &mut dyn Write, names: &[u8], rows: &mut Rows<'_>) -> io::Result<()> {
    let (n, width) = (rows.n_images, rows.width);
    // The names come last, because the rows are written as they are computed.
    let end = 4 * n * width;
    let header = serde_json::json!({
        "features": {"dtype": "F32", "shape": [n, width], "data_offsets": [0, end]},
        "names": {"dtype": "U8", "shape": [names.len()], "data_offsets": [end, end + names.len()]},
    });
    let mut header = header.to_string();
    // Values begin at a multiple of 8 bytes.
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    rows.write_bytes(file)?;
    file.write_all(names)
}

fn write_parquet(
    file: &mut (dyn Write + Send),
    names: &mut dyn Iterator<Item = &str>,
    rows: &mut Rows<'_>,
) -> Result<(), ParquetError> {
    const SCHEMA: &str = "message images {
        required binary path (UTF8);
        required group features (LIST) { repeated group list { required float element; } }
    }";
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut writer =
        SerializedFileWriter::new(file, schema, Arc::new(WriterProperties::default()))?;
    let mut row = Vec::new();
    loop {
        let (mut paths, mut values) = (Vec::new(), Vec::new());
        // A group is held in memory until it is written.
        while paths.len() < ROWS_OF_A_GROUP && rows.next(&mut row)? {
            let name = names.next().unwrap_or_default();
            paths.push(ByteArray::from(name));
            values.extend(&row);
        }
        if paths.is_empty() {
            break;
        }
        let mut group = writer.next_row_group()?;
        if let Some(mut column) = group.next_column()? {
            column
                .typed::<ByteArrayType>()
                .write_batch(&paths, None, None)?;
            column.close()?;
        }
        if let Some(mut column) = group.next_column()? {
            // Levels of the format: 1 for an element that is there; 0 for one that begins a list, 1 for one that goes on.
            let there = vec![1_i16; values.len()];
            let begins = (0..values.len()).map(|at| i16::from(at % rows.width != 0));
            let begins: Vec<i16> = begins.collect();
            let column_of_values = column.typed::<FloatType>();
            column_of_values.write_batch(&values, Some(&there), Some(&begins))?;
            column.close()?;
        }
        group.close()?;
    }
    writer.close().map(|_| ())
}
