//! Canonical JSON (RFC 8785, JCS): one byte sequence for one value.
//!
//! Written here because a plan is made canonical each time it is created or opened, and the
//! general-purpose crate took nine tenths of that time; a property test holds the two together.
//! It serializes straight into the bytes: an object's members are written as they come and put in
//! order when it ends. Objects share the room for that, so that a plan costs a handful of allocations.

use std::cmp::Ordering;
use std::fmt;

use serde::Serialize;
use serde::ser::{self, Impossible, Serializer};

/// The canonical text of a value, without the members `left_out` of the outermost object.
pub(super) fn to_vec(value: &impl Serialize, left_out: &[&str]) -> Vec<u8> {
    let out = Vec::with_capacity(16_384);
    let mut page = OutputPage { out, members: Vec::with_capacity(64), scratch: Vec::new() };
    let written = value.serialize(CanonicalWriter { page: &mut page, left_out });
    written.expect("plan documents have text keys and finite numbers");
    page.out
}

/// The bytes so far, with the members of all objects that are under way.
struct OutputPage {
    out: Vec<u8>,
    /// Members of all open objects: those of an inner one stand behind those of the outer one, and go
    /// when it ends.
    members: Vec<ObjectMember>,
    scratch: Vec<u8>,
}

/// `"key":value` stands from one place in the bytes to another.
struct ObjectMember {
    from: usize,
    to: usize,
    key_bytes: usize,
    /// The key, where it is not written as it is.
    escaped: Option<String>,
}

impl ObjectMember {
    /// The member's key, whose bytes are still where they were written.
    fn key<'a>(&'a self, out: &'a [u8]) -> &'a [u8] {
        match &self.escaped {
            Some(key) => key.as_bytes(),
            None => &out[self.from + 1..self.from + 1 + self.key_bytes],
        }
    }
}

/// A value that has no canonical form: keys that are no texts, numbers that are not finite.
#[derive(Debug)]
struct UnwritableValue(String);

impl fmt::Display for UnwritableValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnwritableValue {}

impl ser::Error for UnwritableValue {
    fn custom<T: fmt::Display>(message: T) -> UnwritableValue {
        UnwritableValue(message.to_string())
    }
}

struct CanonicalWriter<'o> {
    page: &'o mut OutputPage,
    left_out: &'o [&'o str],
}

impl CanonicalWriter<'_> {
    fn literal(self, text: &[u8]) -> Result<(), UnwritableValue> {
        self.page.out.extend_from_slice(text);
        Ok(())
    }

    /// Whole numbers that a double holds exactly are written as they are.
    fn whole(self, number: i64) -> Result<(), UnwritableValue> {
        if number.unsigned_abs() > WHOLE_MAX {
            return self.number(number as f64);
        }
        self.page.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        Ok(())
    }

    /// As ECMAScript writes numbers: every number is a double.
    fn number(self, double: f64) -> Result<(), UnwritableValue> {
        if !double.is_finite() {
            return Err(UnwritableValue("a number is not finite".to_owned()));
        }
        if double.fract() == 0.0 && double.abs() <= WHOLE_MAX as f64 {
            return self.whole(double as i64);
        }
        self.page.out.extend_from_slice(ryu_js::Buffer::new().format_finite(double).as_bytes());
        Ok(())
    }
}

/// 2^53: up to here every whole number is a double of its own.
const WHOLE_MAX: u64 = 1 << 53;

/// True if keys in UTF-16 order (RFC 8785, 3.2.3) are in the order of their bytes: so it is for all
/// characters before the surrogates; those behind begin with a byte from 0xEE on.
fn is_plain(key: &[u8]) -> bool {
    key.iter().all(|byte| *byte < 0xee)
}

fn by_units(a: &[u8], b: &[u8]) -> Ordering {
    let units = |key| String::from_utf8_lossy(key).encode_utf16().collect::<Vec<u16>>();
    units(a).cmp(&units(b))
}

/// serde_json escapes exactly what RFC 8785 (3.2.2.2) wants escaped; most texts have nothing of it.
fn write_text(text: &str, out: &mut Vec<u8>) {
    let is_escaped = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    if text.as_bytes().iter().any(is_escaped) {
        return serde_json::to_writer(out, text).expect("writing to memory does not fail");
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// An array under way.
struct ArrayWriter<'o> {
    page: &'o mut OutputPage,
    first: bool,
}

impl ArrayWriter<'_> {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), UnwritableValue> {
        if !self.first {
            self.page.out.push(b',');
        }
        self.first = false;
        value.serialize(CanonicalWriter { page: self.page, left_out: &[] })
    }

    fn close(self) -> Result<(), UnwritableValue> {
        self.page.out.push(b']');
        Ok(())
    }
}

