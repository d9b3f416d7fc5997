//! What the first bytes of a file say that it is, of kinds that are not read, so that an error can name it.

/// The first bytes that are enough to know every kind.
pub(crate) const MAX_MAGIC: usize = 512;

/// A kind of file that is not read where an image or an archive is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Nothing at all.
    Nothing,
    /// What Git has in place of a file whose contents lie elsewhere.
    LfsPointer,
    /// A page of the web, as a server sends it in place of a file that it does not give out.
    WebPage,
    /// A tar archive that is not compressed.
    Tar,
    /// Data or a tar archive, compressed by gzip.
    Gzip,
    /// A zip archive.
    Zip,
    /// Compressed by zstd.
    Zstd,
    /// Compressed by xz.
    Xz,
    /// Compressed by bzip2.
    Bzip2,
    /// Compressed by lz4.
    Lz4,
    /// A 7z archive.
    SevenZip,
    /// A RAR archive.
    Rar,
    /// HEIC or HEIF, as telephones write it.
    Heic,
    /// AVIF.
    Avif,
    /// JPEG XL.
    JpegXl,
    /// JPEG 2000.
    Jpeg2000,
    /// A drawing in SVG.
    Svg,
    /// A document in PDF.
    Pdf,
    /// A picture of Photoshop.
    Photoshop,
    /// A picture in `OpenEXR`.
    OpenExr,
    /// A plain picture of Netpbm (PBM, PGM, PPM).
    Netpbm,
    /// An array of `NumPy`.
    Npy,
    /// A file of HDF5, MATLAB's newer ones included.
    Hdf5,
    /// A medical image in DICOM.
    Dicom,
    /// A film, or another file of the MPEG-4 family.
    Mpeg4,
}

/// Kinds that begin with these bytes.
const BEGINNINGS: [(&[u8], Content); 26] = [
    (b"version https://git-lfs", Content::LfsPointer),
    (b"\x1f\x8b", Content::Gzip),
    (b"PK\x03\x04", Content::Zip),
    (b"PK\x05\x06", Content::Zip),
    (b"\x28\xb5\x2f\xfd", Content::Zstd),
    (b"\xfd7zXZ\0", Content::Xz),
    (b"BZh", Content::Bzip2),
    (b"\x04\x22\x4d\x18", Content::Lz4),
    (b"7z\xbc\xaf\x27\x1c", Content::SevenZip),
    (b"Rar!\x1a\x07", Content::Rar),
    (b"\xff\x0a", Content::JpegXl),
    (b"\0\0\0\x0cJXL \r\n\x87\n", Content::JpegXl),
    (b"\0\0\0\x0cjP  \r\n\x87\n", Content::Jpeg2000),
    (b"\xff\x4f\xff\x51", Content::Jpeg2000),
    (b"%PDF-", Content::Pdf),
    (b"8BPS", Content::Photoshop),
    (b"\x76\x2f\x31\x01", Content::OpenExr),
    (b"P1", Content::Netpbm),
    (b"P2", Content::Netpbm),
    (b"P3", Content::Netpbm),
    (b"P4", Content::Netpbm),
    (b"P5", Content::Netpbm),
    (b"P6", Content::Netpbm),
    (b"P7", Content::Netpbm),
    (b"\x93NUMPY", Content::Npy),
    (b"\x89HDF\r\n\x1a\n", Content::Hdf5),
];

