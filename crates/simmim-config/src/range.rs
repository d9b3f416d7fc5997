//! The setting of `data.range`.

use toml::Value;

use crate::setting::Setting;

/// Which values of an image become 0 and 1, before normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// 0, and the largest value of the type; 1 for floats.
    Type,
    /// The smallest and the largest value of the training images, which are then written down in its place.
    Dataset,
    /// Two values in the numbers of the files.
    Values([f64; 2]),
}

/// A word, or a pair `[low, high]`.
impl Setting for Range {
    fn expected() -> String {
        format!("\"{TYPE}\", \"{DATASET}\", or a list [low, high]")
    }

    fn from_toml(value: &Value) -> Option<Self> {
        match value.as_str() {
            Some(TYPE) => Some(Self::Type),
            Some(DATASET) => Some(Self::Dataset),
            Some(_) => None,
            None => Setting::from_toml(value).map(Self::Values),
        }
    }

    fn to_toml(&self) -> Option<Value> {
        match self {
            Self::Type => TYPE.to_owned().to_toml(),
            Self::Dataset => DATASET.to_owned().to_toml(),
            Self::Values(ends) => ends.to_toml(),
        }
    }
}

/// The words of a [`Range`].
const TYPE: &str = "type";
const DATASET: &str = "dataset";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_word_or_two_numbers() {
        for range in [Range::Type, Range::Dataset, Range::Values([-1000.0, 400.0])] {
            let toml = range.to_toml().unwrap();
            assert_eq!(Range::from_toml(&toml), Some(range));
        }
        let whole = Value::Array(vec![Value::Integer(0), Value::Integer(4095)]);
        assert_eq!(Range::from_toml(&whole), Some(Range::Values([0.0, 4095.0])));
        assert_eq!(Range::from_toml(&Value::String("own".to_owned())), None);
    }
}
