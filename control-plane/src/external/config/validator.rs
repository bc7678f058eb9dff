//! Validates the settings file. Every error is collected with its position in the file, so that all of them are
//! reported at once; a parsed value is of use only if there are no errors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::files::ConfigFiles;
use crate::api::duration;
use crate::digest::sha256_hex;
use crate::external::http_client::{AddressPolicy, Endpoint, Headers, Network};

/// Upper bound for the items of a list.
const MAX_ITEMS: usize = 100;
const MAX_DURATION: Duration = Duration::from_secs(3660 * 24 * 60 * 60);

/// In every method `at` is a position in the settings file, such as `topics[0].names`.
pub struct Validator<'f> {
    files: &'f mut ConfigFiles,
    errors: Vec<String>,
}

impl<'f> Validator<'f> {
    pub fn new(files: &'f mut ConfigFiles) -> Self {
        Self { files, errors: Vec::new() }
    }

    pub fn finish<T>(self, value: T) -> Result<T, Vec<String>> {
        if self.errors.is_empty() { Ok(value) } else { Err(self.errors) }
    }

    pub fn error(&mut self, at: &str, problem: impl Display) {
        self.errors.push(format!("{at}: {problem}"));
    }

    /// The items of a list, each with its position. Items beyond the limit are dropped.
    pub fn items<'l, T>(&mut self, at: &str, list: &'l [T]) -> Vec<(String, &'l T)> {
        if list.len() > MAX_ITEMS {
            self.error(at, format!("more than {MAX_ITEMS} items"));
        }
        let numbered = list.iter().take(MAX_ITEMS).enumerate();
        numbered.map(|(number, item)| (format!("{at}[{number}]"), item)).collect()
    }

    /// The name of an item, which must differ from the `known` names.
    pub fn name(&mut self, at: &str, name: &str, known: &mut BTreeSet<String>) {
        let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 63 || !name.chars().all(is_valid) {
            self.error(&format!("{at}.name"), "a name has 1 to 63 lower-case letters, digits and hyphens");
        } else if !known.insert(name.to_owned()) {
            self.error(&format!("{at}.name"), format!("the name {name} is used twice"));
        }
    }

    pub fn parse<T: FromStr<Err: Display>>(&mut self, at: &str, text: &str) -> Option<T> {
        text.parse().map_err(|error| self.error(at, error)).ok()
    }

    pub fn parse_all<T, C>(&mut self, at: &str, texts: &[String]) -> C
    where
        T: FromStr<Err: Display>,
        C: FromIterator<T>,
    {
        let texts = self.items(at, texts);
        texts.into_iter().filter_map(|(_, text)| self.parse(at, text)).collect()
    }

    pub fn duration(&mut self, at: &str, text: &str) -> Option<Duration> {
        match duration::parse(text) {
            Ok(duration) if !duration.is_zero() && duration <= MAX_DURATION => return Some(duration),
            Ok(_) => self.error(at, format!("{text:?} is zero, or longer than ten years")),
            Err(error) => self.error(at, error),
        }
        None
    }

    /// Where a file is that is not read together with the settings.
    pub fn path(&self, file: &str) -> PathBuf {
        self.files.path(file)
    }

    pub fn bytes(&mut self, at: &str, file: &str) -> Option<Zeroizing<Vec<u8>>> {
        let path = self.files.path(file);
        self.files.read(file).map_err(|error| self.error(at, format!("{}: {error}", path.display()))).ok()
    }

    /// The content of a file without the white space around it, which editors like to leave.
    pub fn text(&mut self, at: &str, file: &str) -> Option<Zeroizing<String>> {
        let bytes = self.bytes(at, file)?;
        match str::from_utf8(&bytes).map(str::trim) {
            Ok(text) if !text.is_empty() => Some(Zeroizing::new(text.to_owned())),
            _ => {
                self.error(at, format!("{file} contains no text"));
                None
            }
        }
    }

    /// `ca`: a file with the roots of the server's certificate.
    pub fn endpoint(
        &mut self,
        at: &str,
        url: &str,
        ca: Option<&str>,
        networks: &[String],
    ) -> Option<Endpoint> {
        let allowed = self.parse_all::<Network, _>(&format!("{at}.allowNetworks"), networks);
        let roots = match ca {
            Some(file) => Some(self.bytes(&format!("{at}.ca"), file)?),
            None => None,
        };
        let roots = roots.as_ref().map(|roots| roots.as_slice());
        let endpoint = Endpoint::new(url.trim(), AddressPolicy { allowed }, roots);
        endpoint.map_err(|error| self.error(at, error)).ok()
    }

    /// `files`: by the name of a header, the file with its value.
    pub fn headers(&mut self, at: &str, files: &BTreeMap<String, String>) -> Headers {
        let mut headers = Headers::new();
        for (name, file) in files {
            let at = format!("{at}.{name}");
            if HeaderName::from_str(name).is_err() || name.len() > 128 {
                self.error(&at, "not a header name");
            } else if let Some(value) = self.text(&at, file) {
                if HeaderValue::from_str(&value).is_err() {
                    self.error(&at, format!("the content of {file} is not a header value"));
                }
                headers.push((name.clone(), value));
            }
        }
        headers
    }

    /// A point in time for [`Self::digest`].
    pub fn files_read(&self) -> usize {
        self.files.digests().len()
    }

    /// Of one item of the settings and of the files that were read for it since.
    pub fn digest(&self, item: &impl Debug, since: usize) -> String {
        sha256_hex(format!("{item:?} {:?}", &self.files.digests()[since..]).as_bytes())
    }
}
