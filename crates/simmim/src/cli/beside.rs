//! What costs nothing, told beside what a network comes to.

use simmim_eval::baselines::{Baseline, Baselines, Compared, warning};

use super::{Talk, tell};

/// Tells each of the baselines, and gives the sentence where one is about as good as the network.
pub(super) fn tell_baselines(
    baselines: &Baselines,
    network: Compared,
    talk: Talk,
) -> Option<String> {
    let each = baselines.each();
    for Baseline { name, accuracy } in each {
        tell(talk, format!("beside it: {name} {:.2} %", 100.0 * accuracy));
    }
    warning(&each, network)
}
