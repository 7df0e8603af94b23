/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery from files and journals that were written by hand: each rule of dataplane/log/recover.h by itself. */
#include "tests/support/unit.h"

#include <errno.h>

#include "dataplane/log/recover/recover_internal.h"
#include "tests/support/hand_log.h"

struct fixture {
    struct hand_log log;
    struct hand_journal journal;
    struct hand_segment segment, next;
    struct mr_recovery *recovery;
    struct mr_log_recovered recovered;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    hand_init(&f->log);
    hand_segment_init(&f->segment, 0, 0xabcd);
    hand_journal_open(&f->log, &f->journal, 0, 1, 77);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mr_recovery_close(f->recovery);
    hand_release(&f->log);
    free(f);
    return 0;
}

static void recover(struct fixture *f)
{
    mr_recovery_close(f->recovery);
    f->recovery = NULL;
    assert_int_equal(hand_recover(&f->log, 0, &f->recovery, &f->recovered), 0);
}

/** Recover and expect the log to end there, in place. */
static void expect_end(struct fixture *f, uint64_t end)
{
    recover(f);
    assert_false(f->recovered.offline);
    assert_int_equal(f->recovered.next_offset, end);
    assert_int_equal(f->recovered.durable_offset, end);
}

static void expect_offline(struct fixture *f, const char *said)
{
    uint32_t before = mr_sim_disk_digest(f->log.machine);
    recover(f);
    assert_true(f->recovered.offline);
    assert_int_equal(mr_sim_disk_digest(f->log.machine), before); /* nothing changed */
    assert_true(hand_was_said(&f->log, said));
    assert_true(hand_was_said(&f->log, "millrace log verify /d/t-0"));
}

/** A commit with what was appended since `data_from`, acknowledged: later commits call it complete. */
static void commit_durable(struct fixture *f, uint64_t data_from, uint64_t side_from, uint64_t mark)
{
    hand_put(&f->log, &f->journal, &f->segment, data_from, side_from, mark);
    (void)hand_commit(&f->log, &f->journal, true);
    f->journal.durable_lsn = f->journal.lsn;
}

static void flip(struct fixture *f, const char *path, uint64_t position, uint32_t bit)
{
    assert_int_equal(mr_sim_disk_flip_bit(f->log.machine, path, position, bit), 0);
}

static void an_empty_directory_is_an_empty_log(void **state)
{
    struct fixture *f = *state;
    expect_end(f, 0);
    assert_int_equal(f->recovered.segment_count, 0);
    assert_int_equal(mr_recovery_generation(f->recovery), 1);
}

static void files_are_made_when_only_the_journal_has_bytes(void **state)
{
    struct fixture *f = *state;
    hand_append(&f->log, &f->segment, 3, 100);
    commit_durable(f, 0, 0, 0);
    expect_end(f, 3);
    assert_true(hand_is_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end));
    assert_int_equal(f->recovered.segment_count, 1);
    const struct mr_log_segment *s = f->recovered.segments;
    assert_int_equal(s->bytes, f->segment.data_end);
    assert_int_equal(s->side_bytes, f->segment.side_end);
    assert_int_equal(s->chain, f->segment.chain);
    assert_int_equal(s->salt, f->segment.salt);
    assert_int_equal(s->inplace_bytes, s->bytes);
    assert_int_equal(s->max_timestamp_ms, 1002);
    assert_memory_equal(f->recovered.data_block, f->segment.data, s->bytes);
    assert_memory_equal(f->recovered.side_block, f->segment.side, s->side_bytes);
    assert_int_equal(f->recovered.generation, 1); /* entries of lineage 0 may be in the old journal: never again */
    assert_int_equal(f->recovered.producer_count, 1);
    assert_int_equal(f->recovered.producers[0].producer_id, 7);
    assert_int_equal(f->recovered.producers[0].last_sequence, 2);
    assert_int_equal(f->recovered.producers[0].last_offset, 2);
}

static void the_tail_in_the_journal_continues_the_file(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++)
        hand_append(&f->log, &f->segment, 2, 1000);
    uint64_t data_end = f->segment.data_end, side_end = f->segment.side_end;
    hand_in_place(&f->log, &f->segment, data_end, side_end, HAND_STREAM_BYTES);
    hand_append(&f->log, &f->segment, 4, 500);
    commit_durable(f, data_end, side_end, 20);
    expect_end(f, 24);
    assert_true(hand_is_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end));
    assert_int_equal(f->recovered.producers[0].last_sequence, 23);
}

