//! What can be typed.

mod plugin;
mod service;
mod store;

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use occopus_engine::Rollout;

pub(crate) use plugin::{ComponentCommand, Language, PluginCommand};
pub(crate) use service::{ServeArgs, TokenCommand};
pub(crate) use store::StoreCommand;

const AFTER_HELP: &str = "\
Exit status:
    0  done
    1  failed; what was begun is rolled back
    2  wrong usage
    3  the description, the node definitions or the credentials are wrong
    4  another process works on this infrastructure
    5  something is left behind; it is named, with the command that removes it
    6  not as it should be: degraded, failing or held (build, scale, one pass of maintain)
    7  some machines could not be observed (build, scale, one pass of maintain)
  130  interrupted

Ctrl-C stops and removes what this run made; a second Ctrl-C stops at once and says what is left.

Environment:
  OCCOPUS_CONFIG_PATH     the configuration, otherwise occopus_config.yaml in ~/.occopus or here
  OCCOPUS_AUTH_DATA_PATH  the credentials, otherwise auth_data.yaml in ~/.occopus, beside the files or here
  OCCOPUS_SERVER          the URL of a service (`occopus serve`) to work against, as with --server
  OCCOPUS_TOKEN           the token for it
  OCCOPUS_SERVER_CA       certificates to trust there, as with --server-ca
  OCCOPUS_HOME            one folder for everything: configuration, state, cache
  OCCOPUS_LOG             what to log, such as `debug` or `occopus_runtime=trace`
  NO_COLOR                no colours
  OTEL_EXPORTER_OTLP_ENDPOINT
                          where traces and metrics go, over OTLP (HTTP)";

/// Deploys virtual infrastructures: nodes on one or several clouds, in the order of their dependencies.
#[derive(Debug, Parser)]
#[command(name = "occopus", version, infer_long_args = true, after_help = AFTER_HELP, max_term_width = 120)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What goes with everything.
    #[command(flatten)]
    pub(crate) common: GlobalArgs,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// The configuration of the operator.
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) cfg: Option<PathBuf>,
    /// The credentials.
    #[arg(long = "auth_data_path", alias = "auth-data-path", value_name = "PATH", global = true)]
    pub(crate) auth_data_path: Option<PathBuf>,
    /// Work against a service (`occopus serve`) instead of on this machine.
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) server: Option<String>,
    /// Certificates to trust there beside those of the system, in PEM.
    #[arg(long = "server-ca", value_name = "FILE", global = true)]
    pub(crate) server_ca: Option<PathBuf>,
    /// The token for the service, in a file; otherwise it is in OCCOPUS_TOKEN.
    #[arg(long = "token-file", value_name = "FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// Say more; twice for even more.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

/// What to print on standard output.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// Text for people, or one JSON document.
    #[arg(long = "output", value_name = "FORMAT", default_value = "text")]
    pub(crate) format: OutputFormat,
}

/// A form of output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Which infrastructure.
#[derive(Debug, Args)]
pub(crate) struct InfraIdArgs {
    /// The infrastructure's id.
    #[arg(short = 'i', long = "infra_id", aliases = ["infra-id", "infraid"], value_name = "ID")]
    pub(crate) infra_id: String,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a description and its node definitions; touches nothing.
    Validate(ValidateArgs),
    /// Show what `build` would do.
    Plan(PlanArgs),
    /// Print what a node would get: its resource section, attributes and user data.
    Render(RenderArgs),
    /// Print the graph of dependencies.
    Graph(GraphArgs),
    /// Build an infrastructure, or finish or change one.
    Build(BuildArgs),
    /// Show the nodes with states, addresses and times; without an id, all infrastructures.
    Status(StatusArgs),
    /// Look at every node and replace what has failed.
    Maintain(MaintainArgs),
    /// Maintain an infrastructure in the background.
    Attach(AttachArgs),
    /// Let whoever maintains an infrastructure stop.
    Detach(DetachArgs),
    /// Give a node more or fewer instances.
    Scale(ScaleArgs),
    /// Do not maintain an infrastructure until it is resumed; it runs on.
    Suspend(SuspendArgs),
    /// Maintain an infrastructure again.
    Resume(SuspendArgs),
    /// Remove every node, dependents first.
    Destroy(DestroyArgs),
    /// Keep node definitions in the store, for descriptions that have none beside them.
    Import(ImportArgs),
    /// Node definitions that `import` keeps.
    #[command(subcommand)]
    Definitions(DefinitionsCommand),
    /// Credentials.
    #[command(subcommand)]
    Auth(AuthCommand),
    /// Print a JSON Schema of the files, for editors.
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Show what happened.
    Events(EventsArgs),
    /// Show the output of a node.
    Logs(LogsArgs),
    /// Who may use the service.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Keep infrastructures alive, and be driven over HTTP.
    Serve(ServeArgs),
    /// The file in which state is kept.
    #[command(subcommand)]
    Store(StoreCommand),
    /// What plugins there are, and what they may do.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Components of your own.
    #[command(subcommand)]
    Component(ComponentCommand),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Where the description and its node definitions are.
#[derive(Debug, Args)]
pub(crate) struct DescriptionArgs {
    /// The description of the infrastructure.
    #[arg(value_name = "FILE")]
    pub(crate) description: PathBuf,
    /// Node definitions, a file or a folder; may be repeated. Otherwise `nodes/node_definitions.yaml` beside the
    /// description, then those that `import` keeps.
    #[arg(long, value_name = "PATH")]
    pub(crate) nodes: Vec<PathBuf>,
}

/// `validate`
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    pub(crate) files: DescriptionArgs,
    /// Warnings are errors.
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `plan`
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) files: DescriptionArgs,
    /// The id of an infrastructure that exists, or that is to get this id.
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

