//! "Did you mean": the nearest known names to one that is not known.

/// The most names that a message offers.
const OFFERED_MAX: usize = 3;
/// Below this similarity (0 to 1, Jaro-Winkler) a name is noise rather than help.
const SIMILARITY_MIN: f64 = 0.75;
/// The distance from the best at which another name is still offered: beside a near hit the rest
/// only distracts.
const SIMILARITY_SPAN: f64 = 0.1;

/// The known names most like `wanted`, best first, at most three; empty when none is close.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted_lower = wanted.to_lowercase();
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| (similarity(&wanted_lower, &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= SIMILARITY_MIN)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let best = scored.first().map_or(0.0, |(score, _)| *score);
    scored.retain(|(score, _)| best - score <= SIMILARITY_SPAN);
    scored.truncate(OFFERED_MAX);
    scored.into_iter().map(|(_, name)| name).collect()
}

/// Plain likeness, or that of the parts behind the last dot or slash (`file_read` ~ `fs.read`).
fn similarity(a: &str, b: &str) -> f64 {
    let whole = strsim::jaro_winkler(a, b);
    let tail = |s: &str| s.rsplit(['.', '/', '_', ':']).next().unwrap_or_default().to_owned();
    let (tail_a, tail_b) = (tail(a), tail(b));
    let shares_tail = tail_a.len() > 2 && tail_a == tail_b;
    if shares_tail { whole.max(0.8) } else { whole }
}

/// `; did you mean …?` ready to append to a message, or nothing.
pub fn did_you_mean(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("; did you mean `{one}`?"),
        many => format!("; did you mean one of `{}`?", many.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_close_names_only() {
        let known = ["fs.read", "fs.write", "data.read", "text.render"];
        assert_eq!(nearest("fs.raed", known), ["fs.read"]);
        assert_eq!(nearest("file_read", known), ["data.read", "fs.read"]);
        assert!(nearest("quantum", known).is_empty());
    }
}
