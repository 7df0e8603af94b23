/* SPDX-License-Identifier: Apache-2.0 */
/* Inside libmillrace: a client and its rings. The public face is <millrace/millrace.h>.
 *
 *   attach.c   attach, detach, topics            messages.c  requests and pushes on the attach socket
 *   rings.c    ring memory, polling for acks     reattach.c  the daemon's death, and finding the next one
 *   claims.c   our own rings, walked             producer_*.c, consumer_*.c: their internal headers
 *   idle.c     waiting
 *
 * Client states:
 *   ATTACHED -> AWAY      [mr_client_lose]     the socket ended, or the daemon closed our rings
 *   AWAY     -> ATTACHED  [mr_client_drive]    a daemon with the same data answered and took our producers and consumers back
 *   any      -> LOST      [mr_client_drive]    away for longer than reattach_timeout_ms, or the daemon says that we broke the protocol
 *
 * C1  While AWAY nothing is sent and nothing acked; claims give -EAGAIN; consumers read on.
 * C2  A ring's memory stays mapped as long as a claim in it is open, whatever became of its daemon.
 * C3  Everything is used by one thread; no call but attach, open, close, flush and a poll with a time-out waits. One exception: a daemon that
 *     greets us again and then hangs before it has taken back all that was open holds the call that drives this, MR_CLIENT_RESUME_MS in all. */
#ifndef MR_CLIENT_INTERNAL_H
#define MR_CLIENT_INTERNAL_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "millrace/millrace.h"
#include "shm/base/err.h"
#include "shm/ring/ring.h"
#include "shm/session/socket.h"

#define MR_CLIENT_EXPORT __attribute__((visibility("default")))

#define MR_CLIENT_CHECK_NS    2000000u /* while away: try to connect this often */
#define MR_CLIENT_LOOK_NS     10000000u /* while nothing progresses: look whether the socket has ended, this often; messages are told by `mail` */
#define MR_CLIENT_QUIET_ROUNDS 8u     /* who polls every 10 ms still notices a death within 100 ms */
#define MR_CLIENT_CONTROL_MS  10000    /* the control process restarts in a tenth of a second; then it is away */
#define MR_CLIENT_REQUEST_MS  30000    /* the daemon answers in milliseconds; this is a daemon that hangs */
#define MR_CLIENT_GREETING_MS 5000     /* the same during re-attach: then it is tried anew. Nobody waits for it */
#define MR_CLIENT_RESUME_MS   5000     /* for all that was open, once it has greeted: C3 */

#define MR_CLIENT_TAG_BITS    16u /* of a ring's tag */

struct mr_client_ring {
    struct mr_ring_producer ring;
    struct mr_client_ring *next;
    void *memory;
    uint64_t bytes;
    uint32_t number, reactor;
    uint32_t tag;         /* among this client's rings, live and dead: what slots call it by */
    uint32_t arms;        /* wake-ups asked for (shm/ring/arm.h) */
    uint32_t open_claims; /* counted when the daemon died: C2 */
    bool dead;
};

enum mr_client_state {
    MR_CLIENT_ATTACHED = 0,
    MR_CLIENT_AWAY = 1,
    MR_CLIENT_LOST = 2,
};

struct millrace_client {
    struct mr_client_ring *rings; /* of the daemon we are attached to, the newest first; that one is never taken back */
    uint32_t ring_next;           /* numbers of those that come will not be lower */
    uint32_t reactor_count;
    uint32_t tag_next;
    uint64_t owner_next; /* of producers: ring.h */
    enum mr_client_state state;
    bool ended;                 /* the socket seems to have */
    bool progressed;            /* since the last look at the clock */
    bool rang;                  /* a doorbell, since the last wait */
    bool choked;                /* a producer's acks are not being collected: leave completions where they are */
    bool collecting;            /* a flush is under way: no producer chokes */
    bool fences;                /* fence after each commit, there is no membarrier */
    bool closing;               /* the daemon said CLOSING */
    bool greeting;              /* while AWAY: there is a socket, HELLO was sent, WELCOME is awaited */
    uint32_t mail;              /* mr_ring_daemon.mail of the first ring when the socket was last read */
    uint32_t held;              /* partitions that wait with refused frames: no ring space is reused (ring.h R4) */
    int socket, wake, doorbell; /* -1 while AWAY */
    struct millrace_producer *producers;
    struct millrace_consumer *consumers;
    struct mr_client_ring *dead_rings;
    uint64_t quiet_since_ns, away_since_ns, next_try_ns, greeting_since_ns;
    uint64_t resume_until_ns; /* no request waits longer; 0: while no re-attach is under way */
    uint32_t quiet_rounds; /* empty polls: only each MR_CLIENT_QUIET_ROUNDSth looks at the clock */
    uint64_t request_next;
    uint64_t session_id, daemon_generation;
    struct mr_uuid data_id;
    uint32_t delivery_timeout_ms;
    bool has_membarrier;
    struct millrace_client_options options;
    char given_path[MR_SESSION_PATH_MAX]; /* as the caller gave it, "" for the search */
    char path[MR_SESSION_PATH_MAX];
    char name[64];
    struct millrace_error last_error; /* why the last attempt to attach again failed */
};

