//! Seeds of the simulator that failed once.

use integration_tests::sim::{Options, Simulation};

fn holds(seed: u64) {
    let first = Simulation::new(seed, Options::default()).run();
    assert_eq!(first.failure, None, "seed {seed}");
    let second = Simulation::new(seed, Options::default()).run();
    assert_eq!(first, second, "seed {seed}");
}

#[test]
fn the_first_seed_of_all() {
    holds(0);
}
