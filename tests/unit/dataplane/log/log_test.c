/* SPDX-License-Identifier: Apache-2.0 */
/* The core's promises one by one, in a simulated node (tests/support/log_world.h). What holds for all of them at once, under random
 * kills, cuts and refusals, is tests/property/log_property.c. */
#include "tests/support/unit.h"

#include <errno.h>

#include "dataplane/log/journal.h"
#include "shm/base/atomics.h"
#include "shm/batch/batch.h"
#include "tests/unit/dataplane/log/world_steps.h"

/* Memory */

static bool tail_is_slot(const struct log_world *w)
{
    struct mr_head_partition *head = w->partition[0].head;
    uint64_t tail = mr_load_relaxed(&head->tail_sequence);
    return (mr_load_relaxed(&head->directory[tail % MR_HEAD_DIRECTORY_COUNT].file_id) & MR_EXTENT_FILE_SLOT) != 0;
}

static void a_busy_partition_moves_to_extents_and_an_idle_one_back(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.segment_bytes = 1u << 20;
    struct log_world *w = open_world(&options);

    append(w, 0, 1, 100);
    assert_true(tail_is_slot(w));
    for (uint32_t i = 0; i < 200; i++)
        append(w, 0, 10, 100);
    assert_false(tail_is_slot(w));
    assert_true(w->memory_lent > 2); /* the hot tail, and two ahead */
    assert_true(log_world_settle(w, 1000));
    for (uint32_t i = 0; i < 300; i++) {
        w->now_ns += 100000000;
        log_world_step(w);
    }
    assert_false(tail_is_slot(w)); /* after half a minute a burst would still find memory */
    for (uint32_t i = 0; i < 400; i++) {
        w->now_ns += 100000000;
        log_world_step(w);
    }
    assert_true(tail_is_slot(w));
    assert_int_equal(w->memory_lent, 1);
    append(w, 0, 1, 100); /* in the slot, behind the copy of the last block */
    assert_true(log_world_settle(w, 1000));
    log_world_check_memory(w, 0);
    log_world_close(w);
}

static void a_record_too_large_for_a_slot_gets_an_extent(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.slot_bytes = 16u << 10;
    options.batch_bytes_max = 40u << 10;
    options.extent_bytes = 128u << 10;
    struct log_world *w = open_world(&options);

    append(w, 0, 1, 100);
    assert_true(tail_is_slot(w));
    append(w, 0, 1, 30000);
    assert_false(tail_is_slot(w));
    assert_int_equal(log_world_append(w, 0, 1, 41000), -EMSGSIZE);
    log_world_check_memory(w, 0);
    log_world_close(w);
}

static void memory_is_reused_only_when_nobody_pins_it(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.memory_max = 4;
    options.segment_bytes = 1u << 20;
    struct log_world *w = open_world(&options);
    int rc = 0;

    w->hold_frees = true;
    for (uint32_t i = 0; i < 3000 && (rc > 0 || rc == -EAGAIN || i == 0); i++) {
        rc = log_world_append(w, 0, 10, 100);
        log_world_step(w);
    }
    assert_int_equal(rc, -EAGAIN); /* all is pinned: the frames wait in their rings */
    assert_true(mr_log_is_starved(w->reactor[0].log)); /* which the reactor does something about */
    assert_true(w->actions[MR_LOG_ACTION_FREE_EXTENT] > 0);
    uint64_t end = log_world_end(w, 0);
    w->hold_frees = false;
    for (uint32_t i = 0; i < 1000; i++) {
        (void)!log_world_append(w, 0, 10, 100);
        log_world_step(w);
    }
    assert_true(log_world_end(w, 0) > end + 1000);
    log_world_check_memory(w, 0);
    log_world_close(w);
}

/* Append for so many steps. @return how often the log could not take a batch */
static uint32_t append_for(struct log_world *w, uint32_t steps)
{
    uint32_t refused = 0;
    for (uint32_t i = 0; i < steps; i++) {
        refused += log_world_append(w, 0, 10, 100) == -EAGAIN;
        log_world_step(w);
    }
    return refused;
}

