//! What the names in a pickle mean to this reader.

use simmim_checkpoint::Dtype;

/// Modules of Python that run commands, open files or look names up: nothing of them stands in a checkpoint.
const RUNNING: [&str; 28] = [
    "asyncio",
    "bdb",
    "code",
    "codeop",
    "commands",
    "ctypes",
    "importlib",
    "io",
    "marshal",
    "multiprocessing",
    "nt",
    "operator",
    "os",
    "pdb",
    "pickle",
    "pip",
    "posix",
    "pty",
    "requests",
    "runpy",
    "shutil",
    "socket",
    "subprocess",
    "sys",
    "threading",
    "timeit",
    "urllib",
    "webbrowser",
];

/// The builtins of Python that make a value and do nothing else.
const MAKING: [&str; 14] = [
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "object",
    "range",
    "set",
    "slice",
    "str",
];

/// Whether a name is one of what runs code. The reader runs nothing in any case: this is for a clear refusal.
pub(super) fn runs_code(module: &str, name: &str) -> bool {
    let first = module.split('.').next().unwrap_or_default();
    match first {
        "builtins" | "__builtin__" => !MAKING.contains(&name) && name != "tuple" && name != "long",
        _ => RUNNING.contains(&first),
    }
}

/// What an object of a class is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A dictionary that is built empty or from pairs.
    Map,
    /// A list or set that is built from a sequence.
    List,
    /// A record, which is read as the dictionary of its fields.
    Record(Fields),
    /// A tensor; what stands after its shape and strides differs.
    Tensor(Rebuild),
    /// A tensor within a parameter.
    Parameter,
    /// A tensor of a class that is derived from torch's.
    Derived,
    /// Bytes that protocol 2 writes as a text.
    Encoded,
    /// A number of numpy.
    Scalar,
    /// An object whose class is its first argument.
    Reconstructed,
    /// Anything else.
    Unknown,
}

/// Where a record keeps its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fields {
    /// In its state.
    State,
    /// It is a dictionary, and its state is Python's affair.
    Entries,
}

/// How torch rebuilds a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rebuild {
    /// `_rebuild_tensor`, of torch before 0.4.
    First,
    /// `_rebuild_tensor_v2`.
    Second,
    /// `_rebuild_tensor_v3`, of types that have no class of storages.
    Third,
}

/// Source: `torch/_utils.py`, `torch/_tensor.py`, `numpy/_core/multiarray.py`, `copyreg.py`, `yacs/config.py`.
pub(super) fn meaning(class: &str) -> Meaning {
    match class {
        "collections.OrderedDict"
        | "collections.defaultdict"
        | "collections.Counter"
        | "builtins.dict"
        | "__builtin__.dict" => Meaning::Map,
        "builtins.list"
        | "builtins.tuple"
        | "builtins.set"
        | "builtins.frozenset"
        | "__builtin__.list"
        | "__builtin__.tuple"
        | "__builtin__.set"
        | "__builtin__.frozenset"
        | "torch.Size" => Meaning::List,
        "argparse.Namespace" | "types.SimpleNamespace" => Meaning::Record(Fields::State),
        "yacs.config.CfgNode"
        | "easydict.EasyDict"
        | "addict.addict.Dict"
        | "mmcv.utils.config.ConfigDict"
        | "mmengine.config.config.ConfigDict"
        | "fvcore.common.config.CfgNode" => Meaning::Record(Fields::Entries),
        "torch._utils._rebuild_tensor" => Meaning::Tensor(Rebuild::First),
        "torch._utils._rebuild_tensor_v2" => Meaning::Tensor(Rebuild::Second),
        "torch._utils._rebuild_tensor_v3" => Meaning::Tensor(Rebuild::Third),
        "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
            Meaning::Parameter
        }
        "torch._tensor._rebuild_from_type_v2" => Meaning::Derived,
        "_codecs.encode" => Meaning::Encoded,
        "numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar" => Meaning::Scalar,
        "copyreg._reconstructor" | "copy_reg._reconstructor" => Meaning::Reconstructed,
        _ => Meaning::Unknown,
    }
}

/// Where objects of a class have their fields, if it is one of plain records.
pub(crate) fn fields(class: &str) -> Option<Fields> {
    match meaning(class) {
        Meaning::Record(fields) => Some(fields),
        _ => None,
    }
}

/// What the class of a storage says of its values.
pub(super) enum StorageClass {
    /// The type of its values.
    Typed(Dtype),
    /// The tensors say it.
    Untyped,
}

/// Source: `torch/storage.py`, `torch/_tensor.py`.
pub(super) fn storage_class(class: &str) -> Option<StorageClass> {
    let name = class
        .strip_prefix("torch.storage.")
        .or_else(|| class.strip_prefix("torch.cuda."))
        .or_else(|| class.strip_prefix("torch."))?;
    let dtype = match name {
        "UntypedStorage" => return Some(StorageClass::Untyped),
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    };
    Some(StorageClass::Typed(dtype))
}

/// The type that torch calls by a name.
pub(super) fn dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "torch.float64" => Dtype::F64,
        "torch.float32" => Dtype::F32,
        "torch.float16" => Dtype::F16,
        "torch.bfloat16" => Dtype::BF16,
        "torch.int64" => Dtype::I64,
        "torch.int32" => Dtype::I32,
        "torch.int16" => Dtype::I16,
        "torch.int8" => Dtype::I8,
        "torch.uint64" => Dtype::U64,
        "torch.uint32" => Dtype::U32,
        "torch.uint16" => Dtype::U16,
        "torch.uint8" => Dtype::U8,
        "torch.bool" => Dtype::BOOL,
        _ => return None,
    })
}
