//! Refuses to begin where ranks would not do the same.

use simmim_collective::{Collective, Error as RankError};
use simmim_config::RawConfig;

use crate::error::Error;

/// Keys that may differ between ranks: where a machine has its images, and how many threads it decodes them with.
const OWN_KEYS: [&str; 3] = ["path = ", "from = ", "workers = "];

/// Refuses ranks of another version, configuration or data set than rank 0, on all ranks.
///
/// # Errors
/// [`Error::Ranks`], which names the first rank that differs, and in what.
pub(crate) fn require_alike(
    collective: &dyn Collective,
    config: &RawConfig,
    fingerprint: u64,
) -> Result<(), Error> {
    if collective.is_alone() {
        return Ok(());
    }
    let own = describe(config, fingerprint).join("\n");
    let all = collective.all_gather(own.as_bytes())?;
    let all: Vec<_> = all
        .iter()
        .map(|text| String::from_utf8_lossy(text))
        .collect();
    for (rank, text) in all.iter().enumerate().skip(1) {
        let mut lines = all[0].lines().zip(text.lines());
        if let Some((expected, found)) = lines.find(|(expected, found)| expected != found) {
            let (what, expected) = expected.split_once(": ").unwrap_or_default();
            let found = found.split_once(": ").unwrap_or_default().1;
            return Err(Error::Ranks(RankError::Differs {
                who: collective.member(rank),
                what: what.to_owned(),
                expected: expected.to_owned(),
                found: found.to_owned(),
            }));
        }
    }
    Ok(())
}

/// What has to be the same on every rank, a line each.
fn describe(config: &RawConfig, fingerprint: u64) -> Vec<String> {
    let mut lines = vec![
        format!("a version of simmim: {}", env!("CARGO_PKG_VERSION")),
        format!("images: fingerprint {fingerprint:016x}"),
        format!(
            "instructions: {}",
            simmim_backend::level(config.train.device)
        ),
    ];
    for line in config.to_toml().lines() {
        let key = line.trim_start_matches("# ");
        if !OWN_KEYS.iter().any(|own| key.starts_with(own)) {
            lines.push(format!("a configuration: {line}"));
        }
    }
    lines
}
