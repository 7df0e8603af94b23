/* SPDX-License-Identifier: Apache-2.0 */
/* This host's own counters from /proc, as records: real data that every machine has. One sweep reads the files once and gives one metric
 * at a time:
 *
 *   key    "cpu0.user"
 *   value  {"metric":"cpu0.user","value":12345,"unit":"ticks","host":"h","run":5,"sequence":7,"time_ns":1700000000000000000} */
#ifndef MR_CONTROL_CLI_TELEMETRY_H
#define MR_CONTROL_CLI_TELEMETRY_H

#include "shm/base/err.h"

#include <stddef.h>
#include <stdint.h>

#define MR_TELEMETRY_METRICS_MAX 1024
#define MR_TELEMETRY_VALUE_MAX   512

struct mr_telemetry_metric {
    char name[64];
    const char *unit;
    int64_t value;
};

/** Large (100 KiB): static or allocated. */
struct mr_telemetry {
    uint32_t count;
    struct mr_telemetry_metric metric[MR_TELEMETRY_METRICS_MAX];
};

/**
 * Read every counter. @param root "" for this host; a test's folder that holds proc/
 * @return how many there are; -ENOENT when not one file could be read (is /proc mounted?)
 */
int mr_telemetry_sweep(struct mr_telemetry *telemetry, const char *root, struct millrace_error *err) MR_MUST_USE;

/** A metric as its record's value. @param run names the publishing process among others. @return bytes, without the terminator. */
size_t mr_telemetry_value(const struct mr_telemetry_metric *metric, const char *host, uint64_t run, uint64_t sequence, uint64_t time_ns,
                          char out[MR_TELEMETRY_VALUE_MAX]);

/** Find an unsigned member of such a value. @return 0; -EBADMSG. */
int mr_telemetry_member(const void *value, size_t bytes, const char *name, uint64_t *number) MR_MUST_USE;

#endif
