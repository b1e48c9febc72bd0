//! Attempts on a simulated cloud, in simulated time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex};

use proptest::prelude::*;

use super::*;
use crate::platform::Context;
use crate::testing;

const INSTANCE: &str = "instance-1";

#[derive(Debug, Clone, PartialEq, Eq)]
struct Machine {
    id: String,
    instance: String,
    created: u64,
}

fn machine(id: &str, created: u64) -> Machine {
    Machine { id: id.to_owned(), instance: INSTANCE.to_owned(), created }
}

/// A cloud that answers at once, and counts.
#[derive(Default)]
struct Cloud {
    machines: RefCell<Vec<Machine>>,
    lists: Cell<usize>,
    /// Reactions of faults of the next lists.
    faults: RefCell<Vec<Reaction>>,
    creates_once: bool,
}

impl Machines for Cloud {
    type Machine = Machine;

    const LIST_LAG: Duration = Duration::from_secs(2);
    const SEARCH_PAUSES: &'static [Duration] = &[Duration::from_secs(1), Duration::from_secs(3)];

    fn creates_once(&self) -> bool {
        self.creates_once
    }

    fn list(&self, _: &str) -> Result<Vec<Machine>, Fault> {
        self.lists.set(self.lists.get() + 1);
        match self.faults.borrow_mut().pop() {
            Some(reaction) => Err(Fault::new(reaction, "test.list", "no list")),
            // Lists without a filter show everything.
            None => Ok(self.machines.borrow().clone()),
        }
    }

    fn destroy(&self, machine: &Machine) -> Result<(), Fault> {
        self.machines.borrow_mut().retain(|other| other.id != machine.id);
        Ok(())
    }

    fn id(machine: &Machine) -> &str {
        &machine.id
    }

    fn instance_id(machine: &Machine) -> Option<&str> {
        Some(&machine.instance)
    }

    fn created(machine: &Machine) -> impl Ord {
        machine.created
    }
}

/// A clock that jumps.
#[derive(Default)]
struct Jumping(Cell<Duration>);

impl Clock for &Jumping {
    fn elapsed(&self) -> Duration {
        self.0.get()
    }

    fn wait(&self, pause: Duration) {
        self.0.set(self.0.get() + pause);
    }
}

/// Creates a machine, which takes so many seconds. Returns the outcome, the number of lists, and the seconds that have passed.
fn create(cloud: &Cloud, is_repeated: bool, seconds: u64) -> (Result<Outcome<Machine, Machine>, Fault>, usize, u64) {
    cloud.lists.set(0);
    let (clock, call) = (Jumping::default(), Call(Context(())));
    let attempt = Attempt { instance_id: INSTANCE, is_repeated, call: &call, clock: &clock };
    let outcome = attempt.run(cloud, || {
        (&clock).wait(Duration::from_secs(seconds));
        let made = machine("made", 50);
        cloud.machines.borrow_mut().push(made.clone());
        Ok(made)
    });
    (outcome, cloud.lists.get(), clock.0.get().as_secs())
}

#[test]
fn a_first_creation_costs_no_list_unless_it_was_slow() {
    let cloud = Cloud::default();
    assert_eq!(create(&cloud, false, 4), (Ok(Outcome::Made(machine("made", 50))), 0, 4));
    let cloud = Cloud::default();
    assert_eq!(create(&cloud, false, 6), (Ok(Outcome::Found(machine("made", 50))), 1, 8), "the lag of lists");
}

#[test]
fn a_repeated_creation_searches_before_and_after() {
    let cloud = Cloud::default();
    assert_eq!(create(&cloud, true, 1), (Ok(Outcome::Found(machine("made", 50))), 2, 7));
    let (outcome, lists, seconds) = create(&cloud, true, 1);
    assert_eq!((outcome.is_ok(), lists, seconds), (true, 1, 0), "it is there");
    assert_eq!(cloud.machines.borrow().len(), 1);
    // The cloud keeps a second one from being made: nothing is waited for.
    let cloud = Cloud { creates_once: true, ..Cloud::default() };
    assert_eq!(create(&cloud, true, 1), (Ok(Outcome::Found(machine("made", 50))), 2, 1));
}

