/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/client/client_internal.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int mr_client_add_ring(struct millrace_client *client, const struct mr_message_ring *message, int fd)
{
    if (!mr_ring_shape_is_sane(message->shape) || message->reactor >= client->reactor_count || client->by_reactor[message->reactor] != NULL)
        return -EPROTO;
    struct mr_client_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return -ENOMEM;
    ring->shape = message->shape;
    ring->reactor = message->reactor;
    do /* 2^16 rings later a number comes round: not to one whose claims are still open */
        ring->number = client->ring_number_next++ & ((1u << MR_CLIENT_RING_BITS) - 1);
    while (mr_client_ring_of(client, ring->number) != NULL);
    ring->bytes = mr_ring_bytes(message->shape);
    ring->memory = mmap(NULL, ring->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (ring->memory == MAP_FAILED) {
        free(ring);
        return -ENOMEM;
    }
    mr_ring_producer_init(&ring->ring, ring->memory, ring->shape);
    ring->next = client->rings;
    client->rings = ring;
    client->by_reactor[message->reactor] = ring;
    return 0;
}

void mr_client_free_ring(struct mr_client_ring *ring)
{
    munmap(ring->memory, ring->bytes);
    free(ring);
}

struct mr_client_ring *mr_client_ring_of(const struct millrace_client *client, uint32_t number)
{
    for (struct mr_client_ring *ring = client->rings; ring != NULL; ring = ring->next)
        if (ring->number == number)
            return ring;
    for (struct mr_client_ring *ring = client->dead_rings; ring != NULL; ring = ring->next)
        if (ring->number == number)
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
        client->quiet_since_ns = 1; /* mr_client_drive() finds out why */
    return count;
}

void mr_client_ring_doorbell(struct millrace_client *client)
{
    uint64_t one = 1;

    if (client->doorbell >= 0) {
        ssize_t ignored = write(client->doorbell, &one, sizeof one); /* a full counter has been heard */
        (void)ignored;
    }
}
