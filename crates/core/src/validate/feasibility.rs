//! Level 3: something must be there that can do each task, and the plan's limits must suffice.

use std::collections::BTreeSet;

use serde_json::json;

use super::{FindingList, KnownAgents, ValidationContext};
use crate::agent::{Agent, AgentStatus, LOCAL_AGENT_TYPE, MODEL_CAPABILITY};
use crate::error::ErrorCode;
use crate::finding::{Finding, ValidationLevel};
use crate::id::TaskIndex;
use crate::plan::{PlanDocument, PlanStructure};
use crate::suggest::{did_you_mean, nearest};
use crate::task::{Task, TaskType};

pub(super) fn check(
    document: &PlanDocument,
    structure: &PlanStructure,
    around: &ValidationContext<'_>,
    findings: &mut FindingList,
) {
    if let KnownAgents::Registered(agents) = around.agents {
        let known = |id: &&String| agents.iter().any(|agent| agent.agent_id == **id);
        let unknown = document.preferred_agents.iter().filter(|id| !known(id));
        findings.warnings.extend(unknown.map(|id| {
            let near = nearest(id, agents.iter().map(|agent| agent.agent_id.as_str()));
            let message = format!("no agent `{id}` is registered{}", did_you_mean(&near));
            finding(ErrorCode::AgentUnavailable, message)
                .field("preferred_agents")
                .suggest("others do its work; `l05 agents` lists those that are there")
        }));
    }
    for name in document.constraints.additional_constraints.keys() {
        let message =
            format!("nothing here knows the constraint `{name}`: it is kept, not applied");
        findings.warnings.push(
            finding(ErrorCode::ConstraintViolated, message)
                .field(format!("constraints.additional_constraints.{name}"))
                .suggest("write it as one of the named constraints, or into metadata.custom"),
        );
    }
    for (i, task) in document.tasks.iter().enumerate() {
        let known_tool = task.tool.as_deref().is_none_or(|tool| around.catalog.get(tool).is_some());
        // An unknown tool is one finding: nothing else can be said of the call.
        if known_tool {
            let problem = match around.agents {
                KnownAgents::Elsewhere => check_capabilities(task, around),
                KnownAgents::Registered(agents) => check_agents(document, task, agents),
            };
            let finding = problem.or_else(|| check_size(task, around));
            let finding = finding.or_else(|| check_model(task, around, i, &mut findings.warnings));
            findings.errors.extend(
                finding.map(|finding| finding.task(&task.task_id).field(format!("tasks[{i}]"))),
            );
        }
        check_secrets(i, structure, &mut findings.errors);
    }
}

/// Checks capabilities, which some tool must declare even where agents are not asked for.
fn check_capabilities(task: &Task, around: &ValidationContext<'_>) -> Option<Finding> {
    let known = |need: &str| {
        need == MODEL_CAPABILITY
            || need.strip_prefix("tool:").is_some_and(|tool| around.catalog.get(tool).is_some())
            || around.catalog.iter().any(|tool| tool.spec.capabilities.iter().any(|c| c == need))
    };
    let missing: Vec<&str> = needs(task).into_iter().filter(|need| !known(need)).collect();
    let all = around.catalog.iter().flat_map(|tool| &tool.spec.capabilities);
    let all: Vec<&str> = all.map(String::as_str).collect();
    (!missing.is_empty()).then(|| nothing_can(task, &missing, &all))
}

/// The capabilities that the task states; its tool it needs by itself.
fn needs(task: &Task) -> BTreeSet<&str> {
    task.capability_requirements.iter().map(String::as_str).collect()
}

fn nothing_can(task: &Task, missing: &[&str], known: &[&str]) -> Finding {
    let near: Vec<&str> = missing.iter().flat_map(|m| nearest(m, known.iter().copied())).collect();
    let message = format!(
        "nothing here can do `{}`, which task `{}` needs{}",
        missing.join("`, `"),
        task.task_id,
        did_you_mean(&near)
    );
    finding(ErrorCode::CapabilityMismatch, message)
        .suggest("drop the requirement, or register an agent that has the capability")
        .detail("missing", missing)
        .detail(
            "conflict",
            json!({ "constraints": [], "tasks": [task.task_id], "capabilities": missing }),
        )
}

