#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::*;

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(name: &str, upstream: Option<Uri>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Config { name: name.to_owned(), upstream, proxy: None, grpc: true };
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(super::super::serve(listener, config, async { drop(stopped.await) }));
    Running { address, stop, task }
}

impl Running {
    fn url(&self) -> Uri {
        url(self.address)
    }

    fn channel(&self) -> Channel {
        Endpoint::from(self.url()).connect_lazy()
    }

    async fn call(&self) -> Result<CallResponse, Status> {
        Client::new(self.channel(), self.url()).call().await
    }
}

fn url(address: SocketAddr) -> Uri {
    format!("http://{address}/").parse().unwrap()
}

#[tokio::test]
async fn answer_contains_the_upstreams_answer() {
    let payments = start("payments", None).await;
    let storefront = start("storefront", Some(payments.url())).await;
    let answer = storefront.call().await.unwrap();
    let payments = CallResponse { service: "payments".into(), upstream: None };
    assert_eq!(answer, CallResponse { service: "storefront".into(), upstream: Some(Box::new(payments)) });
}

#[tokio::test]
async fn upstream_failure_is_passed_on_with_its_code_and_reason() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let storefront = start("storefront", Some(url(unused))).await;
    let status = storefront.call().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().starts_with(&format!("upstream http://{unused}/: ")), "{status}");
}

#[tokio::test]
async fn health_is_served_and_other_methods_are_not() {
    let service = start("payments", None).await;
    let mut health = HealthClient::new(service.channel());
    for name in ["", Demo::NAME] {
        let answer = health.check(HealthCheckRequest { service: name.into() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{name:?}");
    }
    let mut client = tonic::client::Grpc::new(service.channel());
    client.ready().await.unwrap();
    let (request, path) =
        (tonic::Request::new(CallRequest {}), PathAndQuery::from_static("/hotcert.demo.Demo/Other"));
    let codec = ProstCodec::<CallRequest, CallResponse>::default();
    assert_eq!(client.unary(request, path, codec).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn shutdown_refuses_new_connections() {
    let service = start("payments", None).await;
    let mut client = Client::new(service.channel(), service.url());
    client.call().await.unwrap();
    service.stop.send(()).unwrap();
    service.task.await.unwrap();
    assert_eq!(client.call().await.unwrap_err().code(), Code::Unavailable);
}
