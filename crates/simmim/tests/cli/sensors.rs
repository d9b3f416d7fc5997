//! Images of sensors: more than 8 bits, floats, pages, an alpha beside grey.

use std::fs;

use image::{GrayAlphaImage, ImageBuffer, Luma, LumaA};

use crate::sandbox::Sandbox;

const FIVE_PAGES: &[u8] = include_bytes!("../../../simmim-data/tests/data/tiff/five-pages.tif");
const FLOATS: &[u8] = include_bytes!("../../../simmim-data/tests/data/tiff/float32.tif");
const SIGNED: &[u8] = include_bytes!("../../../simmim-data/tests/data/tiff/int16.tif");
const COLOURS: &[u8] = include_bytes!("../../../simmim-data/tests/data/tiff/plain.tif");

/// The largest value of 12 bits.
const FULL_12: u16 = 4095;

/// Grey images of 12 bits in 16, which together have every value.
fn with_12_bits() -> (Sandbox, Vec<u16>) {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("photos")).unwrap();
    let mut values = Vec::new();
    for idx in 0..12_u32 {
        let image = ImageBuffer::<Luma<u16>, _>::from_fn(48, 48, |x, y| {
            Luma([((x * 85 + y * 43 + idx * 311) % 4096) as u16])
        });
        values.extend_from_slice(image.as_raw());
        image
            .save(sandbox.path(&format!("photos/{idx:02}.png")))
            .unwrap();
    }
    (sandbox, values)
}

/// The numbers of a key of the run's configuration.
fn numbers(sandbox: &Sandbox, key: &str) -> Vec<f64> {
    let text = fs::read_to_string(sandbox.path("run/config.toml")).unwrap();
    let config: toml::Table = text.parse().unwrap();
    let list = config["data"][key].as_array().unwrap();
    list.iter().map(|v| v.as_float().unwrap()).collect()
}

#[test]
fn a_range_is_measured_once_and_every_command_reads_by_it() {
    let (sandbox, values) = with_12_bits();
    let ran = sandbox
        .pretrain("--data photos --set data.channels=1 --set data.normalise=\"dataset\"")
        .ok();
    let line = "values from 0 to 4095 in the images become 0 to 1 (data.range)";
    assert!(ran.stderr.contains(line), "{ran:?}");
    assert_eq!(numbers(&sandbox, "range"), [0.0, f64::from(FULL_12)]);
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
    let found = numbers(&sandbox, "mean")[0] * f64::from(FULL_12);
    assert!((found - mean).abs() < 0.01, "{found} {mean}");

    // Pictures are drawn in the range: the brightest original is white, not black.
    let picture = fs::read_dir(sandbox.path("run/reconstructions")).unwrap();
    let picture = picture.map(|entry| entry.unwrap().path()).max().unwrap();
    let picture = image::open(picture).unwrap().into_luma8();
    let is_shown = |level: &&u8| (128..250).contains(*level);
    assert!(picture.iter().filter(is_shown).count() > picture.len() / 20);

    sandbox
        .simmim("embed --from run --data photos --out features.npy")
        .ok();
    // Another data set is read by the numbers of the run, not by its own.
    fs::create_dir(sandbox.path("dark")).unwrap();
    let dark = ImageBuffer::<Luma<u16>, _>::from_fn(48, 48, |x, _| Luma([x as u16]));
    dark.save(sandbox.path("dark/one.png")).unwrap();
    sandbox
        .simmim("embed --from run --data dark --out dark.npy")
        .ok();
    let [dark, all] = ["dark.npy", "features.npy"].map(|name| {
        let bytes = fs::read(sandbox.path(name)).unwrap();
        bytes[bytes.len() - 96..].to_vec()
    });
    assert_ne!(dark, all);
}

#[test]
fn three_channels_of_12_bits_are_a_warning_with_the_levels_and_the_keys() {
    let (sandbox, _) = with_12_bits();
    let ran = sandbox.pretrain("--data photos").ok();
    for text in [
        "WARNING",
        "17 of 256 levels",
        "data.channels=1",
        "data.range=\"dataset\"",
    ] {
        assert!(ran.stderr.contains(text), "no {text} in {ran:?}");
    }
    let ran = sandbox
        .simmim(
            "pretrain --config tiny.toml --out spread --data photos --set data.range=\"dataset\"",
        )
        .ok();
    assert!(!ran.stderr.contains("WARNING: of values"), "{ran:?}");
}

