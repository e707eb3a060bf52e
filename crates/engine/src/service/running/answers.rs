//! People's answers: approve and reject, whoever drives the run.

use std::sync::Arc;

use l05_core::caller::Caller;
use l05_core::id::PlanId;
use l05_core::plan::{ApprovalReason, PlanStatus};
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use l05_run::Run;
use l05_run::command::{RerunScope, RunCommand};
use l05_run::event::{Actor, Gate};
use l05_run::machine::OpenGate;
use l05_run::public_event::asked_about;

use super::super::reading::{run_task, unknown};
use super::{Running, detached};
use crate::port::{ClaimResult, RemoteCommand};

/// An answer to something that waits for a person.
#[derive(Debug, Clone)]
pub struct GateAnswer {
    /// Yes or no.
    pub approve: bool,
    /// The reason.
    pub reason: String,
    /// The task it is about; none: the only thing that waits.
    pub task: Option<String>,
    /// The very gate, where whoever asks knows it; it goes before `task`.
    pub gate: Option<Gate>,
}

/// The effect of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerOutcome {
    /// The question, in words.
    pub about: String,
    /// The run goes on by itself: somebody drives it.
    pub driven: bool,
    /// The plan's present status; as before the answer where another process drives it.
    pub status: PlanStatus,
}

/// An approval that a plan waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingApproval {
    /// The gate.
    pub gate: Gate,
    /// The question, in words.
    pub about: String,
    /// From then on no answer counts as a refusal.
    pub expires_at: Option<Timestamp>,
    /// For the plan itself: the reasons for which it has to be approved, in words.
    pub reasons: Vec<String>,
    /// The configuration reserves the answer to an approver: whoever starts the plan cannot give it
    /// along.
    pub is_reserved: bool,
}

impl Running {
    pub(in crate::service) async fn answer(
        self: &Arc<Self>,
        id: PlanId,
        answer: GateAnswer,
        by: &Caller,
    ) -> Result<AnswerOutcome, Error> {
        let (running, caller) = (self.clone(), by.id.clone());
        detached(async move { running.answer_gate(id, answer, caller).await }).await
    }

    async fn answer_gate(
        self: &Arc<Self>,
        id: PlanId,
        answer: GateAnswer,
        caller: Actor,
    ) -> Result<AnswerOutcome, Error> {
        let _turn = self.starting.turn(id).await;
        let history = self.reading.read_history(id).await?;
        let run = history.run();
        let gate = match answer.gate {
            Some(gate) => still_open(run, gate)?,
            None => chosen(run, answer.task.as_deref())?,
        };
        let about = name_of(run, gate);
        let GateAnswer { approve, reason, .. } = answer;
        let by = caller.to_string();
        let command =
            RunCommand::AnswerGate { gate, approve, by: by.clone(), reason: reason.clone() };
        if self.driver.is_driven(id).await? {
            self.driver.command(id, command, caller.clone()).await?;
            if gate == Gate::Plan && approve {
                let start = RunCommand::start(RerunScope::Fresh, caller.clone());
                self.driver.command(id, start, caller).await?;
            }
            let status = self.reading.read_history(id).await?.run().status();
            return Ok(AnswerOutcome { about, driven: true, status });
        }
        let epoch = match self.journal().claim(id, self.worker).await? {
            ClaimResult::Granted { epoch, .. } => epoch,
            ClaimResult::UnknownPlan => return Err(unknown(&id.to_string())),
            ClaimResult::Held => {
                let command = RemoteCommand::Decide { gate, approve, by, reason };
                self.journal().post(id, command).await?;
                return Ok(AnswerOutcome { about, driven: true, status: run.status() });
            }
        };
        let noted = self.note(run.plan().clone(), epoch, command, caller).await;
        self.give_back(id, epoch).await;
        noted?;
        let status = self.reading.read_history(id).await?.run().status();
        Ok(AnswerOutcome { about, driven: false, status })
    }

    pub(in crate::service) async fn open_gates(
        &self,
        id: PlanId,
    ) -> Result<Vec<PendingApproval>, Error> {
        let history = self.reading.read_history(id).await?;
        let run = history.run();
        Ok(run.open_gates().map(|open| pending(run, open)).collect())
    }
}

fn pending(run: &Run, open: OpenGate) -> PendingApproval {
    let OpenGate { gate, expires_at } = open;
    let metadata = &run.plan().document().metadata;
    let (reasons, is_reserved) = match gate {
        Gate::Plan => {
            // A plan of an older version has its reasons in words alone: then an approver decides.
            let is_untyped =
                metadata.approval_needed_for.is_empty() && !metadata.approval_reasons.is_empty();
            let is_reserved = metadata.approval_needed_for.iter().any(ApprovalReason::is_reserved);
            (metadata.approval_reasons.clone(), is_untyped || is_reserved)
        }
        Gate::Task(_) | Gate::Recovery(_) | Gate::Budget => (Vec::new(), true),
    };
    PendingApproval { gate, about: name_of(run, gate), expires_at, reasons, is_reserved }
}

fn still_open(run: &Run, gate: Gate) -> Result<Gate, Error> {
    if run.open_gates().any(|open| open.gate == gate) {
        return Ok(gate);
    }
    let message = format!("{} waits for no approval any more", name_of(run, gate));
    Err(Error::new(ErrorCode::StateTransitionInvalid, message)
        .suggest(format!("`l05 status {}` shows what waits", run.plan().id())))
}

/// The gate that an answer is about.
fn chosen(run: &Run, task: Option<&str>) -> Result<Gate, Error> {
    let id = run.plan().id();
    let open: Vec<Gate> = run.open_gates().map(|open| open.gate).collect();
    if let Some(name) = task {
        let task = run_task(run, name)?;
        return open.into_iter().find(|gate| gate.task() == Some(task)).ok_or_else(|| {
            let message = format!("task `{name}` waits for no approval");
            Error::new(ErrorCode::StateTransitionInvalid, message)
                .suggest(format!("`l05 status {id}` shows what waits"))
        });
    }
    match open[..] {
        [only] => Ok(only),
        [] => {
            let message = format!("plan {id} is {} and waits for no approval", run.status());
            Err(Error::new(ErrorCode::StateTransitionInvalid, message))
        }
        _ => {
            let names: Vec<String> = open.iter().map(|gate| name_of(run, *gate)).collect();
            let message = format!("plan {id} waits for several answers: {}", names.join("; "));
            Err(Error::new(ErrorCode::StateTransitionInvalid, message)
                .suggest("say which task with --task"))
        }
    }
}

fn name_of(run: &Run, gate: Gate) -> String {
    match gate.task() {
        Some(task) => format!("{} `{}`", asked_about(gate), run.name(task)),
        None => asked_about(gate).to_owned(),
    }
}
