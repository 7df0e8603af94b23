/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated disk as a program sees it: the face of disk.h.
 *
 * An operation goes: is the power on -> does a rule make it fail -> do it -> count it (the cut point) -> tell the watcher. */
#include "drivers/disk/sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UNBOUNDED_BYTES ((uint64_t)1 << 50)

static struct mr_sim_handle *handle_of(struct mr_disk *disk)
{
    return (struct mr_sim_handle *)disk;
}

/** Count, and take the power when the count says so. */
static void count_operation(struct mr_sim_disk_machine *machine, enum mr_sim_disk_operation operation)
{
    machine->operations++;
    if (machine->cut_left != MR_SIM_DISK_NEVER && machine->cut_left > 0 && --machine->cut_left == 0)
        machine->is_cut = true;
    if (machine->watch != NULL)
        machine->watch(machine->watch_context, machine, operation);
}

/** 0, or the -errno that this operation is to fail with. */
static int draw_fault(struct mr_sim_disk_machine *machine, enum mr_sim_disk_operation operation)
{
    struct mr_sim_rule *rule = &machine->rule[operation];
    if (rule->nth == 0)
        return 0;
    if (rule->nth > 1) {
        rule->nth--;
        return 0;
    }
    if (!rule->for_ever)
        rule->nth = 0;
    return -rule->error;
}

static bool is_off(const struct mr_sim_handle *handle)
{
    return handle->is_dead || handle->machine->is_cut;
}

/** The inode behind a file number. @return NULL, with *error, when the power is off or the number is not of an open file. */
static struct mr_sim_inode *opened(struct mr_disk *disk, int file, bool to_write, int *error)
{
    struct mr_sim_handle *handle = handle_of(disk);
    *error = -EIO;
    if (is_off(handle))
        return NULL;
    struct mr_sim_disk_machine *machine = handle->machine;
    *error = -EBADF;
    if (file < 0 || (uint32_t)file < machine->file_base || (uint32_t)file - machine->file_base >= machine->open_count)
        return NULL;
    const struct mr_sim_open *open = &machine->open[(uint32_t)file - machine->file_base];
    if (open->inode == MR_SIM_NONE || (to_write && (open->flags & MR_DISK_READ_ONLY) != 0))
        return NULL;
    *error = 0;
    return machine->inode[open->inode];
}

/* ---- burst half ---- */

static uint32_t sim_submit(struct mr_disk *disk, const struct mr_disk_write *writes, uint32_t count)
{
    struct mr_sim_handle *handle = handle_of(disk);
    struct mr_sim_disk_machine *machine = handle->machine;
    uint32_t taken = 0;
    for (; taken < count && !is_off(handle) && handle->in_flight < machine->options.depth; taken++) {
        const struct mr_disk_write *from = &writes[taken];
        int error;
        bool is_open = opened(disk, from->file, true, &error) != NULL;
        mr_assert(from->bytes > 0 && from->bytes <= MR_DISK_WRITE_BYTES_MAX && from->bytes % MR_BLOCK_BYTES == 0);
        mr_assert(from->position % MR_BLOCK_BYTES == 0);
        mr_assert((uintptr_t)from->buffer % MR_BLOCK_BYTES == 0);
        struct mr_sim_write *write = mr_sim_take(sizeof *write + from->bytes);
        memcpy(write->data, from->buffer, from->bytes);
        write->references = 1;
        write->inode = is_open ? machine->open[(uint32_t)from->file - machine->file_base].inode : MR_SIM_ROOT;
        write->bytes = from->bytes;
        write->flags = from->flags;
        write->position = from->position;
        write->tag = from->tag;
        if (machine->misdirect_nth > 0 && --machine->misdirect_nth == 0 && (int64_t)write->position + machine->misdirect_bytes >= 0)
            write->position += (uint64_t)machine->misdirect_bytes;
        machine->flight = mr_sim_grow(machine->flight, machine->flight_count + 1, &machine->flight_room, sizeof *machine->flight);
        uint64_t delay = machine->options.delay_polls_min;
        if (machine->options.delay_polls_max > delay)
            delay += mr_random_below(&machine->random, machine->options.delay_polls_max - delay + 1);
        int fault = draw_fault(machine, MR_SIM_DISK_BURST_WRITE);
        machine->flight[machine->flight_count++] = (struct mr_sim_flight){
            .write = write, .handle = handle, .buffer = from->buffer, .due_poll = handle->polls + 1 + delay, .fail = is_open ? fault : error};
        handle->in_flight++;
        count_operation(machine, MR_SIM_DISK_BURST_WRITE);
    }
    return taken;
}

