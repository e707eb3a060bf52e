//! Data flow through the command line: one producer, one consumer, and what must be said.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// A line for `validate --batch`: schemas stand in the tasks themselves.
fn line(output: &Value, input: &Value, reference: &Value) -> String {
    json!({"goal": "x", "tasks": [
        {"id": "a", "tool": "any", "output_schema": {"type": "object", "required": ["x"], "properties": {"x": output}}},
        {"id": "b", "tool": "any", "inputs": {"v": reference}, "input_schema": {
            "type": "object", "required": ["v"], "properties": {"v": input}, "additionalProperties": false}},
    ]})
    .to_string()
}

fn verdicts(lines: &[String]) -> Vec<String> {
    let sandbox = Sandbox::new();
    sandbox.write("tools.json", "{\"tools\": [{\"name\": \"any\"}]}");
    let answers = sandbox.batch(&["validate", "--catalog", "tools.json"], &lines.join("\n"));
    let codes = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect()
    };
    answers
        .iter()
        .map(|answer| {
            format!(
                "{}|{}",
                codes(&answer["errors"]).join(","),
                codes(&answer["warnings"]).join(",")
            )
        })
        .collect()
}

#[test]
fn values_are_followed_into_their_places() {
    let text = json!({"type": "string"});
    let whole = json!({"type": "integer"});
    let list = |extra: Value| {
        let mut list = json!({"type": "array", "items": {"type": "string"}});
        list.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        list
    };
    let x = json!("$[a].output.x");
    let modes = json!({"type": "object", "oneOf": [
        {"properties": {"mode": {"const": "a"}, "x": {"type": "string"}}},
        {"properties": {"mode": {"const": "b"}, "x": {"type": "integer"}}},
    ]});
    // (output, input, reference, errors|warnings)
    let cases = [
        (&text, &text, json!(["$[a].output.x"]), "E5602|"),
        (&text, &text, json!({"k": "$[a].output.x"}), "E5602|"),
        (&text, &list(json!({})), json!(["$[a].output.x"]), "|"),
        (&whole, &list(json!({})), json!(["$[a].output.x"]), "E5602|"),
        (&text, &list(json!({"minItems": 2})), json!(["$[a].output.x"]), "E5602|"),
        (&text, &list(json!({"maxItems": 1})), json!(["$[a].output.x", "b"]), "E5602|"),
        (
            &text,
            &json!({"type": "object", "minProperties": 2}),
            json!({"k": "$[a].output.x"}),
            "E5602|",
        ),
        (&whole, &modes, json!({"mode": "a", "x": "$[a].output.x"}), "E5602|"),
        (&whole, &modes, json!({"mode": "b", "x": "$[a].output.x"}), "|"),
        (&json!(true), &text, x.clone(), "|E5602"),
        (&list(json!({})), &list(json!({})), json!("$[a].output.x[*].zz"), "E5602|"),
        (&text, &json!(false), x.clone(), "E5602|"),
        (
            &json!({"type": "object", "required": ["n"], "properties": {"n": text}}),
            &json!({"type": "object", "required": ["n"], "properties": {"n": text}, "additionalProperties": false}),
            x.clone(),
            "|E5602",
        ),
        (&text, &json!({"type": "string", "format": "uri"}), x.clone(), "|E5602"),
        (
            &json!({"type": "string", "format": "date"}),
            &json!({"type": "string", "format": "uri"}),
            x,
            "E5602|",
        ),
        (&whole, &text, json!("n = ${[a].output.x}"), "|"),
        (&whole, &whole, json!("n = ${[a].output.x}"), "E5602|"),
    ];
    let lines: Vec<String> = cases.iter().map(|(o, i, r, _)| line(o, i, r)).collect();
    for ((output, input, reference, expected), found) in cases.iter().zip(verdicts(&lines)) {
        assert_eq!(found, *expected, "{output} -> {input} by {reference}");
    }
}

