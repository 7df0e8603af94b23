/* SPDX-License-Identifier: Apache-2.0 */
/* A reactor over real mailboxes, with rings in ordinary memory. The test is its door and its steward: it grants memory and segment files
 * when it likes, so that what waits can be made to wait. */
#include "dataplane/reactor/reactor.h"
#include "tests/support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/log/recover.h"
#include "shm/ring/arm.h"

#define SHORT_MS     200u /* delivery time-out where it is what is tested */
#define LONG_MS      20000u
#define SLOT_BYTES   (32u << 10)
#define REPLIES      8u /* few, so that they are full */
#define PARTITIONS   2u
#define RINGS_MAX    48u
#define SILENT       7u /* clients that do not poll, where a few will do */

static struct {
    char root[64];
    struct mr_reactor *reactor;
    struct mr_bell bell, door_bell, steward_bell;
    struct mr_mailbox messages, answers, jobs, replies;
    struct mr_disk *cold_disk;
    uint8_t *staging;
    struct mr_topic *topic;
    uint8_t *head;
    bool grants_memory, grants_segments;
    uint8_t *granted[64];
    uint32_t granted_count;
    int files[512];
    uint32_t file_count;
    struct mr_steward_job withheld[PARTITIONS];
    uint32_t withheld_count;
} world;

struct test_ring {
    void *memory;
    struct mr_ring_session *session;
    struct mr_ring_producer end;
    struct mr_handle *handle[PARTITIONS];
    int doorbell, wake[2];
    uint64_t sequence[PARTITIONS];
};
static struct test_ring rings[RINGS_MAX];

/* A disk whose completions come when the test lets them. */
static struct {
    struct mr_disk disk;
    struct mr_disk_ops ops;
    struct mr_disk *below;
    _Atomic bool holds, fails;
} slow;

static uint32_t slow_submit(struct mr_disk *disk, const struct mr_disk_write *writes, uint32_t count)
{
    return mr_disk_submit(slow.below, writes, count);
}

static uint32_t slow_poll(struct mr_disk *disk, struct mr_disk_completion *completions, uint32_t max)
{
    uint32_t count = slow.holds ? 0 : mr_disk_poll(slow.below, completions, max);
    for (uint32_t i = 0; i < count && slow.fails; i++)
        completions[i].result = -EIO;
    return count;
}

static int slow_wait_fd(struct mr_disk *disk)
{
    return mr_disk_wait_fd(slow.below);
}

static void slow_release(struct mr_disk *disk)
{
    mr_disk_release(slow.below);
}

static struct mr_disk *slow_open(struct mr_disk *below)
{
    slow.below = below;
    slow.ops = (struct mr_disk_ops){.submit = slow_submit, .poll = slow_poll, .wait_fd = slow_wait_fd, .release = slow_release};
    slow.disk = (struct mr_disk){.ops = &slow.ops, .name = "slow"};
    slow.holds = slow.fails = false;
    return &slow.disk;
}

static void send_message(struct mr_reactor_message message)
{
    while (!mr_mailbox_send(&world.messages, &message))
        usleep(100);
    mr_bell_ring(&world.bell);
}

static int open_file(uint32_t partition, uint64_t base_offset, const char *suffix)
{
    struct millrace_error err;
    char path[200];
    assert_true(world.file_count < MR_COUNT_OF(world.files));
    snprintf(path, sizeof path, "%s/%u-%llu.%s", world.root, partition, (unsigned long long)base_offset, suffix);
    int file = mr_disk_open(world.cold_disk, path, MR_DISK_CREATE, &err);
    assert_true(file >= 0);
    return world.files[world.file_count++] = file;
}

/* @return false: there is nothing to answer */
static bool answer(const struct mr_steward_job *job, struct mr_log_event *event)
{
    *event = (struct mr_log_event){.partition = job->partition != NULL ? job->partition->log : NULL, .base_offset = job->action.base_offset};
    switch (job->action.kind) {
    case MR_LOG_ACTION_WANT_EXTENT:
        event->kind = MR_LOG_EVENT_EXTENT;
        event->extent.slot = job->action.slot;
        if (world.grants_memory && world.granted_count < MR_COUNT_OF(world.granted)) {
            struct mr_extent_header *memory = aligned_alloc(4096, SLOT_BYTES);
            memset(memory, 0, SLOT_BYTES);
            memory->file_id = (job->action.slot ? MR_EXTENT_FILE_SLOT : 0) | world.granted_count;
            memory->bytes = SLOT_BYTES;
            world.granted[world.granted_count++] = (uint8_t *)memory;
            event->extent.memory = memory;
        }
        return true;
    case MR_LOG_ACTION_WANT_SEGMENT:
    case MR_LOG_ACTION_WANT_ALLOCATE:
        if (!world.grants_segments) {
            assert_true(world.withheld_count < PARTITIONS);
            world.withheld[world.withheld_count++] = *job; /* until the end of the test */
            return false;
        }
        event->kind = MR_LOG_EVENT_SEGMENT;
        event->allocated_bytes = mr_align_up(job->action.bytes, 4096);
        event->file = open_file(job->partition->index, job->action.base_offset, "log");
        event->side_file = open_file(job->partition->index, job->action.base_offset, "sidecar");
        return true;
    case MR_LOG_ACTION_CLOSE_SEGMENT:
        event->kind = MR_LOG_EVENT_SEGMENT_CLOSED;
        return true;
    default:
        return false;
    }
}

