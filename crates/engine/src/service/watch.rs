//! Following a run from outside: reads the journal, whoever writes it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use l05_core::id::Sequence;
use l05_core::plan::{Plan, PlanStatus};
use l05_core::{Error, ErrorCode};
use l05_run::history::RunHistory;
use l05_run::public_event::{PublicEvent, planned, project};

use crate::port::Journal;

/// How often the journal is looked at while nothing comes. People watch; 50 ms look immediate.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Gives the events of a plan, oldest first, until it ends or its owner is gone.
pub struct PlanWatcher {
    journal: Arc<dyn Journal>,
    plan: Arc<Plan>,
    history: RunHistory,
    ready: VecDeque<PublicEvent>,
    over: bool,
}

impl PlanWatcher {
    pub(super) fn new(journal: Arc<dyn Journal>, plan: Arc<Plan>) -> PlanWatcher {
        let ready = planned(&plan).into();
        let history = RunHistory::new(plan.clone());
        PlanWatcher { journal, plan, history, ready, over: false }
    }

    /// The state after the events given so far, and those ready to be given.
    pub fn history(&self) -> &RunHistory {
        &self.history
    }

    /// The next event; `None` when the run has ended or nobody drives it any more.
    pub async fn next(&mut self) -> Result<Option<PublicEvent>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.over {
                return Ok(None);
            }
            // Asked before reading: an owner that ends in between has written everything by then.
            let owned = self.journal.is_owned(self.plan.id()).await?;
            if self.read().await? {
                continue;
            }
            let ended = matches!(
                self.history.run().status(),
                PlanStatus::Completed | PlanStatus::Failed | PlanStatus::Cancelled
            );
            if ended || !owned {
                self.over = true;
                continue;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// The next event that is there already; `None` when there is no more yet.
    pub async fn there(&mut self) -> Result<Option<PublicEvent>, Error> {
        if self.ready.is_empty() {
            self.read().await?;
        }
        Ok(self.ready.pop_front())
    }

    /// Reads what is new; whether there was anything.
    async fn read(&mut self) -> Result<bool, Error> {
        let next = Sequence(self.history.run().sequence().0 + 1);
        let records = self.journal.read(self.plan.id(), next).await?;
        for record in &records {
            self.history
                .add(record)
                .map_err(|gap| Error::new(ErrorCode::JournalCorrupt, gap.to_string()))?;
            self.ready.extend(project(self.history.run(), record));
        }
        Ok(!records.is_empty())
    }
}
