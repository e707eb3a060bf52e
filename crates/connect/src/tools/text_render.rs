//! `text.render`: a text template over data.
//!
//! The template must stand in the plan as it is (`x-l05-literal`), so nothing that came from a
//! goal, a file or another tool is ever run as a template; the data is escaped for the format.

use l05_core::ErrorCode;
use l05_core::catalog::ToolSpec;
use l05_run::event::TaskError;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as JinjaValue};
use minijinja::{AutoEscape, Environment, Output as JinjaOutput, State, UndefinedBehavior};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::boxed::{BoxedWork, in_box};
use super::fs_write::WriteConflict;
use super::markdown::{cell_code_span, code_span, write_escaped};
use super::number::NumberText;
use super::template_shape::{self, template_limit};
use super::{BuiltinTool, ToolContext, decode, in_thread};
use crate::workspace::final_error;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenderTextInput {
    /// The template: Jinja without access to anything but `data`.
    #[schemars(length(max = 1_000_000), extend("x-l05-literal" = true))]
    template: String,
    /// Values that the template sees, by name.
    #[serde(default)]
    data: serde_json::Map<String, Value>,
    /// The format of the result; decides how data is escaped.
    #[serde(default)]
    format: RenderFormat,
    /// Also write it to a file; never over one.
    #[serde(default)]
    write_to: Option<RenderTarget>,
}

/// A file for the rendered text.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RenderTarget {
    /// The path, relative to the workspace.
    #[schemars(length(min = 1, max = 4096))]
    path: String,
    /// The rule for a file that is there already.
    #[serde(default)]
    if_exists: WriteConflict,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum RenderFormat {
    #[default]
    Markdown,
    Html,
    Text,
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RenderTextOutput {
    /// The rendered text.
    text: String,
    /// The length of the text.
    bytes: usize,
    /// The path of the written file, in the field that every writing tool has; empty when it was
    /// not.
    files_written: Vec<String>,
}

/// The tool.
pub(super) const TOOL: BuiltinTool = BuiltinTool {
    name: "text.render",
    spec,
    start: |context, call| Box::pin(run(context, call.inputs)),
};

fn spec(_: &[String]) -> Option<ToolSpec> {
    let description =
        "Renders a text template over data, escaped for Markdown, HTML or plain text.";
    Some(super::spec::<RenderTextInput, RenderTextOutput>(TOOL.name, description, false))
}

/// Steps a template may take: a report of some thousand lines takes a hundredth of it.
const FUEL: u64 = 3_000_000;
const ESCAPE_MARKDOWN: &str = "markdown";

/// The rendering alone: what is written is written by this process.
pub(super) static RENDER: BoxedWork = BoxedWork {
    name: "text.render",
    run: |_, inputs| Ok(Value::String(render(&decode(inputs)?)?)),
    uses_workspace: false,
    is_small: |inputs| {
        let template = inputs["template"].as_str().unwrap_or_default();
        template_shape::is_small(template, &inputs["data"], &syntax())
    },
};

async fn run(bench: ToolContext, inputs: Value) -> Result<Value, TaskError> {
    let RenderTextInput { write_to, .. } = decode(inputs.clone())?;
    let Value::String(text) = in_box(bench.clone(), &RENDER, inputs).await? else {
        return Err(final_error(ErrorCode::TypeMismatch, "a rendering is a text"));
    };
    let write = move |bench: &ToolContext, ()| {
        let files_written = match &write_to {
            None => Vec::new(),
            Some(target) => {
                let if_exists = target.if_exists.into();
                vec![bench.workspace()?.write(&target.path, text.as_bytes(), if_exists)?]
            }
        };
        Ok(RenderTextOutput { bytes: text.len(), text, files_written })
    };
    in_thread(bench, Value::Null, write).await
}

/// The reason for which a text is no template.
pub(super) fn template_problem(template: &str) -> Option<String> {
    if let Some(broken) = template_limit(template, &syntax()) {
        return Some(broken);
    }
    let environment = environment();
    let error = environment.template_from_str(template).err()?;
    let line = error.line().map(|line| format!(" at line {line}")).unwrap_or_default();
    let why = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    Some(format!("the template does not parse{line}: {why}"))
}

fn environment<'e>() -> Environment<'e> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_syntax(syntax());
    environment
}

fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .expect("the default delimiters do not clash")
}

fn render(input: &RenderTextInput) -> Result<String, TaskError> {
    if let Some(broken) = template_limit(&input.template, &syntax()) {
        return Err(final_error(ErrorCode::TypeMismatch, broken));
    }
    let mut environment = environment();
    let escape = match input.format {
        RenderFormat::Markdown => AutoEscape::Custom(ESCAPE_MARKDOWN.into()),
        RenderFormat::Html => AutoEscape::Html,
        RenderFormat::Text => AutoEscape::None,
    };
    environment.set_auto_escape_callback(move |_| escape.clone());
    environment.set_formatter(format_value);
    environment.add_filter("code", |text: String| JinjaValue::from_safe_string(code_span(&text)));
    environment.add_filter("cell_code", |text: String| {
        JinjaValue::from_safe_string(cell_code_span(&text))
    });
    environment.add_filter("thousands", thousands);
    // Makes a gigabyte of a number; nothing here needs it.
    environment.remove_filter("indent");
    let rendered = environment.render_str(&input.template, JinjaValue::from(Serde(&input.data)));
    rendered.map_err(|error| {
        let line = error.line().map(|line| format!(" at line {line}")).unwrap_or_default();
        let why = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        let missing = (error.kind() == minijinja::ErrorKind::UndefinedError)
            .then(|| missing_names(&environment, input));
        let missing = missing.unwrap_or_default();
        final_error(ErrorCode::TaskFailed, format!("the template fails{line}: {why}{missing}"))
    })
}

