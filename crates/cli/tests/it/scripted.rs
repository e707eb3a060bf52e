//! Scripted model servers, test doubles: one speaks Ollama's wire and says what it is told to say, one speaks
//! OpenAI's and reports the usage that it is told to report.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// A server that ends with the test.
pub(crate) struct ScriptedModel {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl ScriptedModel {
    /// Answers the n-th chat (from 0) with what `says` gives for it and its request.
    pub(crate) fn start(
        says: impl Fn(usize, &Value) -> String + Send + Sync + 'static,
    ) -> ScriptedModel {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (says, seen) = (Arc::new(says), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (says, seen) = (says.clone(), seen.clone());
                std::thread::spawn(move || {
                    let _ = serve(stream, &*says, &seen);
                });
            }
        });
        ScriptedModel { url, asked }
    }

    /// Answers with these, one after the other, and with the last one from then on.
    pub(crate) fn saying(answers: &[String]) -> ScriptedModel {
        let answers = answers.to_vec();
        ScriptedModel::start(move |n, _| answers[n.min(answers.len() - 1)].clone())
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    /// Options that make the program use it.
    pub(crate) fn options(&self) -> [String; 4] {
        [
            "--set".to_owned(),
            "model.gateway=auto".to_owned(),
            "--set".to_owned(),
            format!("model.url={}", self.url),
        ]
    }
}

/// A server of OpenAI's wire: it has one model, answers `hello` and reports a usage, whatever it was asked.
pub(crate) struct OpenAiDouble {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl OpenAiDouble {
    /// Answers each request as it comes with the next of these: status line, further headers, body.
    pub(crate) fn replying(replies: &[(&'static str, &'static str, Value)]) -> OpenAiDouble {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (seen, replies) = (asked.clone(), replies.to_vec());
        std::thread::spawn(move || {
            let mut next = replies.iter().cycle();
            for stream in listener.incoming().flatten() {
                let _ = answer_once(stream, &mut next, &seen);
            }
        });
        OpenAiDouble { url, asked }
    }

    /// `usage`: what stands in the answer, or null for nothing.
    pub(crate) fn reporting(usage: Value) -> OpenAiDouble {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (usage, seen) = (usage.clone(), seen.clone());
                std::thread::spawn(move || {
                    let _ = answer_chats(stream, &usage, &seen);
                });
            }
        });
        OpenAiDouble { url, asked }
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    /// Options that make the program use it.
    pub(crate) fn options(&self) -> Vec<String> {
        let url = format!("model.url={}", self.url);
        let set = ["model.gateway=openai", url.as_str(), "model.name=fake"];
        set.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]).collect()
    }
}

/// One request a connection; lists of models are answered aside.
fn answer_once<'r>(
    mut stream: TcpStream,
    replies: &mut impl Iterator<Item = &'r (&'static str, &'static str, Value)>,
    asked: &Mutex<Vec<Value>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let Some((first, body)) = request(&mut reader)? else { return Ok(()) };
    let models = ("200 OK", "", json!({"data": [{"id": "fake"}]}));
    let (status, headers, answer) = if first.starts_with("GET") {
        &models
    } else {
        asked.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
        replies.next().unwrap()
    };
    let answer = answer.to_string();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{answer}",
        answer.len()
    )?;
    stream.flush()
}

fn answer_chats(
    mut stream: TcpStream,
    usage: &Value,
    asked: &Mutex<Vec<Value>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some((first, body)) = request(&mut reader)? {
        let answer = if first.starts_with("GET") {
            json!({"data": [{"id": "fake"}]})
        } else {
            let request: Value = serde_json::from_slice(&body).unwrap();
            let model = request["model"].clone();
            asked.lock().unwrap().push(request);
            let message = json!({"role": "assistant", "content": "hello"});
            let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
            let mut answer = json!({"id": "x", "model": model, "choices": [choice]});
            if !usage.is_null() {
                answer["usage"] = usage.clone();
            }
            answer
        };
        let answer = answer.to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
        write!(stream, "{head} {}\r\n\r\n{answer}", answer.len())?;
        stream.flush()?;
    }
    Ok(())
}

/// The first line and the body of the next request; none at the end.
fn request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let (mut first, mut length) = (String::new(), 0);
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((first, body)))
}

fn serve(
    mut stream: TcpStream,
    says: &(dyn Fn(usize, &Value) -> String + Send + Sync),
    asked: &Mutex<Vec<Value>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some((first, body)) = request(&mut reader)? {
        let answer = if first.contains("/api/tags") {
            json!({"models": [{"name": "scripted:1b", "model": "scripted:1b"}]}).to_string()
        } else {
            let request: Value = serde_json::from_slice(&body).unwrap();
            let n = {
                let mut asked = asked.lock().unwrap();
                asked.push(request.clone());
                asked.len() - 1
            };
            let text = says(n, &request);
            // Streamed, as Ollama does it: some parts, then the end with the counts.
            let (half, rest) = text.split_at(
                text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at),
            );
            let part = |text: &str| json!({"model": "scripted:1b", "message": {"role": "assistant", "content": text}, "done": false});
            let end = json!({"model": "scripted:1b", "message": {"role": "assistant", "content": ""}, "done": true,
                "done_reason": "stop", "prompt_eval_count": 100, "eval_count": 20});
            format!("{}\n{}\n{end}\n", part(half), part(rest))
        };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
        stream.flush()?;
    }
    Ok(())
}
