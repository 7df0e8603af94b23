/* SPDX-License-Identifier: Apache-2.0 */
/* Faults for the real daemon: a disk that passes everything on to another one, except where its rules say otherwise. The daemon puts it
 * around its disks when MR_FAULTS is set in the environment; the value is the rules, separated by commas:
 *
 *   write:17:EIO            the 17th burst write fails, once; nothing of it is written
 *   write:5+:ENOSPC         the 5th and all after it fail
 *   write:9:torn=3          of the 9th, the first 3 sectors of 512 bytes reach the file; then it fails with EIO
 *   write:9:slow=50ms       the completion of the 9th is held back (us, ms or s)
 *   slow:20ms               the same for every burst write
 *   sync:2:EIO              likewise sync, dirsync, cold (a cold write), read, open, allocate, truncate, name (mkdir, rmdir, unlink, rename)
 *
 * Errors: EIO, ENOSPC, EROFS, EDQUOT, EMFILE, ENOMEM, EINVAL. Each kind of operation has its own count, from 1, over the life of this disk.
 * Of several rules that match one operation the first counts. */
#ifndef MR_DRIVERS_DISK_FAULTY_H
#define MR_DRIVERS_DISK_FAULTY_H

#include "drivers/disk/disk.h"

#define MR_FAULTS_VARIABLE "MR_FAULTS"

/**
 * @param disk set on success; mr_disk_release() of it releases inner too
 * @param inner the disk to decorate; stays the caller's when this fails
 * @return 0; -EINVAL with a message that names the rule, what is wrong with it and what it may be; -ENOMEM; -EMFILE
 * Thread: as inner's; its wait_fd ticks every millisecond while a write is outstanding.
 */
int mr_disk_faulty_open(struct mr_disk **disk, struct mr_disk *inner, const char *rules, struct millrace_error *err) MR_MUST_USE;

#endif
