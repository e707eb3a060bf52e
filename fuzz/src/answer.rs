//! A model's raw answer: whatever it is, reading it ends, and what was read can be written and read
//! again as the same plan.

#![no_main]

use l05_draft::decomposition::{ReadingMode, answer_text, read_answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = answer_text(bytes);
    for lenient in [false, true] {
        if let Ok(imported) = read_answer(&text, ReadingMode { lenient }) {
            let written = imported.plan.to_string();
            let again = read_answer(&written, ReadingMode { lenient }).expect("a plan file is a plan");
            let tasks = |plan: &serde_json::Value| plan["tasks"].as_array().map(Vec::len);
            assert_eq!(tasks(&imported.plan), tasks(&again.plan));
        }
    }
});
