//! Python and Node.js with the libraries that `tests/clients/install` puts beside them: clients and servers that are
//! not ours, in languages that are not ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::command;

/// `tests/clients/SCRIPT` in the Python that has grpcio, websockets, h2, hvac and prometheus-client.
pub fn python(script: &str) -> Command {
    let mut python = command(folder().join("bin/python"));
    python.arg("-u").arg(path(script));
    python
}

/// `tests/clients/SCRIPT` in the Node.js that has @grpc/grpc-js and ws, which CommonJS modules alone can find.
pub fn node(script: &str) -> Command {
    let folder = folder();
    let mut node = command(folder.join("bin/node"));
    node.env("NODE_PATH", folder.join("node_modules")).arg(path(script));
    node
}

/// OpenBao.
pub fn bao() -> Command {
    Command::new(folder().join("bin/bao"))
}

/// The checker of Prometheus.
pub fn promtool() -> Command {
    command(folder().join("bin/promtool"))
}

/// As [`python`], for as long as its input is open.
pub fn lasting_python(script: &str) -> Command {
    let mut python = Command::new(folder().join("bin/python"));
    python.arg("-u").arg(path(script));
    python
}

/// As [`node`], for as long as its input is open.
pub fn lasting_node(script: &str) -> Command {
    let mut node = Command::new(folder().join("bin/node"));
    node.arg(path(script));
    node
}

fn path(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script)
}

/// The folder that `HOTCERT_TEST_CLIENTS` names, else the one that `tests/clients/install` has made.
pub fn folder() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || {
        let home = || var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")));
        var("HOTCERT_CACHE")
            .or_else(|| home().map(|home| home.join("hotcert")))
            .map(|cache| cache.join("clients"))
    };
    let folder = var("HOTCERT_TEST_CLIENTS").or_else(cache).unwrap_or_default();
    assert!(
        folder.join(".complete").exists(),
        "no Python and Node.js with their libraries in {folder:?}: set HOTCERT_TEST_CLIENTS to the folder that \
         tests/clients/install prints"
    );
    folder
}
