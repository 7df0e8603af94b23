/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/measure/measure.h"

#include "bench/measure/bench_commit.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

int mr_measure_pin(uint32_t cpu, struct millrace_error *err)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    if (cpu < CPU_SETSIZE)
        CPU_SET(cpu, &set);
    if (cpu >= CPU_SETSIZE || sched_setaffinity(0, sizeof set, &set) != 0)
        return mr_err(err, EINVAL, "cannot run on cpu %u: %s; name cores of this machine with --cpus", cpu,
                      cpu >= CPU_SETSIZE ? "no such number" : strerror(errno));
    return 0;
}

double mr_measure_cpu_seconds(int pid)
{
    char path[64], text[1024];
    unsigned long long user = 0, kernel = 0;

    if (pid == 0) {
        struct rusage usage;
        if (getrusage(RUSAGE_SELF, &usage) != 0)
            return 0;
        return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    }
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    size_t bytes = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[bytes] = '\0';
    const char *rest = strrchr(text, ')'); /* the name in front may hold anything */
    if (rest == NULL || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &kernel) != 2)
        return 0;
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

int mr_measure_pages_map(struct mr_measure_pages *pages, size_t bytes)
{
    pages->bytes = (bytes + (2u << 20) - 1) & ~(size_t)((2u << 20) - 1);
    pages->huge = true;
    pages->memory = mmap(NULL, pages->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
    if (pages->memory == MAP_FAILED) {
        pages->huge = false;
        pages->memory = mmap(NULL, pages->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    }
    if (pages->memory == MAP_FAILED) {
        pages->memory = NULL;
        return -ENOMEM;
    }
    return 0;
}

void mr_measure_pages_release(struct mr_measure_pages *pages)
{
    if (pages->memory != NULL)
        munmap(pages->memory, pages->bytes);
    memset(pages, 0, sizeof *pages);
}

static void cpu_model(char *out, size_t out_bytes)
{
    char line[256];

    snprintf(out, out_bytes, "unknown processor");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (file == NULL)
        return;
    while (fgets(line, sizeof line, file) != NULL) {
        const char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || value == NULL)
            continue;
        snprintf(out, out_bytes, "%.*s", (int)strcspn(value + 1, "\n") - 1, value + 2);
        break;
    }
    fclose(file);
}

const char *mr_measure_machine(char *out, size_t out_bytes)
{
    char model[128];
    struct utsname name;

    cpu_model(model, sizeof model);
    if (uname(&name) != 0)
        snprintf(name.release, sizeof name.release, "?");
    double gib = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (double)(1ull << 30);
    snprintf(out, out_bytes, "%ld x %s, %.0f GiB, Linux %s", sysconf(_SC_NPROCESSORS_ONLN), model, gib, name.release);
    return out;
}

const char *mr_measure_commit(void)
{
    return MR_BENCH_COMMIT;
}
