//! Commands that templates run on this machine (`cmd`), where the operator allows it.

use std::process::Stdio;
use std::time::Duration;

use occopus_engine::ports::{Fault, Reaction};
use tokio::process::Command;

/// Bytes of a command's standard output, at most.
const MAX_OUTPUT_BYTES: usize = 1 << 20;

/// Runs a command and returns its standard output. The line is split at white space, without a shell. The command is
/// killed if it takes longer than `timeout`.
///
/// # Errors
/// Fails with `give-up` if the command can't be started, takes too long, exits with an error, or writes too much or no
/// UTF-8.
pub(crate) async fn run(line: &str, timeout: Duration) -> Result<String, Fault> {
    let failed = |reason: String| Fault::new(Reaction::GiveUp, "template.command-failed", format!("`{line}` {reason}"));
    let mut words = line.split_whitespace();
    let Some(program) = words.next() else { return Err(failed("is not a command".to_owned())) };
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(timeout, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(failed(format!("could not be started: {error}"))),
        Err(_) => return Err(failed(format!("did not end within {timeout:?}"))),
    };
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.trim().lines().next_back().unwrap_or_default().to_owned();
        return Err(failed(format!("failed ({}) {last}", output.status).trim_end().to_owned()));
    }
    if output.stdout.len() > MAX_OUTPUT_BYTES {
        return Err(failed(format!("printed {} bytes; at most {MAX_OUTPUT_BYTES} are allowed", output.stdout.len())));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("printed output that is not UTF-8".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn words_are_run_without_a_shell() {
        let run = async |line| run(line, Duration::from_secs(5)).await;
        assert_eq!(run("echo  a   $HOME;").await.expect("runs"), "a $HOME;\n");
        assert!(run("").await.expect_err("nothing").message.contains("is not a command"));
        assert!(run("no-such-program-here x").await.expect_err("nothing").message.contains("could not be started"));
        let failed = run("ls /no/such/file").await.expect_err("fails").message;
        assert!(failed.contains("exit status") && failed.contains("/no/such/file"), "{failed}");
    }

    #[tokio::test]
    async fn what_does_not_end_is_ended() {
        let late = run("sleep 60", Duration::from_millis(50)).await.expect_err("too late");
        assert!(late.message.contains("did not end"), "{late:?}");
    }
}
