//! Text in plans that is written to take down whoever evaluates it: each ends with a code, within its time and memory,
//! and nothing else ends with it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bounded::{MEMORY_MAX_MB, bounded};
use crate::sandbox::Sandbox;

/// The seconds that a task of these plans has, and that a command may take beyond it.
const TIMEOUT: u64 = 4;
const GRACE: Duration = Duration::from_secs(2);

/// A plan of one task.
fn plan(tool: &str, inputs: &Value) -> Value {
    json!({"goal": "x", "tasks": [
        {"id": "a", "tool": tool, "timeout_seconds": TIMEOUT, "retry": {"max_retries": 0}, "inputs": inputs}
    ]})
}

fn template(template: &str) -> Value {
    plan("text.render", &json!({"template": template, "format": "text"}))
}

/// Runs a command over a plan: it must end within time and memory, with one of `codes`; without codes it may succeed.
fn check(name: &str, command: &str, plan: &Value, codes: &[&str]) {
    let sandbox = Sandbox::new();
    sandbox.write("t.csv", "a,b\n1,2\n3,4\n");
    sandbox.write("plan.json", &plan.to_string());
    let within = Duration::from_secs(TIMEOUT) + GRACE;
    let ended = bounded(sandbox.command(&[command, "plan.json"]), within);
    let said = format!("{}{}", ended.ran.stdout, ended.ran.stderr);
    let shown: String = said.chars().take(2_000).collect();
    let is_refused =
        (1..=5).contains(&ended.ran.code) && codes.iter().any(|code| said.contains(code));
    let is_fine = ended.ran.code == 0 && codes.is_empty();
    assert!(is_refused || is_fine, "{name}: exit code {}, not {codes:?}: {shown}", ended.ran.code);
    assert!(!said.contains("panicked"), "{name}: {shown}");
    assert!(ended.peak_mb < MEMORY_MAX_MB, "{name}: {} MB in {:?}", ended.peak_mb, ended.took);
}

#[test]
fn templates_that_overflow_the_stack() {
    const TIMES: usize = 30_000;
    let operators =
        ["-", "not ", "1 ** ", "1 if 1 else ", "1 ~ ", "1 and ", "1 + ", "(", "[", "{1:", "a."];
    for operator in operators {
        let text = format!("{{{{ \"}}}}\" ~ {} 1 }}}}", operator.repeat(TIMES));
        check(operator, "execute", &template(&text), &["E5602"]);
    }
    for suffix in ["|upper", ".a", "()", "[0]", " is odd", " if 1"] {
        let text = format!("{{{{ \"}}}}\" ~ a{} }}}}", suffix.repeat(TIMES));
        check(suffix, "validate", &template(&text), &["E5602"]);
    }
    let branches = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(5_000));
    check("elif", "execute", &template(&branches), &["E5602"]);
    let blocks = format!("{}x{}", "{% if 1 %}".repeat(5_000), "{% endif %}".repeat(5_000));
    check("nested if", "execute", &template(&blocks), &["E5602"]);
    for end in
        ["{{ x }}", "{{ x == [x] }}", "{{ x|tojson }}", "{% for a in x %}{{ a }}{% endfor %}"]
    {
        let text = format!("{{% set x=[1] %}}{}{end}", "{% set x=[x] %}".repeat(20_000));
        check(end, "execute", &template(&text), &["E5602"]);
    }
    let maps = format!(
        "{{% set x={{'a':1}} %}}{}{{{{ x|dictsort }}}}",
        "{% set x={'a':x} %}".repeat(20_000)
    );
    check("dictsort", "execute", &template(&maps), &["E5602"]);
}

#[test]
fn templates_that_the_box_ends() {
    let grow = |step: &str| {
        format!(
            "{{% set n = namespace(x=[1]) %}}{{% for i in range(60000) %}}{{% set n.x = {step} %}}{{% endfor %}}{{{{ n.x }}}}"
        )
    };
    let doubling = |times: usize, step: &str| {
        format!("{{% set x=[1,2] %}}{}{{{{ x|length }}}}", step.repeat(times))
    };
    let pairs = format!(
        "{{% set x=[1] %}}{{% set y=[1] %}}{}{{{{ x == y }}}}",
        "{% set x=[x,x] %}{% set y=[y,y] %}".repeat(40)
    );
    let cases = [
        ("a value nested in a loop", grow("[n.x]")),
        ("a map nested in a loop", grow("{'a': n.x}")),
        ("a list doubled", doubling(60, "{% set x = x + x %}")),
        (
            "a text doubled",
            format!("{{% set x='ab' %}}{}{{{{ x }}}}", "{% set x = x ~ x %}".repeat(60)),
        ),
        ("a comparison doubled", pairs),
        ("an indent", "{{ [1]|tojson(indent=2000000000) }}".to_owned()),
        ("a text repeated", "{{ 'ab' * 2000000000 }}".to_owned()),
        ("a list repeated", "{{ [1,2] * 2000000000 }}".to_owned()),
        (
            "a range",
            "{{ range(100000)|list|batch(1)|list|length }}{{ range(99999999999)|list }}".to_owned(),
        ),
        (
            "loops",
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
                .to_owned(),
        ),
    ];
    for (name, text) in cases {
        check(name, "execute", &template(&text), &["E5710", "E5220", "E5602"]);
    }
}

