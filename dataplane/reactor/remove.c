/* SPDX-License-Identifier: Apache-2.0 */
/* The end of partitions whose topic was deleted.
 *
 *   REMOVE_TOPIC -> frames are refused, what waits is failed, readers are woken
 *     -> [no job of it is with the steward, no write in flight] -> the log forgets it -> its memory is given to the steward, then its files
 *     -> [of all partitions of the topic here] -> reply
 *
 *  D1  Nothing that comes from outside (a frame, a write's end, the steward's answer) finds a partition that the log has forgotten: frames are
 *      refused before they get there, and for the others it waits.
 *  D2  The struct stays: handles and subscribers refer to it until their sessions let go. */
#include "dataplane/reactor/reactor_internal.h"

#include <stdlib.h>
#include <string.h>

/* Its producers are gone with it; what refers to them must not follow them when it is closed. */
static void forget_producers(struct mr_handle *const *handles, uint32_t count, const struct mr_topic_partition *partition)
{
    for (uint32_t i = 0; i < count; i++)
        if (handles[i] != NULL && handles[i]->partition == partition)
            handles[i]->producer = NULL;
}

static void forget_all_producers(struct mr_reactor *reactor, const struct mr_topic_partition *partition)
{
    for (uint32_t i = 0; i < reactor->ring_count; i++)
        forget_producers(reactor->rings[i]->handles, reactor->rings[i]->handle_count, partition);
    for (uint32_t i = 0; i < reactor->closing_handles_count; i++)
        forget_producers(reactor->closing_handles[i].handles, reactor->closing_handles[i].count, partition);
}

static void begin(struct mr_reactor *reactor, struct mr_topic_partition *partition)
{
    mr_assert(!partition->is_open); /* batches are finished before messages are looked at */
    partition->deleted = true;
    if (partition->log != NULL) {
        reactor_fail_waiting(reactor, partition, MR_COMPLETION_DELETED, UINT64_MAX);
        forget_all_producers(reactor, partition);
    }
    reactor_wake_all_armed(reactor, partition);
}

void reactor_remove_topic(struct mr_reactor *reactor, struct mr_topic *topic)
{
    struct mr_removing removing = {.topic = topic};
    for (uint32_t p = 0; p < topic->partition_count; p++)
        removing.count += topic->partitions[p]->reactor == reactor->options.index;
    removing.partitions = calloc(removing.count + 1u, sizeof(*removing.partitions));
    mr_assert(removing.partitions != NULL); /* eight bytes each of what is about to be given back */
    removing.count = 0;
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        struct mr_topic_partition *partition = topic->partitions[p];
        if (partition->reactor != reactor->options.index)
            continue;
        begin(reactor, partition);
        removing.partitions[removing.count++] = partition;
    }
    mr_assert(reactor->removing.topic == NULL); /* the door deletes one topic at a time */
    reactor->removing = removing;
    reactor->log_due = true;
}

static void drop_freeing(struct mr_reactor *reactor, const struct mr_topic_partition *partition)
{
    for (uint32_t i = 0; i < reactor->freeing_count;)
        if (reactor->freeing[i].partition == partition)
            reactor->freeing[i] = reactor->freeing[--reactor->freeing_count];
        else
            i++;
}

/* @return false: not yet */
static bool forget(struct mr_reactor *reactor, struct mr_topic_partition *partition)
{
    struct mr_removing *removing = &reactor->removing;
    if (partition->log == NULL)
        return true;
    if (partition->answers_awaited > 0)
        return false;
    free(removing->extents);
    removing->extent_count = mr_partition_extents(partition->log, NULL);
    removing->extents = calloc(removing->extent_count + 1u, sizeof *removing->extents);
    mr_assert(removing->extents != NULL);
    mr_partition_extents(partition->log, removing->extents);
    if (mr_log_partition_remove(reactor->log, partition->log) != 0) {
        removing->extent_count = 0;
        return false;
    }
    drop_freeing(reactor, partition);
    partition->log = NULL;
    for (uint32_t i = 0; i < reactor->partition_count; i++)
        if (reactor->partitions[i] == partition)
            reactor->partitions[i] = reactor->partitions[--reactor->partition_count];
    return true;
}

/* @return false: the steward's mailbox is full */
static bool hand_over(struct mr_reactor *reactor, struct mr_topic_partition *partition)
{
    struct mr_removing *removing = &reactor->removing;
    uint32_t room = mr_mailbox_room(reactor->options.jobs);
    bool sent = true;
    while (room > 0 && sent && removing->extent_count > 0) {
        struct mr_steward_job job = {.action = {.kind = MR_LOG_ACTION_GIVE_EXTENT, .extent = removing->extents[removing->extent_count - 1]},
                                     .partition = partition};
        sent = mr_mailbox_send(reactor->options.jobs, &job);
        removing->extent_count -= sent;
        room--;
    }
    struct mr_steward_job job = {.action = {.kind = MR_STEWARD_FORGET}, .partition = partition};
    bool done = removing->extent_count == 0 && room > 0 && mr_mailbox_send(reactor->options.jobs, &job);
    mr_bell_ring(reactor->options.jobs->bell);
    return done;
}

void reactor_go_on_removing(struct mr_reactor *reactor)
{
    struct mr_removing *removing = &reactor->removing;
    while (removing->done < removing->count) {
        struct mr_topic_partition *partition = removing->partitions[removing->done];
        if (!removing->forgotten && (reactor->event_count > 0 || !forget(reactor, partition))) {
            reactor->log_due = true;
            return;
        }
        removing->forgotten = true;
        if (!hand_over(reactor, partition))
            return;
        removing->forgotten = false;
        removing->done++;
    }
    struct mr_reactor_reply reply = {.kind = MR_REACTOR_REMOVE_TOPIC, .topic = removing->topic};
    free(removing->partitions);
    free(removing->extents);
    *removing = (struct mr_removing){0};
    reactor_reply(reactor, &reply);
}
