//! Labels and annotations of pods, from the table that injection reads them by.

use std::fmt::Write as _;

use hotcert::inject::annotations::{ANNOTATIONS, INJECT_LABEL, PREFIX};

use super::cell;

const ABOUT: &str = "The control plane's webhook and `hotcert inject` read them on pods and pod templates. Lists are \
     separated by commas, 64 items and 4 KiB at most. A pod with an unknown annotation or an invalid value is rejected, \
     and the message names all of them.";

pub fn page() -> String {
    let mut text = format!("# Labels and annotations of pods\n\n{ABOUT}\n\n");
    let _ = writeln!(
        text,
        "The label `{INJECT_LABEL}: enabled` on a pod or its namespace asks for the agent; `disabled` on either wins.\n"
    );
    let _ = writeln!(text, "| annotation | value | meaning |\n|---|---|---|");
    for annotation in &ANNOTATIONS {
        let (name, value, meaning) = (annotation.name, cell(annotation.value), cell(annotation.meaning));
        let _ = writeln!(text, "| `{PREFIX}{name}` | {value} | {meaning} |");
    }
    text
}
