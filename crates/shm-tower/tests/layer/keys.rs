//! Limits per key: each key has its own budget, in every mode; what a request without a key gets; the response fields.

use crate::{Answer, LONG, MINUTE, SECOND, field, hello, text};
use http::request::Parts;
use http::{HeaderName, Request, StatusCode};
use http_body::Body;
use shm_lib::{Cost, ErrorKind, Key, KeyedBuilder, KeyedRateLimit, Limit, Rate, Unit};
use shm_tower::{
    ClientIp, HeaderKey, KeyExtractor, Mode, OnError, OnMissing, PathKey, PeerIp, RateLimitLayer, RequestKey,
    ResponseFields, Undecided,
};
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tower::{Service, ServiceExt};

const USER: HeaderName = HeaderName::from_static("x-user");
const MODES: [Mode; 3] = [Mode::Reject, Mode::Wait, Mode::WaitUpTo(SECOND)];

struct Fixture {
    dir: TempDir,
    limit: KeyedRateLimit,
}

impl Fixture {
    fn with(choose: impl FnOnce(KeyedBuilder) -> KeyedBuilder, max: u64, per: Duration) -> Fixture {
        let dir = tempfile::tempdir().expect("a directory to work in");
        let builder = KeyedRateLimit::builder("fixture").directory(dir.path());
        let limit = choose(builder).open(max, per).expect("a limiter");
        Fixture { dir, limit }
    }

    fn layer(&self, keys: impl KeyExtractor, mode: Mode) -> RateLimitLayer {
        RateLimitLayer::per_key(self.limit.clone(), keys, mode, OnError::FailClosed)
    }

    fn per_user(&self, mode: Mode) -> RateLimitLayer {
        self.layer(per_user(OnMissing::Refuse(StatusCode::UNAUTHORIZED)), mode)
    }
}

fn per_user(on_missing: OnMissing) -> HeaderKey {
    HeaderKey::new(USER, on_missing)
}

fn bucket(max: u64, per: Duration, burst: u64) -> Limit {
    Limit::with_burst(Rate::new(max, per).unwrap(), burst).unwrap()
}

trait Site: Service<Request<()>, Response = Answer, Error = Infallible, Future: Send> + Clone + Send {}
impl<S: Service<Request<()>, Response = Answer, Error = Infallible, Future: Send> + Clone + Send> Site for S {}

async fn send(service: &impl Site, request: Request<()>) -> Answer {
    tokio::time::timeout(LONG, service.clone().oneshot(request)).await.expect("an answer").unwrap()
}

fn from_user(user: &str) -> Request<()> {
    Request::builder().header(USER, user).body(()).unwrap()
}

async fn get(service: &impl Site, user: &str) -> Answer {
    send(service, from_user(user)).await
}

async fn status(service: &impl Site, user: &str) -> u16 {
    get(service, user).await.status().as_u16()
}

/// The value of `pk` of the item of this name.
fn partition<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    let item = field.split(", ").find(|item| item.split(';').next() == Some(name))?;
    item.split(';').find_map(|parameter| parameter.strip_prefix("pk="))
}

/// The fields without the values of `pk`, which differ between limiters.
fn without_pk(answer: &Answer) -> [String; 2] {
    ["ratelimit-policy", "ratelimit"].map(|name| {
        let items = field(answer, name).unwrap_or("-").split(", ");
        let shortened = items.map(|item| item.split(':').next().unwrap().to_owned());
        shortened.collect::<Vec<_>>().join(", ")
    })
}

/// Whether these seconds are left of so many, on a machine that may be slow.
fn is_left_of(seconds: &str, of: u64) -> bool {
    seconds.parse().is_ok_and(|left: u64| left <= of && left + 10 >= of && left > 0)
}