/** Which write of this handle completes next, or flight_count. In order, only the oldest may. */
static uint32_t pick_ready(struct mr_sim_disk_machine *machine, const struct mr_sim_handle *handle)
{
    uint32_t ready = 0, pick = machine->flight_count;
    for (uint32_t i = 0; i < machine->flight_count; i++) {
        if (machine->flight[i].handle != handle)
            continue;
        bool is_due = machine->flight[i].due_poll <= handle->polls;
        if (machine->options.in_order)
            return is_due ? i : machine->flight_count;
        if (is_due && mr_random_below(&machine->random, ++ready) == 0)
            pick = i;
    }
    return pick;
}

static uint32_t sim_poll(struct mr_disk *disk, struct mr_disk_completion *completions, uint32_t max)
{
    struct mr_sim_handle *handle = handle_of(disk);
    if (is_off(handle) || handle->machine->is_held)
        return 0;
    struct mr_sim_disk_machine *machine = handle->machine;
    uint32_t count = 0;
    handle->polls++;
    while (count < max) {
        uint32_t index = pick_ready(machine, handle);
        if (index == machine->flight_count)
            break;
        struct mr_sim_flight *flight = &machine->flight[index];
        /* The promise of struct mr_disk_write: an implementation may read the buffer until now. */
        mr_assert(memcmp(flight->buffer, flight->write->data, flight->write->bytes) == 0);
        completions[count].tag = flight->write->tag;
        completions[count].result = mr_sim_land(machine, flight);
        count++;
        mr_sim_take_flight(machine, index);
        handle->in_flight--;
    }
    if (count > 0)
        count_operation(machine, MR_SIM_DISK_DELIVER);
    return count;
}

static int sim_wait_fd(struct mr_disk *disk)
{
    return -1;
}

/* ---- cold half: contents ---- */

static int sim_open(struct mr_disk *disk, const char *path, uint32_t flags, struct millrace_error *err)
{
    struct mr_sim_handle *handle = handle_of(disk);
    struct mr_sim_disk_machine *machine = handle->machine;
    if (is_off(handle))
        return mr_err(err, EIO, "opening '%s': the simulated power is off", path);
    uint32_t inode = MR_SIM_NONE;
    int rc = mr_sim_find(machine, path, &inode);
    if (rc == 0 && (flags & MR_DISK_CREATE) != 0 && (flags & MR_DISK_EXCLUSIVE) != 0)
        rc = -EEXIST;
    else if (rc == 0 && machine->inode[inode]->is_directory)
        rc = -EISDIR;
    else if (rc == -ENOENT && (flags & MR_DISK_CREATE) != 0) {
        rc = draw_fault(machine, MR_SIM_DISK_NAME);
        if (rc == 0)
            rc = mr_sim_create(machine, path, false, &inode);
        if (rc == 0)
            count_operation(machine, MR_SIM_DISK_NAME);
    }
    if (rc != 0)
        return mr_err(err, -rc, "opening '%s' on the simulated disk: %s", path, strerror(-rc));
    machine->open = mr_sim_grow(machine->open, machine->open_count + 1, &machine->open_room, sizeof *machine->open);
    machine->open[machine->open_count] = (struct mr_sim_open){.inode = inode, .flags = flags};
    machine->inode[inode]->opens++;
    return (int)(machine->file_base + machine->open_count++);
}

static int sim_close(struct mr_disk *disk, int file)
{
    int error;
    struct mr_sim_inode *inode = opened(disk, file, false, &error);
    if (inode == NULL)
        return error;
    struct mr_sim_disk_machine *machine = handle_of(disk)->machine;
    struct mr_sim_open *open = &machine->open[(uint32_t)file - machine->file_base];
    inode->opens--;
    if (inode->opens == 0)
        for (uint32_t i = 0; i < machine->flight_count; i++)
            mr_assert(machine->flight[i].handle == NULL || machine->flight[i].write->inode != open->inode || machine->flight[i].fail != 0);
    open->inode = MR_SIM_NONE;
    mr_sim_inode_unused(machine, inode);
    return 0;
}

static int64_t sim_size(struct mr_disk *disk, int file)
{
    int error;
    struct mr_sim_inode *inode = opened(disk, file, false, &error);
    return inode == NULL ? error : (int64_t)inode->now_bytes;
}

