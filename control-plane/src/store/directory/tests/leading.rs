//! One controller at a time leads on DIR.

use super::*;

#[tokio::test]
async fn one_leads_until_it_ends_and_commands_write_meanwhile() {
    let scene = Scene::create();
    let another = DirectoryStore::open(scene.store.root()).unwrap();
    let Attempt::Leads(leadership) = scene.store.attempt_to_lead().await.unwrap() else {
        panic!("nobody else leads")
    };
    for _ in 0..2 {
        let attempt = another.attempt_to_lead().await.unwrap();
        assert!(matches!(attempt, Attempt::LedBy(Some(id)) if id == std::process::id()), "{attempt:?}");
    }
    another.ask(&ObjectRef::Certificate(payments()), "rotate", "r1").await.unwrap();
    another.observe().await.unwrap();
    drop(leadership);
    assert!(matches!(another.attempt_to_lead().await.unwrap(), Attempt::Leads(_)));
    assert_eq!(mode(&scene.path("leader")), 0o600);
}
