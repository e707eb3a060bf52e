//! From an outline to steps: which sections and items are steps, and what else the text says.

use std::sync::LazyLock;

use regex::Regex;

use super::ImportedStep;
use super::label::WrittenNumber;
use super::links::{announces_fork, pattern};
use super::outline::{DEPTH_MAX, ItemKind, MarkdownContent, MarkdownItem, MarkdownSection};

/// The steps of an outline, before they have numbers.
pub(super) struct OutlineSteps {
    pub(super) goal: String,
    pub(super) steps: Vec<OutlineStep>,
    /// What is in no step, in words for the reader.
    pub(super) left_out: Vec<String>,
}

/// A step with its number as it is written, if it has one.
pub(super) struct OutlineStep {
    pub(super) step: ImportedStep,
    pub(super) written: Option<WrittenNumber>,
    /// A heading without a number: its steps are counted with those around it.
    pub(super) is_plain_heading: bool,
    pub(super) children: Vec<OutlineStep>,
}

/// A heading that is a step or a phase: `Step 1: …`, `Phase N: …`, `2. …`.
struct NumberedHeading<'t> {
    number: Option<WrittenNumber>,
    title: &'t str,
    /// Only a number stands before the title, as in any document with numbered sections.
    is_bare: bool,
}

fn numbered_heading(title: &str) -> Option<NumberedHeading<'_>> {
    static STEP: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"(?i)^\s*(?:(?:step|phase|task|stage|milestone|sprint)\s+",
            r"(?P<word>\d+(?:\.\d+)*|n\b|[ivx]+\b)\+?\s*[:.)\u{2013}\u{2014}-]?",
            r"|(?P<bare>\d+(?:\.\d+)*)\s*[.:)]|(?P<dotted>\d+(?:\.\d+)+)\s)\s*(?P<title>.*)$"
        ))
    });
    let found = STEP.captures(title)?;
    let is_bare = found.name("word").is_none();
    let digits = found.name("word").or(found.name("bare")).or(found.name("dotted"))?;
    let number = super::label::parts(digits.as_str());
    let rest = found.name("title").map_or("", |m| m.as_str()).trim();
    Some(NumberedHeading { number, title: if rest.is_empty() { title } else { rest }, is_bare })
}

/// True for headings of what stands beside the tasks in a plan: strategy, notes, dependencies.
fn holds_no_tasks(title: &str) -> bool {
    static BESIDE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"(?i)^(?:",
            r"(?:[\w-]+\s+){0,2}(?:strategy|strategies|dependenc(?:y|ies)|prerequisites?|conventions?)",
            r"|(?:parallel\s+)?(?:examples?|opportunities|execution(?:\s+\w+)?)|execution\s+(?:order|summary)",
            r"|(?:additional\s+|implementation\s+|general\s+|important\s+)?notes?|format|legend|overview|background|context",
            r"|(?:executive\s+)?summary|introduction|(?:table\s+of\s+)?contents|references?|resources|links|assumptions",
            r"|constraints|risks?(?:\s*(?:&|and)\s*mitigations?)?|mitigations?|(?:out\s+of\s+)?scope|non-goals|goals?",
            r"|objectives?|(?:\w+\s+)?requirements|(?:success|acceptance)\s+criteria|definition\s+of\s+done",
            r"|(?:\w+\s+)?timeline|estimates?|estimated\s+\w+|glossary|open\s+questions|appendix|critical\s+path",
            r"|within\s+each\s+[\w\s]+|mvp\s+(?:first|scope)|incremental\s+delivery|traceability(?:\s+\w+)?",
            r")(?:\s*(?:&|and)\s+[\w\s]+)?\s*(?:[:(\u{2013}\u{2014}-].*)?$"
        ))
    });
    BESIDE.is_match(title.trim().trim_end_matches(':'))
}

/// Reads the steps of an outline.
pub(super) fn steps_of(outline: MarkdownSection) -> OutlineSteps {
    let goal = first_title(&outline);
    let choice = StepChoice::of(&outline);
    let mut reader = SectionReader { choice, left_out: Vec::new(), goal };
    let steps = reader.section(outline);
    let goal = reader.goal.unwrap_or_else(|| "imported plan".to_owned());
    OutlineSteps { goal, steps, left_out: reader.left_out }
}

/// The first heading that is a title: no step stands before it.
fn first_title(outline: &MarkdownSection) -> Option<String> {
    let first = outline.sections.first().filter(|_| outline.items.is_empty())?;
    let is_title = first.level <= 2
        && numbered_heading(&first.title).is_none()
        && (first.level == 1 || outline.sections.len() == 1 || !holds_no_tasks(&first.title));
    is_title.then(|| first.title.clone())
}

