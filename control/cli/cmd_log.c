/* SPDX-License-Identifier: Apache-2.0 */
/* millrace log verify, dump, export: look into files of a log. Nothing of it is written to. */
#include "control/cli/commands.h"

#include "shm/base/bits.h"
#include "shm/base/json.h"
#include "shm/segment/dump.h"
#include "shm/segment/export.h"
#include "shm/segment/segment.h"
#include "shm/segment/verify.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct verify {
    unsigned flags;
    bool json, quiet;
    bool first;                    /* nothing is printed yet: the JSON list needs no comma */
    struct mr_verify_report total; /* counts only */
    uint32_t partitions;
};

static void print_finding(void *context, const struct mr_verify_finding *finding)
{
    const struct verify *v = context;

    if (v->json || (v->quiet && !finding->is_error))
        return;
    printf("%s: %s: byte %llu, offset %llu: %s\n", finding->is_error ? "ERROR" : "note", finding->path, (unsigned long long)finding->position,
           (unsigned long long)finding->offset, finding->reason);
}

static void print_report(struct verify *v, const char *path, const struct mr_verify_report *r)
{
    if (v->json) {
        printf("%s{\"path\":", v->first ? "[" : ",\n ");
        if (mr_utf8_valid(path, strlen(path)))
            mr_json_write(stdout, path, strlen(path));
        else
            printf("null");
        printf(",\"segments\":%llu,\"batches\":%llu,\"records\":%llu,\"bytes\":%llu,\"first_offset\":%llu,\"next_offset\":%llu,"
               "\"compressed_unchecked\":%llu,\"errors\":%llu,\"warnings\":%llu}",
               (unsigned long long)r->segments, (unsigned long long)r->batches, (unsigned long long)r->records, (unsigned long long)r->bytes,
               (unsigned long long)r->first_offset, (unsigned long long)r->next_offset, (unsigned long long)r->compressed_unchecked,
               (unsigned long long)r->errors, (unsigned long long)r->warnings);
        v->first = false;
    } else if (!v->quiet || r->errors > 0) {
        printf("%-5s %s: %llu records in %llu batches, %llu segments, offsets %llu to %llu\n", r->errors > 0 ? "BAD" : "good", path,
               (unsigned long long)r->records, (unsigned long long)r->batches, (unsigned long long)r->segments,
               (unsigned long long)r->first_offset, (unsigned long long)r->next_offset);
    }
    v->partitions++;
    v->total.records += r->records;
    v->total.bytes += r->bytes;
    v->total.errors += r->errors;
    v->total.warnings += r->warnings;
    v->total.compressed_unchecked += r->compressed_unchecked;
}

static int has_segments(const char *path)
{
    DIR *folder = opendir(path);
    uint64_t base_offset;
    bool found = false;

    if (folder == NULL)
        return -errno;
    for (struct dirent *entry = readdir(folder); entry != NULL && !found; entry = readdir(folder))
        found = mr_segment_name_parse(entry->d_name, "log", &base_offset);
    closedir(folder);
    return found;
}

/* What is done with each partition of a data directory. @param name of its directory, without the path */
typedef int each_partition(void *context, const char *path, const char *name, struct millrace_error *err);

static int verify_partition(void *context, const char *path, const char *name, struct millrace_error *err)
{
    struct verify *v = context;
    struct mr_verify_report report;

    int rc = mr_verify_partition(path, v->flags, print_finding, v, &report, err);
    if (rc == 0)
        print_report(v, path, &report);
    return rc;
}

/* A data directory: every partition in it, in the order of their names. A node may run and delete topics meanwhile: a partition that cannot
 * be found any more, or not be caught up with, does not keep the others from their turn. */
static int walk(const char *path, each_partition *each, void *context, struct millrace_error *err)
{
    struct dirent **entry = NULL;
    uint32_t partitions = 0;
    struct millrace_error first = {0};
    int rc = 0, first_rc = 0;

    int count = scandir(path, &entry, NULL, alphasort);
    if (count < 0)
        return mr_err(err, errno, "cannot read '%s': %s", path, strerror(errno));
    for (int i = 0; i < count; i++) {
        char inner[PATH_MAX];
        struct stat st;
        snprintf(inner, sizeof inner, "%s/%s", path, entry[i]->d_name);
        if (rc == 0 && entry[i]->d_name[0] != '.' && stat(inner, &st) == 0 && S_ISDIR(st.st_mode) && has_segments(inner) == 1) {
            rc = each(context, inner, entry[i]->d_name, err);
            partitions++;
            if (rc == -ENOENT || rc == -EAGAIN) {
                bool has_gone = has_segments(inner) != 1;
                fprintf(stderr, "millrace: %s%s\n", has_gone ? "note: deleted meanwhile: " : "", err->text);
                if (!has_gone && first_rc == 0) {
                    first_rc = rc;
                    first = *err;
                }
                rc = 0;
            }
        }
        free(entry[i]);
    }
    free(entry);
    if (rc == 0 && first_rc != 0) {
        *err = first;
        return first_rc;
    }
    if (rc == 0 && partitions == 0)
        return mr_err(err, ENOENT, "there is neither a segment nor a partition with segments in '%s': name a data directory, a partition's "
                      "directory or a .log file", path);
    return rc;
}

