//! The library's shortest use: a goal of three fields becomes a plan.
//!
//! `cargo run --release -p l05 --example summary`

use l05::core::Error;
use l05::core::goal::Goal;
use l05::core::id::{AgentDid, GoalId};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let service = l05::embedded()?;
    let id = GoalId::new("goal-1").expect("letters, digits and a dash");
    let agent = AgentDid::new("did:example:alice").expect("a DID");
    let goal = Goal::new(id, agent, "Create a summary of the project status");
    let planned = service.create_plan(goal).await?;
    let tasks = planned.plan.document().tasks.len();
    // An example prints; the library never does.
    #[expect(clippy::print_stdout, reason = "an example's whole purpose")]
    {
        println!("plan {} has {tasks} tasks", planned.plan.id());
    }
    service.shutdown().await;
    Ok(())
}
