/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated machine: birth, clones, crashes, faults, and looking in from outside. What a program sees of it is in sim_handle.c,
 * contents are in sim_file.c, names in sim_names.c; the model is in sim.h. */
#include "drivers/disk/sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/crc32c.h"

#define FILE_FIRST      1000u /* not a plausible descriptor: mixing the two up shows */
#define PATH_BYTES_MAX  4096u

void *mr_sim_take(size_t bytes)
{
    void *memory = calloc(1, bytes > 0 ? bytes : 1);
    mr_assert(memory != NULL);
    return memory;
}

void *mr_sim_grow(void *memory, uint32_t count, uint32_t *room, size_t element_bytes)
{
    if (count <= *room)
        return memory;
    uint32_t wanted = *room < 4 ? 8 : *room * 2;
    *room = wanted > count ? wanted : count;
    memory = realloc(memory, *room * element_bytes);
    mr_assert(memory != NULL);
    return memory;
}

static void write_release(struct mr_sim_write *write)
{
    if (--write->references == 0)
        free(write);
}

int32_t mr_sim_land(struct mr_sim_disk_machine *machine, const struct mr_sim_flight *flight)
{
    const struct mr_sim_write *write = flight->write;
    struct mr_sim_inode *inode = machine->inode[write->inode];
    if (flight->fail == -EIO)
        mr_sim_file_tear(machine, inode, write->position, write->data, write->bytes, &machine->random);
    if (flight->fail != 0)
        return flight->fail;
    int rc = mr_sim_file_back(machine, inode, write->position, write->bytes);
    if (rc != 0)
        return rc;
    mr_sim_file_write(machine, inode, write->position, write->data, write->bytes);
    if ((write->flags & MR_DISK_DURABLE) != 0)
        mr_sim_file_make_durable(inode, write->position, write->bytes);
    return 0;
}

void mr_sim_take_flight(struct mr_sim_disk_machine *machine, uint32_t index)
{
    write_release(machine->flight[index].write);
    machine->flight_count--;
    memmove(machine->flight + index, machine->flight + index + 1, (machine->flight_count - index) * sizeof *machine->flight);
}

void mr_sim_disk_options_init(struct mr_sim_disk_options *options)
{
    *options = (struct mr_sim_disk_options){.depth = 64, .tear_old = 4, .tear_new = 4, .tear_garbage = 1};
}

struct mr_sim_disk_machine *mr_sim_disk_machine_open(const struct mr_sim_disk_options *options)
{
    struct mr_sim_disk_machine *machine = mr_sim_take(sizeof *machine);
    if (options != NULL)
        machine->options = *options;
    else
        mr_sim_disk_options_init(&machine->options);
    mr_random_init(&machine->random, machine->options.seed, 0xd15c);
    machine->cut_left = MR_SIM_DISK_NEVER;
    machine->file_base = FILE_FIRST;
    uint32_t root = mr_sim_inode_new(machine, true);
    mr_assert(root == MR_SIM_ROOT);
    machine->inode[root]->is_named = true;
    return machine;
}

static void drop_flights(struct mr_sim_disk_machine *machine)
{
    for (uint32_t i = 0; i < machine->flight_count; i++)
        write_release(machine->flight[i].write);
    machine->flight_count = 0;
}

void mr_sim_disk_machine_close(struct mr_sim_disk_machine *machine)
{
    if (machine == NULL)
        return;
    while (machine->handles != NULL) {
        struct mr_sim_handle *next = machine->handles->next;
        free(machine->handles);
        machine->handles = next;
    }
    drop_flights(machine);
    mr_sim_names_drop(machine);
    free(machine->flight);
    free(machine->open);
    free(machine);
}

struct mr_sim_disk_machine *mr_sim_disk_clone(const struct mr_sim_disk_machine *machine)
{
    struct mr_sim_disk_machine *copy = mr_sim_take(sizeof *copy);
    *copy = *machine;
    mr_sim_names_copy(copy, machine);
    copy->flight = NULL;
    copy->flight_room = 0;
    if (machine->flight_count > 0)
        copy->flight = mr_sim_grow(NULL, machine->flight_count, &copy->flight_room, sizeof *copy->flight);
    for (uint32_t i = 0; i < machine->flight_count; i++) {
        copy->flight[i] = machine->flight[i];
        copy->flight[i].handle = NULL;
        copy->flight[i].buffer = NULL;
        copy->flight[i].write->references++;
    }
    copy->file_base += copy->open_count;
    copy->open = NULL;
    copy->open_count = copy->open_room = 0;
    copy->handles = NULL;
    memset(copy->rule, 0, sizeof copy->rule);
    copy->misdirect_nth = 0;
    copy->cut_left = MR_SIM_DISK_NEVER;
    copy->is_held = false;
    copy->is_image = true;
    copy->watch = NULL;
    for (uint32_t i = 0; i < copy->inode_count; i++)
        if (copy->inode[i] != NULL)
            copy->inode[i]->opens = 0;
    return copy;
}

