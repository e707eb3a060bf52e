//! Canonical JSON (RFC 8785, JCS): one byte sequence for one value.
//!
//! Written here because a plan is made canonical each time it is created or opened, and the
//! general-purpose crate took nine tenths of that time; a property test holds the two together.
//! It serializes straight into the bytes: an object's members are written as they come and put in
//! order when it ends.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde::Serialize;
use serde::ser::{self, Impossible, Serializer};

/// The canonical text of a value, without the members `left_out` of the outermost object.
pub(super) fn to_vec(value: &impl Serialize, left_out: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8192);
    let written = value.serialize(Writer { out: &mut out, left_out });
    written.expect("plan documents have text keys and finite numbers");
    out
}

/// What has no canonical form: keys that are no texts, numbers that are not finite.
#[derive(Debug)]
struct Unwritable(String);

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unwritable {}

impl ser::Error for Unwritable {
    fn custom<T: fmt::Display>(message: T) -> Unwritable {
        Unwritable(message.to_string())
    }
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    left_out: &'o [&'o str],
}

impl Writer<'_> {
    fn literal(self, text: &[u8]) -> Result<(), Unwritable> {
        self.out.extend_from_slice(text);
        Ok(())
    }

    /// As ECMAScript writes numbers: every number is a double.
    fn number(self, double: f64) -> Result<(), Unwritable> {
        if !double.is_finite() {
            return Err(Unwritable("a number is not finite".to_owned()));
        }
        self.out.extend_from_slice(ryu_js::Buffer::new().format_finite(double).as_bytes());
        Ok(())
    }
}

/// By UTF-16 code units (RFC 8785, 3.2.3), which for ASCII are the bytes.
fn key_order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

/// serde_json escapes exactly what RFC 8785 (3.2.2.2) wants escaped.
fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing to memory does not fail");
}

/// An array under way.
struct Items<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Items<'_> {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        value.serialize(Writer { out: self.out, left_out: &[] })
    }

    fn close(self) -> Result<(), Unwritable> {
        self.out.push(b']');
        Ok(())
    }
}

/// An object under way: `"key":value` as it came, with where each member begins.
struct Members<'o> {
    out: &'o mut Vec<u8>,
    left_out: &'o [&'o str],
    begin: usize,
    members: Vec<Member>,
    /// The key of a map whose value is still to come.
    key: Option<String>,
}

/// `"key":value` stands from one place in the bytes to another.
struct Member {
    key: Cow<'static, str>,
    from: usize,
    to: usize,
}

impl Members<'_> {
    fn push<T: Serialize + ?Sized>(
        &mut self,
        key: Cow<'static, str>,
        value: &T,
    ) -> Result<(), Unwritable> {
        if self.left_out.contains(&key.as_ref()) {
            return Ok(());
        }
        if !self.members.is_empty() {
            self.out.push(b',');
        }
        let from = self.out.len();
        write_text(&key, self.out);
        self.out.push(b':');
        value.serialize(Writer { out: self.out, left_out: &[] })?;
        self.members.push(Member { key, from, to: self.out.len() });
        Ok(())
    }

    fn close(self) -> Result<(), Unwritable> {
        let Members { out, begin, mut members, .. } = self;
        let sorted = members.is_sorted_by(|a, b| key_order(&a.key, &b.key).is_le());
        if !sorted {
            let written = out[begin..].to_vec();
            members.sort_unstable_by(|a, b| key_order(&a.key, &b.key));
            out.truncate(begin);
            for (nth, member) in members.iter().enumerate() {
                if nth > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&written[member.from - begin..member.to - begin]);
            }
        }
        out.push(b'}');
        Ok(())
    }
}

impl<'o> Serializer for Writer<'o> {
    type Ok = ();
    type Error = Unwritable;
    type SerializeSeq = Items<'o>;
    type SerializeTuple = Items<'o>;
    type SerializeTupleStruct = Items<'o>;
    type SerializeTupleVariant = Impossible<(), Unwritable>;
    type SerializeMap = Members<'o>;
    type SerializeStruct = Members<'o>;
    type SerializeStructVariant = Impossible<(), Unwritable>;

    fn serialize_bool(self, value: bool) -> Result<(), Unwritable> {
        self.literal(if value { b"true" } else { b"false" })
    }

    fn serialize_i8(self, value: i8) -> Result<(), Unwritable> {
        self.number(f64::from(value))
    }

    fn serialize_i16(self, value: i16) -> Result<(), Unwritable> {
        self.number(f64::from(value))
    }

    fn serialize_i32(self, value: i32) -> Result<(), Unwritable> {
        self.number(f64::from(value))
    }

    fn serialize_i64(self, value: i64) -> Result<(), Unwritable> {
        self.number(value as f64)
    }

    fn serialize_u8(self, value: u8) -> Result<(), Unwritable> {
        self.number(f64::from(value))
    }

    fn serialize_u16(self, value: u16) -> Result<(), Unwritable> {
        self.number(f64::from(value))
    }

    fn serialize_u32(self, value: u32) -> Result<(), Unwritable> {
        self.number(f64::from(value))
    }

    fn serialize_u64(self, value: u64) -> Result<(), Unwritable> {
        self.number(value as f64)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Unwritable> {
        self.number(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Unwritable> {
        self.number(value)
    }

    fn serialize_char(self, value: char) -> Result<(), Unwritable> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Unwritable> {
        write_text(value, self.out);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_none(self) -> Result<(), Unwritable> {
        self.literal(b"null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unwritable> {
        self.literal(b"null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unwritable> {
        self.literal(b"null")
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Unwritable> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Unwritable> {
        let mut members = self.serialize_map(Some(1))?;
        members.push(variant.into(), value)?;
        members.close()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'o>, Unwritable> {
        self.out.push(b'[');
        Ok(Items { out: self.out, first: true })
    }

    fn serialize_tuple(self, length: usize) -> Result<Items<'o>, Unwritable> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<Items<'o>, Unwritable> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unwritable> {
        Err(Unwritable(format!("{name}::{variant} is no part of a document")))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Members<'o>, Unwritable> {
        self.out.push(b'{');
        let begin = self.out.len();
        let members = Vec::with_capacity(length.unwrap_or(8));
        Ok(Members { out: self.out, left_out: self.left_out, begin, members, key: None })
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Members<'o>, Unwritable> {
        self.serialize_map(Some(length))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unwritable> {
        Err(Unwritable(format!("{name}::{variant} is no part of a document")))
    }
}

impl ser::SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.push(value)
    }

    fn end(self) -> Result<(), Unwritable> {
        self.close()
    }
}

impl ser::SerializeTuple for Items<'_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.push(value)
    }

    fn end(self) -> Result<(), Unwritable> {
        self.close()
    }
}

impl ser::SerializeTupleStruct for Items<'_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.push(value)
    }

    fn end(self) -> Result<(), Unwritable> {
        self.close()
    }
}

impl ser::SerializeMap for Members<'_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unwritable> {
        self.key = Some(text_of(key)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        let key = self.key.take().expect("serde gives a key before its value");
        self.push(key.into(), value)
    }

    fn end(self) -> Result<(), Unwritable> {
        self.close()
    }
}

impl ser::SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Unwritable> {
        self.push(key.into(), value)
    }

    fn end(self) -> Result<(), Unwritable> {
        self.close()
    }
}

/// The text of a map's key. Documents have no other keys.
fn text_of<T: Serialize + ?Sized>(key: &T) -> Result<String, Unwritable> {
    match serde_json::to_value(key) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        _ => Err(Unwritable("a key is no text".to_owned())),
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
