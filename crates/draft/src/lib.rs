//! Drafts of plans: what people and models wrote, read into plan files, and what models are told.
//!
//! Pure as `l05-core` is. A draft proves nothing: it becomes a plan file, and that is validated like
//! anybody's. The engine's decomposer uses [`decomposition`], the command line [`import`] as well.

pub mod decomposition;
pub mod import;
