//! Enumerations of the documents: written in one spelling, read in any case.

/// For [`choices!`], wherever it is used.
#[doc(hidden)]
pub use {schemars, serde};

/// A closed set of words. Implemented by [`choices!`].
pub trait ClosedChoice: Sized + Copy + 'static {
    /// Every value with its written spelling.
    const ALL: &'static [(&'static str, Self)];

    /// Reads a word in any case; `-` and a space count as `_`.
    fn read(word: &str) -> Option<Self> {
        let same = |known: &str| {
            known.len() == word.len()
                && known.bytes().zip(word.bytes()).all(|(k, w)| {
                    let w = if w == b'-' || w == b' ' { b'_' } else { w };
                    k.eq_ignore_ascii_case(&w)
                })
        };
        Self::ALL.iter().find(|(known, _)| same(known)).map(|(_, value)| *value)
    }
}

/// Declares an enumeration with its written words, serde and JSON Schema included.
#[macro_export]
macro_rules! choices {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        $vis enum $name { $($(#[$variant_meta])* $variant,)* }

        impl $crate::document::choice::ClosedChoice for $name {
            const ALL: &'static [(&'static str, $name)] = &[$(($word, $name::$variant),)*];
        }

        impl $name {
            /// All of them.
            pub const EVERY: &'static [$name] = &[$($name::$variant,)*];

            /// The written spellings, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word,)*];

            /// Reads a word in any case.
            pub fn parse(word: &str) -> Option<$name> {
                <$name as $crate::document::choice::ClosedChoice>::read(word)
            }

            /// The written spelling.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl $crate::document::choice::serde::Serialize for $name {
            fn serialize<S: $crate::document::choice::serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> $crate::document::choice::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::document::choice::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let word = <String as $crate::document::choice::serde::Deserialize>::deserialize(d)?;
                <$name as $crate::document::choice::ClosedChoice>::read(&word).ok_or_else(|| {
                    let known = [$($word),*].join(", ");
                    $crate::document::choice::serde::de::Error::custom(format!("`{word}` is none of {known}"))
                })
            }
        }

        impl $crate::document::choice::schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> { stringify!($name).into() }
            fn json_schema(_: &mut $crate::document::choice::schemars::SchemaGenerator) -> $crate::document::choice::schemars::Schema {
                // Both cases, because both are read; editors complete the first.
                let mut words: Vec<String> = vec![$($word.to_owned()),*];
                for word in [$($word),*] {
                    for other in [word.to_ascii_lowercase(), word.to_ascii_uppercase()] {
                        if !words.contains(&other) { words.push(other); }
                    }
                }
                $crate::document::choice::schemars::json_schema!({ "type": "string", "enum": words })
            }
        }
    };
}
pub use choices;
