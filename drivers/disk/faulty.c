/* SPDX-License-Identifier: Apache-2.0 */
/* The decorator of faulty.h. The burst half gives every write a slot, whose number is the tag that the inner disk sees:
 *
 *   free -> inner (passed on) -> held (completed there, not due yet) -> delivered, free again
 *   free -> held (failed here) -> delivered, free again
 *
 * It is for tests: it may make a system call or block where the face says that a driver does not. */
#include "drivers/disk/faulty_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "shm/base/atomics.h"
#include "shm/base/bits.h"

#define SLOTS      1024u
#define BATCH      64u
#define TICK_NS    1000000
#define NS_PER_S   1000000000u

struct slot {
    uint64_t tag;
    uint64_t slow_ns;
    uint64_t due_ns;
    int32_t result;
};

struct faulty_disk {
    struct mr_disk disk;
    struct mr_disk *inner;
    struct mr_fault_rule rule[MR_FAULT_RULES_MAX];
    uint32_t rule_count;
    int timer_fd;
    char name[48];
    _Atomic uint64_t operations[MR_FAULT_OPERATION_COUNT];
    uint32_t outstanding; /* taken and not delivered */
    uint32_t free_count, held_count;
    uint32_t free[SLOTS];
    uint32_t held[SLOTS];
    struct slot slot[SLOTS];
};

