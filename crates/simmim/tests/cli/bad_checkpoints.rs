//! Files of weights that are damaged, or no such files.

use std::fs;

use crate::sandbox::Sandbox;

#[test]
fn a_checkpoint_cut_anywhere_is_an_error_and_never_a_panic() {
    let sandbox = Sandbox::with_photos(6);
    sandbox.pretrain("--data photos --set train.epochs=1").ok();
    let last = sandbox.path("run/checkpoints/last.safetensors");
    let whole = fs::read(&last).unwrap();
    fs::remove_file(sandbox.path("run/checkpoints/best.safetensors")).unwrap();
    for part in 0..64 {
        fs::write(&last, &whole[..whole.len() * part / 64]).unwrap();
        let commands = [
            "inspect run/checkpoints/last.safetensors",
            "reconstruct --from run photos/000.png",
            "pretrain --resume run",
        ];
        for words in commands {
            let ran = sandbox.simmim(words);
            ran.fails(1, &["last.safetensors", "hint: "]);
        }
    }
    fs::write(&last, &whole).unwrap();
    sandbox.simmim("pretrain --resume run").ok();
}

#[test]
fn a_bit_that_flipped_is_found() {
    let sandbox = Sandbox::with_photos(6);
    sandbox.pretrain("--data photos --set train.epochs=1").ok();
    let last = sandbox.path("run/checkpoints/last.safetensors");
    let mut bytes = fs::read(&last).unwrap();
    let n_bytes = bytes.len();
    bytes[n_bytes - 100] ^= 1;
    fs::write(&last, &bytes).unwrap();
    for words in [
        "inspect run/checkpoints/last.safetensors",
        "pretrain --resume run",
    ] {
        sandbox
            .simmim(words)
            .fails(1, &["last.safetensors", "hint: use an earlier checkpoint"]);
    }
}

#[test]
fn a_file_that_is_no_checkpoint_is_told_apart_from_one_of_another_program() {
    let sandbox = Sandbox::with_photos(1);
    for words in [
        "inspect photos/000.png",
        "reconstruct --from photos/000.png photos/000.png",
    ] {
        let ran = sandbox.simmim(words);
        ran.fails(
            1,
            &[
                "000.png is not a readable safetensors file",
                "hint: the file is damaged or not",
            ],
        );
    }
    sandbox
        .simmim("inspect nowhere")
        .fails(1, &["cannot read nowhere"]);

    let other = sandbox.path("other.safetensors");
    let entry = simmim::checkpoint::Entry::f32("w", &[2, 3], &[0.5; 6]);
    simmim::checkpoint::write_archive(&other, &[entry], &std::collections::BTreeMap::new())
        .unwrap();
    let ran = sandbox.simmim("inspect other.safetensors --all").ok();
    assert!(
        ran.stdout.contains("6 in the model") && ran.stdout.contains("[2, 3]"),
        "{ran:?}"
    );
    let ran = sandbox.simmim("reconstruct --from other.safetensors photos/000.png");
    ran.fails(
        1,
        &[
            "other.safetensors holds no encoder under names that are known here: w",
            "hint: look with `simmim inspect FILE`",
        ],
    );
}
