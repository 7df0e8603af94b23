/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a partition directory `<topic>-<partition>`:
 *
 *   <20-digit base offset>.log       consecutive v2 batches, nothing else; a preallocated zero tail while it is the newest
 *   <20-digit base offset>.sidecar   ours, see sidecar.h
 *   <20-digit offset>.snapshot, leader-epoch-checkpoint     Kafka's, see checkpoint.h
 *
 * This is the module's face: sidecar.h the format, checkpoint.h the small files, scan.h the walk of recovery and verify, reader.h the cold
 * reader; verify.h, dump.h and export.h (with files and stdio) for `millrace log`. */
#ifndef MR_SEGMENT_SEGMENT_H
#define MR_SEGMENT_SEGMENT_H

#include "shm/segment/checkpoint.h"
#include "shm/segment/reader.h"
#include "shm/segment/scan.h"
#include "shm/segment/sidecar.h"
#include "shm/segment/source.h"

#define MR_SEGMENT_NAME_BYTES_MAX 32 /* 20 digits, a dot, the longest suffix, a zero */

/** "00000000000000000042.log". @param suffix "log", "sidecar", "snapshot" */
void mr_segment_name(char name[MR_SEGMENT_NAME_BYTES_MAX], uint64_t base_offset, const char *suffix);

/** True, and the offset, if a name is 20 digits, a dot and this suffix. */
bool mr_segment_name_parse(const char *name, const char *suffix, uint64_t *base_offset);

#endif
