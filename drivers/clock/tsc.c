/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's clock. Where the time stamp counter is invariant and the kernel trusts it, now_ns is a line through it:
 *
 *   now = base_ns + (tsc - base_tsc) * slope / 2^32
 *
 * The line is set up in 1 ms at the first use and then follows CLOCK_MONOTONIC: the reader that finds it older than its interval
 * (10 ms, doubling up to 1 s) draws the next one, which starts where the old one stands and leans so as to meet the kernel's clock at the
 * next look. So the clock never goes back, on one thread or across threads, and stays within a few microseconds of CLOCK_MONOTONIC.
 *
 * Measured (AMD Zen 5, virtual machine): 20 ns a reading, of which the fence is 10; clock_gettime through the vDSO takes 24.
 *
 * L  The line is a seqlock: the writer makes `sequence` odd, stores the fields, makes it even, release; a reader loads it, acquire, reads the
 *    fields *and the counter*, and starts again when it has changed. With the counter inside, no reader puts a new time on an old line.
 * J  After a jump (a virtual machine that was stopped: the counter ran on or stood still) the clock steps forward at once; backward it may
 *    not, so it runs at half speed until the kernel's clock has caught up. */
#include "drivers/clock/clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shm/base/assert.h"
#include "shm/base/atomics.h"
#include "shm/base/bits.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

#define NS_PER_S         1000000000u
#define NS_PER_MS        1000000u
#define CALIBRATE_NS     1000000u
#define INTERVAL_NS_MIN  (10u * NS_PER_MS)
#define INTERVAL_NS_MAX  NS_PER_S
#define STEP_NS          NS_PER_MS /* further behind than this is a jump, not drift */
#define BASELINE_NS_MAX  (600ull * NS_PER_S)
#define READ_TRIES       5
#define SPINS_MAX        1000u

struct line {
    _Atomic uint64_t base_tsc;
    _Atomic uint64_t base_ns;
    _Atomic uint64_t slope;     /* ns per tick, times 2^32 */
    _Atomic uint64_t look_tsc;  /* when to draw the next one */
};

struct machine_clock {
    struct mr_clock clock;
    _Alignas(MR_CACHE_LINE) _Atomic uint32_t sequence; /* L */
    struct line line;
    _Atomic uint32_t is_refining;
    /* What follows is of whoever has set is_refining. */
    uint64_t first_tsc, first_ns; /* where measuring began: the longer the base line, the better the slope */
    uint64_t look_tsc, look_ns;   /* both clocks at the last look */
    uint64_t true_slope;
    uint64_t interval_ns;
};

static clockid_t wall_id = CLOCK_REALTIME;

static uint64_t system_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t system_now_ns(struct mr_clock *clock)
{
    return system_ns(CLOCK_MONOTONIC);
}

static uint64_t wall_ms(struct mr_clock *clock)
{
    return system_ns(wall_id) / NS_PER_MS;
}

static const struct mr_clock_ops system_ops = {.now_ns = system_now_ns, .wall_ms = wall_ms};

#if defined(__x86_64__)

static uint64_t read_tsc(void)
{
    /* Without the fence it is 10 ns faster and may be read before an earlier load that misses the cache: a time that another thread has
     * published would then seem to lie ahead by that miss. */
    _mm_lfence();
    return __rdtsc();
}

static bool counter_is_invariant(void)
{
    unsigned int a, b, c, d;
    char name[32] = "";
    if (__get_cpuid(0x80000007u, &a, &b, &c, &d) == 0 || (d >> 8 & 1) == 0)
        return false;
    /* The kernel watches the counter and leaves it for hpet or acpi_pm when cores disagree. */
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
    if (file == NULL)
        return true;
    bool is_trusted = fgets(name, sizeof name, file) == NULL || strncmp(name, "tsc", 3) == 0 || strncmp(name, "kvm-clock", 9) == 0 ||
                      strncmp(name, "hyperv_clocksource", 18) == 0;
    fclose(file);
    return is_trusted;
}

/** One instant on both clocks: of a few tries the one that was interrupted least. */
static void read_both(uint64_t *tsc, uint64_t *ns)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < READ_TRIES; i++) {
        uint64_t before = read_tsc(), now = system_ns(CLOCK_MONOTONIC), after = read_tsc();
        if (after - before < best) {
            best = after - before;
            *tsc = before + (after - before) / 2;
            *ns = now;
        }
    }
}

static uint64_t on_line(uint64_t base_tsc, uint64_t base_ns, uint64_t slope, uint64_t tsc)
{
    if (tsc <= base_tsc)
        return base_ns; /* a core a few ticks behind the one that drew the line */
    return base_ns + (uint64_t)(((unsigned __int128)(tsc - base_tsc) * slope) >> 32);
}

static uint64_t slope_between(uint64_t ns, uint64_t ticks)
{
    return (uint64_t)(((unsigned __int128)ns << 32) / (ticks > 0 ? ticks : 1));
}

/**
 * Draw the next line. By one thread at a time (is_refining). The measuring comes first: while the sequence is odd readers spin, so that
 * must be a few stores, not a call that can be interrupted for a scheduler's slice.
 */
