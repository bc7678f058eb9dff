//! Serves plain HTTP, or [`grpc`]. `GET /` calls the upstream first; an error of the upstream becomes a 502 with the
//! reason, never a made-up response.

pub mod grpc;
mod upstream;

use std::convert::Infallible;
use std::fmt::Arguments;
use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use upstream::Upstream;

/// A line on standard error, whether or not anybody reads it.
pub fn log(line: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// ADDRESS:PORT.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write ADDRESS:PORT, such as 127.0.0.1:8080".into())
}

/// Why an address cannot be listened on.
pub fn bind_problem(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "the address is in use".into(),
        std::io::ErrorKind::AddrNotAvailable => "this machine does not have the address".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

/// Time for requests in flight after the shutdown began.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// Name of the service in its responses
    #[arg(long, env = "DEMO_NAME", default_value = "payments")]
    pub name: String,
    /// URL that is called before each response to GET / or Call, such as http://payments.shop.svc:8443/
    #[arg(long, env = "DEMO_UPSTREAM", value_name = "URL", value_parser = http_url)]
    pub upstream: Option<Uri>,
    /// HTTP forward proxy for the upstream, such as http://127.0.0.1:3128
    #[arg(long, env = "DEMO_PROXY", value_name = "URL", value_parser = http_url, requires = "upstream")]
    pub proxy: Option<Uri>,
    /// Speak gRPC without TLS (HTTP/2 with prior knowledge) in place of HTTP/1.1, to the upstream as well
    #[arg(long, env = "DEMO_GRPC", conflicts_with = "proxy")]
    pub grpc: bool,
}

type Body = BoxBody<Bytes, hyper::Error>;

struct Service {
    name: String,
    upstream: Option<Upstream>,
}

/// Serves until `shutdown` is done, then finishes the requests in flight.
pub async fn serve(listener: TcpListener, config: Config, shutdown: impl Future<Output = ()>) {
    if config.grpc {
        return grpc::serve(listener, config, shutdown).await;
    }
    let service = Arc::new(Service {
        name: config.name,
        upstream: config.upstream.map(|url| Upstream::new(url, config.proxy)),
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    accept(listener, shutdown, |stream| {
        let service = service.clone();
        http.serve_connection(stream, service_fn(move |request| respond(service.clone(), request)))
    })
    .await;
}

/// Accepts connections until `shutdown` is done, then waits for the requests in flight.
async fn accept<C>(
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
    serve: impl Fn(TokioIo<TcpStream>) -> C,
) where
    C: GracefulConnection + Send + 'static,
{
    let connections = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    log(format_args!("cannot accept a connection: {error}"));
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                    continue;
                }
            },
        };
        // Responses are small: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let connection = connections.watch(serve(TokioIo::new(stream)));
        // An error here concerns this client only.
        tokio::spawn(async move { drop(connection.await) });
    }
    drop(listener);
    if tokio::time::timeout(SHUTDOWN_GRACE, connections.shutdown()).await.is_err() {
        log(format_args!(
            "requests were still in flight after {} s; closing their connections",
            SHUTDOWN_GRACE.as_secs()
        ));
    }
}

async fn respond(service: Arc<Service>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => service.respond_root().await,
        (&Method::GET, "/healthz") => text(StatusCode::OK, "ok"),
        (&Method::POST, "/echo") => echo(request),
        (_, "/" | "/healthz" | "/echo") => {
            text(StatusCode::METHOD_NOT_ALLOWED, "GET /, GET /healthz or POST /echo")
        }
        (_, path) => text(StatusCode::NOT_FOUND, &format!("unknown path {path}")),
    })
}

impl Service {
    async fn respond_root(&self) -> Response<Body> {
        let upstream = match &self.upstream {
            None => Value::Null,
            Some(upstream) => match upstream.call().await {
                Ok(body) => body,
                Err(error) => return text(StatusCode::BAD_GATEWAY, &error.to_string()),
            },
        };
        let body = json!({ "service": self.name, "upstream": upstream }).to_string();
        response(StatusCode::OK, "application/json", body)
    }
}

fn echo(request: Request<Incoming>) -> Response<Body> {
    let content_type = request.headers().get(CONTENT_TYPE).cloned();
    let mut response = Response::new(request.into_body().boxed());
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

fn text(status: StatusCode, line: &str) -> Response<Body> {
    response(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

fn http_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    match (url.scheme_str(), url.host()) {
        (Some("http"), Some(_)) => Ok(url),
        _ => Err("write it like http://HOST:PORT/".to_owned()),
    }
}

#[cfg(test)]
mod tests;
