//! The driver against answers in the shape of the API. A small cloud keeps machines, and can be set to misbehave.

mod absence;
mod checks;
mod errors;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use occopus_sdk::http::{HttpError, HttpErrorKind, Request, Response};
use occopus_sdk::testing::{self, DriverHarness, FakeHost};
use occopus_sdk::{Fault, Handle, Phase, Reaction};
use serde_json::{Value, json};

use crate::Ec2;

/// A machine of the cloud.
#[derive(Debug, Clone)]
struct Machine {
    id: String,
    state: &'static str,
    launched: Timestamp,
    tags: Vec<(String, String)>,
    owner: &'static str,
}

/// Status, headers, body.
type Answer = (u16, Vec<(String, String)>, String);

const ACCOUNT: &str = "111122223333";

#[derive(Debug)]
struct Cloud {
    machines: Vec<Machine>,
    /// Account of the credentials.
    account: &'static str,
    /// Age below which lists and removals do not know a machine.
    visibility_delay: SignedDuration,
    /// Time by which the clock of the cloud is ahead.
    clock_skew: SignedDuration,
    /// Set if it sends neither accounts nor its time.
    hides_account_and_time: bool,
    /// Set if the network delivers creations twice.
    duplicates_creations: bool,
    console: Option<&'static str>,
    calls: Vec<HashMap<String, String>>,
    ignores_tags: bool,
    /// Answers to calls of these names, instead of the real ones.
    overrides: HashMap<&'static str, Answer>,
    /// Calls that take effect and whose answers are lost.
    lost_answers: Vec<&'static str>,
    /// Set if lists fail once a machine was made.
    fails_after_run: bool,
}

impl Default for Cloud {
    fn default() -> Self {
        Self {
            machines: Vec::new(),
            account: ACCOUNT,
            visibility_delay: SignedDuration::ZERO,
            clock_skew: SignedDuration::ZERO,
            hides_account_and_time: false,
            duplicates_creations: false,
            console: Some("booting\nkernel panic\n\n"),
            calls: Vec::new(),
            ignores_tags: false,
            overrides: HashMap::new(),
            lost_answers: Vec::new(),
            fails_after_run: false,
        }
    }
}

type Shared = Arc<Mutex<Cloud>>;

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        let hex =
            |bytes: &mut std::str::Bytes| bytes.next().and_then(|digit| char::from(digit).to_digit(16)).unwrap_or(0);
        out.push(if byte == b'%' { u8::try_from(hex(&mut bytes) * 16 + hex(&mut bytes)).unwrap() } else { byte });
    }
    String::from_utf8(out).unwrap()
}

