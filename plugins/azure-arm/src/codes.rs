//! Table of Azure's codes
//! (<https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors>).

use occopus_sdk::Reaction;

/// Subject of a refusal, for which a driver has a key in its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Subject {
    /// Nothing that the user wrote.
    None,
    Endpoint,
    Group,
    Location,
    Size,
    Image,
    Plan,
    ComputerName,
    Username,
    Password,
    SshKey,
    UserData,
    Network,
    Subnet,
    Card,
    Zones,
    Priority,
    Identity,
    Tags,
    Ports,
    OperatingSystem,
    Gpu,
    Registry,
}

/// Judgement of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Reaction of the host.
    pub reaction: Reaction,
    /// Subject in the user's section.
    pub subject: Subject,
    /// Advice for the user; empty if Microsoft's own words suffice.
    pub hint: &'static str,
}

/// Row of the table: codes of which one must match (none match all; a `*` at the end or at the beginning stands for
/// anything), words of which one must be in the message or the target (none match all).
pub(crate) struct Row {
    pub(crate) codes: &'static [&'static str],
    pub(crate) words: &'static [&'static str],
    pub(crate) verdict: Verdict,
}

impl Row {
    /// Returns true if a code, and words in lower case, are those of this row.
    pub(crate) fn fits(&self, code: &str, words: &str) -> bool {
        self.codes.iter().any(|pattern| matches(pattern, code))
            && (self.words.is_empty() || self.words.iter().any(|word| words.contains(&word.to_ascii_lowercase())))
    }
}

fn matches(pattern: &str, code: &str) -> bool {
    let (pattern, code) = (pattern.to_ascii_lowercase(), code.to_ascii_lowercase());
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => code.ends_with(end),
        (None, Some(start)) => code.starts_with(start),
        (None, None) => code == pattern,
    }
}

const fn row(
    codes: &'static [&'static str],
    words: &'static [&'static str],
    reaction: Reaction,
    subject: Subject,
    hint: &'static str,
) -> Row {
    Row { codes, words, verdict: Verdict { reaction, subject, hint } }
}

const QUOTA: &str =
    "a quota of the subscription is used up: ask for more in Azure's portal, or take another size or location";
pub(crate) const RIGHTS: &str =
    "The service principal in auth_data.yaml may not do this: it needs the role Contributor on the resource group.";
pub(crate) const WAIT: &str = "Another change of it is under way.";
pub(crate) const IN_USE: &str = "Something in Azure still refers to it.";
const TERMS: &str = "this image is sold on the marketplace: write its `plan` (name, product, publisher), and accept its terms \
                     once (`az vm image terms accept`)";
const INVALID: &[&str] = &[
    "InvalidParameter",
    "InvalidParameterValue",
    "BadRequest",
    "InvalidRequestContent",
    "InvalidRequestFormat",
    "PropertyValueInvalid",
    "LinkedInvalidPropertyId",
];

