/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/client/client_internal.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int mr_client_add_ring(struct millrace_client *client, const struct mr_message_ring *message, int fd)
{
    if (!mr_ring_shape_is_sane(message->shape) || message->reactor >= client->reactor_count || message->ring < client->ring_next ||
        message->ring == UINT32_MAX)
        return -EPROTO;
    struct mr_client_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return -ENOMEM;
    ring->shape = message->shape;
    ring->number = message->ring;
    ring->reactor = message->reactor;
    do /* 2^16 rings later a tag comes round: not to one whose claims are still open */
        ring->tag = client->tag_next++ & ((1u << MR_CLIENT_TAG_BITS) - 1);
    while (mr_client_ring_of(client, ring->tag) != NULL);
    ring->bytes = mr_ring_bytes(message->shape);
    ring->memory = mmap(NULL, ring->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (ring->memory == MAP_FAILED) {
        free(ring);
        return -ENOMEM;
    }
    mr_ring_producer_init(&ring->ring, ring->memory, ring->shape);
    ring->next = client->rings;
    client->rings = ring;
    client->ring_next = ring->number + 1;
    return 0;
}

int mr_client_drop_ring(struct millrace_client *client, uint32_t number)
{
    struct mr_client_ring **at = &client->rings;

    while (*at != NULL && (*at)->number != number)
        at = &(*at)->next;
    if (*at == NULL || *at == client->rings)
        return -EPROTO;
    struct mr_client_ring *ring = *at;
    *at = ring->next;
    mr_client_free_ring(ring);
    return 0;
}

void mr_client_free_ring(struct mr_client_ring *ring)
{
    munmap(ring->memory, ring->bytes);
    free(ring);
}

struct mr_client_ring *mr_client_ring_of(const struct millrace_client *client, uint32_t tag)
{
    for (struct mr_client_ring *ring = client->rings; ring != NULL; ring = ring->next)
        if (ring->tag == tag)
            return ring;
    for (struct mr_client_ring *ring = client->dead_rings; ring != NULL; ring = ring->next)
        if (ring->tag == tag)
            return ring;
    return NULL;
}

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

uint32_t mr_client_poll(struct millrace_client *client, bool want_space)
{
    struct mr_completion completion;
    uint32_t count = 0;

    for (struct mr_client_ring *ring = client->rings; ring != NULL; ring = ring->next) {
        struct mr_completion *line = &ring->ring.completions[ring->ring.completion_next & ring->ring.completion_mask];
        bool any = mr_load_relaxed(&line->stamp) == ring->ring.completion_next + 1;
        if (!any && !want_space)
            continue;
        /* Read before the completions: when those below it have been dealt with, the space is ours (ring.h R4). */
        uint64_t released = mr_ring_producer_released(&ring->ring);
        while (!client->choked && mr_ring_poll(&ring->ring, &completion)) {
            mr_producers_take(client, &completion);
            count++;
        }
        mr_ring_heard(&ring->ring);
        if (client->held == 0 && !client->choked)
            mr_ring_producer_free(&ring->ring, released);
    }
    if (count > 0)
        client->progressed = true;
    if (mr_unlikely(mr_client_has_mail(client)) && mr_client_take_pushes(client) != 0)
        client->ended = true; /* mr_client_drive() finds out why */
    return count;
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

void mr_client_ring_doorbell(struct millrace_client *client)
{
    uint64_t one = 1;

    client->rang = true;
    if (client->doorbell >= 0) {
        ssize_t ignored = write(client->doorbell, &one, sizeof one); /* a full counter has been heard */
        (void)ignored;
    }
}
