//! A cluster's controller is upgraded, and taken back, at any moment: controllers of the previous release and of today
//! follow each other on one API server or one directory. Neither issues anything anew because the other was there, and
//! each finishes the rollover that the other began, on proof and without a failed request.

mod ledger;
mod rollover;
mod site;
mod upgrade;
