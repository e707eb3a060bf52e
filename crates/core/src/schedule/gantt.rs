//! A schedule as text: one line a task, by start.

use super::Schedule;

/// The most width of the bars, in characters.
const BAR_CHARS: usize = 60;
/// The most tasks that are drawn.
const LINES_MAX: usize = 200;

/// Draws a schedule. `name` gives a task's and a worker's name.
pub fn gantt(
    schedule: &Schedule,
    task_name: impl Fn(usize) -> String,
    worker_name: impl Fn(u32) -> String,
) -> String {
    let names: Vec<(String, String)> = schedule
        .slots
        .iter()
        .take(LINES_MAX)
        .map(|slot| (task_name(slot.task.at()), worker_name(slot.worker)))
        .collect();
    let width =
        |name: &dyn Fn(&(String, String)) -> usize| names.iter().map(name).max().unwrap_or(0);
    let tasks = width(&|(task, _)| task.chars().count()).min(32);
    let workers = width(&|(_, worker)| worker.chars().count()).min(24);
    let scale = if schedule.makespan > 0.0 { BAR_CHARS as f64 / schedule.makespan } else { 0.0 };
    let mut text = String::new();
    for (slot, (task, worker)) in schedule.slots.iter().zip(&names) {
        let begin = (slot.start * scale).floor() as usize;
        let end =
            ((slot.finish * scale).ceil() as usize).clamp(begin + 1, BAR_CHARS.max(begin + 1));
        let bar = format!("{}{}", " ".repeat(begin), "#".repeat(end - begin));
        let (task, worker) = (cut(task, tasks), cut(worker, workers));
        let line = format!(
            "{task:tasks$}  {worker:workers$}  {bar:BAR_CHARS$}  {} to {}",
            seconds(slot.start),
            seconds(slot.finish)
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if schedule.slots.len() > LINES_MAX {
        text.push_str(&format!("… and {} more tasks\n", schedule.slots.len() - LINES_MAX));
    }
    text
}

fn cut(name: &str, chars: usize) -> String {
    if name.chars().count() <= chars {
        return name.to_owned();
    }
    let kept: String = name.chars().take(chars.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Seconds with as many decimals as tell something.
fn seconds(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value} s") } else { format!("{value:.3} s") }
}
