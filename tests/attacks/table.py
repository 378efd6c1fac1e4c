"""The thirty attacks, what stands against each, and the tests that show it: `python -m tests.attacks.table`.

Writes the table into docs/security.md, between its marks. `twins` are tests in which the defence is removed and the
attack succeeds. A name with a bracket is one case of a parametrized test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.parts import with_part

TOP = Path(__file__).parents[2]
PAGE = TOP / "docs" / "security.md"

STORE, AROUND, INSTALL, DELTA, SIGNATURES, BOOT_STATE = (
    f"tests/attacks/test_{name}.py" for name in ("store", "around", "install", "delta", "signatures", "boot_state"))
OLDER_STORE, OLDER_INSTALL = "tests/tools/test_store_attacks.py", "tests/tools/test_update_attacks.py"
MODEL = "tests/tools/test_update_model.py"
INIT = "tests/tools/test_init_tools.py"
ANSWERS = "tests/attacks/test_answers.py"
UPDATES, REFRESH = "tests/tools/test_update_install.py", "tests/tools/test_update_refresh.py"
RESET, KEYS = "tests/tools/test_factory_reset.py", "tests/attacks/test_workflow_roles.py"
ROLES, SCHEDULE, SCALE = ("tests/unit/store/test_roles.py", "tests/unit/plan/test_schedule.py",
                          "tests/scale/test_scale.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One attack. `open`: what of it is not shown, and why."""

    attack: str
    defence: str
    tests: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()
    open: str = ""


def store(*names: str) -> tuple[str, ...]:
    return tuple(f"{STORE}::test_attack_is_refused[{name}]" for name in names)


def store_twins(*names: str) -> tuple[str, ...]:
    return tuple(f"{STORE}::test_attack_succeeds_without_its_defence[{name}]" for name in names)


def install(*names: str) -> tuple[str, ...]:
    return tuple(f"{INSTALL}::test_attack_is_refused[{name}]" for name in names)


def install_twins(*names: str) -> tuple[str, ...]:
    return tuple(f"{INSTALL}::test_attack_succeeds_without_its_defence[{name}]" for name in names)