#[test]
fn a_call_that_ends_soon_or_is_cancelled_does_not_wait() {
    for (remaining_ms, cancelled, seconds) in [(7_000, false, 3), (4_000, false, 1), (60_000, true, 1)] {
        testing::host(|host| (host.remaining_ms, host.cancelled) = (remaining_ms, cancelled));
        assert_eq!(create(&Cloud::default(), true, 1).2, seconds);
    }
}

#[test]
fn the_oldest_survives_and_others_ids_are_left_alone() {
    let foreign = Machine { instance: "instance-2".to_owned(), ..machine("foreign", 1) };
    let all = vec![machine("young", 30), machine("b", 20), foreign.clone(), machine("a", 20)];
    let cloud = Cloud { machines: RefCell::new(all), ..Cloud::default() };
    assert_eq!(oldest(&cloud, INSTANCE), Ok(Some(machine("a", 20))), "of one age, by id");
    assert_eq!(*cloud.machines.borrow(), [foreign, machine("a", 20)]);
}

#[test]
fn a_search_repeats_what_may_succeed_later() {
    let found = |cloud: &Cloud| {
        let clock = Jumping::default();
        let found = search(cloud, INSTANCE, &&clock).map_err(|fault| fault.reaction);
        (found, cloud.lists.get(), clock.0.get().as_secs())
    };
    assert_eq!(found(&Cloud::default()), (Ok(None), 3, 4));
    let with = |faults: &[Reaction]| Cloud {
        machines: RefCell::new(vec![machine("a", 1)]),
        faults: RefCell::new(faults.to_vec()),
        ..Cloud::default()
    };
    assert_eq!(found(&with(&[Reaction::Retry, Reaction::Retry])), (Ok(Some(machine("a", 1))), 3, 4));
    assert_eq!(found(&with(&[Reaction::Retry; 3])), (Err(Reaction::Retry), 3, 4));
    assert_eq!(found(&with(&[Reaction::Denied])), (Err(Reaction::Denied), 1, 0));
}

#[test]
fn a_creation_that_cannot_search_afterwards_is_unresolved() {
    let cloud = Cloud { creates_once: true, faults: RefCell::new(vec![Reaction::Denied]), ..Cloud::default() };
    assert_eq!(create(&cloud, false, 6).0.unwrap_err().reaction, Reaction::UnknownOutcome);
    let cloud = Cloud { faults: RefCell::new(vec![Reaction::Denied]), ..Cloud::default() };
    assert_eq!(create(&cloud, true, 1).0.unwrap_err().reaction, Reaction::Denied, "nothing was made");
    assert!(cloud.machines.borrow().is_empty());
}

#[test]
fn twins_of_observed_machines_are_removed() {
    let other = |id: &str, instance: &str| Machine { instance: instance.to_owned(), ..machine(id, 1) };
    let all = vec![
        machine("known", 5),
        machine("twin", 1),
        other("known-twin", "instance-2"),
        other("known-2", "instance-2"),
        other("survivor-of-a-dead-one", "instance-3"),
        other("foreign", "instance-4"),
    ];
    let cloud = Cloud { machines: RefCell::new(all.clone()), ..Cloud::default() };
    let observed = [
        (Some(INSTANCE), "known"),
        (Some("instance-2"), "known-2"),
        (None, "known-twin"),
        (Some("instance-3"), "dead"),
    ];
    remove_twins(&cloud, &observed, all.iter());
    let left: Vec<String> = cloud.machines.borrow().iter().map(|machine| machine.id.clone()).collect();
    assert_eq!(left, ["known", "known-twin", "known-2", "survivor-of-a-dead-one", "foreign"]);
}

