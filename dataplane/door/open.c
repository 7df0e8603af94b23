/* SPDX-License-Identifier: Apache-2.0 */
/* Opening producers and consumers: handles for each partition, rings to the reactors that own them.
 *
 *   request -> offer a ring for every owner to whom there is none so large -> [all RING_MAPPED] -> give each owner the new handle table -> [all replied]
 *           -> OPENED */
#include "dataplane/door/door_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dataplane/node/topic.h"
#include "shm/base/logging.h"

#define SUBMISSION_BYTES_CONSUMER MR_RING_SUBMISSION_BYTES_MIN

static bool is_being_made(const struct mr_door *door, const struct mr_topic *topic)
{
    return door->change.topic == topic && door->change.kind == MR_REACTOR_ADD_TOPIC && door->change.first_partition == 0;
}

struct mr_topic *door_find_topic(struct mr_session *session, const char *name_in, uint64_t request)
{
    char name[257], text[400];
    snprintf(name, sizeof name, "%.256s", name_in);
    struct mr_topic *topic = mr_registry_find(session->door->options.registry, name);
    if (topic != NULL && topic->head == NULL) { /* neither made nor taken back: the disk failed twice */
        snprintf(text, sizeof text, "topic '%s' has no memory: it could not be created; restart the broker when there is room in /dev/shm", name);
        door_send_error(session, request, ENOMEM, text);
        return NULL;
    }
    if (topic == NULL || topic->deleted || is_being_made(session->door, topic)) {
        snprintf(text, sizeof text, "no topic '%s': millrace topic create %s", name, name);
        door_send_error(session, request, ENOENT, text);
        return NULL;
    }
    return topic;
}

/* Numbers that lie together: the first that are free, else the table grows. @return the first of them; -EMFILE; -ENOMEM */
static int find_numbers(struct mr_session *session, uint32_t count)
{
    uint32_t run = 0;
    for (uint32_t number = 0; number < session->handle_count; number++) {
        run = session->handles[number] == NULL ? run + 1 : 0;
        if (run == count)
            return (int)(number + 1 - count);
    }
    uint32_t first = session->handle_count - run;
    if (first + count > MR_SESSION_HANDLES_MAX)
        return -EMFILE;
    struct mr_handle **grown = realloc(session->handles, (first + count) * sizeof(*grown));
    if (grown == NULL)
        return -ENOMEM;
    memset(grown + session->handle_count, 0, (first + count - session->handle_count) * sizeof(*grown));
    session->handles = grown;
    session->handle_count = first + count;
    return (int)first;
}

/* One handle a partition; all that follows can no longer fail for want of them. @return the first; -EMFILE; -ENOMEM */
static int add_handles(struct mr_session *session, struct mr_topic *topic, uint8_t kind, uint8_t acks, int64_t producer_id, int16_t epoch)
{
    uint32_t count = topic->partition_count;
    int numbers = find_numbers(session, count);
    if (numbers < 0)
        return numbers;
    uint32_t first = (uint32_t)numbers;
    for (uint32_t p = 0; p < count; p++) {
        struct mr_handle *handle = calloc(1, sizeof *handle);
        if (handle == NULL) {
            for (; p > 0; p--) {
                free(session->handles[first + p - 1]);
                session->handles[first + p - 1] = NULL;
            }
            return -ENOMEM;
        }
        handle->partition = topic->partitions[p];
        handle->kind = kind;
        handle->acks = acks;
        handle->producer_id = producer_id;
        handle->producer_epoch = epoch;
        handle->number = first + p;
        session->handles[first + p] = handle;
    }
    return numbers;
}

static void free_handle(struct mr_session *session, struct mr_handle *handle)
{
    struct mr_session_ring *slot = handle->ring != NULL ? door_ring_of(session, handle->ring) : NULL;
    session->handles[handle->number] = NULL;
    free(handle);
    if (slot != NULL && --slot->handle_count == 0)
        door_ring_retire(session, slot);
}