impl Cloud {
    fn answer(&mut self, request: &Request) -> Result<Response, HttpError> {
        let body = String::from_utf8(request.body.clone()).unwrap();
        let call: HashMap<String, String> =
            body.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (decoded(k), decoded(v))).collect();
        let action = call["Action"].clone();
        self.calls.push(call.clone());
        if let Some((status, headers, body)) = self.overrides.get(action.as_str()) {
            return Ok(Response { status: *status, headers: headers.clone(), body: body.clone().into_bytes() });
        }
        let answer = match action.as_str() {
            "RunInstances" => self.run(&call),
            "DescribeInstances" => self.describe(&call),
            "CreateTags" => {
                let tags = tags(&call, "Tag");
                let machine = self.machines.iter_mut().find(|machine| machine.id == call["ResourceId.1"]).unwrap();
                machine.tags.extend(tags);
                "<CreateTagsResponse><return>true</return></CreateTagsResponse>".to_owned()
            }
            "TerminateInstances" => match self.visible(&call["InstanceId.1"]) {
                Some(machine) => {
                    machine.state = "shutting-down";
                    format!(
                        "<TerminateInstancesResponse><instancesSet><item><instanceId>{}</instanceId><currentState>\
                         <code>32</code><name>shutting-down</name></currentState></item></instancesSet>\
                         </TerminateInstancesResponse>",
                        machine.id
                    )
                }
                None => return Ok(self.dated(unknown(&call["InstanceId.1"]))),
            },
            "DescribeSecurityGroups" if self.hides_account_and_time => {
                return Ok(refusal(400, "InvalidAction", "not here"));
            }
            "DescribeSecurityGroups" => format!(
                "<DescribeSecurityGroupsResponse><securityGroupInfo><item><ownerId>{}</ownerId><groupName>default\
                 </groupName></item></securityGroupInfo></DescribeSecurityGroupsResponse>",
                self.account
            ),
            "GetConsoleOutput" if call.contains_key("Latest") => {
                return Ok(refusal(400, "UnsupportedOperation", "does not support the latest console output"));
            }
            "GetConsoleOutput" => match self.console {
                Some(text) => format!(
                    "<GetConsoleOutputResponse><instanceId/><output>{}</output></GetConsoleOutputResponse>",
                    STANDARD.encode(text)
                ),
                None => return Ok(unknown(&call["InstanceId"])),
            },
            other => panic!("{other} is not expected"),
        };
        if self.lost_answers.contains(&action.as_str()) {
            return Err(HttpError { kind: HttpErrorKind::MaybeSent, message: "connection reset".to_owned() });
        }
        Ok(self.dated(Response { status: 200, headers: Vec::new(), body: answer.into_bytes() }))
    }

    fn now(&self) -> Timestamp {
        Timestamp::now() + self.clock_skew
    }

    fn dated(&self, response: Response) -> Response {
        let date = ("Date".to_owned(), self.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
        Response { headers: if self.hides_account_and_time { Vec::new() } else { vec![date] }, ..response }
    }

    fn is_visible(&self, machine: &Machine) -> bool {
        machine.owner == self.account && machine.launched + self.visibility_delay <= self.now()
    }

    fn visible(&mut self, id: &str) -> Option<&mut Machine> {
        let index = self.machines.iter().position(|machine| machine.id == id && self.is_visible(machine))?;
        self.machines.get_mut(index)
    }

    fn run(&mut self, call: &HashMap<String, String>) -> String {
        let tags = if self.ignores_tags { Vec::new() } else { tags(call, "TagSpecification.1.Tag") };
        let id = format!("i-{:03}", self.machines.len());
        let machine = Machine { id, state: "pending", launched: self.now(), tags, owner: self.account };
        self.machines.push(machine.clone());
        if self.duplicates_creations {
            let id = format!("i-{:03}", self.machines.len());
            self.machines.push(Machine { id, ..machine.clone() });
        }
        if self.fails_after_run {
            let denied = refusal(403, "UnauthorizedOperation", "no").text();
            self.overrides.insert("DescribeInstances", (403, Vec::new(), denied));
        }
        let owner = self.owner();
        let machine = xml(&machine);
        format!("<RunInstancesResponse>{owner}<instancesSet>{machine}</instancesSet></RunInstancesResponse>")
    }

    fn describe(&self, call: &HashMap<String, String>) -> String {
        let mut shown: Vec<&Machine> = self.machines.iter().filter(|machine| self.is_visible(machine)).collect();
        for number in 1..=2 {
            let Some(name) = call.get(&format!("Filter.{number}.Name")) else { continue };
            let values: Vec<&String> =
                (1..).map_while(|index| call.get(&format!("Filter.{number}.Value.{index}"))).collect();
            shown.retain(|machine| match name.as_str() {
                "instance-id" => values.contains(&&machine.id),
                "instance-state-name" => values.iter().any(|value| *value == machine.state),
                "tag-key" => machine.tags.iter().any(|(key, _)| values.contains(&key)),
                "tag:occopus.instance" => {
                    machine.tags.iter().any(|(key, value)| key == "occopus.instance" && values.contains(&value))
                }
                other => panic!("filter {other}"),
            });
        }
        // Pages of 150, whatever is asked for.
        let start: usize = call.get("NextToken").map_or(0, |token| token.parse().unwrap());
        let page: String = shown.iter().skip(start).take(150).map(|machine| xml(machine)).collect();
        let next =
            if shown.len() > start + 150 { format!("<nextToken>{}</nextToken>", start + 150) } else { String::new() };
        format!(
            "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><reservationSet>{}\
             </reservationSet>{next}</DescribeInstancesResponse>",
            if page.is_empty() {
                String::new()
            } else {
                format!("<item>{}<instancesSet>{page}</instancesSet></item>", self.owner())
            }
        )
    }

    fn owner(&self) -> String {
        if self.hides_account_and_time { String::new() } else { format!("<ownerId>{}</ownerId>", self.account) }
    }

    fn alive(&self) -> usize {
        self.machines.iter().filter(|machine| machine.state != "shutting-down").count()
    }

    fn actions(&self) -> Vec<&str> {
        self.calls.iter().map(|call| call["Action"].as_str()).collect()
    }
}

