//! `PlanningService`: everything L05 does, as a library. Each surface is a shell around it.
//!
//! The service is a door: its three parts do the work. Planning makes plans, running drives them,
//! and both stand on reading, which knows plans and journals. Every call is on record as its
//! [`Caller`]'s.

mod builder;
mod planning;
mod reading;
mod recent;
mod running;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;

use l05_core::agent::Agent;
use l05_core::caller::Caller;
use l05_core::catalog::ToolCatalog;
use l05_core::id::{PlanId, WorkerId};
use l05_core::plan::{Plan, PlanDocument, PlanStatus};
use l05_core::template::TemplateLibrary;
use l05_core::validate::Validation;
use l05_core::{Error, ErrorCode};
use l05_run::explain::{Explanation, Topic};
use l05_run::public_event::PublicEvent;
use serde::Serialize;
use serde_json::Value;

use crate::cache::{CacheInvalidation, CacheReport};
use crate::cost_report::{self, CostReport};
use crate::goal_record::GoalRecord;
use crate::port::{Executor, GoalQuery, HistoryPage, HistoryQuery, StoredGoal};
use crate::report::{PlanResult, StatusReport};
use crate::shard::AgentInput;
use planning::Planning;
use reading::Reading;
use running::Running;

pub use crate::driver::SHUTDOWN_GRACE;
pub use crate::hub::RunStanding;
pub use crate::request::{PlanRequest, PlanningStrategy};
pub use builder::{ServiceBuilder, local_agent};
pub use l05_run::command::NewBudget;
pub use planning::PlannedGoal;
pub use running::{AdoptedPlans, AnswerOutcome, GateAnswer, PendingApproval};
pub use watch::PlanWatcher;

/// The planning layer. Cheap to clone; all clones are one service.
#[derive(Clone)]
pub struct PlanningService {
    parts: Arc<ServiceParts>,
    caller: Arc<Caller>,
}

struct ServiceParts {
    reading: Arc<Reading>,
    planning: Arc<Planning>,
    running: Arc<Running>,
}

/// Figures of a service, for operators.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceStats {
    /// The plan cache.
    pub cache: CacheReport,
    /// Raised by each change of the tools.
    pub catalog_generation: u64,
    /// Tools that plans may use.
    pub tools: usize,
    /// Templates that goals are matched against.
    pub templates: usize,
    /// Agents that are there, this process among them.
    pub agents: usize,
}

/// The service itself.
impl PlanningService {
    /// A service whose every part can be replaced.
    pub fn builder() -> ServiceBuilder {
        ServiceBuilder::default()
    }

    /// The service for another caller: everything that is asked of it is on record as this
    /// caller's.
    #[must_use]
    pub fn as_caller(&self, caller: Caller) -> PlanningService {
        PlanningService { parts: self.parts.clone(), caller: Arc::new(caller) }
    }

    /// The caller that calls are on record as.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The name of this process in its store.
    pub fn worker(&self) -> WorkerId {
        self.running().worker
    }

    /// The tools that plans may use, as they are now.
    pub fn tools(&self) -> Arc<ToolCatalog> {
        self.planning().catalog.snapshot().tools.clone()
    }

    /// Asks all executors for their tools anew; whether anything has changed. Plans that are being made
    /// or run keep to the tools that they began with.
    pub async fn refresh_tools(&self) -> Result<bool, Error> {
        let Some(tools) = self.planning().catalog.refresh()? else { return Ok(false) };
        let local = self.running().local_agent(&tools);
        self.running().driver.set_tools(tools.idempotent(), local).await?;
        // The driver takes messages in turn: who has an answer to a later one knows the new tools.
        self.running().driver.all_agents().await?;
        Ok(true)
    }

    /// The templates that goals are matched against.
    pub fn templates(&self) -> &TemplateLibrary {
        &self.planning().templates
    }

    /// Figures for operators.
    pub fn stats(&self) -> ServiceStats {
        let tools = self.planning().catalog.snapshot();
        ServiceStats {
            cache: self.planning().cache_report(),
            catalog_generation: tools.generation,
            tools: tools.tools.iter().count(),
            templates: self.templates().templates().len(),
            agents: self.running().driver.agents().len(),
        }
    }

    /// Stops: nothing new starts, running tasks get the grace, then their executors are told to
    /// stop. What is cut off goes on in the next process that executes it.
    pub async fn shutdown(&self) {
        self.running().shutdown().await;
    }