/* At its limit a partition lives on its own extents: to make new ones costs a hundred times what reuse does. */
static void at_the_limit_the_oldest_extent_is_reused(void **state)
{
    for (int pinned = 0; pinned < 2; pinned++) {
        struct log_world_options options;
        log_world_options_init(&options);
        options.memory_max = 10;
        options.segment_bytes = 1u << 20;
        options.retention_bytes = 4u << 20;
        options.durability = MR_DURABILITY_LEADER;
        struct log_world *w = open_world(&options);

        append_for(w, 2000); /* until all there is has been taken */
        if (pinned != 0)
            w->hold_sequence = mr_load_relaxed(&w->partition[0].head->directory_first) + 1; /* one reader stays where it is */
        append_for(w, 1000);
        uint64_t wanted = w->actions[MR_LOG_ACTION_WANT_EXTENT], given = w->actions[MR_LOG_ACTION_GIVE_EXTENT];
        uint64_t freed = w->actions[MR_LOG_ACTION_FREE_EXTENT];
        uint32_t refused = append_for(w, 5000); /* half a second */
        assert_true(w->actions[MR_LOG_ACTION_FREE_EXTENT] - freed > 50); /* so often it went round */
        assert_true(w->actions[MR_LOG_ACTION_WANT_EXTENT] - wanted <= 1);
        assert_true(w->actions[MR_LOG_ACTION_GIVE_EXTENT] - given <= 1); /* one that came late, when it was not needed any more */
        assert_true(refused < 2500);
        w->hold_sequence = 0;
        assert_true(log_world_settle(w, 2000));
        log_world_check_memory(w, 0);
        log_world_close(w);
    }
    (void)state;
}

/* Room for batches in the extents that the directory names, without the tail. */
static uint64_t bytes_behind_the_tail(const struct log_world *w)
{
    const struct mr_head_partition *head = w->partition[0].head;
    uint64_t bytes = 0;

    for (uint64_t sequence = mr_load_relaxed(&head->directory_first); sequence < mr_load_relaxed(&head->tail_sequence); sequence++) {
        uint32_t file_id = mr_load_relaxed(&head->directory[sequence % MR_HEAD_DIRECTORY_COUNT].file_id);
        bytes += w->memory[file_id & ~MR_EXTENT_FILE_SLOT].header->data_bytes;
    }
    return bytes;
}

/* To make an extent takes longer than a stream needs to fill one: it goes on in its own oldest, and grows by what comes. */
static void an_extent_that_is_late_is_not_waited_for(void **state)
{
    for (int pinned = 0; pinned < 2; pinned++) {
        struct log_world_options options;
        log_world_options_init(&options);
        options.extent_steps = 1000; /* 100 ms; a stream fills one in 50 steps */
        options.segment_bytes = 1u << 20;
        options.retention_bytes = 4u << 20;
        struct log_world *w = open_world(&options);

        append_for(w, 6000); /* until it has some to reuse */
        if (pinned != 0)
            w->hold_sequence = mr_load_relaxed(&w->partition[0].head->directory_first) + 1;
        append_for(w, 1000);
        uint64_t freed = w->actions[MR_LOG_ACTION_FREE_EXTENT], behind = bytes_behind_the_tail(w);
        uint32_t refused = append_for(w, 5000);
        assert_true(refused < 2500);
        assert_true(w->actions[MR_LOG_ACTION_FREE_EXTENT] - freed > 30);
        assert_true(bytes_behind_the_tail(w) > behind + 2 * 40000); /* what was asked for has come */
        w->hold_sequence = 0;
        assert_true(log_world_settle(w, 4000));
        log_world_check_memory(w, 0);
        log_world_close(w);
    }
}

/* The oldest extent that the directory names. */
static bool begins_with_a_slot(const struct mr_head_partition *head)
{
    uint64_t first = mr_load_relaxed(&head->directory_first);
    return (mr_load_relaxed(&head->directory[first % MR_HEAD_DIRECTORY_COUNT].file_id) & MR_EXTENT_FILE_SLOT) != 0;
}