fn unknown(id: &str) -> Response {
    refusal(400, "InvalidInstanceID.NotFound", &format!("The instance ID '{id}' does not exist"))
}

fn tags(call: &HashMap<String, String>, prefix: &str) -> Vec<(String, String)> {
    let tag = |index: usize| {
        Some((
            call.get(&format!("{prefix}.{index}.Key"))?.clone(),
            call.get(&format!("{prefix}.{index}.Value"))?.clone(),
        ))
    };
    (1..).map_while(tag).collect()
}

fn xml(machine: &Machine) -> String {
    let Machine { id, state, launched, tags, .. } = machine;
    let tags: String = tags
        .iter()
        .map(|(key, value)| format!("<item><key>{key}</key><value>{}</value></item>", value.replace('&', "&amp;")))
        .collect();
    format!(
        "<item><instanceId>{id}</instanceId><instanceState><code>0</code><name>{state}</name></instanceState>\
         <dnsName>pub.example</dnsName><ipAddress>203.0.113.7</ipAddress><privateIpAddress>10.0.0.7</privateIpAddress>\
         <privateDnsName/><launchTime>{launched}</launchTime><tagSet>{tags}</tagSet></item>"
    )
}

fn refusal(status: u16, code: &str, words: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\"?><Response><Errors><Error><Code>{code}</Code><Message>{words}</Message></Error></Errors>\
         <RequestID>req-1</RequestID></Response>"
    );
    Response { status, headers: Vec::new(), body: body.into_bytes() }
}

fn section() -> Value {
    json!({"endpoint": "https://cloud.example:4567/api/", "regionname": "r1", "image_id": "ami-1", "instance_type": "small"})
}

fn driver(cloud: &Shared, section: Value) -> DriverHarness<Ec2> {
    let cloud = cloud.clone();
    let host = FakeHost::default()
        .credential("accesskey", "AK")
        .credential("secretkey", "SK")
        .http(move |request| cloud.lock().unwrap().answer(request));
    testing::driver::<Ec2>(host, section).unwrap()
}

/// Repeats creations, with too little time to wait for a first one that is still on its way.
fn repeated() {
    testing::host(|host| (host.repeated, host.remaining_ms) = (true, 5_000));
}

