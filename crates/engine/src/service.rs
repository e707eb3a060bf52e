//! `PlanningService`: everything L05 does, as a library. Each surface is a shell around it.

mod agents;
mod approval;
mod builder;
mod cached;
mod driving;
mod planning;
mod recent;
mod starting;
mod strategy;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use l05_core::catalog::ToolCatalog;
use l05_core::goal::input::InputPolicy;
use l05_core::id::{PlanId, TaskIndex, WorkerId};
use l05_core::plan::{Plan, PlanDocument, PlanStatus};
use l05_core::template::TemplateLibrary;
use l05_core::time::Timestamp;
use l05_core::validate::{KnownAgents, PlanLimits, Validation, ValidationContext, validate};
use l05_core::{Error, ErrorCode};
use l05_run::Run;
use l05_run::explain::{Explanation, Topic, explain};
use l05_run::history::RunHistory;
use l05_run::public_event::{PublicEvent, planned, project};
use l05_run::record::{Actor, Record};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::cache::PlanCache;
use crate::cost_report::{self, CostReport};
use crate::decomposer::ModelDecomposer;
use crate::decomposer::bulkhead::Bulkhead;
use crate::driver::{DriverHandle, DriverMessage, RunEnd};
use crate::keys::PlanKeys;
use crate::observed_runs::ObservedRuns;
use crate::port::{Clock, HistoryPage, HistoryQuery, Journal, PlanCatalog, PlanSummary};
use crate::report::{self, PlanResult, StatusReport};

pub use approval::{AnswerOutcome, GateAnswer, PendingApproval};
pub use builder::{
    EXPERIENCE_DAYS_DEFAULT, IN_FLIGHT_MAX_DEFAULT, ServiceBuilder, TEMPLATE_THRESHOLD_DEFAULT,
    local_agent,
};
pub use planning::{PlanRequest, PlannedGoal, PlanningStrategy};
pub use watch::PlanWatcher;

/// How long running tasks may go on after [`PlanningService::shutdown`].
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// What [`PlanningService::adopt`] did.
#[derive(Debug, Default)]
pub struct AdoptedPlans {
    /// These go on here.
    pub plans: Vec<PlanId>,
    /// These cannot be gone on with.
    pub refused: Vec<(PlanId, Error)>,
}

/// The planning layer. Cheap to clone; all clones are one service.
#[derive(Clone)]
pub struct PlanningService {
    pub(crate) inner: Arc<ServiceState>,
}

pub(crate) struct ServiceState {
    journal: Arc<dyn Journal>,
    plans: Arc<dyn PlanCatalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) catalog: Arc<ToolCatalog>,
    templates: Arc<TemplateLibrary>,
    keys: PlanKeys,
    pub(crate) limits: PlanLimits,
    book: ObservedRuns,
    experience_days: u32,
    policy: InputPolicy,
    require_signed: bool,
    template_threshold: f64,
    fallback_threshold: f64,
    decomposer: Option<Arc<ModelDecomposer>>,
    /// Why there is no model, for whoever asks for one.
    no_model: Option<String>,
    cache: Arc<PlanCache>,
    /// For each template the digest of everything in it.
    template_digests: HashMap<String, String>,
    /// The digest of all tools' specifications, limits and prices.
    place_digest: String,
    matcher: Bulkhead,
    validator: Bulkhead,
    resolver: Bulkhead,
    worker: WorkerId,
    answer_within_millis: Option<u64>,
    recent: recent::RecentPlans,
    starting: starting::RunStarts,
    driver: DriverHandle,
}

impl PlanningService {
    /// A service whose every part can be replaced.
    pub fn builder() -> ServiceBuilder {
        ServiceBuilder::default()
    }

    /// Who this service is to its store.
    pub fn worker(&self) -> WorkerId {
        self.inner.worker
    }

    /// The tools that plans may use.
    pub fn tools(&self) -> &ToolCatalog {
        &self.inner.catalog
    }

    /// The templates that goals are matched against.
    pub fn templates(&self) -> &TemplateLibrary {
        &self.inner.templates
    }

    /// Checks a document on all levels, against this service's tools, agents and limits, with
    /// estimates from its earlier runs.
    ///
    /// Err: too many validations are waiting (E5104).
    pub async fn validate(
        &self,
        document: PlanDocument,
        strict: bool,
    ) -> Result<Validation, Error> {
        let _place = self.inner.validator.enter(self.now()).await?;
        let knowledge = self.knowledge().await;
        let agents = self.inner.driver.agents();
        let (service, is_large) = (self.clone(), document.tasks.len() > TASKS_LARGE);
        let check = move || {
            let around = ValidationContext {
                catalog: &service.inner.catalog,
                agents: KnownAgents::Registered(&agents),
                knowledge: &knowledge,
                limits: service.inner.limits,
                now: service.now(),
                strict,
            };
            validate(document, &around)
        };
        Ok(blocking_if_large(is_large, check).await)
    }

