/* SPDX-License-Identifier: Apache-2.0 */
/* Keep a few programs running in the foreground: start them, start again at once what died, and hand on the wish to stop.
 *
 *   RUNNING --one died--> (at once, or after a pause when it dies young again and again) --> RUNNING
 *   RUNNING --SIGINT or SIGTERM--> STOPPING (SIGTERM to the first, and to the others when it has ended; a second signal: SIGKILL) --> ended
 *
 *  I1  There is never more than one child of a program.
 *  I2  Children outlive their supervisor by no more than their clean stop: they get SIGTERM when the supervisor dies.
 *  I3  A first start that ends by itself with a status is a refusal to start (its message is on stderr): it is not tried again, and all end.
 *  I4  When the first program was told to end by somebody else, all end. */
#ifndef MR_CONTROL_SUPERVISE_H
#define MR_CONTROL_SUPERVISE_H

#include "shm/base/err.h"

#include <limits.h>
#include <stdint.h>

#define MR_SUPERVISE_MAX          4
#define MR_SUPERVISE_YOUNG_MS     300   /* who dies younger than this died young */
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

struct mr_supervise_program {
    const char *name; /* for the lines that say what happened */
    const char *const *argv;
};

/**
 * Run the programs until a signal asks to stop or one refuses to start. Blocks. Takes SIGINT, SIGTERM and SIGCHLD of this process, for good.
 * @param count 1 to MR_SUPERVISE_MAX; they are started in this order
 * @param asked set to the signal that asked to stop, 0 if none did
 * @return exit status of the first program, or of the one that refused (128 + signal when it was killed); -errno when one could not be started
 */
int mr_supervise_run(const struct mr_supervise_program *programs, uint32_t count, int *asked, struct millrace_error *err) MR_MUST_USE;

#endif
