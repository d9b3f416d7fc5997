//! What can be wrong with a file of `torch.save`.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use simmim_checkpoint::Dtype;

/// The longest piece of a file's text that a message repeats, in characters.
const MAX_SHOWN: usize = 100;

/// Why a file could not be read or written. Every variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason that the operating system gave.
        source: io::Error,
    },
    /// The file is not one of `torch.save`, or one that is not read.
    #[error("{} cannot be read as a file of torch.save", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Problem,
    },
    /// One of the file's pickles is refused.
    #[error("{} is refused at byte {position} of its pickle {}", path.display(), Shown(pickle))]
    Pickle {
        /// The file.
        path: PathBuf,
        /// Which pickle: the name in the zip, or its place in a legacy file.
        pickle: String,
        /// Where in the pickle, in bytes.
        position: u64,
        /// What is wrong there.
        source: Problem,
    },
    /// The zip around the pickle and the arrays is damaged.
    #[error("{} is a damaged zip", path.display())]
    Zip {
        /// The file.
        path: PathBuf,
        /// What the reader of zips says.
        source: rawzip::Error,
    },
    /// An array is refused.
    #[error("tensor `{}` of {} is refused", Shown(tensor), path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        source: Problem,
    },
    /// The file has no tensor of that name.
    #[error("{} has no tensor `{}`", path.display(), Shown(tensor))]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        tensor: String,
        /// How many tensors the file has.
        n_tensors: usize,
    },
    /// A value that was handed over for writing is neither a number, a text nor a container of them.
    #[error("cannot write `{}` to {}: {found} is no plain value", Shown(name), path.display())]
    NotPlain {
        /// The file.
        path: PathBuf,
        /// The key at the top under which it stands.
        name: String,
        /// What it is.
        found: &'static str,
    },
    /// Torch has no such type of arrays.
    #[error("cannot write tensor `{}` to {}: torch.save has no type {found}", Shown(tensor), path.display())]
    WriteType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: Dtype,
    },
    /// The file could not be written; what stood at `path` before is untouched.
    #[error(transparent)]
    Write(#[from] simmim_checkpoint::Error),
}

/// What is wrong with the contents of a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The first bytes are those of no file of `torch.save`.
    #[error("expected a zip or the magic number of torch, found {found}")]
    NoTorch {
        /// What they look like.
        found: &'static str,
    },
    /// What `torch.save` writes for other machines or purposes.
    #[error("{} is not read", Shown(found))]
    Unsupported {
        /// What it is.
        found: Cow<'static, str>,
    },
    /// The zip lacks a member.
    #[error("the zip has no `{}`", Shown(name))]
    NoMember {
        /// Its name.
        name: String,
    },
    /// The zip has a member twice, or two members where one is expected.
    #[error("the zip has `{}` twice", Shown(name))]
    MemberTwice {
        /// Its name.
        name: String,
    },
    /// The zip has another number of members than it says.
    #[error("the zip has {found} members, its end says {expected}")]
    Members {
        /// The number that its end says.
        expected: u64,
        /// The number in its directory.
        found: u64,
    },
    /// The name of a member leads out of the zip.
    #[error("the zip has a member with the path `{}`", Shown(name))]
    MemberPath {
        /// Its name.
        name: String,
    },
    /// Two members of the zip lie on the same bytes, or a member reaches beyond the file.
    #[error(
        "bytes {start} to {end} of `{}` overlap with another part of the file or lie beyond it",
        Shown(name)
    )]
    Overlap {
        /// The member.
        name: String,
        /// Where it begins.
        start: u64,
        /// Where it ends.
        end: u64,
    },
    /// The zip would become far larger than it is.
    #[error("{packed} bytes would unpack to {unpacked}, which is more than any checkpoint does")]
    Bomb {
        /// Bytes of the file.
        packed: u64,
        /// Bytes that its members announce.
        unpacked: u64,
    },
    /// The contents are not those that were written.
    #[error(
        "`{}` is damaged: its contents have checksum {found:08x}, the zip says {expected:08x}",
        Shown(name)
    )]
    Checksum {
        /// The member.
        name: String,
        /// The checksum in the zip.
        expected: u32,
        /// The checksum of the contents.
        found: u32,
    },
    /// A part of the file has another length.
    #[error("{} has {found} bytes, expected {expected}", Shown(what))]
    Length {
        /// Which part.
        what: Cow<'static, str>,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// The bytes end in the middle of something.
    #[error("it ends early")]
    Ends,
    /// A byte that `torch.save` does not write in that place.
    #[error("expected an operation of a pickle of protocols 2 to 5, found byte {byte:#04x}")]
    Operation {
        /// The byte.
        byte: u8,
    },
    /// The pickle is of another protocol.
    #[error("expected a pickle of protocols 2 to 5, found {found}")]
    Protocol {
        /// The protocol.
        found: u8,
    },
    /// An operation has nothing to work on.
    #[error("an operation finds no value")]
    NoValue,
    /// A place of the pickle's memory is read before it is written.
    #[error("place {place} of the pickle's memory is empty")]
    Memory {
        /// The place.
        place: u32,
    },
    /// A value is of another kind than its place calls for.
    #[error("{what} should be {expected}, found {}", Shown(found))]
    Kind {
        /// Which value.
        what: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The pickle asks for something that runs commands or reaches into Python.
    #[error("it names `{}`, which runs code: no weights need that", Shown(name))]
    RunsCode {
        /// Module and name.
        name: String,
    },
    /// A container holds itself.
    #[error("a container holds itself")]
    Recursive,
    /// Containers stand in containers too deeply.
    #[error("containers are nested more than {limit} deep")]
    Deep {
        /// The deepest that is read.
        limit: usize,
    },
    /// There are more values than a checkpoint has.
    #[error("it has more than {limit} values")]
    TooMany {
        /// The most that are read.
        limit: usize,
    },
    /// Values that stand once would have to be repeated without end.
    #[error("its values are used again and again, more than its length allows")]
    Repeats,
    /// Two values have the same name.
    #[error("`{}` stands twice", Shown(name))]
    NameTwice {
        /// The name.
        name: String,
    },
    /// A name is longer than any parameter's.
    #[error("a name has {found} bytes, expected at most {limit}")]
    LongName {
        /// The longest that is read.
        limit: usize,
        /// Its length.
        found: usize,
    },
    /// Tensors stand within an object of a class that is not known, so they cannot be named.
    #[error("an object of class `{}` holds tensors", Shown(class))]
    TensorInObject {
        /// The class.
        class: String,
    },
    /// A tensor reaches beyond its storage.
    #[error(
        "shape {shape:?} with strides {strides:?} from value {offset} on needs {expected} values, its storage has {found}"
    )]
    Reach {
        /// Its shape.
        shape: Vec<usize>,
        /// Its strides.
        strides: Vec<usize>,
        /// Its first value.
        offset: u64,
        /// Values that it reaches over.
        expected: u128,
        /// Values of the storage.
        found: u64,
    },
    /// A tensor has more values than the storage that they come from.
    #[error(
        "shape {shape:?} calls for {expected} values, its storage has {found}: values would be repeated"
    )]
    Expanded {
        /// Its shape.
        shape: Vec<usize>,
        /// Values of the shape.
        expected: u128,
        /// Values of the storage.
        found: u64,
    },
    /// The type of the tensor cannot be converted to the one asked for.
    #[error("it has type {found}, expected {expected}")]
    Type {
        /// The types that could be converted.
        expected: &'static str,
        /// The type in the file.
        found: Dtype,
    },
    /// A value does not fit the type asked for.
    #[error("value {found} does not fit {expected}")]
    Range {
        /// The type asked for.
        expected: &'static str,
        /// The value.
        found: u64,
    },
    /// The operating system could not read on.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        let source = match self {
            Self::Read { source, .. } => return read_hint(source),
            Self::Zip { .. } => return Some(AGAIN.to_owned()),
            Self::MissingTensor { n_tensors, .. } => {
                return Some(format!(
                    "the file has {n_tensors} tensors; `simmim inspect` lists them"
                ));
            }
            Self::Write(error) => return error.hint(),
            Self::NotPlain { .. } | Self::WriteType { .. } => return None,
            Self::Refused { source, .. }
            | Self::Pickle { source, .. }
            | Self::Tensor { source, .. } => source,
        };
        source.hint().map(str::to_owned)
    }
}

