//! Tools of one's own: an executor brings them with their schemas, and plans use them beside the built-in
//! ones. What does not fit the schemas is refused before anything runs.
//!
//! `cargo run --release -p l05 --example custom_tool`

#![expect(clippy::print_stdout, reason = "an example's whole purpose")]

use std::sync::Arc;

use l05::port::{BoxFuture, Executor, ExecutorOutput, Failure, ToolCall};
use l05::{Error, PlanDocument, ToolSpec};
use serde_json::json;

/// Counts words and shouts.
struct WordTools;

impl Executor for WordTools {
    fn tools(&self) -> Vec<ToolSpec> {
        let object = |name: &str, schema: serde_json::Value| {
            json!({
                "type": "object", "additionalProperties": false,
                "properties": { name: schema }, "required": [name],
            })
        };
        let text = || json!({ "type": "string" });
        let tally = ToolSpec {
            description: "Counts the words of a text.".to_owned(),
            input_schema: Some(object("text", text())),
            output_schema: Some(object("words", json!({ "type": "integer", "minimum": 0 }))),
            idempotent: true,
            ..ToolSpec::bare("tally")
        };
        let shout = ToolSpec {
            description: "The same in capitals.".to_owned(),
            input_schema: Some(object("text", text())),
            output_schema: Some(object("text", text())),
            idempotent: true,
            ..ToolSpec::bare("shout")
        };
        vec![tally, shout]
    }

    fn execute(&self, call: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
        Box::pin(async move {
            let text = call.inputs["text"].as_str().unwrap_or_default();
            Ok(match &*call.tool {
                "tally" => json!({ "words": text.split_whitespace().count() }),
                _ => json!({ "text": text.to_uppercase() }),
            }
            .into())
        })
    }
}

/// A plan whose second task takes `text` from the first.
fn plan(text: &str) -> Result<PlanDocument, Error> {
    let document = json!({
        "goal": "count words",
        "tasks": [
            { "id": "tally", "tool": "tally", "inputs": { "text": "one two three" } },
            { "id": "say", "tool": "shout", "inputs": { "text": text } },
        ],
    });
    l05::read_plan(&document)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let service = l05::builder()?.executor(Arc::new(WordTools)).build()?;
    // A number is no text: found by the schemas, shown by a value.
    match service.accept(plan("$[tally].output.words")?, false).await {
        Ok(_) => println!("not refused"),
        Err(error) => println!("refused: {error}"),
    }
    let planned = service.accept(plan("${[tally].output.words} words")?, false).await?;
    let result = service.run(planned.plan.id()).await?;
    println!("{}: {}", result.status, serde_json::json!(result.outputs));
    service.shutdown().await;
    Ok(())
}
