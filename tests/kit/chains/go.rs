//! Go's crypto/x509, in a program that is asked line by line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;

use super::{Case, Role, Verdict};
use crate::installed;

pub struct Go {
    program: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Default for Go {
    fn default() -> Self {
        let mut program = Command::new(installed::folder().join("bin/chains"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (questions, answers) = (program.stdin.take().unwrap(), program.stdout.take().unwrap());
        Self { program, questions, answers: BufReader::new(answers) }
    }
}

impl Go {
    /// It does not read revocation lists.
    pub fn verdict(&mut self, case: &Case) -> Verdict {
        let base64 =
            |ders: &[Vec<u8>]| ders.iter().map(|der| BASE64_STANDARD.encode(der)).collect::<Vec<_>>();
        let question = json!({
            "Roots": base64(&case.roots),
            "Intermediates": base64(&case.intermediates),
            "Leaf": BASE64_STANDARD.encode(&case.leaf),
            "Client": case.role == Role::Client,
            "Name": case.name.as_deref().unwrap_or_default(),
            "At": case.seconds(),
        });
        writeln!(self.questions, "{question}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let answer: String = serde_json::from_str(&answer).unwrap();
        if answer.is_empty() { Ok(()) } else { Err(answer) }
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
