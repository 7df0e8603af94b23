/* SPDX-License-Identifier: Apache-2.0 */
/* A machine's disk in memory, for tests and crash images: the tear model of RELIABILITY.md D1, names that need a directory sync, faults
 * at the n-th operation. All `struct mr_disk` opened on one machine share one tree of files and one table of open files.
 *
 * What survives a power cut (mr_sim_disk_power_cut):
 * W1  A burst write is in flight from submit until mr_disk_poll() delivers its completion. With MR_DISK_DURABLE it is durable exactly
 *     from then on, and not before; without, and likewise a cold write, only after a later mr_disk_sync() of the file.
 * W2  Each 512-byte sector that is in flight or not synced becomes, independently, old, new or garbage (random bytes, zeros, or the
 *     front of the new before the rest of the old). An earlier unsynced content of the same sector may be what "old" is.
 * W3  A size (truncate, allocate, extending write) is durable after mr_disk_sync(), or after a durable write that ends past the durable
 *     size; before that it is old or new, with the contents that belong to it: what a truncate dropped comes back only with the old size.
 * W4  A create, rename, unlink, mkdir or rmdir is durable after mr_disk_sync_directory() of the (or, for a rename, either) parent. Until
 *     then each happened or did not, in any order across names, but operations on one name or one file keep theirs. A rename is atomic.
 *     Syncing a file says nothing about its name, and syncing a directory nothing about the directory's own name.
 * W5  A failed sync marks pages clean without writing them (D3): a later sync returns 0 and makes nothing of them durable.
 * After mr_sim_disk_kill (death of the process) all that was completed is as it was, durable or not.
 *
 * Everything follows from the seed. One thread. Memory: 8 KiB for each 4 KiB block written, next to nothing for preallocated ones;
 * clones share unchanged blocks. Running out of memory aborts. */
#ifndef MR_DRIVERS_DISK_SIM_H
#define MR_DRIVERS_DISK_SIM_H

#include "drivers/disk/disk.h"
#include "shm/base/random.h"

#define MR_SIM_DISK_SECTOR_BYTES 512u
#define MR_SIM_DISK_NEVER        UINT64_MAX

struct mr_sim_disk_options {
    uint64_t seed;
    uint32_t depth;                 /* writes in flight per handle; submit takes fewer when full. Default 64 */
    uint32_t delay_polls_min;       /* a write's completion is ready after so many more polls of its handle than one, drawn per write */
    uint32_t delay_polls_max;       /* default 0 and 0: at the next poll */
    bool in_order;                  /* deliver in submission order; default: any order among the ready ones */
    bool refuse_direct;             /* files opened with MR_DISK_DIRECT are buffered, as on a file system without O_DIRECT */
    uint64_t capacity_bytes;        /* backed blocks above this are refused with -ENOSPC; 0: no bound */
    uint32_t tear_old, tear_new, tear_garbage; /* weights of W2. Default 4, 4, 1 */
    uint32_t kill_drop_percent;     /* writes in flight that never begin when the process is killed (a thread pool's queue). Default 0 */
};

/** What faults and cut points count. */
enum mr_sim_disk_operation {
    MR_SIM_DISK_BURST_WRITE,    /* each write that submit takes */
    MR_SIM_DISK_DELIVER,        /* each poll that delivers at least one completion; cannot be made to fail */
    MR_SIM_DISK_COLD_WRITE,
    MR_SIM_DISK_SYNC,
    MR_SIM_DISK_SYNC_DIRECTORY,
    MR_SIM_DISK_ALLOCATE,
    MR_SIM_DISK_TRUNCATE,
    MR_SIM_DISK_NAME,           /* a creating open, make_directory, remove_directory, unlink, rename */
    MR_SIM_DISK_READ,           /* can fail; is not a cut point */
    MR_SIM_DISK_OPERATION_COUNT,
};

struct mr_sim_disk_machine;

void mr_sim_disk_options_init(struct mr_sim_disk_options *options);

/** An empty disk with a root directory "/". @param options NULL: the defaults, seed 0. Aborts without memory. */
struct mr_sim_disk_machine *mr_sim_disk_machine_open(const struct mr_sim_disk_options *options);

/** Frees the machine and every handle on it that was not released. NULL is fine. */
void mr_sim_disk_machine_close(struct mr_sim_disk_machine *machine);

