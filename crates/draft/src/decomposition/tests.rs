//! Answers as models write them, and what they come to.

use serde_json::{Value, json};

use super::json::read;
use super::{ReadingMode, answer_text, read_answer};
use crate::import::ImportedPlan;

fn imported(answer: &str) -> ImportedPlan {
    read_answer(answer, ReadingMode::default()).unwrap_or_else(|e| panic!("{answer}: {e:?}"))
}

/// The tasks that an answer comes to.
#[expect(clippy::needless_pass_by_value, reason = "written as `json!` at each call")]
fn check(answer: &str, expected: Value) {
    assert_eq!(imported(answer).plan["tasks"], expected, "{answer}");
}

fn refused(answer: &str) -> String {
    let error = read_answer(answer, ReadingMode::default()).unwrap_err();
    assert_eq!(error.code.to_string(), "E5106", "{answer}");
    error.message
}

#[test]
fn form_is_forgiven() {
    let two = json!([{"id": "a", "tool": "t"}, {"id": "b", "tool": "u", "depends_on": ["a"]}]);
    for answer in [
        r#"{"tasks": [{"id": "a", "tool": "t"}, {"id": "b", "tool": "u", "depends_on": ["a"]}]}"#,
        "Here you are:\n```json\n{\"tasks\": [{\"id\": \"a\", \"tool\": \"t\"},\n{\"id\": \"b\", \"tool\": \"u\", \"depends_on\": [\"a\"]},]}\n```\nGood luck [you need it]!",
        "{'steps': [{'id': 'a', 'tool': 't'}, {'id': 'b', 'tool': 'u', 'after': 'a', 'extra': None}]}",
        "{tasks: [{id: a, tool: t}, // first\n {id: b, tool: u, deps: [a]}]",
        "Sure! {\"plan\": {\"nodes\": [{\"id\": \"a\", \"tool\": \"t\"}, {\"id\": \"b\", \"tool\": \"u\"}], \"edges\": [[\"START\", \"a\"], [\"a\", \"b\"]]}} Done.",
        "{{\"tasks\": [{\"id\": \"a\", \"tool\": \"t\"}, {\"id\": \"b\", \"tool\": \"u\", \"requires\": \"a\"}]}}",
        "{\"tasks\": {\"a\": {\"tool\": \"t\"}, \"b\": {\"tool\": \"u\", \"depends_on\": \"a\"}}}",
        "{\"name\": \"submit\", \"arguments\": {\"tasks\": [{\"id\": \"a\", \"tool\": \"t\"}, {\"id\": \"b\", \"tool\": \"u\", \"depends_on\": [\"a\"]}]}}",
        "[{\"id\": \"a\", \"tool\": \"t\"}, {\"id\": \"b\", \"tool\": \"u\", \"depends_on\": [\"a\"]}]",
        "{\"id\": \"a\", \"tool\": \"t\"}, {\"id\": \"b\", \"tool\": \"u\", \"depends_on\": [\"a\"]}",
        "First {\"steps\": [{\"id\": \"x\"}]}, no, better:\n{\"steps\": [{\"id\": \"a\", \"tool\": \"t\"}, {\"id\": \"b\", \"tool\": \"u\", \"depends_on\": [{\"task\": \"a\"}]}]}",
    ] {
        check(answer, two.clone());
    }
}

#[test]
fn steps_call_each_other_by_id_number_or_name() {
    let chain = |first: &str, second: &str| json!([{"id": first, "name": "Fetch"}, {"id": second, "name": "Report", "depends_on": [first]}]);
    let unnamed = |needs: &str| {
        format!(r#"{{"steps": [{{"name": "Fetch"}}, {{"name": "Report", {needs}}}]}}"#)
    };
    for needs in [
        r#""depends_on": [1]"#,
        r#""depends_on": "step 1""#,
        r##""after": "#1""##,
        r#""deps": "fetch""#,
        r#""requires": ["Fetch", "none"]"#,
        r#""dependencies": [{"id": 1}]"#,
        r#""dependencies": [0]"#,
    ] {
        check(&unnamed(needs), chain("step-1", "step-2"));
    }
    check(
        r#"[{"step": 2, "title": "Report", "depends_on": [1]}, {"step": 1, "title": "Fetch"}]"#,
        json!([{"id": "2", "name": "Report", "depends_on": ["1"]}, {"id": "1", "name": "Fetch"}]),
    );
    check(
        r#"{"task_nodes": [{"task": "Cut", "arguments": [{"name": "at", "value": 3}]}, {"task": "Join", "arguments": ["a.wav"]}],
            "task_links": [{"source": "Cut", "target": "Join"}]}"#,
        json!([{"id": "step-1", "name": "Cut", "inputs": {"at": 3}},
            {"id": "step-2", "name": "Join", "inputs": {"arguments": ["a.wav"]}, "depends_on": ["step-1"]}]),
    );
}

