/* SPDX-License-Identifier: Apache-2.0 */
/* What the door asks of a reactor. Cold: attaching, opening and closing. */
#include "dataplane/reactor/reactor_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "shm/base/logging.h"

void reactor_reply(struct mr_reactor *reactor, const struct mr_reactor_reply *reply)
{
    struct mr_reactor_reply copy = *reply;
    copy.reactor = reactor->options.index;
    if (reactor->unsent_count == 0 && mr_mailbox_send(reactor->options.replies, &copy)) {
        mr_bell_ring(reactor->options.replies->bell);
        return;
    }
    if (reactor->unsent_count == reactor->unsent_capacity) {
        uint32_t capacity = reactor->unsent_capacity == 0 ? 256 : 2 * reactor->unsent_capacity;
        struct mr_reactor_reply *grown = realloc(reactor->unsent, capacity * sizeof *grown);
        mr_assert(grown != NULL); /* as many as the door has requests outstanding, which took more memory than this */
        reactor->unsent = grown;
        reactor->unsent_capacity = capacity;
    }
    reactor->unsent[reactor->unsent_count++] = copy;
}

void reactor_send_replies(struct mr_reactor *reactor)
{
    uint32_t sent = 0;
    while (sent < reactor->unsent_count && mr_mailbox_send(reactor->options.replies, &reactor->unsent[sent]))
        sent++;
    reactor->unsent_count -= sent;
    if (sent > 0 && reactor->unsent_count > 0)
        memmove(reactor->unsent, reactor->unsent + sent, reactor->unsent_count * sizeof reactor->unsent[0]);
    mr_bell_ring(reactor->options.replies->bell);
}

