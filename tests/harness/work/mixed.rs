//! Requests of random size, by trying and by waiting, each with a permit that is held for a while.

use harness::log::Log;
use harness::{Job, Rng};
use shm_lib::{Cost, ErrorKind, Outcome, RateLimit, Unit};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Two threads ask for one call and `1..=amounts` of each of the `units=` (with commas), for `for=` milliseconds or until
/// killed. Each logs `amount, at` of its admissions in `logs=`, and in `holds=` (if given) the process that must be killed to
/// end it, then when it surely had each permit: from, to. Permits are held for up to `hold=` µs. With `settle=1` some
/// admissions are settled for less, which is logged then.
pub(crate) fn run(job: &Job, limit: &RateLimit) {
    crate::ready();
    std::thread::scope(|scope| {
        for _ in 0..job.number_or("threads", 2) {
            scope.spawn(|| one(job, limit));
        }
    });
}

fn one(job: &Job, limit: &RateLimit) {
    let end = Instant::now() + job.duration();
    let mut rng = Rng::new();
    let mut log = Log::create(&job.path("logs"));
    let mut holds = (!job.text_or("holds", "").is_empty()).then(|| Log::create(&job.path("holds")));
    let forked = job.number_or("children", 0) > 0;
    let boss = if forked { std::os::unix::process::parent_id() } else { std::process::id() };
    if let Some(holds) = &mut holds {
        holds.push(u64::from(boss));
    }
    let units: Vec<Unit> = job.text_or("units", "").split(',').filter_map(|u| Unit::named(u).ok()).collect();
    while Instant::now() < end {
        let amount = 1 + rng.below(job.number_or("amounts", 1));
        let request = units.iter().fold(Cost::one(), |request, &unit| request.and(unit, amount));
        let outcome = if rng.below(4) == 0 {
            limit.try_acquire(request)
        } else {
            let deadline = Instant::now() + Duration::from_millis(100);
            limit.acquire(request).deadline(deadline).stop_when(|| false).wait()
        };
        match outcome {
            Ok(Outcome::Admitted(mut admission)) => {
                let since = shm_lib::now().as_nanos();
                let actual = if job.number_or("settle", 0) == 1 { 1 + rng.below(amount) } else { amount };
                if actual < amount {
                    let request = units.iter().fold(Cost::one(), |request, &unit| request.and(unit, actual));
                    limit.settle(&mut admission, request).expect("a settlement");
                }
                log.push(actual);
                log.admitted(admission.at());
                holds.iter_mut().for_each(|holds| holds.push(since));
                sleep(Duration::from_micros(rng.below(1 + job.number_or("hold", 0))));
                let until = shm_lib::now().as_nanos();
                holds.iter_mut().for_each(|holds| holds.push(until));
                drop(admission);
            }
            Ok(Outcome::Denied(denied)) => {
                let time = denied.retry_after().unwrap_or_default();
                sleep(time.clamp(Duration::from_micros(200), Duration::from_millis(1)));
            }
            Err(e) if e.kind() == ErrorKind::NoSeat => sleep(Duration::from_millis(10)),
            Err(e) => panic!("{e:?}"),
        }
    }
}