/// What to do about a file that was cut short or damaged.
const AGAIN: &str = "the file was cut short or damaged: copy or download it again";

impl Problem {
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Ends | Self::Length { .. } | Self::Checksum { .. } | Self::Overlap { .. } => {
                Some(AGAIN)
            }
            Self::RunsCode { .. } => {
                Some("do not open the file with Python either; nothing of it was run here")
            }
            Self::TensorInObject { .. } => {
                Some("save the tensors alone, in Python: torch.save(model.state_dict(), PATH)")
            }
            Self::Expanded { .. } => {
                Some("save the tensor with its own values, in Python: tensor.contiguous().clone()")
            }
            Self::NoTorch { .. } => {
                Some("a file of torch.save is a zip, or begins with torch's number")
            }
            _ => None,
        }
    }
}

fn read_hint(source: &io::Error) -> Option<String> {
    match source.kind() {
        io::ErrorKind::NotFound => Some("check the path".to_owned()),
        io::ErrorKind::PermissionDenied => Some("make the file readable for this user".to_owned()),
        io::ErrorKind::IsADirectory => Some("name a file inside this folder".to_owned()),
        _ => None,
    }
}

/// Names the file that could not be read.
pub(crate) fn read_error(path: &Path) -> impl Fn(io::Error) -> Error {
    |source| Error::Read {
        path: path.to_owned(),
        source,
    }
}

/// Names the file that is refused.
pub(crate) fn refused(path: &Path) -> impl Fn(Problem) -> Error {
    |source| Error::Refused {
        path: path.to_owned(),
        source,
    }
}

/// A text of the file as a message may repeat it: escaped, and not at any length.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars().take(MAX_SHOWN) {
            match letter {
                '\'' | '"' => write!(f, "{letter}")?,
                _ => write!(f, "{}", letter.escape_debug())?,
            }
        }
        match self.0.chars().nth(MAX_SHOWN) {
            Some(_) => f.write_str("..."),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_file_are_escaped_and_cut() {
        let problem = Problem::NameTwice {
            name: format!("a\x1b[31m\n{}", "é".repeat(500)),
        };
        let said = problem.to_string();
        assert!(said.starts_with("`a\\u{1b}[31m\\nééé"), "{said}");
        assert!(said.ends_with("é...` stands twice"), "{said}");
        assert!(said.chars().count() < 140);
    }
}
