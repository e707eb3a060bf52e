//! Every key, once: name, range, default, meaning. `config keys`, its JSON Schema and the checks
//! are all made from this table.

use serde_json::{Value, json};

/// What a key's value may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A number.
    Number {
        /// The least.
        min: f64,
        /// The most.
        max: f64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A path; empty for none.
    Path,
    /// Any text; empty for none.
    Text,
    /// A text that is never shown; empty for none.
    Secret,
    /// Names or absolute paths of programs, separated by commas; in a file a list will do.
    Programs,
    /// `postgres://…`; empty for none. It may hold a password and is never shown.
    StoreUrl,
    /// Models with what a million tokens cost: `{name: {input, output}}`, `*` for all others.
    ModelPrices,
    /// Tools with what a call costs: `{name: US dollars}`.
    ToolPrices,
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// As it would be written on a command line.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// Fixed names in the environment beside `L05_<SECTION>_<KEY>`.
    pub aliases: &'static [&'static str],
}

/// All keys, in the order of `config keys`.
pub static KEYS: &[Key] = &[
    Key {
        name: "store.data_dir",
        kind: Kind::Path,
        default: "",
        meaning: "folder of plans, journals and keys; empty: the user's data folder",
        aliases: &["L05_DATA_DIR"],
    },
    Key {
        name: "store.url",
        kind: Kind::StoreUrl,
        default: "",
        meaning: "PostgreSQL for plans and journals: postgres://user:password@host/database; empty: SQLite in the data folder",
        aliases: &[],
    },
    Key {
        name: "tools.programs",
        kind: Kind::Programs,
        default: "",
        meaning: "programs that process.run may run: names or absolute paths; empty: there is no process.run",
        aliases: &[],
    },
    Key {
        name: "tools.workspace",
        kind: Kind::Path,
        default: ".",
        meaning: "the one folder that tools see",
        aliases: &[],
    },
    Key {
        name: "tools.catalog",
        kind: Kind::Path,
        default: "",
        meaning: "validate against this tool catalogue instead of the built-in tools",
        aliases: &[],
    },
    Key {
        name: "input.policy",
        kind: Kind::Choice(&["strict", "prose"]),
        default: "strict",
        meaning: "what the text of a goal may contain",
        aliases: &[],
    },
    Key {
        name: "input.max_document_mb",
        kind: Kind::Integer { min: 1, max: 1024 },
        default: "64",
        meaning: "the largest plan, template or catalogue file read, in MiB",
        aliases: &[],
    },
    Key {
        name: "decomposition.strategy",
        kind: Kind::Choice(&["hybrid", "template", "llm"]),
        default: "hybrid",
        meaning: "how goals become plans",
        aliases: &[],
    },
    Key {
        name: "decomposition.template_threshold",
        kind: Kind::Number { min: 0.0, max: 1.0 },
        default: "0.85",
        meaning: "the confidence from which a template is taken",
        aliases: &[],
    },
    Key {
        name: "decomposition.templates_dir",
        kind: Kind::Path,
        default: "",
        meaning: "folder of templates that add to and override the built-in ones",
        aliases: &[],
    },
    Key {
        name: "decomposition.max_tasks",
        kind: Kind::Integer { min: 10, max: 1_000_000 },
        default: "200",
        meaning: "the most tasks of a plan",
        aliases: &[],
    },
    Key {
        name: "decomposition.fallback_threshold",
        kind: Kind::Number { min: 0.0, max: 1.0 },
        default: "0.5",
        meaning: "the confidence from which a template is taken when the model failed",
        aliases: &[],
    },
    Key {
        name: "decomposition.max_depth",
        kind: Kind::Integer { min: 1, max: 20 },
        default: "10",
        meaning: "how deep the parts of a goal nest that a model plans one by one",
        aliases: &[],
    },
    Key {
        name: "decomposition.repair_rounds",
        kind: Kind::Integer { min: 0, max: 2 },
        default: "2",
        meaning: "how often a plan that cannot be used goes back to the model",
        aliases: &[],
    },
    Key {
        name: "decomposition.tool_tokens",
        kind: Kind::Integer { min: 100, max: 200_000 },
        default: "6000",
        meaning: "tokens of a prompt that the list of tools may take",
        aliases: &[],
    },
    Key {
        name: "model.gateway",
        kind: Kind::Choice(&["auto", "none", "ollama", "openai", "anthropic", "l04"]),
        default: "auto",
        meaning: "what answers prompts; auto: Ollama at its default address if it is there, else nothing",
        aliases: &[],
    },
    Key {
        name: "model.url",
        kind: Kind::Text,
        default: "",
        meaning: "its address; empty: the default one of its kind; for openai with the version: https://host/v1",
        aliases: &[],
    },
    Key {
        name: "model.name",
        kind: Kind::Text,
        default: "",
        meaning: "the model; empty: the first that Ollama has, or what L04 chooses",
        aliases: &[],
    },
    Key {
        name: "model.api_key",
        kind: Kind::Secret,
        default: "",
        meaning: "its key; better in the environment than in a file",
        aliases: &[],
    },
    Key {
        name: "model.timeout_ms",
        kind: Kind::Integer { min: 1_000, max: 3_600_000 },
        default: "5000",
        meaning: "how long one call of a gateway may take",
        aliases: &["L05_LLM_TIMEOUT_MS"],
    },
    Key {
        name: "model.local_timeout_ms",
        kind: Kind::Integer { min: 1_000, max: 3_600_000 },
        default: "120000",
        meaning: "the same for a model on this machine",
        aliases: &[],
    },
    Key {
        name: "model.answer_tokens",
        kind: Kind::Integer { min: 64, max: 200_000 },
        default: "4096",
        meaning: "tokens of one answer at most",
        aliases: &[],
    },
    Key {
        name: "model.allow_cleartext",
        kind: Kind::Boolean,
        default: "false",
        meaning: "allow addresses of other machines without TLS",
        aliases: &[],
    },
    Key {
        name: "circuit_breaker.threshold",
        kind: Kind::Integer { min: 1, max: 1_000 },
        default: "5",
        meaning: "failures in a row, and slow calls in a row, after which a gateway is left alone",
        aliases: &["L05_CIRCUIT_BREAKER_THRESHOLD"],
    },
    Key {
        name: "circuit_breaker.reset_sec",
        kind: Kind::Integer { min: 30, max: 300 },
        default: "60",
        meaning: "seconds after which it is tried again; longer when that fails",
        aliases: &["L05_CIRCUIT_BREAKER_RESET_SEC"],
    },
    Key {
        name: "circuit_breaker.slow_ms",
        kind: Kind::Integer { min: 0, max: 3_600_000 },
        default: "4000",
        meaning: "a call that takes longer is slow; 0: none is; local models never are",
        aliases: &[],
    },
    Key {
        name: "bulkheads.decomposer",
        kind: Kind::Integer { min: 10, max: 200 },
        default: "50",
        meaning: "goals that are planned by a model at once",
        aliases: &["L05_DECOMPOSER_THREADS"],
    },
    Key {
        name: "bulkheads.decomposer_queue",
        kind: Kind::Integer { min: 1, max: 100_000 },
        default: "1000",
        meaning: "goals that may wait for that",
        aliases: &["L05_DECOMPOSER_QUEUE_SIZE"],
    },
    Key {
        name: "bulkheads.template_matcher",
        kind: Kind::Integer { min: 5, max: 50 },
        default: "20",
        meaning: "goals that are matched against templates at once",
        aliases: &[],
    },
    Key {
        name: "bulkheads.template_matcher_queue",
        kind: Kind::Integer { min: 1, max: 100_000 },
        default: "500",
        meaning: "goals that may wait for that",
        aliases: &[],
    },
    Key {
        name: "bulkheads.validator",
        kind: Kind::Integer { min: 10, max: 100 },
        default: "30",
        meaning: "plans that are validated at once",
        aliases: &[],
    },
    Key {
        name: "bulkheads.validator_queue",
        kind: Kind::Integer { min: 1, max: 100_000 },
        default: "1000",
        meaning: "plans that may wait for that",
        aliases: &[],
    },
    Key {
        name: "bulkheads.resolver",
        kind: Kind::Integer { min: 5, max: 30 },
        default: "10",
        meaning: "stored plans that are read at once",
        aliases: &[],
    },
    Key {
        name: "bulkheads.resolver_queue",
        kind: Kind::Integer { min: 1, max: 100_000 },
        default: "200",
        meaning: "stored plans that may wait for that",
        aliases: &[],
    },
    Key {
        name: "validation.max_complexity",
        kind: Kind::Integer { min: 10, max: 10_000_000 },
        default: "500",
        meaning: "the highest complexity score of a plan",
        aliases: &["L05_MAX_PLAN_COMPLEXITY"],
    },
    Key {
        name: "execution.max_in_flight",
        kind: Kind::Integer { min: 1, max: 100_000 },
        default: "1000",
        meaning: "the most tasks running at once over all plans of the process; one plan takes nine tenths at most",
        aliases: &[],
    },
    Key {
        name: "approvals.cost_over_usd",
        kind: Kind::Number { min: 0.0, max: 1e9 },
        default: "1000000000",
        meaning: "a plan that may cost more US dollars has to be approved",
        aliases: &[],
    },
    Key {
        name: "approvals.complexity_over",
        kind: Kind::Number { min: 0.0, max: 1e9 },
        default: "1000000000",
        meaning: "a plan with a higher complexity score has to be approved",
        aliases: &[],
    },
    Key {
        name: "approvals.destructive",
        kind: Kind::Boolean,
        default: "true",
        meaning: "a plan with destructive tools has to be approved, but for tasks with a gate of their own",
        aliases: &[],
    },
    Key {
        name: "approvals.answer_within_hours",
        kind: Kind::Number { min: 0.0, max: 87_600.0 },
        default: "0",
        meaning: "hours after which no answer is a refusal; 0: a question waits for ever",
        aliases: &[],
    },
    Key {
        name: "resource_estimation.model",
        kind: Kind::Choice(&["deterministic", "historical", "hybrid_deterministic_historical"]),
        default: "hybrid_deterministic_historical",
        meaning: "what estimates are made from: the task, earlier runs, or both",
        aliases: &[],
    },
    Key {
        name: "resource_estimation.historical_datapoint_threshold",
        kind: Kind::Integer { min: 1, max: 100 },
        default: "5",
        meaning: "earlier runs of a tool before its history counts",
        aliases: &[],
    },
    Key {
        name: "resource_estimation.rolling_average_window_days",
        kind: Kind::Integer { min: 1, max: 365 },
        default: "30",
        meaning: "days that earlier runs count",
        aliases: &[],
    },
    Key {
        name: "quotas.token_budget_per_plan",
        kind: Kind::Integer { min: 100, max: 1_000_000 },
        default: "50000",
        meaning: "tokens that a plan may be expected to take when its goal sets no budget",
        aliases: &[],
    },
    Key {
        name: "quotas.token_budget_per_task",
        kind: Kind::Integer { min: 100, max: 500_000 },
        default: "10000",
        meaning: "tokens that one task may be expected to take; what a model call can take at worst",
        aliases: &[],
    },
    Key {
        name: "quotas.cpu_cores_per_task",
        kind: Kind::Integer { min: 1, max: 128 },
        default: "4",
        meaning: "processor cores that one task may need",
        aliases: &[],
    },
    Key {
        name: "quotas.memory_gb_per_task",
        kind: Kind::Integer { min: 1, max: 512 },
        default: "8",
        meaning: "memory that one task may need, in GiB",
        aliases: &[],
    },
    Key {
        name: "prices.models",
        kind: Kind::ModelPrices,
        default: "{}",
        meaning: "what models cost",
        aliases: &[],
    },
    Key {
        name: "prices.tools",
        kind: Kind::ToolPrices,
        default: "{}",
        meaning: "what tools cost; a tool that is not listed is free",
        aliases: &[],
    },
    Key {
        name: "security.require_signed_plans",
        kind: Kind::Boolean,
        default: "false",
        meaning: "refuse plan files that carry no signature of this installation",
        aliases: &[],
    },
    Key {
        name: "observability.log_level",
        kind: Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        default: "warn",
        meaning: "what is logged to stderr",
        aliases: &["L05_LOG_LEVEL", "PLANNING_LOG_LEVEL"],
    },
];

