//! Error codes of commands and of the service, with the exit status and the help of each.

use ExitStatus::{Failed, Interrupted, Invalid, LeftBehind, Owned, Usage};

use crate::ExitStatus;

/// An error code: a stable word for programs, in JSON output and in problem details. `docs/errors.md` has the meaning of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode {
    /// The word.
    pub code: &'static str,
    /// Exit status of a command that fails with it, on this machine or on a service.
    pub exit: ExitStatus,
    /// Advice for users of the command line.
    pub help: Option<&'static str>,
}

/// Advice for a token that does not permit a request.
const OTHER_TOKEN: &str = "another token is required: `occopus token create` makes one where the service runs";

/// Every error code, in the order of their words. Plugins have codes of their own, which are not here. The exit status of a
/// row has exceptions: see [`ExitStatus::of_failure`].
pub const ERROR_CODES: &[ErrorCode] = &[
    row("access.full", Failed),
    row("access.host", Failed),
    row("access.infrastructure", Failed).help(OTHER_TOKEN),
    row("access.limited", Failed).help(OTHER_TOKEN),
    row("access.origin", Failed),
    row("access.scope", Failed).help(OTHER_TOKEN),
    row("access.too-many", Failed),
    row("access.unauthenticated", Failed).help("pass a token in OCCOPUS_TOKEN or with `--token-file`; `occopus token create` makes one where the service runs"),
    row("access.unknown", Failed),
    row("attach.failed", Failed),
    row("attach.slow", Failed),
    row("body.broken", Failed),
    row("body.empty", Failed),
    row("body.not-utf8", Failed),
    row("build.declined", Failed),
    row("client.left", Interrupted),
    row("component.serve", Failed),
    row("component.watch", Failed),
    row("config-manager.not-its-own", Failed),
    row("config.invalid", Invalid),
    row("conformance.crashed", Failed),
    row("contextualiser.not-its-own", Failed),
    row("credentials.ambiguous", Failed),
    row("credentials.missing", Invalid),
    row("credentials.missing-field", Failed),
    row("credentials.unread", Failed),
    row("description.changed", Failed),
    row("description.none", Failed),
    row("description.slow", Failed),
    row("destroy.declined", Failed).help("`--yes` gives consent"),
    row("driver.no-inventory", Failed),
    row("driver.no-output", Failed),
    row("driver.refused", Failed),
    row("driver.wrong-count", Failed),
    row("engine.cancelled", Failed),
    row("engine.destroying", Failed),
    row("engine.invalid", Invalid),
    row("engine.invalid-id", Usage),
    row("engine.lease-lost", Failed),
    row("engine.left", LeftBehind),
    row("engine.limits", Failed),
    row("engine.no-handle", Failed),
    row("engine.no-plugin", Invalid).help("`occopus plugin list` shows the available plugins"),
    row("engine.observe", Failed),
    row("engine.owned", Owned).help("wait until it has finished; if it maintains the infrastructure, `occopus detach` stops it; the lease of a dead process expires after a few seconds"),
    row("engine.panic", Failed),
    row("engine.stopped", Interrupted),
    row("engine.too-many", Failed),
    row("engine.unknown-infrastructure", Failed).help("`occopus status` lists all infrastructures"),
    row("engine.unknown-instance", Failed),
    row("engine.unknown-node", Usage),
    row("engine.unrecorded", LeftBehind),
    row("files.invalid", Invalid),
    row("files.warnings", Invalid),
    row("fixture.invalid", Invalid).help("docs/writing-plugins.md has the keys of a fixture"),
    row("forget.remote", Usage),
    row("forget.unknown-instance", Usage),
    row("graph.too-large", Failed).help("`--format dot` has no limit"),
    row("host.aws-request", Failed),
    row("host.bad-endpoint", Failed),
    row("host.certificate", Failed),
    row("host.endpoint", Failed),
    row("host.key-refused", Failed),
    row("host.not-granted", Failed),
    row("host.socket", Failed),
    row("icmp.not-permitted", Failed),
    row("icmp.not-sent", Failed),
    row("info.argument", Failed),
    row("info.nothing", Failed),
    row("info.unknown", Failed),
    row("logs.elsewhere", Failed),
    row("logs.unknown-node", Failed),
    row("logs.unreadable", Failed),
    row("maintain.cyclic", Usage),
    row("node.machine", Failed),
    row("node.no-capacity", Failed),
    row("node.no-implementation", Failed),
    row("node.slow", Failed),
    row("node.unhealthy", Failed),
    row("node.unknown", Usage),
    row("occopus.bad-answer", Failed),
    row("occopus.cancelled", Failed),
    row("occopus.commands-not-allowed", Failed),
    row("occopus.no-plugin", Failed),
    row("occopus.plugin-compute", Failed),
    row("occopus.plugin-failed", Failed),
    row("occopus.plugin-handles", Failed),
    row("occopus.plugin-memory", Failed),
    row("occopus.plugin-stack", Failed),
    row("occopus.plugin-timeout", Failed),
    row("occopus.plugin-trapped", Failed),
    row("occopus.plugin-unusable", Failed),
    row("occopus.shutting-down", Failed),
    row("occopus.unresolved", Failed),
    row("operation.failed", Failed),
    row("operation.set-aside", Failed),
    row("operation.superseded", Failed),
    row("operation.unknown", Failed),
    row("plugin.build", Failed),
    row("plugin.conformance", Failed).help("docs/writing-plugins.md describes the checks"),
    row("plugin.consent", Failed).help("`--yes` gives consent"),
    row("plugin.exists", Failed),
    row("plugin.install", Failed),
    row("plugin.interrupted", Interrupted),
    row("plugin.name", Usage).help("use lower-case letters, digits and `_`, beginning with a letter"),
    row("plugin.refused", Failed),
    row("plugin.undeclared", Failed).help("add it to `needs.interfaces` of the plugin's description; otherwise every call of it is denied"),
    row("plugin.unknown", Failed),
    row("plugin.unreadable", Failed),
    row("plugin.unusable", Failed),
    row("plugin.write", Failed),
    row("process.bad-command", Failed),
    row("process.bad-instance-id", Failed),
    row("process.bad-record", Failed),
    row("process.does-not-end", Failed),
    row("process.interrupted", Failed),
    row("process.no-address", Failed),
    row("process.no-such-directory", Failed),
    row("process.no-such-program", Failed),
    row("process.not-started", Failed),
    row("process.state", Failed),
    row("report.unwritable", Failed),
    row("request.answer-lost", Failed),
    row("request.body", Failed),
    row("request.headers", Failed),
    row("request.key-reused", Failed),
    row("request.method", Failed),
    row("request.path", Failed),
    row("request.query", Failed),
    row("request.slow", Failed),
    row("serve.failed", Failed),
    row("serve.no-token", Usage),
    row("serve.unencrypted", Usage),
    row("server.invalid", Usage),
    row("server.not-for-this", Usage),
    row("server.unusable", Usage),
    row("service.broken", Failed),
    row("service.closing", Failed),
    row("service.elsewhere", Failed).help("use the URL of the service itself"),
    row("service.endpoint", Invalid),
    row("service.json", Failed),
    row("service.panic", Failed),
    row("service.process", Invalid),
    row("service.refused", Failed),
    row("service.slow", Failed),
    row("service.unexpected", Failed),
    row("service.unreachable", Failed).help("`--server` or OCCOPUS_SERVER has its URL"),
    row("service.webhook", Invalid),
    row("start.failed", Failed),
    row("store.corrupt", Failed),
    row("store.damaged", Failed).help("restore it from a backup; until then it is read-only, and some of it may be unreadable"),
    row("store.newer", Failed),
    row("store.unavailable", Failed),
    row("store.unknown", Failed),
    row("store.unusable", Failed),
    row("template.command-failed", Failed),
    row("token.changed", Failed),
    row("token.expires", Usage),
    row("token.name", Usage),
    row("token.past", Usage),
    row("token.secret", Failed),
    row("token.store", Failed),
    row("token.taken", Failed).help("`occopus token revoke ID` revokes the old one, which frees the name"),
    row("token.unknown", Failed).help("`occopus token list` shows all tokens"),
    row("type.unknown", Failed).help("`occopus definitions list` shows the stored types"),
];