#[test]
fn a_first_creation_is_one_call_with_everything_in_it() {
    let cloud = Shared::default();
    let mut section = section();
    section["key_name"] = json!("key");
    section["subnet_id"] = json!("");
    section["security_group_ids"] = json!(["sg-1", "sg-2"]);
    section["tags"] = json!({"team": "a&b", "number": 4});
    let ec2 = driver(&cloud, section);
    testing::host(|host| host.user_data = Some(b"#cloud-config".to_vec()));
    let made = ec2.create("id-1", json!({})).unwrap();
    assert_eq!((made.phase, made.handle.version), (Phase::Pending, 2));
    assert!(made.handle.data.ends_with(" account=111122223333 region=r1 instance=id-1"), "{:?}", made.handle);
    let values: Vec<_> = made.addresses.iter().map(|address| (address.value.as_str(), address.internal)).collect();
    assert_eq!(values, [("pub.example", false), ("203.0.113.7", false), ("10.0.0.7", true)]);

    let cloud = cloud.lock().unwrap();
    assert_eq!(cloud.actions(), ["RunInstances"]);
    let call = &cloud.calls[0];
    for (name, value) in [
        ("ClientToken", "id-1"),
        ("ImageId", "ami-1"),
        ("KeyName", "key"),
        ("SecurityGroupId.2", "sg-2"),
        ("UserData", "I2Nsb3VkLWNvbmZpZw=="),
    ] {
        assert_eq!(call[name], value);
    }
    assert!(!call.contains_key("SubnetId"), "an empty text is no subnet");
    let tags: HashMap<_, _> = cloud.machines[0].tags.iter().cloned().collect();
    assert_eq!(
        (tags["team"].as_str(), tags["number"].as_str(), tags["occopus.instance"].as_str()),
        ("a&b", "4", "id-1")
    );
    assert!(tags["Name"].starts_with("occopus-"));

    let request = testing::host(|host| host.requests[0].clone());
    assert_eq!(request.url, "https://cloud.example:4567/api/");
    let header = |name: &str| request.headers.iter().find(|(key, _)| key == name).unwrap().1.clone();
    let authorization = header("authorization");
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=<secret accesskey>/"), "{authorization}");
    assert!(authorization.contains("/r1/ec2/aws4_request, SignedHeaders=content-type;host;x-amz-date, "));
}

#[test]
fn a_session_token_is_signed_and_sent() {
    let cloud = Shared::default();
    let ec2 = driver(&cloud, section());
    testing::host(|host| host.credential.insert("session_token".to_owned(), "ST".to_owned()));
    ec2.create("id-1", json!({})).unwrap();
    let request = testing::host(|host| host.requests[0].clone());
    let header = |name: &str| request.headers.iter().find(|(key, _)| key == name).unwrap().1.clone();
    assert_eq!(header("x-amz-security-token"), "<secret session_token>");
    assert!(header("authorization").contains("host;x-amz-date;x-amz-security-token"));
}

#[test]
fn one_id_is_one_machine() {
    let cloud = Shared::default();
    let ec2 = driver(&cloud, section());
    let first = ec2.create("id-1", json!({})).unwrap();
    repeated();
    assert_eq!(ec2.create("id-1", json!({})).unwrap().handle, first.handle);
    assert_eq!(cloud.lock().unwrap().machines.len(), 1);

    // Two at once on a cloud that ignores the token: the older one stays.
    let twin = Machine {
        id: "i-old".to_owned(),
        state: "running",
        launched: Timestamp::now() - 1.hour(),
        tags: vec![("occopus.instance".to_owned(), "id-1".to_owned())],
        owner: ACCOUNT,
    };
    cloud.lock().unwrap().machines.push(twin);
    let found = ec2.find("id-1").unwrap().unwrap();
    assert!(found.handle.data.starts_with("i-old@"));
    assert_eq!(cloud.lock().unwrap().alive(), 1);
}

#[test]
fn a_first_creation_that_was_overtaken_leaves_no_second_machine() {
    let cloud = Shared::default();
    let ec2 = driver(&cloud, section());
    testing::host(|host| host.repeated = true);
    let late = Arc::clone(&cloud);
    let arrival = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1500));
        // It was sent by another owner, before.
        let tags = vec![("occopus.instance".to_owned(), "id-1".to_owned())];
        let id = "i-late".to_owned();
        let launched = Timestamp::now();
        late.lock().unwrap().machines.push(Machine { id, state: "pending", launched, tags, owner: ACCOUNT });
    });
    let made = ec2.create("id-1", json!({})).unwrap();
    arrival.join().unwrap();
    assert!(made.handle.data.starts_with("i-000@"));
    let cloud = cloud.lock().unwrap();
    assert_eq!((cloud.machines.len(), cloud.alive()), (2, 1));
}

