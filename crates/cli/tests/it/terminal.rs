//! What others wrote steers no terminal, and a key is in no message.

use serde_json::json;

use crate::sandbox::Sandbox;
use crate::scripted::OpenAiDouble;

/// Text with everything that a terminal would act on, or an eye not see.
const HOSTILE: &str = "n\u{1b}]0;PWNED\u{7}\u{1b}[2J\rX\u{202e}b\u{2066}c\u{9b}31m\u{200b}d\u{7f}";

fn check(what: &str, text: &str) {
    let bad = text.chars().find(|c| {
        (c.is_control() && *c != '\n' && *c != '\t')
            || matches!(*c, '\u{200b}' | '\u{202e}' | '\u{2066}')
    });
    assert!(bad.is_none(), "{what} prints {bad:?}: {}", text.escape_debug());
}

#[test]
fn commands_print_nothing_that_steers() {
    let sandbox = Sandbox::new();
    let plan = json!({"goal": "look", "tasks": [
        {"id": "a", "name": HOSTILE, "tool": "text.render", "inputs": {"template": format!("{{{{ x }}}} {HOSTILE}"), "data": {"x": HOSTILE}, "format": "text"}},
        {"id": "b", "name": HOSTILE, "tool": "fs.read", "depends_on": ["a"], "inputs": {"path": format!("{HOSTILE}x")}, "retry": {"max_retries": 0}}
    ]});
    sandbox.write("plan.json", &plan.to_string());
    sandbox.write(
        "broken.json",
        &json!({"goal": "x", HOSTILE: 1, "tasks": [{"id": "a", "tool": HOSTILE, HOSTILE: 2}]})
            .to_string(),
    );
    let mut commands: Vec<Vec<String>> = Vec::new();
    let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for file in ["plan.json", "broken.json"] {
        commands.extend([
            command(&["validate", file]),
            command(&["execute", file]),
            command(&["cost", file]),
            command(&["graph", file]),
        ]);
    }
    commands.push(command(&["run", HOSTILE]));
    commands.push(command(&["status", HOSTILE]));
    commands.push(command(&["execute", &format!("{HOSTILE}.json")]));
    commands.push(command(&["templates", "show", HOSTILE]));
    for words in &commands {
        for form in ["table", "json", "yaml"] {
            let arguments: Vec<&str> =
                words.iter().map(String::as_str).chain(["--output", form]).collect();
            let ran = sandbox.run(&arguments);
            check(&format!("{words:?} {form}"), &format!("{}{}", ran.stdout, ran.stderr));
        }
    }
    let id = sandbox.newest_plan().unwrap();
    for name in ["status", "show", "events", "explain", "history", "goals"] {
        for form in ["table", "json", "yaml"] {
            let with_id = ["history", "goals"].iter().all(|plain| *plain != name);
            let mut arguments = vec![name];
            arguments.extend(with_id.then_some(id.as_str()));
            arguments.extend(["--output", form]);
            let ran = sandbox.run(&arguments);
            assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
            check(&format!("{arguments:?}"), &format!("{}{}", ran.stdout, ran.stderr));
        }
    }
    let (_, details) = sandbox.json(&["show", &id]);
    assert!(
        details.to_string().contains(&serde_json::to_string(HOSTILE).unwrap()[1..20]),
        "{details}"
    );
}

#[test]
fn a_key_that_a_gateway_echoes_is_masked() {
    const KEY: &str = "sk-proj-4f9a81c2d7e64b0f";
    let sandbox = Sandbox::new();
    sandbox.write(
        "ask.yaml",
        "goal: ask\ntasks:\n  - {id: a, type: LLM_CALL, prompt: hello, retry: {max_retries: 0}}\n",
    );
    let error = json!({"error": {"message": format!("bad header Authorization: Bearer {KEY}"), "type": "invalid_request_error"}});
    let text = json!(format!("{} Bearer {KEY}", "x".repeat(260)));
    let mut masked = 0;
    for (status, body) in [
        ("401 Unauthorized", error.clone()),
        ("400 Bad Request", error.clone()),
        ("500 Internal Server Error", text),
        ("200 OK", error),
    ] {
        let model = OpenAiDouble::replying(&[(status, "", body)]);
        let url = format!("model.url={}", model.url);
        for words in [
            &["execute", "ask.yaml"][..],
            &["doctor"],
            &["run", "Bake a cake", "--strategy", "llm"],
        ] {
            let mut command = sandbox.command(words);
            command
                .args([
                    "--set",
                    "model.gateway=openai",
                    "--set",
                    "model.name=m",
                    "--set",
                    &url,
                    "--set",
                    "observability.log_level=trace",
                ])
                .env_remove("L05_MODEL_GATEWAY")
                .env("L05_MODEL_API_KEY", KEY);
            let output = command.output().unwrap();
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(!said.contains(&KEY[..12]), "{status} {words:?}: {said}");
            masked += usize::from(said.contains("[masked]"));
        }
    }
    assert!(masked >= 4, "{masked} messages show that something was masked");
}
