//! A real Docker engine: the one that `DOCKER_HOST` or the usual socket names.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::skip;

/// An engine, with the image of the tests.
pub struct Docker {
    /// `unix://...` or `tcp://...`.
    pub endpoint: String,
}

/// Image of the tests, made of one static busybox.
const IMAGE: &str = "occopus-test-busybox";

impl Docker {
    /// Connects, and makes the image `occopus-test-busybox:1` if it is missing. Returns `None`, and reports the cause, if this fails.
    pub fn connect(test: &str) -> Option<Self> {
        let endpoint = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        let docker = Self { endpoint };
        if !docker.succeeds(&["version"]) {
            skip(test, &format!("no Docker engine at {} (set DOCKER_HOST)", docker.endpoint));
            return None;
        }
        if !docker.succeeds(&["image", "inspect", &format!("{IMAGE}:1")]) && !docker.make_image(&format!("{IMAGE}:1")) {
            skip(test, "no static busybox to make an image of (Debian: busybox-static)");
            return None;
        }
        Some(docker)
    }

    /// Returns the engine's address for a proxy: the path of its socket, or `HOST:PORT`.
    pub fn server(&self) -> &str {
        let endpoint = self.endpoint.as_str();
        endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("tcp://")).unwrap_or(endpoint)
    }

    /// Returns the path of the engine's socket. Returns none, and reports the cause, if it is reached over TCP.
    pub fn socket(&self, test: &str) -> Option<&str> {
        let socket = self.endpoint.strip_prefix("unix://");
        if socket.is_none() {
            skip(test, &format!("the Docker engine at {} has no socket here", self.endpoint));
        }
        socket
    }

    /// Runs `docker` with these arguments and returns its standard output, trimmed.
    ///
    /// # Panics
    /// Panics if it fails.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("docker starts");
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Returns the ids of all containers of this infrastructure, running or not.
    pub fn containers(&self, infrastructure: &str) -> Vec<String> {
        let filter = format!("label=occopus.infrastructure={infrastructure}");
        self.run(&["ps", "--all", "--quiet", "--filter", &filter]).lines().map(str::to_owned).collect()
    }

    fn succeeds(&self, arguments: &[&str]) -> bool {
        let status = self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", &self.endpoint).args(arguments);
        command
    }

    /// Imports an image that contains only busybox, as its shell and its tools.
    pub fn make_image(&self, name: &str) -> bool {
        let Some(busybox) = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).is_file())
        else {
            return false;
        };
        let root = tempfile::tempdir().expect("a temporary directory");
        let script = r#"
            set -e
            mkdir -p bin etc tmp proc sys dev root
            cp "$BUSYBOX" bin/busybox
            for tool in $("$BUSYBOX" --list); do [ "$tool" = busybox ] || ln -sf busybox "bin/$tool"; done
            echo root:x:0:0:root:/root:/bin/sh > etc/passwd
            printf '#!/bin/sh\nenv\nexec sleep 100000\n' > root/start.sh
            chmod +x root/start.sh
            tar -cf - . | docker import -c 'ENV PATH=/bin' -c 'CMD ["sleep", "100000"]' - "$IMAGE" >/dev/null
        "#;
        let status = Command::new("sh")
            .args(["-c", script])
            .current_dir(root.path())
            .env("BUSYBOX", busybox)
            .env("IMAGE", name)
            .env("DOCKER_HOST", &self.endpoint)
            .status();
        status.is_ok_and(|status| status.success())
    }
}
