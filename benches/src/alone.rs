//! One process.

use crate::rounds::{DECISIONS, line};
use crate::{floors, ours, peers};

pub(crate) fn print() {
    println!("\n## One process\n\n{DECISIONS}");
    DECISIONS.measure(
        "admitted",
        vec![
            #[cfg(target_arch = "x86_64")]
            line(floors::counter()),
            line(floors::clock()),
            line(floors::clock_and_swap()),
            line(peers::governor_quanta(true)),
            line(ours::admitted()).beside(peers::GOVERNOR).goal(1.0),
            line(peers::governor_monotonic(true)).beside(ours::ADMITTED),
            line(peers::governor_keyed(true)).beside(ours::ADMITTED),
            line(peers::ratelimit(true)).beside(ours::ADMITTED),
            line(peers::leaky_bucket(true)).beside(ours::ADMITTED),
            line(peers::throttlecrab(true)).beside(ours::ADMITTED),
            line(floors::robust_mutex(true)).beside(ours::ADMITTED),
            line(floors::by_hand(true)).beside(ours::ADMITTED),
            line(floors::flock()).beside(ours::ADMITTED),
        ],
    );
    DECISIONS.measure(
        "denied",
        vec![
            #[cfg(target_arch = "x86_64")]
            line(floors::counter()),
            line(floors::clock()),
            line(peers::governor_quanta(false)),
            line(ours::denied()).beside(peers::GOVERNOR).goal(1.0),
            line(peers::governor_monotonic(false)).beside(ours::DENIED),
            line(peers::governor_keyed(false)).beside(ours::DENIED),
            line(peers::ratelimit(false)).beside(ours::DENIED),
            line(peers::leaky_bucket(false)).beside(ours::DENIED),
            line(peers::throttlecrab(false)).beside(ours::DENIED),
            line(floors::robust_mutex(false)).beside(ours::DENIED),
            line(floors::by_hand(false)).beside(ours::DENIED),
        ],
    );
    DECISIONS.measure(
        "several limits, and other kinds",
        vec![
            line(ours::admitted()),
            line(ours::limits("two limits", 2)).beside(ours::ADMITTED).goal(2.0),
            line(ours::limits("three limits", 3)).beside(ours::ADMITTED),
            line(ours::limits("four limits", 4)).beside(ours::ADMITTED).goal(3.0),
            line(ours::greedy("greedy, 100 entries", 100)).beside(ours::ADMITTED).goal(2.5),
            line(ours::greedy("greedy, 10,000 entries", 10_000)).beside(ours::ADMITTED).goal(2.5),
            line(ours::greedy("greedy, 1,000,000 entries", 1_000_000)).beside(ours::ADMITTED).goal(2.5),
            line(ours::windows("fixed window", false)).beside(ours::ADMITTED),
            line(ours::windows("sliding counter", true)).beside(ours::ADMITTED),
            line(ours::denied_by_two()).beside(ours::ADMITTED),
            line(ours::with_permit()).beside(ours::ADMITTED),
            line(ours::waited("wait(), admitted at once")).beside(ours::ADMITTED).goal(2.5),
        ],
    );
}
