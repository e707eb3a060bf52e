//! JSON Schema as the core uses it: compiled with the same options everywhere, problems in one line.

use jsonschema::Validator;
use serde_json::Value;

/// In a property's schema: the value must stand in the plan as it is. Inputs that are programs of
/// some kind (SQL, text templates) carry it, so that no output is ever spliced into one.
pub const LITERAL_KEYWORD: &str = "x-l05-literal";

/// In a property's schema: the value is the time that the call takes, in seconds. Where it stands in the
/// plan, the task's duration is known before anything runs.
pub const SECONDS_KEYWORD: &str = "x-l05-seconds";

/// Compiles a schema; no reference leads out of the document, and `format` is checked.
pub fn compile_schema(schema: &Value) -> Result<Validator, String> {
    jsonschema::options().should_validate_formats(true).build(schema).map_err(|e| e.to_string())
}

/// The first thing that a validator refuses, with its place.
pub fn first_problem(validator: &Validator, value: &Value) -> Option<String> {
    let error = validator.iter_errors(value).next()?;
    Some(format!("`{}`: {error}", error.instance_path()))
}

/// Checks a value by a schema that is not compiled yet; nothing for one that does not compile,
/// which validation has refused.
pub fn schema_problem(schema: &Value, value: &Value) -> Option<String> {
    first_problem(&compile_schema(schema).ok()?, value)
}
