use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn key(subscription: &str, id: &str) -> DeliveryKey {
    (subscription.into(), id.into())
}

fn set_desired(outbox: &mut Outbox<()>, keys: &[DeliveryKey]) {
    outbox.set_desired(keys.iter().map(|key| (key.clone(), &())));
}

fn due(outbox: &mut Outbox<()>, now: u64) -> Vec<DeliveryKey> {
    outbox.due(at(now), 32).into_iter().map(|(key, _)| key).collect()
}

fn failed(is_destination_failing: bool, retry_after: Option<u64>) -> DeliveryOutcome {
    DeliveryOutcome::Failed {
        why: "503".into(),
        retry_after: retry_after.map(Duration::from_secs),
        is_destination_failing,
    }
}

#[test]
fn a_delivery_is_sent_once_and_forgotten_when_it_is_not_desired_any_more() {
    let mut outbox = Outbox::default();
    set_desired(&mut outbox, &[key("a", "1")]);
    assert_eq!(due(&mut outbox, 0), [key("a", "1")]);
    assert_eq!(due(&mut outbox, 0), [], "it is in flight");
    outbox.record(&key("a", "1"), &DeliveryOutcome::Delivered, at(1));
    set_desired(&mut outbox, &[key("a", "1")]);
    assert_eq!(due(&mut outbox, 2), []);
    assert_eq!(outbox.delivered(), BTreeSet::from([key("a", "1")]));
    set_desired(&mut outbox, &[]);
    assert!(outbox.delivered().is_empty());
}

#[test]
fn a_failing_destination_backs_off_and_delays_no_other() {
    let mut outbox = Outbox::default();
    let all: Vec<_> = (0..9).map(|id| key("down", &id.to_string())).chain([key("up", "1")]).collect();
    set_desired(&mut outbox, &all);
    let first = due(&mut outbox, 0);
    assert_eq!(first.len(), MAX_PER_DESTINATION + 1, "{first:?}");
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
    assert!((1..=9).contains(&outbox.overdue(at(now)).len()), "{:?}", outbox.overdue(at(now)));
    // It comes back.
    let one = loop {
        now += 1;
        if let [one] = due(&mut outbox, now).as_slice() {
            break one.clone();
        }
    };
    assert!(outbox.record(&one, &DeliveryOutcome::Delivered, at(now)));
    assert_eq!(due(&mut outbox, now).len(), MAX_PER_DESTINATION);
}

#[test]
fn a_rejected_delivery_does_not_delay_the_next() {
    let mut outbox = Outbox::default();
    set_desired(&mut outbox, &[key("a", "1"), key("a", "2")]);
    assert_eq!(due(&mut outbox, 0).len(), 2);
    outbox.record(&key("a", "1"), &failed(false, None), at(0));
    outbox.record(&key("a", "2"), &DeliveryOutcome::Delivered, at(0));
    set_desired(&mut outbox, &[key("a", "1"), key("a", "3")]);
    assert_eq!(due(&mut outbox, 1), [key("a", "3")]);
    assert_eq!(due(&mut outbox, 31), [key("a", "1")]);
}

#[test]
fn retry_after_is_respected_up_to_an_hour() {
    let mut outbox = Outbox::default();
    set_desired(&mut outbox, &[key("a", "1")]);
    due(&mut outbox, 0);
    outbox.record(&key("a", "1"), &failed(true, Some(120)), at(0));
    assert_eq!((due(&mut outbox, 119), due(&mut outbox, 120).len()), (vec![], 1));
    outbox.record(&key("a", "1"), &failed(true, Some(1_000_000)), at(120));
    assert_eq!((due(&mut outbox, 3700), due(&mut outbox, 3720).len()), (vec![], 1));
}

#[test]
fn a_destination_that_is_gone_gets_nothing_until_it_is_forgotten() {
    let mut outbox = Outbox::default();
    set_desired(&mut outbox, &[key("a", "1"), key("a", "2")]);
    due(&mut outbox, 0);
    assert!(outbox.record(&key("a", "1"), &DeliveryOutcome::Gone, at(0)));
    outbox.record(&key("a", "2"), &DeliveryOutcome::Gone, at(0));
    set_desired(&mut outbox, &[key("a", "1"), key("a", "2"), key("a", "3")]);
    assert_eq!((due(&mut outbox, 1_000_000), outbox.next_due(32)), (vec![], None));
    assert_eq!(outbox.overdue(at(61))[&key("a", "1")], "it answered that it is gone (410)");
    outbox.forget(|_| false);
    set_desired(&mut outbox, &[key("a", "1")]);
    assert_eq!(due(&mut outbox, 70), [key("a", "1")]);
}

#[test]
fn a_clock_that_is_set_back_delays_no_delivery() {
    let mut outbox = Outbox::default();
    set_desired(&mut outbox, &[key("a", "1")]);
    due(&mut outbox, 500_000);
    outbox.record(&key("a", "1"), &failed(true, None), at(500_000));
    assert_eq!(due(&mut outbox, 0).len(), 1);
}

#[test]
fn nothing_is_due_while_the_maximum_is_in_flight() {
    let mut outbox = Outbox::default();
    let names: Vec<_> = (0..9).map(|number| format!("s{number}")).collect();
    let all: Vec<_> = names.iter().flat_map(|name| (0..5).map(|id| key(name, &id.to_string()))).collect();
    set_desired(&mut outbox, &all);
    let first = due(&mut outbox, 0);
    assert_eq!((first.len(), outbox.next_due(32)), (32, None));
    outbox.record(&first[0], &DeliveryOutcome::Delivered, at(0));
    assert!(outbox.next_due(32).is_some());
    outbox.recall(&first[1]);
    assert!(due(&mut outbox, 0).contains(&first[1]), "what does not count is sent again");
}

#[test]
fn what_repeats_is_sent_again_while_it_is_desired() {
    let mut outbox = Outbox::default();
    let one = key("a", "1");
    set_desired(&mut outbox, std::slice::from_ref(&one));
    due(&mut outbox, 0);
    outbox.record(&one, &DeliveryOutcome::Delivered, at(0));
    outbox.repeat(&one, at(300));
    assert_eq!(
        (due(&mut outbox, 299), outbox.next_due(32), outbox.pending()["a"]),
        (vec![], Some(at(300)), 0)
    );
    assert_eq!(due(&mut outbox, 300), std::slice::from_ref(&one));
    outbox.record(&one, &failed(true, None), at(300));
    assert_eq!((outbox.pending()["a"], outbox.delivered().len()), (1, 0), "the repetition was not delivered");
    assert_eq!(due(&mut outbox, 320), std::slice::from_ref(&one));
    outbox.record(&one, &DeliveryOutcome::Delivered, at(320));
    outbox.repeat(&one, at(620));
    set_desired(&mut outbox, &[]);
    assert_eq!((due(&mut outbox, 620), outbox.next_due(32)), (vec![], None));
}
