//! A survey in words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use simmim_config::auto::Choice;
use simmim_data::{ASPECTS, BadImage, ChannelStatistics, Survey, Twins};

use super::found::{Class, Found, Set};
use crate::cli::table::Fact;

/// Groups, classes and reasons that are named; all of them stand in the JSON.
const MOST_NAMED: usize = 5;

pub(super) fn of(found: &Found, choice: &Choice) -> Vec<Fact> {
    let mut facts: Vec<Fact> = found.sets.iter().flat_map(of_set).collect();
    facts.push(twins(found, "same bytes", &found.twins.exact));
    facts.push(twins(found, "look the same", &found.twins.near));
    let parts: BTreeSet<usize> = found.images.iter().map(|image| image.part).collect();
    if parts.len() > 1 {
        facts.push(across(found));
    }
    let names = ["pretrain"].into_iter().chain(std::iter::repeat(""));
    let reasons = names.zip(choice.reasons());
    facts.extend(reasons.map(|(name, reason)| Fact::new(name, reason.to_string())));
    facts
}

fn of_set(set: &Set) -> Vec<Fact> {
    let mut facts = vec![images(set)];
    facts.extend(headers(&set.census.survey));
    let census = &set.census;
    let aspects = counts(&census.aspects, |place| ASPECTS[*place].0.to_owned());
    facts.push(Fact::new("aspect", aspects));
    facts.push(Fact::new("unreadable", unreadable(&census.unreadable)));
    if census.n_flat > 0 {
        facts.push(Fact::new(
            "flat",
            format!("{} are of one brightness", census.n_flat),
        ));
    }
    let values = |value: fn(&ChannelStatistics) -> f32| {
        listed(census.channels.iter().map(|it| format!("{:.3}", value(it))))
    };
    let (mean, std) = (values(|it| it.mean), values(|it| it.std));
    facts.push(Fact::new(
        "mean",
        format!("{mean}; deviation {std} (0 is black, 1 is full)"),
    ));
    if set.classes.len() > 1 {
        facts.push(Fact::new("classes", classes(&set.classes)));
    }
    facts
}

fn images(set: &Set) -> Fact {
    let (n_images, n_looked) = (set.data.len(), set.census.entries.len());
    let of = if n_looked == n_images {
        String::new()
    } else {
        format!("; {n_looked} of them looked at")
    };
    let mib = set.census.n_bytes as f64 / 2f64.powi(20);
    Fact::new(
        "images",
        format!("{n_images} in {}{of}; {mib:.1} MiB", set.spec),
    )
}

/// What headers say.
fn headers(survey: &Survey) -> Vec<Fact> {
    let [low, median, high] = [survey.min_px, survey.median_px, survey.max_px];
    let size = format!(
        "median {} x {} px (height x width); heights {} to {}, widths {} to {}",
        median[0], median[1], low[0], high[0], low[1], high[1]
    );
    let mut facts = vec![
        Fact::new("formats", counts(&survey.formats, ToString::to_string)),
        Fact::new("size", size),
        Fact::new(
            "channels",
            counts(&survey.channels, |n| format!("of {n} channels")),
        ),
        Fact::new(
            "depth",
            counts(&survey.bits, |bits| format!("of {bits} bits")),
        ),
    ];
    if survey.n_turned > 0 {
        let n = survey.n_turned;
        facts.push(Fact::new(
            "EXIF",
            format!("{n} are turned or mirrored by a tag (data.exif)"),
        ));
    }
    if survey.pages.keys().any(|n| *n > 1) {
        facts.push(Fact::new(
            "pages",
            counts(&survey.pages, |n| format!("of {n} pages")),
        ));
    }
    facts
}

/// How many there are of each kind, the most first.
fn counts<K>(of: &BTreeMap<K, usize>, name: impl Fn(&K) -> String) -> String {
    let mut all: Vec<(&K, &usize)> = of.iter().collect();
    all.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    match all.as_slice() {
        [(only, _)] => format!("all {}", name(only)),
        all => listed(all.iter().map(|(kind, n)| format!("{n} {}", name(kind)))),
    }
}

