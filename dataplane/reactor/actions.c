/* SPDX-License-Identifier: Apache-2.0 */
/* Between the log, which only says what it wants, and the disk, the steward and the readers' pins. */
#include "dataplane/reactor/reactor_internal.h"

#include <stdlib.h>
#include <string.h>

#include "shm/abi/message.h"
#include "shm/base/logging.h"

static struct mr_log_event *next_event(struct mr_reactor *reactor)
{
    mr_assert(reactor->event_count < MR_EVENTS);
    return &reactor->events[reactor->event_count++];
}

static bool pins(const struct mr_subscriber *reader, const struct mr_freeing *freeing)
{
    for (uint32_t i = 0; i < MR_PINS_PER_PARTITION; i++)
        if (mr_load_relaxed(&reader->pins[i]) == freeing->extent.sequence)
            return true;
    return false;
}

static bool is_pinned(const struct mr_freeing *freeing)
{
    for (const struct mr_subscriber *reader = freeing->partition->subscribers; reader != NULL; reader = reader->next)
        if (pins(reader, freeing))
            return true;
    return false;
}

/* S5, S7. A slow reader is free: the log goes on in other memory and comes back for this. But sessions are many and memory is not. Readers
 * that poll let go of what has left the directory within a second, and read on from the file. Those who do not poll may hold a share of
 * memory, and as long as nobody lacks it also more; beyond, who pins the oldest loses his session. His pins then count no more: what he
 * still looks at is overwritten, which the library can tell by the extent's sequence. One extent at a time, so that no more lose theirs
 * than must. */
static MR_COLD void turn_out(struct mr_reactor *reactor, struct mr_freeing *oldest)
{
    oldest->since_ns = reactor->now_ns; /* the door closes sessions meanwhile */
    for (struct mr_subscriber *reader = oldest->partition->subscribers; reader != NULL; reader = reader->next) {
        if (!pins(reader, oldest))
            continue;
        struct mr_reactor_reply reply = {.kind = MR_REACTOR_HELD, .subscriber = reader, .partition = oldest->partition};
        reactor_reply(reactor, &reply);
    }
}

/* The log took these out of the directory. A reader stores its pin, fences and looks at the directory; we have cleared the directory, fence
 * here and read the pins: one of the two sees the other. A reader that was told of its subscription before it pinned is in our mailbox by now:
 * take it from there first, or its pins would not be looked at. */
void reactor_recheck_freeing(struct mr_reactor *reactor)
{
    mr_fence_seq_cst();
    reactor_messages(reactor);
    uint64_t pinned_bytes = 0;
    struct mr_freeing *oldest = NULL;
    for (uint32_t i = 0; i < reactor->freeing_count && reactor->event_count < MR_EVENTS / 2;) {
        struct mr_freeing *freeing = &reactor->freeing[i];
        if (is_pinned(freeing)) {
            pinned_bytes += freeing->extent.memory->bytes;
            if (oldest == NULL || freeing->since_ns < oldest->since_ns)
                oldest = freeing;
            i++;
            continue;
        }
        struct mr_log_event *event = next_event(reactor);
        *event = (struct mr_log_event){.kind = MR_LOG_EVENT_EXTENT_FREE, .partition = freeing->partition->log, .extent = freeing->extent};
        *freeing = reactor->freeing[--reactor->freeing_count];
        reactor->log_due = true;
    }
    bool too_much = reactor->options.pinned_bytes_max != 0 && pinned_bytes > reactor->options.pinned_bytes_max;
    if (oldest != NULL && reactor->now_ns - oldest->since_ns >= reactor->options.pin_grace_ms * 1000000u && (too_much || mr_log_is_starved(reactor->log)))
        turn_out(reactor, oldest);
}

static MR_COLD void free_later(struct mr_reactor *reactor, struct mr_topic_partition *partition, const struct mr_log_live_extent *extent)
{
    if (reactor->freeing_count == reactor->freeing_capacity) {
        uint32_t capacity = reactor->freeing_capacity == 0 ? 256 : 2 * reactor->freeing_capacity;
        struct mr_freeing *grown = realloc(reactor->freeing, capacity * sizeof *grown);
        mr_assert(grown != NULL); /* a few bytes per live extent; without them nothing is left to run on */
        reactor->freeing = grown;
        reactor->freeing_capacity = capacity;
    }
    /* A reader whose SUBSCRIBE is on its way to us may have found the extent in the directory before it was cleared. The message was sent
     * before, so behind this fence the next look into the mailbox finds it, and that comes before the next look at the pins. */
    mr_fence_seq_cst();
    reactor->freeing[reactor->freeing_count++] = (struct mr_freeing){.partition = partition, .extent = *extent, .since_ns = reactor->now_ns};
    reactor->recheck_ns = reactor->now_ns;
}