uint64_t mr_client_now_ns(void);

/* messages.c */

/**
 * Send a request and wait for its reply; pushes that come before it are handled.
 * @param request its header is filled in here; its type and size are given
 * @param reply   of type reply_type and exactly reply_bytes
 * @param fds     the reply's descriptors, the caller's; fd_count is 0 after an error
 * @return 0; -ENOTCONN (socket ended); -ETIMEDOUT; -EPROTO; or what the daemon's ERROR said, with its text
 */
int mr_client_request(struct millrace_client *client, struct mr_message_header *request, uint32_t bytes, enum mr_message_type type,
                      union mr_message *reply, enum mr_message_type reply_type, uint32_t reply_bytes, int *fds, uint32_t *fd_count,
                      int timeout_ms, struct millrace_error *err) MR_MUST_USE;

/** Likewise, of what needs the control process: while it is restarting (-EAGAIN) it is asked again, for MR_CLIENT_CONTROL_MS. Blocks.
 * @param begun set to true when an earlier try may have been carried out; NULL: not wanted */
int mr_client_request_control(struct millrace_client *client, struct mr_message_header *request, uint32_t bytes, enum mr_message_type type,
                              union mr_message *reply, enum mr_message_type reply_type, uint32_t reply_bytes, int *fds, uint32_t *fd_count,
                              int timeout_ms, bool *begun, struct millrace_error *err) MR_MUST_USE;

/** Is there something on the socket that was not read yet? A look at a line that seldom changes. */
static inline bool mr_client_has_mail(const struct millrace_client *client)
{
    return client->rings != NULL && mr_load_relaxed(&client->rings->ring.daemon->mail) != client->mail;
}

/** The first half of a request. @return 0; -ENOTCONN */
int mr_client_ask(struct millrace_client *client, struct mr_message_header *request, uint32_t bytes, enum mr_message_type type,
                  struct millrace_error *err) MR_MUST_USE;

/** The other half, for the last one that was asked. @param deadline_ns 0: do not wait. @return as a request; -EINPROGRESS: not yet (deadline_ns 0) */
int mr_client_answer(struct millrace_client *client, union mr_message *reply, enum mr_message_type reply_type, uint32_t reply_bytes, int *fds,
                     uint32_t *fd_count, uint64_t deadline_ns, struct millrace_error *err) MR_MUST_USE;

/** Take what the daemon pushed. @return 0; -ENOTCONN: the socket ended (what came before was taken); -EPROTO. Never blocks. */
int mr_client_take_pushes(struct millrace_client *client) MR_MUST_USE;

void mr_client_close_fds(const int *fds, uint32_t count);

/* attach.c */

/** Connect and say HELLO. @return 0; -EAGAIN (too many wait to connect), -errno, with a message; then nothing is open. Does not wait. */
int mr_client_greet_begin(struct millrace_client *client, struct millrace_error *err) MR_MUST_USE;

/** Take the WELCOME. @param deadline_ns 0: do not wait. @return 0; -EINPROGRESS: not yet (deadline_ns 0); else as begin */
int mr_client_greet_end(struct millrace_client *client, uint64_t deadline_ns, struct millrace_error *err) MR_MUST_USE;

/** Close the three descriptors of the session. */
void mr_client_hang_up(struct millrace_client *client);

/* rings.c */

/** Map a ring that the daemon pushed. The descriptor stays the caller's. */
int mr_client_add_ring(struct millrace_client *client, const struct mr_message_ring *message, int fd) MR_MUST_USE;
void mr_client_free_ring(struct mr_client_ring *ring);

/** Unmap a ring that nothing open uses. @return 0; -EPROTO */
int mr_client_drop_ring(struct millrace_client *client, uint32_t number) MR_MUST_USE;

/** The ring, live or dead, of this tag; NULL: there is none. Cold. */
struct mr_client_ring *mr_client_ring_of(const struct millrace_client *client, uint32_t tag) MR_COLD;