static MR_COLD void refine(struct machine_clock *machine)
{
    struct line *line = &machine->line;
    uint64_t old_tsc = mr_load_relaxed(&line->base_tsc), old_ns = mr_load_relaxed(&line->base_ns), old_slope = mr_load_relaxed(&line->slope);
    uint64_t tsc = 0, ns = 0;
    read_both(&tsc, &ns);
    uint64_t shown_ns = on_line(old_tsc, old_ns, old_slope, tsc);
    bool is_jump = tsc <= machine->look_tsc || ns > shown_ns + STEP_NS || shown_ns > ns + STEP_NS;
    if (is_jump) { /* J: what lies before says nothing about the slope from here on */
        machine->first_tsc = tsc;
        machine->first_ns = ns;
        machine->interval_ns = INTERVAL_NS_MIN;
    } else {
        machine->true_slope = slope_between(ns - machine->first_ns, tsc - machine->first_tsc);
        machine->interval_ns = mr_min_u64(machine->interval_ns * 2, INTERVAL_NS_MAX);
        if (ns - machine->first_ns > BASELINE_NS_MAX) { /* follow a slope that changes with the hour */
            machine->first_tsc = machine->look_tsc;
            machine->first_ns = machine->look_ns;
        }
    }
    machine->look_tsc = tsc;
    machine->look_ns = ns;
    uint64_t interval_ns = machine->interval_ns, slope = machine->true_slope;
    uint64_t ticks = (uint64_t)(((unsigned __int128)interval_ns << 32) / slope);

    uint32_t sequence = mr_load_relaxed(&machine->sequence);
    mr_exchange_acq_rel(&machine->sequence, sequence + 1); /* acquire: the stores below stay behind it */
    uint64_t start_tsc = read_tsc();
    shown_ns = on_line(old_tsc, old_ns, old_slope, start_tsc);
    uint64_t true_ns = on_line(tsc, ns, slope, start_tsc);
    if (true_ns > shown_ns + STEP_NS)
        shown_ns = true_ns;
    /* Lean so that the line meets the kernel's clock at the next look; never below half speed. */
    uint64_t run_ns = true_ns + interval_ns / 2 > shown_ns ? true_ns + interval_ns - shown_ns : interval_ns / 2;
    mr_store_relaxed(&line->base_tsc, start_tsc);
    mr_store_relaxed(&line->base_ns, shown_ns);
    mr_store_relaxed(&line->slope, slope_between(run_ns, ticks));
    mr_store_relaxed(&line->look_tsc, start_tsc + ticks);
    mr_store_release(&machine->sequence, sequence + 2); /* L */
}

static MR_HOT uint64_t tsc_now_ns(struct mr_clock *clock)
{
    struct machine_clock *machine = (struct machine_clock *)clock;
    for (uint32_t spins = 0;; spins++) {
        uint32_t sequence = mr_load_acquire(&machine->sequence); /* L */
        uint64_t base_tsc = mr_load_acquire(&machine->line.base_tsc), base_ns = mr_load_acquire(&machine->line.base_ns);
        uint64_t slope = mr_load_acquire(&machine->line.slope), look_tsc = mr_load_acquire(&machine->line.look_tsc);
        uint64_t tsc = read_tsc();
        if (mr_unlikely((sequence & 1) != 0 || mr_load_acquire(&machine->sequence) != sequence)) {
            mr_cpu_relax();
            if (spins >= SPINS_MAX)
                sched_yield(); /* the one that draws the line was taken off its core in the middle of it */
            continue;
        }
        uint32_t idle = 0;
        if (mr_likely(tsc < look_tsc) || !mr_compare_exchange(&machine->is_refining, &idle, 1))
            return on_line(base_tsc, base_ns, slope, tsc);
        if (mr_load_relaxed(&machine->sequence) == sequence) /* nobody else has just done it */
            refine(machine);
        mr_store_release(&machine->is_refining, 0);
    }
}

static const struct mr_clock_ops tsc_ops = {.now_ns = tsc_now_ns, .wall_ms = wall_ms};

static void calibrate(struct machine_clock *machine)
{
    uint64_t tsc = 0, ns = 0;
    read_both(&machine->first_tsc, &machine->first_ns);
    do {
        read_both(&tsc, &ns);
    } while (ns - machine->first_ns < CALIBRATE_NS);
    machine->interval_ns = INTERVAL_NS_MIN / 2;
    machine->look_tsc = tsc;
    machine->look_ns = ns;
    machine->true_slope = slope_between(ns - machine->first_ns, tsc - machine->first_tsc);
    mr_store_relaxed(&machine->line.base_tsc, tsc);
    mr_store_relaxed(&machine->line.base_ns, ns);
    mr_store_relaxed(&machine->line.slope, machine->true_slope);
    mr_store_relaxed(&machine->line.look_tsc, tsc + (tsc - machine->first_tsc) * (INTERVAL_NS_MIN / CALIBRATE_NS));
    machine->clock.ops = &tsc_ops;
}

#endif

static struct machine_clock the_machine = {.clock = {.ops = &system_ops}};
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void set_up(void)
{
    struct timespec grain;
    if (clock_getres(CLOCK_REALTIME_COARSE, &grain) == 0 && grain.tv_sec == 0 && grain.tv_nsec <= (long)NS_PER_MS)
        wall_id = CLOCK_REALTIME_COARSE;
#if defined(__x86_64__)
    if (counter_is_invariant())
        calibrate(&the_machine);
#endif
}

struct mr_clock *mr_clock_machine(void)
{
    pthread_once(&once, set_up);
    return &the_machine.clock;
}
