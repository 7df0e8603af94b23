/* SPDX-License-Identifier: Apache-2.0 */
/* millrace config: what a node would run with, and who said so. */
#include "control/cli/commands.h"

#include "dataplane/config/config.h"
#include "shm/base/bits.h"
#include "shm/base/json.h"

#include <stdio.h>
#include <string.h>

const char mr_cmd_config_details[] =
    "Prints each key=value below a comment that says where it came from; the output is itself a configuration file.\n"
    "Precedence: default, then the file, then --set.\n\n"
    "  millrace config --config millrace.properties      what the node would run with\n"
    "  millrace config --all                             also what each key means and allows\n";

static void print_text(const struct mr_config *origin, bool all)
{
    char text[512];

    for (uint32_t i = 0; i < origin->table->key_count; i++) {
        const struct mr_config_key *key = &origin->table->keys[i];
        if (all) {
            printf("# %s\n#   allowed: %s\n", key->doc, mr_config_allowed(key, text, sizeof text));
            if (key->topic_name != NULL)
                printf("#   topic config: %s\n", key->topic_name);
        }
        /* The origin stands on a line of its own above: behind the value it would become part of it. */
        printf("#   from: %s\n%s=%s\n%s", mr_config_origin(origin, i, text, sizeof text), key->name, origin->value[i].text, all ? "\n" : "");
    }
}

static void print_json(const struct mr_config *origin)
{
    char text[512], value[6 * MR_CONFIG_TEXT_MAX], from[6 * 512];

    printf("[\n");
    for (uint32_t i = 0; i < origin->table->key_count; i++) {
        const struct mr_config_key *key = &origin->table->keys[i];
        mr_json_escape(origin->value[i].text, strlen(origin->value[i].text), value, sizeof value);
        mr_config_origin(origin, i, text, sizeof text);
        mr_json_escape(text, strlen(text), from, sizeof from);
        printf("  {\"key\":\"%s\",\"value\":\"%s\",\"from\":\"%s\",\"default\":\"%s\",\"doc\":\"", key->name, value, from, key->initial);
        mr_json_escape(key->doc, strlen(key->doc), value, sizeof value);
        printf("%s\"}%s\n", value, i + 1 < origin->table->key_count ? "," : "");
    }
    printf("]\n");
}

int mr_cmd_config(const struct mr_cli_command *command, int argc, char **argv)
{
    static struct mr_node_config node;
    static struct mr_config origin;
    struct mr_cli_texts sets = {0}, words;
    const char *config = NULL;
    bool all = false, json = false;
    const struct mr_cli_option options[] = {
        {"config", 'c', MR_CLI_TEXT, "FILE", &config, "the file a node would be started with"},
        {"set", 's', MR_CLI_TEXTS, "key=value", &sets, "as of 'millrace up'; may be repeated"},
        {"all", 'a', MR_CLI_FLAG, NULL, &all, "also what each key means and allows"},
        {"json", 0, MR_CLI_FLAG, NULL, &json, "as JSON"},
    };
    struct millrace_error err = {0};

    int rc = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 0, 0);
    if (rc != MR_CLI_GO_ON)
        return rc;
    if (mr_node_config_load(&node, &origin, config, sets.text, sets.count, &err) != 0)
        return mr_cli_fail("%s", err.text);
    if (json)
        print_json(&origin);
    else
        print_text(&origin, all);
    if (origin.ignored_count > 0)
        fprintf(stderr, "millrace: warning: known from Kafka, not needed here and ignored: %s\n", origin.ignored);
    return MR_CLI_DONE;
}