    /// What a document's plan would take: estimate and bound, whatever else is wrong with it.
    pub async fn estimate_cost(&self, document: PlanDocument) -> Result<CostReport, Error> {
        let validation = self.validate(document.clone(), false).await?;
        match validation.figures {
            Some(figures) => Ok(CostReport::of(&document, figures.estimate, figures.bound)),
            None => {
                Err(l05_core::finding::findings_error(ErrorCode::PlanInvalid, &validation.errors))
            }
        }
    }

    /// What a stored plan was estimated to take, what today's history says, and what its runs took.
    pub async fn cost(&self, id: PlanId) -> Result<CostReport, Error> {
        let history = self.read_history(id).await?;
        let document = history.run().plan().document().clone();
        let mut costs = self.estimate_cost(document).await?;
        costs.actual = cost_report::actual(&history);
        Ok(costs)
    }

    /// Why the plan is as it is and what happened to it, retold from its records.
    pub async fn explain(&self, id: PlanId, topics: &[Topic]) -> Result<Vec<Explanation>, Error> {
        let plan = self.load(id).await?;
        let events = self.events(id).await?;
        Ok(topics.iter().map(|topic| explain(plan.document(), &events, *topic)).collect())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub(crate) fn book(&self) -> &ObservedRuns {
        &self.inner.book
    }

    /// Runs that ended before this are not counted.
    pub(crate) fn experience_from(&self) -> Timestamp {
        const DAY_MILLIS: i64 = 86_400_000;
        Timestamp(self.now().0 - i64::from(self.inner.experience_days) * DAY_MILLIS)
    }

    pub(crate) async fn newest_plans(&self, limit: usize) -> Result<Vec<PlanSummary>, Error> {
        let query = HistoryQuery { status: None, limit, before: None };
        Ok(self.inner.plans.list(query).await?.plans)
    }

    pub(crate) async fn all_records(&self, id: PlanId) -> Result<Vec<Record>, Error> {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let next = records.last().map_or(1, |last| last.first.0 + last.events.len() as u64);
            let more = self.inner.journal.read(id, l05_core::id::Sequence(next)).await?;
            if more.is_empty() {
                return Ok(records);
            }
            records.extend(more);
        }
    }

    /// Waits for the end of a run that this process drives, or until nothing happens to it before
    /// a person answers: its status tells which.
    pub async fn wait(&self, id: PlanId) -> Result<PlanStatus, Error> {
        let (reply, ended) = oneshot::channel();
        self.inner.driver.send(DriverMessage::AwaitEnd { plan: id, reply }).await?;
        match ended.await {
            Ok(RunEnd::Finished(status)) => Ok(status),
            Ok(RunEnd::Waiting) => Ok(self.status(id).await?.status),
            Ok(RunEnd::Paused(error)) => {
                // It may have ended before anybody asked.
                let status = self.status(id).await?.status;
                let over = matches!(
                    status,
                    PlanStatus::Completed | PlanStatus::Failed | PlanStatus::Cancelled
                );
                if over { Ok(status) } else { Err(error) }
            }
            Err(_) => Err(Error::new(ErrorCode::PlanNotExecutable, "the service has shut down")
                .suggest(format!("`l05 execute {id}` goes on"))),
        }
    }

    /// Starts a plan and waits for its result.
    pub async fn run(&self, id: PlanId) -> Result<PlanResult, Error> {
        self.execute(id).await?;
        self.wait(id).await?;
        self.result(id).await
    }

    /// What a run came to, as far as it went.
    pub async fn result(&self, id: PlanId) -> Result<PlanResult, Error> {
        report::result(&*self.inner.journal, &self.read_history(id).await?).await
    }

    /// Where a plan stands.
    pub async fn status(&self, id: PlanId) -> Result<StatusReport, Error> {
        let history = self.read_history(id).await?;
        let owned = self.inner.journal.is_owned(id).await?;
        Ok(report::status(&history, owned, self.now()))
    }

    /// The plan document with what its runs added.
    pub async fn details(&self, id: PlanId) -> Result<Value, Error> {
        report::details(&*self.inner.journal, &self.read_history(id).await?).await
    }

    /// All events of a plan.
    pub async fn events(&self, id: PlanId) -> Result<Vec<PublicEvent>, Error> {
        let plan = self.load(id).await?;
        let mut events = planned(&plan);
        let mut history = RunHistory::new(plan);
        self.each_record(&mut history, |run, record| events.extend(project(run, record))).await?;
        Ok(events)
    }

    /// Follows a plan's events from the beginning until it ends, whoever drives it.
    pub async fn watch(&self, id: PlanId) -> Result<PlanWatcher, Error> {
        Ok(PlanWatcher::new(self.inner.journal.clone(), self.load(id).await?))
    }

