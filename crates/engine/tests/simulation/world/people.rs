//! What people do meanwhile: they answer, and they cancel.

use super::*;

impl World {
    pub(super) fn answer_any(&mut self) {
        let plans: Vec<PlanId> = self.journal.keys().copied().collect();
        let plan = *self.chance.pick(&plans);
        let gates: Vec<Gate> = self.journal[&plan].oracle.gates.iter().copied().collect();
        if gates.is_empty() {
            return;
        }
        let gate = *self.chance.pick(&gates);
        let approve = !self.chance.one_in(4);
        let (by, reason) = ("eve".to_owned(), String::new());
        let command = RunCommand::AnswerGate { gate, approve, by, reason };
        match self.journal[&plan].owner {
            Some(owner) => {
                let promise = Promise::Answered(self.journal[&plan].oracle.answers);
                self.send(owner, plan, command, Some(promise));
                if gate == Gate::Plan && approve {
                    self.send(
                        owner,
                        plan,
                        RunCommand::start(RerunScope::Fresh, "test".into()),
                        None,
                    );
                }
            }
            None => self.note(plan, command),
        }
    }

    /// A command to a run that nobody drives, journaled by whoever got it.
    pub(super) fn note(&mut self, plan: PlanId, command: RunCommand) {
        let mut run = self.fold(plan);
        let first = Sequence(run.sequence().0 + 1);
        let actor = caller_of(&command).unwrap_or_else(|| "world".into());
        let events = run.note(command, self.now, None, None).unwrap_or_default();
        if events.is_empty() {
            return;
        }
        let stored = self.journal.get_mut(&plan).unwrap();
        stored.epoch += 1;
        let epoch = Epoch(stored.epoch);
        let at = self.now;
        let record = Record { plan, first, epoch, at, actor, events, blobs: Vec::new() };
        assert_eq!(self.append(&Arc::new(record)), AppendResult::Appended);
    }

    pub(super) fn cancel_any(&mut self) {
        let who = self.chance.below(self.processes.len());
        let Some(plan) = self.any_plan_of(who) else { return };
        let whole = self.chance.one_in(2);
        let task = TaskIndex(self.chance.below(self.journal[&plan].plan.graph().len()) as u32);
        let scope = if whole { CancelScope::Plan } else { CancelScope::Task(task) };
        let command = RunCommand::Cancel { scope, reason: String::new(), by: "test".into() };
        self.send(who, plan, command, whole.then_some(Promise::Cancelled));
    }
}
