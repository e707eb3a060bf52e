//! Every model adapter against servers that replay documented bytes and fail in every way there is.
//!
//! The bytes are those of the protocols' own documents (`wire/`, and the platform's specification for
//! L04); nothing is made from the adapters' types. Anthropic's protocol is in neither: its bytes are
//! written here after the provider's published types.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use l05_connect::model::{
    ANSWER_BYTES_MAX, AnthropicGateway, ApiKey, L04Gateway, ModelEndpoint, OllamaGateway,
    OpenAiGateway,
};
use l05_engine::port::{
    FinishReason, ModelAnswer, ModelError, ModelFailure, ModelGateway, ModelRequest, ModelRole,
    ModelTurn,
};
use serde_json::{Value, json};

use crate::{data, json};

/// How a server answers.
#[derive(Clone)]
pub(crate) enum Reply {
    /// A status line with headers, and a body.
    Whole(&'static str, &'static str, Vec<u8>),
    /// Less of the body than its length says, then nothing.
    Half(Vec<u8>),
    /// This again and again, for ever.
    Endless(&'static [u8]),
    /// So many bytes of this.
    Long(&'static [u8], usize),
    /// Nothing at all.
    Silence,
}

pub(crate) const JSON: &str = "content-type: application/json\r\n";

pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Reply {
    Reply::Whole("200 OK", JSON, body.into())
}

/// A server on loopback that keeps the requests it saw: path, headers, body.
pub(crate) struct Server {
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<(String, String, Value)>>>,
}

impl Server {
    pub(crate) fn start(replies: Vec<Reply>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let kept = seen.clone();
        std::thread::spawn(move || {
            let mut replies = replies.into_iter().peekable();
            for stream in listener.incoming().flatten() {
                let reply = replies.next().expect("a reply for each request");
                // The last one answers whatever comes.
                let again = replies.peek().is_none().then(|| reply.clone());
                replies =
                    again.into_iter().chain(replies).collect::<Vec<_>>().into_iter().peekable();
                let kept = kept.clone();
                std::thread::spawn(move || serve(stream, &reply, &kept));
            }
        });
        Server { address, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<(String, String, Value)> {
        self.seen.lock().expect("no panic").clone()
    }
}

/// One request a connection, so that replies are in order.
fn serve(
    mut stream: TcpStream,
    reply: &Reply,
    seen: &Mutex<Vec<(String, String, Value)>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut first, mut headers, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        headers.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    seen.lock().ok()?.push((path, headers, body));
    match reply {
        Reply::Whole(status, headers, body) => {
            write!(
                stream,
                "HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            )
            .ok()?;
            stream.write_all(body).ok()
        }
        Reply::Half(body) => {
            write!(stream, "HTTP/1.1 200 OK\r\n{JSON}content-length: {}\r\n\r\n", body.len())
                .ok()?;
            stream.write_all(&body[..body.len() / 2]).ok()
        }
        Reply::Endless(part) => {
            write!(stream, "HTTP/1.1 200 OK\r\n{JSON}\r\n").ok()?;
            loop {
                stream.write_all(part).ok()?;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Reply::Long(part, bytes) => {
            write!(stream, "HTTP/1.1 200 OK\r\n{JSON}\r\n").ok()?;
            let block = part.repeat(65_536 / part.len());
            for _ in 0..bytes / block.len() {
                stream.write_all(&block).ok()?;
            }
            Some(())
        }
        Reply::Silence => {
            std::thread::sleep(Duration::from_secs(30));
            Some(())
        }
    }
}

/// An adapter, and the bytes that its protocol's documents give for a success.
pub(crate) struct Adapter {
    pub(crate) name: &'static str,
    pub(crate) make: fn(&str) -> Arc<dyn ModelGateway>,
    pub(crate) success: Vec<u8>,
    /// What that success says.
    text: String,
    tokens: (u64, u64),
    path: &'static str,
}

fn endpoint(url: &str) -> ModelEndpoint {
    ModelEndpoint::new(url, false).expect("a loopback address")
}

fn key() -> ApiKey {
    ApiKey::new("sk-canary")
}

/// The code blocks of a Markdown section.
fn code_blocks(file: &str, heading: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(data(file)).expect(file);
    let section = text.split(&format!("{heading}\n")).nth(1).unwrap_or_else(|| panic!("{heading}"));
    let level = heading.chars().take_while(|c| *c == '#').count();
    let end = format!("\n{} ", "#".repeat(level));
    let section = section.split(&end).next().unwrap_or_default();
    let fence = format!("```{language}\n");
    section
        .split(&fence)
        .skip(1)
        .filter_map(|b| b.split("\n```").next())
        .map(str::to_owned)
        .collect()
}

fn openai_example(title: &str) -> Value {
    let slice = json("wire/openai_chat_completions.slice.json");
    let examples = &slice["paths"]["/chat/completions"]["post"]["x-oaiMeta"]["examples"];
    let example = examples.as_array().expect("examples").iter().find(|e| e["title"] == title);
    let text = example.expect(title)["response"].as_str().expect("a response");
    serde_json::from_str(text).expect(title)
}

/// What L04 answers by its specification: every field that is named there, with a value of its kind.
fn l04_example() -> Value {
    let spec = std::fs::read_to_string(data("../spec/07-adjacent-layers.md")).expect("the spec");
    let shape = spec.split("-> 200 `{").nth(1).and_then(|s| s.split("}`").next()).expect("a shape");
    let value_of = |name: &str| match name {
        name if name.ends_with("_tokens") || name.ends_with("_ms") => json!(7),
        "cached" => json!(false),
        name => json!(format!("the {name}")),
    };
    let (outer, inner) = shape.split_once("token_usage: {").expect("token_usage");
    let (inner, rest) = inner.split_once('}').expect("its end");
    let fields = |text: &str| -> serde_json::Map<String, Value> {
        let names =
            text.split(',').map(str::trim).filter(|name| !name.is_empty() && !name.ends_with('?'));
        names.map(|name| (name.to_owned(), value_of(name))).collect()
    };
    let mut answer = fields(outer);
    answer.extend(fields(rest));
    answer.insert("token_usage".to_owned(), Value::Object(fields(inner)));
    Value::Object(answer)
}

pub(crate) fn adapters() -> Vec<Adapter> {
    let ollama =
        code_blocks("wire/ollama_api.md", "#### Chat request (Structured outputs)", "json");
    let openai = openai_example("Default");
    let l04 = l04_example();
    let anthropic = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_sequence": null,
        "stop_reason": "tool_use", "usage": {"input_tokens": 5, "output_tokens": 6},
        "content": [{"type": "text", "text": "Here it is."}, {"type": "tool_use", "id": "t", "name": "plan", "input": {"tasks": []}}],
    });
    vec![
        Adapter {
            name: "ollama",
            make: |url| Arc::new(OllamaGateway::new(endpoint(url), "llama3.1")),
            success: ollama.last().expect("a response").clone().into_bytes(),
            text: "{\"age\": 22, \"available\": false}".to_owned(),
            tokens: (34, 12),
            path: "/api/chat",
        },
        Adapter {
            name: "openai",
            make: |url| {
                Arc::new(OpenAiGateway::new(endpoint(url).bearer(&key()).expect("a key"), "gpt"))
            },
            text: "Hello! How can I assist you today?".to_owned(),
            success: openai.to_string().into_bytes(),
            tokens: (19, 10),
            path: "/chat/completions",
        },
        Adapter {
            name: "l04",
            make: |url| Arc::new(L04Gateway::new(endpoint(url), "")),
            success: l04.to_string().into_bytes(),
            text: "the content".to_owned(),
            tokens: (7, 7),
            path: "/api/inference",
        },
        Adapter {
            name: "anthropic",
            make: |url| {
                Arc::new(
                    AnthropicGateway::new(endpoint(url), Some(&key()), "claude").expect("a key"),
                )
            },
            success: anthropic.to_string().into_bytes(),
            text: "{\"tasks\":[]}".to_owned(),
            tokens: (5, 6),
            path: "/v1/messages",
        },
    ]
}

fn request(within: Duration) -> ModelRequest {
    ModelRequest {
        model: None,
        system: "You plan.".to_owned(),
        turns: vec![
            ModelTurn { role: ModelRole::User, text: "A goal".to_owned() },
            ModelTurn { role: ModelRole::Assistant, text: "A plan".to_owned() },
            ModelTurn { role: ModelRole::User, text: "Mend it".to_owned() },
        ],
        schema: Some((
            "plan",
            json!({"type": "object", "properties": {"tasks": {"type": "array"}}}),
        )),
        temperature: 0.0,
        tokens_max: 100,
        within,
        agent_did: "local".to_owned(),
        idempotency_key: None,
    }
}

pub(crate) fn infer(
    gateway: &dyn ModelGateway,
    within: Duration,
) -> Result<ModelAnswer, ModelError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(gateway.infer(request(within)))
}

#[test]
fn documented_successes_are_read_and_requests_fit_the_schemas() {
    let slice = json("wire/openai_chat_completions.slice.json");
    let yaml = std::fs::read_to_string(data("wire/ollama_openapi.yaml")).expect("the file");
    let ollama: Value = serde_saphyr::from_str(&yaml).expect("YAML");
    let schema = |document: &Value, name: &str| {
        let root = json!({"$ref": format!("#/components/schemas/{name}"), "components": document["components"]});
        jsonschema::validator_for(&root).expect("a schema")
    };
    let openai = schema(&slice, "CreateChatCompletionRequest");
    let ollama = schema(&ollama, "ChatRequest");
    for adapter in adapters() {
        let server = Server::start(vec![ok(adapter.success.clone())]);
        let gateway = (adapter.make)(&server.url());
        let answer = infer(&*gateway, Duration::from_secs(10));
        let answer = answer.unwrap_or_else(|e| panic!("{}: {e}", adapter.name));
        assert_eq!(answer.text, adapter.text, "{}", adapter.name);
        let (input, output) = adapter.tokens;
        assert_eq!(
            (answer.input_tokens, answer.output_tokens),
            (Some(input), Some(output)),
            "{}",
            adapter.name
        );
        assert_eq!(answer.finish, FinishReason::Stop);
        let (path, headers, body) = server.seen().remove(0);
        assert_eq!(path, adapter.path);
        match adapter.name {
            "openai" => {
                let problems: Vec<String> =
                    openai.iter_errors(&body).map(|e| e.to_string()).collect();
                assert!(problems.is_empty(), "{problems:?}\n{body}");
                assert!(headers.contains("Bearer sk-canary"));
            }
            "ollama" => {
                let problems: Vec<String> =
                    ollama.iter_errors(&body).map(|e| e.to_string()).collect();
                assert!(problems.is_empty(), "{problems:?}\n{body}");
                assert_eq!(body["messages"].as_array().map(Vec::len), Some(4));
            }
            "l04" => {
                assert_eq!(body["capabilities"], json!(["tool_use"]));
                assert!(body["system_prompt"].as_str().expect("text").contains("\"tasks\""));
            }
            _ => {
                assert_eq!(body["tool_choice"], json!({"type": "tool", "name": "plan"}));
                assert!(headers.contains("x-api-key: sk-canary"));
            }
        }
        println!("| {} | success | read, request fits |", adapter.name);
    }
}

#[test]
fn every_failure_is_told_as_what_it_is() {
    let error = |code: &str| {
        format!("{{\"error\": {{\"message\": \"no\", \"code\": \"{code}\"}}}}").into_bytes()
    };
    for adapter in adapters() {
        let limited = ModelFailure::RateLimited;
        let text =
            Reply::Whole("200 OK", "content-type: text/html\r\n", b"<html>hi</html>".to_vec());
        let cases: Vec<(&str, Reply, ModelFailure, &str)> = vec![
            (
                "429",
                Reply::Whole(
                    "429 Too Many Requests",
                    "content-type: application/json\r\nretry-after: 7\r\n",
                    error("rate"),
                ),
                limited,
                "7 s",
            ),
            (
                "500",
                Reply::Whole("500 Internal Server Error", JSON, error("boom")),
                ModelFailure::Unavailable,
                "boom no",
            ),
            (
                "503",
                Reply::Whole(
                    "503 Service Unavailable",
                    JSON,
                    b"{\"detail\": {\"error_code\": \"E4101\", \"message\": \"busy\"}}".to_vec(),
                ),
                ModelFailure::Unavailable,
                "E4101 busy",
            ),
            (
                "404",
                Reply::Whole("404 Not Found", JSON, b"{\"error\": \"model not found\"}".to_vec()),
                ModelFailure::Rejected,
                "model not found",
            ),
            (
                "redirect",
                Reply::Whole("302 Found", "location: http://127.0.0.1:1/\r\n", Vec::new()),
                ModelFailure::Rejected,
                "302",
            ),
            ("half", Reply::Half(adapter.success.clone()), ModelFailure::Malformed, "breaks off"),
            ("html", text, ModelFailure::Malformed, "text/html"),
            ("empty", ok(Vec::new()), ModelFailure::Malformed, "empty"),
            ("null", ok(b"null".to_vec()), ModelFailure::Malformed, ""),
            ("garbage", ok(b"{]".to_vec()), ModelFailure::Malformed, ""),
            ("100 MB", Reply::Long(b" ", 100 << 20), ModelFailure::Malformed, "16 MiB"),
            ("100 MB of lines", Reply::Long(b"\n", 100 << 20), ModelFailure::Malformed, "16 MiB"),
            ("endless", Reply::Endless(b" "), ModelFailure::Timeout, "within"),
            ("slow", Reply::Silence, ModelFailure::Timeout, "within"),
        ];
        for (name, reply, expected, word) in cases {
            let server = Server::start(vec![reply]);
            let gateway = (adapter.make)(&server.url());
            let within = match expected {
                ModelFailure::Timeout => Duration::from_millis(700),
                _ => Duration::from_secs(20),
            };
            let begin = Instant::now();
            let failed = infer(&*gateway, within).expect_err(name);
            assert_eq!(failed.kind, expected, "{} {name}: {failed}", adapter.name);
            assert!(failed.message.contains(word), "{} {name}: {failed}", adapter.name);
            assert!(failed.message.contains(&server.address), "{} {name}: {failed}", adapter.name);
            assert!(!failed.message.contains("canary"), "{failed}");
            assert!(begin.elapsed() < Duration::from_secs(15), "{} {name}", adapter.name);
        }
        // Nobody there; and somebody who speaks no TLS.
        let refused = infer(&*(adapter.make)("http://127.0.0.1:9"), Duration::from_secs(5));
        let refused = refused.expect_err("refused");
        assert_eq!(refused.kind, ModelFailure::Unreachable);
        assert!(refused.message.contains("refused"), "{refused}");
        let server = Server::start(vec![ok("{}")]);
        let tls =
            infer(&*(adapter.make)(&format!("https://{}", server.address)), Duration::from_secs(5));
        assert_eq!(tls.expect_err("no TLS").kind, ModelFailure::Unreachable);
        println!("| {} | 16 failures | told as what they are |", adapter.name);
    }
    assert_eq!(ANSWER_BYTES_MAX, 16 << 20);
}

#[test]
fn cut_answers_and_refusals_are_no_answers() {
    let [ollama, openai, l04, anthropic] = <[Adapter; 4]>::try_from(adapters()).ok().expect("four");
    let edited = |adapter: &Adapter, edit: &dyn Fn(&mut Value)| {
        let mut body: Value = serde_json::from_slice(&adapter.success).expect("JSON");
        edit(&mut body);
        let server = Server::start(vec![ok(body.to_string())]);
        infer(&*(adapter.make)(&server.url()), Duration::from_secs(10))
    };
    for answer in [
        edited(&ollama, &|b| b["done_reason"] = json!("length")),
        edited(&openai, &|b| b["choices"][0]["finish_reason"] = json!("length")),
        edited(&l04, &|b| b["finish_reason"] = json!("length")),
        edited(&anthropic, &|b| b["stop_reason"] = json!("max_tokens")),
    ] {
        assert_eq!(answer.expect("an answer").finish, FinishReason::Length);
    }
    for answer in [
        edited(&openai, &|b| b["choices"][0]["message"]["refusal"] = json!("I will not.")),
        edited(&openai, &|b| b["choices"][0]["finish_reason"] = json!("content_filter")),
        edited(&anthropic, &|b| b["stop_reason"] = json!("refusal")),
    ] {
        assert_eq!(answer.expect_err("a refusal").kind, ModelFailure::Refused);
    }
    for answer in [
        edited(&openai, &|b| b["choices"] = json!([])),
        edited(&openai, &|b| b["choices"][0]["message"]["content"] = Value::Null),
        edited(&anthropic, &|b| b["content"] = json!([])),
        edited(&ollama, &|b| b["done"] = json!(false)),
    ] {
        assert_eq!(answer.expect_err("nothing").kind, ModelFailure::Malformed);
    }
}

/// Ollama's streams, line by line, as its documents show them.
#[test]
fn streams_are_read_as_they_come_and_their_errors_found() {
    let lines = |heading: &str, file: &str| {
        let text = std::fs::read_to_string(data(file)).expect(file);
        let block =
            text.split(heading).nth(1).expect(heading).split("```json\n").nth(1).expect("a block");
        block
            .split("\n```")
            .next()
            .expect("its end")
            .replace("\"response\":", "\"message\":{\"role\":\"assistant\"},\"response\":")
    };
    let make = |body: String| {
        let reply =
            Reply::Whole("200 OK", "content-type: application/x-ndjson\r\n", body.into_bytes());
        let server = Server::start(vec![reply]);
        infer(&OllamaGateway::new(endpoint(&server.url()), "m"), Duration::from_secs(10))
    };
    // The document's stream is of `/api/generate`: the same lines, with the text elsewhere.
    let stream = lines("default", "wire/streaming.mdx");
    let as_chat: String = stream
        .lines()
        .map(|line| {
            let mut part: Value = serde_json::from_str(line).expect("a line");
            part["message"] = json!({"role": "assistant", "content": part["response"]});
            format!("{part}\n")
        })
        .collect();
    assert_eq!(make(as_chat).expect("an answer").text, "That's a fantastic question!");
    let broken = lines("while streaming", "wire/errors.mdx");
    let failed = make(broken).expect_err("an error in the stream");
    assert_eq!(failed.kind, ModelFailure::Unavailable);
    assert!(failed.message.contains("an error was encountered"), "{failed}");
    // The first part and the end, each over many lines.
    let blocks = code_blocks("wire/ollama_api.md", "#### Chat request (Streaming)", "json");
    let answer = make(blocks.join("\n")).expect("an answer");
    assert_eq!((answer.text.as_str(), answer.output_tokens), ("The", Some(282)));
}

/// A server that does not know `response_format` is asked in the next best way, and from then on at
/// once in that.
#[test]
fn a_server_is_asked_as_it_allows() {
    let [_, openai, ..] = <[Adapter; 4]>::try_from(adapters()).ok().expect("four");
    let no = |what: &str| {
        let body = format!(
            "{{\"error\": {{\"message\": \"'{what}' is not supported\", \"type\": \"invalid_request_error\"}}}}"
        );
        Reply::Whole("400 Bad Request", JSON, body.into_bytes())
    };
    let server = Server::start(vec![
        no("response_format.json_schema"),
        no("response_format"),
        no("max_tokens; use max_completion_tokens"),
        ok(openai.success.clone()),
    ]);
    let gateway = (openai.make)(&server.url());
    infer(&*gateway, Duration::from_secs(10)).expect("an answer");
    infer(&*gateway, Duration::from_secs(10)).expect("an answer");
    let kinds: Vec<Value> =
        server.seen().iter().map(|(.., body)| body["response_format"]["type"].clone()).collect();
    assert_eq!(
        kinds,
        [json!("json_schema"), json!("json_object"), Value::Null, Value::Null, Value::Null]
    );
    let last = server.seen().pop().expect("a request").2;
    assert_eq!(last["max_completion_tokens"], 100);
    assert!(last["messages"][0]["content"].as_str().expect("text").contains("JSON Schema"));
}
