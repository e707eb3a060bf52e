//! Columns of a table: the type that keeps every value as it was written, and what a file left open.
//!
//! A table's writer collects [`ColumnFacts`] while rows come, and decides at the end. No type changes a value: a
//! number whose text a machine number would change keeps its text.

use rusqlite::types::ValueRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::number::{NumberText, canonical_integer};
use super::number_style::{NumberStyle, STYLES};

/// A column's name and type.
#[derive(Serialize, Deserialize, JsonSchema, Clone)]
#[serde(deny_unknown_fields)]
pub(super) struct TableColumn {
    /// As the data has it.
    pub(super) name: String,
    /// The type that all its values have.
    #[serde(rename = "type")]
    pub(super) kind: ColumnType,
}

/// The type that all values of a column have.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum ColumnType {
    /// Whole numbers of 64 bits.
    Integer,
    /// Doubles that a question made.
    Real,
    /// Numbers that keep the text they had in a file without types, compared by value.
    Decimal,
    /// Numbers that keep the text they had in JSON, compared by value.
    Number,
    /// True and false; 1 and 0 to SQL.
    Boolean,
    /// Texts.
    Text,
    /// Lists and objects, as JSON texts.
    Json,
    /// Values of several JSON types, each kept as it was.
    Mixed,
}

impl ColumnType {
    const ALL: [ColumnType; 8] = [
        ColumnType::Integer,
        ColumnType::Real,
        ColumnType::Decimal,
        ColumnType::Number,
        ColumnType::Boolean,
        ColumnType::Text,
        ColumnType::Json,
        ColumnType::Mixed,
    ];

    /// The type in SQLite's words; its rules for such words give the affinity (Datatypes in SQLite, 3.1).
    pub(super) fn declared(self) -> &'static str {
        match self {
            ColumnType::Integer => "INTEGER",
            ColumnType::Real => "REAL",
            ColumnType::Decimal => "DECIMAL_TEXT",
            ColumnType::Number => "NUMBER_TEXT",
            ColumnType::Boolean => "BOOLEAN",
            ColumnType::Text => "TEXT",
            ColumnType::Json => "JSON_TEXT",
            ColumnType::Mixed => "MIXED_BLOB",
        }
    }

    /// The type of a question's column that is one of a table; tables of older versions say `INT`.
    pub(super) fn of_declared(word: &str) -> Option<ColumnType> {
        let word = if word == "INT" { "INTEGER" } else { word };
        ColumnType::ALL.into_iter().find(|kind| kind.declared() == word)
    }

    /// Numbers that can be summed up.
    pub(super) fn is_number(self) -> bool {
        match self {
            ColumnType::Integer | ColumnType::Real | ColumnType::Decimal | ColumnType::Number => {
                true
            }
            ColumnType::Boolean | ColumnType::Text | ColumnType::Json | ColumnType::Mixed => false,
        }
    }
}

/// The way in which rows come to a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CellSource {
    /// Texts of a file without types: what they look like decides.
    Texts,
    /// Tokens of JSON, which say what they are.
    Tokens,
    /// Values of a question.
    Values,
}

/// The facts of a column's values so far.
#[derive(Default, Clone)]
pub(super) struct ColumnFacts {
    /// Values that are there.
    filled: u64,
    integers: u64,
    /// Numbers as texts, whole ones included.
    numbers: u64,
    reals: u64,
    texts: u64,
    booleans: u64,
    nested: u64,
    /// Numbers in one of the styles of people, plain ones included.
    styled: u64,
    styles: [StyleFacts; STYLES.len()],
    /// A text is another number in each style.
    ambiguous: bool,
    /// The longest text that is a number in some style.
    example: Option<String>,
    /// One text that no plain number is, with its row.
    first_text: Option<(u64, String)>,
    marks: Vec<&'static str>,
    /// The type of the table's column that a question passed on.
    pub(super) declared: Option<ColumnType>,
}

/// The facts of a column under one style.
#[derive(Default, Clone)]
struct StyleFacts {
    reads: u64,
    unmistakable: bool,
}

