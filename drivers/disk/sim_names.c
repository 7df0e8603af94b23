/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of the simulated disk: each has the entries that readers see (now) and those on the medium (durable); the changes between
 * them wait in one list, in the order they were made, until a directory sync or a power cut settles them (sim.h, W4).
 *
 * N1  Replaying all pending changes on the durable entries gives the entries of now.
 * N2  When a change is made durable, every earlier one that shares a name or an inode with it is too; changes that move directories
 *     keep their order among each other, or two of them could make a circle.
 * N3  A directory that the medium does not reach is gone with all that is in it. */
#include "drivers/disk/sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES_MAX 255u

static char *copy_name(const char *name, size_t bytes)
{
    char *copy = mr_sim_take(bytes + 1);
    memcpy(copy, name, bytes);
    return copy;
}

/** Where the name is, or where it belongs. */
static uint32_t entry_at(const struct mr_sim_entries *entries, const char *name, bool *is_there)
{
    uint32_t low = 0, high = entries->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(entries->entry[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *is_there = low < entries->count && strcmp(entries->entry[low].name, name) == 0;
    return low;
}

static uint32_t entry_find(const struct mr_sim_entries *entries, const char *name)
{
    bool is_there;
    uint32_t at = entry_at(entries, name, &is_there);
    return is_there ? entries->entry[at].inode : MR_SIM_NONE;
}

static void entry_set(struct mr_sim_entries *entries, const char *name, uint32_t inode)
{
    bool is_there;
    uint32_t at = entry_at(entries, name, &is_there);
    if (!is_there) {
        entries->entry = mr_sim_grow(entries->entry, entries->count + 1, &entries->room, sizeof *entries->entry);
        memmove(entries->entry + at + 1, entries->entry + at, (entries->count - at) * sizeof *entries->entry);
        entries->entry[at].name = copy_name(name, strlen(name));
        entries->count++;
    }
    entries->entry[at].inode = inode;
}

/** Take the name out if it leads to this inode: another's name of the same spelling stays. */
static void entry_remove(struct mr_sim_entries *entries, const char *name, uint32_t inode)
{
    bool is_there;
    uint32_t at = entry_at(entries, name, &is_there);
    if (!is_there || entries->entry[at].inode != inode)
        return;
    free(entries->entry[at].name);
    memmove(entries->entry + at, entries->entry + at + 1, (entries->count - at - 1) * sizeof *entries->entry);
    entries->count--;
}

static void entries_drop(struct mr_sim_entries *entries)
{
    for (uint32_t i = 0; i < entries->count; i++)
        free(entries->entry[i].name);
    free(entries->entry);
    memset(entries, 0, sizeof *entries);
}

static void entries_copy(struct mr_sim_entries *to, const struct mr_sim_entries *from)
{
    memset(to, 0, sizeof *to);
    if (from->count == 0)
        return;
    to->entry = mr_sim_grow(NULL, from->count, &to->room, sizeof *to->entry);
    to->count = from->count;
    for (uint32_t i = 0; i < from->count; i++) {
        to->entry[i].inode = from->entry[i].inode;
        to->entry[i].name = copy_name(from->entry[i].name, strlen(from->entry[i].name));
    }
}

uint32_t mr_sim_inode_new(struct mr_sim_disk_machine *machine, bool is_directory)
{
    uint32_t index = 0;
    while (index < machine->inode_count && machine->inode[index] != NULL)
        index++;
    if (index == machine->inode_count) {
        uint32_t room = machine->inode_count;
        machine->inode = mr_sim_grow(machine->inode, index + 1, &room, sizeof(struct mr_sim_inode *));
        memset(machine->inode + machine->inode_count, 0, (room - machine->inode_count) * sizeof(struct mr_sim_inode *));
        machine->inode_count = room;
    }
    struct mr_sim_inode *inode = mr_sim_take(sizeof *inode);
    inode->is_directory = is_directory;
    inode->is_counted = true;
    inode->cut_bytes = UINT64_MAX;
    machine->inode[index] = inode;
    return index;
}

/**
 * Walk to the directory that holds the last name of the path.
 * @param name filled with the last name; empty for the root itself
 * @return 0, -ENOENT, -ENOTDIR, -ENAMETOOLONG, -EINVAL ("..")
 */
static int walk(const struct mr_sim_disk_machine *machine, const char *path, uint32_t *directory, char name[NAME_BYTES_MAX + 1])
{
    *directory = MR_SIM_ROOT;
    name[0] = '\0';
    while (true) {
        path += strspn(path, "/");
        size_t bytes = strcspn(path, "/");
        if (bytes == 0)
            return 0;
        if (bytes == 1 && path[0] == '.') {
            path += bytes;
            continue;
        }
        if (bytes == 2 && path[0] == '.' && path[1] == '.')
            return -EINVAL;
        if (bytes > NAME_BYTES_MAX)
            return -ENAMETOOLONG;
        if (name[0] != '\0') { /* the previous name was not the last: go into it */
            uint32_t inode = entry_find(&machine->inode[*directory]->now, name);
            if (inode == MR_SIM_NONE)
                return -ENOENT;
            if (!machine->inode[inode]->is_directory)
                return -ENOTDIR;
            *directory = inode;
        }
        memcpy(name, path, bytes);
        name[bytes] = '\0';
        path += bytes;
    }
}

int mr_sim_find(const struct mr_sim_disk_machine *machine, const char *path, uint32_t *inode)
{
    char name[NAME_BYTES_MAX + 1];
    uint32_t directory;
    int rc = walk(machine, path, &directory, name);
    if (rc != 0)
        return rc;
    *inode = name[0] == '\0' ? MR_SIM_ROOT : entry_find(&machine->inode[directory]->now, name);
    return *inode == MR_SIM_NONE ? -ENOENT : 0;
}

static struct mr_sim_name_change *add_change(struct mr_sim_disk_machine *machine, enum mr_sim_name_kind kind, uint32_t inode,
                                             uint32_t directory, const char *name)
{
    machine->change = mr_sim_grow(machine->change, machine->change_count + 1, &machine->change_room, sizeof *machine->change);
    struct mr_sim_name_change *change = &machine->change[machine->change_count++];
    *change = (struct mr_sim_name_change){.kind = kind,
                                          .inode = inode,
                                          .directory = directory,
                                          .to_directory = MR_SIM_NONE,
                                          .is_directory = machine->inode[inode]->is_directory,
                                          .name = copy_name(name, strlen(name))};
    return change;
}

int mr_sim_create(struct mr_sim_disk_machine *machine, const char *path, bool is_directory, uint32_t *inode)
{
    char name[NAME_BYTES_MAX + 1];
    uint32_t directory;
    int rc = walk(machine, path, &directory, name);
    if (rc != 0)
        return rc;
    if (name[0] == '\0' || entry_find(&machine->inode[directory]->now, name) != MR_SIM_NONE)
        return -EEXIST;
    *inode = mr_sim_inode_new(machine, is_directory);
    machine->inode[*inode]->is_named = true;
    entry_set(&machine->inode[directory]->now, name, *inode);
    add_change(machine, MR_SIM_LINK, *inode, directory, name);
    return 0;
}

void mr_sim_inode_unused(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode)
{
    if (inode->is_named || inode->opens > 0 || !inode->is_counted)
        return;
    inode->is_counted = false;
    machine->used_blocks -= inode->backed_blocks;
}

int mr_sim_remove(struct mr_sim_disk_machine *machine, const char *path, bool is_directory)
{
    char name[NAME_BYTES_MAX + 1];
    uint32_t directory;
    int rc = walk(machine, path, &directory, name);
    if (rc != 0)
        return rc;
    if (name[0] == '\0')
        return -EBUSY;
    uint32_t index = entry_find(&machine->inode[directory]->now, name);
    if (index == MR_SIM_NONE)
        return -ENOENT;
    struct mr_sim_inode *inode = machine->inode[index];
    if (inode->is_directory != is_directory)
        return is_directory ? -ENOTDIR : -EISDIR;
    if (inode->now.count > 0)
        return -ENOTEMPTY;
    add_change(machine, MR_SIM_UNLINK, index, directory, name);
    entry_remove(&machine->inode[directory]->now, name, index);
    inode->is_named = false;
    mr_sim_inode_unused(machine, inode);
    return 0;
}

static bool is_within(const struct mr_sim_disk_machine *machine, uint32_t inode, uint32_t tree)
{
    if (inode == tree)
        return true;
    const struct mr_sim_entries *entries = &machine->inode[tree]->now;
    for (uint32_t i = 0; i < entries->count; i++)
        if (machine->inode[entries->entry[i].inode]->is_directory && is_within(machine, inode, entries->entry[i].inode))
            return true;
    return false;
}

int mr_sim_rename(struct mr_sim_disk_machine *machine, const char *from, const char *to)
{
    char name[NAME_BYTES_MAX + 1], to_name[NAME_BYTES_MAX + 1];
    uint32_t directory, to_directory;
    int rc = walk(machine, from, &directory, name);
    if (rc == 0)
        rc = walk(machine, to, &to_directory, to_name);
    if (rc != 0)
        return rc;
    if (name[0] == '\0' || to_name[0] == '\0')
        return -EBUSY;
    uint32_t index = entry_find(&machine->inode[directory]->now, name);
    if (index == MR_SIM_NONE)
        return -ENOENT;
    uint32_t target = entry_find(&machine->inode[to_directory]->now, to_name);
    if (target == index)
        return 0;
    bool is_directory = machine->inode[index]->is_directory;
    if (is_directory && is_within(machine, to_directory, index))
        return -EINVAL;
    if (target != MR_SIM_NONE) {
        if (machine->inode[target]->is_directory != is_directory)
            return is_directory ? -ENOTDIR : -EISDIR;
        if (machine->inode[target]->now.count > 0)
            return -ENOTEMPTY;
    }
    struct mr_sim_name_change *change = add_change(machine, MR_SIM_RENAME, index, directory, name);
    change->to_directory = to_directory;
    change->to_name = copy_name(to_name, strlen(to_name));
    entry_remove(&machine->inode[directory]->now, name, index);
    entry_set(&machine->inode[to_directory]->now, to_name, index);
    if (target != MR_SIM_NONE) {
        machine->inode[target]->is_named = false;
        mr_sim_inode_unused(machine, machine->inode[target]);
    }
    return 0;
}

static bool same_name(uint32_t directory, const char *name, uint32_t other_directory, const char *other_name)
{
    return directory != MR_SIM_NONE && directory == other_directory && strcmp(name, other_name) == 0;
}

static bool depends(const struct mr_sim_name_change *late, const struct mr_sim_name_change *early)
{
    bool is_renamed = late->kind == MR_SIM_RENAME, was_renamed = early->kind == MR_SIM_RENAME;
    return late->inode == early->inode || (is_renamed && was_renamed && late->is_directory && early->is_directory) ||
           same_name(late->directory, late->name, early->directory, early->name) ||
           (is_renamed && same_name(late->to_directory, late->to_name, early->directory, early->name)) ||
           (was_renamed && same_name(late->directory, late->name, early->to_directory, early->to_name)) ||
           (is_renamed && was_renamed && same_name(late->to_directory, late->to_name, early->to_directory, early->to_name));
}

/** Make the chosen changes durable, with what N2 draws in; the others stay pending. */
static void apply_chosen(struct mr_sim_disk_machine *machine)
{
    for (uint32_t i = machine->change_count; i-- > 1;)
        for (uint32_t j = 0; machine->change[i].is_chosen && j < i; j++)
            machine->change[j].is_chosen = machine->change[j].is_chosen || depends(&machine->change[i], &machine->change[j]);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < machine->change_count; i++) {
        struct mr_sim_name_change *change = &machine->change[i];
        if (!change->is_chosen) {
            machine->change[kept++] = *change;
            continue;
        }
        struct mr_sim_entries *durable = &machine->inode[change->directory]->durable;
        if (change->kind == MR_SIM_LINK)
            entry_set(durable, change->name, change->inode);
        else
            entry_remove(durable, change->name, change->inode);
        if (change->kind == MR_SIM_RENAME)
            entry_set(&machine->inode[change->to_directory]->durable, change->to_name, change->inode);
        free(change->name);
        free(change->to_name);
    }
    machine->change_count = kept;
}

void mr_sim_names_sync(struct mr_sim_disk_machine *machine, uint32_t directory)
{
    for (uint32_t i = 0; i < machine->change_count; i++)
        machine->change[i].is_chosen = machine->change[i].directory == directory || machine->change[i].to_directory == directory;
    apply_chosen(machine);
    mr_sim_sweep(machine);
}

static void name_tree(struct mr_sim_disk_machine *machine, uint32_t index)
{
    struct mr_sim_inode *inode = machine->inode[index];
    inode->is_named = true;
    entries_drop(&inode->now);
    entries_copy(&inode->now, &inode->durable);
    for (uint32_t i = 0; i < inode->now.count; i++)
        name_tree(machine, inode->now.entry[i].inode);
}

void mr_sim_names_power_cut(struct mr_sim_disk_machine *machine, struct mr_random *random)
{
    uint64_t mode = mr_random_below(random, 4); /* none, all, or a mix: the extremes are rare when each change is tossed for */
    for (uint32_t i = 0; i < machine->change_count; i++)
        machine->change[i].is_chosen = mode == 1 || (mode > 1 && mr_random_chance(random, 1, 2));
    apply_chosen(machine);
    for (uint32_t i = 0; i < machine->change_count; i++) {
        free(machine->change[i].name);
        free(machine->change[i].to_name);
    }
    machine->change_count = 0;
    for (uint32_t i = 0; i < machine->inode_count; i++)
        if (machine->inode[i] != NULL)
            machine->inode[i]->is_named = false;
    name_tree(machine, MR_SIM_ROOT);
    mr_sim_sweep(machine); /* N3 */
}

static void mark(struct mr_sim_disk_machine *machine, uint32_t index)
{
    struct mr_sim_inode *inode = machine->inode[index];
    if (inode->is_marked)
        return;
    inode->is_marked = true;
    for (uint32_t i = 0; i < inode->now.count; i++)
        mark(machine, inode->now.entry[i].inode);
    for (uint32_t i = 0; i < inode->durable.count; i++)
        mark(machine, inode->durable.entry[i].inode);
}

static void inode_drop(struct mr_sim_inode *inode)
{
    mr_sim_file_drop(inode);
    entries_drop(&inode->now);
    entries_drop(&inode->durable);
    free(inode);
}

void mr_sim_sweep(struct mr_sim_disk_machine *machine)
{
    for (uint32_t i = 0; i < machine->inode_count; i++)
        if (machine->inode[i] != NULL)
            machine->inode[i]->is_marked = false;
    mark(machine, MR_SIM_ROOT);
    for (uint32_t i = 0; i < machine->change_count; i++) {
        mark(machine, machine->change[i].inode);
        mark(machine, machine->change[i].directory);
        if (machine->change[i].to_directory != MR_SIM_NONE)
            mark(machine, machine->change[i].to_directory);
    }
    for (uint32_t i = 0; i < machine->open_count; i++)
        if (machine->open[i].inode != MR_SIM_NONE)
            mark(machine, machine->open[i].inode);
    for (uint32_t i = 0; i < machine->flight_count; i++)
        mark(machine, machine->flight[i].write->inode);
    for (uint32_t i = 0; i < machine->inode_count; i++) {
        struct mr_sim_inode *inode = machine->inode[i];
        if (inode == NULL || inode->is_marked)
            continue;
        if (inode->is_counted)
            machine->used_blocks -= inode->backed_blocks;
        inode_drop(inode);
        machine->inode[i] = NULL;
    }
}

void mr_sim_names_copy(struct mr_sim_disk_machine *to, const struct mr_sim_disk_machine *from)
{
    to->inode = mr_sim_take(from->inode_count * sizeof(struct mr_sim_inode *));
    for (uint32_t i = 0; i < from->inode_count; i++) {
        if (from->inode[i] == NULL)
            continue;
        to->inode[i] = mr_sim_take(sizeof(struct mr_sim_inode));
        *to->inode[i] = *from->inode[i];
        mr_sim_file_copy(to->inode[i], from->inode[i]);
        entries_copy(&to->inode[i]->now, &from->inode[i]->now);
        entries_copy(&to->inode[i]->durable, &from->inode[i]->durable);
    }
    to->change = NULL;
    to->change_room = 0;
    if (from->change_count > 0)
        to->change = mr_sim_grow(NULL, from->change_count, &to->change_room, sizeof *to->change);
    for (uint32_t i = 0; i < from->change_count; i++) {
        to->change[i] = from->change[i];
        to->change[i].name = copy_name(from->change[i].name, strlen(from->change[i].name));
        if (from->change[i].to_name != NULL)
            to->change[i].to_name = copy_name(from->change[i].to_name, strlen(from->change[i].to_name));
    }
}

void mr_sim_names_drop(struct mr_sim_disk_machine *machine)
{
    for (uint32_t i = 0; i < machine->inode_count; i++)
        if (machine->inode[i] != NULL)
            inode_drop(machine->inode[i]);
    free(machine->inode);
    for (uint32_t i = 0; i < machine->change_count; i++) {
        free(machine->change[i].name);
        free(machine->change[i].to_name);
    }
    free(machine->change);
}
