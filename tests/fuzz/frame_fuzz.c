/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a submission ring: peek never leads out of it, ends, and moves on. The first byte is the position in the ring at which the
 * reactor begins, in words; the second how often it releases. */
#include <errno.h>

#include "tests/fuzz/fuzz.h"

#include "shm/ring/ring.h"

#define RING_BYTES 2048u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const struct mr_ring_shape shape = {.completion_count = 1, .submission_bytes = RING_BYTES};
    struct mr_ring_consumer ring;
    struct mr_ring_frame frame[8];
    uint64_t sum = 0;

    if (bytes < 2)
        return 0;
    uint8_t *memory = malloc(mr_ring_bytes(shape)); /* the submissions end where the allocation does */
    fuzz_must(memory != NULL);
    memset(memory, 0, mr_ring_bytes(shape));
    uint8_t *submissions = memory + mr_ring_submission_position(shape);
    memcpy(submissions, data + 2, bytes - 2 < RING_BYTES ? bytes - 2 : RING_BYTES);
    mr_ring_consumer_init(&ring, memory, shape);
    ring.position = ring.released = ring.committed = (uint64_t)data[0] * 8;
    for (int peeks = 0; peeks < 4096; peeks++) {
        uint64_t before = ring.position;
        mr_store_release(&ring.client->committed, ring.released + RING_BYTES - (data[1] & 7u) * 8);
        int count = mr_ring_peek(&ring, frame, 8);
        fuzz_must(count <= 8 && (count >= 0 || count == -EBADMSG));
        fuzz_must((count < 0) == (ring.reason != MR_POISON_NONE));
        for (int i = 0; i < count; i++) {
            uint32_t body_bytes = mr_frame_length(frame[i].word) - MR_FRAME_HEADER_BYTES;
            fuzz_must(mr_frame_length(frame[i].word) >= MR_FRAME_HEADER_BYTES && mr_frame_trailing(frame[i].word) <= body_bytes);
            fuzz_must(frame[i].body >= submissions && frame[i].body + body_bytes <= submissions + RING_BYTES);
            sum += fuzz_touch(frame[i].body, body_bytes);
        }
        if (count > 0)
            mr_ring_consume(&ring, &frame[count - 1]);
        fuzz_must(ring.position - ring.released <= RING_BYTES);
        if (count < 0 || ring.position == before)
            break;
        if (data[1] != 0 && peeks % data[1] == 0)
            mr_ring_release(&ring, ring.position);
    }
    fuzz_keep(sum);
    free(memory);
    return 0;
}

size_t fuzz_seed(unsigned n, uint8_t *data, size_t room)
{
    static const struct {
        uint8_t start, release;
        uint64_t word[8];
    } seeds[] = {
        {0, 1, {16 | (uint64_t)MR_FRAME_VALUE << 32, 0}},
        {0, 1, {24 | (uint64_t)MR_FRAME_VALUE << 32 | 3ull << 40, 7, 0,
                 8 | (uint64_t)MR_FRAME_PAD << 32, 24 | 4ull << 32, 0, 9}},
        {0, 0, {40 | (uint64_t)MR_FRAME_RECORD << 32 | 5ull << 48, 1, 2, 3, 4, 16 | (uint64_t)MR_FRAME_VALUE << 32, 6}},
        {0, 1, {2048 | (uint64_t)MR_FRAME_PAD << 32}},
        {0, 0, {1, 2, 3, 4, 16 | (uint64_t)MR_FRAME_VALUE << 32, 6}},
        {255, 1, {8 | (uint64_t)MR_FRAME_PAD << 32, 8 | (uint64_t)MR_FRAME_PAD << 32, 1024 | (uint64_t)MR_FRAME_VALUE << 32}},
    };

    if (n >= sizeof seeds / sizeof seeds[0] || room < 2 + RING_BYTES)
        return 0;
    data[0] = seeds[n].start;
    data[1] = seeds[n].release;
    memset(data + 2, 0, RING_BYTES);
    memcpy(data + 2, seeds[n].word, sizeof seeds[n].word);
    if (seeds[n].start != 0)
        memcpy(data + 2 + (size_t)seeds[n].start * 8, seeds[n].word, 8);
    return seeds[n].start != 0 ? 2 + RING_BYTES : 2 + 256;
}