static struct faulty_disk *faulty_of(struct mr_disk *disk)
{
    return (struct faulty_disk *)disk;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/** Count an operation. @return the rule that it falls under, or NULL. */
static const struct mr_fault_rule *draw(struct faulty_disk *faulty, enum mr_fault_operation operation)
{
    uint64_t nth = mr_fetch_add_relaxed(&faulty->operations[operation], 1) + 1;
    for (uint32_t i = 0; i < faulty->rule_count; i++) {
        const struct mr_fault_rule *rule = &faulty->rule[i];
        if (rule->operation == operation && (nth == rule->nth || (rule->for_ever && nth > rule->nth)))
            return rule;
    }
    return NULL;
}

/* ---- burst half ---- */

/** Tick while somebody may sleep on wait_fd and wait for a write of ours. */
static void set_timer(struct faulty_disk *faulty, bool is_on)
{
    long tick = is_on ? TICK_NS : 0;
    struct itimerspec spec = {.it_interval = {.tv_nsec = tick}, .it_value = {.tv_nsec = tick}};
    timerfd_settime(faulty->timer_fd, 0, &spec, NULL);
}

static void fail_here(struct faulty_disk *faulty, const struct mr_disk_write *write, const struct mr_fault_rule *rule, uint32_t index)
{
    int32_t error = rule->error;
    if (rule->torn_sectors > 0) {
        size_t bytes = (size_t)mr_min_u64((uint64_t)rule->torn_sectors * 512, write->bytes);
        int64_t rc = mr_disk_write(faulty->inner, write->file, write->buffer, bytes, write->position);
        error = rc < 0 ? (int32_t)-rc : error;
    }
    faulty->slot[index].result = -error;
    faulty->slot[index].due_ns = 0;
    faulty->held[faulty->held_count++] = index;
}

/** Pass a run of writes on. What the inner disk does not take is given back: its slots, its counts. @return how many were taken. */
static uint32_t pass_on(struct faulty_disk *faulty, const struct mr_disk_write *run, uint32_t count)
{
    uint32_t taken = count > 0 ? mr_disk_submit(faulty->inner, run, count) : 0;
    for (uint32_t i = count; i-- > taken;)
        faulty->free[faulty->free_count++] = (uint32_t)run[i].tag;
    return taken;
}

static uint32_t faulty_submit(struct mr_disk *disk, const struct mr_disk_write *writes, uint32_t count)
{
    struct faulty_disk *faulty = faulty_of(disk);
    struct mr_disk_write run[BATCH];
    uint32_t taken = 0, run_count = 0;
    bool is_full = false;
    for (uint32_t i = 0; i < count && !is_full && faulty->free_count > 0; i++) {
        const struct mr_fault_rule *rule = draw(faulty, MR_FAULT_WRITE);
        uint32_t index = faulty->free[--faulty->free_count];
        bool fails = rule != NULL && rule->error != 0;
        faulty->slot[index] = (struct slot){.tag = writes[i].tag, .slow_ns = rule != NULL ? rule->slow_ns : 0};
        if (!fails) {
            run[run_count] = writes[i];
            run[run_count++].tag = index;
        }
        if (!fails && run_count < BATCH && i + 1 < count)
            continue;
        uint32_t passed = pass_on(faulty, run, run_count);
        taken += passed;
        is_full = passed < run_count;
        if (is_full) { /* neither what it refused nor this one counts as begun */
            mr_fetch_add_relaxed(&faulty->operations[MR_FAULT_WRITE], (uint64_t)0 - (run_count - passed) - fails);
            if (fails)
                faulty->free[faulty->free_count++] = index;
        } else if (fails) {
            fail_here(faulty, &writes[i], rule, index);
            taken++;
        }
        run_count = 0;
    }
    if (run_count > 0) { /* our own slots ran out in the middle of a run */
        uint32_t passed = pass_on(faulty, run, run_count);
        mr_fetch_add_relaxed(&faulty->operations[MR_FAULT_WRITE], (uint64_t)0 - (run_count - passed));
        taken += passed;
    }
    if (faulty->outstanding == 0 && taken > 0)
        set_timer(faulty, true);
    faulty->outstanding += taken;
    return taken;
}

static uint32_t faulty_poll(struct mr_disk *disk, struct mr_disk_completion *completions, uint32_t max)
{
    struct faulty_disk *faulty = faulty_of(disk);
    struct mr_disk_completion inner[BATCH];
    if (faulty->outstanding == 0)
        return 0;
    uint64_t now = now_ns();
    uint32_t seen;
    do {
        seen = mr_disk_poll(faulty->inner, inner, BATCH);
        for (uint32_t i = 0; i < seen; i++) {
            uint32_t index = (uint32_t)inner[i].tag;
            faulty->slot[index].result = inner[i].result;
            faulty->slot[index].due_ns = now + faulty->slot[index].slow_ns;
            faulty->held[faulty->held_count++] = index;
        }
    } while (seen == BATCH);
    uint32_t count = 0, kept = 0;
    for (uint32_t i = 0; i < faulty->held_count; i++) {
        uint32_t index = faulty->held[i];
        if (count == max || faulty->slot[index].due_ns > now) {
            faulty->held[kept++] = index;
            continue;
        }
        completions[count].tag = faulty->slot[index].tag;
        completions[count++].result = faulty->slot[index].result;
        faulty->free[faulty->free_count++] = index;
    }
    faulty->held_count = kept;
    faulty->outstanding -= count;
    if (faulty->outstanding == 0)
        set_timer(faulty, false);
    return count;
}

static int faulty_wait_fd(struct mr_disk *disk)
{
    return faulty_of(disk)->timer_fd;
}

/* ---- cold half ---- */

#define INNER(disk) (faulty_of(disk)->inner)

static int draw_error(struct mr_disk *disk, enum mr_fault_operation operation)
{
    const struct mr_fault_rule *rule = draw(faulty_of(disk), operation);
    return rule != NULL ? -rule->error : 0;
}

static int faulty_open(struct mr_disk *disk, const char *path, uint32_t flags, struct millrace_error *err)
{
    int rc = draw_error(disk, MR_FAULT_OPEN);
    return rc != 0 ? mr_err(err, -rc, "opening '%s': %s (injected by " MR_FAULTS_VARIABLE ")", path, strerror(-rc))
                   : mr_disk_open(INNER(disk), path, flags, err);
}

static int faulty_close(struct mr_disk *disk, int file)
{
    return mr_disk_close(INNER(disk), file);
}

static int64_t faulty_size(struct mr_disk *disk, int file)
{
    return mr_disk_size(INNER(disk), file);
}

static int faulty_allocate(struct mr_disk *disk, int file, uint64_t position, uint64_t bytes)
{
    int rc = draw_error(disk, MR_FAULT_ALLOCATE);
    return rc != 0 ? rc : mr_disk_allocate(INNER(disk), file, position, bytes);
}

static int faulty_truncate(struct mr_disk *disk, int file, uint64_t bytes)
{
    int rc = draw_error(disk, MR_FAULT_TRUNCATE);
    return rc != 0 ? rc : mr_disk_truncate(INNER(disk), file, bytes);
}

static int64_t faulty_read(struct mr_disk *disk, int file, void *buffer, size_t bytes, uint64_t position)
{
    int rc = draw_error(disk, MR_FAULT_READ);
    return rc != 0 ? rc : mr_disk_read(INNER(disk), file, buffer, bytes, position);
}

static int64_t faulty_write(struct mr_disk *disk, int file, const void *buffer, size_t bytes, uint64_t position)
{
    int rc = draw_error(disk, MR_FAULT_COLD);
    return rc != 0 ? rc : mr_disk_write(INNER(disk), file, buffer, bytes, position);
}

static int faulty_sync(struct mr_disk *disk, int file)
{
    int rc = draw_error(disk, MR_FAULT_SYNC);
    return rc != 0 ? rc : mr_disk_sync(INNER(disk), file);
}

static int faulty_sync_directory(struct mr_disk *disk, const char *path)
{
    int rc = draw_error(disk, MR_FAULT_DIRSYNC);
    return rc != 0 ? rc : mr_disk_sync_directory(INNER(disk), path);
}

static int faulty_make_directory(struct mr_disk *disk, const char *path)
{
    int rc = draw_error(disk, MR_FAULT_NAME);
    return rc != 0 ? rc : mr_disk_make_directory(INNER(disk), path);
}

static int faulty_remove_directory(struct mr_disk *disk, const char *path)
{
    int rc = draw_error(disk, MR_FAULT_NAME);
    return rc != 0 ? rc : mr_disk_remove_directory(INNER(disk), path);
}

static int faulty_unlink(struct mr_disk *disk, const char *path)
{
    int rc = draw_error(disk, MR_FAULT_NAME);
    return rc != 0 ? rc : mr_disk_unlink(INNER(disk), path);
}

static int faulty_rename(struct mr_disk *disk, const char *from, const char *to)
{
    int rc = draw_error(disk, MR_FAULT_NAME);
    return rc != 0 ? rc : mr_disk_rename(INNER(disk), from, to);
}

static int faulty_list(struct mr_disk *disk, const char *path, int (*each)(void *context, const char *name, bool is_directory),
                       void *context)
{
    return mr_disk_list(INNER(disk), path, each, context);
}

static uint64_t faulty_free_bytes(struct mr_disk *disk, const char *path)
{
    return mr_disk_free_bytes(INNER(disk), path);
}

static bool faulty_is_direct(struct mr_disk *disk, int file)
{
    return mr_disk_is_direct(INNER(disk), file);
}

static void faulty_release(struct mr_disk *disk)
{
    struct faulty_disk *faulty = faulty_of(disk);
    mr_disk_release(faulty->inner);
    close(faulty->timer_fd);
    free(faulty);
}

static const struct mr_disk_ops faulty_ops = {
    .submit = faulty_submit,
    .poll = faulty_poll,
    .wait_fd = faulty_wait_fd,
    .open = faulty_open,
    .close = faulty_close,
    .size = faulty_size,
    .allocate = faulty_allocate,
    .truncate = faulty_truncate,
    .read = faulty_read,
    .write = faulty_write,
    .sync = faulty_sync,
    .sync_directory = faulty_sync_directory,
    .make_directory = faulty_make_directory,
    .remove_directory = faulty_remove_directory,
    .unlink = faulty_unlink,
    .rename = faulty_rename,
    .list = faulty_list,
    .free_bytes = faulty_free_bytes,
    .is_direct = faulty_is_direct,
    .release = faulty_release,
};

int mr_disk_faulty_open(struct mr_disk **disk, struct mr_disk *inner, const char *rules, struct millrace_error *err)
{
    *disk = NULL;
    struct faulty_disk *faulty = calloc(1, sizeof *faulty);
    if (faulty == NULL)
        return mr_err(err, ENOMEM, MR_FAULTS_VARIABLE ": no memory");
    int rc = mr_fault_parse(rules, faulty->rule, &faulty->rule_count, err);
    if (rc != 0) {
        free(faulty);
        return rc;
    }
    faulty->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (faulty->timer_fd < 0) {
        rc = errno;
        free(faulty);
        return mr_err(err, rc, MR_FAULTS_VARIABLE ": a timer: %s", strerror(rc));
    }
    snprintf(faulty->name, sizeof faulty->name, "%s with injected faults", inner->name);
    faulty->disk.ops = &faulty_ops;
    faulty->disk.name = faulty->name;
    faulty->inner = inner;
    for (uint32_t i = 0; i < SLOTS; i++)
        faulty->free[i] = i;
    faulty->free_count = SLOTS;
    *disk = &faulty->disk;
    return 0;
}
