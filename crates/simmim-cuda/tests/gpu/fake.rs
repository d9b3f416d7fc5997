//! Builds the fake driver and cuBLASLt, and runs tests on them.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Set in the process that runs on the fake.
const INSIDE: &str = "SIMMIM_FAKE_CUDA";
/// Set by whoever wants the tests to run on this machine's own GPU.
const REAL: &str = "SIMMIM_TEST_GPU";

/// What the compiler adds to find mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sanitizer {
    /// Nothing.
    None,
    /// Memory that is not there.
    Address,
    /// Memory that two threads use without a barrier between them.
    Thread,
}

impl Sanitizer {
    pub(crate) fn flags(self) -> &'static [&'static str] {
        match self {
            Self::None => &["-O2", "-march=native"],
            // Without its look at the stack: each switch of fibers would be an alarm.
            Self::Address => &["-O1", "-g", "-fsanitize=address", "--param", "asan-stack=0"],
            Self::Thread => &["-O1", "-g", "-fsanitize=thread", "-Wno-tsan"],
        }
    }

    /// The library that has to be loaded before any other.
    fn library(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Address => Some("libasan.so"),
            Self::Thread => Some("libtsan.so"),
        }
    }
}

pub(crate) fn crate_folder() -> &'static Path {
    // By its name: other crates have this file among their tests.
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../simmim-cuda"))
}

/// The C++ compiler of this machine, if it has one.
pub(crate) fn compiler() -> Option<String> {
    let name = std::env::var("CXX").unwrap_or_else(|_| "g++".to_owned());
    let runs = Command::new(&name)
        .arg("--version")
        .output()
        .is_ok_and(|ran| ran.status.success());
    runs.then_some(name)
}

/// A number that is another one for other sources, flags or compilers.
fn fingerprint(compiler: &str, flags: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (compiler, flags).hash(&mut hasher);
    for folder in ["kernels", "fake"] {
        let entries = fs::read_dir(crate_folder().join(folder)).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.is_file()) {
            (file.file_name(), fs::read(file).unwrap()).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Runs a command that must succeed; what it says on stdout.
pub(crate) fn run(command: &mut Command) -> String {
    let ran = command.output().unwrap();
    assert!(
        ran.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// Compiles what `make` asks for into a folder that is kept for the next run.
pub(crate) fn built(name: &str, flags: &[&str], make: impl FnOnce(&str, &Path)) -> PathBuf {
    // Tests of one process want the same at one time.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let compiler = compiler().expect("whoever calls this has asked for a compiler");
    let program = std::env::current_exe().unwrap();
    // target/release/deps/test or target/release/examples/fake.
    let target = program.ancestors().nth(2).unwrap();
    let folder = target
        .join("fake-cuda")
        .join(format!("{name}-{:016x}", fingerprint(&compiler, flags)));
    if folder.is_dir() {
        return folder;
    }
    // Beside it, and moved in one act: another process may be at the same.
    let beside = folder.with_extension(std::process::id().to_string());
    fs::create_dir_all(&beside).unwrap();
    make(&compiler, &beside);
    if fs::rename(&beside, &folder).is_err() {
        fs::remove_dir_all(&beside).unwrap();
    }
    folder
}

/// The folder of the fake libraries, built if they are not there yet.
pub(crate) fn libraries(sanitizer: Sanitizer) -> PathBuf {
    let name = format!("{sanitizer:?}").to_lowercase();
    built(&name, sanitizer.flags(), |compiler, folder| {
        let compile = |flags: &[&str], source: &str, library: &str| {
            let mut command = Command::new(compiler);
            command.args(flags).args([
                "-std=c++20",
                "-fPIC",
                "-shared",
                "-pthread",
                "-fvisibility=hidden",
            ]);
            command.arg("-o").arg(folder.join(library));
            command.arg(crate_folder().join("fake").join(source));
            if library != "libcuda.so" {
                command.arg("-L").arg(folder).arg("-lcuda");
            }
            run(&mut command);
        };
        compile(sanitizer.flags(), "driver.cpp", "libcuda.so");
        compile(&["-O3", "-march=native"], "cublaslt.cpp", "libcublasLt.so");
        compile(&["-O2"], "nccl.cpp", "libnccl.so");
    })
}

fn file_of(compiler: &str, library: &str) -> PathBuf {
    let asked = Command::new(compiler)
        .arg(format!("-print-file-name={library}"))
        .output()
        .unwrap();
    PathBuf::from(String::from_utf8(asked.stdout).unwrap().trim())
}

/// Runs the test of this name, with the modules it is in, in a process of its own, where the fake is the driver; `body` is what it
/// does there.
///
/// Says so and does nothing where there is no compiler.
pub(crate) fn within(test: &str, sanitizer: Sanitizer, body: impl FnOnce()) {
    if std::env::var_os(REAL).is_some() {
        return body();
    }
    within_a(test, Driver::fake(sanitizer), body);
}

/// What a test finds on its machine.
pub(crate) struct Driver<'a> {
    pub(crate) sanitizer: Sanitizer,
    /// Of the libraries, those of this name alone; all where it is empty.
    pub(crate) only: &'a str,
    /// What the environment says of the fake.
    pub(crate) settings: &'a [(&'a str, &'a str)],
    /// A folder with libraries besides.
    pub(crate) besides: Option<OsString>,
}

impl Driver<'_> {
    /// All of the fake, as it is.
    pub(crate) fn fake(sanitizer: Sanitizer) -> Self {
        Self {
            sanitizer,
            only: "",
            settings: &[],
            besides: None,
        }
    }
}

/// As [`within`], never on a GPU of this machine's own.
pub(crate) fn within_a(test: &str, driver: Driver<'_>, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let Some(compiler) = compiler() else {
        println!("skipped: {test}: there is no C++ compiler (apt-get install g++)");
        return;
    };
    let all = libraries(driver.sanitizer);
    let folder = if driver.only.is_empty() {
        all
    } else {
        built(&format!("only-{}", driver.only), &[], |_, folder| {
            fs::copy(all.join(driver.only), folder.join(driver.only)).unwrap();
        })
    };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    let folders = [folder.into_os_string()].into_iter().chain(driver.besides);
    command.env(INSIDE, "1");
    command.env("LD_LIBRARY_PATH", std::env::join_paths(folders).unwrap());
    command.envs(driver.settings.iter().copied());
    if let Some(library) = driver.sanitizer.library() {
        command.env("LD_PRELOAD", file_of(&compiler, library));
        command.env("ASAN_OPTIONS", "detect_leaks=0");
        command.env(
            "TSAN_OPTIONS",
            "halt_on_error=1 ignore_noninstrumented_modules=1",
        );
    }
    let said = run(&mut command);
    assert!(said.contains("1 passed"), "no test is named {test}: {said}");
}