pub(crate) const TABLE: &[Row] = &[
    row(
        &["InvalidTag*", "TagLimitExceeded", "TooManyTags", "InvalidTagNameCharacters"],
        &[],
        Reaction::GiveUp,
        Subject::Tags,
        "Azure does not take these tags",
    ),
    // Full, or a quota is used up.
    row(
        &["OperationNotAllowed", "Conflict", "ServiceUnavailable", "BadRequest", "InvalidTemplateDeployment"],
        &["quota", "LowPriorityCores"],
        Reaction::NoCapacity,
        Subject::Size,
        QUOTA,
    ),
    row(
        &["IPv4BasicSkuPublicIpCountLimitReached"],
        &[],
        Reaction::GiveUp,
        Subject::None,
        "Azure no longer gives addresses of the Basic kind.",
    ),
    row(
        &[
            "QuotaExceeded",
            "ResourceQuotaExceeded",
            "ContainerGroupQuotaReached",
            "*CountLimitReached",
            "*QuotaExceeded",
            "*LimitExceeded",
        ],
        &[],
        Reaction::NoCapacity,
        Subject::Size,
        QUOTA,
    ),
    row(
        &["SkuNotAvailable"],
        &[],
        Reaction::NoCapacity,
        Subject::Size,
        "not to be had in this location, zone or subscription: take another size or place",
    ),
    row(
        &[
            "AllocationFailed",
            "ZonalAllocationFailed",
            "Overconstrained*",
            "AllocationTimedOut",
            "SpotAllocationFailed",
        ],
        &[],
        Reaction::NoCapacity,
        Subject::Size,
        "Azure has no room for this size now: take another size, zone or location, or wait",
    ),
    row(
        &["InsufficientSubnetSize", "SubnetIsFull", "*SubnetFull"],
        &[],
        Reaction::NoCapacity,
        Subject::Subnet,
        "this subnet has no free address",
    ),
    row(
        &["ServiceUnavailable"],
        &["not available in the location", "is not available at this moment"],
        Reaction::NoCapacity,
        Subject::Location,
        "Azure has no room here now: take another location, or wait",
    ),
    // Later.
    row(
        &["TooManyRequests", "*RequestsThrottled", "OperationThrottled", "RequestRateTooHigh"],
        &[],
        Reaction::Retry,
        Subject::None,
        "",
    ),
    row(
        &[
            "RetryableError*",
            "AnotherOperationInProgress",
            "ReferencedResourceNotProvisioned",
            "ContainerGroupTransitioning",
            "ResourceGroupBeingDeleted",
            "OperationPreempted",
            "ConcurrentUpdate*",
        ],
        &[],
        Reaction::Retry,
        Subject::None,
        WAIT,
    ),
    row(
        &["RegistryErrorResponse"],
        &[],
        Reaction::Retry,
        Subject::Registry,
        "the registry of the image refuses Azure for the moment: with credentials it allows more",
    ),
    row(
        &[
            "InUse*",
            "NicInUse",
            "NicReservedForAnotherVm",
            "PublicIPAddressCannotBeDeleted",
            "NetworkProfileAlreadyInUse",
            "*CannotBeDeletedWhenInUse",
            "SubnetHasDelegations",
        ],
        &[],
        Reaction::Retry,
        Subject::None,
        IN_USE,
    ),
    row(
        &["BadRequest", "SubnetMissingRequiredDelegation"],
        &["requires any of the following delegation"],
        Reaction::Retry,
        Subject::None,
        IN_USE,
    ),
    // Rights, tokens, policies.
    row(
        &["SubscriptionNotFound", "InvalidSubscriptionId", "SubscriptionNotAuthorized"],
        &[],
        Reaction::Denied,
        Subject::None,
        "`subscription_id` in auth_data.yaml is none that the service principal may see.",
    ),
    row(
        &["InvalidAuthenticationTokenTenant"],
        &[],
        Reaction::Denied,
        Subject::None,
        "The token is of another tenant than the subscription: check `tenant_id` and `subscription_id` in auth_data.yaml.",
    ),
    row(
        &[
            "ExpiredAuthenticationToken",
            "InvalidAuthenticationToken*",
            "AuthenticationFailed*",
            "AuthenticationFailedMissingToken",
        ],
        &[],
        Reaction::Denied,
        Subject::None,
        "Azure does not take the token.",
    ),
    row(
        &["*DisabledSubscription", "SubscriptionDisabled", "DisabledSubscription"],
        &[],
        Reaction::Denied,
        Subject::None,
        "The subscription is disabled: look at its bill in Azure's portal.",
    ),
    row(
        &["AuthorizationFailed", "LinkedAuthorizationFailed", "Forbidden", "AuthorizationPermissionMismatch"],
        &[],
        Reaction::Denied,
        Subject::None,
        RIGHTS,
    ),
    row(
        &["RequestDisallowedBy*"],
        &["location", "region"],
        Reaction::GiveUp,
        Subject::Location,
        "a policy of the organisation forbids it",
    ),
    row(
        &["RequestDisallowedBy*"],
        &["tag"],
        Reaction::GiveUp,
        Subject::Tags,
        "a policy of the organisation forbids it",
    ),
    row(&["RequestDisallowedBy*"], &[], Reaction::GiveUp, Subject::None, "A policy of the organisation forbids it."),
    row(&["ScopeLocked"], &[], Reaction::Conflict, Subject::Group, "somebody locked it: `az lock list` shows the lock"),
    row(
        &["MissingSubscriptionRegistration", "SubscriptionNotRegistered", "NoRegisteredProviderFound"],
        &["api-version", "location"],
        Reaction::GiveUp,
        Subject::Location,
        "the subscription does not have this here: register the provider (`az provider register --namespace ...`), or take another location",
    ),
    row(
        &["MissingSubscriptionRegistration", "SubscriptionNotRegistered"],
        &[],
        Reaction::GiveUp,
        Subject::None,
        "Register the provider once: `az provider register --namespace ...`, with the namespace in Azure's words.",
    ),
    // Container groups.
    row(
        &["MissingIpAddressPorts", "NotExposedPort", "DuplicateContainerPorts", "InvalidPort*"],
        &[],
        Reaction::GiveUp,
        Subject::Ports,
        "Azure does not take these ports",
    ),
    row(
        &["SpotPriority*", "PriorityNotSpecified"],
        &[],
        Reaction::GiveUp,
        Subject::Priority,
        "Azure does not give this to Spot groups",
    ),
    row(
        &["InvalidOsType", "UnsupportedWindowsVersion"],
        &[],
        Reaction::GiveUp,
        Subject::OperatingSystem,
        "Azure does not run this operating system here",
    ),
    row(&["SubnetNotFound"], &[], Reaction::GiveUp, Subject::Subnet, "no such subnet here"),
    row(
        &["SubnetMissingRequiredDelegation"],
        &[],
        Reaction::GiveUp,
        Subject::Subnet,
        "delegate this subnet to Microsoft.ContainerInstance/containerGroups",
    ),
    row(
        &["ResourceRequestsNotSpecified", "InvalidResourceRequests"],
        &[],
        Reaction::GiveUp,
        Subject::Size,
        "Azure does not take this size",
    ),
    row(&["InvalidImageRegistryCredential*"], &[], Reaction::GiveUp, Subject::Registry, "Azure does not take this"),
    // Clashes with what exists.
    row(&["PropertyChangeNotAllowed"], &[], Reaction::Conflict, Subject::None, "It exists with other properties."),
    row(
        &["PreconditionFailed", "ConditionNotMet", "ResourceExists*", "*AlreadyExists"],
        &[],
        Reaction::Conflict,
        Subject::None,
        "It exists already.",
    ),
    row(
        &["DnsRecordInUse", "DnsNameLabel*", "DnsNameNotAvailable"],
        &[],
        Reaction::Conflict,
        Subject::None,
        "Somebody else has this name in the location.",
    ),
    // Mistakes in the section.
    row(
        &["InvalidResourceGroup*", "ResourceGroupNotFound"],
        &["location"],
        Reaction::GiveUp,
        Subject::Group,
        "the group exists in another location, which is fine; Azure refuses to move it",
    ),
    row(&["InvalidResourceGroup*"], &[], Reaction::GiveUp, Subject::Group, "Azure does not take this name"),
    row(
        &["LocationNotAvailable*", "InvalidLocation", "LocationNotSupported", "LocationNotFound", "LocationRequired"],
        &[],
        Reaction::GiveUp,
        Subject::Location,
        "no such location for this",
    ),
    row(
        &[
            "ImageNotFound",
            "PlatformImageNotFound",
            "GalleryImageNotFound",
            "InaccessibleImage",
            "ImageVersionDeprecated",
            "ImageBlockedForCreation",
            "InvalidImage*",
            "OsImageNotFound",
        ],
        &[],
        Reaction::GiveUp,
        Subject::Image,
        "Azure has no such image here, or may not read it",
    ),
    row(
        &[
            "VMMarketplaceInvalidInput",
            "ResourcePurchaseValidationFailed",
            "MarketplacePurchaseEligibilityFailed",
            "ResourcePurchaseCanceled",
            "PlanNotAllowed*",
            "InvalidPlan*",
        ],
        &[],
        Reaction::GiveUp,
        Subject::Plan,
        TERMS,
    ),
    row(
        &["InvalidResourceReference", "ReferencedResourceNotFound", "NetcfgInvalidSubnet", "InvalidSubnet*"],
        &["subnet", "virtualNetwork"],
        Reaction::GiveUp,
        Subject::Subnet,
        "no such subnet here",
    ),
    row(
        &["InvalidCustomData*"],
        &[],
        Reaction::GiveUp,
        Subject::UserData,
        "Azure does not take what was rendered here",
    ),
    row(
        INVALID,
        &["customData", "custom data"],
        Reaction::GiveUp,
        Subject::UserData,
        "Azure does not take what was rendered here",
    ),
    row(
        INVALID,
        &["adminPassword", "password"],
        Reaction::GiveUp,
        Subject::Password,
        "Azure takes passwords of 12 to 72 characters, of three kinds (lower case, upper case, digits, others), and none of the usual ones",
    ),
    row(
        INVALID,
        &["adminUsername", "Admin user", "admin username"],
        Reaction::GiveUp,
        Subject::Username,
        "Azure does not take this name",
    ),
    row(
        INVALID,
        &["computerName", "computer name"],
        Reaction::GiveUp,
        Subject::ComputerName,
        "Azure does not take this name",
    ),
    row(
        INVALID,
        &["ssh.publicKey", "publicKeys", "keyData", "SSH public key", "ssh key"],
        Reaction::GiveUp,
        Subject::SshKey,
        "Azure does not take this key",
    ),
    row(INVALID, &["vmSize", "VM size", "hardwareProfile"], Reaction::GiveUp, Subject::Size, "no such size here"),
    row(
        INVALID,
        &["imageRegistryCredentials", "registry"],
        Reaction::GiveUp,
        Subject::Registry,
        "Azure does not take this",
    ),
    row(INVALID, &["imageReference", "image"], Reaction::GiveUp, Subject::Image, "Azure has no such image here"),
    row(
        INVALID,
        &["priority", "evictionPolicy", "billingProfile", "maxPrice"],
        Reaction::GiveUp,
        Subject::Priority,
        "Azure does not take this",
    ),
    row(
        &[
            "InvalidAvailabilityZone",
            "ZoneNotFound",
            "AvailabilityZoneNotSupported",
            "ResourceNotSupportedInZone",
            "LocationDoesNotSupportAvailabilityZones",
        ],
        &[],
        Reaction::GiveUp,
        Subject::Zones,
        "no such zone here",
    ),
    row(INVALID, &["zones", "availability zone"], Reaction::GiveUp, Subject::Zones, "no such zone here"),
    row(
        INVALID,
        &["identity", "userAssignedIdentities"],
        Reaction::GiveUp,
        Subject::Identity,
        "Azure does not take this identity",
    ),
    row(
        &["FailedIdentityOperation", "InvalidIdentity*", "UserAssignedIdentityNotFound"],
        &[],
        Reaction::GiveUp,
        Subject::Identity,
        "no such identity here",
    ),
    row(INVALID, &["gpu"], Reaction::GiveUp, Subject::Gpu, "Azure has no such accelerator here"),
    row(INVALID, &["location"], Reaction::GiveUp, Subject::Location, "no such location for this"),
    row(
        &["InvalidApiVersionParameter", "UnsupportedApiVersion"],
        &[],
        Reaction::Unsupported,
        Subject::Endpoint,
        "this cloud does not have the version of Azure's interface that the driver uses",
    ),
];