static int verify_path(struct verify *v, const char *path, struct millrace_error *err)
{
    struct mr_verify_report report;
    struct stat st;

    if (stat(path, &st) != 0)
        return mr_err(err, errno, "cannot read '%s': %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode)) {
        int rc = mr_verify_segment(path, v->flags, -1, print_finding, v, &report, err);
        if (rc == 0)
            print_report(v, path, &report);
        return rc;
    }
    int segments = has_segments(path);
    if (segments < 0)
        return mr_err(err, -segments, "cannot read '%s': %s", path, strerror(-segments));
    return segments ? verify_partition(v, path, NULL, err) : walk(path, verify_partition, v, err);
}

static int log_verify(const struct mr_cli_command *command, int argc, char **argv)
{
    struct verify v = {.first = true};
    bool compacted = false;
    const struct mr_cli_option options[] = {
        {"compacted", 0, MR_CLI_FLAG, NULL, &compacted, "offsets may have gaps, as in a compacted segment of Kafka's"},
        {"quiet", 'q', MR_CLI_FLAG, NULL, &v.quiet, "only what is bad"},
        {"json", 0, MR_CLI_FLAG, NULL, &v.json, "as JSON, one object for each partition"},
    };
    struct millrace_error err = {0};
    struct mr_cli_texts words;
    int rc = 0;

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 1, MR_CLI_TEXTS_MAX);
    if (status != MR_CLI_GO_ON)
        return status;
    v.flags = compacted ? MR_VERIFY_COMPACTED : 0;
    for (uint32_t i = 0; i < words.count && rc == 0; i++)
        rc = verify_path(&v, words.text[i], &err);
    if (v.json)
        printf("%s]\n", v.first ? "[" : "");
    if (rc != 0)
        return mr_cli_fail("%s", err.text);
    if (v.total.compressed_unchecked > 0)
        fprintf(stderr, "millrace: %llu compressed batches: the CRC is good, the records inside were not looked at (their codec is not installed)\n",
                (unsigned long long)v.total.compressed_unchecked);
    fprintf(stderr, "partitions=%u records=%llu bytes=%llu errors=%llu notes=%llu\n", v.partitions, (unsigned long long)v.total.records,
            (unsigned long long)v.total.bytes, (unsigned long long)v.total.errors, (unsigned long long)v.total.warnings);
    return v.total.errors > 0 ? MR_CLI_FAILED : MR_CLI_DONE;
}

static int log_dump(const struct mr_cli_command *command, int argc, char **argv)
{
    const char *from = "0";
    uint64_t batches = 0, from_offset = 0;
    bool records = false, values = false;
    const struct mr_cli_option options[] = {
        {"from", 0, MR_CLI_TEXT, "OFFSET", &from, "skip the batches that end below it"},
        {"count", 'n', MR_CLI_COUNT, "COUNT", &batches, "stop after so many batches"},
        {"records", 'r', MR_CLI_FLAG, NULL, &records, "a line for each record too"},
        {"values", 'v', MR_CLI_FLAG, NULL, &values, "and with keys, headers and values"},
    };
    struct millrace_error err = {0};
    struct mr_cli_texts words;

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 1, 1);
    if (status != MR_CLI_GO_ON)
        return status;
    if (!mr_cli_parse_count(from, &from_offset))
        return mr_cli_usage(command, "--from %s: it must be an offset", from);
    mr_cli_stop_install();
    unsigned flags = (records || values ? MR_DUMP_RECORDS : 0u) | (values ? MR_DUMP_VALUES : 0u);
    int rc = mr_dump_segment(words.text[0], stdout, flags, from_offset, batches, &err);
    if (fflush(stdout) != 0 || ferror(stdout))
        return mr_cli_stdout_closed(errno) ? MR_CLI_DONE : mr_cli_fail("cannot write to stdout: %s", strerror(errno));
    return rc != 0 ? mr_cli_fail("%s", err.text) : MR_CLI_DONE;
}

struct export {
    const char *to;
    uint32_t partitions;
    uint64_t segments, records, bytes, errors, warnings;
};

