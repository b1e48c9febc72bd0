//! The HTTP client of a service: its URL, the trusted certificates, and the token.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use occopus_model::files;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::body::{read_body, read_failure};
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::print;
use crate::service_error::ServiceError;

/// Time until a connection is established.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time until a response is complete: the service may call clouds for it.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(300);
/// Size limit of a file of certificates or of a token, in bytes.
const MAX_CREDENTIAL_FILE_BYTES: u64 = 4 << 20;
/// Size limit of a response, in bytes: more than the status of the largest infrastructure has.
const MAX_RESPONSE_BYTES: usize = 256 << 20;
/// Longest `Retry-After` that is waited for, in seconds.
const MAX_RETRY_AFTER_SECONDS: u64 = 10;
/// Number of attempts of a request that is rate-limited (`429`).
const MAX_ATTEMPTS: usize = 5;

/// A client of a service.
#[derive(Clone)]
pub(crate) struct ServiceClient {
    client: Client,
    base: Url,
}

impl ServiceClient {
    /// Returns the client of the service that the options or the environment name; none if commands run on this machine.
    pub(crate) fn from_args(common: &GlobalArgs) -> Result<Option<Self>, Failure> {
        let Some(address) = server_address(common) else { return Ok(None) };
        let authorities =
            match common.server_ca.clone().or_else(|| environment_variable("OCCOPUS_SERVER_CA").map(PathBuf::from)) {
                Some(file) => {
                    let pem = files::read(&file, MAX_CREDENTIAL_FILE_BYTES)
                        .map_err(|error| client_config_error(format_args!("{}: {error}", file.display())))?;
                    Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty()).ok_or_else(|| {
                        client_config_error(format_args!("{} contains no PEM certificates", file.display()))
                    })?
                }
                None => Vec::new(),
            };
        Self::new(&address, authorities, read_token(common)?).map(Some)
    }

    pub(super) fn new(address: &str, authorities: Vec<Certificate>, token: Option<String>) -> Result<Self, Failure> {
        let base = parse_base_url(address)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| client_config_error("the token contains invalid characters"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
            if base.scheme() == "http" && !is_loopback(&base) {
                print::note(format_args!("warning: the token is sent to {base} unencrypted; use https to protect it"));
            }
        }
        // Fails if a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("occopus/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            // A service does not redirect; another server that does must not get the token.
            .redirect(Policy::none());
        if !authorities.is_empty() {
            client = client.tls_certs_merge(authorities);
        }
        if is_loopback(&base) {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| client_config_error(cause_chain(&error)))?;
        Ok(Self { client, base })
    }

    /// Returns the URL of a path below that of the service.
    pub(super) fn url(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        // An http URL always can have a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Creates a request with a timeout for the whole response.
    pub(super) fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        self.client.request(method, self.url(path, query)).timeout(RESPONSE_TIMEOUT)
    }

    /// Creates a request whose response may have no end.
    pub(super) fn stream(&self, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        self.client.request(Method::GET, self.url(path, query))
    }

    /// Sends a request; repeats it while it is rate-limited. Any other status than success is a failure.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let mut attempts = 0;
        loop {
            let this = request.try_clone().ok_or_else(|| client_config_error("the request can't be repeated"))?;
            let response = this.send().await.map_err(|error| self.unreachable(&error))?;
            attempts += 1;
            match (response.status(), retry_after_seconds(&response)) {
                (status, _) if status.is_success() => return Ok(response),
                (StatusCode::TOO_MANY_REQUESTS, Some(seconds))
                    if seconds <= MAX_RETRY_AFTER_SECONDS && attempts < MAX_ATTEMPTS =>
                {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                }
                (status, _) if status.is_redirection() => {
                    let text = format!("the service at {} redirects the request ({status})", self.base);
                    return Err(ServiceError::new("service.elsewhere", text).into());
                }
                _ => return Err(read_failure(response).await),
            }
        }
    }

    /// Sends a request and reads the response.
    pub(super) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        self.read(self.send(request).await?).await
    }

    /// Reads a response.
    pub(super) async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let bytes = read_body(response, MAX_RESPONSE_BYTES).await.map_err(|error| self.unreachable(&error))?;
        let Some(bytes) = bytes else {
            let text = format!("the response of {} is larger than {} MiB", self.base, MAX_RESPONSE_BYTES >> 20);
            return Err(ServiceError::new("service.unexpected", text).into());
        };
        serde_json::from_slice(&bytes).map_err(|error| {
            let text = format!("unexpected response of {}, which may not be an Occopus service: {error}", self.base);
            ServiceError::new("service.unexpected", text).into()
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let text = format!("cannot connect to the service at {}: {}", self.base, cause_chain(error));
        ServiceError::new("service.unreachable", text).transient().into()
    }
}

