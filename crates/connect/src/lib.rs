//! What L05 calls: the built-in tools, sandboxed to a workspace folder.
//!
//! Model gateways, MCP servers, agents and secret stores join here as they come.

pub mod evaluation_work;
pub mod evaluator;
pub mod keyfile;
pub mod model;
pub mod templates;
pub mod tokens;
pub mod tools;
pub mod workspace;
pub mod workspace_identity;

pub use tools::BuiltinTools;
pub use workspace::Workspace;