static void a_torn_block_in_place_is_mended_from_the_journal(void **state)
{
    struct fixture *f = *state;
    uint8_t garbage[512];
    memset(garbage, 0x5c, sizeof garbage);
    for (int i = 0; i < 4; i++)
        hand_append(&f->log, &f->segment, 2, 1000);
    commit_durable(f, 0, 0, 0);
    hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, HAND_STREAM_BYTES);
    hand_write_file(&f->log, HAND_PARTITION "/00000000000000000000.log", garbage, sizeof garbage, 4096);
    hand_write_file(&f->log, HAND_PARTITION "/00000000000000000000.sidecar", garbage, sizeof garbage, 0);
    expect_end(f, 8);
    assert_true(hand_is_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end));
}

static void a_commit_that_was_in_flight_may_be_missing(void **state)
{
    struct fixture *f = *state;
    hand_append(&f->log, &f->segment, 2, 100);
    commit_durable(f, 0, 0, 0);
    uint64_t data_end = f->segment.data_end, side_end = f->segment.side_end;
    hand_append(&f->log, &f->segment, 2, 100);
    hand_put(&f->log, &f->journal, &f->segment, data_end, side_end, 2);
    (void)hand_commit(&f->log, &f->journal, false);
    expect_end(f, 2);
    assert_true(hand_is_in_place(&f->log, &f->segment, data_end, side_end));
}

static void what_lies_behind_a_missing_commit_in_flight_is_cut_and_said(void **state)
{
    struct fixture *f = *state;
    hand_append(&f->log, &f->segment, 2, 100);
    commit_durable(f, 0, 0, 0);
    for (int i = 0; i < 2; i++) {
        uint64_t data_end = f->segment.data_end, side_end = f->segment.side_end;
        hand_append(&f->log, &f->segment, 2, 100);
        hand_put(&f->log, &f->journal, &f->segment, data_end, side_end, 2);
        (void)hand_commit(&f->log, &f->journal, i == 1);
    }
    expect_end(f, 2);
    assert_true(hand_was_said(&f->log, "cut at offset 2"));
    /* Broken off before the journals are retired, it comes to the same. */
    expect_end(f, 2);
    assert_int_equal(mr_recovery_retire(f->recovery, NULL), 0);
    expect_end(f, 2);
    assert_int_equal(f->recovered.generation, 1);
}

static void a_hole_below_the_mark_is_corruption(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 6; i++)
        hand_append(&f->log, &f->segment, 2, 1000);
    hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, HAND_STREAM_BYTES);
    uint64_t data_end = f->segment.data_end, side_end = f->segment.side_end;
    hand_append(&f->log, &f->segment, 1, 10);
    commit_durable(f, data_end, side_end, 12);
    flip(f, HAND_PARTITION "/00000000000000000000.log", 5000, 3);
    expect_offline(f, "at offset 4 (file '00000000000000000000.log'");
}

static void a_flip_in_the_sidecar_below_the_mark_is_corruption(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 6; i++)
        hand_append(&f->log, &f->segment, 2, 1000);
    hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, HAND_STREAM_BYTES);
    struct mr_journal_entry mark = hand_entry(&f->log, &f->segment);
    mark.mark_offset = 12;
    hand_put_entry(&f->journal, &mark, NULL, NULL);
    (void)hand_commit(&f->log, &f->journal, true);
    flip(f, HAND_PARTITION "/00000000000000000000.sidecar", 64 + 16 * 3 + 13, 0);
    expect_offline(f, "sidecar does not agree");
}

static void a_log_that_ends_below_what_was_durable_is_corruption(void **state)
{
    struct fixture *f = *state;
    hand_append(&f->log, &f->segment, 2, 100);
    hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, HAND_STREAM_BYTES);
    assert_int_equal(hand_recover(&f->log, 3, &f->recovery, &f->recovered), 0);
    assert_true(f->recovered.offline);
    expect_end(f, 2); /* and fine for who does not know better */
}

