use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json_schema::compile_schema;
use crate::reference::PathStep;

fn path(text: &str) -> Vec<PathStep> {
    let steps = text.split('.').filter(|s| !s.is_empty());
    steps
        .map(|s| s.parse().map_or_else(|_| PathStep::Name(s.to_owned()), PathStep::Index))
        .collect()
}

#[test]
fn paths_lead_to_parts() {
    use ValuePresence::{Always, Sometimes};
    let people = json!({
        "type": "object", "required": ["rows"], "additionalProperties": false,
        "properties": {
            "rows": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/person"}},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}},
            "either": {"anyOf": [
                {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}, "additionalProperties": false},
                {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}, "additionalProperties": false},
            ]},
            "maybe": {"type": ["object", "null"], "required": ["b"], "properties": {"b": {"type": "string"}}},
            "open": {"type": "object"},
            "fixed": {"const": {"k": 7}},
        },
        "$defs": {"person": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"}, "boss": {"$ref": "#/$defs/person"}}}},
    });
    // (path, presence, declared, a value it takes, one it refuses)
    let cases: Vec<(&str, ValuePresence, bool, Value, Option<Value>)> = vec![
        ("rows", Always, true, json!([{"name": "x"}]), Some(json!("x"))),
        ("rows.0.name", Always, true, json!("x"), Some(json!(1))),
        ("rows.-1.name", Always, true, json!("x"), Some(json!(1))),
        ("rows.1.name", Sometimes, true, json!("x"), Some(json!(1))),
        ("rows.0.boss.boss.name", Sometimes, true, json!("x"), Some(json!(1))),
        ("pair.0", Sometimes, true, json!("x"), Some(json!(1))),
        ("pair.4", Sometimes, true, json!(1), Some(json!("x"))),
        ("either.a", Sometimes, true, json!(1), Some(json!(null))),
        ("maybe.b", Sometimes, true, json!("x"), Some(json!(1))),
        ("open.anything", Sometimes, false, json!(null), None),
        ("fixed.k", Sometimes, true, json!(7), Some(json!(8))),
    ];
    for (at, presence, declared, taken, refused) in cases {
        let found = project(&people, &path(at));
        assert_eq!((found.presence, found.declared), (presence, declared), "{at}");
        let validator = compile_schema(&found.schema).expect(at);
        assert!(validator.is_valid(&taken), "{at} takes {taken}: {}", found.schema);
        if let Some(refused) = refused {
            assert!(!validator.is_valid(&refused), "{at} refuses {refused}: {}", found.schema);
        }
    }
    for (at, step) in
        [("row", "row"), ("rows.0.name.x", "x"), ("rows.name", "name"), ("fixed.j", "j")]
    {
        match project(&people, &path(at)).presence {
            ValuePresence::Never { at: failed, .. } => assert_eq!(failed, step),
            other => panic!("{at}: {other:?}"),
        }
    }
}

/// F: fits, M: misfit, U: undecided.
fn letter(verdict: &FlowVerdict) -> char {
    match verdict {
        FlowVerdict::Fits => 'F',
        FlowVerdict::Misfit { .. } => 'M',
        FlowVerdict::Undecided { .. } => 'U',
    }
}

