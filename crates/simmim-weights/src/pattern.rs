//! Names of arrays with numbers left open.

use std::fmt::Write;

/// A name with places for a block's and a stage's number and for the end of a layer's array.
///
/// `{i}` and `{j}` stand for numbers, `{i+1}`, `{2i+1}` and `{2i+2}` for numbers that follow from them, `*` for `weight` or `bias`, and
/// `~` at the beginning for the prefix of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(&'static str),
    Prefix,
    Number(Number),
    Kind,
}

/// `times` · a number + `plus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number {
    letter: Letter,
    times: usize,
    plus: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letter {
    I,
    J,
}

/// What the open places of a name stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Places {
    pub(crate) i: Option<usize>,
    pub(crate) j: Option<usize>,
    kind: Option<Kind>,
}

/// The arrays of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Weight,
    Bias,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
        }
    }
}

impl Pattern {
    /// # Panics
    /// When the text is no pattern: they stand in this crate's tables, and a test reads them all.
    pub(crate) fn new(text: &'static str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        if let Some(tail) = rest.strip_prefix('~') {
            pieces.push(Piece::Prefix);
            rest = tail;
        }
        while !rest.is_empty() {
            let (piece, tail) = next_piece(rest);
            pieces.push(piece);
            rest = tail;
        }
        Self { pieces }
    }

    /// What the open places stand for where `name` is of this pattern.
    pub(crate) fn read(&self, name: &str, prefix: &str) -> Option<Places> {
        let (mut rest, mut places) = (name, Places::default());
        for piece in &self.pieces {
            rest = match piece {
                Piece::Text(text) => rest.strip_prefix(text)?,
                Piece::Prefix => rest.strip_prefix(prefix)?,
                Piece::Kind => {
                    let kinds = [Kind::Weight, Kind::Bias];
                    let kind = kinds
                        .into_iter()
                        .find(|kind| rest.starts_with(kind.word()))?;
                    places.kind = Some(kind);
                    &rest[kind.word().len()..]
                }
                Piece::Number(number) => {
                    let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                    let (digits, tail) = rest.split_at(n_digits);
                    places.put(*number, digits)?;
                    tail
                }
            };
        }
        rest.is_empty().then_some(places)
    }

    /// The name with its places filled in.
    ///
    /// # Panics
    /// When a place of it is open in `places`.
    pub(crate) fn write(&self, places: &Places, prefix: &str) -> String {
        let mut name = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Prefix => name.push_str(prefix),
                Piece::Kind => name.push_str(places.kind.expect("a kind that was read").word()),
                Piece::Number(number) => {
                    let own = places.get(number.letter).expect("a number that was read");
                    let own = own * number.times + number.plus;
                    write!(name, "{own}").expect("a string takes all");
                }
            }
        }
        name
    }
}

#[cfg(test)]
impl Pattern {
    /// A name of this pattern without a prefix, with 1 in every open place.
    pub(crate) fn example(&self, kind: &str) -> String {
        let places = Places {
            i: Some(1),
            j: Some(1),
            kind: Some(if kind == "bias" {
                Kind::Bias
            } else {
                Kind::Weight
            }),
        };
        self.write(&places, "")
    }
}

fn next_piece(text: &'static str) -> (Piece, &'static str) {
    if let Some(tail) = text.strip_prefix('*') {
        return (Piece::Kind, tail);
    }
    if let Some(tail) = text.strip_prefix('{') {
        let (inside, tail) = tail.split_once('}').expect("a place is closed");
        return (Piece::Number(number_of(inside)), tail);
    }
    let end = text.find(['{', '*']).unwrap_or(text.len());
    (Piece::Text(&text[..end]), &text[end..])
}

fn number_of(inside: &str) -> Number {
    let (factor, plus) = inside.split_once('+').unwrap_or((inside, "0"));
    let (letter, times) = match factor {
        "i" => (Letter::I, 1),
        "j" => (Letter::J, 1),
        "2i" => (Letter::I, 2),
        other => panic!("`{other}` is no place of a name"),
    };
    let plus = plus.parse().expect("a number is added");
    Number {
        letter,
        times,
        plus,
    }
}

impl Places {
    fn get(&self, letter: Letter) -> Option<usize> {
        match letter {
            Letter::I => self.i,
            Letter::J => self.j,
        }
    }

    /// None where the digits are no number of this form, or another than the one that the letter stood for before.
    fn put(&mut self, number: Number, digits: &str) -> Option<()> {
        let value: usize = digits.parse().ok()?;
        // One name is one number: `01` is not 1.
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        let value = value.checked_sub(number.plus)?;
        if !value.is_multiple_of(number.times) {
            return None;
        }
        let value = value / number.times;
        let slot = match number.letter {
            Letter::I => &mut self.i,
            Letter::J => &mut self.j,
        };
        let is_same = slot.is_none_or(|known| known == value);
        *slot = Some(value);
        is_same.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_and_written_back() {
        let pattern = Pattern::new("~features.{2i+1}.{j}.mlp.0.*");
        let name = "model.features.5.12.mlp.0.bias";
        let places = pattern.read(name, "model.").unwrap();
        assert_eq!((places.i, places.j), (Some(2), Some(12)));
        assert_eq!(pattern.write(&places, "model."), name);
        let ours = Pattern::new("layers.{i}.blocks.{j}.mlp.fc1.*");
        assert_eq!(ours.write(&places, ""), "layers.2.blocks.12.mlp.fc1.bias");
    }

    #[test]
    fn what_is_not_of_the_pattern_is_not_read() {
        let pattern = Pattern::new("~features.{2i+2}.norm.*");
        for name in [
            "features.3.norm.weight",
            "features.0.norm.weight",
            "features.02.norm.weight",
            "features.2.norm.scale",
            "features.2.norm.weight.more",
            "features..norm.weight",
            "features.99999999999999999999999.norm.weight",
        ] {
            assert_eq!(pattern.read(name, ""), None, "{name}");
        }
        assert!(pattern.read("features.2.norm.weight", "").is_some());
    }
}
