//! LLM_CALL tasks: one inference, through the same gateway and circuit breaker as planning.

use std::sync::Arc;
use std::time::Duration;

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_core::id::AgentDid;
use l05_draft::decomposition::{final_answer, read_result, task_prompt};
use l05_run::amounts::Usage;
use l05_run::event::TaskError;
use serde_json::{Value, json};

use super::attempt::failed;
use crate::decomposer::{AllowanceExceeded, CallFailure, CallPurpose, ModelDecomposer};
use crate::port::{
    BoxFuture, Clock, Executor, ExecutorOutput, Failure, FinishReason, ModelAnswer, ModelRequest,
    ModelRole, ModelTurn, ToolCall,
};

/// The name of an answer's schema.
const SCHEMA_NAME: &str = "result";

/// Does LLM_CALL tasks. It has no tools: tasks come to it by their type.
pub(crate) struct ModelTasks {
    decomposer: Arc<ModelDecomposer>,
    clock: Arc<dyn Clock>,
}

impl ModelTasks {
    pub(crate) fn new(decomposer: Arc<ModelDecomposer>, clock: Arc<dyn Clock>) -> ModelTasks {
        ModelTasks { decomposer, clock }
    }

    fn request(&self, call: &ToolCall) -> ModelRequest {
        let prompt = call.instructions.as_deref().unwrap_or_default();
        let (system, text) = task_prompt(prompt, &call.inputs);
        ModelRequest {
            model: call.model.as_deref().map(str::to_owned),
            system: system.to_owned(),
            turns: vec![ModelTurn { role: ModelRole::User, text }],
            schema: call.output_schema.clone().map(|schema| (SCHEMA_NAME, schema)),
            temperature: 0.0,
            tokens_max: self.decomposer.rules.answer_tokens_max,
            within: Duration::MAX,
            agent_did: AgentDid::local().as_str().to_owned(),
            idempotency_key: Some(call.idempotency_key()),
        }
    }
}

/// The answer as the task's output: by its schema, else `{"response": text}`. Reasoning is no part of
/// it.
fn output(answer: &ModelAnswer, schema: Option<&Value>) -> Result<Value, TaskError> {
    if answer.finish == FinishReason::Length {
        let message = "the model's answer was cut off at the token limit".to_owned();
        return Err(failed(ErrorCode::ModelAnswerMalformed, message));
    }
    if let Some(schema) = schema {
        return read_result(&answer.text, schema)
            .map_err(|error| failed(error.code, error.message));
    }
    let text = final_answer(&answer.text);
    if text.had_reasoning && text.text.trim().is_empty() {
        let message = "the model's answer is nothing but reasoning".to_owned();
        return Err(failed(ErrorCode::ModelAnswerMalformed, message));
    }
    Ok(json!({ "response": text.text }))
}

impl Executor for ModelTasks {
    fn tools(&self) -> Vec<ToolSpec> {
        Vec::new()
    }

    fn execute(&self, mut call: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
        let (decomposer, clock) = (self.decomposer.clone(), self.clock.clone());
        let mut request = self.request(&call);
        Box::pin(async move {
            // A call that does not fit into what the task may use is not made.
            let limit = decomposer.meter.answer_limit(&request, &call.allowance);
            request.tokens_max = limit.map_err(over_allowance)?;
            let left = u64::try_from(call.not_after.0 - clock.now().0).unwrap_or(0);
            let left = Some(Duration::from_millis(left));
            let answer = tokio::select! {
                answer = decomposer.call(&*clock, &request, left, CallPurpose::Task) => answer.map_err(failure)?,
                // Whatever comes back no longer counts; the call is dropped with this.
                () = call.cancel.cancelled() => {
                    let message = "the call was stopped".to_owned();
                    let error = failed(ErrorCode::Cancelled, message);
                    return Err(Failure { error, usage: None });
                }
            };
            let used = decomposer.meter.usage(&request, &answer);
            if used.is_counted {
                tracing::warn!(
                    task = &*call.task_id,
                    tokens = used.tokens(),
                    "the gateway reported no tokens that can be right; they were counted here"
                );
            }
            let usage = used.into();
            match output(&answer, call.output_schema.as_ref()) {
                Ok(output) => Ok(ExecutorOutput { output, usage }),
                Err(error) => Err(Failure { error, usage: Some(usage) }),
            }
        })
    }
}

fn over_allowance(exceeded: AllowanceExceeded) -> Failure {
    let AllowanceExceeded(message) = exceeded;
    Failure::from(TaskError::last(ErrorCode::BudgetExceeded, message))
}

/// The use of a failed call is known only where the model never began.
fn failure(failed: CallFailure) -> Failure {
    let CallFailure { kind, error, retry_after } = failed;
    let after = retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    Failure {
        error: TaskError {
            is_final: kind.is_final(),
            retry_after_millis: after,
            ..TaskError::new(error.code, error.message)
        },
        usage: kind.is_free().then(Usage::default),
    }
}
