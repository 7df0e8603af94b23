/* SPDX-License-Identifier: Apache-2.0 */
/* Print a segment, a line a batch, for `millrace log dump`. Field names are those of Kafka's own dump tool. Cold. */
#ifndef MR_SEGMENT_DUMP_H
#define MR_SEGMENT_DUMP_H

#include <stdint.h>
#include <stdio.h>

#include "shm/base/err.h"

enum {
    MR_DUMP_RECORDS = 1 << 0, /* a line a record too, with times and sizes */
    MR_DUMP_VALUES = 1 << 1,  /* and with keys, headers and values; bytes that are not printable ASCII as \xNN */
};

/**
 * @param log_path     `<20 digits>.log`
 * @param from_offset  skip batches that end below it; 0: all
 * @param batch_max    stop after so many batches; 0: all
 * @return 0; -EBADMSG (printed up to the damage, which err names); -errno. Output errors are for the caller: ferror(out)
 */
int mr_dump_segment(const char *log_path, FILE *out, unsigned flags, uint64_t from_offset, uint64_t batch_max,
                    struct millrace_error *err) MR_MUST_USE;

#endif
