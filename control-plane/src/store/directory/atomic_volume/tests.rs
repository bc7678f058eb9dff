#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn volume() -> (tempfile::TempDir, SecretVolume) {
    let parent = tempfile::tempdir().unwrap();
    let volume = SecretVolume::open(parent.path().join("identity")).unwrap();
    (parent, volume)
}

fn names(volume: &SecretVolume) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(volume.directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn versions(volume: &SecretVolume) -> Vec<String> {
    names(volume).into_iter().filter(|name| name.starts_with("..2")).collect()
}

fn read(volume: &SecretVolume, name: &str) -> String {
    fs::read_to_string(volume.directory().join(name)).unwrap()
}

#[test]
fn publication_is_laid_out_as_kubelet_does_it() {
    let (_parent, volume) = volume();
    volume.publish(&[("tls.crt", b"leaf"), ("tls.key", b"key")]).unwrap();

    let version = fs::read_link(volume.directory().join("..data")).unwrap();
    assert_eq!(names(&volume), [version.to_str().unwrap(), "..data", "tls.crt", "tls.key"]);
    let (stamp, random) = version.to_str().unwrap().rsplit_once('.').unwrap();
    assert_eq!(stamp.len(), "..2006_01_02_15_04_05".len());
    assert!(random.parse::<u32>().is_ok(), "{version:?}");
    let link = fs::read_link(volume.directory().join("tls.crt")).unwrap();
    assert_eq!(link, Path::new("..data/tls.crt"));
    assert_eq!(read(&volume, "tls.crt"), "leaf");
    let mode = |path: &str| fs::metadata(volume.directory().join(path)).unwrap().permissions().mode();
    assert_eq!(mode("tls.key") & 0o7777, 0o644);
    assert_eq!(mode("..data") & 0o7777, 0o755);
}

#[test]
fn publishing_again_replaces_everything_and_keeps_one_version() {
    let (_parent, volume) = volume();
    volume.publish(&[("tls.crt", b"1"), ("old.crt", b"1")]).unwrap();
    let first = versions(&volume);
    volume.publish(&[("tls.crt", b"2"), ("ca.crt", b"2")]).unwrap();

    assert_eq!(versions(&volume).len(), 1);
    assert_ne!(versions(&volume), first);
    assert_eq!(names(&volume)[1..], ["..data", "ca.crt", "tls.crt"]);
    assert_eq!(read(&volume, "tls.crt"), "2");
    assert_eq!(read(&volume, "ca.crt"), "2");
}

#[test]
fn reader_that_resolved_data_once_never_sees_two_publications() {
    let (_parent, volume) = volume();
    volume.publish(&[("a", b"0"), ("b", b"0")]).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..200 {
                let contents = round.to_string();
                volume.publish(&[("a", contents.as_bytes()), ("b", contents.as_bytes())]).unwrap();
            }
        });
        while !writer.is_finished() {
            let version = fs::read_link(volume.directory().join("..data")).unwrap();
            let read = |name| fs::read(volume.directory().join(&version).join(name));
            // Gone meanwhile is an honest answer; half of two publications is not.
            if let (Ok(a), Ok(b)) = (read("a"), read("b")) {
                assert_eq!(a, b);
            }
        }
    });
}

#[test]
fn crash_before_the_rename_leaves_the_last_publication_and_is_cleaned_up() {
    let (_parent, volume) = volume();
    volume.publish(&[("tls.crt", b"1")]).unwrap();
    let half = "..2026_01_31_09_15_00.7";
    fs::create_dir(volume.directory().join(half)).unwrap();
    fs::write(volume.directory().join(half).join("tls.crt"), "ha").unwrap();
    symlink(half, volume.directory().join("..data_tmp")).unwrap();
    assert_eq!(read(&volume, "tls.crt"), "1");

    let volume = SecretVolume::open(volume.directory()).unwrap();
    volume.publish(&[("tls.crt", b"2")]).unwrap();
    assert_eq!(read(&volume, "tls.crt"), "2");
    assert_eq!(names(&volume)[1..], ["..data", "tls.crt"]);
}

#[test]
fn crash_after_the_rename_leaves_the_new_publication_and_is_cleaned_up() {
    let (_parent, volume) = volume();
    volume.publish(&[("tls.crt", b"1"), ("gone.crt", b"1")]).unwrap();
    let next = "..2026_01_31_09_15_00.7";
    fs::create_dir(volume.directory().join(next)).unwrap();
    fs::write(volume.directory().join(next).join("tls.crt"), "2").unwrap();
    symlink(next, volume.directory().join("..data_tmp")).unwrap();
    fs::rename(volume.directory().join("..data_tmp"), volume.directory().join("..data")).unwrap();
    assert_eq!(read(&volume, "tls.crt"), "2");

    volume.publish(&[("tls.crt", b"3")]).unwrap();
    assert_eq!(read(&volume, "tls.crt"), "3");
    assert_eq!(names(&volume)[1..], ["..data", "tls.crt"]);
}

#[test]
fn names_that_would_leave_the_volume_or_hide_in_it_are_refused() {
    let (_parent, volume) = volume();
    for name in ["", ".", "..", "..data", "..evil", "a/b", "/etc/passwd"] {
        let refused = volume.publish(&[(name, b"")]);
        assert!(matches!(refused, Err(VolumeError::InvalidName(_))), "{name:?}: {refused:?}");
    }
    assert_eq!(names(&volume), Vec::<String>::new());
}

#[test]
fn failure_says_where() {
    let (parent, volume) = volume();
    fs::remove_dir(volume.directory()).unwrap();
    let failed = volume.publish(&[("tls.crt", b"1")]).unwrap_err();
    assert!(matches!(&failed, VolumeError::Io { path, .. } if path.starts_with(parent.path())), "{failed:?}");
}
