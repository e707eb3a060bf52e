//! Tokens and money as whole numbers: what budgets allow, attempts reserve and runs use.

use l05_core::choices;
use serde::{Deserialize, Serialize};

choices! {
    /// A quantity that a budget limits.
    pub enum BudgetKind {
        /// Model tokens, in and out.
        Tokens = "tokens",
        /// Money.
        Cost = "cost_usd",
        /// Time from the start of the run.
        Time = "seconds",
    }
}

/// Tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Model tokens, in and out.
    #[serde(default)]
    pub tokens: u64,
    /// Billionths of a US dollar.
    #[serde(default)]
    pub nanousd: u64,
}

/// Billionths in a dollar.
pub(crate) const NANOS: f64 = 1e9;

impl Amounts {
    /// Nothing.
    pub const NONE: Amounts = Amounts { tokens: 0, nanousd: 0 };
    /// No limit.
    pub const UNLIMITED: Amounts = Amounts { tokens: u64::MAX, nanousd: u64::MAX };

    /// True if it is nothing.
    pub fn is_none(&self) -> bool {
        *self == Amounts::NONE
    }

    /// In dollars.
    pub fn usd(self) -> f64 {
        self.nanousd as f64 / NANOS
    }

    pub(crate) fn plus(self, other: Amounts) -> Amounts {
        Amounts {
            tokens: self.tokens.saturating_add(other.tokens),
            nanousd: self.nanousd.saturating_add(other.nanousd),
        }
    }

    pub(crate) fn minus(self, other: Amounts) -> Amounts {
        Amounts {
            tokens: self.tokens.saturating_sub(other.tokens),
            nanousd: self.nanousd.saturating_sub(other.nanousd),
        }
    }
}

/// The use of an attempt, as its executor reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Model tokens, in and out.
    #[serde(default)]
    pub tokens: u64,
    /// US dollars.
    #[serde(default)]
    pub cost_usd: f64,
}

impl Usage {
    pub(crate) fn is_none(&self) -> bool {
        *self == Usage::default()
    }
}

impl From<Usage> for Amounts {
    fn from(usage: Usage) -> Amounts {
        Amounts { tokens: usage.tokens, nanousd: nanos(usage.cost_usd) }
    }
}

/// A part of a billionth counts whole, but not what binary fractions leave of decimals.
pub(crate) fn nanos(usd: f64) -> u64 {
    (usd * NANOS - 1e-3).ceil().max(0.0) as u64
}
