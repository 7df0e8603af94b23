/* SPDX-License-Identifier: Apache-2.0 */
/* Burst writes through io_uring: one ring per handle, one io_uring_enter per submit, none per poll unless the kernel asks for it.
 *
 * Ring flags, from best to any: with SINGLE_ISSUER|DEFER_TASKRUN (6.1) completions are processed only when the owner asks, in a batch, and
 * never interrupt it; the kernel raises SQ_TASKRUN when there is something to ask for. The ring starts disabled, so that the thread that
 * submits first becomes its one issuer, whoever opened it. COOP_TASKRUN (5.19) is second best; then no flags at all.
 *
 * Waiting: epoll on the ring's own descriptor does not wake for deferred completions (tried on 6.18: it slept until its time-out), a
 * registered eventfd does. Hence wait_fd is an eventfd.
 *
 * Yielding: without FUA a durable direct write ends in a kernel worker bound to the core that submitted it (it sends the flush). An owner
 * that spins on that core keeps the worker off until the next tick: p50 4.0 ms instead of 0.1 ms, with every set of flags and with
 * IOSQE_ASYNC too (measured on 6.18, ext4 on virtio). So an owner that has nothing else to do and spins must yield
 * now and then while a write is in flight; one that works does not wait for it.
 *
 * U1  A slot is free, or its write is in the ring (or in the submission queue, after a refused enter) until its completion is collected.
 * U2  At most `depth` slots are taken, so that neither queue of the ring can overflow. */
#include "drivers/disk/cold.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shm/base/bits.h"

#define DEPTH_MAX    4096u
#define NO_SLOT      UINT32_MAX
#define POLL_BATCH   32u
#define RETRIES_MAX  1000u /* of EAGAIN and EINTR for one write: not a failure of the disk, but nor may it go on for ever */

struct slot {
    uint64_t tag;
    uint64_t position; /* of what is left */
    const uint8_t *buffer;
    uint32_t bytes;
    uint32_t flags;
    int32_t file;
    uint32_t retries;
    uint32_t next_free;
};

struct uring_disk {
    struct mr_disk disk;
    struct io_uring ring;
    int event_fd;
    bool is_disabled; /* nobody owns the ring yet */
    uint32_t depth;
    uint32_t in_flight;
    uint32_t free_slot;
    struct slot *slot;
};

static struct uring_disk *uring_of(struct mr_disk *disk)
{
    return (struct uring_disk *)disk;
}

static void queue_slot(struct uring_disk *uring, uint32_t index)
{
    const struct slot *slot = &uring->slot[index];
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    mr_assert(sqe != NULL); /* U2 */
    io_uring_prep_write(sqe, slot->file, slot->buffer, slot->bytes, slot->position);
    sqe->rw_flags = (slot->flags & MR_DISK_DURABLE) != 0 ? RWF_DSYNC : 0;
    io_uring_sqe_set_data64(sqe, index);
}

/** Hand the submission queue over. What the kernel refuses for now (EAGAIN, EBUSY: short of memory) stays queued for the next poll. */
static void enter(struct uring_disk *uring)
{
    int rc = io_uring_submit(&uring->ring);
    mr_assert(rc >= 0 || rc == -EAGAIN || rc == -EBUSY || rc == -EINTR);
}