/// Names of a template that its data lacks, and those that there are.
fn missing_names(environment: &Environment<'_>, input: &RenderTextInput) -> String {
    let Ok(template) = environment.template_from_str(&input.template) else {
        return String::new();
    };
    let has = |path: &str| {
        let mut names = path.split('.');
        let first = names.next().and_then(|name| input.data.get(name));
        names.try_fold(first, |value, name| value.map(|value| value.get(name))).flatten().is_some()
    };
    let mut missing: Vec<String> =
        template.undeclared_variables(true).into_iter().filter(|path| !has(path)).collect();
    missing.sort_unstable();
    let known: Vec<&str> = input.data.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
    format!(": `{}` is not in the data, which has {known}", missing.join("`, `"))
}

fn format_value(
    out: &mut JinjaOutput<'_>,
    state: &mut State<'_, '_>,
    value: &JinjaValue,
) -> Result<(), minijinja::Error> {
    let markdown =
        matches!(state.auto_escape(), AutoEscape::Custom(name) if name == ESCAPE_MARKDOWN);
    // Null is nothing, in every format; the engine would write its own language's word.
    if value.is_none() {
        return Ok(());
    }
    if !markdown || value.is_safe() {
        return minijinja::escape_formatter(out, state, value);
    }
    let text = value.to_string();
    write_escaped(out, &text)
        .map_err(|_| minijinja::Error::new(minijinja::ErrorKind::WriteFailure, "cannot write"))
}

/// `1234567` as `1,234,567`; numbers with a fraction keep two places. A text that is a number keeps its digits.
#[expect(clippy::needless_pass_by_value, reason = "a template filter takes its value")]
fn thousands(value: JinjaValue) -> String {
    let shown = value.to_string();
    if NumberText::new(&shown).is_none() || shown.contains(['e', 'E', '+', ' ']) {
        return shown;
    }
    let shown = match shown.parse::<f64>() {
        Ok(_) if value.as_str().is_some() => shown,
        Ok(number) if number.fract() != 0.0 => format!("{number:.2}"),
        Ok(number) if number.abs() < 1e15 => format!("{number:.0}"),
        _ => shown,
    };
    let (sign, digits) = shown.strip_prefix('-').map_or(("", shown.as_str()), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let fraction = fraction.map(|f| format!(".{f}")).unwrap_or_default();
    format!("{sign}{grouped}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rendered(template: &str, format: RenderFormat) -> String {
        let data = json!({"name": "<b>*x*</b>", "n": 1234567, "f": -1234.5, "none": null, "list": ["a", "b"]});
        let data = data.as_object().unwrap().clone();
        let input = RenderTextInput { template: template.to_owned(), data, format, write_to: None };
        render(&input).unwrap_or_else(|error| error.message)
    }

    #[test]
    fn data_is_escaped_for_the_format() {
        assert_eq!(rendered("{{ name }}", RenderFormat::Markdown), "&lt;b&gt;\\*x\\*&lt;/b&gt;");
        assert_eq!(rendered("{{ name }}", RenderFormat::Html), "&lt;b&gt;*x*&lt;&#x2f;b&gt;");
        assert_eq!(rendered("{{ name }}", RenderFormat::Text), "<b>*x*</b>");
        assert_eq!(rendered("{{ name|code }}", RenderFormat::Markdown), "`<b>*x*</b>`");
        assert_eq!(
            rendered("{{ n|thousands }} {{ f|thousands }}", RenderFormat::Markdown),
            "1,234,567 \\-1,234.50"
        );
        assert_eq!(rendered("{% for x in list %}{{ x }};{% endfor %}", RenderFormat::Text), "a;b;");
    }

    #[test]
    fn templates_end_and_say_what_is_wrong() {
        let missing = rendered("{{ missing.deep }}", RenderFormat::Text);
        assert!(missing.contains("fails at line 1") && missing.contains("`missing.deep` is not"));
        assert!(rendered("{{ gone }}", RenderFormat::Text).contains("`gone` is not in the data"));
        let null = rendered("[{{ none }}]", RenderFormat::Text);
        assert_eq!(null, "[]", "null is nothing");
        assert!(rendered("{% for", RenderFormat::Text).contains("fails"));
        let endless =
            "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
        assert!(rendered(endless, RenderFormat::Text).contains("fuel"));
        let deep = format!("{{{{ \"}}}}\" ~ {} 1 }}}}", "not ".repeat(50_000));
        assert!(rendered(&deep, RenderFormat::Text).contains("tokens in one expression"));
        assert!(rendered("{{ 'x'|indent(999999999) }}", RenderFormat::Text).contains("fails"));
    }
}
