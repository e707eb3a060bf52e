//! `l05 doctor`: what is here, what is not, and why.

use l05::compose;
use l05_core::Error;
use l05_engine::port::Clock as _;
use l05_engine::port::PlanSummary;
use serde_json::{Value, json};

use super::CliContext;
use super::exit::ExitStatus;
use super::output::table;

/// One thing that was looked at.
struct DoctorCheck {
    what: &'static str,
    state: CheckState,
    told: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CheckState {
    Fine,
    /// Things work without it.
    Absent,
    Broken,
}

impl CheckState {
    fn word(self) -> &'static str {
        match self {
            CheckState::Fine => "ok",
            CheckState::Absent => "absent",
            CheckState::Broken => "broken",
        }
    }
}

pub(crate) async fn doctor(context: &CliContext) -> Result<ExitStatus, Error> {
    let (model, choice) = model(context).await;
    let (store, plans) = store(context).await;
    let checks = [store, templates(context), tools(context), model, cache(context).await, plans];
    let broken = checks.iter().any(|check| check.state == CheckState::Broken);
    let listed = |check: &DoctorCheck| json!({ "what": check.what, "state": check.state.word(), "told": check.told });
    let document = json!({
        "checks": checks.iter().map(listed).collect::<Vec<Value>>(),
        "model": choice,
        "at": l05_engine::port::SystemClock.now(),
    });
    context.output.result(&document, |_| {
        let rows = checks
            .iter()
            .map(|c| vec![c.what.to_owned(), c.state.word().to_owned(), c.told.clone()]);
        table(&["WHAT", "STATE", "WHY"], rows)
    });
    Ok(if broken { ExitStatus::Unavailable } else { ExitStatus::Done })
}

/// The store, and whether its plans get on.
async fn store(context: &CliContext) -> (DoctorCheck, DoctorCheck) {
    let check = |what, state, told: String| DoctorCheck { what, state, told };
    match compose::store_opens(&context.config).await {
        Ok(compose::OpenedStore { told, suspended }) => {
            (check("store", CheckState::Fine, told), plans(&suspended))
        }
        Err(error) => (
            check("store", CheckState::Broken, error.to_string()),
            check("plans", CheckState::Absent, "the store does not open".to_owned()),
        ),
    }
}

fn plans(suspended: &[PlanSummary]) -> DoctorCheck {
    let what = "plans";
    let Some(first) = suspended.first() else {
        return DoctorCheck { what, state: CheckState::Fine, told: "none is suspended".to_owned() };
    };
    let ids: Vec<String> = suspended.iter().map(|plan| plan.plan_id.to_string()).collect();
    let told = format!(
        "suspended, for the processes that took them up died: {}; `l05 status {}` names the task",
        ids.join(", "),
        first.plan_id
    );
    DoctorCheck { what, state: CheckState::Broken, told }
}

fn templates(context: &CliContext) -> DoctorCheck {
    let what = "templates";
    match compose::template_list(&context.config) {
        Ok(list) => {
            DoctorCheck { what, state: CheckState::Fine, told: format!("{} are there", list.len()) }
        }
        Err(error) => DoctorCheck { what, state: CheckState::Broken, told: error.to_string() },
    }
}

fn tools(context: &CliContext) -> DoctorCheck {
    let what = "tools";
    match compose::catalog(&context.config) {
        Ok(catalog) => {
            let told =
                format!("{} are there; `l05 tools list` names them", catalog.names().count());
            DoctorCheck { what, state: CheckState::Fine, told }
        }
        Err(error) => DoctorCheck { what, state: CheckState::Broken, told: error.to_string() },
    }
}

async fn cache(context: &CliContext) -> DoctorCheck {
    let what = "cache";
    let (state, told) = match compose::redis_answers(&context.config).await {
        None => {
            let told = "this process's memory alone (cache.l2_redis_endpoint is not set)";
            (CheckState::Absent, told.to_owned())
        }
        Some(Ok(())) => (CheckState::Fine, "Redis answers and stores".to_owned()),
        Some(Err(error)) => {
            (CheckState::Broken, format!("Redis: {error}; plans are made without it"))
        }
    };
    DoctorCheck { what, state, told }
}

const NO_NAME: &str = "model.name is not set, and plans and prompts are refused without it";

/// The gateway that would be asked, and whether it answers.
async fn model(context: &CliContext) -> (DoctorCheck, Value) {
    let what = "model";
    let choice = match compose::choose_model(&context.config).await {
        Ok(choice) => choice,
        Err(error) => {
            return (
                DoctorCheck { what, state: CheckState::Broken, told: error.to_string() },
                Value::Null,
            );
        }
    };
    let Some(gateway) = choice.gateway else {
        let told = format!("{}; goals are planned from templates alone", choice.why);
        return (DoctorCheck { what, state: CheckState::Absent, told }, Value::Null);
    };
    let identity = gateway.identity();
    let mut document = json!({
        "gateway": identity.provider, "address": identity.address, "model": identity.model,
        "why": choice.why, "models": choice.models,
    });
    // The others choose a model by themselves.
    let lacks_name =
        identity.model.is_empty() && matches!(identity.provider, "ollama" | "openai" | "anthropic");
    let models = match gateway.models().await {
        Ok(models) => models,
        Err(error) => {
            let lack = if lacks_name { format!("; {NO_NAME}") } else { String::new() };
            let told = format!("{}: {}{lack}", choice.why, error.message);
            return (DoctorCheck { what, state: CheckState::Broken, told }, document);
        }
    };
    document["models"] = json!(models);
    let is_there = identity.model.is_empty()
        || models.is_empty()
        || models
            .iter()
            .any(|m| *m == identity.model || m.strip_suffix(":latest") == Some(&identity.model));
    let listed = if models.is_empty() { "none listed".to_owned() } else { models.join(", ") };
    if lacks_name {
        let told = format!("{}: {NO_NAME}; models there: {listed}", identity.address);
        return (DoctorCheck { what, state: CheckState::Broken, told }, document);
    }
    let told = match (is_there, identity.model.as_str()) {
        (true, "") => format!("{} answers, {}; models: {listed}", identity.shown(), choice.why),
        (true, _) => {
            format!("{}, because {}; models there: {listed}", identity.shown(), choice.why)
        }
        (false, name) => format!("{} has no model `{name}`; there are: {listed}", identity.address),
    };
    let state = if is_there { CheckState::Fine } else { CheckState::Broken };
    (DoctorCheck { what, state, told }, document)
}
