//! What a run may use, has used, and has promised to attempts in flight (spec 03, 3.8).
//!
//! Whole numbers throughout: sums of reservations that come and go must end where they began,
//! which floating point does not promise.

use super::Run;
use crate::amounts::{Amounts, BudgetKind, NANOS, Usage, nanos};
use crate::command::{CommandRejected, NewBudget, RunLimits};
use crate::event::{Gate, OpeningAccount, RunEvent};
use l05_core::error::ErrorCode;
use l05_core::id::{Attempt, TaskIndex};
use l05_core::plan::{AttemptAllowance, OnBudget, Plan, PlanDocument};
use l05_core::task::TaskType;
use l05_core::time::Timestamp;

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
    /// An executor used more than it was told it may: nothing further is entrusted to any.
    pub(super) breach: Option<String>,
    /// Spending that a person has agreed to after the fact.
    condoned: Amounts,
}

impl BudgetAccount {
    pub(super) fn of(document: &PlanDocument) -> BudgetAccount {
        BudgetAccount {
            limit: limit(document),
            granted: Amounts::NONE,
            spent: Amounts::NONE,
            reserved: Amounts::NONE,
            warned: Vec::new(),
            breach: None,
            condoned: Amounts::NONE,
        }
    }

    /// The account of a run that begins with what earlier runs left.
    pub(super) fn opened(document: &PlanDocument, opening: &OpeningAccount) -> BudgetAccount {
        let limit = opening.limit.unwrap_or_else(|| limit(document));
        let OpeningAccount { spent, granted, .. } = *opening;
        BudgetAccount { limit, granted, spent, ..BudgetAccount::of(document) }
    }

    /// The account that the next run of the plan begins with: what is left, but for kinds that get a new
    /// budget.
    pub(super) fn carried(&self, new: NewBudget) -> OpeningAccount {
        let mut opening = OpeningAccount { spent: self.spent, granted: self.granted, limit: None };
        let mut limit = self.limit;
        if let Some(tokens) = new.tokens {
            (limit.tokens, limit.tokens_in, limit.tokens_out) = (tokens, u64::MAX, u64::MAX);
            (opening.spent.tokens, opening.granted.tokens) = (0, 0);
        }
        if let Some(usd) = new.cost_usd {
            limit.nanousd = nanos_within(usd);
            (opening.spent.nanousd, opening.granted.nanousd) = (0, 0);
        }
        opening.limit = (limit != self.limit || new.is_some()).then_some(limit);
        opening
    }

    /// True if attempts have to reserve at all.
    pub(super) fn is_limited(&self) -> bool {
        self.limit != Amounts::UNLIMITED
    }

    /// The amounts that the plan may use now.
    pub(super) fn allowed(&self) -> Amounts {
        self.limit.plus(self.granted)
    }

    /// The reason for which nothing further may start: more was used than the plan allows, or than an
    /// executor was told.
    pub(super) fn overdraft(&self) -> Option<String> {
        if let Some(breach) = &self.breach {
            return Some(breach.clone());
        }
        if !self.is_limited() {
            return None;
        }
        let allowed = self.allowed().with(self.condoned, u64::max);
        let over = |((kind, spent), (_, allowed)): &((BudgetKind, u64), (_, u64))| {
            (*spent > *allowed).then(|| {
                let (used, allowed) = (kind.shown(*spent), kind.shown(*allowed));
                format!("the plan used {used} {kind}, and its budget is {allowed}")
            })
        };
        self.spent.kinds().into_iter().zip(allowed.kinds()).find_map(|kind| over(&kind))
    }

    /// The kind of budget that `share` would break, with what it needs and what is left.
    pub(super) fn shortage(&self, share: Amounts) -> Option<BudgetShortage> {
        let left = self.allowed().minus(self.spent.plus(self.reserved));
        let short = |((kind, needed), (_, left)): &((BudgetKind, u64), (_, u64))| {
            let (needed_shown, left_shown) = (kind.shown(*needed), kind.shown(*left));
            (needed > left).then_some(BudgetShortage {
                kind: *kind,
                needed: needed_shown,
                left: left_shown,
            })
        };
        share.kinds().into_iter().zip(left.kinds()).find_map(|kind| short(&kind))
    }

    pub(super) fn reserve(&mut self, share: Amounts) {
        self.reserved = self.reserved.plus(share);
    }

    /// An attempt ended and said what it used.
    pub(super) fn charge(&mut self, reserved: Amounts, used: Amounts) {
        self.reserved = self.reserved.minus(reserved);
        self.spent = self.spent.plus(used);
    }

