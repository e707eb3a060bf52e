//! What `run`, `execute` and `retry` show until their run has ended, whoever drives it by then.

use l05_core::Error;
use l05_core::error::ErrorKind;
use l05_core::id::PlanId;
use l05_core::plan::PlanStatus;
use l05_engine::PlanningService;
use l05_engine::report::PlanResult;
use l05_run::public_event::{EventId, PublicEvent, PublicEventKind};

use super::approval::{NextQuestion, answer_questions};
use super::exit::ExitStatus;
use super::progress::RunProgress;
use super::{CliContext, inspect};

/// The process that drives the run.
#[derive(Clone, Copy, PartialEq)]
enum RunFollower {
    /// The present process drives it, until it ends or waits for people.
    Here,
    /// Another process, which took it up while it waited for people or while this one was stopped.
    Elsewhere,
}

/// Shows the run, which this process has begun to drive, and waits for its end; Ctrl-C stops it so
/// that it can go on later. What waits for people is asked here, where somebody can be asked.
pub(super) async fn follow(
    context: &CliContext,
    service: &PlanningService,
    id: PlanId,
    yes: bool,
) -> Result<ExitStatus, Error> {
    follow_run(context, service, id, yes, 1).await
}

/// The same from one of the plan's runs on: those before it have been shown.
pub(super) async fn follow_run(
    context: &CliContext,
    service: &PlanningService,
    id: PlanId,
    yes: bool,
    first_run: u16,
) -> Result<ExitStatus, Error> {
    let mut shown = ShownEvents { progress: None, up_to: None, run: 0, first_run };
    let mut driver = RunFollower::Here;
    loop {
        let stood = tokio::select! {
            stood = stand(context, service, id, driver, &mut shown) => Some(stood),
            () = told_to_stop() => None,
        };
        shown.finish();
        let status = match stood {
            None => return Ok(interrupted(context, service, id, driver).await),
            Some(Err(error)) if error.kind() == ErrorKind::Conflict => {
                driver = elsewhere(context, &error);
                continue;
            }
            Some(stood) => stood?,
        };
        if is_over(status) {
            return result(context, service, id).await;
        }
        let settled = tokio::select! {
            settled = answer_questions(context, service, id, yes) => settled,
            // The question stays open.
            () = told_to_stop() => {
                context.output.note(&format!("the question stays open; `l05 execute {id}` asks again"));
                service.shutdown().await;
                return Ok(ExitStatus::Interrupted);
            }
        };
        match settled {
            Ok(NextQuestion::GoOn) => driver = go_on(context, service, id).await?,
            Ok(NextQuestion::Wait) => {
                let result = service.result(id).await?;
                service.shutdown().await;
                context.output.result(&result, summary);
                return Ok(ExitStatus::Waiting);
            }
            // Somebody else was quicker: what is open now is looked at again.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                driver = go_on(context, service, id).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The part of a run that has been shown: each watcher begins before that.
struct ShownEvents {
    progress: Option<RunProgress>,
    up_to: Option<EventId>,
    /// The run that the last event belongs to, and the first that is shown.
    run: u16,
    first_run: u16,
}

impl ShownEvents {
    fn show(&mut self, event: &PublicEvent) {
        if let PublicEventKind::PlanDispatched(start) = &event.kind {
            self.run = start.run;
        }
        let is_shown = self.run >= self.first_run || (self.run == 0 && self.first_run == 1);
        if is_shown && self.up_to.is_none_or(|seen| event.id > seen) {
            self.progress.iter_mut().for_each(|progress| progress.show(event));
            self.up_to = Some(event.id);
        }
    }

    fn finish(&mut self) {
        self.progress.iter_mut().for_each(RunProgress::finish);
    }
}

/// Shows what happens until the run has ended or waits for people; its status then.
async fn stand(
    context: &CliContext,
    service: &PlanningService,
    id: PlanId,
    driver: RunFollower,
    shown: &mut ShownEvents,
) -> Result<PlanStatus, Error> {
    let mut watcher = service.watch(id).await?;
    let plan = watcher.plan().clone();
    shown.progress.get_or_insert_with(|| RunProgress::new(context.output, &plan));
    let watch = async {
        while let Some(event) = watcher.next().await? {
            shown.show(&event);
        }
        Ok::<_, Error>(())
    };
    if driver == RunFollower::Elsewhere {
        watch.await?;
        return Ok(service.status(id).await?.status);
    }
    let mut stands = std::pin::pin!(until_it_stands(service, id));
    let status = tokio::select! {
        status = &mut stands => status?,
        watched = watch => {
            watched?;
            stands.await?
        }
    };
    // Not until nobody drives it: somebody else may do so from here on.
    while let Some(event) = watcher.next_while_it_moves().await? {
        shown.show(&event);
    }
    Ok(status)
}

/// Takes the run up again after answers, unless somebody else has.
async fn go_on(
    context: &CliContext,
    service: &PlanningService,
    id: PlanId,
) -> Result<RunFollower, Error> {
    if is_over(service.status(id).await?.status) {
        return Ok(RunFollower::Elsewhere);
    }
    match service.execute(id).await {
        Ok(()) => Ok(RunFollower::Here),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(elsewhere(context, &error)),
        // It ended between the two.
        Err(_) if is_over(service.status(id).await?.status) => Ok(RunFollower::Elsewhere),
        Err(error) => Err(error),
    }
}

/// The result of a run that has ended, and the exit status that goes with it.
pub(super) async fn result(
    context: &CliContext,
    service: &PlanningService,
    id: PlanId,
) -> Result<ExitStatus, Error> {
    let result = service.result(id).await?;
    service.shutdown().await;
    let completed = result.status == PlanStatus::Completed;
    context.output.result(&result, summary);
    Ok(if completed { ExitStatus::Done } else { ExitStatus::PlanFailed })
}

fn elsewhere(context: &CliContext, error: &Error) -> RunFollower {
    context.output.note(&format!("{}; following it", error.message));
    RunFollower::Elsewhere
}

/// Waits for the end, or until nothing happens before a person answers: then the run is let go of.
async fn until_it_stands(service: &PlanningService, id: PlanId) -> Result<PlanStatus, Error> {
    loop {
        let status = service.wait(id).await?;
        if is_over(status) || service.park(id).await? {
            return Ok(status);
        }
    }
}

fn is_over(status: PlanStatus) -> bool {
    status.is_at_rest()
}

async fn interrupted(
    context: &CliContext,
    service: &PlanningService,
    id: PlanId,
    driver: RunFollower,
) -> ExitStatus {
    if driver == RunFollower::Elsewhere {
        context.output.note(&format!("the other process goes on; `l05 watch {id}` follows it"));
        return ExitStatus::Interrupted;
    }
    context.output.note("stopping; once more Ctrl-C to leave at once");
    tokio::select! {
        () = service.shutdown() => {}
        () = told_to_stop() => {}
    }
    context.output.note(&format!("interrupted; `l05 execute {id}` goes on"));
    ExitStatus::Interrupted
}

/// A result for people.
fn summary(result: &PlanResult) -> String {
    let id = result.plan_id;
    let mut lines = vec![format!(
        "{} in {:.1} s: {} of {} tasks completed",
        result.status,
        result.usage.seconds,
        result.completed.len(),
        result.tasks.len()
    )];
    lines.extend(result.error.iter().map(|error| format!("{error}\nhint: {}", error.suggestion())));
    lines.extend(result.files.iter().map(|file| format!("wrote {file}")));
    lines.extend(result.notes.iter().map(|note| format!("note: {note}")));
    if result.files.is_empty() {
        for (task, output) in &result.outputs {
            lines.push(format!("{task}: {}", inspect::shorten(&output.to_string())));
        }
    }
    lines.push(format!("look further with: l05 show {id}"));
    lines.join("\n")
}

/// Ctrl-C, or what a supervisor sends.
pub(super) async fn told_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