static MR_COLD void take_ownership(struct uring_disk *uring)
{
    /* liburing 2.3 declares io_uring_enable_rings() and does not export it. */
    long rc = syscall(__NR_io_uring_register, uring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    mr_assert(rc == 0);
    uring->is_disabled = false;
}

static MR_HOT uint32_t uring_submit(struct mr_disk *disk, const struct mr_disk_write *writes, uint32_t count)
{
    struct uring_disk *uring = uring_of(disk);
    uint32_t taken = 0;
    if (mr_unlikely(uring->is_disabled))
        take_ownership(uring);
    for (; taken < count && uring->free_slot != NO_SLOT; taken++) {
        const struct mr_disk_write *write = &writes[taken];
        uint32_t index = uring->free_slot;
        struct slot *slot = &uring->slot[index];
        mr_check(write->bytes > 0 && write->bytes <= MR_DISK_WRITE_BYTES_MAX);
        mr_check(((write->bytes | write->position | (uintptr_t)write->buffer) & (MR_BLOCK_BYTES - 1)) == 0);
        uring->free_slot = slot->next_free;
        slot->tag = write->tag;
        slot->position = write->position;
        slot->buffer = write->buffer;
        slot->bytes = write->bytes;
        slot->flags = write->flags;
        slot->file = write->file;
        slot->retries = 0;
        queue_slot(uring, index);
    }
    uring->in_flight += taken;
    if (taken > 0)
        enter(uring);
    return taken;
}

/** @return true when the write is over, with its result; false when the rest of it was queued again (D2). */
static bool finish(struct uring_disk *uring, uint32_t index, int32_t kernel_result, int32_t *result)
{
    struct slot *slot = &uring->slot[index];
    *result = kernel_result < 0 ? kernel_result : 0;
    if (mr_likely(kernel_result == (int32_t)slot->bytes))
        return true;
    if (kernel_result == 0)
        *result = -EIO; /* nothing written and no reason given: asking again could go on for ever */
    bool is_refused_for_now = kernel_result == -EAGAIN || kernel_result == -EINTR;
    if (kernel_result <= 0 && (!is_refused_for_now || slot->retries++ >= RETRIES_MAX))
        return true;
    if (kernel_result > 0) {
        slot->position += (uint32_t)kernel_result;
        slot->buffer += kernel_result;
        slot->bytes -= (uint32_t)kernel_result;
    }
    queue_slot(uring, index);
    return false;
}

static MR_HOT uint32_t uring_poll(struct mr_disk *disk, struct mr_disk_completion *completions, uint32_t max)
{
    struct uring_disk *uring = uring_of(disk);
    uint32_t count = 0;
    if (uring->in_flight == 0)
        return 0;
    while (count < max) {
        struct io_uring_cqe *cqes[POLL_BATCH];
        uint32_t room = (uint32_t)mr_min_u64(max - count, POLL_BATCH);
        uint32_t seen = io_uring_peek_batch_cqe(&uring->ring, cqes, room); /* enters only when the kernel raised a flag */
        for (uint32_t i = 0; i < seen; i++) {
            uint32_t index = (uint32_t)cqes[i]->user_data;
            if (!finish(uring, index, cqes[i]->res, &completions[count].result))
                continue;
            completions[count++].tag = uring->slot[index].tag;
            uring->slot[index].next_free = uring->free_slot;
            uring->free_slot = index;
            uring->in_flight--;
        }
        io_uring_cq_advance(&uring->ring, seen);
        if (seen < room)
            break;
    }
    if (mr_unlikely(io_uring_sq_ready(&uring->ring) > 0))
        enter(uring);
    return count;
}

static int uring_wait_fd(struct mr_disk *disk)
{
    return uring_of(disk)->event_fd;
}

static void uring_release(struct mr_disk *disk)
{
    struct uring_disk *uring = uring_of(disk);
    while (uring->in_flight > 0) {
        struct io_uring_cqe *cqe;
        struct mr_disk_completion completions[POLL_BATCH];
        int rc = io_uring_wait_cqe(&uring->ring, &cqe);
        mr_assert(rc == 0 || rc == -EINTR || rc == -EAGAIN); /* -EEXIST: this is not the owner thread */
        uring_poll(disk, completions, POLL_BATCH);
    }
    io_uring_queue_exit(&uring->ring);
    close(uring->event_fd);
    free(uring->slot);
    free(uring);
}

static const struct mr_disk_ops uring_ops = {
    .submit = uring_submit, .poll = uring_poll, .wait_fd = uring_wait_fd, .release = uring_release, MR_COLD_OPS};

/** Try the flag sets in turn. @return 0 or -errno of the last try. */
static int open_ring(struct uring_disk *uring)
{
    static const uint32_t flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        0,
    };
    int rc = -EINVAL;
    for (uint32_t i = 0; rc == -EINVAL && i < MR_COUNT_OF(flags); i++) {
        struct io_uring_params params;
        memset(&params, 0, sizeof params);
        params.flags = flags[i];
        rc = io_uring_queue_init_params(uring->depth, &uring->ring, &params);
        uring->is_disabled = (flags[i] & IORING_SETUP_R_DISABLED) != 0;
    }
    return rc;
}

static int refused(struct millrace_error *err, int rc)
{
    switch (rc) {
    case -ENOSYS:
        return mr_err(err, ENOSYS, "io_uring: this kernel has none (or a seccomp filter hides it, as Docker's default does): set millrace.disk=threads");
    case -EPERM:
    case -EACCES:
        return mr_err(err, EPERM, "io_uring is forbidden here (seccomp, or sysctl kernel.io_uring_disabled): set millrace.disk=threads");
    case -ENOMEM:
        return mr_err(err, ENOMEM, "io_uring: no memory for the ring: raise the limit of locked memory (ulimit -l, LimitMEMLOCK= in the unit), "
                                   "or set millrace.disk=threads");
    default:
        return mr_err(err, -rc, "io_uring: %s: set millrace.disk=threads", strerror(-rc));
    }
}

int mr_disk_uring_open(struct mr_disk **disk, uint32_t depth, const int *lock_fds, uint32_t lock_count, struct millrace_error *err)
{
    *disk = NULL;
    if (depth == 0 || depth > DEPTH_MAX)
        return mr_err(err, EINVAL, "io_uring: a depth of %u is not within 1..%u", depth, DEPTH_MAX);
    struct uring_disk *uring = calloc(1, sizeof *uring);
    struct slot *slot = calloc(depth, sizeof *slot);
    if (uring == NULL || slot == NULL) {
        free(uring);
        free(slot);
        return mr_err(err, ENOMEM, "io_uring: no memory for %u writes in flight", depth);
    }
    uring->disk.ops = &uring_ops;
    uring->disk.name = "io_uring";
    uring->depth = depth;
    uring->slot = slot;
    for (uint32_t i = 0; i < depth; i++)
        slot[i].next_free = i + 1 < depth ? i + 1 : NO_SLOT;
    int rc = open_ring(uring);
    if (rc != 0) {
        free(slot);
        free(uring);
        return refused(err, rc);
    }
    uring->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = uring->event_fd < 0 ? -errno : io_uring_register_eventfd(&uring->ring, uring->event_fd);
    if (rc == 0 && lock_count > 0) /* the ring holds the locks' open files until its own last I/O is over */
        rc = io_uring_register_files(&uring->ring, lock_fds, lock_count);
    if (rc != 0) {
        if (uring->event_fd >= 0)
            close(uring->event_fd);
        io_uring_queue_exit(&uring->ring);
        free(slot);
        free(uring);
        return mr_err(err, -rc, "io_uring: registering %s: %s", lock_count > 0 ? "the eventfd or the locks" : "the eventfd", strerror(-rc));
    }
    *disk = &uring->disk;
    return 0;
}
