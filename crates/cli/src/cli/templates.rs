//! `l05 templates`: what can be asked without a model.

use std::collections::HashSet;

use clap::Subcommand;
use l05::compose::{catalog, choose_model, template_list};
use l05_core::agent::MODEL_CAPABILITY;
use l05_core::suggest::{did_you_mean, nearest};
use l05_core::template::{Template, TemplateLibrary};
use l05_core::{Error, ErrorCode};
use serde_json::{Map, Value, json};

use super::CliContext;
use super::exit::ExitStatus;
use super::output::table;

/// The template library
#[derive(Debug, Subcommand)]
pub(crate) enum TemplatesCommand {
    /// List the templates
    List,
    /// Show one template
    Show {
        /// The template's id
        id: String,
    },
    /// Check that every example matches its template and no counterexample does
    Test,
}

pub(crate) async fn templates(
    context: &CliContext,
    command: &TemplatesCommand,
) -> Result<ExitStatus, Error> {
    let library = TemplateLibrary::new(template_list(&context.config)?);
    match command {
        TemplatesCommand::List => {
            list(context, &library, &here(context).await?);
            Ok(ExitStatus::Done)
        }
        TemplatesCommand::Show { id } => show(context, &library, id),
        TemplatesCommand::Test => Ok(test(context, &library)),
    }
}

/// The capabilities of this machine, by which templates are shown as usable.
async fn here(context: &CliContext) -> Result<HashSet<String>, Error> {
    let catalog = catalog(&context.config)?;
    let mut here: HashSet<String> = catalog.names().map(|name| format!("tool:{name}")).collect();
    if choose_model(&context.config).await?.gateway.is_some() {
        here.insert(MODEL_CAPABILITY.to_owned());
    }
    Ok(here)
}

fn list(context: &CliContext, library: &TemplateLibrary, here: &HashSet<String>) {
    let lacks = |template: &Template| -> Vec<String> {
        template.needs().into_iter().filter(|need| !here.contains(need)).collect()
    };
    let document: Vec<Value> = library
        .templates()
        .iter()
        .map(|t| {
            let example = t.examples.first().map(|e| e.goal.as_str());
            json!({ "id": t.id, "version": t.version, "description": t.description,
                    "tags": t.tags, "example": example, "needs": t.needs(), "lacks": lacks(t) })
        })
        .collect();
    context.output.result(&document, |_| {
        let rows = library.templates().iter().map(|t| {
            let example = t.examples.first().map(|e| e.goal.clone()).unwrap_or_default();
            vec![t.id.clone(), t.description.clone(), example, lacks(t).join(", ")]
        });
        table(&["TEMPLATE", "WHAT IT DOES", "ASK FOR INSTANCE", "LACKS HERE"], rows)
    });
}

fn show(context: &CliContext, library: &TemplateLibrary, id: &str) -> Result<ExitStatus, Error> {
    let template = library.get(id).ok_or_else(|| {
        let hint = did_you_mean(&nearest(id, library.templates().iter().map(|t| t.id.as_str())));
        Error::new(ErrorCode::PlanNotFound, format!("there is no template `{id}`{hint}"))
            .suggest("`l05 templates list` shows them")
    })?;
    context.output.result(template, show_text);
    Ok(ExitStatus::Done)
}

fn show_text(template: &Template) -> String {
    let mut text = format!("{} {}: {}\n", template.id, template.version, template.description);
    let rows = template.parameters.iter().map(|p| {
        let need = match &p.default {
            Some(default) => format!("default {default}"),
            None if p.required => "required".to_owned(),
            None => "optional".to_owned(),
        };
        vec![format!("  {}", p.name), p.kind.to_string(), need, p.description.clone()]
    });
    text.push_str(&table(&["  PARAMETER", "TYPE", "", "MEANING"], rows));
    text.push_str("\nunderstands, for instance:\n");
    for example in &template.examples {
        text.push_str(&format!("  {}\n", example.goal));
    }
    let rows = template.tasks.iter().map(|task| {
        let tool = task.tool.clone().unwrap_or_default();
        vec![format!("  {}", task.task_id), tool, task.title().to_owned()]
    });
    text.push_str(&table(&["  TASK", "TOOL", "TITLE"], rows));
    text
}

fn test(context: &CliContext, library: &TemplateLibrary) -> ExitStatus {
    let threshold = context.config.rules.template_threshold;
    let mut failures: Vec<String> = Vec::new();
    let mut tried = 0;
    for template in library.templates() {
        for example in &template.examples {
            tried += 1;
            failures.extend(example_problem(library, template, example, threshold));
        }
        for goal in &template.counterexamples {
            tried += 1;
            let found = library.find(goal, &Map::new());
            let hit = found.iter().find(|m| m.template.id == template.id);
            if let Some(hit) = hit.filter(|m| m.confidence >= threshold) {
                failures.push(format!(
                    "{}: `{goal}` must not match, but does ({:.2})",
                    template.id, hit.confidence
                ));
            }
        }
    }
    let document = json!({ "tried": tried, "failures": failures });
    context.output.result(&document, |_| {
        let mut lines = failures.clone();
        lines.push(format!("{tried} examples tried, {} failed", failures.len()));
        lines.join("\n")
    });
    if failures.is_empty() { ExitStatus::Done } else { ExitStatus::Refused }
}

fn example_problem(
    library: &TemplateLibrary,
    template: &Template,
    example: &l05_core::template::TemplateExample,
    threshold: f64,
) -> Option<String> {
    let goal = &example.goal;
    let found = library.find(goal, &Map::new());
    let Some(best) = found.first() else {
        return Some(format!("{}: `{goal}` matches nothing", template.id));
    };
    if best.template.id != template.id {
        return Some(format!("{}: `{goal}` matches {} better", template.id, best.template.id));
    }
    // A goal without its file may stay under the threshold; with it, it must not.
    let needed = if best.missing.is_empty() { threshold } else { 0.5 };
    if best.confidence < needed {
        return Some(format!("{}: `{goal}` matches at {:.2} only", template.id, best.confidence));
    }
    let wrong = example.parameters.iter().find(|(name, value)| best.said.get(*name) != Some(value));
    wrong.map(|(name, value)| {
        let said = best.said.get(name).cloned().unwrap_or_default();
        format!("{}: `{goal}` gives {name} = {said}, not {value}", template.id)
    })
}
