//! The work of the processes that put a limiter under load.

use super::api;
use super::offer::Offer;
use super::sheet::Sheet;
use crate::{Job, raw, ready};
use nix::sys::signal::Signal;
use shm_lib::{Nanos, RateLimit};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Does the work that `work=` names on the limiter that the job describes.
pub fn run(job: &Job) {
    let part = Part::of(job);
    match job.text("work") {
        "one-client" => one_client(job, &part),
        "threads" => threads(job, &part),
        "tasks" => tasks(job, part),
        "askers" => askers(job, &part),
        "asking-tasks" => in_tasks(asking_tasks(job, Arc::new(part))),
        "tryer" => tryer(job, &part),
        other => panic!("no such work: {other}"),
    }
}

/// The limiter and the sheet of a process that takes part in a measurement.
pub struct Part {
    /// The limiter.
    pub limit: RateLimit,
    /// The sheet for results.
    pub sheet: Sheet,
    /// How long an admitted client or asker holds its permit.
    pub hold: Duration,
}

impl Part {
    /// Opens what the job names.
    pub fn of(job: &Job) -> Part {
        Part {
            limit: job.join().expect("the limiter"),
            sheet: Sheet::map(&job.path("sheet"), job.number("lines") as usize),
            hold: Duration::from_micros(job.number("hold-us")),
        }
    }
}

/// This process is one client. Its parent ends it by a signal when its patience is over: SIGTERM makes it leave in good
/// order.
fn one_client(job: &Job, part: &Part) {
    let stop = raw::stop_on(Signal::SIGTERM).expect("a signal handler");
    let client = job.number("client") as usize;
    match api::wait_unless(&part.limit, || stop.load(Ordering::Relaxed)) {
        Ok(Some(admitted)) => hold(part, client, admitted),
        Ok(None) => {}
        Err(_) => part.sheet.failed(client),
    }
}

/// A client that was admitted keeps its permit for some time.
fn hold(part: &Part, client: usize, admitted: api::Admitted) {
    part.sheet.admitted(client, admitted.at());
    std::thread::sleep(part.hold);
    part.sheet.released(client);
    drop(admitted);
}

/// The clients of this process, which is number `index=` of `of=`, and their arrivals after the start.
fn clients(job: &Job) -> impl Iterator<Item = (usize, Duration)> {
    let (index, of) = (job.number("index") as usize, job.number("of") as usize);
    Offer::read(job).arrivals().into_iter().enumerate().skip(index).step_by(of)
}

/// How long a client waits.
pub fn patience(job: &Job) -> Duration {
    Duration::from_millis(job.number("patience"))
}

/// The time that is left until `after` the start.
fn until(start: u64, after: Duration) -> Duration {
    Nanos::from_nanos(start).plus(after).since(shm_lib::now())
}

/// Each client is a thread that waits with a deadline.
fn threads(job: &Job, part: &Part) {
    ready();
    let start = part.sheet.start();
    std::thread::scope(|scope| {
        for (client, arrives) in clients(job) {
            std::thread::sleep(until(start, arrives));
            let deadline = Instant::now() + patience(job);
            let visit = move || match api::wait_until(&part.limit, deadline) {
                Ok(Some(admitted)) => hold(part, client, admitted),
                Ok(None) => {}
                Err(_) => part.sheet.failed(client),
            };
            std::thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, visit).expect("a thread");
        }
    });
}

fn in_tasks(all: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(all);
}

/// Each client is a task whose future is dropped when its patience is over.
fn tasks(job: &Job, part: Part) {
    let (part, patience) = (Arc::new(part), patience(job));
    arrive_as_tasks(job, &part.clone().sheet, move |client| {
        let part = part.clone();
        async move {
            match tokio::time::timeout(patience, api::acquire(&part.limit, 1)).await {
                Ok(Ok(admitted)) => {
                    part.sheet.admitted(client, admitted.at());
                    tokio::time::sleep(part.hold).await;
                    part.sheet.released(client);
                }
                Ok(Err(_)) => part.sheet.failed(client),
                Err(_) => {}
            }
        }
    });
}

/// Runs one task for each client of this process, which begins when the client arrives.
pub fn arrive_as_tasks<V: Future<Output = ()> + Send + 'static>(
    job: &Job,
    sheet: &Sheet,
    visit: impl Fn(usize) -> V,
) {
    in_tasks(async {
        ready();
        let start = sheet.start();
        let mut visits = tokio::task::JoinSet::new();
        for (client, arrives) in clients(job) {
            tokio::time::sleep(until(start, arrives)).await;
            visits.spawn(visit(client));
            while visits.try_join_next().is_some() {}
        }
        while visits.join_next().await.is_some() {}
    });
}

/// Asks again at once, or after a pause, until killed.
fn askers(job: &Job, part: &Part) {
    let (asker, cost) = (job.number("first") as usize, job.number("cost"));
    let pause = Duration::from_micros(job.number("pause-us"));
    ready();
    part.sheet.start();
    loop {
        let since = shm_lib::now().as_nanos();
        part.sheet.waits(asker, since);
        let admitted = api::wait(&part.limit, cost).expect("an admission");
        part.sheet.served(asker, since);
        let begin = Instant::now();
        std::thread::sleep(part.hold);
        part.sheet.held(asker, begin.elapsed());
        drop(admitted);
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
}

/// `tasks=` tasks that ask again at once, until killed.
async fn asking_tasks(job: &Job, part: Arc<Part>) {
    let (first, cost) = (job.number("first") as usize, job.number("cost"));
    ready();
    part.sheet.start();
    let mut all = tokio::task::JoinSet::new();
    for asker in first..first + job.number("tasks") as usize {
        let part = part.clone();
        all.spawn(async move {
            loop {
                let since = shm_lib::now().as_nanos();
                part.sheet.waits(asker, since);
                let admitted = api::acquire(&part.limit, cost).await.expect("an admission");
                part.sheet.served(asker, since);
                let begin = Instant::now();
                tokio::time::sleep(part.hold).await;
                part.sheet.held(asker, begin.elapsed());
                drop(admitted);
            }
        });
    }
    while all.join_next().await.is_some() {}
}

/// Calls try_acquire all the time, until killed.
fn tryer(job: &Job, part: &Part) {
    let (asker, cost) = (job.number("first") as usize, job.number("cost"));
    ready();
    part.sheet.start();
    loop {
        match api::try_acquire(&part.limit, cost).expect("an answer") {
            Some(admitted) => {
                part.sheet.served(asker, shm_lib::now().as_nanos());
                let begin = Instant::now();
                std::thread::sleep(part.hold);
                part.sheet.held(asker, begin.elapsed());
                drop(admitted);
            }
            None => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}
