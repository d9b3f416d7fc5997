//! JPEGs of every structure come out as libjpeg-turbo reads them, or are refused by name.

use std::io::Read;

use flate2::Crc;
use flate2::read::GzDecoder;
use simmim_data::{DecodeSettings, Error, Samples, decode, probe};

const FILES: &[u8] = include_bytes!("../golden/jpeg/files.tar.gz");
const EXPECTED: &str = include_str!("../golden/jpeg/expected.txt");

/// A file of `golden/jpeg/make.py` and its line of what is expected.
struct Case {
    bytes: Vec<u8>,
    name: &'static str,
    expected: &'static str,
}

fn cases() -> Vec<Case> {
    let mut archive = tar::Archive::new(GzDecoder::new(FILES));
    let entries = archive.entries().unwrap();
    let case = |(entry, line): (std::io::Result<tar::Entry<_>>, &'static str)| {
        let mut entry = entry.unwrap();
        let (name, expected) = line.split_once(' ').unwrap();
        assert_eq!(entry.path().unwrap().to_str(), Some(name));
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        Case {
            bytes,
            name,
            expected,
        }
    };
    entries.zip(EXPECTED.lines()).map(case).collect()
}

fn case(name: &str) -> Case {
    let found = cases().into_iter().find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("no file {name}"))
}

fn rgb(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    match decode(bytes, 3, &DecodeSettings::default())?.samples {
        Samples::U8(values) => Ok(values),
        _ => panic!("expected 8 bits"),
    }
}

/// The error and its cause.
fn said(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// What is found, in the words of `expected.txt`.
fn found(bytes: &[u8]) -> String {
    match rgb(bytes) {
        Ok(values) => {
            let header = probe(bytes, &DecodeSettings::default()).unwrap();
            let mut crc = Crc::new();
            crc.update(&values);
            let (width, height, channels) = (header.width, header.height, header.channels);
            format!("{width} {height} {channels} {:08x}", crc.sum())
        }
        Err(error) => {
            let said = said(&error);
            assert!(!said.contains("panicked"), "{said}");
            "refused".to_owned()
        }
    }
}

#[test]
fn jpegs_of_every_structure_have_pillows_pixels_or_are_refused() {
    let cases = cases();
    assert!(cases.len() > 700, "only {} files", cases.len());
    let wrong = cases.iter().filter_map(|case| {
        let found = found(&case.bytes);
        (found != case.expected).then(|| format!("{}: {found}, not {}", case.name, case.expected))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
}

#[test]
fn a_jpeg_that_is_not_read_is_refused_by_the_name_of_its_kind() {
    for (name, expected) in [
        ("twelve-bits", "a JPEG with samples of 12 bits is not read"),
        (
            "lossless-sixteen",
            "a JPEG with samples of 16 bits is not read",
        ),
        (
            "no-height",
            "a JPEG with its height behind the picture (marker DNL) is not read",
        ),
        ("two-components", "a JPEG with 2 components is not read"),
        (
            "fractional",
            "a JPEG with fractional sampling (2x1 beside 3x1) is not read",
        ),
        (
            "hierarchical",
            "a JPEG with hierarchical coding is not read",
        ),
        (
            "lossless-four",
            "a JPEG with lossless coding of four colours is not read",
        ),
        ("jpeg-ls", "a JPEG with the coding of JPEG-LS is not read"),
        (
            "no-quantisation",
            "cannot decode the JPEG data: corrupt data: missing",
        ),
        (
            "tables-none-progressive-2x2",
            "cannot decode the JPEG data: corrupt data: missing",
        ),
        ("field-cut-with-end-marker-half", "the JPEG data ends early"),
    ] {
        let said = said(&rgb(&case(&format!("{name}.jpg")).bytes).unwrap_err());
        // How the decoder goes on is its own affair.
        assert!(said.starts_with(expected), "{name}: {said}");
    }
}

/// Where the coded data of the last scan begins: behind its header.
fn last_scan(bytes: &[u8]) -> usize {
    let starts = bytes.windows(2).rposition(|pair| pair == [0xff, 0xda]);
    let start = starts.unwrap() + 2;
    start + usize::from(u16::from_be_bytes([bytes[start], bytes[start + 1]]))
}

#[test]
fn a_scan_that_is_cut_before_an_end_marker_is_refused() {
    for name in [
        "clean",
        "joined-1x1-1x1-1x1",
        "apart-2x2-1x1-1x1",
        "progressive-2x1-1x1-1x1",
        "grey-1x1-progressive",
        "restart-rows-2x2",
        "inks-2-adobe2",
        "inks-1-restart-adobe2",
        "joined-1x1-2x1-2x1",
        "two-2x2-1x1-1x1",
        "lossless",
    ] {
        let bytes = case(&format!("{name}.jpg")).bytes;
        let whole = rgb(&bytes).unwrap();
        let mut n_refused = 0;
        let data = last_scan(&bytes)..bytes.len() - 2;
        for end in data.clone() {
            let mut cut = bytes[..end].to_vec();
            // Half of an escaped byte is none.
            if cut.last() == Some(&0xff) {
                cut.pop();
            }
            cut.extend([0xff, 0xd9]);
            match rgb(&cut) {
                // The last bits may be no more than padding.
                Ok(found) => assert_eq!(found, whole, "{name} cut at {end}"),
                Err(_) => n_refused += 1,
            }
        }
        assert!(
            n_refused + 3 > data.len(),
            "{name}: {n_refused} of {}",
            data.len()
        );
    }
}

#[test]
fn a_cut_in_arithmetic_data_cannot_be_told_from_zeros_that_its_coder_left_out() {
    let bytes = case("arithmetic-2x2.jpg").bytes;
    let start = last_scan(&bytes);
    let mut cut = bytes[..usize::midpoint(start, bytes.len())].to_vec();
    cut.extend([0xff, 0xd9]);
    assert_ne!(rgb(&cut).unwrap(), rgb(&bytes).unwrap());
}