    /// Plans, newest first.
    pub async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, Error> {
        Ok(self.inner.plans.list(query).await?)
    }

    /// The plan that an id or the beginning of one means.
    pub async fn find(&self, text: &str) -> Result<PlanId, Error> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let prefix = text.to_ascii_lowercase();
        let long_enough = prefix.len() >= ID_PREFIX_MIN;
        let looks_right = prefix.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        if !long_enough || !looks_right {
            return Err(unknown(text));
        }
        match self.inner.plans.find(prefix).await?[..] {
            [only] => Ok(only),
            [] => Err(unknown(text)),
            _ => Err(unknown(text).suggest("several plans begin so: give more of the id")),
        }
    }

    /// Stops: nothing new starts, running tasks get the grace, then their executors are told to
    /// stop. What is cut off goes on in the next process that executes it.
    pub async fn shutdown(&self) {
        let (reply, stopped) = oneshot::channel();
        let stop = DriverMessage::Stop { grace: SHUTDOWN_GRACE, reply };
        if self.inner.driver.send(stop).await.is_ok() {
            let _ = stopped.await;
        }
        if let Err(error) = self.inner.journal.resign(self.inner.worker).await {
            tracing::debug!(%error, "the lease was not given back; it runs out");
        }
    }

    /// A stored plan, its signature checked.
    pub async fn load(&self, id: PlanId) -> Result<Arc<Plan>, Error> {
        let stored = self.inner.plans.get(id).await?.ok_or_else(|| unknown(&id.to_string()))?;
        let _place = self.inner.resolver.enter(self.now()).await?;
        let (service, is_large) = (self.clone(), stored.document.len() > BYTES_LARGE);
        blocking_if_large(is_large, move || service.open(id, &stored.document)).await
    }

    fn open(&self, id: PlanId, stored: &[u8]) -> Result<Arc<Plan>, Error> {
        let value: Value = serde_json::from_slice(stored).map_err(|e| {
            Error::new(ErrorCode::SignatureInvalid, format!("the stored plan {id} is damaged: {e}"))
        })?;
        let document = PlanDocument::read(&value).map_err(|findings| {
            l05_core::finding::findings_error(ErrorCode::SignatureInvalid, &findings)
        })?;
        let plan = self.inner.keys.open(document)?;
        if plan.id() != id {
            let message = format!("the store gives plan {} for {id}", plan.id());
            return Err(Error::new(ErrorCode::SignatureInvalid, message));
        }
        Ok(Arc::new(plan))
    }

    async fn read_history(&self, id: PlanId) -> Result<RunHistory, Error> {
        let mut history = RunHistory::new(self.load(id).await?);
        self.each_record(&mut history, |_, _| {}).await?;
        Ok(history)
    }

    async fn each_record(
        &self,
        history: &mut RunHistory,
        mut visit: impl FnMut(&Run, &Record),
    ) -> Result<(), Error> {
        let id = history.run().plan().id();
        loop {
            let next = l05_core::id::Sequence(history.run().sequence().0 + 1);
            let records = self.inner.journal.read(id, next).await?;
            if records.is_empty() {
                return Ok(());
            }
            for record in &records {
                history.add(record).map_err(|gap| {
                    let message = format!("the journal of plan {id}: {gap}");
                    Error::new(ErrorCode::JournalCorrupt, message)
                })?;
                visit(history.run(), record);
            }
        }
    }
}

/// From here on, checking or opening a plan would hold up the runs of this process: some 5 ms.
const TASKS_LARGE: usize = 1_000;
const BYTES_LARGE: usize = 512 << 10;

/// Long work goes to a thread that may block; short work is done at once.
async fn blocking_if_large<T: Send + 'static>(
    is_large: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if !is_large {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// The shortest beginning of an id that is looked up.
const ID_PREFIX_MIN: usize = 4;

fn local() -> Actor {
    "local".into()
}

fn unknown(id: &str) -> Error {
    Error::new(ErrorCode::PlanNotFound, format!("there is no plan `{id}`")).detail("plan_id", id)
}

/// A task of the run: items of fan-outs, too.
fn run_task(run: &Run, name: &str) -> Result<TaskIndex, Error> {
    run.find(name).ok_or_else(|| no_task(run.plan(), name))
}

fn no_task(plan: &Plan, name: &str) -> Error {
    {
        let ids = plan.document().tasks.iter().map(|task| task.task_id.as_str());
        let near = l05_core::suggest::nearest(name, ids);
        let hint = l05_core::suggest::did_you_mean(&near);
        Error::new(ErrorCode::PlanNotFound, format!("the plan has no task `{name}`{hint}"))
            .suggest(format!("`l05 show {}` lists its tasks", plan.id()))
    }
}
