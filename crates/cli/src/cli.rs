//! The command line: what can be asked, and who answers.

mod approval;
mod batch;
mod cache;
mod check_goal;
mod cost;
mod doctor;
mod exit;
mod follow;
mod goals;
mod graph;
mod import;
mod inspect;
mod output;
mod plan_file;
mod progress;
mod reference;
mod run;
mod simulate;
mod templates;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use l05::config::{Config, ConfigLayers, Settings, load};
use l05_core::printable::printable_line;
use l05_core::{Error, ErrorCode};

use exit::ExitStatus;
use output::{CliOutput, OutputFormat};

/// L05, the planning layer: a goal becomes a validated, signed plan that runs durably.
#[derive(Debug, Parser)]
#[command(name = "l05", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Examples:\n  l05 run \"Create a summary of the project status\"\n  l05 run \"Analyze sales by region and category\" --input file=sales.csv\n  l05 execute plan.yaml\n  l05 status 0199"
)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: CliCommand,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
struct GlobalOptions {
    /// The form of the result on stdout
    #[arg(long, value_enum, default_value_t, global = true)]
    output: OutputFormat,
    /// Configuration file (TOML, YAML or JSON)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one configuration key; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of plans, journals and keys
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Check against this tool catalogue instead of the built-in tools
    #[arg(long, global = true, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Warnings are errors
    #[arg(long, global = true)]
    strict: bool,
    /// Nothing on stderr but errors
    #[arg(long, short, global = true)]
    quiet: bool,
    /// No progress bars
    #[arg(long, global = true)]
    no_progress: bool,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Plan a goal and execute the plan
    Run(run::RunArgs),
    /// Plan a goal and print the plan
    Plan(run::PlanArgs),
    /// Check a plan file
    Validate(plan_file::ValidateArgs),
    /// Execute a plan file, or go on with a plan
    Execute(run::ExecuteArgs),
    /// Say where a plan stands
    Status(inspect::IdArgs),
    /// Follow a running plan
    Watch(inspect::IdArgs),
    /// Show a plan with everything its runs added
    Show(inspect::IdArgs),
    /// List the events of a plan
    Events(inspect::IdArgs),
    /// List plans, newest first
    History(inspect::HistoryArgs),
    /// List goals, newest first, or show what planning made of one
    Goals(goals::GoalsArgs),
    /// End a plan
    Cancel(inspect::CancelArgs),
    /// Approve what a plan waits for
    Approve(approval::AnswerArgs),
    /// Refuse what a plan waits for
    Reject(approval::AnswerArgs),
    /// Run what did not complete, or a task and all behind it, again
    Retry(run::RetryArgs),
    /// Drive runs that no living process drives
    Worker(worker::WorkerArgs),
    /// List the agents that tasks can go to
    Agents,
    /// Show what a plan takes: low, expected, high, and at worst
    Cost(cost::CostArgs),
    /// Tell why a plan is as it is, and what happened to it
    Explain(cost::ExplainArgs),
    /// Schedule a plan on agents without running it
    Simulate(simulate::SimulateArgs),
    /// Read a plan that was written for people
    Import(import::ImportArgs),
    /// Draw a plan
    Graph(graph::GraphArgs),
    /// The template library
    #[command(subcommand)]
    Templates(templates::TemplatesCommand),
    /// The tools that plans may use
    #[command(subcommand)]
    Tools(reference::ToolsCommand),
    /// The plan cache
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// The error codes
    Errors(reference::ErrorsArgs),
    /// Check a goal's text against the input policy
    CheckGoal(check_goal::CheckGoalArgs),
    /// Say what is here and what is not: store, tools, templates, model gateway
    Doctor,
    /// Print a JSON Schema
    Schema(reference::SchemaArgs),
    /// The configuration
    #[command(subcommand)]
    Config(reference::ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The settings, output and limits that every command works with.
pub(crate) struct CliContext {
    pub(crate) config: Config,
    pub(crate) settings: Settings,
    pub(crate) output: CliOutput,
    pub(crate) strict: bool,
}

pub(crate) fn main() -> ExitCode {
    let cli = match CommandLine::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error).into(),
    };
    let output = CliOutput {
        format: cli.global.output,
        quiet: cli.global.quiet,
        progress: !cli.global.no_progress,
    };
    let ended = context(&cli.global, output).and_then(|context| {
        log_to_stderr(&context.config.log_level);
        dispatch(&context, cli.command)
    });
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            output.error(&error);
            exit::of(error.code).into()
        }
    }
}

