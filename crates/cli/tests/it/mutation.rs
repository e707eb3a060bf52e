//! Faults of every class, injected at random into valid plans: all are found, and nothing is found
//! where there is none. Prints the table.

#![expect(clippy::print_stdout, reason = "the table is what this test is for")]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// Plans of each class.
const PLANS_PER_CLASS: usize = 150;

/// SplitMix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end.max(1) as u64) as usize
    }

    fn pick<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[self.below(list.len())]
    }
}

/// Tools that give and take nested objects, lists, tuples, unions, enums, formats and recursion.
fn catalogue() -> Value {
    let person = |zip: &str| {
        json!({"type": "object", "required": ["name", "address"], "additionalProperties": false,
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "address": {"type": "object", "required": ["city", "zip"], "properties": {
                "city": {"type": "string"}, "zip": {"type": zip}}},
        }})
    };
    let tree = json!({"$ref": "#/$defs/node"});
    let nodes = json!({"node": {"type": "object", "required": ["label"], "properties": {
        "label": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}});
    let gives = |output: Value| {
        json!({"type": "object", "required": ["value"], "additionalProperties": false,
            "properties": {"value": output}})
    };
    let takes = |input: Value| {
        json!({"type": "object", "required": ["value"], "additionalProperties": false,
            "properties": {"value": input, "note": {"type": "string"}}})
    };
    let tool = |name: &str, input: Value, output: Value| {
        let (mut takes, mut gives) = (takes(input), gives(output));
        takes["$defs"] = nodes.clone();
        gives["$defs"] = nodes.clone();
        json!({"name": name, "input_schema": takes, "output_schema": gives})
    };
    let anything = || json!({});
    let (text, level) = (json!({"type": "string"}), json!({"enum": ["low", "middle", "high"]}));
    let list = json!({"type": "array", "items": person("string")});
    let pair = json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "items": false, "minItems": 2});
    let either = json!({"anyOf": [{"type": "string"}, {"type": "integer"}]});
    let day = json!({"type": "string", "format": "date"});
    let maybe = json!({"type": ["string", "null"]});
    json!({"tools": [
        tool("text", anything(), text.clone()), tool("person", anything(), person("string")),
        tool("odd_person", anything(), person("integer")), tool("people", anything(), list.clone()),
        tool("level", anything(), level.clone()), tool("pair", anything(), pair.clone()),
        tool("integer", anything(), json!({"type": "integer"})), tool("tree", anything(), tree.clone()),
        tool("day", anything(), day.clone()), tool("flag", anything(), json!({"type": "boolean"})),
        tool("use_text", text.clone(), text.clone()), tool("use_person", person("string"), text.clone()),
        tool("use_people", list, text.clone()), tool("use_level", level, text.clone()),
        tool("use_pair", pair, text.clone()), tool("use_number", json!({"type": "number"}), text.clone()),
        tool("use_either", either, text.clone()), tool("use_tree", tree, text.clone()),
        tool("use_day", day, text.clone()), tool("use_maybe", maybe, text.clone()),
        {"name": "erase", "input_schema": takes(anything()), "output_schema": gives(text), "destructive": true},
    ]})
}

/// (consumer, producer, path): what fits.
const FITS: [(&str, &str, &str); 15] = [
    ("use_text", "text", ".value"),
    ("use_text", "person", ".value.name"),
    ("use_text", "people", ".value[0].address.zip"),
    ("use_person", "person", ".value"),
    ("use_person", "people", ".value[2]"),
    ("use_people", "people", ".value"),
    ("use_level", "level", ".value"),
    ("use_pair", "pair", ".value"),
    ("use_number", "integer", ".value"),
    ("use_number", "pair", ".value[1]"),
    ("use_either", "integer", ".value"),
    ("use_either", "text", ".value"),
    ("use_tree", "tree", ".value"),
    ("use_day", "day", ".value"),
    ("use_maybe", "text", ".value"),
];

/// (consumer, producer, path): what does not, each at another depth or for another reason.
const MISFITS: [(&str, &str, &str); 14] = [
    ("use_text", "integer", ".value"),
    ("use_person", "odd_person", ".value"),
    ("use_person", "text", ".value"),
    ("use_people", "person", ".value"),
    ("use_people", "pair", ".value"),
    ("use_level", "text", ".value"),
    ("use_pair", "people", ".value"),
    ("use_number", "text", ".value"),
    ("use_number", "flag", ".value"),
    ("use_either", "flag", ".value"),
    ("use_tree", "person", ".value"),
    ("use_day", "integer", ".value"),
    ("use_maybe", "integer", ".value"),
    ("use_text", "person", ".value.address"),
];