/* What a reader that is behind needs stays, also when that means to wait; but for the slots that go round until the first extent has been made. */
static void the_tail_is_not_shortened_because_memory_is_late(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.extent_steps = 1000;
    options.segment_bytes = 1u << 20;
    options.hot_bytes_min = 1u << 20;
    struct log_world *w = open_world(&options);
    const struct mr_head_partition *head = w->partition[0].head;
    uint64_t least = UINT64_MAX, refused = 0;

    for (uint32_t steps = 0; steps < 40000; steps++) {
        refused += append_for(w, 1);
        if (mr_load_relaxed(&head->tail_sequence) > 0 && !begins_with_a_slot(head))
            least = mr_min_u64(least, bytes_behind_the_tail(w));
    }
    assert_true(mr_load_relaxed(&head->directory_first) > 16); /* in the end it goes round */
    assert_in_range(least, options.hot_bytes_min, options.hot_bytes_min + options.extent_bytes); /* and keeps no more than it must */
    assert_true(refused > 1000);
    assert_true(log_world_settle(w, 4000));
    log_world_check_memory(w, 0);
    log_world_close(w);
}

/* Commits */

static void nothing_is_durable_before_its_writes_are(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.partitions = 2;
    struct log_world *w = log_world_open(&options);
    struct millrace_error err;

    w->partition[1].durability = MR_DURABILITY_LEADER;
    assert_int_equal(log_world_start(w, &err), 0);
    mr_sim_disk_hold(w->machine, true);
    for (uint32_t i = 0; i < 20; i++) {
        append(w, 0, 3, 100);
        append(w, 1, 3, 100);
        log_world_step(w);
    }
    assert_int_equal(log_world_durable(w, 0), 0);
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->visible), 0);
    assert_int_equal(mr_load_relaxed(&w->partition[1].head->visible), 60); /* leader: at once */
    mr_sim_disk_hold(w->machine, false);
    assert_true(log_world_settle(w, 1000));
    assert_int_equal(log_world_durable(w, 0), 60);
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->visible), 60);
    assert_int_equal(log_world_durable(w, 1), 60);
    assert_int_equal(mr_log_counters(w->reactor[0].log)->at_risk_bytes, 0);
    log_world_close(w);
}

/* Small batches use up the boundaries that an extent remembers, what comes behind the last one is more than a commit shall take. */
/* What comes after a pause is as fresh as any: were it as old as the last step, it would be written at once, in the pass that its reader waits for. */
static void after_a_pause_leader_bytes_wait_for_flush_ns_too(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.durability = MR_DURABILITY_LEADER;
    struct log_world *w = open_world(&options);

    append(w, 0, 1, 100);
    assert_true(log_world_settle(w, 1000));
    uint64_t commits = mr_log_counters(w->reactor[0].log)->commits;
    w->now_ns += 50000000; /* half of what a mark would take */
    mr_log_time(w->reactor[0].log, w->now_ns);
    append(w, 0, 1, 100);
    log_world_step(w);
    assert_int_equal(mr_log_counters(w->reactor[0].log)->commits, commits);
    w->now_ns += options.flush_ns;
    log_world_step(w);
    assert_int_equal(mr_log_counters(w->reactor[0].log)->commits, commits + 1);
    log_world_close(w);
}

static void a_commit_goes_on_behind_the_last_boundary(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.commit_bytes_max = 8u << 10;
    options.extent_bytes = 256u << 10;
    options.segment_bytes = 1u << 20;
    options.durability = MR_DURABILITY_LEADER;
    struct log_world *w = open_world(&options);

    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < 600; i++)
            append(w, 0, 1, 10);
        for (uint32_t i = 0; i < 40; i++)
            append(w, 0, 10, 600);
        assert_true(log_world_settle(w, 2000));
    }
    log_world_check_memory(w, 0);
    log_world_close(w);
    (void)state;
}

static void many_partitions_share_one_journal_write(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.partitions = 100;
    options.journal_bytes = 1u << 20;
    options.staging_bytes = 256u << 10;
    struct log_world *w = open_world(&options);

    for (uint32_t p = 0; p < 100; p++)
        append(w, p, 1, 100);
    assert_true(log_world_settle(w, 1000));
    for (uint32_t p = 0; p < 100; p++)
        assert_true(log_world_append(w, p, 1, 100) > 0);
    uint64_t commits = mr_log_counters(w->reactor[0].log)->commits, writes = w->actions[MR_LOG_ACTION_WRITE];
    assert_true(log_world_settle(w, 1000));
    assert_int_equal(mr_log_counters(w->reactor[0].log)->commits, commits + 1);
    assert_int_equal(w->actions[MR_LOG_ACTION_WRITE], writes + 1);
    log_world_close(w);
}

