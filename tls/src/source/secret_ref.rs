//! The name of a Secret.

use std::fmt;
use std::str::FromStr;

/// A Secret by name. Without a namespace it is in the pod's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// Its namespace. `None`: the pod's own.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// The text does not name a Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} does not name a Secret: write NAMESPACE/NAME or NAME, such as shop/payments-tls")]
pub struct SecretRefError(String);

impl FromStr for SecretRef {
    type Err = SecretRefError;

    fn from_str(text: &str) -> Result<Self, SecretRefError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        if !is_dns_name(name, 253) || !namespace.is_none_or(|namespace| is_dns_name(namespace, 63)) {
            return Err(SecretRefError(text.to_owned()));
        }
        Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }
}

/// As the API server has it: lower case, digits, `-` and `.`, alphanumeric at both ends.
fn is_dns_name(text: &str, max_length: usize) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= max_length
        && text.chars().all(inner)
        && outer(text.chars().next())
        && outer(text.chars().next_back())
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_names_that_kubernetes_accepts() {
        for good in ["shop/payments-tls", "payments-tls", "a/b.c-d"] {
            assert_eq!(good.parse::<SecretRef>().unwrap().to_string(), good);
        }
        for bad in ["", "/", "shop/", "/x", "a/b/c", "Shop/x", "shop/x_y", "-a/b", "a/b-", "a/b c"] {
            assert_eq!(bad.parse::<SecretRef>(), Err(SecretRefError(bad.into())));
        }
    }
}