    fn reading(&self) -> &Arc<Reading> {
        &self.parts.reading
    }

    fn planning(&self) -> &Arc<Planning> {
        &self.parts.planning
    }

    fn running(&self) -> &Arc<Running> {
        &self.parts.running
    }
}

/// Planning.
impl PlanningService {
    /// A goal becomes a plan: checked, decomposed, validated, signed, stored.
    pub async fn create_plan(&self, request: impl Into<PlanRequest>) -> Result<PlannedGoal, Error> {
        self.planning().create_plan(request.into()).await
    }

    /// Goals and what planning made of them, newest first.
    pub async fn goals(&self, query: GoalQuery) -> Result<Vec<GoalRecord>, Error> {
        let goals = self.reading().plans.goals(query).await?;
        let read = |goal: StoredGoal| {
            serde_json::from_slice(&goal.record).map_err(|e| {
                let message = format!("the record of goal `{}` is damaged: {e}", goal.goal_id);
                Error::new(ErrorCode::JournalCorrupt, message)
            })
        };
        goals.into_iter().map(read).collect()
    }

    /// A goal becomes a plan, which is executed; its result. A plan that waits for a person gives the
    /// result so far.
    pub async fn create_and_execute(
        &self,
        request: impl Into<PlanRequest>,
    ) -> Result<PlanResult, Error> {
        let planned = self.create_plan(request).await?;
        self.run(planned.plan.id()).await
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
        self.planning().validate(document, strict).await
    }

    /// A plan that somebody hands in. Signed: it must be as it was signed, and keeps its identity.
    /// Unsigned: it is validated and signed as a new plan.
    pub async fn accept(&self, document: PlanDocument, strict: bool) -> Result<PlannedGoal, Error> {
        self.planning().accept(document, strict).await
    }

    /// Estimate and bound of a document's plan, whatever else is wrong with it.
    pub async fn estimate_cost(&self, document: PlanDocument) -> Result<CostReport, Error> {
        self.planning().estimate_cost(document).await
    }

    /// The estimate and the bound of a stored plan by today's history, and what its runs took.
    pub async fn cost(&self, id: PlanId) -> Result<CostReport, Error> {
        let history = self.reading().read_history(id).await?;
        let document = history.run().plan().document().clone();
        let mut costs = self.planning().estimate_cost(document).await?;
        costs.actual = cost_report::actual(&history);
        Ok(costs)
    }

    /// Forgets cached plans; how many the shared level had.
    pub async fn invalidate(&self, what: &CacheInvalidation) -> Result<usize, Error> {
        self.planning().invalidate(what).await
    }
}

/// Running.
impl PlanningService {
    /// Starts a plan, or goes on with one whose process is gone. Returns when the start is durable.
    pub async fn execute(&self, id: PlanId) -> Result<(), Error> {
        self.running().execute(id, &self.caller).await
    }

    /// Waits for the end of a run that this process drives, or until nothing happens to it before
    /// a person answers: its status tells which.
    pub async fn wait(&self, id: PlanId) -> Result<PlanStatus, Error> {
        self.running().wait(id).await
    }

    /// Starts a plan and waits for its result.
    pub async fn run(&self, id: PlanId) -> Result<PlanResult, Error> {
        self.running().run(id, &self.caller).await
    }

    /// Begins a run without driving it: its start is durable, and whoever adopts it goes on. A plan
    /// that has to be approved waits for that first; one that was interrupted is left as it is.
    pub async fn submit(&self, id: PlanId) -> Result<PlanStatus, Error> {
        self.running().submit(id, &self.caller).await
    }

    /// Goes on with runs that no living process drives, at most `limit` of them but for those that
    /// are `refused`: what cannot be gone on with comes back with its error, and its caller leaves
    /// it out for a while.
    pub async fn adopt(
        &self,
        limit: usize,
        refused: &HashSet<PlanId>,
    ) -> Result<AdoptedPlans, Error> {
        self.running().adopt(limit, refused, &self.caller).await
    }

    /// Lets go of a run that waits for people: its journal waits on, and any process may go on. False:
    /// it does not wait any more.
    pub async fn park(&self, id: PlanId) -> Result<bool, Error> {
        self.running().driver.park(id).await
    }

    /// A new run of a plan that ended: of what did not complete, or of a task and all behind it. It has what
    /// earlier runs left of the plan's budget.
    pub async fn retry(&self, id: PlanId, from_task: Option<&str>) -> Result<(), Error> {
        self.retry_with(id, from_task, NewBudget::default()).await
    }

