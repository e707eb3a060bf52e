//! What models and tools cost, as the configuration says.

use std::collections::BTreeMap;

use crate::resource::ModelPrice;

/// The price table.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceTable {
    /// By model name.
    pub models: BTreeMap<String, ModelPrice>,
    /// For models that are not listed.
    pub other_models: ModelPrice,
    /// By tool name, US dollars a call; tools that are not listed are free.
    pub tools: BTreeMap<String, f64>,
}

impl Default for PriceTable {
    /// No model is known to be free: an unlisted one counts at 3 and 15 US dollars per million
    /// tokens, the list price of hosted models of middle size in 2025. Cautious on purpose; the
    /// configuration sets what is true.
    fn default() -> PriceTable {
        let other_models = ModelPrice { input_usd_per_million: 3.0, output_usd_per_million: 15.0 };
        PriceTable { models: BTreeMap::new(), other_models, tools: BTreeMap::new() }
    }
}

impl PriceTable {
    /// A model's price; of no model in particular, the others'.
    pub fn model(&self, name: Option<&str>) -> ModelPrice {
        name.and_then(|name| self.models.get(name)).copied().unwrap_or(self.other_models)
    }

    /// A call of a tool, in US dollars.
    pub fn tool(&self, name: &str) -> f64 {
        self.tools.get(name).copied().unwrap_or(0.0)
    }
}
