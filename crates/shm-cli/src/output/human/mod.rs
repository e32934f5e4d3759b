//! `inspect` for humans.
//!
//! | file | content |
//! |---|---|
//! | `mod` | the page about a limiter |
//! | `keys` | limits per key on it, and the page about one key |

mod keys;

pub(crate) use keys::{describe_key, key};

use crate::output::{BAD, STRONG, WEAK, amount, count, duration, paint, printable, table, usage};
use shm_lib::{Attached, Inspection, Limit, Name, Unit, Waiting};
use std::cmp::Reverse;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// 9999-12-31, the last day that can be formatted.
const LAST_DAY: u64 = 253_402_214_400;

/// The remark on a process that is passed over.
const LATE: &str = ", late: did not wake up in time (stopped?), passed over";

/// A page about one limiter. Of the keys that are denied most, it shows `top`.
pub(crate) fn describe(name: &Name, path: &Path, seen: &Inspection, top: usize) -> String {
    let counts = &seen.counts;
    let (state, style) = table::state(seen);
    let mut page =
        Page(format!("{}  {}\n", paint(STRONG, printable::word(name.as_str())), paint(style, state)));
    page.shadow(seen);
    page.limits_per_key(seen, &[]);
    page.limits(seen);
    page.permits(seen);
    if let Some(n) = seen.policy.max_waiters() {
        page.line("waiters", format_args!("at most {n}; a further caller that would have to wait is denied"));
    }
    page.waiting(seen);
    page.paused(seen);
    page.line("admitted", admitted(counts.admitted, counts.calls));
    page.line("denied", counts.denied);
    if let Some(table) = &seen.keys {
        page.keys(seen, table, name, path);
        page.most_denied(seen, table, top);
    }
    let age = seen.now.since(seen.created);
    page.line("waited", waited(counts.waited, counts.waited_time, age));
    page.line("attached", format_args!("{} of {}", seen.attached.len(), count(seen.seats as u64, "seat")));
    page.processes(seen);
    page.line("changed", times(seen.changes));
    if let Some(at) = seen.clock_was_set {
        let since = duration::short(seen.now.since(at));
        page.line(
            "",
            format_args!(
                "last {since} ago: the host's clock was set, and windows follow it; windows in which"
            ),
        );
        page.line("", "it was before count as full (end that by shm-limit reset)");
    }
    page.line(
        "created",
        format_args!("{} ago ({})", duration::short(seen.now.since(seen.created)), date(seen.created_unix)),
    );
    page.line("file", printable::path(path));
    page.line(
        "",
        format_args!(
            "{}, mode {:03o}, owner {}, group {}",
            count(seen.bytes, "byte"),
            seen.mode,
            user(seen.owner),
            group(seen.group)
        ),
    );
    page.line("health", "ok");
    page.0
}

struct Page(String);

impl Page {
    fn line(&mut self, label: &str, value: impl std::fmt::Display) {
        let label = format!("{label:<9}");
        let _ = writeln!(self.0, "  {} {value}", paint(WEAK, label));
    }

    fn shadow(&mut self, seen: &Inspection) {
        if seen.policy.is_shadow() {
            self.line(
                "shadow",
                "it decides and counts, and denies no request (end it by shm-limit set --no-shadow)",
            );
        }
    }

    fn paused(&mut self, seen: &Inspection) {
        if let Some(until) = seen.paused_until {
            let left = duration::short(until.since(seen.now));
            self.line("paused", format_args!("for another {left} (end it by shm-limit resume)"));
        }
    }

    /// Each limit of all requests, and below it its usage. Numbered if there are several.
    fn limits(&mut self, seen: &Inspection) {
        let keyed = seen.policy.keys().is_some();
        if seen.limits.is_empty() && !keyed {
            self.line("limit", "none, only permits");
        }
        let many = seen.limits.len() > 1;
        for (index, (limit, outlook)) in usage::of(seen).enumerate() {
            let label = match (keyed, many) {
                (false, false) => "limit".to_owned(),
                (false, true) => format!("limit {}", index + 1),
                (true, false) => "all keys".to_owned(),
                (true, true) => format!("all {}", index + 1),
            };
            self.line(&label, limit);
            self.line(
                "",
                format_args!(
                    "{}, {}",
                    free(limit, outlook.available, outlook.used, outlook.next_at.since(seen.now)),
                    ahead(limit.unit(), outlook.queued)
                ),
            );
            if let Some(end) = usage::window_end(seen, index) {
                let left = duration::short(end.at.since(seen.now));
                self.line("", format_args!("this window ends {} (in {left})", end.local));
            }
        }
    }

    fn permits(&mut self, seen: &Inspection) {
        if let Some(n) = seen.policy.permits() {
            let held = format!("{} of {n} held", seen.permits_held);
            self.line("permits", if usage::no_permit_left(seen) { paint(BAD, held) } else { held });
        }
    }

