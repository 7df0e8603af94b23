/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/config/config.h"

#include "shm/base/logging.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (1 << 20)

/* The words of three keys in keys.c stand in the order of these. */
static_assert(MILLRACE_DURABILITY_DISK == MILLRACE_DURABILITY_LEADER + 2, "leader, quorum, disk");
static_assert(MILLRACE_IDLE_SLEEP == MILLRACE_IDLE_ADAPTIVE + 2 && MILLRACE_IDLE_BUSY == MILLRACE_IDLE_ADAPTIVE + 1, "adaptive, busy, sleep");
static_assert(MR_LOGGING_ERROR == 0 && MR_LOGGING_DEBUG == 3, "error, warn, info, debug");

/* @return the terminated text, freed by the caller, or NULL with *rc and err set. */
static char *read_file(const char *path, int *rc, struct millrace_error *err)
{
    struct stat st;
    size_t used = 0;

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int code = errno;
        *rc = mr_err(err, code, "cannot read the configuration '%s': %s; leave --config out to run on embedded defaults", path, strerror(code));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_BYTES_MAX) {
        *rc = mr_err(err, EINVAL, "the configuration '%s' is not a plain file of at most %d bytes", path, FILE_BYTES_MAX);
        close(fd);
        return NULL;
    }
    char *text = malloc((size_t)st.st_size + 1);
    while (text != NULL && used < (size_t)st.st_size) {
        ssize_t n = read(fd, text + used, (size_t)st.st_size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    close(fd);
    if (text == NULL || used < (size_t)st.st_size || memchr(text, '\0', used) != NULL) {
        int code = text == NULL ? ENOMEM : EIO;
        free(text);
        *rc = mr_err(err, code, "cannot read the configuration '%s': it was cut short, or it is not text", path);
        return NULL;
    }
    text[used] = '\0';
    return text;
}

static int check_topic_fits(const struct mr_topic_config *topic, const struct mr_node_config *node, const char *segment_name,
                            const char *message_name, struct millrace_error *err)
{
    /* A batch never straddles extents, and an extent begins with a copy of the last partial block (DESIGN.md section 5). */
    int64_t room_bytes = node->extent_bytes - 2 * 4096;

    if (topic->message_bytes_max > room_bytes)
        return mr_err(err, EINVAL, "%s=%lld does not fit into an extent: lower it to %lld, or raise millrace.extent.bytes=%lld", message_name,
                      (long long)topic->message_bytes_max, (long long)room_bytes, (long long)node->extent_bytes);
    if (topic->message_bytes_max > topic->segment_bytes)
        return mr_err(err, EINVAL, "%s=%lld is larger than %s=%lld: a segment must hold the largest batch", message_name,
                      (long long)topic->message_bytes_max, segment_name, (long long)topic->segment_bytes);
    return 0;
}

int mr_node_config_load(struct mr_node_config *node, struct mr_config *origin, const char *path, const char *const *sets, uint32_t set_count,
                        struct millrace_error *err)
{
    int rc = 0;

    memset(node, 0, sizeof *node);
    mr_config_init(origin, &mr_node_config_table, node);
    if (path == NULL) {
        rc = mr_config_set_embedded(origin, "log.retention.bytes", MR_CONFIG_EMBEDDED_RETENTION, err);
    } else {
        char *text = read_file(path, &rc, err);
        if (text != NULL) {
            rc = mr_config_load_text(origin, text, path, err);
            free(text);
        }
    }
    for (uint32_t i = 0; i < set_count && rc == 0; i++)
        rc = mr_config_set(origin, sets[i], err);
    if (rc == 0)
        rc = check_topic_fits(&node->topic, node, "log.segment.bytes", "message.max.bytes", err);
    if (rc == 0 && node->memory_bytes != 0 && node->memory_bytes < 2 * node->extent_bytes)
        rc = mr_err(err, EINVAL, "millrace.memory.bytes=%lld does not hold two extents of millrace.extent.bytes=%lld: raise it to %lld",
                    (long long)node->memory_bytes, (long long)node->extent_bytes, (long long)(2 * node->extent_bytes));
    if (rc == 0 && node->producer_expiration_ms < node->delivery_timeout_ms)
        rc = mr_err(err, EINVAL, "producer.id.expiration.ms=%lld is less than delivery.timeout.ms=%lld: a producer would be forgotten while it may "
                    "still send again", (long long)node->producer_expiration_ms, (long long)node->delivery_timeout_ms);
    return rc;
}

int mr_topic_config_set(struct mr_topic_config *topic, const char *name, const char *text, struct millrace_error *err)
{
    return mr_config_set_topic(&mr_node_config_table, topic, offsetof(struct mr_node_config, topic), name, text, err);
}

int mr_topic_config_check(const struct mr_topic_config *topic, const struct mr_node_config *node, struct millrace_error *err)
{
    return check_topic_fits(topic, node, "segment.bytes", "max.message.bytes", err);
}
