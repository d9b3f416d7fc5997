//! Names that are most like a mistyped one, and how a hint lists them.

/// `` `a`, `b` or `c` ``.
pub fn choices(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

/// The candidates that are most like `wanted`, best first, three at most.
pub fn near<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let scored = candidates
        .into_iter()
        .map(|name| (distance(wanted, name), name.to_owned()));
    closest(wanted, scored.collect())
}

/// The names that are most like `wanted`, best first; all of them where none is.
pub fn near_or_all<'a>(
    wanted: &str,
    names: impl IntoIterator<Item = &'a str> + Clone,
) -> Vec<String> {
    let alike = near(wanted, names.clone());
    if alike.is_empty() {
        return names.into_iter().map(str::to_owned).collect();
    }
    alike
}

/// Typing errors between two names.
pub(crate) fn distance(wanted: &str, name: &str) -> usize {
    strsim::damerau_levenshtein(wanted, name)
}

/// The names no further away than a third of the length of `wanted`, or than two; best first, three at most.
pub(crate) fn closest(wanted: &str, mut scored: Vec<(usize, String)>) -> Vec<String> {
    const MAX_NAMES: usize = 3;
    // Two slips in a short name, more in a long one.
    let limit = (wanted.chars().count() / 3).max(2);
    scored.retain(|(distance, _)| *distance <= limit);
    // By distance, and then by name, so that a hint is always the same.
    scored.sort_unstable();
    scored
        .into_iter()
        .take(MAX_NAMES)
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_best_first_and_far_ones_not_at_all() {
        let known = ["batch_size", "base_lr", "patch_px", "bath_siz"];
        assert_eq!(near("bach_size", known), ["batch_size", "bath_siz"]);
        assert!(near("zzzzzzzz", known).is_empty());
    }

    #[test]
    fn choices_read_as_a_sentence() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(choices(&names(&["a"])), "`a`");
        assert_eq!(choices(&names(&["a", "b", "c"])), "`a`, `b` or `c`");
    }
}
