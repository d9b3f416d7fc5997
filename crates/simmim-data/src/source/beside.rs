//! What the files beside images in archives say that the images show: `.cls` and `.json`, as WebDataset keeps them.
//!
//! Members of one name up to the first full stop are of one sample: `a/7.jpg`, `a/7.cls`, `a/7.json`.
//!
//! Source: webdataset `tariterators.py`, `base_plus_ext`.

use std::collections::HashMap;

use serde_json::Value;

/// The largest such file that is read.
const MAX_BYTES: u64 = 1 << 20;
/// The keys of a `.json` that state a label, the stronger first.
const KEYS: [&str; 7] = [
    "label",
    "labels",
    "cls",
    "class",
    "class_name",
    "category",
    "target",
];

/// A kind of file that may state a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One label, as text: commonly the number of a class.
    Cls,
    /// An object with a label among other values.
    Json,
}

impl Kind {
    /// That of a member, by its name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "cls" => Some(Self::Cls),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// What a file states.
#[derive(Debug)]
struct Statement {
    kind: Kind,
    /// The labels; or why there are none that can be used.
    labels: Result<Stated, String>,
}

/// Labels of a sample.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stated {
    pub(crate) labels: Vec<String>,
    /// Whether they stand in a list, which may have any number of them.
    pub(crate) is_list: bool,
}

/// The labels of the samples of some archives.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// By the name of the sample, that of the archive included.
    statements: HashMap<String, Statement>,
}

impl Beside {
    /// The most bytes of a file that are worth reading.
    pub(super) const MAX_BYTES: u64 = MAX_BYTES;

    /// Notes what a file says, of which `bytes` is the whole. A `.json` without a label says nothing.
    pub(super) fn add(&mut self, kind: Kind, name: &str, bytes: &[u8]) {
        let labels = match kind {
            Kind::Cls => of_cls(bytes).map(Some),
            Kind::Json => of_json(bytes),
        };
        let Some(labels) = labels.transpose() else {
            return;
        };
        let statement = Statement { kind, labels };
        let sample = sample_of(name);
        let is_weaker = |found: &Statement| found.kind == Kind::Cls && kind == Kind::Json;
        if !self.statements.get(sample).is_some_and(is_weaker) {
            self.statements.insert(sample.to_owned(), statement);
        }
    }

    /// Whether no file says anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// What is said of an image, by its name: nothing, labels, or why they cannot be used.
    pub(crate) fn of(&self, image: &str) -> Option<Result<&Stated, &str>> {
        let statement = self.statements.get(sample_of(image))?;
        Some(statement.labels.as_ref().map_err(String::as_str))
    }

    /// Whether a `.cls` is beside an image: a file that says nothing else.
    pub(crate) fn has_cls(&self, image: &str) -> bool {
        let statement = self.statements.get(sample_of(image));
        statement.is_some_and(|statement| statement.kind == Kind::Cls)
    }
}

/// The part of a name that the members of a sample have in common.
fn sample_of(name: &str) -> &str {
    // A full stop in a folder's name, and in that of the archive, is none of the file's.
    let file_at = name.rfind(['/', ':']).map_or(0, |at| at + 1);
    let end = name[file_at..].find('.');
    end.map_or(name, |end| &name[..file_at + end])
}

fn of_cls(bytes: &[u8]) -> Result<Stated, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.contains('\n') {
        return Err("it has several lines, expected one label".to_owned());
    }
    Ok(Stated {
        labels: vec![text.to_owned()],
        is_list: false,
    })
}

/// The labels of an object; none where it has none of the keys.
fn of_json(bytes: &[u8]) -> Result<Option<Stated>, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let found = KEYS.iter().find_map(|key| Some((key, value.get(key)?)));
    let Some((key, value)) = found else {
        return Ok(None);
    };
    let name = |value: &Value| match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        other => Err(format!(
            "`{key}` is {other}, expected a name or a whole number, or a list of those"
        )),
    };
    match value {
        Value::Array(values) => {
            let labels: Result<_, String> = values.iter().map(name).collect();
            Ok(Some(Stated {
                labels: labels?,
                is_list: true,
            }))
        }
        value => Ok(Some(Stated {
            labels: vec![name(value)?],
            is_list: false,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_named_up_to_the_first_full_stop_of_the_file() {
        for (name, sample) in [
            ("s.0.tar:a.b/7.left.png", "s.0.tar:a.b/7"),
            ("s.tar:7.jpg", "s.tar:7"),
            ("s.tar:a/7", "s.tar:a/7"),
            ("/x.y/s.tar:./7.cls", "/x.y/s.tar:./7"),
        ] {
            assert_eq!(sample_of(name), sample);
        }
    }

    #[test]
    fn labels_are_read_and_what_is_none_is_named() {
        let labels = |stated: Stated| (stated.labels, stated.is_list);
        assert_eq!(
            labels(of_cls(b" 7\n").unwrap()),
            (vec!["7".to_owned()], false)
        );
        assert_eq!(of_cls(b"\xef\xbb\xbfcat").unwrap().labels, ["cat"]);
        for bytes in [&b""[..], b" \n", b"1\n2\n", b"\xff"] {
            assert!(of_cls(bytes).is_err(), "{bytes:?}");
        }
        let json = |text: &str| of_json(text.as_bytes());
        assert_eq!(
            json(r#"{"width": 3, "label": 278}"#)
                .unwrap()
                .unwrap()
                .labels,
            ["278"]
        );
        assert_eq!(
            json(r#"{"class_name": "cat", "cls": 1}"#)
                .unwrap()
                .unwrap()
                .labels,
            ["1"]
        );
        let several = json(r#"{"labels": ["cat", 3]}"#).unwrap().unwrap();
        assert_eq!(
            labels(several),
            (vec!["cat".to_owned(), "3".to_owned()], true)
        );
        assert!(json(r#"{"caption": "a cat"}"#).unwrap().is_none());
        assert!(json("[1]").unwrap().is_none());
        for text in [
            r#"{"label": 0.5}"#,
            r#"{"label": null}"#,
            r#"{"label": ""}"#,
            r#"{"label": {}}"#,
        ] {
            let said = json(text).unwrap_err();
            assert!(said.starts_with("`label` is "), "{said}");
        }
        assert!(json("{").is_err());
    }

    #[test]
    fn a_cls_is_stronger_than_a_json_in_any_order() {
        let files = [
            (Kind::Cls, "s.tar:0.cls", &b"1"[..]),
            (Kind::Json, "s.tar:0.json", br#"{"label": 2}"#),
        ];
        for order in [[0, 1], [1, 0]] {
            let mut beside = Beside::default();
            for at in order {
                let (kind, name, bytes) = files[at];
                beside.add(kind, name, bytes);
            }
            assert_eq!(beside.of("s.tar:0.jpg").unwrap().unwrap().labels, ["1"]);
            assert!(beside.has_cls("s.tar:0.jpg") && !beside.has_cls("s.tar:1.jpg"));
            assert!(beside.of("t.tar:0.jpg").is_none());
        }
    }
}
