//! Reading documents: text to JSON values, values to domain types, with every problem named.
//!
//! Serde's derive stops at the first problem and names no path; a person who wrote a plan by hand
//! deserves all of them at once. So documents are read in two steps: [`parse`] turns YAML or JSON
//! text into a value within limits, and the `reader` walks the value by tables of field names
//! (which the JSON Schemas also use, so that both accept the same spellings).

pub mod choice;
mod places;
pub(crate) mod reader;
mod size;
mod text;

pub use places::{DocumentPlaces, FieldPlace};
pub use size::DocumentExcess;
pub use text::{DocumentError, DocumentFormat, TextLimits, parse};
