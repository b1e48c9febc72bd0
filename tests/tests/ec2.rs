//! Deployments on moto, an implementation of the EC2 API that checks signatures and ignores client tokens.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use occopus_tests::wait::eventually;
use occopus_tests::{ForeignAnswer, Moto, Occopus, Proxy, ProxyAction};

/// Writes a description of a node on which others depend. Addresses are invented by the server, so nothing is sent to them.
fn write(occopus: &Occopus, address: &str, count: usize) {
    occopus.write(
        "infra.yaml",
        format!(
            "infra_name: ec2\nuser_id: tester\nnodes:\n- &head {{name: head, type: machine}}\n\
             - &worker {{name: worker, type: machine, scaling: {{min: {count}, max: 200}}}}\n\
             dependencies:\n- [*worker, *head]\n"
        ),
    );
    occopus.write(
        "nodes/node_definitions.yaml",
        format!(
            "'node_def:machine':\n- resource:\n    type: ec2\n    endpoint: http://{address}\n    regionname: eu-west-1\n    \
             image_id: ami-03cf127a\n    instance_type: t3.small\n    tags: {{team: blue}}\n  contextualisation:\n    type: cloudinit\n    \
             context_template: |\n      #cloud-config\n      runcmd: [echo {{{{name}}}}]\n  health_check:\n    ping: false\n"
        ),
    );
}

/// Returns an action that responds instead of forwarding the request.
fn foreign(status: &'static str, kind: &'static str, body: &'static str) -> ProxyAction {
    ProxyAction::RespondForeign(ForeignAnswer { status, kind, body })
}

/// Writes the description, and settings without patience, for tests with permanent faults.
fn write_impatient(occopus: &Occopus, address: &str, count: usize) {
    write(occopus, address, count);
    occopus.write("home/occopus_config.yaml", "unreachable_patience: 2\n");
    let path = occopus.directory().join("nodes/node_definitions.yaml");
    let text = std::fs::read_to_string(&path).expect("it was written");
    std::fs::write(path, text + "    timeout: 5\n").expect("written");
}

#[test]
fn builds_heals_scales_and_destroys() {
    let Some(moto) = Moto::start("builds_heals_scales_and_destroys") else { return };
    let occopus = Occopus::new();
    let proxy = Proxy::in_front_of(&moto.address, |_| ProxyAction::Forward).expect("a proxy");
    write(&occopus, &proxy.address, 3);
    let auth = ["--auth_data_path", moto.write_credentials(&occopus)];
    let run = |command: &[&str]| occopus.ok(command.iter().chain(&auth));
    let built = run(&["build", "infra.yaml", "-i", "it"]);
    assert!(!format!("{}{}", built.stdout, built.stderr).contains(moto.secret_key()));
    let before = moto.machines();
    assert_eq!(before.len(), 4);

    let requests_before = proxy.requests();
    run(&["maintain", "-i", "it"]);
    assert_eq!(proxy.requests() - requests_before, 1, "a pass over one page is one call");
    assert_eq!(moto.machines(), before);

    moto.terminate(&before[2]);
    run(&["maintain", "-i", "it"]);
    let healed = moto.machines();
    assert_eq!((healed.len(), healed.contains(&before[2])), (4, false));

    run(&["scale", "-i", "it", "-n", "worker", "-s", "5"]);
    run(&["maintain", "-i", "it"]);
    assert_eq!(moto.machines().len(), 6);
    run(&["destroy", "-i", "it"]);
    assert!(moto.machines().is_empty());
}

#[test]
fn whatever_the_network_does_no_machine_is_lost_or_doubled() {
    let Some(moto) = Moto::start("whatever_the_network_does_no_machine_is_lost_or_doubled") else { return };
    let count = AtomicUsize::new(0);
    let proxy = Proxy::in_front_of(&moto.address, move |_| match count.fetch_add(1, Ordering::Relaxed) % 9 {
        0 => ProxyAction::LoseAnswer,
        2 => ProxyAction::TruncateAnswer,
        3 => ProxyAction::CloseConnection,
        5 => ProxyAction::Respond("429 Too Many Requests\r\nRetry-After: 1"),
        6 => ProxyAction::Respond("503 Service Unavailable"),
        7 => ProxyAction::Delay(Duration::from_millis(300)),
        _ => ProxyAction::Forward,
    })
    .expect("a proxy");
    let occopus = Occopus::new();
    write(&occopus, &proxy.address, 8);
    let auth = ["--auth_data_path", moto.write_credentials(&occopus)];
    let run = |command: &[&str]| occopus.run(command.iter().chain(&auth));
    // The build may give up; then the next run continues it.
    let again = |command: &[&str]| (0..10).any(|_| run(command).code == Some(0));
    assert!(again(&["build", "infra.yaml", "-i", "it", "--on-failure", "keep"]), "built in the end");
    assert_eq!(moto.machines().len(), 9);
    assert!(again(&["destroy", "-i", "it"]), "destroyed in the end");
    assert!(moto.machines().is_empty());
}