/// Whether this is the field. The expected `t` of an exhausted limit is the one at the start of the test.
fn is_field(actual: &str, expected: &str) -> bool {
    let (actual, expected): (Vec<&str>, Vec<&str>) =
        (actual.split(';').collect(), expected.split(';').collect());
    let is_same = |i: usize| {
        let exhausted = i > 0 && expected[i - 1] == "r=0";
        match (exhausted, actual[i].strip_prefix("t="), expected[i].strip_prefix("t=")) {
            (true, Some(left), Some(of)) => {
                let ((left, rest), (of, expected_rest)) = (split_number(left), split_number(of));
                rest == expected_rest && is_left_of(left, of.parse().unwrap())
            }
            _ => actual[i] == expected[i],
        }
    };
    actual.len() == expected.len() && (0..actual.len()).all(is_same)
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[tokio::test]
async fn each_key_has_its_own_budget() {
    let fixture = Fixture::with(|b| b.burst(2), 2, MINUTE);
    let service = hello(&fixture.per_user(Mode::Reject));
    let mut all = Vec::new();
    for user in ["alice", "alice", "alice", "bob", "bob", "bob"] {
        all.push(status(&service, user).await);
    }
    assert_eq!(all, [200, 200, 429, 200, 200, 429]);
    let refused = get(&service, "alice").await;
    let retry_after: u64 = field(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((20..=30).contains(&retry_after), "{retry_after}");
    assert_eq!(refused.body().size_hint().exact(), Some(0));
    assert_eq!(text(get(&service, "carol").await), "hello, admitted: true");
}

#[tokio::test]
async fn a_waiting_request_delays_only_its_own_key() {
    let fixture = Fixture::with(|b| b, 20, SECOND);
    for mode in [Mode::Wait, Mode::WaitUpTo(LONG)] {
        let service = hello(&fixture.per_user(mode));
        let begun = Instant::now();
        for _ in 0..4 {
            assert_eq!(status(&service, &format!("{mode:?}")).await, 200);
        }
        assert!(begun.elapsed() >= Duration::from_millis(140), "four, 50 ms apart, in {:?}", begun.elapsed());
    }

    let fixture = Fixture::with(|b| b, 1, MINUTE);
    let service = hello(&fixture.per_user(Mode::Wait));
    assert_eq!(status(&service, "alice").await, 200);
    let waiting = tokio::spawn(service.clone().oneshot(from_user("alice")));
    assert_eq!(status(&service, "bob").await, 200);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    waiting.abort();
    let _ = waiting.await;
    assert_eq!(fixture.limit.key("alice").status().unwrap()[0].used, 1, "the dropped request was charged");
}

#[tokio::test]
async fn a_wait_beyond_the_maximum_returns_429_immediately() {
    let fixture = Fixture::with(|b| b, 1, MINUTE);
    let service = hello(&fixture.per_user(Mode::WaitUpTo(30 * SECOND)));
    let begun = Instant::now();
    assert_eq!([status(&service, "alice").await, status(&service, "alice").await], [200, 429]);
    assert!(begun.elapsed() < LONG);
    assert_eq!(fixture.limit.key("alice").status().unwrap()[0].used, 1);
}

#[tokio::test]
async fn a_full_queue_of_a_key_returns_429_to_that_key() {
    let fixture = Fixture::with(|b| b.max_waiters(1), 1, MINUTE);
    let service = hello(&fixture.per_user(Mode::Wait));
    assert_eq!(status(&service, "alice").await, 200);
    let waiting = tokio::spawn(service.clone().oneshot(from_user("alice")));
    // It runs until it waits.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = get(&service, "alice").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let retry_after: u64 = field(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((30..=60).contains(&retry_after), "{retry_after}");
    assert_eq!(status(&service, "bob").await, 200);
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn a_limiter_that_cannot_decide_fails_open_or_closed() {
    for mode in MODES {
        for (on_error, expected) in
            [(OnError::FailOpen, StatusCode::OK), (OnError::FailClosed, StatusCode::SERVICE_UNAVAILABLE)]
        {
            let fixture = Fixture::with(|b| b, 1, MINUTE);
            let keys = per_user(OnMissing::ShareKey);
            let service = hello(&RateLimitLayer::per_key(fixture.limit.clone(), keys, mode, on_error));
            fixture.limit.all_keys().retire().unwrap();
            for _ in 0..2 {
                let answer = get(&service, "alice").await;
                assert_eq!(answer.status(), expected);
                assert_eq!(answer.extensions().get::<Undecided>().unwrap().0.kind(), ErrorKind::Retired);
                assert_eq!(field(&answer, "ratelimit"), None);
            }
        }
    }
}

#[tokio::test]
async fn an_impossible_cost_returns_500() {
    for mode in MODES {
        let fixture = Fixture::with(|b| b.burst(5), 5, MINUTE);
        let answer = get(&hello(&fixture.per_user(mode).cost(6)), "alice").await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.extensions().get::<Undecided>().unwrap().0.kind(), ErrorKind::NeverAdmissible);
    }
}

#[tokio::test]
async fn a_request_without_a_key_is_refused_shared_or_exempt() {
    let without = || Request::new(());
    for mode in MODES {
        let fixture = Fixture::with(|b| b.in_all(bucket(3, MINUTE, 3)), 1, MINUTE);
        let service = hello(&fixture.per_user(mode));
        let refused = send(&service, without()).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        assert_eq!((field(&refused, "ratelimit"), field(&refused, "retry-after")), (None, None));
        assert_eq!(refused.body().size_hint().exact(), Some(0));
        assert_eq!(fixture.limit.all_keys().status().unwrap().available, 3, "it was charged");
    }

    let fixture = Fixture::with(|b| b, 1, MINUTE);
    let service = hello(&fixture.layer(per_user(OnMissing::ShareKey), Mode::Reject));
    assert_eq!(send(&service, without()).await.status(), StatusCode::OK);
    assert_eq!(send(&service, without()).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(status(&service, "alice").await, 200);

    for mode in MODES {
        let service = hello(&fixture.layer(per_user(OnMissing::Exempt), mode));
        for _ in 0..3 {
            let answer = send(&service, without()).await;
            assert_eq!((answer.status(), field(&answer, "ratelimit-policy")), (StatusCode::OK, None));
            assert_eq!(text(answer), "hello, admitted: true");
        }
    }
}

#[tokio::test]
async fn an_exempt_request_takes_from_the_limits_of_all_keys() {
    for mode in [Mode::Reject, Mode::WaitUpTo(SECOND)] {
        let fixture = Fixture::with(|b| b.in_all(bucket(2, MINUTE, 2)), 1, MINUTE);
        let service = hello(&fixture.layer(per_user(OnMissing::Exempt), mode));
        for (expected, fields) in [
            (StatusCode::OK, [r#""default-all";q=2;w=60"#, r#""default-all";r=1;t=30"#]),
            (StatusCode::OK, [r#""default-all";q=2;w=60"#, r#""default-all";r=0;t=30"#]),
            (StatusCode::TOO_MANY_REQUESTS, [r#""default-all";q=2;w=60"#, r#""default-all";r=0;t=30"#]),
        ] {
            let answer = send(&service, Request::new(())).await;
            assert_eq!(answer.status(), expected);
            assert_eq!(field(&answer, "ratelimit-policy"), Some(fields[0]));
            let limit = field(&answer, "ratelimit").unwrap();
            assert!(is_field(limit, fields[1]), "{limit}");
        }
        assert_eq!(status(&service, "alice").await, 429);
    }
}

/// The cost of a request names units that only the limits per key count.
#[tokio::test]
async fn an_exempt_request_costs_what_the_limits_of_all_keys_count() {
    let tokens = Unit::named("tokens").unwrap();
    for in_all in [bucket(2, MINUTE, 2), bucket(20, MINUTE, 20).counting(tokens)] {
        let fixture = Fixture::with(
            |b| b.burst(9).and(bucket(50, MINUTE, 50).counting(tokens)).in_all(in_all),
            9,
            MINUTE,
        );
        let layer = fixture.layer(per_user(OnMissing::Exempt), Mode::Reject);
        let service = hello(&layer.cost(Cost::one().and(tokens, 10)));
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(send(&service, Request::new(())).await.status().as_u16());
        }
        assert_eq!(all, [200, 200, 429]);
    }
}

#[tokio::test]
async fn a_request_without_the_peers_address_returns_500() {
    for mode in MODES {
        let fixture = Fixture::with(|b| b, 1, MINUTE);
        let service = hello(&fixture.layer(ClientIp::new(), mode));
        let answer = send(&service, Request::new(())).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let Undecided(why) = answer.extensions().get().unwrap();
        assert!(why.kind() == ErrorKind::InvalidInput && why.to_string().contains("PeerIp"), "{why}");
    }
}

#[tokio::test]
async fn a_client_is_limited_per_path() {
    let fixture = Fixture::with(|b| b, 1, MINUTE);
    let service = hello(&fixture.layer((ClientIp::new(), PathKey), Mode::Reject));
    let request = |peer: [u8; 4], path: &str| {
        Request::builder().uri(path).extension(PeerIp(peer.into())).body(()).unwrap()
    };
    let (one, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    for (peer, path, expected) in
        [(one, "/a", 200), (one, "/b", 200), (other, "/a", 200), (one, "/a", 429), (one, "//%61/?x", 429)]
    {
        assert_eq!(send(&service, request(peer, path)).await.status().as_u16(), expected, "{path}");
    }
}

#[tokio::test]
async fn both_policies_are_listed() {
    let fixture = Fixture::with(|b| b.burst(5).in_all(bucket(7, MINUTE, 7)), 5, MINUTE);
    let service = hello(&fixture.per_user(Mode::Reject));
    let policy = r#""default";q=5;w=60;pk=, "default-all";q=7;w=60"#;
    let first = get(&service, "alice").await;
    assert_eq!(without_pk(&first), [policy, r#""default";r=4;t=48;pk=, "default-all";r=6;t=52"#]);
    for _ in 0..4 {
        get(&service, "alice").await;
    }

    // Denied by the key.
    let refused = get(&service, "alice").await;
    let [policies, limits] = without_pk(&refused);
    assert!(policies == policy && is_field(&limits, r#""default";r=0;t=12;pk="#), "{policies} {limits}");
    assert!(is_left_of(field(&refused, "retry-after").unwrap(), 12));

    // Denied by the limit of all keys.
    assert_eq!([status(&service, "bob").await, status(&service, "bob").await], [200, 200]);
    let refused = get(&service, "bob").await;
    let [policies, limits] = without_pk(&refused);
    assert!(policies == policy && is_field(&limits, r#""default-all";r=0;t=9"#), "{policies} {limits}");
    assert!(is_left_of(field(&refused, "retry-after").unwrap(), 9));
}

#[tokio::test]
async fn servers_that_are_not_tower_services_get_the_same_fields() {
    let fixture = Fixture::with(|b| b.burst(2).in_all(bucket(7, 60 * MINUTE, 7)), 2, 60 * MINUTE);
    let service = hello(&fixture.per_user(Mode::Reject).policy_name("api"));
    let alice = Key::from("alice").into_owned();
    let first = get(&service, "alice").await;
    let fields = ResponseFields::of_key(&fixture.limit, Some(&alice), "api", None);
    assert_eq!(fields.policy.as_deref(), field(&first, "ratelimit-policy"));
    assert_eq!(fields.limit.as_deref(), field(&first, "ratelimit"));

    get(&service, "alice").await;
    let outcome = fixture.limit.key(&alice).try_acquire(1).unwrap();
    let fields = ResponseFields::of_key(&fixture.limit, Some(&alice), "api", outcome.denied().as_ref());
    assert!(fields.limit.unwrap().starts_with(r#""api";r=0;t=1"#) && fields.retry_after > 1_700);

    let of_all = ResponseFields::of_key(&fixture.limit, None, "api", None);
    assert_eq!(of_all.policy.as_deref(), Some(r#""api-all";q=7;w=3600"#));
    assert_eq!(of_all.limit.as_deref(), Some(r#""api-all";r=5;t=2572"#));
}

#[tokio::test]
async fn the_partition_key_is_opaque_and_the_same_in_every_worker() {
    let fixture = Fixture::with(|b| b.burst(9), 9, MINUTE);
    let other = KeyedRateLimit::builder("fixture").directory(fixture.dir.path()).attach().unwrap();
    let keys = per_user(OnMissing::ShareKey);
    let other = hello(&RateLimitLayer::per_key(other, keys, Mode::Wait, OnError::FailClosed));
    let service = hello(&fixture.per_user(Mode::Reject));
    let mut seen = Vec::new();
    for user in ["a secret token", "another"] {
        let answer = get(&service, user).await;
        let pk = |answer: &Answer, name| {
            partition(field(answer, name).unwrap(), "\"default\"").unwrap().to_owned()
        };
        let in_policy = pk(&answer, "ratelimit-policy");
        assert_eq!(pk(&answer, "ratelimit"), in_policy);
        assert_eq!(pk(&get(&other, user).await, "ratelimit"), in_policy);
        let inner = in_policy.strip_prefix(':').and_then(|pk| pk.strip_suffix(':')).expect("a byte sequence");
        assert!(inner.len() == 12 && inner.ends_with('='), "{inner}");
        assert_eq!(text(answer), "hello, admitted: true");
        seen.push(in_policy);
    }
    assert_ne!(seen[0], seen[1]);

    // A recreated limiter has another random key, so nobody can compare a token with what was seen before.
    let fixture = Fixture::with(|b| b, 9, MINUTE);
    let answer = get(&hello(&fixture.per_user(Mode::Reject)), "a secret token").await;
    assert_ne!(partition(field(&answer, "ratelimit").unwrap(), "\"default\""), Some(seen[0].as_str()));
}

#[tokio::test]
async fn each_network_of_a_client_is_a_partition_of_its_own() {
    let fixture = Fixture::with(|b| b.burst(2).and(bucket(3, MINUTE, 3)), 2, MINUTE);
    let service = hello(&fixture.layer(ClientIp::new().ipv6_prefixes([64, 48]), Mode::Reject));
    let request = |subnet: u16, host: u16| {
        let peer = PeerIp([0x2001, 0xdb8, 1, subnet, 0, 0, 0, host].into());
        Request::builder().extension(peer).body(()).unwrap()
    };
    let answers = [
        send(&service, request(1, 1)).await,
        send(&service, request(1, 2)).await,
        send(&service, request(2, 1)).await,
    ];
    assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
    let policies = answers.each_ref().map(|answer| field(answer, "ratelimit-policy").unwrap());
    let of_64 = policies.map(|policy| partition(policy, "\"default\"").unwrap());
    let of_48 = policies.map(|policy| partition(policy, "\"default-2\"").unwrap());
    assert!(of_64[0] == of_64[1] && of_64[1] != of_64[2], "{of_64:?}");
    assert!(of_48[0] == of_48[1] && of_48[1] == of_48[2], "{of_48:?}");
    let refused = send(&service, request(3, 1)).await;
    let [policy, limit] = without_pk(&refused);
    assert_eq!(policy, r#""default";q=2;w=60;pk=, "default-2";q=3;w=60;pk="#);
    assert!(is_field(&limit, r#""default-2";r=0;t=20;pk="#), "{limit}");
}

#[tokio::test]
async fn the_policy_name_is_that_of_both_scopes() {
    let fixture = Fixture::with(|b| b.in_all(bucket(7, MINUTE, 7)).permits_in_all(2), 1, MINUTE);
    let service = hello(&fixture.per_user(Mode::Reject).policy_name("api"));
    let expected =
        r#""api";q=1;w=60;pk=, "api-all";q=7;w=60, "api-concurrency";q=2;qu="concurrent-requests""#;
    assert_eq!(without_pk(&get(&service, "alice").await)[0], expected);
}

#[tokio::test]
async fn a_pause_and_a_full_table_are_reported() {
    let fixture = Fixture::with(|b| b, 1, MINUTE);
    let service = hello(&fixture.per_user(Mode::Reject));
    fixture.limit.all_keys().pause_for(30 * SECOND).unwrap();
    let paused = get(&service, "alice").await;
    assert_eq!(paused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(is_left_of(field(&paused, "retry-after").unwrap(), 30));
    let limit = &without_pk(&paused)[1];
    assert!(is_field(limit, r#""default";r=0;t=30;pk="#), "{limit}");

    let fixture = Fixture::with(|b| b.capacity(1).refuse_new_keys(), 1, 60 * MINUTE);
    let service = hello(&fixture.per_user(Mode::Reject));
    for user in 0..1_000_u32 {
        assert!(fixture.limit.key(user).try_acquire(1).is_ok());
    }
    let full = get(&service, "alice").await;
    assert_eq!((full.status().as_u16(), field(&full, "retry-after")), (429, Some("1")));
    assert_eq!(without_pk(&full)[1], r#""default";r=0;pk="#);
}

#[tokio::test]
async fn in_shadow_mode_all_requests_pass_without_fields() {
    let fixture = Fixture::with(KeyedBuilder::shadow, 1, MINUTE);
    let service = hello(&fixture.per_user(Mode::Reject));
    for _ in 0..3 {
        let answer = get(&service, "alice").await;
        assert_eq!((answer.status(), field(&answer, "ratelimit")), (StatusCode::OK, None));
    }
}

#[tokio::test]
async fn a_permit_is_held_until_the_body_is_dropped() {
    for mode in MODES {
        let fixture = Fixture::with(|b| b.permits_in_all(2), 1, MINUTE);
        let service = hello(&fixture.layer(per_user(OnMissing::Exempt), mode));
        let held = || fixture.limit.all_keys().inspect().unwrap().permits_held;
        let answers = (get(&service, "alice").await, send(&service, Request::new(())).await);
        assert_eq!((answers.0.status(), answers.1.status(), held()), (StatusCode::OK, StatusCode::OK, 2));
        drop(answers);
        assert_eq!(held(), 0);
    }
}

#[tokio::test]
async fn a_closure_finds_keys() {
    let fixture = Fixture::with(|b| b, 1, MINUTE);
    let keys = |request: &Parts| match request.method.as_str() {
        "OPTIONS" => RequestKey::Exempt,
        "TRACE" => RequestKey::Refused(StatusCode::METHOD_NOT_ALLOWED),
        method => RequestKey::of(method),
    };
    let service = hello(&fixture.layer(keys, Mode::Reject));
    let mut all = Vec::new();
    for method in ["GET", "POST", "GET", "OPTIONS", "OPTIONS", "TRACE"] {
        let request = Request::builder().method(method).body(()).unwrap();
        all.push(send(&service, request).await.status().as_u16());
    }
    assert_eq!(all, [200, 200, 429, 200, 200, 405]);
}
