/* SPDX-License-Identifier: Apache-2.0 */
/* What the reactor refuses, and two real threads. Orders and crashes: interleave_test.c; random operations: ring_property.c. */
#include "tests/support/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "shm/base/random.h"
#include "shm/ring/ring.h"

static const struct mr_ring_shape shape = {.completion_count = 64, .submission_bytes = 64u << 10};

static uint8_t *ring_memory(void)
{
    uint8_t *memory = aligned_alloc(4096, mr_align_up(mr_ring_bytes(shape), 4096));
    assert_non_null(memory);
    memset(memory, 0, mr_ring_bytes(shape));
    return memory;
}

static void shapes_are_checked(void **state)
{
    (void)state;
    assert_true(mr_ring_shape_is_sane(shape));
    assert_false(mr_ring_shape_is_sane((struct mr_ring_shape){64, 0}));
    assert_false(mr_ring_shape_is_sane((struct mr_ring_shape){0, 64u << 10}));
    assert_false(mr_ring_shape_is_sane((struct mr_ring_shape){64, (64u << 10) + 8}));
    assert_false(mr_ring_shape_is_sane((struct mr_ring_shape){3, 64u << 10}));
    assert_false(mr_ring_shape_is_sane((struct mr_ring_shape){64, 128u << 20}));
}

/* One word as the first frame of a fresh ring, of which so many bytes are said to be committed. */
static enum mr_poison_reason reason_for_committed(uint64_t position, uint64_t word, uint64_t committed_bytes)
{
    uint8_t *memory = ring_memory();
    struct mr_ring_consumer reactor;
    struct mr_ring_frame frame;

    mr_ring_consumer_init(&reactor, memory, shape);
    reactor.position = reactor.released = reactor.committed = position;
    atomic_store(&reactor.client->committed, position + committed_bytes);
    memcpy(memory + mr_ring_submission_position(shape) + position % shape.submission_bytes, &word, sizeof word);
    int rc = mr_ring_peek(&reactor, &frame, 1);
    assert_true((rc == -EBADMSG) == (reactor.reason != MR_POISON_NONE));
    if (rc < 0)
        assert_int_equal(mr_ring_peek(&reactor, &frame, 1), -EBADMSG); /* and stays so */
    free(memory);
    return reactor.reason;
}

static enum mr_poison_reason reason_for(uint64_t position, uint64_t word)
{
    return reason_for_committed(position, word, shape.submission_bytes);
}

static void indices_of_a_broken_client_poison_the_ring(void **state)
{
    (void)state;
    const uint64_t frame = mr_frame_word(32, MR_FRAME_VALUE, 0, 0), all = shape.submission_bytes;

    assert_int_equal(reason_for_committed(64, frame, 0), MR_POISON_NONE);
    assert_int_equal(reason_for_committed(64, frame, 32), MR_POISON_NONE);
    assert_int_equal(reason_for_committed(64, frame, all), MR_POISON_NONE);
    assert_int_equal(reason_for_committed(64, frame, 24), MR_POISON_FRAME_LENGTH); /* ends amid the frame */
    assert_int_equal(reason_for_committed(64, frame, 36), MR_POISON_COMMITTED_INDEX);
    assert_int_equal(reason_for_committed(64, frame, all + 8), MR_POISON_COMMITTED_INDEX);
    assert_int_equal(reason_for_committed(64, frame, (uint64_t)-8), MR_POISON_COMMITTED_INDEX); /* moved back */
    assert_int_equal(reason_for_committed(64, 0, 32), MR_POISON_FRAME_KIND); /* an open claim is not committed */
}