#[test]
fn a_killed_build_goes_on() {
    let Some(moto) = Moto::start("a_killed_build_goes_on") else { return };
    let proxy = Proxy::in_front_of(&moto.address, |_| ProxyAction::Delay(Duration::from_millis(20))).expect("a proxy");
    let occopus = Occopus::new();
    write(&occopus, &proxy.address, 12);
    let auth = moto.write_credentials(&occopus);
    let build = ["build", "infra.yaml", "-i", "it", "--auth_data_path", auth];
    let mut killed = 0;
    for requests in [1, 4, 10, 16] {
        let (before, mut running) = (proxy.requests(), occopus.start(build));
        eventually("it has sent some requests, or ended", || {
            proxy.requests() >= before + requests || running.try_wait().expect("a process").is_some()
        });
        running.kill().expect("killed");
        killed += usize::from(running.wait().expect("ended").code().is_none());
    }
    assert!(killed > 0, "all builds ended before they were killed");
    occopus.ok(build);
    assert_eq!(moto.machines().len(), 13);
    occopus.ok(["destroy", "-i", "it", "--auth_data_path", auth]);
    assert!(moto.machines().is_empty());
}

#[test]
fn refusals_point_at_what_the_user_wrote() {
    let Some(moto) = Moto::start("refusals_point_at_what_the_user_wrote") else { return };
    let occopus = Occopus::new();
    write(&occopus, &moto.address, 1);
    let auth = moto.write_credentials(&occopus);
    let build = ["build", "infra.yaml", "-i", "it", "--auth_data_path", auth];
    let definitions = occopus.directory().join("nodes/node_definitions.yaml");
    let good = std::fs::read_to_string(&definitions).expect("definitions");
    let long = format!("runcmd: [echo {}", "a".repeat(17_000));
    let elsewhere = "307 Temporary Redirect\r\nLocation: http://127.0.0.2:81/";
    let redirecting = Proxy::in_front_of(&moto.address, move |_| ProxyAction::Respond(elsewhere)).expect("a proxy");
    let tls = format!("https://{}", moto.address);
    for (from, to, message) in [
        (
            moto.address.as_str(),
            redirecting.address.as_str(),
            "redirects to http://127.0.0.2:81/; keys are not sent there, for the grant `endpoint` is of",
        ),
        (&format!("http://{}", moto.address), tls.as_str(), "no TLS session could be made; is it `http://`?"),
        ("ami-03cf127a", "ami-ffffffff", "no such image here"),
        ("t3.small", "t99.enormous", "no such instance type here"),
        ("tags:", "key_name: nobodys\n    tags:", "no such key pair here"),
        ("tags:", "security_group_ids: [sg-nosuch]\n    tags:", "no such security group here"),
        ("runcmd: [echo", &long, "EC2 takes 16384 at most"),
        (&moto.address, "127.0.0.1:9", "no answer from the EC2 API"),
        ("tags: {team: blue}", "tags: {team: [blue]}", "`team` must be"),
    ] {
        occopus.write("nodes/node_definitions.yaml", good.replace(from, to));
        let mut command = occopus.command(build);
        let failed = command.output().expect("ends");
        let stderr = String::from_utf8_lossy(&failed.stderr);
        assert!(!failed.status.success() && stderr.contains("node_definitions.yaml:"), "{stderr}");
        assert!(stderr.contains(message), "{message}: {stderr}");
        assert!(moto.machines().is_empty(), "{message}: {stderr}");
    }
    occopus.write("nodes/node_definitions.yaml", &good);
    let rule = std::fs::read_to_string(occopus.directory().join(auth)).expect("credentials");
    occopus.write(auth, rule.replace("secretkey: ", "secretkey: wrong"));
    let failed = occopus.run(build);
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains("`accesskey` and `secretkey`"), "{}", failed.stderr);
    assert!(!failed.stderr.contains(moto.secret_key()), "{}", failed.stderr);
}

