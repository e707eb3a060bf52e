//! The outline of a Markdown text: sections by their headings, lists with what stands below each item.
//!
//! Whatever the text says is somewhere in the outline: what means nothing for a plan is told by whoever
//! reads it (`sections`).

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::STEPS_MAX;
use super::label::{LetteredLines, NumberedLines, WrittenNumber, boxed, numbered};

/// The depth to which lists are followed; deeper items are notes.
pub(super) const DEPTH_MAX: usize = 10;
/// The level of a paragraph in bold type that stands for a heading.
const BOLD_LEVEL: u8 = 7;
/// A longer paragraph in bold type is a remark.
const BOLD_HEADING_CHARS_MAX: usize = 120;

/// An item of a list, or a numbered line.
#[derive(Clone, Debug, Default)]
pub(super) struct MarkdownItem {
    pub(super) text: String,
    pub(super) kind: ItemKind,
    /// The number that is written before it, if there is one.
    pub(super) number: Option<WrittenNumber>,
    pub(super) done: bool,
    pub(super) optional: bool,
    pub(super) content: MarkdownContent,
    pub(super) children: Vec<MarkdownItem>,
}

/// What stands below an item or a heading beside lists.
#[derive(Clone, Debug, Default)]
pub(super) struct MarkdownContent {
    pub(super) notes: Vec<String>,
    /// Fenced blocks: language and text.
    pub(super) commands: Vec<(String, String)>,
    pub(super) files: Vec<String>,
}

/// Kinds of items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ItemKind {
    Numbered,
    Checkbox,
    #[default]
    Bullet,
}

/// A heading with all that stands below it; the text before the first one has no title.
#[derive(Clone, Debug, Default)]
pub(super) struct MarkdownSection {
    pub(super) level: u8,
    pub(super) title: String,
    pub(super) content: MarkdownContent,
    /// Paragraphs among the notes that stand before the first item.
    pub(super) intro: usize,
    /// Items before the first heading within.
    pub(super) items: Vec<MarkdownItem>,
    pub(super) sections: Vec<MarkdownSection>,
}

/// Reads the outline of a text. None: it has more than [`STEPS_MAX`] items.
pub(super) fn outline(text: &str) -> Option<MarkdownSection> {
    let mut reader = OutlineReader {
        source: text,
        lines: NumberedLines::of(text),
        sections: vec![MarkdownSection::default()],
        open: Vec::new(),
        folded: 0,
        lists: Vec::new(),
        links: Vec::new(),
        heading: None,
        code: None,
        paragraph: Paragraph::default(),
        count: 0,
    };
    let options = Options::ENABLE_TASKLISTS | Options::ENABLE_TABLES;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        reader.event(event, range);
        if reader.count > STEPS_MAX {
            return None;
        }
    }
    Some(reader.finish())
}

/// The text of a paragraph, and how much of it is in bold type.
#[derive(Default)]
struct Paragraph {
    text: String,
    bold: bool,
    bold_bytes: usize,
}

/// Collects the outline from the parser's events.
struct OutlineReader<'t> {
    source: &'t str,
    lines: NumberedLines,
    /// Open sections, outermost first; there is always one.
    sections: Vec<MarkdownSection>,
    /// Open items, outermost first.
    open: Vec<MarkdownItem>,
    /// Open items that nest deeper than is followed: their words go to the deepest one above.
    folded: usize,
    /// For each open list, if it is numbered.
    lists: Vec<bool>,
    /// Targets of open links that their texts do not show.
    links: Vec<String>,
    heading: Option<(HeadingLevel, String)>,
    code: Option<(Option<String>, String)>,
    paragraph: Paragraph,
    count: usize,
}

