//! `l05 cache`: the plan cache that processes share.

use clap::Subcommand;
use l05_core::{Error, ErrorCode};
use l05_engine::cache::Invalidate;
use serde_json::json;

use super::Context;
use super::exit::Exit;
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
    /// Those of a goal
    #[arg(long, value_name = "TEXT")]
    goal: Option<String>,
    /// Those with a tag
    #[arg(long)]
    tag: Option<String>,
    /// Those that a template made
    #[arg(long, value_name = "ID")]
    template: Option<String>,
    /// Those that a model made
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// All
    #[arg(long)]
    all: bool,
}

pub(crate) async fn cache(context: &Context, command: CacheCommand) -> Result<Exit, Error> {
    let CacheCommand::Clear(args) = command;
    let what = args
        .goal
        .map(Invalidate::Goal)
        .or(args.tag.map(Invalidate::Tag))
        .or(args.template.map(Invalidate::Template))
        .or(args.model.map(Invalidate::Model))
        .unwrap_or(Invalidate::All);
    if context.config.cache.redis_url.is_none() {
        let message = "there is no shared plan cache: cache.l2_redis_endpoint is not set";
        return Err(Error::new(ErrorCode::CACHE_UNAVAILABLE, message)
            .suggest("name the Redis that the processes share"));
    }
    let service = open(context, None).await?;
    let removed = service.invalidate(&what).await?;
    service.shutdown().await;
    context.output.result(&json!({ "removed": removed }), |_| format!("{removed} plans forgotten"));
    Ok(Exit::Done)
}
