//! HTTP of the admin and proof listeners: one small, short-lived connection, and plain responses.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use hotcert_tls::Activity;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection ends after this, so that none can be held open indefinitely.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_BUFFER_BYTES: usize = 16 * 1024;

/// Serves one connection within small limits. `activity` is told while a request is being answered.
pub async fn serve_http<S, A, F>(stream: S, activity: Activity, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| {
        let (answering, answer) = (activity.answer(), answer(request));
        async move {
            let _answering = answering;
            Ok::<_, Infallible>(answer.await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
}

pub fn only_get() -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    response
}

pub fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

pub fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
