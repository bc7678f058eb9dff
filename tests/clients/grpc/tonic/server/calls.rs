//! The service `hotcert.test.Calls`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::sync::watch;
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::metadata::{BinaryMetadataKey, KeyAndValueRef, MetadataMap};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::codec::Raw;
use crate::{FAILURE, PATIENCE, SERVICE, details};

type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
type Answer = Result<Response<Answers>, Status>;

#[derive(Clone, Default)]
pub struct Calls {
    cancelled: Cancelled,
}

impl NamedService for Calls {
    const NAME: &'static str = SERVICE;
}

impl<B> Service<http::Request<B>> for Calls
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let method = Method { calls: self.clone(), name };
        // Each kind of call is the same on the wire.
        Box::pin(async move { Ok(Grpc::new(Raw).streaming(method, request).await) })
    }
}

struct Method {
    calls: Calls,
    name: String,
}

impl StreamingService<Bytes> for Method {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = BoxFuture<Response<Answers>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (calls, name) = (self.calls.clone(), self.name.clone());
        Box::pin(async move {
            match name.as_str() {
                "Unary" => answer([first(request).await?]),
                "Collect" => collect(request.into_inner()).await,
                "Repeat" => repeat(&first(request).await?),
                "Converse" => Ok(Response::new(request.into_inner().boxed())),
                "Hold" => calls.hold(request),
                "Metadata" => metadata(request).await,
                "Fail" => fail(&first(request).await?),
                "Wait" => calls.wait(first(request).await?),
                "Seen" => calls.seen(first(request).await?).await,
                _ => Err(Status::unimplemented(name)),
            }
        })
    }
}

async fn first(request: Request<Streaming<Bytes>>) -> Result<Bytes, Status> {
    request.into_inner().message().await?.ok_or_else(|| Status::invalid_argument("no message"))
}

fn answer(messages: impl IntoIterator<Item = Bytes, IntoIter: Send + 'static>) -> Answer {
    Ok(Response::new(stream::iter(messages.into_iter().map(Ok)).boxed()))
}

async fn collect(mut requests: Streaming<Bytes>) -> Answer {
    let mut whole = BytesMut::new();
    while let Some(part) = requests.message().await? {
        whole.extend_from_slice(&part);
    }
    answer([whole.freeze()])
}

fn repeat(request: &Bytes) -> Answer {
    let numbered = |number: u8| Bytes::from([&[number], &request[..]].concat());
    answer((0..10).map(numbered).collect::<Vec<_>>())
}

async fn metadata(request: Request<Streaming<Bytes>>) -> Answer {
    let initial = renamed(request.metadata(), "initial-")?;
    // The one way to send metadata after messages is in a status.
    let trailing = Status::with_metadata(Code::Ok, "", renamed(request.metadata(), "trailing-")?);
    let messages = [Ok(first(request).await?), Err(trailing)];
    let mut response = Response::new(stream::iter(messages).boxed());
    *response.metadata_mut() = initial;
    Ok(response)
}

/// What was sent under `sent-`, for the way back.
fn renamed(metadata: &MetadataMap, prefix: &str) -> Result<MetadataMap, Status> {
    let wrong = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
    let mut to = MetadataMap::new();
    for entry in metadata.iter() {
        match entry {
            KeyAndValueRef::Ascii(key, value) => {
                if let Some(name) = key.as_str().strip_prefix("sent-") {
                    let name = format!("{prefix}{name}");
                    let key = tonic::metadata::AsciiMetadataKey::from_bytes(name.as_bytes());
                    to.append(key.map_err(|error| wrong(&error))?, value.clone());
                }
            }
            KeyAndValueRef::Binary(key, value) => {
                if let Some(name) = key.as_str().strip_prefix("sent-") {
                    let name = format!("{prefix}{name}");
                    let key = BinaryMetadataKey::from_bytes(name.as_bytes());
                    to.append_bin(key.map_err(|error| wrong(&error))?, value.clone());
                }
            }
        }
    }
    Ok(to)
}

fn fail(request: &Bytes) -> Answer {
    let count = std::str::from_utf8(request).ok().and_then(|text| text.parse::<u8>().ok());
    let count = count.ok_or_else(|| Status::invalid_argument("no number"))?;
    let status = Status::with_details(Code::FailedPrecondition, FAILURE, details().into());
    if count == 0 {
        return Err(status);
    }
    let messages = (0..count).map(|number| Ok(Bytes::from(vec![number]))).chain([Err(status)]);
    Ok(Response::new(stream::iter(messages.collect::<Vec<_>>()).boxed()))
}

impl Calls {
    fn hold(&self, request: Request<Streaming<Bytes>>) -> Answer {
        let identifier = request.metadata().get("call-id").map(|value| value.as_bytes().to_vec());
        let identifier = identifier.ok_or_else(|| Status::invalid_argument("no call-id"))?;
        Ok(Response::new(self.endless(identifier.into(), request.into_inner())))
    }

    fn wait(&self, identifier: Bytes) -> Answer {
        let waiting = stream::iter([Ok(Bytes::from_static(b"waiting"))]);
        Ok(Response::new(self.endless(identifier, waiting)))
    }

    /// It is dropped only when the call is cancelled.
    fn endless(
        &self,
        identifier: Bytes,
        messages: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
    ) -> Answers {
        let ended = OnDrop(self.cancelled.event(identifier));
        let messages = messages.chain(stream::pending());
        messages.inspect(move |_| _ = &ended).boxed()
    }

    async fn seen(&self, identifier: Bytes) -> Answer {
        let mut event = self.cancelled.event(identifier).subscribe();
        let happens = event.wait_for(|cancelled| *cancelled);
        match tokio::time::timeout(PATIENCE, happens).await {
            Ok(_) => answer([Bytes::from_static(b"seen")]),
            Err(_) => Err(Status::not_found("no such call was cancelled")),
        }
    }
}

/// The calls that ended before they were answered.
#[derive(Clone, Default)]
struct Cancelled {
    events: Arc<Mutex<HashMap<Bytes, watch::Sender<bool>>>>,
}

impl Cancelled {
    fn event(&self, identifier: Bytes) -> watch::Sender<bool> {
        self.events.lock().expect("no holder of this lock panics").entry(identifier).or_default().clone()
    }
}

struct OnDrop(watch::Sender<bool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}
