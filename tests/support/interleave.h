/* SPDX-License-Identifier: Apache-2.0 */
/* Every interleaving of two threads, at every access to shared memory. For tests that define MR_ATOMICS_SHIM before they include the code
 * under test as a .c file: each atomic access then calls mr_shim_step() first, where the other thread may go on.
 *
 * Threads are coroutines in one thread, so a run is repeatable, and all runs are enumerated depth first: at each access the scheduler
 * chooses which thread goes on; after a run the last choice that has another answer is changed. This is sequential consistency: weaker
 * orders are argued in the headers and watched by the thread sanitizer. A "crash" lets thread 0 never go on after its k-th step. */
#ifndef MR_TESTS_SUPPORT_INTERLEAVE_H
#define MR_TESTS_SUPPORT_INTERLEAVE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>

#define INTERLEAVE_STEPS_MAX   256
#define INTERLEAVE_STACK_BYTES (256u << 10)

struct interleave {
    void (*setup)(void *context);
    void (*thread[2])(void *context);
    void (*verify)(void *context, bool crashed); /* after each run */
    void *context;
    int crash_after; /* steps of thread 0; -1: it never dies */
    uint64_t runs;   /* out */
    bool reached;    /* out: in some run thread 0 was still going when it should die */
};

static struct {
    struct interleave *plan;
    ucontext_t scheduler, at[2];
    bool done[2];
    int current; /* -1: the scheduler, whose accesses are not steps */
    uint8_t choice[INTERLEAVE_STEPS_MAX];
    bool open[INTERLEAVE_STEPS_MAX]; /* both threads could go on here */
} interleave_now = {.current = -1};

void mr_shim_step(const void *address, char kind);
void mr_shim_step(const void *address, char kind)
{
    (void)address;
    (void)kind;
    if (interleave_now.current >= 0)
        swapcontext(&interleave_now.at[interleave_now.current], &interleave_now.scheduler);
}

static void interleave_main(int index)
{
    interleave_now.plan->thread[index](interleave_now.plan->context);
    interleave_now.done[index] = true;
    swapcontext(&interleave_now.at[index], &interleave_now.scheduler);
    abort();
}

static void interleave_go(int index)
{
    interleave_now.current = index;
    swapcontext(&interleave_now.scheduler, &interleave_now.at[index]);
    interleave_now.current = -1;
}

/** Run all interleavings; false if a run took more steps than INTERLEAVE_STEPS_MAX (a thread spins: bound it). */
static bool interleave_all(struct interleave *plan)
{
    static uint8_t stack[2][INTERLEAVE_STACK_BYTES];
    volatile int forced = 0; /* choices taken over from the last run */

    plan->runs = 0;
    plan->reached = false;
    interleave_now.plan = plan;
    for (;;) {
        plan->setup(plan->context);
        for (int i = 0; i < 2; i++) {
            getcontext(&interleave_now.at[i]);
            interleave_now.at[i].uc_stack.ss_sp = stack[i];
            interleave_now.at[i].uc_stack.ss_size = sizeof stack[i];
            interleave_now.at[i].uc_link = NULL;
            makecontext(&interleave_now.at[i], (void (*)(void))(uintptr_t)interleave_main, 1, i);
            interleave_now.done[i] = false;
        }
        interleave_go(0); /* each to its first access */
        interleave_go(1);

        int steps = 0, steps_of_0 = 0;
        bool crashed = false;
        for (; steps < INTERLEAVE_STEPS_MAX; steps++) {
            crashed = !interleave_now.done[0] && steps_of_0 == plan->crash_after;
            bool can[2] = {!interleave_now.done[0] && !crashed, !interleave_now.done[1]};
            if (!can[0] && !can[1])
                break;
            interleave_now.open[steps] = can[0] && can[1];
            if (steps >= forced)
                interleave_now.choice[steps] = can[0] ? 0 : 1;
            int chosen = interleave_now.choice[steps];
            steps_of_0 += chosen == 0;
            interleave_go(chosen);
        }
        if (steps == INTERLEAVE_STEPS_MAX)
            return false;
        plan->verify(plan->context, crashed);
        plan->reached |= crashed;
        plan->runs++;
        while (steps > 0 && !(interleave_now.open[steps - 1] && interleave_now.choice[steps - 1] == 0))
            steps--;
        if (steps == 0)
            return true;
        interleave_now.choice[steps - 1] = 1;
        forced = steps;
    }
}

#endif
