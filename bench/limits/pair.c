/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/limits/pair.h"

#include "shm/base/atomics.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

enum start { START_WAITING, START_READY, START_FAILED };

struct pair {
    uint32_t cpu;
    mr_limit_far *far;
    void *context;
    _Atomic int start;
    struct millrace_error err;
};

static void *far_thread(void *argument)
{
    struct pair *pair = argument;

    if (mr_measure_pin(pair->cpu, &pair->err) != 0) {
        mr_store_release(&pair->start, START_FAILED);
        return NULL;
    }
    mr_store_release(&pair->start, START_READY);
    pair->far(pair->context);
    return NULL;
}

int mr_limit_pair(struct mr_limit_cpus cpus, void (*near)(void *context), mr_limit_far *far, void *context, struct millrace_error *err)
{
    struct pair pair = {.cpu = cpus.far, .far = far, .context = context};
    pthread_t thread;
    cpu_set_t before;
    int start;

    if (sched_getaffinity(0, sizeof before, &before) != 0)
        return mr_err(err, errno, "cannot read which cores this thread may use: %s", strerror(errno));
    int rc = mr_measure_pin(cpus.near, err);
    if (rc != 0)
        return rc;
    rc = pthread_create(&thread, NULL, far_thread, &pair);
    if (rc != 0) {
        (void)sched_setaffinity(0, sizeof before, &before);
        return mr_err(err, rc, "cannot start a second thread: %s", strerror(rc));
    }
    while ((start = mr_load_acquire(&pair.start)) == START_WAITING)
        usleep(50);
    if (start == START_READY)
        near(context);
    pthread_join(thread, NULL);
    (void)sched_setaffinity(0, sizeof before, &before);
    if (start == START_FAILED)
        return mr_err(err, pair.err.code, "%s", pair.err.text);
    return 0;
}