static void one_flipped_bit_in_a_complete_commit_is_undone(void **state)
{
    struct fixture *f = *state;
    hand_append(&f->log, &f->segment, 3, 300);
    commit_durable(f, 0, 0, 0);
    uint64_t used = sizeof(struct mr_journal_commit) + mr_journal_entry_bytes(f->segment.data_end, f->segment.side_end);
    /* An idle partition's only copy: nothing in this later commit is about it. */
    struct mr_journal_entry other = hand_entry(&f->log, &f->segment);
    other.partition = 5;
    hand_put_entry(&f->journal, &other, NULL, NULL);
    (void)hand_commit(&f->log, &f->journal, true);
    for (uint64_t byte = 0; byte < used; byte++) {
        uint32_t bit = (uint32_t)(byte * 5 % 8);
        struct hand_log clone = {.machine = mr_sim_disk_clone(f->log.machine)};
        mr_sim_disk_kill(clone.machine);
        clone.disk = mr_sim_disk_open(clone.machine);
        assert_int_equal(mr_sim_disk_flip_bit(clone.machine, f->journal.path, 4096 + byte, bit), 0);
        assert_int_equal(hand_recover(&clone, 0, &f->recovery, &f->recovered), 0);
        assert_false(f->recovered.offline);
        assert_int_equal(f->recovered.next_offset, 3);
        assert_true(hand_was_said(&clone, "undid one flipped bit"));
        mr_recovery_close(f->recovery);
        f->recovery = NULL;
        hand_release(&clone);
    }
}

static void more_damage_in_a_complete_commit_takes_offline_whom_nothing_vouches_for(void **state)
{
    struct fixture *f = *state;
    hand_append(&f->log, &f->segment, 3, 300);
    commit_durable(f, 0, 0, 0);
    struct mr_journal_entry other = hand_entry(&f->log, &f->segment);
    other.partition = 5;
    hand_put_entry(&f->journal, &other, NULL, NULL);
    (void)hand_commit(&f->log, &f->journal, true);
    flip(f, f->journal.path, 4096 + 200, 1);
    flip(f, f->journal.path, 4096 + 300, 1);
    expect_offline(f, "may have held its newest records");
    /* Its journals are kept for the repair. */
    assert_int_equal(mr_recovery_retire(f->recovery, NULL), 0);
    assert_true(mr_sim_disk_size_path(f->log.machine, f->journal.path) > 0);
}

static void a_journal_header_has_a_second_copy(void **state)
{
    struct fixture *f = *state;
    hand_append(&f->log, &f->segment, 3, 300);
    commit_durable(f, 0, 0, 0);
    flip(f, f->journal.path, 30, 1);
    expect_end(f, 3);
    assert_true(hand_was_said(&f->log, "second copy"));
    flip(f, f->journal.path, MR_JOURNAL_FILE_COPY + 3, 1);
    hand_append(&f->log, &f->segment, 3, 300);
    mr_recovery_close(f->recovery);
    f->recovery = NULL;
    expect_offline(f, "is damaged");
}

static void commits_wrap_and_older_rounds_do_not_hurt(void **state)
{
    struct fixture *f = *state;
    uint64_t data_end = 0, side_end = 0;
    for (uint32_t i = 0; i < 40; i++) {
        hand_append(&f->log, &f->segment, 1, 700 + 90 * (i % 5));
        f->journal.floor_lsn = f->journal.lsn > 40960 ? f->journal.lsn - 40960 : 0;
        commit_durable(f, data_end, side_end, i);
        if (i == 20) /* what the first round held */
            hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, HAND_STREAM_BYTES);
        if (i == 35)
            hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, HAND_STREAM_BYTES);
        data_end = f->segment.data_end;
        side_end = f->segment.side_end;
    }
    expect_end(f, 40);
    assert_true(hand_is_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end));
}

static void a_roll_in_flight_keeps_both_segments(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++)
        hand_append(&f->log, &f->segment, 2, 900);
    hand_in_place(&f->log, &f->segment, 8192, 64, HAND_STREAM_BYTES);
    hand_put(&f->log, &f->journal, &f->segment, 8192, 0, 0);
    hand_segment_init(&f->next, 10, 0x77);
    hand_append(&f->log, &f->next, 2, 100);
    hand_put(&f->log, &f->journal, &f->next, 0, 0, 10);
    (void)hand_commit(&f->log, &f->journal, true);
    expect_end(f, 12);
    assert_int_equal(f->recovered.segment_count, 2);
    assert_int_equal(f->recovered.segments[0].next_offset, 10);
    assert_true(hand_is_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end));
    assert_true(hand_is_in_place(&f->log, &f->next, f->next.data_end, f->next.side_end));
}