fn finding(code: ErrorCode, message: String) -> Finding {
    Finding::new(code, ValidationLevel::Feasibility, message)
}

/// Sieve by sieve, so that the finding names what excludes the last candidates.
fn check_agents(document: &PlanDocument, task: &Task, agents: &[Agent]) -> Option<Finding> {
    let id = &task.task_id;
    match task.task_type {
        TaskType::Compound => {
            return Some(
                finding(
                    ErrorCode::DecompositionFailed,
                    format!("compound task `{id}` is not decomposed"),
                )
                .suggest(
                    "write out its steps, or plan its goal with a model (`l05 plan --recursive`)",
                )
                .unplanned_part(),
            );
        }
        TaskType::Atomic if agents.iter().all(|a| a.agent_type == LOCAL_AGENT_TYPE) => {
            return Some(
                finding(
                    ErrorCode::NoAgents,
                    match task.capability_requirements.as_slice() {
                        [] => format!("task `{id}` is for an agent, and none is registered"),
                        needs => format!(
                            "task `{id}` is for an agent that has `{}`, and none is registered",
                            needs.join("`, `")
                        ),
                    },
                )
                .suggest("name a tool or a prompt for it, or register an agent"),
            );
        }
        TaskType::LlmCall if !agents.iter().any(|a| a.has(MODEL_CAPABILITY)) => {
            return Some(
                finding(
                    ErrorCode::CapabilityMismatch,
                    format!("task `{id}` needs a model, and no model gateway is configured"),
                )
                .suggest(
                    "configure a gateway (`l05 doctor` shows what is there), or use a tool instead",
                )
                .detail("missing", vec![MODEL_CAPABILITY]),
            );
        }
        TaskType::Atomic | TaskType::LlmCall | TaskType::ToolCall => {}
    }
    let able: Vec<&Agent> = agents.iter().filter(|agent| agent.can_do(task)).collect();
    if able.is_empty() {
        let missing: Vec<&str> =
            needs(task).into_iter().filter(|n| !agents.iter().any(|a| a.has(n))).collect();
        let known: Vec<&str> =
            agents.iter().flat_map(|a| &a.capabilities).map(String::as_str).collect();
        let missing = if missing.is_empty() { needs(task).into_iter().collect() } else { missing };
        if let Some(tool) = task.tool.as_deref().filter(|_| missing.is_empty()) {
            let message = format!(
                "the catalogue has the tool `{tool}` of task `{id}`, and nothing here runs it"
            );
            return Some(
                finding(ErrorCode::CapabilityMismatch, message)
                    .suggest("register an agent or an executor that has the tool")
                    .detail("missing", vec![format!("tool:{tool}")]),
            );
        }
        return Some(nothing_can(task, &missing, &known));
    }
    let allowed = &document.constraints.allowed_agent_types;
    let able: Vec<&Agent> = able
        .into_iter()
        .filter(|agent| allowed.is_empty() || allowed.contains(&agent.agent_type))
        .collect();
    if able.is_empty() {
        let message = format!(
            "task `{id}` can only be done by agents of types that allowed_agent_types ({}) leaves out",
            allowed.join(", ")
        );
        return Some(
            finding(ErrorCode::ConstraintViolated, message)
                .suggest(format!("allow the type `{LOCAL_AGENT_TYPE}`, or leave the list empty"))
                .detail(
                    "conflict",
                    json!({ "constraints": ["allowed_agent_types"], "tasks": [id] }),
                ),
        );
    }
    match of_version(task, &able) {
        Ok(able) => check_capacity(task, &able),
        Err(finding) => Some(*finding),
    }
}

/// Agents whose version is wanted.
fn of_version<'a>(task: &Task, able: &[&'a Agent]) -> Result<Vec<&'a Agent>, Box<Finding>> {
    // A range that does not parse is the syntax level's finding.
    let wanted = task.agent_version_constraint.as_deref();
    let Some(wanted) = wanted.and_then(|range| semver::VersionReq::parse(range).ok()) else {
        return Ok(able.to_vec());
    };
    let left: Vec<&Agent> =
        able.iter().copied().filter(|agent| wanted.matches(&agent.version)).collect();
    if !left.is_empty() {
        return Ok(left);
    }
    let there: Vec<String> =
        able.iter().map(|agent| format!("{} {}", agent.agent_id, agent.version)).collect();
    let message = format!(
        "task `{}` wants an agent of version {wanted}; there is {}",
        task.task_id,
        there.join(", ")
    );
    Err(Box::new(
        finding(ErrorCode::AgentVersionMismatch, message)
            .suggest("widen agent_version, or update the agent")
            .detail("conflict", json!({
                "constraints": ["agent_version_constraint"], "tasks": [task.task_id], "agents": there,
            })),
    ))
}

