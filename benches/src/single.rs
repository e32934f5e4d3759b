//! Decisions of a single process.

use crate::sampling::{DECISIONS, row};
use crate::{baselines, peers, shm_limit};

pub(crate) fn print() {
    println!("\n## One process\n\n{DECISIONS}");
    DECISIONS.measure(
        "admitted",
        vec![
            #[cfg(target_arch = "x86_64")]
            row(baselines::counter()),
            row(baselines::clock()),
            row(baselines::clock_and_swap()),
            row(peers::governor_quanta(true)),
            row(shm_limit::admitted()).compared_to(peers::GOVERNOR).target(1.0),
            row(peers::governor_monotonic(true)).compared_to(shm_limit::ADMITTED),
            row(peers::governor_keyed(true)).compared_to(shm_limit::ADMITTED),
            row(peers::ratelimit(true)).compared_to(shm_limit::ADMITTED),
            row(peers::leaky_bucket(true)).compared_to(shm_limit::ADMITTED),
            row(peers::throttlecrab(true)).compared_to(shm_limit::ADMITTED),
            row(baselines::robust_mutex(true)).compared_to(shm_limit::ADMITTED),
            row(baselines::by_hand(true)).compared_to(shm_limit::ADMITTED),
            row(baselines::flock()).compared_to(shm_limit::ADMITTED),
        ],
    );
    DECISIONS.measure(
        "denied",
        vec![
            #[cfg(target_arch = "x86_64")]
            row(baselines::counter()),
            row(baselines::clock()),
            row(peers::governor_quanta(false)),
            row(shm_limit::denied()).compared_to(peers::GOVERNOR).target(1.0),
            row(peers::governor_monotonic(false)).compared_to(shm_limit::DENIED),
            row(peers::governor_keyed(false)).compared_to(shm_limit::DENIED),
            row(peers::ratelimit(false)).compared_to(shm_limit::DENIED),
            row(peers::leaky_bucket(false)).compared_to(shm_limit::DENIED),
            row(peers::throttlecrab(false)).compared_to(shm_limit::DENIED),
            row(baselines::robust_mutex(false)).compared_to(shm_limit::DENIED),
            row(baselines::by_hand(false)).compared_to(shm_limit::DENIED),
        ],
    );
    DECISIONS.measure(
        "several limits, other kinds",
        vec![
            row(shm_limit::admitted()),
            row(shm_limit::limits("two limits", 2)).compared_to(shm_limit::ADMITTED).target(2.0),
            row(shm_limit::limits("three limits", 3)).compared_to(shm_limit::ADMITTED),
            row(shm_limit::limits("four limits", 4)).compared_to(shm_limit::ADMITTED).target(3.0),
            row(shm_limit::greedy("greedy, 100 entries", 100)).compared_to(shm_limit::ADMITTED).target(2.5),
            row(shm_limit::greedy("greedy, 10,000 entries", 10_000))
                .compared_to(shm_limit::ADMITTED)
                .target(2.5),
            row(shm_limit::greedy("greedy, 1,000,000 entries", 1_000_000))
                .compared_to(shm_limit::ADMITTED)
                .target(2.5),
            row(shm_limit::windows("fixed window", false)).compared_to(shm_limit::ADMITTED),
            row(shm_limit::windows("sliding counter", true)).compared_to(shm_limit::ADMITTED),
            row(shm_limit::denied_by_two()).compared_to(shm_limit::ADMITTED),
            row(shm_limit::with_permit()).compared_to(shm_limit::ADMITTED),
            row(shm_limit::waited("wait(), admitted immediately"))
                .compared_to(shm_limit::ADMITTED)
                .target(2.5),
        ],
    );
}
