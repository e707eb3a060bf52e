//! Every adapter against more than forty odd answers and refusals: each ends with the answer, with its
//! being cut, or with a failure of the right kind in the provider's words.

use std::time::Duration;

use l05_engine::port::{FinishReason, ModelFailure};
use serde_json::{Value, json};

use crate::cases;
use crate::gateways::{Adapter, JSON, Reply, Server, adapters, infer, ok};

/// The end that an odd answer has to come to.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// This text, whole.
    Text(&'static str),
    /// An answer that counts as cut off.
    Cut,
    /// This failure, in words that hold these.
    Failure(ModelFailure, &'static str),
}

use ModelFailure::{Malformed, OutOfQuota, RateLimited, Refused, Rejected, Timeout, Unavailable};
use Outcome::{Cut, Failure, Text};

const PLAN: &str = "{\"tasks\":[]}";

/// Answers of status 200, made from the documented one by its adapter's edit.
type Edit = fn(&mut Value);

/// Status lines with bodies, which all adapters treat alike.
fn statuses() -> Vec<(&'static str, Reply, Outcome)> {
    let error = |status, body: Value| Reply::Whole(status, JSON, body.to_string().into_bytes());
    let plain = |status, body: &str| {
        Reply::Whole(status, "content-type: text/plain\r\n", body.as_bytes().to_vec())
    };
    vec![
        (
            "quota",
            error("429 Too Many Requests", json!({"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}})),
            Failure(OutOfQuota, "exceeded your current quota"),
        ),
        (
            "billing",
            error("402 Payment Required", json!({"error": {"message": "Insufficient Balance"}})),
            Failure(OutOfQuota, "Insufficient Balance"),
        ),
        (
            "rate by type",
            error("429 Too Many Requests", json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}})),
            Failure(RateLimited, "slow down"),
        ),
        (
            "rate after a fraction",
            Reply::Whole("429 Too Many Requests", "content-type: application/json\r\nretry-after: 1.5\r\n", b"{\"error\": \"later\"}".to_vec()),
            Failure(RateLimited, "come again in 2 s: later"),
        ),
        (
            "rate until a date",
            Reply::Whole("429 Too Many Requests", "content-type: application/json\r\nretry-after: Tue, 14 Nov 2023 22:13:22 GMT\r\n", b"{\"error\": \"later\"}".to_vec()),
            Failure(RateLimited, "come again in 0 s: later"),
        ),
        ("overloaded", error("529 Overloaded", json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})), Failure(Unavailable, "Overloaded")),
        ("gateway timeout", plain("504 Gateway Timeout", "upstream request timeout"), Failure(Timeout, "upstream request timeout")),
        ("cloud timeout", plain("524 Unknown", "a timeout occurred"), Failure(Timeout, "a timeout occurred")),
        ("plain 500", plain("500 Internal Server Error", "Internal Server Error"), Failure(Unavailable, "Internal Server Error")),
        ("html 502", Reply::Whole("502 Bad Gateway", "content-type: text/html\r\n", b"<html><h1>Bad Gateway</h1></html>".to_vec()), Failure(Unavailable, "Bad Gateway")),
        ("no key", error("401 Unauthorized", json!({"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}})), Failure(Rejected, "Incorrect API key")),
        ("not allowed", error("403 Forbidden", json!({"error": {"type": "permission_error", "message": "not for you"}})), Failure(Rejected, "not for you")),
        ("no model", error("404 Not Found", json!({"error": {"message": "The model `x` does not exist", "code": "model_not_found"}})), Failure(Rejected, "does not exist")),
        ("a list of problems", error("422 Unprocessable Entity", json!({"detail": [{"type": "missing", "loc": ["body", "agent_did"], "msg": "Field required"}]})), Failure(Rejected, "body.agent_did: Field required")),
        ("detail as text", error("400 Bad Request", json!({"detail": "no such thing"})), Failure(Rejected, "no such thing")),
        ("message at the top", error("400 Bad Request", json!({"message": "bad request here"})), Failure(Rejected, "bad request here")),
        ("too long a prompt", error("400 Bad Request", json!({"error": {"message": "This model's maximum context length is 8192 tokens", "code": "context_length_exceeded"}})), Failure(Rejected, "maximum context length")),
        ("empty 500", Reply::Whole("500 Internal Server Error", "", Vec::new()), Failure(Unavailable, "500")),
        ("moved", Reply::Whole("308 Permanent Redirect", "location: http://127.0.0.1:1/\r\n", Vec::new()), Failure(Rejected, "308")),
        ("error in a success", ok(json!({"error": {"message": "Provider returned error: upstream rate-limited", "code": 429}}).to_string()), Failure(RateLimited, "Provider returned error: upstream rate-limited")),
        ("error as a text in a success", ok(json!({"error": "model is loading"}).to_string()), Failure(Unavailable, "model is loading")),
        ("error by type in a success", ok(json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy now"}}).to_string()), Failure(Unavailable, "busy now")),
        ("denied in a success", ok(json!({"error": {"message": "bad key", "code": "401"}}).to_string()), Failure(Rejected, "bad key")),
        ("an empty object", ok("{}"), Failure(Malformed, "")),
        ("a list", ok("[]"), Failure(Malformed, "")),
        ("a number", ok("42"), Failure(Malformed, "")),
        ("two values", ok("{} {}"), Failure(Malformed, "")),
        ("a page", Reply::Whole("200 OK", "content-type: text/html\r\n", b"<html>login</html>".to_vec()), Failure(Malformed, "text/html")),
        ("an event stream", Reply::Whole("200 OK", "content-type: text/event-stream\r\n", b"data: {}\n\n".to_vec()), Failure(Malformed, "text/event-stream")),
    ]
}

/// Ends of answers under all the names that providers have for them.
fn ends() -> Vec<(&'static str, Outcome)> {
    let declined = || Failure(Refused, "declines");
    vec![
        ("length", Cut),
        ("max_tokens", Cut),
        ("MAX_TOKENS", Cut),
        ("model_length", Cut),
        ("max_output_tokens", Cut),
        ("context_length_exceeded", Cut),
        ("model_context_window_exceeded", Cut),
        ("incomplete", Cut),
        ("content_filter", declined()),
        ("refusal", declined()),
        ("SAFETY", declined()),
        ("error", Failure(Unavailable, "failed")),
        ("cancelled", Failure(Unavailable, "failed")),
    ]
}

/// Where an adapter's answers have their parts.
struct Places {
    end: fn(&mut Value, Value),
    edits: Vec<(&'static str, Edit, Outcome)>,
}

fn openai() -> Places {
    fn message(body: &mut Value) -> &mut Value {
        &mut body["choices"][0]["message"]
    }
    let edits: Vec<(&'static str, Edit, Outcome)> = vec![
        (
            "parts",
            |b| message(b)["content"] = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "{\"tasks\":"}, {"type": "text", "text": "[]}"}]),
            Text(PLAN),
        ),
        (
            "a tool call",
            |b| *message(b) = json!({"content": null, "tool_calls": [{"function": {"name": "plan", "arguments": "{\"tasks\":[]}"}}]}),
            Text(PLAN),
        ),
        (
            "a tool call's object",
            |b| *message(b) = json!({"content": "", "tool_calls": [{"function": {"name": "plan", "arguments": {"tasks": []}}}]}),
            Text(PLAN),
        ),
        (
            "an old function call",
            |b| *message(b) = json!({"content": null, "function_call": {"name": "plan", "arguments": "{\"tasks\":[]}"}}),
            Text(PLAN),
        ),
        (
            "an old text",
            |b| b["choices"][0] = json!({"text": "{\"tasks\":[]}", "finish_reason": "stop"}),
            Text(PLAN),
        ),
        (
            "only reasoning",
            |b| *message(b) = json!({"content": "", "reasoning_content": "hm, let me see"}),
            Failure(Malformed, "nothing but reasoning"),
        ),
        (
            "only reasoning, cut",
            |b| {
                *message(b) = json!({"content": null, "reasoning": "hm"});
                b["choices"][0]["finish_reason"] = json!("length");
            },
            Cut,
        ),
        (
            "a refusal",
            |b| message(b)["refusal"] = json!("I will not."),
            Failure(Refused, "I will not."),
        ),
        (
            "a refusal in a part",
            |b| message(b)["content"] = json!([{"type": "refusal", "refusal": "Not this."}]),
            Failure(Refused, "Not this."),
        ),
        (
            "an error in the choice",
            |b| b["choices"] = json!([{"error": {"code": 502, "message": "upstream died"}, "finish_reason": "error", "message": {"role": "assistant", "content": ""}}]),
            Failure(Unavailable, "upstream died"),
        ),
        ("no choices", |b| b["choices"] = json!([]), Failure(Malformed, "no choice")),
        ("nothing", |b| message(b)["content"] = Value::Null, Failure(Malformed, "empty")),
        (
            "no end",
            |b| b["choices"][0]["finish_reason"] = Value::Null,
            Text("Hello! How can I assist you today?"),
        ),
        (
            "usage as texts",
            |b| b["usage"] = json!({"prompt_tokens": "10", "completion_tokens": -5}),
            Text("Hello! How can I assist you today?"),
        ),
        ("no usage", |b| b["usage"] = Value::Null, Text("Hello! How can I assist you today?")),
    ];
    Places { end: |body, end| body["choices"][0]["finish_reason"] = end, edits }
}

fn anthropic() -> Places {
    let edits: Vec<(&'static str, Edit, Outcome)> = vec![
        (
            "a tool's input as text",
            |b| b["content"] = json!([{"type": "tool_use", "input": "{\"tasks\":[]}"}]),
            Text(PLAN),
        ),
        (
            "text",
            |b| {
                b["content"] = json!([{"type": "text", "text": "{\"tasks\""}, {"type": "text", "text": ":[]}"}]);
            },
            Text(PLAN),
        ),
        (
            "text with thinking",
            |b| b["content"] = json!([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "{\"tasks\":[]}"}]),
            Text(PLAN),
        ),
        (
            "only thinking",
            |b| b["content"] = json!([{"type": "thinking", "thinking": "hm"}]),
            Failure(Malformed, "nothing but reasoning"),
        ),
        ("nothing", |b| b["content"] = json!([]), Failure(Malformed, "empty")),
        (
            "no content",
            |b| {
                b.as_object_mut().expect("an object").remove("content");
            },
            Failure(Malformed, "not a message"),
        ),
        ("content as text", |b| b["content"] = json!("{\"tasks\":[]}"), Text(PLAN)),
        ("no usage", |b| b["usage"] = Value::Null, Text(PLAN)),
    ];
    Places { end: |body, end| body["stop_reason"] = end, edits }
}

fn ollama() -> Places {
    let edits: Vec<(&'static str, Edit, Outcome)> = vec![
        (
            "a tool call",
            |b| b["message"] = json!({"content": "", "tool_calls": [{"function": {"name": "plan", "arguments": {"tasks": []}}}]}),
            Text(PLAN),
        ),
        (
            "only thinking",
            |b| b["message"] = json!({"content": "", "thinking": "hm"}),
            Failure(Malformed, "nothing but reasoning"),
        ),
        ("nothing", |b| b["message"] = json!({"content": null}), Failure(Malformed, "empty")),
        (
            "no message",
            |b| {
                b.as_object_mut().expect("an object").remove("message");
            },
            Failure(Malformed, "empty"),
        ),
        ("not done", |b| b["done"] = json!(false), Failure(Malformed, "breaks off")),
        (
            "no counts",
            |b| b["eval_count"] = Value::Null,
            Text("{\"age\": 22, \"available\": false}"),
        ),
    ];
    Places { end: |body, end| body["done_reason"] = end, edits }
}

fn l04() -> Places {
    let edits: Vec<(&'static str, Edit, Outcome)> = vec![
        ("nothing", |b| b["content"] = json!(""), Failure(Malformed, "empty")),
        (
            "no content",
            |b| {
                b.as_object_mut().expect("an object").remove("content");
            },
            Failure(Malformed, "no `content`"),
        ),
        ("another model", |b| b["model_id"] = Value::Null, Text("the content")),
        (
            "parts",
            |b| b["content"] = json!([{"type": "text", "text": "{\"tasks\":[]}"}]),
            Text(PLAN),
        ),
        ("no usage", |b| b["token_usage"] = Value::Null, Text("the content")),
    ];
    Places { end: |body, end| body["finish_reason"] = end, edits }
}

fn check(adapter: &Adapter, name: &str, replies: Vec<Reply>, expected: &Outcome) {
    let server = Server::start(replies);
    let answer = infer(&*(adapter.make)(&server.url()), Duration::from_secs(10));
    let label = format!("{} {name}", adapter.name);
    match (expected, answer) {
        (Text(text), Ok(answer)) => {
            assert_eq!(
                (answer.text.as_str(), answer.finish),
                (*text, FinishReason::Stop),
                "{label}"
            );
        }
        (Cut, Ok(answer)) => assert_eq!(answer.finish, FinishReason::Length, "{label}"),
        (Failure(kind, words), Err(failed)) => {
            assert_eq!(failed.kind, *kind, "{label}: {failed}");
            assert!(failed.message.contains(words), "{label}: {failed}");
            assert!(failed.message.contains(&server.address), "{label}: {failed}");
        }
        (_, answer) => panic!("{label}: {answer:?}, not {expected:?}"),
    }
}

#[test]
fn odd_answers_end_right_or_in_the_providers_words() {
    for adapter in adapters() {
        let places = match adapter.name {
            "openai" => openai(),
            "anthropic" => anthropic(),
            "ollama" => ollama(),
            _ => l04(),
        };
        let success = || serde_json::from_slice::<Value>(&adapter.success).expect("JSON");
        let mut tried = 0;
        for (name, reply, expected) in statuses() {
            check(&adapter, name, vec![reply], &expected);
            tried += 1;
        }
        for (word, expected) in ends() {
            let mut body = success();
            (places.end)(&mut body, json!(word));
            check(&adapter, word, vec![ok(body.to_string())], &expected);
            tried += 1;
        }
        for (name, edit, expected) in places.edits {
            let mut body = success();
            edit(&mut body);
            check(&adapter, name, vec![ok(body.to_string())], &expected);
            tried += 1;
        }
        println!("| {} | {tried} odd answers and refusals | as what they are |", adapter.name);
        assert!(tried >= 40, "{}: {tried}", adapter.name);
    }
}

/// The recorded answers of `cases/gateways`.
#[test]
fn recorded_odd_answers_of_chat_completions() {
    let adapters = adapters();
    let openai = adapters.iter().find(|adapter| adapter.name == "openai").expect("one");
    let file = |name: &str| std::fs::read(cases(&format!("gateways/{name}"))).expect(name);
    for (name, expected) in [
        ("16-gateway-odd-answers/choice-error.json", Failure(Unavailable, "upstream died")),
        (
            "16-gateway-odd-answers/error-in-200.json",
            Failure(RateLimited, "Provider returned error: upstream rate-limited"),
        ),
        (
            "16-gateway-odd-answers/parts.json",
            Text("{\"tasks\":[{\"id\":\"a\",\"tool\":\"time.wait\",\"inputs\":{\"seconds\":0}}]}"),
        ),
    ] {
        check(openai, name, vec![ok(file(name))], &expected);
    }
    let refused =
        || Reply::Whole("400 Bad Request", JSON, file("14-openai-temperature/error.json"));
    let expected = Text("Hello! How can I assist you today?");
    check(openai, "temperature", vec![refused(), ok(openai.success.clone())], &expected);
}

/// What a model refuses is left out, one thing at a time, and remembered for that model alone.
#[test]
fn what_a_model_refuses_is_left_out_and_remembered() {
    let no = |message: &str, param: &str| {
        let body =
            json!({"error": {"message": message, "param": param, "type": "invalid_request_error"}});
        Reply::Whole("400 Bad Request", JSON, body.to_string().into_bytes())
    };
    let adapters = adapters();
    let openai = adapters.iter().find(|adapter| adapter.name == "openai").expect("one");
    let server = Server::start(vec![
        no("Unsupported value: 'temperature' does not support 0 with this model.", "temperature"),
        no("Unsupported parameter: use 'max_completion_tokens'", "max_tokens"),
        no("failed to parse grammar: pattern", ""),
        no("'messages[0].role' does not support 'system' with this model.", "messages[0].role"),
        ok(openai.success.clone()),
    ]);
    let gateway = (openai.make)(&server.url());
    infer(&*gateway, Duration::from_secs(10)).expect("an answer");
    infer(&*gateway, Duration::from_secs(10)).expect("an answer");
    let seen = server.seen();
    assert_eq!(seen.len(), 6, "the second time nothing is refused");
    let last = &seen[5].2;
    assert_eq!((&last["temperature"], &last["max_tokens"]), (&Value::Null, &Value::Null));
    assert_eq!(last["max_completion_tokens"], 100);
    assert_eq!(last["messages"][0]["role"], "user");
    assert_eq!(last["response_format"]["type"], "json_schema");

    // Words about a key are none about the request.
    let body = json!({"error": {"message": "Incorrect API key format", "code": "invalid_api_key"}});
    let reply = Reply::Whole("401 Unauthorized", JSON, body.to_string().into_bytes());
    let server = Server::start(vec![reply]);
    infer(&*(openai.make)(&server.url()), Duration::from_secs(10)).expect_err("a wrong key");
    assert_eq!(server.seen().len(), 1);

    let anthropic = adapters.iter().find(|adapter| adapter.name == "anthropic").expect("one");
    let server = Server::start(vec![
        no("`temperature` is deprecated for this model.", ""),
        no("max_tokens: 100 > 64, which is the maximum allowed number of output tokens", ""),
        no("tool_choice forces tool use is not compatible with this model", ""),
        ok(anthropic.success.clone()),
    ]);
    infer(&*(anthropic.make)(&server.url()), Duration::from_secs(10)).expect("an answer");
    let last = server.seen().pop().expect("a request").2;
    assert_eq!((&last["temperature"], &last["max_tokens"]), (&Value::Null, &json!(64)));
    assert_eq!(last["tool_choice"]["type"], "auto");
    assert!(last["system"].as_str().expect("words").contains("JSON Schema"));

    let ollama = adapters.iter().find(|adapter| adapter.name == "ollama").expect("one");
    let server =
        Server::start(vec![no("invalid JSON schema in format", ""), ok(ollama.success.clone())]);
    infer(&*(ollama.make)(&server.url()), Duration::from_secs(10)).expect("an answer");
    assert_eq!(server.seen()[1].2["format"], "json");
}
