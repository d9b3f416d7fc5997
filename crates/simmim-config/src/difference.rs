//! In what two configurations differ.

use crate::raw::{Key, RawConfig};

/// A key in which two configurations differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key.
    pub key: Key,
    /// Its value before, as TOML; none where it was not set.
    pub before: Option<String>,
    /// Its value now.
    pub now: Option<String>,
}

impl RawConfig {
    /// The first key in which this configuration and the one of `now` differ, but for keys that do not decide what is
    /// computed.
    pub fn differs(&self, now: &Self) -> Option<Difference> {
        // Compared as TOML: that is what a run folder keeps, and a key without meaning for the task has no value there.
        let mut decisive = Self::keys().into_iter().filter(|key| !key.is_free);
        decisive.find_map(|key| {
            let path = key.path();
            let value = |config: &Self| config.get(&path).map(|value| value.to_string());
            // As text, so that the line of the file can be shown.
            let (before, now) = (value(self), value(now));
            (before != now).then_some(Difference { key, before, now })
        })
    }
}

impl Difference {
    /// The line that stood in `config.toml` before, and the one that would stand there now.
    pub fn lines(&self) -> [String; 2] {
        let name = self.key.name;
        [&self.before, &self.now].map(|value| match value {
            Some(value) => format!("`{name} = {value}`"),
            None => format!("`# {name} is not set`"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_nothing_is_no_difference_and_all_else_is_named() {
        let before = RawConfig::default();
        let mut now = before.clone();
        now.data.path = Some("elsewhere".to_owned());
        now.data.workers = 7;
        now.train.keep = 9;
        assert_eq!(before.differs(&now), None);
        now.model.depth = Some(3);
        now.train.epochs = 7;
        let found = before.differs(&now).unwrap();
        assert_eq!(found.key.path(), "model.depth");
        assert_eq!(found.lines(), ["`# depth is not set`", "`depth = 3`"]);
        now.finetune = Some(crate::keys::FineTune::default());
        now.model.depth = None;
        now.train.epochs = before.train.epochs;
        assert_eq!(before.differs(&now).unwrap().key.path(), "mask.kind");
    }
}
