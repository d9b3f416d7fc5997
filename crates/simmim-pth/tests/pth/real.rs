//! Files that real torch wrote.

use simmim_pth::{Checkpoint, Dtype, Skipped, Value};

use crate::{fixture, refusal};

/// 0 to `n` - 1.
fn counted(n: u16) -> Vec<f32> {
    (0..n).map(f32::from).collect()
}

fn skipped(path: &str, class: &str) -> Skipped {
    Skipped {
        path: path.to_owned(),
        class: class.to_owned(),
    }
}

#[test]
fn every_type_is_read_from_both_containers() {
    for name in ["types", "types-legacy"] {
        let file = Checkpoint::open(fixture(name)).unwrap();
        for (name, dtype) in [
            ("float64", Dtype::F64),
            ("float32", Dtype::F32),
            ("float16", Dtype::F16),
            ("bfloat16", Dtype::BF16),
        ] {
            assert_eq!(file.tensor(name).unwrap().dtype(), dtype);
            let array = file.array(name).unwrap();
            assert_eq!(
                (array.shape, array.values),
                (vec![2, 3], counted(6)),
                "{name}"
            );
        }
        for (name, dtype) in [
            ("int64", Dtype::I64),
            ("int32", Dtype::I32),
            ("int16", Dtype::I16),
            ("int8", Dtype::I8),
            ("uint8", Dtype::U8),
        ] {
            assert_eq!(file.tensor(name).unwrap().dtype(), dtype);
            let array = file.integers(name).unwrap();
            assert_eq!(array.values, (0..6).collect::<Vec<i64>>(), "{name}");
        }
        assert_eq!(file.integers("bool").unwrap().values, [1, 0, 1, 0, 1, 1]);
        assert_eq!(file.array("scalar").unwrap().values, [2.5]);
        let empty = file.array("empty").unwrap();
        assert_eq!((empty.shape, empty.values), (vec![0, 4], vec![]));
        assert_eq!(
            file.bytes("int16").unwrap(),
            [0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0]
        );
    }
}

