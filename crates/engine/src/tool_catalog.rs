//! The tools of the service at a moment: specifications, compiled schemas and who runs them, behind a
//! handle that can be brought up to date while plans are made and run.
//!
//! Whoever works with tools takes a snapshot and keeps to it; a later generation changes nothing under
//! its feet.

use std::collections::BTreeMap;
use std::sync::Arc;

use l05_core::catalog::{ToolCatalog, ToolSpec};
use l05_core::{Error, ErrorCode};
use tokio::sync::watch;

use crate::port::Executor;

/// The tools at a moment.
pub(crate) struct CatalogSnapshot {
    /// Raised by each change, from 1.
    pub(crate) generation: u64,
    /// The specifications.
    pub(crate) tools: Arc<ToolCatalog>,
    executors: BTreeMap<String, Arc<dyn Executor>>,
    /// A digest of all specifications, for keys of plans that were made with them.
    pub(crate) digest: String,
}

impl CatalogSnapshot {
    /// Whatever runs a tool here.
    pub(crate) fn executor(&self, tool: &str) -> Option<Arc<dyn Executor>> {
        self.executors.get(tool).cloned()
    }

    /// Names of tools that work in the workspace.
    pub(crate) fn of_workspace(&self) -> std::collections::BTreeSet<String> {
        let working = self.tools.iter().filter(|tool| tool.spec.uses_workspace);
        working.map(|tool| tool.spec.name.clone()).collect()
    }

    /// Names of tools whose attempts may be repeated without harm.
    pub(crate) fn idempotent(&self) -> std::collections::BTreeSet<String> {
        let repeatable = self.tools.iter().filter(|tool| tool.spec.idempotent);
        repeatable.map(|tool| tool.spec.name.clone()).collect()
    }
}

/// The present tools, and the way to bring them up to date.
pub(crate) struct CatalogHandle {
    executors: Vec<Arc<dyn Executor>>,
    /// Plans are validated against these instead of the executors' own.
    fixed: Option<Arc<ToolCatalog>>,
    current: watch::Sender<Arc<CatalogSnapshot>>,
}

impl CatalogHandle {
    pub(crate) fn new(
        executors: Vec<Arc<dyn Executor>>,
        fixed: Option<ToolCatalog>,
    ) -> Result<CatalogHandle, Error> {
        let fixed = fixed.map(Arc::new);
        let first = snapshot(1, &executors, fixed.as_ref())?;
        Ok(CatalogHandle { executors, fixed, current: watch::channel(Arc::new(first)).0 })
    }

    /// The tools as they are now.
    pub(crate) fn snapshot(&self) -> Arc<CatalogSnapshot> {
        self.current.borrow().clone()
    }

    /// Asks all executors anew; the new tools, if anything has changed.
    pub(crate) fn refresh(&self) -> Result<Option<Arc<CatalogSnapshot>>, Error> {
        let before = self.snapshot();
        let next = snapshot(before.generation + 1, &self.executors, self.fixed.as_ref())?;
        if next.digest == before.digest && next.executors.keys().eq(before.executors.keys()) {
            return Ok(None);
        }
        let next = Arc::new(next);
        self.current.send_replace(next.clone());
        Ok(Some(next))
    }
}

fn snapshot(
    generation: u64,
    executors: &[Arc<dyn Executor>],
    fixed: Option<&Arc<ToolCatalog>>,
) -> Result<CatalogSnapshot, Error> {
    let tools: Vec<(ToolSpec, Arc<dyn Executor>)> = executors
        .iter()
        .flat_map(|executor| executor.tools().into_iter().map(|tool| (tool, executor.clone())))
        .collect();
    let catalog = match fixed {
        Some(catalog) => catalog.clone(),
        None => {
            let specs = tools.iter().map(|(spec, _)| spec.clone());
            let catalog = ToolCatalog::new(specs)
                .map_err(|e| Error::new(ErrorCode::ConfigError, e.to_string()))?;
            Arc::new(catalog)
        }
    };
    let specs: Vec<&ToolSpec> = catalog.iter().map(|tool| &tool.spec).collect();
    let digest = debug_digest(&specs);
    let executors = tools.into_iter().map(|(tool, executor)| (tool.name, executor)).collect();
    Ok(CatalogSnapshot { generation, tools: catalog, executors, digest })
}

/// A digest of everything that a value holds. Its form is of no account: it only has to change when
/// the value does.
pub(crate) fn debug_digest(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    l05_core::plan::digest_hex(&hash.as_ref()[..16])
}
