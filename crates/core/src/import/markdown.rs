//! Markdown plans, as people and coding assistants write them: numbered, checkbox or bulleted
//! steps, nested ones, numbered headings, fenced commands, names of files.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use regex::Regex;

use super::links::{Links, links};
use super::{Draft, IMPORT_BYTES_MAX, Imported, STEPS_MAX, Step, workflow};
use crate::error::{Error, ErrorCode};

/// How deep lists are followed; deeper items are notes.
const DEPTH_MAX: usize = 10;

/// Reads a Markdown plan.
pub fn read_markdown(text: &str) -> Result<Imported, Error> {
    if text.len() > IMPORT_BYTES_MAX {
        let message = format!("the text has {} bytes; at most {IMPORT_BYTES_MAX}", text.len());
        return Err(Error::new(ErrorCode::REQUEST_TOO_LARGE, message));
    }
    if let Some(draft) = workflow::read(text) {
        if draft.steps.len() > STEPS_MAX {
            return Err(too_many());
        }
        return draft.finish();
    }
    let mut reader = Outline::default();
    let options = Options::ENABLE_TASKLISTS | Options::ENABLE_TABLES;
    for event in Parser::new_ext(text, options) {
        reader.event(event);
        if reader.count > STEPS_MAX {
            return Err(too_many());
        }
    }
    resolve(reader.finish()).finish()
}

fn too_many() -> Error {
    let message = format!("the text has more than {STEPS_MAX} steps");
    Error::new(ErrorCode::PLAN_SIZE_INVALID, message)
}

/// An item of a list, or a heading with what stands below it.
#[derive(Debug, Default)]
struct Item {
    text: String,
    kind: Kind,
    done: bool,
    notes: Vec<String>,
    commands: Vec<(String, String)>,
    files: Vec<String>,
    children: Vec<Item>,
}

/// What an item says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    Numbered(u64),
    Checkbox,
    #[default]
    Bullet,
}

/// Collects the outline from the parser's events.
#[derive(Default)]
struct Outline {
    goal: Option<String>,
    /// Headings that are steps, by `1.` or `Step 1:`.
    headings: Vec<Item>,
    /// Top-level items outside of such headings.
    items: Vec<Item>,
    /// Open items, outermost first.
    open: Vec<Item>,
    /// Open items that nest deeper than is followed: their words go to the deepest one above.
    folded: usize,
    /// The next number of each open list; none for bullets.
    lists: Vec<Option<u64>>,
    heading: Option<(HeadingLevel, String)>,
    code: Option<(String, String)>,
    paragraph: String,
    left_out: Vec<String>,
    count: usize,
}