#[test]
fn references_follow_ids() {
    check(
        r#"{"steps": [{"name": "Fetch", "tool": "t"}, {"name": "Show", "tool": "u", "inputs": {"x": "$[1].output.rows", "y": "has ${[1].output.n}, costs $$[1]"}}]}"#,
        json!([{"id": "step-1", "name": "Fetch", "tool": "t"}, {"id": "step-2", "name": "Show", "tool": "u",
            "inputs": {"x": "$[step-1].output.rows", "y": "has ${[step-1].output.n}, costs $$[1]"}}]),
    );
}

#[test]
fn steps_within_a_step_take_its_place() {
    check(
        r#"{"steps": [
            {"id": "get", "tool": "t"},
            {"id": "work", "name": "Work", "after": "get", "subtasks": [{"id": "a"}, {"id": "b"}, {"id": "c", "after": ["a", "b"]}]},
            {"id": "tell", "after": "work", "inputs": {"x": "$[work].output.text"}}]}"#,
        json!([
            {"id": "get", "tool": "t"},
            {"id": "work.a", "depends_on": ["get"]},
            {"id": "work.b", "depends_on": ["get"]},
            {"id": "work.c", "depends_on": ["work.a", "work.b"]},
            {"id": "tell", "inputs": {"x": "$[work.c].output.text"}, "depends_on": ["work.c"]},
        ]),
    );
}

#[test]
fn names_that_mean_something_else_elsewhere_are_names_here() {
    check(
        r#"[{"id": "start", "tool": "t"}, {"id": "work", "tool": "u", "depends_on": ["start"]}]"#,
        json!([{"id": "start", "tool": "t"}, {"id": "work", "tool": "u", "depends_on": ["start"]}]),
    );
    // Steps with numbers of their own are not counted.
    let numbered = imported(
        r#"[{"id": 2, "tool": "t"}, {"id": 3, "tool": "u", "depends_on": [1], "inputs": {"x": "$[1].output"}}]"#,
    );
    assert_eq!(
        numbered.plan["tasks"][1],
        json!({"id": "3", "tool": "u", "inputs": {"x": "$[1].output"}, "depends_on": ["1"]})
    );
    assert!(numbered.warnings[0].contains("needs `1`"), "{numbered:?}");
    // `inputs` are the plan's, whatever a step is called.
    check(
        r#"[{"name": "Inputs", "tool": "t", "inputs": {"x": "$[inputs].file"}}]"#,
        json!([{"id": "step-1", "name": "Inputs", "tool": "t", "inputs": {"x": "$[inputs].file"}}]),
    );
}

#[test]
fn what_a_step_with_steps_asked_for_is_kept_or_told() {
    let spliced = imported(
        r#"{"steps": [
            {"id": "go", "gate": true, "tool": "t", "retry": {"max_retries": 1}, "steps": [{"id": "a"}, {"id": "b", "after": "a"}]},
            {"id": "tell", "inputs": {"why": "$[go].error", "what": "$[go].output.x"}}]}"#,
    );
    assert_eq!(
        spliced.plan["tasks"],
        json!([{"id": "go.a", "gate": true}, {"id": "go.b", "depends_on": ["go.a"]},
            {"id": "tell", "inputs": {"why": "$[go.b].error", "what": "$[go.b].output.x"}}])
    );
    let told = spliced.warnings.join("\n");
    assert!(
        told.contains("`tool`, `retry` of `go` was dropped")
            || told.contains("`retry`, `tool` of `go`"),
        "{told}"
    );
}