struct mr_disk *mr_sim_disk_open(struct mr_sim_disk_machine *machine)
{
    mr_assert(!machine->is_image); /* power_cut or kill first */
    struct mr_sim_handle *handle = mr_sim_take(sizeof *handle);
    handle->disk.ops = &mr_sim_ops;
    handle->disk.name = "simulated";
    handle->machine = machine;
    handle->next = machine->handles;
    machine->handles = handle;
    return &handle->disk;
}

static void disconnect(struct mr_sim_disk_machine *machine)
{
    for (struct mr_sim_handle *handle = machine->handles; handle != NULL; handle = handle->next) {
        handle->is_dead = true;
        handle->in_flight = 0;
    }
    for (uint32_t i = 0; i < machine->inode_count; i++)
        if (machine->inode[i] != NULL)
            machine->inode[i]->opens = 0;
    machine->file_base += machine->open_count;
    machine->open_count = 0;
    machine->is_image = false;
    machine->is_held = false;
}

void mr_sim_disk_power_cut(struct mr_sim_disk_machine *machine, struct mr_random *random)
{
    for (uint32_t i = 0; i < machine->inode_count; i++)
        if (machine->inode[i] != NULL && !machine->inode[i]->is_directory)
            mr_sim_file_power_cut(machine, machine->inode[i], random);
    while (machine->flight_count > 0) { /* in any order: two writes in flight to one sector race */
        uint32_t index = (uint32_t)mr_random_below(random, machine->flight_count);
        const struct mr_sim_write *write = machine->flight[index].write;
        struct mr_sim_inode *inode = machine->inode[write->inode];
        if (!inode->is_directory)
            mr_sim_file_tear(machine, inode, write->position, write->data, write->bytes, random);
        inode->durable_bytes = inode->now_bytes;
        mr_sim_take_flight(machine, index);
    }
    disconnect(machine);
    mr_sim_names_power_cut(machine, random);
    machine->used_blocks = 0;
    for (uint32_t i = 0; i < machine->inode_count; i++) {
        if (machine->inode[i] == NULL)
            continue;
        machine->inode[i]->is_counted = true;
        machine->used_blocks += machine->inode[i]->backed_blocks;
    }
    machine->is_cut = false;
    machine->cut_left = MR_SIM_DISK_NEVER;
}

void mr_sim_disk_kill(struct mr_sim_disk_machine *machine)
{
    while (machine->flight_count > 0) {
        uint32_t index = (uint32_t)mr_random_below(&machine->random, machine->flight_count);
        if (!mr_random_chance(&machine->random, machine->options.kill_drop_percent, 100))
            mr_sim_land(machine, &machine->flight[index]);
        mr_sim_take_flight(machine, index);
    }
    disconnect(machine);
    for (uint32_t i = 0; i < machine->inode_count; i++)
        if (machine->inode[i] != NULL)
            mr_sim_inode_unused(machine, machine->inode[i]);
    mr_sim_sweep(machine);
}

void mr_sim_disk_cut_after(struct mr_sim_disk_machine *machine, uint64_t operations)
{
    machine->cut_left = operations;
    if (operations == 0)
        machine->is_cut = true;
}

bool mr_sim_disk_is_cut(const struct mr_sim_disk_machine *machine)
{
    return machine->is_cut;
}

uint64_t mr_sim_disk_operations(const struct mr_sim_disk_machine *machine)
{
    return machine->operations;
}

void mr_sim_disk_watch(struct mr_sim_disk_machine *machine,
                       void (*each)(void *context, struct mr_sim_disk_machine *machine, enum mr_sim_disk_operation operation), void *context)
{
    machine->watch = each;
    machine->watch_context = context;
}

void mr_sim_disk_fail(struct mr_sim_disk_machine *machine, enum mr_sim_disk_operation operation, uint64_t nth, int error, bool for_ever)
{
    mr_assert(operation < MR_SIM_DISK_OPERATION_COUNT && operation != MR_SIM_DISK_DELIVER);
    mr_assert(nth == 0 || error > 0);
    machine->rule[operation] = (struct mr_sim_rule){.nth = nth, .error = error, .for_ever = for_ever};
}

void mr_sim_disk_misdirect(struct mr_sim_disk_machine *machine, uint64_t nth, int64_t bytes)
{
    mr_assert(bytes % MR_SIM_DISK_SECTOR_BYTES == 0);
    machine->misdirect_nth = nth;
    machine->misdirect_bytes = bytes;
}

void mr_sim_disk_set_delay(struct mr_sim_disk_machine *machine, uint32_t polls_min, uint32_t polls_max)
{
    machine->options.delay_polls_min = polls_min;
    machine->options.delay_polls_max = polls_max;
}

