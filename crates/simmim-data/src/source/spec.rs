//! From what a user writes to paths: commas, braces and globs.

use std::path::{Path, PathBuf};

use crate::Error;

/// The most names that one brace pattern may stand for; more is a slip of the keyboard.
const MAX_BRACE_NAMES: u64 = 1_000_000;

/// The paths that a specification names, in its order.
pub(super) fn expand(spec: &str) -> Result<Vec<PathBuf>, Error> {
    // A file with a comma or a brace in its name is still a file.
    if Path::new(spec).exists() {
        return Ok(vec![PathBuf::from(spec)]);
    }
    let mut paths = Vec::new();
    for piece in split_commas(spec) {
        for name in expand_braces(piece)? {
            paths.extend(expand_glob(&name)?);
        }
    }
    Ok(paths)
}

/// Splits at the commas that are outside braces.
fn split_commas(spec: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let pieces = spec.split(|letter: char| {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth <= 0
    });
    pieces
        .map(str::trim)
        .filter(|piece| !piece.is_empty())
        .collect()
}

/// Expands `{000..012}` and `{a,b}`, left to right.
fn expand_braces(pattern: &str) -> Result<Vec<String>, Error> {
    let refuse = |reason: &str| Error::Pattern {
        pattern: pattern.to_owned(),
        reason: reason.to_owned(),
    };
    let Some((head, rest)) = pattern.split_once('{') else {
        return Ok(vec![pattern.to_owned()]);
    };
    let Some((inside, tail)) = rest.split_once('}') else {
        return Err(refuse("a brace is not closed"));
    };
    let choices = match inside.split_once("..") {
        Some((first, last)) => number_range(first, last).map_err(refuse)?,
        None => inside.split(',').map(str::to_owned).collect(),
    };
    let tails = expand_braces(tail)?;
    // Before the names are made: two braces of a million would fill the memory.
    if choices.len() as u64 * tails.len() as u64 > MAX_BRACE_NAMES {
        return Err(refuse("the braces stand for more than a million names"));
    }
    let names = choices.iter().flat_map(|choice| {
        tails
            .iter()
            .map(move |tail| format!("{head}{choice}{tail}"))
    });
    Ok(names.collect())
}

/// The numbers from `first` to `last`, as wide as `first` is written.
fn number_range(first: &str, last: &str) -> Result<Vec<String>, &'static str> {
    let (Ok(from), Ok(to)) = (first.parse::<u64>(), last.parse::<u64>()) else {
        return Err("a range in braces needs two whole numbers");
    };
    if to < from {
        return Err("a range in braces ends before it begins");
    }
    if to - from >= MAX_BRACE_NAMES {
        return Err("the braces stand for more than a million names");
    }
    let width = first.len();
    Ok((from..=to).map(|n| format!("{n:0width$}")).collect())
}

fn expand_glob(name: &str) -> Result<Vec<PathBuf>, Error> {
    if !name.contains(['*', '?', '[']) || Path::new(name).exists() {
        return Ok(vec![PathBuf::from(name)]);
    }
    let matches = glob::glob(name).map_err(|error| Error::Pattern {
        pattern: name.to_owned(),
        reason: error.to_string(),
    })?;
    let mut paths = Vec::new();
    for found in matches {
        // A folder that cannot be listed is an error; to pass over it would lose images in silence.
        paths.push(found.map_err(|error| Error::Unreadable {
            path: error.path().to_owned(),
            source: error.into(),
        })?);
    }
    if paths.is_empty() {
        return Err(Error::NoMatch {
            pattern: name.to_owned(),
        });
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_ranges_and_choices() {
        assert_eq!(
            expand_braces("s-{08..11}.tar").unwrap(),
            ["s-08.tar", "s-09.tar", "s-10.tar", "s-11.tar"]
        );
        assert_eq!(
            expand_braces("{a,b}/{1..2}").unwrap(),
            ["a/1", "a/2", "b/1", "b/2"]
        );
    }

    #[test]
    fn commas_inside_braces_do_not_split() {
        assert_eq!(split_commas("x/{a,b}.tar, y ,"), ["x/{a,b}.tar", "y"]);
    }

    #[test]
    fn wrong_patterns_are_named() {
        for (pattern, reason) in [
            ("s-{0..", "not closed"),
            ("s-{a..b}", "two whole numbers"),
            ("s-{3..1}", "ends before"),
            ("s-{0..18446744073709551615}", "million"),
            ("{1..9999}{1..9999}", "million"),
        ] {
            let error = expand_braces(pattern).unwrap_err().to_string();
            assert!(error.contains(reason), "{pattern}: {error}");
        }
        assert!(matches!(expand("***"), Err(Error::Pattern { .. })));
        assert!(matches!(expand("none-*.tar"), Err(Error::NoMatch { .. })));
    }
}
