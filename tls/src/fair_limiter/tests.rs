use std::future::pending;

use tokio::sync::oneshot::error::TryRecvError;

use super::*;

const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

fn is_evicted(place: &mut Place) -> bool {
    matches!(place.evicted.try_recv(), Err(TryRecvError::Closed))
}

fn evicted(places: &mut [Place]) -> Vec<usize> {
    places.iter_mut().enumerate().filter_map(|(at, place)| is_evicted(place).then_some(at)).collect()
}

#[test]
fn one_source_has_everything_while_it_is_alone_and_its_longest_waiting_gives_way_to_its_next() {
    let limiter = FairLimiter::new(3);
    let mut places: Vec<_> = (0..3).map(|_| limiter.place(CLIENT).unwrap()).collect();
    assert_eq!(evicted(&mut places), [0; 0]);
    let _next = limiter.place(CLIENT).unwrap();
    assert_eq!(evicted(&mut places), [0]);
    assert_eq!(limiter.held(), 3);
    drop(places);
    assert_eq!(limiter.held(), 1, "one that was evicted is not counted twice");
}

#[test]
fn source_with_the_most_gives_way_to_others_and_not_they_to_it() {
    let limiter = FairLimiter::new(10);
    let mut client: Vec<_> = (0..3).map(|_| limiter.place(CLIENT).unwrap()).collect();
    let mut flood: Vec<_> = (0..1000).map(|_| limiter.place(ATTACKER).unwrap()).collect();
    assert_eq!(evicted(&mut client), [0; 0], "though it came first");
    assert_eq!(evicted(&mut flood).len(), 1000 - 7);
    client.extend((0..2).map(|_| limiter.place(CLIENT).unwrap()));
    assert_eq!(evicted(&mut client), [0; 0], "up to an equal share");
    assert_eq!(limiter.held(), 10);
}

#[test]
fn one_that_is_being_answered_does_not_give_way_to_newcomers_of_its_own_source() {
    let limiter = FairLimiter::new(2);
    let mut asked = limiter.place(CLIENT).unwrap();
    let answering = asked.activity().answer();
    let mut newcomers: Vec<_> = (0..100).map(|_| limiter.place(CLIENT).unwrap()).collect();
    assert!(!is_evicted(&mut asked));
    assert_eq!(evicted(&mut newcomers).len(), 99);
    let _other = newcomers[99].activity().answer();
    assert!(limiter.place(CLIENT).is_none(), "all are being answered");
    drop(answering);
    assert!(limiter.place(CLIENT).is_some());
    assert!(is_evicted(&mut asked), "it was answered");
}

#[test]
fn slow_answers_of_the_source_with_the_most_give_way_to_another_source() {
    let limiter = FairLimiter::new(3);
    let mut slow: Vec<_> = (0..3).map(|_| limiter.place(ATTACKER).unwrap()).collect();
    let _answers: Vec<_> = slow.iter().map(|place| place.activity().answer()).collect();
    let mut client = limiter.place(CLIENT).unwrap();
    assert_eq!(evicted(&mut slow), [0]);
    assert!(limiter.place(ATTACKER).is_none());
    assert!(!is_evicted(&mut client));
}

#[test]
fn one_that_never_asked_gives_way_before_one_that_did() {
    let limiter = FairLimiter::new(2);
    let mut asked = limiter.place(CLIENT).unwrap();
    drop(asked.activity().answer());
    let mut silent = limiter.place(CLIENT).unwrap();
    let _next = limiter.place(CLIENT).unwrap();
    assert!(is_evicted(&mut silent) && !is_evicted(&mut asked));
}

#[test]
fn amounts_are_shared_as_places_are_and_nothing_young_gives_way() {
    let limiter = FairLimiter::with_grace(100, Duration::from_secs(3600));
    let held: Vec<_> = (0..4).map(|_| limiter.reserve(ATTACKER, 25).unwrap()).collect();
    assert!(limiter.reserve(ATTACKER, 1).is_none());
    assert!(limiter.reserve(CLIENT, 10).is_some(), "another source with less");
    drop(held);
    assert!(limiter.reserve(CLIENT, 101).is_none(), "more than there is");
    assert_eq!(limiter.held(), 0);
    let limiter = FairLimiter::new(100);
    let mut held: Vec<_> = (0..4).map(|_| limiter.reserve(ATTACKER, 25).unwrap()).collect();
    let mut large = limiter.reserve(CLIENT, 40).unwrap();
    assert_eq!(evicted(&mut held), [0, 1]);
    assert_eq!(limiter.held(), 90);
    let _own = limiter.reserve(ATTACKER, 30).unwrap();
    assert_eq!((evicted(&mut held), is_evicted(&mut large)), (vec![0, 1, 2], false));
}

#[test]
fn nobody_gives_way_to_one_that_is_refused_all_the_same() {
    let limiter = FairLimiter::new(100);
    let mut held: Vec<_> = (0..4).map(|_| limiter.reserve(ATTACKER, 25).unwrap()).collect();
    // Two would give way, and then the newcomer's source would be the one that holds the most.
    assert!(limiter.reserve(CLIENT, 60).is_none());
    assert_eq!((evicted(&mut held), limiter.held()), (vec![], 100));
    let _fits = limiter.reserve(CLIENT, 40).unwrap();
    assert_eq!(evicted(&mut held), [0, 1], "in their order");
}

#[test]
fn addresses_of_one_network_of_ipv6_are_one_source() {
    let limiter = FairLimiter::new(2);
    let source = |text: &str| text.parse().unwrap();
    let _kept = limiter.place(source("2001:db8:0:1::1")).unwrap();
    let mut first = limiter.place(source("2001:db8::1")).unwrap();
    let _second = limiter.place(source("2001:db8::2")).unwrap();
    assert!(is_evicted(&mut first));
    let _mapped = limiter.place(source("::ffff:10.0.0.1")).unwrap();
    assert_eq!(limiter.0.lock().sources.get(&ATTACKER.into()).map(|share| share.held), Some(1));
}

#[tokio::test]
async fn task_ends_when_its_place_is_taken_away() {
    let limiter = FairLimiter::new(1);
    let mut place = limiter.place(CLIENT).unwrap();
    let task = place.run(pending::<()>());
    tokio::pin!(task);
    assert!(futures_util::poll!(&mut task).is_pending());
    assert_eq!(limiter.place(CLIENT).unwrap().run(async { 7 }).await, Some(7));
    assert_eq!(task.await, None);
    assert_eq!(limiter.held(), 0, "though the place is still there");
}
