//! From configuration to service: the only place where ports meet their adapters.

mod model;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use l05_connect::evaluation_work::PooledEvaluator;
use l05_connect::evaluator::EvaluatorPool;
use l05_connect::workspace_identity::{self, LocalWorkspaces};
use l05_connect::{BuiltinTools, Workspace, keyfile, templates, tokens};
use l05_core::agent::{Agent, AgentCapacity, MODEL_CAPABILITY};
use l05_core::catalog::{ToolCatalog, read_catalog};
use l05_core::document::{DocumentFormat, TextLimits, parse};
use l05_core::estimate::EstimateBasis;
use l05_core::evaluation::EvaluationAnswers;
use l05_core::finding::findings_error;
use l05_core::plan::{DocumentReading, PlanDocument, PlanStatus};
use l05_core::template::Template;
use l05_core::validate::{
    ExecutorFinding, KnownAgents, PlanLimits, Validation, ValidationContext, examine, literal_calls,
};
use l05_core::{Error, ErrorCode};
use l05_engine::PlanningService;
use l05_engine::cache::CacheRules;
use l05_engine::evaluations::validate_in_rounds;
use l05_engine::port::{
    Clock as _, Evaluator, Executor as _, HistoryQuery, PlanSummary, SystemClock, ThreadEvaluator,
    WorkspaceFolder,
};
use l05_engine::rules::ServiceRules;
use l05_engine::service::{self, ServiceBuilder};
use l05_engine::workspaces::OtherWorkspaces;
use l05_store::{PostgresStore, RedisCache, SqliteStore};

pub use model::{ModelChoice, choose as choose_model};

use secrecy::ExposeSecret as _;

use crate::child;
use crate::config::{Config, TokenizerKind};

/// A service in memory over the present folder, with the built-in tools and templates: the
/// library's shortest use. Nothing survives the process but what tools write.
pub fn embedded() -> Result<PlanningService, Error> {
    builder()?.build()
}

/// The parts of [`embedded`], to be replaced or added to: a store, executors, templates, a model, rules.
pub fn builder() -> Result<ServiceBuilder, Error> {
    let here = std::env::current_dir().map_err(|e| unusable(Path::new("."), &e))?;
    let scratch = std::env::temp_dir().join(format!("l05-{}", std::process::id()));
    let evaluators = evaluators();
    let tools = BuiltinTools::new(scratch, &[]).with_evaluators(evaluators.clone());
    Ok(with_evaluators(PlanningService::builder(), evaluators)
        .executor(Arc::new(tools))
        .workspace(checked(WorkspaceFolder::new(here))?)
        .templates(templates::builtin()))
}

/// Processes that evaluate what others wrote; none where this program does not host them.
fn evaluators() -> Option<Arc<EvaluatorPool>> {
    child::helper_program().map(|program| Arc::new(EvaluatorPool::new(program)))
}

fn with_evaluators(builder: ServiceBuilder, pool: Option<Arc<EvaluatorPool>>) -> ServiceBuilder {
    match pool {
        Some(pool) => builder.evaluator(Arc::new(PooledEvaluator(pool))),
        None => builder,
    }
}

/// Reads a plan document; all problems of its form are one E5604.
pub fn read_plan(document: &serde_json::Value) -> Result<PlanDocument, Error> {
    PlanDocument::read(document)
        .map_err(|findings| findings_error(ErrorCode::PlanMalformed, &findings))
}

/// A service with what it told when it was made.
pub struct ComposedService {
    /// The service.
    pub service: PlanningService,
    /// The data folder was new and got a key of its own.
    pub key_is_new: bool,
}

