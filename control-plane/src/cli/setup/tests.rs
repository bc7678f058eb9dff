use std::collections::BTreeSet;

use clap::Parser;
use tempfile::TempDir;

use super::args::{Event, SetupIbmArgs};
use super::certificate::Certificate;
use super::files::Files;
use super::settings::Settings;
use crate::external::ibm::Endpoints;
use crate::notify::config::NotifyConfig;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: SetupIbmArgs,
}

fn args(more: &[&str]) -> Result<SetupIbmArgs, String> {
    let receiver = ["--receiver", "https://hooks.example"];
    let receiver = if more.contains(&"--receiver") { &[][..] } else { &receiver[..] };
    let all = [&["x"][..], receiver, more].concat();
    Cli::try_parse_from(all).map(|cli| cli.args).map_err(|error| error.to_string())
}

#[test]
fn the_settings_are_those_that_the_controller_reads() {
    let home = TempDir::new().unwrap();
    let args = args(&["--directory", home.path().to_str().unwrap()]).unwrap();
    let files = Files::new(&args);
    let pem = Certificate::of(&args).unwrap().pem("hotcert-certificate").unwrap();
    files.write_root(&pem.root.unwrap()).unwrap();
    let token = files.token().unwrap();
    assert_eq!(files.token().unwrap(), token, "a token stays the same");
    std::fs::write(home.path().join("ibm-api.key"), "a-key").unwrap();
    let settings = Settings {
        name: "hotcert",
        url: "https://guid.us-south.secrets-manager.appdomain.cloud".into(),
        instance: "crn:v1:bluemix:public:secrets-manager:us-south:a/1234:guid::",
        secret: "hotcert-certificate",
        namespace: "shop",
        events: &BTreeSet::from([Event::Changed, Event::Failed]),
        endpoints: &Endpoints::read(None, "us-south").unwrap(),
    };
    let yaml = settings.yaml(files.has_root());
    assert!(yaml.contains("events: [changed, failed]\n    names: [\"shop/*\"]\n"), "{yaml}");
    assert!(files.write_settings(&yaml).unwrap());
    assert!(!files.write_settings("other").unwrap(), "settings that exist are kept");
    let read = NotifyConfig::read(&home.path().join("notifications.yaml"));
    assert!(read.is_ok(), "{:?}", read.err());
    let command = files.command(&args.ibm);
    for name in ["notifications.yaml", "ibm-api.key", "ibm-events.token", "ibm-root.pem"] {
        assert!(command.contains(&format!("--from-file={name}=")), "{command}");
    }
}

#[test]
fn mistakes_are_found_before_anything_is_requested() {
    for (more, said) in [
        (&["--name", "Hotcert"][..], "lower-case"),
        (&["--name", "keys"], "reserves"),
        (&["--region", "us south"], "us-south"),
        (&["--secret", "a/b"], "hyphens"),
        (&["--receiver", "http://hooks.example"], "https://"),
        (&["--certificate", "x"], "--private-key"),
        (&["--events", "everything"], "changed"),
    ] {
        let error = args(more).err().unwrap_or_default();
        assert!(error.contains(said), "{more:?}: {error}");
    }
    let wrong = args(&["--dns-name", "not a name"]).unwrap();
    assert!(Certificate::of(&wrong).err().unwrap().starts_with("--dns-name"));
}
