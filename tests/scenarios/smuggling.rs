//! What leaves a proxy is what was sent to it, to every parser, or it was refused: the corpus, and some of what the fuzzer
//! makes of it.

use kit::smuggling::{Proxies, corpus, mutate};

#[test]
fn what_is_forwarded_is_what_was_sent_to_every_parser_or_it_was_refused() {
    let mut proxies = Proxies::default();
    let mut found = Vec::new();
    for (at, input) in corpus() {
        let faults = proxies.faults(&input);
        if !faults.is_empty() {
            found.push(format!("{at}: {}\n  {}", input.line(), faults.join("  ")));
        }
    }
    assert!(found.is_empty(), "{} inputs of the corpus:\n{}", found.len(), found.join("\n"));
    assert!(proxies.are_alive());
}

#[test]
fn mutations_of_the_corpus_are_forwarded_as_they_were_sent_or_refused() {
    let mut proxies = Proxies::default();
    let inputs: Vec<_> = corpus().into_iter().map(|(_, input)| input).collect();
    let mut found = Vec::new();
    for index in 0..1000 {
        let input = mutate::input(9112, index, &inputs);
        let faults = proxies.faults(&input);
        if !faults.is_empty() {
            found.push(format!("{index}: {}\n  {}", input.line(), faults.join("  ")));
        }
    }
    assert!(found.is_empty(), "{} mutations:\n{}", found.len(), found.join("\n"));
    assert!(proxies.are_alive());
}
