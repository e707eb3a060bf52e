//! `l05 cache`: the plan cache that processes share.

use clap::Subcommand;
use l05_core::{Error, ErrorCode};
use l05_engine::cache::CacheInvalidation;
use serde_json::json;

use super::CliContext;
use super::exit::ExitStatus;
use super::run::open;

/// The plan cache
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Forget cached plans in Redis; a process's own memory goes with the process
    Clear(ClearArgs),
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ClearArgs {
    /// Plans of a goal
    #[arg(long, value_name = "TEXT")]
    goal: Option<String>,
    /// Plans with a tag
    #[arg(long)]
    tag: Option<String>,
    /// Plans that a template made
    #[arg(long, value_name = "ID")]
    template: Option<String>,
    /// Plans that a model made
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// All
    #[arg(long)]
    all: bool,
}

pub(crate) async fn cache(
    context: &CliContext,
    command: CacheCommand,
) -> Result<ExitStatus, Error> {
    let CacheCommand::Clear(args) = command;
    let what = args
        .goal
        .map(CacheInvalidation::Goal)
        .or(args.tag.map(CacheInvalidation::Tag))
        .or(args.template.map(CacheInvalidation::Template))
        .or(args.model.map(CacheInvalidation::Model))
        .unwrap_or(CacheInvalidation::All);
    if context.config.redis_url().is_none() {
        let message = "there is no shared plan cache: cache.l2_redis_endpoint is not set";
        return Err(Error::new(ErrorCode::CacheUnavailable, message)
            .suggest("name the Redis that the processes share"));
    }
    let service = open(context, None).await?;
    let removed = service.invalidate(&what).await?;
    service.shutdown().await;
    context.output.result(&json!({ "removed": removed }), |_| format!("{removed} plans forgotten"));
    Ok(ExitStatus::Done)
}
