//! Arguments, logging, signals, exit codes; nothing else.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use certsieve::command::{Environment, Exit, check, completions, explain, hunt, run, schema, simulate};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Watches the live Certificate Transparency feed for the names and addresses you own.
///
/// certsieve reads a CertStream server, sieves every certificate for the assets of your watch list,
/// judges each hit against who may issue for them, and publishes the few that matter to Kafka topics.
/// Start with `certsieve demo`.
#[derive(Parser)]
#[command(name = "certsieve", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What is logged to standard error, as `debug` or `info,certsieve::feed=debug` [default: info; demo: error].
    #[arg(long, global = true, value_name = "FILTER", env = "CERTSIEVE_LOG")]
    log_level: Option<String>,
    /// How it is logged.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// See it work: a firehose with mis-issued certificates hidden in it, a broker, the pipeline.
    #[cfg(feature = "kafka")]
    Demo(certsieve::command::demo::DemoArgs),
    /// Run the pipeline.
    Run(run::RunArgs),
    /// Say every problem in configuration and watch list at once.
    Check(check::CheckArgs),
    /// Say what would match and why: a name, an address, a certificate, a recorded message.
    Explain(explain::ExplainArgs),
    /// Search recordings and certificates with the rules of a watch list.
    Hunt(hunt::HuntArgs),
    /// Serve a made-up CertStream feed.
    Simulate(simulate::SimulateArgs),
    /// Print the JSON Schema of each kind of record.
    Schema(schema::SchemaArgs),
    /// Print shell completions.
    Completions(completions::CompletionsArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = log(&cli) {
        anstream::eprintln!("--log-level {}: {error}", cli.log_level.unwrap_or_default());
        return ExitCode::from(Exit::Usage as u8);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("cannot start: {error}");
            return ExitCode::from(Exit::Failed as u8);
        }
    };
    let exit = runtime.block_on(execute(cli.command));
    // A thread that waits for standard input must not hold up the end.
    runtime.shutdown_background();
    ExitCode::from(exit as u8)
}

async fn execute(command: Command) -> Exit {
    let mut out = io::stdout();
    match command {
        #[cfg(feature = "kafka")]
        Command::Demo(args) => certsieve::command::demo::run(args).await,
        Command::Run(args) => run::run(args, environment()).await,
        Command::Check(args) => check::run(args, environment(), &mut out).await,
        Command::Explain(args) => explain::run(&args),
        Command::Hunt(args) => hunt::run(&args),
        Command::Simulate(args) => match simulate::run(args).await {
            Ok(()) => Exit::Done,
            Err(error) => {
                anstream::eprintln!("{error}");
                Exit::Failed
            }
        },
        Command::Schema(args) => schema::run(&args, &mut out),
        Command::Completions(args) => completions::run(&args, Cli::command(), &mut out),
    }
}

/// Variables that are no UTF-8 belong to somebody else.
fn environment() -> Environment {
    std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect()
}

fn log(cli: &Cli) -> Result<(), tracing_subscriber::filter::ParseError> {
    let usual = match cli.command {
        // Its table is what there is to see, and its broker keeps nothing that is worth a warning.
        #[cfg(feature = "kafka")]
        Command::Demo(_) => "error",
        _ => "info",
    };
    let filter = EnvFilter::builder().parse(cli.log_level.as_deref().unwrap_or(usual))?;
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match cli.log_format {
        LogFormat::Text => logger.with_target(false).with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => logger.json().init(),
    }
    Ok(())
}
