//! The workers of a simulation: so many equal ones, as many as there is work for, or a list of
//! unlike ones from a file.

use serde_json::Value;

use crate::document::reader::{DocumentReader, FieldName, aliased, plain};
use crate::finding::Finding;

/// The workers that there are.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkerPool {
    /// As many as could ever be busy.
    Unlimited,
    /// So many, all alike.
    Equal(u32),
    /// Named workers, each with its own properties.
    Unlike(Vec<ScheduleWorker>),
}

/// One worker of an unlike pool.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleWorker {
    /// The worker's name.
    pub id: String,
    /// The worker's speed: a task of 10 s takes 5 s at speed 2.
    pub speed: f64,
    /// The most tasks at once.
    pub slots: u32,
    /// Capabilities.
    pub capabilities: Vec<String>,
    /// No worker of the pool says what it can do: each is taken to be able to do everything.
    pub is_able_to_all: bool,
    /// US dollars an hour.
    pub cost_per_hour: f64,
}

static POOL_FIELDS: &[FieldName] = &[plain("agents")];
static WORKER_FIELDS: &[FieldName] = &[
    aliased("id", &["agent_id", "name"]),
    plain("speed"),
    aliased("max_concurrent_tasks", &["slots"]),
    plain("capabilities"),
    plain("cost_per_hour"),
];
/// The most workers of a file.
const WORKERS_MAX: usize = 10_000;
/// The most tasks at once over all workers of a file.
const SLOTS_MAX: u64 = 100_000;

/// Reads `agents: [{id, speed, max_concurrent_tasks, capabilities, cost_per_hour}]`, or the list
/// alone; all problems at once.
pub fn read_workers(value: &Value) -> Result<Vec<ScheduleWorker>, Vec<Finding>> {
    let reader = DocumentReader::default();
    let mut workers: Vec<ScheduleWorker> = Vec::new();
    let object = value.is_object().then(|| reader.object(value, "", POOL_FIELDS)).flatten();
    let list = match (&object, value) {
        (Some(object), _) => object.list("agents"),
        (None, Value::Array(list)) => list.as_slice(),
        (None, _) => &[],
    };
    if list.is_empty() || list.len() > WORKERS_MAX {
        reader.malformed("agents", format!("1 to {WORKERS_MAX} agents are needed"));
    }
    for (i, worker) in list.iter().take(WORKERS_MAX).enumerate() {
        let Some(object) = reader.object(worker, format!("agents[{i}]"), WORKER_FIELDS) else {
            continue;
        };
        let id = object.text("id").unwrap_or_else(|| format!("agent-{}", i + 1));
        if workers.iter().any(|other| other.id == id) {
            object.problem("id", format!("`{id}` is there already"));
        }
        let slots = object.integer("max_concurrent_tasks", 1..=10_000).unwrap_or(1);
        workers.push(ScheduleWorker {
            id,
            speed: object.number("speed", 1e-6..=1e6).unwrap_or(1.0),
            slots: u32::try_from(slots).unwrap_or(1),
            capabilities: object.texts("capabilities"),
            is_able_to_all: false,
            cost_per_hour: object.number("cost_per_hour", 0.0..=1e9).unwrap_or(0.0),
        });
    }
    // One that says nothing beside others that do has no capability.
    let none_says = workers.iter().all(|worker| worker.capabilities.is_empty());
    workers.iter_mut().for_each(|worker| worker.is_able_to_all = none_says);
    let slots: u64 = workers.iter().map(|worker| u64::from(worker.slots)).sum();
    if slots > SLOTS_MAX {
        reader.malformed(
            "agents",
            format!("take {slots} tasks at once together; at most {SLOTS_MAX}"),
        );
    }
    let findings = reader.into_findings();
    if findings.is_empty() { Ok(workers) } else { Err(findings) }
}

impl ScheduleWorker {
    /// True if the worker can do a task that needs these.
    pub fn can_do(&self, needs: &[String]) -> bool {
        self.is_able_to_all || needs.iter().all(|need| self.capabilities.contains(need))
    }
}
