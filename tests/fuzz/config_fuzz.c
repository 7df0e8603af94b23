/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration from bytes that may be anything: never past the end, and what is refused has a message. */
#include "dataplane/config/config.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct mr_node_config node;
    static struct mr_config config;
    struct millrace_error err = {0};

    if (bytes > 1 << 16)
        return 0;
    char *text = malloc(bytes + 1);
    fuzz_must(text != NULL);
    if (bytes > 0)
        memcpy(text, data, bytes);
    text[bytes] = '\0';
    mr_config_init(&config, &mr_node_config_table, &node);
    if (mr_config_load_text(&config, text, "fuzz", &err) != 0)
        fuzz_must(err.text[0] != '\0' && err.code != 0);
    if (mr_config_set(&config, text, &err) == 0)
        fuzz_must(node.reactors.count <= MR_CONFIG_CPUS_MAX && node.log_dirs.count >= 1 && node.log_dirs.count <= MR_CONFIG_LIST_MAX);
    free(text);
    return 0;
}

size_t fuzz_seed(unsigned n, uint8_t *data, size_t room)
{
    static const char *const seeds[] = {
        "# a node\nbroker.id=1\nlog.dirs=/a,/b\nmillrace.reactors=0,2-3\nlog.segment.bytes=64MiB\n",
        "! blanks\nmillrace.durability : leader\r\n\tflush.ms = 5ms\nnum.network.threads=3\n",
        "millrace.hugepages=/dev/huge\nlog.retention.bytes=-1\nmillrace.idel=busy",
        "millrace.reactors=0,2-3",
        "log.dirs=/a , /b",
        "message.max.bytes=1MiB",
    };

    if (n >= sizeof seeds / sizeof seeds[0])
        return 0;
    size_t bytes = strlen(seeds[n]);
    fuzz_must(bytes <= room);
    memcpy(data, seeds[n], bytes);
    return bytes;
}