#[test]
fn answers_that_would_take_long_to_put_together_are_refused() {
    let many =
        |n: usize, one: &dyn Fn(usize) -> String| (0..n).map(one).collect::<Vec<_>>().join(",");
    for answer in [
        format!("[{}]", many(10_001, &|n| format!(r#"{{"id": "s{n}"}}"#))),
        format!(r#"[{{"id": "a", "depends_on": [{}]}}]"#, many(100_001, &|n| format!("\"{n}\""))),
        format!("[{}]", many(501, &|n| format!(r#"{{"id": "s{n}", "steps": [{{"name": "x"}}]}}"#))),
        format!(
            r#"[{{"id": "p", "steps": [{}]}}]"#,
            many(10_001, &|n| format!(r#"{{"name": "x{n}"}}"#))
        ),
    ] {
        let error = read_answer(&answer, ReadingMode::default()).unwrap_err();
        assert_eq!(error.code.to_string(), "E5102", "{}: {error}", &answer[..40]);
    }
}

#[test]
fn nothing_is_made_up_and_nothing_vanishes_in_silence() {
    let odd = imported(
        r#"{"steps": [{"id": "a", "tool": {"name": "t", "arguments": "{\"p\": 1}"}, "colour": "red", "type": "magic", "after": "b"}], "mood": "good"}"#,
    );
    assert_eq!(
        odd.plan["tasks"],
        json!([{"id": "a", "tool": "t", "inputs": {"p": 1}, "depends_on": ["b"]}])
    );
    let told = odd.warnings.join("\n");
    for word in ["colour", "magic", "mood", "`a` needs `b`"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let strange = r#"{"steps": [{"id": "a", "tool": "t"}, 42]}"#;
    assert!(refused(strange).contains("step 2"));
    let kept = read_answer(strange, ReadingMode { lenient: true }).unwrap();
    assert_eq!(kept.plan["tasks"][1], json!({"id": "step-2", "name": "42"}));
}

#[test]
fn lists_in_words_are_read_and_remarks_are_not() {
    check(
        "Plan:\n1. Fetch\n2. Report",
        json!([{"id": "step-1", "name": "Fetch", "type": "ATOMIC"},
            {"id": "step-2", "name": "Report", "type": "ATOMIC", "depends_on": ["step-1"]}]),
    );
    check(
        "[\"Fetch\", \"Report\"]",
        json!([{"id": "step-1", "name": "Fetch"}, {"id": "step-2", "name": "Report"}]),
    );
    for (answer, word) in [
        ("", "empty"),
        ("I cannot help with that.", "no JSON"),
        ("As said in [Smith, Jones] it is {hard}.", "step"),
        ("{\"answer\": 42}", "answer"),
        ("[]", "empty list"),
        ("{\"tasks\": []}", "tasks"),
    ] {
        let message = refused(answer);
        assert!(message.contains(word), "{answer}: {message}");
    }
}

#[test]
fn hostile_answers_end() {
    for answer in [
        "[".repeat(1 << 20),
        "{\"a\":".repeat(1 << 18),
        "{\"x,".repeat(1 << 18),
        "\"a\" x, ".repeat(1 << 18),
        "{\"steps\":[\"".repeat(1 << 16),
        "'{".repeat(1 << 18),
        "/*{".repeat(1 << 18),
        "```\n{\n".repeat(1 << 16),
        "0) \u{7}?\n1. \u{1b}[\n".repeat(1 << 14),
        answer_text(&[b"{\xff\xfe\"\x80".as_slice(); 1 << 16].concat()),
    ] {
        let error = read_answer(&answer, ReadingMode::default()).unwrap_err();
        assert_eq!(error.code.to_string(), "E5106", "{}", &answer[..20]);
    }
}

#[test]
fn characters_are_read_as_they_are_escaped() {
    for (text, expected) in [
        (r#"{'a': "\ud83d\ude00 \u00e9"}"#, json!({"a": "😀 é"})),
        (r#"{'a': "\ud83d x"}"#, json!({"a": "\u{fffd} x"})),
        (r#"{'a': "C:\\temp\q"}"#, json!({"a": "C:\\tempq"})),
        ("{'a': \"x\ty\nz\"}", json!({"a": "x\ty\nz"})),
    ] {
        assert_eq!(read(text).unwrap().0, expected, "{text}");
    }
}
