//! Sends requests with a token that IAM issues for an API key. A request that changes nothing is sent again where the
//! service is busy; any other is sent once.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::endpoints::Endpoints;
use super::error::IbmError;
use super::iam;
use super::request::{ApiRequest, Service};
use crate::external::http_client::{HttpRequest, HttpResponse};
use crate::external::manager::json::{MAX_MESSAGE, SecretJson, position};
use crate::external::manager::reported::reported;
use crate::external::token_cache::{IssuedToken, TokenCache};

const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ATTEMPTS: u32 = 4;
const MAX_PAUSE: Duration = Duration::from_secs(10);

pub struct Client {
    endpoints: Endpoints,
    api_key: Zeroizing<String>,
    token: TokenCache,
    /// Of the Secrets Manager instance, which has an address of its own.
    secrets_manager: String,
}

/// The JSON of an answer; `null` if it has none.
pub struct Answer {
    service: Service,
    json: SecretJson,
}

impl Client {
    pub fn new(endpoints: Endpoints, api_key: Zeroizing<String>) -> Self {
        Self { endpoints, api_key, token: TokenCache::default(), secrets_manager: String::new() }
    }

    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Requests to Secrets Manager go to the instance with this GUID from here on.
    pub fn use_secrets_manager(&mut self, guid: &str) {
        guid.clone_into(&mut self.secrets_manager);
    }

    pub fn base(&self, service: Service) -> String {
        self.endpoints.base(service, &self.secrets_manager)
    }

    pub fn token_request(&self) -> ApiRequest {
        iam::token(&self.api_key)
    }

    pub async fn send(&mut self, request: &ApiRequest) -> Result<Answer, IbmError> {
        let (token, is_cached) = self.token().await?;
        let answer = self.send_with(request, Some(&token)).await;
        let is_refused = answer.as_ref().err().and_then(IbmError::status) == Some(StatusCode::UNAUTHORIZED);
        if !(is_refused && is_cached) {
            return answer;
        }
        self.token.forget();
        let (token, _) = self.token().await?;
        self.send_with(request, Some(&token)).await
    }

    async fn send_with(&self, request: &ApiRequest, token: Option<&str>) -> Result<Answer, IbmError> {
        let mut attempt = 1;
        loop {
            let sent = self.exchange(request, token).await;
            let pause = match &sent {
                Ok(response) if is_busy(response.status) => response.retry_after,
                Err(IbmError::Http { .. }) => None,
                _ => return check(request.service, self.base(request.service), sent?),
            };
            if request.method != Method::GET || attempt == MAX_ATTEMPTS {
                return check(request.service, self.base(request.service), sent?);
            }
            tokio::time::sleep(pause.unwrap_or(Duration::from_millis(500) * attempt).min(MAX_PAUSE)).await;
            attempt += 1;
        }
    }

    async fn exchange(&self, request: &ApiRequest, token: Option<&str>) -> Result<HttpResponse, IbmError> {
        let service = request.service;
        let failed = |cause| IbmError::Http { service, cause };
        let base = self.base(service);
        let endpoint = self.endpoints.endpoint(service, &base)?;
        let path = base.split_once("://").and_then(|(_, rest)| Some(&rest[rest.find('/')?..]));
        let target = request.target(path.unwrap_or_default());
        let mut sent = HttpRequest::new(request.method.clone()).path(target);
        sent = sent.header("accept", "application/json").map_err(failed)?;
        if let Some(token) = token {
            let value = Zeroizing::new(format!("Bearer {token}"));
            sent = sent.header("authorization", &value).map_err(failed)?;
        }
        if let Some((content_type, body)) = request.encode() {
            sent = sent.header("content-type", &content_type).map_err(failed)?.body(body);
        }
        endpoint.send(sent, TIMEOUT, MAX_MESSAGE).await.map_err(failed)
    }

    /// A valid token, and whether it was cached.
    async fn token(&self) -> Result<(Zeroizing<String>, bool), IbmError> {
        if let Some(token) = self.token.get() {
            return Ok((token, true));
        }
        let answer = self.send_with(&self.token_request(), None).await?;
        Ok((self.token.keep(answer.parse::<IssuedToken>()?), false))
    }
}

impl Answer {
    /// What was not answered but is assumed, where nothing is sent.
    pub fn assumed(service: Service, json: Value) -> Self {
        Self { service, json: SecretJson(json) }
    }

    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, IbmError> {
        T::deserialize(&self.json.0).map_err(|error| IbmError::Malformed {
            service: self.service,
            // The message may quote a value.
            cause: match error.to_string().split_once('`') {
                Some((what, rest)) if what.ends_with("missing field ") => {
                    format!("it has no {}", rest.trim_end_matches('`'))
                }
                _ => "it has another form than documented".to_owned(),
            },
        })
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn check(service: Service, origin: String, response: HttpResponse) -> Result<Answer, IbmError> {
    let HttpResponse { status, body, .. } = response;
    if !status.is_success() {
        return Err(IbmError::Status { service, origin, status, reported: reported(&body) });
    }
    if body.is_empty() {
        return Ok(Answer { service, json: SecretJson(Value::Null) });
    }
    let json = serde_json::from_slice(&body)
        .map_err(|error| IbmError::Malformed { service, cause: position(&error) })?;
    Ok(Answer { service, json: SecretJson(json) })
}
