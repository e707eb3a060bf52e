//! What a call of a model may use, counted before it is made, and what it used, read from what its
//! gateway says or counted here.

use l05_core::estimate::{EstimateBasis, PriceTable, TokenCounter};
use l05_core::plan::AttemptAllowance;
use l05_core::resource::ModelPrice;
use l05_run::amounts::Usage;

use crate::port::{ModelAnswer, ModelRequest};

/// Tokens that a chat's form adds to a message (the templates of the common models add 3 to 6), and to the
/// whole.
const TOKENS_PER_MESSAGE: u64 = 6;

/// Counts and prices the calls of one gateway.
pub(crate) struct ModelMeter {
    prices: PriceTable,
    /// The gateway's own model; none where it chooses.
    model: Option<String>,
    /// Counts well enough for an estimate, whatever the model.
    count_tokens: TokenCounter,
    /// Counts as a model does, where that is known.
    tokenizer_of: fn(&str) -> Option<TokenCounter>,
}

/// The prompt of a call does not fit into what its task may use.
#[derive(Debug, PartialEq)]
pub(crate) struct AllowanceExceeded(pub(crate) String);

/// The use of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CallUsage {
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) cost_usd: f64,
    /// The gateway reported nothing that can be right: some of it was counted here.
    pub(crate) is_counted: bool,
}

impl CallUsage {
    pub(crate) fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

impl From<CallUsage> for Usage {
    fn from(used: CallUsage) -> Usage {
        Usage {
            tokens: used.tokens(),
            cost_usd: used.cost_usd,
            tokens_out: used.output_tokens,
            is_counted: used.is_counted,
        }
    }
}

impl ModelMeter {
    pub(crate) fn new(basis: &EstimateBasis, model: &str) -> ModelMeter {
        ModelMeter {
            prices: basis.prices.clone(),
            model: Some(model.to_owned()).filter(|model| !model.is_empty()),
            count_tokens: basis.count_tokens,
            tokenizer_of: basis.tokenizer_of,
        }
    }

    /// The most that the answer to a request may be long, in tokens, so that the whole call stays within
    /// the allowance.
    pub(crate) fn answer_limit(
        &self,
        request: &ModelRequest,
        allowance: &AttemptAllowance,
    ) -> Result<u32, AllowanceExceeded> {
        let price = self.price(request.model.as_deref(), None);
        let wanted = u64::from(request.tokens_max);
        let left_for = |prompt: u64| {
            let by_tokens = allowance.tokens.saturating_sub(prompt).min(allowance.tokens_out);
            by_tokens.min(affordable(price, allowance.cost_usd, prompt)).min(wanted)
        };
        // The bytes are a bound that costs nothing: a token has at least one.
        let bytes = prompt_bytes(request).saturating_add(overhead(request));
        let mut prompt = bytes;
        if bytes > allowance.tokens_in || left_for(bytes) < wanted {
            prompt = self.counted(request, allowance.is_firm).unwrap_or(bytes);
        }
        let limit = left_for(prompt);
        if prompt > allowance.tokens_in || limit == 0 {
            return Err(AllowanceExceeded(self.refusal(request, prompt, allowance)));
        }
        Ok(u32::try_from(limit).unwrap_or(u32::MAX))
    }

    /// Tokens of a prompt, as its model counts them; where that is not known, an estimate, if one will do.
    fn counted(&self, request: &ModelRequest, must_be_sure: bool) -> Option<u64> {
        let estimate = (!must_be_sure).then_some(self.count_tokens);
        let count = self.tokenizer(request.model.as_deref()).or(estimate)?;
        Some(count_prompt(request, count).saturating_add(overhead(request)))
    }

    /// Tokens that a prompt will probably take.
    pub(crate) fn estimated(&self, request: &ModelRequest) -> u64 {
        count_prompt(request, self.count_tokens).saturating_add(overhead(request))
    }

    /// US dollars of a call by the model that a request asks for.
    pub(crate) fn cost_usd(&self, request: &ModelRequest, input: u64, output: u64) -> f64 {
        self.price(request.model.as_deref(), None).cost_usd(input as f64, output as f64)
    }

