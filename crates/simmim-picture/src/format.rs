//! Which kind of file a picture becomes.

use std::path::Path;

use crate::error::Error;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Every pixel as it is.
    Png,
    /// Smaller, with pixels that are nearly as they are.
    Jpeg,
}

impl Format {
    /// The kind that a file's name ends in. Ask before the picture is made, where that takes long.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`].
    pub fn of(path: &Path) -> Result<Self, Error> {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        match ending.to_lowercase().as_str() {
            "png" => Ok(Self::Png),
            "jpg" | "jpeg" => Ok(Self::Jpeg),
            _ => Err(Error::UnknownFormat {
                path: path.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_the_format_in_any_case_and_another_is_refused() {
        for (name, format) in [
            ("a.png", Format::Png),
            ("a.b/c.JPG", Format::Jpeg),
            ("x.jpeg", Format::Jpeg),
        ] {
            assert_eq!(Format::of(Path::new(name)).unwrap(), format);
        }
        for name in ["a", "a.gif", ".png", "png", "a.png.", "a.png/"] {
            let found = Format::of(Path::new(name));
            let is_dir = name.ends_with('/');
            assert_eq!(found.is_ok(), is_dir, "{name}");
        }
    }
}