static void steward_does(const struct mr_steward_job *job)
{
    struct mr_log_event event;
    if (!answer(job, &event))
        return;
    while (!mr_mailbox_send(&world.answers, &event))
        usleep(100);
    mr_bell_ring(&world.bell);
}

/* The log's jobs, answered or left as the test wants it. */
static void steward_once(void)
{
    struct mr_steward_job job;
    while (mr_mailbox_receive(&world.jobs, &job))
        steward_does(&job);
}

/* Wait up to 30 s for a reply of this kind; others are dropped. */
static struct mr_reactor_reply await(uint32_t kind)
{
    struct mr_reactor_reply reply;
    for (uint32_t i = 0; i < 300000; i++) {
        steward_once();
        if (mr_mailbox_receive(&world.replies, &reply)) {
            if (reply.kind == kind)
                return reply;
            continue;
        }
        usleep(100);
    }
    fail_msg("no reply of kind %u within 30 s", kind);
    return (struct mr_reactor_reply){0};
}

static int start(uint32_t durability, uint32_t idle, uint64_t timeout_ms)
{
    struct millrace_error err;
    struct mr_topic_config config = {.durability = durability, .segment_bytes = 1 << 20, .retention_bytes = -1, .message_bytes_max = 16 << 10};
    struct mr_uuid id = {{1}};

    memset(&world, 0, sizeof world);
    memset(rings, 0, sizeof rings);
    world.grants_memory = world.grants_segments = true;
    snprintf(world.root, sizeof world.root, "/tmp/mr_reactor_XXXXXX");
    assert_non_null(mkdtemp(world.root));
    assert_int_equal(mr_bell_init(&world.bell, &err) | mr_bell_init(&world.door_bell, &err) | mr_bell_init(&world.steward_bell, &err), 0);
    assert_int_equal(mr_mailbox_init(&world.messages, sizeof(struct mr_reactor_message), 64, &world.bell, &err), 0);
    assert_int_equal(mr_mailbox_init(&world.answers, sizeof(struct mr_log_event), 64, &world.bell, &err), 0);
    assert_int_equal(mr_mailbox_init(&world.jobs, sizeof(struct mr_steward_job), 128, &world.steward_bell, &err), 0);
    assert_int_equal(mr_mailbox_init(&world.replies, sizeof(struct mr_reactor_reply), REPLIES, &world.door_bell, &err), 0);
    assert_int_equal(mr_disk_threads_open(&world.cold_disk, 1, 1, &err), 0);
    struct mr_reactor_options options = {.cpu = -1, .idle = idle, .delivery_timeout_ms = timeout_ms, .clock = mr_clock_machine(),
                                         .messages = &world.messages, .answers = &world.answers, .jobs = &world.jobs, .replies = &world.replies,
                                         .bell = &world.bell};
    options.log = (struct mr_log_options){.directory_count = 1, .random_seed = 1, .flush_ns = 5000000, .mark_ns = 100000000, .commit_bytes_max = 1u << 20};
    assert_int_equal(mr_disk_threads_open(&options.disk, 64, 1, &err), 0);
    options.disk = slow_open(options.disk);
    struct mr_log_journal *journal = &options.log.journal[0];
    assert_int_equal(mr_journal_create(world.cold_disk, world.root, 0, 1, 4u << 20, 7, journal, &err), 0);
    journal->staging_bytes = 2u << 20;
    journal->staging = world.staging = aligned_alloc(4096, journal->staging_bytes);
    memset(journal->staging, 0, journal->staging_bytes);
    assert_int_equal(mr_reactor_start(&world.reactor, &options, &err), 0);

    world.topic = mr_topic_new("t", &id, PARTITIONS, &config, "");
    world.topic->slot_bytes = world.topic->extent_bytes = SLOT_BYTES;
    world.head = aligned_alloc(4096, mr_align_up(mr_head_bytes(PARTITIONS), 4096));
    memset(world.head, 0, mr_align_up(mr_head_bytes(PARTITIONS), 4096));
    world.topic->head = (struct mr_head *)(void *)world.head;
    for (uint32_t p = 0; p < PARTITIONS; p++)
        world.topic->partitions[p]->head = (struct mr_head_partition *)(void *)(world.head + MR_HEAD_PARTITIONS_POSITION) + p;
    send_message((struct mr_reactor_message){.kind = MR_REACTOR_ADD_TOPIC, .topic = world.topic});
    assert_int_equal(await(MR_REACTOR_ADD_TOPIC).result, 0);
    send_message((struct mr_reactor_message){.kind = MR_REACTOR_BEGIN});
    return 0;
}

static int start_leader(void **state)
{
    return start(MR_DURABILITY_LEADER, MILLRACE_IDLE_ADAPTIVE, LONG_MS);
}

static int start_disk_asleep(void **state)
{
    return start(MR_DURABILITY_DISK, MILLRACE_IDLE_SLEEP, LONG_MS);
}

static int start_impatient(void **state)
{
    return start(MR_DURABILITY_DISK, MILLRACE_IDLE_SLEEP, SHORT_MS);
}

