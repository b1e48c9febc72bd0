//! Answers in the place of EC2's: the driver reports a machine as gone only if EC2 does, to keys of its own account.

use occopus_driver_ec2::Ec2;
use occopus_sdk::{Handle, Phase, testing};
use serde_json::json;

use crate::answers::{Exchange, Input, Said};

const ID: &str = "i-0123456789abcdef0";
const ACCOUNT: &str = "111122223333";

/// Makes one call with the answers in the input.
pub(crate) fn hold(bytes: &[u8]) {
    let input = Input::read(bytes);
    let (host, heard) = input.host();
    let host = host.credential("accesskey", "AKIDEXAMPLE").credential("secretkey", "hunter2");
    let amazon = input.wants("amazon");
    let endpoint = if amazon { "https://ec2.eu-west-1.amazonaws.com" } else { "http://cloud:8773/services/Cloud" };
    let section =
        json!({"endpoint": endpoint, "regionname": "eu-west-1", "image_id": "ami-1", "instance_type": "t3.small"});
    let Ok(ec2) = testing::driver::<Ec2>(host, section) else { return };
    let handle = if input.wants("old") {
        Handle::new(1, ID)
    } else {
        Handle::new(2, format!("{ID}@1700000000 account={ACCOUNT} region=eu-west-1 instance=instance-1"))
    };
    let said = input.call(&ec2, &[handle], "instance-1");
    let heard = heard.borrow();
    match said {
        Said::Machine(machine) => {
            let id = machine.handle.data.split(['@', ' ']).next().unwrap_or_default().to_owned();
            // An entity may stand for any letter of it.
            let named = |exchange: &Exchange| {
                exchange.is_success() && (exchange.text().contains(&id) || exchange.text().contains('&'))
            };
            assert!(!id.is_empty() && heard.iter().any(named), "no answer names `{id}`");
        }
        Said::Machines(machines) if machines.iter().any(|machine| machine.phase == Phase::Gone) => {
            assert!(heard.iter().any(proves), "the server did not report it as gone");
        }
        Said::Removed => assert!(heard.iter().any(proves), "the server did not report it as gone"),
        Said::Nothing => assert!(heard.iter().any(is_list), "no list was shown"),
        Said::Page(page) if page.machines.is_empty() => assert!(heard.iter().any(is_list), "no list was shown"),
        _ => {}
    }
}

/// Returns whether this is the end of this machine, or an answer to a caller of its account.
fn proves(exchange: &Exchange) -> bool {
    let text = exchange.text();
    let ends = ["terminated", "shutting-down"].iter().any(|state| text.contains(state));
    text.contains(ACCOUNT) || exchange.is_success() && text.contains(ID) && ends
}

fn is_list(exchange: &Exchange) -> bool {
    exchange.is_success() && exchange.text().contains("DescribeInstancesResponse")
}
