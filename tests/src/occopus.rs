//! The real binary, with a home directory of its own.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The `occopus` program in a fresh home and an empty working directory. Infrastructures that still exist at the end are destroyed.
pub struct Occopus {
    program: PathBuf,
    directory: TempDir,
}

/// The result of a run of the program.
pub struct Finished {
    /// Exit status; `None` when it was killed by a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Occopus {
    /// Creates a fresh home.
    ///
    /// # Panics
    /// Panics if the program is missing: `cargo xtask test` builds it first.
    #[expect(clippy::new_without_default, reason = "it makes a directory and may panic")]
    pub fn new() -> Self {
        let occopus = Self::with_fresh_cache();
        occopus.share_cache();
        occopus
    }

    /// Creates a fresh home in which no plugin is compiled yet.
    ///
    /// # Panics
    /// Panics if the program is missing.
    pub fn with_fresh_cache() -> Self {
        let program = std::env::var_os("OCCOPUS_BIN").map_or_else(program_path, PathBuf::from);
        assert!(program.is_file(), "no program at {}; run `cargo build -p occopus-cli` first", program.display());
        Self { program, directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Links the home to the cache of compiled plugins that all tests share: a debug build takes seconds for each.
    fn share_cache(&self) {
        let shared = self.shared_path("plugins-compiled-for-tests");
        std::fs::create_dir_all(&shared).expect("a directory");
        std::fs::create_dir(self.home()).expect("a directory");
        std::os::unix::fs::symlink(&shared, self.home().join("cache")).expect("a link");
        // Locked, since tests that begin together would each compile all plugins.
        let lock = std::fs::File::create(shared.with_extension("lock")).expect("a file");
        lock.lock().expect("a lock");
        let size = std::fs::metadata(&self.program).expect("a program").len().to_string();
        let compiled_for = shared.with_extension("of");
        if std::fs::read_to_string(&compiled_for).is_ok_and(|of| of == size) {
            return;
        }
        self.ok(["plugin", "list"]);
        std::fs::write(compiled_for, size).expect("a file");
    }

    /// Returns the path of the program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns a path that all tests share, for results that take long to produce.
    pub fn shared_path(&self, name: &str) -> PathBuf {
        self.program.with_file_name(name)
    }

    /// Returns the working directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the directory of the program's state.
    pub fn home(&self) -> PathBuf {
        self.directory().join("home")
    }

    /// Writes a file in the working directory, with its parents.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory().join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a parent")).expect("a directory");
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// Writes a file that only the user may read, as it is required for credentials.
    pub fn write_private(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.write(path, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
        path
    }

    /// Returns a command that is not started yet.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.directory())
            .env("OCCOPUS_HOME", self.home())
            .env_remove("OCCOPUS_AUTH_DATA_PATH")
            .env_remove("OCCOPUS_CONFIG_PATH")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program until it ends.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Finished {
        self.command(arguments).output().expect("the program starts").into()
    }

    /// Starts the program in the background.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Child {
        self.command(arguments).spawn().expect("the program starts")
    }

    /// Starts the program, and kills it (`kill -9`) after this time. Returns its duration if it ended before.
    pub fn kill_after<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        time: Duration,
    ) -> Option<Duration> {
        let mut command = self.command(arguments);
        let mut program = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        let began = Instant::now();
        while began.elapsed() < time {
            if program.try_wait().expect("a process").is_some() {
                return Some(began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        program.kill().expect("killed");
        program.wait().expect("ended");
        None
    }

    /// Runs the program until it ends, which must be a success.
    pub fn ok<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Finished {
        let finished = self.run(arguments);
        assert_eq!(finished.code, Some(0), "stdout:\n{}\nstderr:\n{}", finished.stdout, finished.stderr);
        finished
    }

    /// Returns the output of `occopus status` as JSON.
    pub fn status(&self, id: &str) -> Value {
        let finished = self.ok(["status", "-i", id, "--output", "json"]);
        serde_json::from_str(&finished.stdout).expect("JSON")
    }
}

impl Drop for Occopus {
    fn drop(&mut self) {
        // Removes the rest of a failed test; errors are of no interest here.
        let list = self.run(["maintain", "-l", "--output", "json"]);
        let list: Value = serde_json::from_str(&list.stdout).unwrap_or_default();
        for id in list.as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.run(["destroy", "-i", id]);
        }
    }
}

impl Finished {
    /// Returns the infrastructure's id: the last line of standard output.
    ///
    /// # Panics
    /// Panics if nothing was printed.
    pub fn id(&self) -> String {
        self.stdout.lines().last().expect("an id on stdout").to_owned()
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Returns `target/PROFILE/occopus`, derived from `target/PROFILE/deps/TEST`.
fn program_path() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    test.ancestors().nth(2).expect("target/PROFILE").join("occopus")
}