#[test]
fn conditions_paths_and_schemas_in_plans() {
    let condition = |text: &str| {
        json!({"goal": "x", "tasks": [
            {"id": "a", "tool": "fs.list"},
            {"id": "b", "tool": "fs.list", "depends_on": [{"task": "a", "type": "conditional", "condition": text}]}
        ]})
    };
    let doubling = |times: usize| {
        format!("size([1,1]{}) == 2", ".map(x, [x,x,x,x,x,x,x,x,x,x,x,x])".repeat(times))
    };
    check("maps", "validate", &condition(&doubling(20)), &["E5310"]);
    check(
        "brackets",
        "validate",
        &condition(&format!("{}1{}", "(".repeat(900), ")".repeat(900))),
        &["E5310"],
    );
    check("not", "validate", &condition(&format!("{}true", "!".repeat(1_900))), &[]);
    let reference = |path: &str| {
        json!({"goal": "x", "tasks": [
            {"id": "a", "tool": "fs.list"},
            {"id": "b", "tool": "text.render", "depends_on": ["a"],
             "inputs": {"template": "x", "data": {"v": format!("$[a].output{path}")}}}
        ]})
    };
    for times in [20, 80, 400] {
        let nested = format!(".x{}{}", "[?@".repeat(times), "]".repeat(times));
        check("filters", "validate", &reference(&nested), &["E5604"]);
        let groups = format!(".x[?{}@.a{}]", "(".repeat(times), ")".repeat(times));
        check("groups", "validate", &reference(&groups), &["E5604"]);
        let not = format!(".x[?{}@.a{}]", "!(".repeat(times), ")".repeat(times));
        check("negations", "validate", &reference(&not), &["E5604"]);
    }
    let select =
        |path: String, value: Value| plan("json.select", &json!({"value": value, "path": path}));
    let deep = (0..60).fold(json!(1), |value, _| json!([value, value_of(20)]));
    check(
        "wide",
        "execute",
        &select(format!("$..*{}", "[*,*,*,*]".repeat(3)), deep.clone()),
        &["E5710", "E5220", "E5410"],
    );
    check(
        "unions",
        "execute",
        &select(format!("${}", "[*,*,*,*]".repeat(30)), json!([[1]])),
        &["E5602"],
    );
    let mut parts = serde_json::Map::new();
    parts.insert("d0".to_owned(), json!({"type": "string"}));
    for i in 1..60 {
        let part = json!({"$ref": format!("#/$defs/d{}", i - 1)});
        parts.insert(format!("d{i}"), json!({"anyOf": [part, part]}));
    }
    let mut schema = plan("fs.list", &json!({}));
    schema["tasks"][0]["output_schema"] = json!({"$defs": parts, "$ref": "#/$defs/d59"});
    check("a schema", "execute", &schema, &["E5602", "E5220"]);
}

/// A list of numbers.
fn value_of(length: usize) -> Value {
    json!((0..length).collect::<Vec<_>>())
}

#[test]
fn questions_to_tables() {
    let query = |sql: &str| {
        json!({"goal": "x", "tasks": [
            {"id": "f", "tool": "data.read", "inputs": {"path": "t.csv"}},
            {"id": "q", "tool": "data.query", "depends_on": ["f"], "timeout_seconds": TIMEOUT,
             "retry": {"max_retries": 0}, "inputs": {"table": "$[f].output.table", "sql": sql}}
        ]})
    };
    let doubling: String =
        (1..40).map(|i| format!(", c{i} AS (SELECT 1 FROM c{0}, c{0})", i - 1)).collect();
    let cases = [
        ("execute", "WITH RECURSIVE c(x, y) AS (SELECT 1, randomblob(8000000) UNION ALL SELECT x + 1, randomblob(8000000) FROM c LIMIT 2000) SELECT x FROM c ORDER BY y".to_owned()),
        ("execute", "WITH RECURSIVE c(x) AS (SELECT randomblob(1000000) UNION SELECT randomblob(1000000) FROM c) SELECT length(x) FROM c".to_owned()),
        ("execute", "SELECT instr(replace(hex(zeroblob(4000000)),'0','a'), replace(hex(zeroblob(2000000)),'0','a')||'b')".to_owned()),
        ("execute", "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT count(*) FROM c".to_owned()),
        ("execute", "SELECT group_concat(hex(zeroblob(9000000))) FROM t a, t b, t c, t d, t e".to_owned()),
        ("validate", format!("WITH c0 AS (SELECT 1){doubling} SELECT count(*) FROM c39")),
        ("validate", format!("SELECT {}1", "(".repeat(50_000))),
        ("validate", "SELECT 1\0; DROP TABLE t".to_owned()),
    ];
    for (command, sql) in cases {
        let shown: String = sql.chars().take(60).collect();
        check(&shown, command, &query(&sql), &["E5710", "E5220", "E5602"]);
    }
}

