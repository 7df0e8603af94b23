/* SPDX-License-Identifier: Apache-2.0 */
/* Session memory: made, backed and mapped here, sealed in two phases (RELIABILITY.md S2). First SHRINK and GROW, so that no file that a
 * client holds can be cut under us. When the client says that it has mapped: FUTURE_WRITE and SEAL, so that nobody maps or writes it anew and no
 * hole can be punched; and once more fallocate, since holes punched before the seal stay. */
#include "dataplane/door/door_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/base/logging.h"

#define RING_FDS 2u /* memory, doorbell */

int door_memfd(const char *name, uint64_t bytes, void **memory, struct millrace_error *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return mr_err(err, errno, "memfd_create: %s; raise the limit of open files (ulimit -n)", strerror(errno));
    int rc = 0;
    if (ftruncate(fd, (off_t)bytes) != 0 || fallocate(fd, 0, 0, (off_t)bytes) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
        rc = -errno;
    if (rc == 0) {
        *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (*memory == MAP_FAILED)
            rc = -errno;
    }
    if (rc != 0) {
        close(fd);
        return mr_err(err, -rc, "no memory for a session (%llu KiB): %s", (unsigned long long)(bytes >> 10), strerror(-rc));
    }
    return fd;
}

int door_memfd_seal(int fd, void *memory, uint64_t bytes)
{
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)
        return -errno;
    /* FUTURE_WRITE refuses fallocate of holes, also ours to fill them: touching each page through our mapping backs it again. */
    if (fallocate(fd, 0, 0, (off_t)bytes) != 0 && errno != EPERM)
        return -errno;
    /* Holes punched before the seal read as new zero pages from here on: fault every page in now, on this thread. */
    for (uint64_t at = 0; at < bytes; at += 4096)
        (void)*(volatile uint8_t *)((uint8_t *)memory + at);
    return 0;
}

/** Count descriptors that are about to be opened for a session. @return false: none are left for sessions */
bool door_take_fds(struct mr_door *door, uint32_t count)
{
    if (door->fd_count + count > door->fd_max)
        return false;
    door->fd_count += count;
    return true;
}

struct mr_session_ring *door_ring_of(struct mr_session *session, const struct mr_ring_session *ring)
{
    struct mr_session_ring *slot = session->rings;
    while (slot->ring != ring)
        slot = slot->next;
    return slot;
}

/* Everything of a ring but its way to the client. @return 0; -errno, and nothing is left of it */
static int make_ring(struct mr_session *session, struct mr_session_ring *slot, struct millrace_error *err)
{
    uint64_t bytes = mr_ring_bytes(slot->shape);
    int rc = door_quota_take(session, bytes, err);
    if (rc != 0)
        return rc;
    if (!door_take_fds(session->door, RING_FDS)) {
        door_quota_give(session, bytes);
        return mr_err(err, EMFILE, "attached programs hold %u descriptors of the broker, half of what it may open; raise its limit (ulimit -n)",
                      session->door->fd_max);
    }
    rc = slot->fd = door_memfd("millrace-ring", bytes, &slot->memory, err);
    if (rc < 0)
        goto failed;
    slot->doorbell = fcntl(session->doorbell, F_DUPFD_CLOEXEC, 0);
    slot->ring = slot->doorbell >= 0 ? mr_ring_session_new(slot->memory, slot->shape, slot->doorbell, session->wake, session, slot->reactor) : NULL;
    if (slot->ring != NULL) {
        slot->arena = mr_guard_add(slot->memory, bytes);
        return 0;
    }
    rc = slot->doorbell < 0 ? mr_err(err, errno, "a doorbell's descriptor: %s; raise the limit of open files (ulimit -n)", strerror(errno))
                            : mr_err(err, ENOMEM, "no memory for a session's ring");
    if (slot->doorbell >= 0)
        close(slot->doorbell);
    munmap(slot->memory, bytes);
    close(slot->fd);
failed:
    door_quota_give(session, bytes);
    session->door->fd_count -= RING_FDS;
    return rc;
}

