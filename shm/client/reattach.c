/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon dies and another comes: the states of client_internal.h. Greeting is driven call by call, without waiting: it is where a daemon
 * that is stopped, that starts, or that is greeted by ten thousand others keeps its clients waiting. */
#include "shm/client/client_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mr_client_lose(struct millrace_client *client)
{
    if (client->state != MR_CLIENT_ATTACHED)
        return;
    if (client->socket >= 0 && mr_client_take_pushes(client) != 0) {
        /* The end of the socket; descriptors of extents that were sent before it have been taken. */
    }
    /* What the dead daemon answered still lies in the completion rings. */
    bool choked = client->choked;
    client->choked = false;
    mr_client_poll(client, false);
    client->choked = choked;
    mr_producers_lose(client);
    mr_consumers_lose(client);
    while (client->rings != NULL) {
        struct mr_client_ring *ring = client->rings;
        client->rings = ring->next;
        ring->dead = true;
        if (ring->open_claims > 0) {
            ring->next = client->dead_rings; /* C2 */
            client->dead_rings = ring;
        } else {
            mr_client_free_ring(ring);
        }
    }
    mr_client_hang_up(client);
    client->held = 0;
    client->closing = false;
    client->state = MR_CLIENT_AWAY;
    client->away_since_ns = mr_client_now_ns();
    client->next_try_ns = client->away_since_ns;
}

static bool is_closed(const struct millrace_client *client, bool *poisoned)
{
    bool closed = client->closing;

    *poisoned = false;
    for (const struct mr_client_ring *ring = client->rings; ring != NULL; ring = ring->next) {
        uint32_t state = mr_load_acquire(&ring->ring.daemon->state);
        *poisoned |= state == MR_RING_POISONED;
        closed |= state != MR_RING_OPEN;
    }
    return closed;
}

static MR_COLD int give_up(struct millrace_client *client)
{
    mr_client_hang_up(client);
    client->state = MR_CLIENT_LOST;
    return -ENOTCONN;
}

/* Everything again that was open. @return 0: attached; -EINPROGRESS: the greeting is not over; else away still */
static MR_COLD int attach_again(struct millrace_client *client, uint64_t now_ns)
{
    struct mr_uuid data_id = client->data_id;
    int rc = 0;

    if (!client->greeting) {
        rc = mr_client_greet_begin(client, &client->last_error);
        client->greeting = rc == 0;
        client->greeting_since_ns = now_ns;
    }
    if (rc == 0)
        rc = mr_client_greet_end(client, 0, &client->last_error);
    if (rc == -EINPROGRESS && now_ns - client->greeting_since_ns > MR_CLIENT_GREETING_MS * (uint64_t)1000000) {
        mr_client_hang_up(client);
        return mr_err(&client->last_error, ETIMEDOUT, "the broker at '%s' does not answer", client->path);
    }
    if (rc != 0)
        return rc;
    client->greeting = false;
    client->state = MR_CLIENT_ATTACHED;
    client->quiet_since_ns = 0;
    client->progressed = true;
    if (memcmp(&data_id, &client->data_id, sizeof data_id) != 0) {
        mr_err(&client->last_error, ESTALE, "the broker at '%s' now serves other data than before: attach anew", client->path);
        mr_client_lose(client);
        return -ESTALE;
    }
    uint64_t away_since_ns = client->away_since_ns;
    client->resume_until_ns = mr_client_now_ns() + MR_CLIENT_RESUME_MS * (uint64_t)1000000;
    rc = mr_producers_resume(client);
    if (rc == 0)
        rc = mr_consumers_resume(client);
    client->resume_until_ns = 0;
    if (rc != 0) {
        mr_client_lose(client);
        client->away_since_ns = away_since_ns; /* it counts as one absence */
        client->next_try_ns = mr_client_now_ns() + MR_CLIENT_CHECK_NS;
        return rc;
    }
    return 0;
}

static MR_COLD int look_for_daemon(struct millrace_client *client)
{
    uint64_t now_ns = mr_client_now_ns();

    if (now_ns < client->next_try_ns && !client->greeting)
        return 0;
    client->next_try_ns = now_ns + MR_CLIENT_CHECK_NS;
    int rc = attach_again(client, now_ns);
    if (rc == 0)
        return 0;
    if (rc == -ESTALE)
        return give_up(client);
    if (client->options.reattach_timeout_ms >= 0 &&
        now_ns - client->away_since_ns > (uint64_t)client->options.reattach_timeout_ms * 1000000u)
        return give_up(client);
    return 0;
}

/* Has the session ended, and why? */
static MR_COLD int look_at_socket(struct millrace_client *client)
{
    client->ended = false;
    bool poisoned;
    int rc = mr_client_take_pushes(client);
    if (is_closed(client, &poisoned) || rc != 0) {
        mr_client_lose(client);
        if (poisoned || rc == -EPROTO) {
            mr_err(&client->last_error, EPROTO,
                   "the broker closed this session: the program wrote into memory of its rings that is not its own");
            return give_up(client);
        }
        return look_for_daemon(client);
    }
    return 0;
}

int mr_client_drive(struct millrace_client *client)
{
    if (mr_unlikely(client->state == MR_CLIENT_LOST))
        return -ENOTCONN;
    if (mr_unlikely(client->state == MR_CLIENT_AWAY))
        return look_for_daemon(client);
    if (mr_unlikely(client->ended))
        return look_at_socket(client);
    if (client->progressed) {
        client->progressed = false;
        client->quiet_since_ns = 0;
        return 0;
    }
    /* A clock reading in each of a spinning caller's polls would double their cost, and with it the latency of what they wait for. */
    if (++client->quiet_rounds % MR_CLIENT_QUIET_ROUNDS != 0)
        return 0;
    uint64_t now_ns = mr_client_now_ns();
    if (client->quiet_since_ns == 0)
        client->quiet_since_ns = now_ns;
    if (now_ns - client->quiet_since_ns < MR_CLIENT_LOOK_NS)
        return 0;
    client->quiet_since_ns = now_ns;
    return look_at_socket(client);
}
