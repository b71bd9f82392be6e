//! A campaign against the checker: files of many kinds of claims are mutated, and whatever it answers must be a rejection
//! with a code, or a verdict that stands. Never a panic, a check of over ten seconds, or memory beyond a gibibyte.
//!
//! A mutation is a function of the seed and its number alone. `MUTATIONS`, `SEED` and `KEEP` in the environment ask for
//! more of them, for others, and for a folder that keeps what was not rejected; `campaign.sh` beside this file does, and
//! has the reference checker confirm what is kept. `WORKERS` says how many work at a time: with one, the peak of memory is
//! that of one check. A number in `MUTATION` repeats one and leaves its files in place.

mod bases;
mod mutate;
#[path = "../../checker/tests/it/support/mod.rs"]
mod support;

use bases::Base;
use num::Zero;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use scalecert::bundle::prove_rows;
use scalecert::prove::{Choice, Config, Outcome, Status};
use scalecheck::claim::Property;
use scalecheck::verify::{self, Report, RowVerdict, Statement};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Mutations without a word in the environment, which is what CI runs.
const MUTATIONS: u64 = 20_000;
/// Longest check.
const LIMIT: Duration = Duration::from_secs(10);
/// Most memory for every check that runs at a time, in KiB; the campaign's own and the prover's attacks are counted as well.
const MEMORY: u64 = 1 << 20;
/// Groups of base cases that the campaign works through, each made anew from the seed.
const ROUND: u64 = 10_000;

/// A number from the environment.
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// What came of a mutation.
enum End {
    /// The code of an error, or of the first answer that is rejected.
    Code(&'static str),
    Verdict(Report),
}

#[derive(Default)]
struct Campaign {
    seed: u64,
    keep: Option<PathBuf>,
    /// Every so many mutations are kept, of those that are not rejected.
    stride: u64,
    /// How often each code and each verdict came.
    ends: Mutex<BTreeMap<String, u64>>,
    failures: Mutex<Vec<String>>,
    /// For the watchdog: the number of the mutation that each worker checks or attacks now, and since when, in milliseconds.
    checking: Vec<(AtomicU64, AtomicU64)>,
    /// What the prover finds of a question, by the digests of its files.
    attacked: Mutex<HashMap<Vec<String>, Arc<Attacked>>>,
    slowest: AtomicU64,
    /// The last steps of the peak of memory, and what was worked on then.
    growth: Mutex<Vec<String>>,
    done: AtomicBool,
}

#[test]
fn no_mutation_breaks_the_checker_or_makes_it_say_what_is_false() {
    let seed = asked("SEED").unwrap_or(1);
    let count = asked("MUTATIONS").unwrap_or(MUTATIONS);
    let keep = std::env::var("KEEP").ok().map(PathBuf::from);
    let only = asked("MUTATION");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = asked("WORKERS").map_or(processors, |workers| workers.max(1) as usize);
    let checking = (0..workers).map(|_| Default::default()).collect();
    let campaign = Campaign { seed, keep, stride: (count / 100_000).max(1), checking, ..Campaign::default() };
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !CATCHING.get() {
            shown(panic);
        }
    }));
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| campaign.watch(start));
        let _ended = Ended(&campaign.done);
        let rounds = only.map_or(0..count.div_ceil(ROUND), |n| n / ROUND..n / ROUND + 1);
        for round in rounds {
            let bases = bases::make(seed.wrapping_add(round), round == 0);
            campaign.attacked.lock().unwrap().clear();
            let next = AtomicU64::new(round * ROUND);
            let end = count.min((round + 1) * ROUND);
            std::thread::scope(|scope| {
                for worker in 0..workers {
                    let (campaign, bases, next) = (&campaign, &bases, &next);
                    scope.spawn(move || {
                        let folder = folder();
                        while !campaign.done.load(Ordering::Relaxed) {
                            let n = only.unwrap_or_else(|| next.fetch_add(1, Ordering::Relaxed));
                            if (n >= end && only.is_none()) || (only.is_some() && worker > 0) {
                                break;
                            }
                            campaign.mutation(n, worker, bases, folder.path(), start);
                            if only.is_some() {
                                println!("left in {}", folder.keep().display());
                                break;
                            }
                        }
                    });
                }
            });
        }
    });
    let ends = campaign.ends.into_inner().unwrap();
    let failures = campaign.failures.into_inner().unwrap();
    for (end, count) in &ends {
        println!("{count:>8} {end}");
    }
    let memory = peak_memory();
    let slowest = campaign.slowest.into_inner();
    println!(
        "seed {seed}, {count} mutations, slowest check {slowest} ms, peak memory {} MiB",
        memory.unwrap_or(0) / 1024
    );
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    if let (Some(memory), None) = (memory, only) {
        let growth = campaign.growth.into_inner().unwrap();
        assert!(
            memory <= MEMORY * workers as u64,
            "the campaign needed {memory} KiB at its peak:\n{}",
            growth.join("\n")
        );
    }
    if only.is_none() {
        // A campaign that only ever meets one error, or in which nothing is verified, tests nothing.
        let verified = ends.get("VERIFIED").copied().unwrap_or(0);
        assert!(verified > count / 100 && verified < count / 2, "{verified} of {count} mutations are verified");
        assert!(ends.len() >= 25, "only {} different ends", ends.len());
    }
}

