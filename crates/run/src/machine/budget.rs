//! What a run may use, has used, and has promised to attempts in flight (spec 03, 3.8).
//!
//! Whole numbers throughout: sums of reservations that come and go must end where they began,
//! which floating point does not promise.

use super::Run;
use crate::amounts::Usage;
use crate::amounts::{Amounts, BudgetKind, NANOS, nanos};
use crate::event::RunEvent;
use l05_core::id::TaskIndex;
use l05_core::plan::{Plan, PlanDocument};

/// The share of a budget from which on a run warns, in percent.
const WARN_PERCENT: u128 = 80;

/// A run's account.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BudgetAccount {
    /// The amounts that the plan allows.
    limit: Amounts,
    /// The amounts that approvals added to it.
    pub(super) granted: Amounts,
    /// The amounts used, and those that attempts of which nobody knows may have used.
    pub(super) spent: Amounts,
    /// The amounts that attempts in flight may still use.
    pub(super) reserved: Amounts,
    /// Kinds that were warned of.
    pub(super) warned: Vec<BudgetKind>,
}

impl BudgetAccount {
    pub(super) fn of(document: &PlanDocument) -> BudgetAccount {
        BudgetAccount {
            limit: limit(document),
            granted: Amounts::NONE,
            spent: Amounts::NONE,
            reserved: Amounts::NONE,
            warned: Vec::new(),
        }
    }

    /// True if attempts have to reserve at all.
    pub(super) fn is_limited(&self) -> bool {
        self.limit != Amounts::UNLIMITED
    }

    /// The amounts that the plan may use now.
    pub(super) fn allowed(&self) -> Amounts {
        self.limit.plus(self.granted)
    }

    /// The kind of budget that `share` would break, with what it needs and what is left.
    pub(super) fn shortage(&self, share: Amounts) -> Option<BudgetShortage> {
        let left = self.allowed().minus(self.spent.plus(self.reserved));
        if share.tokens > left.tokens {
            let (needed, left) = (share.tokens as f64, left.tokens as f64);
            return Some(BudgetShortage { kind: BudgetKind::Tokens, needed, left });
        }
        (share.nanousd > left.nanousd).then(|| BudgetShortage {
            kind: BudgetKind::Cost,
            needed: share.usd(),
            left: left.usd(),
        })
    }

    pub(super) fn reserve(&mut self, share: Amounts) {
        self.reserved = self.reserved.plus(share);
    }

    /// An attempt ended and said what it used.
    pub(super) fn charge(&mut self, reserved: Amounts, used: Amounts) {
        self.reserved = self.reserved.minus(reserved);
        self.spent = self.spent.plus(used);
    }

    /// Adds a second budget of the same size.
    pub(super) fn grant(&mut self) {
        let once = |limit: u64| if limit == u64::MAX { 0 } else { limit };
        let more = Amounts { tokens: once(self.limit.tokens), nanousd: once(self.limit.nanousd) };
        self.granted = self.granted.plus(more);
        self.warned.retain(|kind| *kind == BudgetKind::Time);
    }

    /// The next warning that is due.
    pub(super) fn warning(&self) -> Option<RunEvent> {
        if !self.is_limited() {
            return None;
        }
        let allowed = self.allowed();
        let kinds = [
            (BudgetKind::Tokens, self.spent.tokens, allowed.tokens),
            (BudgetKind::Cost, self.spent.nanousd, allowed.nanousd),
        ];
        kinds.into_iter().find_map(|(kind, used, limit)| {
            let near = u128::from(used) * 100 >= u128::from(limit) * WARN_PERCENT;
            let due = limit != u64::MAX && near && !self.warned.contains(&kind);
            due.then_some(RunEvent::BudgetWarned { kind, used, limit })
        })
    }
}

/// The amount that does not suffice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BudgetShortage {
    pub(super) kind: BudgetKind,
    pub(super) needed: f64,
    pub(super) left: f64,
}

impl BudgetShortage {
    pub(super) fn tell(self, task: &str) -> String {
        let BudgetShortage { kind, needed, left } = self;
        format!("task `{task}` may take {needed} {kind}, and {left} of the plan's budget are left")
    }
}

impl Run {
    /// The part that one attempt of a task may use, by the plan's bound; nothing where nothing is
    /// limited.
    pub(super) fn share(&self, task: TaskIndex) -> Amounts {
        if self.account.is_limited() { share(&self.plan, self.origin(task)) } else { Amounts::NONE }
    }

    /// Takes back what was reserved for a task's attempt and books `used` for it; where nobody
    /// knows what was used, all of it counts as used.
    pub(super) fn charge_share(&mut self, task: TaskIndex, used: Option<&Usage>) {
        self.lacks_budget = false;
        let reserved = self.reservations.remove(&task).unwrap_or_default();
        self.account.charge(reserved, used.map_or(reserved, |usage| Amounts::from(*usage)));
    }
}

/// A plan without a bound, written by an earlier version, reserves nothing.
fn share(plan: &Plan, task: TaskIndex) -> Amounts {
    let bound = plan.document().metadata.bound.as_ref();
    let bound = bound.and_then(|bound| bound.tasks.get(task.at()));
    bound.map_or(Amounts::NONE, |bound| Amounts {
        tokens: bound.attempt_tokens,
        nanousd: nanos(bound.attempt_cost_usd),
    })
}

/// The smallest of the limits that a document sets.
fn limit(document: &PlanDocument) -> Amounts {
    let constraints = &document.constraints;
    let budget = document.resource_budget.as_ref();
    let both = budget.and_then(|b| Some(b.tokens_in?.saturating_add(b.tokens_out?)));
    let tokens = constraints.max_token_budget.into_iter().chain(both).min();
    let cost = constraints.cost_limit_usd.into_iter().chain(budget.and_then(|b| b.cost_usd));
    Amounts {
        tokens: tokens.unwrap_or(u64::MAX),
        nanousd: cost.map(|usd| (usd * NANOS + 1e-3) as u64).min().unwrap_or(u64::MAX),
    }
}