fn check_capacity(task: &Task, able: &[&Agent]) -> Option<Finding> {
    let (cores, memory) = task.expected_size();
    let fits = |agent: &&Agent| agent.has_room_for(task);
    if able.iter().any(fits) {
        let reachable = able.iter().any(|agent| {
            fits(agent) && matches!(agent.status, AgentStatus::Available | AgentStatus::Busy)
        });
        let message = format!("every agent that can do task `{}` is away", task.task_id);
        return (!reachable).then(|| finding(ErrorCode::AgentUnavailable, message));
    }
    let sizes = able.iter().map(|agent| agent.capacity);
    let most = sizes.max_by(|a, b| a.memory_mb.cmp(&b.memory_mb));
    let most = most.map_or_else(String::new, |most| {
        format!("the largest agent has {} cores and {} MB", most.cpu_cores, most.memory_mb)
    });
    Some(too_large(task, cores, memory, &most))
}

/// A model that a task asks for must be one that the gateway has.
fn check_model(
    task: &Task,
    around: &ValidationContext<'_>,
    i: usize,
    warnings: &mut Vec<Finding>,
) -> Option<Finding> {
    let wanted = task.model().filter(|_| task.task_type == TaskType::LlmCall)?;
    if around.knowledge.default_model.as_deref() == Some(wanted) {
        return None;
    }
    let Some(models) = around.models else {
        if matches!(around.agents, KnownAgents::Registered(_)) {
            let message = format!(
                "task `{}` asks for the model `{wanted}`; whether the gateway has it is not known",
                task.task_id
            );
            warnings.push(
                finding(ErrorCode::CapabilityMismatch, message)
                    .task(&task.task_id)
                    .field(format!("tasks[{i}].metadata.model")),
            );
        }
        return None;
    };
    // Ollama names the newest of a kind by the kind alone.
    let is_it = |model: &String| model == wanted || model.strip_suffix(":latest") == Some(wanted);
    if models.iter().any(is_it) {
        return None;
    }
    let near = nearest(wanted, models.iter().map(String::as_str));
    let message = format!(
        "task `{}` asks for the model `{wanted}`, which the gateway does not have{}",
        task.task_id,
        did_you_mean(&near)
    );
    Some(
        finding(ErrorCode::CapabilityMismatch, message)
            .suggest("name one of its models (`l05 doctor` lists them), or leave it to the gateway")
            .detail("missing", vec![wanted]),
    )
}

/// Checks the most that one task may take anywhere.
fn check_size(task: &Task, around: &ValidationContext<'_>) -> Option<Finding> {
    let (cores, memory) = task.expected_size();
    let limits = around.limits;
    let fits = cores <= limits.cpu_cores_per_task && memory <= limits.memory_mb_per_task;
    let allowed = format!(
        "one task may have {} cores and {} MB",
        limits.cpu_cores_per_task, limits.memory_mb_per_task
    );
    (!fits).then(|| too_large(task, cores, memory, &allowed))
}

fn too_large(task: &Task, cores: f64, memory: f64, allowed: &str) -> Finding {
    let message = format!(
        "task `{}` is expected to need {cores} cores and {memory} MB; {allowed}",
        task.task_id
    );
    finding(ErrorCode::ResourcesInsufficient, message)
        .suggest("split the task, or run it where there is more")
        .detail("cpu_cores", cores)
        .detail("memory_mb", memory)
}

fn check_secrets(i: usize, structure: &PlanStructure, errors: &mut Vec<Finding>) {
    for binding in structure.bindings(TaskIndex(i as u32)).all() {
        binding.for_each_secret(&mut |name| {
            errors.push(
                finding(
                    ErrorCode::SecretNotFound,
                    format!("the secret `{name}` does not exist: no secret store is configured"),
                )
                .field(format!("tasks[{i}].inputs"))
                .suggest("this version has no secret store"),
            );
        });
    }
}