static int stop(void **state)
{
    char command[100];
    slow.holds = false;
    world.grants_memory = world.grants_segments = true;
    for (uint32_t i = 0; i < world.withheld_count; i++)
        steward_does(&world.withheld[i]);
    send_message((struct mr_reactor_message){.kind = MR_REACTOR_STOP});
    (void)await(MR_REACTOR_STOP);
    mr_reactor_join(world.reactor);
    for (uint32_t r = 0; r < RINGS_MAX; r++) {
        if (rings[r].memory == NULL)
            continue;
        mr_ring_session_free(rings[r].session);
        free(rings[r].memory);
        for (uint32_t p = 0; p < PARTITIONS; p++)
            free(rings[r].handle[p]);
        close(rings[r].doorbell);
        close(rings[r].wake[0]);
        close(rings[r].wake[1]);
    }
    for (uint32_t i = 0; i < world.granted_count; i++)
        free(world.granted[i]);
    for (uint32_t i = 0; i < world.file_count; i++)
        mr_disk_close(world.cold_disk, world.files[i]);
    mr_disk_release(world.cold_disk);
    mr_mailbox_release(&world.messages);
    mr_mailbox_release(&world.answers);
    mr_mailbox_release(&world.jobs);
    mr_mailbox_release(&world.replies);
    mr_bell_release(&world.bell);
    mr_bell_release(&world.door_bell);
    mr_bell_release(&world.steward_bell);
    mr_topic_free(world.topic);
    free(world.head);
    free(world.staging);
    snprintf(command, sizeof command, "rm -rf '%s'", world.root);
    return system(command);
}

static struct test_ring *open_ring_of(uint32_t r, uint8_t acks, uint32_t submission_bytes)
{
    static struct mr_handle *tables[RINGS_MAX][PARTITIONS];
    struct test_ring *ring = &rings[r];
    struct mr_ring_shape shape = {.completion_count = 64, .submission_bytes = submission_bytes};
    ring->memory = aligned_alloc(4096, mr_ring_bytes(shape));
    memset(ring->memory, 0, mr_ring_bytes(shape));
    ring->doorbell = eventfd(0, EFD_NONBLOCK);
    assert_int_equal(pipe2(ring->wake, O_NONBLOCK), 0);
    ring->session = mr_ring_session_new(ring->memory, shape, ring->doorbell, ring->wake[1], NULL, 0);
    mr_ring_producer_init(&ring->end, ring->memory, shape);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        ring->handle[p] = calloc(1, sizeof **ring->handle);
        *ring->handle[p] = (struct mr_handle){.partition = world.topic->partitions[p], .ring = ring->session, .producer_id = 100 + r,
                                              .kind = MR_HANDLE_PRODUCER, .acks = acks, .number = p};
        tables[r][p] = ring->handle[p];
    }
    send_message((struct mr_reactor_message){.kind = MR_REACTOR_ADD_RING, .ring = ring->session});
    send_message((struct mr_reactor_message){.kind = MR_REACTOR_SET_HANDLES, .ring = ring->session, .handles = tables[r], .handle_count = PARTITIONS});
    (void)await(MR_REACTOR_SET_HANDLES);
    return ring;
}

static struct test_ring *open_ring(uint32_t r, uint8_t acks)
{
    return open_ring_of(r, acks, 1u << 20);
}

static void hurry(struct test_ring *ring)
{
    uint64_t one = 1;
    if (mr_ring_must_wake(&ring->end, true))
        assert_int_equal(write(ring->doorbell, &one, sizeof one), sizeof one);
}

static bool commit_bytes(struct test_ring *ring, uint32_t partition, uint32_t bytes)
{
    uint8_t *frame = mr_ring_claim(&ring->end, mr_frame_word(bytes, MR_FRAME_VALUE, 0, partition), 0);
    if (frame == NULL)
        return false;
    mr_ring_stage(frame, ring->sequence[partition]++);
    mr_ring_publish(&ring->end, ring->end.tail - bytes, ring->end.tail);
    hurry(ring);
    return true;
}

static bool commit(struct test_ring *ring, uint32_t partition)
{
    return commit_bytes(ring, partition, 32);
}

/* @return frames acked without error */
static uint32_t poll_acks(struct test_ring *ring, uint32_t *refused, int32_t *error)
{
    struct mr_completion completion;
    uint32_t acked = 0;
    while (mr_ring_poll(&ring->end, &completion)) {
        acked += completion.error == 0 ? completion.count : 0;
        *refused += completion.error != 0 ? completion.count : 0;
        if (completion.error != 0)
            *error = completion.error;
    }
    mr_ring_heard(&ring->end);
    mr_ring_producer_free(&ring->end, mr_ring_producer_released(&ring->end));
    return acked;
}

/* @return ms until so many frames were answered one way or the other; -1: not within 5 s */
static int answered_within(struct test_ring *ring, uint32_t wanted, uint32_t *refused, int32_t *error)
{
    uint32_t acked = 0;
    *refused = 0;
    for (int i = 0; i < 50000; i++) {
        steward_once();
        acked += poll_acks(ring, refused, error);
        if (acked + *refused >= wanted)
            return i / 10;
        usleep(100);
    }
    print_message("%u acked, %u refused (%d) of %u\n", acked, *refused, *error, wanted);
    return -1;
}

struct answers {
    uint32_t of[MR_COMPLETION_DENIED + 1], all;
};

