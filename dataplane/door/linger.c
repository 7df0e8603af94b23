/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions that are over while their process lives. It may be in the midst of records that were given out before, and its library goes on reading
 * what is mapped until it has attached again. So the pins of such a session count (K1 of shm/client/consumer_internal.h) until
 *   - its process has ended, or
 *   - the library has said that it reads by them no more (shm/abi/message.h), or
 *   - it holds memory for too long that others need (S5 of docs/reliability.md), which the library notices by the extents' sequences.
 * A process that forked and left its mappings to a child has ended when its own process has. */
#include "dataplane/door/door_internal.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define LOOK_MS 200

bool door_process_ended(const struct mr_session *session)
{
    /* A signal would still reach one that nobody has waited for. */
    struct pollfd process = {.fd = session->pidfd, .events = POLLIN};
    return session->pidfd >= 0 && poll(&process, 1, 0) > 0;
}

static bool has_readers(const struct mr_session_consumer *consumer)
{
    for (uint32_t p = 0; p < consumer->partition_count; p++)
        if (consumer->subscribers[p] != NULL)
            return true;
    return false;
}

/* Without a pidfd nobody would ever tell us of its end: the library's look at the sequences must do. */
bool door_may_read_on(const struct mr_session *session)
{
    if (session->pidfd < 0 || door_process_ended(session))
        return false;
    for (uint32_t c = 0; c < MR_SESSION_CONSUMERS_MAX; c++) {
        const struct mr_session_consumer *consumer = &session->consumers[c];
        if (consumer->open && has_readers(consumer) && mr_load_acquire(&consumer->pins[mr_pins_left_index(consumer->partition_count)]) == 0)
            return true;
    }
    return false;
}

void door_look_at_lingering(struct mr_door *door, uint64_t now_ms)
{
    if (door->lingering_count == 0 || now_ms < door->linger_look_ms)
        return;
    door->linger_look_ms = now_ms + LOOK_MS;
    for (struct mr_session *session = door->sessions; session != NULL; session = session->next)
        if (session->lingers && !door_may_read_on(session))
            door_session_forget(session);
}

/* After the reactors have stopped: nobody looks at pins any more. */
void door_drop_lingering(struct mr_door *door)
{
    for (struct mr_session *session = door->sessions; session != NULL; session = session->next) {
        if (!session->lingers)
            continue;
        session->lingers = false;
        door->lingering_count--;
        door->any_settled = true;
        for (uint32_t c = 0; c < MR_SESSION_CONSUMERS_MAX; c++)
            for (uint32_t p = 0; session->consumers[c].open && p < session->consumers[c].partition_count; p++)
                free(session->consumers[c].subscribers[p]);
    }
    door_sweep(door);
}