/// A key that may be there, a text that may be a number: only types that never go together are wrong.
#[test]
fn conditions_are_refused_for_types_only() {
    let line = |output: &Value, condition: &str| {
        json!({"goal": "x", "tasks": [
            {"id": "a", "tool": "any", "output_schema": {"type": "object", "required": ["x"], "properties": {"x": output}, "additionalProperties": false}},
            {"id": "b", "tool": "any", "depends_on": [{"task": "a", "condition": condition}]},
        ]})
        .to_string()
    };
    let integers = json!({"type": "array", "items": {"type": "integer"}});
    let named = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let words = json!({"type": "array", "items": {"type": "string"}});
    let text = json!({"type": "string", "minLength": 5});
    let cases = [
        (&integers, "outputs.x[3] > 1", "|E5310"),
        (&named, "outputs.x.env == 'prod'", "|E5310"),
        (&text, "int(outputs.x) > 3", "|E5310"),
        (&words, "outputs.x.filter(r, r == 'prod')[0] == 'prod'", "|E5310"),
        (&text, "outputs.x > 3", "E5310|"),
        (&text, "outputs.y == 'a'", "E5310|"),
        (&text, "outputs.x", "E5310|"),
        (&text, "outputs.x == 'prod'", "|"),
        (&named, "has(outputs.x.env) && outputs.x.env == 'prod'", "|"),
    ];
    let lines: Vec<String> =
        cases.iter().map(|(output, condition, _)| line(output, condition)).collect();
    for ((output, condition, expected), found) in cases.iter().zip(verdicts(&lines)) {
        assert_eq!(found, *expected, "{condition} over {output}");
    }
}

/// What is told of whole edges: coarse kinds of tools without schemas, keys of outputs, and values
/// that may be missing where any dependency will do.
#[test]
fn edges_are_looked_at_as_a_whole() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "tools.json",
        &json!({"tools": [
            {"name": "camera", "produces": ["image"]},
            {"name": "scanner", "produces": ["image", "text"]},
            {"name": "read-aloud", "accepts": ["text"]},
            {"name": "typed", "output_schema": {"type": "object", "additionalProperties": false,
                "properties": {"rows": {"type": "integer"}}}},
            {"name": "any"},
        ]})
        .to_string(),
    );
    let on = |tool: &str, dependency: Value| json!([{"id": "a", "tool": tool}, {"id": "b", "tool": "read-aloud", "depends_on": [dependency]}]);
    let keyed = |key: &str| on("typed", json!({"task": "a", "type": "data", "output_key": key}));
    let either = |join: &str, needs: &[&str]| {
        json!([{"id": "a", "tool": "any"}, {"id": "c", "tool": "any"},
            {"id": "b", "tool": "any", "join": join, "depends_on": needs, "inputs": {"v": "$[a].output.x"}}])
    };
    // (tasks, errors and warnings, a part of the first one's message)
    let cases = [
        (
            on("camera", json!("a")),
            "E5602|",
            "`camera` gives image, and `read-aloud` takes text only",
        ),
        (on("scanner", json!("a")), "|", ""),
        (on("any", json!("a")), "|", ""),
        (keyed("rows"), "|", ""),
        (keyed("row"), "E5602|", "row"),
        (keyed("['rows"), "E5604|", "rows"),
        (either("any", &["a", "c"]), "|E5602", "with join: any, `$[a].output.x` is null when"),
        (either("all", &["a", "c"]), "|", ""),
        (either("any", &["a"]), "|", ""),
    ];
    let lines: Vec<String> =
        cases.iter().map(|(tasks, ..)| json!({"goal": "x", "tasks": tasks}).to_string()).collect();
    let answers = sandbox.batch(&["validate", "--catalog", "tools.json"], &lines.join("\n"));
    for ((tasks, expected, message), answer) in cases.iter().zip(&answers) {
        let list = |kind: &str| answer[kind].as_array().unwrap().clone();
        let codes = |list: &[Value]| {
            list.iter().filter_map(|f| f["code"].as_str()).collect::<Vec<_>>().join(",")
        };
        let (errors, warnings) = (list("errors"), list("warnings"));
        assert_eq!(
            format!("{}|{}", codes(&errors), codes(&warnings)),
            *expected,
            "{tasks}: {answer}"
        );
        let said =
            errors.iter().chain(&warnings).next().map_or("", |f| f["message"].as_str().unwrap());
        assert!(said.contains(message), "{tasks}: {said}");
    }
}