void mr_sim_disk_set_tear(struct mr_sim_disk_machine *machine, uint32_t weight_old, uint32_t weight_new, uint32_t weight_garbage)
{
    machine->options.tear_old = weight_old;
    machine->options.tear_new = weight_new;
    machine->options.tear_garbage = weight_garbage;
}

void mr_sim_disk_set_capacity(struct mr_sim_disk_machine *machine, uint64_t bytes)
{
    machine->options.capacity_bytes = bytes;
}

void mr_sim_disk_hold(struct mr_sim_disk_machine *machine, bool held)
{
    machine->is_held = held;
}

uint32_t mr_sim_disk_in_flight(const struct mr_sim_disk_machine *machine)
{
    return machine->flight_count;
}

/* ---- looking in from outside ---- */

static int find_file(const struct mr_sim_disk_machine *machine, const char *path, struct mr_sim_inode **inode)
{
    uint32_t index = MR_SIM_NONE;
    int rc = mr_sim_find(machine, path, &index);
    if (rc != 0)
        return rc;
    *inode = machine->inode[index];
    return (*inode)->is_directory ? -EISDIR : 0;
}

int mr_sim_disk_flip_bit(struct mr_sim_disk_machine *machine, const char *path, uint64_t position, uint32_t bit)
{
    struct mr_sim_inode *inode = NULL;
    mr_assert(bit < 8);
    int rc = find_file(machine, path, &inode);
    if (rc == 0 && position >= inode->now_bytes)
        rc = -ERANGE;
    if (rc == 0)
        mr_sim_file_flip(inode, position, bit);
    return rc;
}

int64_t mr_sim_disk_read_path(const struct mr_sim_disk_machine *machine, const char *path, void *buffer, size_t bytes, uint64_t position)
{
    struct mr_sim_inode *inode = NULL;
    int rc = find_file(machine, path, &inode);
    return rc != 0 ? rc : mr_sim_file_read(inode, buffer, bytes, position, false);
}

int64_t mr_sim_disk_size_path(const struct mr_sim_disk_machine *machine, const char *path)
{
    struct mr_sim_inode *inode = NULL;
    int rc = find_file(machine, path, &inode);
    return rc != 0 ? rc : (int64_t)inode->now_bytes;
}

int64_t mr_sim_disk_read_durable(const struct mr_sim_disk_machine *machine, const char *path, void *buffer, size_t bytes, uint64_t position)
{
    struct mr_sim_inode *inode = NULL;
    int rc = find_file(machine, path, &inode);
    return rc != 0 ? rc : mr_sim_file_read(inode, buffer, bytes, position, true);
}

struct walker {
    const struct mr_sim_disk_machine *machine;
    int (*each)(void *context, const char *path, bool is_directory, uint64_t bytes);
    void *context;
    char path[PATH_BYTES_MAX];
    size_t path_bytes;
};

static int walk_directory(struct walker *walker, const struct mr_sim_inode *directory)
{
    size_t parent_bytes = walker->path_bytes;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < directory->now.count; i++) {
        const struct mr_sim_entry *entry = &directory->now.entry[i];
        const struct mr_sim_inode *inode = walker->machine->inode[entry->inode];
        size_t name_bytes = strlen(entry->name);
        mr_assert(parent_bytes + 1 + name_bytes < sizeof walker->path);
        walker->path[parent_bytes] = '/';
        memcpy(walker->path + parent_bytes + 1, entry->name, name_bytes + 1);
        walker->path_bytes = parent_bytes + 1 + name_bytes;
        rc = walker->each(walker->context, walker->path, inode->is_directory, inode->now_bytes);
        if (rc == 0 && inode->is_directory)
            rc = walk_directory(walker, inode);
    }
    walker->path_bytes = parent_bytes;
    return rc;
}

int mr_sim_disk_walk(const struct mr_sim_disk_machine *machine,
                     int (*each)(void *context, const char *path, bool is_directory, uint64_t bytes), void *context)
{
    struct walker walker = {.machine = machine, .each = each, .context = context};
    return walk_directory(&walker, machine->inode[MR_SIM_ROOT]);
}

struct digest {
    const struct mr_sim_disk_machine *machine;
    uint32_t crc;
};

static int digest_one(void *context, const char *path, bool is_directory, uint64_t bytes)
{
    struct digest *digest = context;
    struct mr_sim_inode *inode = NULL;
    digest->crc = mr_crc32c(digest->crc, path, strlen(path) + 1);
    if (!is_directory && find_file(digest->machine, path, &inode) == 0)
        digest->crc = mr_sim_file_digest(inode, digest->crc);
    return 0;
}

uint32_t mr_sim_disk_digest(const struct mr_sim_disk_machine *machine)
{
    struct digest digest = {.machine = machine};
    mr_sim_disk_walk(machine, digest_one, &digest);
    return digest.crc;
}