/// Faults of the endpoint must not make machines seem gone.
#[test]
fn machines_outlive_what_stands_between_them_and_us() {
    let Some(moto) = Moto::start("machines_outlive_what_stands_between_them_and_us") else { return };
    let meddling = Arc::new(Mutex::new(ProxyAction::Forward));
    let planned = Arc::clone(&meddling);
    let proxy = Proxy::in_front_of(&moto.address, move |_| *planned.lock().expect("no panic")).expect("a proxy");
    let occopus = Occopus::new();
    write_impatient(&occopus, &proxy.address, 2);
    let auth = ["--auth_data_path", moto.write_credentials(&occopus)];
    let run = |command: &[&str]| occopus.run(command.iter().chain(&auth));
    occopus.ok(["build", "infra.yaml", "-i", "it"].iter().chain(&auth));
    let before = moto.machines();
    let pages = [
        (
            foreign("404 Not Found", "application/json", "{\"message\": \"no Route matched with those values\"}"),
            "answers with status 404, and not like an EC2 API",
        ),
        (
            ProxyAction::Respond("308 Permanent Redirect\r\nLocation: http://127.0.0.2:81/"),
            "redirects to http://127.0.0.2:81/; keys are not sent there, for the grant `endpoint` is of",
        ),
        (ProxyAction::Respond("404 Not Found"), "answers with status 404, and not like an EC2 API"),
        (ProxyAction::RespondPage("<!DOCTYPE html><p>Log in to the network</p>"), "does not answer like an EC2 API"),
    ];
    for (between, _) in pages {
        *meddling.lock().expect("no panic") = between;
        let looked = run(&["maintain", "-i", "it"]);
        assert_eq!(moto.machines(), before, "{}", looked.stdout);
    }
    *meddling.lock().expect("no panic") = ProxyAction::Forward;
    run(&["maintain", "-i", "it"]);
    assert_eq!(moto.machines(), before);
    for (between, message) in pages {
        *meddling.lock().expect("no panic") = between;
        let failed = run(&["destroy", "-i", "it"]);
        let stderr = failed.stderr.replace("\n", " ");
        assert!(failed.code != Some(0) && stderr.contains(message), "{message}: {stderr}");
        assert_eq!(moto.machines(), before, "{stderr}");
    }
    *meddling.lock().expect("no panic") = ProxyAction::Forward;
    occopus.ok(["destroy", "-i", "it"].iter().chain(&auth));
    assert!(moto.machines().is_empty());
}

#[test]
fn a_token_that_ends_in_the_middle_of_a_build() {
    // The server accepts any key: the proxy decides.
    let Some(moto) = Moto::start_open("a_token_that_ends_in_the_middle_of_a_build") else { return };
    let occopus = Occopus::new();
    // A program that prints another token each time, and a cloud that from some request on accepts the second one only.
    let runs = occopus.write("runs", "");
    let script = format!("echo x >> {0}\necho token-$(wc -l < {0})\n", runs.display());
    let script = occopus.write("token.sh", script);
    let refused = Arc::new(AtomicUsize::new(0));
    let (count, counted) = (AtomicUsize::new(0), Arc::clone(&refused));
    let given = runs.clone();
    let proxy = Proxy::in_front_of(&moto.address, move |_| {
        let is_late = count.fetch_add(1, Ordering::SeqCst) >= 3;
        let is_first = std::fs::read_to_string(&given).is_ok_and(|runs| runs.lines().count() < 2);
        if is_late && is_first {
            counted.fetch_add(1, Ordering::SeqCst);
            return ProxyAction::Respond("401 Unauthorized");
        }
        ProxyAction::Forward
    });
    let proxy = proxy.expect("a proxy");
    write(&occopus, &proxy.address, 5);
    occopus.write(
        "auth_data.yaml",
        format!(
            "resource:\n- type: ec2\n  auth_data:\n    accesskey: AKIAOFTHETEST\n    secretkey: of-the-test\n    \
             session_token: !command {{run: [sh, {}], lifetime: 1h}}\n",
            script.display()
        ),
    );
    let built = occopus.ok(["build", "infra.yaml", "-i", "it", "-v"]);
    assert!(refused.load(Ordering::SeqCst) > 0, "the token ended before the build did");
    assert_eq!(moto.machines().len(), 6);
    let runs = std::fs::read_to_string(runs).expect("runs");
    assert_eq!(runs.lines().count(), 2, "all that were refused share what is new");
    assert!(!built.stderr.contains("token-1") && !built.stderr.contains("token-2"), "{}", built.stderr);
    occopus.ok(["destroy", "-i", "it"]);
    assert!(moto.machines().is_empty());
}