static int sim_allocate(struct mr_disk *disk, int file, uint64_t position, uint64_t bytes)
{
    struct mr_sim_disk_machine *machine = handle_of(disk)->machine;
    int rc;
    struct mr_sim_inode *inode = opened(disk, file, true, &rc);
    if (inode == NULL)
        return rc;
    rc = draw_fault(machine, MR_SIM_DISK_ALLOCATE);
    if (rc == 0)
        rc = mr_sim_file_back(machine, inode, position, bytes);
    if (rc != 0)
        return rc;
    if (position + bytes > inode->now_bytes)
        mr_sim_file_resize(machine, inode, position + bytes);
    count_operation(machine, MR_SIM_DISK_ALLOCATE);
    return 0;
}

static int sim_truncate(struct mr_disk *disk, int file, uint64_t bytes)
{
    struct mr_sim_disk_machine *machine = handle_of(disk)->machine;
    int rc;
    struct mr_sim_inode *inode = opened(disk, file, true, &rc);
    if (inode == NULL)
        return rc;
    rc = draw_fault(machine, MR_SIM_DISK_TRUNCATE);
    if (rc != 0)
        return rc;
    mr_sim_file_resize(machine, inode, bytes);
    count_operation(machine, MR_SIM_DISK_TRUNCATE);
    return 0;
}

static int64_t sim_read(struct mr_disk *disk, int file, void *buffer, size_t bytes, uint64_t position)
{
    int rc;
    struct mr_sim_inode *inode = opened(disk, file, false, &rc);
    if (inode == NULL)
        return rc;
    rc = draw_fault(handle_of(disk)->machine, MR_SIM_DISK_READ);
    return rc != 0 ? rc : mr_sim_file_read(inode, buffer, bytes, position, false);
}

static int64_t sim_write(struct mr_disk *disk, int file, const void *buffer, size_t bytes, uint64_t position)
{
    struct mr_sim_disk_machine *machine = handle_of(disk)->machine;
    int rc;
    struct mr_sim_inode *inode = opened(disk, file, true, &rc);
    if (inode == NULL)
        return rc;
    rc = draw_fault(machine, MR_SIM_DISK_COLD_WRITE);
    if (rc == -EIO)
        mr_sim_file_tear(machine, inode, position, buffer, bytes, &machine->random);
    if (rc == 0)
        rc = mr_sim_file_back(machine, inode, position, bytes);
    if (rc != 0)
        return rc;
    mr_sim_file_write(machine, inode, position, buffer, bytes);
    count_operation(machine, MR_SIM_DISK_COLD_WRITE);
    return (int64_t)bytes;
}

static int sim_sync(struct mr_disk *disk, int file)
{
    struct mr_sim_disk_machine *machine = handle_of(disk)->machine;
    int rc;
    struct mr_sim_inode *inode = opened(disk, file, false, &rc);
    if (inode == NULL)
        return rc;
    rc = draw_fault(machine, MR_SIM_DISK_SYNC);
    if (rc != 0) {
        mr_sim_file_fail_sync(inode, &machine->random); /* W5 */
        return rc;
    }
    mr_sim_file_sync(inode);
    count_operation(machine, MR_SIM_DISK_SYNC);
    return 0;
}

/* ---- cold half: names ---- */

/** What every change of a name has in common. */
static int start_name(struct mr_disk *disk)
{
    return is_off(handle_of(disk)) ? -EIO : draw_fault(handle_of(disk)->machine, MR_SIM_DISK_NAME);
}

static int end_name(struct mr_disk *disk, int rc)
{
    if (rc == 0)
        count_operation(handle_of(disk)->machine, MR_SIM_DISK_NAME);
    return rc;
}

static int sim_sync_directory(struct mr_disk *disk, const char *path)
{
    struct mr_sim_handle *handle = handle_of(disk);
    uint32_t inode = MR_SIM_NONE;
    if (is_off(handle))
        return -EIO;
    int rc = mr_sim_find(handle->machine, path, &inode);
    if (rc == 0 && !handle->machine->inode[inode]->is_directory)
        rc = -ENOTDIR;
    if (rc == 0)
        rc = draw_fault(handle->machine, MR_SIM_DISK_SYNC_DIRECTORY);
    if (rc != 0)
        return rc;
    mr_sim_names_sync(handle->machine, inode);
    count_operation(handle->machine, MR_SIM_DISK_SYNC_DIRECTORY);
    return 0;
}

