//! The formats of tables in files.

use schemars::JsonSchema;
use serde::Deserialize;

/// How a table is written down.
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
    /// What a file's name says, if it says anything.
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
