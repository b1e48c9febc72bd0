//! Who may come in: tokens, what they allow, and what is refused before anything is looked at.
//!
//! [`guard`] goes around the routes. Behind it every request has a [`Caller`], which handlers ask with [`Caller::may`].
//!
//! A page of another web site in the user's browser can send requests to this service, also to one on a loopback address.
//! It is kept out thrice: by the name that it called us (a name that was made to resolve to a loopback address is none of
//! ours), by the origin that browsers tell with everything that changes something, and by the cookie, which they send from
//! our own page only.

mod anonymous;
mod body_permits;
mod caller;
mod cookie;
mod error;
mod guard;
mod host;
mod limiter;
mod paths;
mod record;
mod scope;
mod sessions;
mod slots;
mod token;
mod token_cache;
mod tokens;

pub use caller::Caller;
pub use error::AccessError;
pub use guard::{Access, AccessConfig, OriginError, guard};
pub use limiter::RateLimits;
pub use record::TokenInfo;
pub use scope::{Scope, UnknownScope};
pub use sessions::SessionText;
pub(crate) use slots::{SlotGuard, Slots};
pub use token::TokenText;
pub use tokens::{NewToken, TokenError, Tokens};
