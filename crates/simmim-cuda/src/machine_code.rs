//! The kernels' machine code: of some chips in the program itself, of others compiled when they are met.

use crate::error::Error;
use crate::found::Found;
use cudarc::nvrtc::{result, sys};
use flate2::read::ZlibDecoder;
use std::ffi::{CString, c_char};
use std::io::Read;

/// What `kernels/compile.py` wrote: for a chip, its code packed.
struct Compiled {
    chip: &'static str,
    major: i32,
    /// The code runs on chips of this minor number and above.
    minor: i32,
    packed: &'static [u8],
}

macro_rules! compiled {
    ($chip:literal, $major:literal, $minor:literal) => {
        Compiled {
            chip: $chip,
            major: $major,
            minor: $minor,
            packed: include_bytes!(concat!("../kernels/machine-code/", $chip, ".cubin.zlib")),
        }
    };
}

/// The newest of each family last.
const COMPILED: [Compiled; 4] = [
    compiled!("sm_80", 8, 0),
    compiled!("sm_86", 8, 6),
    compiled!("sm_89", 8, 9),
    compiled!("sm_90a", 9, 0),
];

macro_rules! sources {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../kernels/", $name)))),*]
    };
}

/// All that a compilation sees, by name and in order.
const SOURCES: [(&str, &str); 14] = sources!(
    "activation.cu",
    "all.cu",
    "attention.cu",
    "attention_mma.cu",
    "attentive_pool.cu",
    "classes.cu",
    "cosine.cu",
    "device.cuh",
    "images.cu",
    "layer_norm.cu",
    "losses.cu",
    "optimiser.cu",
    "residual.cu",
    "rows.cu"
);

/// The source that includes all others.
const WHOLE: &str = "all.cu";

/// Machine code of all kernels for a device.
pub(crate) fn of(device: &Found) -> Result<Vec<u8>, Error> {
    is_new_enough(device)?;
    let (major, minor) = device.capability;
    let fits = |compiled: &&Compiled| compiled.major == major && compiled.minor <= minor;
    match COMPILED.iter().rev().find(fits) {
        Some(compiled) => unpacked(compiled),
        None => compile(device),
    }
}

/// Whether a device has the instructions of the kernels.
pub(crate) fn is_new_enough(device: &Found) -> Result<(), Error> {
    let (major, minor) = device.capability;
    if major < 8 {
        let name = device.name.clone();
        return Err(Error::OldChip { name, major, minor });
    }
    Ok(())
}

fn unpacked(compiled: &Compiled) -> Result<Vec<u8>, Error> {
    let mut code = Vec::new();
    let read = ZlibDecoder::new(compiled.packed).read_to_end(&mut code);
    let chip = compiled.chip;
    read.map(|_| code).map_err(|_| Error::Damaged { chip })
}

/// Compiles the kernels for a chip that is none of the known ones.
fn compile(device: &Found) -> Result<Vec<u8>, Error> {
    let (major, minor) = device.capability;
    // SAFETY: it only tries to load a library by its name, which runs nothing but the library's own start.
    if !unsafe { sys::is_culib_present() } {
        let name = device.name.clone();
        return Err(Error::NoCompiler { name, major, minor });
    }
    let chip = format!("sm_{major}{minor}");
    let program = Program::new().map_err(|error| Error::Compile {
        chip: chip.clone(),
        log: format!("{error:?}"),
    })?;
    let option = format!("--gpu-architecture={chip}");
    // SAFETY: the program is live.
    let done = unsafe { result::compile_program(program.0, &[option, "--std=c++17".to_owned()]) };
    let code = done.and_then(|()| program.code());
    code.map_err(|_| {
        let log = program.log();
        Error::Compile { chip, log }
    })
}

/// A compilation, which is ended with this.
struct Program(sys::nvrtcProgram);

impl Program {
    fn new() -> Result<Self, result::NvrtcError> {
        let string = |text: &str| CString::new(text).expect("a source holds no zero");
        let whole = SOURCES.iter().find(|(name, _)| *name == WHOLE);
        let whole = string(whole.expect("it is listed").1);
        let others: Vec<_> = SOURCES.iter().filter(|(name, _)| *name != WHOLE).collect();
        let names: Vec<CString> = others.iter().map(|(name, _)| string(name)).collect();
        let texts: Vec<CString> = others.iter().map(|(_, text)| string(text)).collect();
        let pointers = |all: &[CString]| {
            all.iter()
                .map(|text| text.as_ptr())
                .collect::<Vec<*const c_char>>()
        };
        let (name, mut program) = (string(WHOLE), std::ptr::null_mut());
        // SAFETY: all strings live to the end of the call, which copies them; there are as many texts as names.
        unsafe {
            sys::nvrtcCreateProgram(
                &raw mut program,
                whole.as_ptr(),
                name.as_ptr(),
                others.len() as i32,
                pointers(&texts).as_ptr(),
                pointers(&names).as_ptr(),
            )
        }
        .result()?;
        Ok(Self(program))
    }

    fn code(&self) -> Result<Vec<u8>, result::NvrtcError> {
        let mut len = 0;
        // SAFETY: the program is live, and the pointer is to a live integer.
        unsafe { sys::nvrtcGetCUBINSize(self.0, &raw mut len) }.result()?;
        let mut code = vec![0_u8; len];
        // SAFETY: there is room for as many bytes as the call before has said.
        unsafe { sys::nvrtcGetCUBIN(self.0, code.as_mut_ptr().cast()) }.result()?;
        Ok(code)
    }

    fn log(&self) -> String {
        // SAFETY: the program is live.
        let log = unsafe { result::get_program_log(self.0) }.unwrap_or_default();
        let bytes: Vec<u8> = log.iter().map(|c| *c as u8).filter(|c| *c != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program is live, and nothing uses it after this.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Crc;

    /// As `kernels/compile.py` computes it.
    fn digest() -> String {
        let mut crc = Crc::new();
        let mut len = 0;
        for (name, text) in SOURCES {
            crc.update(name.as_bytes());
            crc.update(text.as_bytes());
            len += text.len();
        }
        format!("{:08x} {len}", crc.sum())
    }

    #[test]
    fn the_machine_code_is_that_of_the_sources() {
        let compiled = include_str!("../kernels/machine-code/SOURCES");
        assert_eq!(
            compiled.trim(),
            digest(),
            "a kernel was changed: run kernels/compile.py, which says how"
        );
    }

    #[test]
    fn all_sources_are_listed_and_nothing_else() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels");
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("it can be listed").file_name().into_string())
            .map(|name| name.expect("names are plain"))
            .filter(|name| name.contains(".cu"))
            .collect();
        found.sort();
        let listed: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
        assert_eq!(found, listed);
    }

    #[test]
    fn each_chip_gets_code_of_its_own_family_and_not_of_a_newer_one() {
        let device = |major, minor| Found {
            name: "a chip".to_owned(),
            capability: (major, minor),
            memory_bytes: 0,
        };
        for capability in [(8, 0), (8, 6), (8, 7), (8, 9), (9, 0)] {
            let code = of(&device(capability.0, capability.1)).expect("it is compiled");
            assert_eq!(&code[..4], b"\x7fELF", "{capability:?}");
        }
        let refused = of(&device(7, 5)).expect_err("it has no bf16");
        assert!(matches!(
            refused,
            Error::OldChip {
                major: 7,
                minor: 5,
                ..
            }
        ));
    }
}
