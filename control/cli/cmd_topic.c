/* SPDX-License-Identifier: Apache-2.0 */
/* millrace topic create, list, describe, alter, partitions, trim, delete. */
#include "control/cli/commands.h"

#include "control/cli/sender.h"
#include "dataplane/config/config.h"
#include "shm/base/bits.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARTITIONS_MAX 10000

#define SOCKET_OPTION(target) \
    {"socket", 0, MR_CLI_TEXT, "PATH", (target), "the node's socket (default: MILLRACE_SOCKET, or the local node's)"}

/* The same table as the node's checks each setting before it is sent, so that a typing mistake is found here with its nearest key. */
static int join_configs(const struct mr_cli_texts *settings, const struct mr_cli_texts *forgotten, char out[MR_TOPIC_CONFIG_BYTES],
                        struct millrace_error *err)
{
    static struct mr_node_config node;
    static struct mr_config origin;
    size_t used = 0;

    int rc = mr_node_config_load(&node, &origin, NULL, NULL, 0, err);
    out[0] = '\0';
    for (uint32_t i = 0; i < settings->count + forgotten->count && rc == 0; i++) {
        const char *text = i < settings->count ? settings->text[i] : forgotten->text[i - settings->count], *equals = strchr(text, '=');
        char name[128];
        if (i < settings->count && equals == NULL)
            return mr_err(err, EINVAL, "--config %s: it must be key=value", text);
        if (i >= settings->count && equals != NULL)
            return mr_err(err, EINVAL, "--default %s: it must be a key alone", text);
        if (equals != NULL) {
            snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
            rc = mr_topic_config_set(&node.topic, name, equals + 1, err);
        }
        if (rc == 0 && (strchr(text, '\n') != NULL || used + strlen(text) + 2 > MR_TOPIC_CONFIG_BYTES))
            return mr_err(err, EINVAL, "--config: all together are longer than %u bytes, or one holds a newline", MR_TOPIC_CONFIG_BYTES - 1);
        if (rc == 0)
            used += (size_t)snprintf(out + used, MR_TOPIC_CONFIG_BYTES - used, "%s\n", text);
    }
    return rc;
}

