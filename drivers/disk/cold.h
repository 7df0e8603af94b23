/* SPDX-License-Identifier: Apache-2.0 */
/* The cold half of disk.h on a POSIX file system, shared by uring.c and threads.c. A file number is the descriptor. None of these touches
 * the disk argument, so any thread may call them. */
#ifndef MR_DRIVERS_DISK_COLD_H
#define MR_DRIVERS_DISK_COLD_H

#include "drivers/disk/disk.h"

int mr_cold_open(struct mr_disk *disk, const char *path, uint32_t flags, struct millrace_error *err);
int mr_cold_close(struct mr_disk *disk, int file);
int64_t mr_cold_size(struct mr_disk *disk, int file);
int mr_cold_allocate(struct mr_disk *disk, int file, uint64_t position, uint64_t bytes);
int mr_cold_truncate(struct mr_disk *disk, int file, uint64_t bytes);
int64_t mr_cold_read(struct mr_disk *disk, int file, void *buffer, size_t bytes, uint64_t position);
int64_t mr_cold_write(struct mr_disk *disk, int file, const void *buffer, size_t bytes, uint64_t position);
int mr_cold_sync(struct mr_disk *disk, int file);
int mr_cold_sync_directory(struct mr_disk *disk, const char *path);
int mr_cold_make_directory(struct mr_disk *disk, const char *path);
int mr_cold_remove_directory(struct mr_disk *disk, const char *path);
int mr_cold_unlink(struct mr_disk *disk, const char *path);
int mr_cold_rename(struct mr_disk *disk, const char *from, const char *to);
int mr_cold_list(struct mr_disk *disk, const char *path, int (*each)(void *context, const char *name, bool is_directory), void *context);
uint64_t mr_cold_free_bytes(struct mr_disk *disk, const char *path);
bool mr_cold_is_direct(struct mr_disk *disk, int file);

/** allocate where fallocate is not supported: zeros are written from the end of the file on. What lies before it stays as it is. */
int mr_cold_write_zeros(int file, uint64_t position, uint64_t bytes);

/** The members of struct mr_disk_ops that both drivers share. */
#define MR_COLD_OPS                                                                                                                        \
    .open = mr_cold_open, .close = mr_cold_close, .size = mr_cold_size, .allocate = mr_cold_allocate, .truncate = mr_cold_truncate,        \
    .read = mr_cold_read, .write = mr_cold_write, .sync = mr_cold_sync, .sync_directory = mr_cold_sync_directory,                          \
    .make_directory = mr_cold_make_directory, .remove_directory = mr_cold_remove_directory, .unlink = mr_cold_unlink,                      \
    .rename = mr_cold_rename, .list = mr_cold_list, .free_bytes = mr_cold_free_bytes, .is_direct = mr_cold_is_direct

#endif
