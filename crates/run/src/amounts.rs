//! Tokens and money as whole numbers: what budgets allow, attempts reserve and runs use.

use l05_core::choices;
use serde::{Deserialize, Serialize};

choices! {
    /// A quantity that a budget limits.
    pub enum BudgetKind {
        /// Model tokens, in and out.
        Tokens = "tokens",
        /// Model tokens that go in.
        TokensIn = "tokens_in",
        /// Model tokens that come out.
        TokensOut = "tokens_out",
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
    /// Of the tokens those that go in, where a budget limits them by themselves.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens_in: u64,
    /// Of the tokens those that come out, where a budget limits them by themselves.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives the field by reference")]
fn is_zero(amount: &u64) -> bool {
    *amount == 0
}

/// Billionths in a dollar.
pub(crate) const NANOS: f64 = 1e9;

impl Amounts {
    /// Nothing.
    pub const NONE: Amounts = Amounts::each(0);
    /// No limit.
    pub const UNLIMITED: Amounts = Amounts::each(u64::MAX);

    const fn each(amount: u64) -> Amounts {
        Amounts { tokens: amount, nanousd: amount, tokens_in: amount, tokens_out: amount }
    }

    /// True if it is nothing.
    pub fn is_none(&self) -> bool {
        *self == Amounts::NONE
    }

    /// In dollars.
    pub fn usd(self) -> f64 {
        self.nanousd as f64 / NANOS
    }

    pub(crate) fn plus(self, other: Amounts) -> Amounts {
        self.with(other, u64::saturating_add)
    }

    pub(crate) fn minus(self, other: Amounts) -> Amounts {
        self.with(other, u64::saturating_sub)
    }

    /// Kind by kind.
    pub(crate) fn with(self, other: Amounts, join: fn(u64, u64) -> u64) -> Amounts {
        Amounts {
            tokens: join(self.tokens, other.tokens),
            nanousd: join(self.nanousd, other.nanousd),
            tokens_in: join(self.tokens_in, other.tokens_in),
            tokens_out: join(self.tokens_out, other.tokens_out),
        }
    }

    /// The amount of each kind but time.
    pub(crate) fn kinds(self) -> [(BudgetKind, u64); 4] {
        [
            (BudgetKind::Tokens, self.tokens),
            (BudgetKind::Cost, self.nanousd),
            (BudgetKind::TokensIn, self.tokens_in),
            (BudgetKind::TokensOut, self.tokens_out),
        ]
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
    /// Of the tokens those that came out, where the executor says so.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens_out: u64,
    /// The executor reported no tokens that can be right; they were counted here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_counted: bool,
}

impl Usage {
    /// The use of two calls together.
    pub fn plus(&self, other: &Usage) -> Usage {
        Usage {
            tokens: self.tokens.saturating_add(other.tokens),
            cost_usd: self.cost_usd + other.cost_usd,
            tokens_out: self.tokens_out.saturating_add(other.tokens_out),
            is_counted: self.is_counted || other.is_counted,
        }
    }
}

impl Usage {
    pub(crate) fn is_none(&self) -> bool {
        *self == Usage::default()
    }
}

impl From<Usage> for Amounts {
    fn from(usage: Usage) -> Amounts {
        let tokens_out = usage.tokens_out.min(usage.tokens);
        let tokens_in = usage.tokens - tokens_out;
        Amounts { tokens: usage.tokens, nanousd: nanos(usage.cost_usd), tokens_in, tokens_out }
    }
}

impl BudgetKind {
    /// An amount of this kind as budgets name it: tokens, dollars, seconds.
    pub fn shown(self, amount: u64) -> f64 {
        match self {
            BudgetKind::Tokens | BudgetKind::TokensIn | BudgetKind::TokensOut => amount as f64,
            BudgetKind::Cost => amount as f64 / NANOS,
            BudgetKind::Time => amount as f64 / 1e3,
        }
    }
}

/// A part of a billionth counts whole, but not what binary fractions leave of decimals.
pub(crate) fn nanos(usd: f64) -> u64 {
    (usd * NANOS - 1e-3).ceil().max(0.0) as u64
}
