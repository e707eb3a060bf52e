//! A scripted model server, a test double: it speaks Ollama's wire and says what it is told to say.

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

fn serve(
    mut stream: TcpStream,
    says: &(dyn Fn(usize, &Value) -> String + Send + Sync),
    asked: &Mutex<Vec<Value>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
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
}
