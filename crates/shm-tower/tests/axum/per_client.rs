//! A limit per client, and one of all clients, behind a proxy: this test, which names a client in each request.

use crate::{Answer, Example, WORKERS};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The example's limits per hour: of an IPv4 address or an IPv6 /64, of an IPv6 /48, and of all clients.
const PER_CLIENT: u64 = 20;
const PER_48: u64 = 60;
const IN_ALL: u64 = 500;
const HOUR: Duration = Duration::from_secs(3600);

struct Site {
    example: Example,
    begun: Instant,
    sent: AtomicU32,
    /// Each client's answers.
    answers: Mutex<BTreeMap<String, Vec<Answer>>>,
}

impl Site {
    /// Sends `n` requests for each of these clients, at the same time; those of one client too, if `races`. Returns how many
    /// each client got.
    fn admitted(&self, clients: &[String], n: usize, races: bool) -> Vec<u64> {
        let before: Vec<u64> = clients.iter().map(|client| self.admitted_to(client)).collect();
        let next = AtomicU32::new(0);
        let send_some = || {
            let jobs = if races { clients.len() * n } else { clients.len() };
            while let job = next.fetch_add(1, Ordering::Relaxed) as usize
                && job < jobs
            {
                let client = &clients[job % clients.len()];
                (0..if races { 1 } else { n }).for_each(|_| self.send(client));
            }
        };
        thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(send_some))));
        clients.iter().zip(before).map(|(client, before)| self.admitted_to(client) - before).collect()
    }

    /// Sends a request as the proxy: the client itself has sent an address that it invented.
    fn send(&self, client: &str) {
        let [_, a, b, c] = self.sent.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let answer = self.example.get(&format!("X-Forwarded-For: 203.{a}.{b}.{c}, {client}\r\n"));
        assert!([200, 429].contains(&answer.status), "{answer:?}");
        self.answers.lock().unwrap().entry(client.to_owned()).or_default().push(answer);
    }

    fn admitted_to(&self, client: &str) -> u64 {
        let answers = self.answers.lock().unwrap();
        let answers = answers.get(client).into_iter().flatten();
        answers.filter(|answer| answer.status == 200).count() as u64
    }

    /// What a bucket of so many per hour has admitted: its burst, and what has come back since the test began.
    fn whole(&self, max: u64) -> RangeInclusive<u64> {
        let back = self.begun.elapsed().as_secs_f64() * max as f64 / HOUR.as_secs_f64();
        max..=max + back as u64
    }

    /// The processes that admitted requests of these clients.
    fn workers(&self, clients: &[String]) -> BTreeSet<u32> {
        let answers = self.answers.lock().unwrap();
        let admitted =
            clients.iter().flat_map(|client| &answers[client]).filter(|answer| answer.status == 200);
        admitted.map(|answer| answer.words()[1].parse().unwrap()).collect()
    }
}

