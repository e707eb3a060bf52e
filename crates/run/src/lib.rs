//! The run machine of L05: one plan's life as a pure state machine, and what can be told of it.
//!
//! Pure as `l05-core` is: no async, clock, randomness or I/O. The engine's shard drives [`machine`] and
//! journals its [`record`]s; services read [`history`], [`public_event`] and [`explain`].
//!
//! Reading order: [`event`], [`command`], [`machine`], [`history`], [`public_event`], [`explain`].

pub mod amounts;
pub mod codec;
pub mod command;
pub mod event;
pub mod explain;
pub mod history;
pub mod machine;
pub mod placement;
pub mod public_event;
pub mod record;

pub use machine::Run;
