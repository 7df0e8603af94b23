/* SPDX-License-Identifier: Apache-2.0 */
/* What the door asks of a reactor. Cold: attaching, opening and closing. */
#include "dataplane/reactor/reactor_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "shm/base/logging.h"

void reactor_reply(struct mr_reactor *reactor, const struct mr_reactor_reply *reply)
{
    struct mr_reactor_reply copy = *reply;
    copy.reactor = reactor->options.index;
    while (!mr_mailbox_send(reactor->options.replies, &copy)) { /* as many as there are requests outstanding: the door is at work on them */
        mr_bell_ring(reactor->options.replies->bell);
        usleep(50);
    }
    mr_bell_ring(reactor->options.replies->bell);
}

static int add_partition(struct mr_reactor *reactor, struct mr_topic_partition *partition, const struct mr_log_recovered *recovered)
{
    struct mr_topic *topic = partition->topic;
    struct mr_log_partition_options options = {
        .topic_id = topic->id, .partition = partition->index, .directory = partition->directory, .durability = topic->config.durability,
        .segment_bytes = (uint64_t)topic->config.segment_bytes,
        .retention_bytes = topic->config.retention_bytes < 0 ? UINT64_MAX : (uint64_t)topic->config.retention_bytes,
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
    for (uint32_t p = 0; p < message->topic->partition_count && reply.result == 0; p++)
        if (message->topic->partitions[p].reactor == reactor->options.index)
            reply.result = add_partition(reactor, &message->topic->partitions[p], message->recovered != NULL ? message->recovered[p] : NULL);
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
    if (epoll_ctl(reactor->epoll, EPOLL_CTL_ADD, ring->doorbell, &event) != 0)
        mr_say_warn("cannot watch a session's doorbell: it may be served late; raise fs.epoll.max_user_watches");
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

static void disarm(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    (void)reactor;
    for (uint32_t i = 0; i < ring->handle_count; i++) {
        struct mr_handle *handle = ring->handles[i];
        if (handle == NULL || !handle->armed)
            continue;
        struct mr_handle **at = &handle->partition->armed;
        while (*at != handle)
            at = &(*at)->armed_next;
        *at = handle->armed_next;
        handle->armed = false;
    }
}

/* Gone when nothing refers to it any more: waiting acks of a dead session are dropped as their watermark comes. */
void reactor_try_close(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    while (ring->backlog_first != NULL) {
        struct mr_ack *ack = ring->backlog_first;
        ring->backlog_first = ack->next;
        ring->acks_outstanding--;
        ack->next = reactor->ack_free;
        reactor->ack_free = ack;
        reactor->ack_free_count++;
    }
    ring->backlog_last = NULL;
    if (ring->acks_outstanding > 0)
        return;
    if (ring->list_index < reactor->hot_count)
        swap(reactor, ring->list_index, --reactor->hot_count);
    swap(reactor, ring->list_index, --reactor->ring_count);
    /* The last pass may have left it in the list of rings with news; that list is emptied before any reply is read. */
    struct mr_reactor_reply reply = {.kind = MR_REACTOR_CLOSE_RING, .ring = ring, .handles = ring->handles};
    reactor_reply(reactor, &reply);
}

static void close_ring(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    /* S4: what was committed before the client died is taken; the bound is the ring itself. */
    while (!ring->poisoned && reactor_drain(reactor, ring))
        ;
    reactor_wake_sleepers(reactor);
    epoll_ctl(reactor->epoll, EPOLL_CTL_DEL, ring->doorbell, NULL);
    disarm(reactor, ring);
    ring->closing = true;
    reactor_try_close(reactor, ring);
}

static void unsubscribe(struct mr_reactor *reactor, struct mr_subscriber *subscriber)
{
    struct mr_subscriber **at = &subscriber->partition->subscribers;
    while (*at != NULL && *at != subscriber)
        at = &(*at)->next;
    if (*at != NULL)
        *at = subscriber->next;
    struct mr_reactor_reply reply = {.kind = MR_REACTOR_UNSUBSCRIBE, .subscriber = subscriber};
    reactor_reply(reactor, &reply);
}

static void find_segment(struct mr_reactor *reactor, const struct mr_reactor_message *message)
{
    struct mr_reactor_reply reply = {.kind = message->kind, .partition = message->partition, .context = message->context};
    reply.result = mr_partition_find_segment(message->partition->log, message->offset, &reply.segment, &reply.inplace_position, &reply.inplace_offset);
    reactor_reply(reactor, &reply);
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
        case MR_REACTOR_BEGIN:
            reactor->begun = true;
            reactor->log_due = true;
            break;
        case MR_REACTOR_ADD_RING:
            add_ring(reactor, message.ring);
            break;
        case MR_REACTOR_SET_HANDLES: {
            struct mr_reactor_reply reply = {.kind = message.kind, .ring = message.ring, .handles = message.ring->handles, .context = message.context};
            message.ring->handles = message.handles;
            message.ring->handle_count = message.handle_count;
            reactor_reply(reactor, &reply);
            break;
        }
        case MR_REACTOR_CLOSE_RING:
            close_ring(reactor, message.ring);
            break;
        case MR_REACTOR_SUBSCRIBE:
            message.subscriber->next = message.subscriber->partition->subscribers;
            message.subscriber->partition->subscribers = message.subscriber;
            break;
        case MR_REACTOR_UNSUBSCRIBE:
            unsubscribe(reactor, message.subscriber);
            break;
        case MR_REACTOR_FIND_SEGMENT:
            find_segment(reactor, &message);
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
        any = true;
    }
    return any;
}
