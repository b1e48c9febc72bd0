//! Arguments of the command line. The doc comments are the help texts.

mod plugin;
mod service;
mod store;

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use occopus_engine::{InfrastructureId, InvalidInfrastructureId, Rollout};

pub(crate) use plugin::{ComponentCommand, Language, PluginCommand};
pub(crate) use service::{ServeArgs, TokenCommand};
pub(crate) use store::StoreCommand;

const AFTER_HELP: &str = "\
Exit status:
    0  done
    1  failed; what was begun is rolled back
    2  wrong usage
    3  the description, the node definitions or the credentials are wrong
    4  another process owns the infrastructure
    5  something is left behind; it is named, with the command that removes it
    6  the infrastructure is degraded, failing or held (build, scale, one pass of maintain)
    7  some machines could not be observed (build, scale, one pass of maintain)
  130  interrupted

Ctrl-C stops and removes what this run made; a second Ctrl-C stops at once and says what is left.

Environment:
  OCCOPUS_CONFIG_PATH     the configuration, otherwise occopus_config.yaml in ~/.occopus or here
  OCCOPUS_AUTH_DATA_PATH  the credentials, otherwise auth_data.yaml in ~/.occopus, beside the files or here
  OCCOPUS_SERVER          the URL of a service (`occopus serve`) to use, as with --server
  OCCOPUS_TOKEN           the token for that service
  OCCOPUS_SERVER_CA       certificates to trust for that service, as with --server-ca
  OCCOPUS_HOME            one folder for everything: configuration, state, cache
  OCCOPUS_LOG             what to log, such as `debug` or `occopus_runtime=trace`
  NO_COLOR                no colours
  OTEL_EXPORTER_OTLP_ENDPOINT
                          where traces and metrics go, over OTLP (HTTP)";

/// Deploys virtual infrastructures: nodes on one or several clouds, in the order of their dependencies.
#[derive(Debug, Parser)]
#[command(name = "occopus", version, infer_long_args = true, after_help = AFTER_HELP, max_term_width = 120)]
pub(crate) struct Cli {
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub(crate) common: GlobalArgs,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// File of the operator's configuration.
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) cfg: Option<PathBuf>,
    /// File of the credentials.
    #[arg(long = "auth_data_path", alias = "auth-data-path", value_name = "PATH", global = true)]
    pub(crate) auth_data_path: Option<PathBuf>,
    /// Use a service (`occopus serve`) instead of this machine.
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) server: Option<String>,
    /// Certificates (PEM) to trust for the service, beside the system's.
    #[arg(long = "server-ca", value_name = "FILE", global = true)]
    pub(crate) server_ca: Option<PathBuf>,
    /// File with the token for the service (default: OCCOPUS_TOKEN).
    #[arg(long = "token-file", value_name = "FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// Log more; repeat for even more.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

/// Options of what is printed on standard output.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// Output format: text for people, or one JSON document.
    #[arg(long = "output", value_name = "FORMAT", default_value = "text")]
    pub(crate) format: OutputFormat,
}

/// A format of output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Text for people.
    #[default]
    Text,
    /// JSON for programs.
    Json,
}

/// The infrastructure of a command.
#[derive(Debug, Args)]
pub(crate) struct InfraIdArgs {
    /// Id of the infrastructure.
    #[arg(short = 'i', long = "infra_id", aliases = ["infra-id", "infraid"], value_name = "ID")]
    infra_id: String,
}