impl Content {
    /// The kind of a file that begins with these bytes, of which [`MAX_MAGIC`] are enough; `None` where it is none of these.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::Nothing);
        }
        let known = BEGINNINGS
            .iter()
            .find(|(magic, _)| bytes.starts_with(magic));
        known
            .map(|(_, kind)| *kind)
            .or_else(|| Self::inside(bytes))
            .or_else(|| Self::of_markup(bytes))
    }

    /// Kinds whose sign does not stand at the very beginning.
    fn inside(bytes: &[u8]) -> Option<Self> {
        let at = |from: usize, magic: &[u8]| {
            let found = bytes.get(from..from + magic.len());
            found == Some(magic)
        };
        if at(257, b"ustar") {
            return Some(Self::Tar);
        }
        if at(128, b"DICM") {
            return Some(Self::Dicom);
        }
        if !at(4, b"ftyp") {
            return None;
        }
        Some(match bytes.get(8..12) {
            Some(b"avif" | b"avis") => Self::Avif,
            Some(b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1") => Self::Heic,
            _ => Self::Mpeg4,
        })
    }

    /// Pages and drawings, whose first words stand in any case and behind any blanks.
    fn of_markup(bytes: &[u8]) -> Option<Self> {
        let start = &bytes[..bytes.len().min(MAX_MAGIC)];
        let text = String::from_utf8_lossy(start).to_ascii_lowercase();
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if text.starts_with("<!doctype html") || text.starts_with("<html") {
            Some(Self::WebPage)
        } else if text.starts_with("<svg") || text.starts_with("<?xml") && text.contains("<svg") {
            Some(Self::Svg)
        } else {
            None
        }
    }

    /// What it is, as a sentence names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "an empty file",
            Self::LfsPointer => "a pointer of Git LFS, which stands for a file that is not here",
            Self::WebPage => "a page of the web (HTML)",
            Self::Tar => "a tar archive without compression",
            Self::Gzip => "compressed by gzip",
            Self::Zip => "a zip archive",
            Self::Zstd => "compressed by zstd",
            Self::Xz => "compressed by xz",
            Self::Bzip2 => "compressed by bzip2",
            Self::Lz4 => "compressed by lz4",
            Self::SevenZip => "a 7z archive",
            Self::Rar => "a RAR archive",
            Self::Heic => "a HEIC picture",
            Self::Avif => "an AVIF picture",
            Self::JpegXl => "a JPEG XL picture",
            Self::Jpeg2000 => "a JPEG 2000 picture",
            Self::Svg => "a drawing in SVG",
            Self::Pdf => "a PDF document",
            Self::Photoshop => "a Photoshop picture",
            Self::OpenExr => "an OpenEXR picture",
            Self::Netpbm => "a Netpbm picture (PBM, PGM, PPM)",
            Self::Npy => "a NumPy array",
            Self::Hdf5 => "an HDF5 file",
            Self::Dicom => "a DICOM image",
            Self::Mpeg4 => "a film, or another file of the MPEG-4 family",
        }
    }

    /// What to do with such a file.
    pub(crate) fn way_out(self) -> &'static str {
        match self {
            Self::Nothing => "the file is empty: copy or download it again",
            Self::LfsPointer => "fetch the files themselves with `git lfs pull`",
            Self::WebPage => {
                "the download went wrong: open the file to see what the server says, and download it again"
            }
            Self::Tar => "name it .tar: it is no compressed archive",
            Self::Gzip => "name a compressed tar archive .tar.gz, or unpack it with `gunzip`",
            Self::Zip => "unpack it with `unzip` and give the folder",
            Self::Zstd => {
                "unpack it with `tar --zstd -xf` or `zstd -d`, and give the folder or the .tar"
            }
            Self::Xz => "unpack it with `tar -xJf` or `xz -d`, and give the folder or the .tar",
            Self::Bzip2 => {
                "unpack it with `tar -xjf` or `bzip2 -d`, and give the folder or the .tar"
            }
            Self::Lz4 => "unpack it with `lz4 -d`, and give the folder or the .tar",
            Self::SevenZip => "unpack it with `7z x` and give the folder",
            Self::Rar => "unpack it with `unrar x` and give the folder",
            Self::Heic => {
                "convert such pictures to JPEG or PNG, as `heif-convert IN OUT.png` or `magick IN OUT.png` does"
            }
            Self::Avif
            | Self::JpegXl
            | Self::Jpeg2000
            | Self::Svg
            | Self::Pdf
            | Self::Photoshop
            | Self::OpenExr
            | Self::Netpbm => "convert such pictures to PNG, as `magick IN OUT.png` does",
            Self::Npy | Self::Hdf5 | Self::Dicom => {
                "write the images as TIFF of 8 or 16 bits, or as PNG"
            }
            Self::Mpeg4 => "write frames of it as JPEG or PNG, as `ffmpeg -i IN %06d.png` does",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_their_first_bytes() {
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, expected) in [
            (&b""[..], Some(Content::Nothing)),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                Some(Content::LfsPointer),
            ),
            (b"\x1f\x8b\x08", Some(Content::Gzip)),
            (
                b"\xef\xbb\xbf\r\n <!DOCTYPE html><html>",
                Some(Content::WebPage),
            ),
            (b"<HTML><body>404", Some(Content::WebPage)),
            (b"<?xml version='1.0'?>\n<svg/>", Some(Content::Svg)),
            (b"\0\0\0\x18ftypheic\0\0", Some(Content::Heic)),
            (b"\0\0\0\x18ftypavif", Some(Content::Avif)),
            (b"\0\0\0\x18ftypisom", Some(Content::Mpeg4)),
            (b"\0\0\0\x18fty", None),
            (&tar, Some(Content::Tar)),
            (b"BM and more", None),
            (b"no kind at all", None),
        ] {
            assert_eq!(Content::of(bytes), expected, "{bytes:?}");
        }
    }
}
