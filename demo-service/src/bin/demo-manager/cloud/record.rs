//! What was requested, one line of JSON for each request, for comparison with what other clients request. With all
//! secrets in it.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::request::CloudRequest;

pub struct Record {
    file: Mutex<File>,
}

impl Record {
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file: Mutex::new(file) })
    }

    pub fn write(&self, request: &CloudRequest<'_>, status: StatusCode) {
        let query = request.query.iter().map(|(name, value)| (name.clone(), Value::from(value.clone())));
        let line = json!({
            "method": request.method.as_str(),
            "path": format!("/{}", request.path.join("/")),
            "query": query.collect::<serde_json::Map<_, _>>(),
            "contentType": request.content_type.split(';').next(),
            "body": request.fields().unwrap_or_default(),
            "status": status.as_u16(),
        });
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(file, "{line}");
    }
}
