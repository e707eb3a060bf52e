//! Whoever asks something of the service: a person, a program or the process itself.
//!
//! Each call carries one; it goes into the record of what the call causes.

use std::sync::Arc;

use crate::agent::LOCAL_AGENT;
use crate::document::choice::choices;

choices! {
    /// The rights of a caller (spec 04, 4.6), or the kind of actor.
    pub enum CallerRole {
        /// Reads.
        Viewer = "viewer",
        /// Makes plans.
        Planner = "planner",
        /// Runs plans.
        Operator = "operator",
        /// Answers approvals.
        Approver = "approver",
        /// May do everything.
        Admin = "admin",
        /// Does tasks.
        Agent = "agent",
    }
}

/// A caller of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// A DID, a user name, or `local`.
    pub id: Arc<str>,
    /// The most that it may do.
    pub role: CallerRole,
}

impl Caller {
    /// The process itself, or whoever sits before it: on the own machine everything is allowed.
    pub fn local() -> Caller {
        Caller { id: LOCAL_AGENT.into(), role: CallerRole::Admin }
    }

    /// A person at this machine.
    pub fn person(id: impl Into<Arc<str>>) -> Caller {
        Caller { id: id.into(), role: CallerRole::Admin }
    }
}
