//! Showing a run while it goes on: bars on a terminal, plain lines elsewhere, all on stderr.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use l05_core::plan::Plan;
use l05_core::printable::{printable, printable_line};
use l05_core::time::Timestamp;
use l05_run::public_event::{PublicEvent, PublicEventKind};

use super::output::{CliOutput, eprint};

/// The most running tasks that have a line of their own on a terminal.
const LINES_MAX: usize = 12;

/// Shows the events of one plan.
pub(crate) struct RunProgress {
    output: CliOutput,
    titles: HashMap<String, String>,
    total: usize,
    ended: usize,
    started: HashMap<String, Timestamp>,
    bars: Option<ProgressBars>,
}

struct ProgressBars {
    all: MultiProgress,
    overall: ProgressBar,
    running: HashMap<String, ProgressBar>,
}

impl RunProgress {
    pub(crate) fn new(output: CliOutput, plan: &Plan) -> RunProgress {
        let tasks = &plan.document().tasks;
        let titles = tasks.iter().map(|t| (t.task_id.clone(), t.title().to_owned())).collect();
        let bars = output.draws_bars().then(|| ProgressBars::new(tasks.len() as u64));
        let (ended, started) = (0, HashMap::new());
        RunProgress { output, titles, total: tasks.len(), ended, started, bars }
    }

    pub(crate) fn show(&mut self, event: &PublicEvent) {
        let task = event.task_id.as_deref().unwrap_or_default();
        match &event.kind {
            // Tasks that completed in an earlier run are none of this one's.
            PublicEventKind::PlanDispatched(start) => {
                let kept = start.kept.iter().filter(|task| self.titles.contains_key(*task)).count();
                self.total = self.titles.len() - kept;
                self.ended = 0;
                if let Some(bars) = &self.bars {
                    bars.overall.set_length(self.total as u64);
                    bars.overall.set_position(0);
                }
            }
            PublicEventKind::PlanAdopted(_) => self.line("going on with an interrupted run"),
            PublicEventKind::PlanDeadlineAtRisk(risk) => self.line(&format!(
                "  late     the plan can end at {} at the earliest, its deadline is {}",
                risk.forecast_finish_at, risk.deadline
            )),
            PublicEventKind::PlanStuck(stuck) => {
                self.line(&format!("  stuck    nothing moves: it waits for {}", stuck.waits_for));
            }
            PublicEventKind::TaskStarted(_) => self.started(task, event.time),
            PublicEventKind::TaskCompleted(_) => self.ended(task, "completed", event.time, None),
            PublicEventKind::TaskFailed(failed) => {
                self.ended(task, "failed", event.time, Some(&failed.error_message));
            }
            PublicEventKind::TaskTimedOut(failed) => {
                self.ended(task, "timed_out", event.time, Some(&failed.error_message));
            }
            PublicEventKind::TaskCancelled(_) => self.ended(task, "cancelled", event.time, None),
            PublicEventKind::TaskBlocked(_) => self.end(task, "blocked", "", None),
            PublicEventKind::TaskSkipped(_) => self.end(task, "skipped", "", None),
            PublicEventKind::TaskExpanded(list) => {
                self.total += list.items as usize;
                if let Some(bars) = &self.bars {
                    bars.overall.set_length(self.total as u64);
                }
            }
            PublicEventKind::TaskStraggling(slow) => self.line(&format!(
                "  slow     {}: {:.1} s so far, {:.1} s were expected",
                self.title(task),
                slow.elapsed_seconds,
                slow.expected_seconds
            )),
            PublicEventKind::TaskRetried(retried) => {
                let why = &retried.error_message;
                self.line(&format!("  retry    {}: {why}", self.title(task)));
            }
            // The result tells of all others, or nobody waits for them.
            _ => {}
        }
    }

    fn started(&mut self, task: &str, at: Timestamp) {
        self.started.insert(task.to_owned(), at);
        let title = self.title(task);
        // Elsewhere only ends are told, line by line: half as many lines, nothing lost.
        if let Some(bars) = &mut self.bars {
            bars.start(task, &title);
        }
    }

    fn ended(&mut self, task: &str, how: &str, at: Timestamp, why: Option<&str>) {
        let took = format!(" in {:.1} s", self.seconds(task, at));
        self.end(task, how, &took, why);
    }

    /// Clears the bars.
    pub(crate) fn finish(&mut self) {
        if let Some(bars) = &self.bars {
            let _ = bars.all.clear();
        }
    }

    fn end(&mut self, task: &str, how: &str, took: &str, why: Option<&str>) {
        self.ended += 1;
        let title = self.title(task);
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let width = self.total.to_string().len();
        self.line(&format!("[{:>width$}/{}] {how} {title}{took}{why}", self.ended, self.total));
        if let Some(bars) = &mut self.bars {
            bars.end(task, self.ended as u64);
        }
    }

    fn title(&self, task: &str) -> String {
        self.titles.get(task).cloned().unwrap_or_else(|| task.to_owned())
    }

    fn seconds(&self, task: &str, at: Timestamp) -> f64 {
        self.started.get(task).map_or(0.0, |start| at.millis_since(*start) as f64 / 1000.0)
    }

    fn line(&self, text: &str) {
        if self.output.quiet || !self.output.progress {
            return;
        }
        match &self.bars {
            Some(bars) => drop(bars.all.println(printable(text))),
            None => eprint(text),
        }
    }
}

impl ProgressBars {
    fn new(total: u64) -> ProgressBars {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} tasks, {elapsed}");
        let overall = all.add(ProgressBar::new(total));
        overall.set_style(style.expect("the template is a constant"));
        ProgressBars { all, overall, running: HashMap::new() }
    }

    fn start(&mut self, task: &str, title: &str) {
        if self.running.len() >= LINES_MAX || self.running.contains_key(task) {
            return;
        }
        let style = ProgressStyle::with_template("  {spinner} {msg} {elapsed}");
        let bar = self.all.insert_before(&self.overall, ProgressBar::new_spinner());
        bar.set_style(style.expect("the template is a constant"));
        bar.set_message(printable_line(title).into_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        self.running.insert(task.to_owned(), bar);
    }

    fn end(&mut self, task: &str, ended: u64) {
        if let Some(bar) = self.running.remove(task) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        self.overall.set_position(ended);
    }
}
