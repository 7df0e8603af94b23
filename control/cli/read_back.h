/* SPDX-License-Identifier: Apache-2.0 */
/* A second process that reads what this one publishes, and proves that each record arrived once: the colocated reader of
 * `millrace telemetry --read-back`. Parent and child share one block of memory, and nothing else. */
#ifndef MR_CONTROL_CLI_READ_BACK_H
#define MR_CONTROL_CLI_READ_BACK_H

#include "shm/base/err.h"
#include "shm/base/histogram.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define MR_READ_BACK_RECORDS_MAX (1ull << 32) /* in one run: a bit each, backed as they come */
#define MR_READ_BACK_LAST_MAX    160

struct mr_read_back_shared {
    _Atomic uint32_t state;        /* 0: starting, 1: reading, 2: failed (see error), 3: done */
    _Atomic uint64_t expected;     /* ~0 until the parent has published all */
    _Atomic uint64_t read;         /* different records of this run seen */
    uint64_t doubled;              /* seen twice */
    struct mr_histogram latency;   /* from the time in the record to the read */
    struct millrace_error error;
    char last[MR_READ_BACK_LAST_MAX]; /* a value, as an example */
};

struct mr_read_back {
    struct mr_read_back_shared *shared;
    pid_t child;
};

/**
 * Fork the reader and wait until it stands at the end of the topic. Call it before this process attaches: a session is not inherited.
 * @param run  the records that count are those whose "run" is this
 * @return 0; or the reader's own error with its message
 */
int mr_read_back_start(struct mr_read_back *reader, const char *socket_path, const char *topic, uint64_t run, struct millrace_error *err) MR_MUST_USE;

/** Tell it how many there were and wait for it, at most timeout_ms. @return 0; -ETIMEDOUT: some did not arrive; or its error. */
int mr_read_back_finish(struct mr_read_back *reader, uint64_t expected, int timeout_ms, struct millrace_error *err) MR_MUST_USE;

/** End the child if it still runs, and give the memory back. Accepts zeroed. */
void mr_read_back_release(struct mr_read_back *reader);

#endif
