//! The names that people give to the parts of a data set.

/// What a part of a data set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// To be trained on.
    Train,
    /// To choose by.
    Validation,
    /// To measure on at the very end.
    Test,
}

/// Every name with its role, of those of a role the preferred first.
const NAMES: [(&str, Role); 10] = [
    ("train", Role::Train),
    ("training", Role::Train),
    ("val", Role::Validation),
    ("valid", Role::Validation),
    ("validation", Role::Validation),
    ("dev", Role::Validation),
    ("eval", Role::Validation),
    ("evaluation", Role::Validation),
    ("test", Role::Test),
    ("testing", Role::Test),
];

impl Role {
    /// The role that a name stands for, in any case.
    pub(super) fn of(name: &str) -> Option<Self> {
        rank(name).map(|place| NAMES[place].1)
    }
}

/// A name as it is known, in lower case.
pub(super) fn known(name: &str) -> Option<&'static str> {
    rank(name).map(|place| NAMES[place].0)
}

/// The place of a name among those that are known.
pub(super) fn rank(name: &str) -> Option<usize> {
    NAMES
        .iter()
        .position(|(known, _)| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case_and_the_usual_ones_come_first() {
        assert_eq!(Role::of("Train"), Some(Role::Train));
        assert_eq!(Role::of("VALID"), Some(Role::Validation));
        assert_eq!(Role::of("testing"), Some(Role::Test));
        assert_eq!(Role::of("trains"), None);
        assert!(rank("val") < rank("dev") && rank("dev") < rank("test"));
    }
}