fn listed<T: Display>(items: impl Iterator<Item = T>) -> String {
    items
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Unreadable images, those of one reason together.
fn unreadable(bad: &[BadImage]) -> String {
    let mut reasons: BTreeMap<String, Vec<&BadImage>> = BTreeMap::new();
    for image in bad {
        reasons
            .entry(kind_of(&image.reason))
            .or_default()
            .push(image);
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, images)| std::cmp::Reverse(images.len()));
    if reasons.is_empty() {
        return "none".to_owned();
    }
    let said = reasons.iter().take(MOST_NAMED);
    let said = said
        .map(|(reason, images)| format!("{} ({reason}; first {})", images.len(), images[0].name));
    let more = reasons.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 {
        format!(", and {more} more reasons")
    } else {
        String::new()
    };
    listed(said) + &more
}

/// A reason without its numbers, which are those of one image.
pub(super) fn kind_of(reason: &str) -> String {
    let mut kind = String::new();
    for letter in reason.chars() {
        if !letter.is_ascii_digit() {
            kind.push(letter);
        } else if !kind.ends_with('#') {
            kind.push('#');
        }
    }
    kind
}

fn twins(found: &Found, name: &str, groups: &[Vec<usize>]) -> Fact {
    if groups.is_empty() {
        return Fact::new(name, "none");
    }
    let text = format!(
        "{} groups, {} images too many: {}",
        groups.len(),
        Twins::n_spare(groups),
        named(found, groups)
    );
    Fact::new(name, text)
}

fn across(found: &Found) -> Fact {
    let text = match found.across.as_slice() {
        [] => "no image is in two parts".to_owned(),
        groups => format!(
            "WARNING: {} groups of images are in two parts, so that what is measured on one was trained on in the other: {}",
            groups.len(),
            named(found, groups)
        ),
    };
    Fact::new("across parts", text)
}

/// The first groups, by the first names of each.
fn named(found: &Found, groups: &[Vec<usize>]) -> String {
    let of_group = |group: &Vec<usize>| {
        let names = group
            .iter()
            .take(2)
            .map(|idx| found.images[*idx].name.as_str());
        let more = group.len().saturating_sub(2);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        names.collect::<Vec<_>>().join(" = ") + &more
    };
    let more = groups.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { ", ..." } else { "" };
    listed(groups.iter().take(MOST_NAMED).map(of_group)) + more
}

/// Classes and their balance.
fn classes(all: &[Class]) -> String {
    let mut sorted: Vec<&Class> = all.iter().collect();
    sorted.sort_by_key(|class| std::cmp::Reverse(class.n_images));
    let said = |classes: &[&Class]| {
        listed(
            classes
                .iter()
                .map(|class| format!("{} {}", class.name, class.n_images)),
        )
    };
    if sorted.len() <= 2 * MOST_NAMED {
        return format!("{}: {}", sorted.len(), said(&sorted));
    }
    let (most, fewest) = (&sorted[..MOST_NAMED], &sorted[sorted.len() - MOST_NAMED..]);
    format!(
        "{}: most {}; fewest {}",
        sorted.len(),
        said(most),
        said(fewest)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_one_kind_are_one() {
        assert_eq!(
            kind_of("the file ends at byte 1234 of 99"),
            "the file ends at byte # of #"
        );
    }

    #[test]
    fn many_classes_are_told_by_their_ends() {
        let class = |n: usize| Class {
            name: format!("c{n}"),
            n_images: n,
        };
        let few: Vec<Class> = (1..4).map(class).collect();
        assert_eq!(classes(&few), "3: c3 3, c2 2, c1 1");
        let many: Vec<Class> = (1..100).map(class).collect();
        assert!(classes(&many).starts_with("99: most c99 99, c98 98"));
        assert!(classes(&many).ends_with("c2 2, c1 1"));
    }
}
