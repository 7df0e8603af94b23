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

int door_memfd_seal(int fd, uint64_t bytes)
{
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)
        return -errno;
    /* FUTURE_WRITE refuses fallocate of holes, also ours to fill them: touching each page through our mapping backs it again. */
    return fallocate(fd, 0, 0, (off_t)bytes) == 0 || errno == EPERM ? 0 : -errno;
}

/** Count descriptors that are about to be opened for a session. @return false: none are left for sessions */
bool door_take_fds(struct mr_door *door, uint32_t count)
{
    if (door->fd_count + count > door->fd_max)
        return false;
    door->fd_count += count;
    return true;
}

int door_ring_offer(struct mr_session *session, uint32_t reactor, uint32_t submission_bytes, struct millrace_error *err)
{
    struct mr_session_ring *slot = &session->rings[reactor];
    if (slot->ring != NULL) {
        session->maps_awaited += !slot->mapped; /* offered by a request that failed: the client may still answer */
        return 0;
    }
    slot->shape = (struct mr_ring_shape){.completion_count = MR_COMPLETIONS, .submission_bytes = submission_bytes};
    if (!door_take_fds(session->door, 1))
        return mr_err(err, EMFILE, "attached programs hold %u descriptors of the broker, half of what it may open; raise its limit (ulimit -n)",
                      session->door->fd_max);
    int fd = door_memfd("millrace-ring", mr_ring_bytes(slot->shape), &slot->memory, err);
    if (fd < 0) {
        session->door->fd_count--;
        return fd;
    }
    slot->fd = fd;
    slot->arena = mr_guard_add(slot->memory, mr_ring_bytes(slot->shape));
    slot->ring = mr_ring_session_new(slot->memory, slot->shape, session->doorbell, session->wake, session, reactor);
    if (slot->ring == NULL) {
        mr_guard_remove(slot->arena);
        munmap(slot->memory, mr_ring_bytes(slot->shape));
        close(slot->fd);
        slot->fd = -1;
        session->door->fd_count--;
        return mr_err(err, ENOMEM, "no memory for a session's ring");
    }
    struct mr_message_ring message = {.header = {.bytes = sizeof message, .type = MR_MESSAGE_RING, .abi_version = MR_ABI_VERSION},
                                      .ring = reactor, .reactor = reactor, .shape = slot->shape};
    session->maps_awaited++;
    door_send(session, &message, &slot->fd, 1);
    return 0;
}

void door_ring_mapped(struct mr_session *session, const struct mr_message_ring_mapped *message)
{
    struct mr_door *door = session->door;
    if (message->ring >= door->options.reactor_count || session->rings[message->ring].ring == NULL || session->rings[message->ring].mapped ||
        session->maps_awaited == 0) {
        door_session_poison(session, MR_POISON_MESSAGE);
        return;
    }
    struct mr_session_ring *slot = &session->rings[message->ring];
    int rc = door_memfd_seal(slot->fd, mr_ring_bytes(slot->shape));
    if (rc != 0) {
        mr_say_warn("cannot seal the memory of session %llu: %s", (unsigned long long)session->id, strerror(-rc));
        door_session_close(session, "its memory could not be sealed");
        return;
    }
    /* Holes punched before the seal read as new zero pages from here on: fault every page in now, on this thread. */
    for (uint64_t at = 0; at < mr_ring_bytes(slot->shape); at += 4096)
        (void)*(volatile uint8_t *)((uint8_t *)slot->memory + at);
    slot->mapped = true;
    session->maps_awaited--;
    struct mr_reactor_message add = {.kind = MR_REACTOR_ADD_RING, .ring = slot->ring};
    door_to_reactor(door, message->ring, &add);
    if (session->maps_awaited == 0)
        door_open_go_on(session);
}

void door_ring_free(struct mr_session *session, uint32_t reactor)
{
    struct mr_session_ring *slot = &session->rings[reactor];
    if (slot->ring == NULL)
        return;
    mr_ring_session_free(slot->ring);
    mr_guard_remove(slot->arena);
    munmap(slot->memory, mr_ring_bytes(slot->shape));
    close(slot->fd);
    session->door->fd_count--;
    slot->ring = NULL;
    slot->fd = -1;
    slot->mapped = false;
}
