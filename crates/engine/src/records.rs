//! Records of a journal: the fold that makes a run of them, and their one writer. Whatever is appended goes
//! through here, so that the hub hears of it and nothing is written beside it.

use std::sync::Arc;

use l05_core::id::{Epoch, Sequence};
use l05_core::plan::Plan;
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use l05_run::Run;
use l05_run::command::{OwnWorkspace, RunCommand};
use l05_run::event::Actor;
use l05_run::record::Record;

use crate::hub::EventHub;
use crate::port::{AppendResult, Journal, StoreError};

/// Appends records and tells the hub.
#[derive(Clone)]
pub(crate) struct RecordWriter {
    journal: Arc<dyn Journal>,
    hub: Arc<EventHub>,
}

/// A command for a run that nobody drives, under an ownership just claimed.
pub(crate) struct NotedCommand {
    pub(crate) plan: Arc<Plan>,
    pub(crate) epoch: Epoch,
    pub(crate) command: RunCommand,
    pub(crate) caller: Actor,
    pub(crate) at: Timestamp,
    pub(crate) answer_within_millis: Option<u64>,
    pub(crate) workspace: Option<Arc<OwnWorkspace>>,
}

impl RecordWriter {
    pub(crate) fn new(journal: Arc<dyn Journal>, hub: Arc<EventHub>) -> RecordWriter {
        RecordWriter { journal, hub }
    }

    /// Appends a batch as [`Journal::append`] does.
    pub(crate) async fn append(
        &self,
        batch: Vec<Arc<Record>>,
    ) -> Result<Vec<AppendResult>, StoreError> {
        let results = self.journal.append(batch.clone()).await?;
        let durable = batch.iter().zip(&results);
        let durable = durable.filter(|(_, result)| **result == AppendResult::Appended);
        self.hub.appended(durable.map(|(record, _)| record));
        Ok(results)
    }

    /// Journals what a command says of a run that nobody drives.
    pub(crate) async fn note(&self, noted: NotedCommand) -> Result<(), Error> {
        let NotedCommand { plan, epoch, command, caller, at, answer_within_millis, workspace } =
            noted;
        let id = plan.id();
        let mut run = fold(&*self.journal, plan).await?;
        let first = Sequence(run.sequence().0 + 1);
        let events = run.note(command, at, answer_within_millis, workspace.as_deref())?;
        if events.is_empty() {
            return Ok(());
        }
        let (actor, blobs) = (caller, Vec::new());
        let record = Arc::new(Record { plan: id, first, epoch, at, actor, events, blobs });
        match self.append(vec![record]).await?[..] {
            [AppendResult::Appended] => Ok(()),
            _ => Err(Error::new(
                ErrorCode::VersionConflict,
                format!("somebody else changed plan {id} at the same moment"),
            )
            .suggest("look at its status and answer again")),
        }
    }
}

/// Folds a plan's journal.
pub(crate) async fn fold(journal: &dyn Journal, plan: Arc<Plan>) -> Result<Run, StoreError> {
    let id = plan.id();
    let mut run = Run::new(plan);
    loop {
        let next = Sequence(run.sequence().0 + 1);
        let records = journal.read(id, next).await?;
        if records.is_empty() {
            return Ok(run);
        }
        for record in &records {
            run.replay(record)
                .map_err(|gap| StoreError::Corrupt(format!("the journal of plan {id}: {gap}")))?;
        }
    }
}
