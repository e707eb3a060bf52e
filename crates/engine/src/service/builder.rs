//! Putting a service together.

use std::sync::Arc;

use l05_core::agent::{Agent, AgentCapacity, AgentStatus, LOCAL_AGENT, LOCAL_AGENT_TYPE};
use l05_core::caller::Caller;
use l05_core::catalog::ToolCatalog;
use l05_core::id::WorkerId;
use l05_core::template::{Template, TemplateLibrary};
use l05_core::time::Timestamp;
use l05_core::{Error, ErrorCode};
use l05_run::command::OwnWorkspace;
use uuid::Uuid;

use super::planning::Planning;
use super::reading::Reading;
use super::recent::RecentPlans;
use super::running::{LocalAgentRules, Probation, RunStarts, Running};
use super::{PlanningService, ServiceParts};
use crate::cache::PlanCache;
use crate::decomposer::ModelDecomposer;
use crate::decomposer::bulkhead::Bulkhead;
use crate::driver::{Driver, ExecutorSet, ModelTasks};
use crate::evaluations::EvaluationPort;
use crate::hub::EventHub;
use crate::keys::{MasterKey, PlanKeys};
use crate::memory::MemoryStore;
use crate::observed_runs::ObservedRuns;
use crate::port::{
    Clock, Evaluator, Executor, HistoryQuery, Journal, ModelGateway, PlanCatalog, PlanSummary,
    SystemClock, ThreadEvaluator, WorkspaceFinder, WorkspaceFolder,
};
use crate::records::RecordWriter;
use crate::rules::{IN_FLIGHT_MAX_DEFAULT, ServiceRules};
use crate::shard::ShardRules;
use crate::tool_catalog::{CatalogHandle, debug_digest};
use crate::workspaces::{BoundWorkspaces, OtherWorkspaces, RunWorkspaces};

/// The pause between two looks at runs for stragglers, deadlines and standstill.
const OBSERVE_MILLIS: u64 = 1_000;

/// The parts of a service. What is not set has its embedded default: memory instead of a disk, no
/// tools, no templates, a key that lives as long as the process.
pub struct ServiceBuilder {
    journal: Arc<dyn Journal>,
    plans: Arc<dyn PlanCatalog>,
    clock: Arc<dyn Clock>,
    executors: Vec<Arc<dyn Executor>>,
    catalog: Option<ToolCatalog>,
    templates: Vec<Template>,
    master_key: Option<MasterKey>,
    worker: WorkerId,
    gateway: Option<Arc<dyn ModelGateway>>,
    no_model: Option<String>,
    workspace: Option<WorkspaceFolder>,
    bound: Option<BoundWorkspaces>,
    evaluator: Arc<dyn Evaluator>,
    rules: ServiceRules,
}

impl Default for ServiceBuilder {
    fn default() -> ServiceBuilder {
        let store = Arc::new(MemoryStore::new());
        ServiceBuilder {
            journal: store.clone(),
            plans: store,
            clock: Arc::new(SystemClock),
            executors: Vec::new(),
            catalog: None,
            templates: Vec::new(),
            master_key: None,
            worker: WorkerId(Uuid::now_v7()),
            gateway: None,
            no_model: None,
            workspace: None,
            bound: None,
            evaluator: Arc::new(ThreadEvaluator),
            rules: ServiceRules::default(),
        }
    }
}

