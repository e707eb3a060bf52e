//! The library as those who embed it use it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod examples;
mod workspace;
