/* SPDX-License-Identifier: Apache-2.0 */
/* What a node is told: every key of this version in one table (keys.c), and the struct that holds the values. A topic's own settings
 * are the node's, overridden key by key under Kafka's topic names (segment.bytes for log.segment.bytes, ...). */
#ifndef MR_DATAPLANE_CONFIG_H
#define MR_DATAPLANE_CONFIG_H

#include "millrace/millrace.h"
#include "shm/abi/abi.h"
#include "shm/base/config.h"

#define MR_CONFIG_EMBEDDED_RETENTION "1GiB" /* a partition, when no --config says otherwise: a laptop's disk must not fill up */

enum mr_config_disk { MR_CONFIG_DISK_AUTO, MR_CONFIG_DISK_URING, MR_CONFIG_DISK_THREADS };

/** What a topic can have for itself. */
struct mr_topic_config {
    uint32_t durability;        /* enum millrace_durability: LEADER or DISK in this version */
    int64_t segment_bytes;      /* a segment is rolled before it grows past this */
    int64_t retention_bytes;    /* a partition; -1: no limit */
    int64_t retention_ms;       /* of a segment's newest record; -1: no limit */
    int64_t message_bytes_max;  /* a batch as it stands in the log */
};

struct mr_node_config {
    int64_t broker_id;
    struct mr_config_list log_dirs;
    int64_t partitions_default;
    struct mr_topic_config topic; /* what a topic has unless it says otherwise */
    struct mr_config_cpus reactors; /* count 0: one per two cores, at least 1 */
    uint32_t idle;                /* enum millrace_idle */
    int64_t flush_ms;             /* how long a record of a `leader` topic may stay in memory only */
    char hugepages[256];          /* auto, require, off or a hugetlbfs mount point */
    int64_t memory_bytes;         /* ceiling of the hot tail; 0: a quarter of the free hugepages, or of RAM */
    int64_t extent_bytes;
    int64_t journal_bytes;        /* per reactor and log directory */
    uint32_t disk;                /* enum mr_config_disk */
    char socket[104];             /* "": the default; fits sockaddr_un */
    char socket_mode[8];          /* octal */
    int64_t delivery_timeout_ms;
    int64_t producer_expiration_ms;
    int64_t ring_bytes_max;       /* largest submission ring a client may ask for */
    int64_t quota_sessions;       /* each of these for one user */
    int64_t quota_session_bytes;
    int64_t quota_attach_rate;    /* a second */
    uint32_t logging_level;       /* enum mr_logging_level */
};

extern const struct mr_config_table mr_node_config_table;

/**
 * Defaults, then the file, then the assignments of the command line, then what must fit together.
 *
 * @param node    filled; valid only after 0
 * @param origin  where each value came from; large, caller's; `node` must outlive it
 * @param path    a properties file, or NULL: embedded defaults
 * @param sets    set_count texts "key=value"
 * @return 0; -EINVAL, -ENOENT, -EACCES, -EIO with a message that says what to do. Cold.
 */
int mr_node_config_load(struct mr_node_config *node, struct mr_config *origin, const char *path, const char *const *sets, uint32_t set_count,
                        struct millrace_error *err) MR_MUST_USE;

/**
 * One override of a topic ("segment.bytes", "64MiB"). @param topic begun as a copy of mr_node_config.topic
 * @return 0; -EINVAL with a message; `topic` is then as it was.
 */
int mr_topic_config_set(struct mr_topic_config *topic, const char *name, const char *text, struct millrace_error *err) MR_MUST_USE;

/** Kafka's rule for topic names. @return 0; -EINVAL with a message */
int mr_topic_name_check(const char *name, struct millrace_error *err) MR_MUST_USE;

/**
 * What a topic has by its own lines over the node's values.
 * @param topic set only when all is well
 * @param lines "key=value", ends of lines between them
 * @return 0; -EINVAL with a message that names the key
 */
int mr_topic_config_parse(struct mr_topic_config *topic, const struct mr_node_config *node, const char *lines, struct millrace_error *err) MR_MUST_USE;

/**
 * A topic's own lines after a change. The values are not looked at.
 * @param changes lines "key=value"; "key" alone: it has none of its own any more
 * @return 0; -EINVAL with a message: too long, or a key to forget that it has not
 */
int mr_topic_config_merge(const char *lines, const char *changes, char merged[MR_TOPIC_CONFIG_BYTES], struct millrace_error *err) MR_MUST_USE;

/** What must fit together once all overrides are in. @return 0; -EINVAL with a message that names both keys. */
int mr_topic_config_check(const struct mr_topic_config *topic, const struct mr_node_config *node, struct millrace_error *err) MR_MUST_USE;

#endif