    /// Adds a second budget of the same size, and accepts what was spent over the first.
    pub(super) fn grant(&mut self) {
        let once = |limit: u64, _| if limit == u64::MAX { 0 } else { limit };
        self.granted = self.granted.plus(self.limit.with(Amounts::NONE, once));
        self.warned.retain(|kind| *kind == BudgetKind::Time);
        self.condoned = self.spent;
        self.breach = None;
    }

    /// The next warning that is due.
    pub(super) fn warning(&self) -> Option<RunEvent> {
        if !self.is_limited() {
            return None;
        }
        let kinds = self.spent.kinds().into_iter().zip(self.allowed().kinds());
        kinds.into_iter().find_map(|((kind, used), (_, limit))| {
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

/// Cores and memory that tasks are expected to need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TaskSize {
    millicores: u64,
    memory_mb: u64,
}

impl TaskSize {
    /// The most that a plan's tasks may need at once; none where it says nothing of it.
    pub(super) fn limit(document: &PlanDocument) -> Option<TaskSize> {
        let budget = document.resource_budget.as_ref()?;
        let limited = budget.cpu_cores.is_some() || budget.memory_mb.is_some();
        limited.then(|| TaskSize {
            millicores: budget.cpu_cores.map_or(u64::MAX, |cores| (cores * 1e3) as u64),
            memory_mb: budget.memory_mb.unwrap_or(u64::MAX),
        })
    }

    pub(super) fn plus(self, other: TaskSize) -> TaskSize {
        TaskSize {
            millicores: self.millicores.saturating_add(other.millicores),
            memory_mb: self.memory_mb.saturating_add(other.memory_mb),
        }
    }

    pub(super) fn minus(self, other: TaskSize) -> TaskSize {
        TaskSize {
            millicores: self.millicores.saturating_sub(other.millicores),
            memory_mb: self.memory_mb.saturating_sub(other.memory_mb),
        }
    }

    fn is_within(self, limit: TaskSize) -> bool {
        self.millicores <= limit.millicores && self.memory_mb <= limit.memory_mb
    }
}

impl Run {
    /// The cores and the memory that a task is expected to need.
    pub(super) fn size(&self, task: TaskIndex) -> TaskSize {
        let estimate = self.plan.document().metadata.estimate.as_ref();
        let estimate = estimate.and_then(|estimate| estimate.tasks.get(self.origin(task).at()));
        estimate.map_or_else(TaskSize::default, |estimate| TaskSize {
            millicores: (estimate.cpu_cores.expected * 1e3).ceil() as u64,
            memory_mb: estimate.memory_mb.expected.ceil() as u64,
        })
    }

    /// True if a task may start beside what is in flight; alone it may always.
    pub(super) fn has_room_beside_others(&self, task: TaskIndex) -> bool {
        let Some(limit) = self.size_limit else { return true };
        self.running == 0 || self.size_in_flight.plus(self.size(task)).is_within(limit)
    }

    /// The event of a report that used more than its attempt was told it may. Only model calls and tasks
    /// with a quota are told anything.
    pub(super) fn breach(
        &self,
        task: TaskIndex,
        attempt: Attempt,
        usage: Option<&Usage>,
    ) -> Option<RunEvent> {
        let spec = self.spec(task);
        if spec.task_type != TaskType::LlmCall && !spec.limits_spending() {
            return None;
        }
        let used = Amounts::from(*usage?);
        let allowed = share(&self.plan, self.origin(task));
        let over = used.tokens > allowed.tokens
            || used.nanousd > allowed.nanousd
            || used.tokens_out > allowed.tokens_out
            || used.tokens_in > allowed.tokens_in;
        let stops = self.account.is_limited() || spec.limits_spending();
        let is_told = self.plan.document().metadata.bound.is_some();
        (over && is_told).then_some(RunEvent::BudgetBreached {
            task,
            attempt,
            allowed,
            used,
            stops,
        })
    }

    pub(super) fn tell_breach(&self, task: TaskIndex, allowed: Amounts, used: Amounts) -> String {
        let kinds = used.kinds().into_iter().zip(allowed.kinds());
        let over = kinds.filter(|((_, used), (_, allowed))| used > allowed).map(
            |((kind, used), (_, allowed))| {
                format!("{} {kind}, {} were allowed", kind.shown(used), kind.shown(allowed))
            },
        );
        let over: Vec<String> = over.collect();
        format!("task `{}` used more than it was told: {}", self.name(task), over.join("; "))
    }

    /// More was used than is allowed: a person is asked, or the plan ends as soon as nothing is in flight
    /// any more.
    pub(super) fn overdrawn(&self, now: Timestamp, terms: RunLimits<'_>) -> Option<RunEvent> {
        if !self.is_going_on() || self.gates.contains_key(&Gate::Budget) {
            return None;
        }
        let reason = self.account.overdraft()?;
        let asks = self.plan.document().on_budget == OnBudget::Ask;
        if asks && !self.declined.contains(&Gate::Budget) {
            let expires_at = terms.answer_within_millis.map(|millis| now.plus_millis(millis));
            return Some(RunEvent::GateOpened { gate: Gate::Budget, expires_at });
        }
        (self.running == 0).then(|| self.budget_is_over(reason, now))
    }

    /// The account that a new run of the plan begins with, and why it could do nothing where that is so.
    /// No account: nothing is limited.
    pub(super) fn opening_account(
        &self,
        budget: NewBudget,
    ) -> Result<Option<Box<OpeningAccount>>, CommandRejected> {
        let document = self.plan.document();
        let mut opening = self.account.carried(budget);
        if self.run == 0 {
            let (tokens, cost_usd) = document.planning_spent();
            let planning = Usage { tokens, cost_usd, ..Usage::default() };
            opening.spent = Amounts::from(planning);
        }
        let account = BudgetAccount::opened(document, &opening);
        if let Some(reason) = account.overdraft() {
            return Err(CommandRejected::new(ErrorCode::BudgetExceeded, reason).suggest(
                "`l05 retry ID --token-budget N --budget-usd USD` gives the new run a budget of its own",
            ));
        }
        let says_something = account.is_limited() && opening != OpeningAccount::default();
        Ok(says_something.then(|| Box::new(opening)))
    }

    /// The part that one attempt of a task may use, by the plan's bound; nothing where nothing is
    /// limited.
    pub(super) fn share(&self, task: TaskIndex) -> Amounts {
        if !self.account.is_limited() {
            return Amounts::NONE;
        }
        let share = share(&self.plan, self.origin(task));
        // Sides are booked only where they are limited.
        let limit = self.account.allowed();
        let side = |amount: u64, limit: u64| if limit == u64::MAX { 0 } else { amount };
        Amounts {
            tokens_in: side(share.tokens_in, limit.tokens_in),
            tokens_out: side(share.tokens_out, limit.tokens_out),
            ..share
        }
    }

    /// Takes back what was reserved for a task's attempt and books `used` for it; where nobody
    /// knows what was used, all of it counts as used.
    pub(super) fn charge_share(&mut self, task: TaskIndex, used: Option<&Usage>) {
        self.lacks_budget = false;
        let reserved = self.reservations.remove(&task).unwrap_or_default();
        self.account.charge(reserved, used.map_or(reserved, |usage| Amounts::from(*usage)));
    }
}

/// The part that one attempt may use, by the bound. A plan without one, written by an earlier version,
/// reserves nothing.
fn share(plan: &Plan, task: TaskIndex) -> Amounts {
    if plan.document().metadata.bound.is_none() {
        return Amounts::NONE;
    }
    let AttemptAllowance { tokens, tokens_in, tokens_out, cost_usd, .. } = plan.allowance(task);
    Amounts { tokens, nanousd: nanos(cost_usd), tokens_in, tokens_out }
}

/// The smallest of the limits that a document sets.
fn limit(document: &PlanDocument) -> Amounts {
    let constraints = &document.constraints;
    let budget = document.resource_budget.clone().unwrap_or_default();
    let both = budget.tokens_in.zip(budget.tokens_out);
    let both = both.map(|(input, output)| input.saturating_add(output));
    let tokens = constraints.max_token_budget.into_iter().chain(both).min();
    let cost = constraints.cost_limit_usd.into_iter().chain(budget.cost_usd);
    Amounts {
        tokens: tokens.unwrap_or(u64::MAX),
        nanousd: cost.map(nanos_within).min().unwrap_or(u64::MAX),
        tokens_in: budget.tokens_in.unwrap_or(u64::MAX),
        tokens_out: budget.tokens_out.unwrap_or(u64::MAX),
    }
}

/// A limit is never rounded up, but for what binary fractions leave of decimals.
fn nanos_within(usd: f64) -> u64 {
    (usd * NANOS + 1e-3) as u64
}
