//! Versions of certificates that are deleted.

use super::*;

/// After everything that was done here.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(60)
}

async fn scene() -> (Scene, PathBuf) {
    let scene = Scene::create();
    scene.store.create_version(&payments(), 1, &kept()).await.unwrap();
    scene.store.create_version(&payments(), 2, &kept()).await.unwrap();
    scene.store.publish(&payments(), "payments-tls", &contents(), None).await.unwrap();
    let versions = scene.path("state/versions/shop/mtls-prod-payments");
    (scene, versions)
}

#[tokio::test]
async fn versions_go_with_their_certificate_and_the_secret_stays() {
    let (scene, versions) = scene().await;
    let orders = ObjectName::new("shop", "mtls-prod-orders");
    scene.write("certificates/shop/mtls-prod-orders.yaml", &CERTIFICATE.replace("payments", "orders"));
    scene.store.create_version(&orders, 1, &kept()).await.unwrap();
    assert!(scene.store.remove_versions_of_deleted(later()).await.unwrap().is_empty());

    fs::remove_file(scene.path("certificates/shop/mtls-prod-payments.yaml")).unwrap();
    // What a crash left of an earlier removal goes too.
    scene.write("state/versions/shop/.old/1/tls.key", "a key");
    // It may be there again in a moment.
    assert!(scene.store.remove_versions_of_deleted(SystemTime::now()).await.unwrap().is_empty());
    assert!(versions.exists());
    assert_eq!(scene.store.remove_versions_of_deleted(later()).await.unwrap(), [payments()]);
    assert_eq!(names(&scene.path("state/versions/shop")), ["mtls-prod-orders"]);
    assert!(scene.path("secrets/shop/payments-tls/tls.key").exists());
    assert!(scene.store.remove_versions_of_deleted(later()).await.unwrap().is_empty());
    scene.store.load_version(&orders, 1).await.unwrap();
}

#[tokio::test]
async fn certificate_that_cannot_be_read_keeps_its_versions() {
    let (scene, versions) = scene().await;
    scene.write("certificates/shop/mtls-prod-payments.yaml", "spec: [");
    assert!(scene.store.remove_versions_of_deleted(later()).await.unwrap().is_empty());
    // A link whose target is not there, such as on a file system that is not mounted.
    fs::remove_file(scene.path("certificates/shop/mtls-prod-payments.yaml")).unwrap();
    symlink("/nonexistent/payments.yaml", scene.path("certificates/shop/mtls-prod-payments.yaml")).unwrap();
    assert!(scene.store.remove_versions_of_deleted(later()).await.unwrap().is_empty());
    assert_eq!(names(&versions), ["1", "2"]);
}

#[tokio::test]
async fn namespace_that_is_gone_is_deleted_unless_nothing_is_left() {
    let (scene, versions) = scene().await;
    fs::remove_dir_all(scene.path("certificates/shop")).unwrap();
    assert!(scene.store.remove_versions_of_deleted(later()).await.unwrap().is_empty());
    assert!(versions.exists(), "the file system of certificates/ may not be mounted");
    scene.write("certificates/web/mtls-prod-web.yaml", "");
    assert_eq!(scene.store.remove_versions_of_deleted(later()).await.unwrap(), [payments()]);
    assert!(!versions.exists());
}

#[tokio::test]
async fn certificate_that_is_made_again_has_no_versions_of_the_one_before() {
    let (scene, versions) = scene().await;
    scene.store.delete_certificate(&payments()).await.unwrap();
    assert!(versions.exists(), "they are removed in a moment");
    scene.store.create_certificate(&payments(), &ServiceCertificateSpec::default()).await.unwrap();
    assert!(!versions.exists());
}