#[test]
fn pages_are_told_and_read_as_channels_where_that_is_asked_for() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("stacks")).unwrap();
    for idx in 0..6 {
        fs::write(sandbox.path(&format!("stacks/{idx}.tif")), FIVE_PAGES).unwrap();
    }
    let ran = sandbox.pretrain("--data stacks").ok();
    let line = "6 of 6 images have several pages, up to 5";
    assert!(ran.stderr.contains(line), "{ran:?}");
    assert!(ran.stderr.contains("data.pages=\"channels\""), "{ran:?}");
    // So it is where images are only looked at.
    let ran = sandbox
        .simmim("embed --from run --data stacks --out first.npy")
        .ok();
    assert!(ran.stderr.contains(line), "{ran:?}");

    let five = "--set data.channels=5 --set data.normalise=\"dataset\"";
    sandbox
        .simmim(&format!(
            "pretrain --config tiny.toml --out five --data stacks {five}"
        ))
        .fails(1, &["first of 5 pages", "hint: set data.pages"]);
    let all = format!("{five} --set data.pages=\"channels\"");
    let ran = sandbox
        .simmim(&format!(
            "pretrain --config tiny.toml --out all --data stacks {all}"
        ))
        .ok();
    assert!(!ran.stderr.contains("several pages"), "{ran:?}");
    sandbox
        .simmim("embed --from all --data stacks --out features.npy")
        .ok();
}

#[test]
fn floats_and_signed_numbers_are_read_by_what_the_data_set_holds() {
    for (name, bytes, mean, std) in [
        ("floats", FLOATS, 248.27854107022284, 39.71211835889105),
        ("signed", SIGNED, 993.10703125, 1145.4491948906164),
    ] {
        let sandbox = Sandbox::new();
        fs::create_dir(sandbox.path(name)).unwrap();
        for idx in 0..5 {
            fs::write(sandbox.path(&format!("{name}/{idx}.tif")), bytes).unwrap();
        }
        sandbox
            .pretrain(&format!(
                "--data {name} --set data.channels=1 --set data.normalise=\"dataset\""
            ))
            .ok();
        let range = numbers(&sandbox, "range");
        let (low, extent) = (range[0], range[1] - range[0]);
        let found = [
            numbers(&sandbox, "mean")[0] * extent + low,
            numbers(&sandbox, "std")[0] * extent,
        ];
        for (found, expected) in found.into_iter().zip([mean, std]) {
            assert!((found / expected - 1.0).abs() < 1e-4, "{name}: {found}");
        }
    }
}

#[test]
fn grey_with_an_alpha_is_chosen_to_be_one_channel_and_colour_goes_with_it() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("scans")).unwrap();
    for idx in 0..12_u32 {
        let scan = GrayAlphaImage::from_fn(40, 40, |x, y| {
            LumaA([((x * 5 + y * 3 + idx * 17) % 256) as u8, 255 - x as u8])
        });
        scan.save(sandbox.path(&format!("scans/{idx}.png")))
            .unwrap();
    }
    let ran = sandbox
        .simmim("pretrain --data scans --out run --set train.max_steps=1 --set train.batch_size=4 --threads 1")
        .ok();
    assert!(ran.stderr.contains("\n  channels  1, "), "{ran:?}");
    fs::create_dir(sandbox.path("colour")).unwrap();
    fs::write(sandbox.path("colour/bands.tif"), COLOURS).unwrap();
    let ran = sandbox
        .simmim("embed --from run --data colour --out features.npy")
        .ok();
    assert!(!ran.stderr.contains("NaN"), "{ran:?}");
}

#[test]
fn what_cannot_be_read_is_told_by_name_with_a_command_that_converts() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("lerc")).unwrap();
    let mut bytes = COLOURS.to_vec();
    // Tag 259, compression, one number of 16 bits.
    let tag = [0x03, 0x01, 3, 0, 1, 0, 0, 0];
    let at = bytes.windows(8).position(|place| place == tag).unwrap();
    bytes[at + 8..at + 10].copy_from_slice(&34887_u16.to_le_bytes());
    fs::write(sandbox.path("lerc/one.tif"), &bytes).unwrap();
    sandbox.pretrain("--data lerc").fails(
        1,
        &[
            "TIFF with LERC compression is not read",
            "hint: convert it, for example with `gdal_translate",
        ],
    );
    assert!(!sandbox.path("run").exists());
}
