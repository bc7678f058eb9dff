//! The ten ways in which the client calls, each with what it expects.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::codec::Raw;
use crate::{FAILURE, PATIENCE, SERVICE, details};

const LARGE: usize = 1 << 20;
const TEXT: &str = "one, \"two\"; three=%20 four";
const REFLECTION: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
/// `ServerReflectionRequest { list_services: "*" }`
const LIST_SERVICES: &[u8] = &[0x3a, 1, b'*'];

#[derive(Clone, Copy)]
pub enum Behaviour {
    Unary,
    ClientStream,
    ServerStream,
    Bidirectional,
    LargeMessages,
    Metadata,
    ErrorStatus,
    Deadline,
    Cancellation,
    HealthAndReflection,
}

impl FromStr for Behaviour {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        Ok(match name {
            "unary" => Self::Unary,
            "client_stream" => Self::ClientStream,
            "server_stream" => Self::ServerStream,
            "bidirectional" => Self::Bidirectional,
            "large_messages" => Self::LargeMessages,
            "metadata" => Self::Metadata,
            "error_status" => Self::ErrorStatus,
            "deadline" => Self::Deadline,
            "cancellation" => Self::Cancellation,
            "health_and_reflection" => Self::HealthAndReflection,
            _ => bail!("no behaviour {name:?}"),
        })
    }
}

impl Behaviour {
    /// Makes one call and whatever belongs to it.
    pub async fn check(self, channel: Channel) -> anyhow::Result<()> {
        let mut calls = Calls(Grpc::new(channel.clone()));
        let check = async {
            match self {
                Self::Unary => unary(&mut calls, Bytes::from_static(b"to and fro")).await,
                Self::ClientStream => client_stream(&mut calls).await,
                Self::ServerStream => server_stream(&mut calls).await,
                Self::Bidirectional => bidirectional(&mut calls).await,
                Self::LargeMessages => {
                    let message: Vec<u8> = details().into_iter().cycle().take(LARGE).collect();
                    unary(&mut calls, message.into()).await
                }
                Self::Metadata => metadata(&mut calls).await,
                Self::ErrorStatus => error_status(&mut calls).await,
                Self::Deadline => deadline(&mut calls).await,
                Self::Cancellation => cancellation(&mut calls).await,
                Self::HealthAndReflection => health_and_reflection(&mut calls, channel).await,
            }
        };
        timeout(2 * PATIENCE, check).await.context("not answered in time")?
    }
}

struct Calls(Grpc<Channel>);

impl Calls {
    async fn ready(&mut self) -> anyhow::Result<()> {
        self.0.ready().await.context("no connection")
    }

    async fn unary(&mut self, method: &str, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
        self.ready().await?;
        Ok(self.0.unary(request, path(method)?, Raw).await?)
    }

    async fn server_stream(&mut self, method: &str, request: Bytes) -> anyhow::Result<Streaming<Bytes>> {
        self.ready().await?;
        Ok(self.0.server_streaming(Request::new(request), path(method)?, Raw).await?.into_inner())
    }

    async fn converse(
        &mut self,
        path: PathAndQuery,
        request: Request<impl Stream<Item = Bytes> + Send + 'static>,
    ) -> anyhow::Result<Streaming<Bytes>> {
        self.ready().await?;
        Ok(self.0.streaming(request, path, Raw).await?.into_inner())
    }

    /// Succeeds once the server has seen that this call was cancelled.
    async fn seen(&mut self, identifier: Bytes) -> anyhow::Result<()> {
        same(&self.unary("Seen", Request::new(identifier)).await?.into_inner(), &b"seen"[..])
    }
}

fn path(method: &str) -> anyhow::Result<PathAndQuery> {
    Ok(format!("/{SERVICE}/{method}").parse()?)
}

#[track_caller]
fn same<A: PartialEq<B> + std::fmt::Debug + ?Sized, B: std::fmt::Debug + ?Sized>(
    found: &A,
    expected: &B,
) -> anyhow::Result<()> {
    let short = |text: String| text.chars().take(200).collect::<String>();
    ensure!(
        found == expected,
        "{} where {} was expected",
        short(format!("{found:?}")),
        short(format!("{expected:?}"))
    );
    Ok(())
}

