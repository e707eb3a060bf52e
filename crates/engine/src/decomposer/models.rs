//! The models that a gateway has, asked for when a plan names one.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use l05_core::time::Timestamp;

use super::ModelDecomposer;

/// The time for which a list of models counts.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// The last list, with the time at which it was asked for.
#[derive(Default)]
pub(super) struct KnownModels(Mutex<Option<(Timestamp, Arc<[String]>)>>);

impl KnownModels {
    fn fresh(&self, now: Timestamp) -> Option<Arc<[String]>> {
        let kept = self.0.lock().expect("nobody panics while holding it");
        let (at, models) = kept.as_ref()?;
        (now.millis_since(*at) < KEPT_FOR.as_millis() as u64).then(|| models.clone())
    }

    fn keep(&self, now: Timestamp, models: &Arc<[String]>) {
        *self.0.lock().expect("nobody panics while holding it") = Some((now, models.clone()));
    }
}

impl ModelDecomposer {
    /// The models of the gateway; none where it does not tell.
    pub(crate) async fn models(&self, now: Timestamp) -> Option<Arc<[String]>> {
        if let Some(models) = self.models.fresh(now) {
            return Some(models);
        }
        match self.gateway.models().await {
            Ok(models) if models.is_empty() => None,
            Ok(models) => {
                let models: Arc<[String]> = models.into();
                self.models.keep(now, &models);
                Some(models)
            }
            Err(error) => {
                tracing::info!(%error, "the gateway does not tell its models");
                None
            }
        }
    }
}
