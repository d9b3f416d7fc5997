//! Which files of folders and archives are taken, by patterns of their names.

use glob::{MatchOptions, Pattern};

use crate::Error;

/// Case does not matter, as for endings; `*` does not reach over a slash, and `**` does.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: false,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Patterns that choose among the images of folders and archives. The default takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Only {
    taken: Vec<Pattern>,
    left_out: Vec<Pattern>,
}

impl Only {
    /// Reads patterns that are separated by commas. A file is taken if any of them matches; one that begins with `!` leaves out
    /// what it matches. A pattern without a slash is about the file's name, any other about its path below the source.
    ///
    /// # Errors
    /// [`Error::Pattern`].
    pub fn parse(patterns: &str) -> Result<Self, Error> {
        let mut only = Self::default();
        for text in patterns.split(',').map(str::trim) {
            let (list, text) = match text.strip_prefix('!') {
                Some(text) => (&mut only.left_out, text),
                None => (&mut only.taken, text),
            };
            let refuse = |reason: String| Error::Pattern {
                pattern: patterns.to_owned(),
                reason,
            };
            if text.is_empty() {
                return Err(refuse("a pattern is empty".to_owned()));
            }
            list.push(Pattern::new(text).map_err(|error| refuse(error.to_string()))?);
        }
        Ok(only)
    }

    /// Whether a file is taken, by its path below the source, with slashes.
    pub(super) fn takes(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let matches = |pattern: &Pattern| {
            let of_path = pattern.as_str().contains('/');
            pattern.matches_with(if of_path { path } else { name }, OPTIONS)
        };
        (self.taken.is_empty() || self.taken.iter().any(matches))
            && !self.left_out.iter().any(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_by_name_or_by_path() {
        for (patterns, taken, left_out) in [
            ("*.jpg", "a/b.JPG", "a/b.png"),
            ("*.jpg, *.jpeg", "b.jpeg", "b.jpg.png"),
            ("!*.seg.png", "a/b.png", "a/b.seg.png"),
            ("*.png,!*_mask.*", "a/b.png", "a/b_mask.png"),
            ("images/*", "images/a.png", "labels/a.png"),
            ("images/*", "images/a.png", "images/deep/a.png"),
            ("**/left/*", "a/b/left/0.png", "a/b/right/0.png"),
        ] {
            let only = Only::parse(patterns).unwrap();
            assert!(only.takes(taken), "{patterns}: {taken}");
            assert!(!only.takes(left_out), "{patterns}: {left_out}");
        }
        assert!(Only::default().takes("anything"));
    }

    #[test]
    fn wrong_patterns_are_named() {
        for patterns in ["", "*.jpg,", "[", "***", "!"] {
            assert!(
                matches!(Only::parse(patterns), Err(Error::Pattern { .. })),
                "{patterns}"
            );
        }
    }
}
