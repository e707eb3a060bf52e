//! What other processes ask of the runs that are driven here: found in the store, done like any
//! command, and settled there once the answer is durable.

use l05_core::id::PlanId;
use l05_run::command::{Command, Rerun};
use l05_run::event::{Gate, Scope};

use super::Driver;
use crate::port::{Posted, RemoteCommand};
use crate::shard::{Input, Queued};

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
        for Posted { position, plan, command } in posted {
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
        let starts = matches!(command, Command::Decide { gate: Gate::Plan, approve: true, .. });
        let start = starts.then_some(Command::Start { from: Rerun::Fresh });
        let ticket = self.next_ticket();
        self.posted.insert(ticket, (plan, position));
        for (command, ticket) in
            std::iter::once((command, Some(ticket))).chain(start.map(|s| (s, None)))
        {
            let (actor, blob, launch) = ("remote".into(), None, None);
            let queued = Queued { plan, command, actor, blob, ticket, launch };
            self.shard.handle(Input::Command(queued));
        }
    }

    fn posted_command(&self, plan: PlanId, command: RemoteCommand) -> Option<Command> {
        Some(match command {
            RemoteCommand::Decide { gate, approve, by, reason } => {
                Command::Decide { gate, approve, by, reason }
            }
            RemoteCommand::Cancel { reason, task: None } => {
                Command::Cancel { scope: Scope::Plan, reason }
            }
            RemoteCommand::Cancel { reason, task: Some(name) } => {
                let task = self.shard.task(plan, &name)?;
                Command::Cancel { scope: Scope::Task(task), reason }
            }
        })
    }
}