/* Ask the reactors for handles back. What the client has committed for them is still taken, and acknowledged. */
static void close_handles(struct mr_session *session, uint32_t first, uint32_t count)
{
    struct mr_door *door = session->door;
    for (uint32_t h = first; h < first + count; h++)
        if (session->handles[h]->ring == NULL) /* no reactor has seen it */
            free_handle(session, session->handles[h]);
    for (const struct mr_session_ring *slot = session->rings; slot != NULL; slot = slot->next) {
        struct mr_reactor_message message = {.kind = MR_REACTOR_CLOSE_HANDLES, .ring = slot->ring};
        for (uint32_t h = first; h < first + count; h++)
            message.handle_count += session->handles[h] != NULL && session->handles[h]->ring == message.ring;
        if (message.handle_count == 0)
            continue;
        message.handles = malloc(message.handle_count * sizeof(*message.handles));
        if (message.handles == NULL)
            continue; /* their numbers stay taken until the session ends */
        uint32_t taken = 0;
        for (uint32_t h = first; h < first + count; h++)
            if (session->handles[h] != NULL && session->handles[h]->ring == message.ring) {
                session->handles[h]->closing = true;
                message.handles[taken++] = session->handles[h];
            }
        session->returns_awaited++;
        door_to_reactor(door, slot->reactor, &message);
    }
}

void door_handles_returned(struct mr_session *session, struct mr_handle **handles, uint32_t count)
{
    for (uint32_t h = 0; h < count; h++)
        free_handle(session, handles[h]);
    free(handles);
    session->returns_awaited--;
    if (session->state == MR_SESSION_READY && session->request_kind == MR_REQUEST_NUMBERS) {
        session->request_kind = MR_REQUEST_NONE;
        if (session->later.header.type == MR_MESSAGE_OPEN_PRODUCER)
            door_open_producer(session, &session->later.producer);
        else
            door_open_consumer(session, &session->later.consumer);
        return;
    }
    door_session_settle(session);
}

/* What was closed before may still have frames on their way, and its numbers with them: then the request waits for these. */
static bool must_wait(struct mr_session *session, uint32_t count, const struct mr_message_header *message)
{
    if (session->returns_awaited == 0 || find_numbers(session, count) != -EMFILE)
        return false;
    if (message != &session->later.header)
        memcpy(&session->later, message, message->bytes);
    session->request_kind = MR_REQUEST_NUMBERS;
    return true;
}

static int offer_rings(struct mr_session *session, struct mr_topic *topic, uint32_t submission_bytes, struct millrace_error *err)
{
    bool met[MR_REACTORS_MAX] = {false};
    session->maps_awaited = 0;
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        uint32_t reactor = topic->partitions[p]->reactor;
        if (met[reactor])
            continue;
        met[reactor] = true;
        int rc = door_ring_offer(session, reactor, submission_bytes, err);
        if (rc != 0 || session->state == MR_SESSION_CLOSING)
            return rc != 0 ? rc : -EPIPE;
    }
    return 0;
}

static void fail(struct mr_session *session, int rc, const char *text)
{
    close_handles(session, session->opening_handle, session->opening_count);
    if (session->request_kind == MR_REQUEST_PRODUCER)
        session->producers[session->opening].open = false;
    else
        door_consumer_free(session, &session->consumers[session->opening]);
    session->request_kind = MR_REQUEST_NONE;
    door_send_error(session, session->request, rc, text);
}

static uint32_t sane_ring_bytes(const struct mr_node_config *config, uint32_t wanted)
{
    uint32_t bytes = MR_RING_SUBMISSION_BYTES_MIN;
    uint64_t max = (uint64_t)config->ring_bytes_max < MR_RING_SUBMISSION_BYTES_MAX ? (uint64_t)config->ring_bytes_max : MR_RING_SUBMISSION_BYTES_MAX;
    while (bytes < wanted && bytes * 2ull <= max)
        bytes *= 2;
    return bytes;
}

