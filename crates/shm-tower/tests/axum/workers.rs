//! One limit for all requests, under load.

use crate::{Answer, Example};
use shm_lib::limit::audit;
use shm_lib::{Limit, Nanos, Rate};
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

/// The example's rate and burst.
const MAX: u64 = 100;
const BURST: u64 = 20;
const TIME: Duration = Duration::from_secs(2);

#[test]
fn workers_share_one_limit() {
    let dir = tempfile::tempdir().unwrap();
    let example = Example::start("axum_workers", dir.path());

    let begun = Instant::now();
    let answers: Vec<Answer> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| send_requests(&example, begun))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let took = begun.elapsed();

    let (passed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(refused.iter().all(|answer| answer.status == 429), "{:?}", refused.first());
    println!("{} passed and {} refused in {took:?}", passed.len(), refused.len());
    let most = BURST as f64 + MAX as f64 * took.as_secs_f64() + 1.0;
    assert!(passed.len() as f64 <= most, "{} passed in {took:?}", passed.len());

    let limit = Limit::with_burst(Rate::new(MAX, Duration::from_secs(1)).unwrap(), BURST).unwrap();
    let (mut workers, mut admissions) = (BTreeSet::new(), Vec::new());
    for answer in &passed {
        let words = answer.words();
        workers.insert(words[1]);
        admissions.push(audit::Admission { at: Nanos::from_nanos(words[5].parse().unwrap()), calls: 1 });
    }
    audit::check(limit, &mut admissions).unwrap();
    assert!(workers.len() > 1, "a single worker served all requests, so the test proves nothing");
    assert!(passed.len() as u64 >= BURST, "a burst must be admitted at the start");
    assert!(!refused.is_empty(), "no request was over the limit, so the test proves nothing");

    for answer in &answers {
        assert_eq!(answer.field("ratelimit-policy"), Some(r#""default";q=100;w=1"#));
        assert!(answer.field("ratelimit").unwrap().starts_with(r#""default";r="#));
    }
    assert!(refused.iter().all(|answer| answer.field("retry-after") == Some("1")));
}

fn send_requests(example: &Example, begun: Instant) -> Vec<Answer> {
    let mut answers = Vec::new();
    while begun.elapsed() < TIME {
        answers.push(example.get(""));
        thread::sleep(Duration::from_millis(5));
    }
    answers
}