impl OutlineReader<'_> {
    fn event(&mut self, event: Event<'_>, range: Range<usize>) {
        match event {
            Event::Start(tag) => self.start(tag, &range),
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
            // `<name>` stands for something that is to be filled in more often than for HTML.
            Event::InlineHtml(html) | Event::Html(html) => self.text(&html),
            Event::InlineMath(text) | Event::DisplayMath(text) => self.text(&text),
            Event::FootnoteReference(name) => self.text(&format!("[^{name}]")),
            Event::SoftBreak | Event::HardBreak => self.text("\n"),
            Event::Rule => {}
        }
    }

    fn text(&mut self, text: &str) {
        if let Some((_, code)) = &mut self.code {
            code.push_str(text);
        } else if let Some((_, heading)) = &mut self.heading {
            heading.push_str(text);
        } else {
            self.paragraph.text.push_str(text);
            if self.paragraph.bold {
                self.paragraph.bold_bytes += text.len();
            }
        }
    }

    /// The content of the innermost open item, else of the section.
    fn content(&mut self) -> &mut MarkdownContent {
        if self.open.is_empty() {
            return &mut self.section().content;
        }
        &mut self.open.last_mut().expect("one is open").content
    }

    fn section(&mut self) -> &mut MarkdownSection {
        self.sections.last_mut().expect("the outermost section stays open")
    }

    fn file(&mut self, name: &str) {
        let files = &mut self.content().files;
        if !files.iter().any(|file| file == name) {
            files.push(name.to_owned());
        }
    }

    fn start(&mut self, tag: Tag<'_>, range: &Range<usize>) {
        match tag {
            Tag::Heading { level, .. } => {
                self.flush();
                self.heading = Some((level, String::new()));
            }
            Tag::List(first) => {
                self.flush();
                self.lists.push(first.is_some());
            }
            Tag::Item if self.open.len() >= DEPTH_MAX => {
                self.count += 1;
                self.flush();
                self.folded += 1;
            }
            Tag::Item => {
                self.count += 1;
                self.flush();
                let is_numbered = self.lists.last() == Some(&true);
                self.open.push(MarkdownItem {
                    kind: if is_numbered { ItemKind::Numbered } else { ItemKind::Bullet },
                    number: is_numbered.then(|| marker(&self.source[range.clone()])).flatten(),
                    ..MarkdownItem::default()
                });
            }
            Tag::CodeBlock(kind) => {
                self.flush();
                let language = match kind {
                    CodeBlockKind::Fenced(info) => {
                        Some(info.split_whitespace().next().unwrap_or_default().to_owned())
                    }
                    CodeBlockKind::Indented => None,
                };
                self.code = Some((language, String::new()));
            }
            Tag::Strong => self.paragraph.bold = true,
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.links.push(dest_url.to_string());
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => self.end_heading(),
            TagEnd::Paragraph | TagEnd::HtmlBlock | TagEnd::TableRow | TagEnd::TableHead => {
                self.flush();
            }
            TagEnd::TableCell => self.text(" | "),
            TagEnd::Strong => self.paragraph.bold = false,
            TagEnd::Link | TagEnd::Image => {
                if let Some(target) = self.links.pop()
                    && !target.is_empty()
                    && !self.paragraph.text.ends_with(target.trim_start_matches("mailto:"))
                {
                    self.text(&format!(" ({target})"));
                }
            }
            TagEnd::Item if self.folded > 0 => {
                self.flush();
                self.folded -= 1;
            }
            TagEnd::Item => {
                self.flush();
                let Some(item) = self.open.pop() else { return };
                let item = labelled(item, &self.lines);
                match self.open.last_mut() {
                    Some(parent) => parent.children.push(item),
                    None => self.section().items.push(item),
                }
            }
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::CodeBlock => self.end_code(),
            _ => {}
        }
    }

    fn end_code(&mut self) {
        let Some((language, text)) = self.code.take() else { return };
        // Steps that are indented too far look like a block of code.
        let is_steps = language.is_none()
            && text.lines().any(|line| self.lines.below_step(line.trim()).is_some());
        if is_steps {
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            self.paragraph.text = lines.join("\n");
            return self.flush();
        }
        let block = (language.unwrap_or_default(), text.trim_end().to_owned());
        self.content().commands.push(block);
    }

    fn end_heading(&mut self) {
        let Some((level, text)) = self.heading.take() else { return };
        // A heading within an item is a note of it.
        if self.open.is_empty() {
            self.open_section(level as u8, text.trim().to_owned());
        } else {
            self.paragraph.text = text;
            self.flush();
        }
    }

    fn open_section(&mut self, level: u8, title: String) {
        self.count += 1;
        self.close_sections(level);
        self.sections.push(MarkdownSection { level, title, ..MarkdownSection::default() });
    }

    /// Puts the open sections of this level and deeper ones into those that hold them.
    fn close_sections(&mut self, level: u8) {
        while self.sections.len() > 1 && self.sections.last().is_some_and(|s| s.level >= level) {
            let done = self.sections.pop().expect("more than one is open");
            self.section().sections.push(done);
        }
    }

    /// A paragraph has ended: the first of an item is its text, others are notes, and lines in it
    /// that begin with numbers are steps.
    fn flush(&mut self) {
        let paragraph = std::mem::take(&mut self.paragraph);
        let text = paragraph.text.trim();
        if text.is_empty() {
            return;
        }
        let is_bold = paragraph.bold_bytes >= text.trim_end_matches(':').trim_end().len();
        if is_bold
            && self.open.is_empty()
            && !text.contains('\n')
            && text.chars().count() <= BOLD_HEADING_CHARS_MAX
        {
            return self.open_section(BOLD_LEVEL, text.to_owned());
        }
        let (words, steps) = self.split(text);
        self.count += steps.len();
        match self.open.last_mut() {
            Some(item) if item.text.is_empty() => item.text = words,
            _ if words.is_empty() => {}
            Some(item) => item.content.notes.push(words),
            None => {
                let section = self.section();
                section.intro += usize::from(section.items.is_empty());
                section.content.notes.push(words);
            }
        }
        match self.open.last_mut() {
            Some(item) => item.children.extend(steps),
            None => self.section().items.extend(steps),
        }
    }

    /// The words of a paragraph before its first numbered line, and the steps that such lines
    /// begin. Other lines go on with what stands before them.
    fn split(&self, text: &str) -> (String, Vec<MarkdownItem>) {
        let in_item = !self.open.is_empty();
        // An item's own number stands before its text and begins nothing within it.
        let mut is_label = self.open.last().is_some_and(|item| item.text.is_empty());
        let mut words = String::new();
        let mut steps: Vec<MarkdownItem> = Vec::new();
        let mut letters = LetteredLines::of(text);
        for line in text.lines().map(str::trim) {
            let begun = match in_item {
                true if is_label => None,
                true => self.lines.below_step(line).or_else(|| letters.next(line)),
                false => self.lines.outside(line),
            };
            is_label = false;
            if let Some(begun) = begun {
                steps.push(MarkdownItem {
                    text: begun.text.to_owned(),
                    kind: ItemKind::Numbered,
                    number: Some(begun.number),
                    ..MarkdownItem::default()
                });
                continue;
            }
            let onto = steps.last_mut().map_or(&mut words, |step| &mut step.text);
            if !onto.is_empty() {
                onto.push(' ');
            }
            onto.push_str(line);
        }
        (words, steps)
    }

    fn finish(mut self) -> MarkdownSection {
        self.flush();
        self.close_sections(0);
        self.sections.pop().expect("the outermost section stays open")
    }
}