/// The service that a configuration describes, on the data folder's store. `others`: the rule for runs of other
/// workspaces.
pub async fn service(config: &Config, others: OtherWorkspaces) -> Result<ComposedService, Error> {
    let folder = &config.data_dir;
    data_folder(folder).map_err(|e| unusable(folder, &e))?;
    let loaded = keyfile::load_or_create(folder)?;
    let workspace =
        WorkspaceFolder { path: config.workspace.clone(), private: Some(folder.clone()) };
    let workspace = checked(workspace)?;
    let identity = workspace_identity::identity(&workspace, config.workspace_id.as_deref())
        .map_err(|e| unusable(&workspace.path, &e))?;
    let finder = Arc::new(LocalWorkspaces { private: Some(folder.clone()) });
    let evaluators = evaluators();
    let tools = BuiltinTools::new(folder.join("runs"), &config.programs)
        .with_evaluators(evaluators.clone());
    model::check(&config.model)?;
    let choice = choose_model(config).await?;
    let rules = ServiceRules {
        model: choice.rules,
        capacity: capacity(config),
        cache: cache(config).await?,
        estimates: estimates(config),
        ..config.rules.clone()
    };
    let mut builder = with_evaluators(PlanningService::builder(), evaluators)
        .executor(Arc::new(tools))
        .workspace(workspace)
        .bind_runs(&identity, finder, others)
        .master_key(loaded.key)
        .templates(template_list(config)?)
        .rules(rules);
    builder = match choice.gateway {
        Some(gateway) => builder.model(gateway),
        None => builder.no_model(choice.why),
    };
    if let Some(path) = &config.catalog {
        builder = builder.catalog(catalog_file(path, config.text_limits)?);
    }
    let builder = with_store(builder, config).await?;
    Ok(ComposedService { service: builder.build()?, key_is_new: loaded.is_new })
}

/// The time that a command waits for Redis at its start: what is there answers at once, and what is
/// not is missed.
const REDIS_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// The plan cache. A Redis that is away is no error unless the configuration says so.
async fn cache(config: &Config) -> Result<CacheRules, Error> {
    let mut rules = config.cache_rules();
    if let Some(url) = config.redis_url() {
        let level = RedisCache::connect(url.expose_secret()).map_err(|error| {
            Error::new(ErrorCode::ConfigError, format!("cache.l2_redis_endpoint: {error}"))
                .suggest("write redis://host:6379, or rediss:// for TLS")
        })?;
        if let Err(error) = level.answers(REDIS_WITHIN).await {
            if rules.l2_required || (rules.required && rules.l1_plans == 0) {
                let message = format!("Redis does not answer: {error}");
                return Err(Error::new(ErrorCode::CacheUnavailable, message)
                    .suggest("start it, or drop cache.required and cache.l2_required"));
            }
            tracing::warn!(%error, "Redis does not answer: plans are cached in this process alone");
        }
        rules.l2 = Some(Arc::new(level));
    }
    Ok(rules)
}

/// True if the shared plan cache answers; none: there is none.
pub async fn redis_answers(config: &Config) -> Option<Result<(), String>> {
    let url = config.redis_url()?;
    let level = match RedisCache::connect(url.expose_secret()) {
        Ok(level) => level,
        Err(error) => return Some(Err(error.to_string())),
    };
    Some(level.answers(REDIS_WITHIN).await.map_err(|error| error.to_string()))
}

/// PostgreSQL where a URL is set, else SQLite in the data folder.
async fn with_store(builder: ServiceBuilder, config: &Config) -> Result<ServiceBuilder, Error> {
    let folder = &config.data_dir;
    match &config.store_url {
        Some(url) => {
            let store =
                PostgresStore::connect(url.expose_secret(), folder).await.map_err(|error| {
                    Error::from(error).suggest("see that the server runs and `store.url` is right")
                })?;
            Ok(builder.worker(store.worker()).store(Arc::new(store)))
        }
        None => {
            let store = SqliteStore::open(folder).map_err(|error| {
                let hint = "make the data folder writable, or name another with --data-dir";
                Error::from(error).suggest(hint)
            })?;
            Ok(builder.worker(store.worker()).store(Arc::new(store)))
        }
    }
}

