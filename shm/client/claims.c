/* SPDX-License-Identifier: Apache-2.0 */
/* Our own rings, walked: which claims are open, whose they are, and what of a closed owner must not be shown. Cold, but for the look whether
 * there is anything to walk. */
#include "shm/client/client_internal.h"

#include "shm/base/assert.h"

void mr_client_count_claims(struct mr_client_ring *ring)
{
    uint32_t bytes;

    for (uint64_t position = ring->ring.committed; position < ring->ring.tail; position += bytes) {
        const uint8_t *frame = mr_ring_at(&ring->ring, position);
        bytes = mr_ring_frame_bytes(frame);
        if (bytes == 0)
            break;
        ring->open_claims += mr_ring_is_open(frame);
    }
}

/* C2 */
static void drop_claim(struct millrace_client *client, struct mr_client_ring *ring)
{
    mr_assert(ring->dead && ring->open_claims > 0);
    if (--ring->open_claims > 0)
        return;
    struct mr_client_ring **at = &client->dead_rings;
    while (*at != ring)
        at = &(*at)->next;
    *at = ring->next;
    mr_client_free_ring(ring);
}

void mr_client_abort_claim(struct millrace_client *client, struct mr_client_ring *ring, uint64_t position)
{
    uint32_t bytes = mr_ring_frame_bytes(mr_ring_at(&ring->ring, position));

    if (ring->dead) {
        mr_ring_pad(&ring->ring, position, bytes);
        drop_claim(client, ring);
    } else if (mr_ring_abort(&ring->ring, position, bytes)) {
        mr_client_wake(client, ring);
    }
}

/* The oldest open claim of an owner. @return false: there is none. */
static MR_COLD bool find_open(const struct mr_client_ring *ring, uint64_t owner, uint64_t *position)
{
    uint32_t bytes;

    for (uint64_t at = ring->ring.committed; at < ring->ring.tail; at += bytes) {
        const uint8_t *frame = mr_ring_at(&ring->ring, at);
        bytes = mr_ring_frame_bytes(frame);
        if (bytes == 0)
            break;
        if (mr_ring_is_open(frame) && mr_ring_owner(frame) == owner) {
            *position = at;
            return true;
        }
    }
    return false;
}

bool mr_client_has_open(const struct millrace_client *client, uint64_t owner)
{
    uint64_t position;

    for (const struct mr_client_ring *ring = client->rings; ring != NULL; ring = ring->next)
        if (mr_unlikely(ring->ring.committed != ring->ring.tail) && find_open(ring, owner, &position))
            return true;
    for (const struct mr_client_ring *ring = client->dead_rings; ring != NULL; ring = ring->next)
        if (find_open(ring, owner, &position))
            return true;
    return false;
}

void mr_client_abort_owner(struct millrace_client *client, uint64_t owner)
{
    struct mr_client_ring *next;
    uint64_t position;

    for (struct mr_client_ring *ring = client->rings; ring != NULL; ring = ring->next)
        while (find_open(ring, owner, &position))
            mr_client_abort_claim(client, ring, position);
    for (struct mr_client_ring *ring = client->dead_rings; ring != NULL; ring = next) {
        next = ring->next;
        for (uint32_t left = ring->open_claims; left > 0 && find_open(ring, owner, &position); left--)
            mr_client_abort_claim(client, ring, position); /* with its last claim the ring goes */
    }
}

/* Make pads of the frames of these handles from `from` on that are no open claims. */
static void blot_out(struct mr_client_ring *ring, uint64_t from, uint32_t first, uint32_t count)
{
    uint32_t bytes;

    for (uint64_t position = from; position < ring->ring.tail; position += bytes) {
        const uint8_t *frame = mr_ring_at(&ring->ring, position);
        uint64_t word = mr_ring_word(frame);
        bytes = mr_frame_length(word);
        if (bytes == 0)
            break; /* our own memory, overwritten by a bug of this program */
        if (mr_frame_kind(word) != MR_FRAME_PAD && mr_frame_handle(word) - first < count && !mr_ring_is_open(frame))
            mr_ring_pad(&ring->ring, position, bytes);
    }
}

void mr_client_blot_unshown(struct millrace_client *client, uint32_t first, uint32_t count)
{
    for (struct mr_client_ring *ring = client->rings; ring != NULL; ring = ring->next)
        blot_out(ring, ring->ring.committed, first, count);
}

bool mr_client_waits_for_claim(const struct millrace_client *client)
{
    bool any = false;

    for (const struct mr_client_ring *ring = client->rings; ring != NULL; ring = ring->next) {
        uint64_t committed = mr_load_relaxed(&ring->ring.client->committed); /* ours */
        if (mr_ring_producer_released(&ring->ring) != committed)
            return false;
        any = any || committed != ring->ring.tail;
    }
    return any;
}

void mr_client_clear_handles(struct millrace_client *client, uint32_t first, uint32_t count)
{
    bool choked = client->choked, collecting = client->collecting;

    client->choked = false;
    client->collecting = true; /* others' acks come along, and are kept without bound */
    mr_client_poll(client, false);
    client->collecting = collecting;
    client->choked = choked;
    for (struct mr_client_ring *ring = client->rings; ring != NULL; ring = ring->next)
        blot_out(ring, ring->ring.free_from, first, count);
}
