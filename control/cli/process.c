/* SPDX-License-Identifier: Apache-2.0 */
/* The process around a command: signals and time. */
#include "control/cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t asked; /* sig_atomic_t and volatile: what C gives a signal handler */

static void on_signal(int number)
{
    if (asked != 0)
        _exit(number == SIGINT ? MR_CLI_INTERRUPTED : MR_CLI_FAILED);
    asked = number;
}

void mr_cli_stop_install(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a blocked read must return */

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

int mr_cli_stop_asked(void)
{
    return asked;
}

int mr_cli_stop_status(void)
{
    return asked == SIGINT ? MR_CLI_INTERRUPTED : MR_CLI_DONE;
}

bool mr_cli_stdout_closed(int error_number)
{
    return error_number == EPIPE;
}

uint64_t mr_cli_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * MR_CLI_SECOND_NS + (uint64_t)now.tv_nsec;
}

int64_t mr_cli_wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
