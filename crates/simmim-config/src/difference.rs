//! In what two configurations differ.

use crate::raw::RawConfig;

/// Keys that a run may go on with another value of: none of them decides what is computed.
pub const FREE_KEYS: [&str; 8] = [
    "path",
    "from",
    "workers",
    "max_bad",
    "keep",
    "pictures",
    "save_every_epochs",
    "save_every_minutes",
];

/// The first lines in which two configurations differ, but for the keys that decide nothing.
pub fn first_difference(before: &RawConfig, now: &RawConfig) -> Option<(String, String)> {
    let (before, now) = (before.to_toml(), now.to_toml());
    // A key that is not set stands as a comment.
    let key_of = |line: &str| {
        let line = line.trim_start_matches("# ");
        let end = line.find(' ').unwrap_or(line.len());
        line[..end].to_owned()
    };
    let differs =
        |(before, now): &(&str, &str)| before != now && !FREE_KEYS.contains(&key_of(now).as_str());
    let (before, now) = before.lines().zip(now.lines()).find(differs)?;
    Some((format!("`{before}`"), format!("`{now}`")))
}