impl Outline {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::TaskListMarker(done) => {
                if let Some(item) = self.open.last_mut() {
                    item.done = done;
                    // A number says more than a box.
                    if item.kind == Kind::Bullet {
                        item.kind = Kind::Checkbox;
                    }
                }
            }
            Event::Code(code) => {
                if is_file(&code) {
                    self.file(&code);
                }
                self.text(&format!("`{code}`"));
            }
            Event::Text(text) => self.text(&text),
            Event::SoftBreak | Event::HardBreak => self.text(" "),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if let Some((_, code)) = &mut self.code {
            code.push_str(text);
        } else if let Some((_, heading)) = &mut self.heading {
            heading.push_str(text);
        } else {
            self.paragraph.push_str(text);
        }
    }

    fn file(&mut self, name: &str) {
        let item = self.open.last_mut().or(self.headings.last_mut());
        if let Some(item) = item.filter(|item| !item.files.iter().any(|file| file == name)) {
            item.files.push(name.to_owned());
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => self.heading = Some((level, String::new())),
            Tag::List(first) => {
                self.flush();
                self.lists.push(first);
            }
            Tag::Item if self.open.len() >= DEPTH_MAX => {
                self.count += 1;
                self.flush();
                self.folded += 1;
            }
            Tag::Item => {
                self.count += 1;
                let kind = match self.lists.last_mut() {
                    Some(Some(next)) => {
                        *next += 1;
                        Kind::Numbered(*next - 1)
                    }
                    _ => Kind::Bullet,
                };
                self.open.push(Item { kind, ..Item::default() });
            }
            Tag::CodeBlock(kind) => {
                self.flush();
                let language = match kind {
                    CodeBlockKind::Fenced(info) => {
                        info.split_whitespace().next().unwrap_or_default().to_owned()
                    }
                    CodeBlockKind::Indented => String::new(),
                };
                self.code = Some((language, String::new()));
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => self.end_heading(),
            TagEnd::Paragraph => self.flush(),
            TagEnd::Item if self.folded > 0 => {
                self.flush();
                self.folded -= 1;
            }
            TagEnd::Item => {
                self.flush();
                let Some(item) = self.open.pop() else { return };
                match self.open.last_mut() {
                    Some(parent) => parent.children.push(item),
                    None => match self.headings.last_mut() {
                        Some(heading) => heading.children.push(item),
                        None => self.items.push(item),
                    },
                }
            }
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::CodeBlock => {
                let Some((language, text)) = self.code.take() else { return };
                let block = (language, text.trim_end().to_owned());
                match self.open.last_mut().or(self.headings.last_mut()) {
                    Some(item) => item.commands.push(block),
                    None => {
                        self.left_out.push(format!("a block of {} lines", text.lines().count()));
                    }
                }
            }
            _ => {}
        }
    }

    fn end_heading(&mut self) {
        static STEP: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"(?i)^\s*(?:(?:step|phase|task)\s+(\d+)\s*[:.)\u{2013}\u{2014}-]?|(\d+)\s*[.:)])\s*(.*)$")
                .expect("a fixed pattern")
        });
        let Some((level, text)) = self.heading.take() else { return };
        if let Some(step) = STEP.captures(&text) {
            let number = step.get(1).or(step.get(2)).and_then(|n| n.as_str().parse().ok());
            let title = step[3].trim();
            let title = if title.is_empty() { text.trim() } else { title };
            self.count += 1;
            self.headings.push(Item {
                text: title.to_owned(),
                kind: Kind::Numbered(number.unwrap_or(self.headings.len() as u64 + 1)),
                ..Item::default()
            });
        } else if self.goal.is_none() && matches!(level, HeadingLevel::H1 | HeadingLevel::H2) {
            self.goal = Some(text.trim().to_owned());
        } else {
            self.left_out.push(format!("the heading \"{}\"", text.trim()));
        }
    }

    /// A paragraph has ended: the first of an item is its text, others are notes.
    fn flush(&mut self) {
        let text = std::mem::take(&mut self.paragraph).trim().to_owned();
        if text.is_empty() {
            return;
        }
        match self.open.last_mut().or(self.headings.last_mut()) {
            Some(item) if item.text.is_empty() => item.text = text,
            Some(item) => item.notes.push(text),
            None if self.goal.is_none() => self.goal = Some(first_sentence(&text)),
            None => self.left_out.push(format!("the paragraph \"{}\"", first_sentence(&text))),
        }
    }

    fn finish(mut self) -> (Vec<Item>, String, Vec<String>) {
        self.flush();
        let goal = self.goal.take().unwrap_or_else(|| "imported plan".to_owned());
        if self.headings.len() >= 2 {
            let lists = self.items.len();
            if lists > 0 {
                self.left_out.push(format!("{lists} list items before the first step"));
            }
            return (self.headings, goal, self.left_out);
        }
        // A single numbered heading is no list of steps: its items are.
        let mut items = self.items;
        items.extend(self.headings.into_iter().flat_map(|heading| heading.children));
        let steps = |item: &Item| item.kind != Kind::Bullet;
        if items.iter().any(steps) {
            let (steps, bullets): (Vec<Item>, Vec<Item>) = items.into_iter().partition(steps);
            let left =
                bullets.iter().map(|item| format!("the bullet \"{}\"", first_sentence(&item.text)));
            self.left_out.extend(left);
            items = steps;
        }
        (items, goal, self.left_out)
    }
}

fn first_sentence(text: &str) -> String {
    const SHOWN_MAX_CHARS: usize = 200;
    let end = text.find(". ").map_or(text.len(), |at| at + 1);
    text[..end].chars().take(SHOWN_MAX_CHARS).collect()
}

/// `src/main.rs`, `Cargo.toml`: something with an extension and no white space.
fn is_file(code: &str) -> bool {
    static FILE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^[\w@./\\-]*[\w-]\.[A-Za-z][A-Za-z0-9]{0,7}$").expect("a fixed pattern")
    });
    code.len() <= 255 && FILE.is_match(code) && !code.starts_with("http")
}

