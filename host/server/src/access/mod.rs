//! Access control: tokens, their scopes, and the checks that a request passes before its route reads anything of it.
//!
//! [`guard`] wraps the routes. Behind it every request carries a [`Caller`]; handlers check it with
//! [`Caller::authorize`]. Routes and the engine must not read tokens or cookies themselves.
//!
//! A page of another web site in the user's browser can send requests to this service, also to one on a loopback address.
//! Three checks reject such requests: the host name (a foreign name that was made to resolve to a loopback address is not
//! allowed), the origin that browsers send with every request that changes something, and the cookie, which browsers send
//! from this service's own page only.

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
