//! The workspaces of runs: a run goes on in the folder it was started in, or is refused with both named.
//!
//! Asked when a run is taken up (after its journal was read: what a claim says is a filter and no more), and for
//! each attempt.

use std::sync::Arc;

use l05_core::{Error, ErrorCode, id::PlanId};
use l05_run::Run;

use crate::port::{WorkspaceFinder, WorkspaceFolder};

/// The rule for runs that belong to another workspace than this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherWorkspaces {
    /// They are driven in theirs, where it is a folder of this machine.
    #[default]
    Follow,
    /// They are refused.
    Refuse,
}

/// The workspace of a process, and the way to others.
#[derive(Clone, Default)]
pub(crate) struct RunWorkspaces {
    pub(crate) own: Option<Arc<WorkspaceFolder>>,
    /// None: runs are not bound to workspaces here.
    pub(crate) bound: Option<BoundWorkspaces>,
}

/// The identity of a process's workspace.
#[derive(Clone)]
pub(crate) struct BoundWorkspaces {
    pub(crate) identity: Arc<str>,
    pub(crate) finder: Arc<dyn WorkspaceFinder>,
    pub(crate) others: OtherWorkspaces,
}

impl RunWorkspaces {
    /// The folder for the attempts of a run; an error says why there is none.
    pub(crate) fn folder(
        &self,
        of_run: Option<&str>,
    ) -> Result<Option<Arc<WorkspaceFolder>>, String> {
        match (of_run, &self.bound) {
            (Some(wanted), Some(bound)) if *wanted != *bound.identity => {
                let found = bound.finder.find(wanted).map_err(|why| {
                    format!("the workspace {}: {why}", bound.finder.describe(wanted))
                })?;
                Ok(Some(Arc::new(found)))
            }
            (Some(_) | None, _) => Ok(self.own.clone()),
        }
    }

    /// Refuses a run that belongs to a workspace which is not here, or is not to be served.
    pub(crate) fn check(&self, plan: PlanId, run: &Run) -> Result<(), Error> {
        let (Some(wanted), Some(bound)) = (run.workspace(), &self.bound) else { return Ok(()) };
        if *wanted == bound.identity {
            return Ok(());
        }
        let why = match (bound.others, bound.finder.find(wanted)) {
            (OtherWorkspaces::Follow, Ok(_)) => return Ok(()),
            (OtherWorkspaces::Follow, Err(why)) => format!(" ({why})"),
            (OtherWorkspaces::Refuse, _) => String::new(),
        };
        let (theirs, ours) =
            (bound.finder.describe(wanted), bound.finder.describe(&bound.identity));
        let message = format!(
            "plan {plan} belongs to the workspace {theirs}{why}; this process works in {ours}"
        );
        Err(Error::new(ErrorCode::PlanNotExecutable, message).suggest(
            "go on with it there; `l05 worker --workspace all` serves all folders of a machine",
        ))
    }
}
