/* SPDX-License-Identifier: Apache-2.0 */
/* Run a command of `millrace` in a process of its own, as a shell would: input from a string, output into strings, bounded in time. */
#ifndef MR_TESTS_SUPPORT_RUN_COMMAND_H
#define MR_TESTS_SUPPORT_RUN_COMMAND_H

#include "control/cli/cli.h"
#include "tests/support/unit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMAND_SECONDS_MAX 20

typedef int command_run(const struct mr_cli_command *command, int argc, char **argv);

static char out[65536], said[8192]; /* stdout and stderr of the last command */
static char folder[64];             /* the test's own; removed with it */

static inline int command_folder_make(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/mr_cli_XXXXXX");
    return mkdtemp(folder) == NULL;
}

static inline int command_folder_remove(void **state)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static inline void command_slurp(const char *name, char *text, size_t room)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, room - 1);
    text[n < 0 ? 0 : n] = '\0';
    if (fd >= 0)
        close(fd);
}

static inline void command_redirect(int fd, const char *name, int flags)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    int file = open(path, flags, 0600);
    if (file < 0 || dup2(file, fd) != fd)
        _exit(99);
}

static inline pid_t command_start(command_run *run, const char *input, const char *const *arguments)
{
    char path[128];

    snprintf(path, sizeof path, "%s/in", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(input, file);
    fclose(file);
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    char *argv[16];
    int argc = 0;
    for (; arguments[argc] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)arguments[argc];
    command_redirect(0, "in", O_RDONLY);
    command_redirect(1, "out", O_WRONLY | O_CREAT | O_TRUNC);
    command_redirect(2, "err", O_WRONLY | O_CREAT | O_TRUNC);
    alarm(COMMAND_SECONDS_MAX);
    const struct mr_cli_command command = {"x", "millrace x", "", "", NULL, run};
    int status = run(&command, argc, argv);
    fflush(NULL);
    _exit(status);
}

/* @return its status, 256 + signal when it was killed. */
static inline int command_finish(pid_t pid)
{
    int status;

    waitpid(pid, &status, 0);
    command_slurp("out", out, sizeof out);
    command_slurp("err", said, sizeof said);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

#define RUN(run, input, ...) command_finish(command_start(run, input, (const char *const[]){__VA_ARGS__ __VA_OPT__(,) NULL}))

static inline void says(const char *part)
{
    if (strstr(said, part) == NULL)
        fail_msg("'%s' is not in: %s", part, said);
}

#endif
