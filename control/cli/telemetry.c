/* SPDX-License-Identifier: Apache-2.0 */
#include "control/cli/telemetry.h"

#include "shm/base/bits.h"
#include "shm/base/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(struct mr_telemetry *telemetry, const char *unit, int64_t value, const char *format, ...) MR_PRINTF(4, 5);

static void add(struct mr_telemetry *telemetry, const char *unit, int64_t value, const char *format, ...)
{
    va_list args;

    if (telemetry->count == MR_TELEMETRY_METRICS_MAX)
        return; /* a machine with hundreds of cores: its first thousand counters */
    struct mr_telemetry_metric *metric = &telemetry->metric[telemetry->count++];
    va_start(args, format);
    vsnprintf(metric->name, sizeof metric->name, format, args);
    va_end(args);
    metric->unit = unit;
    metric->value = value;
}

static void stat_line(struct mr_telemetry *telemetry, char *line)
{
    static const char *const column[] = {"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"};
    char *rest, *name = strtok_r(line, " ", &rest);

    if (name == NULL)
        return;
    if (strncmp(name, "cpu", 3) == 0) {
        for (uint32_t i = 0; i < MR_COUNT_OF(column); i++) {
            const char *value = strtok_r(NULL, " \n", &rest);
            if (value != NULL)
                add(telemetry, "ticks", strtoll(value, NULL, 10), "%s.%s", name, column[i]);
        }
    } else if (strcmp(name, "ctxt") == 0 || strcmp(name, "processes") == 0 || strcmp(name, "procs_running") == 0) {
        add(telemetry, "count", strtoll(rest, NULL, 10), "kernel.%s", name);
    }
}

static void meminfo_line(struct mr_telemetry *telemetry, char *line)
{
    char *colon = strchr(line, ':');

    if (colon == NULL)
        return;
    *colon = '\0';
    bool kilobytes = strstr(colon + 1, " kB") != NULL;
    add(telemetry, kilobytes ? "bytes" : "count", strtoll(colon + 1, NULL, 10) * (kilobytes ? 1024 : 1), "memory.%s", line);
}

static void vmstat_line(struct mr_telemetry *telemetry, char *line)
{
    char *space = strchr(line, ' ');

    if (space == NULL)
        return;
    *space = '\0';
    add(telemetry, "count", strtoll(space + 1, NULL, 10), "vm.%s", line);
}

static void net_line(struct mr_telemetry *telemetry, char *line)
{
    static const struct {
        uint32_t index;
        const char *name, *unit;
    } column[] = {{0, "rx", "bytes"},       {1, "rx_packets", "count"}, {2, "rx_errors", "count"}, {3, "rx_drops", "count"},
                  {8, "tx", "bytes"},       {9, "tx_packets", "count"}, {10, "tx_errors", "count"}, {11, "tx_drops", "count"}};
    char *colon = strchr(line, ':'), *rest;
    uint32_t next = 0;

    if (colon == NULL)
        return; /* one of the two lines of headings */
    *colon = '\0';
    const char *name = line + strspn(line, " ");
    char *value = strtok_r(colon + 1, " \n", &rest);
    for (uint32_t i = 0; value != NULL && next < MR_COUNT_OF(column); i++, value = strtok_r(NULL, " \n", &rest)) {
        if (i != column[next].index)
            continue;
        add(telemetry, column[next].unit, strtoll(value, NULL, 10), "net.%s.%s", name, column[next].name);
        next++;
    }
}

