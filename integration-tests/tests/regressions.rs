//! Seeds of the simulator that failed once, by what was wrong.
//!
//! A change of what a seed draws makes these other runs; then they are seeds like any, and do no harm.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use integration_tests::sim::{Options, Simulation};

fn run(seed: u64, options: Options) {
    let first = Simulation::new(seed, options).run();
    assert_eq!(first.failure, None, "seed {seed}");
    let second = Simulation::new(seed, options).run();
    assert_eq!(first, second, "seed {seed}");
}

fn holds(seeds: &[u64]) {
    seeds.iter().for_each(|seed| run(*seed, Options::default()));
}

/// Two nodes, few operations, one fault.
fn small(seeds: &[u64]) {
    let options = Options {
        nodes: Some(2),
        max_ops: Some(7),
        max_faults: Some(1),
        ..Options::default()
    };
    seeds.iter().for_each(|seed| run(*seed, options));
}

#[test]
fn an_unreadable_file_of_a_rebuilt_index_was_archived_for_a_rival() {
    holds(&[3470]);
}

#[test]
fn a_new_device_took_what_a_lost_run_did_for_deleted() {
    holds(&[14_938]);
}

#[test]
fn a_mode_given_while_ours_was_set_was_never_noticed() {
    holds(&[17_781]);
}

#[test]
fn a_full_disk_was_blamed_on_the_peer() {
    holds(&[104]);
}

#[test]
fn a_directory_was_revived_that_its_user_replaced_by_a_file() {
    small(&[231, 395, 669, 1497]);
    holds(&[92, 265, 299]);
}

#[test]
fn what_a_crash_left_in_an_unreadable_directory_passed_for_an_edit() {
    holds(&[6]);
}

#[test]
fn a_content_was_asked_for_that_nobody_wanted_any_more() {
    small(&[474, 1473]);
    holds(&[61, 121, 145, 187]);
}

#[test]
fn a_path_that_stayed_empty_was_never_tried_again() {
    holds(&[6, 11, 77, 146]);
}

#[test]
fn a_file_came_before_what_was_done_to_the_directory_in_its_place() {
    holds(&[913, 986]);
}

#[test]
fn a_reader_asked_a_restored_home_for_numbers_that_it_never_gave() {
    holds(&[376]);
}

#[test]
fn a_revived_directory_took_a_file_for_its_past() {
    holds(&[18, 276]);
}

#[test]
fn a_reader_kept_a_copy_that_no_writer_had() {
    holds(&[21, 54, 109, 123]);
}

#[test]
fn a_content_was_wanted_that_its_author_forgot_and_deleted() {
    holds(&[41, 239]);
}

#[test]
fn a_content_of_two_authors_had_two_copies() {
    holds(&[24, 55, 80, 176]);
}

#[test]
fn a_session_without_traffic_forgot_to_ping() {
    holds(&[7, 15, 23]);
}

#[test]
fn a_file_behind_directories_in_its_group_was_not_made_durable() {
    holds(&[813, 1097]);
}

#[test]
fn a_record_that_lost_here_was_never_told_of_again() {
    holds(&[494, 655, 725]);
}

#[test]
fn a_directory_revived_over_an_own_file_sent_it_to_the_archive() {
    holds(&[578, 721, 760, 1030, 1148]);
}

#[test]
fn a_displaced_file_stayed_hidden_after_an_io_error() {
    holds(&[168, 1046, 1231, 1469]);
}

#[test]
fn a_file_stood_on_disk_before_its_record_was_durable() {
    holds(&[128, 697, 1235, 1648, 1857]);
}

#[test]
fn an_error_left_a_file_that_passed_for_an_edit() {
    holds(&[1197, 1960, 1223]);
}

#[test]
fn a_peer_came_back_to_what_had_been_deleted() {
    holds(&[587]);
}

#[test]
fn a_displaced_file_lost_its_directory_to_the_archive() {
    holds(&[1551]);
}

#[test]
fn a_file_that_was_not_durable_passed_for_deleted() {
    holds(&[1020]);
}

#[test]
fn a_copy_was_read_for_ever_when_its_source_had_grown() {
    holds(&[106]);
}

#[test]
fn a_torn_temporary_was_given_to_a_user_who_had_deleted_the_file() {
    holds(&[3833]);
}

#[test]
fn a_reader_was_blamed_for_a_deletion_that_every_index_forgot() {
    holds(&[2407, 3101, 4677]);
}

#[test]
fn a_restored_home_gave_numbers_out_again() {
    holds(&[274, 626, 877, 1201, 1678, 1679, 1844]);
}

#[test]
fn who_asked_over_the_older_of_two_sessions_was_never_answered() {
    holds(&[869, 1127]);
}

#[test]
fn a_directory_made_just_before_an_error_was_found_and_then_lost_by_a_crash() {
    holds(&[753]);
}