/// An object under way: its members stand as they came.
struct ObjectWriter<'o> {
    page: &'o mut OutputPage,
    left_out: &'o [&'o str],
    /// The start of its members, in the bytes and in the list.
    begin: usize,
    first: usize,
    /// The start of the member under way; none: it is left out.
    key_from: Option<usize>,
}

impl ObjectWriter<'_> {
    fn push_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), UnwritableValue> {
        let page = &mut *self.page;
        let before = page.out.len();
        if page.members.len() > self.first {
            page.out.push(b',');
        }
        let from = page.out.len();
        key.serialize(CanonicalWriter { page, left_out: &[] })?;
        let key = page.out.get(from + 1..page.out.len() - 1).unwrap_or_default();
        if page.out.get(from) != Some(&b'"') {
            return Err(UnwritableValue("a key is no text".to_owned()));
        }
        self.key_from = Some(from);
        if self.left_out.iter().any(|left_out| left_out.as_bytes() == key) {
            page.out.truncate(before);
            self.key_from = None;
        }
        Ok(())
    }

    fn push_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), UnwritableValue> {
        let Some(from) = self.key_from.take() else { return Ok(()) };
        let page = &mut *self.page;
        let written = &page.out[from..];
        let key_bytes = written.len() - 2;
        let escaped = written
            .contains(&b'\\')
            .then(|| serde_json::from_slice(written).expect("a text that was written can be read"));
        page.out.push(b':');
        value.serialize(CanonicalWriter { page, left_out: &[] })?;
        let to = page.out.len();
        page.members.push(ObjectMember { from, to, key_bytes, escaped });
        Ok(())
    }

    fn close(self) -> Result<(), UnwritableValue> {
        let OutputPage { out, members, scratch } = self.page;
        let own = &mut members[self.first..];
        let plain = own.iter().all(|member| is_plain(member.key(out)));
        let order = if plain { <[u8]>::cmp } else { by_units };
        let sorted = own.is_sorted_by(|a, b| order(a.key(out), b.key(out)).is_le());
        if !sorted {
            own.sort_unstable_by(|a, b| order(a.key(out), b.key(out)));
            scratch.clear();
            for (nth, member) in own.iter().enumerate() {
                if nth > 0 {
                    scratch.push(b',');
                }
                scratch.extend_from_slice(&out[member.from..member.to]);
            }
            out[self.begin..].copy_from_slice(scratch);
        }
        members.truncate(self.first);
        out.push(b'}');
        Ok(())
    }
}

impl<'o> Serializer for CanonicalWriter<'o> {
    type Ok = ();
    type Error = UnwritableValue;
    type SerializeSeq = ArrayWriter<'o>;
    type SerializeTuple = ArrayWriter<'o>;
    type SerializeTupleStruct = ArrayWriter<'o>;
    type SerializeTupleVariant = Impossible<(), UnwritableValue>;
    type SerializeMap = ObjectWriter<'o>;
    type SerializeStruct = ObjectWriter<'o>;
    type SerializeStructVariant = Impossible<(), UnwritableValue>;

    fn serialize_bool(self, value: bool) -> Result<(), UnwritableValue> {
        self.literal(if value { b"true" } else { b"false" })
    }

    fn serialize_i8(self, value: i8) -> Result<(), UnwritableValue> {
        self.whole(i64::from(value))
    }

    fn serialize_i16(self, value: i16) -> Result<(), UnwritableValue> {
        self.whole(i64::from(value))
    }

    fn serialize_i32(self, value: i32) -> Result<(), UnwritableValue> {
        self.whole(i64::from(value))
    }

    fn serialize_i64(self, value: i64) -> Result<(), UnwritableValue> {
        self.whole(value)
    }

    fn serialize_u8(self, value: u8) -> Result<(), UnwritableValue> {
        self.whole(i64::from(value))
    }

    fn serialize_u16(self, value: u16) -> Result<(), UnwritableValue> {
        self.whole(i64::from(value))
    }

