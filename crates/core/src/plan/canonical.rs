//! Canonical JSON (RFC 8785, JCS): one byte sequence for one value.
//!
//! Written here because a plan is made canonical each time it is created or opened, and the
//! general-purpose crate took nine tenths of that time; a property test holds the two together.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// The canonical text of a value.
pub(super) fn to_vec(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_unstable_by(|a, b| key_order(a.0, b.0));
            out.push(b'{');
            for (i, (key, item)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                write(item, out);
            }
            out.push(b'}');
        }
    }
}

/// By UTF-16 code units (RFC 8785, 3.2.3), which for ASCII are the bytes.
fn key_order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

/// As ECMAScript writes numbers: every number is a double.
fn write_number(number: &Number, out: &mut Vec<u8>) {
    let double = number.as_f64().expect("JSON numbers are finite doubles here");
    out.extend_from_slice(ryu_js::Buffer::new().format_finite(double).as_bytes());
}

/// serde_json escapes exactly what RFC 8785 (3.2.2.2) wants escaped.
fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

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
            prop_assert_eq!(String::from_utf8(to_vec(&value)).unwrap(), String::from_utf8(expected).unwrap());
        }
    }

    #[test]
    fn the_hard_cases_of_the_rfc() {
        let value = json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7,
            "numbers": [333_333_333.333_333_3, 1e30, 4.5, 2e-3, 1e-27, -0.0, 100.0]});
        let expected = "{\"\\r\":2,\"1\":4,\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27,0,100],\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}";
        assert_eq!(String::from_utf8(to_vec(&value)).unwrap(), expected);
    }
}