/**
 * Take completions from all rings and hand them to their producers.
 * @param want_space look for released space even if no completion came
 * @return completions taken. Hot.
 */
MR_HOT uint32_t mr_client_poll(struct millrace_client *client, bool want_space);

/** Ring the doorbell of a reactor that sleeps. */
void mr_client_ring_doorbell(struct millrace_client *client) MR_COLD;

static inline void mr_client_wake(struct millrace_client *client, const struct mr_client_ring *ring)
{
    if (mr_ring_must_wake(&ring->ring, client->fences))
        mr_client_ring_doorbell(client);
}

/* claims.c */

/** Give an open claim's space back: in a live ring others' frames may have stood behind it. */
void mr_client_abort_claim(struct millrace_client *client, struct mr_client_ring *ring, uint64_t position) MR_COLD;

/** Has this producer claims open, in live or dead rings? Hot when it has none. */
bool mr_client_has_open(const struct millrace_client *client, uint64_t owner);

/** Abort what a producer has open, in live and dead rings. */
void mr_client_abort_owner(struct millrace_client *client, uint64_t owner) MR_COLD;

/** The ring's daemon is dead: count what is open in it. */
void mr_client_count_claims(struct mr_client_ring *ring) MR_COLD;

/** Take back what these handles have staged behind others' open claims: shown later, it would name handles that are closed. */
void mr_client_blot_unshown(struct millrace_client *client, uint32_t first, uint32_t count) MR_COLD;

/**
 * Handles were given to a new producer, which is not listed yet. Their former owner's acks are taken, to nobody, and its frames made into
 * pads, so that the new one never finds them among its own. The daemon has answered all of them, or they would not be given anew.
 */
void mr_client_clear_handles(struct millrace_client *client, uint32_t first, uint32_t count);

/** True if all that the daemon can see was answered, and the rest stands behind an open claim (ring.h R3). Poll after it, before believing it. */
bool mr_client_waits_for_claim(const struct millrace_client *client);

/* reattach.c */

/** The daemon is gone: keep what is not acked, let go of the rest. */
void mr_client_lose(struct millrace_client *client);

/**
 * Called where a call found nothing to do: notices the daemon's death (MR_CLIENT_LOOK_NS) and looks for the next one
 * (MR_CLIENT_CHECK_NS); otherwise it reads a clock at most. @return 0; -ENOTCONN: given up
 */
int mr_client_drive(struct millrace_client *client) MR_MUST_USE;

/* idle.c */

enum mr_wait_step {
    MR_WAIT_AGAIN, /* look again */
    MR_WAIT_SLEEP, /* arrange to be woken, look again, then mr_client_sleep() */
    MR_WAIT_OVER,  /* the time is up */
};

struct mr_wait {
    uint64_t start_ns;
    uint64_t deadline_ns; /* UINT64_MAX: never */
    uint32_t rounds;
};

/** @param timeout_ms -1: for ever */
void mr_wait_init(struct mr_wait *wait, int timeout_ms);

/** Nothing was found: spin, yield or say what to do, as the idle strategy has it. */
enum mr_wait_step mr_wait_next(struct mr_wait *wait, struct millrace_client *client);

/** Sleep until the daemon wakes us, the socket has news, or the deadline, at most max_ns; while AWAY until the next attempt to connect. */
void mr_client_sleep(struct millrace_client *client, const struct mr_wait *wait, uint64_t max_ns);

/** Announce in every ring that acks should wake us (or no longer), and fence: look once more afterwards. */
void mr_client_set_sleeping(struct millrace_client *client, bool sleeping);

/* producer_*.c and consumer_*.c, as the client sees them */

/** @return false if the handle is nobody's */
bool mr_producers_take(struct millrace_client *client, const struct mr_completion *completion);
void mr_producers_lose(struct millrace_client *client);
int mr_producers_resume(struct millrace_client *client) MR_MUST_USE;
void mr_producers_pump(struct millrace_client *client);
void mr_consumers_lose(struct millrace_client *client);
int mr_consumers_resume(struct millrace_client *client) MR_MUST_USE;
/** All extents of a partition follow, as many as file_id says. */
void mr_consumers_expect_extents(struct millrace_client *client, const struct mr_message_extent *message);
/** Takes over the descriptor; -1: it was lost on its way. */
void mr_consumers_take_extent(struct millrace_client *client, const struct mr_message_extent *message, int fd);
void mr_consumers_drop_extent(struct millrace_client *client, const struct mr_message_extent *message);

#endif