static void a_segment_behind_an_incomplete_one_is_cut_in_flight_and_corruption_when_durable(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++)
        hand_append(&f->log, &f->segment, 2, 900);
    hand_in_place(&f->log, &f->segment, 4096, f->segment.side_end, HAND_STREAM_BYTES);
    hand_segment_init(&f->next, 10, 0x77);
    hand_append(&f->log, &f->next, 2, 100);
    hand_put(&f->log, &f->journal, &f->next, 0, 0, 0);
    (void)hand_commit(&f->log, &f->journal, true);
    struct mr_sim_disk_machine *machine = mr_sim_disk_clone(f->log.machine);
    expect_end(f, 4);
    assert_true(hand_was_said(&f->log, "cut at offset 4"));

    mr_recovery_close(f->recovery);
    f->recovery = NULL;
    mr_sim_disk_machine_close(f->log.machine);
    f->log.machine = machine;
    mr_sim_disk_kill(machine);
    f->log.disk = mr_sim_disk_open(machine);
    f->journal.durable_lsn = f->journal.lsn;
    hand_put(&f->log, &f->journal, &f->next, f->next.data_end, f->next.side_end, 0);
    (void)hand_commit(&f->log, &f->journal, true);
    expect_offline(f, "what follows was durable");
}

static void an_empty_new_segment_is_given_up(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++)
        hand_append(&f->log, &f->segment, 2, 900);
    hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, 0);
    hand_segment_init(&f->next, 10, 0x77);
    hand_in_place(&f->log, &f->next, 0, 64, HAND_STREAM_BYTES);
    expect_end(f, 10);
    assert_int_equal(f->recovered.segment_count, 1);
    assert_int_equal(f->recovered.segments[0].chain, f->segment.chain);
    assert_int_equal(mr_sim_disk_size_path(f->log.machine, HAND_PARTITION "/00000000000000000010.log"), -ENOENT);
}

static void log_start_comes_from_journal_and_checkpoint(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++)
        hand_append(&f->log, &f->segment, 2, 900);
    hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, 0);
    hand_segment_init(&f->next, 10, 0x77);
    hand_append(&f->log, &f->next, 10, 100);
    hand_in_place(&f->log, &f->next, f->next.data_end, f->next.side_end, HAND_STREAM_BYTES);
    struct mr_journal_entry mark = hand_entry(&f->log, &f->next);
    mark.mark_offset = 20;
    mark.log_start = 13;
    hand_put_entry(&f->journal, &mark, NULL, NULL);
    (void)hand_commit(&f->log, &f->journal, true);
    expect_end(f, 20);
    assert_int_equal(f->recovered.log_start, 13);
    assert_int_equal(f->recovered.segment_count, 1);
    assert_int_equal(mr_sim_disk_size_path(f->log.machine, HAND_PARTITION "/00000000000000000000.log"), -ENOENT);
    assert_int_equal(mr_recovery_checkpoint(f->recovery, NULL), 0);
    assert_int_equal(mr_recovery_retire(f->recovery, NULL), 0);
    assert_int_equal(mr_sim_disk_size_path(f->log.machine, f->journal.path), -ENOENT);
    expect_end(f, 20);
    assert_int_equal(f->recovered.log_start, 13);
    assert_int_equal(mr_recovery_generation(f->recovery), 1); /* although no journal is left */
    flip(f, HAND_DIRECTORY "/checkpoint", 30, 2);
    expect_end(f, 20);
    assert_int_equal(f->recovered.log_start, 13);
    assert_true(hand_was_said(&f->log, "one of its two copies is damaged"));
}

static void old_journals_do_not_count_behind_the_checkpoint(void **state)
{
    struct fixture *f = *state;
    hand_append(&f->log, &f->segment, 2, 100);
    commit_durable(f, 0, 0, 0);
    uint64_t data_end = f->segment.data_end, side_end = f->segment.side_end;
    struct hand_segment lost = f->segment;
    hand_append(&f->log, &lost, 2, 100);
    hand_append(&f->log, &lost, 2, 100);
    /* In flight: something that comes to be behind a hole, then is written over by the next lineage. */
    struct mr_journal_entry entry = hand_entry(&f->log, &lost);
    entry.data_position = (uint32_t)(data_end + 200);
    entry.data_bytes = (uint32_t)(lost.data_end - data_end - 200);
    entry.side_position = (uint32_t)side_end + 16;
    entry.side_bytes = 16;
    hand_put_entry(&f->journal, &entry, lost.data + data_end + 200, lost.side + side_end + 16);
    (void)hand_commit(&f->log, &f->journal, true);
    expect_end(f, 2);
    assert_int_equal(mr_recovery_checkpoint(f->recovery, NULL), 0); /* adoption of others keeps the journals a while */
    hand_append(&f->log, &f->segment, 1, 1000);
    hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, HAND_STREAM_BYTES);
    expect_end(f, 3);
    assert_true(hand_is_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end));
}