#[test]
fn a_repeated_creation_that_cannot_look_again_is_not_sure() {
    let cloud = Shared::default();
    let mut section = section();
    section["endpoint"] = json!("https://ec2.eu-west-1.amazonaws.com");
    let ec2 = driver(&cloud, section);
    repeated();
    // The search before succeeds, the one after does not.
    cloud.lock().unwrap().fails_after_run = true;
    let fault = ec2.create("id-1", json!({})).unwrap_err();
    assert_eq!(fault.reaction, Reaction::UnknownOutcome);
    cloud.lock().unwrap().overrides.clear();
    assert!(ec2.find("id-1").unwrap().is_some());
}

#[test]
fn a_lost_answer_is_found() {
    let cloud = Shared::default();
    let ec2 = driver(&cloud, section());
    cloud.lock().unwrap().lost_answers = vec!["RunInstances"];
    assert_eq!(ec2.create("id-1", json!({})).unwrap_err().reaction, Reaction::UnknownOutcome);
    cloud.lock().unwrap().lost_answers.clear();
    assert!(ec2.find("id-1").unwrap().is_some());
    assert!(ec2.find("id-2").unwrap().is_none());
    cloud.lock().unwrap().overrides.insert("RunInstances", (200, Vec::new(), "<RunInstancesResp".to_owned()));
    assert_eq!(ec2.create("id-3", json!({})).unwrap_err().reaction, Reaction::UnknownOutcome);
}

#[test]
fn a_cloud_that_ignores_tags_gets_them_afterwards_or_loses_the_machine() {
    let cloud = Shared::default();
    cloud.lock().unwrap().ignores_tags = true;
    let ec2 = driver(&cloud, section());
    ec2.create("id-1", json!({})).unwrap();
    assert_eq!(cloud.lock().unwrap().actions(), ["RunInstances", "CreateTags"]);
    assert!(ec2.find("id-1").unwrap().is_some());
    let denied = refusal(403, "UnauthorizedOperation", "no");
    cloud.lock().unwrap().overrides.insert("CreateTags", (403, Vec::new(), denied.text()));
    assert_eq!(ec2.create("id-2", json!({})).unwrap_err().reaction, Reaction::Denied);
    assert_eq!(cloud.lock().unwrap().alive(), 1, "what can't be marked is taken back");
}