/* Take answers until so many frames have one. */
static void await_answers(struct test_ring *ring, uint32_t wanted, struct answers *answers)
{
    struct mr_completion completion;
    memset(answers, 0, sizeof *answers);
    for (uint32_t i = 0; i < 50000 && answers->all < wanted; i++) {
        steward_once();
        while (mr_ring_poll(&ring->end, &completion)) {
            answers->of[completion.error] += completion.count;
            answers->all += completion.count;
        }
        mr_ring_heard(&ring->end);
        mr_ring_producer_free(&ring->end, mr_ring_producer_released(&ring->end));
        usleep(100);
    }
    assert_int_equal(answers->all, wanted);
}

static void close_ring(struct test_ring *ring)
{
    send_message((struct mr_reactor_message){.kind = MR_REACTOR_CLOSE_RING, .ring = ring->session});
}

/* ----------------------------------------------------------------------------------------------------------------- tests */

static void records_are_acked_and_their_space_comes_back(void **state)
{
    struct test_ring *ring = open_ring(0, MR_DURABILITY_DISK);
    uint32_t refused;
    int32_t error = 0;
    for (uint32_t round = 0; round < 100; round++) { /* twice around the ring */
        for (uint32_t i = 0; i < 800; i++)
            assert_true(commit(ring, i % PARTITIONS));
        assert_true(answered_within(ring, 800, &refused, &error) >= 0);
        assert_int_equal(refused, 0);
    }
}

static void space_of_aborted_claims_alone_comes_back(void **state)
{
    struct test_ring *ring = open_ring(0, MR_DURABILITY_LEADER);
    for (uint32_t i = 0; i < 200; i++) { /* 200 pads of 16 KiB in a ring of 1 MiB */
        uint32_t waited = 0;
        while (mr_ring_claim(&ring->end, mr_frame_word(16u << 10, MR_FRAME_VALUE, 0, 0), 0) == NULL) {
            mr_ring_producer_free(&ring->end, mr_ring_producer_released(&ring->end));
            hurry(ring);
            usleep(100);
            assert_true(++waited < 20000);
        }
        uint64_t first = ring->end.tail - (16u << 10);
        bool two = mr_ring_claim(&ring->end, mr_frame_word(32, MR_FRAME_VALUE, 0, 0), 0) != NULL;
        uint64_t second = ring->end.tail - 32;
        mr_ring_abort(&ring->end, first, 16u << 10);
        if (two)
            mr_ring_abort(&ring->end, second, 32);
        hurry(ring);
    }
}

/* The index is looked at when all completions seem taken. Acks are joined, so each frame waits for the ack of the one before; it is polled and not
 * told, which would store an honest index. */
static void completion_index_from_the_future_poisons(void **state)
{
    struct test_ring *ring = open_ring(0, MR_DURABILITY_LEADER);
    struct mr_completion completion;
    bool waits = false;
    mr_store_release(&ring->end.client->completion_head, UINT64_MAX / 2);
    for (uint32_t i = 0; i < 300000 && mr_load_acquire(&ring->end.daemon->state) != MR_RING_POISONED; i++) { /* about 30 s */
        if (!waits)
            assert_true(commit(ring, i % PARTITIONS));
        steward_once();
        usleep(100);
        waits = !mr_ring_poll(&ring->end, &completion);
    }
    assert_ptr_equal(await(MR_REACTOR_POISONED).ring, ring->session);
    assert_int_equal(mr_ring_session_reason(ring->session), MR_POISON_COMPLETION_INDEX);
    assert_int_equal(mr_load_acquire(&ring->end.daemon->state), MR_RING_POISONED);
}

static void cold_ring_is_heard_while_another_keeps_the_reactor_busy(void **state)
{
    struct test_ring *busy = open_ring(0, MR_DURABILITY_LEADER), *quiet = open_ring(1, MR_DURABILITY_LEADER);
    uint32_t refused = 0, acked = 0;
    int32_t error = 0;
    assert_true(commit(quiet, 1)); /* its partition has memory before the busy one takes all */
    assert_true(answered_within(quiet, 1, &refused, &error) >= 0);
    /* No pass is empty while this one always has something: it holds the reactor until the quiet one is cold, which takes a second. */
    for (uint32_t i = 0; i < 400000000 && mr_load_acquire(&quiet->end.daemon->cold) == 0; i++) {
        (void)commit(busy, 0);
        if (i % 64 == 0) {
            steward_once();
            (void)poll_acks(busy, &refused, &error);
        }
    }
    assert_int_equal(mr_load_acquire(&quiet->end.daemon->cold), 1);
    assert_true(commit(quiet, 1));
    for (uint32_t i = 0; i < 20000000 && acked == 0; i++) {
        (void)commit(busy, 0);
        if (i % 64 == 0) {
            steward_once();
            (void)poll_acks(busy, &refused, &error);
            acked = poll_acks(quiet, &refused, &error);
        }
    }
    assert_int_equal(acked, 1);
}

