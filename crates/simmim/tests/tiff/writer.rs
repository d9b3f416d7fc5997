//! TIFF files of every layout, written in code.

use std::io::Write;
use std::ops::Range;

use flate2::Compression as Level;
use flate2::write::ZlibEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use weezl::BitOrder;

/// How the numbers of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Unsigned = 1,
    Signed = 2,
    Float = 3,
}

/// A file to be written: what its tags say.
#[derive(Debug, Clone)]
pub(crate) struct Tiff {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) samples: usize,
    pub(crate) bits: usize,
    pub(crate) kind: Kind,
    pub(crate) photometric: u64,
    pub(crate) extras: Vec<u64>,
    /// 1: all samples together; 2: in planes.
    pub(crate) planar: u64,
    /// Width and height of a tile; none: strips.
    pub(crate) tile: Option<[usize; 2]>,
    pub(crate) rows_per_strip: usize,
    pub(crate) compression: u64,
    pub(crate) predictor: u64,
    pub(crate) is_big_endian: bool,
    pub(crate) is_64_bit: bool,
    /// 1: the highest bit of a byte first; 2: the lowest.
    pub(crate) fill_order: u64,
    pub(crate) orientation: u64,
    pub(crate) no_data: &'static str,
}

impl Default for Tiff {
    fn default() -> Self {
        Self {
            width: 37,
            height: 23,
            samples: 1,
            bits: 8,
            kind: Kind::Unsigned,
            photometric: 1,
            extras: Vec::new(),
            planar: 1,
            tile: None,
            rows_per_strip: 5,
            compression: 1,
            predictor: 1,
            is_big_endian: false,
            is_64_bit: false,
            fill_order: 1,
            orientation: 1,
            no_data: "",
        }
    }
}

/// A tag: number, type (2 text, 3 of 16 bits, 4 of 32) and values.
type Tag = (u16, u16, Vec<u64>);

impl Tiff {
    /// The file whose sample `s` of the pixel in column `x` and row `y` has the bits `value(x, y, s)`.
    pub(crate) fn write(&self, value: &dyn Fn(usize, usize, usize) -> u64) -> Vec<u8> {
        self.write_pages(1, &|_, x, y, s| value(x, y, s))
    }

    /// So many pages, one behind the other.
    pub(crate) fn write_pages(
        &self,
        n_pages: usize,
        value: &dyn Fn(usize, usize, usize, usize) -> u64,
    ) -> Vec<u8> {
        let mut file = if self.is_big_endian {
            b"MM".to_vec()
        } else {
            b"II".to_vec()
        };
        file.extend(self.number(if self.is_64_bit { 43 } else { 42 }, 2));
        if self.is_64_bit {
            file.extend(self.number(8, 2));
            file.extend(self.number(0, 2));
        }
        let mut link = file.len();
        file.extend(self.number(0, self.offset_len()));
        for page in 0..n_pages {
            link = self.write_page(&mut file, link, &|x, y, s| value(page, x, y, s));
        }
        file
    }

    /// Appends a page, and writes its place to `link`; returns where the place of the next one goes.
    fn write_page(
        &self,
        file: &mut Vec<u8>,
        link: usize,
        value: &dyn Fn(usize, usize, usize) -> u64,
    ) -> usize {
        let (mut offsets, mut lengths) = (Vec::new(), Vec::new());
        for piece in self.pieces(value) {
            offsets.push(file.len() as u64);
            lengths.push(piece.len() as u64);
            file.extend(piece);
        }
        let tags = self.tags(offsets, lengths);
        let mut directory = self.number(tags.len() as u64, if self.is_64_bit { 8 } else { 2 });
        for (tag, kind, values) in tags {
            let size = [0, 1, 1, 2, 4][usize::from(kind)];
            let mut bytes: Vec<u8> = values.iter().flat_map(|v| self.number(*v, size)).collect();
            if bytes.len() > self.offset_len() {
                let at = file.len() as u64;
                file.extend(bytes);
                bytes = self.number(at, self.offset_len());
            }
            bytes.resize(self.offset_len(), 0);
            directory.extend(self.number(tag.into(), 2));
            directory.extend(self.number(kind.into(), 2));
            directory.extend(self.number(values.len() as u64, self.offset_len()));
            directory.extend(bytes);
        }
        let at = self.number(file.len() as u64, self.offset_len());
        file[link..link + at.len()].copy_from_slice(&at);
        file.extend(directory);
        let next = file.len();
        file.extend(self.number(0, self.offset_len()));
        next
    }

    fn tags(&self, offsets: Vec<u64>, lengths: Vec<u64>) -> Vec<Tag> {
        let mut tags = vec![
            (256, 4, vec![self.width as u64]),
            (257, 4, vec![self.height as u64]),
            (258, 3, vec![self.bits as u64; self.samples]),
            (259, 3, vec![self.compression]),
            (262, 3, vec![self.photometric]),
            (266, 3, vec![self.fill_order]),
            (274, 3, vec![self.orientation]),
            (277, 3, vec![self.samples as u64]),
            (284, 3, vec![self.planar]),
            (317, 3, vec![self.predictor]),
            (339, 3, vec![self.kind as u64; self.samples]),
        ];
        if !self.extras.is_empty() {
            tags.push((338, 3, self.extras.clone()));
        }
        if !self.no_data.is_empty() {
            let text = self.no_data.bytes().chain([0]);
            tags.push((42113, 2, text.map(u64::from).collect()));
        }
        if self.photometric == 3 {
            tags.push((320, 3, palette(self.bits)));
        }
        if let Some([width, height]) = self.tile {
            tags.push((322, 4, vec![width as u64]));
            tags.push((323, 4, vec![height as u64]));
            tags.push((324, 4, offsets));
            tags.push((325, 4, lengths));
        } else {
            tags.push((273, 4, offsets));
            tags.push((278, 4, vec![self.rows_per_strip as u64]));
            tags.push((279, 4, lengths));
        }
        tags.sort();
        tags
    }

