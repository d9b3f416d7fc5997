//! The types that a key may have, and their form in TOML.

use simmim_device::DeviceChoice;
use toml::Value;

/// A type of value that a key may have.
pub(crate) trait Setting: Sized {
    /// What the key takes, in words that follow "expected".
    fn expected() -> String;

    /// The value, if `value` is one of this type.
    fn from_toml(value: &Value) -> Option<Self>;

    /// The value in TOML; none for a key that is not set.
    fn to_toml(&self) -> Option<Value>;
}

impl Setting for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }
}

impl Setting for usize {
    fn expected() -> String {
        "a whole number that is not negative".to_owned()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }

    fn to_toml(&self) -> Option<Value> {
        i64::try_from(*self).ok().map(Value::Integer)
    }
}

impl Setting for u64 {
    fn expected() -> String {
        usize::expected()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }

    fn to_toml(&self) -> Option<Value> {
        // Nothing is lost: `check` refuses seeds beyond the whole numbers of TOML.
        i64::try_from(*self).ok().map(Value::Integer)
    }
}

impl Setting for f64 {
    fn expected() -> String {
        "a number".to_owned()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value
            // A whole number will do: `mlp_ratio = 4` is no mistake.
            .as_float()
            .or_else(|| value.as_integer().map(|whole| whole as f64))
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::Float(*self))
    }
}

impl Setting for String {
    fn expected() -> String {
        "text in quotes".to_owned()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::String(self.clone()))
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn expected() -> String {
        format!("a list, each of it {}", T::expected())
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::from_toml).collect()
    }

    fn to_toml(&self) -> Option<Value> {
        self.iter()
            .map(T::to_toml)
            .collect::<Option<Vec<Value>>>()
            .map(Value::Array)
    }
}

/// A pair `[low, high]`.
impl Setting for [f64; 2] {
    fn expected() -> String {
        "a list of two numbers".to_owned()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Vec::from_toml(value)?.try_into().ok()
    }

    fn to_toml(&self) -> Option<Value> {
        self.to_vec().to_toml()
    }
}

/// A size `[height, width]`, or one number for a square.
impl Setting for [usize; 2] {
    fn expected() -> String {
        "a whole number, or a list [height, width]".to_owned()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        match usize::from_toml(value) {
            Some(side) => Some([side, side]),
            None => Vec::from_toml(value)?.try_into().ok(),
        }
    }

    fn to_toml(&self) -> Option<Value> {
        self.to_vec().to_toml()
    }
}

/// Takes away the value that a layer below gave to a key.
pub(crate) const UNSET: &str = "unset";

/// A key that may be left unset.
impl<T: Setting> Setting for Option<T> {
    fn expected() -> String {
        format!("{}, or \"{UNSET}\"", T::expected())
    }

    fn from_toml(value: &Value) -> Option<Self> {
        // The word is taken for optional text too: no such key can have it for a value.
        if value.as_str() == Some(UNSET) {
            return Some(None);
        }
        T::from_toml(value).map(Some)
    }

    fn to_toml(&self) -> Option<Value> {
        self.as_ref().and_then(T::to_toml)
    }
}

/// A device by its name, which may have a number.
impl Setting for DeviceChoice {
    fn expected() -> String {
        "one of \"auto\", \"cpu\", \"cuda\", \"cuda:1\" and so on".to_owned()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::of_name(value.as_str()?)
    }

    fn to_toml(&self) -> Option<Value> {
        self.to_string().to_toml()
    }
}

/// A type of which each value has a word in a configuration.
pub trait Words: Copy + 'static {
    /// Every choice with its word, in the order in which the documentation lists them.
    const WORDS: &'static [(Self, &'static str)];

    /// The word that stands for it in a configuration.
    fn word(self) -> &'static str;
}

impl<T: Words> Setting for T {
    fn expected() -> String {
        let words: Vec<String> = T::WORDS
            .iter()
            .map(|(_, word)| format!("\"{word}\""))
            .collect();
        match words.as_slice() {
            [only] => only.clone(),
            words => format!("one of {}", words.join(", ")),
        }
    }

    fn from_toml(value: &Value) -> Option<Self> {
        let word = value.as_str()?;
        let found = T::WORDS.iter().find(|(_, own)| *own == word);
        found.map(|(choice, _)| *choice)
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::String(self.word().to_owned()))
    }
}

/// Gives a type of another crate its words.
macro_rules! words_of {
    ($name:ident { $($variant:ident = $word:literal),+ }) => {
        impl $crate::setting::Words for $name {
            const WORDS: &'static [(Self, &'static str)] = &[$((Self::$variant, $word),)+];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}
pub(crate) use words_of;

/// Defines a type of a few words, where the crates below have none.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad($crate::setting::Words::word(*self))
            }
        }

        $crate::setting::words_of! { $name { $($variant = $word),+ } }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        let table: toml::Table = format!("x = {text}").parse().unwrap();
        table["x"].clone()
    }

    #[test]
    fn one_number_is_a_square_image() {
        assert_eq!(<[usize; 2]>::from_toml(&value("224")), Some([224, 224]));
        assert_eq!(
            <[usize; 2]>::from_toml(&value("[192, 256]")),
            Some([192, 256])
        );
        assert_eq!(<[usize; 2]>::from_toml(&value("[1, 2, 3]")), None);
        assert_eq!(<[usize; 2]>::from_toml(&value("-1")), None);
    }

    #[test]
    fn a_whole_number_is_a_number_but_not_the_other_way_round() {
        assert_eq!(f64::from_toml(&value("1")), Some(1.0));
        assert_eq!(usize::from_toml(&value("1.0")), None);
        assert_eq!(usize::from_toml(&value("-3")), None);
    }

    #[test]
    fn values_go_to_toml_and_back() {
        fn there_and_back<T: Setting + PartialEq + std::fmt::Debug>(value: T) {
            let toml = value.to_toml().unwrap();
            assert_eq!(T::from_toml(&toml), Some(value));
        }
        there_and_back(true);
        there_and_back(7_usize);
        there_and_back(7_u64);
        there_and_back(5e-7);
        there_and_back("a \"b\" \\ c".to_owned());
        there_and_back(vec![3_usize, 4]);
        there_and_back([0.67, 1.0]);
        there_and_back([192_usize, 256]);
        there_and_back(Some(12_usize));
        assert_eq!(None::<usize>.to_toml(), None);
    }
}
