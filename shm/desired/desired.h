/* SPDX-License-Identifier: Apache-2.0 */
/* The table of desired state (shm/abi/control.h), both ends. The control process adds entries, the data plane reads them in order. A table only grows:
 * what stands in it never changes, so a reader needs no lock, and a writer that dies leaves whole entries behind.
 *
 * A full table is replaced by a new one with the state as it is. */
#ifndef MR_DESIRED_H
#define MR_DESIRED_H

#include <stdbool.h>
#include <stddef.h>

#include "shm/abi/control.h"
#include "shm/base/err.h"

#define MR_DESIRED_BYTES_MAX (1ull << 30)

struct mr_desired_writer {
    int fd; /* -1: there is no table */
    struct mr_desired_header *table;
    uint64_t bytes;
};

/** One entry as both sides speak of it. */
struct mr_desired {
    enum mr_desired_kind kind;
    uint64_t number;
    struct mr_uuid topic_id;
    uint32_t partition_count;
    char name[MR_TOPIC_NAME_MAX + 1];
    char config[MR_TOPIC_CONFIG_BYTES];
};

/** A table for about so many entries, in a memfd that cannot shrink. @return 0; -ENOMEM with a message */
int mr_desired_create(struct mr_desired_writer *writer, uint32_t entries, struct millrace_error *err) MR_MUST_USE;
void mr_desired_release(struct mr_desired_writer *writer);

/** Add an entry; a reader sees it whole or not at all. @return 0; -ENOSPC: make a new table */
int mr_desired_add(struct mr_desired_writer *writer, const struct mr_desired *entry) MR_MUST_USE;

struct mr_desired_reader {
    const struct mr_desired_header *table; /* NULL: there is none */
    uint64_t bytes, at;
};

/** Map the table; fd stays the caller's. @return 0; -EBADMSG: it is none, or may shrink; -ENOMEM: all with a message */
int mr_desired_open(struct mr_desired_reader *reader, int fd, uint64_t bytes, struct millrace_error *err) MR_MUST_USE;
void mr_desired_close(struct mr_desired_reader *reader);

/** The next entry, copied out. @return 1; 0: there is none yet; -EBADMSG: it makes no sense, read no further */
int mr_desired_next(struct mr_desired_reader *reader, struct mr_desired *entry) MR_MUST_USE;

#endif