    fn pieces(&self, value: &dyn Fn(usize, usize, usize) -> u64) -> Vec<Vec<u8>> {
        let [wide, high] = self.tile.unwrap_or([self.width, self.rows_per_strip]);
        let planes = if self.planar == 2 { self.samples } else { 1 };
        let (across, down) = (self.width.div_ceil(wide), self.height.div_ceil(high));
        let places = (0..planes * down * across).map(|idx| {
            let (left, top) = (idx % across * wide, idx / across % down * high);
            (idx / across / down, left, top)
        });
        let pieces = places.map(|(plane, left, top)| {
            // Tiles are stored whole, strips are not.
            let rows = match self.tile {
                Some(_) => high,
                None => high.min(self.height - top),
            };
            let rows = (top..top + rows).flat_map(|y| self.row(plane, left..left + wide, y, value));
            self.compress(&rows.collect::<Vec<u8>>())
        });
        pieces.collect()
    }

    /// The bytes of a row of a piece.
    fn row(
        &self,
        plane: usize,
        columns: Range<usize>,
        y: usize,
        value: &dyn Fn(usize, usize, usize) -> u64,
    ) -> Vec<u8> {
        let within = if self.planar == 2 { 1 } else { self.samples };
        let samples = columns.flat_map(|x| (plane..plane + within).map(move |s| (x, s)));
        let row = samples.map(|(x, s)| {
            // What lies beyond the page is never shown, so it may be anything.
            if x < self.width && y < self.height {
                value(x, y, s)
            } else {
                (x * 7 + y) as u64 & self.mask()
            }
        });
        self.row_bytes(row.collect(), within)
    }

    fn mask(&self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    fn row_bytes(&self, row: Vec<u64>, step: usize) -> Vec<u8> {
        let size = self.bits / 8;
        match self.predictor {
            2 => {
                let before = |place: usize| place.checked_sub(step).map_or(0, |at| row[at]);
                let differences = (0..row.len())
                    .map(|place| row[place].wrapping_sub(before(place)) & self.mask());
                differences.flat_map(|v| self.number(v, size)).collect()
            }
            3 => {
                // The highest bytes of all floats first.
                let sorted: Vec<u8> = (0..size)
                    .flat_map(|byte| {
                        row.iter()
                            .map(move |v| (v >> (8 * (size - 1 - byte))) as u8)
                    })
                    .collect();
                let before = |place: usize| place.checked_sub(step).map_or(0, |at| sorted[at]);
                (0..sorted.len())
                    .map(|place| sorted[place].wrapping_sub(before(place)))
                    .collect()
            }
            _ if matches!(self.bits, 8 | 16 | 24 | 32 | 64) => {
                row.iter().flat_map(|v| self.number(*v, size)).collect()
            }
            _ => {
                let bits = row
                    .iter()
                    .flat_map(|v| (0..self.bits).rev().map(move |b| v >> b & 1));
                let bits: Vec<u64> = bits.collect();
                let byte = |bits: &[u64]| {
                    let padded = bits.iter().copied().chain([0; 8]).take(8);
                    padded.fold(0, |sum, bit| sum << 1 | bit) as u8
                };
                bits.chunks(8).map(byte).collect()
            }
        }
    }

    fn compress(&self, bytes: &[u8]) -> Vec<u8> {
        let mut packed = match self.compression {
            5 => weezl::encode::Encoder::with_tiff_size_switch(BitOrder::Msb, 8)
                .encode(bytes)
                .unwrap(),
            8 | 32946 => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Level::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            50000 => compress_to_vec(bytes, CompressionLevel::Fastest),
            // Literal runs of up to 128 bytes.
            32773 => bytes
                .chunks(128)
                .flat_map(|run| [&[(run.len() - 1) as u8], run].concat())
                .collect(),
            _ => bytes.to_vec(),
        };
        if self.fill_order == 2 {
            packed = packed.iter().map(|byte| byte.reverse_bits()).collect();
        }
        packed
    }

    fn offset_len(&self) -> usize {
        if self.is_64_bit { 8 } else { 4 }
    }

    fn number(&self, value: u64, len: usize) -> Vec<u8> {
        let mut bytes = value.to_le_bytes()[..len].to_vec();
        if self.is_big_endian {
            bytes.reverse();
        }
        bytes
    }
}

/// Red, green and blue of a palette of so many bits, in 16 bits: all red first.
fn palette(bits: usize) -> Vec<u64> {
    let n = 1_u64 << bits;
    (0..3 * n).map(|place| place * 21577 % 65536).collect()
}

/// The colour of an index of [`palette`], as Pillow reads it: the high bytes.
pub(crate) fn palette_colour(bits: usize, index: u64) -> [u8; 3] {
    let all = palette(bits);
    [0, 1, 2].map(|colour| (all[(colour << bits) + index as usize] >> 8) as u8)
}
