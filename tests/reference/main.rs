//! Writes the reference pages into `docs/reference`. The test `reference::the_pages_say_what_the_code_does` compares them.

fn main() -> std::io::Result<()> {
    let folder = kit::reference::folder();
    std::fs::create_dir_all(&folder)?;
    for page in kit::reference::pages() {
        std::fs::write(folder.join(page.file), page.text)?;
        println!("docs/reference/{}", page.file);
    }
    Ok(())
}