impl ColumnFacts {
    /// Takes a text of row `row` (from 1).
    pub(super) fn text(&mut self, text: &str, row: u64) {
        self.filled += 1;
        self.integers += u64::from(canonical_integer(text).is_some());
        let plain = NumberText::new(text).is_some();
        if plain {
            self.numbers += 1;
        } else if self.first_text.is_none() {
            self.first_text = Some((row, text.to_owned()));
        }
        let read = STYLES.map(|style| if text.len() < 64 { style.read(text) } else { None });
        self.styled += u64::from(plain || read.iter().any(Option::is_some));
        if let [Some(a), Some(b)] = &read {
            self.ambiguous |= a.plain != b.plain;
        }
        let longest = self.example.as_ref().map_or(0, String::len);
        if text.len() > longest && read.iter().any(Option::is_some) {
            self.example = Some(text.to_owned());
        }
        for (facts, number) in self.styles.iter_mut().zip(read) {
            let Some(number) = number else { continue };
            facts.reads += 1;
            facts.unmistakable |= number.unmistakable;
            if let Some(mark) = number.mark.filter(|mark| !self.marks.contains(mark)) {
                self.marks.push(mark);
            }
        }
    }

    /// Takes a token of JSON that is not null.
    pub(super) fn token(&mut self, token: &str) {
        self.filled += 1;
        match token.as_bytes().first() {
            Some(b'"') => self.texts += 1,
            Some(b't' | b'f') => self.booleans += 1,
            Some(b'[' | b'{') => self.nested += 1,
            _ if NumberText::new(token).is_some() => {
                self.numbers += 1;
                self.integers += u64::from(canonical_integer(token).is_some());
            }
            // A number beyond all bounds is kept as it is, and is nothing to count with.
            _ => {}
        }
    }