/// Numbers, nesting and statements become tasks and edges.
fn resolve((items, goal, left_out): (Vec<Item>, String, Vec<String>)) -> Draft {
    let mut draft = Draft {
        goal,
        steps: Vec::new(),
        edges: Vec::new(),
        repairs: Vec::new(),
        warnings: left_out.into_iter().map(|what| format!("not understood: {what}")).collect(),
    };
    let steps = number(items, "", 0, &mut draft);
    let mut flat = Flat { draft: &mut draft, leaves: HashMap::new() };
    flat.level(&steps, &[]);
    draft
}

/// Gives every item a number of its own; plain bullets below a step are its notes.
fn number(items: Vec<Item>, prefix: &str, depth: usize, draft: &mut Draft) -> Vec<(Step, bool)> {
    let mut used: HashSet<String> = HashSet::new();
    let mut steps = Vec::new();
    for (place, item) in (1u64..).zip(items) {
        let wanted = match item.kind {
            Kind::Numbered(number) => number,
            Kind::Checkbox | Kind::Bullet => place,
        };
        let mut number = format!("{prefix}{wanted}");
        if !used.insert(number.clone()) {
            let fresh = (place..).map(|n| format!("{prefix}{n}")).find(|n| !used.contains(n));
            number = fresh.expect("there is always a further number");
            used.insert(number.clone());
            draft.repairs.push(format!("a second step {prefix}{wanted} is step {number}"));
        }
        let mut step = Step {
            text: item.text,
            notes: item.notes,
            commands: item.commands,
            files: item.files,
            done: item.done,
            number: number.clone(),
            children: Vec::new(),
            part_of: Vec::new(),
        };
        let (below, notes): (Vec<Item>, Vec<Item>) = item
            .children
            .into_iter()
            .partition(|child| child.kind != Kind::Bullet && depth + 1 < DEPTH_MAX);
        for note in notes {
            note_below(&mut step, note);
        }
        if step.text.is_empty() {
            step.text = format!("step {number}");
            draft.warnings.push(format!("step {number} has no text"));
        }
        let children = number_children(below, &number, depth, draft);
        step.children = children;
        let numbered = matches!(item.kind, Kind::Numbered(_));
        steps.push((step, numbered));
    }
    steps
}

fn number_children(items: Vec<Item>, parent: &str, depth: usize, draft: &mut Draft) -> Vec<Step> {
    let steps = number(items, &format!("{parent}."), depth + 1, draft);
    steps.into_iter().map(|(step, _)| step).collect()
}

/// A bullet and all below it become notes of a step. Depth is bounded by the parser's nesting.
fn note_below(step: &mut Step, item: Item) {
    let mut stack = vec![item];
    while let Some(mut item) = stack.pop() {
        step.notes.push(item.text);
        step.notes.append(&mut item.notes);
        step.commands.append(&mut item.commands);
        step.files.append(&mut item.files);
        stack.extend(item.children.into_iter().rev());
    }
}

/// Replaces steps that have steps within them by those, and finds the edges.
struct Flat<'d> {
    draft: &'d mut Draft,
    /// For every number, also of steps that were replaced: the tasks that end it.
    leaves: HashMap<String, Ends>,
}

#[derive(Clone, Default)]
struct Ends {
    last: Vec<String>,
    /// What the step itself was found to need.
    needs: Vec<String>,
}

