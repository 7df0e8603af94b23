/* SPDX-License-Identifier: Apache-2.0 */
/* millrace topic create, list. */
#include "control/cli/commands.h"

#include "control/cli/sender.h"
#include "dataplane/config/config.h"
#include "shm/base/bits.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTITIONS_MAX 10000
#define CONFIG_BYTES   2048 /* as the session's message carries it */

/* The same table as the node's checks each setting before it is sent, so that a typing mistake is found here with its nearest key. */
static int join_configs(const struct mr_cli_texts *settings, char out[CONFIG_BYTES], struct millrace_error *err)
{
    static struct mr_node_config node;
    static struct mr_config origin;
    size_t used = 0;

    int rc = mr_node_config_load(&node, &origin, NULL, NULL, 0, err);
    out[0] = '\0';
    for (uint32_t i = 0; i < settings->count && rc == 0; i++) {
        const char *text = settings->text[i], *equals = strchr(text, '=');
        char name[128];
        if (equals == NULL)
            return mr_err(err, EINVAL, "--config %s: it must be key=value", text);
        snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
        rc = mr_topic_config_set(&node.topic, name, equals + 1, err);
        if (rc == 0 && (strchr(text, '\n') != NULL || used + strlen(text) + 2 > CONFIG_BYTES))
            return mr_err(err, EINVAL, "--config: all together are longer than %d bytes, or one holds a newline", CONFIG_BYTES - 1);
        if (rc == 0)
            used += (size_t)snprintf(out + used, CONFIG_BYTES - used, "%s\n", text);
    }
    return rc;
}

static int topic_create(const struct mr_cli_command *command, int argc, char **argv)
{
    struct mr_cli_texts settings = {0}, words;
    const char *socket_path = NULL;
    uint64_t partitions = 0, replicas = 1;
    const struct mr_cli_option options[] = {
        {"partitions", 'p', MR_CLI_COUNT, "N", &partitions, "default: the node's num.partitions"},
        {"replicas", 0, MR_CLI_COUNT, "N", &replicas, "1 in this version"},
        {"config", 'c', MR_CLI_TEXTS, "key=value", &settings, "a topic config; may be repeated"},
        {"socket", 0, MR_CLI_TEXT, "PATH", &socket_path, "the node's socket (default: MILLRACE_SOCKET, or the local node's)"},
    };
    struct millrace_client *client = NULL;
    struct millrace_error err = {0};
    char config[CONFIG_BYTES];

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 1, 1);
    if (status != MR_CLI_GO_ON)
        return status;
    if (partitions > PARTITIONS_MAX)
        return mr_cli_usage(command, "--partitions %llu: at most %d", (unsigned long long)partitions, PARTITIONS_MAX);
    if (replicas != 1)
        return mr_cli_fail("--replicas %llu: replication is not in this version; a node holds the only replica", (unsigned long long)replicas);
    int rc = join_configs(&settings, config, &err);
    if (rc == 0)
        rc = mr_cli_attach(&client, socket_path, &err);
    if (rc == 0)
        rc = millrace_topic_create(client, words.text[0], (uint32_t)partitions, config[0] != '\0' ? config : NULL, &err);
    millrace_detach(client);
    if (rc != 0)
        return mr_cli_fail("%s", err.text);
    fprintf(stderr, "created topic '%s'\n", words.text[0]);
    return MR_CLI_DONE;
}

static int print_table(const char *text)
{
    json_error_t why;
    size_t width = 5;

    json_t *list = json_loads(text, 0, &why);
    if (!json_is_array(list)) {
        json_decref(list);
        return mr_cli_fail("the node's list of topics cannot be read (%s): does its version differ from this command's?", why.text);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(list, i), "name"));
        width = name != NULL && strlen(name) > width ? strlen(name) : width;
    }
    printf("%-*s  %10s  %s\n", (int)width, "TOPIC", "PARTITIONS", "DURABILITY");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *topic = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(topic, "name"));
        const char *durability = json_string_value(json_object_get(topic, "durability"));
        printf("%-*s  %10lld  %s\n", (int)width, name != NULL ? name : "?", (long long)json_integer_value(json_object_get(topic, "partitions")),
               durability != NULL ? durability : "?");
    }
    json_decref(list);
    return MR_CLI_DONE;
}

static int topic_list(const struct mr_cli_command *command, int argc, char **argv)
{
    const char *socket_path = NULL;
    bool json = false;
    const struct mr_cli_option options[] = {
        {"json", 0, MR_CLI_FLAG, NULL, &json, "as JSON, with every field"},
        {"socket", 0, MR_CLI_TEXT, "PATH", &socket_path, "the node's socket (default: MILLRACE_SOCKET, or the local node's)"},
    };
    struct millrace_client *client = NULL;
    struct millrace_error err = {0};
    struct mr_cli_texts words;
    char *text = NULL;

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 0, 0);
    if (status != MR_CLI_GO_ON)
        return status;
    int rc = mr_cli_attach(&client, socket_path, &err);
    if (rc == 0)
        rc = millrace_topic_list(client, &text, &err);
    millrace_detach(client);
    if (rc != 0)
        return mr_cli_fail("%s", err.text);
    if (json)
        printf("%s\n", text);
    else
        status = print_table(text);
    free(text);
    return json ? MR_CLI_DONE : status;
}

int mr_cmd_topic(const struct mr_cli_command *command, int argc, char **argv)
{
    static const struct mr_cli_command commands[] = {
        {"create", "millrace topic create", "NAME [--partitions N] [--config key=value]...", "make a topic",
         "  millrace topic create orders --partitions 8\n"
         "  millrace topic create ticks --config millrace.durability=leader       a feed: sub-microsecond hops, flushed within flush.ms\n",
         topic_create},
        {"list", "millrace topic list", "[--json]", "topics of this node", NULL, topic_list},
    };

    return mr_cli_dispatch(command->path, "Topics of the local node.", commands, MR_COUNT_OF(commands), argc, argv);
}
