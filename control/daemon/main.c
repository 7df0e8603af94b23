/* SPDX-License-Identifier: Apache-2.0 */
/* millrace-control: the control plane of one node (daemon.h), as a process. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "control/daemon/daemon.h"
#include "shm/base/logging.h"

#define SETS_MAX 64u

static int usage(FILE *out)
{
    fprintf(out, "usage: millrace-control [--config FILE] [--data DIR] [--set key=value]... [--log-format text|json]\n\n"
                 "The control plane of a Millrace node: decides about topics, in a store beside the log. `millrace up` starts it and keeps it running.\n\n"
                 "  --config FILE      as millraced's, of the same node\n"
                 "  --data DIR         likewise\n"
                 "  --set key=value    likewise\n"
                 "  --log-format F     text (default) or json, to stderr\n"
                 "  --version, --help\n");
    return out == stderr ? 2 : 0;
}

int main(int argc, char **argv)
{
    static struct mr_node_config config;
    static struct mr_config origin;
    struct mr_control *control = NULL;
    static const struct option long_options[] = {{"config", required_argument, NULL, 'c'}, {"data", required_argument, NULL, 'd'},
                                                 {"set", required_argument, NULL, 's'},    {"log-format", required_argument, NULL, 'l'},
                                                 {"help", no_argument, NULL, 'h'},         {"version", no_argument, NULL, 'v'},
                                                 {NULL, 0, NULL, 0}};
    const char *config_path = NULL, *sets[SETS_MAX];
    uint32_t set_count = 0;
    enum mr_logging_format format = MR_LOGGING_TEXT;
    struct millrace_error err = {0};
    char data[600];
    sigset_t signals;
    int option, rc = 0;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (option == 'h')
            return usage(stdout);
        if (option == 'v') {
            printf("millrace-control %s\n", MR_VERSION);
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
            return usage(stderr);
    }
    if (optind != argc)
        return usage(stderr);
    mr_logging_init("millrace-control", MR_LOGGING_INFO, format);
    if (mr_node_config_load(&config, &origin, config_path, sets, set_count, &err) != 0) {
        mr_say_error("cannot start: %s", err.text);
        return 1;
    }
    mr_logging_set_level(config.logging_level);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signal_fd < 0)
        rc = mr_err(&err, errno, "signalfd: %s", strerror(errno));
    if (rc == 0)
        rc = mr_control_new(&control, &config, &err);
    while (rc == 0)
        rc = mr_control_round(control, signal_fd, &err);
    if (rc < 0)
        mr_say_error("%s", err.text);
    mr_control_free(control);
    return rc < 0;
}