static void the_journal_wraps_over_idle_partitions(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.partitions = 20;
    struct log_world *w = open_world(&options);
    struct millrace_error err;
    uint64_t end[20];

    for (uint32_t p = 0; p < 20; p++)
        append(w, p, 3, 200); /* and then nothing more, but for partition 0 */
    for (uint32_t i = 0; i < 1500; i++) {
        append(w, 0, 1, 100);
        log_world_step(w);
    }
    assert_true(log_world_settle(w, 2000));
    assert_true(mr_log_counters(w->reactor[0].log)->journal_bytes > 3 * options.journal_bytes);
    assert_true(mr_log_counters(w->reactor[0].log)->relogged_bytes + mr_log_counters(w->reactor[0].log)->inplace_bytes > 0);
    for (uint32_t p = 0; p < 20; p++)
        end[p] = log_world_end(w, p);
    log_world_power_cut(w);
    assert_int_equal(log_world_start(w, &err), 0);
    for (uint32_t p = 0; p < 20; p++) {
        assert_false(w->partition[p].is_offline);
        assert_int_equal(log_world_end(w, p), end[p]);
    }
    log_world_close(w);
}

/* Batches of one block each: the data is in place to its end, and only the sidecar's last bytes are in the journal. Those are logged again as
 * well when the tail is held back by them, also while newer records wait for the same commit. */
static void what_only_the_sidecar_holds_in_the_journal_is_logged_again(void **state)
{
    uint64_t relogged = 0;

    for (uint32_t others = 20; others < 60; others++) {
        struct log_world_options options;
        log_world_options_init(&options);
        options.partitions = 2;
        options.seed = others;
        struct log_world *w = open_world(&options);
        struct millrace_error err;
        for (uint32_t i = 0; i < 4; i++)
            append(w, 0, 1, 4026);
        assert_true(log_world_settle(w, 2000));
        assert_int_equal(mr_load_relaxed(&w->partition[0].head->inplace_position), 4 * 4096);
        for (uint32_t i = 0; i < others; i++) { /* a block of the journal each */
            append(w, 1, 1, 100);
            assert_true(log_world_settle(w, 2000));
        }
        append(w, 0, 1, 100);
        append(w, 1, 1, 100);
        assert_true(log_world_settle(w, 2000));
        for (uint32_t i = 0; i < 40; i++) {
            append(w, 1, 1, 100);
            assert_true(log_world_settle(w, 2000));
        }
        relogged += mr_log_counters(w->reactor[0].log)->relogged_bytes;
        log_world_power_cut(w);
        assert_int_equal(log_world_start(w, &err), 0);
        assert_false(w->partition[0].is_offline);
        assert_int_equal(log_world_end(w, 0), 5);
        log_world_close(w);
    }
    assert_true(relogged > 0);
}

/* What several threads of a start do: each live extent by itself, whatever lies before it. */
static void extents_are_checked_each_by_itself(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.durability = MR_DURABILITY_LEADER;
    struct log_world *w = open_world(&options);
    for (uint32_t i = 0; i < 60; i++)
        append(w, 0, 2, 700);
    const struct mr_head_partition *head = w->partition[0].head;
    uint64_t log_end = log_world_end(w, 0), first = mr_load_relaxed(&w->partition[0].head->directory_first);
    uint64_t tail = mr_load_relaxed(&w->partition[0].head->tail_sequence);
    struct mr_log_live_extent live[MR_HEAD_DIRECTORY_COUNT];
    uint64_t checked[MR_HEAD_DIRECTORY_COUNT];
    struct mr_log_recovered recovered;
    struct millrace_error err;
    uint32_t count = 0;
    log_world_kill(w);
    assert_true(tail > first);
    for (uint64_t sequence = first; sequence <= tail; sequence++, count++) {
        uint32_t id = mr_load_relaxed(&w->partition[0].head->directory[sequence % MR_HEAD_DIRECTORY_COUNT].file_id) & ~MR_EXTENT_FILE_SLOT;
        live[count] = (struct mr_log_live_extent){.memory = w->memory[id].header, .slot = w->memory[id].slot, .adopted = true};
        checked[count] = mr_adopt_check_extent(live[count].memory, log_end);
        uint64_t sealed_end = mr_load_relaxed(&live[count].memory->sealed_end);
        assert_true(sequence == tail ? checked[count] > live[count].memory->start_position : checked[count] == sealed_end);
    }
    assert_int_equal(mr_adopt_partition(head, &w->partition[0].topic_id, 0, &w->boot_id, live, count, checked, &log_world_allocator, &recovered, &err), 0);
    assert_int_equal(recovered.next_offset, log_end);
    assert_int_equal(recovered.segments[recovered.segment_count - 1].bytes, checked[count - 1]);
    mr_adopt_release(&log_world_allocator, &recovered);

    /* A byte of the second batch changes: only the first is whole, and the partition is not. */
    struct mr_extent_header *h = live[0].memory;
    uint8_t *batch = (uint8_t *)h + h->data_position + (h->start_position - h->window_position);
    uint64_t first_end = h->start_position + (uint64_t)mr_batch_total_bytes(batch);
    batch[mr_batch_total_bytes(batch) + 100] ^= 4;
    assert_int_equal(mr_adopt_check_extent(h, log_end), first_end);
    assert_int_equal(mr_adopt_check_extent(h, 0), h->start_position); /* nothing was published */
    checked[0] = first_end;
    assert_int_equal(mr_adopt_partition(head, &w->partition[0].topic_id, 0, &w->boot_id, live, count, checked, &log_world_allocator, &recovered, &err),
                     -EBADMSG);
    batch[mr_batch_total_bytes(batch) + 100] ^= 4;
    h->data_bytes ^= 1u << 30; /* out of bounds, and not what the CRC says */
    assert_int_equal(mr_adopt_check_extent(h, log_end), 0);
    h->data_bytes ^= 1u << 30;
    log_world_close(w);
}