/// Which of the instances that work are to be made anew.
#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// Renew instances that work, one by one: another is made, and when it is ready, the old one is removed.
    #[arg(long, value_name = "WHICH", value_delimiter = ',')]
    pub(crate) replace: Vec<ReplaceSelector>,
}

/// Instances that work and are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReplaceSelector {
    /// Those whose type, variables or definition have changed since they were made.
    Changed,
    /// Those that were told of an address that is gone.
    Dependents,
}

impl ReplaceArgs {
    /// For the engine.
    pub(crate) fn to_engine_options(&self) -> Rollout {
        Rollout {
            changed: self.replace.contains(&ReplaceSelector::Changed),
            dependents: self.replace.contains(&ReplaceSelector::Dependents),
        }
    }
}

/// `render`
#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    pub(crate) files: DescriptionArgs,
    /// The node's name.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// The id of an infrastructure whose addresses are to be used. Otherwise addresses of RFC 5737 stand for those that are
    /// not known yet.
    #[arg(short = 'i', long = "infra_id", aliases = ["infra-id", "infraid"], value_name = "ID")]
    pub(crate) infra_id: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `graph`
#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    pub(crate) files: DescriptionArgs,
    /// In which language.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: GraphFormat,
}

/// A form of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// A line for each node.
    Text,
    /// For Graphviz.
    Dot,
    /// For Mermaid.
    Mermaid,
    /// A drawing.
    Svg,
}

/// `definitions`
#[derive(Debug, Subcommand)]
pub(crate) enum DefinitionsCommand {
    /// All types, with the places that they came from.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// The definitions of a type.
    Show {
        /// The type.
        #[arg(value_name = "TYPE")]
        node_type: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Forget types. What is deployed keeps its own copy.
    Remove {
        /// The types.
        #[arg(value_name = "TYPE", required = true)]
        node_types: Vec<String>,
    },
}

/// `auth`
#[derive(Debug, Subcommand)]
pub(crate) enum AuthCommand {
    /// Tell which rule serves which section of a description's nodes, without the secrets.
    Check {
        #[command(flatten)]
        files: DescriptionArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// `schema`
#[derive(Debug, Subcommand)]
pub(crate) enum SchemaCommand {
    /// Of infrastructure descriptions.
    Description,
    /// Of node definitions, with the sections of all installed plugins.
    Definitions,
}

/// `build`
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) files: DescriptionArgs,
    /// The id: of an infrastructure that exists, to finish or change it, or for a new one.
    #[arg(short = 'i', long = "infra_id", aliases = ["infra-id", "infraid"], value_name = "ID")]
    pub(crate) infra_id: Option<String>,
    /// What to do with what was made when a node fails.
    #[arg(long = "on-failure", alias = "on_failure", value_name = "WHAT", default_value = "rollback")]
    pub(crate) on_failure: OnFailureArg,
    #[command(flatten)]
    pub(crate) replace: ReplaceArgs,
    /// Do not ask before an infrastructure that exists is changed. Nobody is asked without a terminal.
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) parallelize: ParallelizeArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// After a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFailureArg {
    /// Remove it.
    Rollback,
    /// Keep it, to be looked at.
    Keep,
}