/// What counts as a step in this text.
#[derive(Clone, Copy)]
struct StepChoice {
    /// There are numbers or boxes: bullets are remarks.
    marked: bool,
    /// There are at least two numbered headings: they are steps, and bullets below them notes.
    headings: bool,
    /// Sections count whatever their titles say.
    all_sections: bool,
}

impl StepChoice {
    /// A text that is nothing but a strategy is a plan all the same.
    fn of(outline: &MarkdownSection) -> StepChoice {
        StepChoice::counted(outline, false)
            .or_else(|| StepChoice::counted(outline, true))
            .unwrap_or(StepChoice { marked: false, headings: false, all_sections: true })
    }

    /// None: there is nothing that could be a step.
    fn counted(outline: &MarkdownSection, all_sections: bool) -> Option<StepChoice> {
        let (mut headings, mut marked, mut items) = (0, false, false);
        let mut sections = vec![(outline, true)];
        while let Some((section, is_title)) = sections.pop() {
            if !all_sections && !is_title && is_beside(section) {
                continue;
            }
            headings += usize::from(numbered_heading(&section.title).is_some());
            items |= !section.items.is_empty();
            marked |= section.items.iter().any(|item| item.kind != ItemKind::Bullet);
            let is_root = section.level == 0;
            let within = section.sections.iter().enumerate();
            sections.extend(within.map(|(at, inner)| (inner, is_root && at == 0)));
        }
        let choice = StepChoice { marked, headings: headings > 1, all_sections };
        (items || choice.headings).then_some(choice)
    }
}

/// True for a section that stands beside the tasks. `Step 3: Notes` is a step.
fn is_beside(section: &MarkdownSection) -> bool {
    match numbered_heading(&section.title) {
        Some(heading) => heading.is_bare && holds_no_tasks(heading.title),
        None => holds_no_tasks(&section.title),
    }
}

struct SectionReader {
    choice: StepChoice,
    left_out: Vec<String>,
    goal: Option<String>,
}

impl SectionReader {
    /// The steps within a section that is no step itself.
    fn section(&mut self, section: MarkdownSection) -> Vec<OutlineStep> {
        self.leave_out(section.content, section.intro);
        let mut steps = self.items(section.items);
        steps.extend(self.sections(section.sections, section.level == 0));
        steps
    }

    fn items(&mut self, items: Vec<MarkdownItem>) -> Vec<OutlineStep> {
        let bullets_count = !self.choice.marked && !self.choice.headings;
        let mut steps = Vec::with_capacity(items.len());
        for item in items {
            if bullets_count || item.kind != ItemKind::Bullet {
                steps.push(step_of_item(item, 0));
            } else {
                self.left_out.push(format!("the bullet \"{}\"", words_of(item)));
            }
        }
        steps
    }

    /// The steps of sections beside each other. One alone that has no number is no group.
    fn sections(&mut self, sections: Vec<MarkdownSection>, is_root: bool) -> Vec<OutlineStep> {
        let mut found: Vec<OutlineStep> = Vec::new();
        for (at, section) in sections.into_iter().enumerate() {
            let is_title = is_root && at == 0 && self.goal.as_ref() == Some(&section.title);
            if !self.choice.all_sections && !is_title && is_beside(&section) {
                self.left_out.push(format!(
                    "the section \"{}\" holds no tasks: \"{}\"",
                    section.title.clone(),
                    words_of_section(section)
                ));
                continue;
            }
            let heading = numbered_heading(&section.title);
            match heading.filter(|_| self.choice.headings) {
                Some(heading) => {
                    let (number, title) = (heading.number, heading.title.to_owned());
                    found.push(self.numbered_section(section, number, title));
                }
                None => found.extend(self.plain_section(section, is_title)),
            }
        }
        let alone = found.iter().filter(|step| step.is_plain_heading).count() == found.len();
        if alone && found.len() == 1 {
            let only = found.remove(0);
            if Some(&only.step.text) != self.goal.as_ref() {
                self.left_out.push(format!("the heading \"{}\"", only.step.text));
            }
            self.left_out.extend(only.step.notes.iter().map(|note| paragraph(note)));
            return only.children;
        }
        found
    }

    /// A heading with a number is a step; lists of bullets below it are its notes.
    fn numbered_section(
        &mut self,
        section: MarkdownSection,
        written: Option<WrittenNumber>,
        title: String,
    ) -> OutlineStep {
        let mut step = ImportedStep { text: title, is_heading: true, ..ImportedStep::default() };
        take_content(&mut step, section.content);
        let mut children = Vec::new();
        for item in section.items {
            match item.kind {
                ItemKind::Bullet => note_below(&mut step, item),
                ItemKind::Numbered | ItemKind::Checkbox => children.push(step_of_item(item, 1)),
            }
        }
        let (beside, within): (Vec<_>, Vec<_>) =
            section.sections.into_iter().partition(|s| !self.has_steps(s));
        for section in beside {
            step.notes.push(words_of_section_with_title(section));
        }
        children.extend(self.sections(within, false));
        OutlineStep { step, written, is_plain_heading: false, children }
    }

