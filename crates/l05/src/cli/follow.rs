//! What `run`, `execute` and `retry` show until their run has ended, whoever drives it by then.

use std::cell::Cell;

use l05_core::id::PlanId;
use l05_core::plan::PlanStatus;
use l05_core::{Error, ErrorCode};
use l05_engine::PlanningService;
use l05_engine::report::PlanResult;

use super::approval::{Next, settle};
use super::exit::Exit;
use super::progress::Progress;
use super::{Context, inspect};

/// Who drives the run that is followed.
#[derive(Clone, Copy, PartialEq)]
enum Driver {
    /// This process, until it ends or waits for people.
    Here,
    /// Another process, which took it up while it waited for people or while this one was stopped.
    Elsewhere,
}

/// Shows the run, which this process has begun to drive, and waits for its end; Ctrl-C stops it so
/// that it can go on later. What waits for people is asked here, where somebody can be asked.
pub(super) async fn follow(
    context: &Context,
    service: &PlanningService,
    id: PlanId,
    yes: bool,
) -> Result<Exit, Error> {
    let mut progress: Option<Progress> = None;
    // A second watcher of the same run begins before what the first has shown.
    let shown_up_to: Cell<Option<u64>> = Cell::new(None);
    let mut driver = Driver::Here;
    loop {
        let mut watcher = service.watch(id).await?;
        let shown = progress
            .get_or_insert_with(|| Progress::new(context.output, watcher.history().run().plan()));
        let show = async {
            while let Some(event) = watcher.next().await? {
                if shown_up_to.get().is_none_or(|seen| event.seq > seen) {
                    shown.show(&event);
                    shown_up_to.set(Some(event.seq));
                }
            }
            Ok::<_, Error>(())
        };
        let stands = async {
            match driver {
                Driver::Here => {
                    let (status, ()) = tokio::try_join!(until_it_stands(service, id), show)?;
                    Ok::<_, Error>(status)
                }
                Driver::Elsewhere => {
                    show.await?;
                    Ok(service.status(id).await?.status)
                }
            }
        };
        let stood = tokio::select! {
            stood = stands => Some(stood),
            () = told_to_stop() => None,
        };
        shown.finish();
        let status = match stood {
            None => return Ok(interrupted(context, service, id, driver).await),
            Some(Err(error)) if error.code == ErrorCode::VERSION_CONFLICT => {
                driver = elsewhere(context, &error);
                continue;
            }
            Some(stood) => stood?,
        };
        if !is_over(status) {
            match settle(context, service, id, yes).await? {
                Next::GoOn if is_over(service.status(id).await?.status) => {}
                Next::GoOn => {
                    driver = match service.execute(id).await {
                        Ok(()) => Driver::Here,
                        Err(error) if error.code == ErrorCode::VERSION_CONFLICT => {
                            elsewhere(context, &error)
                        }
                        Err(error) => return Err(error),
                    };
                    continue;
                }
                Next::Wait => {
                    let result = service.result(id).await?;
                    service.shutdown().await;
                    context.output.result(&result, summary);
                    return Ok(Exit::Waiting);
                }
            }
        }
        let result = service.result(id).await?;
        service.shutdown().await;
        let completed = result.status == PlanStatus::Completed;
        context.output.result(&result, summary);
        return Ok(if completed { Exit::Done } else { Exit::PlanFailed });
    }
}

fn elsewhere(context: &Context, error: &Error) -> Driver {
    context.output.note(&format!("{}; following it", error.message));
    Driver::Elsewhere
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
    matches!(status, PlanStatus::Completed | PlanStatus::Failed | PlanStatus::Cancelled)
}

async fn interrupted(
    context: &Context,
    service: &PlanningService,
    id: PlanId,
    driver: Driver,
) -> Exit {
    if driver == Driver::Elsewhere {
        context.output.note(&format!("the other process goes on; `l05 watch {id}` follows it"));
        return Exit::Interrupted;
    }
    context.output.note("stopping; once more Ctrl-C to leave at once");
    tokio::select! {
        () = service.shutdown() => {}
        () = told_to_stop() => {}
    }
    context.output.note(&format!("interrupted; `l05 execute {id}` goes on"));
    Exit::Interrupted
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