static void disk_line(struct mr_telemetry *telemetry, char *line)
{
    unsigned long long reads, read_sectors, read_ms, writes, write_sectors, write_ms;
    char name[33];

    if (sscanf(line, "%*u %*u %32s %llu %*u %llu %llu %llu %*u %llu %llu", name, &reads, &read_sectors, &read_ms, &writes, &write_sectors,
               &write_ms) != 7 || (reads == 0 && writes == 0))
        return;
    add(telemetry, "count", (int64_t)reads, "disk.%s.reads", name);
    add(telemetry, "bytes", (int64_t)(read_sectors * 512), "disk.%s.read", name);
    add(telemetry, "ms", (int64_t)read_ms, "disk.%s.read_time", name);
    add(telemetry, "count", (int64_t)writes, "disk.%s.writes", name);
    add(telemetry, "bytes", (int64_t)(write_sectors * 512), "disk.%s.written", name);
    add(telemetry, "ms", (int64_t)write_ms, "disk.%s.write_time", name);
}

static void load_line(struct mr_telemetry *telemetry, char *line)
{
    double load[3];

    if (sscanf(line, "%lf %lf %lf", &load[0], &load[1], &load[2]) != 3)
        return;
    add(telemetry, "thousandths", (int64_t)(load[0] * 1000), "load.1m");
    add(telemetry, "thousandths", (int64_t)(load[1] * 1000), "load.5m");
    add(telemetry, "thousandths", (int64_t)(load[2] * 1000), "load.15m");
}

int mr_telemetry_sweep(struct mr_telemetry *telemetry, const char *root, struct millrace_error *err)
{
    static const struct {
        const char *path;
        void (*line)(struct mr_telemetry *, char *);
    } source[] = {
        {"proc/stat", stat_line},        {"proc/loadavg", load_line},   {"proc/meminfo", meminfo_line},
        {"proc/net/dev", net_line},      {"proc/diskstats", disk_line}, {"proc/vmstat", vmstat_line},
    };
    char path[4096], line[8192];

    telemetry->count = 0;
    for (uint32_t i = 0; i < MR_COUNT_OF(source); i++) {
        snprintf(path, sizeof path, "%s/%s", root, source[i].path);
        FILE *file = fopen(path, "re");
        if (file == NULL)
            continue; /* a container may hide some */
        while (fgets(line, sizeof line, file) != NULL)
            source[i].line(telemetry, line);
        fclose(file);
    }
    if (telemetry->count == 0)
        return mr_err(err, ENOENT, "no counter of this host can be read under %s/proc: mount /proc", root);
    return (int)telemetry->count;
}

size_t mr_telemetry_value(const struct mr_telemetry_metric *metric, const char *host, uint64_t run, uint64_t sequence, uint64_t time_ns,
                          char out[MR_TELEMETRY_VALUE_MAX])
{
    char name[6 * sizeof metric->name], host_text[128];

    mr_json_escape(metric->name, strlen(metric->name), name, 192);
    mr_json_escape(host, strlen(host), host_text, sizeof host_text);
    int n = snprintf(out, MR_TELEMETRY_VALUE_MAX,
                     "{\"metric\":\"%s\",\"value\":%lld,\"unit\":\"%s\",\"host\":\"%s\",\"run\":%llu,\"sequence\":%llu,\"time_ns\":%llu}", name,
                     (long long)metric->value, metric->unit, host_text, (unsigned long long)run, (unsigned long long)sequence, (unsigned long long)time_ns);
    return n < MR_TELEMETRY_VALUE_MAX ? (size_t)n : MR_TELEMETRY_VALUE_MAX - 1;
}

int mr_telemetry_member(const void *value, size_t bytes, const char *name, uint64_t *number)
{
    char wanted[64];

    int wanted_bytes = snprintf(wanted, sizeof wanted, "\"%s\":", name);
    uint64_t sum = 0;
    uint32_t digits = 0;

    const char *at = value == NULL ? NULL : memmem(value, bytes, wanted, (size_t)wanted_bytes);
    if (at == NULL)
        return -EBADMSG;
    const char *end = (const char *)value + bytes;
    for (at += wanted_bytes; at < end && *at >= '0' && *at <= '9' && digits < 19; at++, digits++)
        sum = sum * 10 + (uint64_t)(*at - '0');
    if (digits == 0)
        return -EBADMSG;
    *number = sum;
    return 0;
}