    fn refusal(&self, request: &ModelRequest, prompt: u64, allowance: &AttemptAllowance) -> String {
        let known = self.tokenizer(request.model.as_deref()).is_some();
        let counted = if known || !allowance.is_firm { "takes" } else { "may take" };
        let how = if known || !allowance.is_firm {
            String::new()
        } else {
            let model = request.model.as_deref().or(self.model.as_deref()).unwrap_or("the model");
            format!(" (the tokenizer of `{model}` is not known here, so each byte counts as one)")
        };
        let price = self.price(request.model.as_deref(), None);
        let cost = price.cost_usd(prompt as f64, 0.0);
        if prompt <= allowance.tokens_in.min(allowance.tokens) && cost > 0.0 {
            return format!(
                "the prompt {counted} {prompt} tokens{how}, which cost ${cost:.6}; the task may cost ${}",
                allowance.cost_usd
            );
        }
        let most = allowance.tokens_in.min(allowance.tokens);
        format!(
            "the prompt {counted} {prompt} tokens{how}, and the task may use {most}: shorten it, or give \
             the task a larger resource_quota"
        )
    }

    fn tokenizer(&self, asked: Option<&str>) -> Option<TokenCounter> {
        (self.tokenizer_of)(asked.or(self.model.as_deref())?)
    }

    /// The price of the model that was asked for; where the gateway chose, of the one that answered.
    fn price(&self, asked: Option<&str>, answered: Option<&str>) -> ModelPrice {
        self.prices.model(asked.or(self.model.as_deref()).or(answered))
    }

    /// The use of a call: never nothing, and never less than its texts show.
    pub(crate) fn usage(&self, request: &ModelRequest, answer: &ModelAnswer) -> CallUsage {
        let exact = self.tokenizer(request.model.as_deref());
        let prompt = self.side(answer.input_tokens, prompt_bytes(request), exact, |count| {
            count_prompt(request, count)
        });
        let text = self.side(answer.output_tokens, answer.text.len() as u64, exact, |count| {
            count(&answer.text)
        });
        let ((input_tokens, input_counted), (output_tokens, output_counted)) = (prompt, text);
        let price = self.price(request.model.as_deref(), Some(&answer.model));
        CallUsage {
            input_tokens,
            output_tokens,
            cost_usd: price.cost_usd(input_tokens as f64, output_tokens as f64),
            is_counted: input_counted || output_counted,
        }
    }

