use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use occopus_engine::ports::{CallContext, Phase};
use occopus_model::{Secret, Tls};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;

/// Credential source that has the next token after each renewal, up to the last one.
struct RotatingTokens {
    now: AtomicUsize,
    last: usize,
    renewals: AtomicUsize,
}

impl RotatingTokens {
    fn up_to(last: usize) -> Arc<Self> {
        Arc::new(Self { now: AtomicUsize::new(1), last, renewals: AtomicUsize::new(0) })
    }
}

fn credential(number: usize) -> Credential {
    let fields = BTreeMap::from([("token".to_owned(), Secret::new(format!("token-{number}")))]);
    Credential { fields, tls: Tls::default(), rule: "auth_data.yaml:1".to_owned() }
}

#[async_trait]
impl CredentialSource for RotatingTokens {
    fn credential(&self, _: SectionKind, _: &Value) -> Result<Option<Credential>, Fault> {
        Ok(Some(credential(self.now.load(Ordering::SeqCst))))
    }

    async fn renew(&self, _: SectionKind, _: &Value, denied: &Credential) -> bool {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        if self.now.load(Ordering::SeqCst) < self.last {
            self.now.fetch_add(1, Ordering::SeqCst);
        }
        *denied != credential(self.now.load(Ordering::SeqCst))
    }
}

/// A cloud that accepts one token only, and whose `create` may be denied after it made the machine.
struct Cloud {
    tokens: Arc<RotatingTokens>,
    accepted_token: usize,
    creates_before_refusal: bool,
    machines: Mutex<BTreeSet<String>>,
    calls: Mutex<Vec<String>>,
}

impl Cloud {
    fn answer_call(&self, call: &str) -> Result<(), Fault> {
        self.calls.lock().expect("calls").push(call.to_owned());
        match self.tokens.now.load(Ordering::SeqCst) == self.accepted_token {
            true => Ok(()),
            false => Err(Fault::new(Reaction::Denied, "cloud.denied", "the token has ended")),
        }
    }
}

fn observed() -> ObservedMachine {
    ObservedMachine {
        handle: Handle { version: 1, data: "h".to_owned() },
        phase: Phase::Running,
        addresses: Vec::new(),
        attributes: Vec::new(),
        message: None,
    }
}

#[async_trait]
impl Driver for Cloud {
    async fn create(&self, request: &CreateRequest) -> Result<ObservedMachine, Fault> {
        if self.creates_before_refusal {
            self.machines.lock().expect("machines").insert(request.instance_id.clone());
        }
        self.answer_call(if request.repeated { "create again" } else { "create" })?;
        self.machines.lock().expect("machines").insert(request.instance_id.clone());
        Ok(observed())
    }

    async fn find(&self, _: &CallScope, instance_id: &str) -> Result<Option<ObservedMachine>, Fault> {
        self.answer_call("find")?;
        Ok(self.machines.lock().expect("machines").contains(instance_id).then(observed))
    }

    async fn observe(&self, _: &CallScope, handles: &[Handle]) -> Result<Vec<ObservedMachine>, Fault> {
        self.answer_call("observe")?;
        Ok(handles.iter().map(|_| observed()).collect())
    }

    async fn destroy(&self, _: &CallScope, _: &Handle) -> Result<(), Fault> {
        self.answer_call("destroy")
    }

    async fn list_owned(&self, _: &CallScope, _: Option<&str>) -> Result<LabelledPage, Fault> {
        self.answer_call("list")?;
        Ok(LabelledPage { machines: Vec::new(), cursor: None })
    }
}

fn driver(tokens: &Arc<RotatingTokens>, accepted_token: usize, creates_before_refusal: bool) -> RenewingDriver<Cloud> {
    let (machines, calls) = (Mutex::default(), Mutex::default());
    let driver = Cloud { tokens: Arc::clone(tokens), accepted_token, creates_before_refusal, machines, calls };
    RenewingDriver { driver, credentials: tokens.clone() }
}

fn request() -> CreateRequest {
    let context = CallContext {
        infrastructure_id: "i".to_owned(),
        node: "n".to_owned(),
        timeout: std::time::Duration::from_secs(5),
        cancel: CancellationToken::new(),
        progress: None,
        preview: false,
    };
    CreateRequest {
        scope: CallScope { context, section: Arc::new(json!({"type": "cloud"})) },
        instance_id: "one".to_owned(),
        node_name: "n".to_owned(),
        infrastructure_id: "i".to_owned(),
        infrastructure_name: "i".to_owned(),
        machine_name: "m".to_owned(),
        user_data: None,
        attributes: json!({}),
        repeated: false,
    }
}

#[tokio::test]
async fn a_refused_call_is_made_once_more_with_what_there_is_by_then() {
    let request = request();
    for call in ["create", "find", "observe", "destroy", "list"] {
        let tokens = RotatingTokens::up_to(2);
        let driver = driver(&tokens, 2, false);
        let answer = match call {
            "create" => driver.create(&request).await.map(|_| ()),
            "find" => driver.find(&request.scope, "one").await.map(|_| ()),
            "observe" => driver.observe(&request.scope, &[observed().handle]).await.map(|_| ()),
            "destroy" => driver.destroy(&request.scope, &observed().handle).await,
            _ => driver.list_owned(&request.scope, None).await.map(|_| ()),
        };
        assert_eq!(answer, Ok(()), "{call}");
        let expected: &[&str] = if call == "create" { &["create", "find", "create again"] } else { &[call, call] };
        assert_eq!(*driver.driver.calls.lock().expect("calls"), expected);
        assert_eq!(tokens.renewals.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_machine_that_was_made_before_the_refusal_is_not_made_twice() {
    let driver = driver(&RotatingTokens::up_to(2), 2, true);
    driver.create(&request()).await.expect("it is found");
    assert_eq!(*driver.driver.calls.lock().expect("calls"), ["create", "find"]);
}

#[tokio::test]
async fn a_refusal_stays_one_when_there_is_nothing_else() {
    let tokens = RotatingTokens::up_to(1);
    let driver = driver(&tokens, 2, false);
    let fault = driver.create(&request()).await.expect_err("refused");
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Denied, "cloud.denied"));
    assert_eq!(*driver.driver.calls.lock().expect("calls"), ["create"]);
    // With another token that is denied as well, it is still known that nothing was made.
    let others = self::driver(&RotatingTokens::up_to(9), 20, false);
    assert_eq!(others.create(&request()).await.expect_err("refused").reaction, Reaction::Denied);
    assert_eq!(*others.driver.calls.lock().expect("calls"), ["create", "find"]);
    // The second token is denied as well: one renewal, not an endless loop.
    let tokens = RotatingTokens::up_to(9);
    let driver = self::driver(&tokens, 20, false);
    driver.destroy(&request().scope, &observed().handle).await.expect_err("refused");
    assert_eq!(*driver.driver.calls.lock().expect("calls"), ["destroy", "destroy"]);
}
