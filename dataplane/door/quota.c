/* SPDX-License-Identifier: Apache-2.0 */
/* What one user may take of the door (RELIABILITY.md S7): sessions, bytes of their memory, attaches a second. The kernel says who it is. */
#include "dataplane/door/door_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define SECOND_NS 1000000000u

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static struct door_user *find_user(struct mr_door *door, uid_t uid)
{
    struct door_user *free_one = NULL, *user = door->users;
    uint64_t now = now_ns();
    for (; user != NULL && user->uid != uid; user = user->next)
        if (user->sessions == 0 && now - user->second_ns >= SECOND_NS)
            free_one = user; /* nothing of it is remembered: whoever comes takes its place, so that there are no more than sessions */
    if (user != NULL)
        return user;
    user = free_one;
    if (user == NULL) {
        user = calloc(1, sizeof *user);
        if (user == NULL)
            return NULL;
        user->next = door->users;
        door->users = user;
    }
    user->uid = uid;
    user->said = false;
    user->attaches = 0;
    user->second_ns = now;
    return user;
}

struct door_user *door_quota_attach(struct mr_door *door, uid_t uid, struct millrace_error *err)
{
    const struct mr_node_config *config = door->options.config;
    struct door_user *user = find_user(door, uid);
    uint64_t now = now_ns();
    if (user == NULL) {
        (void)mr_err(err, ENOMEM, "the broker has no memory for another session");
        return NULL;
    }
    if (now - user->second_ns >= SECOND_NS) {
        user->second_ns = now;
        user->attaches = 0;
    }
    if (user->sessions >= (uint64_t)config->quota_sessions) {
        (void)mr_err(err, EDQUOT, "user %u has %llu sessions, as many as millrace.quota.sessions allows: detach some, or raise it", (unsigned)uid,
                     (unsigned long long)user->sessions);
        return NULL;
    }
    if (user->attaches >= (uint64_t)config->quota_attach_rate) {
        (void)mr_err(err, EAGAIN, "user %u has attached %llu times within a second, as often as millrace.quota.attach.rate allows: try again, or raise it",
                     (unsigned)uid, (unsigned long long)user->attaches);
        return NULL;
    }
    user->attaches++;
    user->sessions++;
    return user;
}

bool door_quota_is_news(struct mr_door *door, uid_t uid)
{
    struct door_user *user = find_user(door, uid);
    bool news = user != NULL && !user->said;
    if (user != NULL)
        user->said = true;
    return news;
}

int door_quota_take(struct mr_session *session, uint64_t bytes, struct millrace_error *err)
{
    uint64_t bytes_max = (uint64_t)session->door->options.config->quota_session_bytes;
    if (session->user->bytes + bytes > bytes_max)
        return mr_err(err, EDQUOT, "sessions of user %u hold %llu bytes of memory, %llu more are beyond millrace.quota.session.bytes=%llu: close producers "
                      "or consumers, ask for smaller rings, or raise it", (unsigned)session->uid, (unsigned long long)session->user->bytes,
                      (unsigned long long)bytes, (unsigned long long)bytes_max);
    session->user->bytes += bytes;
    return 0;
}

void door_quota_give(struct mr_session *session, uint64_t bytes)
{
    mr_assert(session->user->bytes >= bytes);
    session->user->bytes -= bytes;
}