#[test]
fn schemas_are_compared() {
    let tree = json!({"$ref": "#/$defs/t", "$defs": {"t": {"type": "object", "required": ["v"],
        "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/t"}}}}});
    let renamed = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["v"],
        "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}}}}});
    let person = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}});
    let closed = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}, "additionalProperties": false});
    let wide = json!({"anyOf": [{"type": "string"}, {"type": "integer"}]});
    let cases: Vec<(char, Value, Value)> = vec![
        ('F', json!({"type": "integer"}), json!({"type": "number"})),
        ('M', json!({"type": "number"}), json!({"type": "integer"})),
        (
            'F',
            json!({"type": "integer", "minimum": 1, "maximum": 5}),
            json!({"type": "integer", "minimum": 0, "maximum": 10}),
        ),
        (
            'M',
            json!({"type": "integer", "minimum": 0, "maximum": 1000}),
            json!({"type": "integer", "maximum": 500}),
        ),
        ('F', json!({"enum": ["a", "b"]}), json!({"enum": ["a", "b", "c"]})),
        ('M', json!({"enum": ["a", "b"]}), json!({"enum": ["a", "c"]})),
        ('F', json!({"const": 3}), json!({"type": "integer"})),
        ('M', json!({"type": "string"}), json!({"enum": ["x", "y"]})),
        ('F', json!({"type": "string"}), json!({"type": ["string", "null"]})),
        ('M', json!({"type": ["string", "null"]}), json!({"type": "string"})),
        ('M', json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), json!({"type": "string"})),
        ('F', json!({"type": "integer"}), wide.clone()),
        ('M', json!({"type": "boolean"}), wide.clone()),
        ('M', wide.clone(), json!({"type": "string"})),
        (
            'F',
            json!({"type": "array", "items": {"type": "integer"}}),
            json!({"type": "array", "items": {"type": "number"}}),
        ),
        (
            'M',
            json!({"type": "array", "items": {"type": "string"}}),
            json!({"type": "array", "items": {"type": "number"}}),
        ),
        ('U', json!({"type": "array"}), json!({"type": "array", "minItems": 1})),
        ('M', json!({"type": "array", "maxItems": 9}), json!({"type": "array", "maxItems": 3})),
        (
            'F',
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false, "minItems": 2}),
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]}),
        ),
        (
            'M',
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false, "minItems": 2}),
            json!({"type": "array", "prefixItems": [{"type": "integer"}]}),
        ),
        ('F', person.clone(), json!({"type": "object", "required": ["name"]})),
        (
            'M',
            json!({"type": "object", "properties": {"name": {"type": "string"}}}),
            person.clone(),
        ),
        ('U', person.clone(), closed.clone()),
        (
            'M',
            json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "additionalProperties": false}),
            closed.clone(),
        ),
        (
            'F',
            closed,
            json!({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}),
        ),
        ('F', tree.clone(), renamed),
        ('M', tree.clone(), json!({"type": "object", "properties": {"v": {"type": "string"}}})),
        (
            'M',
            tree,
            json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "required": ["v"],
            "properties": {"v": {"type": "integer", "enum": [1, 2]}, "next": {"$ref": "#/$defs/n"}}}}}),
        ),
        ('F', json!({"type": "string", "format": "date"}), json!({"type": "string"})),
        (
            'F',
            json!({"type": "string", "format": "date"}),
            json!({"type": "string", "format": "date"}),
        ),
        (
            'M',
            json!({"type": "string", "format": "date"}),
            json!({"type": "string", "format": "uri"}),
        ),
        ('U', json!({"type": "string"}), json!({"type": "string", "format": "uri"})),
        ('U', json!({"type": "string"}), json!({"type": "string", "pattern": "^[A-Z]{3}$"})),
        ('U', json!({"type": "string"}), json!({"type": "string", "maxLength": 3})),
        ('M', json!({"type": "string", "maxLength": 9}), json!({"type": "string", "maxLength": 3})),
        ('U', json!({"type": "integer"}), json!({"type": "integer", "minimum": 1})),
        ('F', json!({"type": "string", "maxLength": 3}), json!({"type": "string", "maxLength": 5})),
        (
            'F',
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            json!({"type": "object", "additionalProperties": {"type": "number"}}),
        ),
        (
            'M',
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"type": "object", "additionalProperties": {"type": "number"}}),
        ),
        (
            'F',
            json!({"oneOf": [{"type": "string"}, {"type": "integer"}]}),
            json!({"type": ["string", "number"]}),
        ),
        (
            'F',
            json!({"allOf": [{"type": "integer"}, {"minimum": 3}]}),
            json!({"type": "integer", "minimum": 1}),
        ),
        ('U', json!(true), json!({"type": "string"})),
        ('F', json!({"type": "string"}), json!({"not": {"type": "null"}})),
        ('M', json!({"type": ["string", "null"]}), json!({"not": {"type": "null"}})),
    ];
    let mut wrong = Vec::new();
    for (expected, produced, consumed) in cases {
        let verdict = compare(&produced, &consumed, true);
        if letter(&verdict) != expected {
            wrong.push(format!("{expected}: {produced} -> {consumed}: {verdict:?}"));
        }
        if let FlowVerdict::Misfit { witness, .. } = verdict {
            assert!(compile_schema(&produced).unwrap().is_valid(&witness), "{witness}");
            assert!(!compile_schema(&consumed).unwrap().is_valid(&witness), "{witness}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!({"type": "null"})),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "string"})),
        (0u64..3, 3u64..6)
            .prop_map(|(low, high)| json!({"type": "string", "minLength": low, "maxLength": high})),
        Just(json!({"type": "string", "format": "date"})),
        Just(json!({"type": "string", "pattern": "^[a-c]+$"})),
        (-3i64..3, 3i64..9)
            .prop_map(|(low, high)| json!({"type": "integer", "minimum": low, "maximum": high})),
        (-3i64..3).prop_map(|low| json!({"type": "number", "exclusiveMinimum": low})),
        Just(json!({"type": "integer", "multipleOf": 2})),
        prop::sample::subsequence(
            vec![json!("a"), json!(1), json!(null), json!("b"), json!([1])],
            1..4
        )
        .prop_map(|values| json!({"enum": values})),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let properties = prop::collection::vec((inner.clone(), any::<bool>()), 0..3);
        prop_oneof![
            inner.clone().prop_map(|items| json!({"type": "array", "items": items, "maxItems": 4})),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({"type": "array", "prefixItems": [a], "items": b, "minItems": 1})),
            (properties, prop_oneof![Just(json!(true)), Just(json!(false)), inner.clone()]).prop_map(|(list, rest)| {
                let names = ["x", "y", "z"];
                let required: Vec<&str> = list.iter().zip(names).filter(|((_, r), _)| *r).map(|(_, n)| n).collect();
                let properties: serde_json::Map<String, Value> =
                    list.iter().zip(names).map(|((s, _), n)| (n.to_owned(), s.clone())).collect();
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": rest})
            }),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|parts| json!({"anyOf": parts})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|parts| json!({"oneOf": parts})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|parts| json!({"allOf": parts})),
            inner.prop_map(|part| json!({"not": part})),
        ]
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-10i64..10).prop_map(Value::from),
        (-40i64..40).prop_map(|n| json!(n as f64 / 4.0)),
        "[a-d]{0,6}".prop_map(Value::from),
        Just(json!("2026-01-31")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[w-z]", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// The oracle: what is said to fit is taken by the consumer's validator, whatever value of the
    /// producer's schema comes; what is said not to is shown by a value.
    #[test]
    fn verdicts_hold_for_values(
        produced in any_schema(), consumed in any_schema(),
        values in prop::collection::vec(any_json(), 24),
    ) {
        let gives = compile_schema(&produced).expect("generated schemas compile");
        let takes = compile_schema(&consumed).expect("generated schemas compile");
        match compare(&produced, &consumed, true) {
            FlowVerdict::Fits => {
                for value in values.into_iter().chain(samples(&produced)) {
                    if gives.is_valid(&value) {
                        prop_assert!(takes.is_valid(&value), "{} -> {}: {}", produced, consumed, value);
                    }
                }
            }
            FlowVerdict::Misfit { witness, .. } => {
                prop_assert!(gives.is_valid(&witness));
                prop_assert!(!takes.is_valid(&witness));
            }
            FlowVerdict::Undecided { .. } => {}
        }
    }

    /// A part of a schema takes what stands at the path in any value of the whole.
    #[test]
    fn parts_take_what_stands_at_the_path(
        schema in any_schema(), values in prop::collection::vec(any_json(), 24),
        steps in prop::collection::vec(prop_oneof!["[w-z]".prop_map(PathStep::Name), (-2i64..3).prop_map(PathStep::Index)], 1..3),
    ) {
        let gives = compile_schema(&schema).expect("generated schemas compile");
        let part = project(&schema, &steps);
        let takes = compile_schema(&part.schema).expect("parts compile");
        for value in values.into_iter().chain(samples(&schema)) {
            if !gives.is_valid(&value) {
                continue;
            }
            match crate::reference::follow(&value, &steps) {
                Ok(found) => prop_assert!(takes.is_valid(found), "{} at {:?}: {}", schema, steps, found),
                Err(_) => prop_assert_ne!(&part.presence, &ValuePresence::Always, "{} of {}", value, schema),
            }
        }
    }
}