/**
 * A copy of the whole machine at this instant, with its own future: unsynced data, pending names and writes in flight included, open
 * files, handles, faults and hooks not. Writes in flight are settled by power_cut or kill, one of which must come before the first open.
 */
struct mr_sim_disk_machine *mr_sim_disk_clone(const struct mr_sim_disk_machine *machine);

/** One more handle. Released with mr_disk_release() or with the machine. After a power cut or kill it takes and answers nothing more. */
struct mr_disk *mr_sim_disk_open(struct mr_sim_disk_machine *machine);

/** W1-W5: settle everything by draws from `random`, disconnect all handles. The machine is on again, with clean contents. */
void mr_sim_disk_power_cut(struct mr_sim_disk_machine *machine, struct mr_random *random);

/** The process died: writes in flight complete (see kill_drop_percent), files close, all handles are disconnected. */
void mr_sim_disk_kill(struct mr_sim_disk_machine *machine);

/**
 * Let `operations` more operations (all kinds but READ) through, then darken the machine: submit takes nothing, poll delivers nothing,
 * the cold half returns -EIO, until mr_sim_disk_power_cut(). 0: now; MR_SIM_DISK_NEVER: not at all.
 */
void mr_sim_disk_cut_after(struct mr_sim_disk_machine *machine, uint64_t operations);
bool mr_sim_disk_is_cut(const struct mr_sim_disk_machine *machine);

/** Operations so far, all kinds but READ. */
uint64_t mr_sim_disk_operations(const struct mr_sim_disk_machine *machine);

/** Called after each operation that counts, so that one run yields an image of every instant (clone there, cut the clone). NULL: none.
 * The watcher may look and clone, nothing else. */
void mr_sim_disk_watch(struct mr_sim_disk_machine *machine,
                       void (*each)(void *context, struct mr_sim_disk_machine *machine, enum mr_sim_disk_operation operation), void *context);

/**
 * Make the nth operation of this kind from now on (1: the next one) fail with -error, once or for ever after. One rule per kind; nth 0
 * takes it away. A burst or cold write that fails with EIO leaves its sectors old, new or garbage; with another error, untouched.
 */
void mr_sim_disk_fail(struct mr_sim_disk_machine *machine, enum mr_sim_disk_operation operation, uint64_t nth, int error, bool for_ever);

/** The nth burst write from now lands `bytes` further on (a multiple of 512, may be negative) and reports success. */
void mr_sim_disk_misdirect(struct mr_sim_disk_machine *machine, uint64_t nth, int64_t bytes);

void mr_sim_disk_set_delay(struct mr_sim_disk_machine *machine, uint32_t polls_min, uint32_t polls_max);
void mr_sim_disk_set_tear(struct mr_sim_disk_machine *machine, uint32_t weight_old, uint32_t weight_new, uint32_t weight_garbage);
void mr_sim_disk_set_capacity(struct mr_sim_disk_machine *machine, uint64_t bytes);

/** While held, poll delivers nothing: everything stays in flight. */
void mr_sim_disk_hold(struct mr_sim_disk_machine *machine, bool held);
uint32_t mr_sim_disk_in_flight(const struct mr_sim_disk_machine *machine);

/** Rot: flip bit 0..7 of one byte, for readers and on the medium. @return 0, -ENOENT, -ERANGE (past the end). */
int mr_sim_disk_flip_bit(struct mr_sim_disk_machine *machine, const char *path, uint64_t position, uint32_t bit);

/** As readers see it, without an open file, a fault or a count. @return bytes read, or -errno. */
int64_t mr_sim_disk_read_path(const struct mr_sim_disk_machine *machine, const char *path, void *buffer, size_t bytes, uint64_t position);
int64_t mr_sim_disk_size_path(const struct mr_sim_disk_machine *machine, const char *path);

/** The medium below everything pending: each sector as a power cut leaves it that keeps the old. @return bytes read, or -errno. */
int64_t mr_sim_disk_read_durable(const struct mr_sim_disk_machine *machine, const char *path, void *buffer, size_t bytes, uint64_t position);

/** Every file and directory that readers see, parents first, by name. Stops and returns what `each` returns when that is not 0. */
int mr_sim_disk_walk(const struct mr_sim_disk_machine *machine,
                     int (*each)(void *context, const char *path, bool is_directory, uint64_t bytes), void *context);

/** A CRC over names, sizes and contents as readers see them: equal seeds must give equal digests. */
uint32_t mr_sim_disk_digest(const struct mr_sim_disk_machine *machine);

#endif
