//! A traced process that is run to an instruction; there it is killed, left stopped or made to fork.

use crate::route::{Position, Route, Trace};
use harness::Job;
use harness::mark::{Order, Said};
use nix::errno::Errno;
use nix::sys::personality::{self, Persona};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::{c_long, c_void};
use std::ops::Range;
use std::process::{Command, Stdio};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const INT3: c_long = 0xcc;

/// What can go wrong with it.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// Whether processes can be traced here. Those that are started from here on have their code at the same addresses.
pub(crate) fn can_be_traced() -> Result<()> {
    personality::get()
        .and_then(|persona| personality::set(persona | Persona::ADDR_NO_RANDOMIZE))
        .map_err(|e| format!("addresses can't be fixed here: {e}"))?;
    // A policy of the host may forbid it; then it does so for every process.
    let mut child =
        Command::new(WORKER).arg("traceable").stderr(Stdio::null()).spawn().map_err(|e| e.to_string())?;
    let allowed = child.wait().is_ok_and(|status| status.success());
    if allowed { Ok(()) } else { Err("processes can't be traced here".into()) }
}

/// A traced worker in the mode `victim`, stopped at its first mark; or a child that it forked since, stopped in the fork.
/// Killed when dropped.
pub(crate) struct Victim {
    pid: Pid,
    /// Where it stands after a mark.
    mark: u64,
    /// Reaped: its PID belongs to no process, or to another one.
    gone: bool,
}

/// Where it got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The instruction.
    There,
    /// The end of the operation: this time it was shorter.
    End,
    /// Some other instruction: this time it took another path.
    Elsewhere,
}

/// What it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// Tokens or permits that it has.
    pub(crate) tokens: u64,
    /// When the turn of the last one is.
    pub(crate) at: u64,
}

impl Victim {
    #[allow(clippy::zombie_processes, reason = "waited for as a traced process")]
    pub(crate) fn start(job: &Job) -> Result<Victim> {
        let child = Command::new(WORKER)
            .args(job.as_mode("victim").args())
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .map_err(|e| format!("the worker can't be started: {e}"))?;
        let pid = Pid::from_raw(child.id() as i32);
        let mut victim = Victim { pid, mark: 0, gone: false };
        victim.stopped()?;
        os(ptrace::setoptions(pid, Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACEFORK))?;
        victim.mark = victim.place()?.instruction;
        Ok(victim)
    }

    /// Steps through the operation, and says by which instructions it went.
    pub(crate) fn record(&mut self) -> Result<Trace> {
        let mut walk = Walk::of(self);
        let mut places = Vec::new();
        loop {
            let place = self.place()?;
            if place.instruction == self.mark - 1 {
                return Ok(Trace::new(places));
            }
            places.truncate(places.len() - walk.steps_back(place));
            places.push(place);
            self.step()?;
        }
    }

