//! AdmissionReview v1: what the API server asks and what it is answered. Read with plain structs and
//! the object as it came, so that fields no version of ours knows pass through untouched.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::inject::pod::{Context, Injection, inject};

const API_VERSION: &str = "admission.k8s.io/v1";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

#[derive(Debug, Deserialize)]
pub struct Request {
    uid: String,
    kind: Kind,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    object: Value,
}

#[derive(Debug, Deserialize)]
struct Kind {
    kind: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    #[error("the body is no AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "the body is a {kind} of {api_version}, not an AdmissionReview of {API_VERSION}: set admissionReviewVersions to [v1]"
    )]
    Version { kind: String, api_version: String },
    #[error("the AdmissionReview has no request with a uid")]
    NoRequest,
    #[error("a {0} was sent, and this webhook is for pods: its rules are pods, CREATE")]
    NotAPod(String),
}

/// A question that was answered.
#[derive(Debug)]
pub struct Answered {
    pub review: Value,
    pub outcome: &'static str,
    /// Why the pod was refused.
    pub refusal: Option<String>,
}

impl Request {
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let Review { api_version, kind, request } = serde_json::from_slice(body)?;
        if api_version != API_VERSION || kind != "AdmissionReview" {
            return Err(Malformed::Version { kind, api_version });
        }
        let request = request.filter(|request| !request.uid.is_empty()).ok_or(Malformed::NoRequest)?;
        if request.kind.kind != "Pod" || !request.object.is_object() {
            return Err(Malformed::NotAPod(request.kind.kind));
        }
        Ok(request)
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// For the log: a pod of a controller has no name yet, only the beginning of one.
    pub fn name(&self) -> &str {
        let metadata = &self.object["metadata"];
        metadata["name"].as_str().or(metadata["generateName"].as_str()).unwrap_or_default()
    }

    pub fn answer(&self, context: &Context<'_>) -> Answered {
        let mut response = json!({ "uid": self.uid, "allowed": true });
        let mut refusal = None;
        let outcome = match inject(&self.object, context) {
            Ok(Injection::NotRequested) => "untouched",
            Ok(Injection::Injected { pod, warnings }) => {
                let patch = json_patch::diff(&self.object, &pod);
                // Of a pod that has its agent already there is nothing to change.
                let outcome = if patch.0.is_empty() { "unchanged" } else { "injected" };
                if !patch.0.is_empty() {
                    response["patchType"] = "JSONPatch".into();
                    response["patch"] = STANDARD.encode(json!(patch).to_string()).into();
                }
                if !warnings.is_empty() {
                    response["warnings"] = warnings.into();
                }
                outcome
            }
            Err(error) => {
                let message = format!("hotcert: {error}");
                response["allowed"] = false.into();
                response["status"] = json!({ "code": 403, "reason": "Forbidden", "message": message });
                refusal = Some(message);
                "refused"
            }
        };
        let review = json!({ "apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response });
        Answered { review, outcome, refusal }
    }
}

#[cfg(test)]
mod tests;
