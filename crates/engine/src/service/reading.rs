//! Reading: plans and what their journals tell. The planning and the running part stand on it.

use std::sync::Arc;

use l05_core::finding::findings_error;
use l05_core::id::{PlanId, Sequence, TaskIndex};
use l05_core::plan::{Plan, PlanDocument};
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use l05_run::Run;
use l05_run::explain::{Explanation, Topic, explain};
use l05_run::history::RunHistory;
use l05_run::public_event::{PublicEvent, planned, project};
use l05_run::record::Record;
use serde_json::Value;

use super::blocking_if_large;
use super::watch::PlanWatcher;
use crate::decomposer::bulkhead::Bulkhead;
use crate::hub::EventHub;
use crate::keys::PlanKeys;
use crate::port::{Clock, HistoryPage, HistoryQuery, Journal, PlanCatalog, PlanSummary};
use crate::report::{self, PlanResult, StatusReport};

/// From here on, opening a plan would hold up the runs of this process: some 5 ms.
const BYTES_LARGE: usize = 512 << 10;
/// The shortest beginning of an id that is looked up.
const ID_PREFIX_MIN: usize = 4;

/// The part of a service that reads.
pub(super) struct Reading {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) plans: Arc<dyn PlanCatalog>,
    pub(super) keys: PlanKeys,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) resolver: Bulkhead,
    pub(super) hub: Arc<EventHub>,
}

impl Reading {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A stored plan, its signature checked.
    pub(super) async fn load(self: &Arc<Self>, id: PlanId) -> Result<Arc<Plan>, Error> {
        let stored = self.plans.get(id).await?.ok_or_else(|| unknown(&id.to_string()))?;
        let _place = self.resolver.enter(self.now()).await?;
        let (reading, is_large) = (self.clone(), stored.document.len() > BYTES_LARGE);
        blocking_if_large(is_large, move || reading.open(id, &stored.document)).await
    }

    fn open(&self, id: PlanId, stored: &[u8]) -> Result<Arc<Plan>, Error> {
        let value: Value = serde_json::from_slice(stored).map_err(|e| {
            let message = format!("the stored plan {id} is damaged: {e}");
            Error::new(ErrorCode::SignatureInvalid, message)
        })?;
        let document = PlanDocument::read(&value)
            .map_err(|findings| findings_error(ErrorCode::SignatureInvalid, &findings))?;
        let plan = self.keys.open(document)?;
        if plan.id() != id {
            let message = format!("the store gives plan {} for {id}", plan.id());
            return Err(Error::new(ErrorCode::SignatureInvalid, message));
        }
        Ok(Arc::new(plan))
    }

    /// The plan that an id or the beginning of one means.
    pub(super) async fn find(&self, text: &str) -> Result<PlanId, Error> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let prefix = text.to_ascii_lowercase();
        let long_enough = prefix.len() >= ID_PREFIX_MIN;
        let looks_right = prefix.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        if !long_enough || !looks_right {
            return Err(unknown(text));
        }
        match self.plans.find(prefix).await?[..] {
            [only] => Ok(only),
            [] => Err(unknown(text)),
            _ => Err(unknown(text).suggest("several plans begin so: give more of the id")),
        }
    }

    pub(super) async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, Error> {
        Ok(self.plans.list(query).await?)
    }

    pub(super) async fn newest_plans(&self, limit: usize) -> Result<Vec<PlanSummary>, Error> {
        let query = HistoryQuery { status: None, limit, before: None };
        Ok(self.plans.list(query).await?.plans)
    }

    pub(super) async fn all_records(&self, id: PlanId) -> Result<Vec<Record>, Error> {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let next = records.last().map_or(1, |last| last.first.0 + last.events.len() as u64);
            let more = self.journal.read(id, Sequence(next)).await?;
            if more.is_empty() {
                return Ok(records);
            }
            records.extend(more);
        }
    }

    /// The fold of a plan's journal.
    pub(super) async fn read_history(self: &Arc<Self>, id: PlanId) -> Result<RunHistory, Error> {
        let mut history = RunHistory::new(self.load(id).await?);
        self.each_record(&mut history, |_, _| {}).await?;
        Ok(history)
    }

    async fn each_record(
        &self,
        history: &mut RunHistory,
        mut visit: impl FnMut(&RunHistory, &Record),
    ) -> Result<(), Error> {
        let id = history.run().plan().id();
        loop {
            let next = Sequence(history.run().sequence().0 + 1);
            let records = self.journal.read(id, next).await?;
            if records.is_empty() {
                return Ok(());
            }
            for record in &records {
                history.add(record).map_err(|gap| {
                    let message = format!("the journal of plan {id}: {gap}");
                    Error::new(ErrorCode::JournalCorrupt, message)
                })?;
                visit(history, record);
            }
        }
    }

    pub(super) async fn events(self: &Arc<Self>, id: PlanId) -> Result<Vec<PublicEvent>, Error> {
        let plan = self.load(id).await?;
        let mut events = planned(&plan);
        let mut history = RunHistory::new(plan);
        self.each_record(&mut history, |history, record| events.extend(project(history, record)))
            .await?;
        Ok(events)
    }

    pub(super) async fn explain(
        self: &Arc<Self>,
        id: PlanId,
        topics: &[Topic],
    ) -> Result<Vec<Explanation>, Error> {
        let plan = self.load(id).await?;
        let events = self.events(id).await?;
        Ok(topics.iter().map(|topic| explain(plan.document(), &events, *topic)).collect())
    }

    pub(super) async fn watch(self: &Arc<Self>, id: PlanId) -> Result<PlanWatcher, Error> {
        let plan = self.load(id).await?;
        Ok(PlanWatcher::new(self.journal.clone(), self.hub.clone(), plan))
    }

    pub(super) async fn result(self: &Arc<Self>, id: PlanId) -> Result<PlanResult, Error> {
        report::result(&*self.journal, &self.read_history(id).await?).await
    }

    pub(super) async fn status(self: &Arc<Self>, id: PlanId) -> Result<StatusReport, Error> {
        let history = self.read_history(id).await?;
        let owned = self.journal.is_owned(id).await?;
        Ok(report::status(&history, owned, self.now()))
    }

    pub(super) async fn run_count(self: &Arc<Self>, id: PlanId) -> Result<u16, Error> {
        Ok(self.read_history(id).await?.run().number())
    }

    pub(super) async fn details(self: &Arc<Self>, id: PlanId) -> Result<Value, Error> {
        report::details(&*self.journal, &self.read_history(id).await?).await
    }
}

pub(super) fn unknown(id: &str) -> Error {
    Error::new(ErrorCode::PlanNotFound, format!("there is no plan `{id}`")).detail("plan_id", id)
}

/// A task of the run: items of fan-outs, too.
pub(super) fn run_task(run: &Run, name: &str) -> Result<TaskIndex, Error> {
    run.find(name).ok_or_else(|| no_task(run.plan(), name))
}

pub(super) fn no_task(plan: &Plan, name: &str) -> Error {
    let ids = plan.document().tasks.iter().map(|task| task.task_id.as_str());
    let near = l05_core::suggest::nearest(name, ids);
    let hint = l05_core::suggest::did_you_mean(&near);
    Error::new(ErrorCode::PlanNotFound, format!("the plan has no task `{name}`{hint}"))
        .suggest(format!("`l05 show {}` lists its tasks", plan.id()))
}
