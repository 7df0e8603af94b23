/* SPDX-License-Identifier: Apache-2.0 */
/* How records look as text: what consume prints, and what produce reads back.
 *
 *   text    the value, a line each. Reading: with a separator, "key<separator>value"
 *   json    {"topic":"t","partition":0,"offset":7,"timestamp":1700000000000,"key":"k","value":"v","headers":[{"key":"a","value":"b"}]}
 *           Bytes that are not UTF-8 stand under "key_base64", "value_base64"; null is null. Reading: all but "value" may be missing
 *   hex     "value" or "key:value" in hexadecimal, "-" for null
 *   '...%'  printing only: %t topic, %p partition, %o offset, %T timestamp in ms, %k key, %v value, %h headers (a=b,c=d), %% %,
 *           \n \t \r \\ as in C; a newline is added unless the format ends with \c */
#ifndef MR_CONTROL_CLI_RECORD_FORMAT_H
#define MR_CONTROL_CLI_RECORD_FORMAT_H

#include "millrace/millrace.h"
#include "shm/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum mr_record_form { MR_RECORD_TEXT, MR_RECORD_JSON, MR_RECORD_HEX, MR_RECORD_CUSTOM };

struct mr_record_format {
    enum mr_record_form form;
    const char *custom; /* MR_RECORD_CUSTOM: into the caller's text */
};

/** How header `index` of a polled record is read: millrace_record_header(), or a test's own. */
typedef int mr_record_header_get(const struct millrace_record *record, uint32_t index, struct millrace_header *header);

/** @param custom whether a format with % is allowed  @return 0; -EINVAL with a message that names the bad letter or what is allowed. */
int mr_record_format_parse(struct mr_record_format *format, const char *text, bool custom, struct millrace_error *err) MR_MUST_USE;

/** Print one record. Errors stay in the stream. */
void mr_record_format_write(const struct mr_record_format *format, FILE *out, const char *topic, const struct millrace_record *record,
                            mr_record_header_get *header_get);

#define MR_RECORD_HEADERS_MAX 64

/** A record read from a line; everything points into `memory` or the line. Zero it before the first use; released at the end. */
struct mr_record_line {
    struct millrace_record record;
    struct millrace_header header[MR_RECORD_HEADERS_MAX];
    void *json;        /* the parsed object that the pointers of a JSON line lead into */
    uint8_t *memory;   /* decoded hex and base64 */
    size_t memory_bytes, memory_used;
};

/**
 * Read one line (without its newline) into `line->record`. Partition is any and time that of arrival unless a JSON line says otherwise.
 * @param text       changed in place; must outlive the record
 * @param separator  between key and value of a text line; NULL: there is no key
 * @return 0; -EINVAL with a message about this line; -ENOMEM
 */
int mr_record_line_read(struct mr_record_line *line, const struct mr_record_format *format, char *text, size_t bytes, const char *separator,
                        struct millrace_error *err) MR_MUST_USE;

void mr_record_line_release(struct mr_record_line *line);

#endif
