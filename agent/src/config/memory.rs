//! The memory budget: what the connections of this process may hold for their peers, from the memory limit of its
//! container.

use std::fs;
use std::path::Path;

const MIB: u64 = 1 << 20;
/// Of the limit; the other half is for connections without requests, identities, and what the allocator keeps free.
const PART: u64 = 2;
/// Also without a limit: 16,000 requests that are served at once.
const MAX_DEFAULT: u64 = 512 * MIB;
/// Less is not enough for a few peers at once.
const MIN: u64 = 4 * MIB;
/// Version 1 writes "no limit" as a number of this size.
const NO_LIMIT: u64 = 1 << 60;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemorySizeError {
    #[error("{0:?} is not a size: write a number of bytes, or one with Ki, Mi or Gi, such as 96Mi")]
    Invalid(String),
    #[error("{0} is less than 4Mi, which is not enough for a few clients at once")]
    TooSmall(String),
}

/// A budget as it is written.
pub fn parse(text: &str) -> Result<usize, MemorySizeError> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => MIB,
        "Gi" => 1 << 30,
        _ => 0,
    };
    let size = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match size.filter(|_| factor > 0).and_then(|size| usize::try_from(size).ok()) {
        Some(size) if size as u64 >= MIN => Ok(size),
        Some(_) => Err(MemorySizeError::TooSmall(text.into())),
        None => Err(MemorySizeError::Invalid(text.into())),
    }
}

/// The budget of a process in this container.
pub fn default_budget() -> usize {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    of_limit(container_limit(Path::new("/sys/fs/cgroup"), &groups))
}

fn of_limit(limit: Option<u64>) -> usize {
    let budget = limit.map_or(MAX_DEFAULT, |limit| (limit / PART).clamp(MIN, MAX_DEFAULT));
    usize::try_from(budget).unwrap_or(usize::MAX)
}

/// The lowest memory limit of the control groups that `groups` names, as /proc/self/cgroup does, of version 2 or 1.
fn container_limit(mount: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (mount, file) = match controllers {
            "" => (mount.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (mount.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // A limit holds for all groups below. In a container the mount may begin at its own group: then the path
        // leads nowhere, and the group is at the mount itself.
        let group = mount.join(path.trim_start_matches('/'));
        let groups = group.ancestors().take_while(|group| group.starts_with(&mount));
        groups.filter_map(|group| read_limit(&group.join(file))).min()
    });
    limits.min()
}

fn read_limit(file: &Path) -> Option<u64> {
    let limit: u64 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (limit < NO_LIMIT).then_some(limit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_are_written_as_kubernetes_does() {
        assert_eq!(parse("8388608"), Ok(8 << 20));
        assert_eq!(parse("96Mi"), Ok(96 << 20));
        assert_eq!(parse("8192Ki"), Ok(8 << 20));
        assert_eq!(parse("1Gi"), Ok(1 << 30));
        assert_eq!(parse("1Mi"), Err(MemorySizeError::TooSmall("1Mi".into())));
        for text in ["", "Mi", "96M", "-1", "1.5Gi", "99999999999Gi", "96 Mi", "９Mi"] {
            assert_eq!(parse(text), Err(MemorySizeError::Invalid(text.into())));
        }
    }

    #[test]
    fn lowest_limit_of_the_groups_counts() {
        let mount = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = mount.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let limit = |groups: &str| container_limit(mount.path(), groups);
        assert_eq!(limit("0::/\n"), None);
        write("pod/memory.max", "268435456\n");
        write("pod/agent/memory.max", "max\n");
        assert_eq!(limit("0::/pod/agent\n"), Some(256 << 20));
        write("pod/agent/memory.max", "134217728\n");
        assert_eq!(limit("0::/pod/agent\n"), Some(128 << 20));
        write("memory/docker/1/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit("5:cpu,cpuacct:/x\n4:memory:/docker/1\n"), None);
        write("memory/docker/1/memory.limit_in_bytes", "1048576\n");
        assert_eq!(limit("4:memory:/docker/1\n0::/pod/agent\n"), Some(1 << 20));
        // The mount begins at the group of the container.
        write("memory/memory.limit_in_bytes", "2097152\n");
        assert_eq!(limit("4:memory:/kubepods/burstable/pod1/2\n"), Some(2 << 20));
    }

    #[test]
    fn half_of_the_limit_is_the_budget() {
        assert_eq!(of_limit(None), 512 << 20);
        assert_eq!(of_limit(Some(256 << 20)), 128 << 20);
        assert_eq!(of_limit(Some(64 << 20)), 32 << 20);
        assert_eq!(of_limit(Some(1 << 20)), 4 << 20);
        assert_eq!(of_limit(Some(1 << 40)), 512 << 20);
    }
}