static void silent_clients_leave_acks_to_others(void **state)
{
    uint32_t refused;
    int32_t error = 0;
    for (uint32_t r = 0; r < SILENT; r++) /* seven that never poll, each with as much as its ring takes */
        (void)open_ring(r, MR_DURABILITY_DISK);
    for (uint32_t i = 0; i < 32000; i++)
        for (uint32_t r = 0; r < SILENT; r++) {
            (void)commit(&rings[r], i % PARTITIONS);
            if (i % 256 == 0)
                steward_once();
        }
    struct test_ring *honest = open_ring(SILENT, MR_DURABILITY_DISK);
    for (uint32_t i = 0; i < 100; i++) {
        assert_true(commit(honest, i % PARTITIONS));
        assert_true(answered_within(honest, 1, &refused, &error) >= 0);
        assert_int_equal(refused, 0);
    }
    assert_int_equal(mr_load_acquire(&rings[0].end.daemon->state), MR_RING_OPEN);
    /* And when one of them looks at last, all is there. */
    assert_true(answered_within(&rings[0], (uint32_t)(rings[0].sequence[0] + rings[0].sequence[1]), &refused, &error) >= 0);
    assert_int_equal(refused, 0);
}

/* Each keeps an ack for each frame that its ring holds, and there are more of them than any reserve that they could share. */
static void acks_that_are_kept_starve_nobody(void **state)
{
    uint32_t refused;
    int32_t error = 0;
    slow.holds = true;
    for (uint32_t r = 0; r + 1 < RINGS_MAX; r++) {
        struct test_ring *ring = open_ring_of(r, MR_DURABILITY_DISK, 256u << 10);
        for (uint32_t i = 0; i < 8000 && commit(ring, 0); i++)
            ring->sequence[0] = 0; /* duplicates of one record that waits for the disk */
        steward_once();
    }
    struct test_ring *honest = open_ring(RINGS_MAX - 1, MR_DURABILITY_LEADER);
    for (uint32_t i = 0; i < 100; i++) {
        assert_true(commit(honest, i % PARTITIONS));
        assert_in_range(answered_within(honest, 1, &refused, &error), 0, 2000);
        assert_int_equal(refused, 0);
    }
    slow.holds = false; /* now they wait for room in completion rings, and nobody polls these */
    for (uint32_t i = 0; i < 100; i++) {
        assert_true(commit(honest, i % PARTITIONS));
        assert_in_range(answered_within(honest, 1, &refused, &error), 0, 2000);
        usleep(1000);
    }
}

static void acks_time_out_while_the_reactor_sleeps(void **state)
{
    struct test_ring *ring = open_ring(0, MR_DURABILITY_DISK);
    uint32_t refused;
    int32_t error = 0;
    slow.holds = true; /* appended, and never durable */
    assert_true(commit(ring, 0));
    int ms = answered_within(ring, 1, &refused, &error);
    assert_true(ms >= 0);
    assert_int_equal(refused, 1);
    assert_int_equal(error, MR_COMPLETION_TIMED_OUT);
}

static void frames_without_memory_fail_together(void **state)
{
    struct test_ring *ring = open_ring(0, MR_DURABILITY_DISK);
    uint32_t refused;
    int32_t error = 0;
    world.grants_memory = false;
    for (uint32_t i = 0; i < 50; i++)
        assert_true(commit(ring, 0));
    assert_true(answered_within(ring, 50, &refused, &error) >= 0); /* 50 time-outs one behind the other are 10 s */
    assert_int_equal(refused, 50);
    world.grants_memory = true;
    for (uint32_t i = 0; i < 100; i++) { /* the log asks again by itself */
        ring->sequence[0] = 0;
        assert_true(commit(ring, 0));
        assert_true(answered_within(ring, 1, &refused, &error) >= 0);
        if (refused == 0)
            return;
        usleep(20000);
    }
    fail_msg("memory that came was not used");
}

static void frames_of_a_known_producer_without_memory_fail_together(void **state)
{
    struct test_ring *ring = open_ring(0, MR_DURABILITY_DISK);
    struct answers answers;
    assert_true(commit(ring, 0));
    await_answers(ring, 1, &answers);
    assert_int_equal(answers.of[MR_COMPLETION_OK], 1);
    world.grants_memory = false;
    for (uint32_t i = 0; i < 30; i++) /* until what was granted is full: none of these is small */
        assert_true(commit_bytes(ring, 0, 10u << 10));
    await_answers(ring, 30, &answers);
    assert_true(answers.of[MR_COMPLETION_NO_SPACE] > 2);
    assert_int_equal(answers.of[MR_COMPLETION_OUT_OF_ORDER], 0); /* each one a round through the client, and a time-out */
}

static void large_records_are_refused_in_one_round(void **state)
{
    struct test_ring *ring = open_ring(0, MR_DURABILITY_DISK);
    struct answers answers;
    assert_true(commit(ring, 0));
    for (uint32_t i = 0; i < 20; i++) {
        assert_true(commit_bytes(ring, 0, 20u << 10)); /* over max.message.bytes */
        assert_true(commit(ring, 0));
    }
    await_answers(ring, 41, &answers);
    assert_int_equal(answers.of[MR_COMPLETION_OK], 1);
    assert_int_equal(answers.of[MR_COMPLETION_TOO_LARGE], 20);
    assert_int_equal(answers.of[MR_COMPLETION_OUT_OF_ORDER], 20); /* those can be stored, under the numbers behind the first one */
    ring->sequence[0] = 1;
    for (uint32_t i = 0; i < 20; i++)
        assert_true(commit(ring, 0));
    await_answers(ring, 20, &answers);
    assert_int_equal(answers.of[MR_COMPLETION_OK], 20);
}