static void a_clean_stop_vouches_for_the_end(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++)
        hand_append(&f->log, &f->segment, 2, 900);
    hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, 0);
    struct mr_clean_partition clean = {.name = "t-0", .topic_id = hand_topic, .generation = 4, .log_start = 3, .next_offset = 10};
    assert_int_equal(mr_recovery_mark_clean(f->log.disk, HAND_DIRECTORY, &clean, 1, NULL), 0);
    expect_end(f, 10);
    assert_int_equal(f->recovered.log_start, 3);
    assert_int_equal(f->recovered.generation, 4);
    flip(f, HAND_PARTITION "/00000000000000000000.log", f->segment.data_end - 1, 2);
    expect_offline(f, "at offset 8");
}

static void write_snapshot(struct fixture *f, uint64_t offset, int32_t last_sequence)
{
    struct mr_snapshot_producer producer = {.producer_id = 99, .last_offset = (int64_t)offset - 1, .last_sequence = last_sequence, .epoch = 2};
    uint8_t bytes[256];
    char path[128];
    int64_t n = mr_snapshot_encode(&producer, 1, bytes, sizeof bytes);
    assert_true(n > 0);
    snprintf(path, sizeof path, HAND_PARTITION "/%020llu.snapshot", (unsigned long long)offset);
    hand_write_file(&f->log, path, bytes, (uint64_t)n, 0);
}

static void producers_come_from_the_newest_sound_snapshot_and_the_batches_behind(void **state)
{
    struct fixture *f = *state;
    f->log.sequence = INT32_MAX - 4;
    for (int i = 0; i < 5; i++)
        hand_append(&f->log, &f->segment, 2, 900);
    hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, 0);
    hand_segment_init(&f->next, 10, 0x77);
    f->log.producer_id = 8;
    hand_append(&f->log, &f->next, 2, 100);
    hand_in_place(&f->log, &f->next, f->next.data_end, f->next.side_end, HAND_STREAM_BYTES);
    write_snapshot(f, 10, 41);
    write_snapshot(f, 14, 1000); /* ahead of the end: of records that were lost */
    expect_end(f, 12);
    assert_int_equal(f->recovered.producer_count, 2); /* of the snapshot, and the one behind it; id 7 was forgotten before it */
    assert_int_equal(mr_sim_disk_size_path(f->log.machine, HAND_PARTITION "/00000000000000000014.snapshot"), -ENOENT);
    for (uint32_t i = 0; i < 2; i++)
        assert_true(f->recovered.producers[i].producer_id == 99 ? f->recovered.producers[i].last_sequence == 41
                                                                : f->recovered.producers[i].producer_id == 8);
    flip(f, HAND_PARTITION "/00000000000000000010.snapshot", 20, 1);
    expect_end(f, 12);
    assert_true(hand_was_said(&f->log, "snapshot at offset 10 is damaged"));
    assert_int_equal(f->recovered.producer_count, 2); /* both from the log */
    for (uint32_t i = 0; i < 2; i++)
        if (f->recovered.producers[i].producer_id == 7)
            assert_int_equal(f->recovered.producers[i].last_sequence, 4); /* 2^31 - 5 + 9 wrapped */
}

