/* SPDX-License-Identifier: Apache-2.0 */
/* What one peek costs a reactor, whatever the sizes of frames and pads: bytes to copy, and lines asked for. Includes ring.c, with its
 * prefetches counted. */
#include "tests/support/unit.h"

#include <string.h>

#include "shm/ring/ring.h"

static uint32_t asked;
static uintptr_t asked_first, asked_last;

static void ask(const void *at)
{
    uintptr_t line = (uintptr_t)at;
    asked_first = asked == 0 || line < asked_first ? line : asked_first;
    asked_last = line > asked_last ? line : asked_last;
    asked++;
}
#define __builtin_prefetch(at) ask(at)
#include "shm/ring/ring.c"

#define FRAMES_MAX 128u
#define PAGE       4096u

static const struct mr_ring_shape shape = {.completion_count = 64, .submission_bytes = 8u << 20};
static uint8_t *memory;
static struct mr_ring_producer client;
static struct mr_ring_consumer reactor;
static struct mr_ring_frame frame[FRAMES_MAX];

static int make(void **state)
{
    memory = aligned_alloc(PAGE, mr_align_up(mr_ring_bytes(shape), PAGE));
    memset(memory, 0, mr_ring_bytes(shape));
    mr_ring_producer_init(&client, memory, shape);
    mr_ring_consumer_init(&reactor, memory, shape);
    return 0;
}

static int drop(void **state)
{
    free(memory);
    return 0;
}

static void commit(uint32_t bytes)
{
    uint8_t *claimed = mr_ring_claim(&client, mr_frame_word(bytes, MR_FRAME_VALUE, 0, 0), 0);
    assert_non_null(claimed);
    mr_ring_stage(claimed, 0);
    mr_ring_publish(&client, client.tail - bytes, client.tail);
}

static uint32_t peek(void)
{
    asked = 0;
    asked_last = 0;
    int count = mr_ring_peek(&reactor, frame, FRAMES_MAX);
    assert_true(count >= 0);
    return (uint32_t)count;
}

static void large_frames_come_few_at_a_time(void **state)
{
    const uint32_t large = 100u << 10;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < 60; i++)
        commit(large);
    for (uint32_t count; (count = peek()) > 0; seen += count) {
        assert_in_range(count, 1, MR_RING_PEEK_BYTES / large + 1);
        mr_ring_consume(&reactor, &frame[count - 1]);
    }
    assert_int_equal(seen, 60);
}

static void a_frame_over_the_bound_comes_alone(void **state)
{
    for (uint32_t i = 0; i < 3; i++)
        commit(1u << 20);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(peek(), 1);
        mr_ring_consume(&reactor, &frame[0]);
    }
    assert_int_equal(peek(), 0);
}

static void small_frames_come_as_many_as_asked_for(void **state)
{
    for (uint32_t i = 0; i < 2 * FRAMES_MAX; i++)
        commit(1024);
    assert_int_equal(peek(), FRAMES_MAX);
}

static void lines_inside_of_large_frames_are_not_asked_for(void **state)
{
    for (uint32_t i = 0; i < 60; i++)
        commit(16u << 10);
    uint32_t count = peek();
    assert_true(count >= 8);
    assert_in_range(asked, count, (count + 1) * (MR_RING_PREFETCH_BYTES / MR_CACHE_LINE + 1));
}

static void lines_inside_of_a_pad_are_not_asked_for(void **state)
{
    assert_non_null(mr_ring_claim(&client, mr_frame_word(3u << 20, MR_FRAME_VALUE, 0, 0), 0));
    commit(32);
    mr_ring_abort(&client, 0, 3u << 20);
    commit(32);
    assert_int_equal(peek(), 2);
    assert_in_range(asked, 1, 3 * (MR_RING_PREFETCH_BYTES / MR_CACHE_LINE + 1));
}

static void each_line_of_small_frames_is_asked_for_once_and_none_behind_them(void **state)
{
    for (uint32_t i = 0; i < 100; i++)
        commit(64);
    assert_int_equal(peek(), 100);
    assert_int_equal(asked, 100);
    assert_int_equal(asked_last - asked_first, 99 * MR_CACHE_LINE); /* R1 */
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        T(large_frames_come_few_at_a_time),
        T(a_frame_over_the_bound_comes_alone),
        T(small_frames_come_as_many_as_asked_for),
        T(lines_inside_of_large_frames_are_not_asked_for),
        T(lines_inside_of_a_pad_are_not_asked_for),
        T(each_line_of_small_frames_is_asked_for_once_and_none_behind_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
