/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/workloads/node.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ATTACH_MS    2000
#define NOTICE_US    500 /* until the other core has stopped or goes on; as short as it may be, or the cores change meanwhile */
#define SETTLE_US    20000
#define SETTLE_ROUND 500 /* of SETTLE_US */
#define SETTLE_CALM  5   /* rounds in a row without a write */

/* The socket may be given by MILLRACE_SOCKET or be the default one; then who listens there is not looked for, and CPU time of the daemon
 * is not reported. */
static int find_pid(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred who = {0};
    socklen_t who_bytes = sizeof who;

    if (socket_path == NULL || strlen(socket_path) >= sizeof address.sun_path)
        return 0;
    memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &who_bytes) != 0)
        who.pid = 0;
    close(fd);
    return who.pid;
}

int mr_bench_attach(const struct mr_bench_node *node, struct millrace_client **client, struct millrace_error *err)
{
    struct millrace_client_options options;

    millrace_client_options_init(&options);
    options.idle = node->idle;
    options.attach_timeout_ms = ATTACH_MS;
    options.name = "millrace bench";
    return millrace_attach(client, node->socket_path, &options, err);
}

int mr_bench_node_open(struct mr_bench_node *node, struct millrace_error *err)
{
    struct millrace_client *client = NULL;

    if (node->socket_path == NULL)
        node->socket_path = getenv("MILLRACE_SOCKET");
    int rc = mr_bench_attach(node, &client, err);
    if (rc != 0)
        return rc;
    millrace_detach(client);
    node->pid = find_pid(node->socket_path);
    return 0;
}

int mr_bench_topic(struct millrace_client *client, const char *topic, uint32_t partitions, const char *durability, struct millrace_error *err)
{
    char config[128];

    snprintf(config, sizeof config, "millrace.durability=%s\n", durability);
    int rc = millrace_topic_create(client, topic, partitions, config, err);
    return rc == -EEXIST ? 0 : rc;
}

void mr_bench_node_pause(const struct mr_bench_node *node)
{
    if (node->may_pause && node->pid > 0 && kill(node->pid, SIGSTOP) == 0)
        usleep(NOTICE_US);
}

void mr_bench_node_resume(const struct mr_bench_node *node)
{
    if (node->may_pause && node->pid > 0) {
        kill(node->pid, SIGCONT);
        usleep(NOTICE_US);
    }
}

/* The number behind a name in one of a process's files; 0 when it is not there. */
static uint64_t proc_number(int pid, const char *file_name, const char *name)
{
    char path[64], line[128];
    unsigned long long number = 0;
    size_t name_bytes = strlen(name);

    snprintf(path, sizeof path, "/proc/%d/%s", pid, file_name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, name_bytes) == 0 && sscanf(line + name_bytes, "%llu", &number) == 1)
            break;
    }
    fclose(file);
    return number;
}

uint64_t mr_bench_node_memory(const struct mr_bench_node *node)
{
    return (proc_number(node->pid, "status", "RssShmem:") + proc_number(node->pid, "status", "HugetlbPages:")) << 10;
}

void mr_bench_node_settle(const struct mr_bench_node *node)
{
    uint64_t before = 0;
    uint32_t calm = 0;

    for (uint32_t round = 0; round < SETTLE_ROUND && calm < SETTLE_CALM; round++) {
        uint64_t now = proc_number(node->pid, "io", "write_bytes:");
        calm = now == before ? calm + 1 : 0;
        before = now;
        usleep(SETTLE_US);
    }
}