static void a_failed_write_is_final(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.partitions = 2;
    options.directories = 2;
    struct log_world *w = open_world(&options);

    append(w, 0, 3, 100);
    append(w, 1, 3, 100);
    assert_true(log_world_settle(w, 1000));
    uint64_t durable = log_world_durable(w, 0);
    mr_sim_disk_fail(w->machine, MR_SIM_DISK_BURST_WRITE, 1, EIO, false);
    append(w, 0, 3, 100);
    for (uint32_t i = 0; i < 100; i++)
        log_world_step(w);
    assert_true(w->offline[0]);
    assert_false(w->offline[1]);
    assert_int_equal(w->actions[MR_LOG_ACTION_OFFLINE], 1);
    assert_int_equal(log_world_append(w, 0, 1, 100), -EIO);
    assert_int_equal(log_world_durable(w, 0), durable);
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->visible), durable);
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->state), MR_PARTITION_OFFLINE);
    append(w, 1, 3, 100); /* the other directory goes on */
    for (uint32_t i = 0; i < 100; i++)
        log_world_step(w);
    assert_int_equal(log_world_durable(w, 1), log_world_end(w, 1));
    log_world_close(w);
}

/* D3: what the disk refused is still in memory. Readers go on there, and the next daemon takes it over and writes it anew. */
static void what_a_failed_disk_did_not_take_is_adopted(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.durability = MR_DURABILITY_LEADER;
    struct log_world *w = open_world(&options);
    struct millrace_error err;

    append(w, 0, 3, 100);
    assert_true(log_world_settle(w, 1000));
    uint64_t durable = log_world_durable(w, 0);
    append(w, 0, 5, 700);
    mr_sim_disk_fail(w->machine, MR_SIM_DISK_BURST_WRITE, 1, EIO, false);
    for (uint32_t i = 0; i < 200; i++)
        log_world_step(w);
    uint64_t end = log_world_end(w, 0);
    assert_true(w->offline[0]);
    assert_int_equal(log_world_durable(w, 0), durable);
    assert_true(end > durable);
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->visible), end);
    assert_int_equal(log_world_check_memory(w, 0), 0); /* all of it can be read */

    log_world_kill(w);
    assert_int_equal(log_world_start(w, &err), 0);
    assert_true(w->partition[0].was_adopted);
    assert_false(w->partition[0].is_offline);
    assert_int_equal(log_world_end(w, 0), end);
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->state), MR_PARTITION_ONLINE);
    append(w, 0, 2, 100);
    assert_true(log_world_settle(w, 2000));
    assert_int_equal(log_world_durable(w, 0), end + 2);
    log_world_power_cut(w); /* it is on the disk now */
    assert_int_equal(log_world_start(w, &err), 0);
    assert_int_equal(log_world_end(w, 0), end + 2);
    log_world_close(w);
}

