//! Agents that this process can give work to: registration, heartbeats, draining.

use std::sync::Arc;

use l05_core::agent::LOCAL_AGENT;
use l05_core::agent::{Agent, LOCAL_AGENT_TYPE};
use l05_core::{Error, ErrorCode};
use tokio::sync::oneshot;

use super::PlanningService;
use crate::driver::DriverMessage;
use crate::port::Executor;
use crate::shard::AgentInput;

/// The longest id of an agent that is no DID (spec 01).
const AGENT_ID_MAX: usize = 256;

impl PlanningService {
    /// Registers an agent: from now on it gets tasks that it can do, through `executor`, as long as
    /// it is heard of ([`PlanningService::heartbeat`]). Registering it again replaces what it was.
    pub async fn register_agent(
        &self,
        agent: Agent,
        executor: Arc<dyn Executor>,
    ) -> Result<(), Error> {
        check(&agent)?;
        self.inner
            .driver
            .send(DriverMessage::Register { agent: Box::new(agent), executor })
            .await?;
        // Answered in turn: by then it is known to everybody.
        self.agents().await.map(drop)
    }

    /// An agent lives. `load`, 0 to 100, is what it is busy with beside this process's tasks.
    pub async fn heartbeat(&self, agent_id: &str, load: Option<u8>) -> Result<(), Error> {
        self.known(agent_id)?;
        let agent_id = agent_id.to_owned();
        self.inner.driver.send(DriverMessage::Agent(AgentInput::Heard { agent_id, load })).await
    }

    /// An agent takes no new tasks; those that it has it may end.
    pub async fn drain_agent(&self, agent_id: &str) -> Result<(), Error> {
        self.known(agent_id)?;
        self.inner.driver.send(DriverMessage::Agent(AgentInput::Drained(agent_id.to_owned()))).await
    }

    /// An agent is gone; its tasks go elsewhere.
    pub async fn remove_agent(&self, agent_id: &str) -> Result<(), Error> {
        self.known(agent_id)?;
        self.inner.driver.send(DriverMessage::Agent(AgentInput::Left(agent_id.to_owned()))).await
    }

    /// All agents, this process among them, with how busy they are now.
    pub async fn agents(&self) -> Result<Vec<Agent>, Error> {
        let (reply, agents) = oneshot::channel();
        self.inner.driver.send(DriverMessage::Agents(reply)).await?;
        agents
            .await
            .map_err(|_| Error::new(ErrorCode::PlanNotExecutable, "the service has shut down"))
    }

    fn known(&self, agent_id: &str) -> Result<(), Error> {
        let agents = self.inner.driver.agents();
        if agent_id != LOCAL_AGENT && agents.iter().any(|agent| agent.agent_id == agent_id) {
            return Ok(());
        }
        let near = l05_core::suggest::nearest(agent_id, agents.iter().map(|a| a.agent_id.as_str()));
        let hint = l05_core::suggest::did_you_mean(&near);
        let message = format!("no agent `{agent_id}` is registered{hint}");
        Err(Error::new(ErrorCode::AgentUnknown, message))
    }
}

/// What an agent says of itself must make sense.
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
