/* SPDX-License-Identifier: Apache-2.0 */
/* Handles that change hands: what their former owner left in the rings is nobody's. */
#include "shm/client/client_internal.h"
#include "tests/support/unit.h"

#define FRAMES 6u

static void frames_of_a_closed_producer_are_pads_to_the_next_one(void **state)
{
    const struct mr_ring_shape shape = {.completion_count = 64, .submission_bytes = 64 << 10};
    const uint32_t handle[FRAMES] = {4, 5, 6, 7, 5, 4};
    struct mr_client_ring ring = {0};
    struct millrace_client client = {.rings = &ring};
    uint8_t *frame[FRAMES + 1];

    ring.memory = aligned_alloc(4096, mr_ring_bytes(shape));
    memset(ring.memory, 0, mr_ring_bytes(shape));
    mr_ring_producer_init(&ring.ring, ring.memory, shape);
    for (uint32_t i = 0; i <= FRAMES; i++) { /* the last one stays open */
        frame[i] = mr_ring_claim(&ring.ring, mr_frame_word(32, MR_FRAME_VALUE, 0, i < FRAMES ? handle[i] : 5), 1);
        assert_non_null(frame[i]);
        if (i < FRAMES)
            mr_ring_stage(frame[i], i);
    }
    mr_ring_publish(&ring.ring, 0, FRAMES / 2 * 32);
    assert_int_equal(ring.ring.committed, FRAMES * 32);
    mr_client_clear_handles(&client, 5, 2);
    for (uint32_t i = 0; i < FRAMES; i++) {
        assert_int_equal(mr_ring_frame_bytes(frame[i]), 32);
        assert_int_equal(mr_frame_kind(mr_ring_word(frame[i])), handle[i] == 5 || handle[i] == 6 ? MR_FRAME_PAD : MR_FRAME_VALUE);
    }
    assert_true(mr_ring_is_open(frame[FRAMES]));
    free(ring.memory);
}

static void acks_of_a_closed_producer_are_taken_even_when_another_does_not_collect_its_own(void **state)
{
    const struct mr_ring_shape shape = {.completion_count = 64, .submission_bytes = 64 << 10};
    struct mr_client_ring ring = {0};
    struct millrace_client client = {.rings = &ring, .choked = true};
    struct mr_ring_consumer end;

    ring.memory = aligned_alloc(4096, mr_ring_bytes(shape));
    memset(ring.memory, 0, mr_ring_bytes(shape));
    mr_ring_producer_init(&ring.ring, ring.memory, shape);
    mr_ring_consumer_init(&end, ring.memory, shape);
    for (uint32_t i = 0; i < 10; i++)
        assert_true(mr_ring_complete(&end, &(struct mr_completion){.handle = 5, .count = 1, .first_sequence = i}));
    mr_client_clear_handles(&client, 5, 1);
    assert_false(mr_ring_poll(&ring.ring, &(struct mr_completion){0}));
    assert_true(client.choked && !client.collecting);
    free(ring.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_a_closed_producer_are_pads_to_the_next_one),
        cmocka_unit_test(acks_of_a_closed_producer_are_taken_even_when_another_does_not_collect_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
