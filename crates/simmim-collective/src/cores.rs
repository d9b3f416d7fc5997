//! Which cores the ranks of a machine may use.

use std::collections::BTreeSet;
use std::fs;

/// The cores that a process may use, as Linux lists them: `0-3,8`; empty where that is not known.
pub(crate) fn allowed() -> String {
    listed("self").unwrap_or_default()
}

/// The cores that the launcher's own process may use, which it has not restricted itself.
pub(crate) fn of_launcher() -> String {
    listed(&std::os::unix::process::parent_id().to_string()).unwrap_or_default()
}

fn listed(process: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let mut lines = status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(list.trim().to_owned())
}

/// The numbers of such a list; a part that cannot be read is left out.
pub(crate) fn numbers(list: &str) -> BTreeSet<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<u32>().ok()?..=last.trim().parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cores_is_read() {
        let found: Vec<u32> = numbers("0-3,8, 10-11").into_iter().collect();
        assert_eq!(found, [0, 1, 2, 3, 8, 10, 11]);
        assert!(numbers("").is_empty());
        assert_eq!(numbers("x,5"), BTreeSet::from([5]));
    }

    #[test]
    fn this_process_may_use_a_core() {
        if cfg!(target_os = "linux") {
            assert!(!numbers(&allowed()).is_empty());
        }
    }
}
