//! What was forgiven while almost-JSON was read. Called by `json`; told by `answer`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The most repeated keys that are named.
const REPEATED_MAX: usize = 20;

/// Kinds of mistakes that are forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum JsonRepair {
    Comments,
    CodeFences,
    Dots,
    TrailingCommas,
    WideCommas,
    Brackets(BracketRepair),
    Quotes,
    MissingQuote,
    Escapes,
    EscapedTwice,
    JoinedTexts,
    FunctionCall,
    ProgramLiterals,
    BareKeys,
    BareTexts,
    MissingColon,
    KeyWithoutValue,
    TextAround,
    TextInText,
}

/// Kinds of mistakes with brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BracketRepair {
    MissingClosing,
    WrongKind,
    StrayClosing,
    StrayOpening,
    SeveralValues,
}

impl fmt::Display for JsonRepair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JsonRepair::Comments => "comments were left out",
            JsonRepair::CodeFences => "code fences were left out",
            JsonRepair::Dots => "dots that stand for more were left out",
            JsonRepair::TrailingCommas => "trailing commas were left out",
            JsonRepair::WideCommas => "wide commas",
            JsonRepair::Brackets(BracketRepair::MissingClosing) => {
                "a missing closing bracket was added"
            }
            JsonRepair::Brackets(BracketRepair::WrongKind) => "a closing bracket of the wrong kind",
            JsonRepair::Brackets(BracketRepair::StrayClosing) => {
                "a closing bracket that nothing opened was left out"
            }
            JsonRepair::Brackets(BracketRepair::StrayOpening) => {
                "a stray opening brace was left out"
            }
            JsonRepair::Brackets(BracketRepair::SeveralValues) => {
                "several values were read as one list"
            }
            JsonRepair::Quotes => "quotes other than double ones",
            JsonRepair::MissingQuote => "a missing quote was added",
            JsonRepair::Escapes => "characters that a text has to escape",
            JsonRepair::EscapedTwice => "the whole was escaped once too often",
            JsonRepair::JoinedTexts => "texts that were joined by +",
            JsonRepair::FunctionCall => "a function call around the value was left out",
            JsonRepair::ProgramLiterals => "literals of a program",
            JsonRepair::BareKeys => "keys without quotes",
            JsonRepair::BareTexts => "texts without quotes",
            JsonRepair::MissingColon => "a missing colon was added",
            JsonRepair::KeyWithoutValue => "a key without a value was left out",
            JsonRepair::TextAround => "text around the plan was left out",
            JsonRepair::TextInText => "a value within a text was read",
        })
    }
}

/// What was forgiven in one text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct JsonNotes {
    repairs: BTreeMap<JsonRepair, usize>,
    /// Keys that stand twice in an object; the last one counts.
    pub(super) repeated: Vec<String>,
    /// The text ends within a list or a text: more was to come.
    pub(super) is_cut: bool,
}

impl JsonNotes {
    pub(super) fn repair(&mut self, what: JsonRepair) {
        *self.repairs.entry(what).or_default() += 1;
    }

    pub(super) fn repeat(&mut self, key: &str) {
        if self.repeated.len() < REPEATED_MAX && !self.repeated.iter().any(|known| known == key) {
            self.repeated.push(key.to_owned());
        }
    }

    /// Takes over what was noted of a part.
    pub(super) fn add(&mut self, part: JsonNotes) {
        for (what, times) in part.repairs {
            *self.repairs.entry(what).or_default() += times;
        }
        part.repeated.iter().for_each(|key| self.repeat(key));
        self.is_cut |= part.is_cut;
    }

    /// The repairs in words.
    pub(super) fn told(&self) -> impl Iterator<Item = String> {
        self.repairs.iter().map(|(what, times)| match times {
            1 => what.to_string(),
            _ => format!("{what} ({times} times)"),
        })
    }
}

/// The keys that stand twice in an object of a strict JSON text.
pub(super) fn repeated_keys(text: &str) -> JsonNotes {
    let mut notes = JsonNotes::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    // The text has been read once: it holds a value.
    let _ = KeySeed(&mut notes).deserialize(&mut reader);
    notes
}

struct KeySeed<'n>(&'n mut JsonNotes);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(KeySeed(self.0))?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            if seen.contains(&key) {
                self.0.repeat(&key);
                members.next_value::<IgnoredAny>()?;
            } else {
                members.next_value_seed(KeySeed(self.0))?;
                seen.insert(key);
            }
        }
        Ok(())
    }
}
