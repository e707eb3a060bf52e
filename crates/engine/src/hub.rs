//! The hub: fans the events of running plans out to whoever watches them.
//!
//! A plan that is watched has one feed, whoever many watch it: a task that folds the plan's journal and
//! projects each record once. In the process that drives the plan the driver hands it the records as
//! they become durable; elsewhere it looks into the journal. A watcher begins with what the journal has,
//! follows the feed from there, and goes back to the journal when it was too slow for the feed's bounded
//! queue.
//!
//! ```text
//! driver ──appended records──▶ feed (fold, projection) ──batches──▶ watcher
//! journal ──poll, elsewhere──▶   │                                    ▲
//! journal ────────────── who begins, and who is behind ───────────────┘
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use l05_core::id::{PlanId, Sequence};
use l05_core::plan::{Plan, PlanStatus};
use l05_core::{Error, ErrorCode};
use l05_run::Run;
use l05_run::history::RunHistory;
use l05_run::public_event::{PublicEvent, project};
use l05_run::record::Record;
use tokio::sync::{broadcast, mpsc};

use crate::port::Journal;

/// The pause between two looks into the journal of a plan that another process drives. People watch;
/// 50 ms look immediate.
const POLL_EVERY: Duration = Duration::from_millis(50);
/// Batches that a feed keeps for slow watchers; one is a record's events. Who is further behind reads the
/// journal.
const BATCHES_MAX: usize = 256;
/// Records on their way from the driver to a feed; one that falls further behind reads the journal.
const RECORDS_MAX: usize = 1_024;

/// The state of a run after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunStanding {
    /// The plan's status.
    pub status: PlanStatus,
    /// Nothing happens before a person answers.
    pub waits_for_people: bool,
}

impl RunStanding {
    pub(crate) fn of(run: &Run) -> RunStanding {
        RunStanding { status: run.status(), waits_for_people: run.waits_for_people() }
    }
}

/// The events of some journal records, for all watchers of a plan.
pub(crate) struct EventBatch {
    /// Numbers of the first and the last journal event in it; none in one that only tells the end.
    pub(crate) span: Option<(u64, u64)>,
    pub(crate) events: Vec<PublicEvent>,
    pub(crate) standing: RunStanding,
    /// Nothing follows: the run has ended, or nobody drives it any more.
    pub(crate) is_last: bool,
    /// The last journal event that the feed knows of: it may have found some there that it never told.
    pub(crate) up_to: u64,
}

/// A watcher's end of a feed.
pub(crate) type FeedReceiver = broadcast::Receiver<Arc<EventBatch>>;

/// All feeds of a process.
pub(crate) struct EventHub {
    journal: Arc<dyn Journal>,
    // Short and synchronous: never held across an await.
    state: Mutex<HubState>,
    /// True if any plan is watched: where none is, the driver pays for one look at this.
    is_watched: AtomicBool,
}

#[derive(Default)]
struct HubState {
    driven: HashSet<PlanId>,
    feeds: HashMap<PlanId, Feed>,
}

struct Feed {
    batches: broadcast::WeakSender<Arc<EventBatch>>,
    news: mpsc::Sender<FeedNews>,
    /// Records were left out: the journal has them.
    is_behind: Arc<AtomicBool>,
}

/// News of the driver for a feed.
enum FeedNews {
    Appended(Arc<Record>),
    /// The run is driven here from now on, or not any more.
    Driven(bool),
}

impl EventHub {
    pub(crate) fn new(journal: Arc<dyn Journal>) -> Arc<EventHub> {
        let (state, is_watched) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(EventHub { journal, state, is_watched })
    }

    fn state(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run is driven here from now on, or not any more.
    pub(crate) fn set_driven(&self, plan: PlanId, is_driven: bool) {
        let mut state = self.state();
        if is_driven {
            state.driven.insert(plan);
        } else {
            state.driven.remove(&plan);
        }
        if let Some(feed) = state.feeds.get(&plan) {
            feed.tell(FeedNews::Driven(is_driven));
        }
    }

    /// Records became durable.
    pub(crate) fn appended<'r>(&self, records: impl Iterator<Item = &'r Arc<Record>>) {
        if !self.is_watched.load(Ordering::Acquire) {
            return;
        }
        let state = self.state();
        for record in records {
            if let Some(feed) = state.feeds.get(&record.plan) {
                feed.tell(FeedNews::Appended(record.clone()));
            }
        }
    }

    /// The feed of a plan, begun if nobody watches it yet. What it tells is new from here on: whoever
    /// follows it reads the journal after this.
    pub(crate) fn follow(self: &Arc<Self>, plan: &Arc<Plan>) -> FeedReceiver {
        let mut state = self.state();
        let known = state.feeds.get(&plan.id()).and_then(|feed| feed.batches.upgrade());
        if let Some(batches) = known {
            return batches.subscribe();
        }
        let (batches, receiver) = broadcast::channel(BATCHES_MAX);
        let (news, inbox) = mpsc::channel(RECORDS_MAX);
        let is_behind = Arc::new(AtomicBool::new(false));
        let feed = Feed { batches: batches.downgrade(), news, is_behind: is_behind.clone() };
        state.feeds.insert(plan.id(), feed);
        self.is_watched.store(true, Ordering::Release);
        let task = FeedTask {
            journal: self.journal.clone(),
            history: RunHistory::new(plan.clone()),
            inbox,
            is_behind,
            is_driven: state.driven.contains(&plan.id()),
            batches,
            _entry: FeedEntry { hub: Arc::downgrade(self), plan: plan.id() },
        };
        tokio::spawn(task.run());
        receiver
    }
}