#[test]
fn plans_larger_than_their_limit() {
    let task = r#"{"id":"a","tool":"fs.list"},"#;
    let json = |times: usize| {
        format!("{{\"goal\": \"x\", \"tasks\": [{}{{\"id\":\"b\"}}]}}", task.repeat(times))
    };
    let grouped = |times: usize| {
        let steps = task.repeat(times);
        format!(
            "{{\"goal\": \"x\", \"tasks\": [{{\"id\": \"g\", \"steps\": [{steps}{{\"id\":\"b\"}}]}}]}}"
        )
    };
    let yaml =
        |times: usize| format!("goal: x\ntasks:\n{}", " - {id: a, tool: fs.list}\n".repeat(times));
    let numbers = |times: usize| {
        format!(
            "{{\"goal\": \"x\", \"inputs\": {{\"a\": [{}1]}}, \"tasks\": []}}",
            "1,".repeat(times)
        )
    };
    let sandbox = Sandbox::new();
    let cases = [
        ("million.json", json(1_000_000), "E5102"),
        ("million.yaml", yaml(1_000_000), "E5102"),
        ("grouped.json", grouped(1_000_000), "E5102"),
        ("numbers.json", numbers(30_000_000), "E5006"),
    ];
    for (name, text, code) in cases {
        sandbox.write(name, &text);
        for command in ["validate", "execute", "cost"] {
            let within = Duration::from_secs(10);
            let ended = bounded(sandbox.command(&[command, name]), within);
            let said = format!("{}{}", ended.ran.stdout, ended.ran.stderr);
            assert!(said.contains(code), "{command} {name}: {said}");
            assert!(ended.peak_mb < MEMORY_MAX_MB, "{command} {name}: {} MB", ended.peak_mb);
        }
    }
    let line = format!("{{\"plan\": {}}}\n", json(100_000));
    let answers = sandbox.batch(&["validate"], &line);
    assert_eq!(answers[0]["error"]["code"], "E5102", "{answers:?}");
}

#[test]
fn paths_that_begin_with_a_bracket() {
    let sandbox = Sandbox::new();
    for (path, found) in
        [("$[0].n", json!([1])), ("$[?@.n > 1].n", json!([2])), ("$[*].n", json!([1, 2]))]
    {
        let inputs = json!({"value": [{"n": 1}, {"n": 2}], "path": path});
        sandbox.write("plan.json", &plan("json.select", &inputs).to_string());
        let (code, result) = sandbox.json(&["execute", "plan.json"]);
        assert_eq!(code, 0, "{result}");
        assert_eq!(result["outputs"]["a"]["matches"], found, "{path}: {result}");
    }
}

#[test]
fn a_question_is_answered_wherever_the_data_folder_is_named_from() {
    let sandbox = Sandbox::new();
    sandbox.write("t.csv", "a,b\n1,2\n3,4\n");
    let plan = json!({"goal": "x", "tasks": [
        {"id": "f", "tool": "data.read", "inputs": {"path": "t.csv"}},
        {"id": "q", "tool": "data.query", "depends_on": ["f"],
         "inputs": {"table": "$[f].output.table", "sql": "SELECT sum(b) AS s FROM t"}}
    ]});
    sandbox.write("plan.json", &plan.to_string());
    let (code, result) = sandbox.json(&["execute", "plan.json", "--data-dir", "data"]);
    assert_eq!(code, 0, "{result}");
    assert_eq!(result["outputs"]["q"]["rows"], json!([{"s": 6}]), "{result}");
}

#[test]
fn patterns() {
    let sandbox_text = "a".repeat(200_000);
    let sandbox = Sandbox::new();
    sandbox.write("a.txt", &sandbox_text);
    let search = |pattern: &str| plan("fs.search", &json!({"pattern": pattern}));
    for pattern in ["(a{1,300}){1,300}b", "((a{0,99}){0,99}){0,99}$", "(x+x+)+y"] {
        sandbox.write("plan.json", &search(pattern).to_string());
        let within = Duration::from_secs(TIMEOUT) + GRACE;
        let ended = bounded(sandbox.command(&["execute", "plan.json"]), within);
        assert!(ended.peak_mb < MEMORY_MAX_MB, "{pattern}: {} MB", ended.peak_mb);
        assert!(!ended.ran.stderr.contains("panicked"), "{pattern}: {:?}", ended.ran);
    }
}
