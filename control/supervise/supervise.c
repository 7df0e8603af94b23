/* SPDX-License-Identifier: Apache-2.0 */
#include "control/supervise/supervise.h"

#include "shm/base/logging.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct child {
    pid_t pid; /* 0: none */
    uint64_t start_ms;
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint32_t mr_supervise_pause_ms(uint32_t young_deaths)
{
    uint32_t pause_ms = MR_SUPERVISE_PAUSE_MS;

    if (young_deaths < MR_SUPERVISE_YOUNG_MAX)
        return 0;
    for (uint32_t i = MR_SUPERVISE_YOUNG_MAX; i < young_deaths && pause_ms < MR_SUPERVISE_PAUSE_MS_MAX; i++)
        pause_ms *= 2;
    return pause_ms < MR_SUPERVISE_PAUSE_MS_MAX ? pause_ms : MR_SUPERVISE_PAUSE_MS_MAX;
}

int mr_supervise_find(const char *program, char path[PATH_MAX], struct millrace_error *err)
{
    /* Installed: bin/millrace beside bin/ or libexec/millrace/. Built: build/control/cli/millrace and build/dataplane/. */
    static const char *const places[] = {"%s/%s", "%s/../libexec/millrace/%s", "%s/../../dataplane/%s", "%s/../dataplane/%s"};
    char self[PATH_MAX], candidate[PATH_MAX * 2];

    ssize_t bytes = readlink("/proc/self/exe", self, sizeof self - 1);
    if (bytes < 0)
        return mr_err(err, errno, "cannot read /proc/self/exe: %s; mount /proc", strerror(errno));
    self[bytes] = '\0';
    char *slash = strrchr(self, '/');
    *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(candidate, sizeof candidate, places[i], self, program);
#pragma GCC diagnostic pop
        if (access(candidate, X_OK) == 0 && realpath(candidate, path) != NULL)
            return 0;
    }
    return mr_err(err, ENOENT, "%s is neither beside millrace in '%s' nor in '%s/../libexec/millrace': build it with 'ninja -C build', "
                  "or install with 'meson install -C build'", program, self, self);
}

/* In the child, between fork and exec. */
static void become(const char *const argv[], pid_t supervisor)
{
    sigset_t none;

    /* A process group of its own: Ctrl-C reaches the supervisor only, which hands on exactly one signal. */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* I2 */
    if (getppid() != supervisor)
        _exit(127);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(argv[0], (char *const *)(uintptr_t)argv); /* execv(3) does not write to it; its prototype is older than const */
    _exit(127);
}

static int start(struct child *child, const char *const argv[], struct millrace_error *err)
{
    pid_t supervisor = getpid();

    child->start_ms = now_ms();
    pid_t pid = fork();
    if (pid < 0)
        return mr_err(err, errno, "cannot start '%s': %s", argv[0], strerror(errno));
    if (pid == 0)
        become(argv, supervisor);
    child->pid = pid;
    return 0;
}

/* Wait for a signal. @param wait_ms -1: for ever  @return its number, 0 when the time is up. */
static int next_signal(int signals, int wait_ms)
{
    struct signalfd_siginfo info;
    struct pollfd watch = {.fd = signals, .events = POLLIN};

    int ready = poll(&watch, 1, wait_ms);
    if (ready <= 0 || read(signals, &info, sizeof info) != (ssize_t)sizeof info)
        return 0;
    return (int)info.ssi_signo;
}

/* @return whether it is over; *status as a shell would see it. */
static bool reap(struct child *child, int *status)
{
    int raw;

    if (child->pid == 0 || waitpid(child->pid, &raw, WNOHANG) != child->pid)
        return false;
    child->pid = 0;
    *status = WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
    return true;
}

static void say_death(const char *name, int status, uint64_t lived_ms, uint32_t pause_ms)
{
    char how[64], when[64];

    if (status > 128)
        snprintf(how, sizeof how, "was killed by signal %d (%s)", status - 128, strsignal(status - 128));
    else
        snprintf(how, sizeof how, "ended with status %d", status);
    if (pause_ms == 0)
        snprintf(when, sizeof when, "starting it again");
    else
        snprintf(when, sizeof when, "starting it again in %u ms", pause_ms);
    mr_say_warn("%s %s after %llu.%03llu s: %s", name, how, (unsigned long long)(lived_ms / 1000), (unsigned long long)(lived_ms % 1000), when);
}

/* After a request to stop: give the child its clean stop, and no more than one. */
static int stop(struct child *child, int signals, int *status)
{
    if (child->pid == 0)
        return 0;
    kill(child->pid, SIGTERM);
    while (!reap(child, status)) {
        int number = next_signal(signals, 1000);
        if (number == SIGINT || number == SIGTERM) {
            mr_say_warn("asked twice: killing at once; what was acked is safe");
            kill(child->pid, SIGKILL);
        }
    }
    return 0;
}

int mr_supervise_run(const char *name, const char *const argv[], int *asked, struct millrace_error *err)
{
    struct child child = {0};
    uint32_t young_deaths = 0;
    bool first = true;
    int status = 0;
    sigset_t mask;

    *asked = 0;
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    int signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        return mr_err(err, errno, "signalfd: %s", strerror(errno));

    int rc = start(&child, argv, err);
    while (rc == 0) {
        int number = next_signal(signals, -1);
        if (number == SIGINT || number == SIGTERM) {
            *asked = number;
            rc = stop(&child, signals, &status);
            break;
        }
        if (!reap(&child, &status))
            continue;
        uint64_t lived_ms = now_ms() - child.start_ms;
        if (status == 0 || (first && status < 127))
            break; /* it was told to end by someone else, or I3 */
        if (status == 127) {
            rc = mr_err(err, ENOEXEC, "cannot run '%s'", argv[0]);
            break;
        }
        first = false;
        young_deaths = lived_ms < MR_SUPERVISE_YOUNG_MS ? young_deaths + 1 : 0;
        uint32_t pause_ms = mr_supervise_pause_ms(young_deaths);
        say_death(name, status, lived_ms, pause_ms);
        for (uint64_t until_ms = now_ms() + pause_ms; *asked == 0 && now_ms() < until_ms;) {
            number = next_signal(signals, (int)(until_ms - now_ms()));
            *asked = number == SIGINT || number == SIGTERM ? number : 0;
        }
        if (*asked != 0)
            break;
        rc = start(&child, argv, err);
    }
    close(signals);
    return rc != 0 ? rc : status;
}