void door_open_producer(struct mr_session *session, const struct mr_message_open_producer *message)
{
    struct mr_door *door = session->door;
    struct millrace_error err = {0};
    uint64_t request = message->header.request;
    struct mr_topic *topic = door_find_topic(session, message->topic, request);
    uint32_t number = 0;

    if (topic == NULL)
        return;
    while (number < MR_SESSION_PRODUCERS_MAX && session->producers[number].open)
        number++;
    if (number == MR_SESSION_PRODUCERS_MAX) {
        door_send_error(session, request, EMFILE, "a session can have 256 producers: close some, or attach once more");
        return;
    }
    if (message->acks > MR_DURABILITY_DISK || message->producer_epoch < 0 || message->producer_epoch > INT16_MAX) {
        door_session_poison(session, MR_POISON_MESSAGE);
        return;
    }
    if (must_wait(session, topic->partition_count, &message->header))
        return;
    int64_t producer_id = -1;
    int16_t epoch = -1;
    if (message->resume) {
        if (!mr_producer_token_check(door->options.producer_ids, message->producer_id, message->producer_epoch, session->uid, message->token)) {
            door_send_error(session, request, EACCES, "the resume token is not of this node: open a new producer");
            return;
        }
        producer_id = message->producer_id;
        epoch = (int16_t)message->producer_epoch;
    } else if (message->idempotent) {
        producer_id = mr_producer_ids_next(door->options.producer_ids);
        door_control_want_ids(door);
        if (producer_id < 0) {
            door_send_error(session, request, EAGAIN, "no producer ids are left, and millrace-control, which gives them, is restarting: try again");
            return;
        }
        epoch = 0;
    }
    int rc = add_handles(session, topic, MR_HANDLE_PRODUCER, (uint8_t)message->acks, producer_id, epoch);
    if (rc < 0) {
        door_send_error(session, request, rc, rc == -EMFILE ? "a session can have 65536 handles (partitions times producers and consumers): attach once more"
                                                            : "the broker has no memory for another producer");
        return;
    }
    uint32_t first = (uint32_t)rc;
    session->producers[number] = (struct mr_session_producer){.open = true, .handle_first = first, .topic = topic, .partition_count = topic->partition_count};
    session->opening = number;
    session->opening_handle = first;
    session->opening_count = topic->partition_count;
    session->request = request;
    session->request_kind = MR_REQUEST_PRODUCER;
    session->request_topic = topic;
    session->producer_opened = (struct mr_message_producer_opened){
        .header = {.bytes = sizeof session->producer_opened, .type = MR_MESSAGE_PRODUCER_OPENED, .abi_version = MR_ABI_VERSION, .request = request},
        .producer = number, .handle_first = first, .partition_count = topic->partition_count, .durability = topic->config.durability,
        .message_bytes_max = (uint32_t)topic->config.message_bytes_max, .producer_id = producer_id, .producer_epoch = epoch, .topic_id = topic->id};
    if (producer_id >= 0)
        mr_producer_token(door->options.producer_ids, producer_id, epoch, session->uid, session->producer_opened.token);
    rc = offer_rings(session, topic, sane_ring_bytes(door->options.config, message->submission_bytes), &err);
    if (session->state == MR_SESSION_CLOSING)
        return;
    if (rc != 0)
        fail(session, rc, err.text);
    else if (session->maps_awaited == 0)
        door_open_go_on(session);
}

/* Everything of a consumer but its rings. @return 0; -EMFILE, -ENOMEM with a message, and nothing is left of it */
static int make_consumer(struct mr_session *session, struct mr_session_consumer *consumer, struct mr_topic *topic, struct millrace_error *err)
{
    uint64_t pins_bytes = mr_align_up(mr_pins_bytes(topic->partition_count), 4096);
    void *memory = NULL;

    int rc = door_quota_take(session, pins_bytes, err);
    if (rc != 0)
        return rc;
    if (!door_take_fds(session->door, 1)) {
        door_quota_give(session, pins_bytes);
        return mr_err(err, EMFILE, "attached programs hold %u descriptors of the broker, half of what it may open; raise its limit (ulimit -n)",
                      session->door->fd_max);
    }
    int fd = door_memfd("millrace-pins", pins_bytes, &memory, err);
    if (fd < 0) {
        door_quota_give(session, pins_bytes);
        session->door->fd_count--;
        return fd;
    }
    consumer->pins_fd = fd;
    consumer->pins = memory;
    consumer->pins_bytes = pins_bytes;
    consumer->pins_arena = mr_guard_add(memory, pins_bytes);
    consumer->subscribers = calloc(topic->partition_count, sizeof(struct mr_subscriber *));
    rc = consumer->subscribers == NULL ? -ENOMEM : add_handles(session, topic, MR_HANDLE_CONSUMER, 0, -1, -1);
    if (rc < 0) {
        door_consumer_free(session, consumer);
        return mr_err(err, -rc, rc == -EMFILE ? "a session can have 65536 handles (partitions times producers and consumers): attach once more"
                                              : "the broker has no memory for another consumer");
    }
    consumer->open = true;
    consumer->topic = topic;
    consumer->partition_count = topic->partition_count;
    consumer->handle_first = (uint32_t)rc;
    return 0;
}

