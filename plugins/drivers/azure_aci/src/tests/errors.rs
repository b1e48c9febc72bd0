//! Refusals of Azure at the request that makes a group: what the host does, and at which of the user's keys it is told.

use super::*;

#[test]
fn refusals_become_faults() {
    use Reaction::{Conflict, Denied, GiveUp, NoCapacity, Retry, UnknownOutcome};
    let quota = "Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota 'StandardCores' exceeded in region \
                 'eastus'. Limit: '10', Usage: '10' Requested: '1'.";
    let full = "The requested resource is not available in the location 'westeurope' at this moment. Please retry with a different \
                resource request or in another location. Resource requested: '1' CPU '1.5' GB memory 'Linux' OS";
    for (status, code, message, reaction, pointer) in [
        (409, "ServiceUnavailable", full, NoCapacity, "/location"),
        (409, "ServiceUnavailable", quota, NoCapacity, "/cpu_cores"),
        (409, "ContainerGroupQuotaReached", quota, NoCapacity, "/cpu_cores"),
        (400, "SubnetIsFull", "no address", NoCapacity, "/subnet_name"),
        (409, "ContainerGroupTransitioning", "still transitioning", Retry, ""),
        (
            409,
            "RegistryErrorResponse",
            "An error response is received from the docker registry 'index.docker.io'.",
            Retry,
            "/registry_server",
        ),
        (429, "TooManyRequests", "The request is being throttled", Retry, ""),
        (400, "InaccessibleImage", "The image 'x' in container group 'y' is not accessible.", GiveUp, "/image"),
        (409, "DnsNameLabelNotAvailable", "The DNS name label 'x' not available.", Conflict, ""),
        (
            400,
            "MissingIpAddressPorts",
            "The ports in the 'ipAddress' of container group 'x' cannot be empty.",
            GiveUp,
            "/ports",
        ),
        (400, "InvalidOsType", "The os type 'x' is invalid", GiveUp, "/os_type"),
        (
            400,
            "SubnetMissingRequiredDelegation",
            "Subnet missing required delegation 'Microsoft.ContainerInstance'",
            GiveUp,
            "/subnet_name",
        ),
        (400, "SubnetNotFound", "The subnet 'x' was not found.", GiveUp, "/subnet_name"),
        (
            400,
            "SpotPriorityContainerGroupNotSupportedForInboundConnectivity",
            "Spot Priority is not supported",
            GiveUp,
            "/priority",
        ),
        (400, "LocationNotAvailableForResourceType", "The provided location 'x' is not available", GiveUp, "/location"),
        (403, "AuthorizationFailed", "The client does not have authorization", Denied, ""),
        (403, "RequestDisallowedByPolicy", "Resource was disallowed by policy.", GiveUp, ""),
        (409, "MissingSubscriptionRegistration", "The subscription is not registered to use namespace", GiveUp, ""),
        (409, "ScopeLocked", "The scope cannot perform write operation because of a lock", Conflict, "/resource_group"),
        (404, "SubscriptionNotFound", "The subscription could not be found.", Denied, ""),
        (500, "InternalServerError", "oops", UnknownOutcome, ""),
    ] {
        let azure = Azure::shared();
        let aci = plain(&azure);
        aci.create("0", json!({})).unwrap();
        azure.lock().unwrap().overrides.push((PUT_GROUP.to_owned(), 1, refusal(status, code, message)));
        let fault = aci.create(ID, json!({})).unwrap_err();
        assert_eq!(fault.reaction, reaction, "{code}: {fault}");
        let pointed = fault.details.iter().map(|detail| detail.pointer.as_str()).find(|pointer| !pointer.is_empty());
        assert_eq!(pointed.unwrap_or_default(), pointer, "{code}: {:?}", fault.details);
        assert!(fault.message.contains(message) && fault.message.contains(code), "{fault}");
        assert!(fault.details.iter().any(|detail| detail.message == "correlation id c-1"), "{:?}", fault.details);
    }
}

#[test]
fn what_is_missing_is_said_before_anything_is_made() {
    for (more, reaction, pointer) in [
        (json!({"secure_env": ["TOKEN"]}), Reaction::GiveUp, "/secure_env/0"),
        (json!({"registry_server": "mine.azurecr.io"}), Reaction::Denied, "/registry_server"),
    ] {
        let azure = Azure::shared();
        let fault = harness(&azure, &more, |_| {}).create(ID, json!({})).unwrap_err();
        assert_eq!((fault.reaction, fault.details[0].pointer.as_str()), (reaction, pointer));
        assert!(azure.lock().unwrap().calls.is_empty());
    }
    let fault = testing::driver::<AzureAci>(FakeHost::default(), section(&json!({})))
        .unwrap()
        .create(ID, json!({}))
        .unwrap_err();
    assert_eq!(fault.reaction, Reaction::Denied);
}

#[test]
fn what_is_not_azure_proves_nothing() {
    let azure = Azure::shared();
    let aci = private(&azure);
    let made = aci.create(ID, json!({})).unwrap().handle;
    let old = Handle::new(1, made.data.replace("made=1", "made=0"));
    for answer in [
        (404, json!({"message": "no Route matched with those values"})),
        (
            404,
            json!({"error": {"code": "ResourceNotFound", "message": "The Resource 'something else' was not found."}}),
        ),
        (200, json!({})),
        (200, json!([])),
        (200, json!({"status": "ok", "version": "7.1"})),
        (502, json!(null)),
    ] {
        for start in ["GET", "DELETE", "PUT"] {
            azure.lock().unwrap().overrides.push((start.to_owned(), 1000, answer.clone()));
        }
        let observed = aci.observe(std::slice::from_ref(&old));
        assert!(observed.is_err_and(|fault| fault.reaction == Reaction::Retry), "{answer:?}");
        assert!(aci.find(ID).is_err_and(|fault| fault.reaction == Reaction::Retry), "{answer:?}");
        assert!(aci.list_owned(None).is_err_and(|fault| fault.reaction == Reaction::Retry), "{answer:?}");
        assert!(aci.destroy(&old).is_err(), "{answer:?}");
        azure.lock().unwrap().overrides.clear();
    }
}
