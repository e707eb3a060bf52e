//! From a model's words to a draft plan: reading its answer, joining sub-plans, and what it is told.
//!
//! A draft proves nothing. It becomes a plan file, and that is validated like anybody's.

mod answer;
mod candidates;
mod draft;
mod found_steps;
mod input_form;
mod json;
mod json_brackets;
mod json_notes;
mod json_scalars;
mod links;
mod order;
mod prompt;
mod quoted;
mod reasoning;
mod schema;
mod step_fields;
mod steps;
mod wrapped;

#[cfg(test)]
mod tests;

pub use answer::{ReadingMode, answer_text, read_answer, read_draft, read_result, read_value};
pub use draft::{DraftNeed, DraftPlan, DraftStep};
pub use prompt::{
    PromptFacts, SystemPrompt, answer_repair_prompt, goal_prompt, prompt_version, repair_prompt,
    system_prompt, task_prompt,
};
pub use reasoning::{FinalAnswer, final_answer};
pub use schema::{AnswerForm, AnswerSchema, answer_schema};
