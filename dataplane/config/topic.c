/* SPDX-License-Identifier: Apache-2.0 */
/* What a topic says for itself: lines "key=value", one a key, over what the node's configuration says. */
#include "dataplane/config/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

int mr_topic_name_check(const char *name, struct millrace_error *err)
{
    size_t bytes = strlen(name);
    if (bytes == 0 || bytes > MR_TOPIC_NAME_MAX)
        return mr_err(err, EINVAL, "topic name '%.40s%s' has %zu characters, allowed are 1 to %d", name, bytes > 40 ? "..." : "", bytes,
                      MR_TOPIC_NAME_MAX);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return mr_err(err, EINVAL, "topic name '%s' is not allowed", name);
    for (const char *at = name; *at != '\0'; at++)
        if (!isalnum((unsigned char)*at) && *at != '.' && *at != '_' && *at != '-')
            return mr_err(err, EINVAL, "topic name '%s' has '%c'; allowed are ASCII letters, digits, '.', '_' and '-'", name, *at);
    return 0;
}

/* The next line that is not empty. @return false: there is none. *line_bytes without its end */
static bool next_line(const char **at, const char **line, size_t *line_bytes)
{
    while (**at == '\n')
        (*at)++;
    *line = *at;
    *line_bytes = strcspn(*at, "\n");
    *at += *line_bytes;
    return *line_bytes > 0;
}

int mr_topic_config_parse(struct mr_topic_config *topic, const struct mr_node_config *node, const char *lines, struct millrace_error *err)
{
    char text[MR_TOPIC_CONFIG_BYTES];
    const char *line;
    size_t bytes;
    struct mr_topic_config parsed = node->topic;

    while (next_line(&lines, &line, &bytes)) {
        snprintf(text, sizeof text, "%.*s", (int)bytes, line);
        char *equals = strchr(text, '=');
        if (equals == NULL)
            return mr_err(err, EINVAL, "topic config '%s' is not of the form key=value", text);
        *equals = '\0';
        int rc = mr_topic_config_set(&parsed, text, equals + 1, err);
        if (rc != 0)
            return rc;
    }
    int rc = mr_topic_config_check(&parsed, node, err);
    if (rc == 0)
        *topic = parsed;
    return rc;
}

/* The line of this key in `lines`. */
static const char *find_key(const char *lines, const char *key, size_t key_bytes)
{
    const char *line;
    size_t bytes;
    while (next_line(&lines, &line, &bytes))
        if (bytes >= key_bytes && memcmp(line, key, key_bytes) == 0 && (bytes == key_bytes || line[key_bytes] == '='))
            return line;
    return NULL;
}

static int append(char *out, size_t *used, const char *line, size_t bytes, struct millrace_error *err)
{
    if (*used + bytes + 2 > MR_TOPIC_CONFIG_BYTES)
        return mr_err(err, EINVAL, "the configuration of a topic is longer than %u bytes", MR_TOPIC_CONFIG_BYTES - 1);
    memcpy(out + *used, line, bytes);
    *used += bytes;
    out[(*used)++] = '\n';
    out[*used] = '\0';
    return 0;
}

int mr_topic_config_merge(const char *lines, const char *changes, char merged[MR_TOPIC_CONFIG_BYTES], struct millrace_error *err)
{
    const char *line, *at = lines;
    size_t bytes, used = 0;
    int rc = 0;

    merged[0] = '\0';
    while (rc == 0 && next_line(&at, &line, &bytes))
        if (find_key(changes, line, strcspn(line, "=\n")) == NULL)
            rc = append(merged, &used, line, bytes, err);
    for (at = changes; rc == 0 && next_line(&at, &line, &bytes);) {
        size_t key_bytes = strcspn(line, "=\n");
        if (key_bytes == bytes && find_key(lines, line, bytes) == NULL)
            rc = mr_err(err, EINVAL, "the topic has no %.*s of its own: the node's configuration decides already", (int)bytes, line);
        else if (key_bytes < bytes && find_key(at, line, key_bytes) == NULL) /* the last of several counts */
            rc = append(merged, &used, line, bytes, err);
    }
    return rc;
}