    /// Leads it to the instruction, which is then the next one to be executed.
    pub(crate) fn run_to(&mut self, route: Route) -> Result<Reached> {
        if let Some((at, hits)) = route.breakpoint {
            let word = os(ptrace::read(self.pid, address(at)))?;
            for hit in 0..hits {
                if hit > 0 {
                    self.step()?;
                }
                os(ptrace::write(self.pid, address(at), word & !0xff | INT3))?;
                os(ptrace::cont(self.pid, None))?;
                self.stopped()?;
                os(ptrace::write(self.pid, address(at), word))?;
                let mut registers = os(ptrace::getregs(self.pid))?;
                if registers.rip == self.mark {
                    return Ok(Reached::End);
                }
                if registers.rip != at + 1 {
                    return Err(format!("trapped at {:#x} instead of {at:#x}", registers.rip));
                }
                registers.rip = at;
                os(ptrace::setregs(self.pid, registers))?;
            }
        }
        let mut walk = Walk::of(self);
        let mut steps = 0;
        loop {
            let place = self.place()?;
            steps -= walk.steps_back(place).min(steps);
            if steps == route.steps {
                return Ok(if place == route.to { Reached::There } else { Reached::Elsewhere });
            }
            if place.instruction == self.mark - 1 {
                return Ok(Reached::End);
            }
            self.step()?;
            steps += 1;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw() as u32
    }

    /// Makes it fork by a signal handler where it stands. The child is stopped in the handler, and the parent, too.
    pub(crate) fn fork(&mut self) -> Result<Victim> {
        os(ptrace::cont(self.pid, Signal::SIGUSR1))?;
        let mut stopped = self.wait();
        while let Ok(WaitStatus::Stopped(_, Signal::SIGUSR1)) = stopped {
            // It was where no handler runs, and is where one does.
            os(ptrace::cont(self.pid, Signal::SIGUSR1))?;
            stopped = self.wait();
        }
        match stopped {
            Ok(WaitStatus::PtraceEvent(_, Signal::SIGTRAP, libc::PTRACE_EVENT_FORK)) => {}
            Ok(WaitStatus::Stopped(_, Signal::SIGALRM)) => {
                return Err(format!("in the fork {}", self.hangs()));
            }
            other => return Err(format!("it should have forked, and did not: {other:?}")),
        }
        let pid = Pid::from_raw(os(ptrace::getevent(self.pid))? as i32);
        let mut child = Victim { pid, mark: self.mark, gone: false };
        match child.wait() {
            Ok(WaitStatus::Stopped(_, Signal::SIGSTOP)) => Ok(child),
            other => Err(format!("the child should have stopped, and did not: {other:?}")),
        }
    }

    /// Lets it do the rest of the operation, to the mark after it.
    pub(crate) fn finish_operation(&mut self) -> Result<()> {
        os(ptrace::cont(self.pid, None))?;
        self.stopped()?;
        match self.place()?.instruction {
            place if place == self.mark => Ok(()),
            place => Err(format!("trapped at {place:#x} instead of the mark")),
        }
    }

    /// From the mark after the operation to the next one: what came of the operation.
    pub(crate) fn says(&mut self) -> Result<Said> {
        self.finish_operation()?;
        let registers = os(ptrace::getregs(self.pid))?;
        Ok(Said::from_words([registers.rax, registers.rdx]))
    }

    /// The same, where it must have come to its end.
    pub(crate) fn report(&mut self) -> Result<Report> {
        has(self.says()?)
    }

    /// Tells it at a mark at which it has spoken what to do next, and returns what it says then.
    pub(crate) fn obey(&mut self, order: Order) -> Result<Said> {
        self.tell(order)?;
        self.says()
    }

    /// Lets it do the same operation so many times more; what it got by that, or how many permits it holds then.
    pub(crate) fn repeat(&mut self, n: u64) -> Result<Report> {
        has(self.obey(Order::Repeat(n))?)
    }

    /// Lets it end where it has spoken.
    pub(crate) fn end(mut self) -> Result<()> {
        self.tell(Order::Leave)?;
        os(ptrace::cont(self.pid, None))?;
        match self.wait() {
            Ok(WaitStatus::Exited(_, 0)) => Ok(()),
            Ok(WaitStatus::Stopped(_, Signal::SIGALRM)) => Err(self.hangs()),
            other => Err(format!("it ended badly: {other:?}")),
        }
    }

    /// Lets it end after the operation, and returns what it says.
    pub(crate) fn leave(mut self) -> Result<Report> {
        let report = self.report()?;
        self.end()?;
        Ok(report)
    }

    /// Kills it where it stands. When this returns, the kernel has taken back all that it had.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Where the kernel's code lies that reads the clock.
    fn clock_code(&self) -> Range<u64> {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.pid)).unwrap_or_default();
        let line = maps.lines().find(|line| line.ends_with("[vdso]")).unwrap_or_default();
        let ends = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let number = |hex| u64::from_str_radix(hex, 16).unwrap_or_default();
        ends.map_or(0..0, |(from, to)| number(from)..number(to))
    }

    /// The file and the offset in it of an instruction, for `addr2line`.
    fn describe(&self, at: u64) -> String {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.pid)).unwrap_or_default();
        let found = maps.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let (from, to) = words.next()?.split_once('-')?;
            let number = |hex| u64::from_str_radix(hex, 16).ok();
            let (from, to, offset) = (number(from)?, number(to)?, number(words.nth(1)?)?);
            let file = words.nth(2).unwrap_or("?").rsplit('/').next()?;
            (from..to).contains(&at).then(|| format!("{file}, byte {:#x} of the file", at - from + offset))
        });
        found.unwrap_or_else(|| format!("{at:#x}"))
    }

    /// Where it stands.
    pub(crate) fn location(&self) -> String {
        self.describe(self.place().map_or(0, |place| place.instruction))
    }

    /// Says so, and where.
    fn hangs(&self) -> String {
        format!("it hangs ({})", self.location())
    }

    fn place(&self) -> Result<Position> {
        let registers = os(ptrace::getregs(self.pid))?;
        Ok(Position { instruction: registers.rip, stack: registers.rsp })
    }

    fn step(&mut self) -> Result<()> {
        os(ptrace::step(self.pid, None))?;
        self.stopped()
    }

    /// Waits until it has trapped.
    fn stopped(&mut self) -> Result<()> {
        match self.wait() {
            Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => Ok(()),
            Ok(WaitStatus::Stopped(_, Signal::SIGALRM)) => Err(self.hangs()),
            other => Err(format!("it should have stopped, and did not: {other:?}")),
        }
    }

    /// Waits for what happens next. That a child of its own has ended is nothing to it.
    fn wait(&mut self) -> nix::Result<WaitStatus> {
        loop {
            let status = waitpid(self.pid, None);
            if let Ok(WaitStatus::Stopped(_, Signal::SIGCHLD)) = status {
                ptrace::cont(self.pid, None)?;
                continue;
            }
            self.gone = matches!(status, Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_));
            return status;
        }
    }

    fn tell(&mut self, order: Order) -> Result<()> {
        let mut registers = os(ptrace::getregs(self.pid))?;
        registers.rax = order.word();
        os(ptrace::setregs(self.pid, registers))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if !self.gone {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
        while !self.gone {
            let _ = self.wait();
        }
    }
}

/// A path by single steps. A process that reads the clock so slowly reads it again whenever the kernel has set it meanwhile:
/// those rounds are no part of the path.
struct Walk {
    clock_code: Range<u64>,
    /// Where it has been since it entered that code.
    there: Vec<Position>,
}

impl Walk {
    fn of(victim: &Victim) -> Walk {
        Walk { clock_code: victim.clock_code(), there: Vec::new() }
    }

    /// How many of the last steps led nowhere but back to this place.
    fn steps_back(&mut self, place: Position) -> usize {
        if !self.clock_code.contains(&place.instruction) {
            self.there.clear();
            return 0;
        }
        let before = self.there.iter().position(|&there| there == place).unwrap_or(self.there.len());
        let back = self.there.len() - before;
        self.there.truncate(before);
        self.there.push(place);
        back
    }
}

fn has(said: Said) -> Result<Report> {
    match said {
        Said::Has { tokens, at } => Ok(Report { tokens, at }),
        Said::Ended => Err("it was told that the limiter is retired or removed".into()),
        Said::Busy => Err("it was refused as busy".into()),
    }
}

fn address(at: u64) -> *mut c_void {
    at as *mut c_void
}

fn os<T>(result: std::result::Result<T, Errno>) -> Result<T> {
    result.map_err(|e| format!("ptrace: {e}"))
}
