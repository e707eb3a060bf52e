//! Keys of the platform's documents (spec 06, 6.1) that are not here, with the reason. Setting one is refused with it: a
//! key that is accepted does something.

/// A key that is not here.
pub struct AbsentKey {
    /// The key, or a section of keys.
    pub name: &'static str,
    /// Fixed names in the environment beside `L05_<SECTION>_<KEY>`.
    pub aliases: &'static [&'static str],
    /// The one value that is true all the same, where there is one.
    pub holds: Option<&'static str>,
    /// The reason, in words that go on from "is not here:".
    pub reason: &'static str,
}

const NO_SERVER: &str = "nothing listens yet, the command line is the only door";
const NO_EVENTS: &str = "events are read from the journal, nothing is published yet";
const NO_SECRETS: &str = "secrets are not kept yet";
const NO_TRACING: &str = "neither traces nor metrics are exported yet";
const NO_REGISTRY: &str = "agents are registered in the process, no registry is asked yet";
const ALWAYS: &str = "it is always so";

const fn absent(name: &'static str, reason: &'static str) -> AbsentKey {
    AbsentKey { name, aliases: &[], holds: None, reason }
}

const fn fixed(name: &'static str, holds: &'static str, reason: &'static str) -> AbsentKey {
    AbsentKey { name, aliases: &[], holds: Some(holds), reason }
}

/// All of them.
pub static ABSENT_KEYS: &[AbsentKey] = &[
    absent("decomposition.cost_model", "resource_estimation.model says how costs are estimated"),
    fixed("validation.enable_security_checks", "true", ALWAYS),
    fixed("validation.enable_capability_matching", "true", ALWAYS),
    fixed("validation.enable_constraint_propagation", "true", ALWAYS),
    absent("rate_limiting", NO_SERVER),
    absent(
        "resource_estimation.confidence_interval_initial",
        "the ranges of estimates come from their method",
    ),
    absent(
        "quotas.execution_time_seconds_per_task",
        "a task's own timeout_seconds and resource_quota bound its time",
    ),
    absent("context", NO_SECRETS),
    fixed("security.enable_plan_signing", "true", ALWAYS),
    fixed("security.signing_algorithm", "HMAC-SHA256", "it is the only one"),
    absent("security.enable_context_encryption", NO_SECRETS),
    absent("security.encryption_algorithm", NO_SECRETS),
    absent("security.flow_policy", NO_SECRETS),
    fixed("cache.l2_backend", "redis", "it is the only one"),
    absent("cache.l2_capacity_plans", "Redis itself says how much it keeps (maxmemory)"),
    absent("event_publishing", NO_EVENTS),
    AbsentKey {
        name: "service_discovery",
        aliases: &["L02_REGISTRY_ENDPOINT"],
        holds: None,
        reason: NO_REGISTRY,
    },
    AbsentKey {
        name: "service_discovery.registry_required",
        aliases: &["AGENT_REGISTRY_REQUIRED"],
        holds: Some("false"),
        reason: NO_REGISTRY,
    },
    AbsentKey {
        name: "observability.tracing",
        aliases: &["L05_TRACE_SAMPLE_RATE"],
        holds: None,
        reason: NO_TRACING,
    },
    AbsentKey {
        name: "observability.tracing_enabled",
        aliases: &["PLANNING_TRACING_ENABLED"],
        holds: Some("false"),
        reason: NO_TRACING,
    },
    AbsentKey {
        name: "observability.metrics_enabled",
        aliases: &["PLANNING_METRICS_ENABLED"],
        holds: Some("false"),
        reason: NO_TRACING,
    },
    AbsentKey {
        name: "observability.region",
        aliases: &["L05_REGION"],
        holds: None,
        reason: "a store belongs to no region yet",
    },
    absent("retention", "plans and their journals are kept until their store is deleted"),
    absent("server", NO_SERVER),
    absent("auth", NO_SERVER),
    absent("webhooks", NO_EVENTS),
    absent("layers", "of the layers around only L04's models are asked (model.gateway=l04)"),
    absent("mcp", "no MCP server is asked yet"),
    absent("models", "one model is asked (model.name), a task names another of the same gateway"),
    absent("input.cli_policy", "input.policy holds for the command line, too"),
];

impl AbsentKey {
    /// The key that a name, or a section of it, stands for.
    pub(super) fn of_name(name: &str) -> Option<&'static AbsentKey> {
        let holds = |key: &&AbsentKey| {
            let rest = name.strip_prefix(key.name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        ABSENT_KEYS.iter().filter(holds).max_by_key(|key| key.name.len())
    }

    /// The key that a variable of the environment stands for.
    pub(super) fn of_variable(variable: &str) -> Option<&'static AbsentKey> {
        if let Some(key) = ABSENT_KEYS.iter().find(|key| key.aliases.contains(&variable)) {
            return Some(key);
        }
        let own = variable.strip_prefix("L05_")?.to_ascii_lowercase();
        let holds = |key: &&AbsentKey| {
            let rest = own.strip_prefix(&key.name.replace('.', "_"));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        ABSENT_KEYS.iter().filter(holds).max_by_key(|key| key.name.len())
    }
}
