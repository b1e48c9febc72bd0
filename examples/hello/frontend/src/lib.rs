//! The frontend of the hello example: a page that shows what the backend answers.
//!
//! Empty on other targets than WebAssembly.

#[cfg(target_arch = "wasm32")]
mod service {
    use std::env;

    use wstd::http::{Body, Client, Error, Request, Response, StatusCode};
    use wstd::time::Duration;

    #[wstd::http_server]
    async fn main(_request: Request<Body>) -> Result<Response<Body>, Error> {
        let name = env::var("NAME").unwrap_or_else(|_| "frontend".into());
        let address = env::var("OCCOPUS_ADDRESS").unwrap_or_else(|_| "an unknown address".into());
        let backend = env::var("BACKEND").unwrap_or_else(|_| "127.0.0.1:8080".into());
        let (status, answer) = match fetch(&backend).await {
            Ok(answer) => (StatusCode::OK, answer),
            // The status is for the health check, the page for people.
            Err(error) => (StatusCode::BAD_GATEWAY, format!("No answer from the backend at {backend}: {error}")),
        };
        let page = format!(
            "<!DOCTYPE html>\n<title>hello</title>\n<p>This is {} at {}.</p>\n<p>The backend answers: {}</p>\n",
            escape(&name),
            escape(&address),
            escape(answer.trim_end())
        );
        Ok(Response::builder().status(status).header("content-type", "text/html; charset=utf-8").body(page.into())?)
    }

    async fn fetch(backend: &str) -> Result<String, Error> {
        let mut client = Client::new();
        client.set_connect_timeout(Duration::from_secs(2));
        client.set_first_byte_timeout(Duration::from_secs(5));
        let mut response = client.send(Request::get(format!("http://{backend}/")).body(Body::empty())?).await?;
        if !response.status().is_success() {
            return Err(Error::msg(format!("it answered {}", response.status())));
        }
        Ok(response.body_mut().str_contents().await?.to_owned())
    }

    /// Escapes a text for HTML.
    fn escape(text: &str) -> String {
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    }
}
