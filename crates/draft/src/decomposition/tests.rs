//! Answers as models write them, and what they come to.

use serde_json::{Value, json};

use super::json::read;
use super::{ReadingMode, answer_text, read_answer, read_draft, read_result};
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
        "<think></think>".repeat(1 << 18),
        "<think>{".repeat(1 << 18),
        "</think>{\"".repeat(1 << 18),
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

/// The ids of the tasks that an answer comes to, or the refusal.
fn ids(answer: &str) -> String {
    match read_answer(answer, ReadingMode::default()) {
        Ok(imported) => {
            let tasks = imported.plan["tasks"].as_array().unwrap();
            let ids: Vec<&str> = tasks.iter().map(|task| task["id"].as_str().unwrap()).collect();
            ids.join(" ")
        }
        Err(error) => error.message,
    }
}

#[test]
fn a_draft_is_no_answer() {
    let draft = r#"{"tasks":[{"id":"d1","name":"x"},{"id":"d2","name":"y"}]}"#;
    let right = r#"{"tasks":[{"id":"a","name":"right"}]}"#;
    for answer in [
        format!("<think>{draft}</think>{right}"),
        format!("Let me draft {draft} hmm\n</think>\n{right}"),
        format!("<reasoning>\n```json\n{draft}\n```\n</reasoning>\n```json\n{right}\n```"),
        format!(
            "<|channel|>analysis<|message|>{draft}<|end|><|start|>assistant<|channel|>final<|message|>{right}<|return|>"
        ),
        format!("The format you gave: {draft}\n\nMy plan:\n{right}"),
        format!("{draft}\n\nNo, simpler:\n{right}"),
        format!("{right}\n\nFor example, a longer one:\n{draft}"),
    ] {
        assert_eq!(ids(&answer), "a", "{answer}");
    }
    let told = imported(&format!("{draft}\nNo:\n{right}")).warnings.join("\n");
    assert!(told.contains("of 2 steps, was passed over"), "{told}");
    for (answer, word) in [
        (format!("<think>{draft}</think>\nI am sorry, I cannot help with that."), "no JSON"),
        (format!("{draft}\n\nI'm sorry, but I can't help with that."), "refuses"),
        (format!("<think>hm {draft}"), "nothing but reasoning"),
    ] {
        assert!(ids(&answer).contains(word), "{answer}: {}", ids(&answer));
    }
}

