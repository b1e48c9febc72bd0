//! Codes of Microsoft Entra ID in words
//! (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).

/// Reaction of the host to a refused log-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginReaction {
    Denied,
    /// Refused for the moment.
    Later,
}

/// Code, reaction, and advice for the user.
type Entry = (u64, LoginReaction, &'static str);

const TABLE: &[Entry] = &[
    (
        7_000_215,
        LoginReaction::Denied,
        "`client_secret` in auth_data.yaml is wrong: write the secret's value, not its id.",
    ),
    (
        7_000_222,
        LoginReaction::Denied,
        "The secret has expired: make a new one (`az ad app credential reset`), and write it into auth_data.yaml.",
    ),
    (7_000_218, LoginReaction::Denied, "The request had no secret: is `client_secret` in auth_data.yaml empty?"),
    (7_000_112, LoginReaction::Denied, "Somebody disabled the application in this tenant."),
    (
        700_016,
        LoginReaction::Denied,
        "`client_id` in auth_data.yaml is not an application of this tenant: write the application's id, not the object's.",
    ),
    (700_082, LoginReaction::Denied, "The token in auth_data.yaml has expired: get a new one."),
    (
        700_024,
        LoginReaction::Denied,
        "The federated token has expired, or is not valid yet: is its file renewed, and the clock right?",
    ),
    (
        700_027,
        LoginReaction::Denied,
        "The federated token has no valid signature of an issuer that the application trusts.",
    ),
    (70_021, LoginReaction::Denied, "The application trusts no federated token of this issuer, subject and audience."),
    (700_211, LoginReaction::Denied, "The application trusts no federated token of this issuer."),
    (700_212, LoginReaction::Denied, "The application trusts no federated token of this audience."),
    (700_213, LoginReaction::Denied, "The application trusts no federated token of this subject."),
    (90_002, LoginReaction::Denied, "`tenant_id` in auth_data.yaml is not a tenant of this cloud."),
    (900_021, LoginReaction::Denied, "`tenant_id` in auth_data.yaml is not the id of a tenant."),
    (900_023, LoginReaction::Denied, "`tenant_id` in auth_data.yaml is neither a tenant's id nor its domain."),
    (
        900_382,
        LoginReaction::Denied,
        "The tenant belongs to another cloud: is `endpoint` the management host of yours?",
    ),
    (
        500_011,
        LoginReaction::Denied,
        "The tenant does not know the management host: is `endpoint` that of the tenant's cloud?",
    ),
    (53_003, LoginReaction::Denied, "A policy of the organisation (conditional access) refuses the log-in from here."),
    (50_196, LoginReaction::Later, "Too many log-ins in a short time."),
    (90_033, LoginReaction::Later, "The log-in service is not available at the moment."),
    (90_020, LoginReaction::Later, "The log-in service is not available at the moment."),
];

/// Returns the reaction and the advice of a code; none for one that is not known.
pub(crate) fn look_up(codes: &[u64]) -> Option<(LoginReaction, &'static str)> {
    codes.iter().find_map(|code| TABLE.iter().find(|(known, ..)| known == code)).map(|(_, how, advice)| (*how, *advice))
}

/// Returns the codes in a text: `AADSTS7000215: Invalid client secret provided.`
pub(crate) fn codes_in(text: &str) -> Vec<u64> {
    let digits = |rest: &str| rest.bytes().take_while(u8::is_ascii_digit).count();
    text.split("AADSTS").skip(1).filter_map(|rest| rest[..digits(rest)].parse().ok()).collect()
}