/// A producer for every consumer, chains of texts, and edges that only order.
fn valid_plan(draw: &mut Draw) -> Value {
    let mut tasks: Vec<Value> = Vec::new();
    for pair in 0..3 + draw.below(6) {
        let (consumer, producer, path) = *draw.pick(&FITS);
        let (from, to) = (format!("give_{pair}"), format!("take_{pair}"));
        tasks.push(json!({"id": from, "tool": producer, "inputs": {"value": draw.below(9)},
            "expected_seconds": 1 + draw.below(5),
            "resource_estimate": {"tokens_in": {"low": 10, "expected": 20, "high": 30}}}));
        tasks.push(json!({"id": to, "tool": consumer, "inputs": {"value": format!("$[{from}].output{path}")},
            "expected_seconds": 1 + draw.below(5)}));
        if pair > 0 && draw.below(2) == 0 {
            let before = draw.below(pair);
            tasks.last_mut().unwrap()["inputs"]["note"] =
                json!(format!("after ${{[take_{before}].output.value}}"));
        }
        if pair > 0 && draw.below(3) == 0 {
            let before = draw.below(pair);
            let condition = "outputs.value != ''";
            tasks.last_mut().unwrap()["depends_on"] =
                json!([{"task": format!("take_{before}"), "condition": condition}]);
        }
    }
    json!({"goal": "x", "tasks": tasks})
}

type Mutation = fn(&mut Value, &mut Draw);

/// (class, code, what it does to a valid plan)
fn classes() -> Vec<(&'static str, &'static str, Mutation)> {
    fn consumer(plan: &Value, draw: &mut Draw) -> usize {
        draw.below(plan["tasks"].as_array().unwrap().len() / 2) * 2 + 1
    }
    fn depend(task: &mut Value, on: Value) {
        match &mut task["depends_on"] {
            Value::Array(list) => list.push(on),
            none => *none = json!([on]),
        }
    }
    vec![
        ("cycle", "E5301", |plan, draw| {
            let at = consumer(plan, draw);
            let to = plan["tasks"][at]["id"].clone();
            depend(&mut plan["tasks"][at - 1], to);
        }),
        ("missing dependency", "E5302", |plan, draw| {
            let at = consumer(plan, draw);
            depend(&mut plan["tasks"][at], json!("nobody"));
        }),
        ("duplicate dependency", "E5310", |plan, draw| {
            let at = consumer(plan, draw);
            let from = plan["tasks"][at - 1]["id"].clone();
            depend(&mut plan["tasks"][at], from.clone());
            depend(&mut plan["tasks"][at], from);
        }),
        ("duplicate id", "E5303", |plan, draw| {
            let at = consumer(plan, draw);
            let copy = plan["tasks"][at].clone();
            plan["tasks"].as_array_mut().unwrap().push(copy);
        }),
        ("invented tool", "E5605", |plan, draw| {
            let at = draw.below(plan["tasks"].as_array().unwrap().len());
            plan["tasks"][at]["tool"] = json!(format!("invented_{}", draw.below(99)));
        }),
        ("wrong type at depth", "E5602", |plan, draw| {
            let at = consumer(plan, draw);
            let (consumer, producer, path) = *draw.pick(&MISFITS);
            let from = plan["tasks"][at - 1]["id"].as_str().unwrap().to_owned();
            plan["tasks"][at - 1]["tool"] = json!(producer);
            plan["tasks"][at]["tool"] = json!(consumer);
            plan["tasks"][at]["inputs"]["value"] = json!(format!("$[{from}].output{path}"));
        }),
        ("missing required input", "E5405", |plan, draw| {
            let at = draw.below(plan["tasks"].as_array().unwrap().len());
            plan["tasks"][at]["inputs"].as_object_mut().unwrap().remove("value");
        }),
        ("reference to a missing task", "E5302", |plan, draw| {
            let at = consumer(plan, draw);
            plan["tasks"][at]["inputs"]["value"] = json!("$[nobody].output.value");
        }),
        ("reference to a missing output path", "E5602", |plan, draw| {
            let at = consumer(plan, draw);
            let from = plan["tasks"][at - 1]["id"].as_str().unwrap().to_owned();
            plan["tasks"][at]["inputs"]["value"] = json!(format!("$[{from}].output.valeu"));
        }),
        ("reference that closes a cycle", "E5301", |plan, draw| {
            let at = consumer(plan, draw);
            let to = plan["tasks"][at]["id"].as_str().unwrap().to_owned();
            plan["tasks"][at - 1]["inputs"]["value"] = json!(format!("$[{to}].output.value"));
        }),
        ("self-dependency", "E5301", |plan, draw| {
            let at = draw.below(plan["tasks"].as_array().unwrap().len());
            let own = plan["tasks"][at]["id"].clone();
            depend(&mut plan["tasks"][at], own);
        }),
        ("no task at all", "E5102", |plan, _| plan["tasks"] = json!([])),
        ("forbidden tool", "E5606", |plan, draw| {
            let at = draw.below(plan["tasks"].as_array().unwrap().len());
            let tool = plan["tasks"][at]["tool"].clone();
            plan["constraints"] = json!({"forbidden_tools": [tool]});
        }),
        ("budget under the expected use", "E5121", |plan, draw| {
            let producers = plan["tasks"].as_array().unwrap().len() / 2;
            plan["constraints"] = json!({"token_budget": 1 + draw.below(producers * 20 - 1)});
        }),
        ("missing secret", "E5402", |plan, draw| {
            let at = consumer(plan, draw) - 1;
            plan["tasks"][at]["inputs"]["value"] = json!(format!("secret://key-{}", draw.below(9)));
        }),
        ("invalid constraint", "E5604", |plan, draw| {
            let wrong = [
                json!({"max_parallelism": 0}),
                json!({"token_budget": -5}),
                json!({"cost_limit_usd": 0}),
                json!({"deadline_seconds": -1}),
                json!({"max_parallelism": "many"}),
                json!({"cost_limit_usd": -0.5}),
            ];
            plan["constraints"] = draw.pick(&wrong).clone();
        }),
        ("unreachable deadline", "E5730", |plan, draw| {
            // Every pair takes at least 2 s, one after the other.
            plan["constraints"] = json!({"deadline_seconds": 0.1 + draw.below(18) as f64 / 10.0});
        }),
        ("unavailable capability", "E5902", |plan, draw| {
            let at = draw.below(plan["tasks"].as_array().unwrap().len());
            plan["tasks"][at]["needs"] = json!([format!("lang:invented-{}", draw.below(9))]);
        }),
        ("bad condition", "E5310", |plan, draw| {
            let at = consumer(plan, draw);
            let from = plan["tasks"][at - 1]["id"].clone();
            let wrong = [
                "outputs.value >",
                "output.value > 1",
                "outputs.nothing == 1",
                "outputs.nothing.deeper == 1",
                "1 + 1",
            ];
            let condition = *draw.pick(&wrong);
            depend(&mut plan["tasks"][at], json!({"task": from, "condition": condition}));
        }),
        ("oversize", "E5102", |plan, draw| {
            let tasks: Vec<Value> = (0..201 + draw.below(50))
                .map(|i| json!({"id": format!("t{i}"), "tool": "text", "inputs": {"value": i}}))
                .collect();
            plan["tasks"] = json!(tasks);
        }),
    ]
}

