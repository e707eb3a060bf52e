//! Finding the template that fits a goal.
//!
//! Confidence, 0 to 1, monotone in what fits:
//!
//! | what fits | confidence |
//! |---|---|
//! | a pattern matches the whole goal, every required parameter is known | 0.90 + 0.10 x share of parameters known |
//! | the same, a required parameter is missing | 0.80 |
//! | a pattern matches a part of the goal | 0.50 + 0.34 x share of the goal's characters |
//! | keywords only | 0.80 x weight of the words found / weight of all words |
//!
//! One set of all patterns says which may match at all; only those are searched for their groups.

use std::collections::HashMap;
use std::sync::OnceLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::Template;
use super::coarse::CoarseSet;
use super::pattern::GoalPattern;

/// A confidence, 0 to 1.
pub type Confidence = f64;

/// A pattern matched the whole goal.
const WHOLE_MIN: Confidence = 0.90;
/// The confidence of a match that lacks a parameter.
const INCOMPLETE: Confidence = 0.80;
const PART_MIN: Confidence = 0.50;
const PART_SPAN: Confidence = 0.34;
const KEYWORDS_MAX: Confidence = 0.80;
/// The most matches that a message names.
const NAMED_MAX: usize = 5;
/// Words that a goal could do without.
const MEANINGLESS: [&str; 60] = [
    "a", "an", "the", "this", "that", "these", "those", "my", "our", "your", "its", "it", "me",
    "us", "i", "we", "you", "all", "every", "each", "any", "some", "of", "in", "on", "at", "to",
    "for", "from", "by", "with", "into", "as", "and", "or", "is", "are", "be", "was", "were", "do",
    "does", "please", "can", "could", "would", "will", "should", "there", "what", "which", "how",
    "give", "show", "tell", "make", "create", "write", "get", "let",
];

/// The fit of a template to a goal.
#[derive(Debug, Clone)]
pub struct TemplateMatch<'l> {
    /// The template.
    pub template: &'l Template,
    /// The fit, 0 to 1.
    pub confidence: Confidence,
    /// Parameters that the goal's words give.
    pub said: Map<String, Value>,
    /// Required parameters that nobody gave.
    pub missing: Vec<&'l str>,
    /// Words of the goal that mean something and that the template does not use.
    pub ignored: Vec<String>,
}

/// All templates, ready to be searched.
#[derive(Debug)]
pub struct TemplateLibrary {
    templates: Vec<Template>,
    /// Each pattern with its template's place.
    patterns: Vec<(usize, GoalPattern)>,
    /// All of them, built for the first goal; without it each is searched by itself.
    set: OnceLock<Option<CoarseSet>>,
    keywords: HashMap<String, Vec<(usize, f64)>>,
    keyword_totals: Vec<f64>,
    /// Words that are no value of a parameter, by template and parameter.
    rejects: HashMap<(usize, String), GoalPattern>,
}

impl TemplateLibrary {
    /// A library. A template replaces one of the same id that comes before it.
    pub fn new(templates: impl IntoIterator<Item = Template>) -> TemplateLibrary {
        let mut kept: Vec<Template> = Vec::new();
        for template in templates {
            match kept.iter_mut().find(|t| t.id == template.id) {
                Some(older) => *older = template,
                None => kept.push(template),
            }
        }
        kept.sort_by(|a, b| a.id.cmp(&b.id));
        let mut patterns = Vec::new();
        let mut keywords: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
        let mut keyword_totals = vec![0.0; kept.len()];
        let mut rejects = HashMap::new();
        for (index, template) in kept.iter().enumerate() {
            patterns.extend(template.patterns.iter().map(|text| (index, GoalPattern::new(text))));
            for parameter in &template.parameters {
                if let Some(text) = &parameter.rejects {
                    rejects.insert((index, parameter.name.clone()), GoalPattern::new(text));
                }
            }
            for (word, weight) in &template.keywords {
                keywords.entry(word.clone()).or_default().push((index, *weight));
                keyword_totals[index] += weight;
            }
        }
        let set = OnceLock::new();
        TemplateLibrary { templates: kept, patterns, set, keywords, keyword_totals, rejects }
    }

    /// The places of the patterns that may match.
    fn candidates(&self, goal: &str) -> Vec<usize> {
        self.make_ready();
        match self.set.get() {
            Some(Some(set)) => set.candidates(goal).collect(),
            Some(None) | None => (0..self.patterns.len()).collect(),
        }
    }

    /// True if the set of all patterns has been built; the first [`TemplateLibrary::find`] does it.
    pub fn is_ready(&self) -> bool {
        self.set.get().is_some()
    }

    /// Builds the set: some milliseconds for a dozen templates, longer than a caller should be kept
    /// from other work for a thousand.
    pub fn make_ready(&self) {
        let texts = || self.patterns.iter().map(|(_, pattern)| pattern.text());
        self.set.get_or_init(|| CoarseSet::new(texts()).ok());
    }

    /// All templates, by id.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// One template.
    pub fn get(&self, id: &str) -> Option<&Template> {
        self.templates.iter().find(|template| template.id == id)
    }

