/* SPDX-License-Identifier: Apache-2.0 */
/* A producer's birth, its return after the daemon's death, and its end. */
#include <stdlib.h>
#include <string.h>

#include "shm/client/producer_internal.h"

MR_CLIENT_EXPORT void millrace_producer_options_init(struct millrace_producer_options *options)
{
    *options = (struct millrace_producer_options){
        .size_bytes = sizeof *options, .acks = MILLRACE_ACKS_ALL, .record_bytes_max = 64u << 10, .idempotent = 1};
}

static uint32_t power_of_two_from(uint64_t value)
{
    uint64_t power = MR_RING_SUBMISSION_BYTES_MIN;

    while (power < value)
        power *= 2;
    return (uint32_t)power;
}

static int take_options(struct millrace_producer *producer, const struct millrace_producer_options *given, struct millrace_error *err)
{
    struct millrace_producer_options options;

    millrace_producer_options_init(&options);
    if (given != NULL) {
        if (given->size_bytes < offsetof(struct millrace_producer_options, first_sequence))
            return mr_err(err, EINVAL, "options.size_bytes is %zu: use millrace_producer_options_init()", given->size_bytes);
        memcpy(&options, given, given->size_bytes < sizeof options ? given->size_bytes : sizeof options);
    }
    if (options.acks != MILLRACE_ACKS_RING && options.acks != MILLRACE_ACKS_LEADER && options.acks != MILLRACE_ACKS_ALL)
        return mr_err(err, EINVAL, "options.acks is %d: MILLRACE_ACKS_RING, _LEADER and _ALL are allowed", (int)options.acks);
    if (options.first_sequence > INT64_MAX)
        return mr_err(err, EINVAL, "options.first_sequence is %llu: it may be at most 2^63 - 1, so that it can count on",
                      (unsigned long long)options.first_sequence);
    uint64_t frame_bytes = mr_align_up((uint64_t)options.record_bytes_max + MR_FRAME_HEADER_BYTES + sizeof(struct mr_frame_record), 8);
    uint64_t ring_bytes = options.ring_bytes != 0 ? options.ring_bytes : mr_max_u64(4 * (uint64_t)options.record_bytes_max, 256u << 10);
    ring_bytes = mr_max_u64(ring_bytes, 2 * frame_bytes);
    if (ring_bytes > MR_RING_SUBMISSION_BYTES_MAX)
        return mr_err(err, EINVAL, "options.record_bytes_max %u and ring_bytes %u need a ring of %llu bytes; %u is the most: lower them",
                      options.record_bytes_max, options.ring_bytes, (unsigned long long)ring_bytes, MR_RING_SUBMISSION_BYTES_MAX);
    producer->record_bytes_max = options.record_bytes_max;
    producer->submission_bytes = power_of_two_from(ring_bytes);
    producer->acks_wanted = options.acks;
    producer->idempotent = options.idempotent != 0;
    producer->partition = NULL;
    producer->head = NULL;
    producer->producer_id = -1;
    return 0;
}

/* OPEN_PRODUCER, first or again. @param reply what the daemon said */
static int introduce(struct millrace_producer *producer, bool resume, int timeout_ms, union mr_message *reply, struct millrace_error *err)
{
    struct mr_message_open_producer request = {.acks = (uint32_t)producer->acks_wanted,
                                               .submission_bytes = producer->submission_bytes,
                                               .idempotent = producer->idempotent,
                                               .resume = resume && producer->idempotent,
                                               .producer_id = producer->producer_id,
                                               .producer_epoch = producer->producer_epoch};
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count;

    strcpy(request.topic, producer->topic);
    memcpy(request.token, producer->token, sizeof request.token);
    int rc = mr_client_request_control(producer->client, &request.header, sizeof request, MR_MESSAGE_OPEN_PRODUCER, reply,
                                       MR_MESSAGE_PRODUCER_OPENED, sizeof reply->producer_opened, fds, &fd_count, timeout_ms, NULL, err);
    if (rc != 0)
        return rc;
    const struct mr_message_producer_opened *opened = &reply->producer_opened;
    if (fd_count != 1 || (uint64_t)opened->handle_first + opened->partition_count > UINT16_MAX + 1u)
        rc = mr_err(err, EPROTO, "the broker opened a producer on '%s' in a way that this library does not know", producer->topic);
    else
        rc = mr_head_map(fds[0], opened->partition_count, &producer->head, &producer->head_bytes, err);
    mr_client_close_fds(fds, fd_count);
    if (rc != 0)
        return rc;
    producer->number = opened->producer;
    producer->handle_first = opened->handle_first;
    producer->rings_end = producer->client->ring_next;
    producer->producer_id = opened->producer_id;
    producer->producer_epoch = opened->producer_epoch;
    memcpy(producer->token, opened->token, sizeof producer->token);
    return 0;
}

static void find_rings(struct millrace_producer *producer)
{
    for (uint32_t p = 0; p < producer->partition_count; p++) {
        producer->partition[p].handle = producer->handle_first + p;
        producer->partition[p].ring = mr_head_owner_ring(producer->client, producer->head, p, producer->rings_end);
    }
}

