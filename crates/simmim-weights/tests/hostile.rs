//! Files that are not what they should be: each is refused, in words.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use simmim_checkpoint::{Archive, Array, Entry, write_archive};
use simmim_weights::{Options, Weights};
use tempfile::TempDir;

/// The arrays of a golden folder.
fn arrays(name: &str) -> Vec<(String, Array)> {
    let archive = Archive::open(golden(name).join("model.safetensors")).unwrap();
    let array = |name: &str| (name.to_owned(), archive.array(name).unwrap());
    archive.names().map(array).collect()
}

fn golden(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("golden/interop").join(name)
}

fn write(path: &Path, arrays: &[(String, Array)]) {
    let entries: Vec<Entry<'_>> = arrays
        .iter()
        .map(|(name, array)| Entry::f32(name, &array.shape, &array.values))
        .collect();
    write_archive(path, &entries, &BTreeMap::new()).unwrap();
}

fn refused(path: &Path) -> String {
    let error = Weights::open(path, &Options::default()).unwrap_err();
    format!("{error}")
}

/// A folder with the arrays of a golden one, and this beside them.
fn folder(name: &str, config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("model.safetensors"), &arrays(name));
    fs::write(folder.path().join("config.json"), config).unwrap();
    folder
}

#[test]
fn parts_of_an_index_are_read_as_one_file_is() {
    let whole = Weights::open(&golden("hf_vit"), &Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (first, second): (Vec<_>, Vec<_>) = arrays("hf_vit")
        .into_iter()
        .enumerate()
        .partition(|(i, _)| i % 2 == 0);
    let mut map = serde_json::Map::new();
    for (part, arrays) in [("a.safetensors", first), ("b.safetensors", second)] {
        let arrays: Vec<_> = arrays.into_iter().map(|(_, array)| array).collect();
        write(&folder.path().join(part), &arrays);
        map.extend(arrays.into_iter().map(|(name, _)| (name, part.into())));
    }
    let index = serde_json::json!({"weight_map": map});
    fs::write(
        folder.path().join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
    fs::copy(
        golden("hf_vit").join("config.json"),
        folder.path().join("config.json"),
    )
    .unwrap();
    let parts = Weights::open(folder.path(), &Options::default()).unwrap();
    assert_eq!(parts.describe(), whole.describe());
    for name in whole.names() {
        assert_eq!(
            parts.array(name).unwrap(),
            whole.array(name).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn an_index_that_leads_elsewhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    write(&folder.path().join("x.safetensors"), &arrays("timm_vit"));
    let index = inner.join("model.safetensors.index.json");
    for (text, says) in [
        (
            r#"{"weight_map": {"a": "../x.safetensors"}}"#,
            "is not the name of a file beside it",
        ),
        (
            r#"{"weight_map": {"a": "/etc/passwd"}}"#,
            "is not the name of a file beside it",
        ),
        (
            r#"{"weight_map": {"a": "..\\x.safetensors"}}"#,
            "is not the name of a file beside it",
        ),
        (
            r#"{"weight_map": {"a": ".."}}"#,
            "is not the name of a file beside it",
        ),
        (
            r#"{"weight_map": {"a": ""}}"#,
            "is not the name of a file beside it",
        ),
        (r#"{"weight_map": {"a": 3}}"#, "a part has no name"),
        (r#"{"weight_map": []}"#, "no `weight_map`"),
        ("[", "is not JSON"),
    ] {
        fs::write(&index, text).unwrap();
        let found = refused(&inner);
        assert!(found.contains(says), "{text}: {found}");
    }
}

#[test]
fn models_that_compute_something_else_are_refused_by_what_differs() {
    for (name, config, says) in [
        ("hf_vit", r#"{"hidden_act": "quick_gelu"}"#, "`quick_gelu`"),
        ("hf_dinov2", r#"{"use_swiglu_ffn": true}"#, "SwiGLU"),
        ("hf_swin", r#"{"num_heads": [2, 2]}"#, "do not double"),
        ("hf_swin", r#"{"layer_norm_eps": 1e-12}"#, "another epsilon"),
        (
            "timm_vit",
            r#"{"architecture": "vit_base_patch16_clip_quickgelu_224"}"#,
            "quick GELU",
        ),
    ] {
        let folder = folder(name, config);
        let found = refused(folder.path());
        assert!(found.contains(says), "{name}: {found}");
    }
    let mut with_registers = arrays("timm_vit");
    let token = Array {
        shape: vec![1, 4, 24],
        values: vec![0.0; 96],
    };
    with_registers.push(("reg_token".to_owned(), token));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write(&path, &with_registers);
    assert!(refused(&path).contains("register tokens"));
}

#[test]
fn what_a_file_does_not_say_is_asked_for_by_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write(&path, &arrays("timm_vit"));
    let error = Weights::open(&path, &Options::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("how many heads its 24 wide tokens have"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("model.heads"));
    let heads = Options {
        heads: Some(3),
        ..Options::default()
    };
    let weights = Weights::open(&path, &heads).unwrap();
    assert_eq!(weights.config().model.heads, Some(3));
}

#[test]
fn the_size_of_images_is_that_of_the_positions_where_there_are_some() {
    let open = |name: &str, image_px| {
        let options = Options {
            image_px: Some(image_px),
            ..Options::default()
        };
        Weights::open(&golden(name), &options)
    };
    let swin = open("torchvision_swin", 48).unwrap();
    assert_eq!(swin.config().data.image_size, [48, 48]);
    open("timm_vit", 32).unwrap();
    let error = open("timm_vit", 48).unwrap_err();
    assert!(error.to_string().contains("of 32 x 32 px"), "{error}");
}

#[test]
fn shapes_that_no_model_has_are_refused() {
    let cases: [(&str, &str, &[usize]); 7] = [
        ("timm_vit", "patch_embed.proj.weight", &[24, 3]),
        ("timm_vit", "patch_embed.proj.weight", &[0, 3, 8, 8]),
        ("timm_vit", "patch_embed.proj.weight", &[24, 3, 0, 0]),
        ("timm_vit", "pos_embed", &[1, 3, 24]),
        ("timm_vit", "blocks.0.mlp.fc1.weight", &[]),
        (
            "timm_swin",
            "layers.0.blocks.0.attn.relative_position_bias_table",
            &[],
        ),
        (
            "timm_swin",
            "layers.1.blocks.0.attn.relative_position_bias_table",
            &[49, 3],
        ),
    ];
    for (name, array, shape) in cases {
        let mut all = arrays(name);
        let own = all.iter_mut().find(|(own, _)| own == array).unwrap();
        own.1 = Array {
            shape: shape.to_vec(),
            values: vec![0.5; shape.iter().product()],
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write(&path, &all);
        let heads = Options {
            heads: Some(3),
            ..Options::default()
        };
        let found = Weights::open(&path, &heads);
        assert!(found.is_err(), "{array} {shape:?}");
    }
}

/// Numbers that follow from a seed.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % n
    }
}

/// Changes one to four bytes of a file of a folder, many times: a model or an error, never a panic.
fn open_damaged(folder: &Path, file: &str, times: usize) {
    let whole = fs::read(folder.join(file)).unwrap();
    let mut draws = Draws(7);
    for _ in 0..times {
        let mut bytes = whole.clone();
        for _ in 0..=draws.below(3) {
            let place = draws.below(bytes.len());
            bytes[place] = b"0123456789-.,:[]{}\"ae"[draws.below(21)];
        }
        fs::write(folder.join(file), &bytes).unwrap();
        match Weights::open(folder, &Options::default()) {
            Ok(weights) => assert!(!weights.describe().is_empty()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn damaged_descriptions_are_no_reason_to_panic() {
    for name in ["hf_vit", "hf_swin", "hf_beit", "timm_vit", "timm_swinv2"] {
        let text = fs::read_to_string(golden(name).join("config.json")).unwrap();
        open_damaged(folder(name, &text).path(), "config.json", 2_000);
    }
}

#[test]
fn damaged_indices_are_no_reason_to_panic() {
    let folder = tempfile::tempdir().unwrap();
    let arrays = arrays("timm_vit_mean");
    write(&folder.path().join("a.safetensors"), &arrays);
    let map = arrays
        .iter()
        .map(|(name, _)| (name.clone(), "a.safetensors".into()));
    let map: serde_json::Map<_, _> = map.collect();
    let index = serde_json::json!({"weight_map": map}).to_string();
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    open_damaged(folder.path(), "model.safetensors.index.json", 10_000);
}