/// EC2 answers the same for a machine of another account as for one that is gone.
#[test]
fn with_keys_of_another_account_no_machine_is_forgotten_or_made() {
    let Some(moto) = Moto::start("with_keys_of_another_account_no_machine_is_forgotten_or_made") else { return };
    for count in [1, 3] {
        let occopus = Occopus::new();
        write(&occopus, &moto.address, count);
        let auth = ["--auth_data_path", moto.write_credentials(&occopus)];
        occopus.ok(["build", "infra.yaml", "-i", "it"].iter().chain(&auth));
        let before = moto.machines();
        assert_eq!(before.len(), count + 1);
        let other = ["--auth_data_path", moto.write_credentials_of_another_account(&occopus)];
        let passed = occopus.run(["maintain", "-i", "it"].iter().chain(&other));
        assert_eq!(passed.code, Some(7), "{}", passed.stderr);
        assert!(passed.stdout.contains("these credentials belong to account 444455556666"), "{}", passed.stdout);
        assert_eq!(moto.machines(), before, "none was replaced");
        let failed = occopus.run(["destroy", "-i", "it"].iter().chain(&other));
        let stderr = failed.stderr.replace('\n', " ");
        assert!(failed.code != Some(0), "{stderr}");
        assert!(stderr.contains("these credentials belong to account 444455556666"), "{stderr}");
        assert!(stderr.contains("was made in account 123456789012"), "{stderr}");
        assert_eq!(moto.machines(), before);
        occopus.ok(["destroy", "-i", "it"].iter().chain(&auth));
        assert!(moto.machines().is_empty());
    }
}

/// A machine may be missing from EC2's lists, and unknown to its termination, for some seconds after its launch.
#[test]
fn machines_that_the_cloud_does_not_know_yet_are_not_gone() {
    let name = "machines_that_the_cloud_does_not_know_yet_are_not_gone";
    let Some(moto) = Moto::start(name) else { return };
    // Number of requests that the machines are still hidden from.
    let hidden = Arc::new(AtomicUsize::new(0));
    let hides = Arc::clone(&hidden);
    let proxy = Proxy::in_front_of(&moto.address, move |body| {
        let is_list = body.contains("Action=DescribeInstances");
        if !is_list && !body.contains("Action=TerminateInstances")
            || hides.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err()
        {
            ProxyAction::Forward
        } else if is_list {
            ProxyAction::RespondPage("<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>")
        } else {
            foreign(
                "400 Bad Request",
                "text/xml",
                "<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code><Message>it does not exist</Message>\
                 </Error></Errors></Response>",
            )
        }
    })
    .expect("a proxy");
    let occopus = Occopus::new();
    write_impatient(&occopus, &proxy.address, 2);
    let auth = ["--auth_data_path", moto.write_credentials(&occopus)];
    let run = |command: &[&str]| occopus.run(command.iter().chain(&auth));
    occopus.ok(["build", "infra.yaml", "-i", "it"].iter().chain(&auth));
    let before = moto.machines();
    hidden.store(usize::MAX, Ordering::SeqCst);
    run(&["maintain", "-i", "it"]);
    assert_eq!(moto.machines(), before, "none was replaced");
    hidden.store(8, Ordering::SeqCst);
    let destroyed = (0..5).any(|_| run(&["destroy", "-i", "it"]).code == Some(0));
    assert!(destroyed && moto.machines().is_empty(), "{:?}", moto.machines());
    assert_eq!(hidden.load(Ordering::SeqCst), 0);
}

/// A cloud that ignores client tokens makes two machines of a creation that the network delivers twice.
#[test]
fn a_creation_that_came_twice_is_one_machine_after_a_pass_and_none_after_a_removal() {
    let name = "a_creation_that_came_twice_is_one_machine_after_a_pass_and_none_after_a_removal";
    let Some(moto) = Moto::start(name) else { return };
    let occopus = Occopus::new();
    write(&occopus, &moto.address, 2);
    let auth = ["--auth_data_path", moto.write_credentials(&occopus)];
    occopus.ok(["build", "infra.yaml", "-i", "it"].iter().chain(&auth));
    let before = moto.machines();
    moto.duplicate_machine(&before[0]);
    moto.duplicate_machine(&before[1]);
    assert_eq!(moto.machines().len(), 5);
    occopus.ok(["maintain", "-i", "it"].iter().chain(&auth));
    assert_eq!(moto.machines(), before);
    moto.duplicate_machine(&before[0]);
    occopus.ok(["destroy", "-i", "it"].iter().chain(&auth));
    assert!(moto.machines().is_empty());
}
