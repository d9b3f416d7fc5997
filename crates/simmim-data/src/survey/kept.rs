//! What is found of each image, kept in a file: a survey that was stopped goes on, and a later one looks at new images alone.
//!
//! The first line says how images were read, each further line has an image's name, the size of its file and its [`Look`], in JSON.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{self, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::look::Look;
use crate::Error;
use crate::decode::DecodeSettings;

/// Bytes that are written at once.
const BUFFER_BYTES: usize = 1 << 16;

/// The file, and what it had when it was opened.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    found: HashMap<String, Line>,
    more: Mutex<More>,
}

/// What is still to be written.
#[derive(Debug)]
struct More {
    file: File,
    lines: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    simmim_survey: u32,
    /// [`DecodeSettings`] as they are printed: all that a look depends on besides the file.
    read_by: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    name: String,
    size: u64,
    look: Look,
}

impl Kept {
    /// Opens the file, or makes it where there is none.
    ///
    /// # Errors
    /// [`Error::SurveyKept`] where it cannot be read or written, [`Error::SurveyLine`] where it is of images that were read in another way,
    /// or no such file at all.
    pub(super) fn open(path: &Path, settings: &DecodeSettings) -> Result<Self, Error> {
        let failed = |source| Error::SurveyKept {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        // A process that was killed has not ended its last line.
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let head = Head {
            simmim_survey: 1,
            read_by: format!("{settings:?}"),
        };
        let mut lines = Vec::new();
        write_line(&mut lines, &head);
        // Also where not even the first line was written to its end.
        let is_new = lines.starts_with(&bytes) && whole == 0;
        let found = if is_new {
            HashMap::new()
        } else {
            lines.clear();
            // Without an end of a line it is no file of a survey, and nothing of it may be cut.
            let read = if whole == 0 { &bytes } else { &bytes[..whole] };
            lines_of(path, read, &head)?
        };
        file.set_len(whole as u64).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            found,
            more: Mutex::new(More { file, lines }),
        })
    }

    /// What was found of an image of this name and size.
    pub(super) fn look(&self, name: &str, size: u64) -> Option<Look> {
        let line = self.found.get(&whole(name));
        let line = line.filter(|line| line.size == size)?;
        Some(line.look.clone())
    }

    /// Adds what was found of an image.
    ///
    /// # Errors
    /// [`Error::SurveyKept`].
    pub(super) fn add(&self, name: &str, size: u64, look: &Look) -> Result<(), Error> {
        let mut more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
        let line = Line {
            name: whole(name),
            size,
            look: look.clone(),
        };
        write_line(&mut more.lines, &line);
        if more.lines.len() > BUFFER_BYTES {
            self.flush(&mut more)?;
        }
        Ok(())
    }

    /// Writes all that was added.
    ///
    /// # Errors
    /// [`Error::SurveyKept`].
    pub(super) fn finish(&self) -> Result<(), Error> {
        let mut more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
        self.flush(&mut more)
    }

    fn flush(&self, more: &mut More) -> Result<(), Error> {
        let written = more.file.write_all(&more.lines);
        more.lines.clear();
        written.map_err(|source: io::Error| Error::SurveyKept {
            path: self.path.clone(),
            source,
        })
    }
}

/// The name wherever the program is started: `./1.jpg` of one folder is not that of another.
fn whole(name: &str) -> String {
    path::absolute(name).map_or_else(
        |_| name.to_owned(),
        |path| path.to_string_lossy().into_owned(),
    )
}

fn write_line(lines: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(&mut *lines, value).expect("numbers and names are plain JSON");
    lines.push(b'\n');
}

/// The images of the lines behind the first, which has to be `expected`.
fn lines_of(path: &Path, bytes: &[u8], expected: &Head) -> Result<HashMap<String, Line>, Error> {
    let refused = |idx: usize, reason: String| Error::SurveyLine {
        path: path.to_owned(),
        line: idx + 1,
        reason,
    };
    let mut lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let (_, first) = lines.next().unwrap_or_default();
    let head: Head =
        serde_json::from_slice(first).map_err(|error| refused(0, error.to_string()))?;
    if (head.simmim_survey, &head.read_by) != (expected.simmim_survey, &expected.read_by) {
        let reason = format!("read by {}, now by {}", head.read_by, expected.read_by);
        return Err(refused(0, reason));
    }
    let mut found = HashMap::new();
    for (idx, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let line: Line =
            serde_json::from_slice(line).map_err(|error| refused(idx, error.to_string()))?;
        // The last one counts: an image that was changed was looked at again.
        found.insert(line.name.clone(), line);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::look::Looker;
    use std::fs;

    fn look(level: u8) -> Look {
        let mut bytes = io::Cursor::new(Vec::new());
        let picture =
            image::GrayImage::from_fn(40, 30, |x, y| image::Luma([(x * 3 + y) as u8 ^ level]));
        picture
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
        Looker::new(&DecodeSettings::default())
            .look(bytes.get_ref())
            .unwrap()
    }

    #[test]
    fn what_is_kept_is_found_again_to_the_bit_and_a_torn_last_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        let settings = DecodeSettings::default();
        let (one, two) = (look(3), look(9));
        let kept = Kept::open(&path, &settings).unwrap();
        kept.add("a\nb", 7, &one).unwrap();
        kept.add("c", 8, &two).unwrap();
        kept.finish().unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let kept = Kept::open(&path, &settings).unwrap();
            let n_lines = whole[..cut].split(|byte| *byte == b'\n').count() - 1;
            let found = [kept.look("a\nb", 7), kept.look("c", 8)];
            assert_eq!(
                found.iter().flatten().count(),
                n_lines.saturating_sub(1),
                "{cut}"
            );
            // And the file can be gone on with.
            for (name, size, look) in [("a\nb", 7, &one), ("c", 8, &two)] {
                kept.add(name, size, look).unwrap();
            }
            kept.finish().unwrap();
            let kept = Kept::open(&path, &settings).unwrap();
            let found = [kept.look("a\nb", 7), kept.look("c", 8)].map(Option::unwrap);
            assert_eq!(format!("{found:?}"), format!("{:?}", [&one, &two]));
        }
        // Another size is another file.
        fs::write(&path, &whole).unwrap();
        assert!(Kept::open(&path, &settings).unwrap().look("c", 9).is_none());
    }

    #[test]
    fn a_file_of_another_kind_or_of_other_settings_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        let settings = DecodeSettings::default();
        for text in [
            "my notes\n",
            "my notes without an end",
            "{}\n",
            "{\"simmim_survey\":2,\"read_by\":\"\"}\n",
        ] {
            fs::write(&path, text).unwrap();
            let error = Kept::open(&path, &settings).unwrap_err();
            assert!(
                matches!(error, Error::SurveyLine { line: 1, .. }),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_file(&path).unwrap();
        Kept::open(&path, &settings).unwrap().finish().unwrap();
        let others = DecodeSettings {
            max_pixels: 5,
            ..settings
        };
        let error = Kept::open(&path, &others).unwrap_err();
        assert!(error.to_string().contains("max_pixels: 5"), "{error}");
    }
}
