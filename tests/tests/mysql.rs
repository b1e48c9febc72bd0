//! `mysqldbs` against a real MariaDB, which is the node itself.

use std::process::Command;

use occopus_tests::{Occopus, skip};

const SERVER: &str = r#"set -e
data=$(mktemp -d "$PWD/mariadb.XXXXXX")
mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$data" --auth-root-authentication-method=normal >/dev/null
cat > "$data/init.sql" <<SQL
CREATE DATABASE wordpress;
CREATE USER wp@localhost IDENTIFIED BY 's3cret pass', wp@'%' IDENTIFIED BY 's3cret pass';
GRANT ALL ON wordpress.* TO wp@localhost, wp@'%';
SQL
exec mariadbd --no-defaults --user="$(id -un)" --datadir="$data" --socket="$data/s" --pid-file="$data/pid" \
  --bind-address="$OCCOPUS_ADDRESS" --port=3306 --init-file="$data/init.sql"
"#;

fn write(occopus: &Occopus, password: &str, timeout: u32) {
    let server = occopus.write("server.sh", SERVER);
    occopus.write("infra.yaml", "infra_name: db\nuser_id: tester\nnodes:\n- {name: db, type: mariadb}\n");
    occopus.write(
        "nodes/node_definitions.yaml",
        format!(
            "'node_def:mariadb':\n- resource: {{type: local, directory: '{}'}}\n  contextualisation:\n    type: basic\n    \
             attributes: {{command: [sh, '{}']}}\n  health_check:\n    ping: false\n    mysqldbs:\n    \
             - {{name: wordpress, user: wp, pass: '{password}'}}\n    timeout: {timeout}\n",
            occopus.directory().display(),
            server.display(),
        ),
    );
}

#[test]
fn a_node_is_ready_when_its_database_can_be_used() {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !there("mariadbd") || !there("mariadb-install-db") {
        return skip("a_node_is_ready_when_its_database_can_be_used", "there is no `mariadbd`; install mariadb-server");
    }
    let occopus = Occopus::new();
    write(&occopus, "s3cret pass", 120);
    occopus.ok(["build", "infra.yaml", "-i", "it"]);
    occopus.ok(["maintain", "-i", "it"]);
    occopus.ok(["destroy", "-i", "it"]);

    write(&occopus, "wrong", 20);
    let failed = occopus.run(["build", "infra.yaml", "-i", "other"]);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("Access denied for user 'wp'"), "{}", failed.stderr);
    assert!(!failed.stderr.contains("s3cret"));
}