static int add_partition(struct mr_reactor *reactor, struct mr_topic_partition *partition, const struct mr_log_recovered *recovered)
{
    struct mr_topic *topic = partition->topic;
    struct mr_log_partition_options options = {
        .topic_id = topic->id, .partition = partition->index, .directory = partition->directory, .durability = topic->config.durability,
        .segment_bytes = (uint64_t)topic->config.segment_bytes,
        .retention_bytes = topic->config.retention_bytes < 0 ? UINT64_MAX : (uint64_t)topic->config.retention_bytes,
        .retention_ms = topic->config.retention_ms < 0 ? 0 : (uint64_t)topic->config.retention_ms,
        .batch_bytes_max = (uint32_t)topic->config.message_bytes_max, .slot_bytes = topic->slot_bytes, .extent_bytes = topic->extent_bytes,
        .boot_id = topic->head->boot_id, .head = partition->head, .context = partition};
    if (reactor->partition_count == reactor->partition_capacity) {
        uint32_t capacity = reactor->partition_capacity == 0 ? 64 : 2 * reactor->partition_capacity;
        struct mr_topic_partition **grown = realloc(reactor->partitions, capacity * sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        reactor->partitions = grown;
        reactor->partition_capacity = capacity;
    }
    int rc = mr_log_partition_add(reactor->log, &options, recovered, &partition->log);
    if (rc == 0)
        reactor->partitions[reactor->partition_count++] = partition;
    return rc;
}

static void add_topic(struct mr_reactor *reactor, const struct mr_reactor_message *message)
{
    struct mr_reactor_reply reply = {.kind = message->kind, .topic = message->topic, .context = message->context};
    uint32_t refused = 0;
    for (uint32_t p = message->first_partition; p < message->topic->partition_count; p++) {
        struct mr_topic_partition *partition = message->topic->partitions[p];
        if (partition->reactor != reactor->options.index)
            continue;
        int rc = add_partition(reactor, partition, message->recovered != NULL ? message->recovered[p] : NULL);
        if (rc == 0)
            continue;
        reply.result = rc;
        refused++;
        mr_store_release(&partition->head->state, MR_PARTITION_OFFLINE); /* it has no log: frames are refused, reads fail */
    }
    if (refused > 0)
        mr_say_error("topic '%s': %u partitions are offline: %s", message->topic->name, refused,
                     reply.result == -ENOSPC ? "a journal cannot keep the marks of so many partitions; enlarge millrace.journal.bytes"
                                              : strerror(-reply.result));
    reactor->log_due = true;
    reactor_reply(reactor, &reply);
}

static void configure_topic(struct mr_reactor *reactor, const struct mr_reactor_message *message)
{
    struct mr_reactor_reply reply = {.kind = message->kind, .topic = message->topic, .context = message->context};
    const struct mr_topic_config *config = message->config;
    uint64_t retention_bytes = config->retention_bytes < 0 ? UINT64_MAX : (uint64_t)config->retention_bytes;
    for (uint32_t p = 0; p < message->topic->partition_count; p++) {
        const struct mr_topic_partition *partition = message->topic->partitions[p];
        if (partition->reactor == reactor->options.index && partition->log != NULL)
            mr_partition_configure(partition->log, (uint64_t)config->segment_bytes, retention_bytes,
                                   config->retention_ms < 0 ? 0 : (uint64_t)config->retention_ms, (uint32_t)config->message_bytes_max);
    }
    reactor->log_due = true;
    reactor_reply(reactor, &reply);
}

static void add_ring(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    if (reactor->ring_count == reactor->ring_capacity) {
        uint32_t capacity = reactor->ring_capacity == 0 ? 64 : 2 * reactor->ring_capacity;
        struct mr_ring_session **grown = realloc(reactor->rings, capacity * sizeof(*grown));
        mr_assert(grown != NULL);
        reactor->rings = grown;
        reactor->ring_capacity = capacity;
    }
    /* Edge-triggered and never read: one doorbell serves every reactor of the session. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = ring};
    if (epoll_ctl(reactor->epoll, EPOLL_CTL_ADD, ring->doorbell, &event) != 0) {
        mr_say_warn("cannot watch a session's doorbell: its ring is polled for ever; raise fs.epoll.max_user_watches");
        ring->unwatched = true;
    }
    ring->list_index = reactor->ring_count;
    reactor->rings[reactor->ring_count++] = ring;
    ring->cold = true;
    reactor_make_hot(reactor, ring);
}

static void swap(struct mr_reactor *reactor, uint32_t a, uint32_t b)
{
    struct mr_ring_session *ring = reactor->rings[a];
    reactor->rings[a] = reactor->rings[b];
    reactor->rings[b] = ring;
    reactor->rings[a]->list_index = a;
    reactor->rings[b]->list_index = b;
}

static void release_producers(struct mr_handle *const *handles, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (handles[i] == NULL)
            continue;
        mr_producer_release(handles[i]->producer);
        handles[i]->producer = NULL;
    }
}

/* A table that the door made after it had asked for handles: until their frames are drained they are in it, as they were in the one before. */
static void set_handles(struct mr_reactor *reactor, const struct mr_reactor_message *message)
{
    struct mr_ring_session *ring = message->ring;
    struct mr_reactor_reply reply = {.kind = message->kind, .ring = ring, .handles = ring->handles, .context = message->context};
    ring->handles = message->handles;
    ring->handle_count = message->handle_count;
    for (uint32_t i = 0; i < reactor->closing_handles_count; i++) {
        const struct mr_handles_closing *closing = &reactor->closing_handles[i];
        for (uint32_t h = 0; closing->ring == ring && !closing->drained && h < closing->count; h++)
            ring->handles[closing->handles[h]->number] = closing->handles[h];
    }
    reactor_reply(reactor, &reply);
}

/* Their numbers go to others when we have replied: no frame that was committed for them may be undrained by then, no ack untold. */
void reactor_close_handles(struct mr_reactor *reactor)
{
    for (uint32_t i = 0; i < reactor->closing_handles_count;) {
        struct mr_handles_closing *closing = &reactor->closing_handles[i];
        struct mr_ring_session *ring = closing->ring;
        if (!closing->drained && (ring->ring.position >= closing->barrier || ring->poisoned || ring->closing)) {
            closing->drained = true;
            reactor_disarm(closing->handles, closing->count);
            for (uint32_t h = 0; h < closing->count; h++) {
                uint32_t number = closing->handles[h]->number;
                if (number < ring->handle_count && ring->handles[number] == closing->handles[h])
                    ring->handles[number] = NULL;
            }
        }
        while (closing->drained && closing->settled < closing->count && closing->handles[closing->settled]->acks_outstanding == 0)
            closing->settled++;
        if (!closing->drained || closing->settled < closing->count) {
            i++;
            continue;
        }
        release_producers(closing->handles, closing->count);
        struct mr_reactor_reply reply = {
            .kind = MR_REACTOR_CLOSE_HANDLES, .ring = ring, .handles = closing->handles, .handle_count = closing->count};
        *closing = reactor->closing_handles[--reactor->closing_handles_count];
        reactor_reply(reactor, &reply);
    }
}

static void close_handles(struct mr_reactor *reactor, const struct mr_reactor_message *message)
{
    struct mr_ring_session *ring = message->ring;
    if (reactor->closing_handles_count == reactor->closing_handles_capacity) {
        uint32_t capacity = reactor->closing_handles_capacity == 0 ? 64 : 2 * reactor->closing_handles_capacity;
        struct mr_handles_closing *grown = realloc(reactor->closing_handles, capacity * sizeof *grown);
        mr_assert(grown != NULL); /* smaller than the message's array, which the door found memory for */
        reactor->closing_handles = grown;
        reactor->closing_handles_capacity = capacity;
    }
    if (!ring->poisoned && !ring->closing && !mr_ring_is_empty(&ring->ring))
        reactor_make_hot(reactor, ring);
    /* The client committed before it asked the door. An index that makes no sense poisons the ring when it is drained. */
    reactor->closing_handles[reactor->closing_handles_count++] =
        (struct mr_handles_closing){.ring = ring, .handles = message->handles, .count = message->handle_count,
                                    .barrier = mr_load_acquire(&ring->ring.client->committed)}; /* P */
    reactor_close_handles(reactor); /* most often there is nothing to wait for */
}

/* Nothing refers to it any more, but the handles of the door's table. */
static void give_back(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    if (!ring->poisoned && !ring->retires)
        mr_store_release(&ring->ring.daemon->state, MR_RING_CLOSED);
    if (ring->list_index < reactor->hot_count)
        swap(reactor, ring->list_index, --reactor->hot_count);
    swap(reactor, ring->list_index, --reactor->ring_count);
    release_producers(ring->handles, ring->handle_count);
    struct mr_reactor_reply reply = {.kind = MR_REACTOR_CLOSE_RING, .ring = ring, .handles = ring->handles};
    reactor_reply(reactor, &reply);
}

void reactor_close_rings(struct mr_reactor *reactor)
{
    reactor->close_due = false;
    for (uint32_t i = reactor->ring_count; i > 0; i--)
        if (reactor->rings[i - 1]->closing && reactor->rings[i - 1]->acks_outstanding == 0)
            give_back(reactor, reactor->rings[i - 1]);
}

/* The client is gone, or uses the ring no more. What it committed is still taken (S4), in turn with the others' frames. */
static void close_ring(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    epoll_ctl(reactor->epoll, EPOLL_CTL_DEL, ring->doorbell, NULL);
    reactor_make_hot(reactor, ring);
    ring->leaving = true;
    ring->leave_ns = reactor->now_ns + MR_LEAVE_NS;
    reactor->leaving_count++;
}

/* Rings that are leaving and have nothing left begin to close; acks that wait for their watermark keep them until then. */
void reactor_leave(struct mr_reactor *reactor)
{
    for (uint32_t i = 0; i < reactor->hot_count; i++) {
        struct mr_ring_session *ring = reactor->rings[i];
        if (!ring->leaving || ring->closing || (!ring->poisoned && !mr_ring_is_empty(&ring->ring) && reactor->now_ns < ring->leave_ns))
            continue;
        reactor->leaving_count--;
        reactor_disarm(ring->handles, ring->handle_count);
        ring->closing = true;
        reactor_drop_backlog(reactor, ring);
        reactor->close_due = true;
    }
}

static void subscribe(struct mr_subscriber *subscriber)
{
    struct mr_subscriber **first = &subscriber->partition->subscribers;
    subscriber->next = *first;
    subscriber->link = first;
    if (*first != NULL)
        (*first)->link = &subscriber->next;
    *first = subscriber;
}

static void unsubscribe(struct mr_reactor *reactor, struct mr_subscriber *subscriber)
{
    *subscriber->link = subscriber->next; /* at once: a client may have ten thousand of them and die */
    if (subscriber->next != NULL)
        subscriber->next->link = subscriber->link;
    struct mr_reactor_reply reply = {.kind = MR_REACTOR_UNSUBSCRIBE, .subscriber = subscriber};
    reactor_reply(reactor, &reply);
}

static void find_segment(struct mr_reactor *reactor, const struct mr_reactor_message *message)
{
    struct mr_reactor_reply reply = {.kind = message->kind, .partition = message->partition, .context = message->context};
    reply.result = message->partition->log == NULL ? -EIO
                                                   : mr_partition_find_segment(message->partition->log, message->offset, &reply.segment,
                                                                               &reply.inplace_position, &reply.inplace_offset);
    reactor_reply(reactor, &reply);
}

static void find_time(struct mr_reactor *reactor, const struct mr_reactor_message *message)
{
    struct mr_reactor_reply reply = {.kind = message->kind, .partition = message->partition, .context = message->context};
    reply.result = message->partition->log == NULL ? -EIO
                                                   : mr_partition_find_time(message->partition->log, message->offset, message->time_ms, &reply.segment,
                                                                            &reply.hint);
    reactor_reply(reactor, &reply);
}

static void trimmed(struct mr_reactor *reactor, const struct mr_trim *trim, int result)
{
    struct mr_reactor_reply reply = {.kind = MR_REACTOR_TRIM, .partition = trim->partition, .context = trim->context, .result = result,
                                     .offset = trim->offset};
    reactor_reply(reactor, &reply);
}

static void begin_trim(struct mr_reactor *reactor, const struct mr_reactor_message *message)
{
    struct mr_trim asked = {.partition = message->partition, .offset = message->offset, .context = message->context};
    struct mr_partition *log = message->partition->log;
    uint64_t durable;
    struct mr_trim *trim = log != NULL && !message->partition->deleted ? malloc(sizeof *trim) : NULL;
    if (trim != NULL && asked.offset == UINT64_MAX)
        asked.offset = mr_partition_committed(log, &durable);
    int rc = trim == NULL ? (log == NULL ? -EIO : -ENOMEM) : mr_partition_trim(log, asked.offset);
    if (rc != 0) {
        free(trim);
        trimmed(reactor, &asked, message->partition->deleted ? -ENOENT : rc);
        return;
    }
    *trim = asked;
    trim->next = reactor->trims;
    reactor->trims = trim;
    reactor->log_due = true;
}

void reactor_answer_trims(struct mr_reactor *reactor)
{
    for (struct mr_trim **at = &reactor->trims; *at != NULL;) {
        struct mr_trim *trim = *at;
        const struct mr_topic_partition *partition = trim->partition;
        bool done = mr_load_relaxed(&partition->head->log_start) >= trim->offset;
        int failed = partition->deleted ? -ENOENT : partition->log == NULL ? -EIO : mr_partition_refuses(partition->log, 0) == -EIO ? -EIO : 0;
        if (!done && failed == 0) {
            at = &trim->next;
            continue;
        }
        *at = trim->next;
        trimmed(reactor, trim, done ? 0 : failed);
        free(trim);
    }
}

bool reactor_messages(struct mr_reactor *reactor)
{
    struct mr_reactor_message message;
    bool any = false;

    while (mr_mailbox_receive(reactor->options.messages, &message)) {
        any = true;
        switch (message.kind) {
        case MR_REACTOR_ADD_TOPIC:
            add_topic(reactor, &message);
            break;
        case MR_REACTOR_CONFIGURE_TOPIC:
            configure_topic(reactor, &message);
            break;
        case MR_REACTOR_REMOVE_TOPIC:
            reactor_remove_topic(reactor, message.topic);
            break;
        case MR_REACTOR_BEGIN:
            reactor->begun = true;
            reactor->log_due = true;
            break;
        case MR_REACTOR_ADD_RING:
            add_ring(reactor, message.ring);
            break;
        case MR_REACTOR_SET_HANDLES:
            set_handles(reactor, &message);
            break;
        case MR_REACTOR_CLOSE_HANDLES:
            close_handles(reactor, &message);
            break;
        case MR_REACTOR_CLOSE_RING:
            message.ring->retires = message.retires;
            close_ring(reactor, message.ring);
            break;
        case MR_REACTOR_SUBSCRIBE:
            subscribe(message.subscriber);
            break;
        case MR_REACTOR_UNSUBSCRIBE:
            unsubscribe(reactor, message.subscriber);
            break;
        case MR_REACTOR_FIND_SEGMENT:
            find_segment(reactor, &message);
            break;
        case MR_REACTOR_FIND_TIME:
            find_time(reactor, &message);
            break;
        case MR_REACTOR_TRIM:
            begin_trim(reactor, &message);
            break;
        case MR_REACTOR_STOP:
            reactor->stopping = true;
            break;
        default:
            mr_assert(!"unknown message to a reactor");
        }
    }
    /* Steward's answers are events of the log's next step. */
    struct mr_log_event event;
    while (reactor->event_count < MR_EVENTS / 2 && mr_mailbox_receive(reactor->options.answers, &event)) {
        reactor->events[reactor->event_count++] = event;
        ((struct mr_topic_partition *)mr_partition_context(event.partition))->answers_awaited--;
        any = true;
    }
    return any;
}