/// Help and versions go to stdout; wrong usage is exit 2, as JSON where JSON was asked for.
fn usage(error: &clap::Error) -> ExitStatus {
    use clap::error::ErrorKind as K;
    if matches!(error.kind(), K::DisplayHelp | K::DisplayVersion) {
        output::print(&error.render().to_string());
        return ExitStatus::Done;
    }
    let arguments: Vec<String> = std::env::args().collect();
    let wants = |format: &str| {
        arguments.windows(2).any(|pair| pair[0] == "--output" && pair[1] == format)
            || arguments.iter().any(|a| *a == format!("--output={format}"))
    };
    if wants("json") {
        let text = error.render().to_string();
        let message =
            text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let output = CliOutput { format: OutputFormat::Json, quiet: false, progress: false };
        let coded =
            Error::new(ErrorCode::ConfigError, message).suggest("`l05 --help` shows the usage");
        output.error(&coded);
    } else {
        let _ = error.print();
    }
    ExitStatus::Usage
}

fn context(global: &GlobalOptions, output: CliOutput) -> Result<CliContext, Error> {
    let mut flags = Vec::new();
    for pair in &global.set {
        let Some((key, value)) = pair.split_once('=') else {
            let message = format!("--set {pair}: write KEY=VALUE");
            return Err(Error::new(ErrorCode::ConfigError, message));
        };
        flags.push((key.trim().to_owned(), value.to_owned()));
    }
    let paths = [("store.data_dir", &global.data_dir), ("tools.catalog", &global.catalog)];
    for (key, path) in paths {
        flags.extend(path.as_ref().map(|path| (key.to_owned(), path.display().to_string())));
    }
    let layers = ConfigLayers {
        file: global.config.clone(),
        environment: std::env::vars_os().collect(),
        flags,
    };
    let (config, settings) = load(&layers)?;
    Ok(CliContext { config, settings, output, strict: global.strict })
}

fn log_to_stderr(level: &str) {
    let filter = tracing_subscriber::EnvFilter::new(level);
    // Set once a process; a second call (none today) would keep the first.
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    let _ = log.with_ansi(false).with_writer(|| LogLines).try_init();
}

/// Standard error, an event a line: what others wrote in it steers no terminal and begins no line of its own.
struct LogLines;

impl std::io::Write for LogLines {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = printable_line(text.trim_end_matches('\n'));
        writeln!(std::io::stderr().lock(), "{line}")?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}

fn dispatch(context: &CliContext, command: CliCommand) -> Result<ExitStatus, Error> {
    match command {
        CliCommand::Run(args) => on_runtime(run::run(context, args)),
        CliCommand::Plan(args) => on_runtime(run::plan(context, args)),
        CliCommand::Execute(args) => on_runtime(run::execute(context, args)),
        CliCommand::Retry(args) => on_runtime(run::retry(context, args)),
        CliCommand::Validate(args) => on_runtime(plan_file::validate(context, args)),
        CliCommand::Status(args) => on_runtime(inspect::status(context, args)),
        CliCommand::Watch(args) => on_runtime(inspect::watch(context, args)),
        CliCommand::Show(args) => on_runtime(inspect::show(context, args)),
        CliCommand::Events(args) => on_runtime(inspect::events(context, args)),
        CliCommand::History(args) => on_runtime(inspect::history(context, args)),
        CliCommand::Goals(args) => on_runtime(goals::goals(context, args)),
        CliCommand::Cancel(args) => on_runtime(inspect::cancel(context, args)),
        CliCommand::Approve(args) => on_runtime(approval::answer(context, args, true)),
        CliCommand::Reject(args) => on_runtime(approval::answer(context, args, false)),
        CliCommand::Worker(args) => on_runtime(worker::worker(context, args)),
        CliCommand::Agents => on_runtime(worker::agents(context)),
        CliCommand::Cost(args) => on_runtime(cost::cost(context, args)),
        CliCommand::Explain(args) => on_runtime(cost::explain(context, args)),
        CliCommand::Simulate(args) => on_runtime(simulate::simulate(context, args)),
        CliCommand::Import(args) => import::import(context, &args),
        CliCommand::Graph(args) => on_runtime(graph::graph(context, args)),
        CliCommand::Templates(command) => on_runtime(templates::templates(context, &command)),
        CliCommand::Tools(command) => reference::tools(context, &command),
        CliCommand::Errors(args) => reference::errors(context, &args),
        CliCommand::CheckGoal(args) => check_goal::check_goal(context, &args),
        CliCommand::Cache(command) => on_runtime(cache::cache(context, command)),
        CliCommand::Doctor => on_runtime(doctor::doctor(context)),
        CliCommand::Schema(args) => Ok(reference::schema(context, &args)),
        CliCommand::Config(command) => Ok(reference::config(context, &command)),
        CliCommand::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut CommandLine::command(), "l05", &mut script);
            output::print(&String::from_utf8_lossy(&script));
            Ok(ExitStatus::Done)
        }
    }
}

fn on_runtime(work: impl Future<Output = Result<ExitStatus, Error>>) -> Result<ExitStatus, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorCode::ConfigError, format!("no runtime: {e}")))?;
    let ended = runtime.block_on(Box::pin(work));
    // A tool in a thread that cannot be stopped must not hold the program.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }
}