fn codes(answer: &Value) -> Vec<&str> {
    let errors = answer["errors"].as_array().unwrap_or_else(|| panic!("no verdict: {answer}"));
    errors.iter().map(|error| error["code"].as_str().unwrap()).collect()
}

#[test]
fn every_fault_is_found_and_none_invented() {
    let sandbox = Sandbox::new();
    sandbox.write("tools.json", &catalogue().to_string());
    let mut draw = Draw(20_261_124);
    let (mut lines, mut expected) = (Vec::new(), Vec::new());
    for (class, code, mutate) in classes() {
        for _ in 0..PLANS_PER_CLASS {
            let plan = valid_plan(&mut draw);
            lines.push(json!({"id": expected.len(), "plan": plan}).to_string());
            expected.push((class, ""));
            let mut mutated = plan;
            mutate(&mut mutated, &mut draw);
            lines.push(json!({"id": expected.len(), "plan": mutated}).to_string());
            expected.push((class, code));
        }
    }
    let answers = sandbox.batch(&["validate", "--catalog", "tools.json"], &lines.join("\n"));
    assert_eq!(answers.len(), expected.len());
    let mut table: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    let (mut references, mut undecided, mut wrong) = (0, 0, Vec::new());
    for ((answer, (class, code)), line) in answers.iter().zip(&expected).zip(&lines) {
        let row = table.entry(class).or_default();
        let warnings = answer["warnings"].as_array().unwrap();
        undecided += warnings
            .iter()
            .filter(|w| w["message"].as_str().unwrap().contains("shows only when it runs"))
            .count();
        references += line.matches("[take_").count() + line.matches("$[give_").count();
        if code.is_empty() {
            let findings = codes(answer).len() + warnings.len();
            row[3] += usize::from(findings > 0);
            if findings > 0 && wrong.len() < 5 {
                wrong.push(format!("{class}: {answer} on {line}"));
            }
        } else {
            row[0] += 1;
            let found = codes(answer);
            row[1] += usize::from(found.contains(code));
            row[2] += usize::from(found == [*code]);
            if !found.contains(code) && wrong.len() < 5 {
                wrong.push(format!("{class}: {answer} on {line}"));
            }
        }
    }
    println!("| class | tried | found | alone | false |\n|---|---|---|---|---|");
    for (class, [tried, found, alone, invented]) in &table {
        println!("| {class} | {tried} | {found} | {alone} | {invented} |");
    }
    let share = 100.0 * f64::from(undecided as u32) / f64::from(references as u32);
    println!("{undecided} of {references} references undecided ({share:.2} %)");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(table.values().all(|[tried, found, _, invented]| tried == found && *invented == 0));
    assert!(share <= 5.0, "{share}");
}
