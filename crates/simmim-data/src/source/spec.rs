//! From what a user writes to paths: commas, braces and globs.

use std::path::{Path, PathBuf, absolute};
use std::{env, io};

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
        let (folder, pattern) = piece.split_at(existing_len(piece));
        for name in expand_braces(pattern)? {
            paths.extend(expand_glob(folder, &name)?);
        }
    }
    Ok(paths)
}

/// The same specification for any working folder: each of its paths made absolute.
///
/// # Errors
/// When the system does not tell the working folder.
pub fn absolute_spec(spec: &str) -> io::Result<String> {
    // What exists is not taken apart: its name may have commas and braces.
    if Path::new(spec).exists() {
        return Ok(absolute(spec)?.to_string_lossy().into_owned());
    }
    let folder = env::current_dir()?;
    let pieces = split_commas(spec).into_iter().map(|piece| {
        // A brace in front of the first slash stands for absolute paths.
        if Path::new(piece).is_absolute() || piece.starts_with("{/") {
            piece.to_owned()
        } else {
            format!("{}/{piece}", folder.display())
        }
    });
    Ok(pieces.collect::<Vec<_>>().join(","))
}

/// The length of the folders at the beginning of a path or pattern that exist as they are written, with the slash behind
/// them: a name on the disk wins over its reading as a pattern, as in `photos [2024]/*.jpg`.
fn existing_len(piece: &str) -> usize {
    let slashes = piece.match_indices('/').map(|(at, _)| at);
    // The root has no name before its slash.
    let folders = slashes.take_while(|at| *at == 0 || Path::new(&piece[..*at]).is_dir());
    folders.last().map_or(0, |at| at + 1)
}

/// Splits at the commas that are outside braces and outside the names of folders that exist.
fn split_commas(spec: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = spec.trim_start();
    while !rest.is_empty() {
        let n_literal = existing_len(rest);
        let mut depth = 0_i32;
        let comma = rest[n_literal..].find(|letter: char| {
            depth += i32::from(letter == '{') - i32::from(letter == '}');
            // A brace that closes nothing must not hide the commas behind it.
            letter == ',' && depth <= 0
        });
        let end = comma.map_or(rest.len(), |at| n_literal + at);
        pieces.push(rest[..end].trim_end());
        rest = rest.get(end + 1..).unwrap_or_default().trim_start();
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
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

/// The paths in a folder, which is taken as it is written, that match a pattern.
fn expand_glob(folder: &str, name: &str) -> Result<Vec<PathBuf>, Error> {
    let whole = format!("{folder}{name}");
    if !name.contains(['*', '?', '[']) || Path::new(&whole).exists() {
        return Ok(vec![PathBuf::from(whole)]);
    }
    let pattern = glob::Pattern::escape(folder) + name;
    let matches = glob::glob(&pattern).map_err(|error| Error::Pattern {
        pattern: whole.clone(),
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
        return Err(Error::NoMatch { pattern: whole });
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