/* Ten thousand partitions are looked up in what the last start left, each a few times: a start may not take seconds for that. */
static void a_partition_is_found_in_the_checkpoint_without_a_walk_over_all(void **state)
{
    struct mr_checkpoint checkpoint = {0};
    struct mr_checkpoint_partition p = {0};
    const uint32_t count = 10000;

    for (uint32_t i = 0; i < count; i++) {
        memcpy(p.topic_id.bytes, &(uint32_t){i / 500}, sizeof i);
        snprintf(p.name, sizeof p.name, "topic-%u-%u", i / 500, i % 500);
        p.next_offset = i;
        assert_int_equal(mr_checkpoint_put(&checkpoint, &p), 0);
        p.next_offset = i + 1; /* the greater counts */
        p.log_start = i / 2;
        assert_int_equal(mr_checkpoint_put(&checkpoint, &p), 0);
    }
    assert_int_equal(checkpoint.count, count);
    size_t bytes = 0;
    bool mended;
    char *text = mr_checkpoint_format(&checkpoint, &bytes);
    mr_checkpoint_release(&checkpoint);
    assert_non_null(text);
    assert_int_equal(mr_checkpoint_parse(text, bytes, &checkpoint, &mended), 0);
    free(text);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(p.topic_id.bytes, &(uint32_t){i / 500}, sizeof i);
        snprintf(p.name, sizeof p.name, "topic-%u-%u", i / 500, i % 500);
        const struct mr_checkpoint_partition *found = mr_checkpoint_find(&checkpoint, p.name, &p.topic_id);
        assert_non_null(found);
        assert_int_equal(found->next_offset, i + 1);
        assert_int_equal(found->log_start, i / 2);
        p.topic_id.bytes[15] = 1; /* another topic of this name */
        assert_null(mr_checkpoint_find(&checkpoint, p.name, &p.topic_id));
        p.topic_id.bytes[15] = 0;
    }
    assert_true(checkpoint.compared < 10ull * count);
    mr_checkpoint_release(&checkpoint);
}

static void closed_segments_are_listed_for_adoption(void **state)
{
    struct fixture *f = *state;
    struct mr_log_segment *segments;
    struct millrace_error err;
    uint32_t count;
    hand_append(&f->log, &f->segment, 2, 900);
    hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, 0);
    hand_segment_init(&f->next, 2, 0x77);
    hand_append(&f->log, &f->next, 3, 900);
    hand_in_place(&f->log, &f->next, f->next.data_end, f->next.side_end, 0);
    assert_int_equal(mr_recovery_segments(f->log.disk, HAND_PARTITION, 5, &segments, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_int_equal(segments[0].next_offset, 2);
    assert_int_equal(segments[1].base_offset, 2);
    assert_int_equal(segments[1].next_offset, 5);
    assert_int_equal(segments[1].salt, 0x77);
    assert_int_equal(segments[1].bytes, f->next.data_end);
    assert_int_equal(segments[1].max_timestamp_ms, 1004);
    free(segments);
    assert_int_equal(mr_recovery_segments(f->log.disk, HAND_PARTITION, 2, &segments, &count, &err), 0);
    assert_int_equal(count, 1);
    free(segments);
    flip(f, HAND_PARTITION "/00000000000000000000.sidecar", 12, 0);
    assert_int_equal(mr_recovery_segments(f->log.disk, HAND_PARTITION, 5, &segments, &count, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "millrace log verify /d/t-0"));
}

static void a_retired_journal_is_taken_again(void **state)
{
    struct fixture *f = *state;
    struct mr_log_journal made;
    hand_append(&f->log, &f->segment, 2, 100);
    commit_durable(f, 0, 0, 0);
    expect_end(f, 2);
    assert_int_equal(mr_recovery_retire(f->recovery, NULL), 0);
    assert_int_equal(mr_sim_disk_size_path(f->log.machine, "/d/journal-spare-0.1"), HAND_JOURNAL_BYTES);
    assert_int_equal(mr_journal_create(f->log.disk, "/d", 3, 2, HAND_JOURNAL_BYTES, 5, &made, NULL), 0);
    assert_int_equal(mr_sim_disk_size_path(f->log.machine, "/d/journal-spare-0.1"), -ENOENT);
    assert_int_equal(mr_sim_disk_size_path(f->log.machine, "/d/journal-3.2"), HAND_JOURNAL_BYTES);
    expect_end(f, 2);
    assert_int_equal(mr_recovery_generation(f->recovery), 2);
}

/* Files that a whole header says are another topic's were not left by a write in flight: whoever's they are, they are not ours to cut. */
static void a_segment_of_another_topic_is_never_cut(void **state)
{
    static const struct mr_uuid other = {{1, 2, 3}};
    struct fixture *f = *state;
    hand_segment_init(&f->next, 10, 0x77);
    mr_sidecar_header_encode(f->next.side, 0x77, &other, 0, 10);
    hand_append(&f->log, &f->next, 2, 100);
    hand_in_place(&f->log, &f->next, f->next.data_end, f->next.side_end, HAND_STREAM_BYTES);
    expect_offline(f, "the sidecar is of another topic");
    for (int i = 0; i < 4; i++) /* also behind a tail that broke off before it */
        hand_append(&f->log, &f->segment, 2, 900);
    hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, HAND_STREAM_BYTES);
    expect_offline(f, "the sidecar is of another topic");
    hand_append(&f->log, &f->segment, 2, 900);
    hand_in_place(&f->log, &f->segment, f->segment.data_end, f->segment.side_end, HAND_STREAM_BYTES);
    expect_offline(f, "the sidecar is of another topic");
    mr_sidecar_header_encode(f->next.side, 0x77, &hand_topic, 1, 10); /* another partition's */
    hand_in_place(&f->log, &f->next, f->next.data_end, f->next.side_end, HAND_STREAM_BYTES);
    expect_offline(f, "the sidecar is of another topic");
}

