//! Putting a service together.

use std::sync::Arc;
use std::time::Duration;

use l05_core::agent::LOCAL_AGENT;
use l05_core::agent::{Agent, AgentCapacity, AgentStatus, LOCAL_AGENT_TYPE, MODEL_CAPABILITY};
use l05_core::catalog::ToolCatalog;
use l05_core::estimate::EstimateBasis;
use l05_core::goal::input::InputPolicy;
use l05_core::id::WorkerId;
use l05_core::schedule::RoutingStrategy;
use l05_core::template::{Template, TemplateLibrary};
use l05_core::time::Timestamp;
use l05_core::validate::PlanLimits;
use l05_core::{Error, ErrorCode};
use uuid::Uuid;

use super::{PlanningService, ServiceState};
use crate::cache::{CacheRules, PlanCache};
use crate::decomposer::bulkhead::Bulkhead;
use crate::decomposer::{BulkheadSizes, ModelDecomposer, ModelRules};
use crate::driver::{Driver, ExecutorSet, ModelTasks};
use crate::keys::{MasterKey, PlanKeys};
use crate::memory::MemoryStore;
use crate::observed_runs::ObservedRuns;
use crate::port::{Clock, Executor, Journal, ModelGateway, PlanCatalog, SystemClock};
use crate::shard::{HEARTBEAT_MILLIS_DEFAULT, ShardRules};

/// Attempts in flight over all plans of a process, when nothing else is said. Each is a tokio task
/// and, for most tools, a thread of the blocking pool while it works.
pub const IN_FLIGHT_MAX_DEFAULT: u32 = 1_000;
/// How often runs are looked at for stragglers, deadlines and standstill.
const OBSERVE_MILLIS: u64 = 1_000;
/// The confidence from which a template is taken (spec 02, 2.2).
pub const TEMPLATE_THRESHOLD_DEFAULT: f64 = 0.85;

/// The confidence from which a template is taken when the model failed (spec 02, 2.2).
const FALLBACK_THRESHOLD_DEFAULT: f64 = 0.5;

/// Days that earlier runs count for estimates (spec 06, rolling_average_window_days).
pub const EXPERIENCE_DAYS_DEFAULT: u32 = 30;

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
    limits: PlanLimits,
    knowledge: EstimateBasis,
    experience_days: u32,
    capacity: AgentCapacity,
    policy: InputPolicy,
    require_signed: bool,
    template_threshold: f64,
    fallback_threshold: f64,
    gateway: Option<Arc<dyn ModelGateway>>,
    no_model: Option<String>,
    model_rules: ModelRules,
    bulkheads: BulkheadSizes,
    cache: CacheRules,
    in_flight_max: u32,
    answer_within: Option<Duration>,
    routing: RoutingStrategy,
    heartbeat: Duration,
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
            limits: PlanLimits::default(),
            knowledge: EstimateBasis::default(),
            experience_days: EXPERIENCE_DAYS_DEFAULT,
            capacity: capacity_default(),
            policy: InputPolicy::Strict,
            require_signed: false,
            template_threshold: TEMPLATE_THRESHOLD_DEFAULT,
            fallback_threshold: FALLBACK_THRESHOLD_DEFAULT,
            gateway: None,
            no_model: None,
            model_rules: ModelRules::default(),
            bulkheads: BulkheadSizes::default(),
            cache: CacheRules::default(),
            in_flight_max: IN_FLIGHT_MAX_DEFAULT,
            answer_within: None,
            routing: RoutingStrategy::Balanced,
            heartbeat: Duration::from_millis(HEARTBEAT_MILLIS_DEFAULT),
        }
    }
}