    fn serialize_u32(self, value: u32) -> Result<(), UnwritableValue> {
        self.whole(i64::from(value))
    }

    fn serialize_u64(self, value: u64) -> Result<(), UnwritableValue> {
        match i64::try_from(value) {
            Ok(whole) => self.whole(whole),
            Err(_) => self.number(value as f64),
        }
    }

    fn serialize_f32(self, value: f32) -> Result<(), UnwritableValue> {
        self.number(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), UnwritableValue> {
        self.number(value)
    }

    fn serialize_char(self, value: char) -> Result<(), UnwritableValue> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), UnwritableValue> {
        write_text(value, &mut self.page.out);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), UnwritableValue> {
        value.serialize(self)
    }

    fn serialize_none(self) -> Result<(), UnwritableValue> {
        self.literal(b"null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), UnwritableValue> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), UnwritableValue> {
        self.literal(b"null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), UnwritableValue> {
        self.literal(b"null")
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), UnwritableValue> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), UnwritableValue> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), UnwritableValue> {
        let mut members = self.serialize_map(Some(1))?;
        members.push_key(variant)?;
        members.push_value(value)?;
        members.close()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<ArrayWriter<'o>, UnwritableValue> {
        self.page.out.push(b'[');
        Ok(ArrayWriter { page: self.page, first: true })
    }

    fn serialize_tuple(self, length: usize) -> Result<ArrayWriter<'o>, UnwritableValue> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<ArrayWriter<'o>, UnwritableValue> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, UnwritableValue> {
        Err(UnwritableValue(format!("{name}::{variant} is no part of a document")))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<ObjectWriter<'o>, UnwritableValue> {
        self.page.out.push(b'{');
        let (begin, first) = (self.page.out.len(), self.page.members.len());
        Ok(ObjectWriter { page: self.page, left_out: self.left_out, begin, first, key_from: None })
    }

    fn serialize_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<ObjectWriter<'o>, UnwritableValue> {
        self.serialize_map(Some(length))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, UnwritableValue> {
        Err(UnwritableValue(format!("{name}::{variant} is no part of a document")))
    }
}

impl ser::SerializeSeq for ArrayWriter<'_> {
    type Ok = ();
    type Error = UnwritableValue;

    fn serialize_element<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
    ) -> Result<(), UnwritableValue> {
        self.push(value)
    }

    fn end(self) -> Result<(), UnwritableValue> {
        self.close()
    }
}

impl ser::SerializeTuple for ArrayWriter<'_> {
    type Ok = ();
    type Error = UnwritableValue;

    fn serialize_element<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
    ) -> Result<(), UnwritableValue> {
        self.push(value)
    }

    fn end(self) -> Result<(), UnwritableValue> {
        self.close()
    }
}

impl ser::SerializeTupleStruct for ArrayWriter<'_> {
    type Ok = ();
    type Error = UnwritableValue;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), UnwritableValue> {
        self.push(value)
    }

    fn end(self) -> Result<(), UnwritableValue> {
        self.close()
    }
}

impl ser::SerializeMap for ObjectWriter<'_> {
    type Ok = ();
    type Error = UnwritableValue;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), UnwritableValue> {
        self.push_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), UnwritableValue> {
        self.push_value(value)
    }

    fn end(self) -> Result<(), UnwritableValue> {
        self.close()
    }
}

impl ser::SerializeStruct for ObjectWriter<'_> {
    type Ok = ();
    type Error = UnwritableValue;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), UnwritableValue> {
        self.push_key(key)?;
        self.push_value(value)
    }

    fn end(self) -> Result<(), UnwritableValue> {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-(1i64 << 53)..(1i64 << 53)).prop_map(Value::from),
            any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_general_purpose_crate(value in any_value()) {
            let expected = serde_json_canonicalizer::to_vec(&value).unwrap();
            prop_assert_eq!(String::from_utf8(to_vec(&value, &[])).unwrap(), String::from_utf8(expected).unwrap());
        }
    }

    #[test]
    fn the_hard_cases_of_the_rfc() {
        let value = json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7,
            "numbers": [333_333_333.333_333_3, 1e30, 4.5, 2e-3, 1e-27, -0.0, 100.0]});
        let expected = "{\"\\r\":2,\"1\":4,\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27,0,100],\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}";
        assert_eq!(String::from_utf8(to_vec(&value, &[])).unwrap(), expected);
    }
}
