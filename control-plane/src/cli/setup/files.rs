//! The files of a setup: the API key that it reads, and what it keeps in its directory: the
//! token of the events, the root of a certificate that it made, and the settings. Files with secrets are readable by
//! their owner alone, and none is written over.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::args::{IbmArgs, SetupIbmArgs};
use crate::external::config::ConfigFiles;
use crate::external::ibm::Endpoints;

pub const TOKEN: &str = "ibm-events.token";
pub const ROOT: &str = "ibm-root.pem";
pub const CA: &str = "ibm-ca.pem";
pub const API_KEY: &str = "ibm-api.key";
const SETTINGS: &str = "notifications.yaml";

pub struct Files {
    directory: PathBuf,
}

pub fn api_key(path: &Path) -> Result<Zeroizing<String>, String> {
    let text = read(path)?;
    let key = Zeroizing::new(text.trim().to_owned());
    if key.is_empty() || !key.chars().all(|c| c.is_ascii_graphic()) {
        return Err(format!(
            "{} has no API key: it is one line of letters, digits and hyphens",
            path.display()
        ));
    }
    Ok(key)
}

pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    let at = |error: String| format!("cannot read {}: {error}", path.display());
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let bytes = ConfigFiles::new(directory).read(name).map_err(at)?;
    let text = str::from_utf8(&bytes).map_err(|_| at("it is not text".into()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

impl Files {
    pub fn new(args: &SetupIbmArgs) -> Self {
        Self { directory: args.directory.clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn token_path(&self) -> String {
        self.path(TOKEN).display().to_string()
    }

    pub fn settings_path(&self) -> String {
        self.path(SETTINGS).display().to_string()
    }

    pub fn has_token(&self) -> bool {
        self.path(TOKEN).exists()
    }

    pub fn has_root(&self) -> bool {
        self.path(ROOT).exists()
    }

    pub fn no_token() -> Zeroizing<String> {
        Zeroizing::default()
    }

    /// That of the file, which is made if there is none.
    pub fn token(&self) -> Result<Zeroizing<String>, String> {
        let path = self.path(TOKEN);
        if !path.exists() {
            let mut random = Zeroizing::new([0; 32]);
            rand::fill(&mut *random).map_err(|_| "the system has no randomness".to_owned())?;
            let text = Zeroizing::new(format!("{}\n", hex::encode(random.as_slice())));
            create(&path, text.as_bytes())?;
        }
        let token = Zeroizing::new(read(&path)?.trim().to_owned());
        if token.len() < 16 || !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err(format!("{} is not a token of at least 16 characters", path.display()));
        }
        Ok(token)
    }

    /// Replaces that of an earlier run that did not come as far as the secret.
    pub fn write_root(&self, root: &str) -> Result<(), String> {
        let path = self.path(ROOT);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(format!("cannot replace {}: {error}", path.display()))
            }
            _ => create(&path, root.as_bytes()),
        }
    }

    /// The roots of other addresses than IBM Cloud's own, for the settings.
    pub fn write_ca(&self, endpoints: &Endpoints) -> Result<(), String> {
        match endpoints.manager_access() {
            (Some(roots), _) if !self.path(CA).exists() => create(&self.path(CA), roots),
            _ => Ok(()),
        }
    }

    /// Whether they were written. Those that exist are kept.
    pub fn write_settings(&self, yaml: &str) -> Result<bool, String> {
        let path = self.path(SETTINGS);
        if path.exists() {
            return Ok(false);
        }
        create(&path, yaml.as_bytes()).map(|()| true)
    }

    /// The command that makes the Secret of the settings.
    pub fn command(&self, args: &IbmArgs) -> String {
        let mut command = "kubectl -n hotcert-system create secret generic hotcert-notifications".to_owned();
        let key = args.api_key.display().to_string();
        let mut files = vec![(SETTINGS, self.settings_path()), (API_KEY, key), (TOKEN, self.token_path())];
        for name in [ROOT, CA] {
            let path = self.path(name);
            if path.exists() {
                files.push((name, path.display().to_string()));
            }
        }
        for (name, path) in files {
            command.push_str(&format!(" \\\n    --from-file={name}={}", quoted(&path)));
        }
        command
    }
}

/// For a shell.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if path.chars().all(is_plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

fn create(path: &Path, content: &[u8]) -> Result<(), String> {
    let failed = |error| format!("cannot write {}: {error}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    // A file that is whole or not there.
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}