/* What destroys asks, if somebody is there to answer. @return whether to go on */
static bool confirm(bool yes, const char *question)
{
    char answer[16];

    if (yes || !isatty(STDIN_FILENO))
        return true;
    fprintf(stderr, "%s [y/N] ", question);
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

/* --partitions N and its like. */
static bool is_partition_count(const struct mr_cli_command *command, const char *text, uint64_t *count, int *status)
{
    if (mr_cli_parse_count(text, count) && *count >= 1 && *count <= PARTITIONS_MAX)
        return true;
    *status = mr_cli_usage(command, "%s partitions: it must be 1 to %d", text, PARTITIONS_MAX);
    return false;
}

static int topic_create(const struct mr_cli_command *command, int argc, char **argv)
{
    struct mr_cli_texts settings = {0}, words;
    const char *socket_path = NULL;
    uint64_t partitions = UINT64_MAX, replicas = 1;
    const struct mr_cli_option options[] = {
        {"partitions", 'p', MR_CLI_COUNT, "N", &partitions, "default: the node's num.partitions"},
        {"replicas", 0, MR_CLI_COUNT, "N", &replicas, "1 in this version"},
        {"config", 'c', MR_CLI_TEXTS, "key=value", &settings, "a topic config; may be repeated"},
        SOCKET_OPTION(&socket_path),
    };
    struct millrace_client *client = NULL;
    struct millrace_error err = {0};
    const struct mr_cli_texts none = {0};
    char config[MR_TOPIC_CONFIG_BYTES];

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 1, 1);
    if (status != MR_CLI_GO_ON)
        return status;
    if (partitions == UINT64_MAX)
        partitions = 0; /* the node's default */
    else if (partitions == 0 || partitions > PARTITIONS_MAX)
        return mr_cli_usage(command, "--partitions %llu: it must be 1 to %d", (unsigned long long)partitions, PARTITIONS_MAX);
    if (replicas != 1)
        return mr_cli_fail("--replicas %llu: replication is not in this version; a node holds the only replica", (unsigned long long)replicas);
    int rc = join_configs(&settings, &none, config, &err);
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

static long long number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static int print_description(const char *text)
{
    json_error_t why;
    const char *name = NULL, *id = NULL, *durability = NULL, *lines = NULL;
    json_t *topic = json_loads(text, 0, &why);
    const json_t *log = json_object_get(topic, "log");

    if (json_unpack(topic, "{s:s, s:s, s:s, s:s}", "name", &name, "id", &id, "durability", &durability, "config", &lines) != 0 || !json_is_array(log)) {
        json_decref(topic);
        return mr_cli_fail("the node's description cannot be read: does its version differ from this command's?");
    }
    printf("topic %s, id %s, %zu partition%s\n", name, id, json_array_size(log), json_array_size(log) == 1 ? "" : "s");
    printf("  millrace.durability=%s  segment.bytes=%lld  retention.bytes=%lld  retention.ms=%lld  max.message.bytes=%lld\n", durability,
           number_of(topic, "segment.bytes"), number_of(topic, "retention.bytes"), number_of(topic, "retention.ms"),
           number_of(topic, "max.message.bytes"));
    for (const char *line = lines; *line != '\0'; line += strcspn(line, "\n") + 1)
        printf("  %s %.*s\n", line == lines ? "its own:" : "        ", (int)strcspn(line, "\n"), line);
    printf("%9s  %-7s  %12s  %12s  %12s  %12s  %7s  %s\n", "PARTITION", "STATE", "LOG START", "COMMITTED", "DURABLE", "LOG END", "REACTOR", "DIRECTORY");
    for (size_t i = 0; i < json_array_size(log); i++) {
        const json_t *one = json_array_get(log, i);
        const char *state = json_string_value(json_object_get(one, "state")), *directory = json_string_value(json_object_get(one, "directory"));
        printf("%9lld  %-7s  %12lld  %12lld  %12lld  %12lld  %7lld  %s\n", number_of(one, "partition"), state != NULL ? state : "?",
               number_of(one, "log.start"), number_of(one, "committed"), number_of(one, "durable"), number_of(one, "log.end"), number_of(one, "reactor"),
               directory != NULL ? directory : "?");
    }
    json_decref(topic);
    return MR_CLI_DONE;
}

/* What the node says of all topics, or of one, as it came or for people. */
static int show(const struct mr_cli_command *command, int argc, char **argv, bool of_one, int (*print)(const char *text))
{
    const char *socket_path = NULL;
    bool json = false;
    const struct mr_cli_option options[] = {
        {"json", 0, MR_CLI_FLAG, NULL, &json, "as JSON, with every field"},
        SOCKET_OPTION(&socket_path),
    };
    struct millrace_client *client = NULL;
    struct millrace_error err = {0};
    struct mr_cli_texts words;
    char *text = NULL;

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, of_one, of_one);
    if (status != MR_CLI_GO_ON)
        return status;
    int rc = mr_cli_attach(&client, socket_path, &err);
    if (rc == 0)
        rc = of_one ? millrace_topic_describe(client, words.text[0], &text, &err) : millrace_topic_list(client, &text, &err);
    millrace_detach(client);
    if (rc != 0)
        return mr_cli_fail("%s", err.text);
    if (json)
        printf("%s\n", text);
    else
        status = print(text);
    free(text);
    return json ? MR_CLI_DONE : status;
}

static int topic_list(const struct mr_cli_command *command, int argc, char **argv)
{
    return show(command, argc, argv, false, print_table);
}

static int topic_describe(const struct mr_cli_command *command, int argc, char **argv)
{
    return show(command, argc, argv, true, print_description);
}