impl Flat<'_> {
    /// One list of steps that all need `before`; gives the tasks that end it.
    fn level(&mut self, steps: &[(Step, bool)], before: &[String]) -> Vec<String> {
        let said: Vec<Links> = steps
            .iter()
            .map(|(step, _)| links(&format!("{}\n{}", step.text, step.notes.join("\n"))))
            .collect();
        let any_said = said.iter().any(|links| !links.needs.is_empty() || links.free);
        let mut previous: Option<Ends> = None;
        let mut ended: HashSet<String> = HashSet::new();
        for ((step, numbered), links) in steps.iter().zip(&said) {
            // Boxes and bullets are in order unless the list says of some what they need.
            let follows = *numbered || !any_said;
            let needs = self.needs(step, links, previous.as_ref(), &ended, before, follows);
            let ends = self.place(step, &needs);
            for task in &needs {
                ended.remove(task);
            }
            ended.extend(ends.last.iter().cloned());
            self.leaves.insert(step.number.clone(), ends.clone());
            previous = Some(ends);
        }
        in_order(ended)
    }

    fn needs(
        &mut self,
        step: &Step,
        links: &Links,
        previous: Option<&Ends>,
        ended: &HashSet<String>,
        before: &[String],
        follows: bool,
    ) -> Vec<String> {
        let number = &step.number;
        let mut needs: Vec<String> = Vec::new();
        if let Some(named) = &links.beside {
            let beside: Vec<Ends> = match (named.is_empty(), previous) {
                (true, Some(previous)) => vec![previous.clone()],
                (true, None) => Vec::new(),
                (false, _) => named.iter().filter_map(|other| self.ends(other, number)).collect(),
            };
            self.draft.repairs.push(format!(
                "step {number} runs beside {}",
                match named.is_empty() {
                    true => "the step before it".to_owned(),
                    false => named.join(", "),
                }
            ));
            needs.extend(beside.into_iter().flat_map(|ends| ends.needs));
        }
        for other in &links.needs {
            needs.extend(self.ends(other, number).into_iter().flat_map(|ends| ends.last));
        }
        if links.needs_all {
            needs.extend(ended.iter().cloned());
        }
        if links.needs_previous {
            needs.extend(previous.into_iter().flat_map(|ends| ends.last.clone()));
        }
        if !links.is_stated() && follows {
            match previous {
                Some(previous) => needs.extend(previous.last.iter().cloned()),
                None => needs.extend(before.iter().cloned()),
            }
        } else if needs.is_empty() && links.beside.is_none() {
            needs.extend(before.iter().cloned());
        }
        in_order(needs.into_iter().collect())
    }

    /// What another step begins and ends with; steps that come later may not have been placed.
    fn ends(&mut self, other: &str, number: &str) -> Option<Ends> {
        let found = self.leaves.get(other);
        // `2` inside `1.x` may mean its sibling `1.2`.
        let sibling = || {
            let (prefix, _) = number.rsplit_once('.')?;
            let full = format!("{prefix}.{other}");
            self.leaves.get(&full)
        };
        let ends = found.or_else(sibling).cloned();
        if ends.is_none() {
            let what = if other == number { "names itself" } else { "names" };
            self.draft.warnings.push(format!(
                "step {number} {what} step {other}, which does not stand before it: left out"
            ));
        }
        ends
    }

    /// A step without steps in it is a task; another is replaced by those.
    fn place(&mut self, step: &Step, needs: &[String]) -> Ends {
        if step.children.is_empty() {
            let edges = needs.iter().map(|need| (need.clone(), step.number.clone()));
            self.draft.edges.extend(edges);
            let flat = Step { children: Vec::new(), ..step.clone() };
            self.draft.steps.push(flat);
            let itself = vec![step.number.clone()];
            return Ends { last: itself, needs: needs.to_vec() };
        }
        self.draft.repairs.push(format!(
            "step {} (\"{}\") is its {} steps",
            step.number,
            step.text,
            step.children.len()
        ));
        let children: Vec<(Step, bool)> = step
            .children
            .iter()
            .enumerate()
            .map(|(i, c)| (within(c, step, i == 0), true))
            .collect();
        let last = self.level(&children, needs);
        Ends { last, needs: needs.to_vec() }
    }
}

/// By number: 2 before 10, 2.1 behind 2.
fn in_order(tasks: HashSet<String>) -> Vec<String> {
    let mut tasks: Vec<String> = tasks.into_iter().collect();
    let key = |task: &String| -> Vec<u64> {
        task.split('.').map(|part| part.parse().unwrap_or(u64::MAX)).collect()
    };
    tasks.sort_by_cached_key(key);
    tasks
}

/// A nested step keeps the words of the step it belongs to; the first one its notes, too. They are
/// kept apart from its own, because what they say of other steps is said of the outer step.
fn within(child: &Step, parent: &Step, is_first: bool) -> Step {
    let mut child = child.clone();
    child.part_of.push(format!("Part of: {}", parent.text));
    if is_first {
        child.part_of.extend(parent.notes.iter().cloned());
    }
    child.part_of.extend(parent.part_of.iter().take(1).cloned());
    child
}