thread_local! {
    /// True while this thread runs what may panic.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// The value of a function, or an error if it panics, in silence.
fn caught<T>(f: impl FnOnce() -> T) -> std::thread::Result<T> {
    CATCHING.set(true);
    let value = catch_unwind(AssertUnwindSafe(f));
    CATCHING.set(false);
    value
}

/// A folder of its own, in memory where the system has such a place: it is written for every mutation.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

/// Tells the watchdog when the campaign ends, however it ends.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Largest size that the process had, in KiB, where the system says so.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

impl Campaign {
    fn failed(&self, what: String) {
        eprintln!("{what}");
        self.failures.lock().unwrap().push(what);
    }

    /// Ends the process when a check or an attack takes far too long: it could not be ended otherwise.
    fn watch(&self, start: Instant) {
        while !self.done.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(200));
            let now = start.elapsed().as_millis() as u64;
            for (n, since) in &self.checking {
                let (n, since) = (n.load(Ordering::Relaxed), since.load(Ordering::Relaxed));
                if since > 0 && now.saturating_sub(since) > 6 * LIMIT.as_millis() as u64 {
                    eprintln!("mutation {n} of seed {} hangs", self.seed);
                    std::process::abort();
                }
            }
        }
    }

    /// Notes a step of the peak of memory while something was worked on; by other workers as well, perhaps.
    fn grown(&self, before: Option<u64>, what: impl FnOnce() -> String) {
        let Some((before, now)) = before.zip(peak_memory()) else { return };
        if now > before + (1 << 15) {
            self.growth.lock().unwrap().push(format!("{before} to {now} KiB: {}", what()));
        }
    }

    /// One mutation: its files, the check, and what is held against its answer.
    fn mutation(&self, n: u64, worker: usize, bases: &[Base], folder: &Path, start: Instant) {
        let mut random = SmallRng::seed_from_u64(self.seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let base = &bases[random.random_range(0..bases.len())];
        let (files, question) = mutate::mutate(base, bases, &mut random, folder);
        for (name, bytes) in &files {
            std::fs::write(folder.join(name), bytes).expect("a writable folder");
        }
        let (number, since) = &self.checking[worker];
        number.store(n, Ordering::Relaxed);
        since.store(1 + start.elapsed().as_millis() as u64, Ordering::Relaxed);
        let (begun, memory) = (Instant::now(), peak_memory());
        let checked = caught(|| check(folder));
        let mut took = begun.elapsed();
        self.grown(memory, || format!("the check of mutation {n}, {}", base.name));
        since.store(0, Ordering::Relaxed);
        // A machine that does other work may hold up a check; the fastest of three counts.
        for _ in 0..if took > LIMIT { 2 } else { 0 } {
            let begun = Instant::now();
            let _ = caught(|| check(folder));
            took = took.min(begun.elapsed());
        }
        self.slowest.fetch_max(took.as_millis() as u64, Ordering::Relaxed);
        let failed = |what: &str| {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mutation-{}-{n}", self.seed));
            keep(&kept, &files);
            self.failed(format!("mutation {n} of seed {}, {}: {what}; see {}", self.seed, base.name, kept.display()));
        };
        if took > LIMIT {
            failed(&format!("the check took {} s", took.as_secs()));
        }
        let Ok((statement, end)) = checked else { return failed("a panic") };
        let word = match &end {
            End::Code(code) => (*code).to_owned(),
            End::Verdict(report) => report.verdict().word().to_owned(),
        };
        *self.ends.lock().unwrap().entry(word.clone()).or_default() += 1;
        let (Some(statement), End::Verdict(report)) = (statement, end) else { return };
        if let Some(folder) = self.keep.as_ref().filter(|_| n.is_multiple_of(self.stride)) {
            let place = folder.join(format!("{}-{n}", self.seed));
            keep(&place, &files);
            std::fs::write(place.join("verdict"), format!("{} {word}\n", report.verdict().exit_code())).unwrap();
        }
        if question && base.is_false && rows(&report).any(|(.., verdict)| holds(verdict)) {
            return failed("VERIFIED, and the claim is false");
        }
        since.store(1 + start.elapsed().as_millis() as u64, Ordering::Relaxed);
        let memory = peak_memory();
        let contradicted = caught(|| self.contradicted(&statement, &report));
        since.store(0, Ordering::Relaxed);
        self.grown(memory, || format!("the attack on mutation {n}, {}", base.name));
        match contradicted {
            Ok(None) => {}
            Ok(Some(what)) => failed(&what),
            Err(_) => failed("the prover panics at this claim"),
        }
    }

    /// Attacks what is verified, and proves again what is refuted, with the prover: a perturbation that breaks a verified
    /// claim or goes beyond the tolerance that is established, and a proof of a refuted claim, contradict the report.
    fn contradicted(&self, statement: &Statement, report: &Report) -> Option<String> {
        let known = self.attacked.lock().unwrap().get(&report.digests).cloned();
        let attacked = known.unwrap_or_else(|| {
            let found = Arc::new(attack(statement));
            self.attacked.lock().unwrap().insert(report.digests.clone(), Arc::clone(&found));
            found
        });
        let outcomes = match &*attacked {
            Ok(outcomes) => outcomes,
            Err(e) => return Some(format!("the prover fails at this claim: {e}")),
        };
        rows(report).find_map(|(setting, row, verdict)| {
            let outcome = outcomes.iter().find(|o| (o.setting, o.row) == (setting, row))?;
            let what = against(outcome, verdict, &statement.claim().settings[setting].property)?;
            Some(format!("setting {setting}, row {row}: {what}"))
        })
    }
}

