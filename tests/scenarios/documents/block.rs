//! Fenced blocks of the documents, and what their markers mean.

use std::path::{Path, PathBuf};

/// The info string of a fenced block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Run in an empty directory, the blocks of a page one after the other in one shell.
    Sh,
    /// Run with a cluster at hand.
    ShCluster,
    /// The test harness itself, which `tests/run` runs.
    ShHarness,
    /// Installs a program of the workspace.
    ShInstall,
    /// Run as root, with users that the test thinks up.
    ShUsers,
    /// Builds images of the Dockerfile.
    ShImages,
    /// Objects that an API server takes, and hotcert's own among them the controller.
    YamlObjects,
    /// Labels and annotations of a pod that `hotcert inject` takes.
    YamlPod,
    /// Settings that the controller takes.
    YamlSettings,
    /// An overlay that kubectl renders.
    YamlKustomization,
    /// Read by other programs than ours.
    YamlForeign,
    /// Output, drawings.
    Text,
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Block {
    /// Path in the repository.
    pub page: String,
    /// Of the first line of its text, from 1.
    pub line: usize,
    /// The heading that it is under.
    pub heading: String,
    pub marker: Marker,
    pub text: String,
}

impl Marker {
    fn read(info: &str) -> Self {
        match info {
            "sh" => Self::Sh,
            "sh cluster" => Self::ShCluster,
            "sh harness" => Self::ShHarness,
            "sh install" => Self::ShInstall,
            "sh users" => Self::ShUsers,
            "sh images" => Self::ShImages,
            "yaml objects" => Self::YamlObjects,
            "yaml pod" => Self::YamlPod,
            "yaml settings" => Self::YamlSettings,
            "yaml kustomization" => Self::YamlKustomization,
            "yaml foreign" => Self::YamlForeign,
            "text" => Self::Text,
            _ => Self::Unknown,
        }
    }
}

impl Block {
    /// Its lines without comments and blanks.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        let lines = self.text.lines().map(|line| line.split_once(" #").map_or(line, |(command, _)| command));
        lines.map(str::trim).filter(|line| !line.is_empty())
    }
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every document: path in the repository, and text.
pub fn documents() -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md"].map(|name| repository().join(name)).into();
    for folder in ["docs", "docs/reference"] {
        let listed = std::fs::read_dir(repository().join(folder)).into_iter().flatten();
        paths.extend(
            listed.map(|entry| entry.unwrap().path()).filter(|path| path.extension() == Some("md".as_ref())),
        );
    }
    paths.sort();
    let name = |path: &Path| path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

pub fn blocks() -> Vec<Block> {
    documents().iter().flat_map(|(page, text)| blocks_of(page, text)).collect()
}

pub fn with(marker: Marker) -> Vec<Block> {
    let blocks: Vec<_> = blocks().into_iter().filter(|block| block.marker == marker).collect();
    assert!(!blocks.is_empty(), "no document has a block {marker:?}");
    blocks
}

fn blocks_of(page: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut heading = String::new();
    for (at, line) in text.lines().enumerate() {
        match (open.as_mut(), line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                let marker = Marker::read(info.trim());
                let (page, heading) = (page.to_owned(), heading.clone());
                open = Some(Block { page, line: at + 2, heading, marker, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) if line.starts_with('#') => line.trim_matches(['#', ' ']).clone_into(&mut heading),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{page}: a block is not closed");
    blocks
}

/// The page without its blocks.
pub fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}
