//! Of the program, and of all that an image needs for it to run: with the libraries that it loads.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::bench::Bench;
use crate::figure::Figure;

const ROW: &str = "size";
const MIB: f64 = (1u64 << 20) as f64;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut figures = [
        Figure::lower(ROW, "of the program", "MiB"),
        Figure::lower(ROW, "with the libraries that it loads", "MiB"),
    ];
    for peer in bench.peers.iter().filter(|peer| !peer.is_floor()) {
        let program = find(&peer.program(&bench.programs))?;
        let alone = size(&program)?;
        let libraries: u64 =
            libraries(&program)?.iter().map(|library| size(library)).sum::<anyhow::Result<u64>>()?;
        figures[0].add(peer.name(), false, alone as f64 / MIB);
        figures[1].add(peer.name(), false, (alone + libraries) as f64 / MIB);
    }
    Ok(figures.into())
}

fn size(path: &Path) -> anyhow::Result<u64> {
    Ok(std::fs::metadata(path).with_context(|| path.display().to_string())?.len())
}

/// As the shell would.
pub fn find(program: &Path) -> anyhow::Result<PathBuf> {
    if program.components().count() > 1 {
        return Ok(program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.exists());
    found.with_context(|| format!("{} is not installed; ./tests/bench does it", program.display()))
}

fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // NAME => PATH (ADDRESS), or PATH (ADDRESS) for the loader.
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}
