//! Markdown plans, as people and coding assistants write them: numbered, checkbox or bulleted
//! steps, nested ones, numbered headings, fenced commands, names of files.

use std::sync::LazyLock;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use regex::Regex;

use super::sequence::resolve;
use super::{IMPORT_BYTES_MAX, ImportedPlan, STEPS_MAX, workflow};
use l05_core::error::{Error, ErrorCode};

/// The depth to which lists are followed; deeper items are notes.
pub(super) const DEPTH_MAX: usize = 10;

/// Reads a Markdown plan.
pub fn read_markdown(text: &str) -> Result<ImportedPlan, Error> {
    if text.len() > IMPORT_BYTES_MAX {
        let message = format!("the text has {} bytes; at most {IMPORT_BYTES_MAX}", text.len());
        return Err(Error::new(ErrorCode::RequestTooLarge, message));
    }
    let text = text.trim_start_matches('\u{feff}');
    if let Some(draft) = workflow::read(text) {
        if draft.steps.len() > STEPS_MAX {
            return Err(too_many());
        }
        return draft.finish();
    }
    let mut reader = MarkdownOutline::default();
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
    Error::new(ErrorCode::PlanSizeInvalid, message)
}

/// An item of a list, or a heading with what stands below it.
#[derive(Debug, Default)]
pub(super) struct MarkdownItem {
    pub(super) text: String,
    pub(super) kind: ItemKind,
    pub(super) done: bool,
    pub(super) notes: Vec<String>,
    pub(super) commands: Vec<(String, String)>,
    pub(super) files: Vec<String>,
    pub(super) children: Vec<MarkdownItem>,
}

/// Kinds of items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ItemKind {
    Numbered(u64),
    Checkbox,
    #[default]
    Bullet,
}

/// Collects the outline from the parser's events.
#[derive(Default)]
struct MarkdownOutline {
    goal: Option<String>,
    /// Headings that are steps, by `1.` or `ImportedStep 1:`.
    headings: Vec<MarkdownItem>,
    /// Top-level items outside of such headings.
    items: Vec<MarkdownItem>,
    /// Open items, outermost first.
    open: Vec<MarkdownItem>,
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

impl MarkdownOutline {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::TaskListMarker(done) => {
                if let Some(item) = self.open.last_mut() {
                    item.done = done;
                    // A number says more than a box.
                    if item.kind == ItemKind::Bullet {
                        item.kind = ItemKind::Checkbox;
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
                        ItemKind::Numbered(*next - 1)
                    }
                    _ => ItemKind::Bullet,
                };
                self.open.push(MarkdownItem { kind, ..MarkdownItem::default() });
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
            self.headings.push(MarkdownItem {
                text: title.to_owned(),
                kind: ItemKind::Numbered(number.unwrap_or(self.headings.len() as u64 + 1)),
                ..MarkdownItem::default()
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

    fn finish(mut self) -> (Vec<MarkdownItem>, String, Vec<String>) {
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
        let steps = |item: &MarkdownItem| item.kind != ItemKind::Bullet;
        if items.iter().any(steps) {
            let (steps, bullets): (Vec<MarkdownItem>, Vec<MarkdownItem>) =
                items.into_iter().partition(steps);
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