/* What was opened before keeps its ring, with all that lies in it; what is opened from now on gets the one that is large enough. */
int door_ring_offer(struct mr_session *session, uint32_t reactor, uint32_t submission_bytes, struct millrace_error *err)
{
    struct mr_session_ring *before = session->current[reactor];
    if (before != NULL && before->shape.submission_bytes >= submission_bytes) {
        session->maps_awaited += !before->mapped; /* offered by a request that failed: the client may still answer */
        return 0;
    }
    if (before != NULL && !before->mapped)
        return mr_err(err, EAGAIN, "a ring of this session was offered and is not mapped yet: try again");
    struct mr_session_ring *slot = calloc(1, sizeof *slot);
    if (slot == NULL)
        return mr_err(err, ENOMEM, "no memory for a session's ring");
    slot->shape = (struct mr_ring_shape){.completion_count = MR_COMPLETIONS, .submission_bytes = submission_bytes};
    slot->reactor = reactor;
    int rc = make_ring(session, slot, err);
    if (rc < 0) {
        free(slot);
        return rc;
    }
    slot->number = session->ring_next++;
    slot->next = session->rings;
    session->rings = slot;
    session->current[reactor] = slot;
    struct mr_message_ring message = {.header = {.bytes = sizeof message, .type = MR_MESSAGE_RING, .abi_version = MR_ABI_VERSION},
                                      .ring = slot->number, .reactor = reactor, .shape = slot->shape};
    session->maps_awaited++;
    if (door_send(session, &message, &slot->fd, 1) && before != NULL)
        door_ring_retire(session, before);
    return 0;
}

void door_ring_mapped(struct mr_session *session, const struct mr_message_ring_mapped *message)
{
    struct mr_door *door = session->door;
    struct mr_session_ring *slot = session->rings;
    while (slot != NULL && slot->number != message->ring)
        slot = slot->next;
    if (slot == NULL || slot->mapped || session->maps_awaited == 0) {
        door_session_poison(session, MR_POISON_MESSAGE);
        return;
    }
    int rc = door_memfd_seal(slot->fd, slot->memory, mr_ring_bytes(slot->shape));
    if (rc != 0) {
        mr_say_warn("cannot seal the memory of session %llu: %s", (unsigned long long)session->id, strerror(-rc));
        door_session_close(session, "its memory could not be sealed");
        return;
    }
    slot->mapped = true;
    session->maps_awaited--;
    struct mr_reactor_message add = {.kind = MR_REACTOR_ADD_RING, .ring = slot->ring};
    door_to_reactor(door, slot->reactor, &add);
    if (session->maps_awaited == 0)
        door_open_go_on(session);
}

/* Ask back a ring that nothing open uses, if there is a newer one to the same reactor. */
void door_ring_retire(struct mr_session *session, struct mr_session_ring *slot)
{
    if (slot->handle_count > 0 || slot == session->current[slot->reactor] || slot->leaving || !slot->mapped || session->state == MR_SESSION_CLOSING)
        return;
    struct mr_reactor_message message = {.kind = MR_REACTOR_CLOSE_RING, .ring = slot->ring, .retires = true};
    slot->leaving = slot->retires = true;
    session->returns_awaited++;
    door_to_reactor(session->door, slot->reactor, &message);
}

void door_ring_returned(struct mr_session *session, struct mr_ring_session *ring)
{
    struct mr_session_ring *slot = door_ring_of(session, ring);
    if (slot->retires)
        session->returns_awaited--;
    else
        session->replies_awaited--;
    if (session->state == MR_SESSION_CLOSING) { /* its end frees them all; one that lingers has no use for them */
        if (session->lingers)
            door_ring_free(session, slot);
        door_session_settle(session);
        return;
    }
    struct mr_message_ring gone = {.header = {.bytes = sizeof gone, .type = MR_MESSAGE_RING_GONE, .abi_version = MR_ABI_VERSION},
                                   .ring = slot->number, .reactor = slot->reactor, .shape = slot->shape};
    door_ring_free(session, slot);
    door_send(session, &gone, NULL, 0);
}

void door_ring_free(struct mr_session *session, struct mr_session_ring *slot)
{
    struct mr_session_ring **at = &session->rings;
    while (*at != slot)
        at = &(*at)->next;
    *at = slot->next;
    if (session->current[slot->reactor] == slot)
        session->current[slot->reactor] = NULL;
    mr_ring_session_free(slot->ring);
    mr_guard_remove(slot->arena);
    munmap(slot->memory, mr_ring_bytes(slot->shape));
    door_quota_give(session, mr_ring_bytes(slot->shape));
    close(slot->fd);
    close(slot->doorbell);
    session->door->fd_count -= RING_FDS;
    free(slot);
}