/* A partition whose directory is not there: its journals and its checkpoint wait for it. */
static void what_is_known_of_a_lost_partition_is_kept(void **state)
{
    struct fixture *f = *state;
    struct mr_clean_partition clean = {.name = "t-9", .topic_id = hand_topic, .generation = 4, .log_start = 0, .next_offset = 10};
    assert_int_equal(mr_recovery_mark_clean(f->log.disk, HAND_DIRECTORY, &clean, 1, NULL), 0);
    hand_append(&f->log, &f->segment, 2, 100);
    commit_durable(f, 0, 0, 0);
    for (int start = 0; start < 2; start++) {
        assert_int_equal(mr_recovery_open(&f->recovery, f->log.disk, HAND_DIRECTORY, hand_say, &f->log, NULL), 0);
        assert_int_equal(mr_recovery_keep(f->recovery, &hand_topic, 0), 0);
        assert_int_equal(mr_recovery_keep(f->recovery, &hand_topic, 9), 0);
        assert_int_equal(mr_recovery_checkpoint(f->recovery, NULL), 0);
        assert_int_equal(mr_recovery_retire(f->recovery, NULL), 0);
        mr_recovery_close(f->recovery);
        f->recovery = NULL;
    }
    expect_end(f, 2); /* it is back: all of it was in the journal */
    assert_int_equal(mr_recovery_partition(f->recovery, HAND_DIRECTORY "/t-9", &hand_topic, 9, 0, &f->recovered, NULL), 0);
    assert_true(f->recovered.offline); /* back without its files */
    assert_true(hand_was_said(&f->log, "records up to 10 were durable"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_empty_directory_is_an_empty_log),
        TEST(files_are_made_when_only_the_journal_has_bytes),
        TEST(the_tail_in_the_journal_continues_the_file),
        TEST(a_torn_block_in_place_is_mended_from_the_journal),
        TEST(a_commit_that_was_in_flight_may_be_missing),
        TEST(what_lies_behind_a_missing_commit_in_flight_is_cut_and_said),
        TEST(a_hole_below_the_mark_is_corruption),
        TEST(a_flip_in_the_sidecar_below_the_mark_is_corruption),
        TEST(a_log_that_ends_below_what_was_durable_is_corruption),
        TEST(one_flipped_bit_in_a_complete_commit_is_undone),
        TEST(more_damage_in_a_complete_commit_takes_offline_whom_nothing_vouches_for),
        TEST(a_journal_header_has_a_second_copy),
        TEST(commits_wrap_and_older_rounds_do_not_hurt),
        TEST(a_roll_in_flight_keeps_both_segments),
        TEST(a_segment_behind_an_incomplete_one_is_cut_in_flight_and_corruption_when_durable),
        TEST(an_empty_new_segment_is_given_up),
        TEST(log_start_comes_from_journal_and_checkpoint),
        TEST(old_journals_do_not_count_behind_the_checkpoint),
        TEST(a_clean_stop_vouches_for_the_end),
        TEST(producers_come_from_the_newest_sound_snapshot_and_the_batches_behind),
        TEST(a_partition_is_found_in_the_checkpoint_without_a_walk_over_all),
        TEST(closed_segments_are_listed_for_adoption),
        TEST(a_retired_journal_is_taken_again),
        TEST(a_segment_of_another_topic_is_never_cut),
        TEST(what_is_known_of_a_lost_partition_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
