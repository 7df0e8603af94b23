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
    mr_ring_producer_init(&ring->ring, ring->memory, message->shape);
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

void mr_client_ring_doorbell(struct millrace_client *client)
{
    uint64_t one = 1;

    client->rang = true;
    if (client->doorbell >= 0) {
        ssize_t ignored = write(client->doorbell, &one, sizeof one); /* a full counter has been heard */
        (void)ignored;
    }
}
