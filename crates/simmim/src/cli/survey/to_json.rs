//! A survey for programs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use simmim_config::auto::{Choice, Reason};
use simmim_data::ASPECTS;

use super::facts::kind_of;
use super::found::{Found, Set};

pub(super) fn of(found: &Found, choice: &Choice) -> Value {
    let groups = |groups: &[Vec<usize>]| {
        let name = |idx: &usize| found.images[*idx].name.clone();
        let groups = groups
            .iter()
            .map(|group| group.iter().map(name).collect::<Vec<_>>());
        groups.collect::<Vec<_>>()
    };
    json!({
        "sets": found.sets.iter().map(of_set).collect::<Vec<_>>(),
        "same_bytes": groups(&found.twins.exact),
        "look_the_same": groups(&found.twins.near),
        "across_parts": groups(&found.across),
        "pretrain": {
            "toml": choice.config.to_toml(),
            "why": choice.reasons().map(Reason::to_string).collect::<Vec<_>>(),
        },
    })
}

fn of_set(set: &Set) -> Value {
    let (census, survey) = (&set.census, &set.census.survey);
    let unreadable = census.unreadable.iter().map(
        |image| json!({"name": image.name, "reason": image.reason, "kind": kind_of(&image.reason)}),
    );
    let channels = census
        .channels
        .iter()
        .map(|it| json!({"mean": it.mean, "std": it.std}));
    let classes = set
        .classes
        .iter()
        .map(|class| json!({"name": class.name, "n_images": class.n_images}));
    json!({
        "data": set.spec,
        "n_images": set.data.len(),
        "n_looked_at": census.entries.len(),
        "n_bytes": census.n_bytes,
        "formats": counts(&survey.formats, ToString::to_string),
        "median_px": survey.median_px,
        "min_px": survey.min_px,
        "max_px": survey.max_px,
        "aspects": counts(&census.aspects, |place| ASPECTS[*place].0.to_owned()),
        "channels": counts(&survey.channels, ToString::to_string),
        "bits": counts(&survey.bits, ToString::to_string),
        "pages": counts(&survey.pages, ToString::to_string),
        "n_turned": survey.n_turned,
        "n_flat": census.n_flat,
        "unreadable": unreadable.collect::<Vec<_>>(),
        "statistics": channels.collect::<Vec<_>>(),
        "classes": classes.collect::<Vec<_>>(),
    })
}

fn counts<K>(of: &BTreeMap<K, usize>, name: impl Fn(&K) -> String) -> Value {
    let counts = of.iter().map(|(kind, n)| (name(kind), Value::from(*n)));
    Value::Object(counts.collect::<Map<_, _>>())
}
