//! `occopus token`: tokens of the service.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use occopus_engine::EngineError;
use occopus_server::access::{NewToken, TokenError, TokenInfo, Tokens};
use serde_json::{Value, json};

use super::args::{GlobalArgs, OutputFormat, TokenCommand};
use super::failure::Failure;
use super::{backend, print};

pub(crate) async fn run(token: TokenCommand, common: &GlobalArgs) -> Result<(), Failure> {
    let tokens = Tokens::new(backend::open_local(common)?.store().await?);
    match token {
        TokenCommand::Create { name, scope, infrastructures, expires, output } => {
            let infrastructures = (!infrastructures.is_empty()).then(|| infrastructures.into_iter().collect());
            let expires = expires.map(expiry_after).transpose()?;
            let (text, info) = tokens.create(NewToken { name, scope, infrastructures, expires }).await?;
            match output.format {
                OutputFormat::Json => print::json(&to_json_with_secret(&info, text.reveal())),
                OutputFormat::Text => {
                    print::note(format_args!("{}; the token is shown only once:", describe(&info)));
                    print::line(text.reveal());
                }
            }
        }
        TokenCommand::List { output } => {
            let all = tokens.list().await?;
            match output.format {
                OutputFormat::Json => print::json(&all),
                OutputFormat::Text if all.is_empty() => {
                    print::line("No tokens; `occopus token create NAME --scope read` makes one.");
                }
                OutputFormat::Text => all.iter().for_each(|info| print::line(describe(info))),
            }
        }
        TokenCommand::Revoke { which, output } => {
            let revoked = tokens.revoke(&which).await?;
            match output.format {
                OutputFormat::Json => print::json(&revoked),
                OutputFormat::Text => revoked.iter().for_each(|info| print::line(describe(info))),
            }
        }
    }
    Ok(())
}

/// Returns the time after this span from now.
fn expiry_after(span: Span) -> Result<Timestamp, Failure> {
    let end = Timestamp::now().to_zoned_datetime(TimeZone::UTC).checked_add(span);
    let end = end.map_err(|error| Failure::new("token.expires", format_args!("--expires: {error}")))?;
    Ok(end.timestamp())
}

fn to_json_with_secret(info: &TokenInfo, text: &str) -> Value {
    let mut value = json!({ "token": text });
    if let (Some(value), Ok(Value::Object(info))) = (value.as_object_mut(), serde_json::to_value(info)) {
        value.extend(info);
    }
    value
}

/// Returns a line about a token, for people.
fn describe(info: &TokenInfo) -> String {
    let mut text = format!("{}  {:<7}  {}", info.id, info.scope, info.name);
    if let Some(infrastructures) = &info.infrastructures {
        let ids: Vec<_> = infrastructures.iter().map(String::as_str).collect();
        text += &format!(", for {} only", ids.join(", "));
    }
    let seconds = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    match (info.revoked, info.expires) {
        (Some(revoked), _) => text += &format!(", revoked {}", seconds(revoked)),
        (None, Some(expires)) if !info.is_valid(Timestamp::now()) => text += &format!(", expired {}", seconds(expires)),
        (None, Some(expires)) => text += &format!(", until {}", seconds(expires)),
        (None, None) => {}
    }
    text
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        let code = error.code();
        match error {
            TokenError::Store(source) => EngineError::from(source).into(),
            error => Self::new(code, error),
        }
    }
}
