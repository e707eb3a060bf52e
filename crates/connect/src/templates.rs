//! The built-in template library, embedded in the binary.

use std::path::{Path, PathBuf};

use l05_core::document::{DocumentFormat, TextLimits, parse};
use l05_core::finding::findings_error;
use l05_core::template::Template;
use l05_core::{Error, ErrorCode};

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../templates/", $name, ".yaml")))),*]
    };
}

/// Name and text of each embedded file.
const BUILTIN: &[(&str, &str)] = embedded![
    "analysis-by-dimension",
    "code-change",
    "data-pipeline",
    "deployment",
    "file-processing",
    "format-conversion",
    "migration",
    "monitoring-setup",
    "project-summary",
    "research",
    "review",
    "simple-query",
    "test-run",
    "web-digest",
];

/// The templates that come with L05.
pub fn builtin() -> Vec<Template> {
    BUILTIN
        .iter()
        .map(|(name, text)| {
            read(name, text).expect("embedded templates are read by every test run")
        })
        .collect()
}

/// Reads a template file's text.
pub fn read(name: &str, text: &str) -> Result<Template, Error> {
    let value = parse(text, DocumentFormat::detect(name, text), TextLimits::default()).map_err(
        |error| {
            let mut error = error.into_error(name);
            error.code = ErrorCode::TemplateInvalid;
            error
        },
    )?;
    Template::read(&value).map_err(|findings| {
        let mut error = findings_error(ErrorCode::TemplateInvalid, &findings);
        error.message = format!("{name}: {}", error.message);
        error
    })
}

/// Reads all templates of a folder, in the order of their names.
pub fn read_folder(folder: &Path) -> Result<Vec<Template>, Error> {
    let unreadable = |path: &Path, error: &std::io::Error| {
        Error::new(ErrorCode::TemplateInvalid, format!("{}: {error}", path.display()))
    };
    let entries = std::fs::read_dir(folder).map_err(|e| unreadable(folder, &e))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json"));
    paths.sort();
    let mut templates = Vec::with_capacity(paths.len());
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, &e))?;
        templates.push(read(&path.display().to_string(), &text)?);
    }
    Ok(templates)
}
