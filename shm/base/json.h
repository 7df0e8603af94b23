/* SPDX-License-Identifier: Apache-2.0 */
/* JSON strings (RFC 8259 section 7) from bytes that may be anything. */
#ifndef MR_BASE_JSON_H
#define MR_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/**
 * Write `bytes` of text as the inside of a JSON string (no quotes around it). Bytes that are not UTF-8 become U+FFFD.
 * @return bytes that the whole needs, without the terminator; when that is >= out_bytes, out holds a whole-character prefix. Terminated.
 */
size_t mr_json_escape(const char *text, size_t bytes, char *out, size_t out_bytes);

/** Whether all of it is UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool mr_utf8_valid(const void *text, size_t bytes);

/** Write UTF-8 that mr_utf8_valid() accepted as a JSON string with its quotes. Errors stay in the stream. */
void mr_json_write(FILE *out, const void *text, size_t bytes);

#endif
