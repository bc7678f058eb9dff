//! The reference pages say what the code does.

use clap::Command;
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

#[test]
fn the_page_of_ports_has_the_defaults() {
    let page = std::fs::read_to_string(reference::folder().join("ports.md")).unwrap();
    let default = |command: &Command, subcommand: &str, flag: &str| {
        let subcommand = command.find_subcommand(subcommand).unwrap();
        let argument = subcommand.get_arguments().find(|argument| argument.get_long() == Some(flag)).unwrap();
        let address = argument.get_default_values()[0].to_str().unwrap();
        address.rsplit_once(':').unwrap().1.to_owned()
    };
    let (agent, hotcert) = (hotcert_agent::cli::command(), hotcert::cli::command());
    for (port, who, flag) in [
        (default(&agent, "run", "admin"), "agent", "--admin"),
        (default(&agent, "run", "proof"), "agent", "--proof"),
        (default(&hotcert, "controller", "webhook-listen"), "controller", "--webhook-listen"),
        (default(&hotcert, "controller", "admin"), "controller", "--admin"),
    ] {
        assert!(page.contains(&format!("| {port} | {who}, `{flag}` |")), "{who} {flag} is {port}");
    }
}
