//! JSON that holds a private key, zeroized when it is dropped. Copies inside the JSON and HTTP libraries are not
//! under our control.

use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

/// Upper bound of a message in either direction: certificate, chain, key and metadata of one secret.
pub const MAX_MESSAGE: usize = 1 << 20;

pub struct SecretJson(pub Value);

impl SecretJson {
    pub fn text(&self, pointer: &str) -> Option<String> {
        self.0.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
    }

    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.to_bytes()
    }

    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // The whole capacity at once: a Vec that reallocates leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_MESSAGE));
        let _ = serde_json::to_writer(&mut *bytes, &self.0);
        bytes
    }
}

impl Drop for SecretJson {
    fn drop(&mut self) {
        zeroize(&mut self.0);
    }
}

fn zeroize(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(zeroize),
        Value::Object(fields) => fields.values_mut().for_each(zeroize),
        _ => {}
    }
}

/// The position of a syntax error without any of the content, which may be a key.
pub fn position(error: &serde_json::Error) -> String {
    format!("at line {}, column {}", error.line(), error.column())
}