/// Course of one attempt in the simulation; times in milliseconds.
#[derive(Debug, Clone)]
struct Plan {
    begins: u64,
    /// Time from the request until the machine exists.
    arrives: u64,
    /// Time from there until the answer.
    answers: u64,
    /// Set if the client dies before the answer.
    is_lost: bool,
    /// Lags of its lists, in turn.
    lags: Vec<u64>,
}

/// A cloud with late lists, and the simulated time of all attempts. One thread runs at a time.
struct Simulation {
    state: Mutex<State>,
    woken: Condvar,
}

struct State {
    now: u64,
    sleeping: BTreeSet<(u64, usize)>,
    running: usize,
    turn: Option<usize>,
    /// With the time at which each was destroyed.
    machines: Vec<(Machine, Option<u64>)>,
}

impl State {
    /// Wakes the attempt whose pause ends first, if all are asleep.
    fn advance(&mut self) {
        self.running -= 1;
        if self.running == 0
            && let Some((time, attempt)) = self.sleeping.pop_first()
        {
            (self.now, self.turn) = (time, Some(attempt));
        }
    }
}

struct Client<'a> {
    simulation: &'a Simulation,
    number: usize,
    plan: &'a Plan,
    began: Cell<u64>,
    lists: Cell<usize>,
}

impl Client<'_> {
    fn now(&self) -> u64 {
        self.simulation.state.lock().unwrap().now
    }

    fn pause(&self, milliseconds: u64) {
        let mut state = self.simulation.state.lock().unwrap();
        let until = state.now + milliseconds;
        state.sleeping.insert((until, self.number));
        state.advance();
        self.simulation.woken.notify_all();
        state = self.simulation.woken.wait_while(state, |state| state.turn != Some(self.number)).unwrap();
        state.turn = None;
        state.running = 1;
    }

    fn end(&self) {
        self.simulation.state.lock().unwrap().advance();
        self.simulation.woken.notify_all();
    }

    fn make(&self) -> Result<Machine, Fault> {
        self.pause(self.plan.arrives);
        let made = {
            let mut state = self.simulation.state.lock().unwrap();
            let made = machine(&format!("m-{:02}", state.machines.len()), state.now);
            state.machines.push((made.clone(), None));
            made
        };
        self.pause(self.plan.answers);
        if self.plan.is_lost { Err(Fault::unknown_outcome("test.lost", "the client died")) } else { Ok(made) }
    }
}

impl Machines for Client<'_> {
    type Machine = Machine;

    const LIST_LAG: Duration = Duration::from_secs(2);
    const SEARCH_PAUSES: &'static [Duration] = &[Duration::from_millis(500), Duration::from_secs(2)];

    fn list(&self, _: &str) -> Result<Vec<Machine>, Fault> {
        let number = self.lists.replace(self.lists.get() + 1);
        self.pause(1);
        let state = self.simulation.state.lock().unwrap();
        let moment = state.now - self.plan.lags[number % self.plan.lags.len()].min(state.now);
        let exists = |(machine, destroyed): &&(Machine, Option<u64>)| {
            machine.created <= moment && destroyed.is_none_or(|destroyed| destroyed > moment)
        };
        Ok(state.machines.iter().filter(exists).map(|(machine, _)| machine.clone()).collect())
    }

    fn destroy(&self, machine: &Machine) -> Result<(), Fault> {
        self.pause(1);
        let mut state = self.simulation.state.lock().unwrap();
        let now = state.now;
        let found = state.machines.iter_mut().find(|(other, _)| other.id == machine.id);
        found.expect("a machine that existed").1.get_or_insert(now);
        Ok(())
    }

    fn id(machine: &Machine) -> &str {
        &machine.id
    }

    fn instance_id(machine: &Machine) -> Option<&str> {
        Some(&machine.instance)
    }

    fn created(machine: &Machine) -> impl Ord {
        machine.created
    }
}

