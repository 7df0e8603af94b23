/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/config/daemon.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "shm/base/logging.h"

#define SETS_MAX 64u

static int usage(FILE *out, const struct mr_daemon *daemon)
{
    fprintf(out, "usage: %s [--config FILE] [--data DIR] [--set key=value]... [--log-format text|json]\n\n"
                 "%s\n\n"
                 "  --config FILE      key=value lines, as Kafka's server.properties; `millrace config --all` lists the keys\n"
                 "  --data DIR         where the log lies (log.dirs); default ./millrace-data\n"
                 "  --set key=value    one value, over the file's\n"
                 "  --log-format F     text (default) or json, to stderr\n"
                 "  --version, --help\n", daemon->name, daemon->about);
    return out == stderr ? 2 : 0;
}

int mr_daemon_begin(const struct mr_daemon *daemon, int argc, char **argv, struct mr_node_config *node, struct mr_config *origin, bool *has_file)
{
    static const struct option long_options[] = {{"config", required_argument, NULL, 'c'}, {"data", required_argument, NULL, 'd'},
                                                 {"set", required_argument, NULL, 's'},    {"log-format", required_argument, NULL, 'l'},
                                                 {"help", no_argument, NULL, 'h'},         {"version", no_argument, NULL, 'v'},
                                                 {NULL, 0, NULL, 0}};
    const char *config_path = NULL, *sets[SETS_MAX];
    uint32_t set_count = 0;
    enum mr_logging_format format = MR_LOGGING_TEXT;
    struct millrace_error err = {0};
    char data[600];
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (option == 'h')
            return usage(stdout, daemon);
        if (option == 'v') {
            printf("%s %s\n", daemon->name, daemon->version);
            return 0;
        }
        if (option == 'c')
            config_path = optarg;
        else if (option == 'l' && strcmp(optarg, "json") == 0)
            format = MR_LOGGING_JSON;
        else if (option == 'l' && strcmp(optarg, "text") == 0)
            format = MR_LOGGING_TEXT;
        else if ((option == 's' || option == 'd') && set_count < SETS_MAX) {
            if (option == 'd')
                snprintf(data, sizeof data, "log.dirs=%s", optarg);
            sets[set_count++] = option == 'd' ? data : optarg;
        } else
            return usage(stderr, daemon);
    }
    if (optind != argc)
        return usage(stderr, daemon);
    mr_logging_init(daemon->name, MR_LOGGING_INFO, format);
    if (mr_node_config_load(node, origin, config_path, sets, set_count, &err) != 0) {
        mr_say_error("cannot start: %s", err.text);
        return 1;
    }
    mr_logging_set_level(node->logging_level);
    *has_file = config_path != NULL;
    return MR_DAEMON_GO_ON;
}

int mr_daemon_signals(struct millrace_error *err)
{
    sigset_t signals;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    int fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd >= 0 ? fd : mr_err(err, errno, "signalfd: %s", strerror(errno));
}