static void what_was_appended_before_the_disk_failed_is_unknown_and_the_rest_is_refused_at_once(void **state)
{
    struct test_ring *ring = open_ring(0, MR_DURABILITY_DISK);
    struct answers answers;
    for (uint32_t i = 0; i < 10; i++)
        assert_true(commit(ring, 0));
    await_answers(ring, 10, &answers);
    assert_int_equal(answers.of[MR_COMPLETION_OK], 10);
    slow.fails = true;
    for (uint32_t i = 0; i < 10; i++)
        assert_true(commit(ring, 0));
    await_answers(ring, 10, &answers);
    assert_true(answers.of[MR_COMPLETION_TIMED_OUT] > 0);
    assert_int_equal(answers.of[MR_COMPLETION_TIMED_OUT] + answers.of[MR_COMPLETION_OFFLINE], 10);
    uint64_t end = mr_load_acquire(&world.topic->partitions[0]->head->log_end);
    assert_int_equal(end, 10 + answers.of[MR_COMPLETION_TIMED_OUT]);
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(commit(ring, 0));
    await_answers(ring, 1000, &answers);
    assert_int_equal(answers.of[MR_COMPLETION_OFFLINE], 1000);
    ring->sequence[0] = 5; /* again: what is durable is, and of the others nobody knows */
    for (uint32_t i = 5; i < end; i++)
        assert_true(commit(ring, 0));
    await_answers(ring, (uint32_t)end - 5, &answers);
    assert_int_equal(answers.of[MR_COMPLETION_OK], 5);
    assert_int_equal(answers.of[MR_COMPLETION_TIMED_OUT], end - 10);
    assert_int_equal(mr_load_acquire(&world.topic->partitions[0]->head->log_end), end);
}

static void ring_of_a_dead_client_comes_back_when_its_last_ack_settles(void **state)
{
    struct test_ring *ring = open_ring(0, MR_DURABILITY_DISK);
    slow.holds = true;
    for (uint32_t i = 0; i < 10; i++)
        assert_true(commit(ring, i % PARTITIONS));
    for (uint32_t i = 0; i < 20; i++) {
        steward_once();
        usleep(1000);
    }
    close_ring(ring);
    struct mr_reactor_reply reply = await(MR_REACTOR_CLOSE_RING); /* by time-out, asleep */
    assert_ptr_equal(reply.ring, ring->session);
    assert_int_equal(mr_load_acquire(&ring->end.daemon->state), MR_RING_CLOSED);
    assert_int_equal(mr_ring_poll(&ring->end, &(struct mr_completion){0}), true); /* and what came of them was still told */
}

static void what_a_dead_client_committed_is_appended(void **state)
{
    struct test_ring *ring = open_ring(0, MR_DURABILITY_DISK);
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(commit(ring, 0));
    close_ring(ring); /* memory for the first batch is not even asked for */
    (void)await(MR_REACTOR_CLOSE_RING);
    assert_int_equal(mr_load_acquire(&world.topic->partitions[0]->head->visible), 1000);
}

static void replies_do_not_wait_for_a_door_that_waits(void **state)
{
    static struct mr_subscriber subscribers[1000];
    struct mr_reactor_reply reply;
    uint32_t count = 0;
    for (uint32_t i = 0; i < MR_COUNT_OF(subscribers); i++) {
        subscribers[i].partition = world.topic->partitions[i % PARTITIONS];
        send_message((struct mr_reactor_message){.kind = MR_REACTOR_SUBSCRIBE, .subscriber = &subscribers[i]});
    }
    for (uint32_t i = 0; i < MR_COUNT_OF(subscribers); i++) /* nobody reads replies, of which 8 find room */
        send_message((struct mr_reactor_message){.kind = MR_REACTOR_UNSUBSCRIBE, .subscriber = &subscribers[i]});
    for (uint32_t i = 0; i < 50000 && count < MR_COUNT_OF(subscribers); i++) {
        while (mr_mailbox_receive(&world.replies, &reply))
            assert_ptr_equal(reply.subscriber, &subscribers[count++]);
        usleep(100);
    }
    assert_int_equal(count, MR_COUNT_OF(subscribers));
}

static void partition_without_a_log_refuses(void **state)
{
    struct test_ring *ring = open_ring(0, MR_DURABILITY_DISK);
    uint32_t refused;
    int32_t error = 0;
    struct mr_topic_partition orphan = {.topic = world.topic, .head = world.topic->partitions[0]->head};
    ring->handle[0]->partition = &orphan;
    assert_true(commit(ring, 0));
    assert_true(answered_within(ring, 1, &refused, &error) >= 0);
    assert_int_equal(error, MR_COMPLETION_OFFLINE);
    send_message((struct mr_reactor_message){.kind = MR_REACTOR_FIND_SEGMENT, .partition = &orphan});
    assert_int_equal(await(MR_REACTOR_FIND_SEGMENT).result, -EIO);
}

