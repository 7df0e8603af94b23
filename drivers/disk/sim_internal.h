/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the simulated disk: sim.c (machine, crashes), sim_handle.c (the face of disk.h), sim_file.c (contents and sizes of one file),
 * sim_names.c (directories). An inode is named by its index in the machine, so that a clone is a plain copy. */
#ifndef MR_DRIVERS_DISK_SIM_INTERNAL_H
#define MR_DRIVERS_DISK_SIM_INTERNAL_H

#include "drivers/disk/sim.h"
#include "shm/base/bits.h"

#define MR_SIM_CHUNK_BLOCKS   64u
#define MR_SIM_BLOCK_SECTORS  (MR_BLOCK_BYTES / MR_SIM_DISK_SECTOR_BYTES)
#define MR_SIM_ROOT           0u
#define MR_SIM_NONE           UINT32_MAX

_Static_assert(MR_SIM_BLOCK_SECTORS == 8, "a block's sectors are the bits of a byte");

/** One written block. Shared by clones until one of them changes it. */
struct mr_sim_page {
    uint32_t references;
    uint8_t unsynced; /* sectors that a sync would write */
    uint8_t lost;     /* sectors that a failed sync marked clean: not durable, and no sync will make them so (W5) */
    uint8_t now[MR_BLOCK_BYTES];
    uint8_t durable[MR_BLOCK_BYTES];
};

/** 256 KiB of a file. A block that is backed but has no page reads as zeros, now and durably. */
struct mr_sim_chunk {
    uint32_t references;
    uint64_t backed;
    uint64_t dirty; /* pages with an unsynced or lost sector */
    struct mr_sim_page *page[MR_SIM_CHUNK_BLOCKS];
};

struct mr_sim_entry {
    char *name;
    uint32_t inode;
};

/** Sorted by name. */
struct mr_sim_entries {
    struct mr_sim_entry *entry;
    uint32_t count;
    uint32_t room;
};

struct mr_sim_inode {
    bool is_directory;
    bool is_named; /* readers can reach it by a path */
    bool is_marked;
    bool is_counted; /* its backed blocks are part of used_blocks */
    uint32_t opens;
    uint64_t now_bytes;
    uint64_t durable_bytes;
    uint64_t cut_bytes; /* the least size since the size was last durable; bytes from here on are other blocks than the durable ones */
    uint64_t backed_blocks;
    struct mr_sim_chunk **chunk;
    uint32_t chunk_count;
    struct mr_sim_entries now;
    struct mr_sim_entries durable;
};

enum mr_sim_name_kind {
    MR_SIM_LINK,
    MR_SIM_UNLINK,
    MR_SIM_RENAME,
};

/** A name operation that no directory sync has covered yet. */
struct mr_sim_name_change {
    enum mr_sim_name_kind kind;
    bool is_chosen;
    bool is_directory;
    uint32_t inode;
    uint32_t directory;
    uint32_t to_directory; /* MR_SIM_RENAME */
    char *name;
    char *to_name;
};

/** What was handed over, kept aside: the caller's buffer may be gone when the power is. Immutable, shared by clones. */
struct mr_sim_write {
    uint32_t references;
    uint32_t inode;
    uint32_t bytes;
    uint32_t flags;
    uint64_t position;
    uint64_t tag;
    uint8_t data[];
};

struct mr_sim_flight {
    struct mr_sim_write *write;
    struct mr_sim_handle *handle; /* NULL in a clone */
    const void *buffer;           /* the caller's: must be unchanged at the completion */
    uint64_t due_poll;
    int32_t fail; /* what the fault rule decided at submit: 0 or -errno */
};

struct mr_sim_open {
    uint32_t inode; /* MR_SIM_NONE: closed */
    uint32_t flags;
};

struct mr_sim_rule {
    uint64_t nth; /* 0: no rule */
    int error;
    bool for_ever;
};

struct mr_sim_handle {
    struct mr_disk disk;
    struct mr_sim_disk_machine *machine;
    struct mr_sim_handle *next;
    bool is_dead;
    uint64_t polls;
    uint32_t in_flight;
};