impl InfraIdArgs {
    /// Parses the id. This is left to the command, since the failure has a code, and is printed in the command's format.
    pub(crate) fn parse(&self) -> Result<InfrastructureId, InvalidInfrastructureId> {
        self.infra_id.parse()
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a description and its node definitions; changes nothing.
    Validate(ValidateArgs),
    /// Show what `build` would do.
    Plan(PlanArgs),
    /// Print the resource section, attributes and user data that a node would get.
    Render(RenderArgs),
    /// Print the dependency graph.
    Graph(GraphArgs),
    /// Build an infrastructure, or complete or change an existing one.
    Build(BuildArgs),
    /// Show the nodes with states, addresses and times; without an id, list infrastructures.
    Status(StatusArgs),
    /// Check every node and replace failed instances.
    Maintain(MaintainArgs),
    /// Maintain an infrastructure in the background.
    Attach(AttachArgs),
    /// Stop the background maintenance of an infrastructure.
    Detach(DetachArgs),
    /// Change the number of instances of a node.
    Scale(ScaleArgs),
    /// Suspend the maintenance of an infrastructure; it keeps running.
    Suspend(SuspendArgs),
    /// Resume the maintenance of an infrastructure.
    Resume(SuspendArgs),
    /// Destroy an infrastructure: remove every node, dependents first.
    Destroy(DestroyArgs),
    /// Store node definitions, for descriptions that have none beside them.
    Import(ImportArgs),
    /// Manage the node definitions that `import` stored.
    #[command(subcommand)]
    Definitions(DefinitionsCommand),
    /// Check credentials.
    #[command(subcommand)]
    Auth(AuthCommand),
    /// Print a JSON Schema of the files, for editors.
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Show the events of an infrastructure.
    Events(EventsArgs),
    /// Show the output of a node.
    Logs(LogsArgs),
    /// Manage the tokens of the service.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Run the service: maintain infrastructures, and serve the REST API and the pages.
    Serve(ServeArgs),
    /// Check or compact the store.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Manage plugins, and write your own.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Run WebAssembly components of your own.
    #[command(subcommand)]
    Component(ComponentCommand),
    /// Print shell completions.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// The files of a description and its node definitions.
#[derive(Debug, Args)]
pub(crate) struct DescriptionArgs {
    /// Description of the infrastructure.
    #[arg(value_name = "FILE")]
    pub(crate) description: PathBuf,
    /// File or folder of node definitions; may be repeated. Default: `nodes/node_definitions.yaml` beside the
    /// description, then those that `import` stored.
    #[arg(long, value_name = "PATH")]
    pub(crate) nodes: Vec<PathBuf>,
}

/// The arguments of `validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    pub(crate) files: DescriptionArgs,
    /// Treat warnings as errors.
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) files: DescriptionArgs,
    /// Id of an existing infrastructure, or for a new one.
    #[arg(short = 'i', long = "infra_id", aliases = ["infra-id", "infraid"], value_name = "ID")]
    pub(crate) infra_id: Option<String>,
    /// Ask the clouds first, instead of planning with what was seen last.
    #[arg(long, requires = "infra_id")]
    pub(crate) refresh: bool,
    #[command(flatten)]
    pub(crate) replace: ReplaceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A selection of working instances to replace.
#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// Replace working instances, one by one: a new one is created, and the old one is removed when the new one is ready.
    #[arg(long, value_name = "WHICH", value_delimiter = ',')]
    pub(crate) replace: Vec<ReplaceSelector>,
}

/// A group of working instances that have drifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReplaceSelector {
    /// Instances whose type, variables or definition have changed since they were created.
    Changed,
    /// Instances that refer to an address that is gone.
    Dependents,
}

impl ReplaceArgs {
    /// Converts the selection into the engine's options.
    pub(crate) fn to_engine_options(&self) -> Rollout {
        Rollout {
            changed: self.replace.contains(&ReplaceSelector::Changed),
            dependents: self.replace.contains(&ReplaceSelector::Dependents),
        }
    }
}

/// The arguments of `render`.
#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    pub(crate) files: DescriptionArgs,
    /// Name of the node.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// Id of an infrastructure whose addresses to use. Default: addresses of RFC 5737 stand for those that are not known yet.
    #[arg(short = 'i', long = "infra_id", aliases = ["infra-id", "infraid"], value_name = "ID")]
    pub(crate) infra_id: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `graph`.
#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    pub(crate) files: DescriptionArgs,
    /// Format of the graph.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: GraphFormat,
}

/// A format of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// Text with a line for each node.
    Text,
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
    /// SVG drawing.
    Svg,
}

/// The subcommands of `definitions`.
#[derive(Debug, Subcommand)]
pub(crate) enum DefinitionsCommand {
    /// List all types, with the locations that they came from.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show the definitions of a type.
    Show {
        /// The type.
        #[arg(value_name = "TYPE")]
        node_type: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Remove types. Deployed infrastructures keep their own copies.
    Remove {
        /// The types.
        #[arg(value_name = "TYPE", required = true)]
        node_types: Vec<String>,
    },
}

/// The subcommands of `auth`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthCommand {
    /// Show which rule serves which section of a description's nodes, without the secrets.
    Check {
        #[command(flatten)]
        files: DescriptionArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// The subcommands of `schema`.
#[derive(Debug, Subcommand)]
pub(crate) enum SchemaCommand {
    /// Print the schema of infrastructure descriptions.
    Description,
    /// Print the schema of node definitions, with the sections of all installed plugins.
    Definitions,
}

/// The arguments of `build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) files: DescriptionArgs,
    /// Id of an existing infrastructure, to complete or change it, or for a new one.
    #[arg(short = 'i', long = "infra_id", aliases = ["infra-id", "infraid"], value_name = "ID")]
    pub(crate) infra_id: Option<String>,
    /// Handling of what this run made when a node fails.
    #[arg(long = "on-failure", alias = "on_failure", value_name = "WHAT", default_value = "rollback")]
    pub(crate) on_failure: OnFailureArg,
    #[command(flatten)]
    pub(crate) replace: ReplaceArgs,
    /// Do not ask before changing an existing infrastructure. Without a terminal, no question is asked.
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) parallelize: ParallelizeArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Handling of what a failed run made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFailureArg {
    /// Remove it.
    Rollback,
    /// Keep it for inspection.
    Keep,
}

/// An option that is accepted for old scripts.
#[derive(Debug, Args)]
pub(crate) struct ParallelizeArgs {
    /// Ignored: nodes always start as soon as their dependencies are ready.
    #[arg(long)]
    pub(crate) parallelize: bool,
}

/// The arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Id of the infrastructure.
    #[arg(short = 'i', long = "infra_id", aliases = ["infra-id", "infraid"], value_name = "ID")]
    pub(crate) infra_id: Option<String>,
    /// Observe the machines in their clouds first, instead of showing the last known state.
    #[arg(long, requires = "infra_id")]
    pub(crate) refresh: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `maintain`.
#[derive(Debug, Args)]
pub(crate) struct MaintainArgs {
    /// Id of the infrastructure.
    #[arg(
        short = 'i',
        long = "infraid",
        aliases = ["infra_id", "infra-id"],
        value_name = "ID",
        required_unless_present = "list"
    )]
    pub(crate) infra_id: Option<String>,
    /// List the ids of all infrastructures.
    #[arg(short, long)]
    pub(crate) list: bool,
    /// Only report the nodes with their instances and addresses; change nothing.
    #[arg(short, long)]
    pub(crate) report: bool,
    /// Repeat until interrupted.
    #[arg(short, long)]
    pub(crate) cyclic: bool,
    /// End a hold: replace all instances that are dead now, however many they are.
    #[arg(long, conflicts_with_all = ["report", "list"])]
    pub(crate) release: bool,
    /// Seconds between two passes.
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(crate) interval: Duration,
    #[command(flatten)]
    pub(crate) parallelize: ParallelizeArgs,
    /// With -r: write a line with the addresses of each instance to this file. `text` and `json` select the format of
    /// standard output instead.
    #[arg(short, long, value_name = "FILE|FORMAT", default_value = "text")]
    pub(crate) output: ReportTarget,
    /// With -r: only nodes whose name contains this text.
    #[arg(short, long, value_name = "NAME", requires = "report")]
    pub(crate) filter: Option<String>,
}

