//! Start of processes that outlive the host.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use occopus_engine::ports::{Fault, Reaction};

use super::ProcessCommand;
use super::directory::ProcessDirectory;
use super::file_error::file_error;
use super::procfs::INSTANCE_ID_VARIABLE;

/// Variables of the host's own environment that processes get.
const INHERITED_VARIABLES: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// The first descriptor after standard input, output and error.
const FIRST_NONSTANDARD_DESCRIPTOR: i32 = 3;

/// An executable file, and its working directory.
pub(super) struct Program {
    path: PathBuf,
    directory: PathBuf,
}

impl Program {
    /// Checks everything that can be wrong with a command before anything is changed.
    pub(super) fn find(command: &ProcessCommand) -> Result<Self, Fault> {
        let texts = command.argv.iter().chain(command.environment.iter().flat_map(|(name, value)| [name, value]));
        if texts.chain(&command.directory).any(|text| text.contains('\0')) {
            return Err(bad_command("process.bad-command", "a command can't hold a zero byte".into()));
        }
        if let Some((name, _)) = command.environment.iter().find(|(name, _)| name.is_empty() || name.contains('=')) {
            return Err(bad_command(
                "process.bad-command",
                format!("`{name}` is not a name of an environment variable"),
            ));
        }
        let Some(name) = command.argv.first().filter(|name| !name.is_empty()) else {
            return Err(bad_command("process.bad-command", "the command is empty".into()));
        };
        let current = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let directory = command.directory.as_ref().map_or(current.clone(), |directory| current.join(directory));
        if !directory.is_dir() {
            let message = format!("directory {} not found", directory.display());
            return Err(bad_command("process.no-such-directory", message));
        }
        let path = if name.contains('/') {
            Some(directory.join(name)).filter(|path| is_executable(path))
        } else {
            let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
            env::split_paths(&path).map(|part| current.join(part).join(name)).find(|path| is_executable(path))
        };
        let message = || format!("no executable program `{name}` found");
        let path = path.ok_or_else(|| bad_command("process.no-such-program", message()))?;
        Ok(Self { path, directory })
    }
}

/// Starts a program in a group of its own, which neither Ctrl-C nor the end of the terminal reaches, without input, and
/// with its output in a file.
pub(super) fn spawn(
    program: &Program,
    command: &ProcessCommand,
    id: &str,
    address: &str,
    occopus: &Path,
    directory: &ProcessDirectory,
) -> Result<Child, Fault> {
    let path = directory.output_file();
    let output = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let output = output.and_then(|file| Ok((file.try_clone()?, file)));
    let (stdout, stderr) = output.map_err(|error| file_error("open", &path, &error))?;
    let mut process = std::process::Command::new(&program.path);
    process
        .arg0(&command.argv[0])
        .args(&command.argv[1..])
        .current_dir(&program.directory)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0)
        .env_clear()
        .envs(INHERITED_VARIABLES.iter().filter_map(|name| Some((name, env::var_os(name)?))))
        .envs(command.environment.iter().map(|(name, value)| (name, value)))
        .env("OCCOPUS", occopus)
        .env("OCCOPUS_ADDRESS", address)
        .env(INSTANCE_ID_VARIABLE, id);
    set_descriptors_cloexec();
    process.spawn().map_err(|error| {
        let message = format!("can't start {}: {error}", program.path.display());
        let is_transient =
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::OutOfMemory | ErrorKind::ExecutableFileBusy);
        let reaction = if is_transient { Reaction::Retry } else { Reaction::GiveUp };
        Fault::new(reaction, "process.not-started", message)
    })
}

/// Keeps all descriptors of this host but the standard ones from what it starts. Those that the host inherited itself,
/// such as a lock or a pipe of a script, would stay open for as long as its processes run.
pub(super) fn set_descriptors_cloexec() {
    close_fds::set_fds_cloexec(FIRST_NONSTANDARD_DESCRIPTOR, &[]);
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn bad_command(code: &str, message: String) -> Fault {
    Fault::new(Reaction::GiveUp, code, message)
}