struct mr_sim_disk_machine {
    struct mr_sim_disk_options options;
    struct mr_random random;
    struct mr_sim_inode **inode; /* NULL: free slot */
    uint32_t inode_count;
    uint64_t used_blocks;
    struct mr_sim_name_change *change;
    uint32_t change_count, change_room;
    struct mr_sim_flight *flight;
    uint32_t flight_count, flight_room;
    struct mr_sim_open *open;
    uint32_t open_count, open_room;
    uint32_t file_base; /* numbers of open files are never used twice on one machine */
    struct mr_sim_handle *handles;
    struct mr_sim_rule rule[MR_SIM_DISK_OPERATION_COUNT];
    uint64_t misdirect_nth;
    int64_t misdirect_bytes;
    uint64_t operations;
    uint64_t cut_left;
    bool is_cut;
    bool is_held;
    bool is_image; /* a clone that was not settled yet */
    void (*watch)(void *context, struct mr_sim_disk_machine *machine, enum mr_sim_disk_operation operation);
    void *watch_context;
};

/* How one power cut treats one file (W2): the extremes, which independent sectors would hardly ever give for a long write, or a mix. */
enum mr_sim_fate {
    MR_SIM_ALL_OLD,
    MR_SIM_ALL_NEW,
    MR_SIM_MIX,
};

/** Never NULL: a test without memory is over. */
void *mr_sim_take(size_t bytes);
void *mr_sim_grow(void *memory, uint32_t count, uint32_t *room, size_t element_bytes);

/* sim.c and sim_handle.c */
extern const struct mr_disk_ops mr_sim_ops;
/** The write ends: its effect on the file. @return the completion's result. */
int32_t mr_sim_land(struct mr_sim_disk_machine *machine, const struct mr_sim_flight *flight);
void mr_sim_take_flight(struct mr_sim_disk_machine *machine, uint32_t index);

/* sim_file.c. `data` NULL writes zeros. Positions and bytes of any alignment. */
int mr_sim_file_back(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode, uint64_t position, uint64_t bytes);
void mr_sim_file_write(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode, uint64_t position, const uint8_t *data, uint64_t bytes);
void mr_sim_file_make_durable(struct mr_sim_inode *inode, uint64_t position, uint64_t bytes);
void mr_sim_file_resize(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode, uint64_t bytes);
void mr_sim_file_sync(struct mr_sim_inode *inode);
void mr_sim_file_fail_sync(struct mr_sim_inode *inode, struct mr_random *random);
/** Write with a fate per sector, to readers and medium at once: what a power cut or an EIO leaves of a write in flight. */
void mr_sim_file_tear(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode, uint64_t position, const uint8_t *data, uint64_t bytes,
                      struct mr_random *random);
void mr_sim_file_power_cut(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode, struct mr_random *random);
int64_t mr_sim_file_read(const struct mr_sim_inode *inode, void *buffer, size_t bytes, uint64_t position, bool durable);
void mr_sim_file_flip(struct mr_sim_inode *inode, uint64_t position, uint32_t bit);
uint32_t mr_sim_file_digest(const struct mr_sim_inode *inode, uint32_t crc);
void mr_sim_file_copy(struct mr_sim_inode *to, const struct mr_sim_inode *from);
void mr_sim_file_drop(struct mr_sim_inode *inode);

/* sim_names.c */
uint32_t mr_sim_inode_new(struct mr_sim_disk_machine *machine, bool is_directory);
int mr_sim_find(const struct mr_sim_disk_machine *machine, const char *path, uint32_t *inode);
int mr_sim_create(struct mr_sim_disk_machine *machine, const char *path, bool is_directory, uint32_t *inode);
int mr_sim_remove(struct mr_sim_disk_machine *machine, const char *path, bool is_directory);
int mr_sim_rename(struct mr_sim_disk_machine *machine, const char *from, const char *to);
void mr_sim_names_sync(struct mr_sim_disk_machine *machine, uint32_t directory);
void mr_sim_names_power_cut(struct mr_sim_disk_machine *machine, struct mr_random *random);
void mr_sim_names_copy(struct mr_sim_disk_machine *to, const struct mr_sim_disk_machine *from);
void mr_sim_names_drop(struct mr_sim_disk_machine *machine);
/** The inode lost a name or an opener: give its blocks back when it has neither. */
void mr_sim_inode_unused(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode);
/** Free inodes that no tree, pending change, open file or write in flight reaches. */
void mr_sim_sweep(struct mr_sim_disk_machine *machine);

#endif
