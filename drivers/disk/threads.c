/* SPDX-License-Identifier: Apache-2.0 */
/* Burst writes by a few threads that call pwritev2: for kernels and containers that refuse io_uring.
 *
 * The owner takes no lock: it passes slots to the workers through one ring of slot numbers and gets them back through another.
 *   owner: fill slot -> order[published] -> published + n (J) -> one futex wake
 *   worker: claim the next of order by compare-and-set on claimed -> write -> done[finished] (D) -> eventfd, unless one is on its way
 * J  owner stores published, release -> worker loads it, acquire: slot and order are seen before the number that covers them.
 * D  worker stores done[i], release -> owner loads it, acquire: the result is seen before the slot comes back.
 * T1  At most `depth` slots are out, so that an entry of order or done is taken before its place comes round again.
 * T2  signalled is set by the worker that rings, and cleared by the owner before it looks at done: a completion that is put there after
 *     the look finds it clear and rings. */
#include "drivers/disk/cold.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shm/base/atomics.h"
#include "shm/base/bits.h"

#define DEPTH_MAX   4096u
#define THREADS_MAX 64u
#define NO_SLOT     UINT32_MAX
#define STACK_BYTES (64u << 10)

struct slot {
    struct mr_disk_write write;
    int32_t result;
    uint32_t next_free;
};

struct pool {
    struct mr_disk disk;
    uint32_t depth;
    uint32_t thread_count;
    uint32_t places; /* of order and done: a power of two, room for depth slots and one farewell per thread */
    int event_fd;
    struct slot *slot;
    _Atomic uint32_t *order;   /* slot number, or NO_SLOT: the worker that claims it ends */
    _Atomic uint32_t *done;    /* slot number + 1, or 0 */
    pthread_t thread[THREADS_MAX];
    /* the owner's */
    uint32_t free_slot;
    uint32_t in_flight;
    uint32_t collected;
    /* shared */
    _Alignas(MR_CACHE_LINE) _Atomic uint32_t published; /* also the futex that idle workers sleep on */
    _Alignas(MR_CACHE_LINE) _Atomic uint32_t claimed;
    _Atomic uint32_t finished;
    _Alignas(MR_CACHE_LINE) _Atomic uint32_t signalled;
};

static struct pool *pool_of(struct mr_disk *disk)
{
    return (struct pool *)disk;
}

static void futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/** Write all of it, and make it durable when asked. @return 0 or -errno. */
static int32_t write_out(const struct mr_disk_write *write)
{
    bool is_durable = (write->flags & MR_DISK_DURABLE) != 0, is_flag_refused = false;
    uint32_t done = 0;
    while (done < write->bytes) {
        struct iovec part = {.iov_base = (void *)((uintptr_t)write->buffer + done), .iov_len = write->bytes - done};
        int flags = is_durable && !is_flag_refused ? RWF_DSYNC : 0;
        ssize_t count = pwritev2(write->file, &part, 1, (off_t)(write->position + done), flags);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && flags != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
            is_flag_refused = true;
            continue;
        }
        if (count <= 0)
            return count < 0 ? -errno : -EIO;
        done += (uint32_t)count;
    }
    return is_flag_refused && fdatasync(write->file) != 0 ? -errno : 0;
}

/** The next slot, or NO_SLOT to end. Sleeps while there is none. */
static uint32_t claim(struct pool *pool)
{
    while (true) {
        uint32_t claimed = mr_load_acquire(&pool->claimed); /* first: it never passes what is loaded of published afterwards */
        uint32_t published = mr_load_acquire(&pool->published); /* J */
        if (claimed == published) {
            futex(&pool->published, FUTEX_WAIT, published);
            continue;
        }
        uint32_t slot = mr_load_relaxed(&pool->order[claimed & (pool->places - 1)]); /* ours only if the next line succeeds */
        if (mr_compare_exchange(&pool->claimed, &claimed, claimed + 1))
            return slot;
    }
}

static void *work(void *argument)
{
    struct pool *pool = argument;
    const uint64_t one = 1;
    for (uint32_t index = claim(pool); index != NO_SLOT; index = claim(pool)) {
        pool->slot[index].result = write_out(&pool->slot[index].write);
        uint32_t place = mr_fetch_add_relaxed(&pool->finished, 1) & (pool->places - 1);
        mr_store_release(&pool->done[place], index + 1); /* D */
        if (mr_exchange_acq_rel(&pool->signalled, 1) != 0)
            continue;
        ssize_t rc = write(pool->event_fd, &one, sizeof one); /* EAGAIN: the counter is full, so it is readable as it is */
        (void)rc;
    }
    return NULL;
}

static void publish(struct pool *pool, uint32_t count)
{
    mr_store_release(&pool->published, mr_load_relaxed(&pool->published) + count); /* J */
    futex(&pool->published, FUTEX_WAKE, count);
}