type Attacked = Result<Vec<Outcome>, String>;

fn attack(statement: &Statement) -> Attacked {
    let deadline = Some(Instant::now() + Duration::from_millis(100));
    let mut config = Config { deadline, method: Choice::Interval, ..Config::default() };
    (config.attack.starts, config.attack.steps) = (3, 6);
    prove_rows(statement, &config, &|_| (), || ()).map_err(|e| format!("{e:#}"))
}

fn keep(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    std::fs::create_dir_all(folder).expect("a writable folder");
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).expect("a writable folder");
    }
}

/// What the checker says of the claim and the certificate in a folder.
fn check(folder: &Path) -> (Option<Statement>, End) {
    let statement = match Statement::load(&folder.join(bases::CLAIM), None) {
        Ok(statement) => statement,
        Err(e) => return (None, End::Code(e.code.as_str())),
    };
    let bytes = verify::read(&folder.join(bases::CERTIFICATE)).expect("the file was just written");
    let end = match verify::verify_with(&statement, &bytes, folder, &Default::default(), |_, _| ()) {
        Ok(report) => rejection(&report).map_or(End::Verdict(report), End::Code),
        Err(e) => End::Code(e.code.as_str()),
    };
    (Some(statement), end)
}

fn rows(report: &Report) -> impl Iterator<Item = (usize, usize, &RowVerdict)> {
    let settings = report.settings.iter().enumerate();
    settings.flat_map(|(s, setting)| setting.rows.iter().map(move |(row, verdict)| (s, *row, verdict)))
}

fn rejection(report: &Report) -> Option<&'static str> {
    rows(report).find_map(|(.., verdict)| match verdict {
        RowVerdict::Rejected(e) => Some(e.code.as_str()),
        _ => None,
    })
}

/// True if the checker says that the claim holds for this row.
fn holds(verdict: &RowVerdict) -> bool {
    matches!(verdict, RowVerdict::Verified { .. } | RowVerdict::Served { .. })
}

/// What an outcome of the prover says against a verdict.
fn against(outcome: &Outcome, verdict: &RowVerdict, property: &Property) -> Option<String> {
    match (outcome.status, verdict) {
        (Status::Refuted, verdict) if holds(verdict) => return Some("VERIFIED, and a perturbation breaks it".into()),
        (Status::Certified, RowVerdict::Refuted { .. }) => return Some("REFUTED, and there is a proof of it".into()),
        _ => {}
    }
    let (established, (reached, _)) = (verdict.established()?, outcome.attacked.as_ref()?);
    let is_less = matches!(property, Property::Tolerance(_)) && established < reached && !reached.is_zero();
    is_less.then(|| "VERIFIED, and a perturbation goes beyond the tolerance that is established".into())
}