/// The number of a list item's marker: `30.` or `3)`.
fn marker(item: &str) -> Option<WrittenNumber> {
    let digits = item.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    digits[..end].parse().ok().map(|number| vec![number])
}

/// Takes box and number off the beginning of an item's text.
fn labelled(mut item: MarkdownItem, lines: &NumberedLines) -> MarkdownItem {
    // `- 1. Fetch` is a list within an item to the parser.
    if let [only] = item.children.as_slice()
        && only.kind == ItemKind::Numbered
        && item.text.is_empty()
        && item.number.is_none()
        && item.content.notes.is_empty()
    {
        return item.children.remove(0);
    }
    if let Some(found) = boxed(&item.text) {
        item.done = found.done;
        item.optional = found.optional;
        item.text = found.text.to_owned();
        if item.kind == ItemKind::Bullet {
            item.kind = ItemKind::Checkbox;
        }
    } else if item.kind == ItemKind::Checkbox
        && let Some(text) = item.text.strip_prefix("* ")
    {
        item.optional = true;
        item.text = text.to_owned();
    }
    // A bullet may well begin with an amount.
    let found = match item.kind {
        ItemKind::Bullet => lines.outside(&item.text),
        ItemKind::Checkbox | ItemKind::Numbered => numbered(&item.text),
    };
    if let Some(found) = found
        && (item.number.is_none() || found.number.len() > 1)
    {
        item.number = Some(found.number);
        item.text = found.text.to_owned();
        if item.kind == ItemKind::Bullet {
            item.kind = ItemKind::Numbered;
        }
    }
    item
}

/// `src/main.rs`, `Cargo.toml`: something with an extension and no white space.
fn is_file(code: &str) -> bool {
    use std::sync::LazyLock;
    static FILE: LazyLock<regex::Regex> =
        LazyLock::new(|| super::links::pattern(r"^[\w@./\\-]*[\w-]\.[A-Za-z][A-Za-z0-9]{0,7}$"));
    code.len() <= 255 && FILE.is_match(code) && !code.starts_with("http")
}
