//! Hostile bytes in a limiter's file, under every operation. See `tests/fuzz`, which watches this.
//!
//! | file | what |
//! |---|---|
//! | `spec` | limiters of all kinds |
//! | `spoil` | what is done to their bytes |
//! | `act` | what is then asked of them |
//! | `keys` | the same for keyed limiters |
//! | `audit` | that a single hostile word never costs more than a burst |

mod act;
mod audit;
mod keys;
mod spec;
mod spoil;

use act::Player;
use harness::fuzz_progress::Progress;
use harness::raw::{self, MappedWords};
use harness::{Job, Rng};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use shm_lib::ErrorKind;
use spec::Spec;
use spoil::Spoiler;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One child's cases: `first`, `first + step` and so on until `for` is over, or the same one again and again.
pub(crate) fn run(job: &Job) {
    let (progress, dir) = (Progress::at(&job.path("progress")), job.path("dir"));
    let (seed, step) = (job.number("seed"), job.number_or("step", 1));
    let end = Instant::now() + job.duration();
    let corpus = spoil::corpus(&dir);
    let mut case = job.number("first");
    while Instant::now() < end {
        progress.case(case);
        let rng = Rng::seeded(seed ^ case.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Case { progress: &progress, file: dir.join("f"), dir: &dir, corpus: &corpus, rng }.play();
        progress.case_done();
        case += step;
    }
}

/// One limiter, from its making to its end.
struct Case<'a> {
    progress: &'a Progress,
    dir: &'a Path,
    file: PathBuf,
    corpus: &'a [Vec<u8>],
    rng: Rng,
}

impl Case<'_> {
    fn play(mut self) {
        match self.rng.below(14) {
            10.. => keys::play(self.progress, self.dir, &mut self.rng, self.corpus),
            0..=3 => self.spoiled_before(),
            4..=6 => self.spoiled_between(),
            7 => self.spoiled_meanwhile(),
            _ => audit::audit(self.progress, self.dir, &mut self.rng),
        }
        // Retired, damaged, or in use: it goes.
        let _ = std::fs::remove_file(&self.file);
    }

    /// A limiter that was used for a while, by handles that are gone or not.
    fn made(&mut self) -> Player<'_> {
        let spec = Spec::any(&mut self.rng);
        let mut player = Player::new(self.progress, self.dir, spec);
        player.open(&mut self.rng);
        for _ in 0..self.rng.below(30) {
            player.act_mildly(&mut self.rng);
        }
        player
    }

    /// Bytes are changed while no process has the limiter open, or while one has.
    fn spoiled_before(&mut self) {
        let (corpus, file) = (self.corpus, self.file.clone());
        let mut rng = Rng::seeded(self.rng.below(u64::MAX));
        let mut player = self.made();
        let stay = rng.below(3) == 0;
        if !stay {
            player.leave();
        }
        if let Ok(bytes) = std::fs::read(&file) {
            let op = self_begin(player.progress, "spoil");
            // A mapped file keeps its size: shortened, it would be a SIGBUS (docs/security.md).
            let spoiled = spoil::file(&mut rng, bytes, corpus, !stay);
            spoil::write(&file, &spoiled, stay);
            self_end(player.progress, op);
        }
        player.attach();
        for _ in 0..10 + rng.below(30) {
            player.act(&mut rng);
        }
    }

    /// Words are changed before operations, in the memory that handles have mapped.
    fn spoiled_between(&mut self) {
        let file = self.file.clone();
        let mut rng = Rng::seeded(self.rng.below(u64::MAX));
        let mut player = self.made();
        player.attach();
        let Ok(words) = MappedWords::map_all(&file) else { return };
        let mut spoiler = Spoiler::new(&words);
        for _ in 0..10 + rng.below(60) {
            if rng.below(3) > 0 {
                spoiler.spoil(&mut rng);
            }
            player.act(&mut rng);
        }
    }

    /// Another process writes all the time.
    fn spoiled_meanwhile(&mut self) {
        let file = self.file.clone();
        let mut rng = Rng::seeded(self.rng.below(u64::MAX));
        let mut player = self.made();
        player.attach();
        let Ok(words) = MappedWords::map_all(&file) else { return };
        let vandal = Corruptor::start(&words, rng.below(u64::MAX));
        for _ in 0..20 + rng.below(200) {
            player.act(&mut rng);
        }
        drop(vandal);
    }
}

fn self_begin(progress: &Progress, op: &str) -> (usize, u64) {
    let now = shm_lib::now().as_nanos();
    (progress.begin(op, now), now)
}

fn self_end(progress: &Progress, (op, began): (usize, u64)) {
    progress.end(op, Ok::<_, ErrorKind>(true), shm_lib::now().as_nanos() - began);
}

/// A process that spoils words until this is dropped.
struct Corruptor(Pid);

impl Corruptor {
    fn start(words: &MappedWords, seed: u64) -> Corruptor {
        Corruptor::start_with(words, seed, spoil::any_words)
    }

    fn start_with(words: &MappedWords, seed: u64, spoil: fn(&mut Spoiler<'_>, &mut Rng)) -> Corruptor {
        if let Some(pid) = raw::fork().expect("a vandal") {
            return Corruptor(pid);
        }
        set_pdeathsig(Signal::SIGKILL).expect("to die with the child");
        let mut rng = Rng::seeded(seed);
        let mut spoiler = Spoiler::new(words);
        let pause = Duration::from_micros(rng.below(200));
        loop {
            for _ in 0..rng.below(8) {
                spoil(&mut spoiler, &mut rng);
            }
            std::thread::sleep(pause);
        }
    }
}

impl Drop for Corruptor {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}