static int topic_alter(const struct mr_cli_command *command, int argc, char **argv)
{
    struct mr_cli_texts settings = {0}, forgotten = {0}, words;
    const char *socket_path = NULL;
    const struct mr_cli_option options[] = {
        {"config", 'c', MR_CLI_TEXTS, "key=value", &settings, "a topic config; may be repeated"},
        {"default", 0, MR_CLI_TEXTS, "key", &forgotten, "the node's value holds again; may be repeated"},
        SOCKET_OPTION(&socket_path),
    };
    struct millrace_client *client = NULL;
    struct millrace_error err = {0};
    char config[MR_TOPIC_CONFIG_BYTES];

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 1, 1);
    if (status != MR_CLI_GO_ON)
        return status;
    if (settings.count + forgotten.count == 0)
        return mr_cli_usage(command, "nothing to change: give --config key=value, or --default key");
    int rc = join_configs(&settings, &forgotten, config, &err);
    if (rc == 0)
        rc = mr_cli_attach(&client, socket_path, &err);
    if (rc == 0)
        rc = millrace_topic_alter(client, words.text[0], config, &err);
    millrace_detach(client);
    if (rc != 0)
        return mr_cli_fail("%s", err.text);
    fprintf(stderr, "altered topic '%s'\n", words.text[0]);
    return MR_CLI_DONE;
}

static int topic_partitions(const struct mr_cli_command *command, int argc, char **argv)
{
    const char *socket_path = NULL;
    const struct mr_cli_option options[] = {SOCKET_OPTION(&socket_path)};
    struct millrace_client *client = NULL;
    struct millrace_error err = {0};
    struct mr_cli_texts words;
    uint64_t count;

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 2, 2);
    if (status != MR_CLI_GO_ON || !is_partition_count(command, words.text[1], &count, &status))
        return status;
    int rc = mr_cli_attach(&client, socket_path, &err);
    if (rc == 0)
        rc = millrace_topic_add_partitions(client, words.text[0], (uint32_t)count, &err);
    millrace_detach(client);
    if (rc != 0)
        return mr_cli_fail("%s", err.text);
    fprintf(stderr, "topic '%s' has %llu partitions now; programs see them when they open it anew\n", words.text[0], (unsigned long long)count);
    return MR_CLI_DONE;
}

static int topic_delete(const struct mr_cli_command *command, int argc, char **argv)
{
    const char *socket_path = NULL;
    bool yes = false;
    const struct mr_cli_option options[] = {
        {"yes", 'y', MR_CLI_FLAG, NULL, &yes, "do not ask"},
        SOCKET_OPTION(&socket_path),
    };
    struct millrace_client *client = NULL;
    struct millrace_error err = {0};
    struct mr_cli_texts words;
    char question[320];

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 1, 1);
    if (status != MR_CLI_GO_ON)
        return status;
    snprintf(question, sizeof question, "delete topic '%s' and all its records?", words.text[0]);
    if (!confirm(yes, question))
        return mr_cli_fail("nothing was deleted");
    int rc = mr_cli_attach(&client, socket_path, &err);
    if (rc == 0)
        rc = millrace_topic_delete(client, words.text[0], &err);
    millrace_detach(client);
    if (rc != 0)
        return mr_cli_fail("%s", err.text);
    fprintf(stderr, "deleted topic '%s'\n", words.text[0]);
    return MR_CLI_DONE;
}

/* How many partitions a topic has; -errno with a message. */
static int count_partitions(struct millrace_client *client, const char *topic, struct millrace_error *err)
{
    char *text;
    int rc = millrace_topic_describe(client, topic, &text, err);
    if (rc != 0)
        return rc;
    json_t *description = json_loads(text, 0, NULL);
    rc = (int)json_integer_value(json_object_get(description, "partitions"));
    json_decref(description);
    free(text);
    return rc;
}