/* What waits was appended, and nobody knows what the disk holds of it. OFFLINE is for frames that were refused before: never stored. */
static MR_COLD void go_offline(struct mr_reactor *reactor, const struct mr_log_action *action)
{
    for (uint32_t i = 0; i < reactor->partition_count; i++) {
        struct mr_topic_partition *partition = reactor->partitions[i];
        bool meant = action->partition != NULL ? partition->log == action->partition : partition->directory == action->directory;
        if (meant)
            reactor_fail_waiting(reactor, partition, MR_COMPLETION_TIMED_OUT, UINT64_MAX);
    }
    if (action->partition == NULL)
        mr_say_error("log directory '%s' is offline, a write to it failed: %s; its partitions take no records and acknowledge none: check the disk "
                     "(dmesg), then restart millraced", reactor->options.directory_path[action->directory], strerror(-action->result));
}

/* The steward answers these with one event each. */
static bool is_answered(uint32_t kind)
{
    return kind == MR_LOG_ACTION_WANT_EXTENT || kind == MR_LOG_ACTION_WANT_SEGMENT || kind == MR_LOG_ACTION_WANT_ALLOCATE ||
           kind == MR_LOG_ACTION_CLOSE_SEGMENT;
}

static void carry_out(struct mr_reactor *reactor, const struct mr_log_action *action)
{
    struct mr_topic_partition *partition = action->partition != NULL ? mr_partition_context(action->partition) : NULL;
    switch (action->kind) {
    case MR_LOG_ACTION_WRITE:
        mr_assert(reactor->write_count < MR_WRITES);
        reactor->writes[reactor->write_count++] = action->write;
        break;
    case MR_LOG_ACTION_ADVANCED:
        reactor_advance(reactor, partition);
        break;
    case MR_LOG_ACTION_FREE_EXTENT:
        free_later(reactor, partition, &action->extent);
        break;
    case MR_LOG_ACTION_OFFLINE:
        go_offline(reactor, action);
        break;
    default: {
        struct mr_steward_job job = {.action = *action, .partition = partition};
        if (partition != NULL)
            partition->answers_awaited += is_answered(action->kind);
        bool sent = mr_mailbox_send(reactor->options.jobs, &job);
        mr_assert(sent); /* room was looked at before the step */
        mr_bell_ring(reactor->options.jobs->bell);
    }
    }
}

static void submit(struct mr_reactor *reactor)
{
    uint32_t taken = mr_disk_submit(reactor->options.disk, reactor->writes, reactor->write_count);
    reactor->write_count -= taken;
    reactor->writes_in_flight += taken;
    if (taken > 0 && reactor->write_count > 0)
        memmove(reactor->writes, reactor->writes + taken, reactor->write_count * sizeof reactor->writes[0]);
}

bool reactor_poll_disk(struct mr_reactor *reactor)
{
    struct mr_disk_completion completions[64];
    uint32_t room = MR_EVENTS - reactor->event_count;
    uint32_t count = mr_disk_poll(reactor->options.disk, completions, room < 64 ? room : 64);
    reactor->writes_in_flight -= count;
    for (uint32_t i = 0; i < count; i++)
        *next_event(reactor) = (struct mr_log_event){.kind = MR_LOG_EVENT_WRITE, .tag = completions[i].tag, .result = completions[i].result};
    return count > 0;
}

bool reactor_step_log(struct mr_reactor *reactor)
{
    struct mr_log_action actions[MR_ACTIONS];
    uint32_t count;

    if (mr_unlikely(!reactor->begun))
        return false;
    if (reactor->write_count > 0)
        submit(reactor);
    if (reactor->event_count == 0 && !reactor->log_due && reactor->now_ns < reactor->log_next_ns)
        return false;
    reactor->log_due = false;
    do {
        /* What the log asks for must find room: else it waits, and asks the same in the next pass. */
        if (mr_mailbox_room(reactor->options.jobs) < MR_ACTIONS || reactor->write_count + MR_ACTIONS > MR_WRITES) {
            reactor->log_due = true;
            break;
        }
        count = mr_log_step(reactor->log, reactor->now_ns, reactor->wall_ms, reactor->events, reactor->event_count, actions, MR_ACTIONS);
        reactor->event_count = 0;
        for (uint32_t i = 0; i < count; i++)
            carry_out(reactor, &actions[i]);
    } while (count == MR_ACTIONS);
    if (reactor->write_count > 0)
        submit(reactor);
    reactor->log_next_ns = mr_log_next_ns(reactor->log);
    return true;
}
