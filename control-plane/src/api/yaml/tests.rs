#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

/// What some reader takes for something else than the string it is.
const NASTY: &[&str] = &[
    "",
    " ",
    "yes",
    "Yes",
    "y",
    "N",
    "on",
    "OFF",
    "true",
    "False",
    "null",
    "Null",
    "~",
    "0644",
    "0o17",
    "0x1F",
    "0b1",
    "1e3",
    "1_000",
    "12:30",
    "12:30:45",
    "1.5",
    ".5",
    "5.",
    ".inf",
    ".NaN",
    "+1",
    "-1",
    "-",
    "--- a",
    "---",
    "...",
    "2001-01-01",
    "2001-12-14t21:59:43.10-05:00",
    "<<",
    "=",
    "a: b",
    "a:",
    "a #b",
    "#a",
    "- a",
    "? a",
    "& a",
    "*a",
    "!a",
    "!!str a",
    "|",
    ">",
    "%a",
    "@a",
    "`a",
    "'a'",
    "\"a\"",
    "\\",
    "[a]",
    "{a}",
    "a, b",
    " a",
    "a ",
    "\ta",
    "a\tb",
    "a\rb",
    "a\n",
    "a\nb",
    "a\nb\n",
    "a\n\n",
    "\na",
    "\n",
    " a\nb",
    "a\n  b\n\n c\n",
    "a\n \nb",
    "a \nb",
    "#a\nb",
    "- a\n- b\n",
    "---\na",
    "a\n---\nb\n",
    "a\r\nb\r\n",
    "a\tb\nc",
    "\u{0}",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{feff}a",
    "a\n\u{85}b",
    "\u{1f600}",
    "né",
    "日本",
    "\u{ffff}",
    "10m",
    "64Mi",
    "/healthz?a=1&b=2",
    "http://a:80/",
    "key: |",
    "a\u{b}b",
];

#[test]
fn strings_come_back_as_the_strings_they_are() {
    for text in NASTY {
        let value = json!({ "a": text, "list": [text, [text]], *text: { "b": text, *text: [text] } });
        let written = write(&value);
        assert_eq!(read(&written).unwrap(), value, "{text:?}:\n{written}");
    }
}

#[test]
fn other_values_come_back_too() {
    for value in [
        json!(null),
        json!([]),
        json!({}),
        json!("a\nb\n"),
        json!([[], {}, [[1, 2], [3]], [{ "a": [] }], { "a": { "b": {} } }]),
        json!({ "a": null, "b": [null, true, false, 0, -1, 1.5, 18_446_744_073_709_551_615_u64] }),
        json!({ "a": 1e21, "b": 1.5e-9, "c": -2.0, "d": i64::MIN }),
    ] {
        let written = write(&value);
        assert_eq!(read(&written).unwrap(), value, "{written}");
    }
}

#[test]
fn what_a_reader_of_1_1_would_take_for_something_else_is_in_quotes() {
    for text in ["yes", "on", "n", "0644", "1e3", "12:30", "1_000", "2001-01-01", "~", "", "null", "<<", "="]
    {
        assert_eq!(write(&json!({ "a": text })), format!("a: \"{text}\"\n"));
        assert_eq!(write(&json!({ text: 1 })), format!("\"{text}\": 1\n"));
    }
    assert_eq!(write(&json!({ "a": 1e21 })), "a: 1.0e+21\n");
}

#[test]
fn documents_look_as_a_person_would_write_them() {
    let value = json!({
        "apiVersion": "v1",
        "spec": { "containers": [{ "args": ["run", "-v"], "name": "a", "env": [] }], "script": "a\nb\n" },
    });
    let expected = "\
apiVersion: v1
spec:
  containers:
  - args:
    - run
    - \"-v\"
    env: []
    name: a
  script: |
    a
    b
";
    assert_eq!(write(&value), expected);
}

#[test]
fn documents_are_read_as_kubectl_reads_them() {
    for (text, value) in [
        ("yes", json!(true)),
        ("Off", json!(false)),
        ("y", json!(true)),
        ("'yes'", json!("yes")),
        ("0644", json!(420)),
        ("0o17", json!(15)),
        ("0x1F", json!(31)),
        ("1_000", json!(1000)),
        ("08", json!(8.0)),
        ("1e3", json!(1000.0)),
        ("12:30", json!("12:30")),
        ("2001-01-01", json!("2001-01-01")),
        ("~", json!(null)),
        ("", json!(null)),
        ("!!str 5", json!("5")),
    ] {
        assert_eq!(read(&format!("a: {text}\n")).unwrap(), json!({ "a": value }), "{text}");
    }
    assert_eq!(
        read("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\n").unwrap(),
        json!({ "a": { "b": 1 }, "c": { "b": 1 }, "d": { "b": 1, "e": 2 } })
    );
    assert_eq!(read("a: 1\na: 2\n").unwrap(), json!({ "a": 2 }));
}

#[test]
fn a_number_that_json_cannot_say_is_not_written_again_as_another() {
    assert!(read("a: .inf\n").is_err());
    assert!(read("a: 1e400\n").is_err());
    assert!(read_lossy("a: 1e400\n").is_ok());
}

#[test]
fn aliases_do_not_explode() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    assert!(read_lossy(&text).is_err());
    let often = format!("a: &a {{b: 1}}\nc:\n{}", "- *a\n".repeat(1000));
    assert_eq!(read(&often).unwrap()["c"].as_array().unwrap().len(), 1000);
}