impl Clock for &Client<'_> {
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now() - self.began.get())
    }

    fn wait(&self, pause: Duration) {
        self.pause(u64::try_from(pause.as_millis()).unwrap());
    }
}

/// The machine that an attempt answers with (none when its client died), the time of its answer, and its lists.
type Answer = (Option<Outcome<Machine, Machine>>, u64, usize);

/// Runs all attempts, the first of which is the only one that is not a repetition. Returns their answers, and all machines.
fn simulate(plans: &[Plan]) -> (Vec<Answer>, Vec<(Machine, Option<u64>)>) {
    let state = State { now: 0, sleeping: BTreeSet::new(), running: plans.len(), turn: None, machines: Vec::new() };
    let simulation = Simulation { state: Mutex::new(state), woken: Condvar::new() };
    let answers = std::thread::scope(|scope| {
        let threads: Vec<_> = plans
            .iter()
            .enumerate()
            .map(|(number, plan)| {
                let simulation = &simulation;
                scope.spawn(move || {
                    let client =
                        Client { simulation, number, plan, began: Cell::new(plan.begins), lists: Cell::new(0) };
                    client.pause(plan.begins);
                    let call = Call(Context(()));
                    let request =
                        Attempt { instance_id: INSTANCE, is_repeated: number > 0, call: &call, clock: &client };
                    let outcome = request.run(&client, || client.make());
                    let answer = (outcome.ok(), client.now(), client.lists.get());
                    client.end();
                    answer
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    (answers, simulation.state.into_inner().unwrap().machines)
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let lags = || proptest::collection::vec(0..=2_000u64, 1..4);
    // A creation whose client dies arrives in time; others take as long as they like.
    let first = (0..2_000u64, any::<bool>(), 0..8_000u64, 0..6_000u64, lags()).prop_map(
        |(begins, is_lost, arrives, answers, lags)| {
            let arrives = if is_lost { arrives.min(5_000) } else { arrives };
            Plan { begins, arrives, answers, is_lost, lags }
        },
    );
    let repeated = (0..9_000u64, 0..8_000u64, 0..6_000u64, lags()).prop_map(|(after, arrives, answers, lags)| Plan {
        begins: after,
        arrives,
        answers,
        is_lost: false,
        lags,
    });
    (first, proptest::collection::vec(repeated, 0..5)).prop_map(|(first, repeated)| {
        let begins = first.begins;
        let later = repeated.into_iter().map(|plan| Plan { begins: begins + plan.begins, ..plan });
        std::iter::once(first.clone()).chain(later).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Creates one instance in several attempts that overlap, on a cloud whose lists are late.
    #[test]
    fn one_machine_survives_and_all_attempts_answer_with_it(plans in plans()) {
        let (answers, machines) = simulate(&plans);
        let oldest = machines.iter().map(|(machine, _)| machine).min_by_key(|machine| (machine.created, &machine.id));
        let oldest = oldest.expect("at least one was made");
        if plans.len() > 1 || !plans[0].is_lost {
            let left: Vec<_> = machines.iter().filter(|(_, gone)| gone.is_none()).map(|(machine, _)| machine).collect();
            prop_assert_eq!(left, [oldest]);
        }
        for (number, (outcome, answered, lists)) in answers.iter().enumerate() {
            prop_assert!(*lists <= 2, "attempt {} listed {} times", number, lists);
            match outcome {
                None => prop_assert!(plans[number].is_lost),
                Some(Outcome::Found(machine)) => prop_assert_eq!(machine, oldest),
                // A quick first attempt does not search: its owner has lost the instance to the one that overtook it.
                Some(Outcome::Made(machine)) => {
                    let is_overtaken = plans[1..].iter().any(|other| other.begins < *answered);
                    prop_assert!(number == 0 && (machine == oldest || is_overtaken));
                }
            }
        }
    }
}
