//! What other processes ask of the runs that are driven here: found in the store, done like any
//! command, and settled there once the answer is durable.

use l05_core::id::PlanId;
use l05_run::command::{RerunScope, RunCommand};
use l05_run::event::{Actor, CancelScope, Gate};

use super::Driver;
use crate::port::{PostedCommand, RemoteCommand};
use crate::shard::{QueuedCommand, ShardInput};

impl Driver {
    /// Looks for what other processes ask of the runs here, and forgets what has been answered.
    pub(super) async fn take_posted(&mut self) {
        if !self.settled.is_empty() {
            let settled = std::mem::take(&mut self.settled);
            let asked = self.journal.settle_posted(settled.clone());
            match self.lease.asking(asked).await {
                Ok(()) => settled.iter().for_each(|(plan, position)| {
                    self.in_hand.remove(&(*plan, *position));
                }),
                Err(error) => {
                    tracing::warn!(%error, "commands of other processes cannot be settled");
                    self.settled = settled;
                    return;
                }
            }
        }
        let posted = match self.lease.asking(self.journal.posted(self.worker)).await {
            Ok(posted) => posted,
            Err(error) => {
                tracing::warn!(%error, "commands of other processes cannot be read");
                return;
            }
        };
        for PostedCommand { position, plan, command } in posted {
            // One whose run is not driven yet comes up again.
            if self.shard.owns(plan) && self.in_hand.insert((plan, position)) {
                self.do_posted(plan, position, command);
            }
        }
    }

    /// A command of another process is settled when its answer comes: then it is in the journal.
    fn do_posted(&mut self, plan: PlanId, position: u64, command: RemoteCommand) {
        let Some(command) = self.posted_command(plan, command) else {
            self.settled.push((plan, position));
            return;
        };
        let (command, caller) = command;
        let starts =
            matches!(command, RunCommand::AnswerGate { gate: Gate::Plan, approve: true, .. });
        let start = starts.then(|| RunCommand::start(RerunScope::Fresh, caller.clone()));
        let ticket = self.next_ticket();
        self.posted.insert(ticket, (plan, position));
        for (command, ticket) in
            std::iter::once((command, Some(ticket))).chain(start.map(|s| (s, None)))
        {
            let queued = QueuedCommand::from_caller(plan, command, caller.clone(), ticket);
            self.shard.handle(ShardInput::Command(queued));
        }
    }

    /// The command for the run, with its caller. None: the task is not there.
    fn posted_command(&self, plan: PlanId, command: RemoteCommand) -> Option<(RunCommand, Actor)> {
        Some(match command {
            RemoteCommand::Decide { gate, approve, by, reason } => {
                let caller = by.as_str().into();
                (RunCommand::AnswerGate { gate, approve, by, reason }, caller)
            }
            RemoteCommand::Cancel { reason, task, by } => {
                let scope = match task {
                    None => CancelScope::Plan,
                    Some(name) => CancelScope::Task(self.shard.task(plan, &name)?),
                };
                let by: Actor = by.as_deref().unwrap_or("remote").into();
                (RunCommand::Cancel { scope, reason, by: by.clone() }, by)
            }
        })
    }
}