    /// Templates that fit a goal at all, best first. `given` are parameters the caller knows.
    pub fn find(&self, goal: &str, given: &Map<String, Value>) -> Vec<TemplateMatch<'_>> {
        let goal = tidy(goal);
        let mut best: HashMap<usize, Fit<'_>> = HashMap::new();
        for hit in self.candidates(&goal) {
            let (index, pattern) = &self.patterns[hit];
            let Some(regex) = pattern.regex() else { continue };
            if let Some(found) = self.by_pattern(*index, regex, &goal, given) {
                keep_better(&mut best, *index, found);
            }
        }
        let mut weights: HashMap<usize, f64> = HashMap::new();
        for word in words(&goal) {
            for (index, weight) in self.keywords.get(&word).into_iter().flatten() {
                *weights.entry(*index).or_default() += weight;
            }
        }
        for (index, weight) in weights {
            let confidence = KEYWORDS_MAX * (weight / self.keyword_totals[index]).min(1.0);
            let found = self.matched(index, confidence, Map::new(), given);
            keep_better(&mut best, index, Fit { found, used: 0..0 });
        }
        let mut fits: Vec<(usize, Fit<'_>)> = best.into_iter().collect();
        fits.sort_by(|(_, a), (_, b)| {
            let (a, b) = (&a.found, &b.found);
            b.confidence.total_cmp(&a.confidence).then_with(|| a.template.id.cmp(&b.template.id))
        });
        // Beside one that covers the whole goal nobody takes or names another.
        let is_clear = fits.first().is_some_and(|(_, fit)| fit.found.confidence >= WHOLE_MIN);
        for (place, (index, fit)) in fits.iter_mut().enumerate() {
            if !is_clear && (place < NAMED_MAX || fit.found.confidence >= PART_MIN) {
                let rest = format!("{} {}", &goal[..fit.used.start], &goal[fit.used.end..]);
                fit.found.ignored = self.ignored(*index, &rest, &fit.found.said, given);
            }
        }
        fits.into_iter().map(|(_, fit)| fit.found).collect()
    }

    fn by_pattern(
        &self,
        index: usize,
        regex: &Regex,
        goal: &str,
        given: &Map<String, Value>,
    ) -> Option<Fit<'_>> {
        let captures = regex.captures(goal)?;
        let whole = captures.get_match();
        let mut said = Map::new();
        for name in regex.capture_names().flatten() {
            if let Some(group) = captures.name(name) {
                said.insert(name.to_owned(), self.value_of(index, name, group.as_str().trim())?);
            }
        }
        if whole.len() < goal.len() {
            let share = whole.len() as f64 / goal.len() as f64;
            let found = self.matched(index, PART_MIN + PART_SPAN * share, said, given);
            return Some(Fit { found, used: whole.range() });
        }
        let mut found = self.matched(index, INCOMPLETE, said, given);
        if found.missing.is_empty() {
            let parameters = &found.template.parameters;
            let known = parameters
                .iter()
                .filter(|p| found.said.contains_key(&p.name) || given.contains_key(&p.name))
                .count();
            let share =
                if parameters.is_empty() { 1.0 } else { known as f64 / parameters.len() as f64 };
            found.confidence = WHOLE_MIN + 0.10 * share;
        }
        Some(Fit { found, used: 0..goal.len() })
    }

    /// The value of a parameter that a goal's words give; none where they are not of its kind.
    fn value_of(&self, index: usize, name: &str, words: &str) -> Option<Value> {
        let rejects = self.rejects.get(&(index, name.to_owned())).and_then(GoalPattern::regex);
        if rejects.is_some_and(|regex| regex.is_match(words)) {
            return None;
        }
        let parameter = self.templates[index].parameters.iter().find(|p| p.name == name)?;
        if parameter.choices.is_empty() {
            return Some(Value::from(words));
        }
        parameter.chosen(words).map(Value::from)
    }

    /// The words of a text that mean something, and that are neither keywords of the template nor values of it.
    fn ignored(
        &self,
        index: usize,
        text: &str,
        said: &Map<String, Value>,
        given: &Map<String, Value>,
    ) -> Vec<String> {
        let values = said.values().chain(given.values()).filter_map(Value::as_str);
        let used: Vec<String> = values.flat_map(words).collect();
        let is_keyword = |word: &str| {
            let of = self.keywords.get(word).into_iter().flatten();
            of.into_iter().any(|(template, _)| *template == index)
        };
        let mut ignored = words(text);
        ignored.retain(|word| {
            !MEANINGLESS.contains(&word.as_str()) && !used.contains(word) && !is_keyword(word)
        });
        ignored
    }

    fn matched(
        &self,
        index: usize,
        confidence: Confidence,
        said: Map<String, Value>,
        given: &Map<String, Value>,
    ) -> TemplateMatch<'_> {
        let template = &self.templates[index];
        let missing = template
            .parameters
            .iter()
            .filter(|p| p.required && p.default.is_none())
            .filter(|p| !said.contains_key(&p.name) && !given.contains_key(&p.name))
            .map(|p| p.name.as_str())
            .collect();
        TemplateMatch { template, confidence, said, missing, ignored: Vec::new() }
    }
}

/// A match with the part of the goal that its pattern covers.
struct Fit<'l> {
    found: TemplateMatch<'l>,
    used: std::ops::Range<usize>,
}

fn keep_better<'l>(best: &mut HashMap<usize, Fit<'l>>, index: usize, found: Fit<'l>) {
    match best.get(&index) {
        Some(known) if known.found.confidence >= found.found.confidence => {}
        _ => {
            best.insert(index, found);
        }
    }
}

/// White space folded, closing punctuation dropped: `Do  it!` asks for the same as `Do it`.
fn tidy(goal: &str) -> String {
    let folded = goal.split_whitespace().collect::<Vec<_>>().join(" ");
    folded.trim_end_matches(['.', '!', '?', ' ']).to_owned()
}

/// Each word once, in lower case.
fn words(goal: &str) -> Vec<String> {
    let mut words: Vec<String> = goal
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}