#[test]
fn an_answer_that_ends_within_a_value_is_refused() {
    for answer in [
        r#"{"tasks": [{"id": "b", "tool": "fs.write", "inputs": {"text": "line one, "#,
        r#"{"tasks": [{"id": "b", "tool": "fs.write", "inputs": {"text": "line one""#,
        r#"{"tasks": [{"id": "b", "tool": "wait", "inputs": {"seconds": 1"#,
        r#"{"tasks": [{"id": "b"}, {"id": "c"}"#,
        r#"{"tasks": [{"id": "b"}], "goal":"#,
        "```json\n{\"tasks\": [{\"id\": \"b\"}, {\"id\"",
    ] {
        assert!(ids(answer).contains("cut off"), "{answer}: {}", ids(answer));
        let kept = read_answer(answer, ReadingMode { lenient: true }).unwrap();
        assert!(kept.warnings.iter().any(|told| told.contains("ends within a value")), "{kept:?}");
    }
    // Only the last bracket is missing: nothing was to come.
    assert_eq!(ids(r#"{"tasks": [{"id": "b"}]"#), "b");
}

#[test]
fn dependencies_are_understood_in_every_shape_or_told() {
    for needs in [
        r#""depends_on": {"a": "data"}"#,
        r#""depends_on": {"a": true, "z": false}"#,
        r#""depends_on": {"all": ["a"]}"#,
        r#""depends_on": [{"ref": "a"}]"#,
        r#""depends_on": [{"from": "a"}]"#,
        r#""depends_on": [{"a": "done"}]"#,
        r#""depends_on": [{"dependency": "a"}]"#,
        r#""depends_on": {"a": {"status": "completed"}}"#,
        r#""depends_on": [{"task": "a", "status": "done"}]"#,
        r#""depends_on": {"0": "a"}"#,
        r#""depends_on": "${a.output}""#,
        r#""depends_on": "the result of a""#,
        r#""depends_on": "previous step""#,
        r#""depends_on": "all previous steps""#,
        r#""needs": ["a"]"#,
        r#""waits_for": ["a"]"#,
        r#""predecessors": ["a"]"#,
    ] {
        let answer = format!(
            r#"{{"tasks": [{{"id": "a", "name": "a"}}, {{"id": "b", "name": "b", {needs}}}, {{"id": "z", "depends_on": []}}]}}"#
        );
        let read = imported(&answer);
        assert_eq!(read.plan["tasks"][1]["depends_on"], json!(["a"]), "{needs}: {read:?}");
    }
    check(
        r#"[{"id": "a", "next": "b"}, {"id": "b", "next": ["end"]}]"#,
        json!([{"id": "a"}, {"id": "b", "depends_on": ["a"]}]),
    );
    check(
        r#"{"tasks": [{"id": "a"}, {"id": "b"}, {"id": "c", "depends_on": {"any": ["a", "b"]}}, {"id": "d", "depends_on": "a and b"}]}"#,
        json!([{"id": "a"}, {"id": "b"}, {"id": "c", "join": "any", "depends_on": ["a", "b"]},
            {"id": "d", "depends_on": ["a", "b"]}]),
    );
    for needs in [r#"[{"task": "a", "status": "failed"}]"#, r#"{"a": "failed"}"#] {
        let answer =
            format!(r#"{{"tasks": [{{"id": "a"}}, {{"id": "h", "depends_on": {needs}}}]}}"#);
        let draft = read_draft(&answer, ReadingMode::default()).unwrap();
        assert!(draft.lost[0].contains("failed"), "{needs}: {draft:?}");
        assert_eq!(draft.steps[1].needs.len(), 1, "{needs}");
    }
    for needs in ["true", r#"{"when": "later"}"#, r#"[{"colour": "a or z"}]"#] {
        let answer = format!(
            r#"{{"tasks": [{{"id": "a"}}, {{"id": "z"}}, {{"id": "h", "depends_on": {needs}}}]}}"#
        );
        let draft = read_draft(&answer, ReadingMode::default()).unwrap();
        assert!(draft.lost[0].contains("of task `h` was dropped"), "{needs}: {draft:?}");
    }
}

#[test]
fn what_stands_twice_is_told() {
    for (answer, word) in [
        (r#"{"tasks": [{"id": "a", "tool": "t", "tool": "u"}]}"#, "`tool` stands twice"),
        (r#"{tasks: [{id: a}], "tasks": [{id: b}]}"#, "`tasks` stands twice"),
        (r#"{"tasks": [{"id": "a"}], "steps": [{"id": "b"}]}"#, "`steps` was dropped"),
        (
            r#"[{"id": "a", "tool": "t", "arguments": "{\"text\": \"line one, "}]"#,
            "end within a value",
        ),
    ] {
        let draft = read_draft(answer, ReadingMode::default()).unwrap();
        assert!(draft.lost[0].contains(word), "{answer}: {draft:?}");
        assert_eq!(draft.lost, draft.warnings, "{answer}");
    }
}

#[test]
fn brackets_that_do_not_fit_make_no_values_up() {
    let two = json!([{"id": "A", "tool": "x", "inputs": {"k": 1}}, {"id": "B", "tool": "y", "depends_on": []}]);
    let mut wanted = two;
    wanted[1].as_object_mut().unwrap().remove("depends_on");
    for answer in [
        r#"[{"id":"A","tool":"x","args":{"k":1}}}, {"id":"B","tool":"y","after":[]}]"#,
        r#"[{"id":"A","tool":"x","args":{"k":1}], {"id":"B","tool":"y","after":[]}]"#,
        r#"[{"id":"A","tool":"x","args":{"k":1}}], {"id":"B","tool":"y","after":[]}]"#,
        r#"[{"id":"A","tool":"x","args":{"k":1}}}, {"tool":"y","id":"B","after":[]}]"#,
        r#"{"tasks":[{"id":"A","tool":"x","args":{"k":1}}},{"id":"B","tool":"y","after":[]}]}"#,
        "[{\"id\":\"A\",\"tool\":\"x\",\"args\":{\"k\":1}}，{\"id\":\"B\",\"tool\":\"y\",\"after\":[]}]",
    ] {
        check(answer, wanted.clone());
    }
    check(
        r#"{"tasks":[{"id":"x","name":"one"},{"id":"y","depends_on":["x","name":"two"},{"id":"z","depends_on":["y"]}]}"#,
        json!([{"id": "x", "name": "one"}, {"id": "y", "name": "two", "depends_on": ["x"]}, {"id": "z", "depends_on": ["y"]}]),
    );
    check(
        r#"{"tasks":[{"id":"a","inputs":{"phones":[{"no":"18"}, "sub":[{"t":"P"}], "push":"no"}},{"id":"b","depends_on":["a"]}]}"#,
        json!([{"id": "a", "inputs": {"phones": [{"no": "18"}], "sub": [{"t": "P"}], "push": "no"}}, {"id": "b", "depends_on": ["a"]}]),
    );
}

#[test]
fn a_plan_within_a_text_is_opened() {
    let plan = r#"{"tasks":[{"id":"a","name":"x"}]}"#;
    let once = serde_json::to_string(plan).unwrap();
    let twice = serde_json::to_string(&once).unwrap();
    for answer in [
        once.clone(),
        twice,
        format!("{{\"plan\":{once}}}"),
        format!("{{\"name\":\"create_plan\",\"arguments\":{once}}}"),
        format!("[{{\"name\":\"create_plan\",\"arguments\":{once}}}]"),
        format!("{{\"tool_calls\":[{{\"function\":{{\"name\":\"p\",\"arguments\":{once}}}}}]}}"),
        r#"{"tasks":"[{\"id\":\"a\",\"name\":\"x\"}]"}"#.to_owned(),
        format!("{{\"tool_calls\":[{{\"function\":{{\"name\":\"p\",\"arguments\":{plan}}}}}]}}"),
    ] {
        check(&answer, json!([{"id": "a", "name": "x"}]));
    }
}

#[test]
fn steps_without_a_stated_order_are_a_chain_where_they_are_numbered() {
    for (answer, chained) in [
        (r#"[{"step": "1.1 Query", "tool": "q"}, {"step": "1.2 Pay", "tool": "p"}]"#, true),
        (r#"[{"step": "2.1 Query", "tool": "q"}, {"step": "3 Pay", "tool": "p"}]"#, true),
        (r#"{"steps": [{"id": 1, "tool": "q"}, {"id": 2, "tool": "p"}]}"#, true),
        (r#"{"steps": ["1. Query", "2. Pay"]}"#, true),
        (r#"{"steps": ["Query", "Pay"], "execution": "sequential"}"#, true),
        ("Do these in this order:\n{\"steps\": [\"Query\", \"Pay\"]}", true),
        (r#"{"steps": ["Query", "Pay"]}"#, false),
        (r#"{"tasks": [{"id": "q", "tool": "q"}, {"id": "p", "tool": "p"}]}"#, false),
    ] {
        let read = imported(answer);
        let needs = read.plan["tasks"][1]["depends_on"].as_array().map_or(0, Vec::len);
        assert_eq!(needs, usize::from(chained), "{answer}: {read:?}");
        let told = if chained { &read.repairs } else { &read.warnings };
        assert!(told.iter().any(|told| told.contains("state no")), "{answer}: {read:?}");
    }
    // An empty list of dependencies is an order, too.
    let stated = imported(r#"[{"id": 1, "depends_on": []}, {"id": 2, "depends_on": []}]"#);
    assert_eq!(
        (stated.plan["tasks"][1]["depends_on"].as_array(), stated.warnings.len()),
        (None, 0)
    );
    // Steps of one number run side by side.
    check(
        r#"[{"step": 1, "name": "a"}, {"step": 1, "name": "b", "id": "b"}, {"step": 2, "name": "c"}]"#,
        json!([{"id": "1", "name": "a"}, {"id": "b", "name": "b"}, {"id": "2", "name": "c", "depends_on": ["1", "b"]}]),
    );
}

#[test]
fn inputs_have_many_names() {
    for name in ["param", "arguments", "tool_input", "kwargs", "action_input", "toolArgs"] {
        check(
            &format!(r#"[{{"id": "a", "tool": "t", "{name}": {{"from": "x"}}}}]"#),
            json!([{"id": "a", "tool": "t", "inputs": {"from": "x"}}]),
        );
    }
}

#[test]
fn answers_with_a_form_are_read_without_what_stands_around() {
    let object = json!({"type": "object"});
    for answer in [
        "<think>hm {\"x\":1}</think>{\"tasks\":[]}",
        "{\"tasks\": []}",
        "\"{\\\"tasks\\\":[]}\"",
        "Here you are: {\"tasks\":[]} Good luck!",
        "Here you are:\n```json\n{\"tasks\":[]}\n```\nGood luck!",
    ] {
        assert_eq!(read_result(answer, &object).unwrap(), json!({"tasks": []}), "{answer}");
    }
    assert_eq!(read_result("positive", &json!({"type": "string"})).unwrap(), json!("positive"));
    for (answer, word) in
        [("{\"tasks\": [\"one, ", "cut off"), ("<think>hm", "nothing but reasoning"), ("", "empty")]
    {
        let error = read_result(answer, &object).unwrap_err();
        assert!(error.message.contains(word), "{answer}: {error}");
    }
}
