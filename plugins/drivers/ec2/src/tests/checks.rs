//! Mistakes that are refused before anything is made, and the output of machines.

use super::*;

fn mistakes(change: &Value, user_data: Option<Vec<u8>>) -> Vec<(String, String)> {
    let mut section = section();
    section.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let ec2 = testing::driver::<Ec2>(FakeHost::default(), section).unwrap();
    testing::host(|host| host.user_data = user_data);
    let found = ec2.check(json!({})).unwrap();
    assert!(testing::host(|host| host.requests.is_empty()));
    found.into_iter().map(|detail| (detail.pointer, detail.message)).collect()
}

const AMAZON: &str = "https://ec2.eu-west-1.amazonaws.com";

#[test]
fn what_is_good_has_no_mistakes() {
    for good in [
        json!({}),
        // Other clouds have ids of their own forms.
        json!({"image_id": "emi-1", "security_group_ids": ["default"], "subnet_id": "net", "instance_type": "small"}),
        json!({"endpoint": "cloud.example:4567", "regionname": ""}),
        // Somebody's cloud on a machine of Amazon's.
        json!({"endpoint": "https://ec2-54-1-2-3.compute-1.amazonaws.com:4567", "instance_type": "small"}),
        json!({"endpoint": AMAZON, "image_id": "ami-0abcdef1234567890", "instance_type": "t3.small", "regionname": "any",
            "security_group_ids": ["sg-01234567", ""], "subnet_id": "", "key_name": "a key", "tags": {"team": "a"}}),
        json!({"endpoint": AMAZON, "image_id": "resolve:ssm:/my/image", "instance_type": "u-6tb1.112xlarge"}),
    ] {
        assert_eq!(mistakes(&good, Some(vec![b'a'; 16 << 10])), [], "{good}");
    }
}

#[test]
fn mistakes_are_told_at_their_places() {
    let tags: serde_json::Map<String, Value> = (0..50).map(|n| (format!("t{n}"), json!("x"))).collect();
    for (change, pointer, said) in [
        (json!({"endpoint": "replace_with_endpoint"}), "/endpoint", "write the URL of the EC2 API"),
        (json!({"endpoint": "http://cloud:1", "regionname": "a/b"}), "/regionname", "can't be part of a signature"),
        (json!({"image_id": ""}), "/image_id", "it is empty"),
        (json!({"image_id": "ami 1"}), "/image_id", "there are spaces"),
        (json!({"instance_type": ""}), "/instance_type", "it is empty"),
        (json!({"image_id": "replace_with_id_of_your_image"}), "/image_id", "those look like ami-"),
        (json!({"instance_type": "small"}), "/instance_type", "those look like t3.small"),
        (json!({"key_name": "\u{e4}"}), "/key_name", "ASCII"),
        (json!({"security_group_ids": ["sg-01234567", "default"]}), "/security_group_ids/1", "names are not taken"),
        (json!({"subnet_id": "vpc-01234567"}), "/subnet_id", "those look like subnet-"),
        (json!({"tags": {"aws:x/y": "1"}}), "/tags/aws:x~1y", "does not begin with `aws:`"),
        (json!({"tags": {"team": "x".repeat(257)}}), "/tags/team", "256"),
        (json!({"tags": tags}), "/tags", "they are 54 with those of Occopus"),
    ] {
        let mut section = json!({"endpoint": AMAZON, "image_id": "ami-01234567", "instance_type": "t3.small"});
        section.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let found = mistakes(&section, None);
        assert_eq!((found.len(), found[0].0.as_str()), (1, pointer), "{change}: {found:?}");
        assert!(found[0].1.contains(said), "{change}: {found:?}");
    }
    let long = mistakes(&json!({}), Some(vec![b'a'; (16 << 10) + 1]));
    assert_eq!(long[0].0, "#user-data");
    assert!(long[0].1.starts_with("the user data has 16385 bytes; EC2 takes 16384 at most"), "{long:?}");
}

#[test]
fn the_console_is_evidence_and_never_in_the_way() {
    let cloud = Shared::default();
    let ec2 = driver(&cloud, section());
    let made = ec2.create("id-1", json!({})).unwrap().handle;
    assert_eq!(ec2.tail(&made, 10).unwrap(), "booting\nkernel panic");
    assert_eq!(ec2.tail(&made, 1).unwrap(), "kernel panic");
    cloud.lock().unwrap().console = Some("");
    assert_eq!(ec2.tail(&made, 10).unwrap(), "");
    cloud.lock().unwrap().console = None;
    assert_eq!(ec2.tail(&made, 10).unwrap_err().reaction, Reaction::Unsupported);
    for code in ["InvalidAction", "UnauthorizedOperation", "InvalidParameterValue"] {
        let answer = refusal(400, code, "no").text();
        cloud.lock().unwrap().overrides.insert("GetConsoleOutput", (400, Vec::new(), answer));
        assert_eq!(ec2.tail(&made, 10).unwrap_err().reaction, Reaction::Unsupported, "{code}");
    }
    cloud.lock().unwrap().overrides.insert("GetConsoleOutput", (503, Vec::new(), String::new()));
    assert_eq!(ec2.tail(&made, 10).unwrap_err().reaction, Reaction::Retry);
}