impl Key {
    /// Its name in the environment.
    pub fn variable(&self) -> String {
        format!("L05_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// The default as a value.
    pub fn default_value(&self) -> Value {
        self.kind.from_text(self.default).expect("defaults fit their kinds: a test reads them all")
    }
}

impl Kind {
    /// What the value must be, in words.
    pub fn range(self) -> String {
        match self {
            Kind::Boolean => "true or false".to_owned(),
            Kind::Integer { min, max } => format!("{min} to {max}"),
            Kind::Number { min, max } => format!("{min} to {max}, fractions allowed"),
            Kind::Choice(words) => words.join(" | "),
            Kind::Path => "a path".to_owned(),
            Kind::Text | Kind::Secret => "a text".to_owned(),
            Kind::Programs => "names or absolute paths, separated by commas".to_owned(),
            Kind::StoreUrl => format!("empty, or a URL that begins with {}", STORE_SCHEMES[0]),
            Kind::ModelPrices => {
                "{model: {input, output}} in US dollars per million tokens, * for others".to_owned()
            }
            Kind::ToolPrices => "{tool: US dollars a call}".to_owned(),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "boolean",
            Kind::Integer { .. } => "integer",
            Kind::Number { .. } => "number",
            Kind::Choice(_) => "choice",
            Kind::Path => "path",
            Kind::Text => "text",
            Kind::Secret => "secret",
            Kind::Programs => "list",
            Kind::StoreUrl => "URL",
            Kind::ModelPrices | Kind::ToolPrices => "table",
        }
    }

    /// Reads what a flag or a variable says.
    pub fn from_text(self, text: &str) -> Option<Value> {
        let value = match self {
            Kind::Boolean => Value::from(text.parse::<bool>().ok()?),
            Kind::Integer { .. } => Value::from(text.parse::<u64>().ok()?),
            Kind::Number { .. } => Value::from(text.parse::<f64>().ok()?),
            Kind::Choice(_)
            | Kind::Path
            | Kind::Text
            | Kind::Secret
            | Kind::Programs
            | Kind::StoreUrl => Value::from(text),
            Kind::ModelPrices | Kind::ToolPrices => serde_json::from_str(text).ok()?,
        };
        self.check(&value)
    }

    /// Whether values may hold what nobody is to read.
    pub fn is_secret(self) -> bool {
        match self {
            Kind::StoreUrl | Kind::Secret => true,
            Kind::Boolean
            | Kind::Integer { .. }
            | Kind::Number { .. }
            | Kind::Choice(_)
            | Kind::Path
            | Kind::Text
            | Kind::Programs
            | Kind::ModelPrices
            | Kind::ToolPrices => false,
        }
    }

    /// The value in the kind's own form, if it is in range.
    pub fn check(self, value: &Value) -> Option<Value> {
        match self {
            Kind::Boolean => value.as_bool().map(Value::from),
            Kind::Integer { min, max } => {
                value.as_u64().filter(|n| (min..=max).contains(n)).map(Value::from)
            }
            Kind::Number { min, max } => {
                value.as_f64().filter(|n| (min..=max).contains(n)).map(Value::from)
            }
            Kind::Choice(words) => {
                let word = value.as_str()?;
                words.iter().find(|known| known.eq_ignore_ascii_case(word)).map(|w| Value::from(*w))
            }
            Kind::Path | Kind::Text | Kind::Secret => value.as_str().map(Value::from),
            Kind::Programs => programs(value).map(Value::from),
            Kind::StoreUrl => {
                let fits = |text: &&str| {
                    text.is_empty() || STORE_SCHEMES.iter().any(|scheme| text.starts_with(scheme))
                };
                value.as_str().filter(fits).map(Value::from)
            }
            Kind::ModelPrices => {
                let fits = |price: &Value| {
                    price.as_object().is_some_and(|map| {
                        map.len() == 2 && ["input", "output"].iter().all(|k| is_price(map.get(*k)))
                    })
                };
                value.as_object()?.values().all(fits).then(|| value.clone())
            }
            Kind::ToolPrices => {
                value.as_object()?.values().all(|p| is_price(Some(p))).then(|| value.clone())
            }
        }
    }

    /// As JSON Schema.
    pub fn schema(self) -> Value {
        match self {
            Kind::Boolean => json!({ "type": "boolean" }),
            Kind::Integer { min, max } => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Kind::Number { min, max } => {
                json!({ "type": "number", "minimum": min, "maximum": max })
            }
            Kind::Choice(words) => json!({ "type": "string", "enum": words }),
            Kind::Path | Kind::Text | Kind::Secret | Kind::StoreUrl => json!({ "type": "string" }),
            Kind::Programs => json!({ "type": ["string", "array"], "items": { "type": "string" } }),
            Kind::ModelPrices => {
                let price = json!({ "type": "number", "minimum": 0 });
                json!({ "type": "object", "additionalProperties": {
                    "type": "object", "required": ["input", "output"], "additionalProperties": false,
                    "properties": { "input": price, "output": price },
                }})
            }
            Kind::ToolPrices => json!({
                "type": "object", "additionalProperties": { "type": "number", "minimum": 0 },
            }),
        }
    }
}

/// How the URL of a store may begin.
const STORE_SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Programs in one form, separated by commas: a name has no slash, a path begins with one.
fn programs(value: &Value) -> Option<String> {
    let listed: Vec<&str> = match value {
        Value::String(text) => text.split(',').map(str::trim).filter(|p| !p.is_empty()).collect(),
        Value::Array(items) => items.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    let fits = |program: &&str| {
        !program.is_empty()
            && !program.contains([',', '\0'])
            && (program.starts_with('/') || !program.contains('/'))
    };
    listed.iter().all(fits).then(|| listed.join(","))
}

fn is_price(value: Option<&Value>) -> bool {
    value.and_then(Value::as_f64).is_some_and(|price| (0.0..=1e9).contains(&price))
}
