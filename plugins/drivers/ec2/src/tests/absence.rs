//! Conditions under which a machine counts as gone: never by an answer that comes too early, from another account or
//! from another region.

use super::*;

/// A machine that was launched an hour ago, and its handle.
fn an_old_one(cloud: &Shared, ec2: &DriverHarness<Ec2>, id: &str) -> Handle {
    let made = ec2.create(id, json!({})).unwrap().handle;
    let mut cloud = cloud.lock().unwrap();
    cloud.clock_skew += SignedDuration::from_hours(1);
    cloud.calls.clear();
    made
}

#[test]
fn a_machine_that_was_made_a_moment_ago_is_not_gone() {
    let cloud = Shared::default();
    let ec2 = driver(&cloud, section());
    // Lists that are late, and a clock that is three minutes away on either side.
    for (ahead, id) in [(-180, "id-1"), (180, "id-2"), (0, "id-3")] {
        cloud.lock().unwrap().visibility_delay = SignedDuration::from_secs(20);
        cloud.lock().unwrap().clock_skew = SignedDuration::from_secs(ahead);
        let made = ec2.create(id, json!({})).unwrap().handle;
        let seen = ec2.observe(std::slice::from_ref(&made)).unwrap().remove(0);
        assert_eq!((seen.phase, seen.message.as_deref()), (Phase::Unknown, Some("the cloud does not list it yet")));
        let fault = ec2.destroy(&made).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.reaction), ("ec2.too-early", Reaction::Retry), "{fault}");
        cloud.lock().unwrap().visibility_delay = SignedDuration::ZERO;
        ec2.destroy(&made).unwrap();
    }
    assert_eq!(cloud.lock().unwrap().alive(), 0);
}

#[test]
fn with_keys_of_another_account_nothing_is_gone() {
    let cloud = Shared::default();
    let ec2 = driver(&cloud, section());
    let one = an_old_one(&cloud, &ec2, "id-1");
    let two = an_old_one(&cloud, &ec2, "id-2");
    let young = ec2.create("id-0", json!({})).unwrap().handle;
    cloud.lock().unwrap().account = "444455556666";
    let fault = ec2.observe(std::slice::from_ref(&young)).unwrap_err();
    assert_eq!((fault.code.as_str(), fault.reaction), ("ec2.other-account", Reaction::Denied));
    for handles in [vec![one.clone()], vec![one.clone(), two.clone()]] {
        let fault = ec2.observe(&handles).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.reaction), ("ec2.other-account", Reaction::Denied));
        let said = "these credentials belong to account 444455556666, and i-000 was made in account 111122223333";
        assert_eq!(fault.message, said);
    }
    assert_eq!(ec2.destroy(&one).unwrap_err().reaction, Reaction::Denied);
    // One that belongs to these credentials says nothing of the others.
    let third = an_old_one(&cloud, &ec2, "id-3");
    let seen = ec2.observe(&[one.clone(), third]).unwrap();
    assert_eq!((seen[0].phase, seen[1].phase), (Phase::Unknown, Phase::Pending));
    assert!(
        seen[0].message.as_deref().is_some_and(|why| why.contains("account 111122223333")),
        "{:?}",
        seen[0].message
    );
    // The refusal names the account of a user who may not list security groups.
    let words = "You are not authorized. User: arn:aws:iam::777788889999:user/x is not authorized to perform";
    let denied = refusal(403, "UnauthorizedOperation", words).text();
    cloud.lock().unwrap().overrides.insert("DescribeSecurityGroups", (403, Vec::new(), denied));
    assert!(ec2.destroy(&one).unwrap_err().message.contains("account 777788889999"));
    assert_eq!(cloud.lock().unwrap().alive(), 4);
}

#[test]
fn in_its_own_account_it_is_gone() {
    let cloud = Shared::default();
    let ec2 = driver(&cloud, section());
    let made = an_old_one(&cloud, &ec2, "id-1");
    cloud.lock().unwrap().machines.clear();
    assert_eq!(ec2.observe(std::slice::from_ref(&made)).unwrap()[0].phase, Phase::Gone);
    assert_eq!(
        cloud.lock().unwrap().actions(),
        ["DescribeInstances", "DescribeInstances", "DescribeSecurityGroups"],
        "by its mark, by its id, and whose credentials these are"
    );
    ec2.destroy(&made).unwrap();
    // The other region has it.
    let mut elsewhere = section();
    elsewhere["regionname"] = json!("r2");
    let ec2 = driver(&cloud, elsewhere);
    let fault = ec2.observe(std::slice::from_ref(&made)).unwrap_err();
    assert_eq!((fault.code.as_str(), fault.details[0].pointer.as_str()), ("ec2.other-region", "/regionname"));
    assert_eq!(ec2.destroy(&made).unwrap_err().reaction, Reaction::Denied);
}

