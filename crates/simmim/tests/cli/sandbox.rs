//! A folder for one test, and the program run in it.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use tempfile::TempDir;

use crate::drawn;

/// A model and a run so small that a step takes a few milliseconds.
const TINY: &str = r#"
[data]
image_size = 32
held_out = 0.2
workers = 1
[model]
variant = "vit-t/16"
patch_px = 8
width = 24
depth = 1
heads = 2
[mask]
cell_px = 16
[train]
epochs = 2
batch_size = 4
warmup_epochs = 0
base_lr = 1e-2
threads = 1
pictures = 2
"#;

/// The number of a user without rights on Linux.
const NOBODY: u32 = 65_534;

/// A temporary folder with `tiny.toml` in it.
pub(crate) struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
        Self { folder }
    }

    /// One that has a folder `photos` of `n` images as well.
    pub(crate) fn with_photos(n: usize) -> Self {
        let sandbox = Self::new();
        let photos = sandbox.path("photos");
        fs::create_dir(&photos).unwrap();
        for idx in 0..n {
            drawn::photo(idx)
                .save(photos.join(format!("{idx:03}.png")))
                .unwrap();
        }
        sandbox
    }

    /// One that has a folder `labelled` with `n` images of each of three classes as well.
    pub(crate) fn with_labels(n: usize) -> Self {
        let sandbox = Self::new();
        for (class, name) in drawn::CLASSES.iter().enumerate() {
            let folder = sandbox.path("labelled").join(name);
            fs::create_dir_all(&folder).unwrap();
            for idx in 0..n {
                let path = folder.join(format!("{idx:03}.png"));
                drawn::labelled(class, idx).save(path).unwrap();
            }
        }
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, words: &str) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_simmim")), words)
    }

    fn command_of(&self, program: &Path, words: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .env_remove("COLUMNS")
            .env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs `simmim` with these words, to its end.
    pub(crate) fn simmim(&self, words: &str) -> Ran {
        Ran::of(self.command(words).output().unwrap())
    }

    /// Runs `simmim` as somebody whom permissions bind. They do not bind the superuser, so another user stands in for him;
    /// nothing comes back, and it is said, where he cannot become another.
    pub(crate) fn simmim_bound_by_permissions(&self, words: &str) -> Option<Ran> {
        if fs::metadata(self.folder.path()).unwrap().uid() != 0 {
            return Some(self.simmim(words));
        }
        // The build folder may be out of the other user's reach.
        let program = self.path("simmim");
        fs::copy(env!("CARGO_BIN_EXE_simmim"), &program).unwrap();
        fs::set_permissions(self.folder.path(), Permissions::from_mode(0o755)).unwrap();
        let mut command = self.command_of(&program, words);
        match command.uid(NOBODY).gid(NOBODY).output() {
            Ok(output) => Some(Ran::of(output)),
            Err(error) => {
                // Past the capture of a passing test's output.
                let line = format!("skipped: `simmim {words}` as another user: {error}\n");
                io::stderr().write_all(line.as_bytes()).unwrap();
                None
            }
        }
    }

    /// Runs `simmim pretrain` on the tiny model.
    pub(crate) fn pretrain(&self, words: &str) -> Ran {
        self.simmim(&format!("pretrain --config tiny.toml --out run {words}"))
    }

    /// Starts `simmim` with `--json`, and reads its events.
    pub(crate) fn start(&self, words: &str) -> Running {
        Running::of(self.command(words))
    }
}

/// What a process left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let ran = Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
        ran
    }

    /// Holds that it went well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Holds that a signal ended it, with what it had done saved.
    #[track_caller]
    pub(crate) fn stopped(self) -> Self {
        assert_eq!(self.code, Some(75), "{self:?}");
        assert!(!self.stderr.contains("error: "), "{self:?}");
        self
    }

    /// Holds that it ended with this code, and an error that says all of this.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, says: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains("error: "), "{self:?}");
        for text in says {
            assert!(self.stderr.contains(text), "no `{text}` in {self:?}");
        }
        self
    }
}

/// A process that is under way.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    /// Starts a command of `simmim` with `--json`.
    pub(crate) fn of(mut command: Command) -> Self {
        let command = command
            .arg("--json")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Waits for an event of that kind.
    pub(crate) fn wait_for(&mut self, event: &str) {
        let wanted = format!("\"event\":\"{event}\"");
        loop {
            let mut line = String::new();
            assert!(
                self.lines.read_line(&mut line).unwrap() > 0,
                "it ended before `{event}`"
            );
            if line.contains(&wanted) {
                return;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        let mut stdout = Vec::new();
        self.lines.read_to_end(&mut stdout).unwrap();
        let mut output = self.child.wait_with_output().unwrap();
        output.stdout = stdout;
        Ran::of(output)
    }
}

/// The tensors of a file, to the bit.
pub(crate) fn tensors(path: &Path) -> Vec<(String, Vec<u32>)> {
    let archive = simmim::Archive::open(path).unwrap();
    let names: Vec<String> = archive.names().map(str::to_owned).collect();
    let bits = |name: &str| {
        archive
            .array(name)
            .unwrap()
            .values
            .iter()
            .map(|v| v.to_bits())
            .collect()
    };
    names
        .iter()
        .map(|name| (name.clone(), bits(name)))
        .collect()
}