/// Schemas that make the work double at every step: an answer comes all the same, and soon.
#[test]
fn hostile_schemas_get_an_answer() {
    let wide = |width: usize, depth: usize| {
        (0..depth).fold(json!({"type": "string"}), |inner, _| {
            let members: serde_json::Map<String, Value> =
                (0..width).map(|i| (format!("p{i}"), inner.clone())).collect();
            json!({"type": "object", "properties": members})
        })
    };
    let lists = (0..6).fold(
        json!({"type": "integer"}),
        |inner, _| json!({"type": "array", "minItems": 1000, "items": inner}),
    );
    let either = |last: &str| {
        let pairs: Vec<Value> = (0..30)
            .map(|i| json!({"anyOf": [{"required": [format!("a{i}")]}, {"required": [format!("{last}{i}")]}]}))
            .collect();
        json!({"type": "object", "allOf": pairs})
    };
    for (produced, consumed) in [
        (wide(4, 5), json!({"type": "integer"})),
        (lists, json!({"type": "string"})),
        (either("b"), either("c")),
    ] {
        let _ = compare(&produced, &consumed, true);
        let _ = samples(&produced);
    }
    let mut definitions = serde_json::Map::new();
    for i in 0..30 {
        let next = json!({"$ref": format!("#/$defs/n{}", i + 1)});
        definitions.insert(format!("n{i}"), json!({"allOf": [next, next]}));
    }
    definitions.insert(
        "n30".to_owned(),
        json!({"type": "object", "required": ["x"], "properties": {"x": {"type": "string"}}}),
    );
    let doubling = json!({"$ref": "#/$defs/n0", "$defs": definitions});
    assert!(!project(&doubling, &path("x")).exact, "given up");
}

/// However deep the difference lies, it is found.
#[test]
fn misfits_are_found_at_any_depth() {
    let nested = |leaf: &str, depth: usize| {
        (0..depth).fold(
            json!({"type": leaf}),
            |inner, _| json!({"type": "object", "required": ["a"], "properties": {"a": inner}}),
        )
    };
    for depth in [1, 6, 7, 12, 30] {
        let verdict = compare(&nested("string", depth), &nested("integer", depth), true);
        assert_eq!(letter(&verdict), 'M', "{depth}: {verdict:?}");
    }
}

/// The generator is worth something only if all three answers come up, and mostly the sure ones.
#[test]
fn generated_pairs_are_mostly_decided() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut count = std::collections::BTreeMap::new();
    for _ in 0..1_500 {
        let pair = (any_schema(), any_schema()).new_tree(&mut runner).expect("a pair").current();
        *count.entry(letter(&compare(&pair.0, &pair.1, true))).or_insert(0u32) += 1;
    }
    let of = |letter| count.get(&letter).copied().unwrap_or(0);
    assert!(of('F') > 50 && of('M') > 500, "{count:?}");
    assert!(of('U') * 20 <= 1_500, "more than 5 % undecided: {count:?}");
}