    /// The waiting processes, in the order in which their first callers are served.
    fn waiting(&mut self, seen: &Inspection) {
        if seen.policy.limits_only_keys() {
            // Callers that wait for keys stand in no line.
            return;
        }
        self.line("queue", queue(seen));
        let width = seen.waiting.len().to_string().len();
        for (index, process) in seen.waiting.iter().enumerate() {
            let position = index + 1;
            let since = duration::short(seen.now.since(process.since));
            let _ = writeln!(
                self.0,
                "    {position:>width$}. {} {} {since:>6}  {}{}",
                pid(process.pid, process.foreign_pid),
                table::left(&printable::word(&process.command), 15),
                asks(process, seen.policy.permits().is_some()),
                if process.late { paint(BAD, LATE) } else { String::new() },
            );
        }
        if seen.unordered > 0 {
            self.line(
                "unordered",
                format_args!(
                    "{} found no place in the line since the limiter was created",
                    callers(seen.unordered)
                ),
            );
            self.line(
                "",
                "and waited outside of it; there are two places a seat, so create it with more --seats",
            );
        }
    }

    /// The attached processes, the holders of permits and the busiest processes first.
    fn processes(&mut self, seen: &Inspection) {
        let mut all: Vec<&Attached> = seen.attached.iter().collect();
        all.sort_by_key(|p| (Reverse(usage::held_by(seen, p)), Reverse(p.counts.admitted), p.pid));
        for process in all {
            let since = duration::short(seen.now.since(process.since));
            let _ = writeln!(
                self.0,
                "    {} {} {since:>6}  admitted {}, denied {}, waited {}{}",
                pid(process.pid, process.foreign_pid),
                table::left(&printable::word(&process.command), 15),
                process.counts.admitted,
                process.counts.denied,
                process.counts.waited,
                holds(usage::held_by(seen, process)),
            );
        }
        if seen.attached.iter().any(|p| p.foreign_pid) || seen.waiting.iter().any(|p| p.foreign_pid) {
            let _ = writeln!(self.0, "    * a process ID of another PID namespace (container)");
        }
    }
}

fn free(limit: Limit, available: u64, used: u64, next: Duration) -> String {
    let next = if next.is_zero() { "now".to_owned() } else { format!("in {}", duration::short(next)) };
    let free = format!("{available} of {} free", limit.burst());
    let free = if available == 0 { paint(BAD, free) } else { free };
    format!("{free}, {used} used, next {next}")
}

fn ahead(unit: Unit, charged: u64) -> String {
    match charged {
        0 => "nothing charged ahead".to_owned(),
        n => format!("{} charged ahead", amount(unit.name(), n)),
    }
}

fn queue(seen: &Inspection) -> String {
    match (seen.callers_waiting(), seen.waiting.len()) {
        (0, _) => "empty".to_owned(),
        (n, 1) => format!("{} of 1 process, first come, first served", callers(n)),
        (n, processes) => format!("{} of {processes} processes, first come, first served", callers(n)),
    }
}

fn callers(n: u64) -> String {
    count(n, "caller")
}

/// The number of waiting callers of a process, and what the first of them asks for.
fn asks(process: &Waiting, has_permits: bool) -> String {
    let amounts = process.asks.iter().filter(|(_, n)| **n > 0).map(|(unit, n)| amount(unit, *n));
    let all: Vec<String> = amounts.chain(has_permits.then(|| "a permit".to_owned())).collect();
    let first = if process.callers == 1 { "for" } else { "the first for" };
    match all.as_slice() {
        // Just after a change, before the caller has stated its cost again.
        [] => callers(process.callers),
        all => format!("{}, {first} {}", callers(process.callers), all.join(" and ")),
    }
}

fn pid(pid: u32, foreign: bool) -> String {
    format!("{:<12}", format!("pid {pid}{}", if foreign { "*" } else { "" }))
}

fn holds(permits: u64) -> String {
    if permits == 0 { String::new() } else { format!(", holds {}", count(permits, "permit")) }
}

fn admitted(requests: u64, calls: u64) -> String {
    if requests == calls {
        requests.to_string()
    } else {
        format!("{} for {}", count(requests, "request"), count(calls, "call"))
    }
}

/// How many requests waited, and for how long on average: never for longer than the age of the limiter, whatever damaged
/// counters say.
fn waited(requests: u64, time: Duration, age: Duration) -> String {
    if requests == 0 {
        return "0".to_owned();
    }
    let mean = Duration::from_nanos((time.as_nanos() / u128::from(requests)) as u64);
    format!("{requests}, {} on average", duration::short(mean.min(age)))
}

fn times(n: u64) -> String {
    match n {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        n => format!("{n} times"),
    }
}

/// A Unix time as date and time of day.
pub(crate) fn date(unix: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(unix.min(LAST_DAY));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A user's name, or the number of a user without a name.
pub(crate) fn user(uid: u32) -> String {
    match nix::unistd::User::from_uid(uid.into()) {
        Ok(Some(user)) => printable::word(&user.name),
        _ => format!("uid {uid}"),
    }
}

fn group(gid: u32) -> String {
    match nix::unistd::Group::from_gid(gid.into()) {
        Ok(Some(group)) => printable::word(&group.name),
        _ => format!("gid {gid}"),
    }
}