impl Feed {
    fn tell(&self, news: FeedNews) {
        if self.news.try_send(news).is_err() {
            self.is_behind.store(true, Ordering::Release);
        }
    }
}

/// Takes a feed out of the hub when its task ends, however it ends.
struct FeedEntry {
    hub: Weak<EventHub>,
    plan: PlanId,
}

impl Drop for FeedEntry {
    fn drop(&mut self) {
        let Some(hub) = self.hub.upgrade() else { return };
        let mut state = hub.state();
        // Another may have begun since: the channel of this one is closed by now.
        if state.feeds.get(&self.plan).is_some_and(|feed| feed.batches.strong_count() == 0) {
            state.feeds.remove(&self.plan);
        }
        hub.is_watched.store(!state.feeds.is_empty(), Ordering::Release);
    }
}

/// The one fold of a plan that is watched.
struct FeedTask {
    journal: Arc<dyn Journal>,
    history: RunHistory,
    inbox: mpsc::Receiver<FeedNews>,
    is_behind: Arc<AtomicBool>,
    is_driven: bool,
    batches: broadcast::Sender<Arc<EventBatch>>,
    _entry: FeedEntry,
}

impl FeedTask {
    async fn run(mut self) {
        // What is there already the watchers read by themselves.
        let mut told = match self.read(false).await {
            Ok(()) => Ok(false),
            Err(error) => Err(error),
        };
        while self.batches.receiver_count() > 0 {
            told = match told {
                Ok(true) => return,
                Ok(false) => self.step().await,
                Err(error) => {
                    tracing::debug!(%error, "a watched plan's journal cannot be read");
                    // Watchers find out by themselves.
                    return;
                }
            };
        }
    }

    /// Waits for something new and tells it; whether it was the end.
    async fn step(&mut self) -> Result<bool, Error> {
        if self.history.run().status().is_at_rest() {
            self.send(None, Vec::new(), true);
            return Ok(true);
        }
        if self.is_driven {
            let news = tokio::time::timeout(POLL_EVERY * 20, self.inbox.recv()).await;
            match news {
                Ok(Some(news)) => self.take(news).await?,
                // The driver is gone, or nothing came for a second: whether anybody watches is looked
                // at again.
                Ok(None) => self.is_driven = false,
                Err(_) => {}
            }
            return Ok(false);
        }
        // Asked before reading: an owner that ends in between has written everything by then.
        let plan = self.history.run().plan().id();
        let is_owned = self.journal.is_owned(plan).await?;
        let before = self.history.run().sequence();
        self.read(true).await?;
        if self.history.run().sequence() != before {
            return Ok(false);
        }
        if self.history.run().status().is_at_rest() || !is_owned {
            self.send(None, Vec::new(), true);
            return Ok(true);
        }
        match tokio::time::timeout(POLL_EVERY, self.inbox.recv()).await {
            Ok(Some(news)) => self.take(news).await?,
            Ok(None) => tokio::time::sleep(POLL_EVERY).await,
            Err(_) => {}
        }
        Ok(false)
    }

    async fn take(&mut self, news: FeedNews) -> Result<(), Error> {
        if self.is_behind.swap(false, Ordering::AcqRel) {
            self.read(true).await?;
            // Of what was left out some may have said who drives it: the journal knows who owns it.
            self.is_driven = false;
        }
        match news {
            FeedNews::Driven(is_driven) => self.is_driven = is_driven,
            FeedNews::Appended(record) => {
                let next = self.history.run().sequence().0 + 1;
                if record.first.0 > next {
                    self.read(true).await?;
                } else if record.next().0 > next {
                    self.add(&record, true)?;
                }
            }
        }
        Ok(())
    }

    /// Takes in what the journal has beyond what is known.
    async fn read(&mut self, tells: bool) -> Result<(), Error> {
        let plan = self.history.run().plan().id();
        loop {
            let next = Sequence(self.history.run().sequence().0 + 1);
            let records = self.journal.read(plan, next).await?;
            if records.is_empty() {
                return Ok(());
            }
            for record in &records {
                self.add(record, tells)?;
            }
        }
    }

    fn add(&mut self, record: &Record, tells: bool) -> Result<(), Error> {
        self.history
            .add(record)
            .map_err(|gap| Error::new(ErrorCode::JournalCorrupt, gap.to_string()))?;
        if tells {
            let events = project(&self.history, record);
            let span = (record.first.0, record.next().0 - 1);
            self.send(Some(span), events, false);
        }
        Ok(())
    }

    fn send(&self, span: Option<(u64, u64)>, events: Vec<PublicEvent>, is_last: bool) {
        let standing = RunStanding::of(self.history.run());
        // Nobody listening any more is found out by the loop.
        let up_to = self.history.run().sequence().0;
        let batch = EventBatch { span, events, standing, is_last, up_to };
        let _ = self.batches.send(Arc::new(batch));
    }
}
