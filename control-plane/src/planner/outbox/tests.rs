use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn key(subscription: &str, id: &str) -> DeliveryKey {
    (subscription.into(), id.into())
}

fn want(outbox: &mut Outbox<()>, keys: &[DeliveryKey]) {
    outbox.want(keys.iter().map(|key| (key.clone(), &())));
}

fn due(outbox: &mut Outbox<()>, now: u64) -> Vec<DeliveryKey> {
    outbox.due(at(now), 32).into_iter().map(|(key, _)| key).collect()
}

fn failed(of_all: bool, after: Option<u64>) -> DeliveryOutcome {
    DeliveryOutcome::Failed { why: "503".into(), after: after.map(Duration::from_secs), of_all }
}

#[test]
fn what_was_delivered_is_not_sent_again_and_forgotten_when_it_is_written_down() {
    let mut outbox = Outbox::default();
    want(&mut outbox, &[key("a", "1")]);
    assert_eq!(due(&mut outbox, 0), [key("a", "1")]);
    assert_eq!(due(&mut outbox, 0), [], "it is under way");
    outbox.record(&key("a", "1"), &DeliveryOutcome::Delivered, at(1));
    want(&mut outbox, &[key("a", "1")]);
    assert_eq!(due(&mut outbox, 2), []);
    assert_eq!(outbox.delivered(), BTreeSet::from([key("a", "1")]));
    want(&mut outbox, &[]);
    assert!(outbox.delivered().is_empty());
}

#[test]
fn one_that_takes_nothing_is_tried_now_and_then_and_holds_up_nobody() {
    let mut outbox = Outbox::default();
    let all: Vec<_> = (0..9).map(|id| key("down", &id.to_string())).chain([key("up", "1")]).collect();
    want(&mut outbox, &all);
    let first = due(&mut outbox, 0);
    assert_eq!(first.len(), TO_ONE + 1, "{first:?}");
    for key in first.iter().filter(|key| key.0 == "down") {
        outbox.record(key, &failed(true, None), at(0));
    }
    outbox.record(&key("up", "1"), &DeliveryOutcome::Delivered, at(0));
    assert_eq!(due(&mut outbox, 0), []);
    assert!(outbox.next_due(32).unwrap() > at(0));
    // A try each, further and further apart, at most five minutes.
    let (mut now, mut tries) = (0, Vec::new());
    while tries.len() < 20 {
        now += 1;
        if let [one] = due(&mut outbox, now).as_slice() {
            outbox.record(one, &failed(true, None), at(now));
            tries.push(now);
        }
    }
    let gaps: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] < 20 && (150..=301).contains(gaps.last().unwrap()), "{gaps:?}");
    assert!((1..=9).contains(&outbox.undelivered(at(now)).len()), "{:?}", outbox.undelivered(at(now)));
    // It comes back.
    let one = loop {
        now += 1;
        if let [one] = due(&mut outbox, now).as_slice() {
            break one.clone();
        }
    };
    assert!(outbox.record(&one, &DeliveryOutcome::Delivered, at(now)));
    assert_eq!(due(&mut outbox, now).len(), TO_ONE);
}

#[test]
fn a_letter_that_is_not_liked_does_not_hold_up_the_next() {
    let mut outbox = Outbox::default();
    want(&mut outbox, &[key("a", "1"), key("a", "2")]);
    assert_eq!(due(&mut outbox, 0).len(), 2);
    outbox.record(&key("a", "1"), &failed(false, None), at(0));
    outbox.record(&key("a", "2"), &DeliveryOutcome::Delivered, at(0));
    want(&mut outbox, &[key("a", "1"), key("a", "3")]);
    assert_eq!(due(&mut outbox, 1), [key("a", "3")]);
    assert_eq!(due(&mut outbox, 31), [key("a", "1")]);
}

#[test]
fn a_wish_to_be_left_alone_is_granted_within_reason() {
    let mut outbox = Outbox::default();
    want(&mut outbox, &[key("a", "1")]);
    due(&mut outbox, 0);
    outbox.record(&key("a", "1"), &failed(true, Some(120)), at(0));
    assert_eq!((due(&mut outbox, 119), due(&mut outbox, 120).len()), (vec![], 1));
    outbox.record(&key("a", "1"), &failed(true, Some(1_000_000)), at(120));
    assert_eq!((due(&mut outbox, 3700), due(&mut outbox, 3720).len()), (vec![], 1));
}

#[test]
fn who_is_gone_is_left_alone_until_the_settings_change() {
    let mut outbox = Outbox::default();
    want(&mut outbox, &[key("a", "1"), key("a", "2")]);
    due(&mut outbox, 0);
    assert!(outbox.record(&key("a", "1"), &DeliveryOutcome::Gone, at(0)));
    outbox.record(&key("a", "2"), &DeliveryOutcome::Gone, at(0));
    want(&mut outbox, &[key("a", "1"), key("a", "2"), key("a", "3")]);
    assert_eq!((due(&mut outbox, 1_000_000), outbox.next_due(32)), (vec![], None));
    assert_eq!(outbox.undelivered(at(61))[&key("a", "1")], "it answered that it is gone (410)");
    outbox.forget(|_| false);
    want(&mut outbox, &[key("a", "1")]);
    assert_eq!(due(&mut outbox, 70), [key("a", "1")]);
}

#[test]
fn a_clock_that_is_put_back_stops_nobody() {
    let mut outbox = Outbox::default();
    want(&mut outbox, &[key("a", "1")]);
    due(&mut outbox, 500_000);
    outbox.record(&key("a", "1"), &failed(true, None), at(500_000));
    assert_eq!(due(&mut outbox, 0).len(), 1);
}

#[test]
fn when_all_hands_are_full_nothing_is_due() {
    let mut outbox = Outbox::default();
    let names: Vec<_> = (0..9).map(|number| format!("s{number}")).collect();
    let all: Vec<_> = names.iter().flat_map(|name| (0..5).map(|id| key(name, &id.to_string()))).collect();
    want(&mut outbox, &all);
    let first = due(&mut outbox, 0);
    assert_eq!((first.len(), outbox.next_due(32)), (32, None));
    outbox.record(&first[0], &DeliveryOutcome::Delivered, at(0));
    assert!(outbox.next_due(32).is_some());
    outbox.recall(&first[1]);
    assert!(due(&mut outbox, 0).contains(&first[1]), "what does not count is sent again");
}