def of(path: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{path}::{name}" for name in names)


STRANGERS = tuple(f"stranger-signs-{role}" for role in ("root", "timestamp", "snapshot", "targets", "publisher-acme"))
ROLLBACKS = ("rollback-to-an-older-timestamp", "rollback-of-the-snapshot-behind-a-new-timestamp",
             "rollback-of-a-publisher-behind-a-new-snapshot", "rollback-to-an-older-root")
ENDLESS = ("endless-metadata", "endless-metadata-that-was-packed")

ROWS = (
    Row(attack="Arbitrary software", defence="TUF's digest, the signed SHA3-384 and verity root; then dm-verity",
        tests=install("payload-with-one-byte-changed") + store("one-byte-of-a-package") + of(
            OLDER_INSTALL, "test_package_that_nobody_signed", "test_signature_of_a_strangers_key") + of(
            MODEL, "test_model_signed_by_a_strangers_key"),
        twins=install_twins("payload-with-one-byte-changed") + store_twins("one-byte-of-a-package") + of(
            INSTALL, "test_whoever_has_the_brands_key_needs_no_trick")),
    Row(attack="Rollback of metadata", defence="the device keeps the versions that it believed",
        tests=store(*ROLLBACKS), twins=store_twins(*ROLLBACKS)),
    Row(attack="Rollback of software",
        defence="nothing below what runs, or has run here; no model below one that was taken",
        tests=install("older-revision-in-the-name-of-a-validation-set") + of(
            OLDER_INSTALL, "test_older_revision_than_the_one_that_runs",
            "test_older_revision_after_the_memory_was_wiped") + of(
            RESET, "test_reset_is_no_way_to_older_software") + of(
            MODEL, "test_older_model_replayed", "test_older_model_put_back_on_the_disk_counts_for_no_update"),
        twins=install_twins("older-revision-in-the-name-of-a-validation-set") + of(
            RESET, "test_reset_that_forgets_is_a_way_to_older_software")),
    Row(attack="Freeze", defence="every role expires, the timestamp in seven days; an alarm",
        tests=store("freeze") + of(OLDER_STORE, "test_expired_metadata_of_each_role_is_refused") + of(
            REFRESH, "test_store_that_is_silent_for_days_is_an_alarm_until_it_answers"),
        twins=store_twins("freeze")),
    Row(attack="Wrong clock", defence="what is signed proves its own time; checks go by the time since the boot",
        tests=of(INSTALL, "test_true_update_arrives_with_a_clock_that_stands_in_the_past") + of(
            OLDER_INSTALL, "test_clock_far_ahead_locks_nobody_out") + of(
            SCHEDULE, "test_dead_clock_waits_a_week_of_checks_and_no_longer"),
        twins=of(INSTALL, "test_true_update_is_refused_by_a_clock_in_the_past_without_its_floor"),
        open="a clock that runs ahead makes a store look expired until it is set"),
    Row(attack="Fast-forward of versions", defence="the root exchanges the key, and its versions with it",
        tests=of(STORE, "test_fast_forward_ends_with_the_key_that_made_it"),
        twins=of(STORE, "test_fast_forward_lasts_where_the_key_is_not_exchanged")),
    Row(attack="Mix and match", defence="the snapshot names one version of each role; a validation set names the pair",
        tests=store("mix-and-match-of-metadata") + install("kernel-that-was-not-tested-with-the-base"),
        twins=store_twins("mix-and-match-of-metadata") + install_twins("kernel-that-was-not-tested-with-the-base")),
    Row(attack="Endless metadata", defence="each role has a most of bytes; what was packed for the way is refused",
        tests=store(*ENDLESS) + of(
            STORE, "test_whatever_a_mirror_says_the_device_is_as_it_was_and_the_next_answer_counts") + of(
            OLDER_INSTALL, "test_a_million_files_and_endless_assertions"),
        twins=store_twins(*ENDLESS), open="the memory that 5 MB of delegations take was not measured"),
    Row(attack="Endless payload", defence="not a byte more than the signed length",
        tests=store("endless-package") + of(
            OLDER_INSTALL, "test_payload_longer_than_signed", "test_compressed_payload_that_never_ends"),
        twins=store_twins("endless-package")),
    Row(attack="Slow retrieval",
        defence="left is who sends less than 512 bytes/s of body for two minutes, or 64 KiB of"
        " anything else between two bytes of it; what came is kept",
        tests=of(STORE, "test_server_that_drips_is_left_and_gone_on_with_later",
                 "test_metadata_that_drips_is_left_too") + of(
            AROUND, "test_server_that_drips_around_a_body_is_left", "test_drip_inside_tls_is_left",
            "test_flood_around_a_body_is_left"),
        twins=of(STORE, "test_server_that_drips_is_waited_for_without_a_least_rate") + of(
            AROUND, "test_server_that_drips_around_a_body_is_waited_for_without_a_least_rate",
            "test_flood_around_a_body_is_taken_without_a_limit"),
        open="a name with many addresses that do not answer: 30 s for each, six hours at most"),
    Row(attack="Extraneous dependency", defence="what the model does not name is left out",
        tests=of(OLDER_INSTALL, "test_extra_package_that_the_model_does_not_name"),
        open="no twin: a device has no place for another package"),
    Row(attack="Wrong software", defence="name, type and architecture inside; publisher, brand and model above",
        tests=install("package-for-another-architecture") + store("publisher-signs-for-the-name-of-another") + of(
            OLDER_INSTALL, "test_bytes_of_one_package_under_the_name_of_another", "test_package_of_another_type",
            "test_package_of_another_brand"),
        twins=install_twins("package-for-another-architecture") + store_twins(
            "publisher-signs-for-the-name-of-another")),
    Row(attack="Malicious mirror", defence="a bad answer changes nothing, and another address of the store is asked;"
        " addresses are the brand's signed word",
        tests=of(STORE, "test_whatever_a_mirror_says_the_device_is_as_it_was_and_the_next_answer_counts",
                 "test_store_that_is_not_there_is_told_and_changes_nothing") + of(
            ANSWERS, "test_whatever_is_answered_is_bytes_or_a_download_error",
            "test_redirect_that_leads_nowhere_is_no_answer", "test_broken_answer_is_a_download_error") + of(
            REFRESH, "test_good_mirror_wins_over_a_bad_one",
            "test_address_that_is_not_the_brands_later_word_is_not_taken",
            "test_redirect_is_followed_and_not_remembered"),
        twins=store_twins("one-byte-of-a-package") + of(
            REFRESH, "test_good_mirror_wins_over_a_bad_one", "test_strangers_address_is_taken_without_the_proof"),
        open="a mirror that is just fast enough is not left for a faster one"),
    Row(attack="Too few keys", defence="thresholds; a key counts once",
        tests=of(STORE, "test_one_key_of_two_does_not_sign_for_both") + of(
            KEYS, "test_2_1_threshold_of_a_role", "test_4_3_one_key_under_many_ids_counts_once"),
        twins=of(STORE, "test_one_key_of_two_does_not_sign_for_both")),
    Row(attack="Broken key rotation", defence="each root is signed by the one before and by itself, without a gap",
        tests=of(STORE, "test_chain_of_roots_that_does_not_hold_is_refused") + of(
            ROLES, "test_device_follows_twenty_roots_in_one_poll"),
        twins=of(STORE, "test_chain_of_roots_that_does_not_hold_is_taken_without_the_defence")),
    Row(attack="Revoked key", defence="roles name their keys; the end of an account-key is kept",
        tests=store("key-that-was-taken-from-a-publisher") + install("key-that-was-ended") + of(
            ROLES, "test_devices_stop_believing_a_publisher_that_was_removed",
            "test_stolen_online_key_is_replaced_by_the_root_first"),
        twins=store_twins("key-that-was-taken-from-a-publisher") + install_twins("key-that-was-ended")),
    Row(attack="Stolen online key", defence="publishers sign for packages with keys of their own",
        tests=store("online-key-alone"), twins=store_twins("online-key-alone")),
    Row(attack="Partial bundle", defence="every package is read to its end before the first byte is written",
        tests=install("half-of-a-bundle"), twins=install_twins("half-of-a-bundle")),
    Row(attack="Replay to another device", defence="nothing in a store is for one device; brand and model are signed",
        tests=of(OLDER_INSTALL, "test_package_of_another_brand") + of(
            MODEL, "test_model_of_another_brand_and_of_another_name"), open="no twin: there is nothing to replay"),
    Row(attack="Dropped requests",
        defence="a check each 105 minutes until one is answered; an alarm; sticks work meanwhile",
        tests=of(SCHEDULE, "test_outage_costs_105_minutes_at_most") + of(
            STORE, "test_store_that_is_not_there_is_told_and_changes_nothing") + of(
            REFRESH, "test_store_that_is_silent_for_days_is_an_alarm_until_it_answers",
            "test_stick_is_installed_while_the_store_is_slow"),
        twins=of(SCALE, "test_devices_that_ask_again_every_minute_break_the_peak")),
    Row(attack="Delta that makes something else", defence="digest and size of the result are the signed ones",
        tests=of(DELTA, "test_delta_that_makes_something_else_is_refused",
                 "test_delta_writes_no_more_than_its_head_says",
                 "test_delta_whose_head_lies_about_its_size_is_refused_by_the_signed_one") + of(
            "tests/unit/packages/test_delta.py", "test_every_flipped_byte_is_noticed"),
        twins=of(DELTA, "test_delta_that_makes_something_else_is_taken_without_the_digest",
                 "test_delta_whose_head_lies_writes_all_of_it_without_digest_and_size")),
    Row(attack="Other bytes on a second read", defence="the tree of what was written, and reading it back",
        tests=install("other-bytes-on-a-second-read"), twins=install_twins("other-bytes-on-a-second-read")),
    Row(attack="Tampering at rest", defence="dm-verity over kernel and base",
        tests=of(INSTALL, "test_any_flipped_bit_of_a_slot_is_found"),
        twins=of(INSTALL, "test_flipped_bit_of_a_slot_is_read_as_if_nothing_were_without_its_tree"),
        open="who can write the boot files can write another root hash: Secure Boot is not there yet"),
    Row(attack="Tampered boot state",
        defence="two records with checksums; two tables with checksums, of which the kernel is told to take either; a"
        " slot boots only whole; the Pi's firmware walks on",
        tests=of(INSTALL, "test_record_of_random_bytes_boots_a_whole_slot_all_the_same") + of(
            BOOT_STATE, "test_autoboot_of_random_bytes_boots_a_whole_slot_all_the_same",
            "test_table_with_a_copy_of_random_bytes_is_read_by_the_other_one") + of(
            INIT, "test_record_with_a_value_out_of_range_is_lost_though_its_checksum_fits",
            "test_disk_is_found_whichever_copy_of_its_table_is_noise") + of(
            "tests/boot/test_boot.py", "test_table_that_is_damaged_is_read_from_its_backup"),
        twins=of(BOOT_STATE, "test_autoboot_that_names_what_cannot_be_booted_is_the_end_without_the_walk",
                 "test_table_with_a_copy_of_random_bytes_is_lost_without_the_other_one"),
        open="a Pi whose firmware does not walk on (a Pi 3, others before August 2025) stops where `autoboot.txt` names"
        " what cannot be booted; what firmware makes of lines that mean nothing no document says; the MBR's one sector,"
        " and both copies of the table at once. No twin for the record: whatever it says, the loaders' own checks stand"
        " behind it"),
    Row(attack="Paths and archives", defence="only regular files of well-formed names; links are left alone",
        tests=install("link-in-the-place-of-a-package") + of(
            OLDER_INSTALL, "test_names_that_are_tricks_are_no_packages", "test_pipe_in_the_place_of_a_package"),
        twins=install_twins("link-in-the-place-of-a-package"), open="packages of apps: there are none yet"),
    Row(attack="Tricks with signatures",
        defence="an assertion has one form, signed byte for byte; TUF signs what a document says, and no key stands in"
        " it twice; one algorithm for each key; no key of everybody",
        tests=store("empty-list-of-signatures", *STRANGERS) + of(
            SIGNATURES, "test_document_in_which_a_key_stands_twice_is_refused",
            "test_what_stands_beside_the_signed_part_means_nothing", "test_swapped_algorithm_is_refused",
            "test_key_whose_scheme_is_of_another_kind_is_refused", "test_key_of_low_order_is_refused",
            "test_number_that_is_not_canonical_is_refused", "test_other_encoding_of_a_signature_is_refused",
            "test_one_key_in_two_spellings_counts_once", "test_assertion_of_another_algorithm_is_refused",
            "test_assertion_in_which_a_header_stands_twice_is_refused",
            "test_assertion_with_a_number_that_is_not_canonical_is_refused",
            "test_rsa_key_for_which_anybody_can_sign_is_refused") + of(
            "tests/unit/assertions/test_database.py", "test_one_flipped_bit_anywhere",
            "test_signature_moved_to_another_assertion_of_the_same_key"),
        twins=store_twins("empty-list-of-signatures", *STRANGERS) + of(
            SIGNATURES, "test_document_in_which_a_key_stands_twice_is_believed_without_its_refusal",
            "test_swapped_algorithm_is_taken_without_the_signatures",
            "test_key_of_low_order_lets_anybody_sign_without_its_refusal",
            "test_number_that_is_not_canonical_is_taken_without_the_signatures"),
        open="no twin for assertions: nothing else than their one form and one algorithm is there to fall back on"),
    Row(attack="Confused deputy", defence="the updater has no service to ask; it wants root",
        tests=of(INSTALL, "test_user_without_rights_installs_nothing"),
        twins=of(INSTALL, "test_user_without_rights_installs_nothing"), open="interfaces of apps: there are none yet"),
    Row(attack="Exhausted device", defence="room is looked for before anything is written, and some is left to root",
        tests=install("full-esp") + of(
            UPDATES, "test_full_data_partition_does_not_stop_a_person_but_stops_a_service") + of(
            REFRESH, "test_attack_proof_that_fills_the_data_partition_is_not_fetched") + of(
            "tests/tools/test_image_tools.py", "test_program_that_fills_the_data_partition_leaves_room_for_updates"),
        twins=install_twins("full-esp"), open="no memory, no inodes, and media that turn read-only in each phase"),
    Row(attack="Downgrade through recovery",
        defence="a reset brings no software back, and keeps floors, ended keys, the store's versions",
        tests=of(RESET, "test_reset_is_no_way_to_older_software",
                 "test_all_goes_but_who_the_device_is_and_what_keeps_older_software_away",
                 "test_device_runs_what_it_ran_and_takes_a_true_update_after_a_reset"),
        twins=of(RESET, "test_reset_that_forgets_is_a_way_to_older_software"),
        open="a data partition that cannot be mounted is lost with its memory: what runs is the floor then"),
    Row(attack="Thundering herd, and the eight hours", defence="two grids of moments by a hash of the device",
        tests=of(SCALE, "test_every_device_runs_a_release_within_eight_hours_in_which_it_could_be_had",
                 "test_store_is_never_asked_by_all_at_once"),
        twins=of(SCALE, "test_random_moments_in_six_hours_break_the_promise",
                 "test_devices_that_ask_again_every_minute_break_the_peak")),
)


def markdown() -> str:
    lines = ["| # | attack | what stands against it | shown by | not shown |", "|--:|---|---|---|---|"]
    for number, row in enumerate(ROWS, 1):
        lines.append(f"| {number} | {row.attack} | {row.defence} | {_counted(row)} | {row.open} |")
    shown = "\n".join(f"{number}. {row.attack}: {_told(row)}" for number, row in enumerate(ROWS, 1) if row.tests)
    return "\n".join(lines) + "\n\nThe tests of each:\n\n" + shown


def _told(row: Row) -> str:
    return _names(row.tests) + (f"; twins: {_names(row.twins)}" if row.twins else "")


def _counted(row: Row) -> str:
    if not row.tests:
        return "nothing"
    return ", ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in (
        (len(row.tests), "test"), (len(row.twins), "twin")) if count)


def _names(tests: tuple[str, ...]) -> str:
    return ", ".join(f"`{test.rpartition('/')[2]}`" for test in tests)


def with_table(page: str) -> str:
    return with_part(page, "attacks", markdown())


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
