//! Who needs a root is written down with the keyring before it is published. So nothing that a spec says later, no
//! namespace that closes, no restart and no backup that is put back takes a root from a pod that still needs it: whatever
//! is not known to do without it holds the rollover, by a name under which a person can let it go on.

mod manager;
mod moves;
mod namespaces;
mod restored;
mod shop;
