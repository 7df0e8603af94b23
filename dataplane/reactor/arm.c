/* SPDX-License-Identifier: Apache-2.0 */
/* Readers that sleep until something is visible (shm/ring/arm.h).
 *
 * Every advance of a partition's `visible` empties its list, whatever offsets were asked for: so an arm costs its client and us the same small
 * amount once, however many others there are. That an early one looks again in vain is its own affair.
 * A session is woken once for all of its readers that one drain, or one step of the log, has something for. */
#include "dataplane/reactor/reactor_internal.h"

#include "shm/ring/arm.h"

bool reactor_has_arms(const struct mr_ring_session *ring)
{
    return mr_ring_has_arms(&ring->ring, ring->arms_taken) && !ring->poisoned && !ring->leaving;
}

static void note_due(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    if (ring->due)
        return;
    ring->due = true;
    ring->due_next = reactor->due_first;
    reactor->due_first = ring;
}

static void arm(struct mr_reactor *reactor, struct mr_handle *handle, uint64_t word)
{
    struct mr_topic_partition *partition = handle->partition;
    uint64_t visible = mr_load_relaxed(&partition->head->visible); /* ours */

    if (mr_arm_is_due(word, visible)) {
        note_due(reactor, handle->ring);
        return;
    }
    if (handle->armed_at != NULL)
        return;
    if (partition->deleted) { /* nothing will come */
        note_due(reactor, handle->ring);
        return;
    }
    if (partition->armed != NULL)
        partition->armed->armed_at = &handle->armed_next;
    else
        partition->armed_visible = visible; /* an advance that the log has yet to tell of must still wake those before */
    handle->armed_next = partition->armed;
    handle->armed_at = &partition->armed;
    partition->armed = handle;
}

void reactor_take_arms(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    uint64_t words[MR_RING_ARMS];
    uint32_t count = mr_ring_take_arms(&ring->ring, &ring->arms_taken, words);

    if (mr_unlikely(count > MR_RING_ARMS)) {
        reactor_poison(reactor, ring, MR_POISON_ARM_INDEX);
        return;
    }
    ring->active_ns = reactor->now_ns;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = mr_arm_handle(words[i]);
        struct mr_handle *handle = number < ring->handle_count ? ring->handles[number] : NULL;
        /* Else of a consumer that was closed meanwhile, or nonsense that wakes nobody. */
        if (handle != NULL && handle->kind == MR_HANDLE_CONSUMER && handle->partition != NULL &&
            handle->partition->reactor == reactor->options.index)
            arm(reactor, handle, words[i]);
    }
}

void reactor_disarm(struct mr_handle *const *handles, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct mr_handle *handle = handles[i];
        if (handle == NULL || handle->armed_at == NULL)
            continue;
        *handle->armed_at = handle->armed_next;
        if (handle->armed_next != NULL)
            handle->armed_next->armed_at = handle->armed_at;
        handle->armed_at = NULL;
    }
}

void reactor_wake_armed(struct mr_reactor *reactor, struct mr_topic_partition *partition)
{
    if (mr_load_relaxed(&partition->head->visible) != partition->armed_visible) /* else appended, and not committed yet */
        reactor_wake_all_armed(reactor, partition);
}

void reactor_wake_all_armed(struct mr_reactor *reactor, struct mr_topic_partition *partition)
{
    struct mr_handle *next;

    for (struct mr_handle *handle = partition->armed; handle != NULL; handle = next) {
        next = handle->armed_next;
        handle->armed_at = NULL;
        note_due(reactor, handle->ring);
    }
    partition->armed = NULL;
}

void reactor_wake_due(struct mr_reactor *reactor)
{
    for (struct mr_ring_session *ring = reactor->due_first; ring != NULL; ring = ring->due_next) {
        ring->due = false;
        reactor_wake(reactor, ring);
    }
    reactor->due_first = NULL;
}