#[test]
fn a_cloud_that_tells_nothing_is_believed_when_it_shows_others() {
    let cloud = Shared::default();
    cloud.lock().unwrap().hides_account_and_time = true;
    let ec2 = driver(&cloud, section());
    let day = Timestamp::now() - 24.hours();
    let handles: Vec<Handle> =
        (1..=3).map(|number| ec2.create(&format!("id-{number}"), json!({})).unwrap().handle).collect();
    let old = |handle: &Handle| {
        let (id, rest) = handle.data.split_once('@').unwrap();
        let (_, rest) = rest.split_once(' ').unwrap();
        Handle::new(2, format!("{id}@{} {rest}", day.as_second()))
    };
    let handles: Vec<Handle> = handles.iter().map(old).collect();
    assert!(!handles[0].data.contains("account="), "{:?}", handles[0]);
    cloud.lock().unwrap().machines.remove(0);
    let phases: Vec<Phase> = ec2.observe(&handles).unwrap().iter().map(|one| one.phase).collect();
    assert_eq!(phases, [Phase::Gone, Phase::Pending, Phase::Pending]);
    // Alone, it may be in another account.
    for fault in [ec2.observe(&handles[..1]).unwrap_err(), ec2.destroy(&handles[0]).unwrap_err()] {
        assert_eq!((fault.code.as_str(), fault.reaction), ("ec2.unknown-account", Reaction::Denied));
    }
    ec2.destroy(&handles[1]).unwrap();
    assert_eq!(ec2.observe(&handles[1..2]).unwrap()[0].phase, Phase::Gone, "it is shown as it ends");
}

#[test]
fn handles_of_old_versions_are_renewed_by_what_is_seen() {
    let cloud = Shared::default();
    let ec2 = driver(&cloud, section());
    let made = an_old_one(&cloud, &ec2, "id-1");
    let (old, _) = made.data.split_once(' ').unwrap();
    let old = Handle::new(1, old);
    assert_eq!(ec2.observe(std::slice::from_ref(&old)).unwrap()[0].handle, made);
    assert_eq!(cloud.lock().unwrap().calls.len(), 1);
    ec2.destroy(&old).unwrap();
    assert_eq!(cloud.lock().unwrap().alive(), 0);
}

#[test]
fn an_answer_without_an_end_is_looked_up() {
    let cloud = Shared::default();
    let ec2 = driver(&cloud, section());
    let made = an_old_one(&cloud, &ec2, "id-1");
    let empty = || (200, Vec::new(), "<TerminateInstancesResponse/>".to_owned());
    cloud.lock().unwrap().overrides.insert("TerminateInstances", empty());
    let fault = ec2.destroy(&made).unwrap_err();
    assert_eq!((fault.code.as_str(), fault.reaction), ("ec2.not-ended", Reaction::Retry), "it runs on");
    cloud.lock().unwrap().machines[0].state = "terminated";
    ec2.destroy(&made).unwrap();
    // A list that knows what the removal does not.
    cloud.lock().unwrap().machines[0].state = "running";
    cloud.lock().unwrap().overrides.insert("TerminateInstances", (400, Vec::new(), unknown("i-000").text()));
    assert_eq!(ec2.destroy(&made).unwrap_err().reaction, Reaction::Retry);
}

#[test]
fn a_creation_that_came_twice_is_one_machine_after_any_look() {
    for look in [
        (|ec2: &DriverHarness<Ec2>, made: &Handle| {
            let seen = ec2.observe(std::slice::from_ref(made)).unwrap();
            assert_eq!((seen[0].phase, &seen[0].handle), (Phase::Pending, made));
        }) as fn(&DriverHarness<Ec2>, &Handle),
        |ec2, made| assert_eq!(ec2.find("id-1").unwrap().unwrap().handle, *made),
    ] {
        let cloud = Shared::default();
        cloud.lock().unwrap().duplicates_creations = true;
        let ec2 = driver(&cloud, section());
        let made = ec2.create("id-1", json!({})).unwrap().handle;
        assert_eq!(cloud.lock().unwrap().alive(), 2);
        look(&ec2, &made);
        let cloud = cloud.lock().unwrap();
        assert_eq!(cloud.alive(), 1);
        let known = cloud.machines.iter().find(|machine| made.data.starts_with(&machine.id)).unwrap();
        assert_eq!(known.state, "pending", "the known one stays");
    }
}

#[test]
fn a_copy_of_a_machine_with_its_tags_is_left_alone_at_amazon() {
    let cloud = Shared::default();
    cloud.lock().unwrap().duplicates_creations = true;
    let mut section = section();
    section["endpoint"] = json!("https://ec2.eu-west-1.amazonaws.com");
    let ec2 = driver(&cloud, section);
    let made = ec2.create("id-1", json!({})).unwrap().handle;
    ec2.observe(std::slice::from_ref(&made)).unwrap();
    ec2.destroy(&made).unwrap();
    let cloud = cloud.lock().unwrap();
    assert_eq!((cloud.alive(), cloud.actions()), (1, vec!["RunInstances", "DescribeInstances", "TerminateInstances"]));
}
