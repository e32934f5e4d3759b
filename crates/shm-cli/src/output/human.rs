//! `inspect` for humans.

use crate::output::{
    BAD, STRONG, WARNING, WEAK, amount, count, duration, keys, paint, printable, size, table, usage,
};
use shm_lib::{Attached, Inspection, KeyInspection, KeyPolicy, KeyStatus, Limit, Name, Unit, Waiting};
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
    if let Some(n) = seen.policy.permits() {
        let held = format!("{} of {n} held", seen.permits_held);
        page.line("permits", if usage::no_permit_left(seen) { paint(BAD, held) } else { held });
    }
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

/// A page about one key.
pub(crate) fn describe_key(
    name: &Name,
    key_parts: &[String],
    seen: &Inspection,
    status: &[KeyStatus],
) -> String {
    let name = paint(STRONG, printable::word(name.as_str()));
    let mut page = Page(format!("{name}  key {}\n", paint(STRONG, key(key_parts))));
    page.shadow(seen);
    if status.iter().all(|status| !status.known) {
        page.line("state", "not in the table: it has used nothing, or has recovered");
    }
    page.limits_per_key(seen, status);
    page.limits(seen);
    page.paused(seen);
    page.0
}

/// A key, by its parts.
pub(crate) fn key(parts: &[String]) -> String {
    let part = |part: &String| if part.is_empty() { "\"\"".to_owned() } else { printable::word(part) };
    parts.iter().map(part).collect::<Vec<_>>().join(" + ")
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

    /// Each limit per key, and below it the usage of a key if there is one. Numbered if there are several.
    fn limits_per_key(&mut self, seen: &Inspection, status: &[KeyStatus]) {
        let Some(keys) = seen.policy.keys() else { return };
        let many = keys.limits().count() > 1;
        for (index, limit) in keys.limits().enumerate() {
            let label = if many { format!("per key {}", index + 1) } else { "per key".to_owned() };
            self.line(&label, limit);
            if let Some(status) = status.get(index) {
                self.line("", free(limit, status.available, status.used, status.next_at.since(seen.now)));
            }
        }
    }

    /// How full the table of keys is, what that leads to, and what to do about it.
    fn keys(&mut self, seen: &Inspection, keys: &KeyInspection, name: &Name, path: &Path) {
        let table = &keys.table;
        let percent = keys::percent(table);
        let fill = format!("{} of {} in use ({percent}%, estimated)", table.live, table.capacity);
        let warning = keys::warning(table);
        self.line("keys", if warning.is_some() { paint(WARNING, fill) } else { fill });
        let (recent, all) = (table.forgotten.last_minute, table.forgotten.total);
        self.line("", format_args!("forgotten early: {recent} in the last minute, {all} in all"));
        let (recent, all) = keys::new_keys_denied(table);
        self.line("", format_args!("new keys denied: {recent} in the last minute, {all} in all"));
        self.line("memory", format_args!("{} of {}", size(table.allocated), size(table.bytes)));
        let Some(warning) = warning else { return };
        let refuses = seen.policy.keys().is_some_and(KeyPolicy::refuses_new_keys);
        let what = match (warning, refuses) {
            (keys::Warning::NearCapacity, _) if percent >= 100 => {
                "more keys are in use than the capacity; new keys are denied at times, although they used nothing"
            }
            (keys::Warning::NearCapacity, _) => {
                "the table is nearly full; soon new keys are denied, although they used nothing"
            }
            (keys::Warning::ForgettingKeys, true) => {
                "the table is too full: new keys are denied, although they used nothing"
            }
            (keys::Warning::ForgettingKeys, false) => {
                "the table is too full: new keys take the places of others, owe what those owed,"
            }
        };
        self.line("warning", paint(WARNING, what));
        if (warning, refuses) == (keys::Warning::ForgettingKeys, false) {
            self.line("", paint(WARNING, "and are denied for it"));
        }
        let capacity = keys::advised_capacity(table);
        self.line(
            "",
            format_args!(
                "choose a capacity of {capacity}. All keys then start unused, and processes go over to it:"
            ),
        );
        let command = keys::command_for(capacity, name, path, seen);
        self.line("", command);
    }

    /// The keys that are denied most.
    fn most_denied(&mut self, seen: &Inspection, keys: &KeyInspection, n: usize) {
        if seen.policy.keys().is_some_and(KeyPolicy::hides_names) {
            self.line("top", "the names of denied keys are not kept (--hide-names)");
            return;
        }
        let top = keys::top(keys, n);
        if top.is_empty() {
            return;
        }
        self.line("top", "keys by denials in the last minute, a sample:");
        let width = top.iter().map(|denied| denied.last_minute.to_string().len()).max().unwrap_or(0);
        for denied in top {
            let _ = writeln!(self.0, "    {:>width$}  {}", denied.last_minute, key(&denied.key));
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

    /// The waiting processes, in the order in which their first callers are served.
    fn waiting(&mut self, seen: &Inspection) {
        let keyed_only =
            seen.policy.keys().is_some() && seen.limits.is_empty() && seen.policy.permits().is_none();
        if keyed_only {
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