/// What is told of a store that opens.
pub struct OpenedStore {
    /// The store, in words.
    pub told: String,
    /// Plans that were taken out of execution, newest first, at most ten.
    pub suspended: Vec<PlanSummary>,
}

/// Opens the store and tells what it is, and which plans in it were taken out of execution.
pub async fn store_opens(config: &Config) -> Result<OpenedStore, Error> {
    const SUSPENDED_SHOWN_MAX: usize = 10;
    let folder = &config.data_dir;
    data_folder(folder).map_err(|e| unusable(folder, &e))?;
    let builder = with_store(PlanningService::builder(), config).await?;
    let query = HistoryQuery {
        status: Some(PlanStatus::Suspended),
        limit: SUSPENDED_SHOWN_MAX,
        ..HistoryQuery::default()
    };
    let suspended = builder.plans(query).await?;
    let told = match &config.store_url {
        Some(_) => "PostgreSQL answers (store.url)".to_owned(),
        None => format!("SQLite in {}", folder.display()),
    };
    Ok(OpenedStore { told, suspended })
}

/// Facts by which a document is validated where no service is needed: no store is opened, and no
/// earlier run is looked at.
pub struct ServiceGround {
    /// The tools.
    pub catalog: ToolCatalog,
    knowledge: EstimateBasis,
    /// None where a catalogue file stands for a place that is elsewhere.
    agent: Option<Agent>,
    limits: PlanLimits,
    /// The models that the gateway has, where it was asked.
    models: Option<Vec<String>>,
    /// What runs the tools here; none where a catalogue file stands for another place.
    tools: Option<BuiltinTools>,
    evaluator: Arc<dyn Evaluator>,
    workspace: WorkspaceFolder,
}

/// The ground that a configuration describes.
pub fn ground(config: &Config) -> Result<ServiceGround, Error> {
    let catalog = catalog(config)?;
    let here = || service::local_agent(&catalog, capacity(config), SystemClock.now());
    let agent = config.catalog.is_none().then(here);
    let (knowledge, limits, models) = (estimates(config), config.rules.limits, None);
    let scratch = config.data_dir.join("runs");
    let evaluators = evaluators();
    let tools = config
        .catalog
        .is_none()
        .then(|| BuiltinTools::new(scratch, &config.programs).with_evaluators(evaluators.clone()));
    let workspace =
        WorkspaceFolder { path: config.workspace.clone(), private: Some(config.data_dir.clone()) };
    let evaluator = evaluators.map_or_else(
        || Arc::new(ThreadEvaluator) as Arc<dyn Evaluator>,
        |pool| Arc::new(PooledEvaluator(pool)),
    );
    Ok(ServiceGround { knowledge, agent, limits, models, catalog, tools, evaluator, workspace })
}

impl ServiceGround {
    /// Figures that estimates are made from.
    pub fn knowledge(&self) -> &EstimateBasis {
        &self.knowledge
    }

    /// Looks for the model gateway as a service would, for plans with model calls. Its models are asked for where
    /// a plan names one.
    pub async fn find_model(&mut self, config: &Config, names_one: bool) -> Result<(), Error> {
        model::check(&config.model)?;
        let Some(gateway) = choose_model(config).await?.gateway else { return Ok(()) };
        let model = gateway.identity().model;
        self.knowledge.default_model = Some(model).filter(|model| !model.is_empty());
        // A gateway that does not answer now may when the plan runs: nothing is known of its models then.
        if names_one {
            self.models = gateway.models().await.ok().filter(|models| !models.is_empty());
        }
        if let Some(agent) = &mut self.agent {
            agent.capabilities.push(MODEL_CAPABILITY.to_owned());
        }
        Ok(())
    }

    /// All that is wrong with a document: what the tools say of inputs that stand in it and of files that are not
    /// there, and the four levels.
    pub async fn validate(&self, reading: DocumentReading, strict: bool) -> Validation {
        let of_executors = self.of_executors(&reading.document).await;
        let around = self.surroundings(&of_executors, strict);
        let look = |reading, answers: Arc<EvaluationAnswers>| {
            std::future::ready(examine(reading, &around, &answers))
        };
        validate_in_rounds(&*self.evaluator, reading, look).await
    }