static void without_disk_space_produce_is_refused_and_comes_back(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.durability = MR_DURABILITY_LEADER;
    struct log_world *w = open_world(&options);
    int rc = 0;

    mr_sim_disk_set_capacity(w->machine, 1);
    for (uint32_t i = 0; i < 2000 && rc != -ENOSPC; i++) {
        rc = log_world_append(w, 0, 10, 100);
        log_world_step(w);
    }
    assert_int_equal(rc, -ENOSPC);
    assert_false(w->offline[0]);
    mr_sim_disk_set_capacity(w->machine, 0);
    w->now_ns += 1100000000; /* it asks again every second */
    assert_true(log_world_settle(w, 1000));
    assert_true(log_world_append(w, 0, 10, 100) != -ENOSPC);
    assert_true(log_world_settle(w, 1000));
    assert_int_equal(log_world_durable(w, 0), log_world_end(w, 0));
    log_world_close(w);
}

/* Segments */

struct asked {
    uint64_t bytes, step; /* of the last asking; more than of the one before */
    uint64_t written;     /* at least, by now */
    uint32_t count;
};

static void watch_room(void *context, struct log_world *w, uint32_t reactor, const struct mr_log_action *action)
{
    struct asked *asked = context;
    if (action->kind != MR_LOG_ACTION_WANT_SEGMENT && action->kind != MR_LOG_ACTION_WANT_ALLOCATE)
        return;
    asked->step = action->bytes - asked->bytes;
    asked->bytes = action->bytes;
    asked->count++;
    assert_true(action->bytes <= 2 * asked->written + (2u << 20)); /* many that hold little must not reserve a disk */
}

/* Each asking takes the disk some 10 ms, in which a stream writes what is ahead. */
static void a_stream_asks_for_more_room_at_a_time_and_a_slow_one_does_not(void **state)
{
    for (int slow = 0; slow < 2; slow++) {
        struct log_world_options options;
        log_world_options_init(&options);
        options.segment_bytes = 512u << 20;
        options.batch_bytes_max = 256u << 10;
        options.extent_bytes = 1u << 20;
        options.journal_bytes = 4u << 20;
        options.staging_bytes = 1u << 20;
        options.memory_max = 16;
        options.step_ns = 20000;
        struct log_world *w = open_world(&options);
        struct asked asked = {0};

        w->watch = watch_room;
        w->watch_context = &asked;
        for (uint32_t i = 0; i < 1000; i++) { /* too much for a slot: hot */
            asked.written += 240000;
            append(w, 0, 4, 60000);
            log_world_step(w);
            if (slow)
                w->now_ns += 20000000;
        }
        assert_in_range(asked.count, 5, 20);
        if (slow)
            assert_in_range(asked.step, 24u << 20, 72u << 20);
        else
            assert_in_range(asked.step, 80u << 20, 260u << 20);
        assert_true(log_world_settle(w, 5000));
        log_world_close(w);
    }
}

static uint64_t deleted_before_start;

/* I7 */
static void watch_deletes(void *context, struct log_world *w, uint32_t reactor, const struct mr_log_action *action)
{
    const struct log_world_partition *p;
    if (action->kind != MR_LOG_ACTION_DELETE_SEGMENT)
        return;
    p = mr_partition_context(action->partition);
    if (action->base_offset >= mr_load_relaxed(&p->head->log_start))
        deleted_before_start++;
}

static void segments_roll_close_and_are_retained(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.segment_bytes = 40000;
    options.retention_bytes = 100000;
    struct log_world *w = open_world(&options);
    struct mr_log_segment segment;
    uint64_t position, offset;

    deleted_before_start = 0;
    w->watch = watch_deletes;
    for (uint32_t i = 0; i < 400; i++)
        append(w, 0, 5, 200);
    assert_true(log_world_settle(w, 1000));
    assert_true(w->actions[MR_LOG_ACTION_CLOSE_SEGMENT] > 5);
    assert_true(w->actions[MR_LOG_ACTION_DELETE_SEGMENT] > 3);
    assert_int_equal(deleted_before_start, 0);
    uint64_t start = mr_load_relaxed(&w->partition[0].head->log_start);
    assert_true(start > 0);
    assert_int_equal(mr_partition_find_segment(w->partition[0].log, start - 1, &segment, &position, &offset), -ERANGE);
    assert_int_equal(mr_partition_find_segment(w->partition[0].log, log_world_end(w, 0), &segment, &position, &offset), -ENOENT);
    uint64_t kept = 0;
    for (uint64_t at = start; at < log_world_end(w, 0); at = segment.next_offset) {
        assert_int_equal(mr_partition_find_segment(w->partition[0].log, at, &segment, &position, &offset), 0);
        assert_in_range(at, segment.base_offset, segment.next_offset - 1);
        assert_true(segment.bytes <= options.segment_bytes && position <= segment.bytes && offset <= segment.next_offset);
        kept += segment.bytes;
    }
    assert_in_range(kept, options.retention_bytes, options.retention_bytes + options.segment_bytes);
    uint64_t end = log_world_end(w, 0), files_end;
    assert_true(log_world_stop(w, 2000));
    assert_int_equal(log_world_check_files(w, 0, &files_end), start);
    assert_int_equal(files_end, end);
    log_world_close(w);
}