/// Accepted for old scripts.
#[derive(Debug, Args)]
pub(crate) struct ParallelizeArgs {
    /// Has no effect: nodes always start as soon as what they depend on is ready.
    #[arg(long)]
    pub(crate) parallelize: bool,
}

/// `status`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The infrastructure's id.
    #[arg(short = 'i', long = "infra_id", aliases = ["infra-id", "infraid"], value_name = "ID")]
    pub(crate) infra_id: Option<String>,
    /// Ask the clouds, instead of showing what was seen last.
    #[arg(long, requires = "infra_id")]
    pub(crate) refresh: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `maintain`
#[derive(Debug, Args)]
pub(crate) struct MaintainArgs {
    /// The infrastructure's id.
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
    /// Only look, and report the nodes with their instances and addresses.
    #[arg(short, long)]
    pub(crate) report: bool,
    /// Look again and again, until interrupted.
    #[arg(short, long)]
    pub(crate) cyclic: bool,
    /// End a hold: replace what looks dead now, however much it is.
    #[arg(long, conflicts_with_all = ["report", "list"])]
    pub(crate) release: bool,
    /// Seconds between two looks.
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(crate) interval: Duration,
    #[command(flatten)]
    pub(crate) parallelize: ParallelizeArgs,
    /// With -r: write a line with the addresses of each instance to this file. `text` and `json` choose the form of
    /// standard output instead.
    #[arg(short, long, value_name = "FILE|FORMAT", default_value = "text")]
    pub(crate) output: ReportTarget,
    /// With -r: only nodes whose name contains this.
    #[arg(short, long, value_name = "NAME", requires = "report")]
    pub(crate) filter: Option<String>,
}

/// `attach`
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    pub(crate) id: InfraIdArgs,
    /// Seconds between two looks.
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(crate) interval: Duration,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `detach`
#[derive(Debug, Args)]
pub(crate) struct DetachArgs {
    #[command(flatten)]
    pub(crate) id: InfraIdArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReportTarget {
    /// To standard output.
    Stdout(OutputFormat),
    /// To a file.
    File(PathBuf),
}

impl ReportTarget {
    /// The form of standard output.
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

/// `scale`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("how").required(true))]
pub(crate) struct ScaleArgs {
    /// The infrastructure's id.
    #[arg(short = 'i', long = "infraid", aliases = ["infra_id", "infra-id"], value_name = "ID")]
    pub(crate) infra_id: String,
    /// The node's name.
    #[arg(short, long, value_name = "NODE")]
    pub(crate) node: String,
    /// So many more; fewer with a minus. The youngest go first.
    #[arg(short, long = "changescale", value_name = "NUMBER", group = "how", allow_negative_numbers = true, value_parser = parse_change)]
    pub(crate) change: Option<i32>,
    /// So many.
    #[arg(short, long = "setscale", value_name = "NUMBER", group = "how", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) set: Option<u32>,
    /// One less: the instance with this id or address.
    #[arg(short, long, value_name = "ID|ADDRESS", group = "how")]
    pub(crate) filter: Option<String>,
    /// Only record it, for the next pass of `maintain`.
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

/// `suspend` and `resume`
#[derive(Debug, Args)]
pub(crate) struct SuspendArgs {
    #[command(flatten)]
    pub(crate) id: InfraIdArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `destroy`
#[derive(Debug, Args)]
pub(crate) struct DestroyArgs {
    #[command(flatten)]
    pub(crate) id: InfraIdArgs,
    /// Remove instead what carries the infrastructure's mark and has no record, in the clouds that this description names.
    #[arg(long, value_name = "FILE")]
    pub(crate) orphans: Option<PathBuf>,
    /// With --orphans: node definitions, a file or a folder; may be repeated.
    #[arg(long, value_name = "PATH", requires = "orphans")]
    pub(crate) nodes: Vec<PathBuf>,
    /// With --orphans: only list them.
    #[arg(long, requires = "orphans")]
    pub(crate) dry_run: bool,
    /// Drop instead the record of this instance, whose machine can't be removed. The machine may still exist.
    #[arg(long, value_name = "INSTANCE", conflicts_with = "orphans")]
    pub(crate) forget: Option<String>,
    /// With --forget: do not ask.
    #[arg(long, short, requires = "forget")]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Node definitions.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `events`
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    pub(crate) id: InfraIdArgs,
    /// Go on showing what happens, until interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `logs`
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The node's name, or the id of an instance.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) id: InfraIdArgs,
}

#[cfg(test)]
mod tests;
