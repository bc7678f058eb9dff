//! The reference pages say what the code does.

use kit::reference;

#[test]
fn the_pages_say_what_the_code_does() {
    let mut stale = Vec::new();
    for page in reference::pages() {
        let path = reference::folder().join(page.file);
        if std::fs::read_to_string(&path).ok().as_deref() != Some(page.text.as_str()) {
            stale.push(page.file);
        }
    }
    assert!(
        stale.is_empty(),
        "{stale:?} in docs/reference are not what the code says: cargo run --profile test-release -p tests --bin reference"
    );
}
