//! AdmissionReview v1, request and response. The pod stays plain JSON, so that fields unknown to this version
//! pass through unchanged.

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
    request: Option<AdmissionRequest>,
}

#[derive(Debug, Deserialize)]
pub struct AdmissionRequest {
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
pub enum ReviewError {
    #[error("the body is not an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "the body is a {kind} of {api_version}, not an AdmissionReview of {API_VERSION}: set admissionReviewVersions to [v1]"
    )]
    Version { kind: String, api_version: String },
    #[error("the AdmissionReview has no request with a uid")]
    NoRequest,
    #[error("the object is a {0}, but this webhook is for pods: set its rules to CREATE of pods")]
    NotAPod(String),
}

/// What became of an admission request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionOutcome {
    /// The agent was added.
    Injected,
    /// The pod had its agent already.
    Unchanged,
    /// Neither the pod nor its namespace asks for the agent.
    Skipped,
    /// The pod asks for the agent in an invalid way.
    Denied,
    /// Not an AdmissionReview of a pod.
    Malformed,
}

impl AdmissionOutcome {
    pub const ALL: [Self; 5] =
        [Self::Injected, Self::Unchanged, Self::Skipped, Self::Denied, Self::Malformed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Unchanged => "unchanged",
            Self::Skipped => "skipped",
            Self::Denied => "denied",
            Self::Malformed => "malformed",
        }
    }
}

#[derive(Debug)]
pub struct AdmissionResponse {
    /// The AdmissionReview to send.
    pub review: Value,
    pub outcome: AdmissionOutcome,
    /// Why the pod was denied.
    pub denial: Option<String>,
}

impl AdmissionRequest {
    pub fn parse(body: &[u8]) -> Result<Self, ReviewError> {
        let Review { api_version, kind, request } = serde_json::from_slice(body)?;
        if api_version != API_VERSION || kind != "AdmissionReview" {
            return Err(ReviewError::Version { kind, api_version });
        }
        let request = request.filter(|request| !request.uid.is_empty()).ok_or(ReviewError::NoRequest)?;
        if request.kind.kind != "Pod" || !request.object.is_object() {
            return Err(ReviewError::NotAPod(request.kind.kind));
        }
        Ok(request)
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// For the log: a pod of a workload has no name yet, only a prefix of one.
    pub fn name(&self) -> &str {
        let metadata = &self.object["metadata"];
        metadata["name"].as_str().or(metadata["generateName"].as_str()).unwrap_or_default()
    }

    pub fn respond(&self, context: &Context<'_>) -> AdmissionResponse {
        let mut response = json!({ "uid": self.uid, "allowed": true });
        let mut denial = None;
        let outcome = match inject(&self.object, context) {
            Ok(Injection::NotRequested) => AdmissionOutcome::Skipped,
            Ok(Injection::Injected { pod, warnings }) => {
                let patch = json_patch::diff(&self.object, &pod);
                let unchanged = patch.0.is_empty();
                if !unchanged {
                    response["patchType"] = "JSONPatch".into();
                    response["patch"] = STANDARD.encode(json!(patch).to_string()).into();
                }
                if !warnings.is_empty() {
                    response["warnings"] = warnings.into();
                }
                if unchanged { AdmissionOutcome::Unchanged } else { AdmissionOutcome::Injected }
            }
            Err(error) => {
                let message = format!("hotcert: {error}");
                response["allowed"] = false.into();
                response["status"] = json!({ "code": 403, "reason": "Forbidden", "message": message });
                denial = Some(message);
                AdmissionOutcome::Denied
            }
        };
        let review = json!({ "apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response });
        AdmissionResponse { review, outcome, denial }
    }
}

#[cfg(test)]
mod tests;
