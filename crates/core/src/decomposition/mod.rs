//! From a model's words to a draft plan: reading its answer, joining sub-plans, and what it is told.
//!
//! A draft proves nothing. It becomes a plan file, and that is validated like anybody's.

mod answer;
mod draft;
mod json;
mod links;
mod quoted;
mod steps;

#[cfg(test)]
mod tests;

pub use answer::{Reading, answer_text, read_answer, read_value};
pub use draft::{Draft, DraftStep, Need};
