use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Command {
    Cli::try_parse_from(line.split(' ')).expect(line).command
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn build_as_existing_scripts_call_it() {
    let line = "occopus build infra.yaml -i micado_worker_infra --auth_data_path creds.yaml --parallelize";
    let Command::Build(build) = parse(line) else { panic!("not build") };
    assert_eq!(build.infra_id.as_deref(), Some("micado_worker_infra"));
    assert!(build.parallelize.parallelize);
    for spelling in ["--infra_id x", "--infra-id x", "--infraid x", "--infra_i x", "-i x"] {
        let Command::Build(build) = parse(&format!("occopus build {spelling} infra.yaml")) else { panic!() };
        assert_eq!(build.infra_id.as_deref(), Some("x"), "{spelling}");
    }
}

#[test]
fn maintain_writes_to_a_file_unless_a_format_is_named() {
    let target = |line: &str| match parse(line) {
        Command::Maintain(maintain) => maintain.output,
        _ => panic!("not maintain"),
    };
    assert_eq!(target("occopus maintain -i x -r -o out.txt"), ReportTarget::File("out.txt".into()));
    assert_eq!(target("occopus maintain -i x --output json"), ReportTarget::Stdout(OutputFormat::Json));
    assert_eq!(target("occopus maintain -l"), ReportTarget::Stdout(OutputFormat::Text));
}

#[test]
fn a_hold_is_released_by_a_pass_and_not_by_a_report() {
    let Command::Maintain(maintain) = parse("occopus maintain -i x --release") else { panic!("not maintain") };
    assert!(maintain.release);
    assert!(Cli::try_parse_from(["occopus", "maintain", "-i", "x", "-r", "--release"]).is_err());
}

#[test]
fn intervals_are_positive_numbers() {
    assert!(Cli::try_parse_from(["occopus", "maintain", "-i", "x", "-t", "0.5"]).is_ok());
    assert!(Cli::try_parse_from(["occopus", "maintain", "-i", "x", "-t", "-1"]).is_err());
    assert!(Cli::try_parse_from(["occopus", "maintain", "-i", "x", "-t", "nan"]).is_err());
}

#[test]
fn a_service_listens_on_the_address_of_a_name() {
    for (line, address) in [
        ("occopus serve --host localhost", "127.0.0.1"),
        ("occopus serve --host ::1", "::1"),
        ("occopus serve", "127.0.0.1"),
    ] {
        let Command::Serve(serve) = parse(line) else { panic!("not serve") };
        assert_eq!(serve.host.to_string(), address, "{line}");
    }
    let Command::Serve(serve) = parse("occopus serve --listen localhost:5001") else { panic!("not serve") };
    assert_eq!(serve.listen.map(|listen| listen.to_string()).as_deref(), Some("127.0.0.1:5001"));
    let unknown = Cli::try_parse_from(["occopus", "serve", "--host", "no.such.name.invalid"]);
    assert!(unknown.is_err_and(|error| error.to_string().contains("no such address")));
}