/// What a call is known by to the server.
fn identifier() -> Bytes {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Bytes::from(format!("{} of {}", NEXT.fetch_add(1, Ordering::Relaxed), std::process::id()))
}

async fn next(answers: &mut Streaming<Bytes>) -> anyhow::Result<Bytes> {
    answers.message().await?.context("the stream has ended")
}

async fn unary(calls: &mut Calls, message: Bytes) -> anyhow::Result<()> {
    let answer = calls.unary("Unary", Request::new(message.clone())).await?.into_inner();
    same(&answer, &message)
}

async fn client_stream(calls: &mut Calls) -> anyhow::Result<()> {
    let parts: Vec<_> =
        (0..10_u8).map(|number| Bytes::from(vec![number; usize::from(number) * 100])).collect();
    let expected = parts.concat();
    calls.ready().await?;
    let request = Request::new(stream::iter(parts));
    let answer = calls.0.client_streaming(request, path("Collect")?, Raw).await?.into_inner();
    same(&answer, &expected)
}

async fn server_stream(calls: &mut Calls) -> anyhow::Result<()> {
    let text = identifier();
    let mut answers = calls.server_stream("Repeat", text.clone()).await?;
    for number in 0..10_u8 {
        same(&next(&mut answers).await?, &[&[number], &text[..]].concat())?;
    }
    same(&answers.message().await?, &None::<Bytes>)
}

/// The messages of one direction, sent when they are put in.
fn requests() -> (mpsc::UnboundedSender<Bytes>, impl Stream<Item = Bytes> + Send + 'static) {
    let (put, mut taken) = mpsc::unbounded_channel();
    (put, stream::poll_fn(move |context| taken.poll_recv(context)))
}

async fn bidirectional(calls: &mut Calls) -> anyhow::Result<()> {
    let (put, requests) = requests();
    // Servers may wait for the first message before they begin to answer.
    put.send(Bytes::from_static(b"turn 0"))?;
    let mut answers = calls.converse(path("Converse")?, Request::new(requests)).await?;
    same(&next(&mut answers).await?, &b"turn 0"[..])?;
    // Each is sent when the one before it was answered.
    for number in 1..5 {
        let message = Bytes::from(format!("turn {number}"));
        put.send(message.clone())?;
        same(&next(&mut answers).await?, &message)?;
    }
    // More than the windows hold, so that both directions have to move at once.
    let crowd: Vec<_> = (0..10).map(|number| Bytes::from(vec![number; 16384])).collect();
    for message in crowd.clone() {
        put.send(message)?;
    }
    drop(put);
    for message in crowd {
        same(&next(&mut answers).await?, &message)?;
    }
    same(&answers.message().await?, &None::<Bytes>)
}

async fn metadata(calls: &mut Calls) -> anyhow::Result<()> {
    let mut request = Request::new(Bytes::from_static(b"with metadata"));
    let sent = request.metadata_mut();
    sent.insert("sent-text", TEXT.parse()?);
    sent.insert_bin("sent-bin", BinaryMetadataValue::from_bytes(&details()));
    for value in [b"first", &b"second"[..]] {
        sent.append_bin("sent-two-bin", BinaryMetadataValue::from_bytes(value));
    }
    let answer = calls.unary("Metadata", request).await?;
    same(answer.get_ref(), &b"with metadata"[..])?;
    // After a unary call, the library has put both into one.
    for of in ["initial-", "trailing-"] {
        let found = answer.metadata();
        let text = found.get(format!("{of}text")).context("no text")?;
        same(text, TEXT)?;
        same(&binary(found, &format!("{of}bin"))?, &[details()])?;
        same(&binary(found, &format!("{of}two-bin"))?, &[&b"first"[..], b"second"])?;
    }
    Ok(())
}

fn binary(metadata: &MetadataMap, key: &str) -> anyhow::Result<Vec<Bytes>> {
    Ok(metadata.get_all_bin(key).iter().map(|value| value.to_bytes()).collect::<Result<_, _>>()?)
}