impl ServiceBuilder {
    /// The store of runs and plans.
    #[must_use]
    pub fn store<S: Journal + PlanCatalog + 'static>(mut self, store: Arc<S>) -> ServiceBuilder {
        self.journal = store.clone();
        self.plans = store;
        self
    }

    /// The name of this process in the store.
    #[must_use]
    pub fn worker(mut self, worker: WorkerId) -> ServiceBuilder {
        self.worker = worker;
        self
    }

    /// Another clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> ServiceBuilder {
        self.clock = clock;
        self
    }

    /// Adds an executor with its tools.
    #[must_use]
    pub fn executor(mut self, executor: Arc<dyn Executor>) -> ServiceBuilder {
        self.executors.push(executor);
        self
    }

    /// The folder that tools work in. Without one, tools that need a folder fail.
    #[must_use]
    pub fn workspace(mut self, folder: WorkspaceFolder) -> ServiceBuilder {
        self.workspace = Some(folder);
        self
    }

    /// Binds runs to the workspace that they are started in. `identity` is this process's, `finder` finds those of
    /// others. Without it runs are bound to none, and work in the folder of whoever drives them.
    #[must_use]
    pub fn bind_runs(
        mut self,
        identity: &str,
        finder: Arc<dyn WorkspaceFinder>,
        others: OtherWorkspaces,
    ) -> ServiceBuilder {
        self.bound = Some(BoundWorkspaces { identity: identity.into(), finder, others });
        self
    }

    /// Validates against this catalogue instead of the executors' own tools.
    #[must_use]
    pub fn catalog(mut self, catalog: ToolCatalog) -> ServiceBuilder {
        self.catalog = Some(catalog);
        self
    }

    /// Adds templates; one replaces an earlier one of the same id.
    #[must_use]
    pub fn templates(mut self, templates: impl IntoIterator<Item = Template>) -> ServiceBuilder {
        self.templates.extend(templates);
        self
    }

    /// The root of all keys. Plans signed under another cannot be opened.
    #[must_use]
    pub fn master_key(mut self, key: MasterKey) -> ServiceBuilder {
        self.master_key = Some(key);
        self
    }

    /// Plans by this model where templates do not fit, and does LLM_CALL tasks with it.
    #[must_use]
    pub fn model(mut self, gateway: Arc<dyn ModelGateway>) -> ServiceBuilder {
        self.gateway = Some(gateway);
        self
    }

    /// The reason for which there is no model, for the error of whoever asks for one.
    #[must_use]
    pub fn no_model(mut self, why: impl Into<String>) -> ServiceBuilder {
        self.no_model = Some(why.into());
        self
    }

    /// Evaluates what is not provably small of the text in plans. Without one, threads of this process do.
    #[must_use]
    pub fn evaluator(mut self, evaluator: Arc<dyn Evaluator>) -> ServiceBuilder {
        self.evaluator = evaluator;
        self
    }

    /// Limits, thresholds and times.
    #[must_use]
    pub fn rules(mut self, rules: ServiceRules) -> ServiceBuilder {
        self.rules = rules;
        self
    }

    /// Plans of the store, before any service is started on it.
    pub async fn plans(&self, query: HistoryQuery) -> Result<Vec<PlanSummary>, Error> {
        Ok(self.plans.list(query).await?.plans)
    }

    /// Starts the service on the current tokio runtime (the platform's `initialize`).
    pub fn build(self) -> Result<PlanningService, Error> {
        let mut rules = self.rules;
        if let Some(gateway) = &self.gateway {
            let model = gateway.identity().model;
            rules.estimates.default_model = Some(model).filter(|model| !model.is_empty());
        }
        let rules = Arc::new(rules);
        let catalog = Arc::new(CatalogHandle::new(self.executors, self.catalog)?);
        let master = match self.master_key {
            Some(key) => key,
            None => MasterKey::generate()?,
        };
        let evaluations = EvaluationPort::new(self.evaluator);
        let decomposer = self.gateway.map(|gateway| {
            let size = rules.bulkheads.decomposer;
            Arc::new(ModelDecomposer::new(gateway, rules.model, size, &rules.estimates))
        });
        let model_tasks = decomposer.as_ref().map(|decomposer| {
            let tasks =
                ModelTasks::new(decomposer.clone(), self.clock.clone(), evaluations.clone());
            Arc::new(tasks) as Arc<dyn Executor>
        });
        let local_agent = LocalAgentRules {
            capacity: rules.capacity,
            in_flight_max: rules.in_flight_max.max(1),
            has_model: decomposer.is_some(),
        };
        let hub = EventHub::new(self.journal.clone());
        let tools = catalog.snapshot();
        let own = self.bound.as_ref().map(|bound| {
            Arc::new(OwnWorkspace { identity: bound.identity.clone(), tools: tools.of_workspace() })
        });
        let workspaces = RunWorkspaces { own: self.workspace.map(Arc::new), bound: self.bound };
        let driver = Driver::spawn(
            self.journal.clone(),
            hub.clone(),
            self.clock.clone(),
            (
                ExecutorSet::new(catalog.clone(), model_tasks, workspaces.clone()),
                evaluations.clone(),
            ),
            self.worker,
            ShardRules {
                in_flight_max: rules.in_flight_max.max(1),
                local_agent: Some(local_agent.agent(&tools, self.clock.now())),
                routing: rules.routing,
                deaths_max: rules.deaths_max,
                observe_millis: OBSERVE_MILLIS,
                heartbeat_millis: (rules.heartbeat.as_millis() as u64).max(1),
                answer_within_millis: rules.answer_within_millis(),
                idempotent_tools: tools.idempotent(),
                workspace: own.clone(),
            },
        );
        let recent = Arc::new(RecentPlans::default());
        let reading = Arc::new(Reading {
            journal: self.journal.clone(),
            plans: self.plans,
            keys: PlanKeys::derive(&master),
            clock: self.clock.clone(),
            resolver: Bulkhead::new(
                "graph resolution",
                rules.bulkheads.resolver,
                ErrorCode::ResolverBusy,
            ),
            hub: hub.clone(),
        });
        let running = Arc::new(Running {
            reading: reading.clone(),
            driver: driver.clone(),
            writer: RecordWriter::new(self.journal, hub),
            worker: self.worker,
            local_agent,
            answer_within_millis: rules.answer_within_millis(),
            recent: recent.clone(),
            starting: RunStarts::default(),
            probation: Probation::default(),
            workspaces,
            own_workspace: own,
        });
        let planning = Arc::new(Planning {
            reading: reading.clone(),
            catalog,
            template_digests: self
                .templates
                .iter()
                .map(|t| (t.id.clone(), debug_digest(t)))
                .collect(),
            templates: Arc::new(TemplateLibrary::new(self.templates)),
            // Estimate, bound and approval of a plan follow from these.
            rules_digest: debug_digest(&(rules.limits, &rules.estimates.prices)),
            observed: ObservedRuns::new(rules.estimates.clone()),
            decomposer,
            no_model: self.no_model,
            cache: PlanCache::new(
                rules.cache.clone(),
                master.hmac_key("cache-key"),
                master.hmac_key("cache-entry"),
                self.clock,
            ),
            matcher: Bulkhead::new(
                "template matching",
                rules.bulkheads.template_matcher,
                ErrorCode::TemplateMatcherBusy,
            ),
            validator: Bulkhead::new(
                "validation",
                rules.bulkheads.validator,
                ErrorCode::ValidatorBusy,
            ),
            recent,
            evaluations,
            agents: driver.watch_agents(),
            rules,
        });
        let parts = Arc::new(ServiceParts { reading, planning, running });
        Ok(PlanningService { parts, caller: Arc::new(Caller::local()) })
    }
}

/// Makes this process an agent: it runs the tools, one task a slot of the process.
pub fn local_agent(catalog: &ToolCatalog, capacity: AgentCapacity, now: Timestamp) -> Agent {
    let tools = catalog.names().map(|name| format!("tool:{name}"));
    let declared = catalog.iter().flat_map(|tool| tool.spec.capabilities.iter().cloned());
    Agent {
        agent_id: LOCAL_AGENT.to_owned(),
        agent_type: LOCAL_AGENT_TYPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").parse().expect("cargo checks package versions"),
        capabilities: tools.chain(declared).collect(),
        status: AgentStatus::Available,
        max_concurrent_tasks: IN_FLIGHT_MAX_DEFAULT,
        capacity,
        current_load: 0,
        roles: Vec::new(),
        team: None,
        endpoint: None,
        last_heartbeat: now,
    }
}