#[test]
fn types_without_a_class_of_storages_are_read() {
    let file = Checkpoint::open(fixture("unsigned")).unwrap();
    for (name, dtype) in [
        ("u16", Dtype::U16),
        ("u32", Dtype::U32),
        ("u64", Dtype::U64),
    ] {
        assert_eq!(file.tensor(name).unwrap().dtype(), dtype);
        assert_eq!(file.integers(name).unwrap().values, [0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn views_of_a_storage_are_gathered() {
    for name in ["views", "views-legacy", "views-deflated"] {
        let file = Checkpoint::open(fixture(name)).unwrap();
        let values = |name: &str| file.array(name).unwrap().values;
        assert_eq!(values("whole"), counted(24));
        assert_eq!(file.array("transposed").unwrap().shape, [6, 4]);
        assert_eq!(
            values("transposed")[..8],
            [0., 6., 12., 18., 1., 7., 13., 19.]
        );
        assert_eq!(values("column"), [2., 8., 14., 20.]);
        assert_eq!(values("corner"), [8., 9., 10., 14., 15., 16.]);
        assert_eq!(values("every_second")[..3], [1., 3., 5.]);
        assert_eq!(values("tied"), counted(6));
        assert_eq!(values("tied_too"), counted(6));
    }
}

#[test]
fn a_release_has_its_configuration_and_the_state_of_its_optimiser_beside_the_weights() {
    for name in ["swin", "swin-legacy"] {
        let file = Checkpoint::open(fixture(name)).unwrap();
        assert_eq!(file.array("model.weight").unwrap().values, counted(6));
        assert_eq!(file.array("optimizer.state.1.step").unwrap().values, [1.0]);
        let root = file.root();
        assert_eq!(root.get("epoch"), Some(&Value::Int(99)));
        assert_eq!(root.get("max_accuracy"), Some(&Value::Float(81.25)));
        assert_eq!(root.get("step"), Some(&Value::Int(-7)));
        let swin = root
            .get("config")
            .unwrap()
            .get("MODEL")
            .unwrap()
            .get("SWIN")
            .unwrap();
        assert_eq!(swin.get("WINDOW_SIZE"), Some(&Value::Int(6)));
        let depths = Value::List(vec![Value::Int(2), Value::Int(2)]);
        assert_eq!(swin.get("DEPTHS"), Some(&depths));
        assert_eq!(file.skipped(), []);
    }
}

#[test]
fn a_namespace_is_read_and_what_is_not_known_is_skipped_by_name() {
    for name in ["mae", "mae-3", "mae-4", "mae-5", "mae-4-legacy"] {
        let file = Checkpoint::open(fixture(name)).unwrap();
        let names: Vec<&str> = file.tensors().map(|(name, _)| name).collect();
        let twice = [
            "model.weight",
            "model.bias",
            "model_ema.weight",
            "model_ema.bias",
        ];
        assert_eq!(names, twice, "{name}");
        assert_eq!(file.array("model_ema.weight").unwrap().values, counted(6));
        let args = file.root().get("args").unwrap();
        assert_eq!(args.get("lr"), Some(&Value::Float(0.25)));
        assert_eq!(args.get("name"), Some(&Value::Text("vit".to_owned())));
        assert_eq!(args.get("resume"), Some(&Value::None));
        assert_eq!(file.root().get("raw"), Some(&Value::Bytes(vec![0, 255])));
        assert_eq!(
            file.root().get("seen"),
            Some(&Value::List(vec![Value::Int(3)]))
        );
        let expected = [
            skipped("args.big", "int"),
            skipped("args.path", "pathlib.PurePosixPath"),
            skipped("device", "torch.device"),
            skipped("dtype", "torch.float32"),
        ];
        assert_eq!(file.skipped(), expected, "{name}");
    }
}

#[test]
fn objects_of_unknown_classes_do_not_hinder_the_weights() {
    let file = Checkpoint::open(fixture("unknown")).unwrap();
    assert_eq!(file.array("weight").unwrap().values, counted(6));
    let expected = [
        skipped("callback", "__main__.Unknown"),
        skipped("loss", "torch.nn.modules.loss.MSELoss"),
    ];
    assert_eq!(file.skipped(), expected);
}

#[test]
fn what_is_no_plain_array_is_refused_with_what_it_is() {
    for (name, expected) in [
        (
            "module",
            "an object of class `torch.nn.modules.linear.Linear` holds tensors",
        ),
        (
            "expanded",
            "shape [1000] calls for 1000 values, its storage has 1",
        ),
        (
            "complex",
            "a storage of class torch.ComplexFloatStorage is not read",
        ),
        (
            "sparse",
            "a tensor made by torch._utils._rebuild_sparse_tensor is not read",
        ),
        (
            "meta",
            "a tensor made by torch._utils._rebuild_meta_tensor_no_storage is not read",
        ),
        ("recursive", "a container holds itself"),
        ("names", "`a.b` stands twice"),
        (
            "script",
            "a program of TorchScript (torch.jit.save) is not read",
        ),
    ] {
        let said = refusal(&fixture(&format!("refused-{name}")));
        assert!(said.contains(expected), "{name}: {said}");
    }
}

#[test]
fn a_tensor_that_is_asked_for_and_not_there_or_of_another_type_is_named() {
    let file = Checkpoint::open(fixture("types")).unwrap();
    let missing = file.array("absent").unwrap_err();
    assert!(missing.to_string().contains("has no tensor `absent`"));
    assert!(missing.hint().unwrap().contains("12 tensors"));
    let wrong = crate::said(&file.array("int64").unwrap_err());
    assert!(
        wrong.contains("tensor `int64`") && wrong.contains("has type I64"),
        "{wrong}"
    );
    assert!(file.integers("float32").is_err());
}
