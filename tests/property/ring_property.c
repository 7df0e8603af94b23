/* SPDX-License-Identifier: Apache-2.0 */
/* Random claims, commits in any order, aborts, drains and releases against a list: what the reactor sees is exactly the committed ones, in
 * claim order, up to the first claim still open; and the ring is full only when it has to be. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "shm/base/random.h"
#include "shm/ring/ring.h"
#include "tests/support/property.h"

enum fate { OPEN, COMMITTED, ABORTED };

struct model_claim {
    uint64_t position;
    uint64_t number;
    uint32_t bytes;
    enum fate fate;
};

#define CLAIMS_MAX 4096

int main(void)
{
    struct mr_ring_shape shape = {.completion_count = 16, .submission_bytes = 1024};
    static struct model_claim claim[CLAIMS_MAX]; /* a sliding window: first..next, modulo */
    uint64_t first = 0, next = 0, number = 0, seen = 0, acks_written = 0, acks_read = 0;
    uint64_t full = 0, laps = 0;
    uint8_t *memory = aligned_alloc(4096, mr_align_up(mr_ring_bytes(shape), 4096));
    struct mr_ring_producer client;
    struct mr_ring_consumer reactor;
    struct mr_random random;

    must(memory != NULL);
    memset(memory, 0, mr_align_up(mr_ring_bytes(shape), 4096));
    mr_random_init(&random, property_seed(), 0);
    mr_ring_producer_init(&client, memory, shape);
    mr_ring_consumer_init(&reactor, memory, shape);
    for (uint32_t step = 0; step < 2000000; step++) {
        uint64_t what = mr_random_below(&random, 100);
        if (what < 40 && next - first < CLAIMS_MAX) {
            uint32_t bytes = 16 + 8 * (uint32_t)mr_random_below(&random, mr_random_chance(&random, 1, 20) ? 63 : 8);
            struct model_claim *c = &claim[next % CLAIMS_MAX];
            uint64_t tail = client.tail;
            uint8_t *frame = mr_ring_claim(&client, mr_frame_word(bytes, MR_FRAME_VALUE, 0, (uint32_t)next & 0xffff), 5);
            if (frame != NULL) {
                c->position = client.tail - bytes;
                must(frame == mr_ring_at(&client, c->position));
                must(mr_ring_is_open(frame) && mr_ring_owner(frame) == 5 && mr_ring_frame_bytes(frame) == bytes);
                must(c->position == tail || (c->position % 1024 == 0 && c->position - tail < bytes));
                must(c->position % 1024 + bytes <= 1024);
                must(c->position + bytes <= client.free_from + 1024);
                laps += c->position != tail;
                c->bytes = bytes;
                c->fate = OPEN;
                memset(mr_ring_at(&client, c->position) + 16, (int)(next & 0xff), bytes - 16);
                next++;
            } else {
                must(tail + bytes > client.free_from + 1024 || tail % 1024 + bytes > 1024);
                must(client.free_from != tail); /* it always fits an empty ring */
                full++;
            }
        } else if (what < 65) { /* commit or abort any open claim, most often the oldest */
            uint64_t k = first;
            uint64_t skip = mr_random_chance(&random, 3, 4) ? 0 : mr_random_below(&random, 8);
            while (k < next && (claim[k % CLAIMS_MAX].fate != OPEN || skip-- > 0))
                k++;
            if (k < next) {
                struct model_claim *c = &claim[k % CLAIMS_MAX];
                if (mr_random_chance(&random, 1, 5)) {
                    mr_ring_abort(&client, c->position, c->bytes);
                    c->fate = ABORTED;
                    if (k == next - 1 && client.tail == c->position)
                        next--; /* given back */
                } else {
                    c->number = number++;
                    mr_ring_stage(mr_ring_at(&client, c->position), c->number);
                    must(!mr_ring_is_open(mr_ring_at(&client, c->position)));
                    mr_ring_publish(&client, c->position, mr_random_chance(&random, 1, 2) ? c->position + c->bytes : c->position);
                    c->fate = COMMITTED;
                }
            }
        } else if (what < 85) {
            struct mr_ring_frame frame[8];
            uint32_t max = 1 + (uint32_t)mr_random_below(&random, 8);
            int count = mr_ring_peek(&reactor, frame, max);
            must(count >= 0);
            for (int i = 0; i < count; i++, first++, seen++) {
                while (first < next && claim[first % CLAIMS_MAX].fate == ABORTED)
                    first++;
                struct model_claim *c = &claim[first % CLAIMS_MAX];
                must(first < next && c->fate == COMMITTED);
                must(frame[i].sequence == c->number && mr_frame_length(frame[i].word) == c->bytes);
                must(frame[i].end == c->position + c->bytes);
                for (uint32_t b = 0; b < c->bytes - 16; b++)
                    must(frame[i].body[b] == (uint8_t)first);
            }
            if (count > 0)
                mr_ring_consume(&reactor, &frame[count - 1]);
            if ((uint32_t)count < max) { /* nothing may be held back but by an open claim (or more pads than a peek skips) */
                while (first < next && claim[first % CLAIMS_MAX].fate == ABORTED)
                    first++;
                must(first == next || claim[first % CLAIMS_MAX].fate == OPEN || !mr_ring_is_empty(&reactor));
            }
        } else if (what < 92) {
            mr_ring_release(&reactor, reactor.released + (mr_random_chance(&random, 1, 2) ? reactor.position - reactor.released : 0));
            if (mr_random_chance(&random, 1, 2))
                mr_ring_producer_free(&client, mr_ring_producer_released(&client));
        } else if (what < 96) {
            struct mr_completion ack = {.first_sequence = acks_written, .count = (uint32_t)acks_written, .handle = 3, .error = -1};
            bool room = acks_written - client.completion_told < 16;
            must(mr_ring_complete(&reactor, &ack) == room);
            acks_written += room;
        } else {
            struct mr_completion ack;
            if (mr_ring_poll(&client, &ack)) {
                must(ack.first_sequence == acks_read && ack.count == (uint32_t)acks_read && ack.handle == 3 && ack.error == -1);
                acks_read++;
            } else {
                must(acks_read == acks_written);
            }
            if (mr_random_chance(&random, 1, 2))
                mr_ring_heard(&client);
        }
    }
    must(seen > 10000 && full > 1000 && laps > 1000 && acks_read > 1000);
    free(memory);
    return 0;
}