async fn error_status(calls: &mut Calls) -> anyhow::Result<()> {
    for count in [0, 3_u8] {
        let status = match calls.server_stream("Fail", Bytes::from(count.to_string())).await {
            Ok(mut answers) => {
                for number in 0..count {
                    same(&next(&mut answers).await?, &vec![number])?;
                }
                answers.message().await.err().context("no error")?
            }
            Err(error) => error.downcast::<Status>()?,
        };
        same(&status.code(), &Code::FailedPrecondition)?;
        same(status.message(), FAILURE)?;
        same(status.details(), &details()[..])?;
    }
    Ok(())
}

/// tonic's deadline ends with the head of the response; that of the rest is the caller's, who drops the call.
async fn deadline(calls: &mut Calls) -> anyhow::Result<()> {
    let mut request = Request::new(identifier());
    request.set_timeout(Duration::from_millis(20));
    let status = calls.unary("Seen", request).await.err().context("no error")?.downcast::<Status>()?;
    ensure!(matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded), "{status:?}");
    // On a busy machine the first may be over before the server has heard of the call.
    for limit in [20, 200, 2000].map(Duration::from_millis) {
        let identifier = identifier();
        let mut heard = None;
        let call = async {
            let mut answers = calls.server_stream("Wait", identifier.clone()).await?;
            heard = Some(next(&mut answers).await?);
            next(&mut answers).await
        };
        match timeout(limit, call).await {
            Ok(ended) => bail!("ended with {ended:?}"),
            Err(_) if heard.is_none() => {}
            Err(_) => {
                same(&heard, &Some(Bytes::from_static(b"waiting")))?;
                return calls.seen(identifier).await;
            }
        }
    }
    bail!("the server did not hear of the call within its deadline")
}

async fn cancellation(calls: &mut Calls) -> anyhow::Result<()> {
    let identifier = identifier();
    let (put, requests) = requests();
    let mut request = Request::new(requests);
    request.metadata_mut().insert("call-id", std::str::from_utf8(&identifier)?.parse()?);
    put.send(Bytes::from_static(b"one"))?;
    let mut answers = calls.converse(path("Hold")?, request).await?;
    same(&next(&mut answers).await?, &b"one"[..])?;
    put.send(Bytes::from_static(b"two"))?;
    same(&next(&mut answers).await?, &b"two"[..])?;
    // The library cancels once both directions are dropped.
    drop((put, answers));
    calls.seen(identifier).await
}

async fn health_and_reflection(calls: &mut Calls, channel: Channel) -> anyhow::Result<()> {
    let mut health = HealthClient::new(channel);
    let status = health.check(HealthCheckRequest::default()).await?.into_inner().status();
    same(&status, &ServingStatus::Serving)?;
    let mut watch = health.watch(HealthCheckRequest::default()).await?.into_inner();
    let status = watch.message().await?.context("the watch has ended")?.status();
    same(&status, &ServingStatus::Serving)?;
    drop(watch);
    let request = Request::new(stream::iter([Bytes::from_static(LIST_SERVICES)]));
    let mut answers = calls.converse(REFLECTION.parse()?, request).await?;
    let services = next(&mut answers).await?;
    let services = String::from_utf8_lossy(&services);
    ensure!(services.contains("grpc.health.v1.Health"), "{services:?}");
    same(&answers.message().await?, &None::<Bytes>)
}

/// One that stays open.
pub struct OpenStream {
    put: mpsc::UnboundedSender<Bytes>,
    answers: Streaming<Bytes>,
    sent: usize,
}

impl OpenStream {
    pub async fn open(channel: Channel) -> anyhow::Result<Self> {
        let (put, requests) = requests();
        put.send(message(1))?;
        let mut answers =
            Calls(Grpc::new(channel)).converse(path("Converse")?, Request::new(requests)).await?;
        same(&next(&mut answers).await?, &message(1))?;
        Ok(Self { put, answers, sent: 1 })
    }

    pub async fn exchange(&mut self) -> anyhow::Result<()> {
        self.sent += 1;
        self.put.send(message(self.sent))?;
        same(&next(&mut self.answers).await?, &message(self.sent))
    }

    /// The error with which it ends.
    pub async fn end(&mut self) -> anyhow::Result<Code> {
        Ok(self.answers.message().await.err().context("no error")?.code())
    }
}

fn message(number: usize) -> Bytes {
    Bytes::from(format!("message {number}"))
}
