//! Refuses to begin where ranks would not do the same.

use simmim_collective::{Collective, Fact, require_same};
use simmim_config::RawConfig;

use crate::device::level_of;
use crate::error::Error;

/// Keys that may differ between ranks: where a machine has its images, how many threads it decodes them with, and which of its GPUs
/// a rank has.
const OWN_KEYS: [&str; 4] = ["path = ", "from = ", "workers = ", "device = "];

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
    Ok(require_same(collective, &describe(config, fingerprint))?)
}

/// What has to be the same on every rank.
fn describe(config: &RawConfig, fingerprint: u64) -> Vec<Fact> {
    let mut facts = vec![
        Fact::version(),
        Fact::fingerprint("images", fingerprint),
        Fact::new("instructions", level_of(config)),
    ];
    for line in config.to_toml().lines() {
        let key = line.trim_start_matches("# ");
        if !OWN_KEYS.iter().any(|own| key.starts_with(own)) {
            facts.push(Fact::new("a configuration", line));
        }
    }
    facts
}
