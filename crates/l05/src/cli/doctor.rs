//! `l05 doctor`: what is here, what is not, and why.

use l05::compose;
use l05_core::Error;
use l05_engine::port::Clock as _;
use serde_json::{Value, json};

use super::Context;
use super::exit::Exit;
use super::output::table;

/// One thing that was looked at.
struct Check {
    what: &'static str,
    state: State,
    told: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fine,
    /// Things work without it.
    Absent,
    Broken,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Fine => "ok",
            State::Absent => "absent",
            State::Broken => "broken",
        }
    }
}

pub(crate) async fn doctor(context: &Context) -> Result<Exit, Error> {
    let (model, choice) = model(context).await;
    let checks =
        [store(context).await, templates(context), tools(context), model, cache(context).await];
    let broken = checks.iter().any(|check| check.state == State::Broken);
    let listed = |check: &Check| json!({ "what": check.what, "state": check.state.word(), "told": check.told });
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
    Ok(if broken { Exit::Unavailable } else { Exit::Done })
}

async fn store(context: &Context) -> Check {
    let what = "store";
    match compose::store_opens(&context.config).await {
        Ok(told) => Check { what, state: State::Fine, told },
        Err(error) => Check { what, state: State::Broken, told: error.to_string() },
    }
}

fn templates(context: &Context) -> Check {
    let what = "templates";
    match compose::template_list(&context.config) {
        Ok(list) => Check { what, state: State::Fine, told: format!("{} are there", list.len()) },
        Err(error) => Check { what, state: State::Broken, told: error.to_string() },
    }
}

fn tools(context: &Context) -> Check {
    let what = "tools";
    match compose::catalog(&context.config) {
        Ok(catalog) => {
            let told =
                format!("{} are there; `l05 tools list` names them", catalog.names().count());
            Check { what, state: State::Fine, told }
        }
        Err(error) => Check { what, state: State::Broken, told: error.to_string() },
    }
}

async fn cache(context: &Context) -> Check {
    let what = "cache";
    let (state, told) = match compose::redis_answers(&context.config).await {
        None => {
            let told = "this process's memory alone (cache.l2_redis_endpoint is not set)";
            (State::Absent, told.to_owned())
        }
        Some(Ok(())) => (State::Fine, "Redis answers".to_owned()),
        Some(Err(error)) => (State::Broken, format!("Redis: {error}; plans are made without it")),
    };
    Check { what, state, told }
}

/// The gateway that would be asked, and whether it answers.
async fn model(context: &Context) -> (Check, Value) {
    let what = "model";
    let choice = match compose::choose_model(&context.config).await {
        Ok(choice) => choice,
        Err(error) => {
            return (Check { what, state: State::Broken, told: error.to_string() }, Value::Null);
        }
    };
    let Some(gateway) = choice.gateway else {
        let told = format!("{}; goals are planned from templates alone", choice.why);
        return (Check { what, state: State::Absent, told }, Value::Null);
    };
    let identity = gateway.identity();
    let mut document = json!({
        "gateway": identity.provider, "address": identity.address, "model": identity.model,
        "why": choice.why, "models": choice.models,
    });
    let models = match gateway.models().await {
        Ok(models) => models,
        Err(error) => {
            let told = format!("{}: {}", choice.why, error.message);
            return (Check { what, state: State::Broken, told }, document);
        }
    };
    document["models"] = json!(models);
    let is_there = identity.model.is_empty()
        || models.is_empty()
        || models
            .iter()
            .any(|m| *m == identity.model || m.strip_suffix(":latest") == Some(&identity.model));
    let listed = if models.is_empty() { "none listed".to_owned() } else { models.join(", ") };
    let told = match (is_there, identity.model.as_str()) {
        (true, "") => format!("{} answers, {}; models: {listed}", identity.shown(), choice.why),
        (true, _) => {
            format!("{}, because {}; models there: {listed}", identity.shown(), choice.why)
        }
        (false, name) => format!("{} has no model `{name}`; there are: {listed}", identity.address),
    };
    let state = if is_there { State::Fine } else { State::Broken };
    (Check { what, state, told }, document)
}