static void print_export_finding(void *context, const struct mr_verify_finding *finding)
{
    fprintf(stderr, "millrace: %s%s: byte %llu, offset %llu: %s\n", finding->is_error ? "" : "note: ", finding->path,
            (unsigned long long)finding->position, (unsigned long long)finding->offset, finding->reason);
}

/* @param name NULL: right into the directory named */
static int export_partition(void *context, const char *path, const char *name, struct millrace_error *err)
{
    struct export *x = context;
    struct mr_export_report report;
    char to[PATH_MAX];

    snprintf(to, sizeof to, "%s%s%s", x->to, name != NULL ? "/" : "", name != NULL ? name : "");
    int rc = mr_export_partition(path, to, print_export_finding, NULL, &report, err);
    if (rc != 0)
        return rc;
    printf("%s: %llu records, %llu segments, offsets %llu to %llu\n", to, (unsigned long long)report.records, (unsigned long long)report.segments,
           (unsigned long long)report.first_offset, (unsigned long long)report.next_offset);
    x->partitions++;
    x->segments += report.segments;
    x->records += report.records;
    x->bytes += report.bytes;
    x->errors += report.errors;
    x->warnings += report.warnings;
    return 0;
}

static int export_path(struct export *x, const char *path, struct millrace_error *err)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return mr_err(err, errno, "cannot read '%s': %s", path, strerror(errno));
    int segments = S_ISDIR(st.st_mode) ? has_segments(path) : 1;
    if (segments < 0)
        return mr_err(err, -segments, "cannot read '%s': %s", path, strerror(-segments));
    if (segments)
        return export_partition(x, path, NULL, err);
    int rc = mr_export_make_directory(x->to, err);
    return rc != 0 ? rc : walk(path, export_partition, x, err);
}

static int log_export(const struct mr_cli_command *command, int argc, char **argv)
{
    struct millrace_error err = {0};
    struct mr_cli_texts words;
    struct export x = {0};

    int status = mr_cli_parse(command, NULL, 0, argc, argv, &words, 2, 2);
    if (status != MR_CLI_GO_ON)
        return status;
    x.to = words.text[1];
    int rc = export_path(&x, words.text[0], &err);
    if (rc != 0)
        return mr_cli_fail("%s", err.text);
    fprintf(stderr, "partitions=%u segments=%llu records=%llu bytes=%llu errors=%llu notes=%llu\n", x.partitions, (unsigned long long)x.segments,
            (unsigned long long)x.records, (unsigned long long)x.bytes, (unsigned long long)x.errors, (unsigned long long)x.warnings);
    return x.errors > 0 ? MR_CLI_FAILED : MR_CLI_DONE;
}

int mr_cmd_log(const struct mr_cli_command *command, int argc, char **argv)
{
    static const struct mr_cli_command commands[] = {
        {"verify", "millrace log verify", "PATH...", "check every batch of a segment, a partition's directory or a data directory",
         "Nothing is changed. Errors are what no crash explains; notes are lawful after one (a torn tail, bytes that only a journal holds).\n"
         "Status 1 when there is an error. Stop the node first: the tail of a live log changes while it is read.\n\n"
         "  millrace log verify millrace-data\n"
         "  millrace log verify millrace-data/orders-0\n",
         log_verify},
        {"dump", "millrace log dump", "SEGMENT [--from OFFSET]", "print a segment, a line for each batch",
         "Fields are named as Kafka's own dump tool names them.\n\n"
         "  millrace log dump millrace-data/orders-0/00000000000000000000.log --values -n 3\n",
         log_dump},
        {"export", "millrace log export", "PATH TO", "copy a log so that Kafka's own tools read it",
         "PATH is a data directory, a partition's directory or a .log file; TO is made. Segments are cut where their last good batch ends, and end\n"
         "with that; what this node alone uses is left out. Segments are copied whole, with records below the log's start that are in them.\n\n"
         "A node may be running. What only its memory and journals hold is not in its files yet and not in the copy, nor what comes behind a\n"
         "segment that it has not closed: notes say so. What it has written but not flushed may be in the copy before it is acknowledged, also\n"
         "of a topic whose durability is disk. Where retention overtakes the copy, that begins anew. For a copy of everything stop the node;\n"
         "after a crash start it once before.\n\n"
         "Status 1 when a segment is damaged, or ends early with no running node to explain it: what is behind is not copied.\n\n"
         "  millrace log export millrace-data/orders-0 /tmp/orders-0\n",
         log_export},
    };

    return mr_cli_dispatch(command->path, "Files of a log, offline.", commands, MR_COUNT_OF(commands), argc, argv);
}