#[test]
fn workers_share_a_limit_per_client_and_one_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let example = Example::start("axum_per_client", dir.path());
    let mut site = Site {
        example,
        begun: Instant::now(),
        sent: AtomicU32::new(0),
        answers: Mutex::new(BTreeMap::new()),
    };

    // Ten clients, each of which sends too much, to all workers at once.
    let clients: Vec<String> = (1..=10).map(|host| format!("192.0.2.{host}")).collect();
    let mut total = 0;
    for admitted in site.admitted(&clients, 30, true) {
        assert!(site.whole(PER_CLIENT).contains(&admitted), "a client got {admitted}");
        total += admitted;
    }
    assert_eq!(
        site.workers(&clients).len(),
        WORKERS,
        "some worker admitted nothing, so the test proves little"
    );

    // The hosts of an IPv6 /64 are one client, and its /48 has a limit of its own. (One after the other: of requests of one key
    // that race for its last call, those that lose may have taken from the /48.)
    let in_subnet = |subnet: u16| -> u64 {
        (0..30u16).map(|host| site.admitted(&[format!("2001:db8:1:{subnet:x}::{host:x}")], 1, false)[0]).sum()
    };
    let subnets: Vec<u64> = (0..4).map(in_subnet).collect();
    assert!(subnets.iter().all(|admitted| admitted <= site.whole(PER_CLIENT).end()), "{subnets:?}");
    assert!(subnets[..3].iter().all(|admitted| site.whole(PER_CLIENT).contains(admitted)), "{subnets:?}");
    let of_48: u64 = subnets.iter().sum();
    assert!(site.whole(PER_48).contains(&of_48), "{subnets:?}");
    total += of_48;
    let other: u64 = site.admitted(&["2001:db8:2::1".to_owned()], 1, false)[0];
    assert_eq!(other, 1, "another /48 is not affected");
    total += other;

    // A killed worker changes nothing: what clients have used stays used, and new clients have the same budget.
    site.example.kill_worker();
    total += site.admitted(&clients, 5, true).iter().sum::<u64>();
    for client in &clients {
        assert!(site.whole(PER_CLIENT).contains(&site.admitted_to(client)), "{client} got more");
    }
    let new = ["198.51.100.1".to_owned()];
    let admitted = site.admitted(&new, 30, true)[0];
    assert!(site.whole(PER_CLIENT).contains(&admitted), "the new client got {admitted}");
    total += admitted;
    let workers = site.workers(&new);
    assert!(workers.iter().all(|pid| site.example.workers.contains(pid)), "{workers:?}");

    // More clients use up the limit of all.
    let more: Vec<String> = (1..=20).map(|host| format!("198.51.100.{}", host + 100)).collect();
    total += site.admitted(&more, PER_CLIENT as usize, false).iter().sum::<u64>();
    assert!(site.whole(IN_ALL).contains(&total), "{total} in all");

    check_fields(&site.answers.into_inner().unwrap());
}

fn check_fields(answers: &BTreeMap<String, Vec<Answer>>) {
    let mut partitions = BTreeMap::new();
    let mut denied_by = BTreeSet::new();
    for (client, answer) in
        answers.iter().flat_map(|(client, answers)| answers.iter().map(move |a| (client, a)))
    {
        let policies: Vec<&str> = answer.field("ratelimit-policy").unwrap().split(", ").collect();
        let [own, of_48, in_all] = policies[..] else { panic!("{policies:?}") };
        let own = own.strip_prefix(r#""default";q=20;w=3600;pk="#).expect(own);
        let of_48 = of_48.strip_prefix(r#""default-2";q=60;w=3600;pk="#).expect(of_48);
        assert_eq!(in_all, r#""default-all";q=500;w=3600"#);
        // All workers give a client the same partition keys.
        assert_eq!(*partitions.entry(client).or_insert((own, of_48)), (own, of_48));

        let limits = answer.field("ratelimit").unwrap();
        if answer.status == 200 {
            assert!(
                limits.starts_with(r#""default";r="#) && limits.contains(r#", "default-all";r="#),
                "{limits}"
            );
            assert_eq!(answer.field("retry-after"), None);
        } else {
            let seconds = |text: &str| text.parse().expect(text);
            let retry_after: u64 = seconds(answer.field("retry-after").unwrap());
            for limit in limits.split(", ") {
                let parameters: Vec<&str> = limit.split(';').collect();
                assert_eq!(parameters[1], "r=0");
                assert!(retry_after >= seconds(parameters[2].strip_prefix("t=").unwrap()), "{limits}");
                denied_by.insert(parameters[0].to_owned());
            }
            assert!((1..=180).contains(&retry_after), "{retry_after}");
        }
    }
    assert_eq!(
        denied_by.into_iter().collect::<Vec<_>>(),
        [r#""default""#, r#""default-2""#, r#""default-all""#]
    );
    let of = |client: &str| partitions[&client.to_owned()];
    assert_ne!(of("192.0.2.1").0, of("192.0.2.2").0);
    assert_eq!(of("2001:db8:1:0::1"), of("2001:db8:1:0::2"));
    assert_ne!(of("2001:db8:1:0::1").0, of("2001:db8:1:1::1").0);
    assert_eq!(of("2001:db8:1:0::1").1, of("2001:db8:1:1::1").1);
}