static bool parse_offset(const char *text, uint64_t *offset)
{
    char *end;
    if (strcmp(text, "end") == 0) {
        *offset = UINT64_MAX;
        return true;
    }
    errno = 0;
    *offset = strtoull(text, &end, 10);
    return errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0' && *offset <= INT64_MAX;
}

static int topic_trim(const struct mr_cli_command *command, int argc, char **argv)
{
    const char *socket_path = NULL, *before = NULL, *partition_text = NULL;
    bool yes = false;
    const struct mr_cli_option options[] = {
        {"before", 0, MR_CLI_TEXT, "OFFSET|end", &before, "records below this offset go; end: all that are committed"},
        {"partition", 'p', MR_CLI_TEXT, "N", &partition_text, "of this partition only (default: of all)"},
        {"yes", 'y', MR_CLI_FLAG, NULL, &yes, "do not ask"},
        SOCKET_OPTION(&socket_path),
    };
    struct millrace_client *client = NULL;
    struct millrace_error err = {0};
    struct mr_cli_texts words;
    uint64_t offset = 0, partition = 0;
    char question[320];

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 1, 1);
    if (status != MR_CLI_GO_ON)
        return status;
    if (before == NULL || !parse_offset(before, &offset))
        return mr_cli_usage(command, before == NULL ? "--before is missing: which offset?" : "--before %s: it must be an offset, or end", before);
    if (partition_text != NULL && (!mr_cli_parse_count(partition_text, &partition) || partition >= PARTITIONS_MAX))
        return mr_cli_usage(command, "--partition %s: it must be 0 to %d", partition_text, PARTITIONS_MAX - 1);
    snprintf(question, sizeof question, "delete the records of topic '%s' before %s?", words.text[0], before);
    if (!confirm(yes, question))
        return mr_cli_fail("nothing was deleted");
    int rc = mr_cli_attach(&client, socket_path, &err);
    int count = rc == 0 && partition_text == NULL ? count_partitions(client, words.text[0], &err) : 1;
    rc = count < 0 ? count : rc;
    for (int p = 0; p < count && rc == 0; p++)
        rc = millrace_topic_trim(client, words.text[0], (uint32_t)partition + (uint32_t)p, offset, &err);
    millrace_detach(client);
    if (rc != 0)
        return mr_cli_fail("%s", err.text);
    fprintf(stderr, "trimmed topic '%s'\n", words.text[0]);
    return MR_CLI_DONE;
}

int mr_cmd_topic(const struct mr_cli_command *command, int argc, char **argv)
{
    static const struct mr_cli_command commands[] = {
        {"create", "millrace topic create", "NAME [--partitions N] [--config key=value]...", "make a topic",
         "  millrace topic create orders --partitions 8\n"
         "  millrace topic create ticks --config millrace.durability=leader       a feed: sub-microsecond hops, flushed within flush.ms\n",
         topic_create},
        {"list", "millrace topic list", "[--json]", "topics of this node", NULL, topic_list},
        {"describe", "millrace topic describe", "NAME [--json]", "its configuration, and where each partition stands", NULL, topic_describe},
        {"alter", "millrace topic alter", "NAME [--config key=value]... [--default key]...", "change its configuration while it is used",
         "  millrace topic alter orders --config retention.bytes=8GiB\n", topic_alter},
        {"partitions", "millrace topic partitions", "NAME N", "give it more partitions: N in all",
         "  millrace topic partitions orders 16\n\n"
         "Records with a key may go to another partition than before, as with Kafka.\n", topic_partitions},
        {"trim", "millrace topic trim", "NAME --before OFFSET|end [--partition N]", "delete its oldest records",
         "  millrace topic trim orders --partition 0 --before 1000000\n\n"
         "The space comes free by whole segments.\n", topic_trim},
        {"delete", "millrace topic delete", "NAME [--yes]", "delete it and all its records", NULL, topic_delete},
    };

    return mr_cli_dispatch(command->path, "Topics of the local node.", commands, MR_COUNT_OF(commands), argc, argv);
}
