/* SPDX-License-Identifier: Apache-2.0 */
/* millrace up: check the configuration, say where the data lies, and keep millraced and millrace-control running. */
#include "control/cli/commands.h"

#include "control/supervise/supervise.h"
#include "dataplane/config/config.h"
#include "shm/base/bits.h"
#include "shm/base/logging.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOPICS_MAX 4096

const char mr_cmd_up_details[] =
    "Runs in the foreground and restarts at once what died. Ctrl-C or SIGTERM stops cleanly, a second one at once; neither loses an\n"
    "acked record. Without --config it runs on embedded defaults ('millrace config' prints them).\n\n"
    "  millrace up                                        data in ./millrace-data\n"
    "  millrace up --data /srv/millrace --set millrace.reactors=0,2\n"
    "  millrace up --config /etc/millrace/millrace.properties\n";

/* "orders-3" -> "orders"; false when the name is not that of a partition's directory. */
static bool topic_of(const char *name, char *topic, size_t topic_bytes)
{
    const char *dash = strrchr(name, '-');

    if (dash == NULL || dash == name || dash[1] == '\0' || dash[1 + strspn(dash + 1, "0123456789")] != '\0')
        return false;
    snprintf(topic, topic_bytes, "%.*s", (int)(dash - name), name);
    return true;
}

/* @return how many topics have a partition there, -1 when there is no such directory, or nothing in it. */
static int count_topics(const char *path)
{
    static char seen[TOPICS_MAX][256];
    uint32_t count = 0, entries = 0;

    DIR *folder = opendir(path);
    if (folder == NULL)
        return -1;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char topic[256];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        entries++;
        bool known = !topic_of(entry->d_name, topic, sizeof topic);
        for (uint32_t i = 0; i < count && !known; i++)
            known = strcmp(seen[i], topic) == 0;
        if (!known && count < TOPICS_MAX)
            memcpy(seen[count++], topic, sizeof topic);
    }
    closedir(folder);
    return entries == 0 ? -1 : (int)count;
}

static int absolute(const char *path, char *out, size_t out_bytes)
{
    char here[PATH_MAX];

    if (path[0] == '/') {
        snprintf(out, out_bytes, "%s", path);
        return 0;
    }
    if (getcwd(here, sizeof here) == NULL)
        return -errno;
    path += strncmp(path, "./", 2) == 0 ? 2 : 0;
    snprintf(out, out_bytes, "%s/%s", here, path);
    return 0;
}

static void say_where(const struct mr_node_config *node)
{
    for (uint32_t i = 0; i < node->log_dirs.count; i++) {
        char path[PATH_MAX + MR_CONFIG_ITEM_MAX];
        if (absolute(node->log_dirs.item[i], path, sizeof path) != 0)
            continue;
        int topics = count_topics(path);
        if (topics < 0)
            mr_say_info("data in %s (new)", path);
        else
            mr_say_info("data in %s (existing, %d topic%s)", path, topics, topics == 1 ? "" : "s");
    }
}

int mr_cmd_up(const struct mr_cli_command *command, int argc, char **argv)
{
    static struct mr_node_config node;
    static struct mr_config origin;
    static char data_set[PATH_MAX + 16];
    struct mr_cli_texts sets = {0}, words;
    const char *config = NULL, *data = NULL, *log_format = "text";
    const struct mr_cli_option options[] = {
        {"config", 'c', MR_CLI_TEXT, "FILE", &config, "key=value lines as in Kafka's server.properties"},
        {"data", 'd', MR_CLI_TEXT, "DIR", &data, "where the log lies (default ./millrace-data)"},
        {"set", 's', MR_CLI_TEXTS, "key=value", &sets, "override one key of the configuration; may be repeated"},
        {"log-format", 0, MR_CLI_TEXT, "text|json", &log_format, "how log lines on stderr look"},
    };
    struct millrace_error err = {0};
    char data_plane[PATH_MAX], control[PATH_MAX];
    const char *child[2 * MR_CLI_TEXTS_MAX + 8], *control_child[MR_COUNT_OF(child)];
    int count = 0, asked;

    int rc = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 0, 0);
    if (rc != MR_CLI_GO_ON)
        return rc;
    if (strcmp(log_format, "text") != 0 && strcmp(log_format, "json") != 0)
        return mr_cli_usage(command, "--log-format %s: it must be text or json", log_format);
    if (data != NULL) {
        char path[PATH_MAX];
        if (strchr(data, ',') != NULL)
            return mr_cli_usage(command, "--data %s: one directory, without a comma; several go into log.dirs", data);
        if (sets.count == MR_CLI_TEXTS_MAX || absolute(data, path, sizeof path) != 0)
            return mr_cli_fail("cannot start: --data %s: its absolute path cannot be found", data);
        snprintf(data_set, sizeof data_set, "log.dirs=%s", path);
        sets.text[sets.count++] = data_set;
    }
    mr_logging_init("millrace", MR_LOGGING_INFO, log_format[0] == 'j' ? MR_LOGGING_JSON : MR_LOGGING_TEXT);
    if (mr_node_config_load(&node, &origin, config, sets.text, sets.count, &err) != 0)
        return mr_cli_fail("cannot start: %s", err.text);
    mr_logging_set_level(node.logging_level);
    if (mr_supervise_find("millraced", data_plane, &err) != 0 || mr_supervise_find("millrace-control", control, &err) != 0)
        return mr_cli_fail("cannot start: %s", err.text);
    say_where(&node);

    child[count++] = data_plane;
    if (config != NULL) {
        child[count++] = "--config";
        child[count++] = config;
    }
    for (uint32_t i = 0; i < sets.count; i++) {
        child[count++] = "--set";
        child[count++] = sets.text[i];
    }
    if (log_format[0] == 'j') {
        child[count++] = "--log-format";
        child[count++] = "json";
    }
    child[count] = NULL;
    memcpy(control_child, child, sizeof child);
    control_child[0] = control;
    const struct mr_supervise_program programs[] = {{"millraced", child}, {"millrace-control", control_child}};
    rc = mr_supervise_run(programs, MR_COUNT_OF(programs), &asked, &err);
    if (rc < 0)
        return mr_cli_fail("%s", err.text);
    if (asked != 0)
        return asked == SIGINT ? MR_CLI_INTERRUPTED : rc == 0 || rc == 128 + SIGTERM ? MR_CLI_DONE : MR_CLI_FAILED;
    return rc == 0 ? MR_CLI_DONE : rc == MR_CLI_USAGE ? MR_CLI_USAGE : MR_CLI_FAILED;
}