static MR_HOT uint32_t pool_submit(struct mr_disk *disk, const struct mr_disk_write *writes, uint32_t count)
{
    struct pool *pool = pool_of(disk);
    uint32_t taken = 0, published = mr_load_relaxed(&pool->published);
    for (; taken < count && pool->free_slot != NO_SLOT; taken++) {
        uint32_t index = pool->free_slot;
        mr_check(writes[taken].bytes > 0 && writes[taken].bytes <= MR_DISK_WRITE_BYTES_MAX);
        pool->free_slot = pool->slot[index].next_free;
        pool->slot[index].write = writes[taken];
        mr_store_relaxed(&pool->order[(published + taken) & (pool->places - 1)], index);
    }
    pool->in_flight += taken;
    if (taken > 0)
        publish(pool, taken);
    return taken;
}

static MR_HOT uint32_t pool_poll(struct mr_disk *disk, struct mr_disk_completion *completions, uint32_t max)
{
    struct pool *pool = pool_of(disk);
    uint32_t count = 0;
    if (mr_load_relaxed(&pool->signalled) != 0)
        mr_exchange_acq_rel(&pool->signalled, 0); /* T2 */
    if (pool->in_flight == 0)
        return 0;
    while (count < max) {
        _Atomic uint32_t *place = &pool->done[pool->collected & (pool->places - 1)];
        uint32_t value = mr_load_acquire(place); /* D */
        if (value == 0)
            break;
        mr_store_relaxed(place, 0);
        struct slot *slot = &pool->slot[value - 1];
        completions[count].tag = slot->write.tag;
        completions[count].result = slot->result;
        slot->next_free = pool->free_slot;
        pool->free_slot = value - 1;
        pool->collected++;
        count++;
    }
    pool->in_flight -= count;
    return count;
}

static int pool_wait_fd(struct mr_disk *disk)
{
    return pool_of(disk)->event_fd;
}

static void pool_free(struct pool *pool)
{
    if (pool->event_fd >= 0)
        close(pool->event_fd);
    free(pool->slot);
    free(pool->order);
    free(pool->done);
    free(pool);
}

static void pool_release(struct mr_disk *disk)
{
    struct pool *pool = pool_of(disk);
    uint32_t published = mr_load_relaxed(&pool->published);
    for (uint32_t i = 0; i < pool->thread_count; i++) /* behind every write, so that those are done first */
        mr_store_relaxed(&pool->order[(published + i) & (pool->places - 1)], NO_SLOT);
    publish(pool, pool->thread_count);
    for (uint32_t i = 0; i < pool->thread_count; i++)
        pthread_join(pool->thread[i], NULL);
    pool_free(pool);
}

static const struct mr_disk_ops pool_ops = {
    .submit = pool_submit, .poll = pool_poll, .wait_fd = pool_wait_fd, .release = pool_release, MR_COLD_OPS};

static int start_threads(struct pool *pool, uint32_t threads)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    int rc = pthread_attr_init(&attributes);
    if (rc != 0)
        return rc;
    pthread_attr_setstacksize(&attributes, STACK_BYTES > PTHREAD_STACK_MIN ? STACK_BYTES : PTHREAD_STACK_MIN);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the threads that the program knows of */
    for (; rc == 0 && pool->thread_count < threads; pool->thread_count += rc == 0) {
        rc = pthread_create(&pool->thread[pool->thread_count], &attributes, work, pool);
        if (rc == 0) {
            char name[16];
            snprintf(name, sizeof name, "mr-disk-%u", pool->thread_count);
            pthread_setname_np(pool->thread[pool->thread_count], name);
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return rc;
}

int mr_disk_threads_open(struct mr_disk **disk, uint32_t depth, uint32_t threads, struct millrace_error *err)
{
    *disk = NULL;
    if (depth == 0 || depth > DEPTH_MAX || threads == 0 || threads > THREADS_MAX)
        return mr_err(err, EINVAL, "disk threads: a depth of %u and %u threads are not within 1..%u and 1..%u", depth, threads, DEPTH_MAX,
                      THREADS_MAX);
    struct pool *pool = aligned_alloc(MR_CACHE_LINE, mr_align_up(sizeof *pool, MR_CACHE_LINE));
    if (pool == NULL)
        return mr_err(err, ENOMEM, "disk threads: no memory");
    memset(pool, 0, sizeof *pool);
    pool->disk.ops = &pool_ops;
    pool->disk.name = "threads";
    pool->depth = depth;
    for (pool->places = 1; pool->places < depth + threads;)
        pool->places *= 2;
    pool->slot = calloc(depth, sizeof *pool->slot);
    pool->order = calloc(pool->places, sizeof *pool->order);
    pool->done = calloc(pool->places, sizeof *pool->done);
    pool->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pool->slot == NULL || pool->order == NULL || pool->done == NULL || pool->event_fd < 0) {
        int rc = pool->event_fd < 0 ? errno : ENOMEM;
        pool_free(pool);
        return mr_err(err, rc, "disk threads: %s", strerror(rc));
    }
    for (uint32_t i = 0; i < depth; i++)
        pool->slot[i].next_free = i + 1 < depth ? i + 1 : NO_SLOT;
    int rc = start_threads(pool, threads);
    if (rc != 0) {
        uint32_t started = pool->thread_count;
        pool_release(&pool->disk);
        return mr_err(err, rc, "disk threads: thread %u of %u: %s: raise the limit of threads (ulimit -u, TasksMax= in the unit)", started + 1,
                      threads, strerror(rc));
    }
    *disk = &pool->disk;
    return 0;
}