static void producers_share_a_ring_and_a_partition(void **state)
{
    struct test_ring *ring = open_ring(0, MR_DURABILITY_DISK);
    uint32_t refused, errors = 0;
    int32_t error = 0;
    ring->handle[1]->partition = world.topic->partitions[0]; /* the second handle: another producer of the same partition */
    ring->handle[1]->producer_id = 999;
    for (uint32_t i = 0; i < 300; i++)
        assert_true(commit(ring, i % 2)); /* every frame closes the other's batch */
    assert_true(answered_within(ring, 300, &refused, &error) >= 0);
    assert_int_equal(refused, 0);
    ring->sequence[0] = 10; /* again, in the middle */
    assert_true(commit(ring, 0));
    assert_true(answered_within(ring, 1, &errors, &error) >= 0);
    assert_int_equal(errors, 0);
    assert_int_equal(mr_load_acquire(&world.topic->partitions[0]->head->visible), 300);
    ring->sequence[0] = 152; /* 150 and 151 are missing */
    assert_true(commit(ring, 0));
    assert_true(answered_within(ring, 1, &errors, &error) >= 0);
    assert_int_equal(error, MR_COMPLETION_OUT_OF_ORDER);
    ring->sequence[0] = 150;
    for (uint32_t i = 0; i < 3; i++)
        assert_true(commit(ring, 0));
    assert_true(answered_within(ring, 3, &errors, &error) >= 0);
    assert_int_equal(errors, 0);
    assert_int_equal(mr_load_acquire(&world.topic->partitions[0]->head->visible), 303);
}

static void closed_handles_come_back_when_their_frames_are_acked_and_not_before(void **state)
{
    struct test_ring *ring = open_ring(0, MR_DURABILITY_DISK);
    struct mr_reactor_reply reply;
    struct mr_completion completion;
    uint32_t acked = 0;
    slow.holds = true;
    for (uint32_t i = 0; i < 10; i++)
        assert_true(commit(ring, i % PARTITIONS));
    struct mr_handle **closed = malloc(sizeof *closed), **table = calloc(PARTITIONS, sizeof *table);
    closed[0] = ring->handle[0];
    send_message((struct mr_reactor_message){.kind = MR_REACTOR_CLOSE_HANDLES, .ring = ring->session, .handles = closed, .handle_count = 1});
    /* A table that the door made meanwhile, without the closed one: frames on their way still find it. */
    table[1] = ring->handle[1];
    send_message((struct mr_reactor_message){.kind = MR_REACTOR_SET_HANDLES, .ring = ring->session, .handles = table, .handle_count = PARTITIONS});
    (void)await(MR_REACTOR_SET_HANDLES);
    for (uint32_t i = 0; i < 50; i++) {
        steward_once();
        assert_false(mr_mailbox_receive(&world.replies, &reply));
        usleep(1000);
    }
    assert_int_equal(mr_load_acquire(&ring->end.daemon->state), MR_RING_OPEN);
    slow.holds = false;
    assert_ptr_equal(await(MR_REACTOR_CLOSE_HANDLES).handles, closed);
    assert_null(ring->handle[0]->producer); /* released: it may be forgotten some day */
    assert_non_null(ring->handle[1]->producer);
    while (mr_ring_poll(&ring->end, &completion))
        acked += completion.handle == 0 && completion.error == 0 ? completion.count : 0;
    assert_int_equal(acked, 5); /* all are told before the handle may be another's */
    assert_true(commit(ring, 0)); /* it is nobody's */
    for (uint32_t i = 0; i < 5000 && mr_load_acquire(&ring->end.daemon->state) == MR_RING_OPEN; i++)
        usleep(1000);
    assert_int_equal(mr_load_acquire(&ring->end.daemon->state), MR_RING_POISONED);
    free(closed);
    close_ring(ring);
    (void)await(MR_REACTOR_CLOSE_RING);
    assert_null(ring->handle[1]->producer);
    free(table);
}

/* A table of a session's own, all of it consumers of partition 0. */
static struct mr_handle *consumers_of(struct test_ring *ring, struct mr_handle **table, uint32_t count)
{
    struct mr_handle *handles = calloc(count, sizeof *handles);
    for (uint32_t i = 0; i < count; i++) {
        handles[i] = (struct mr_handle){.partition = world.topic->partitions[0], .ring = ring->session, .kind = MR_HANDLE_CONSUMER, .number = i};
        table[i] = &handles[i];
    }
    send_message((struct mr_reactor_message){.kind = MR_REACTOR_SET_HANDLES, .ring = ring->session, .handles = table, .handle_count = count});
    (void)await(MR_REACTOR_SET_HANDLES);
    return handles;
}

/* @return tokens in the ring's pipe; waits up to 5 s for the first */
static uint32_t wakes(struct test_ring *ring)
{
    uint8_t tokens[256];
    ssize_t got = -1;
    for (uint32_t i = 0; i < 50000 && got <= 0; i++) {
        steward_once();
        got = read(ring->wake[0], tokens, sizeof tokens);
        if (got <= 0)
            usleep(100);
    }
    return got > 0 ? (uint32_t)got : 0;
}

static void arm_and_wait(struct test_ring *ring, uint32_t *arms, uint32_t handle, uint64_t offset)
{
    for (uint32_t i = 0; i < 50000 && !mr_ring_arm(&ring->end, arms, handle, offset); i++) {
        (void)mr_ring_show_arms(&ring->end, *arms);
        hurry(ring);
        usleep(100);
    }
    if (mr_ring_show_arms(&ring->end, *arms))
        hurry(ring);
}

