//! A directory that does not answer, or that holds something else than files, costs nothing but news from it.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use kit::agent::Launch;
use kit::client::{SERVER, accepted};
use kit::echo::Echo;
use kit::hanging::Hanging;
use kit::pki::Pki;
use kit::scene::Scene;
use kit::volume::{PlainDirectory, Volume};
use rustix::process::Signal;

/// An agent that has nothing to drain ends within this.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_directory_that_hangs_is_said_and_read_again_when_it_answers() {
    let mut scene = Scene::tcp(&["--poll-interval", "200ms", "--shutdown-delay", "0s"]);
    let hanging = Hanging::over(&scene.volume.path);
    let health = scene.agent.wait_until("hanging", |health| {
        health["source"]["hanging_seconds"].as_u64().is_some_and(|seconds| seconds >= 1)
    });
    let notice = health["source"]["notices"][0].as_str().unwrap_or_default();
    assert!(notice.starts_with("the directory has not answered for "), "{health:#}");
    assert!(health["source"]["why"].as_str().unwrap().contains("does not answer"), "{health:#}");
    assert_eq!(health["ready"], true, "what is served stays");
    assert!(scene.accepts());
    assert!(scene.agent.metrics().sum("hotcert_directory_hanging_seconds", &[]) >= 1.0);
    assert_eq!(scene.agent.logged("the identity directory does not answer"), 1);
    scene.agent.signal(Signal::HUP);
    kit::until("said again to who asks", || {
        (scene.agent.logged("the identity directory does not answer") == 2).then_some(())
    });

    drop(hanging);
    scene.agent.until_logged("the identity directory answers again");
    scene.rotate_and_wait();
    assert_eq!(scene.health()["source"]["hanging_seconds"], serde_json::Value::Null);

    let _hanging = Hanging::over(&scene.volume.path);
    scene.agent.wait_until("hanging", |health| !health["source"]["hanging_seconds"].is_null());
    let begin = Instant::now();
    scene.agent.signal(Signal::TERM);
    let status = scene.agent.wait_exit(ENDS_WITHIN);
    assert_eq!(status.code(), Some(0), "after {:?}", begin.elapsed());
}

/// Which is read without a thread of its own.
#[test]
fn a_directory_that_hangs_where_one_in_memory_was_holds_nothing_up() {
    let (pki, echo) = (Pki::default(), Echo::default());
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let volume = Volume::open(memory.path());
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let agent =
        Launch::new(&volume.path).inbound("", echo.address).args(["--poll-interval", "200ms"]).ready();
    agent.wait_looks(2);
    let hanging = Hanging::over(&volume.path);
    agent.wait_until("hanging", |health| !health["source"]["hanging_seconds"].is_null());
    assert!(accepted(agent.address("inbound"), &pki.client("storefront")));
    drop(hanging);
    agent.until_logged("the identity directory answers again");
    let next = pki.leaf(SERVER);
    volume.publish(&next, pki.roots());
    agent.wait_serving(&next.serial);
}

#[test]
fn a_directory_that_hangs_from_the_beginning_is_the_reason_to_be_unready() {
    let (pki, echo) = (Pki::default(), Echo::default());
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let hanging = Hanging::over(&volume.path);
    let start = || Launch::new(&volume.path).inbound("", echo.address).start();
    let (mut stopped, agent) = (start(), start());
    for agent in [&stopped, &agent] {
        let health = agent.wait_until("hanging", |health| !health["source"]["hanging_seconds"].is_null());
        assert!(health["reason"].as_str().unwrap().contains("does not answer"), "{health:#}");
    }
    stopped.signal(Signal::TERM);
    assert_eq!(stopped.wait_exit(ENDS_WITHIN).code(), Some(0));
    drop(hanging);
    agent.wait_ready();
    assert!(accepted(agent.address("inbound"), &pki.client("storefront")));
}

#[test]
fn what_is_no_file_is_refused_by_its_name_and_blocks_nothing() {
    let (pki, echo) = (Pki::default(), Echo::default());
    let leaf = pki.leaf(SERVER);
    let directory = PlainDirectory::create(pki.path("plain"), &leaf, pki.roots());
    let mut agent = Launch::new(&directory.0)
        .inbound("", echo.address)
        .args(["--poll-interval", "200ms", "--shutdown-delay", "0s"])
        .ready();
    let file = directory.0.join("tls.crt");
    for (kind, make) in [
        ("a named pipe", &["mkfifo"][..]),
        ("a directory", &["mkdir"]),
        ("a device", &["ln", "-s", "/dev/zero"]),
        ("a device", &["ln", "-s", "/dev/tty"]),
    ] {
        fs::remove_file(&file).or_else(|_| fs::remove_dir(&file)).unwrap();
        assert!(Command::new(make[0]).args(&make[1..]).arg(&file).status().unwrap().success());
        let wanted = format!("tls.crt cannot be read: it is {kind}");
        agent.wait_until(kind, |health| {
            health["refused"]["leaf"]["detail"].as_str().is_some_and(|detail| detail.starts_with(&wanted))
        });
        assert!(accepted(agent.address("inbound"), &pki.client("storefront")), "{kind}");
    }
    fs::remove_file(&file).unwrap();
    fs::write(&file, &leaf.cert).unwrap();
    agent.wait_until("taken again", |health| health["refused"]["leaf"].is_null());
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait_exit(ENDS_WITHIN).code(), Some(0));
}

#[test]
fn files_that_replace_the_links_of_a_volume_are_said_until_they_are_gone() {
    let scene = Scene::tcp(&[]);
    let link = scene.volume.path.join("tls.crt");
    // As `mv` and `sed -i` do it.
    let moved = scene.pki.path("moved");
    fs::write(&moved, scene.pki.leaf(SERVER).cert).unwrap();
    fs::rename(&moved, &link).unwrap();
    let notice = |health: &serde_json::Value| {
        health["source"]["notices"][0].as_str().is_some_and(|text| text.starts_with("tls.crt beside ..data"))
    };
    scene.agent.wait_until("said", notice);
    assert_eq!(scene.agent.logged("tls.crt beside ..data is not read"), 1);
    assert_eq!(scene.served().as_ref(), Some(&scene.leaf.serial));
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("..data/tls.crt", &link).unwrap();
    scene.agent.wait_until("no more", |health| health["source"]["notices"] == serde_json::json!([]));
}