static void free_producer(struct millrace_producer *producer)
{
    for (uint32_t p = 0; producer->partition != NULL && p < producer->partition_count; p++) {
        mr_backlog_release(&producer->partition[p]);
        mr_sequences_release(&producer->partition[p].numbers);
    }
    mr_head_unmap(producer->head, producer->head_bytes);
    free(producer->partition);
    free(producer->acks);
    free(producer);
}

MR_CLIENT_EXPORT int millrace_producer_open(struct millrace_producer **result, struct millrace_client *client, const char *topic,
                                            const struct millrace_producer_options *options, struct millrace_error *err)
{
    union mr_message reply;
    uint64_t first_sequence = 0;

    *result = NULL;
    if (err != NULL)
        *err = (struct millrace_error){0};
    struct millrace_producer *producer = calloc(1, sizeof *producer);
    if (producer == NULL)
        return mr_err(err, ENOMEM, "no memory for a producer");
    producer->client = client;
    int rc = take_options(producer, options, err);
    if (options != NULL && options->size_bytes >= sizeof *options)
        first_sequence = options->first_sequence;
    if (rc == 0 && (strlen(topic) == 0 || strlen(topic) >= sizeof producer->topic))
        rc = mr_err(err, EINVAL, "a topic's name has 1 to %d characters", MR_TOPIC_NAME_MAX);
    if (rc == 0)
        rc = mr_client_drive(client) != 0 ? mr_err(err, ENOTCONN, "the broker is gone: attach anew") : 0;
    if (rc != 0)
        goto failed;
    strcpy(producer->topic, topic);
    rc = introduce(producer, false, MR_CLIENT_REQUEST_MS, &reply, err);
    if (rc != 0)
        goto failed;
    producer->partition_count = reply.producer_opened.partition_count;
    producer->topic_id = reply.producer_opened.topic_id;
    producer->partition = calloc(producer->partition_count, sizeof *producer->partition);
    producer->ack_room = MR_ACKS_KEPT;
    producer->acks = calloc(producer->ack_room, sizeof *producer->acks);
    if (producer->partition == NULL || producer->acks == NULL) {
        rc = mr_err(err, ENOMEM, "no memory for a producer of %u partitions", producer->partition_count);
        goto failed;
    }
    for (uint32_t p = 0; p < producer->partition_count; p++) {
        struct mr_sequences *numbers = &producer->partition[p].numbers;
        numbers->next = numbers->next_wire = numbers->settled = first_sequence;
        producer->partition[p].accepted_end = producer->partition[p].acked_end = first_sequence;
    }
    mr_client_clear_handles(client, producer->handle_first, producer->partition_count);
    find_rings(producer);
    producer->owner = client->owner_next++;
    producer->next = client->producers;
    client->producers = producer;
    *result = producer;
    return 0;
failed:
    free_producer(producer);
    return rc;
}

MR_CLIENT_EXPORT void millrace_producer_close(struct millrace_producer *producer)
{
    if (producer == NULL)
        return;
    struct millrace_client *client = producer->client;
    mr_client_abort_owner(client, producer->owner);
    mr_client_blot_unshown(client, producer->handle_first, producer->partition_count);
    for (uint32_t p = 0; p < producer->partition_count; p++)
        if (producer->partition[p].refused > 0)
            client->held--; /* its refused frames are nobody's now */
    if (client->state == MR_CLIENT_ATTACHED && !producer->lost) {
        struct mr_message_close request = {.index = producer->number};
        union mr_message reply;
        int fds[MR_MESSAGE_FDS_MAX];
        uint32_t fd_count;
        int rc = mr_client_request(client, &request.header, sizeof request, MR_MESSAGE_CLOSE_PRODUCER, &reply, MR_MESSAGE_DONE,
                                   sizeof reply.done, fds, &fd_count, MR_CLIENT_GREETING_MS, NULL);
        (void)rc; /* a daemon that is gone has closed it too */
    }
    struct millrace_producer **at = &client->producers;
    while (*at != producer)
        at = &(*at)->next;
    *at = producer->next;
    client->choked = false;
    free_producer(producer);
}

int mr_producers_resume(struct millrace_client *client)
{
    union mr_message reply;

    for (struct millrace_producer *producer = client->producers; producer != NULL; producer = producer->next) {
        if (producer->lost)
            continue;
        const struct mr_head *old_head = producer->head;
        uint64_t old_bytes = producer->head_bytes;
        struct millrace_error err = {0};
        int rc = introduce(producer, true, MR_CLIENT_RESUME_MS, &reply, &err);
        if (rc != 0) {
            producer->head = old_head;
            producer->head_bytes = old_bytes;
        }
        if (rc == -ENOTCONN || rc == -ETIMEDOUT || rc == -ENOMEM || rc == -EAGAIN)
            return rc;
        if (rc == 0) {
            mr_head_unmap(old_head, old_bytes);
            if (reply.producer_opened.partition_count < producer->partition_count ||
                memcmp(&reply.producer_opened.topic_id, &producer->topic_id, sizeof producer->topic_id) != 0)
                rc = mr_err(&err, ESTALE, "topic '%s' was deleted and made anew: open a new producer", producer->topic);
        }
        if (rc != 0) { /* its token, or the topic, is not known any more: only this producer is lost */
            client->last_error = err;
            producer->lost = true;
            continue;
        }
        find_rings(producer);
        mr_backlog_pump(producer);
    }
    return 0;
}