void door_open_consumer(struct mr_session *session, const struct mr_message_open_consumer *message)
{
    struct millrace_error err = {0};
    uint64_t request = message->header.request;
    struct mr_topic *topic = door_find_topic(session, message->topic, request);
    if (topic == NULL)
        return;
    uint32_t number = 0;
    while (number < MR_SESSION_CONSUMERS_MAX && session->consumers[number].open)
        number++;
    if (number == MR_SESSION_CONSUMERS_MAX) {
        door_send_error(session, request, EMFILE, "a session can have 256 consumers: close some, or attach once more");
        return;
    }
    if (must_wait(session, topic->partition_count, &message->header))
        return;
    struct mr_session_consumer *consumer = &session->consumers[number];
    int rc = make_consumer(session, consumer, topic, &err);
    if (rc != 0) {
        door_send_error(session, request, rc, err.text);
        return;
    }
    session->opening = number;
    session->opening_handle = consumer->handle_first;
    session->opening_count = consumer->partition_count;
    session->request = request;
    session->request_kind = MR_REQUEST_CONSUMER;
    session->request_topic = topic;
    session->consumer_opened = (struct mr_message_consumer_opened){
        .header = {.bytes = sizeof session->consumer_opened, .type = MR_MESSAGE_CONSUMER_OPENED, .abi_version = MR_ABI_VERSION, .request = request},
        .consumer = session->opening, .handle_first = consumer->handle_first, .partition_count = topic->partition_count,
        .durability = topic->config.durability, .slot_bytes = topic->slot_bytes, .extent_bytes = topic->extent_bytes, .topic_id = topic->id};
    rc = offer_rings(session, topic, SUBMISSION_BYTES_CONSUMER, &err);
    if (session->state == MR_SESSION_CLOSING)
        return;
    if (rc != 0)
        fail(session, rc, err.text);
    else if (session->maps_awaited == 0)
        door_open_go_on(session);
}

static void opened(struct mr_session *session)
{
    struct mr_door *door = session->door;
    struct mr_topic *topic = session->request_topic;
    if (session->set_failed) {
        session->set_failed = false;
        fail(session, ENOMEM, "the broker has no memory for another producer or consumer");
        return;
    }
    if (session->request_kind == MR_REQUEST_PRODUCER) {
        session->request_kind = MR_REQUEST_NONE;
        door_send(session, &session->producer_opened, &topic->head_file.read_fd, 1);
        return;
    }
    if (topic->slots_fd < 0) {
        char name[80], path[MR_MEMORY_PATH_MAX + 84];
        struct millrace_error err;
        mr_topic_slots_name(&topic->id, name);
        snprintf(path, sizeof path, "%s/%s", door->options.memory->plain_folder, name);
        topic->slots_fd = mr_memory_open_reader(path, &err);
        if (topic->slots_fd < 0) {
            fail(session, topic->slots_fd, err.text);
            topic->slots_fd = -1;
            return;
        }
    }
    session->request_kind = MR_REQUEST_NONE;
    int fds[3] = {topic->head_file.read_fd, session->consumers[session->opening].pins_fd, topic->slots_fd};
    door_send(session, &session->consumer_opened, fds, 3);
}

