//! What there is to know without a plan: `tools`, `errors`, `schema`, `config`.

use clap::{Subcommand, ValueEnum};
use l05::compose::catalog;
use l05::config::{ConfigKey, ConfigSetting, KEYS};
use l05_core::error::{ErrorInfo, REGISTRY};
use l05_core::suggest::{did_you_mean, nearest};
use l05_core::{Error, ErrorCode};
use serde_json::{Map, Value, json};

use super::CliContext;
use super::exit::ExitStatus;
use super::output::{OutputFormat, print, table};

/// The tools that plans may use
#[derive(Debug, Subcommand)]
pub(crate) enum ToolsCommand {
    /// List the tools
    List,
    /// Show one tool with its schemas
    Show {
        /// The tool's name
        name: String,
    },
}

pub(crate) fn tools(context: &CliContext, command: &ToolsCommand) -> Result<ExitStatus, Error> {
    let catalog = catalog(&context.config)?;
    match command {
        ToolsCommand::List => {
            let specs: Vec<_> = catalog.iter().map(|tool| &tool.spec).collect();
            context.output.result(&json!({ "tools": specs }), |_| {
                let rows = specs.iter().map(|spec| {
                    let again = if spec.idempotent { "may repeat" } else { "acts each time" };
                    vec![spec.name.clone(), again.to_owned(), spec.description.clone()]
                });
                table(&["TOOL", "", "WHAT IT DOES"], rows)
            });
        }
        ToolsCommand::Show { name } => {
            let tool = catalog.get(name).ok_or_else(|| {
                let hint = did_you_mean(&nearest(name, catalog.names()));
                Error::new(ErrorCode::PlanNotFound, format!("there is no tool `{name}`{hint}"))
                    .suggest("`l05 tools list` shows them")
            })?;
            context.output.result(&tool.spec, |spec| {
                serde_json::to_string_pretty(spec).expect("a tool's description is plain data")
            });
        }
    }
    Ok(ExitStatus::Done)
}

/// The error codes
#[derive(Debug, clap::Args)]
pub(crate) struct ErrorsArgs {
    /// One code: E5301
    code: Option<String>,
}

pub(crate) fn errors(context: &CliContext, args: &ErrorsArgs) -> Result<ExitStatus, Error> {
    let rows: Vec<&ErrorInfo> = match args.code.as_ref() {
        None => REGISTRY.iter().collect(),
        Some(text) => {
            let code = ErrorCode::parse(text).ok_or_else(|| {
                Error::new(ErrorCode::PlanNotFound, format!("there is no error code `{text}`"))
                    .suggest("`l05 errors` lists them")
            })?;
            vec![code.info()]
        }
    };
    let document: Vec<Value> = rows
        .iter()
        .map(|info| {
            json!({ "code": info.code, "name": info.name(), "category": info.code.category(),
                    "message": info.message, "retryable": info.retryable, "grpc": info.grpc,
                    "http": info.http, "suggestion": info.suggestion })
        })
        .collect();
    let single = args.code.is_some();
    context.output.result(&document, |_| {
        if single {
            let info = rows[0];
            return format!(
                "{} {}\n{}\nwhat to do: {}\ncategory {}, HTTP {}, gRPC {}, {}",
                info.code,
                info.name(),
                info.message,
                info.suggestion,
                info.code.category(),
                info.http,
                info.grpc,
                if info.retryable { "may be retried" } else { "not to be retried" }
            );
        }
        let rows = rows
            .iter()
            .map(|info| vec![info.code.to_string(), info.name(), info.message.to_owned()]);
        table(&["CODE", "NAME", "MEANING"], rows)
    });
    Ok(ExitStatus::Done)
}

/// Print a JSON Schema
#[derive(Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    /// Of what
    #[arg(value_enum)]
    document: SchemaName,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SchemaName {
    /// Plan files
    Plan,
    /// Template files
    Template,
    /// Configuration files
    Config,
    /// The events that `events` prints
    Event,
}

pub(crate) fn schema(context: &CliContext, args: &SchemaArgs) -> ExitStatus {
    let schema = match args.document {
        SchemaName::Plan => l05_core::schema::plan(),
        SchemaName::Template => l05_core::schema::template(),
        SchemaName::Config => config_schema(),
        SchemaName::Event => l05_run::public_event::schema(),
    };
    // A schema has no form for people but its own.
    let pretty = |schema: &Value| serde_json::to_string_pretty(schema).expect("a schema is JSON");
    context.output.result(&schema, pretty);
    ExitStatus::Done
}

fn config_schema() -> Value {
    let mut sections: Map<String, Value> = Map::new();
    for key in KEYS {
        let (section, name) = key.name.split_once('.').expect("every key has a section");
        let section = sections.entry(section).or_insert_with(
            || json!({ "type": "object", "properties": {}, "additionalProperties": false }),
        );
        let mut schema = key.kind.schema();
        schema["description"] = json!(key.meaning);
        schema["default"] = key.default_value();
        section["properties"][name] = schema;
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "L05 configuration",
        "type": "object", "properties": sections, "additionalProperties": false,
    })
}

/// The configuration
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every key's value and where it came from
    Show,
    /// Check the configuration
    Check,
    /// Describe every key
    Keys,
}

pub(crate) fn config(context: &CliContext, command: &ConfigCommand) -> ExitStatus {
    match command {
        // Loading has checked it; an error never comes here.
        ConfigCommand::Check => context.output.result(&json!({ "valid": true }), |_| {
            let set = context.settings.values().filter(|s| s.origin != "default").count();
            format!("the configuration is valid ({set} of {} keys set)", KEYS.len())
        }),
        ConfigCommand::Show => show(context),
        ConfigCommand::Keys => keys(context),
    }
    ExitStatus::Done
}

fn show(context: &CliContext) {
    let document: Map<String, Value> = KEYS
        .iter()
        .map(|key| {
            let setting = &context.settings[key.name];
            (key.name.to_owned(), json!({ "value": shown(key, setting), "origin": setting.origin }))
        })
        .collect();
    context.output.result(&document, |_| {
        let rows = KEYS.iter().map(|key| {
            let setting = &context.settings[key.name];
            vec![key.name.to_owned(), shown(key, setting).to_string(), setting.origin.clone()]
        });
        table(&["KEY", "VALUE", "FROM"], rows)
    });
}

/// The part of a value that may be shown.
fn shown(key: &ConfigKey, setting: &ConfigSetting) -> Value {
    let is_hidden =
        key.kind.is_secret() && setting.value.as_str().is_some_and(|text| !text.is_empty());
    if is_hidden { "(hidden)".into() } else { setting.value.clone() }
}

fn keys(context: &CliContext) {
    let variables = |key: &ConfigKey| {
        let mut names = vec![key.variable()];
        names.extend(key.aliases.iter().map(|a| (*a).to_owned()).filter(|a| *a != key.variable()));
        names
    };
    if context.output.format == OutputFormat::Table {
        let rows = KEYS.iter().map(|key| {
            vec![
                key.name.to_owned(),
                key.kind.range(),
                key.default.to_owned(),
                variables(key).join(" "),
                key.meaning.to_owned(),
            ]
        });
        return print(&table(&["KEY", "RANGE", "DEFAULT", "ENVIRONMENT", "MEANING"], rows));
    }
    let document: Vec<Value> = KEYS
        .iter()
        .map(|key| {
            json!({ "key": key.name, "type": key.kind.name(), "range": key.kind.range(),
                    "default": key.default_value(), "environment": variables(key), "meaning": key.meaning })
        })
        .collect();
    context.output.result(&document, |_| String::new());
}