static void words_of_a_broken_client_poison_the_ring(void **state)
{
    (void)state;
    const uint32_t half = shape.submission_bytes / 2, all = shape.submission_bytes;

    static const struct {
        uint32_t from_end, bytes, kind, trailing, handle;
    } good[] = {
        {0, 16, MR_FRAME_VALUE, 0, 0},  {0, 24, MR_FRAME_VALUE, 7, 65535}, {0, 40, MR_FRAME_RECORD, 0, 0},
        {8, 8, MR_FRAME_PAD, 0, 0},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(reason_for_committed(good[i].from_end != 0 ? all - good[i].from_end : 0,
                                              mr_frame_word(good[i].bytes, good[i].kind, good[i].trailing, good[i].handle), good[i].bytes),
                         MR_POISON_NONE);
    assert_int_equal(reason_for_committed(0, mr_frame_word(half, MR_FRAME_VALUE, 0, 0), half), MR_POISON_NONE);
    assert_int_equal(reason_for_committed(0, mr_frame_word(all - 8, MR_FRAME_PAD, 0, 0), all - 8), MR_POISON_NONE);

    for (uint64_t word = 0; word < 64; word++) /* the first thing that is looked at is nothing like what was seen before */
        assert_int_equal(reason_for(0, word), MR_POISON_FRAME_KIND);
    assert_int_equal(reason_for(0, mr_frame_word(16, 0, 0, 1)), MR_POISON_FRAME_KIND);
    assert_int_equal(reason_for(0, mr_frame_word(16, 4, 0, 0)), MR_POISON_FRAME_KIND);
    assert_int_equal(reason_for(0, mr_frame_word(16, 255, 0, 0)), MR_POISON_FRAME_KIND);
    assert_int_equal(reason_for(0, mr_frame_word(0, MR_FRAME_VALUE, 0, 0)), MR_POISON_FRAME_LENGTH);
    assert_int_equal(reason_for(0, mr_frame_word(0, MR_FRAME_PAD, 0, 0)), MR_POISON_FRAME_LENGTH);
    assert_int_equal(reason_for(0, mr_frame_word(8, MR_FRAME_VALUE, 0, 0)), MR_POISON_FRAME_LENGTH);
    assert_int_equal(reason_for(0, mr_frame_word(20, MR_FRAME_VALUE, 0, 0)), MR_POISON_FRAME_LENGTH);
    assert_int_equal(reason_for(0, mr_frame_word(16, MR_FRAME_VALUE, 1, 0)), MR_POISON_FRAME_LENGTH);
    assert_int_equal(reason_for(0, mr_frame_word(24, MR_FRAME_VALUE, 8, 0)), MR_POISON_FRAME_LENGTH);
    assert_int_equal(reason_for(0, mr_frame_word(32, MR_FRAME_RECORD, 0, 0)), MR_POISON_FRAME_LENGTH);
    assert_int_equal(reason_for(0, mr_frame_word(half + 8, MR_FRAME_VALUE, 0, 0)), MR_POISON_FRAME_LENGTH);
    assert_int_equal(reason_for(all - 16, mr_frame_word(24, MR_FRAME_VALUE, 0, 0)), MR_POISON_FRAME_LENGTH);
    assert_int_equal(reason_for(all - 16, mr_frame_word(24, MR_FRAME_PAD, 0, 0)), MR_POISON_FRAME_LENGTH);
    assert_int_equal(reason_for(0, mr_frame_word(UINT32_MAX & ~7u, MR_FRAME_PAD, 0, 0)), MR_POISON_FRAME_LENGTH);
}

/* A ring written full of pads: bounded work in each peek, and no second lap over what was never released. */
static void a_loop_of_pads_ends(void **state)
{
    (void)state;
    uint8_t *memory = ring_memory();
    struct mr_ring_consumer reactor;
    struct mr_ring_frame frame[4];
    uint64_t pad = mr_frame_word(8, MR_FRAME_PAD, 0, 0);
    uint32_t peeks = 0;
    int rc;

    for (uint32_t at = 0; at < shape.submission_bytes; at += 8)
        memcpy(memory + mr_ring_submission_position(shape) + at, &pad, 8);
    mr_ring_consumer_init(&reactor, memory, shape);
    atomic_store(&reactor.client->committed, shape.submission_bytes);
    do {
        uint64_t before = reactor.position;
        if (before == shape.submission_bytes) /* the next lap, of which nothing was released */
            atomic_store(&reactor.client->committed, 2 * (uint64_t)shape.submission_bytes);
        rc = mr_ring_peek(&reactor, frame, 4);
        assert_true(reactor.position - before <= MR_RING_PADS_MAX * 8);
        peeks++;
    } while (rc == 0 && peeks < 100000);
    assert_int_equal(rc, -EBADMSG);
    assert_int_equal(reactor.reason, MR_POISON_COMMITTED_INDEX);
    assert_int_equal(reactor.position, shape.submission_bytes);
    free(memory);
}

static void good_frames_before_a_bad_one_are_returned(void **state)
{
    (void)state;
    uint8_t *memory = ring_memory();
    struct mr_ring_producer client;
    struct mr_ring_consumer reactor;
    struct mr_ring_frame frame[4];
    uint64_t bad_word = 99;

    mr_ring_producer_init(&client, memory, shape);
    mr_ring_consumer_init(&reactor, memory, shape);
    uint8_t *a = mr_ring_claim(&client, mr_frame_word(24, MR_FRAME_VALUE, 3, 5), 0);
    uint8_t *b = mr_ring_claim(&client, mr_frame_word(24, MR_FRAME_VALUE, 3, 5), 0);
    assert_true(a != NULL && b != NULL);
    mr_ring_stage(b, 1);
    memcpy(b, &bad_word, sizeof bad_word);
    mr_ring_stage(a, 41);
    mr_ring_publish(&client, 0, 48);
    assert_int_equal(mr_ring_peek(&reactor, frame, 4), 1);
    assert_int_equal(frame[0].sequence, 41);
    assert_int_equal(mr_frame_trailing(frame[0].word), 3);
    assert_ptr_equal(frame[0].body, memory + mr_ring_submission_position(shape) + 16);
    assert_int_equal(reactor.reason, MR_POISON_NONE);
    mr_ring_consume(&reactor, &frame[0]);
    assert_int_equal(mr_ring_peek(&reactor, frame, 4), -EBADMSG);
    free(memory);
}

static void a_completion_index_that_makes_no_sense_poisons(void **state)
{
    (void)state;
    uint8_t *memory = ring_memory();
    struct mr_ring_producer client;
    struct mr_ring_consumer reactor;
    struct mr_completion ack = {.count = 1};

    for (int way = 0; way < 2; way++) {
        memset(memory, 0, mr_ring_bytes(shape));
        mr_ring_producer_init(&client, memory, shape);
        mr_ring_consumer_init(&reactor, memory, shape);
        for (uint32_t i = 0; i < shape.completion_count; i++)
            assert_true(mr_ring_complete(&reactor, &ack));
        assert_false(mr_ring_complete(&reactor, &ack)); /* full is not poisoned */
        assert_int_equal(reactor.reason, MR_POISON_NONE);
        atomic_store(&client.client->completion_head, 10);
        assert_true(mr_ring_complete(&reactor, &ack));
        atomic_store(&client.client->completion_head, way == 0 ? 9 : 75); /* back; ahead of the 74 that will be there */
        for (int i = 0; i < 9; i++)
            assert_true(mr_ring_complete(&reactor, &ack));
        assert_false(mr_ring_complete(&reactor, &ack));
        assert_int_equal(reactor.reason, MR_POISON_COMPLETION_INDEX);
    }
    free(memory);
}

static void claim_returns_full_and_the_largest_frame_always_fits_an_empty_ring(void **state)
{
    (void)state;
    uint8_t *memory = ring_memory();
    struct mr_ring_producer client;
    struct mr_ring_consumer reactor;
    struct mr_ring_frame frame;

    mr_ring_producer_init(&client, memory, shape);
    mr_ring_consumer_init(&reactor, memory, shape);
    uint32_t largest = client.frame_bytes_max;
    for (int i = 0; i < 2000; i++) { /* small ones move the place where the large one has to go */
        uint32_t bytes = i % 2 == 0 ? largest : 16 + 8 * (uint32_t)(i % 97);
        uint8_t *claimed = mr_ring_claim(&client, mr_frame_word(bytes, MR_FRAME_VALUE, 0, 0), 0);
        assert_non_null(claimed);
        mr_ring_stage(claimed, (uint64_t)i);
        mr_ring_publish(&client, client.tail - bytes, client.tail);
        assert_int_equal(mr_ring_peek(&reactor, &frame, 1), 1);
        mr_ring_consume(&reactor, &frame);
        mr_ring_release(&reactor, reactor.position);
        mr_ring_producer_free(&client, mr_ring_producer_released(&client));
    }
    assert_non_null(mr_ring_claim(&client, mr_frame_word(largest, MR_FRAME_VALUE, 0, 0), 0));
    while (mr_ring_claim(&client, mr_frame_word(16, MR_FRAME_VALUE, 0, 0), 0) != NULL) {
    }
    assert_true(client.tail + 8 <= client.free_from + shape.submission_bytes);
    free(memory);
}

/* ------------------------------------------------------------------------------------------------------- two threads */

struct pair {
    struct mr_ring_producer client;
    struct mr_ring_consumer reactor;
    uint64_t records;
    uint32_t batch;
    uint32_t frame_bytes;
};

static void *drain(void *context)
{
    struct pair *pair = context;
    struct mr_ring_frame frame[64];
    uint64_t seen = 0;

    while (seen < pair->records) {
        int count = mr_ring_peek(&pair->reactor, frame, 64);
        if (count < 0)
            return pair;
        if (count == 0) {
            sched_yield();
            continue;
        }
        for (int i = 0; i < count; i++, seen++) {
            uint64_t value;
            memcpy(&value, frame[i].body, 8);
            if (frame[i].sequence != seen || value != seen)
                return &pair->records;
        }
        mr_ring_consume(&pair->reactor, &frame[count - 1]);
        struct mr_completion ack = {.first_sequence = seen - (uint64_t)count, .count = (uint32_t)count};
        while (!mr_ring_complete(&pair->reactor, &ack))
            sched_yield();
        mr_ring_release(&pair->reactor, pair->reactor.position);
    }
    return NULL;
}

static void two_threads_pass_records_and_acks(void **state)
{
    (void)state;
    uint8_t *memory = ring_memory();
    struct pair pair = {.records = 300000, .batch = 7};
    struct mr_random random;
    struct mr_completion ack;
    pthread_t thread;
    uint64_t sent = 0, acked = 0;
    void *wrong;

    mr_random_init(&random, test_seed(), 0);
    mr_ring_producer_init(&pair.client, memory, shape);
    mr_ring_consumer_init(&pair.reactor, memory, shape);
    assert_int_equal(pthread_create(&thread, NULL, drain, &pair), 0);
    while (acked < pair.records) {
        uint8_t *frame[8];
        uint32_t count = 0, want = 1 + (uint32_t)mr_random_below(&random, 8);
        while (count < want && sent + count < pair.records) {
            uint32_t bytes = 24 + 8 * (uint32_t)mr_random_below(&random, 40);
            frame[count] = mr_ring_claim(&pair.client, mr_frame_word(bytes, MR_FRAME_VALUE, 0, 0), 0);
            if (frame[count] == NULL)
                break;
            uint64_t value = sent + count;
            memcpy(frame[count++] + MR_FRAME_HEADER_BYTES, &value, 8);
        }
        for (uint32_t i = 0; i < count; i++)
            mr_ring_stage(frame[i], sent + i);
        mr_ring_publish(&pair.client, 0, 0);
        sent += count;
        if (count == 0)
            sched_yield();
        uint64_t released = mr_ring_producer_released(&pair.client);
        while (mr_ring_poll(&pair.client, &ack)) {
            assert_int_equal(ack.first_sequence, acked);
            acked += ack.count;
        }
        mr_ring_heard(&pair.client);
        mr_ring_producer_free(&pair.client, released);
    }
    pthread_join(thread, &wrong);
    assert_null(wrong);
    free(memory);
}

#if defined(__SANITIZE_THREAD__)
#define RACES_ARE_REPORTED
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACES_ARE_REPORTED
#endif
#endif

#ifndef RACES_ARE_REPORTED /* here the race is the point */
static void *scribble(void *context)
{
    struct pair *pair = context;
    struct mr_random random;

    mr_random_init(&random, 7, 1);
    while (atomic_load_explicit(&pair->client.client->sleeping, memory_order_relaxed) == 0) {
        uint64_t word = mr_random_next(&random);
        if (mr_random_chance(&random, 3, 4)) /* most of them sane enough to be believed */
            word = mr_frame_word((uint32_t)(word & 0xff8), 1 + (uint32_t)(word >> 13 & 3), 0, (uint32_t)(word >> 20 & 0xffff));
        uint64_t at = mr_random_below(&random, shape.submission_bytes / 8) * 8;
        atomic_store_explicit((_Atomic uint64_t *)(void *)(pair->client.submissions + at), word, memory_order_relaxed);
        if (mr_random_chance(&random, 1, 4)) /* forward, mostly */
            atomic_fetch_add_explicit(&pair->client.client->committed, mr_random_below(&random, mr_random_chance(&random, 1, 64) ? 1u << 20 : 9) * 8,
                                      memory_order_relaxed);
        if (mr_random_chance(&random, 1, 64))
            atomic_store_explicit(&pair->client.client->completion_head, mr_random_below(&random, 200), memory_order_relaxed);
    }
    return NULL;
}

static void nothing_that_a_client_writes_leads_out_of_the_ring(void **state)
{
    (void)state;
    uint8_t *memory = ring_memory();
    struct pair pair;
    struct mr_ring_frame frame[16];
    struct mr_completion ack = {.count = 1};
    pthread_t thread;
    uint64_t frames = 0, poisoned = 0;
    const uint8_t *low = memory + mr_ring_submission_position(shape), *high = low + shape.submission_bytes;

    mr_ring_producer_init(&pair.client, memory, shape);
    mr_ring_consumer_init(&pair.reactor, memory, shape);
    assert_int_equal(pthread_create(&thread, NULL, scribble, &pair), 0);
    for (uint64_t i = 0; i < 100000000 && (i < 200000 || frames < 1000 || poisoned < 10); i++) {
        if (i % 1024 == 0)
            sched_yield();
        int count = mr_ring_peek(&pair.reactor, frame, 16);
        for (int k = 0; k < count; k++) {
            uint32_t length = mr_frame_length(frame[k].word);
            assert_true(length >= MR_FRAME_HEADER_BYTES && frame[k].body >= low + MR_FRAME_HEADER_BYTES);
            assert_true(frame[k].body + length - MR_FRAME_HEADER_BYTES <= high);
            assert_true(mr_frame_kind(frame[k].word) > MR_FRAME_PAD && mr_frame_kind(frame[k].word) <= MR_FRAME_RECORD);
            frames++;
        }
        if (count > 0) {
            mr_ring_consume(&pair.reactor, &frame[count - 1]);
            mr_ring_release(&pair.reactor, pair.reactor.position);
        }
        (void)!mr_ring_complete(&pair.reactor, &ack);
        if (pair.reactor.reason != MR_POISON_NONE) { /* a new session for the same broken client */
            poisoned++;
            mr_ring_consumer_init(&pair.reactor, memory, shape);
            pair.reactor.position = pair.reactor.released = i % 8192 * 8;
        }
    }
    atomic_store(&pair.client.client->sleeping, 1);
    pthread_join(thread, NULL);
    assert_true(frames >= 1000 && poisoned >= 10);
    free(memory);
}
#define HOSTILE cmocka_unit_test(nothing_that_a_client_writes_leads_out_of_the_ring),
#else
#define HOSTILE
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_are_checked),
        cmocka_unit_test(indices_of_a_broken_client_poison_the_ring),
        cmocka_unit_test(words_of_a_broken_client_poison_the_ring),
        cmocka_unit_test(a_loop_of_pads_ends),
        cmocka_unit_test(good_frames_before_a_bad_one_are_returned),
        cmocka_unit_test(a_completion_index_that_makes_no_sense_poisons),
        cmocka_unit_test(claim_returns_full_and_the_largest_frame_always_fits_an_empty_ring),
        cmocka_unit_test(two_threads_pass_records_and_acks),
        HOSTILE
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