/// The arguments of `attach`.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    pub(crate) id: InfraIdArgs,
    /// Seconds between two passes.
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(crate) interval: Duration,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `detach`.
#[derive(Debug, Args)]
pub(crate) struct DetachArgs {
    #[command(flatten)]
    pub(crate) id: InfraIdArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The destination of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReportTarget {
    /// Standard output.
    Stdout(OutputFormat),
    /// A file.
    File(PathBuf),
}

impl ReportTarget {
    /// Returns the format of standard output.
    pub(crate) fn format(&self) -> OutputFormat {
        match self {
            Self::Stdout(format) => *format,
            Self::File(_) => OutputFormat::Text,
        }
    }
}

impl FromStr for ReportTarget {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "text" => Self::Stdout(OutputFormat::Text),
            "json" => Self::Stdout(OutputFormat::Json),
            path => Self::File(path.into()),
        })
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// The arguments of `scale`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("how").required(true))]
pub(crate) struct ScaleArgs {
    /// Id of the infrastructure.
    #[arg(short = 'i', long = "infraid", aliases = ["infra_id", "infra-id"], value_name = "ID")]
    pub(crate) infra_id: String,
    /// Name of the node.
    #[arg(short, long, value_name = "NODE")]
    pub(crate) node: String,
    /// Add this number of instances; a negative number removes the youngest.
    #[arg(short, long = "changescale", value_name = "NUMBER", group = "how", allow_negative_numbers = true, value_parser = parse_change)]
    pub(crate) change: Option<i32>,
    /// Set the number of instances.
    #[arg(short, long = "setscale", value_name = "NUMBER", group = "how", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) set: Option<u32>,
    /// Remove the instance with this id or address.
    #[arg(short, long, value_name = "ID|ADDRESS", group = "how")]
    pub(crate) filter: Option<String>,
    /// Only record the target, for the next pass of `maintain`.
    #[arg(long)]
    pub(crate) later: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

fn parse_change(text: &str) -> Result<i32, String> {
    match text.parse() {
        Ok(0) => Err("0 changes nothing".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("not a whole number".to_owned()),
    }
}

/// The arguments of `suspend` and `resume`.
#[derive(Debug, Args)]
pub(crate) struct SuspendArgs {
    #[command(flatten)]
    pub(crate) id: InfraIdArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `destroy`.
#[derive(Debug, Args)]
pub(crate) struct DestroyArgs {
    #[command(flatten)]
    pub(crate) id: InfraIdArgs,
    /// Instead remove orphans: machines with the infrastructure's ownership label and without a record, in the clouds of this
    /// description.
    #[arg(long, value_name = "FILE")]
    pub(crate) orphans: Option<PathBuf>,
    /// With --orphans: file or folder of node definitions; may be repeated.
    #[arg(long, value_name = "PATH", requires = "orphans")]
    pub(crate) nodes: Vec<PathBuf>,
    /// With --orphans: only list them.
    #[arg(long, requires = "orphans")]
    pub(crate) dry_run: bool,
    /// Instead drop the record of this instance, whose machine cannot be removed. The machine may still exist.
    #[arg(long, value_name = "INSTANCE", conflicts_with = "orphans")]
    pub(crate) forget: Option<String>,
    /// With --forget: do not ask.
    #[arg(long, short, requires = "forget")]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Files of node definitions.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    pub(crate) id: InfraIdArgs,
    /// Follow new events until interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Name of the node, or id of an instance.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) id: InfraIdArgs,
}

#[cfg(test)]
mod tests;
