//! Inputs that stand in a plan, looked at before anything runs: whether SQL, templates, patterns and JSONPaths parse,
//! whether paths stay in the workspace, and whether what is to be read is there.

use std::path::Path;
use std::time::Duration;

use l05_core::ErrorCode;
use l05_core::json_path::parse_json_path;
use l05_core::validate::{InputProblem, LiteralCall};
use serde_json::Value;

use super::boxed::in_box;
use super::data_query::SQL_CHECK;
use super::{ToolContext, fs_search, text_render};
use crate::workspace::{Workspace, climbs_out};

/// The use that a tool makes of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PathUse {
    Read,
    Write,
}

/// The inputs that are paths in the workspace, by tool.
const PATHS: [(&str, &str, PathUse); 7] = [
    ("data.read", "path", PathUse::Read),
    ("data.write", "path", PathUse::Write),
    ("fs.list", "path", PathUse::Read),
    ("fs.read", "path", PathUse::Read),
    ("fs.search", "path", PathUse::Read),
    ("fs.write", "path", PathUse::Write),
    ("text.render", "write_to.path", PathUse::Write),
];

/// All that is wrong with a call's literal inputs. `workspace`: the folder of the run, where what is there counts.
pub(super) async fn check(
    call: &LiteralCall<'_>,
    workspace: Option<&Workspace>,
    context: ToolContext,
) -> Vec<InputProblem> {
    let mut problems = Vec::new();
    for (_, input, usage) in PATHS.iter().filter(|(tool, _, _)| *tool == call.tool) {
        let Some(path) = literal_text(call, input) else { continue };
        problems.extend(path_problem(input, &path, *usage, call, workspace));
    }
    let text = |input: &str| literal_text(call, input);
    let broken = match call.tool {
        "data.query" => match text("sql") {
            Some(sql) => sql_problem(call, sql, context)
                .await
                .map(|why| ("sql", why, "write one SELECT statement of SQLite")),
            None => None,
        },
        "text.render" => text("template").and_then(|template| {
            let why = text_render::template_problem(&template)?;
            Some(("template", why, "correct the template at that line"))
        }),
        "fs.search" if call.written("literal") != Some(&Value::Bool(true)) => text("pattern")
            .and_then(|pattern| {
                let why = fs_search::pattern(&pattern, false).err()?.message;
                Some(("pattern", why, "correct the pattern, or set `literal: true`"))
            }),
        "json.select" => text("path").and_then(|path| {
            let why = parse_json_path(&path).err()?;
            Some(("path", why, "write a JSONPath (RFC 9535), such as `$.items[*].name`"))
        }),
        _ => None,
    };
    problems.extend(broken.map(|(input, message, suggestion)| InputProblem {
        input: input.to_owned(),
        message,
        code: ErrorCode::TypeMismatch,
        missing: None,
        suggestion: suggestion.to_owned(),
    }));
    problems
}

async fn sql_problem(call: &LiteralCall<'_>, sql: String, context: ToolContext) -> Option<String> {
    let tables = call.written("tables").and_then(Value::as_object);
    let mut names: Vec<&str> =
        tables.map(|t| t.keys().map(String::as_str).collect()).unwrap_or_default();
    if call.written("table").is_some() {
        names.push("t");
    }
    let question = serde_json::json!({ "sql": sql, "tables": names });
    match tokio::time::timeout(SQL_CHECK_TIME_MAX, in_box(context, &SQL_CHECK, question)).await {
        Ok(Ok(Value::String(problem))) => Some(problem),
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("`sql` is refused: {}", error.message)),
        Err(_) => {
            let seconds = SQL_CHECK_TIME_MAX.as_secs();
            Some(format!("`sql` is refused: SQLite prepares it for longer than {seconds} s"))
        }
    }
}

/// The longest time that SQLite may take to prepare a question.
const SQL_CHECK_TIME_MAX: Duration = Duration::from_secs(5);

/// The text at an input, or one step below it.
fn literal_text(call: &LiteralCall<'_>, input: &str) -> Option<String> {
    let value = match input.split_once('.') {
        None => call.literal(input)?,
        Some((outer, inner)) => call.literal(outer)?.get_mut(inner)?.take(),
    };
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn path_problem(
    input: &str,
    path: &str,
    usage: PathUse,
    call: &LiteralCall<'_>,
    workspace: Option<&Workspace>,
) -> Option<InputProblem> {
    let problem = |code, message, missing: Option<&str>, suggestion: &str| InputProblem {
        input: input.to_owned(),
        message,
        code,
        missing: missing.map(str::to_owned),
        suggestion: suggestion.to_owned(),
    };
    if Path::new(path).is_absolute() || climbs_out(path) {
        let message = format!("`{path}` leads out of the workspace");
        let hint = "name a path inside it; --workspace chooses another folder";
        return Some(problem(ErrorCode::AccessDenied, message, None, hint));
    }
    let workspace = workspace.filter(|_| usage == PathUse::Read)?;
    // The tool itself can go on without the file.
    let optional = call.written("optional") == Some(&Value::Bool(true));
    if path.is_empty() || optional || workspace.probe(path).is_some() {
        return None;
    }
    let message =
        format!("there is no `{path}` in the workspace, and no task of the plan names it");
    let hint = "correct the path, or make the file before the plan runs";
    Some(problem(ErrorCode::TaskFailed, message, Some(path), hint))
}