/// Returns the URL of the service, if the options or the environment name one.
pub(super) fn server_address(common: &GlobalArgs) -> Option<String> {
    common.server.clone().or_else(|| environment_variable("OCCOPUS_SERVER"))
}

fn environment_variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads the token from a file or from the environment, never from the command line, which others can see.
fn read_token(common: &GlobalArgs) -> Result<Option<String>, Failure> {
    let Some(file) = &common.token_file else { return Ok(environment_variable("OCCOPUS_TOKEN")) };
    let text = files::read_text(file, MAX_CREDENTIAL_FILE_BYTES)
        .map_err(|error| client_config_error(format_args!("{}: {error}", file.display())))?;
    match text.trim() {
        "" => Err(client_config_error(format_args!("{} contains no token", file.display()))),
        token => Ok(Some(token.to_owned())),
    }
}

fn parse_base_url(address: &str) -> Result<Url, Failure> {
    let invalid = |cause: &str| {
        Failure::new("server.invalid", format_args!("`{address}` is not the URL of a service: {cause}"))
            .help("for example https://occopus.example.org, or http://127.0.0.1:8080")
    };
    let url = Url::parse(address).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("it does not begin with `https://` or `http://`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // The message does not repeat the address, which has a password in it.
        let text = "the URL of a service must not contain a user or a password";
        return Err(Failure::new("server.invalid", text).help("pass a token in OCCOPUS_TOKEN or with `--token-file`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it contains a `?` or a `#`"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Returns the `Retry-After` of a response in seconds. The service sends whole seconds, not dates.
fn retry_after_seconds(response: &Response) -> Option<u64> {
    response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

fn client_config_error(text: impl std::fmt::Display) -> Failure {
    Failure::new("server.unusable", text)
}

/// Returns the causes of an error. The text of a reqwest error itself is about requests and URLs.
fn cause_chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error: &&(dyn StdError + 'static)| (*error).source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

#[cfg(test)]
mod tests {
    use occopus_api::ExitStatus;

    use super::*;

    fn service(address: &str) -> ServiceClient {
        ServiceClient::new(address, Vec::new(), None).unwrap_or_else(|failure| panic!("{}", failure.render()))
    }

    #[test]
    fn names_in_paths_and_queries_stay_names() {
        for base in ["http://127.0.0.1:1/api", "http://127.0.0.1:1/api/"] {
            let url = service(base).url(&["infrastructures", "a/b ?", "x"], &[("name", "a&b=c".to_owned())]);
            assert_eq!(url.as_str(), "http://127.0.0.1:1/api/infrastructures/a%2Fb%20%3F/x?name=a%26b%3Dc");
        }
    }

    #[test]
    fn invalid_urls_are_refused() {
        for address in ["", "localhost:8080", "ftp://x", "https://x/?a", "https://me:SECRET@x", "/tmp/socket"] {
            let failure = ServiceClient::new(address, Vec::new(), None).err().expect(address);
            assert_eq!(failure.exit(), ExitStatus::Usage, "{address}");
            assert!(!failure.render().contains("SECRET"));
        }
    }

    /// Checks a server that is not a service.
    #[tokio::test]
    async fn an_answer_without_end_is_not_read_to_the_end() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.read(&mut [0; 4096]).await;
                let _ = socket.write_all(b"HTTP/1.1 500 Oh\r\nconnection: close\r\n\r\n").await;
                while socket.write_all(&[b'a'; 1 << 16]).await.is_ok() {}
            }
        });
        let service = service(&address);
        let response = service.request(Method::GET, &["a"], &[]).send().await.expect("an answer");
        assert_eq!(read_body(response, 1 << 20).await.expect("it goes on"), None);
        let failure = service.send(service.request(Method::GET, &["a"], &[])).await.expect_err("a failure");
        assert!(failure.render().contains("500"), "{}", failure.render());
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = Some("occ_SECRET".to_owned());
        let service =
            ServiceClient::new("https://x", Vec::new(), token).unwrap_or_else(|failure| panic!("{}", failure.render()));
        assert!(!format!("{:?}", service.client).contains("SECRET"));
        let broken = ServiceClient::new("https://x", Vec::new(), Some("SECRET\n".to_owned())).err().expect("no token");
        assert!(!broken.render().contains("SECRET"));
    }
}