    fn has_steps(&self, section: &MarkdownSection) -> bool {
        (self.choice.all_sections || !is_beside(section))
            && (numbered_heading(&section.title).is_some()
                || section.items.iter().any(|item| item.kind != ItemKind::Bullet)
                || section.sections.iter().any(|inner| self.has_steps(inner)))
    }

    /// A heading without a number: a group, where there are steps below it.
    fn plain_section(&mut self, section: MarkdownSection, is_title: bool) -> Option<OutlineStep> {
        let title = section.title.clone();
        let items = self.items(section.items);
        let notes = section.content;
        let mut children = items;
        children.extend(self.sections(section.sections, false));
        if children.is_empty() {
            if !is_title {
                self.left_out.push(format!("the heading \"{title}\""));
            }
            self.leave_out(notes, 0);
            return None;
        }
        let mut step = ImportedStep { text: title, is_heading: true, ..ImportedStep::default() };
        if is_title {
            self.leave_out(notes, section.intro);
        } else {
            take_content(&mut step, notes);
        }
        Some(OutlineStep { step, written: None, is_plain_heading: true, children })
    }

    /// Tells what stands outside of all steps. The first paragraph before them is the goal, where no
    /// heading is; `intro` of them stand before the first step.
    fn leave_out(&mut self, content: MarkdownContent, intro: usize) {
        for (at, note) in content.notes.into_iter().enumerate() {
            if at < intro && self.goal.is_none() {
                let goal = first_sentence(&note);
                if goal.len() < note.len() {
                    self.left_out.push(paragraph(&note));
                }
                self.goal = Some(goal);
            } else {
                self.left_out.push(paragraph(&note));
            }
        }
        for (_, text) in content.commands {
            self.left_out.push(format!("a block of {} lines: \"{text}\"", text.lines().count()));
        }
    }
}

fn paragraph(note: &str) -> String {
    format!("the paragraph \"{note}\"")
}

/// An item with all below it. Plain bullets are its notes.
fn step_of_item(item: MarkdownItem, depth: usize) -> OutlineStep {
    let mut step = ImportedStep {
        text: item.text,
        done: item.done,
        optional: item.optional,
        is_numbered: item.kind == ItemKind::Numbered,
        ..ImportedStep::default()
    };
    take_content(&mut step, item.content);
    step.is_fork = !item.children.is_empty() && announces_fork(&step.text);
    let mut children = Vec::new();
    for child in item.children {
        let is_step = child.kind != ItemKind::Bullet || step.is_fork;
        if is_step && depth + 1 < DEPTH_MAX {
            children.push(step_of_item(child, depth + 1));
        } else {
            note_below(&mut step, child);
        }
    }
    OutlineStep { step, written: item.number, is_plain_heading: false, children }
}

fn take_content(step: &mut ImportedStep, mut content: MarkdownContent) {
    step.notes.append(&mut content.notes);
    step.commands.append(&mut content.commands);
    step.files.append(&mut content.files);
}

/// An item and all below it become notes of a step. Depth is bounded by the parser's nesting.
fn note_below(step: &mut ImportedStep, item: MarkdownItem) {
    let mut stack = vec![item];
    while let Some(item) = stack.pop() {
        step.notes.push(item.text);
        take_content(step, item.content);
        stack.extend(item.children.into_iter().rev());
    }
}

/// All words of an item.
fn words_of(item: MarkdownItem) -> String {
    let mut step = ImportedStep::default();
    note_below(&mut step, item);
    words(step)
}

/// All words below a heading.
fn words_of_section(section: MarkdownSection) -> String {
    let mut step = ImportedStep::default();
    let mut stack = vec![(section, false)];
    while let Some((section, with_title)) = stack.pop() {
        if with_title {
            step.notes.push(section.title);
        }
        take_content(&mut step, section.content);
        section.items.into_iter().for_each(|item| note_below(&mut step, item));
        stack.extend(section.sections.into_iter().rev().map(|inner| (inner, true)));
    }
    words(step)
}

fn words_of_section_with_title(section: MarkdownSection) -> String {
    let title = section.title.clone();
    let words = words_of_section(section);
    if words.is_empty() { title } else { format!("{title}: {words}") }
}

fn words(step: ImportedStep) -> String {
    let commands = step.commands.into_iter().map(|(_, text)| text);
    let words: Vec<String> = step.notes.into_iter().chain(commands).collect();
    words.join(" / ")
}

fn first_sentence(text: &str) -> String {
    const SHOWN_MAX_CHARS: usize = 200;
    let end = text.find(". ").map_or(text.len(), |at| at + 1);
    text[..end].chars().take(SHOWN_MAX_CHARS).collect()
}
