/* SPDX-License-Identifier: Apache-2.0 */
#include "control/supervise/supervise.h"

#include "shm/base/assert.h"
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
    const struct mr_supervise_program *program;
    pid_t pid; /* 0: none */
    uint64_t start_ms, restart_ms; /* began; begins again */
    uint32_t young_deaths;
    bool died_once;
    int status; /* of the last death, as a shell would see it */
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
    static const char *const places[] = {"%s/%s", "%s/../libexec/millrace/%s", "%s/../../dataplane/%s", "%s/../dataplane/%s", "%s/../daemon/%s"};
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

static int start(struct child *child, struct millrace_error *err)
{
    const char *const *argv = child->program->argv;
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

/* @return whether it is over now */
static bool reap(struct child *child)
{
    int raw;

    if (child->pid == 0 || waitpid(child->pid, &raw, WNOHANG) != child->pid)
        return false;
    child->pid = 0;
    child->status = WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
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

/* Give each its clean stop, and no more than one; the first before the others, which it may need. */
static void stop(struct child *children, uint32_t count, int signals)
{
    bool kills = false;
    for (uint32_t i = 0; i < count; i++) {
        if (children[i].pid != 0)
            kill(children[i].pid, kills ? SIGKILL : SIGTERM);
        while (children[i].pid != 0 && !reap(&children[i])) {
            int number = next_signal(signals, 1000);
            if (number != SIGINT && number != SIGTERM)
                continue;
            if (!kills)
                mr_say_warn("asked twice: killing at once; what was acked is safe");
            kills = true;
            kill(children[i].pid, SIGKILL);
        }
    }
}

/* It died: by itself, for nobody asked us to stop. @return 0: it starts again, when its time has come; 1: all is to end; -errno with a message */
static int buried(struct child *child, bool is_first, struct millrace_error *err)
{
    uint64_t lived_ms = now_ms() - child->start_ms;
    if (child->status == 127)
        return mr_err(err, ENOEXEC, "cannot run '%s'", child->program->argv[0]);
    if ((child->status == 0 && is_first) || (!child->died_once && child->status != 0 && child->status < 127)) /* I4, I3 */
        return 1;
    child->died_once = true;
    child->young_deaths = lived_ms < MR_SUPERVISE_YOUNG_MS ? child->young_deaths + 1 : 0;
    uint32_t pause_ms = mr_supervise_pause_ms(child->young_deaths);
    say_death(child->program->name, child->status, lived_ms, pause_ms);
    child->restart_ms = now_ms() + pause_ms;
    return 0;
}

/* Start those whose time has come. @param wait_ms set to when the next one's comes; -1: none waits */
static int start_due(struct child *children, uint32_t count, int *wait_ms, struct millrace_error *err)
{
    *wait_ms = -1;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t now = now_ms();
        if (children[i].pid != 0)
            continue;
        int rc = children[i].restart_ms <= now ? start(&children[i], err) : 0;
        if (rc != 0)
            return rc;
        if (children[i].pid == 0 && (*wait_ms < 0 || children[i].restart_ms - now < (uint64_t)*wait_ms))
            *wait_ms = (int)(children[i].restart_ms - now);
    }
    return 0;
}

int mr_supervise_run(const struct mr_supervise_program *programs, uint32_t count, int *asked, struct millrace_error *err)
{
    struct child children[MR_SUPERVISE_MAX] = {0};
    int rc = 0, status = -1;
    sigset_t mask;

    *asked = 0;
    mr_assert(count >= 1 && count <= MR_SUPERVISE_MAX);
    for (uint32_t i = 0; i < count; i++)
        children[i].program = &programs[i];
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    int signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        return mr_err(err, errno, "signalfd: %s", strerror(errno));

    while (rc == 0 && *asked == 0) {
        int wait_ms;
        rc = start_due(children, count, &wait_ms, err);
        int number = rc == 0 ? next_signal(signals, wait_ms) : 0;
        if (number == SIGINT || number == SIGTERM)
            *asked = number;
        for (uint32_t i = 0; i < count && rc == 0 && *asked == 0; i++) {
            if (!reap(&children[i]))
                continue;
            rc = buried(&children[i], i == 0, err);
            if (rc == 1)
                status = children[i].status;
        }
    }
    stop(children, count, signals);
    close(signals);
    return rc < 0 ? rc : status >= 0 ? status : children[0].status;
}