    /// Tokens of one side of a call, and whether the report was of no use.
    fn side(
        &self,
        reported: Option<u64>,
        bytes: u64,
        exact: Option<TokenCounter>,
        count: impl Fn(TokenCounter) -> u64,
    ) -> (u64, bool) {
        // A text of some length is not nothing.
        let plausible = reported.filter(|tokens| *tokens > 0 || bytes == 0);
        match (plausible, exact) {
            (Some(tokens), None) => (tokens, false),
            (Some(tokens), Some(exact)) => {
                let counted = count(exact);
                (tokens.max(counted), tokens < counted / 2)
            }
            (None, exact) => {
                let counted = count(exact.unwrap_or(self.count_tokens));
                (reported.unwrap_or(0).max(counted), true)
            }
        }
    }
}

/// The tokens that can still be paid for after the prompt.
fn affordable(price: ModelPrice, cost_usd: f64, prompt: u64) -> u64 {
    let left = cost_usd - price.cost_usd(prompt as f64, 0.0);
    match price.output_usd_per_million {
        _ if left < 0.0 => 0,
        per_million if per_million <= 0.0 => u64::MAX,
        per_million => (left / per_million * 1e6 + 1e-6) as u64,
    }
}

/// Everything of a request that a model reads.
fn texts(request: &ModelRequest) -> impl Iterator<Item = &str> {
    std::iter::once(request.system.as_str()).chain(request.turns.iter().map(|t| t.text.as_str()))
}

fn schema_text(request: &ModelRequest) -> String {
    request.schema.as_ref().map_or_else(String::new, |(_, schema)| schema.to_string())
}

fn prompt_bytes(request: &ModelRequest) -> u64 {
    let bytes: usize = texts(request).map(str::len).sum();
    (bytes + schema_text(request).len()) as u64
}

fn count_prompt(request: &ModelRequest, count: TokenCounter) -> u64 {
    let schema = schema_text(request);
    let schema = if schema.is_empty() { 0 } else { count(&schema) };
    texts(request).map(count).fold(schema, u64::saturating_add)
}

fn overhead(request: &ModelRequest) -> u64 {
    (request.turns.len() as u64 + 2) * TOKENS_PER_MESSAGE
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::port::{FinishReason, ModelRole, ModelTurn};

    /// A word is a token.
    fn words(text: &str) -> u64 {
        text.split_whitespace().count() as u64
    }

    fn meter(known: bool) -> ModelMeter {
        let mut basis = EstimateBasis { count_tokens: words, ..EstimateBasis::default() };
        basis.tokenizer_of = if known { |_| Some(words) } else { |_| None };
        let price = ModelPrice { input_usd_per_million: 10.0, output_usd_per_million: 20.0 };
        basis.prices.models.insert("m".to_owned(), price);
        ModelMeter::new(&basis, "m")
    }

    fn request(prompt: &str) -> ModelRequest {
        ModelRequest {
            model: None,
            system: String::new(),
            turns: vec![ModelTurn { role: ModelRole::User, text: prompt.to_owned() }],
            schema: None,
            temperature: 0.0,
            tokens_max: 4_096,
            within: Duration::from_secs(5),
            agent_did: String::new(),
            idempotency_key: None,
        }
    }

    fn allowance(
        tokens_in: u64,
        tokens_out: u64,
        cost_usd: f64,
        is_firm: bool,
    ) -> AttemptAllowance {
        let tokens = tokens_in.saturating_add(tokens_out);
        AttemptAllowance { tokens, tokens_in, tokens_out, cost_usd, is_firm }
    }

    #[test]
    fn the_answer_is_as_long_as_what_is_left() {
        let free = f64::INFINITY;
        let hello = "one two three four";
        let long = "word ".repeat(1_000);
        for (known, prompt, allowed, limit) in [
            // 18 bytes and 18 of form; the quota for answers counts.
            (false, hello, allowance(100, 100, free, true), Some(100)),
            (false, hello, allowance(30, 100, free, true), None),
            // The same 4 words where the tokenizer is known: 22 tokens.
            (true, hello, allowance(30, 100, free, true), Some(100)),
            (true, hello, allowance(21, 100, free, true), None),
            (true, hello, allowance(22, 100, free, true), Some(100)),
            // 1,018 tokens and 5,018 bytes: sure is only the larger number.
            (false, long.as_str(), allowance(2_000, 100, free, true), None),
            (false, long.as_str(), allowance(2_000, 100, free, false), Some(100)),
            (true, long.as_str(), allowance(2_000, 100, free, true), Some(100)),
            // $10 and $20 a million: 22 tokens in, and what is left of the money.
            (true, hello, allowance(10_000, 10_000, 0.00042, true), Some(10)),
            (true, hello, allowance(10_000, 10_000, 0.0002, true), None),
            (true, hello, AttemptAllowance::UNLIMITED, Some(4_096)),
        ] {
            let answer = meter(known).answer_limit(&request(prompt), &allowed);
            assert_eq!(answer.as_ref().ok().copied(), limit, "{known} {prompt:.20} {answer:?}");
        }
        // The two sides may share one allowance.
        let shared = AttemptAllowance { tokens: 100, ..allowance(100, 100, free, true) };
        assert_eq!(meter(true).answer_limit(&request(hello), &shared), Ok(78));
    }

    #[test]
    fn a_report_counts_when_it_can_be_right() {
        let prompt = "one two three four five six seven eight";
        for (known, reported, counted) in [
            (false, (Some(9), Some(3)), (9, 3, false)),
            (false, (None, Some(3)), (8, 3, true)),
            (false, (Some(0), Some(0)), (8, 3, true)),
            (false, (Some(9), None), (9, 3, true)),
            (false, (Some(9_000), Some(7_000)), (9_000, 7_000, false)),
            // A model that counts as we do cannot have read less than there was.
            (true, (Some(5), Some(3)), (8, 3, false)),
            (true, (Some(3), Some(1)), (8, 3, true)),
            (true, (Some(20), Some(30)), (20, 30, false)),
        ] {
            let answer = ModelAnswer {
                text: "these are words".to_owned(),
                model: "m".to_owned(),
                input_tokens: reported.0,
                output_tokens: reported.1,
                finish: FinishReason::Stop,
            };
            let used = meter(known).usage(&request(prompt), &answer);
            let told = (used.input_tokens, used.output_tokens, used.is_counted);
            assert_eq!(told, counted, "{known} {reported:?}");
            let cost = (10.0 * counted.0 as f64 + 20.0 * counted.1 as f64) / 1e6;
            assert!((used.cost_usd - cost).abs() < 1e-12);
        }
    }
}
