//! Checked values of keys as what the configuration holds. Each value has passed its key's check, so that
//! what is read here is there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use l05_core::estimate::{CostModel, ModelPrice, PriceTable};
use secrecy::SecretString;
use serde_json::Value;

/// Upheld by the keys' kinds, which check every value before it is set.
const CHECKED: &str = "the key's kind has checked the value";

pub(super) fn text(value: &Value) -> String {
    value.as_str().expect(CHECKED).to_owned()
}

/// None for an empty text.
pub(super) fn secret(value: &Value) -> Option<SecretString> {
    Some(text(value)).filter(|text| !text.is_empty()).map(SecretString::from)
}

/// None for an empty text.
pub(super) fn path(value: &Value) -> Option<PathBuf> {
    Some(PathBuf::from(text(value))).filter(|path| !path.as_os_str().is_empty())
}

/// Words that commas part.
pub(super) fn list(value: &Value) -> Vec<String> {
    text(value).split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

pub(super) fn boolean(value: &Value) -> bool {
    value.as_bool().expect(CHECKED)
}

pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().expect(CHECKED)
}

/// A whole number; the key's range fits the type.
pub(super) fn integer<T: TryFrom<u64>>(value: &Value) -> T {
    let number = value.as_u64().expect(CHECKED);
    T::try_from(number).ok().expect(CHECKED)
}

pub(super) fn count(value: &Value) -> usize {
    integer(value)
}

/// One of the key's words.
pub(super) fn choice<T>(value: &Value, parse: fn(&str) -> Option<T>) -> T {
    parse(value.as_str().expect(CHECKED)).expect(CHECKED)
}

pub(super) fn millis(value: &Value) -> Duration {
    Duration::from_millis(integer(value))
}

pub(super) fn seconds(value: &Value) -> Duration {
    Duration::from_secs_f64(number(value))
}

pub(super) fn hours(value: &Value) -> Duration {
    Duration::from_secs_f64(number(value) * 3_600.0)
}

pub(super) fn cost_model(word: &str) -> Option<CostModel> {
    match word {
        "deterministic" => Some(CostModel::Deterministic),
        "historical" => Some(CostModel::Historical),
        "hybrid_deterministic_historical" => Some(CostModel::Hybrid),
        _ => None,
    }
}

/// `*` stands for all models that are not listed.
pub(super) fn set_model_prices(prices: &mut PriceTable, value: &Value) {
    for (name, price) in value.as_object().into_iter().flatten() {
        let price = ModelPrice {
            input_usd_per_million: number(&price["input"]),
            output_usd_per_million: number(&price["output"]),
        };
        match name.as_str() {
            "*" => prices.other_models = price,
            name => {
                prices.models.insert(name.to_owned(), price);
            }
        }
    }
}

pub(super) fn tool_prices(value: &Value) -> BTreeMap<String, f64> {
    let tools = value.as_object().into_iter().flatten();
    tools.map(|(name, price)| (name.clone(), number(price))).collect()
}