/* All rings are with their reactors: give each owner of a partition the table. */
void door_open_go_on(struct mr_session *session)
{
    struct mr_door *door = session->door;
    bool owner[MR_REACTORS_MAX] = {false};

    if (session->request_kind != MR_REQUEST_PRODUCER && session->request_kind != MR_REQUEST_CONSUMER)
        return;
    for (uint32_t h = session->opening_handle; h < session->opening_handle + session->opening_count; h++)
        owner[session->handles[h]->partition->reactor] = true;
    for (uint32_t r = 0; r < door->options.reactor_count; r++) {
        if (!owner[r])
            continue;
        for (uint32_t h = session->opening_handle; h < session->opening_handle + session->opening_count; h++)
            if (session->handles[h]->partition->reactor == r) {
                session->handles[h]->ring = session->current[r]->ring;
                session->current[r]->handle_count++;
            }
    }
    for (uint32_t r = 0; r < door->options.reactor_count; r++) {
        if (!owner[r])
            continue;
        struct mr_handle **table = malloc(session->handle_count * sizeof(*table));
        if (table == NULL) {
            session->set_failed = true; /* told when those that were asked have replied */
            break;
        }
        memcpy(table, session->handles, session->handle_count * sizeof(*table));
        for (uint32_t h = 0; h < session->handle_count; h++)
            if (table[h] != NULL && (table[h]->ring != session->current[r]->ring || table[h]->closing))
                table[h] = NULL; /* another ring's: a frame with it on this ring is the client's mistake */
        struct mr_reactor_message message = {
            .kind = MR_REACTOR_SET_HANDLES, .ring = session->current[r]->ring, .handles = table, .handle_count = session->handle_count, .context = session};
        session->sets_awaited++;
        door_to_reactor(door, r, &message);
    }
    if (session->sets_awaited == 0)
        opened(session);
}

void door_handles_set(struct mr_session *session, struct mr_handle **old)
{
    free(old);
    mr_assert(session->sets_awaited > 0);
    if (--session->sets_awaited > 0)
        return;
    if (session->state == MR_SESSION_CLOSING)
        door_session_settle(session);
    else
        opened(session);
}

void door_close_producer(struct mr_session *session, const struct mr_message_close *message)
{
    if (message->index >= MR_SESSION_PRODUCERS_MAX || !session->producers[message->index].open) {
        door_session_poison(session, MR_POISON_MESSAGE);
        return;
    }
    struct mr_session_producer *producer = &session->producers[message->index];
    close_handles(session, producer->handle_first, producer->partition_count);
    producer->open = false;
    door_send_done(session, message->header.request);
}

void door_close_consumer(struct mr_session *session, const struct mr_message_close *message)
{
    if (message->index >= MR_SESSION_CONSUMERS_MAX || !session->consumers[message->index].open) {
        door_session_poison(session, MR_POISON_MESSAGE);
        return;
    }
    struct mr_session_consumer *consumer = &session->consumers[message->index];
    session->opening = message->index;
    session->request = message->header.request;
    session->request_kind = MR_REQUEST_CLOSE;
    close_handles(session, consumer->handle_first, consumer->partition_count);
    session->replies_awaited += door_unsubscribe_all(session, consumer);
    door_session_settle(session);
}

/* No reactor reads its pins any more. */
void door_consumer_closed(struct mr_session *session)
{
    door_consumer_free(session, &session->consumers[session->opening]);
    session->request_kind = MR_REQUEST_NONE;
    door_send_done(session, session->request);
}

void door_consumer_free(struct mr_session *session, struct mr_session_consumer *consumer)
{
    if (consumer->pins != NULL) {
        mr_guard_remove(consumer->pins_arena);
        munmap(consumer->pins, consumer->pins_bytes);
        door_quota_give(session, consumer->pins_bytes);
    }
    if (consumer->pins_fd >= 0) {
        close(consumer->pins_fd);
        session->door->fd_count--;
    }
    free(consumer->subscribers);
    memset(consumer, 0, sizeof *consumer);
    consumer->pins_fd = -1;
}
