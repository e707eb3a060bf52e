//! LLM_CALL tasks: one inference, through the same gateway and circuit breaker as planning.

use std::sync::Arc;
use std::time::Duration;

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_core::id::AgentDid;
use l05_core::plan::AttemptAllowance;
use l05_draft::decomposition::{answer_repair_prompt, final_answer, read_result, task_prompt};
use l05_run::amounts::Usage;
use l05_run::event::TaskError;
use serde_json::{Value, json};

use super::attempt::failed;
use crate::decomposer::{
    AllowanceExceeded, CallFailure, CallPurpose, ModelDecomposer, TIME_LEFT_MIN,
};
use crate::evaluations::EvaluationPort;
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
    evaluations: EvaluationPort,
}

impl ModelTasks {
    pub(crate) fn new(
        decomposer: Arc<ModelDecomposer>,
        clock: Arc<dyn Clock>,
        evaluations: EvaluationPort,
    ) -> ModelTasks {
        ModelTasks { decomposer, clock, evaluations }
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

    fn execute(&self, call: ToolCall) -> BoxFuture<'static, Result<ExecutorOutput, Failure>> {
        let work = ModelWork {
            decomposer: self.decomposer.clone(),
            clock: self.clock.clone(),
            evaluations: self.evaluations.clone(),
            request: self.request(&call),
            call,
            used: Usage::default(),
        };
        Box::pin(work.run())
    }
}

/// One attempt: the question, and again what was wrong with the answer.
struct ModelWork {
    decomposer: Arc<ModelDecomposer>,
    clock: Arc<dyn Clock>,
    evaluations: EvaluationPort,
    request: ModelRequest,
    call: ToolCall,
    used: Usage,
}

impl ModelWork {
    /// The first thing that the task's schema refuses about an answer.
    async fn problem(
        &self,
        schema: Option<&Value>,
        output: &Value,
    ) -> Result<Option<String>, Failure> {
        let Some(schema) = schema else { return Ok(None) };
        let used = |error| Failure { error, usage: Some(self.used) };
        self.evaluations.schema_problem(schema, output).await.map_err(used)
    }

    async fn run(mut self) -> Result<ExecutorOutput, Failure> {
        let mut rounds = self.decomposer.rules.repair_rounds;
        loop {
            let answer = self.ask().await?;
            let schema = self.call.output_schema.as_ref();
            let wrong = match output(&answer, schema) {
                Ok(output) => match self.problem(schema, &output).await? {
                    None => return Ok(ExecutorOutput { output, usage: self.used }),
                    Some(at) => {
                        let message = format!("the answer breaks the task's output_schema at {at}");
                        failed(ErrorCode::TypeMismatch, message)
                    }
                },
                Err(error) => error,
            };
            // Without a form there is nothing to mend; the same question has the same answer.
            if rounds == 0 || schema.is_none() || !self.may_ask_again() {
                return Err(Failure { error: wrong, usage: Some(self.used) });
            }
            rounds -= 1;
            let told = answer_repair_prompt(&wrong.message);
            self.request.turns.push(ModelTurn { role: ModelRole::Assistant, text: answer.text });
            self.request.turns.push(ModelTurn { role: ModelRole::User, text: told });
        }
    }

    /// One call; what it takes is counted.
    async fn ask(&mut self) -> Result<ModelAnswer, Failure> {
        // A call that does not fit into what the task may use is not made.
        let limit = self.limit().map_err(|exceeded| self.with_used(over_allowance(exceeded)))?;
        let request = ModelRequest { tokens_max: limit, ..self.request.clone() };
        let left = Some(self.time_left());
        let called = tokio::select! {
            called = self.decomposer.call(&*self.clock, &request, left, CallPurpose::Task) => called,
            // Whatever comes back no longer counts; the call is dropped with this.
            () = self.call.cancel.cancelled() => {
                let error = failed(ErrorCode::Cancelled, "the call was stopped".to_owned());
                return Err(Failure { error, usage: None });
            }
        };
        let answer = called.map_err(|failed| self.with_used(failure(failed)))?;
        let used = self.decomposer.meter.usage(&request, &answer);
        if used.is_counted {
            tracing::warn!(
                task = &*self.call.task_id,
                tokens = used.tokens(),
                "the gateway reported no tokens that can be right; they were counted here"
            );
        }
        self.used = self.used.plus(&used.into());
        Ok(answer)
    }

    /// The tokens that the next answer may take of what is left to the task.
    fn limit(&self) -> Result<u32, AllowanceExceeded> {
        let allowance = &self.call.allowance;
        let tokens_in = self.used.tokens.saturating_sub(self.used.tokens_out);
        let left = AttemptAllowance {
            tokens: allowance.tokens.saturating_sub(self.used.tokens),
            tokens_in: allowance.tokens_in.saturating_sub(tokens_in),
            tokens_out: allowance.tokens_out.saturating_sub(self.used.tokens_out),
            cost_usd: allowance.cost_usd - self.used.cost_usd,
            is_firm: allowance.is_firm,
        };
        self.decomposer.meter.answer_limit(&self.request, &left)
    }

    fn time_left(&self) -> Duration {
        let millis = self.call.not_after.0 - self.clock.now().0;
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    fn may_ask_again(&self) -> bool {
        self.time_left() > TIME_LEFT_MIN && self.limit().is_ok()
    }

    /// A failure after calls that were answered: their use counts, and the failed one's, if it is known.
    fn with_used(&self, failure: Failure) -> Failure {
        let usage = failure.usage.map(|usage| self.used.plus(&usage));
        Failure { usage, ..failure }
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