    /// Takes a value of a question.
    pub(super) fn value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => return,
            ValueRef::Integer(_) => self.integers += 1,
            ValueRef::Real(_) => self.reals += 1,
            ValueRef::Text(_) => self.texts += 1,
            ValueRef::Blob(_) => self.nested += 1,
        }
        self.filled += 1;
    }

    /// The type that keeps all values as they are.
    pub(super) fn kind(&self, source: CellSource) -> ColumnType {
        let all = |count: u64| count == self.filled;
        match source {
            _ if self.filled == 0 => self.declared.unwrap_or(ColumnType::Text),
            CellSource::Texts if all(self.integers) => ColumnType::Integer,
            CellSource::Texts if all(self.numbers) => ColumnType::Decimal,
            CellSource::Texts => ColumnType::Text,
            CellSource::Tokens if all(self.integers) => ColumnType::Integer,
            CellSource::Tokens if all(self.numbers) => ColumnType::Number,
            CellSource::Tokens if all(self.booleans) => ColumnType::Boolean,
            CellSource::Tokens if all(self.texts) => ColumnType::Text,
            CellSource::Tokens if all(self.nested) => ColumnType::Json,
            CellSource::Tokens => ColumnType::Mixed,
            CellSource::Values => self.kind_of_values(),
        }
    }

    fn kind_of_values(&self) -> ColumnType {
        let all = |count: u64| count == self.filled;
        match self.declared {
            Some(declared) => declared,
            None if all(self.integers) => ColumnType::Integer,
            None if all(self.reals) => ColumnType::Real,
            None if all(self.texts) => ColumnType::Text,
            None if all(self.integers + self.reals) => ColumnType::Decimal,
            None => ColumnType::Mixed,
        }
    }

    /// The one style in which all values are numbers; `file` is the style of the file's other columns.
    pub(super) fn style(&self, file: Option<NumberStyle>) -> Option<NumberStyle> {
        let plain = self.numbers == self.filled;
        if self.filled == 0 || self.marks.len() > 1 || (plain && file.is_none()) {
            return None;
        }
        let fits = |style: &NumberStyle| self.style_facts(*style).reads == self.filled;
        let fitting: Vec<NumberStyle> = STYLES.into_iter().filter(fits).collect();
        let sure = |style: &NumberStyle| self.style_facts(*style).unmistakable;
        match fitting.as_slice() {
            // Plain numbers are what they are, unless the file's style makes others of them.
            _ if plain => file.filter(|file| fitting.contains(file) && self.ambiguous),
            // Groups of three with a blank between are telephone numbers, too.
            [one] => (sure(one) || !self.marks.is_empty() || file == Some(*one)).then_some(*one),
            [first, ..] if !self.ambiguous && !self.marks.is_empty() => Some(*first),
            _ => file.filter(|file| fitting.contains(file)),
        }
    }

    /// Every value is a number in the style, and not all are plain whole numbers.
    pub(super) fn reads_in(&self, style: NumberStyle) -> bool {
        let all = |count: u64| count == self.filled;
        self.filled > 0
            && self.marks.len() < 2
            && all(self.style_facts(style).reads)
            && (self.ambiguous || !all(self.numbers))
    }

    /// The style that this column alone shows beyond doubt.
    pub(super) fn unmistakable_style(&self) -> Option<NumberStyle> {
        self.style(None).filter(|style| self.style_facts(*style).unmistakable)
    }

    fn style_facts(&self, style: NumberStyle) -> &StyleFacts {
        let at = STYLES.iter().position(|s| *s == style).expect("all styles are listed");
        &self.styles[at]
    }

    /// A sentence about a column whose numbers were read in a style.
    pub(super) fn restyled(&self, name: &str, style: NumberStyle) -> String {
        let plain = self.example.as_ref().and_then(|text| style.read(text));
        let (text, plain) = match (&self.example, plain) {
            (Some(text), Some(number)) => (text.as_str(), number.plain),
            _ => return format!("the numbers of `{name}` were read as people write them"),
        };
        let mark = self.marks.first().map(|mark| format!(", without {mark}")).unwrap_or_default();
        format!("the numbers of `{name}` were read as people write them: `{text}` is {plain}{mark}")
    }

    /// A sentence about a column of texts of which at least half look like numbers.
    pub(super) fn told(&self, name: &str, kind: ColumnType) -> Option<String> {
        let (row, text) = self.first_text.as_ref()?;
        if kind != ColumnType::Text || self.styled * 2 < self.filled {
            return None;
        }
        let others = self.filled - self.numbers;
        let currencies = match self.marks.as_slice() {
            [] | [_] => String::new(),
            marks => format!("; it mixes {}", marks.join(" and ")),
        };
        let shown: String = text.chars().take(40).collect();
        Some(format!(
            "`{name}` is no number in {others} of {} rows, for instance `{shown}` (row {row}){currencies}: it is kept as text and not summed",
            self.filled
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(cells: &[&str]) -> ColumnFacts {
        let mut facts = ColumnFacts::default();
        for (i, cell) in cells.iter().enumerate() {
            facts.text(cell, i as u64 + 1);
        }
        facts
    }

    #[test]
    fn columns_are_what_all_their_values_are() {
        let kind = |cells: &[&str]| facts(cells).kind(CellSource::Texts);
        assert_eq!(kind(&["1", "-2"]), ColumnType::Integer);
        assert_eq!(kind(&["1", "2.50", "1e3"]), ColumnType::Decimal);
        assert_eq!(kind(&["99999999999999999999", "1"]), ColumnType::Decimal);
        assert_eq!(kind(&["01234", "12345"]), ColumnType::Text, "codes keep their zeros");
        assert_eq!(kind(&["1", "n/a"]), ColumnType::Text);
        assert_eq!(kind(&["inf", "nan"]), ColumnType::Text);
        assert_eq!(kind(&[]), ColumnType::Text);
    }

    #[test]
    fn styles_are_taken_where_they_are_unmistakable() {
        use NumberStyle::{Comma, Point};
        for (cells, file, style) in [
            (&["1.234,50", "2,50"][..], None, Some(Comma)),
            (&["1,234.50", "7"], None, Some(Point)),
            (&["$1,200", "$5"], None, None),
            (&["$1,200.00", "€5.00"], None, None),
            (&["$12", "$5"], None, Some(Point)),
            (&["12 €", "1 200 €"], None, Some(Point)),
            (&["1,234", "5,678"], None, None),
            (&["1,234", "5,678"], Some(Comma), Some(Comma)),
            (&["1.234", "5.678"], None, None),
            (&["1.234", "5.678"], Some(Comma), Some(Comma)),
            (&["1", "2"], Some(Comma), None),
            (&["170 123 456"], None, None),
            (&["2,50", "unknown"], None, None),
        ] {
            assert_eq!(facts(cells).style(file), style, "{cells:?} {file:?}");
        }
    }
}