static void a_reader_is_woken_although_a_claim_is_open(void **state)
{
    struct test_ring *reader = open_ring(0, MR_DURABILITY_LEADER), *writer = open_ring(1, MR_DURABILITY_LEADER);
    struct mr_handle *table[1], *handles;
    uint32_t arms = 0;
    uint8_t token;
    handles = consumers_of(reader, table, 1);
    assert_non_null(mr_ring_claim(&reader->end, mr_frame_word(64, MR_FRAME_VALUE, 0, 0), 0)); /* of a producer of the same client */
    for (uint64_t i = 0; i < 3; i++) {
        arm_and_wait(reader, &arms, 0, i);
        while (mr_load_acquire(&reader->end.daemon->arms_taken) != arms)
            usleep(100);
        assert_true(read(reader->wake[0], &token, 1) < 0); /* not before there is something */
        assert_true(commit(writer, 0));
        assert_int_equal(wakes(reader), 1);
    }
    arm_and_wait(reader, &arms, 0, 1); /* what it has not seen is there already */
    assert_int_equal(wakes(reader), 1);
    close_ring(reader);
    (void)await(MR_REACTOR_CLOSE_RING);
    free(handles);
}

static void a_reader_of_a_disk_topic_is_woken_by_the_commit_only(void **state)
{
    struct test_ring *reader = open_ring(0, MR_DURABILITY_DISK), *writer = open_ring(1, MR_DURABILITY_DISK);
    struct mr_handle *table[1], *handles;
    uint32_t arms = 0;
    handles = consumers_of(reader, table, 1);
    slow.holds = true;
    arm_and_wait(reader, &arms, 0, 0);
    assert_true(commit(writer, 0));
    for (uint32_t i = 0; i < 50; i++) {
        uint8_t token;
        steward_once();
        assert_true(read(reader->wake[0], &token, 1) < 0);
        usleep(1000);
    }
    slow.holds = false;
    assert_int_equal(wakes(reader), 1);
    close_ring(reader);
    (void)await(MR_REACTOR_CLOSE_RING);
    free(handles);
}

/* As many as a session can have, all of them waiting for an offset that never comes. */
static void a_client_with_very_many_armed_readers_holds_up_nobody(void **state)
{
    const uint32_t count = 65536;
    struct test_ring *hoard = open_ring(0, MR_DURABILITY_LEADER), *other = open_ring(1, MR_DURABILITY_LEADER);
    struct mr_handle **table = calloc(count, sizeof *table), *handles = consumers_of(hoard, table, count);
    struct timespec from, to;
    uint32_t arms = 0, refused = 0, acked = 0;
    int32_t error = 0;
    for (uint32_t i = 0; i < count; i++)
        arm_and_wait(hoard, &arms, i, 1ull << 40);
    assert_true(commit(other, 0));
    assert_int_equal(wakes(hoard), 1); /* one token for them all */
    for (uint32_t i = 0; i < count; i++)
        arm_and_wait(hoard, &arms, i, 1ull << 40);
    while (mr_load_acquire(&hoard->end.daemon->arms_taken) != arms)
        usleep(100);
    clock_gettime(CLOCK_MONOTONIC, &from);
    close_ring(hoard);
    assert_true(commit(other, 1));
    for (uint32_t i = 0; i < 100000 && acked < 2; i++) {
        acked += poll_acks(other, &refused, &error);
        steward_once();
        usleep(100);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    (void)await(MR_REACTOR_CLOSE_RING);
    assert_int_equal(acked, 2);
    double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    assert_true(ms < 1000); /* two milliseconds; with a walk for each of them, several seconds */
    free(handles);
    free(table);
}

int main(void)
{
#define T(name, setup) cmocka_unit_test_setup_teardown(name, setup, stop)
    const struct CMUnitTest tests[] = {
        T(records_are_acked_and_their_space_comes_back, start_leader),
        T(records_are_acked_and_their_space_comes_back, start_disk_asleep),
        T(space_of_aborted_claims_alone_comes_back, start_disk_asleep),
        T(completion_index_from_the_future_poisons, start_leader),
        T(cold_ring_is_heard_while_another_keeps_the_reactor_busy, start_leader),
        T(silent_clients_leave_acks_to_others, start_disk_asleep),
        T(acks_that_are_kept_starve_nobody, start_disk_asleep),
        T(acks_time_out_while_the_reactor_sleeps, start_impatient),
        T(frames_without_memory_fail_together, start_impatient),
        T(frames_of_a_known_producer_without_memory_fail_together, start_impatient),
        T(large_records_are_refused_in_one_round, start_disk_asleep),
        T(what_was_appended_before_the_disk_failed_is_unknown_and_the_rest_is_refused_at_once, start_disk_asleep),
        T(ring_of_a_dead_client_comes_back_when_its_last_ack_settles, start_impatient),
        T(what_a_dead_client_committed_is_appended, start_disk_asleep),
        T(replies_do_not_wait_for_a_door_that_waits, start_leader),
        T(partition_without_a_log_refuses, start_leader),
        T(producers_share_a_ring_and_a_partition, start_disk_asleep),
        T(closed_handles_come_back_when_their_frames_are_acked_and_not_before, start_disk_asleep),
        T(a_reader_is_woken_although_a_claim_is_open, start_leader),
        T(a_reader_of_a_disk_topic_is_woken_by_the_commit_only, start_disk_asleep),
        T(a_client_with_very_many_armed_readers_holds_up_nobody, start_leader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
