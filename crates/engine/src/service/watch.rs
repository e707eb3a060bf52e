//! Following a plan from outside: the journal up to the present, then the hub's feed.

use std::collections::VecDeque;
use std::sync::Arc;

use l05_core::id::Sequence;
use l05_core::plan::Plan;
use l05_core::{Error, ErrorCode};
use l05_run::history::RunHistory;
use l05_run::public_event::{PublicEvent, planned, project};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::hub::{EventBatch, EventHub, FeedReceiver, RunStanding};
use crate::port::Journal;

/// Gives the events of a plan, oldest first, until it ends or its owner is gone.
pub struct PlanWatcher {
    journal: Arc<dyn Journal>,
    hub: Arc<EventHub>,
    plan: Arc<Plan>,
    ready: VecDeque<PublicEvent>,
    /// The last journal event that was given, or is ready to be.
    seen: u64,
    standing: RunStanding,
    /// The fold of what was read, on the way to the present.
    catching_up: Option<RunHistory>,
    feed: Option<FeedReceiver>,
    /// The feed has ended: what the journal has by now is all.
    is_ending: bool,
    is_over: bool,
}

impl PlanWatcher {
    pub(super) fn new(
        journal: Arc<dyn Journal>,
        hub: Arc<EventHub>,
        plan: Arc<Plan>,
    ) -> PlanWatcher {
        let ready = planned(&plan).into();
        let history = RunHistory::new(plan.clone());
        let standing = RunStanding::of(history.run());
        PlanWatcher {
            journal,
            hub,
            plan,
            ready,
            seen: 0,
            standing,
            catching_up: Some(history),
            feed: None,
            is_ending: false,
            is_over: false,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The state of the run after the events given so far, and those ready to be given.
    pub fn standing(&self) -> RunStanding {
        self.standing
    }

    /// The next event; `None` when the run has ended or nobody drives it any more.
    pub async fn next(&mut self) -> Result<Option<PublicEvent>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.is_over {
                return Ok(None);
            }
            self.advance().await?;
        }
    }

    /// The next event, as [`PlanWatcher::next`], but also `None` while the run waits for people.
    pub async fn next_while_it_moves(&mut self) -> Result<Option<PublicEvent>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let rests = self.standing.waits_for_people && self.catching_up.is_none();
            if self.is_over || (rests && !self.take_from_feed()) {
                return Ok(None);
            }
            if !rests {
                self.advance().await?;
            }
        }
    }

    /// Moves on by a page of the journal, or by a batch of the feed.
    async fn advance(&mut self) -> Result<(), Error> {
        if self.catching_up.is_some() {
            return self.catch_up().await;
        }
        let Some(feed) = &mut self.feed else {
            self.go_back();
            return Ok(());
        };
        match feed.recv().await {
            Ok(batch) => self.take(&batch),
            Err(RecvError::Lagged(_)) => self.go_back(),
            // The feed has ended without saying so: the journal tells why.
            Err(RecvError::Closed) => {
                self.feed = None;
                self.go_back();
            }
        }
        Ok(())
    }

    /// Takes what the feed has at hand; whether there was anything.
    fn take_from_feed(&mut self) -> bool {
        let Some(feed) = &mut self.feed else { return false };
        match feed.try_recv() {
            Ok(batch) => self.take(&batch),
            Err(TryRecvError::Lagged(_)) => self.go_back(),
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::Closed) => {
                self.feed = None;
                self.go_back();
            }
        }
        true
    }

    fn take(&mut self, batch: &EventBatch) {
        match batch.span {
            Some((first, _)) if first > self.seen + 1 => return self.go_back(),
            Some((_, last)) if last <= self.seen => {}
            Some((_, last)) => {
                let new = batch.events.iter().filter(|event| event.id.seq > self.seen);
                self.ready.extend(new.cloned());
                self.seen = last;
                self.standing = batch.standing;
            }
            None => {}
        }
        if batch.is_last && batch.up_to > self.seen {
            // The feed began behind events that this watcher had not read: the journal has them.
            self.is_ending = true;
            self.go_back();
        } else {
            self.is_over |= batch.is_last;
        }
    }

    /// Back to the journal, for what the feed did not give. The fold that this needs is dropped again
    /// when the present is reached.
    fn go_back(&mut self) {
        self.catching_up = Some(RunHistory::new(self.plan.clone()));
    }

    /// Takes in the journal's next page.
    async fn catch_up(&mut self) -> Result<(), Error> {
        let Some(history) = &mut self.catching_up else { return Ok(()) };
        let next = Sequence(history.run().sequence().0 + 1);
        let records = self.journal.read(self.plan.id(), next).await?;
        for record in &records {
            history
                .add(record)
                .map_err(|gap| Error::new(ErrorCode::JournalCorrupt, gap.to_string()))?;
            if record.next().0 > self.seen + 1 {
                let events = project(history, record);
                self.ready.extend(events.into_iter().filter(|e| e.id.seq > self.seen));
            }
        }
        self.seen = self.seen.max(history.run().sequence().0);
        self.standing = RunStanding::of(history.run());
        if !records.is_empty() {
            return Ok(());
        }
        if self.standing.status.is_at_rest() || self.is_ending {
            self.is_over = true;
        } else if self.feed.is_none() {
            // First followed, then read once more: nothing that comes in between is missed.
            self.feed = Some(self.hub.follow(&self.plan));
            return Ok(());
        }
        self.catching_up = None;
        Ok(())
    }
}
