/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes of the store say, as JSON. Members that are not known are a later version's, and are left alone. */
#include "control/topics/topics_internal.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

char *topics_value_text(const struct topics_value *value)
{
    char id[MR_UUID_CHARS + 1], change[MR_UUID_CHARS + 1];
    mr_uuid_text(&value->id, id);
    mr_uuid_text(&value->change, change);
    json_t *root = json_pack("{s:s, s:i, s:s, s:s}", "id", id, "partitions", (int)value->partition_count, "config", value->config, "change", change);
    char *text = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

int topics_value_parse(const void *data, size_t bytes, struct topics_value *value)
{
    const char *id, *config, *change;
    int partitions;
    json_t *root = json_loadb(data, bytes, 0, NULL);
    bool good = root != NULL && json_unpack(root, "{s:s, s:i, s:s, s:s}", "id", &id, "partitions", &partitions, "config", &config, "change", &change) == 0 &&
                mr_uuid_parse(id, &value->id) && mr_uuid_parse(change, &value->change) && partitions >= 1 && partitions <= (int)MR_PARTITIONS_MAX &&
                strlen(config) < sizeof value->config;
    if (good) {
        value->partition_count = (uint32_t)partitions;
        strcpy(value->config, config);
    }
    json_decref(root);
    return good ? 0 : -EBADMSG;
}

char *topics_gone_text(const char *name, const struct mr_uuid *change)
{
    char text[MR_UUID_CHARS + 1];
    mr_uuid_text(change, text);
    json_t *root = json_pack("{s:s, s:s}", "name", name, "change", text);
    char *out = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return out;
}

int topics_gone_parse(const void *data, size_t bytes, char name[MR_TOPIC_NAME_MAX + 1], struct mr_uuid *change)
{
    const char *text, *change_text;
    json_t *root = json_loadb(data, bytes, 0, NULL);
    bool good = root != NULL && json_unpack(root, "{s:s, s:s}", "name", &text, "change", &change_text) == 0 && strlen(text) <= MR_TOPIC_NAME_MAX &&
                mr_uuid_parse(change_text, change);
    if (good)
        strcpy(name, text);
    json_decref(root);
    return good ? 0 : -EBADMSG;
}
