//! The formats of tables in files.

use schemars::JsonSchema;
use serde::Deserialize;

/// File formats for a table.
#[derive(Deserialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum DataFormat {
    /// By the file's name, or by how it begins.
    #[default]
    Auto,
    Csv,
    Json,
    Ndjson,
}

impl DataFormat {
    /// The format that a file's name tells, if it tells one.
    pub(super) fn of_name(path: &str) -> Option<DataFormat> {
        let name = path.to_ascii_lowercase();
        match name.rsplit('.').next()? {
            "csv" | "tsv" => Some(DataFormat::Csv),
            "ndjson" | "jsonl" => Some(DataFormat::Ndjson),
            "json" => Some(DataFormat::Json),
            _ => None,
        }
    }
}
