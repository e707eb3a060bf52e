//! Whether data fits where it flows: JSON Schema compatibility along references.
//!
//! Called by validation, once per reference. A reference yields values of a part of its producer's
//! output schema; the input it feeds takes values of a part of the consumer's. Containment itself
//! is `jsonschema::canonical`'s; what it cannot decide is decided by a value that the one side
//! gives and the other refuses, or not at all.
//!
//! ```text
//! $[a].output.rows  --project-->  produced schema --+
//!                                                   +--> compare --> Fits | Misfit | Undecided
//! inputs.table      --project-->  consumed schema --+
//! ```

mod compare;
mod document;
mod memo;
mod projection;
mod recursion;
mod sample;

#[cfg(test)]
mod tests;

pub use compare::{FlowVerdict, compare};
pub(crate) use compare::{shown, takes_anything};
pub(crate) use document::SchemaDocument;
pub(crate) use memo::{DataFlow, FlowKey, FlowMemo};
pub use projection::{SchemaProjection, ValuePresence, project};
pub use sample::samples;