    async fn of_executors(&self, document: &PlanDocument) -> Vec<ExecutorFinding> {
        let Some(tools) = &self.tools else { return Vec::new() };
        let mut findings = Vec::new();
        for call in literal_calls(document) {
            let problems = tools.check(call, Some(&self.workspace)).await;
            findings.extend(problems.into_iter().filter_map(|p| call.finding(document, p)));
        }
        findings
    }

    fn surroundings<'a>(
        &'a self,
        of_executors: &'a [ExecutorFinding],
        strict: bool,
    ) -> ValidationContext<'a> {
        ValidationContext {
            catalog: &self.catalog,
            agents: self.agent.as_ref().map_or(KnownAgents::Elsewhere, |agent| {
                KnownAgents::Registered(std::slice::from_ref(agent))
            }),
            models: self.models.as_deref(),
            knowledge: &self.knowledge,
            limits: self.limits,
            now: SystemClock.now(),
            of_executors,
            strict,
        }
    }
}

/// The tools that plans are validated against: a catalogue file's, else the built-in ones.
pub fn catalog(config: &Config) -> Result<ToolCatalog, Error> {
    match &config.catalog {
        Some(path) => catalog_file(path, config.text_limits),
        None => ToolCatalog::new(l05_connect::tools::specs(&config.programs))
            .map_err(|e| Error::new(ErrorCode::ConfigError, e.to_string())),
    }
}

/// The basis of estimates before any run is looked at.
fn estimates(config: &Config) -> EstimateBasis {
    EstimateBasis {
        count_tokens: tokens::count,
        tokenizer_of: match config.model.tokenizer {
            TokenizerKind::Auto => tokens::of_model,
            TokenizerKind::O200k => |_| Some(tokens::count_all),
            TokenizerKind::Bytes => |_| None,
        },
        ..config.rules.estimates.clone()
    }
}

/// The resources of this machine: its cores, and its memory where the system tells (Linux), else
/// what one task may have.
fn capacity(config: &Config) -> AgentCapacity {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let told = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
    });
    let memory_mb = told.unwrap_or(config.rules.limits.memory_mb_per_task as u64);
    AgentCapacity { cpu_cores: cores as f64, memory_mb }
}

/// The built-in templates and those of the configured folder, which override them.
pub fn template_list(config: &Config) -> Result<Vec<Template>, Error> {
    let mut list = templates::builtin();
    if let Some(folder) = &config.templates_dir {
        list.extend(templates::read_folder(folder)?);
    }
    Ok(list)
}

fn catalog_file(path: &Path, limits: TextLimits) -> Result<ToolCatalog, Error> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|e| unusable(path, &e))?;
    let value = parse(&text, DocumentFormat::detect(&name, &text), limits)
        .map_err(|e| e.into_error(&name))?;
    let specs = read_catalog(&value)
        .map_err(|findings| findings_error(ErrorCode::PlanMalformed, &findings))?;
    ToolCatalog::new(specs)
        .map_err(|e| Error::new(ErrorCode::PlanMalformed, format!("{name}: {e}")))
}

/// Makes the data folder, for its owner alone. One that is there keeps its mode: it may be somebody's own, and the files
/// in it are closed to others by themselves.
fn data_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A folder that can be opened: an error at the start is better than one in each task.
fn checked(folder: WorkspaceFolder) -> Result<WorkspaceFolder, Error> {
    Workspace::open(&folder).map_err(|e| unusable(&folder.path, &e))?;
    Ok(folder)
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorCode::ConfigError, format!("{}: {error}", path.display()))
        .detail("path", path.display().to_string())
        .suggest("name a folder that exists and may be used (--workspace, --data-dir)")
}