const fn row(code: &'static str, exit: ExitStatus) -> ErrorCode {
    ErrorCode { code, exit, help: None }
}

impl ErrorCode {
    const fn help(self, help: &'static str) -> Self {
        Self { help: Some(help), ..self }
    }

    /// Returns the row of a code; none for one of a plugin, or of another version.
    pub fn find(code: &str) -> Option<&'static Self> {
        ERROR_CODES.iter().find(|row| row.code == code)
    }
}

/// Facts about a failure that outweigh its code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailureFacts {
    /// Instances exist that should have been removed.
    pub has_leftovers: bool,
    /// A node failed: the code is that of a plugin's call, and may be the word of a row by accident. A service reports it
    /// with 502.
    pub is_of_node: bool,
}

impl ExitStatus {
    /// Returns the exit status of a command that fails with a code, on this machine or on a service: that of the code's
    /// row. Instances that are left come first, then the failure of a node; a code without a row is [`Self::Failed`].
    pub fn of_failure(code: &str, facts: FailureFacts) -> Self {
        match ErrorCode::find(code) {
            _ if facts.has_leftovers => Self::LeftBehind,
            Some(row) if !facts.is_of_node => row.exit,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order() {
        assert!(ERROR_CODES.is_sorted_by(|one, other| one.code < other.code));
    }

    #[test]
    fn leftovers_and_failed_nodes_outweigh_the_code() {
        let exit =
            |code, has_leftovers, is_of_node| ExitStatus::of_failure(code, FailureFacts { has_leftovers, is_of_node });
        assert_eq!(exit("engine.owned", false, false), ExitStatus::Owned);
        assert_eq!(exit("engine.no-plugin", false, true), ExitStatus::Failed);
        assert_eq!(exit("of a plugin", false, false), ExitStatus::Failed);
        for code in ["engine.stopped", "node.slow", "of a plugin"] {
            assert_eq!(exit(code, true, true), ExitStatus::LeftBehind, "{code}");
        }
    }
}
