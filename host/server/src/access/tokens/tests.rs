use jiff::ToSpan as _;
use occopus_engine::ports::SystemClock;
use occopus_engine::testing::MemoryStore;

use super::*;

fn store() -> MemoryStore {
    MemoryStore::new(Arc::new(SystemClock))
}

fn reader(name: &str) -> NewToken {
    NewToken { name: name.to_owned(), scope: Scope::Read, infrastructures: None, expires: None }
}

/// Advances the clock by this time.
async fn advance(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_token_is_good_until_it_is_revoked_and_its_secret_is_nowhere() {
    let store = store();
    let tokens = Tokens::new(Arc::new(store.clone()));
    let some = Some(BTreeSet::from(["one".to_owned()]));
    let new = NewToken { scope: Scope::Operate, infrastructures: some.clone(), ..reader("ci") };
    let (text, info) = tokens.create(new).await.unwrap();
    assert_eq!((info.scope, &info.infrastructures), (Scope::Operate, &some));
    assert_eq!(tokens.verify(text.reveal()).await.unwrap(), Some(info.clone()));
    assert_eq!(tokens.list().await.unwrap(), std::slice::from_ref(&info));

    let secret = std::str::from_utf8(text.secret()).unwrap();
    assert!(store.values_as_text().contains("sha256:"));
    assert!(!store.values_as_text().contains(secret));

    // Another process revokes it; this one sees it within a second.
    let other = Tokens::new(Arc::new(store));
    let revoked = other.revoke("ci").await.unwrap();
    assert!(revoked[0].revoked.is_some());
    advance(Duration::from_millis(1100)).await;
    assert_eq!(tokens.verify(text.reveal()).await.unwrap(), None);
    assert_eq!(other.verify(text.reveal()).await.unwrap(), None);
    // Revoking it again changes nothing.
    assert_eq!(other.revoke(&info.id).await.unwrap(), revoked);
    assert!(tokens.has_any().await.unwrap());
    assert!(!tokens.has_valid().await.unwrap());
}

#[tokio::test]
async fn a_wrong_secret_is_wrong_however_often_the_right_one_came() {
    let tokens = Tokens::new(Arc::new(store()));
    let (text, _) = tokens.create(reader("ci")).await.unwrap();
    let (other, _) = tokens.create(reader("other")).await.unwrap();
    let mixed = format!("occ_{}_{}", text.id(), std::str::from_utf8(other.secret()).unwrap());
    for _ in 0..2 {
        assert!(tokens.verify(text.reveal()).await.unwrap().is_some());
        assert_eq!(tokens.verify(&mixed).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_is_no_token_or_unknown_takes_no_time() {
    let tokens = Tokens::new(Arc::new(store()));
    let unknown = TokenText::random().unwrap();
    let started = std::time::Instant::now();
    for _ in 0..1000 {
        assert_eq!(tokens.verify(unknown.reveal()).await.unwrap(), None);
        assert_eq!(tokens.verify("secret").await.unwrap(), None);
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

/// Creates a token with a record as older versions wrote it.
async fn create_legacy(store: &MemoryStore, name: &str) -> TokenText {
    let tokens = Tokens::new(Arc::new(store.clone()));
    let (text, _) = tokens.create(reader(name)).await.unwrap();
    let key = record::key(text.id());
    let entry = store.get(&key).await.unwrap().unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
    let hash = argon2::PasswordHasher::hash_password(&Argon2::default(), text.secret()).unwrap().to_string();
    value["hash"] = hash.into();
    let write = Write::Put { key, value: value.to_string().into_bytes(), lease: None };
    store.commit(Transaction { compares: Vec::new(), writes: vec![write] }).await.unwrap();
    text
}

#[tokio::test]
async fn a_token_of_an_older_version_is_good_and_takes_long_once() {
    let store = store();
    let text = create_legacy(&store, "old").await;
    let tokens = Tokens::new(Arc::new(store.clone()));
    let mut wrong = text.reveal().to_owned();
    wrong.replace_range(17..18, if wrong[17..].starts_with('A') { "B" } else { "A" });
    assert_eq!(tokens.verify(&wrong).await.unwrap(), None);
    assert!(store.values_as_text().contains("$argon2id$"));
    assert!(tokens.verify(text.reveal()).await.unwrap().is_some());
    assert!(!store.values_as_text().contains("$argon2id$"), "it is rewritten");
    let tokens = Tokens::new(Arc::new(store));
    let started = std::time::Instant::now();
    for _ in 0..1000 {
        assert_eq!(tokens.verify(&wrong).await.unwrap(), None);
    }
    assert!(tokens.verify_limited(text.reveal(), || Err(TokenError::secret("no"))).await.unwrap().is_some());
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_token_ends_also_while_it_is_remembered() {
    let tokens = Tokens::new(Arc::new(store()));
    let expires = Timestamp::now() + 2.seconds();
    let (text, _) = tokens.create(NewToken { expires: Some(expires), ..reader("short") }).await.unwrap();
    assert!(tokens.verify(text.reveal()).await.unwrap().is_some());
    while tokens.verify(text.reveal()).await.unwrap().is_some() {
        assert!(Timestamp::now() < expires + 1.second(), "it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(Timestamp::now() >= expires, "it ended too early");
    let past = tokens.create(NewToken { expires: Some(expires), ..reader("past") }).await;
    assert!(matches!(past, Err(TokenError::Past { .. })));
}

#[tokio::test]
async fn names_are_fit_and_their_own_until_they_are_free_again() {
    let tokens = Tokens::new(Arc::new(store()));
    let (_, first) = tokens.create(reader("ci")).await.unwrap();
    assert!(matches!(tokens.create(reader("ci")).await, Err(TokenError::Taken { id, .. }) if id == first.id));
    tokens.revoke("ci").await.unwrap();
    let (_, second) = tokens.create(reader("ci")).await.unwrap();
    assert_eq!(tokens.revoke("ci").await.unwrap()[0].id, second.id);
    assert!(matches!(tokens.revoke("none").await, Err(TokenError::Unknown { .. })));
    for name in ["", " a", "a\n", "a\u{1b}[2J", "0123456789ab", &"x".repeat(65)] {
        assert!(matches!(tokens.create(reader(name)).await, Err(TokenError::Name { .. })), "{name:?}");
    }
}

#[tokio::test]
async fn the_first_token_of_another_process_is_seen_after_a_second() {
    let store = store();
    let tokens = Tokens::new(Arc::new(store.clone()));
    assert!(!tokens.has_any().await.unwrap());
    Tokens::new(Arc::new(store)).create(reader("first")).await.unwrap();
    advance(Duration::from_millis(1100)).await;
    assert!(tokens.has_any().await.unwrap());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_opens_nothing_and_hides_nothing() {
    let store = store();
    let tokens = Tokens::new(Arc::new(store.clone()));
    let (valid, info) = tokens.create(reader("good")).await.unwrap();
    let token = TokenText::random().unwrap();
    for value in ["", "{}", r#"{"version":2}"#, r#"{"version":1,"name":"x"}"#] {
        let write = Write::Put { key: record::key(token.id()), value: value.into(), lease: None };
        store.commit(Transaction { compares: Vec::new(), writes: vec![write] }).await.unwrap();
        assert_eq!(tokens.verify(token.reveal()).await.unwrap(), None);
    }
    assert_eq!(tokens.list().await.unwrap(), [info]);
    assert!(tokens.verify(valid.reveal()).await.unwrap().is_some());
}