static void pass(struct log_world *w, uint64_t seconds)
{
    for (uint64_t i = 0; i < seconds; i++) {
        w->now_ns += 1000000000u;
        log_world_step(w);
    }
    assert_true(log_world_settle(w, 1000));
}

static void old_records_go_by_time(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.segment_bytes = 40000;
    struct log_world *w = open_world(&options);
    struct mr_log_segment segment;
    uint64_t position, offset;

    mr_partition_configure(w->partition[0].log, options.segment_bytes, UINT64_MAX, 200000, options.batch_bytes_max);
    for (uint32_t i = 0; i < 100; i++)
        append(w, 0, 5, 200);
    uint64_t old_end = log_world_end(w, 0);
    pass(w, 150);
    for (uint32_t i = 0; i < 100; i++)
        append(w, 0, 5, 200);
    assert_true(log_world_settle(w, 1000));
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->log_start), 0);
    pass(w, 120); /* the first half is 270 s old, and it is looked for once a minute */
    uint64_t start = mr_load_relaxed(&w->partition[0].head->log_start);
    assert_in_range(start, old_end - 200, old_end); /* whole segments, and the one that has both stays */
    assert_int_equal(mr_partition_find_segment(w->partition[0].log, start - 1, &segment, &position, &offset), -ERANGE);
    assert_true(w->actions[MR_LOG_ACTION_DELETE_SEGMENT] > 1);
    pass(w, 300);
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->log_start), log_world_end(w, 0)); /* of the tail the records, too */
    append(w, 0, 5, 200);
    pass(w, 100);
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->log_start), log_world_end(w, 0) - 5);
    mr_partition_configure(w->partition[0].log, options.segment_bytes, UINT64_MAX, 0, options.batch_bytes_max);
    pass(w, 1000);
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->log_start), log_world_end(w, 0) - 5);
    uint64_t end = log_world_end(w, 0), files_end;
    assert_true(log_world_stop(w, 2000));
    (void)log_world_check_files(w, 0, &files_end);
    assert_int_equal(files_end, end);
    log_world_close(w);
}

static void trimmed_records_stay_gone(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.segment_bytes = 20000;
    struct log_world *w = open_world(&options);
    struct millrace_error err;

    deleted_before_start = 0;
    w->watch = watch_deletes;
    for (uint32_t i = 0; i < 100; i++)
        append(w, 0, 5, 200);
    assert_true(log_world_settle(w, 1000));
    struct mr_partition *p = w->partition[0].log;
    assert_int_equal(mr_partition_trim(p, log_world_end(w, 0) + 1), -ERANGE);
    assert_int_equal(mr_partition_trim(p, 333), 0);
    assert_int_equal(mr_partition_trim(p, 100), 0); /* further back than asked before: nothing to do */
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->log_start), 0); /* not before it is durable */
    for (uint32_t i = 0; i < 100; i++)
        log_world_step(w);
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->log_start), 333);
    assert_true(w->actions[MR_LOG_ACTION_DELETE_SEGMENT] > 0);
    assert_int_equal(deleted_before_start, 0);
    log_world_power_cut(w);
    assert_int_equal(log_world_start(w, &err), 0);
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->log_start), 333);
    log_world_close(w);
}

