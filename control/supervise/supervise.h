/* SPDX-License-Identifier: Apache-2.0 */
/* Keep one program running in the foreground: start it, start it again at once when it dies, and hand on the wish to stop.
 *
 *   RUNNING --it died--> (at once, or after a pause when it dies young again and again) --> RUNNING
 *   RUNNING --SIGINT or SIGTERM--> STOPPING (SIGTERM to the child; a second signal: SIGKILL) --> ended
 *
 *  I1  There is never more than one child.
 *  I2  The child outlives its supervisor by no more than its clean stop: it gets SIGTERM when the supervisor dies.
 *  I3  A first start that ends by itself with a status is a refusal to start (its message is on stderr), and is not tried again. */
#ifndef MR_CONTROL_SUPERVISE_H
#define MR_CONTROL_SUPERVISE_H

#include "shm/base/err.h"

#include <limits.h>
#include <stdint.h>

#define MR_SUPERVISE_YOUNG_MS     1000  /* who dies younger than this died young */
#define MR_SUPERVISE_YOUNG_MAX    3     /* so many times in a row before the first pause */
#define MR_SUPERVISE_PAUSE_MS     100   /* doubles up to */
#define MR_SUPERVISE_PAUSE_MS_MAX 10000

/** How the next start waits: a pure function, so that its promise is a test. @param young_deaths in a row. @return milliseconds. */
uint32_t mr_supervise_pause_ms(uint32_t young_deaths);

/**
 * Find a program beside this one, in the build tree or where it is installed.
 * @param path filled with an absolute path
 * @return 0; -ENOENT: the message names the places that were tried
 */
int mr_supervise_find(const char *program, char path[PATH_MAX], struct millrace_error *err) MR_MUST_USE;

/**
 * Run argv[0] until a signal asks to stop or it refuses to start. Blocks. Takes SIGINT, SIGTERM and SIGCHLD of this process, for good.
 * @param name  of the program, for the lines that say what happened
 * @param asked set to the signal that asked to stop, 0 if none did
 * @return exit status of the last child (128 + signal when it was killed), or -errno when it could not be started
 */
int mr_supervise_run(const char *name, const char *const argv[], int *asked, struct millrace_error *err) MR_MUST_USE;

#endif