impl ServiceBuilder {
    /// Where runs and plans are kept.
    #[must_use]
    pub fn store<S: Journal + PlanCatalog + 'static>(mut self, store: Arc<S>) -> ServiceBuilder {
        self.journal = store.clone();
        self.plans = store;
        self
    }

    /// Who this process is to the store.
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

    /// Limits on plans.
    #[must_use]
    pub fn limits(mut self, limits: PlanLimits) -> ServiceBuilder {
        self.limits = limits;
        self
    }

    /// Prices, and how estimates are made.
    #[must_use]
    pub fn knowledge(mut self, knowledge: EstimateBasis) -> ServiceBuilder {
        self.knowledge = knowledge;
        self
    }

    /// How many days earlier runs count for estimates.
    #[must_use]
    pub fn experience_days(mut self, days: u32) -> ServiceBuilder {
        self.experience_days = days;
        self
    }

    /// What this machine has for tasks.
    #[must_use]
    pub fn capacity(mut self, capacity: AgentCapacity) -> ServiceBuilder {
        self.capacity = capacity;
        self
    }

    /// What goals may contain.
    #[must_use]
    pub fn policy(mut self, policy: InputPolicy) -> ServiceBuilder {
        self.policy = policy;
        self
    }

    /// Refuse plans that are handed in unsigned.
    #[must_use]
    pub fn require_signed_plans(mut self, required: bool) -> ServiceBuilder {
        self.require_signed = required;
        self
    }

    /// The confidence from which a template is taken, 0 to 1.
    #[must_use]
    pub fn template_threshold(mut self, threshold: f64) -> ServiceBuilder {
        self.template_threshold = threshold;
        self
    }

    /// The confidence from which a template is taken when the model failed, 0 to 1.
    #[must_use]
    pub fn fallback_threshold(mut self, threshold: f64) -> ServiceBuilder {
        self.fallback_threshold = threshold;
        self
    }

    /// Plans by this model where templates do not fit, and does LLM_CALL tasks with it.
    #[must_use]
    pub fn model(mut self, gateway: Arc<dyn ModelGateway>, rules: ModelRules) -> ServiceBuilder {
        self.gateway = Some(gateway);
        self.model_rules = rules;
        self
    }

    /// Why there is no model, for the error of whoever asks for one.
    #[must_use]
    pub fn no_model(mut self, why: impl Into<String>) -> ServiceBuilder {
        self.no_model = Some(why.into());
        self
    }

    /// How many of each kind of work may be under way, and wait.
    #[must_use]
    pub fn bulkheads(mut self, sizes: BulkheadSizes) -> ServiceBuilder {
        self.bulkheads = sizes;
        self
    }

    /// How plans are cached; by default in this process, for an hour.
    #[must_use]
    pub fn cache(mut self, rules: CacheRules) -> ServiceBuilder {
        self.cache = rules;
        self
    }

    /// Attempts in flight over all plans.
    #[must_use]
    pub fn in_flight_max(mut self, attempts: u32) -> ServiceBuilder {
        self.in_flight_max = attempts.max(1);
        self
    }

    /// How long a person has to answer before no answer counts as a refusal; for ever by default.
    #[must_use]
    pub fn answer_within(mut self, time: Option<Duration>) -> ServiceBuilder {
        self.answer_within = time;
        self
    }

    /// How a task finds its agent, where several are registered.
    #[must_use]
    pub fn routing(mut self, routing: RoutingStrategy) -> ServiceBuilder {
        self.routing = routing;
        self
    }

    /// How often registered agents are to be heard of; one that misses three times is given up.
    #[must_use]
    pub fn heartbeat(mut self, time: Duration) -> ServiceBuilder {
        self.heartbeat = time.max(Duration::from_millis(1));
        self
    }

    /// Starts the service on the current tokio runtime (the platform's `initialize`).
    pub fn build(self) -> Result<PlanningService, Error> {
        let catalog = match self.catalog {
            Some(catalog) => catalog,
            None => {
                let specs = self.executors.iter().flat_map(|executor| executor.tools());
                ToolCatalog::new(specs)
                    .map_err(|e| Error::new(ErrorCode::ConfigError, e.to_string()))?
            }
        };
        let catalog = Arc::new(catalog);
        let master = match self.master_key {
            Some(key) => key,
            None => MasterKey::generate()?,
        };
        let decomposer = self.gateway.map(|gateway| {
            Arc::new(ModelDecomposer::new(gateway, self.model_rules, self.bulkheads.decomposer))
        });
        let model: Option<Arc<dyn Executor>> = decomposer.as_ref().map(|decomposer| {
            let prices = self.knowledge.prices.clone();
            let tasks = ModelTasks::new(decomposer.clone(), self.clock.clone(), prices);
            Arc::new(tasks) as Arc<dyn Executor>
        });
        let workbench = ExecutorSet::new(&self.executors, model, catalog.clone());
        let idempotent = catalog.iter().filter(|tool| tool.spec.idempotent);
        let answer_within_millis = self.answer_within.map(|time| time.as_millis() as u64);
        let mut local = local_agent(&catalog, self.capacity, self.clock.now());
        local.max_concurrent_tasks = self.in_flight_max;
        if decomposer.is_some() {
            local.capabilities.push(MODEL_CAPABILITY.to_owned());
        }
        let rules = ShardRules {
            in_flight_max: self.in_flight_max,
            local_agent: Some(local),
            routing: self.routing,
            observe_millis: OBSERVE_MILLIS,
            heartbeat_millis: self.heartbeat.as_millis() as u64,
            answer_within_millis,
            idempotent_tools: idempotent.map(|tool| tool.spec.name.clone()).collect(),
        };
        let driver =
            Driver::spawn(self.journal.clone(), self.clock.clone(), workbench, self.worker, rules);
        let cache_key = master.hmac_key("cache-key");
        let cache = PlanCache::new(
            self.cache,
            cache_key,
            master.hmac_key("cache-entry"),
            self.clock.clone(),
        );
        let template_digests =
            self.templates.iter().map(|t| (t.id.clone(), debug_digest(t))).collect();
        let specs: Vec<_> = catalog.iter().map(|tool| &tool.spec).collect();
        // What a plan's estimate, bound and approval follow from is part of the place as well.
        let place_digest = debug_digest(&(&specs, self.limits, &self.knowledge.prices));
        let inner = ServiceState {
            journal: self.journal,
            plans: self.plans,
            clock: self.clock,
            catalog,
            templates: Arc::new(TemplateLibrary::new(self.templates)),
            keys: PlanKeys::derive(&master),
            limits: self.limits,
            book: ObservedRuns::new(self.knowledge),
            experience_days: self.experience_days,
            policy: self.policy,
            require_signed: self.require_signed,
            template_threshold: self.template_threshold,
            fallback_threshold: self.fallback_threshold,
            decomposer,
            cache,
            template_digests,
            place_digest,
            no_model: self.no_model,
            matcher: Bulkhead::new(
                "template matching",
                self.bulkheads.template_matcher,
                ErrorCode::TemplateMatcherBusy,
            ),
            validator: Bulkhead::new(
                "validation",
                self.bulkheads.validator,
                ErrorCode::ValidatorBusy,
            ),
            resolver: Bulkhead::new(
                "graph resolution",
                self.bulkheads.resolver,
                ErrorCode::ResolverBusy,
            ),
            worker: self.worker,
            answer_within_millis,
            recent: super::recent::RecentPlans::default(),
            starting: super::starting::RunStarts::default(),
            driver,
        };
        Ok(PlanningService { inner: Arc::new(inner) })
    }
}

/// A digest of everything that a value holds. Its form is of no account: it only has to change when
/// the value does.
fn debug_digest(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    l05_core::plan::digest_hex(&hash.as_ref()[..16])
}

/// This process as an agent: it runs the tools, one task a slot of the process.
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

/// The cores that the process may use, and the memory that a task may have by default.
fn capacity_default() -> AgentCapacity {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    AgentCapacity {
        cpu_cores: cores as f64,
        memory_mb: PlanLimits::default().memory_mb_per_task as u64,
    }
}
