//! Agents that this process can give work to: registration, heartbeats, draining.

use std::sync::Arc;

use l05_core::agent::{Agent, LOCAL_AGENT, LOCAL_AGENT_TYPE};
use l05_core::{Error, ErrorCode};

use super::Running;
use crate::port::Executor;
use crate::shard::AgentInput;

/// The longest id of an agent that is no DID (spec 01).
const AGENT_ID_MAX: usize = 256;

impl Running {
    pub(in crate::service) async fn register_agent(
        &self,
        agent: Agent,
        executor: Arc<dyn Executor>,
    ) -> Result<(), Error> {
        check(&agent)?;
        self.driver.register(agent, executor).await?;
        // Answered in turn: by then it is known to everybody.
        self.driver.all_agents().await.map(drop)
    }

    /// Something about a registered agent.
    pub(in crate::service) async fn tell_agent(&self, input: AgentInput) -> Result<(), Error> {
        let id = match &input {
            AgentInput::Registered(agent) => &agent.agent_id,
            AgentInput::Heard { agent_id, .. } => agent_id,
            AgentInput::Drained(id) | AgentInput::Left(id) => id,
        };
        self.known(id)?;
        self.driver.tell_agent(input).await
    }

    fn known(&self, agent_id: &str) -> Result<(), Error> {
        let agents = self.driver.agents();
        if agent_id != LOCAL_AGENT && agents.iter().any(|agent| agent.agent_id == agent_id) {
            return Ok(());
        }
        let near = l05_core::suggest::nearest(agent_id, agents.iter().map(|a| a.agent_id.as_str()));
        let hint = l05_core::suggest::did_you_mean(&near);
        let message = format!("no agent `{agent_id}` is registered{hint}");
        Err(Error::new(ErrorCode::AgentUnknown, message))
    }
}

/// Checks that what an agent says of itself makes sense.
fn check(agent: &Agent) -> Result<(), Error> {
    let id = &agent.agent_id;
    let problem = if id.is_empty() || id.len() > AGENT_ID_MAX || id.chars().any(char::is_control) {
        Some(format!("an agent's id has 1 to {AGENT_ID_MAX} characters"))
    } else if id == LOCAL_AGENT || agent.agent_type == LOCAL_AGENT_TYPE {
        Some(format!("`{LOCAL_AGENT}` is this process; give agent `{id}` another id and type"))
    } else if agent.max_concurrent_tasks == 0 {
        Some(format!("agent `{id}` takes no task at all: max_concurrent_tasks is 0"))
    } else {
        None
    };
    problem.map_or(Ok(()), |problem| Err(Error::new(ErrorCode::PlanMalformed, problem)))
}