    /// The same with a budget of its own, kind by kind.
    pub async fn retry_with(
        &self,
        id: PlanId,
        from_task: Option<&str>,
        budget: NewBudget,
    ) -> Result<(), Error> {
        self.running().retry(id, from_task, budget, &self.caller).await
    }

    /// Ends a plan. When another process drives it, that process is told.
    pub async fn cancel(&self, id: PlanId, reason: &str) -> Result<(), Error> {
        self.running().cancel(id, None, reason, &self.caller).await
    }

    /// Ends one task of a running plan; what needs it is blocked. Items of fan-outs are `map[3]`.
    pub async fn cancel_task(&self, id: PlanId, task: &str, reason: &str) -> Result<(), Error> {
        self.running().cancel(id, Some(task), reason, &self.caller).await
    }

    /// The approvals that a plan waits for.
    pub async fn open_gates(&self, id: PlanId) -> Result<Vec<PendingApproval>, Error> {
        self.running().open_gates(id).await
    }

    /// Answers what a plan waits for. Durable when it returns; a run that this process drives goes
    /// on, one that another drives is told, and one that nobody drives goes on when it is executed.
    pub async fn answer(&self, id: PlanId, answer: GateAnswer) -> Result<AnswerOutcome, Error> {
        self.running().answer(id, answer, &self.caller).await
    }

    /// Registers an agent: from now on it gets tasks that it can do, through `executor`, as long as
    /// it is heard of ([`PlanningService::heartbeat`]). Registering it again replaces what it was.
    pub async fn register_agent(
        &self,
        agent: Agent,
        executor: Arc<dyn Executor>,
    ) -> Result<(), Error> {
        self.running().register_agent(agent, executor).await
    }

    /// An agent lives. `load`, 0 to 100, is what it is busy with beside this process's tasks.
    pub async fn heartbeat(&self, agent_id: &str, load: Option<u8>) -> Result<(), Error> {
        let agent_id = agent_id.to_owned();
        self.running().tell_agent(AgentInput::Heard { agent_id, load }).await
    }

    /// An agent takes no new tasks; those that it has it may end.
    pub async fn drain_agent(&self, agent_id: &str) -> Result<(), Error> {
        self.running().tell_agent(AgentInput::Drained(agent_id.to_owned())).await
    }

    /// An agent is gone; its tasks go elsewhere.
    pub async fn remove_agent(&self, agent_id: &str) -> Result<(), Error> {
        self.running().tell_agent(AgentInput::Left(agent_id.to_owned())).await
    }

    /// All agents, this process among them, with how busy they are now.
    pub async fn agents(&self) -> Result<Vec<Agent>, Error> {
        self.running().driver.all_agents().await
    }
}

/// Reading.
impl PlanningService {
    /// The plan that an id or the beginning of one means.
    pub async fn find(&self, text: &str) -> Result<PlanId, Error> {
        self.reading().find(text).await
    }

    /// A stored plan, its signature checked.
    pub async fn load(&self, id: PlanId) -> Result<Arc<Plan>, Error> {
        self.reading().load(id).await
    }

    /// Plans, newest first.
    pub async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, Error> {
        self.reading().history(query).await
    }

    /// The standing of a plan.
    pub async fn status(&self, id: PlanId) -> Result<StatusReport, Error> {
        self.reading().status(id).await
    }

    /// The number of runs of a plan that have begun.
    pub async fn run_count(&self, id: PlanId) -> Result<u16, Error> {
        self.reading().run_count(id).await
    }

    /// The result of a run, as far as it went.
    pub async fn result(&self, id: PlanId) -> Result<PlanResult, Error> {
        self.reading().result(id).await
    }

    /// The plan document with what its runs added.
    pub async fn details(&self, id: PlanId) -> Result<Value, Error> {
        self.reading().details(id).await
    }

    /// All events of a plan.
    pub async fn events(&self, id: PlanId) -> Result<Vec<PublicEvent>, Error> {
        self.reading().events(id).await
    }

    /// Follows a plan's events from the beginning until it ends, whoever drives it.
    pub async fn watch(&self, id: PlanId) -> Result<PlanWatcher, Error> {
        self.reading().watch(id).await
    }

    /// The reasons for which a plan is as it is, and what happened to it, retold from its records.
    pub async fn explain(&self, id: PlanId, topics: &[Topic]) -> Result<Vec<Explanation>, Error> {
        self.reading().explain(id, topics).await
    }
}

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