#[test]
fn observation_takes_two_hundred_in_a_call_and_misses_no_page() {
    let cloud = Shared::default();
    let ec2 = driver(&cloud, section());
    let mut handles: Vec<Handle> =
        (0..300).map(|n| ec2.create(&format!("id-{n}"), json!({})).unwrap().handle).collect();
    handles.insert(7, Handle::new(1, "i-nowhere@1000"));
    handles.push(Handle::new(1, format!("i-new@{}", Timestamp::now().as_second())));
    cloud.lock().unwrap().calls.clear();
    cloud.lock().unwrap().machines[3].state = "terminated";
    cloud.lock().unwrap().machines[4].state = "hibernating";
    let seen = ec2.observe(&handles).unwrap();
    assert_eq!(seen.len(), 302);
    assert!(seen.iter().zip(&handles).all(|(seen, asked)| seen.handle == *asked));
    assert_eq!((seen[7].phase, seen[3].phase, seen[4].phase), (Phase::Gone, Phase::Gone, Phase::Unknown));
    assert_eq!(seen[301].phase, Phase::Unknown, "a list may lag behind what was made a moment ago");
    assert_eq!(cloud.lock().unwrap().calls.len(), 4, "200 in two pages of 150, 100, and two that are missing");
    cloud.lock().unwrap().calls.clear();
    ec2.observe(&handles[..200]).unwrap();
    assert_eq!(cloud.lock().unwrap().calls.len(), 3, "one of them is missing");

    let mut owned = 0;
    let mut cursor = None;
    loop {
        let page = ec2.list_owned(cursor.as_deref()).unwrap();
        owned += page.machines.len();
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(owned, 298, "those in states that the API calls living");
    for handle in &handles[..3] {
        ec2.destroy(handle).unwrap();
        ec2.destroy(handle).unwrap();
    }
    let fault = ec2.destroy(&handles[7]).unwrap_err();
    assert_eq!((fault.code.as_str(), fault.reaction), ("ec2.unknown-account", Reaction::Denied), "of an old version");
}

#[test]
fn refusals_say_what_to_do() {
    let cases = [
        (503, "RequestLimitExceeded", "slow down", Reaction::Retry, ""),
        (503, "Unavailable", "later", Reaction::Retry, ""),
        (500, "InternalError", "oops", Reaction::UnknownOutcome, ""),
        (500, "InsufficientInstanceCapacity", "full", Reaction::NoCapacity, ""),
        (400, "InsufficientFreeAddressesInSubnet", "full", Reaction::NoCapacity, ""),
        (400, "InstanceLimitExceeded", "quota", Reaction::NoCapacity, ""),
        (400, "VcpuLimitExceeded", "quota", Reaction::NoCapacity, ""),
        (403, "AuthFailure", "Not authorized for images: [ami-1]", Reaction::Denied, "/image_id"),
        (400, "InvalidAMIID.Malformed", "Invalid id", Reaction::GiveUp, "/image_id"),
        (400, "InvalidAMIID.NotFound", "no image", Reaction::GiveUp, "/image_id"),
        (400, "InvalidParameterValue", "Invalid value 'x' for instance type", Reaction::GiveUp, "/instance_type"),
        (400, "InvalidKeyPair.NotFound", "no key", Reaction::GiveUp, "/key_name"),
        (400, "InvalidGroup.NotFound", "no group", Reaction::GiveUp, "/security_group_ids"),
        (400, "InvalidSubnetID.NotFound", "no net", Reaction::GiveUp, "/subnet_id"),
        (400, "InvalidUserData.Malformed", "bad", Reaction::GiveUp, "#user-data"),
        (400, "InvalidParameterValue", "Invalid BASE64 encoding of user data.", Reaction::GiveUp, "#user-data"),
        (400, "InvalidParameterValue", "User data is limited to 16384 bytes", Reaction::GiveUp, "#user-data"),
        (400, "InvalidTagKey.Malformed", "bad", Reaction::GiveUp, "/tags"),
        (400, "IdempotentParameterMismatch", "other", Reaction::Conflict, ""),
        (400, "SomethingNew", "unheard of", Reaction::GiveUp, ""),
    ];
    for (status, code, words, reaction, pointer) in cases {
        let fault = refused("RunInstances", status, &[], refusal(status, code, words).text());
        assert_eq!(fault.reaction, reaction, "{code}");
        assert!(fault.message.contains(words) && fault.message.contains(code), "{fault}");
        assert!(fault.details.iter().any(|detail| detail.message.contains("req-1")), "{fault:?}");
        assert!(fault.details.iter().any(|detail| detail.pointer == pointer), "{code}: {fault:?}");
        assert_eq!(fault.retry_after.is_some(), reaction == Reaction::Retry, "{code}");
    }
}

fn refused(action: &'static str, status: u16, headers: &[(&str, &str)], body: String) -> Fault {
    let cloud = Shared::default();
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    cloud.lock().unwrap().overrides.insert(action, (status, headers, body));
    driver(&cloud, section()).create("id-1", json!({})).unwrap_err()
}

#[test]
fn without_credentials_or_with_too_much_user_data_nobody_is_asked() {
    let cloud = Shared::default();
    let ec2 = driver(&cloud, section());
    testing::host(|host| host.user_data = Some(vec![b'a'; (16 << 10) + 1]));
    let fault = ec2.create("id-1", json!({})).unwrap_err();
    assert_eq!((fault.reaction, fault.details[0].pointer.as_str()), (Reaction::GiveUp, "#user-data"));
    testing::host(|host| host.credential.clear());
    assert_eq!(ec2.create("id-1", json!({})).unwrap_err().code, "ec2.no-credential");
    assert!(cloud.lock().unwrap().calls.is_empty());
}
