/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/door/guard.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "shm/base/atomics.h"

struct arena {
    _Atomic uintptr_t base; /* 0: free. Stored last at add, first at remove */
    _Atomic uint64_t bytes;
    _Atomic uint32_t hit;
};

/* Static: a signal handler reaches nothing else safely. Written by the door, read by whichever thread the signal strikes. */
static struct arena arenas[MR_GUARD_ARENAS_MAX];
static _Atomic uint32_t arena_end; /* none is in use from here on */
static _Atomic uint32_t any_hit;

static void on_bus_error(int signal_number, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr;
    uint32_t end = mr_load_acquire(&arena_end);
    (void)context;
    for (uint32_t i = 0; i < end; i++) {
        uintptr_t base = mr_load_acquire(&arenas[i].base);
        uint64_t bytes = mr_load_relaxed(&arenas[i].bytes);
        if (base == 0 || address < base || address - base >= bytes)
            continue;
        if (mmap((void *)base, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            break;
        mr_store_release(&arenas[i].hit, 1);
        mr_store_release(&any_hit, 1);
        return;
    }
    /* Not ours: the default action, at the very instruction, so that the core dump shows it. */
    signal(signal_number, SIG_DFL);
}

int mr_guard_install(struct millrace_error *err)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, NULL) == 0 ? 0 : mr_err(err, errno, "sigaction(SIGBUS): %s", strerror(errno));
}

int mr_guard_add(void *base, uint64_t bytes)
{
    for (uint32_t i = 0; i < MR_GUARD_ARENAS_MAX; i++) {
        if (mr_load_relaxed(&arenas[i].base) != 0)
            continue;
        mr_store_relaxed(&arenas[i].bytes, bytes);
        mr_store_relaxed(&arenas[i].hit, 0);
        mr_store_release(&arenas[i].base, (uintptr_t)base);
        if (i >= mr_load_relaxed(&arena_end))
            mr_store_release(&arena_end, i + 1);
        return (int)i;
    }
    return -1;
}

void mr_guard_remove(int arena)
{
    if (arena >= 0)
        mr_store_release(&arenas[arena].base, 0);
}

bool mr_guard_was_hit(int arena)
{
    return arena >= 0 && mr_load_acquire(&arenas[arena].hit) != 0;
}

bool mr_guard_any_hit(void)
{
    return mr_load_relaxed(&any_hit) != 0 && mr_exchange_acq_rel(&any_hit, 0) != 0;
}