static void removal_waits_for_writes_in_flight(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.partitions = 2;
    struct log_world *w = open_world(&options);

    append(w, 0, 3, 100);
    append(w, 1, 3, 100);
    assert_true(log_world_settle(w, 1000));
    append(w, 1, 3, 100);
    mr_sim_disk_hold(w->machine, true);
    log_world_step(w);
    assert_int_equal(mr_log_partition_remove(w->reactor[0].log, w->partition[1].log), -EAGAIN);
    assert_int_equal(log_world_append(w, 1, 1, 10), -EIO);
    mr_sim_disk_hold(w->machine, false);
    for (uint32_t i = 0; i < 100; i++)
        log_world_step(w);
    assert_int_equal(mr_log_partition_remove(w->reactor[0].log, w->partition[1].log), 0);
    append(w, 0, 3, 100);
    assert_true(log_world_settle(w, 1000));
    log_world_close(w);
}

static void files_of_partitions_that_rest_are_closed_and_opened_again(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.partitions = 6;
    options.files_max = 2;
    options.step_ns = 50000000;
    struct log_world *w = open_world(&options);
    uint64_t asked = 0, ends[6];

    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t p = 0; p < options.partitions; p++) {
            for (uint32_t i = 0; i < 40; i++) { /* more than the journal keeps alone, and over a segment's end in time */
                append(w, p, 10, 60);
                log_world_step(w);
            }
            for (uint32_t i = 0; i < 20; i++)
                log_world_step(w);
            assert_true(round == 0 || w->file_count <= options.files_max + 2); /* and what is being closed or opened */
        }
        assert_true(w->actions[MR_LOG_ACTION_WANT_SEGMENT] > asked); /* whoever comes back asks */
        asked = w->actions[MR_LOG_ACTION_WANT_SEGMENT];
    }
    assert_true(w->actions[MR_LOG_ACTION_REST_SEGMENT] > 3 * (options.partitions - options.files_max - 1));
    for (uint32_t p = 0; p < options.partitions; p++) {
        log_world_check_memory(w, p);
        ends[p] = log_world_end(w, p);
    }
    assert_true(log_world_stop(w, 5000));
    for (uint32_t p = 0; p < options.partitions; p++) { /* also those whose files lay closed end where their records end */
        uint64_t end;
        log_world_check_files(w, p, &end);
        assert_int_equal(end, ends[p]);
        assert_in_range(end, 1500, 1600);
    }
    log_world_close(w);
}

static void small_journals_and_odd_options_are_refused(void **state)
{
    struct mr_log_options options = {.directory_count = 0};
    struct mr_log *log;
    assert_int_equal(mr_log_init(&log, &options), -EINVAL);
    options.directory_count = MR_LOG_DIRECTORIES_MAX + 1;
    assert_int_equal(mr_log_init(&log, &options), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_busy_partition_moves_to_extents_and_an_idle_one_back),
        cmocka_unit_test(a_record_too_large_for_a_slot_gets_an_extent),
        cmocka_unit_test(memory_is_reused_only_when_nobody_pins_it),
        cmocka_unit_test(at_the_limit_the_oldest_extent_is_reused),
        cmocka_unit_test(an_extent_that_is_late_is_not_waited_for),
        cmocka_unit_test(the_tail_is_not_shortened_because_memory_is_late),
        cmocka_unit_test(nothing_is_durable_before_its_writes_are),
        cmocka_unit_test(after_a_pause_leader_bytes_wait_for_flush_ns_too),
        cmocka_unit_test(a_commit_goes_on_behind_the_last_boundary),
        cmocka_unit_test(many_partitions_share_one_journal_write),
        cmocka_unit_test(the_journal_wraps_over_idle_partitions),
        cmocka_unit_test(what_only_the_sidecar_holds_in_the_journal_is_logged_again),
        cmocka_unit_test(extents_are_checked_each_by_itself),
        cmocka_unit_test(a_failed_write_is_final),
        cmocka_unit_test(what_a_failed_disk_did_not_take_is_adopted),
        cmocka_unit_test(without_disk_space_produce_is_refused_and_comes_back),
        cmocka_unit_test(a_stream_asks_for_more_room_at_a_time_and_a_slow_one_does_not),
        cmocka_unit_test(segments_roll_close_and_are_retained),
        cmocka_unit_test(old_records_go_by_time),
        cmocka_unit_test(trimmed_records_stay_gone),
        cmocka_unit_test(removal_waits_for_writes_in_flight),
        cmocka_unit_test(files_of_partitions_that_rest_are_closed_and_opened_again),
        cmocka_unit_test(small_journals_and_odd_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
