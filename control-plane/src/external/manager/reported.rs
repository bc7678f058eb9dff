//! What a manager says of a request that it refuses, fit to be shown: short, of one line, and without anything that
//! looks like a key or a token, should the manager repeat what it was sent.

use serde::Deserialize;

/// Upper bound of the whole text, in characters.
const MAX_TEXT: usize = 400;
/// Errors of one answer that are shown.
const MAX_ERRORS: usize = 3;
/// A longer run of the characters of base64 is not shown. A UUID has 36.
const MAX_RUN: usize = 40;

/// The body of an error: that of Secrets Manager and most others, of HashiCorp Vault, of IAM, or of the Resource Controller.
#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorBody {
    SecretsManager {
        errors: Vec<ErrorItem>,
    },
    Vault {
        errors: Vec<String>,
    },
    #[serde(rename_all = "camelCase")]
    Iam {
        error_code: String,
        error_message: Option<String>,
    },
    ResourceController {
        error_code: String,
        message: Option<String>,
    },
}

#[derive(Deserialize)]
struct ErrorItem {
    code: Option<String>,
    message: Option<String>,
}

/// `None` if the body has no error in a format that is known.
pub fn reported(body: &[u8]) -> Option<String> {
    let errors = match serde_json::from_slice(body).ok()? {
        ErrorBody::SecretsManager { errors } => errors,
        ErrorBody::Vault { errors } => {
            errors.into_iter().map(|text| ErrorItem { code: None, message: Some(text) }).collect()
        }
        ErrorBody::Iam { error_code, error_message } => {
            vec![ErrorItem { code: Some(error_code), message: error_message }]
        }
        ErrorBody::ResourceController { error_code, message } => {
            vec![ErrorItem { code: Some(error_code), message }]
        }
    };
    let texts = errors.into_iter().take(MAX_ERRORS).filter_map(|ErrorItem { code, message }| {
        let parts: Vec<_> = code.iter().chain(&message).map(|text| showable(text)).collect();
        Some(parts.join(": ")).filter(|text| !text.is_empty())
    });
    let text = texts.collect::<Vec<_>>().join("; ");
    let (is_long, mut short) = (text.chars().count() > MAX_TEXT, text);
    if is_long {
        short = short.chars().take(MAX_TEXT).chain(['…']).collect();
    }
    Some(short).filter(|text| !text.is_empty())
}

/// On one line, each long run of the characters of base64 replaced.
fn showable(text: &str) -> String {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=_-".contains(c);
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let words = visible.split_whitespace().map(|word| {
        let runs = word.split_inclusive(|c| !is_base64(c));
        runs.map(|run| if run.chars().count() > MAX_RUN { "…" } else { run }).collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}