static int sim_make_directory(struct mr_disk *disk, const char *path)
{
    uint32_t inode;
    int rc = start_name(disk);
    return rc != 0 ? rc : end_name(disk, mr_sim_create(handle_of(disk)->machine, path, true, &inode));
}

static int sim_remove_directory(struct mr_disk *disk, const char *path)
{
    int rc = start_name(disk);
    return rc != 0 ? rc : end_name(disk, mr_sim_remove(handle_of(disk)->machine, path, true));
}

static int sim_unlink(struct mr_disk *disk, const char *path)
{
    int rc = start_name(disk);
    return rc != 0 ? rc : end_name(disk, mr_sim_remove(handle_of(disk)->machine, path, false));
}

static int sim_rename(struct mr_disk *disk, const char *from, const char *to)
{
    int rc = start_name(disk);
    return rc != 0 ? rc : end_name(disk, mr_sim_rename(handle_of(disk)->machine, from, to));
}

static int sim_list(struct mr_disk *disk, const char *path, int (*each)(void *context, const char *name, bool is_directory), void *context)
{
    struct mr_sim_handle *handle = handle_of(disk);
    uint32_t index = MR_SIM_NONE;
    if (is_off(handle))
        return -EIO;
    struct mr_sim_disk_machine *machine = handle->machine;
    int rc = mr_sim_find(machine, path, &index);
    if (rc == 0 && !machine->inode[index]->is_directory)
        rc = -ENOTDIR;
    if (rc != 0)
        return rc;
    /* `each` may create and unlink: names are copied before the first call. They come rotated, as no order is promised. */
    uint32_t count = machine->inode[index]->now.count;
    if (count == 0)
        return 0;
    struct mr_sim_entry *copy = mr_sim_take(count * sizeof *copy);
    uint64_t first = mr_random_below(&machine->random, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct mr_sim_entry *entry = &machine->inode[index]->now.entry[(first + i) % count];
        copy[i].name = strdup(entry->name);
        mr_assert(copy[i].name != NULL);
        copy[i].inode = machine->inode[entry->inode]->is_directory;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (rc == 0)
            rc = each(context, copy[i].name, copy[i].inode != 0);
        free(copy[i].name);
    }
    free(copy);
    return rc;
}

static uint64_t sim_free_bytes(struct mr_disk *disk, const char *path)
{
    const struct mr_sim_disk_machine *machine = handle_of(disk)->machine;
    uint64_t capacity = machine->options.capacity_bytes > 0 ? machine->options.capacity_bytes : UNBOUNDED_BYTES;
    uint64_t used = machine->used_blocks * MR_BLOCK_BYTES;
    return used < capacity ? capacity - used : 0;
}

static bool sim_is_direct(struct mr_disk *disk, int file)
{
    int error;
    const struct mr_sim_disk_machine *machine = handle_of(disk)->machine;
    return opened(disk, file, false, &error) != NULL && !machine->options.refuse_direct &&
           (machine->open[(uint32_t)file - machine->file_base].flags & MR_DISK_DIRECT) != 0;
}

static void sim_release(struct mr_disk *disk)
{
    struct mr_sim_handle *handle = handle_of(disk);
    struct mr_sim_disk_machine *machine = handle->machine;
    for (uint32_t i = machine->flight_count; i-- > 0;) {
        if (machine->flight[i].handle != handle)
            continue;
        if (machine->is_cut) { /* what is in flight stays so until the cut settles it */
            machine->flight[i].handle = NULL;
            continue;
        }
        mr_sim_land(machine, &machine->flight[i]);
        mr_sim_take_flight(machine, i);
    }
    struct mr_sim_handle **link = &machine->handles;
    while (*link != handle)
        link = &(*link)->next;
    *link = handle->next;
    free(handle);
}

const struct mr_disk_ops mr_sim_ops = {
    .submit = sim_submit,
    .poll = sim_poll,
    .wait_fd = sim_wait_fd,
    .open = sim_open,
    .close = sim_close,
    .size = sim_size,
    .allocate = sim_allocate,
    .truncate = sim_truncate,
    .read = sim_read,
    .write = sim_write,
    .sync = sim_sync,
    .sync_directory = sim_sync_directory,
    .make_directory = sim_make_directory,
    .remove_directory = sim_remove_directory,
    .unlink = sim_unlink,
    .rename = sim_rename,
    .list = sim_list,
    .free_bytes = sim_free_bytes,
    .is_direct = sim_is_direct,
    .release = sim_release,
};
