//! Where the images of a run are, in its configuration.

use std::fs;
use std::path::Path;

use simmim_checkpoint::write_bytes_atomic;
use simmim_config::{Layer, RawConfig};

use crate::error::{Error, read_error};

/// Notes in `config.toml` that the images of a run are at another place now, and leaves every other line as it is. Answers
/// whether the file names that place.
///
/// # Errors
/// [`Error::File`], [`Error::Config`].
pub(super) fn write_place(config: &Path, place: &str) -> Result<bool, Error> {
    let is_named = |layer: Layer| -> Result<bool, Error> {
        let path = RawConfig::from_layers(&[layer])?.data.path;
        Ok(path.as_deref() == Some(place))
    };
    if is_named(Layer::file(config)?)? {
        return Ok(true);
    }
    let text = fs::read_to_string(config).map_err(|source| read_error(config, source))?;
    let text = with_place(&text, place);
    // A user may have written the line in a way that is not found: then the file stays as it is.
    if !is_named(Layer::text(config.display().to_string(), &text)?)? {
        return Ok(false);
    }
    write_bytes_atomic(config, text.as_bytes())?;
    Ok(true)
}

/// The text with another `path` in its section `[data]`.
fn with_place(text: &str, place: &str) -> String {
    let mut section = "";
    let mut found = String::new();
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        if content.starts_with('[') {
            section = content;
        }
        let key = content.split_once('=').map(|(key, _)| key.trim());
        if section == "[data]" && key == Some("path") {
            found.extend(["path = ", &quoted(place), "\n"]);
        } else {
            found += line;
        }
    }
    found
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    let mut config = RawConfig::default();
    config.data.path = Some(text.to_owned());
    let value = config.get("data.path");
    value.map_or_else(String::new, |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        let text = "# Recipe: mine\n\n[data]\n# my own remark\npath = \"/old\" # here\nchannels = 3\n\n[train]\nepochs = 7";
        for place in ["/new place", "C:\\new\\\"quoted\"", "/a\nb", "/old"] {
            fs::write(&config, text).unwrap();
            assert!(write_place(&config, place).unwrap());
            let written = RawConfig::from_layers(&[Layer::file(&config).unwrap()]).unwrap();
            assert_eq!(written.data.path.as_deref(), Some(place));
            assert_eq!(written.train.epochs, 7);
            let text = fs::read_to_string(&config).unwrap();
            assert!(text.starts_with("# Recipe: mine\n\n[data]\n# my own remark\npath = "));
        }
    }

    #[test]
    fn a_line_that_is_not_found_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        let text = "data.path = \"/old\"\n";
        fs::write(&config, text).unwrap();
        assert!(!write_place(&config, "/new").unwrap());
        assert_eq!(fs::read_to_string(&config).unwrap(), text);
    }
}
